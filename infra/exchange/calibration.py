"""``python -m infra.exchange.calibration``: how close the simulated books are to recorded ones.

Prints the figures of the kept targets (or of a folder of recordings) beside those of a universe that is run for a
while, kind by kind. ``--measure`` prints the figures of the recordings as the file in which the targets are kept.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import msgspec

from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged
from infra.exchange.figures import (
    POINTS,
    RANKS,
    BookFigures,
    BookSample,
    Levels,
    Profile,
    RateFigures,
    Spread,
    rate_figures,
)
from infra.exchange.living import seeded_ids
from infra.exchange.recordings import RecordingsError, read_recordings
from infra.exchange.targets import (
    FRACTIONAL_COUNTED,
    MARKETS_COUNTED,
    RATES_FROM,
    TWO_SIDED_COUNTED,
    Targets,
    depth_of,
    load_targets,
)
from infra.exchange.universe import Universe, UniverseConfig
from kalshi_arb.domain.book import Bids

SECONDS = 120
"""How long a universe is run when nothing else is said."""

_SOURCE = "figures computed from recordings of the public exchange, April to August 2026"
_START_MS = 1_800_000_000_000
_STEP_MS = 20
_LOOK_MS = 1_000
_SETTLING_IN_MS = 5_000  # the first events all open at once
_QUARTILES = (25, 50, 75)
_TOGETHER = "all"
_RHYTHM = "rhythm"


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a universe showed: books by kind and all together, and the rhythm of the whole stream while nothing opens
    or closes."""

    books: dict[Profile, BookFigures]
    together: BookFigures
    rates: RateFigures | None


TOLERANCES: Mapping[str, tuple[float, int]] = {
    "two-sided": (1.0, 1_000),
    "empty": (1.0, 1_000),
    "spread": (1.5, 100),
    "fractional at the top": (1.0, 1_500),
    "fractional levels": (1.0, 500),
    "levels a side": (1.8, 3),
    "levels a cent": (1.8, 0),
    "gap": (1.5, 100),
    "size": (3.0, 200),
    "changes per": (1.0, 45),
    "100 ms": (1.0, 1_500),
    "most changes": (4.0, 0),
}
"""By the beginning of a figure's name: how many times as large or as small it may be, and by how much more again."""

EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("all", "fractional"): "the kinds that were recorded trade more, with more fractions, than the mean of all markets",
    (
        "macro",
        "spread",
    ): "few markets at a time, of a distribution from 1 to 88 cents that the ends of the grid cut off",
    (
        "crypto",
        "two-sided",
    ): "recorded events have 75 or 188 brackets, simulated ones 20 to 24: more are near the price",
    ("crypto", "levels a side"): "as above: the many levels stand where the price is far away",
    ("crypto", "size"): "as above: the price passes through more of the brackets, and orders stay where they were",
    ("combo", "empty"): "too few combos at a time",
    ("combo", "gap"): "one recorded book has more than one level",
}
"""Figures, by kind and the beginning of their name, that are not held to, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one kind of market, as recorded and as simulated; None where it is not known."""

    kind: str
    name: str
    recorded: int | None
    simulated: int | None

    @property
    def excuse(self) -> str:
        """Why it is not held to; empty for one that is."""
        found = (why for (kind, name), why in EXCEPTIONS.items() if kind == self.kind and self.name.startswith(name))
        return next(found, "")

    @property
    def is_close(self) -> bool | None:
        """Whether it is within its tolerance; None for one that has none or is not known on both sides."""
        bounds = next((bounds for name, bounds in TOLERANCES.items() if self.name.startswith(name)), None)
        if bounds is None or self.recorded is None or self.simulated is None:
            return None
        times, more = bounds
        return self.recorded / times - more <= self.simulated <= self.recorded * times + more


def simulate(seconds: int, seed: int) -> Simulated:
    """Run universes of the usual liveliness, without mispricings, sockets or a clock, for some seconds of their time.

    One has events that come and go, as always, and its books are looked at; one has events that outlive it, and the
    times of its changes are kept.
    """
    samples: dict[Profile, BookSample] = defaultdict(BookSample)
    together = BookSample()
    quiet = UniverseConfig(mispricing_every_ms=10**9)
    for core, world in _run(quiet, seconds, seed):
        core.drain()
        if core.now_ms % _LOOK_MS == 0:
            for ticker, profile in world.quoted():
                book = core.markets[ticker].book
                sides = _levels(book.yes), _levels(book.no)
                samples[profile].add(*sides)
                if profile is not Profile.COMBO:
                    together.add(*sides)
    stamps: list[int] = []
    lasting = replace(quiet, event_life_ms=(10_000 * seconds, 10_000 * seconds))
    for core, _ in _run(lasting, seconds, seed):
        stamps += [core.now_ms for emitted in core.drain() if isinstance(emitted, BookChanged)]
    books = {profile: sample.figures() for profile, sample in samples.items()}
    return Simulated(books, together.figures(), rate_figures(stamps))


def _run(config: UniverseConfig, seconds: int, seed: int) -> Iterator[tuple[ExchangeCore, Universe]]:
    random = Random(seed)
    core = ExchangeCore(_START_MS, seeded_ids(Random(random.getrandbits(64))))
    world = Universe(core, config, random)
    world.start()
    first = _START_MS + _SETTLING_IN_MS
    for ms in range(_START_MS + _STEP_MS, first + seconds * 1_000 + 1, _STEP_MS):
        world.step(ms)
        if ms <= first:
            core.drain()
        else:
            yield core, world


def _levels(side: Bids) -> Levels:
    return [(level.price, level.size) for level in side]


def compare(recorded: Targets, simulated: Simulated) -> list[Row]:
    """Every figure that both could have, side by side."""
    shares = {"two-sided, 1e-4": TWO_SIDED_COUNTED, "fractional at the top, 1e-4": FRACTIONAL_COUNTED}
    seen = (simulated.together.two_sided, simulated.together.fractional_top)
    rows = [
        Row(_TOGETHER, name, round(10_000 * counted / MARKETS_COUNTED), share)
        for (name, counted), share in zip(shares.items(), seen, strict=True)
    ]
    for profile in Profile:
        left, right = recorded.books.get(profile), simulated.books.get(profile)
        if left is None and right is None:
            continue
        rows += _book_rows(profile.value, left, depth_of(recorded, profile), right)
    rate = recorded.rates.get(RATES_FROM)
    for name in ("per_100ms", "per_second"):
        label = f"changes {name}, % of the mean"
        rows += _quartiles(_RHYTHM, label, _spread(rate, name), _spread(simulated.rates, name))
    labels = {
        "quiet": "100 ms without a change, 1e-4",
        "peak": "most changes in 100 ms",
        "milli_per_second": "changes in 1000 s",
    }
    rows += [
        Row(_RHYTHM, label, getattr(rate, name, None), getattr(simulated.rates, name, None))
        for name, label in labels.items()
    ]
    return rows


def _book_rows(
    kind: str, recorded: BookFigures | None, depth: BookFigures | None, simulated: BookFigures | None
) -> Iterator[Row]:
    def both(name: str, label: str, source: BookFigures | None) -> Row:
        return Row(kind, label, getattr(source, name, None), getattr(simulated, name, None))

    yield both("books", "books looked at", recorded)
    yield both("two_sided", "two-sided, 1e-4", recorded)
    yield both("empty", "empty, 1e-4", recorded)
    yield from _quartiles(kind, "spread, 1e-4 dollars", _spread(recorded, "spread"), _spread(simulated, "spread"))
    yield both("fractional_top", "fractional at the top, 1e-4", depth)
    yield both("fractional_level", "fractional levels, 1e-4", depth)
    for name, label in (("levels", "levels a side"), ("filled", "levels a cent, 1e-4"), ("gap", "gap, 1e-4 dollars")):
        yield from _quartiles(kind, label, _spread(depth, name), _spread(simulated, name))
    for place, (first, last) in enumerate(RANKS):
        label = f"size at level {first + 1} to {last + 1}, 1e-2 contracts"
        yield from _quartiles(kind, label, _sizes(depth, place), _sizes(simulated, place))


def _spread(figures: BookFigures | RateFigures | None, name: str) -> Spread | None:
    found: Spread | None = getattr(figures, name, None)
    return found


def _sizes(figures: BookFigures | None, place: int) -> Spread | None:
    return figures.sizes[place] if figures is not None and figures.sizes else None


def _quartiles(kind: str, label: str, recorded: Spread | None, simulated: Spread | None) -> Iterator[Row]:
    for point in _QUARTILES:
        place = POINTS.index(point)
        left, right = (known.at[place] if known is not None else None for known in (recorded, simulated))
        yield Row(kind, f"{label}, p{point}", left, right)


def measured(folder: Path) -> Targets:
    """The figures of a folder of recordings. :raises RecordingsError: there are none, or they are damaged."""
    found = read_recordings(folder)
    return Targets(_SOURCE, {kind: sample.figures() for kind, sample in found.books.items()}, found.rates)


def _printed(rows: Sequence[Row]) -> str:
    lines = [f"{'kind':<11} {'figure':<45} {'recorded':>12} {'simulated':>12}"]
    for row in rows:
        numbers = (str(value) if value is not None else "-" for value in (row.recorded, row.simulated))
        verdict = {True: "close", False: f"off: {row.excuse}" if row.excuse else "OFF", None: ""}[row.is_close]
        lines.append(
            f"{row.kind:<11} {row.name:<45} " + " ".join(f"{number:>12}" for number in numbers) + f"  {verdict}"
        )
    return "\n".join(lines)


def _row_json(row: Row) -> dict[str, object]:
    return {**asdict(row), "is_close": row.is_close, "excuse": row.excuse}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.exchange.calibration", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, metavar="FOLDER", help="recordings to compare with instead of the kept figures")
    add("--measure", action="store_true", help="print the figures of --data alone, as the targets are kept")
    add("--seconds", type=int, default=SECONDS, help="how long to run the universe (default %(default)s)")
    add("--seed", type=int, default=1, help="seed of the universe (default %(default)s)")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print; returns the exit status, 2 for input that cannot be used."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.seconds < 1:
        parser.error("--seconds must be at least 1")
    if arguments.measure and arguments.data is None:
        parser.error("--measure needs --data")
    try:
        recorded = load_targets() if arguments.data is None else measured(arguments.data)
    except RecordingsError as error:
        sys.stderr.write(f"calibration: {error}\n")
        return 2
    if arguments.measure:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(recorded), indent=1).decode() + "\n")
        return 0
    rows = compare(recorded, simulate(arguments.seconds, arguments.seed))
    if arguments.json:
        found = {"source": recorded.source, "seconds": arguments.seconds, "figures": [_row_json(row) for row in rows]}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write(_printed(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
