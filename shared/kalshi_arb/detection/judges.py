"""How one group is screened: what is kept with every change of a quote, and what it says.

Three kinds, by the group's certain states:

- nested and disjoint markets have their best bundles in closed form: pairs of a chain, selling YES of all of which at
  most one pays, buying YES of all of which one pays. Sums and the cheapest asks along the chain are kept, so a change
  costs the same however many markets there are (a cheapest ask that moves reaches along the chain).
- everything else keeps a coherent price vector inside every quote (``prices``). While a changed quote stays on its side
  of its price nothing can gain, and nothing has to be looked at; the vector is repaired when a quote leaves it behind.

Edges are in 1e-10 dollars for one set of contracts; positive means that the best prices hold a gain after linear fees.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import accumulate, combinations, pairwise
from operator import sub
from typing import Protocol

from kalshi_arb.detection.effective import ONE
from kalshi_arb.detection.prices import NO_ASK, NO_BID, Prices, TopBundle
from kalshi_arb.detection.pricing_vector import certain_rows, keeper
from kalshi_arb.detection.quotes import Quote, shown
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, count_to_wire
from kalshi_arb.domain.state_space import Group

_ANY = 10**5 * ONE
"""Edges beyond this come from a side that is missing."""
_NEVER = 10**9 * ONE


class Judge(ABC):
    """One group, its quotes in the group's order, and how many of them forbid a judgement. ``is_outdated`` is for
    whoever changes many quotes before a ``reload``."""

    __slots__ = ("crossed", "group", "group_id", "is_outdated", "quotes", "unknown")

    def __init__(self, group: Group, quotes: Sequence[Quote]) -> None:
        self.group = group
        self.group_id = group.group_id
        self.quotes = quotes
        self.unknown = sum(not quote.known for quote in quotes)
        self.crossed = sum(quote.crossed for quote in quotes)
        self.is_outdated = False

    @property
    def is_fit(self) -> bool:
        """Whether every book is there and none crossed."""
        return not self.unknown and not self.crossed

    @abstractmethod
    def take(self, place: int) -> bool:
        """The quote at a place changed. Whether the group must be judged: it may gain now, or could before."""

    @abstractmethod
    def reload(self) -> None:
        """Any number of quotes changed."""

    @abstractmethod
    def gain(self) -> int:
        """The edge of the best bundle found when it is positive, else 0. Crossed books give nonsense."""

    @abstractmethod
    def bound(self) -> int:
        """No bundle has a higher edge than this, unless one gains. Cheaper than ``nearest``."""

    @abstractmethod
    def nearest(self) -> TopBundle | None:
        """The bundle with the highest edge, None when too many sides are missing to form one."""

    @abstractmethod
    def words(self, bundle: TopBundle) -> str:
        """A bundle in words."""

    def legs(self, bundle: TopBundle) -> tuple[str, ...]:
        """Each leg of a bundle in words."""
        return tuple(
            self.quotes[place].leg(count)
            + (f" x {_counted(count, bundle.scale)}" if abs(count) != bundle.scale else "")
            for place, count in bundle.counts
        )


def _counted(count: int, scale: int) -> str:
    return count_to_wire(Count(abs(count) * ONE_CONTRACT // scale))


class PricedJudge(Judge):
    """A group with a kept price vector."""

    __slots__ = ("_asks", "_bids", "_flagged", "_nearest", "prices")

    def __init__(self, group: Group, quotes: Sequence[Quote], prices: Prices) -> None:
        super().__init__(group, quotes)
        self.prices = prices
        self._flagged = False
        self._nearest: tuple[TopBundle | None] | None = None
        self.reload()

    def take(self, place: int) -> bool:
        quote = self.quotes[place]
        self._nearest = None
        if self.prices.take(place, quote.bid, quote.ask) and not self._flagged:
            return False
        was, self._flagged = self._flagged, not self.prices.settle()
        return was or self._flagged

    def reload(self) -> None:
        self._nearest = None
        for place, quote in enumerate(self.quotes):
            self.prices.take(place, quote.bid, quote.ask)
        self._flagged = not self.prices.settle()

    def gain(self) -> int:
        return self.prices.breach().edge if self._flagged else 0

    def bound(self) -> int:
        if self._flagged:
            return self.gain()
        low, high = self.prices.low, self.prices.high
        slacks = (min(quote.ask - high[place], low[place] - quote.bid) for place, quote in enumerate(self.quotes))
        return -sum(nsmallest(2, slacks))

    def nearest(self) -> TopBundle | None:
        if self._nearest is None:
            self._nearest = (self.prices.breach() if self._flagged else self.prices.nearest(),)
        return self._nearest[0]

    def words(self, bundle: TopBundle) -> str:
        return " and ".join(self.legs(bundle))


class ShapeJudge(Judge):
    """A group whose best bundles have a closed form. ``order`` holds the group's places as the structures count them:
    from the easiest to the hardest when the markets are nested."""

    __slots__ = (
        "_buy_under", "_chain", "_hot", "_is_nested", "_order", "_ordered", "_places", "_rare", "_sell_over",
        "_structures", "ask_sum", "asks",
        "bid_sum", "bids",
    )  # fmt: skip

    def __init__(
        self, group: Group, quotes: Sequence[Quote], structures: Sequence["Structure"], order: Sequence[int]
    ) -> None:
        super().__init__(group, quotes)
        self._structures = structures
        self._order = order
        self._places = {place: number for number, place in enumerate(order)}
        self._ordered = [quotes[place] for place in order]
        self._is_nested = any(isinstance(one, Nested) for one in structures)
        self._sell_over = ONE if any(isinstance(one, SellAll) for one in structures) else _NEVER
        self._buy_under = ONE if any(isinstance(one, BuyAll) and not one.idle for one in structures) else -_NEVER
        # What the chain and the sums do not tell.
        self._rare = tuple(
            one
            for one in structures
            if isinstance(one, (SellNever, BuyAlways))
            or (isinstance(one, Nested) and one.equals)
            or (isinstance(one, BuyAll) and one.idle)
        )
        self._hot = False
        self._chain: Chain | None = None
        self.reload()

    @property
    def chain(self) -> "Chain | None":
        """What the best pair of nested markets needs. Made when it is first asked for: most groups of a scan of all
        books never are."""
        if self._chain is None and self._is_nested:
            self._chain = Chain(self.bids, self.asks)
        return self._chain

    def take(self, place: int) -> bool:
        quote = self.quotes[place]
        place = self._places[place]
        bids, asks, chain = self.bids, self.asks, self._chain
        if chain is None and self._is_nested:
            chain = self.chain
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
        was, hot = self._hot, self._is_hot()
        self._hot = hot
        return hot or was

    def reload(self) -> None:
        self.asks = [quote.ask for quote in self._ordered]
        self.bids = [quote.bid for quote in self._ordered]
        self.ask_sum = sum(self.asks)
        self.bid_sum = sum([bid for bid in self.bids if bid > 0])
        self._chain = None
        self._hot = self._is_hot()

    def _is_hot(self) -> bool:
        chain = self._chain
        return (
            self.bid_sum > self._sell_over
            or self.ask_sum < self._buy_under
            or (chain.crossings > 0 if chain is not None else self._is_nested and crosses(self.bids, self.asks))
            or (bool(self._rare) and any(one.edge(self) > 0 for one in self._rare))
        )

    def gain(self) -> int:
        return max(0, *(one.edge(self) for one in self._structures)) if self._hot else 0

    def bound(self) -> int:
        return max(one.edge(self) for one in self._structures)

    def nearest(self) -> TopBundle | None:
        best = max(self._structures, key=lambda one: one.edge(self))
        edge = best.edge(self)
        if edge <= -_ANY:
            return None
        contracts = ((self._order[number], count) for number, count in best.contracts(self))
        return TopBundle(edge, 1, tuple(sorted(contracts)))

    def words(self, bundle: TopBundle) -> str:
        best = max(self._structures, key=lambda one: one.edge(self))
        if isinstance(best, SellAll):
            total = shown(sum(self.quotes[place].book_bid for place, _ in bundle.counts))
            return f"buy NO of {len(bundle.counts)} markets of which at most one is YES, bids {total} in all"
        if isinstance(best, BuyAll):
            total = shown(sum(self.quotes[place].book_ask for place, _ in bundle.counts))
            return f"buy YES of {len(bundle.counts)} markets of which one is YES, asks {total} in all"
        text = " and ".join(self.legs(bundle))
        return text if len(bundle.counts) > 1 else f"{text}, which every certain state pays"


def crosses(bids: Iterable[int], asks: Iterable[int]) -> bool:
    """Whether some bid is above an earlier ask."""
    cheapest = NO_ASK
    for bid, ask in zip(bids, asks, strict=True):
        if bid > cheapest:
            return True
        # Half the time of ``min``, and every book of a scan comes by.
        if ask < cheapest:
            cheapest = ask
    return False


class Chain:
    """What the best pair of a nested group needs, kept with every change: a change reaches only as far along the chain
    as it moves the cheapest ask.

    ``gaps[place]`` is the bid at the next place less ``cheapest[place]``, the cheapest ask up to this place;
    ``crossings`` counts those above 0.
    """

    __slots__ = ("_asks", "_bids", "_cheapest", "crossings", "gaps")

    def __init__(self, bids: list[int], asks: list[int]) -> None:
        self._bids, self._asks = bids, asks
        self._cheapest = list(accumulate(asks[:-1], min))
        self.gaps = list(map(sub, bids[1:], self._cheapest))
        self.crossings = sum(gap > 0 for gap in self.gaps)

    def bid_changed(self, place: int) -> None:
        """The bid at a place is another one."""
        if place:
            self._set(place - 1, self._bids[place] - self._cheapest[place - 1])

    def ask_changed(self, place: int) -> None:
        """The ask at a place is another one."""
        cheapest, asks = self._cheapest, self._asks
        low = cheapest[place - 1] if place else NO_ASK
        for here in range(place, len(cheapest)):
            ask = asks[here]
            low = min(ask, low)
            if low == cheapest[here]:
                return
            cheapest[here] = low
            self._set(here, self._bids[here + 1] - low)

    def _set(self, place: int, gap: int) -> None:
        self.crossings += (gap > 0) - (self.gaps[place] > 0)
        self.gaps[place] = gap


class Structure(Protocol):
    """What makes a set of markets pay together. Places are positions in the judge's order."""

    def edge(self, judge: ShapeJudge) -> int:
        """The best edge over the bundles of this structure; below ``-_ANY`` when none can be formed."""
        ...

    def contracts(self, judge: ShapeJudge) -> Sequence[tuple[int, int]]:
        """The bundle with that edge: places with 1 for YES bought and -1 for YES sold."""
        ...


@dataclass(frozen=True, slots=True)
class Nested:
    """Pairs of a chain: YES of an easier market and NO of a harder one pay a dollar. ``equals`` are the pairs (earlier,
    later) of markets that always pay alike: those count in both directions."""

    equals: tuple[tuple[int, int], ...]

    def edge(self, judge: ShapeJudge) -> int:
        """Each bid against the cheapest ask among all easier markets."""
        chain = judge.chain
        best = max(chain.gaps, default=NO_BID) if chain is not None else NO_BID
        for earlier, later in self.equals:
            best = max(best, judge.bids[earlier] - judge.asks[later])
        return best

    def contracts(self, judge: ShapeJudge) -> Sequence[tuple[int, int]]:
        """The best pair."""
        pairs = [*combinations(range(len(judge.bids)), 2), *((later, earlier) for earlier, later in self.equals)]
        easier, harder = max(pairs, key=lambda pair: judge.bids[pair[1]] - judge.asks[pair[0]])
        return (easier, 1), (harder, -1)


@dataclass(frozen=True, slots=True)
class SellAll:
    """Selling YES of every market that has a bid: at most one of them pays."""

    def edge(self, judge: ShapeJudge) -> int:
        """From the kept sum."""
        return judge.bid_sum - ONE if judge.bid_sum else NO_BID

    def contracts(self, judge: ShapeJudge) -> Sequence[tuple[int, int]]:
        """Every bid."""
        return [(place, -1) for place, bid in enumerate(judge.bids) if bid > 0]


@dataclass(frozen=True, slots=True)
class BuyAll:
    """Buying YES of every market but the ``idle`` ones, which no state pays: exactly one of the others pays."""

    idle: tuple[int, ...]

    def edge(self, judge: ShapeJudge) -> int:
        """From the kept sum."""
        return ONE - judge.ask_sum + sum(judge.asks[place] for place in self.idle)

    def contracts(self, judge: ShapeJudge) -> Sequence[tuple[int, int]]:
        """Every ask but the idle ones."""
        return [(place, 1) for place in range(len(judge.asks)) if place not in self.idle]


@dataclass(frozen=True, slots=True)
class SellNever:
    """A market that no certain state pays: its YES can be sold alone."""

    place: int

    def edge(self, judge: ShapeJudge) -> int:
        """All of the bid."""
        return judge.bids[self.place]

    def contracts(self, judge: ShapeJudge) -> Sequence[tuple[int, int]]:  # noqa: ARG002 - as every structure
        """The one sale."""
        return ((self.place, -1),)


@dataclass(frozen=True, slots=True)
class BuyAlways:
    """A market that every certain state pays: its YES can be bought alone."""

    place: int

    def edge(self, judge: ShapeJudge) -> int:
        """What the ask leaves of a dollar."""
        return ONE - judge.asks[self.place]

    def contracts(self, judge: ShapeJudge) -> Sequence[tuple[int, int]]:  # noqa: ARG002 - as every structure
        """The one purchase."""
        return ((self.place, 1),)


def judge_for(group: Group, quotes: Sequence[Quote]) -> Judge:
    """The cheapest judge for a group: by its certain states."""
    rows = certain_rows(group)
    if all(payout in (0, ONE_DOLLAR) for row in rows for payout in row):
        structures, order = _structures(rows)
        if structures:
            return ShapeJudge(group, quotes, structures, order)
    return PricedJudge(group, quotes, keeper(rows))


def _structures(rows: Sequence[Sequence[int]]) -> tuple[tuple[Structure, ...], Sequence[int]]:
    """What the states say, and the places in the order that the structures count them."""
    columns = list(zip(*rows, strict=True))
    # By how many states pay: if the markets are nested at all, then in this order.
    order = sorted(range(len(columns)), key=lambda index: -sum(columns[index]))
    columns = [columns[index] for index in order]
    found: list[Structure] = []
    if all(all(map(int.__ge__, easier, harder)) for easier, harder in pairwise(columns)):
        pairs = combinations(range(len(columns)), 2)
        found.append(Nested(tuple((i, j) for i, j in pairs if columns[i] == columns[j])))
    totals = [sum(row) for row in rows]
    if max(totals) <= ONE_DOLLAR:
        found.append(SellAll())
        if min(totals) == ONE_DOLLAR:
            found.append(BuyAll(tuple(place for place, column in enumerate(columns) if not any(column))))
    if found:
        found.extend(SellNever(place) for place, column in enumerate(columns) if not any(column))
        found.extend(BuyAlways(place) for place, column in enumerate(columns) if all(column))
    return tuple(found), order
