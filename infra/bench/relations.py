"""`make bench-relations`: what discovery finds, what it believes wrongly, and what it costs.

    python -m infra.bench.relations [--json] [--check] [--worlds N] [--seed N] [--events N] [--markets N] [--changes N]

Three measurements in one run:

- the hand-written cases of ``tests/payloads/relations``: relations and grades as expected
- ``--worlds`` generated worlds of each family, whose truth is known by brute force: precision and recall. Precision
  must be 1: an accepted claim that is not true costs the account. Recall is reported: what caution costs
- a generated universe of the exchange's size, in a process of its own: seconds, memory, and what one change costs

Exit codes: 0 done; 1 something untrue was accepted, a way to settle was not listed or a case came out otherwise, or
(with ``--check``) a target of speed or memory is missed; 2 wrong use.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.bench.discovery_scale import CHANGES
from infra.bench.discovery_scale import SEED as UNIVERSE_SEED
from infra.bench.relation_cases import read_cases
from infra.bench.relation_score import Score, score_cases, score_worlds
from infra.bench.relation_worlds import FAMILIES, worlds
from infra.bench.universe_of_listings import EVENTS, MARKETS
from kalshi_arb.domain.errors import KalshiArbError

WORLDS = 500
ROOT = Path(__file__).resolve().parents[2]
TARGETS: Mapping[str, tuple[str, float]] = {
    "discovery_seconds": ("seconds of one core for models into listings into groups", 10.0),
    "peak_memory_mb": ("megabytes at the peak of the process", 1_024.0),
    "change_median_ms": ("milliseconds for one changed event, the median", 5.0),
    "change_max_ms": ("milliseconds for one changed event, the slowest", 5.0),
}


class ScaleError(KalshiArbError):
    """The measurement of scale did not come to its end."""


def accuracy(each: int, seed: int) -> dict[str, Any]:
    """Precision and recall over cases and worlds, by family, with everything that is wrong in words."""
    scores, lies = score_worlds(worlds(seed, each))
    cases = read_cases()
    case_scores, differences = score_cases(cases)
    families: dict[str, Any] = {}
    for family in FAMILIES:
        own = {trap: score for (name, trap), score in scores.items() if name == family}
        families[family] = {
            **sum(own.values(), Score()).as_json(),
            "by_trap": {trap: score.as_json() for trap, score in sorted(own.items())},
            "cases": case_scores[family].as_json(),
        }
    is_right = not differences and all(
        row["false"] == row["missing_states"] == row["cases"]["too_much"] == 0 for row in families.values()
    )
    return {
        "cases": len(cases),
        "worlds": each * len(families),
        "seed": seed,
        "families": families,
        "precision_is_1": is_right,
        "untrue": lies,
        "differences": differences,
    }


def scale(events: int, markets: int, changes: int) -> dict[str, Any]:
    """The measurement in a process of its own, with its targets.

    :raises ScaleError: that process failed; its own words are on standard error.
    """
    numbers = {"--events": events, "--markets": markets, "--changes": changes, "--seed": UNIVERSE_SEED}
    command = [sys.executable, "-m", "infra.bench.discovery_scale"]
    command += [str(part) for pair in numbers.items() for part in pair]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise ScaleError(f"the measurement of scale ended with exit code {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    measured = {
        "discovery_seconds": round(report["seconds"]["list"] + report["seconds"]["build"], 3),
        "peak_memory_mb": report["memory_mb"]["peak"],
        "change_median_ms": report["change_ms"]["median"],
        "change_max_ms": report["change_ms"]["max"],
    }
    report["targets"] = {
        name: {"measured": value, "target": TARGETS[name][1], "met": value <= TARGETS[name][1]}
        for name, value in measured.items()
    }
    return report


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.relations", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target of speed or memory is missed")
    parser.add_argument("--worlds", type=int, default=WORLDS, help="generated worlds of each family")
    parser.add_argument("--seed", type=int, default=1, help="of the worlds")
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the universe")
    parser.add_argument("--markets", type=int, default=MARKETS, help="markets of the universe")
    parser.add_argument("--changes", type=int, default=CHANGES, help="events of the universe that change")
    asked = parser.parse_args()
    if asked.worlds < 1:
        parser.error("needs at least one world of each family")
    report = {"accuracy": accuracy(asked.worlds, asked.seed)}
    try:
        report["scale"] = scale(asked.events, asked.markets, asked.changes)
    except ScaleError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if asked.json else table(report))
    is_fast = all(row["met"] for row in report["scale"]["targets"].values())
    return 0 if report["accuracy"]["precision_is_1"] and (is_fast or not asked.check) else 1


def table(report: Mapping[str, Any]) -> str:
    """The report for a person."""
    found = report["accuracy"]
    lines = [
        f"{found['cases']} cases and {found['worlds']} generated worlds (seed {found['seed']})",
        "",
        f"{'family':<11}{'true':>8}{'accepted':>10}{'assumed':>9}{'cond.':>8}{'refused':>9}{'untrue':>8}"
        f"{'precision':>11}{'recall':>8}{'approved':>10}{'plain':>8}{'cases':>12}",
    ]
    for family, row in found["families"].items():
        own = row["cases"]
        plain = row["by_trap"].get("plain", {}).get("recall_with_approval")
        lines.append(
            f"{family:<11}{row['true']:>8}{row['accepted']:>10}{row['assumed']:>9}{row['conditional']:>8}"
            f"{row['refused']:>9}{row['false']:>8}{row['precision']:>11}{_share(row['recall']):>8}"
            f"{_share(row['recall_with_approval']):>10}{_share(plain):>8}"
            f"{own['right']:>6} of {own['right'] + own['too_much'] + own['too_little']}"
        )
    lines += [
        "",
        "recall: true claims that are accepted; approved: with those that a person must approve first",
        "plain: the same in worlds where nothing is odd; cond.: true claims that hold in every certain state only",
        "cases: relations and grades of hand-written cases as expected",
        *(f"UNTRUE: {words}" for words in found["untrue"]),
        *(f"DIFFERENT: {words}" for words in found["differences"]),
        "",
        *_scale_lines(report["scale"]),
    ]
    return "\n".join(lines) + "\n"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _scale_lines(found: Mapping[str, Any]) -> list[str]:
    seconds, change = found["seconds"], found["change_ms"]
    lines = [
        f"{found['markets']} markets in {found['events']} events: {found['groups']} groups of "
        f"{found['markets_in_groups']} markets, {found['states']} states",
        f"families {found['families']}, left out {found['left_out']}",
        f"{seconds['read']:.2f} s bytes into models, {seconds['list']:.2f} s into listings, {seconds['build']:.2f} s "
        f"into groups ({found['build_wall_seconds']:.2f} s by the clock on the wall)",
        f"one changed event, {change['events']} of them, in each way:",
    ]
    for name, row in change["ways"].items():
        slowest = row["slowest"]
        lines.append(
            f"  {name}: median {row['median']:.2f} ms, p99 {row['p99']:.2f} ms, slowest {row['max']:.2f} ms "
            f"({slowest['event']}, {slowest['markets']} markets)"
        )
    for name, row in found["targets"].items():
        word = "met" if row["met"] else "MISSED"
        lines.append(f"{word:>7}: {row['measured']} of at most {row['target']:g} {TARGETS[name][0]}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
