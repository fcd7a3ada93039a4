"""`make bench-feed`: our stream beside its peers, in one run, on the same frames.

    python -m infra.bench.feed [--json] [--check] [--runs N] [--deltas N] [--markets N] [--seed N]

Every contender must first end with the same books; only then is anything timed. Runs are interleaved and a ratio is the
median of the ratios inside each round, since the absolute times of a shared machine move by up to a factor of two.
Exit codes: 0 done, 1 the answers differ or (with ``--check``) a ratio misses its target, 2 a peer is missing.
"""

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from infra.bench.contenders import CONTENDERS, PEERS, OurFeed, PeerMissingError, peer
from infra.bench.loopback import CHAINS, run, serving
from infra.bench.workload import Books, Workload, make
from kalshi_arb.domain.errors import KalshiArbError

Times = dict[str, list[float]]
"""Nanoseconds a frame, by contender, one for each round."""

RATIOS: Mapping[str, tuple[str, str, float]] = {
    "apply_over_pykalshi": ("ours_apply", "pykalshi_apply", 4.0),
    "apply_screen_over_pykalshi": ("ours_apply_screen", "pykalshi_apply", 4.0),
    "apply_over_nautilus": ("ours_apply", "msgspec_nautilus_best", 1.8),
    "apply_screen_over_nautilus": ("ours_apply_screen", "msgspec_nautilus_best", 1.8),
    "apply_over_nautilus_direct": ("ours_apply", "msgspec_nautilus_direct_best", 1.8),
    "apply_screen_over_nautilus_direct": ("ours_apply_screen", "msgspec_nautilus_direct_best", 1.0),
}
"""How many times faster the first is than the second, and the least that is aimed for."""

CHAIN_RATIOS: Mapping[str, tuple[str, str, float]] = {
    "chain_over_pykalshi": ("ours", "pykalshi", 1.5),
    "chain_over_nautilus": ("ours", "websockets_msgspec_nautilus", 1.0),
    "chain_over_websockets_alone": ("ours", "websockets_alone", 0.4),
}


class DifferentBooksError(KalshiArbError):
    """A contender ended with other books: its time would mean nothing."""


def compare_answers(load: Workload, contenders: Mapping[str, Callable[[Workload], Any]]) -> None:
    """:raises DifferentBooksError: somebody's books are not those of the load."""
    for name, new in contenders.items():
        contender = new(load)
        contender.feed(load.snapshots)
        contender.feed(load.deltas)
        check_books(name, contender.books(), load)
        if isinstance(contender, OurFeed):
            contender.check()


def check_books(name: str, books: Books, load: Workload) -> None:
    """:raises DifferentBooksError: these are not the load's final books."""
    wrong = [ticker for ticker, sides in load.final.items() if books.get(ticker) != sides]
    if wrong:
        raise DifferentBooksError(f"{name} ends with other books on {len(wrong)} markets, the first is {wrong[0]}")


def time_contenders(load: Workload, rounds: int, contenders: Mapping[str, Callable[[Workload], Any]]) -> Times:
    """Without a socket."""
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, new in contenders.items():
            contender = new(load)
            contender.feed(load.snapshots)
            gc.collect()
            began = time.perf_counter_ns()
            contender.feed(load.deltas)
            times[name].append((time.perf_counter_ns() - began) / len(load.deltas))
    return times


def time_chains(load: Workload, rounds: int, arguments: tuple[int, int, int]) -> Times:
    """Over a loopback socket, from the first byte asked for to the last frame applied."""
    times: Times = {name: [] for name in CHAINS}
    frames = 1 + len(load.snapshots) + len(load.deltas)
    with serving(*arguments) as url:
        for _ in range(rounds):
            for name in CHAINS:
                gc.collect()
                taken, books = run(name, url, load)
                if books is not None:
                    check_books(name, books, load)
                times[name].append(taken / frames)
    return times


def summary(times: Times, ratios: Mapping[str, tuple[str, str, float]]) -> dict[str, Any]:
    """Medians, and ratios with their targets."""
    return {
        "median": {
            name: {"ns_per_frame": round(statistics.median(each)), "frames_per_s": round(1e9 / statistics.median(each))}
            for name, each in times.items()
        },
        "ratios": {
            name: {
                "ratio": round(ratio, 2), "target": target, "met": ratio >= target, "of": f"{theirs} / {ours}",
            }
            for name, (ours, theirs, target) in ratios.items()
            for ratio in [statistics.median(b / a for a, b in zip(times[ours], times[theirs], strict=True))]
        },
    }  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.bench.feed", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a ratio misses its target")
    parser.add_argument("--runs", type=int, default=7, help="rounds without a socket (default 7)")
    parser.add_argument("--socket-runs", type=int, default=3, help="rounds over the socket (default 3)")
    parser.add_argument("--deltas", type=int, default=100_000, help="frames that are timed (default 100000)")
    parser.add_argument("--markets", type=int, default=500, help="books (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="of the frames (default 1)")
    arguments = parser.parse_args()
    if min(arguments.runs, arguments.socket_runs) < 1 or arguments.deltas < 1_000 or arguments.markets < 100:
        parser.error("at least 1 run, 1000 deltas and 100 markets are needed")
    return arguments


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything. :raises KalshiArbError: a peer is missing, or answers differ."""
    for name in PEERS:
        peer(name)
    _tell(f"making {arguments.deltas} frames of {arguments.markets} books ...")
    size = (arguments.markets, arguments.deltas, arguments.seed)
    load = make(*size)
    _tell("comparing the answers ...")
    compare_answers(load, CONTENDERS)
    _tell("timing without a socket ...")
    gc.disable()
    try:
        times = time_contenders(load, arguments.runs, CONTENDERS)
        _tell("timing over a loopback socket ...")
        chains = time_chains(load, arguments.socket_runs, size)
    finally:
        gc.enable()
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("pykalshi", "nautilus_trader", "msgspec", "websockets")},
        "load": {"frames": len(load.deltas), "bytes_a_frame": len(load.deltas[0]), "markets": arguments.markets,
                 "seed": arguments.seed, "runs": arguments.runs, "socket_runs": arguments.socket_runs},
        "answers_equal": True,
        "without_socket": summary(times, RATIOS),
        "loopback": summary(chains, CHAIN_RATIOS),
    }  # fmt: skip


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _as_text(report: Mapping[str, Any]) -> str:
    lines = [f"Python {report['python']}, {report['load']}, all final books equal"]
    for part in ("without_socket", "loopback"):
        lines += ["", part.replace("_", " ")]
        lines += [
            f"  {name:<32}{row['ns_per_frame']:>8} ns{row['frames_per_s']:>12,}/s"
            for name, row in report[part]["median"].items()
        ]
        lines += [
            f"  {name:<36}{row['ratio']:>6.2f}x  target {row['target']:.1f}x {'met' if row['met'] else 'MISSED'}"
            for name, row in report[part]["ratios"].items()
        ]
    return "\n".join(lines)


def main() -> int:
    """Run the comparison; returns the exit code."""
    arguments = _arguments()
    try:
        report = measure(arguments)
    except PeerMissingError as error:
        _tell(f"error: {error}")
        return 2
    except KalshiArbError as error:
        _tell(f"error: {error}")
        return 1
    sys.stdout.write((json.dumps(report) if arguments.json else _as_text(report)) + "\n")
    rows = (row for part in ("without_socket", "loopback") for row in report[part]["ratios"].values())
    return 1 if arguments.check and not all(row["met"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
