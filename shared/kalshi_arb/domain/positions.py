"""What is held, what it cost, and what was earned: from the journal's entries alone. Pure; cash in 1e-6 dollars.

The exchange knows one net position a market. Here a market is held twice over: net, as the exchange has it, and by
basket, as if every basket had an account of its own. Both add up to the same contracts. Where one basket's YES meets
another's NO the exchange frees a dollar at once, which the baskets get when the market settles: until then that dollar
is in no basket's result, see :func:`shared_pairs`.

Contracts that close a pair leave at average cost. What does not divide stays with the open contracts: the cost that
leaves is rounded down to 1e-6 dollars. The exchange publishes no rule for it (Kalshi API documentation, Get Positions);
the sum of gain and open cost does not depend on it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, effective, is_bought, net_positions


@dataclass(frozen=True, slots=True)
class Holding:
    """One net holding of a market: ``count`` is + for YES and - for NO (1e-2 contracts).

    ``cost`` is what the open contracts cost without fees, ``realised`` the gain of closed pairs and settlement before
    fees, ``traded`` the notional of everything ever bought.
    """

    count: Count = Count(0)
    cost: Cash = Cash(0)
    realised: Cash = Cash(0)
    fees: Cash = Cash(0)
    traded: Cash = Cash(0)

    @property
    def outcome(self) -> Outcome:
        """What is held; of nothing, YES."""
        return Outcome.NO if self.count < 0 else Outcome.YES

    @property
    def profit(self) -> Cash:
        """Realised gain less fees."""
        return Cash(self.realised - self.fees)

    def bought(self, outcome: Outcome, price: Price, count: Count, fee: Cash) -> "Holding":
        """After a purchase: pairs close first, at average cost."""
        opposite = abs(self.count) if self.count and self.outcome is not outcome else 0
        closing = Count(min(opposite, count))
        released = self.cost * closing // opposite if closing else 0
        return Holding(
            count=Count(self.count + (count if outcome is Outcome.YES else -count)),
            cost=Cash(self.cost - released + notional(price, Count(count - closing))),
            realised=Cash(self.realised + notional(complement(price), closing) - released),
            fees=Cash(self.fees + fee),
            traded=Cash(self.traded + notional(price, count)),
        )

    def paid(self, amount: Cash, fee: Cash = Cash(0)) -> "Holding":
        """After the market paid ``amount`` for it; ``fee`` is what was kept of the payout, already off the amount."""
        return replace(
            self,
            count=Count(0),
            cost=Cash(0),
            realised=Cash(self.realised + amount + fee - self.cost),
            fees=Cash(self.fees + fee),
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """What one entry realised (before fees) and was charged, for one basket on one market."""

    ms: int
    basket_id: str
    ticker: str
    realised: Cash
    fee: Cash


@dataclass(frozen=True, slots=True)
class Books:
    """The state that the journal replays to. ``net`` is the exchange's view by ticker, ``virtual`` ours by basket and
    ticker (the empty basket is what nobody here ordered), ``gains`` every step of the virtual results by time."""

    net: dict[str, Holding]
    virtual: dict[tuple[str, str], Holding]
    gains: tuple[Gain, ...]

    def profit(self, basket_id: str) -> Cash:
        """What a basket has realised after fees."""
        return Cash(sum(held.profit for (owner, _), held in self.virtual.items() if owner == basket_id))


def replay(entries: Iterable[LedgerEntry]) -> Books:
    """The state after these entries, which must be in the order of time. Payments come after everything that was
    bought, since nothing trades after them.

    :raises DomainError: an entry appears twice.
    """
    rows = effective(entries)
    net: dict[str, Holding] = defaultdict(Holding)
    virtual: dict[tuple[str, str], Holding] = defaultdict(Holding)
    gains: list[Gain] = []

    def step(key: tuple[str, str], after: Holding, ms: int) -> None:
        before, virtual[key] = virtual[key], after
        realised, fee = Cash(after.realised - before.realised), Cash(after.fees - before.fees)
        if realised or fee:
            gains.append(Gain(ms, *key, realised, fee))

    for entry in rows:
        key = entry.basket_id, entry.ticker
        if is_bought(entry) and entry.outcome is not None:
            step(key, virtual[key].bought(entry.outcome, entry.price, entry.count, entry.fee), entry.created_ms)
            net[entry.ticker] = net[entry.ticker].bought(entry.outcome, entry.price, entry.count, entry.fee)
        elif entry.kind is EntryKind.FEE:
            step(key, replace(virtual[key], fees=Cash(virtual[key].fees + entry.fee)), entry.created_ms)
            net[entry.ticker] = replace(net[entry.ticker], fees=Cash(net[entry.ticker].fees + entry.fee))
    holders: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in virtual:
        holders[key[1]].append(key)
    for entry in rows:
        if entry.kind is not EntryKind.SETTLEMENT:
            continue
        net[entry.ticker] = net[entry.ticker].paid(entry.cash, entry.fee)
        own = [key for key in holders[entry.ticker] if virtual[key].count]
        shares = {key: _worth(virtual[key], entry.price) for key in own}
        # What the exchange paid beyond the contracts' worth (a cent account's rounding) is the first holder's.
        freed = _freed(virtual[key].count for key in own)
        residue = Cash(entry.cash + entry.fee + freed - sum(shares.values()))
        if not own and not residue and not entry.fee:
            continue
        heir = own[0] if own else ("", entry.ticker)
        shares.setdefault(heir, Cash(0))
        for key, worth in shares.items():
            extra = residue if key == heir else Cash(0)
            fee = entry.fee if key == heir else Cash(0)
            step(key, virtual[key].paid(Cash(worth + extra - fee), fee), entry.created_ms)
    gains.sort(key=lambda gain: gain.ms)
    return Books(dict(net), dict(virtual), tuple(gains))


def _worth(held: Holding, yes_payout: Price) -> Cash:
    return notional(yes_payout if held.count > 0 else complement(yes_payout), Count(abs(held.count)))


def _freed(counts: Iterable[int]) -> Cash:
    """The dollars that the exchange has paid already for pairs which no single basket holds."""
    rows = list(counts)
    yes, no = sum(count for count in rows if count > 0), -sum(count for count in rows if count < 0)
    return notional(ONE_DOLLAR, Count(min(yes, no)))


def shared_pairs(books: Books) -> dict[str, Cash]:
    """By market that has not been paid: dollars that the exchange freed for pairs of two baskets, which count in
    neither's result yet."""
    counts: dict[str, list[int]] = defaultdict(list)
    for (_, ticker), held in books.virtual.items():
        counts[ticker].append(held.count)
    freed = {ticker: _freed(rows) for ticker, rows in counts.items()}
    return {ticker: cash for ticker, cash in freed.items() if cash}


def settled_profits(entries: Iterable[LedgerEntry]) -> dict[str, Cash]:
    """Exact cash of every basket of which nothing is open any more. Over all baskets these add up to what the account
    earned, once every market has paid."""
    books = replay(entries)
    open_ids = {basket_id for (basket_id, _), held in books.virtual.items() if held.count}
    profits: dict[str, int] = defaultdict(int)
    for (basket_id, _), held in books.virtual.items():
        profits[basket_id] += held.profit
    return {basket_id: Cash(profits[basket_id]) for basket_id in sorted(profits.keys() - open_ids)}


def with_results(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """The entries as if every market with a result had paid it exactly: provisional, since results may be disputed and
    amended until they are paid."""
    rows = effective(entries)
    open_positions = net_positions(rows)
    results = {entry.ticker: entry for entry in rows if entry.kind is EntryKind.RESULT}
    paid = {entry.ticker for entry in rows if entry.kind is EntryKind.SETTLEMENT}
    return rows + [
        replace(
            entry,
            entry_id=f"provisional-{ticker}",
            kind=EntryKind.SETTLEMENT,
            cash=_worth(Holding(open_positions.get(ticker, Count(0))), entry.price),
        )
        for ticker, entry in results.items()
        if ticker not in paid
    ]


@dataclass(frozen=True, slots=True)
class Mark:
    """What contracts would bring if they were sold into the book now, before fees; ``unsold`` found no bid and counts
    as worth nothing (1e-2 contracts)."""

    value: Cash
    unsold: Count


def mark(held: Holding, book: BookSnapshot | None) -> Mark:
    """The worth of a holding at executable prices: the bids of its outcome, best first. Without a book, nothing."""
    left, value = abs(held.count), 0
    if book is not None:
        for level in book.yes_bids if held.outcome is Outcome.YES else book.no_bids:
            size = min(left, level.size)
            value += notional(level.price, Count(size))
            left -= size
    return Mark(Cash(value), Count(left))


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a list of positions or results under one name: ``open_cost`` is the capital locked, ``value`` what it
    would bring at executable prices, None when a book is not known. ``release_ms`` is the latest moment at which a
    market of it is expected to have paid (UTC milliseconds)."""

    name: str
    contracts: Count
    open_cost: Cash
    realised: Cash
    fees: Cash
    value: Cash | None
    release_ms: int | None

    @property
    def profit(self) -> Cash:
        """Realised gain after fees."""
        return Cash(self.realised - self.fees)

    @property
    def unrealised(self) -> Cash | None:
        """What selling everything now would gain or lose, before the fees of selling."""
        return None if self.value is None else Cash(self.value - self.open_cost)


def lines(
    holdings: Mapping[str, Iterable[tuple[str, Holding]]],
    books: Mapping[str, BookSnapshot],
    release_ms: Mapping[str, int],
) -> list[Line]:
    """One line for each name, over its holdings by ticker."""
    made = []
    for name, group in holdings.items():
        rows = list(group)
        held = [(ticker, one) for ticker, one in rows if one.count]
        known = all(ticker in books for ticker, _ in held)
        releases = [release_ms[ticker] for ticker, _ in held if ticker in release_ms]
        made.append(
            Line(
                name,
                Count(sum(abs(one.count) for _, one in held)),
                Cash(sum(one.cost for _, one in held)),
                Cash(sum(one.realised for _, one in rows)),
                Cash(sum(one.fees for _, one in rows)),
                Cash(sum(mark(one, books[ticker]).value for ticker, one in held)) if known else None,
                max(releases, default=None),
            )
        )
    return made
