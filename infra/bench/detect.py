"""`make bench-detect`: the exact solvers beside PuLP with CBC and beside HiGHS, in one run, on the same books.

    python -m infra.bench.detect [--json] [--check] [--instances N] [--runs N] [--seed N]

Every contender starts from the same group and books and must first give the same answers, among them arbitrages; only
then is anything timed. Fees are looked up, programs are built and answers read inside the time; what a group's states
say about its structure is known beforehand, as it is in a running system. A ratio is the median over the instances of
(median time of the peer) / (median time of the solver). Exit codes: 0 done, 1 the answers differ, nothing was to be
found, or (with ``--check``) a ratio misses its target.
"""

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from infra.bench.detect_peers import highspy_dense, highspy_pruned, pulp_cbc
from infra.bench.detect_worlds import MAKERS, Case
from kalshi_arb.detection.effective import ONE
from kalshi_arb.detection.solvers import solve
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.state_space import Group

Answer = Callable[[Group, Mapping[str, BookSnapshot]], float]

LEVELS = 20
# CBC reads its program from text with twelve digits and stops at tolerances of its own.
_CLOSE_ENOUGH = 1e-4


class Subject(NamedTuple):
    """A structure of a size, who answers besides the solver, and how many times faster the solver must be."""

    name: str
    maker: str
    markets: int
    targets: Mapping[str, float]
    others: tuple[str, ...] = ()


PEERS: Mapping[str, Answer] = {
    "pulp_cbc": pulp_cbc,
    "highspy_dense": highspy_dense,
    "highspy_pruned": highspy_pruned,
}  # fmt: skip
SUBJECTS = (
    Subject("ladder_30", "ladder", 30, {"pulp_cbc": 1_000, "highspy_pruned": 5}, ("highspy_dense",)),
    Subject("ladder_100", "ladder", 100, {"pulp_cbc": 1_000, "highspy_pruned": 5}, ("highspy_dense",)),
    Subject("partition_100", "partition", 100, {"pulp_cbc": 1_000}, ("highspy_dense",)),
    Subject("thresholds_brackets_50", "line", 50, {"pulp_cbc": 20}, ("highspy_dense",)),
)


class DifferentAnswersError(KalshiArbError):
    """Contenders disagree, or there is nothing to find: times would mean nothing."""


def ours(group: Group, books: Mapping[str, BookSnapshot]) -> float:
    """The exact solver's answer in dollars."""
    bundle = solve(group, books)
    return 0.0 if bundle is None else bundle.linear_profit / ONE


def instances(subject: Subject, count: int, seed: int) -> list[Case]:
    """The first ``count`` groups from a seed on that hold an arbitrage."""
    found: list[Case] = []
    for number in range(100 * count):
        case = MAKERS[subject.maker](subject.markets, seed + number, LEVELS)
        if ours(*case) > 0:
            found.append(case)
            if len(found) == count:
                return found
    raise DifferentAnswersError(f"{subject.name}: {len(found)} groups with an arbitrage, {count} are needed")


def compare(subject: Subject, cases: Sequence[Case], contenders: Mapping[str, Answer]) -> int:
    """How many arbitrages everybody finds. :raises DifferentAnswersError: somebody finds something else."""
    arbitrages = 0
    for number, case in enumerate(cases):
        answers = {name: contender(*case) for name, contender in {"ours": ours, **contenders}.items()}
        for name, answer in answers.items():
            if abs(answer - answers["ours"]) > _CLOSE_ENOUGH * max(1.0, abs(answers["ours"])):
                raise DifferentAnswersError(
                    f"{subject.name}, instance {number}: {name} finds {answer}, ours {answers['ours']}"
                )  # fmt: skip
        arbitrages += min(answers.values()) > 0
    if not arbitrages:
        raise DifferentAnswersError(f"{subject.name}: there is nothing to find")
    return arbitrages


def timed(answer: Answer, case: Case, runs: int) -> float:
    """The median of ``runs`` answers in seconds."""
    times = []
    for _ in range(runs):
        began = time.perf_counter_ns()
        answer(*case)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1e9


def measure(subject: Subject, count: int, runs: int, seed: int) -> dict[str, Any]:
    """One subject: its arbitrages, each contender's median time in milliseconds, and the ratios."""
    contenders = {name: PEERS[name] for name in (*subject.targets, *subject.others)}
    cases = instances(subject, count, seed)
    arbitrages = compare(subject, cases, contenders)
    own: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in contenders}
    for case in cases:
        gc.collect()
        own.append(timed(ours, case, 20 * runs))
        for name, contender in contenders.items():
            theirs[name].append(timed(contender, case, runs))
    ratios = {
        name: statistics.median(peer / mine for peer, mine in zip(times, own, strict=True))
        for name, times in theirs.items()
    }
    return {
        "instances": len(cases),
        "arbitrages": arbitrages,
        "answers_equal": True,
        "milliseconds": {
            name: round(statistics.median(times) * 1_000, 4) for name, times in {"ours": own, **theirs}.items()
        },
        "ratios": {name: round(ratio, 1) for name, ratio in ratios.items()},
        "targets": dict(subject.targets),
        "met": {name: ratios[name] >= target for name, target in subject.targets.items()},
    }


def report(count: int, runs: int, seed: int) -> dict[str, Any]:
    """Every subject."""
    solvers = {subject.name: measure(subject, count, runs, seed) for subject in SUBJECTS}
    return {
        "solvers": solvers,
        "levels_a_side": LEVELS,
        "seed": seed,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("highspy", "pulp")},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.detect", description="exact solvers beside their peers"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--check", action="store_true", help="fail when a ratio misses its target")
    parser.add_argument("--instances", type=int, default=5, help="groups of each structure (5)")
    parser.add_argument("--runs", type=int, default=3, help="how often each peer answers each group (3)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        found = report(options.instances, options.runs, options.seed)
    except DifferentAnswersError as error:
        print(f"bench-detect: {error}", file=sys.stderr)  # noqa: T201
        return 1
    if options.json:
        print(json.dumps(found, indent=2))  # noqa: T201
    else:
        for name, row in found["solvers"].items():
            times = ", ".join(f"{who} {ms:g} ms" for who, ms in row["milliseconds"].items())
            ratios = ", ".join(f"{who} x{ratio:g}" for who, ratio in row["ratios"].items())
            print(f"{name}: {row['arbitrages']} arbitrages, answers equal; {times}; {ratios}")  # noqa: T201
    met = all(all(row["met"].values()) for row in found["solvers"].values())
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
