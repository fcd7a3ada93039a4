"""The screen: a cheap necessary condition per group, kept up to date with every change of a best price.

A group whose edge is not positive cannot hold a bundle that gains in every certain state, whatever the quantities: the
best prices bound every deeper one, and the unrounded fee bounds every real one from below. A group whose edge is
positive may still hold nothing after rounding; that is for the exact methods to say.

The structure comes from the group's certain states, never from tickers or the family's name. Leaving out the possible
states can only let more through, never less. Three structures are known:

- nested: in every state the markets pay in one order, so YES of an easier one and NO of a harder one pay a dollar
- disjoint: no state pays more than one dollar of YES in all, so selling YES of all of them costs at most a dollar;
  covering as well when every state pays exactly that, so buying YES of all of them earns it
- conjunction: one market pays when all the others, each on a side of its own, come true, whatever the others do among
  themselves; the sets of contracts of which one always pays are those of ``combos``

A group of no such structure is not judged and is listed in ``Screen.unjudged``.

Prices and edges are in 1e-10 dollars for one contract of each leg, fees included: an ask is what one YES costs, a bid
what selling one YES (buying one NO at the complement) frees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nlargest
from itertools import accumulate, combinations, pairwise
from operator import sub
from typing import Protocol

from kalshi_arb.domain.book import Book
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule, Role
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Price, price_to_wire, print_decimal
from kalshi_arb.domain.state_space import Basis, Group

EDGE_DECIMALS = 10
EDGE_PER_DOLLAR: int = 10**EDGE_DECIMALS
_EDGE_PER_PRICE = EDGE_PER_DOLLAR // ONE_DOLLAR
# coefficient (1e-8) x price (1e-4) x complement (1e-4) is 1e-16 dollars.
_FEE_PER_EDGE = 10**6
# Above x10 the effective price is no longer sure to rise with the price; a lower multiplier is still a lower bound.
_MULTIPLIER_CAP = 10 * 10**MULTIPLIER_DECIMALS

# A combo and six legs are 64 states; telling whether more markets are independent takes too long.
_MOST_CONJOINED = 7

_NO_ASK = 10**6 * EDGE_PER_DOLLAR
_NO_BID = -_NO_ASK
_ANY = 10**5 * EDGE_PER_DOLLAR
"""Edges beyond this come from a side that is missing."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A group that is not a candidate, how far it is from being one (1e-10 dollars, not positive), and the bundle."""

    group_id: str
    event_ticker: str
    edge: int
    text: str


class _Quote:
    """The best levels of one market, with fees. ``known`` is false until a book was seen or since it went stale."""

    __slots__ = (
        "ask", "bid", "book_ask", "book_bid", "crossed", "fees", "group_ids", "judges", "known", "market",
    )  # fmt: skip

    def __init__(self, market: Market) -> None:
        self.market = market
        # None where no exact fee is known: no leg on such a market can be proved.
        self.fees = _fees_of(market.fees)
        # Who looks at it, each with its place there.
        self.judges: tuple[tuple[_Judge, int], ...] = ()
        self.group_ids: tuple[str, ...] = ()
        self.known = False
        self.crossed = False
        self.ask = _NO_ASK
        self.bid = _NO_BID
        # Best bids of both outcomes as they stand on the book; 0 on an empty side.
        self.book_bid = 0
        self.book_ask: int = ONE_DOLLAR

    def watched_by(self, judge: "_Judge", place: int) -> None:
        """A judge has this market at a place."""
        self.judges += ((judge, place),)
        self.group_ids += (judge.group.group_id,)

    def take(self, book_bid: int, book_ask: int) -> None:
        """Take over the best prices, both of YES; 0 and a dollar where a side is empty."""
        fees = self.fees
        if fees is not None:
            if book_bid != self.book_bid:
                self.bid = book_bid * _EDGE_PER_PRICE - fees[book_bid] if book_bid else _NO_BID
            if book_ask != self.book_ask:
                self.ask = book_ask * _EDGE_PER_PRICE + fees[book_ask] if book_ask < ONE_DOLLAR else _NO_ASK
        self.known = True
        self.crossed = book_bid >= book_ask
        self.book_bid, self.book_ask = book_bid, book_ask

    def buy_yes(self) -> str:
        return f"buy YES {self.market.ticker} at {_shown(self.book_ask)}"

    def buy_no(self) -> str:
        return f"buy NO {self.market.ticker} at {_shown(ONE_DOLLAR - self.book_bid)}"


def _shown(price: int) -> str:
    return price_to_wire(Price(price))


class _Fees(dict[int, int]):
    """The unrounded fee of one contract by its price, cut down to 1e-10 dollars, computed once each."""

    def __init__(self, coefficient: int) -> None:
        super().__init__()
        self.coefficient = coefficient

    def __missing__(self, price: int) -> int:
        fee = self[price] = self.coefficient * price * (ONE_DOLLAR - price) // _FEE_PER_EDGE
        return fee


_fees_by_coefficient = cache(_Fees)


def _fees_of(fees: FeeSchedule) -> _Fees | None:
    if not fees.is_tradable():
        return None
    capped = FeeSchedule(fees.fee_type, min(fees.multiplier, _MULTIPLIER_CAP))
    return _fees_by_coefficient(capped.coefficient(Role.TAKER))


class _Judge:
    """One group: its quotes in ``order``, kept sums of them, how many forbid a judgement, and the edge once computed.

    ``order`` lists the group's markets from the easiest to the hardest when they are nested, else as they come.
    """

    __slots__ = (
        "ask_sum", "asks", "bid_sum", "bids", "chain", "crossed", "current", "edge", "group", "quotes", "structures",
        "unknown",
    )  # fmt: skip

    def __init__(self, group: Group, structures: "tuple[_Structure, ...]", quotes: tuple[_Quote, ...]) -> None:
        self.group = group
        self.structures = structures
        self.quotes = quotes
        self.asks = [quote.ask for quote in quotes]
        self.bids = [quote.bid for quote in quotes]
        self.ask_sum = sum(self.asks)
        self.bid_sum = sum(bid for bid in self.bids if bid > 0)
        self.unknown = sum(not quote.known for quote in quotes)
        self.crossed = sum(quote.crossed for quote in quotes)
        self.edge: int | None = None
        self.current = False
        self.chain = next((_Chain(self) for structure in structures if isinstance(structure, _Nested)), None)

    def take(self, place: int) -> None:
        """The quote at a place changed."""
        self.current = False
        quote, bids, asks, chain = self.quotes[place], self.bids, self.asks, self.chain
        bid, ask = quote.bid, quote.ask
        old_bid, old_ask = bids[place], asks[place]
        if bid != old_bid:
            self.bid_sum += max(0, bid) - max(0, old_bid)
            bids[place] = bid
            if chain is not None:
                chain.bid_changed(place)
        if ask != old_ask:
            self.ask_sum += ask - old_ask
            asks[place] = ask
            if chain is not None:
                chain.ask_changed(place)

    def judged(self) -> int | None:
        """The edge, computed once after each change."""
        if not self.current:
            self.current = True
            self.edge = None
            if not self.unknown and not self.crossed:
                structures = self.structures
                best = structures[0].edge(self)
                for structure in structures[1:]:
                    best = max(best, structure.edge(self))
                if best > -_ANY:
                    self.edge = best
        return self.edge

    def miss(self, edge: int) -> Miss:
        """Why it is no candidate."""
        best = max(self.structures, key=lambda structure: structure.edge(self))
        text = f"{best.legs(self)}: {print_decimal(edge, EDGE_DECIMALS)} dollars a set after fees"
        return Miss(self.group.group_id, self.group.event_ticker, edge, text)


class _Chain:
    """What the best pair of a nested group needs, kept with every change: a change reaches only as far along the chain
    as it moves the cheapest ask.

    ``gaps[place]`` is the bid at the next place less ``cheapest[place]``, the cheapest ask up to this place.
    """

    __slots__ = ("_asks", "_bids", "_cheapest", "gaps")

    def __init__(self, judge: _Judge) -> None:
        self._bids, self._asks = judge.bids, judge.asks
        self._cheapest = list(accumulate(self._asks[:-1], min))
        self.gaps = list(map(sub, self._bids[1:], self._cheapest))

    def bid_changed(self, place: int) -> None:
        """The bid at a place is another one."""
        if place:
            self.gaps[place - 1] = self._bids[place] - self._cheapest[place - 1]

    def ask_changed(self, place: int) -> None:
        """The ask at a place is another one."""
        cheapest, asks = self._cheapest, self._asks
        low = cheapest[place - 1] if place else _NO_ASK
        for here in range(place, len(cheapest)):
            ask = asks[here]
            low = min(ask, low)
            if low == cheapest[here]:
                return
            cheapest[here] = low
            self.gaps[here] = self._bids[here + 1] - low


class _Structure(Protocol):
    """What makes a set of markets pay together. Places are positions in the judge's order."""

    def edge(self, judge: _Judge) -> int:
        """The best edge over the bundles of this structure; below ``-_ANY`` when none can be formed."""
        ...

    def legs(self, judge: _Judge) -> str:
        """The bundle with that edge, in words."""
        ...


@dataclass(frozen=True, slots=True)
class _Nested:
    """Pairs of a chain. ``equals`` are the pairs (earlier, later) of markets that always pay alike: those count in both
    directions."""

    equals: tuple[tuple[int, int], ...]

    def edge(self, judge: _Judge) -> int:
        # Each bid against the cheapest ask among all easier markets.
        best = max(judge.chain.gaps, default=_NO_BID) if judge.chain is not None else _NO_BID
        for earlier, later in self.equals:
            best = max(best, judge.bids[earlier] - judge.asks[later])
        return best

    def legs(self, judge: _Judge) -> str:
        pairs = [*combinations(range(len(judge.quotes)), 2), *((later, earlier) for earlier, later in self.equals)]
        easier, harder = max(pairs, key=lambda pair: judge.bids[pair[1]] - judge.asks[pair[0]])
        return f"{judge.quotes[easier].buy_yes()} and {judge.quotes[harder].buy_no()}"


@dataclass(frozen=True, slots=True)
class _SellAll:
    """Selling YES of every market that has a bid: at most one of them pays."""

    def edge(self, judge: _Judge) -> int:
        return judge.bid_sum - EDGE_PER_DOLLAR if judge.bid_sum else _NO_BID

    def legs(self, judge: _Judge) -> str:
        sold = [quote for quote in judge.quotes if quote.bid > 0]
        total = _shown(sum(quote.book_bid for quote in sold))
        return f"buy NO of {len(sold)} markets of which at most one is YES, bids {total} in all"


@dataclass(frozen=True, slots=True)
class _BuyAll:
    """Buying YES of every market but the ``idle`` ones, which no state pays: exactly one of the others pays."""

    idle: tuple[int, ...]

    def edge(self, judge: _Judge) -> int:
        return EDGE_PER_DOLLAR - judge.ask_sum + sum(judge.asks[place] for place in self.idle)

    def legs(self, judge: _Judge) -> str:
        bought = [quote for place, quote in enumerate(judge.quotes) if place not in self.idle]
        total = _shown(sum(quote.book_ask for quote in bought))
        return f"buy YES of {len(bought)} markets of which one is YES, asks {total} in all"


@dataclass(frozen=True, slots=True)
class _Covering:
    """Buying contracts, each a place and a side, of which every state pays at least one."""

    contracts: tuple[tuple[int, Outcome], ...]

    def edge(self, judge: _Judge) -> int:
        return EDGE_PER_DOLLAR - sum(
            judge.asks[place] if outcome is Outcome.YES else EDGE_PER_DOLLAR - judge.bids[place]
            for place, outcome in self.contracts
        )

    def legs(self, judge: _Judge) -> str:
        return " and ".join(
            judge.quotes[place].buy_yes() if outcome is Outcome.YES else judge.quotes[place].buy_no()
            for place, outcome in self.contracts
        )


@dataclass(frozen=True, slots=True)
class _SellNever:
    """A market that no certain state pays: its YES can be sold alone."""

    place: int

    def edge(self, judge: _Judge) -> int:
        return judge.bids[self.place]

    def legs(self, judge: _Judge) -> str:
        return f"{judge.quotes[self.place].buy_no()}, which every certain state pays"


@dataclass(frozen=True, slots=True)
class _BuyAlways:
    """A market that every certain state pays: its YES can be bought alone."""

    place: int

    def edge(self, judge: _Judge) -> int:
        return EDGE_PER_DOLLAR - judge.asks[self.place]

    def legs(self, judge: _Judge) -> str:
        return f"{judge.quotes[self.place].buy_yes()}, which every certain state pays"


def _conjunction(columns: Sequence[Sequence[int]]) -> list[_Structure]:
    """The covering sets of a market that pays exactly when all others come true; none when there is no such market.

    The others must be independent, all 2^n results of them among the states: with fewer, other bundles could gain too.
    """
    everything = list(zip(*columns, strict=True))
    for combo, pays in enumerate(columns):
        others = [place for place in range(len(columns)) if place != combo]
        if len({tuple(row[place] for place in others) for row in everything}) < 2 ** len(others):
            continue
        sides = {
            place: Outcome.YES if all(map(int.__ge__, columns[place], pays)) else Outcome.NO for place in others
        }  # fmt: skip
        together = [
            all(bool(row[place]) is (side is Outcome.YES) for place, side in sides.items()) for row in everything
        ]
        if together == list(map(bool, pays)):
            pairs = [_Covering(((combo, Outcome.NO), contract)) for contract in sides.items()]
            opposites = tuple((place, side.other) for place, side in sides.items())
            return [*pairs, _Covering(((combo, Outcome.YES), *opposites))]
    return []


def _structures(group: Group) -> tuple[tuple[_Structure, ...], tuple[Market, ...]]:
    """What the certain states say, and the markets in the order that the places count. States with fractional payouts
    are left out like possible ones: fewer states can only let more through."""
    rows = [
        state.yes_payouts
        for state in group.states
        if state.basis is Basis.CERTAIN
        and state.highest is None
        and all(payout in (0, ONE_DOLLAR) for payout in state.yes_payouts)
    ]
    if not rows:
        return (), group.markets
    columns = list(zip(*rows, strict=True))
    # By how many states pay: if the markets are nested at all, then in this order.
    order = sorted(range(len(columns)), key=lambda index: -sum(columns[index]))
    columns = [columns[index] for index in order]
    found: list[_Structure] = []
    nested = all(all(map(int.__ge__, easier, harder)) for easier, harder in pairwise(columns))
    totals = [sum(row) for row in rows]
    exclusive = max(totals) <= ONE_DOLLAR
    if nested:
        pairs = combinations(range(len(columns)), 2)
        found.append(_Nested(tuple((i, j) for i, j in pairs if columns[i] == columns[j])))
    if exclusive:
        found.append(_SellAll())
        if min(totals) == ONE_DOLLAR:
            found.append(_BuyAll(tuple(place for place, column in enumerate(columns) if not any(column))))
    if not found and len(columns) <= _MOST_CONJOINED:
        found.extend(_conjunction(columns))
    if found:
        found.extend(_SellNever(place) for place, column in enumerate(columns) if not any(column))
        found.extend(_BuyAlways(place) for place, column in enumerate(columns) if all(column))
    return tuple(found), tuple(group.markets[index] for index in order)


class Screen:
    """All groups. Books are handed in whenever their best level changed, and taken away when they go stale."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.unjudged: dict[str, str] = {}
        self._quotes: dict[str, _Quote] = {}
        self._judges: dict[str, _Judge] = {}
        for group in groups:
            structures, markets = _structures(group)
            if not structures:
                self.unjudged[group.group_id] = "its certain states are neither nested nor disjoint nor a conjunction"
                continue
            judge = _Judge(group, structures, tuple(self._quote(market) for market in markets))
            self._judges[group.group_id] = judge
            for place, quote in enumerate(judge.quotes):
                quote.watched_by(judge, place)

    def _quote(self, market: Market) -> _Quote:
        quote = self._quotes.get(market.ticker)
        if quote is None:
            quote = self._quotes[market.ticker] = _Quote(market)
        else:
            other = _fees_of(market.fees)
            # Two groups may know other terms while discovery runs: the cheaper fee is a bound for both.
            if other is not None and (quote.fees is None or other.coefficient < quote.fees.coefficient):
                quote.fees = other
        return quote

    def groups_of(self, ticker: str) -> tuple[str, ...]:
        """Ids of the groups that a market belongs to."""
        quote = self._quotes.get(ticker)
        return quote.group_ids if quote is not None else ()

    def group(self, group_id: str) -> Group | None:
        """A judged group."""
        judge = self._judges.get(group_id)
        return judge.group if judge is not None else None

    def update(self, book: Book) -> Sequence[str]:
        """A best price of a book changed, or the book is new: returns the groups whose edge may have changed by it.
        Sizes change no edge."""
        quote = self._quotes.get(book.ticker)
        if quote is None:
            return ()
        bid, ask = book.yes.top, ONE_DOLLAR - book.no.top
        if quote.known and bid == quote.book_bid and ask == quote.book_ask:
            return ()
        appeared, crossed = not quote.known, quote.crossed
        quote.take(bid, ask)
        crossing = quote.crossed - crossed
        for judge, place in quote.judges:
            judge.unknown -= appeared
            judge.crossed += crossing
            judge.take(place)
        return quote.group_ids

    def forget(self, ticker: str) -> None:
        """The book went stale: its groups cannot be judged until it is handed in again."""
        quote = self._quotes.get(ticker)
        if quote is None or not quote.known:
            return
        for judge, _ in quote.judges:
            judge.unknown += 1
            judge.crossed -= quote.crossed
            judge.current = False
        quote.known = quote.crossed = False

    def edge(self, group_id: str) -> int | None:
        """Dollars in 1e-10 that one contract of each leg of the best bundle gains in the worst certain state, fees
        unrounded. Positive means candidate. None: not judged, since a book is missing, stale or crossed, or no bundle
        has all its sides, or the group is unknown."""
        judge = self._judges.get(group_id)
        return judge.judged() if judge is not None else None

    def nearest(self, limit: int) -> list[Miss]:
        """The groups that come closest without being candidates, nearest first."""
        edges = ((judge.judged(), judge) for judge in self._judges.values())
        misses = ((edge, judge) for edge, judge in edges if edge is not None and edge <= 0)
        return [judge.miss(edge) for edge, judge in nlargest(limit, misses, key=lambda miss: miss[0])]
