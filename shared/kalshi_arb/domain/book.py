"""One market's order book: resting YES bids and NO bids, each level a price and a size in contracts.

An ask is the complement of the other side's bid, so on one book YES ask + NO ask can never be below a dollar unless
the data is stale or crossed: that is an artefact, never an opportunity.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from kalshi_arb.domain.errors import BookError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, complement

_NO_BID = Price(0)


class BookVersion(NamedTuple):
    """Orders the states of one book over reconnects and restarts.

    ``seq`` restarts with every subscription, so ``generation`` counts subscriptions; ``epoch`` counts writers and
    fences an old feed that is still alive.
    """

    epoch: int
    generation: int
    seq: int


class Level(NamedTuple):
    """Resting or obtainable contracts at one price. The field is ``size`` because a tuple has a ``count`` already."""

    price: Price
    size: Count


class Bids:
    """The resting bids of one outcome, best (highest) last. A sorted price list beside a dict.

    ``top`` is the best price, 0 on an empty side: no bid can rest at 0.
    """

    __slots__ = ("_counts", "_prices", "top")

    def __init__(self) -> None:
        self._prices: list[Price] = []
        self._counts: dict[Price, Count] = {}
        self.top = _NO_BID

    def replace(self, levels: Iterable[tuple[Price, Count]]) -> None:
        """Take over a snapshot: the old content is gone, an empty iterable empties the side.

        :raises BookError: a level that is not positive, twice there or outside 0 to 1 dollar.
        """
        counts: dict[Price, Count] = {}
        for price, count in levels:
            if count <= 0 or price in counts or not 0 < price < ONE_DOLLAR:
                raise BookError(f"impossible level {price} x {count} in a snapshot")
            counts[price] = count
        self._counts = counts
        self._prices = sorted(counts)
        self.top = self._prices[-1] if counts else _NO_BID

    def add(self, price: Price, change: int) -> bool:
        """Apply a signed change to a level and say whether the best level (price or size) changed.

        :raises BookError: the level would become negative, or the price is outside 0 to 1 dollar.
        """
        counts = self._counts
        old = counts.get(price)
        if old is None:
            return self._open(price, change)
        new = old + change
        if new > 0:
            counts[price] = new  # type: ignore[assignment]  # Count() is a call, and every change comes through here
            return price == self.top
        if new < 0:
            raise BookError(f"level {price} would become {new}")
        del counts[price]
        prices = self._prices
        if price != self.top:
            del prices[bisect_left(prices, price)]
            return False
        prices.pop()
        self.top = prices[-1] if prices else _NO_BID
        return True

    def _open(self, price: Price, change: int) -> bool:
        """The same where nothing rests yet."""
        if not 0 < price < ONE_DOLLAR:
            raise BookError(f"price {price} cannot rest on a book")
        if change <= 0:
            if change < 0:
                raise BookError(f"level {price} would become {change}")
            return False
        self._counts[price] = Count(change)
        if price > self.top:
            self._prices.append(price)
            self.top = price
            return True
        insort(self._prices, price)
        return False

    @property
    def best(self) -> Level | None:
        """The highest bid, or None on an empty side."""
        top = self.top
        return Level(top, self._counts[top]) if top else None

    def __iter__(self) -> Iterator[Level]:
        """Levels from best to worst."""
        counts = self._counts
        return (Level(price, counts[price]) for price in reversed(self._prices))

    def __len__(self) -> int:
        return len(self._prices)


class Book:
    """A live book, changed in place by the feed."""

    __slots__ = ("no", "ticker", "yes")

    def __init__(self, ticker: str) -> None:
        self.ticker = ticker
        self.yes = Bids()
        self.no = Bids()

    def side(self, outcome: Outcome) -> Bids:
        """The resting bids of one outcome."""
        return self.yes if outcome is Outcome.YES else self.no

    def is_crossed(self) -> bool:
        """Whether best YES bid + best NO bid reaches a dollar: true for moments inside one exchange millisecond."""
        yes, no = self.yes.top, self.no.top
        return bool(yes and no) and yes + no >= ONE_DOLLAR

    def freeze(self, version: BookVersion, exchange_ms: int, alive_ms: int, depth: int) -> "BookSnapshot":
        """An immutable copy of the best ``depth`` levels of each side."""
        return BookSnapshot(
            self.ticker, version, exchange_ms, alive_ms, tuple(islice(self.yes, depth)), tuple(islice(self.no, depth))
        )


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """A book at one moment, levels from best to worst.

    ``exchange_ms`` is the exchange's time of the last change, ``alive_ms`` our time (both UTC milliseconds) at which
    its subscription was last known alive or its REST answer arrived: the age of a book counts from there, because a
    quiet book is not an old one.
    """

    ticker: str
    version: BookVersion
    exchange_ms: int
    alive_ms: int
    yes_bids: tuple[Level, ...]
    no_bids: tuple[Level, ...]

    def bids(self, outcome: Outcome) -> tuple[Level, ...]:
        """Resting bids of an outcome, best first: what a sale of it would meet."""
        return self.yes_bids if outcome is Outcome.YES else self.no_bids

    def asks(self, outcome: Outcome) -> tuple[Level, ...]:
        """What can be bought of an outcome, cheapest first, priced in that outcome."""
        return tuple(Level(complement(level.price), level.size) for level in self.bids(outcome.other))
