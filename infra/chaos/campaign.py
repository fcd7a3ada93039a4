"""Many runs: what they ended in, what struck, and whether every point at which a process can die was one.

A point is a call (or a state) of a function, before and after it. Points that no run has hit yet are aimed at, in the
first run that came by, until none is left.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from infra.chaos.plan import Blow, Kind
from infra.chaos.run import Result, Run, Schedule
from infra.chaos.schedules import aimed, at, bases, crowd, drawn, named

_KILLS = (Blow.KILL_BEFORE, Blow.KILL_AFTER)
_ROUNDS = 4
_SHOWN_LINES = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that broke a promise."""

    name: str
    problems: tuple[str, ...]
    trace: tuple[str, ...]

    def report(self) -> str:
        """What broke, what happened before, and how to see it again."""
        return "\n".join(
            [
                f"schedule {self.name}:",
                *(f"  {problem}" for problem in self.problems),
                f"again: make chaos ARGS='--only \"{self.name}\"'",
                *self.trace[-_SHOWN_LINES:],
            ]
        )


@dataclass
class Tally:
    """What a campaign has seen so far."""

    runs: int = 0
    baskets: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    unwound: int = 0
    released: int = 0
    unwinds_stopped: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    exchange: Counter[str] = field(default_factory=Counter)
    kills: Counter[tuple[str, Blow]] = field(default_factory=Counter)
    points: dict[tuple[str, Blow], tuple[str, int]] = field(default_factory=dict)
    transitions: list[int] = field(default_factory=list)
    worst: list[tuple[int, int]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count a run."""
        name = result.schedule.name
        self.runs += 1
        self.baskets += len(result.ends)
        self.ends.update(result.ends)
        self.unwound += result.unwound
        self.released += result.released
        self.unwinds_stopped += result.unwinds_stopped
        self.exchange.update(result.exchange_struck)
        self.transitions += result.transitions
        self.worst += result.worst
        for (occasion, blow), times in result.struck.items():
            self.blows[blow.value] += times
            if blow in _KILLS:
                self.kills[str(occasion), blow] += times
        for number, (occasion, kind) in enumerate(result.met):
            if kind is not Kind.INVOCATION:
                for blow in _KILLS:
                    self.points.setdefault((str(occasion), blow), (name, number))
        if result.problems:
            self.failures.append(Failure(name, result.problems, result.trace))

    @property
    def missed(self) -> dict[tuple[str, Blow], tuple[str, int]]:
        """Points that were met and at which nothing has died yet, each with a run and the number of the occasion."""
        return {point: place for point, place in self.points.items() if not self.kills[point]}

    def summary(self) -> dict[str, object]:
        """The figures, as JSON."""
        worst = [(profit, bound) for profit, bound in self.worst if bound]
        losses = sorted(-profit * 100 // bound for profit, bound in worst if profit < 0)
        steps = sorted(self.transitions)
        return {
            "runs": self.runs,
            "baskets": self.baskets,
            "ends": dict(sorted(self.ends.items())),
            "unwound": self.unwound,
            "released_early": self.released,
            "unwinds_while_purchases_were_stopped": self.unwinds_stopped,
            "blows": dict(sorted(self.blows.items())),
            "exchange_faults": dict(sorted(self.exchange.items())),
            "kill_points": len(self.points),
            "kill_points_missed": len(self.missed),
            "transitions_p50_p99": [steps[len(steps) // 2], steps[len(steps) * 99 // 100]] if steps else [],
            "realised_losses": len(losses),
            "loss_percent_of_bound_p50_p99_max": [losses[len(losses) // 2], losses[len(losses) * 99 // 100], losses[-1]]
            if losses
            else [],
            "failures": [failure.name for failure in self.failures],
        }

    def kill_list(self) -> Iterator[str]:
        """Every point with how often a process died there, before and after."""
        for point in sorted({point for point, _ in self.points}):
            before, after = (self.kills[point, blow] for blow in _KILLS)
            yield f"{before:>5} before {after:>5} after  {point}"


def short(runs: int, seed: int) -> Iterator[Schedule]:
    """What every change has to pass: deaths at each occasion of a lock and of an unwind, then what chance brings."""
    fixed = [
        *aimed(bases()["lock"], (*_KILLS, Blow.KILL_UNDER_WAY, Blow.REPEATED)),
        *islice(aimed(bases()["unwind"], _KILLS), 0, None, 2),
        *islice(aimed(bases()["part"], _KILLS), 0, None, 8),
        *islice(aimed(bases()["held"], _KILLS), 0, None, 8),
        # Where it dies is what is left over afterwards (:func:`cover`).
        bases()["released"],
    ]
    yield from fixed
    yield from random(max(0, runs - len(fixed)), seed)


def everything(runs: int, seed: int) -> Iterator[Schedule]:
    """Every blow at each occasion of every base, and ``runs`` random ones."""
    for base in bases().values():
        yield base
        yield from aimed(base)
    yield from random(runs, seed)


def random(runs: int, seed: int) -> Iterator[Schedule]:
    """From a seed on, one in twenty with many baskets at once."""
    for number in range(seed, seed + runs):
        yield crowd(number) if number % 20 == 7 else drawn(number)


def run_all(schedules: Iterable[Schedule], tell: Callable[[Tally], None]) -> Tally:
    """Run them one after another. :param tell: told after each"""
    tally = Tally()
    for schedule in schedules:
        tally.add(Run(schedule).result())
        tell(tally)
    return tally


def cover(tally: Tally, tell: Callable[[Tally], None]) -> None:
    """Let a process die at every point that was met and not hit. What comes into sight on the way is a point too."""
    for _ in range(_ROUNDS):
        missed = tally.missed
        if not missed:
            return
        for (point, blow), (name, number) in missed.items():
            if not tally.kills[point, blow]:
                tally.add(Run(at(named(name), number, blow)).result())
                tell(tally)
