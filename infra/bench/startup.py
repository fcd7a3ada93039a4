"""How long the detection function takes to be imported in a fresh process, and what it loads.

    python -m infra.bench.startup [--runs N] [--json]

The clock runs inside the new process, from its first line to the built use case: what the function's own code adds to a
cold start. Solvers that it does not load are timed beside it, as what each would have added.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
_TIMED = """
import sys, time
began = time.perf_counter()
{work}
print((time.perf_counter() - began) * 1000, len(sys.modules))
"""
_HANDLER = "import handler\nfrom kalshi_arb import bootstrap\nbootstrap.detector()"
WORKS = {
    "handler": "import handler",
    "handler and use case": _HANDLER,
    "numpy": "import numpy",
    "highspy": "import highspy",
    "pulp": "import pulp",
}
_TABLES = ("BOOKS", "GROUPS", "GROUP_HISTORY", "OPPORTUNITIES", "BASKETS", "STATUS", "RESERVATIONS")


def environment() -> dict[str, str]:
    """What the function would find around it, without anything that names an account."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KALSHI_"))},
        "PYTHONPATH": os.pathsep.join((str(ROOT / "functions" / "detection"), str(ROOT / "shared"))),
        "AWS_DEFAULT_REGION": "us-east-1",
        "KALSHI_ARB_MODE": "simulated",
        "KALSHI_ARB_REST_URL": "http://127.0.0.1:9",
        "KALSHI_ARB_ALERTS_TOPIC_ARN": "topic",
        "KALSHI_ARB_BASKET_MACHINE_ARN": "machine",
        **{f"KALSHI_ARB_{table}_TABLE": "table" for table in _TABLES},
    }


def measure(work: str) -> tuple[float, int]:
    """Milliseconds that a piece of work takes in a fresh process, and how many modules it leaves loaded.

    :raises CalledProcessError: it failed
    """
    program = _TIMED.format(work=work)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    milliseconds, modules = done.stdout.split()
    return float(milliseconds), int(modules)


@click.command()
@click.option("--runs", type=click.IntRange(1, 100), default=9, show_default=True, help="Fresh processes for each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def main(runs: int, as_json: bool) -> None:
    """Time the imports of the detection function and of the solvers that it leaves out."""
    report = {}
    for name, work in WORKS.items():
        times = [measure(work) for _ in range(runs)]
        report[name] = {
            "median_ms": round(statistics.median(one for one, _ in times), 1),
            "best_ms": round(min(one for one, _ in times), 1),
            "modules": times[0][1],
        }
    if as_json:
        click.echo(json.dumps({"python": sys.version.split()[0], "runs": runs, "imports": report}))
        return
    for name, row in report.items():
        click.echo(f"{name:<22}{row['median_ms']:>8.1f} ms (best {row['best_ms']:.1f})  {row['modules']} modules")


if __name__ == "__main__":
    main()
