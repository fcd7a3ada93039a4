"""The screen by itself and on a universe the size of the exchange: what a change costs, what a whole scan costs.

    python -m infra.bench.detect_universe [--json] [--check] [--runs N] [--markets N] [--events N] [--seed N]
                                          [--plot DIR]

Answers come first: whatever the screen says is compared with the exact solver, group by group, and a load without
gains is an error. Then a change is timed beside ``json.loads`` of one frame of the order book channel, which does the
same work on every machine, and a scan of all books beside the exact solver on every group without a screen. Times are
processor time of one thread; a ratio is the median of the ratios inside each round. ``--plot`` draws growth as PNG.
Exit codes: 0 done, 1 answers differ or (with ``--check``) a target is missed.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from infra.bench.plot import Line, draw
from kalshi_arb.detection.screen import Screen
from kalshi_arb.detection.solvers import solve
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price
from kalshi_arb.domain.state_space import Basis, Family, Group, State

Rows = list[tuple[int, ...]]

FRAME = (
    b'{"type":"orderbook_delta","sid":2,"seq":1234,"msg":{"market_ticker":"KXHIGHNY-26NOV22-T55","market_id":'
    b'"9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1","price_dollars":"0.9600","delta_fp":"-54.00","side":"yes",'
    b'"ts":"2026-11-22T20:00:00Z","ts_ms":1763841600000}}'
)
UPDATE_TARGET = 3.1
"""0.7 us where ``json.loads`` of such a frame takes 2.2 us."""
SCAN_TARGET_MS = 100.0
_CHANGES = 20_000
_FEES = FeeSchedule(FeeType.QUADRATIC)


class DifferentAnswersError(KalshiArbError):
    """The screen and the exact solver disagree, or there was nothing to find: times would mean nothing."""


def ladder(width: int) -> Rows:
    """Nested markets."""
    return [tuple(int(place < paying) for place in range(width)) for paying in range(width + 1)]


def partition(width: int) -> Rows:
    """Exactly one pays."""
    return [tuple(int(place == winner) for place in range(width)) for winner in range(width)]


def line(width: int) -> Rows:
    """Thresholds and the brackets between them."""
    thresholds = (width + 1) // 2
    cells = range(thresholds + 1)
    columns = [[int(cell > place) for cell in cells] for place in range(thresholds)]
    columns += [[int(cell == place + 1) for cell in cells] for place in range(width - thresholds)]
    return list(zip(*columns, strict=True))


def combo(width: int) -> Rows:
    """A combo and its legs."""
    return [(int(all(row)), *row) for row in product((0, 1), repeat=width - 1)]


def user(width: int) -> Rows:
    """The first implies the second, the third excludes both, the rest are free of each other but not all at once."""
    rows = [row for row in product((0, 1), repeat=width) if row[0] <= row[1] and not (row[2] and row[1])]
    return [row for row in rows if not all(row[3:]) or width < 5]


FAMILIES: Mapping[str, tuple[Family, Callable[[int], Rows], Sequence[int]]] = {
    "ladder": (Family.LADDER, ladder, (5, 20, 50, 100)),
    "partition": (Family.PARTITION, partition, (5, 20, 50, 100)),
    "line": (Family.LINE, line, (5, 20, 50, 100)),
    "combo": (Family.COMBO, combo, (3, 5, 7)),
    "user": (Family.USER, user, (4, 6)),
}
# How many of a hundred events are of a kind, and how many markets they have.
MIX: Sequence[tuple[int, str, Sequence[int]]] = (
    (40, "ladder", (5, 6, 8, 10, 12)), (20, "partition", (6, 6, 8, 12)), (25, "partition", (2, 3)),
    (10, "line", (8, 10, 15)), (4, "combo", (3, 4, 5)), (1, "user", (4,)),
)  # fmt: skip


class World(NamedTuple):
    """Groups with their books."""

    groups: list[Group]
    books: dict[str, BookSnapshot]


def group_of(name: str, family: Family, rows: Rows) -> Group:
    """A group with these states."""
    markets = tuple(
        Market(
            ticker=f"{name}-{place}", event_ticker=name, series_ticker="BENCH", strike_type=StrikeType.OTHER,
            floor=None, cap=None, subject="", title=name, grid=CENT_GRID, fees=_FEES, shard=0, close_ms=0,
            rules_fingerprint="",
        )
        for place in range(len(rows[0]))
    )  # fmt: skip
    states = tuple(
        State(f"state {number}", tuple(Price(ONE_DOLLAR * pays) for pays in row), Basis.CERTAIN)
        for number, row in enumerate(rows)
    )
    return Group(name, family, name, markets, states, (), name)


def fair_prices(rows: Rows, rng: random.Random) -> list[float]:
    """What each market is worth, in cents, under a mixture drawn at random."""
    weights = [rng.random() + 0.1 for _ in rows]
    total = sum(weights)
    return [
        100 * sum(weight * row[place] for weight, row in zip(weights, rows, strict=True)) / total
        for place in range(len(rows[0]))
    ]


def quoted(fair: float, rng: random.Random) -> tuple[int, int]:
    """Bid and ask of YES about a price, 1e-4 dollars; 0 and a dollar where the side is empty."""
    bid = min(98, max(0, int(fair) - rng.randint(0, 2)))
    return bid * 100, min(100, bid + rng.randint(2, 4)) * 100


def world(events: int, markets: int, seed: int, mispriced: float) -> World:
    """A universe of about so many markets. Of the mispriced events one market is off by 15 to 25 cents."""
    rng = random.Random(seed)  # noqa: S311 - a seeded load
    kinds = [(name, widths) for share, name, widths in MIX for _ in range(share)]
    average = sum(share * statistics.mean(widths) for share, _, widths in MIX) / 100
    stretch = markets / events / average
    groups: list[Group] = []
    books: dict[str, BookSnapshot] = {}
    for number in range(events):
        name, widths = rng.choice(kinds)
        family, rows_of, _ = FAMILIES[name]
        width = rng.choice(widths)
        rows = rows_of(width if name in ("combo", "user") else max(2, round(width * stretch)))
        group = group_of(f"{name}-{number}", family, rows)
        groups.append(group)
        fair = fair_prices(rows, rng)
        if rng.random() < mispriced:
            place = rng.randrange(len(fair))
            fair[place] += rng.choice((-1, 1)) * rng.uniform(15, 25)
        for market, price in zip(group.markets, fair, strict=True):
            books[market.ticker] = snapshot(market.ticker, *quoted(price, rng), rng)
    return World(groups, books)


# Read prices are remembered by their text (``frames.price_of``), so books share them.
_PRICES = [Price(price) for price in range(ONE_DOLLAR)]


def snapshot(ticker: str, bid: int, ask: int, rng: random.Random) -> BookSnapshot:
    """A book of up to four levels a side under these best prices."""

    def levels(best: int) -> tuple[Level, ...]:
        prices = (best - 100 * step for step in range(4))
        return tuple(Level(_PRICES[price], Count(100 * rng.randint(1, 500))) for price in prices if price > 0)

    return BookSnapshot(ticker, BookVersion(1, 1, 1), 0, 0, levels(bid), levels(ONE_DOLLAR - ask))


def changes(group: Group, rows: Rows, seed: int, count: int, shocks: float) -> list[tuple[str, int, int]]:
    """Best prices about a mixture, each market with a spread of its own, every market once first. A share of the
    changes is off by a shock, which the next change takes back."""
    rng = random.Random(seed)  # noqa: S311 - a seeded load
    found = []
    fair = fair_prices(rows, rng)
    room = [rng.randint(1, 2) for _ in fair]
    shocked: int | None = None
    for number in range(count):
        place = number if number < len(fair) else rng.randrange(len(fair)) if shocked is None else shocked
        shock = rng.gauss(0, 20) if shocked is None and number >= len(fair) and rng.random() < shocks else 0.0
        shocked = place if shock else None
        middle = round(fair[place] + rng.gauss(0, 0.3) + shock)
        bid, ask = min(98, max(0, middle - room[place])), max(1, min(100, middle + room[place]))
        found.append((group.markets[place].ticker, bid * 100, max(ask, bid + 1) * 100))
    return found


def time_updates(name: str, width: int, runs: int) -> dict[str, Any]:
    """One family at one size: nanoseconds a change, and how many times longer the peer takes."""
    family, rows_of, _ = FAMILIES[name]
    rows = rows_of(width)
    group = group_of(name, family, rows)
    steps = changes(group, rows, width, _CHANGES, 0.002)
    times, ratios, candidates = [], [], 0
    for _ in range(runs):
        screen = Screen([group])
        for step in steps[:width]:
            screen.take(*step)
        peer = _peer_ns()
        take, gain = screen.take, screen.gain
        candidates = 0
        began = time.process_time_ns()
        for ticker, bid, ask in steps[width:]:
            for group_id in take(ticker, bid, ask):
                candidates += gain(group_id) > 0
        taken = (time.process_time_ns() - began) / (len(steps) - width)
        times.append(taken)
        ratios.append(peer / taken)
    ratio = statistics.median(ratios)
    return {
        "ns": round(statistics.median(times)), "json_loads_over_update": round(ratio, 2), "target": UPDATE_TARGET,
        "met": ratio >= UPDATE_TARGET, "candidates": candidates,
    }  # fmt: skip


def _peer_ns() -> float:
    read = json.loads
    rounds = 5_000
    began = time.process_time_ns()
    for _ in range(rounds):
        read(FRAME)
    return (time.process_time_ns() - began) / rounds


def compare_updates(name: str, width: int, every: int = 40) -> tuple[int, int]:
    """Screen and exact solver on every so many steps: how many were compared, and how many held a gain.

    :raises DifferentAnswersError: they disagree.
    """
    family, rows_of, _ = FAMILIES[name]
    rows = rows_of(width)
    group = group_of(name, family, rows)
    screen = Screen([group])
    rng = random.Random(width)  # noqa: S311 - a seeded load
    books: dict[str, BookSnapshot] = {}
    compared = gains = 0
    standing = False
    for number, (ticker, bid, ask) in enumerate(changes(group, rows, width, 4_000, 0.03)):
        books[ticker] = snapshot(ticker, bid, ask, rng)
        if screen.take(ticker, bid, ask):
            standing = screen.gain(name) > 0
            looked = True
        else:
            looked = number % every == 0
        if looked and len(books) == width:
            compared += 1
            gains += standing
            if (solve(group, books) is not None) is not standing:
                raise DifferentAnswersError(f"{name} of {width}, step {number}: screen {standing}, solver not")
    return compared, gains


class Scan(NamedTuple):
    """Processor milliseconds: screening, and solving what it let through. ``profits`` by group, 1e-10 dollars."""

    screen_ms: float
    solve_ms: float
    candidates: int
    profits: dict[str, int]


def scan(screen: Screen, groups: Mapping[str, Group], books: Mapping[str, BookSnapshot]) -> Scan:
    """All books into the screen, and every candidate to the exact solver."""
    began = time.process_time_ns()
    screen.load(books.values())
    candidates = list(screen.candidates())
    screened = time.process_time_ns()
    profits = {}
    for group_id in candidates:
        found = solve(groups[group_id], books)
        if found is not None:
            profits[group_id] = found.linear_profit
    ended = time.process_time_ns()
    return Scan((screened - began) / 1e6, (ended - screened) / 1e6, len(candidates), profits)


def time_scans(events: int, markets: int, seed: int, runs: int, *, compare: bool) -> dict[str, Any]:
    """A universe scanned again and again, its books different every time.

    :raises DifferentAnswersError: the solver finds a gain where the screen lets nothing through, or there is none.
    """
    first = world(events, markets, seed, 0.02)
    # Every book is another one when it is scanned again.
    rng = random.Random(seed + 1)  # noqa: S311 - a seeded load
    moved = {
        ticker: snapshot(
            ticker, *quoted((book.yes_bids[0].price / 100 if book.yes_bids else 0) + rng.choice((0, 1)), rng), rng
        )
        for ticker, book in first.books.items()
    }  # fmt: skip
    groups = {group.group_id: group for group in first.groups}
    began = time.process_time_ns()
    screen = Screen(first.groups)
    built_ms = (time.process_time_ns() - began) / 1e6
    scans = []
    for _ in range(runs):
        scan(screen, groups, moved)
        gc.collect()
        scans.append(scan(screen, groups, first.books))
    last = scans[-1]
    if not last.profits:
        raise DifferentAnswersError("no event of the universe holds a gain")
    totals = [one.screen_ms + one.solve_ms for one in scans]
    report: dict[str, Any] = {
        "events": len(first.groups), "markets": len(first.books), "build_ms": round(built_ms, 1),
        "screen_ms": round(statistics.median(one.screen_ms for one in scans), 1),
        "solve_ms": round(statistics.median(one.solve_ms for one in scans), 1),
        "total_ms": round(statistics.median(totals), 1), "best_total_ms": round(min(totals), 1),
        "candidates": last.candidates, "arbitrages": len(last.profits),
    }  # fmt: skip
    if compare:
        began = time.process_time_ns()
        everything = {group_id: solve(group, first.books) for group_id, group in groups.items()}
        every_ms = (time.process_time_ns() - began) / 1e6
        exact = {group_id: found.linear_profit for group_id, found in everything.items() if found is not None}
        if exact != last.profits:
            raise DifferentAnswersError(
                f"{len(exact)} gains by the solver alone, {len(last.profits)} by way of the screen"
            )
        report |= {
            "solve_every_group_ms": round(every_ms, 1),
            "solve_every_group_over_scan": round(every_ms / statistics.median(totals), 2),
            "answers_equal": True,
        }
    return report


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything. :raises KalshiArbError: answers differ."""
    _tell("comparing screen and solver ...")
    compared = {
        f"{name} n={width}": compare_updates(name, width)
        for name, (_, _, widths) in FAMILIES.items()
        for width in widths
        if width <= 20
    }
    for name in FAMILIES:
        if not any(gains for case, (_, gains) in compared.items() if case.startswith(f"{name} ")):
            raise DifferentAnswersError(f"no stream of {name} holds a gain: {compared}")
    gc.disable()
    try:
        _tell("timing changes ...")
        updates = {
            name: {str(width): time_updates(name, width, arguments.runs) for width in widths}
            for name, (_, _, widths) in FAMILIES.items()
        }
        _tell("timing the universe ...")
        universe = time_scans(arguments.events, arguments.markets, arguments.seed, arguments.runs, compare=True)
        growth = [
            time_scans(arguments.events * part // 4, arguments.markets * part // 4, arguments.seed, 3, compare=False)
            for part in (1, 2, 3)
        ]
    finally:
        gc.enable()
    universe |= {"target_ms": SCAN_TARGET_MS, "met": universe["total_ms"] <= SCAN_TARGET_MS}
    return {
        "python": platform.python_version(), "seed": arguments.seed, "peer": "json.loads of one delta frame, 268 bytes",
        "answers_equal": True,
        "compared": {name: {"steps": steps, "gains": gains} for name, (steps, gains) in compared.items()},
        "updates": updates, "universe": universe, "growth": [*growth, universe],
    }  # fmt: skip


def plot(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Growth of a change with the size of its group, and of a scan with the universe, as PNG files."""
    by_size = [
        Line(name, [(int(width), row["ns"]) for width, row in rows.items()]) for name, rows in report["updates"].items()
    ]
    by_events = [
        Line(label, [(row["events"], row[key]) for row in report["growth"]])
        for label, key in (("screen", "screen_ms"), ("exact solver", "solve_ms"), ("whole scan", "total_ms"))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "screen-update.png", folder / "universe-scan.png"]
    paths[0].write_bytes(draw("A change in the screen", "markets in the group", "ns", by_size))
    paths[1].write_bytes(draw("A scan of every book", "events", "ms", by_events))
    return paths


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _as_text(report: Mapping[str, Any]) -> str:
    lines = [f"Python {report['python']}, peer {report['peer']}, answers equal"]
    for name, rows in report["updates"].items():
        for width, row in rows.items():
            lines.append(
                f"  {name:<10} n={width:<4}{row['ns']:>6} ns{row['json_loads_over_update']:>7.2f}x  "
                f"target {row['target']}x {'met' if row['met'] else 'MISSED'}, {row['candidates']} candidates"
            )
    lines.append("")
    lines += [f"  {name:<28}{value}" for name, value in report["universe"].items()]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.detect_universe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--markets", type=int, default=75_000, help="about so many markets (default 75000)")
    parser.add_argument("--events", type=int, default=10_000, help="events (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of the universe (default 1)")
    parser.add_argument("--plot", type=Path, help="folder for the drawings")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.events < 400 or arguments.markets < 2 * arguments.events:
        parser.error("at least 1 run, 400 events and 2 markets an event are needed")
    return arguments


def main() -> int:
    """Run the comparison; returns the exit code."""
    arguments = _arguments()
    try:
        report = measure(arguments)
    except KalshiArbError as error:
        _tell(f"error: {error}")
        return 1
    if arguments.plot is not None:
        for path in plot(report, arguments.plot):
            _tell(f"drawn: {path}")
    sys.stdout.write((json.dumps(report) if arguments.json else _as_text(report)) + "\n")
    met = [report["universe"]["met"], *(row["met"] for rows in report["updates"].values() for row in rows.values())]
    return 1 if arguments.check and not all(met) else 0


if __name__ == "__main__":
    raise SystemExit(main())
