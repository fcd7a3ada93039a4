"""How long it takes from a candidate to the first order, and how many steps a basket takes.

    python -m infra.bench.latency [--baskets N] [--starts N] [--code-only] [--json]

Measured on this machine: our own code without sockets (stores in memory, the deployed state machine), cold in a fresh
process and warm; and the whole local system, where the first basket of each start is cold and the others are called
warm. Their tail still holds first calls: a second process of a function starts when two baskets come at once.
What it would be on AWS is an estimate: nothing was run there.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from infra.bench.latency_cloud import Start, measure
from infra.bench.latency_code import LEGS, ROOT, CodeRun, Measured

WARM_UP = 5
DOLLARS_PER_TRANSITION = 0.025 / 1000
"""Standard workflows (AWS Step Functions pricing); the start of an execution counts as one more."""
TABLE_MS = (1, 9)
"""A call of DynamoDB takes single-digit milliseconds (Amazon DynamoDB developer guide, introduction)."""
COLD_MS = (100, 1_000)
"""A cold start takes from under 100 ms to over 1 second (AWS Lambda developer guide, execution environments)."""
FUNCTIONS_BEFORE_FIRST_ORDER = 3  # detection, risk check, first wave
_COLD = """
import time
began = time.perf_counter()
from infra.bench.latency_code import CodeRun
run = CodeRun()
ready = time.perf_counter()
measured = run.measure()
print((ready - began) * 1000 + measured.to_first_order_ms)
"""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Count, median, 99th percentile and worst, in milliseconds."""
    if not values:
        return {"n": 0}
    return {
        "n": len(values),
        "p50_ms": round(percentile(values, 0.5), 3),
        "p99_ms": round(percentile(values, 0.99), 3),
        "worst_ms": round(max(values), 3),
    }


def code_path(baskets: int) -> tuple[list[Measured], dict[str, Any]]:
    """Our own code, warm."""
    for _ in range(WARM_UP):
        CodeRun().measure()
    runs = [CodeRun().measure() for _ in range(baskets)]
    return runs, {
        "to_first_order": summary([run.to_first_order_ms for run in runs]),
        "detection": summary([run.detection_ms for run in runs]),
        "candidate_to_lock": summary([run.whole_ms for run in runs]),
    }


def cold_code(times: int) -> list[float]:
    """Milliseconds from the first line of a fresh process to the first order: every import included.

    :raises CalledProcessError: a process failed
    """
    found = []
    for _ in range(times):
        done = subprocess.run([sys.executable, "-c", _COLD], cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(float(done.stdout))
    return found


def estimate(run: Measured, code_ms: float) -> dict[str, Any]:
    """What it would be on AWS, from our own code, the calls that it makes and published figures."""
    tables = run.calls.get("table", 0)
    warm = [round(code_ms + tables * each) for each in TABLE_MS]
    cold = [round(base + FUNCTIONS_BEFORE_FIRST_ORDER * each) for base, each in zip(warm, COLD_MS, strict=True)]
    return {
        "note": "an estimate: nothing was run on AWS",
        "warm_ms": warm,
        "cold_ms": cold,
        "made_of": {
            "our_code_ms": round(code_ms, 3),
            "table_calls": tables,
            "ms_for_each_table_call": list(TABLE_MS),
            "cold_starts": FUNCTIONS_BEFORE_FIRST_ORDER,
            "ms_for_each_cold_start": list(COLD_MS),
        },
        "comes_on_top": {
            "exchange_calls_before_the_first_order": run.calls.get("exchange", 0),
            "transitions_before_the_first_order": run.transitions_to_first_order,
            "other_calls": {name: run.calls.get(name, 0) for name in ("workflow", "topic")},
            "why": "no figure is published for the time of a transition, the delivery of a queue's message or the "
            "exchange's answers",
        },
        "transitions_of_a_two_wave_lock": run.transitions + 1,
        "dollars_of_transitions": round((run.transitions + 1) * DOLLARS_PER_TRANSITION, 6),
    }


def in_the_cloud(starts: Sequence[Start]) -> dict[str, Any]:
    """Cold and warm of the local system."""
    counted = sorted({count for start in starts for count in start.transitions})
    return {
        "starts": len(starts),
        "cold": summary([start.to_first_order_ms[0] for start in starts]),
        "warm": summary([ms for start in starts for ms in start.to_first_order_ms[1:]]),
        "transitions_of_two_wave_locks": counted,
        "two_wave_locks": sum(len(start.transitions) for start in starts),
    }


@click.command()
@click.option("--baskets", type=click.IntRange(2, 100_000), default=30, show_default=True, help="Baskets of each kind.")
@click.option("--starts", type=click.IntRange(1, 100), default=3, show_default=True, help="Cold starts of each kind.")
@click.option("--code-only", is_flag=True, help="Leave the local system out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def main(baskets: int, starts: int, code_only: bool, as_json: bool) -> None:
    """Time the way from a candidate to the first order."""
    runs, warm = code_path(baskets)
    typical = runs[0]
    report: dict[str, Any] = {
        "python": sys.version.split()[0],
        "basket": f"{LEGS} legs, two waves",
        "code_path": {"cold": {"to_first_order": summary(cold_code(starts))}, "warm": warm},
        "steps": {key: value for key, value in asdict(typical).items() if not key.endswith("_ms")},
    }
    if not code_only:
        each = max(2, -(-baskets // starts))
        with tempfile.TemporaryDirectory(prefix="kalshi-arb-latency-") as folder:
            found = [measure(Path(folder) / f"start-{number}", each, number + 1) for number in range(starts)]
        report["local_cloud"] = in_the_cloud(found)
    report["aws"] = estimate(typical, percentile([run.to_first_order_ms for run in runs], 0.5))
    if as_json:
        click.echo(json.dumps(report))
        return
    for line in _lines(report):
        click.echo(line)


def _lines(report: dict[str, Any]) -> list[str]:
    code = report["code_path"]
    rows = [
        ("our code, cold", code["cold"]["to_first_order"]),
        ("our code, warm", code["warm"]["to_first_order"]),
        *(
            (f"local cloud, {kind}", report["local_cloud"][kind])
            for kind in ("cold", "warm")
            if "local_cloud" in report
        ),
    ]
    lines = [f"candidate to first order, {report['basket']}"]
    for name, row in rows:
        if row["n"]:
            figures = f"p50 {row['p50_ms']:>10.1f} ms   p99 {row['p99_ms']:>10.1f} ms"
            lines.append(f"  {name:<20}{figures}   n {row['n']}")
    aws = report["aws"]
    lines.append(
        f"  AWS, {aws['note']}: warm {aws['warm_ms'][0]} to {aws['warm_ms'][1]} ms, cold {aws['cold_ms'][0]} to "
        f"{aws['cold_ms'][1]} ms, and on top {aws['comes_on_top']['exchange_calls_before_the_first_order']} "
        f"calls of the exchange and {aws['comes_on_top']['transitions_before_the_first_order']} transitions"
    )
    lines.append(
        f"transitions of a two-wave lock: {aws['transitions_of_a_two_wave_lock']} with the start, "
        f"${aws['dollars_of_transitions']:.6f}"
    )
    return lines


if __name__ == "__main__":
    main()
