"""The screen: a cheap necessary condition per group, kept up to date with every change of a best price.

A group whose edge is not positive cannot hold a bundle that gains in every certain state, whatever the quantities: the
best prices bound every deeper one, and the unrounded fee bounds every real one from below. A group whose edge is
positive may still hold nothing after rounding; that is for the exact methods to say.

The structure comes from the group's certain states, never from tickers or the family's name. Leaving out the possible
states can only let more through, never less. Two structures are known:

- nested: in every state the markets pay in one order, so YES of an easier one and NO of a harder one pay a dollar
- disjoint: no state pays more than one dollar of YES in all, so selling YES of all of them costs at most a dollar;
  covering as well when every state pays exactly that, so buying YES of all of them earns it

A group of neither structure is not judged and is listed in ``Screen.unjudged``.

Prices and edges are in 1e-10 dollars for one contract of each leg, fees included: an ask is what one YES costs, a bid
what selling one YES (buying one NO at the complement) frees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate, pairwise
from operator import sub
from typing import Protocol

from kalshi_arb.domain.book import Book
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule, Role
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR, Price, price_to_wire, print_decimal
from kalshi_arb.domain.state_space import Basis, Group

EDGE_DECIMALS = 10
EDGE_PER_DOLLAR: int = 10**EDGE_DECIMALS
_EDGE_PER_PRICE = EDGE_PER_DOLLAR // ONE_DOLLAR
# coefficient (1e-8) x price (1e-4) x complement (1e-4) is 1e-16 dollars.
_FEE_PER_EDGE = 10**6
# Above x10 the effective price is no longer sure to rise with the price; a lower multiplier is still a lower bound.
_MULTIPLIER_CAP = 10 * 10**MULTIPLIER_DECIMALS

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

    __slots__ = ("ask", "bid", "book_ask", "book_bid", "coefficient", "crossed", "known", "market")

    def __init__(self, market: Market) -> None:
        self.market = market
        self.coefficient = _coefficient(market.fees)
        self.known = False
        self.crossed = False
        self.ask = _NO_ASK
        self.bid = _NO_BID
        self.book_ask: Price | None = None
        self.book_bid: Price | None = None

    def take(self, book: Book) -> None:
        yes, no = book.yes.best, book.no.best
        self.known = True
        self.crossed = book.is_crossed()
        self.book_bid = yes.price if yes is not None else None
        self.book_ask = Price(ONE_DOLLAR - no.price) if no is not None else None
        self.bid, self.ask = _NO_BID, _NO_ASK
        if self.coefficient is None:
            # No exact fee, so no leg on this market can be proved.
            return
        if self.book_bid is not None:
            self.bid = self.book_bid * _EDGE_PER_PRICE - _fee(self.coefficient, self.book_bid)
        if self.book_ask is not None:
            self.ask = self.book_ask * _EDGE_PER_PRICE + _fee(self.coefficient, self.book_ask)

    def buy_yes(self) -> str:
        return f"buy YES {self.market.ticker} at {_shown(self.book_ask)}"

    def buy_no(self) -> str:
        no_price = None if self.book_bid is None else Price(ONE_DOLLAR - self.book_bid)
        return f"buy NO {self.market.ticker} at {_shown(no_price)}"


def _shown(price: Price | None) -> str:
    return "no offer" if price is None else price_to_wire(price)


def _coefficient(fees: FeeSchedule) -> int | None:
    if not fees.is_tradable():
        return None
    return FeeSchedule(fees.fee_type, min(fees.multiplier, _MULTIPLIER_CAP)).coefficient(Role.TAKER)


def _fee(coefficient: int, price: Price) -> int:
    """The unrounded fee of one contract, cut down to 1e-10 dollars."""
    return coefficient * price * (ONE_DOLLAR - price) // _FEE_PER_EDGE


class _Structure(Protocol):
    """What makes a set of markets pay together."""

    def edge(self, quotes: Sequence[_Quote]) -> int:
        """The best edge over the bundles of this structure; below ``-_ANY`` when none can be formed."""
        ...

    def legs(self, quotes: Sequence[_Quote]) -> str:
        """The bundle with that edge, in words."""
        ...


@dataclass(frozen=True, slots=True)
class _Nested:
    """Pairs of a chain. ``order`` lists market positions from the easiest to the hardest, as ``rungs`` of equals."""

    rungs: tuple[tuple[int, ...], ...]

    def edge(self, quotes: Sequence[_Quote]) -> int:
        asks = [min(quotes[i].ask for i in rung) for rung in self.rungs]
        bids = [max(quotes[i].bid for i in rung) for rung in self.rungs]
        # The cheapest ask among all easier rungs against each bid.
        best = max(map(sub, bids[1:], accumulate(asks, min)), default=_NO_BID)
        for rung in self.rungs:
            if len(rung) > 1:
                best = max(best, *(quotes[j].bid - quotes[i].ask for i in rung for j in rung if i != j))
        return best

    def legs(self, quotes: Sequence[_Quote]) -> str:
        pairs = [
            (quotes[j].bid - quotes[i].ask, i, j)
            for place, rung in enumerate(self.rungs)
            for j in rung
            for easier in self.rungs[: place + 1]
            for i in easier
            if i != j
        ]
        _, i, j = max(pairs)
        return f"{quotes[i].buy_yes()} and {quotes[j].buy_no()}"


@dataclass(frozen=True, slots=True)
class _SellAll:
    """Selling YES of every market that has a bid: at most one of them pays."""

    members: tuple[int, ...]

    def edge(self, quotes: Sequence[_Quote]) -> int:
        bids = [quotes[i].bid for i in self.members if quotes[i].bid > 0]
        return sum(bids) - EDGE_PER_DOLLAR if bids else _NO_BID

    def legs(self, quotes: Sequence[_Quote]) -> str:
        count = sum(quotes[i].bid > 0 for i in self.members)
        total = sum(quotes[i].book_bid or 0 for i in self.members)
        return f"buy NO of {count} markets of which at most one is YES, bids {price_to_wire(Price(total))} in all"


@dataclass(frozen=True, slots=True)
class _BuyAll:
    """Buying YES of every member: exactly one of them pays."""

    members: tuple[int, ...]

    def edge(self, quotes: Sequence[_Quote]) -> int:
        return EDGE_PER_DOLLAR - sum(quotes[i].ask for i in self.members)

    def legs(self, quotes: Sequence[_Quote]) -> str:
        total = sum(quotes[i].book_ask or 0 for i in self.members)
        return f"buy YES of {len(self.members)} markets of which one is YES, asks {price_to_wire(Price(total))} in all"


@dataclass(frozen=True, slots=True)
class _SellNever:
    """A market that no certain state pays: its YES can be sold alone."""

    member: int

    def edge(self, quotes: Sequence[_Quote]) -> int:
        return quotes[self.member].bid

    def legs(self, quotes: Sequence[_Quote]) -> str:
        return f"{quotes[self.member].buy_no()}, which every certain state pays"


def _structures(group: Group) -> tuple[_Structure, ...]:
    """What the certain states say. States with fractional payouts are left out like possible ones: fewer states can
    only let more through."""
    rows = [
        state.yes_payouts
        for state in group.states
        if state.basis is Basis.CERTAIN and all(payout in (0, ONE_DOLLAR) for payout in state.yes_payouts)
    ]
    if not rows:
        return ()
    columns = [tuple(column) for column in zip(*rows, strict=True)]
    found: list[_Structure] = []
    rungs = _chain(columns)
    if rungs is not None:
        found.append(_Nested(rungs))
        hardest, easiest = rungs[-1], rungs[0]
        if not any(columns[hardest[0]]):
            found.extend(_SellNever(i) for i in hardest)
        if all(columns[easiest[0]]):
            found.extend(_BuyAll((i,)) for i in easiest)
    if all(sum(row) <= ONE_DOLLAR for row in rows):
        # A market that no state pays adds nothing to a purchase of all.
        payable = tuple(i for i, column in enumerate(columns) if any(column))
        found.append(_SellAll(tuple(range(len(columns)))))
        found.extend(_SellNever(i) for i in range(len(columns)) if i not in payable)
        if all(sum(row) == ONE_DOLLAR for row in rows):
            found.append(_BuyAll(payable))
    return tuple(found)


def _chain(columns: Sequence[tuple[Price, ...]]) -> tuple[tuple[int, ...], ...] | None:
    """Positions from the easiest to the hardest in rungs of equals, or None when the markets are not nested."""
    order = sorted(range(len(columns)), key=lambda i: -sum(columns[i]))
    rungs: list[list[int]] = [[order[0]]]
    for before, after in pairwise(order):
        if columns[before] == columns[after]:
            rungs[-1].append(after)
        elif all(map(int.__ge__, columns[before], columns[after])):
            rungs.append([after])
        else:
            return None
    return tuple(tuple(rung) for rung in rungs)


class _Judge:
    """One group's quotes, how many of them forbid a judgement, and the edge once it was computed."""

    __slots__ = ("crossed", "edge", "group", "quotes", "stale", "structures", "unknown")

    def __init__(self, group: Group, structures: tuple[_Structure, ...], quotes: tuple[_Quote, ...]) -> None:
        self.group = group
        self.structures = structures
        self.quotes = quotes
        self.unknown = sum(not quote.known for quote in quotes)
        self.crossed = sum(quote.crossed for quote in quotes)
        self.edge: int | None = None
        self.stale = True


class Screen:
    """All groups. Books are handed in whenever their best level changed, and taken away when they go stale."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.unjudged: dict[str, str] = {}
        self._quotes: dict[str, _Quote] = {}
        self._judges: dict[str, _Judge] = {}
        watchers: dict[str, list[_Judge]] = {}
        # One ticker may carry other terms in another group while discovery runs: the cheaper fee bounds both.
        for group in groups:
            structures = _structures(group)
            if not structures:
                self.unjudged[group.group_id] = "its certain states are neither nested nor disjoint"
                continue
            judge = _Judge(group, structures, tuple(self._quote(market) for market in group.markets))
            self._judges[group.group_id] = judge
            for market in group.markets:
                watchers.setdefault(market.ticker, []).append(judge)
        self._watchers = {ticker: tuple(judges) for ticker, judges in watchers.items()}
        self._group_ids = {
            ticker: tuple(judge.group.group_id for judge in judges) for ticker, judges in self._watchers.items()
        }

    def _quote(self, market: Market) -> _Quote:
        quote = self._quotes.get(market.ticker)
        if quote is None:
            quote = self._quotes[market.ticker] = _Quote(market)
        else:
            other = _coefficient(market.fees)
            if other is not None and (quote.coefficient is None or other < quote.coefficient):
                quote.coefficient = other
        return quote

    def groups_of(self, ticker: str) -> tuple[str, ...]:
        """Ids of the groups that a market belongs to."""
        return self._group_ids.get(ticker, ())

    def group(self, group_id: str) -> Group | None:
        """A judged group."""
        judge = self._judges.get(group_id)
        return judge.group if judge is not None else None

    def update(self, book: Book) -> None:
        """The best level of a book changed, or the book is new."""
        quote = self._quotes.get(book.ticker)
        if quote is None:
            return
        known, crossed = quote.known, quote.crossed
        quote.take(book)
        appeared, crossing = not known, quote.crossed - crossed
        for judge in self._watchers[book.ticker]:
            judge.unknown -= appeared
            judge.crossed += crossing
            judge.stale = True

    def forget(self, ticker: str) -> None:
        """The book went stale: its groups cannot be judged until it is handed in again."""
        quote = self._quotes.get(ticker)
        if quote is None or not quote.known:
            return
        for judge in self._watchers[ticker]:
            judge.unknown += 1
            judge.crossed -= quote.crossed
            judge.stale = True
        quote.known = quote.crossed = False

    def edge(self, group_id: str) -> int | None:
        """Dollars in 1e-10 that one contract of each leg of the best bundle gains in the worst certain state, fees
        unrounded. Positive means candidate. None: not judged, since a book is missing, stale or crossed, or no bundle
        has all its sides, or the group is unknown."""
        judge = self._judges.get(group_id)
        return self._edge(judge) if judge is not None else None

    def _edge(self, judge: _Judge) -> int | None:
        if judge.stale:
            judge.stale = False
            judge.edge = None
            if not judge.unknown and not judge.crossed:
                best = max(structure.edge(judge.quotes) for structure in judge.structures)
                if best > -_ANY:
                    judge.edge = best
        return judge.edge

    def nearest(self, limit: int) -> list[Miss]:
        """The groups that come closest without being candidates, nearest first."""
        edges = ((self._edge(judge), judge) for judge in self._judges.values())
        misses = ((edge, judge) for edge, judge in edges if edge is not None and edge <= 0)
        return [_miss(edge, judge) for edge, judge in nlargest(limit, misses, key=lambda miss: miss[0])]


def _miss(edge: int, judge: _Judge) -> Miss:
    best = max(judge.structures, key=lambda structure: structure.edge(judge.quotes))
    text = f"{best.legs(judge.quotes)}: {print_decimal(edge, EDGE_DECIMALS)} dollars a set after fees"
    return Miss(judge.group.group_id, judge.group.event_ticker, edge, text)
