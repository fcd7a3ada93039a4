"""What describes a set of order books and a stream of their changes: the figures by which worlds are compared.

Integers throughout: prices and spreads in 1e-4 dollars, sizes in 1e-2 contracts, times in milliseconds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from itertools import pairwise
from random import Random

import msgspec

from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price

Levels = Sequence[tuple[Price, Count]]

POINTS = (5, 10, 25, 50, 75, 90, 95)
"""The percentiles that a distribution is described by."""

RANKS = ((0, 0), (1, 2), (3, 5), (6, 19))
"""First and last place from the best price, best is 0, of the levels whose sizes are put together."""

_MEDIAN = POINTS.index(50)
_WINDOW_MS = 100
_SECOND_MS = 1_000
_REACH = 10  # levels from the best, over which gaps are looked at


@unique
class Profile(Enum):
    """Kinds of markets that trade alike. Each has recordings of its own, named with the figures."""

    WEATHER = "weather"
    SPORTS = "sports"
    CRYPTO = "crypto"
    CRYPTO_15M = "crypto_15m"
    MACRO = "macro"
    COMBO = "combo"


class Spread(msgspec.Struct, frozen=True):
    """A distribution by its percentiles, those of :data:`POINTS`."""

    count: int
    at: tuple[int, ...]

    @property
    def median(self) -> int:
        """The middle one."""
        return self.at[_MEDIAN]

    def draw(self, random: Random) -> int:
        """A value of this distribution: between two percentiles all ratios are equally likely, beyond them none is."""
        place = random.random() * 100
        for (low, below), (high, above) in pairwise(zip(POINTS, self.at, strict=True)):
            if place < high:
                if place <= low or not 0 < below < above:
                    return below
                return round(below * math.pow(above / below, (place - low) / (high - low)))
        return self.at[-1]


class BookFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the books of a profile look. Shares are in parts per ten thousand; what was not recorded is None.

    ``spread`` is of two-sided books. ``sizes`` are by :data:`RANKS`. ``levels``, ``filled`` (levels for each cent from
    nothing to the best bid, in parts per ten thousand) and ``gap`` (between neighbours near the best) are of sides that
    are not empty.
    """

    books: int
    two_sided: int
    empty: int
    fractional_top: int | None = None
    fractional_top_side: int | None = None
    fractional_level: int | None = None
    spread: Spread | None = None
    sizes: tuple[Spread | None, ...] = ()
    levels: Spread | None = None
    filled: Spread | None = None
    gap: Spread | None = None


class RateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How changes arrive. ``peak`` is the most in 100 ms; ``quiet`` is the share of 100 ms without any (1e-4).

    ``per_100ms`` and ``per_second`` are in hundredths of the mean, so that streams of different rates compare.
    """

    changes: int
    milli_per_second: int
    peak: int
    quiet: int
    per_100ms: Spread
    per_second: Spread


def spread_of(values: Iterable[int]) -> Spread | None:
    """The percentiles of some values; None when there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    last = len(ordered) - 1
    return Spread(len(ordered), tuple(ordered[min(last, len(ordered) * point // 100)] for point in POINTS))


def share(part: int, whole: int) -> int:
    """A share in parts per ten thousand, 0 of nothing."""
    return round(10_000 * part / whole) if whole else 0


@dataclass(slots=True)
class BookSample:
    """Books seen one by one, and then their figures."""

    books: int = 0
    two_sided: int = 0
    empty: int = 0
    fractional_top: int = 0
    fractional_top_side: int = 0
    fractional_level: int = 0
    all_levels: int = 0
    spread: list[int] = field(default_factory=list)
    sizes: tuple[list[int], ...] = field(default_factory=lambda: tuple([] for _ in RANKS))
    levels: list[int] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)
    gap: list[int] = field(default_factory=list)

    def add(self, yes: Levels, no: Levels) -> None:
        """A whole book: each side's bids, best first."""
        self.quote(yes[0][0] if yes else None, no[0][0] if no else None)
        fractional = 0
        for side in (yes, no):
            if side:
                fractional += bool(side[0][1] % ONE_CONTRACT)
                self._side(side)
        self.fractional_top += bool(fractional)
        self.fractional_top_side += fractional

    def quote(self, yes_bid: Price | None, no_bid: Price | None) -> None:
        """A book of which only the best prices are known."""
        self.books += 1
        if yes_bid is not None and no_bid is not None:
            self.two_sided += 1
            self.spread.append(ONE_DOLLAR - no_bid - yes_bid)
        elif yes_bid is None and no_bid is None:
            self.empty += 1

    def figures(self) -> BookFigures:
        """The figures of everything seen so far."""
        sides = len(self.levels)
        return BookFigures(
            books=self.books,
            two_sided=share(self.two_sided, self.books),
            empty=share(self.empty, self.books),
            fractional_top=share(self.fractional_top, self.books) if sides else None,
            fractional_top_side=share(self.fractional_top_side, sides) if sides else None,
            fractional_level=share(self.fractional_level, self.all_levels) if sides else None,
            spread=spread_of(self.spread),
            sizes=tuple(spread_of(sizes) for sizes in self.sizes) if sides else (),
            levels=spread_of(self.levels),
            filled=spread_of(self.filled),
            gap=spread_of(self.gap),
        )

    def _side(self, side: Levels) -> None:
        self.levels.append(len(side))
        self.filled.append(share(len(side), max(1, side[0][0] // 100)))
        self.all_levels += len(side)
        self.fractional_level += sum(bool(size % ONE_CONTRACT) for _, size in side)
        for (first, last), sizes in zip(RANKS, self.sizes, strict=True):
            sizes.extend(size for _, size in side[first : last + 1])
        self.gap += [above - below for (above, _), (below, _) in pairwise(side[:_REACH])]


def rate_figures(stamps: Iterable[int]) -> RateFigures | None:
    """The figures of a stream whose changes carry these times; None when it is shorter than a second."""
    windows = Counter(ms // _WINDOW_MS for ms in stamps)
    if not windows or max(windows) - min(windows) < _SECOND_MS // _WINDOW_MS:
        return None
    counts = [windows.get(window, 0) for window in range(min(windows), max(windows) + 1)]
    per_window = _SECOND_MS // _WINDOW_MS
    seconds = [sum(counts[at : at + per_window]) for at in range(0, len(counts) - per_window + 1, per_window)]
    changes = sum(counts)
    by_window = spread_of(round(100 * count * len(counts) / changes) for count in counts)
    by_second = spread_of(round(100 * count * len(counts) / per_window / changes) for count in seconds)
    if by_window is None or by_second is None:
        return None
    return RateFigures(
        changes=changes,
        milli_per_second=round(changes * 1_000 * per_window / len(counts)),
        peak=max(counts),
        quiet=share(counts.count(0), len(counts)),
        per_100ms=by_window,
        per_second=by_second,
    )
