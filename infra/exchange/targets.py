"""What the real exchange looks like, in our own figures: what the simulated one is made from and measured against.

``calibration_targets.json`` beside this module holds the figures of every kind of market, taken from recordings of
2026 by ``python -m infra.exchange.calibration --data FOLDER --measure``. Where a kind has no recording of its own depth
or of its own rate, :data:`DEPTH_FROM` and :data:`RATES_FROM` say whose is taken, which is an assumption.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from infra.exchange.figures import BookFigures, Profile, RateFigures, Spread

TARGETS_FILE = Path(__file__).with_name("calibration_targets.json")

MARKETS_COUNTED = 22_000
"""Open markets that were read in one crawl of October 2026, combos left out."""

FRACTIONAL_COUNTED = 3_226
"""Of those, markets with a fraction of a contract at the top of the book."""

TWO_SIDED_COUNTED = 14_768
"""Of those, markets with a bid and an ask."""

DEPTH_FROM: Mapping[Profile, Profile] = {Profile.MACRO: Profile.WEATHER}
"""Kinds of which only best prices were recorded, and the kind whose sizes and levels they are given."""

RATES_FROM = Profile.CRYPTO_15M
"""The only kind whose stream was recorded: the rhythm of changes is taken from it for all, their number is not."""


class Targets(msgspec.Struct, frozen=True):
    """The figures of recordings. ``source`` says what was recorded and when."""

    source: str
    books: dict[Profile, BookFigures]
    rates: dict[Profile, RateFigures]


@cache
def load_targets() -> Targets:
    """The figures that are kept with this program."""
    return msgspec.json.decode(TARGETS_FILE.read_bytes(), type=Targets)


def spread_target(profile: Profile) -> Spread:
    """The spread of two-sided books. :raises LookupError: none was recorded."""
    spread = load_targets().books[profile].spread
    if spread is None:
        raise LookupError(f"no spread of {profile.value} was recorded")
    return spread


def depth_of(targets: Targets, profile: Profile) -> BookFigures | None:
    """The figures that a kind's sizes, levels and gaps are compared with, None when nothing was recorded.

    A kind without recorded depth has fractions at the top as often as all markets together.
    """
    figures = targets.books.get(DEPTH_FROM.get(profile, profile))
    if figures is None or profile not in DEPTH_FROM:
        return figures
    together = FRACTIONAL_COUNTED / MARKETS_COUNTED
    shares = (together, 1 - math.sqrt(1 - together))  # of books, and of their sides
    top, top_side = (round(10_000 * share) for share in shares)
    return msgspec.structs.replace(figures, fractional_top=top, fractional_top_side=top_side)


@cache
def depth_target(profile: Profile) -> BookFigures:
    """The figures that a kind's sizes, levels and gaps are taken from. :raises LookupError: none were recorded."""
    figures = depth_of(load_targets(), profile)
    if figures is None:
        raise LookupError(f"no depth of {profile.value} was recorded")
    return figures
