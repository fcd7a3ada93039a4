"""``python -m infra.chaos``: many seeded runs, or one of them again with everything that happened in it."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from infra.chaos.campaign import Failure, Tally, cover, everything, random, run_all
from infra.chaos.run import Run
from infra.chaos.schedules import named
from kalshi_arb.domain.errors import SettingsError

_EVERY_S = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--runs", type=_whole, default=500, help="random runs; 1 shows the run of the seed")
    parser.add_argument("--seed", type=_whole, default=0, help="seed of the first random run")
    parser.add_argument("--only", metavar="NAME", help="one run by its name, with everything that happened in it")
    parser.add_argument("--random-only", action="store_true", help="no systematic deaths before the random runs")
    parser.add_argument("--points", action="store_true", help="list every point at which a process died")
    options = parser.parse_args(argv)
    try:
        if options.only is not None or options.runs == 1:
            return _show(options.only or next(random(1, options.seed)).name)
    except SettingsError as error:
        parser.error(str(error))
    return _campaign(options)


def _campaign(options: argparse.Namespace) -> int:
    progress = _Progress()
    schedules = random if options.random_only else everything
    tally = run_all(schedules(options.runs, options.seed), progress.tell)
    if not options.random_only:
        cover(tally, progress.tell)
    progress.show(tally)
    for failure in tally.failures[:3]:
        sys.stderr.write(failure.report() + "\n")
    if options.points:
        sys.stderr.writelines(line + "\n" for line in tally.kill_list())
    figures = {**tally.summary(), "cpu_seconds": round(time.process_time(), 1)}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 1 if tally.failures or (tally.missed and not options.random_only) else 0


def _show(name: str) -> int:
    result = Run(named(name)).result()
    sys.stdout.writelines(line + "\n" for line in result.trace)
    sys.stdout.write(json.dumps({"schedule": name, "ends": result.ends, "reasons": result.reasons}) + "\n")
    if result.problems:
        sys.stderr.write(Failure(name, result.problems, ()).report() + "\n")
    return 1 if result.problems else 0


class _Progress:
    """A line on standard error every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def tell(self, tally: Tally) -> None:
        """After each run."""
        if time.monotonic() - self._last >= _EVERY_S:
            self.show(tally)

    def show(self, tally: Tally) -> None:
        """Now."""
        self._last = time.monotonic()
        ends = ", ".join(f"{count} {end}" for end, count in sorted(tally.ends.items()))
        sys.stderr.write(f"{tally.runs} runs, {ends}; {len(tally.failures)} failed\n")


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
