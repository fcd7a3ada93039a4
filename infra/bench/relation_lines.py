"""Worlds of markets on a line: ladders, brackets, and several events on one value or on two."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from random import Random
from typing import Any

from infra.bench.relation_draft import CLOSE, DOLLAR, PRICES, Draft, Json, Row, World, market

_FINE = 4


@dataclass(frozen=True, slots=True)
class Stretch:
    """A threshold or a bracket: its strike type and strikes."""

    kind: str
    low: Decimal | None
    high: Decimal | None

    def pays(self, value: Decimal, ends: tuple[bool, bool]) -> bool:
        """Whether it pays at a value, when brackets include their low and high ends as ``ends`` says."""
        low = value if self.low is None else self.low
        high = value if self.high is None else self.high
        match self.kind:
            case "greater":
                return value > low
            case "greater_or_equal":
                return value >= low
            case "less":
                return value < high
            case "less_or_equal":
                return value <= high
            case _:
                return low < value < high or (ends[0] and value == low) or (ends[1] and value == high)

    @property
    def words(self) -> str:
        """As a rules text says it."""
        words = {"greater": "above", "greater_or_equal": "at least", "less": "below", "less_or_equal": "at most"}
        if self.kind == "between":
            return f"between {self.low} and {self.high}"
        return f"{words[self.kind]} {self.high if self.low is None else self.low}"

    @property
    def fields(self) -> Json:
        """As the exchange's fields say it."""
        found: Json = {"strike_type": self.kind}
        if self.low is not None:
            found["floor_strike"] = self.low
        if self.high is not None:
            found["cap_strike"] = self.high
        return found


_FLOORS = ("greater", "greater_or_equal")
_CAPS = ("less", "less_or_equal")


def _threshold(kind: str, strike: Decimal) -> Stretch:
    return Stretch(kind, strike, None) if kind in _FLOORS else Stretch(kind, None, strike)


@dataclass(frozen=True, slots=True)
class Line:
    """How a value is observed: the unit its strikes are written in, the step it is rounded to (None: any number), and
    whether a bracket pays at its ends."""

    tick: Decimal
    lattice: Decimal | None
    ends: tuple[bool, bool]

    def rows(self, stretches: Sequence[Stretch]) -> frozenset[Row]:
        """Every result over a grid four times finer than the strikes."""
        strikes = [strike for one in stretches for strike in (one.low, one.high) if strike is not None]
        step = self.tick / _FINE
        first = int(min(strikes) / step) - 2 * _FINE
        last = int(max(strikes) / step) + 2 * _FINE
        values = (step * number for number in range(first, last + 1))
        return frozenset(
            tuple(DOLLAR if one.pays(value, self.ends) else 0 for one in stretches)
            for value in values
            if self.lattice is None or value % self.lattice == 0
        )


def _line(random: Random) -> Line:
    tick = random.choice([Decimal(1), Decimal("0.1"), Decimal("0.01")])
    lattice = random.choice([None, None, tick, tick / 2])
    ends = random.choice([(True, True), (True, True), (True, False), (False, True)])
    return Line(tick, lattice, ends)


def _strikes(random: Random, line: Line, count: int) -> list[Decimal]:
    base = random.choice([-20, 0, 500])
    # The last digit of a finer unit is never nought, so that it shows what the unit is.
    return sorted((base + number) * line.tick for number in random.sample(range(1, 40), count))


def _about(what: str) -> Callable[[str], str]:
    return lambda words: f"If the highest {what} measured on Nov 24, 2026 is {words}, the market resolves to Yes."


def _listed(prefix: str, stretches: Sequence[Stretch], about: Callable[[str], str], **fields: Any) -> list[Json]:
    return [
        market(f"{prefix}{number}", about(one.words), **one.fields, **fields) for number, one in enumerate(stretches)
    ]


def _names(prefix: str, stretches: Sequence[Stretch]) -> list[str]:
    return [f"{prefix}{number}" for number in range(len(stretches))]


def _ladder(random: Random, line: Line) -> list[Stretch]:
    kinds = random.choice([_FLOORS, _CAPS])
    strikes = _strikes(random, line, random.randint(2, 5))
    found = [_threshold(random.choice(kinds), strike) for strike in strikes]
    if random.random() < 0.2:
        found.append(_threshold(next(kind for kind in kinds if kind != found[0].kind), strikes[0]))
    return found


def ladder(random: Random) -> World:
    """Thresholds of one direction; sometimes of two subjects, or with a rung that is not what its type says."""
    draft, line, about = Draft(), _line(random), _about("tide")
    stretches = _ladder(random, line)
    names = _names("A", stretches)
    trap = random.choice(["plain", "plain", "subjects", "mislabelled", "station", "close", "flag", "price", "early"])
    if trap == "mislabelled":
        other = {"greater": "less", "greater_or_equal": "less_or_equal", "less": "greater"}
        wrong = stretches[0]
        strike = wrong.high if wrong.low is None else wrong.low
        real = _threshold(other.get(wrong.kind, "greater_or_equal"), strike or Decimal(0))
        rows = [{**row, "strike_type": wrong.kind} for row in _listed("A", stretches, about)]
        rows[0]["rules_primary"] = about(real.words)
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names, line.rows([real, *stretches[1:]]))
        return draft.world("ladder", trap)
    if trap in {"station", "close", "early"}:
        # The last rung observes another value: its text, its close or its early close says so.
        rows = _listed("A", stretches, about)
        if trap == "station":
            rows[-1]["rules_primary"] = _about("flood")(stretches[-1].words)
        elif trap == "close":
            rows[-1]["close_time"] = "2026-11-30T17:00:00Z"
        else:
            for number, row in enumerate(rows):
                when = "season" if number == len(rows) - 1 else "day"
                row |= {"can_close_early": True, "early_close_condition": f"It closes when the {when} ends."}
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names[:-1], line.rows(stretches[:-1]))
        draft.settle(names[-1:], line.rows(stretches[-1:]))
        return draft.world("ladder", trap)
    if trap == "price":
        rows = _listed("A", stretches, about)
        rows[0]["rules_secondary"] = "If nothing is measured, the markets resolve to the last fair price."
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names, {*line.rows(stretches), *product(PRICES, repeat=len(names))})
        return draft.world("ladder", trap)
    if trap == "subjects":
        others = _ladder(random, line)
        rows = [
            *_listed("A", stretches, _about("tide at Ash"), custom_strike={"place": "ash"}),
            *_listed("B", others, _about("tide at Oak"), custom_strike={"place": "oak"}),
        ]
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names, line.rows(stretches))
        draft.settle(_names("B", others), line.rows(others))
        return draft.world("ladder", trap)
    draft.event("TIDE-1", _listed("A", stretches, about), exclusive=trap == "flag")
    draft.settle(names, line.rows(stretches))
    return draft.world("ladder", trap)


def _brackets(random: Random, line: Line) -> list[Stretch]:
    """Tails and brackets up the line, most of them one tick apart, some with a hole, a shared end or an overlap."""
    tick = line.tick
    low = random.choice([-20, 0, 500]) * tick + tick
    found = []
    if random.random() < 0.85:
        found.append(Stretch("less", None, low))
    for _ in range(random.randint(1, 4)):
        high = low + random.choice([1, 2, 9]) * tick
        found.append(Stretch("between", low, high))
        low = high + random.choice([1, 1, 1, 1, 0, 3, -1]) * tick
    if random.random() < 0.85 or len(found) == 1:
        last = found[-1].high or low
        found.append(Stretch(random.choice(["greater", "greater", "greater_or_equal"]), last, None))
    return found


def partition(random: Random) -> World:
    """Brackets with tails; the exchange flags them as exclusive where they are."""
    draft, line, about = Draft(), _line(random), _about("reading")
    stretches = _brackets(random, line)
    rows = line.rows(stretches)
    trap = "plain"
    if random.random() < 0.4:
        # A review may only say what is so.
        trap = "reviewed"
        ends = line.ends == (True, True) and random.random() < 0.7
        draft.reviewed = _reviews("HEAT", about, line.lattice if random.random() < 0.7 else None, ends=ends)
    flag = random.random() < 0.05 or all(sum(row) <= DOLLAR for row in rows)
    draft.event("HEAT-1", _listed("M", stretches, about), exclusive=flag)
    draft.settle(_names("M", stretches), rows)
    return draft.world("partition", trap)


def _reviews(
    series: str, about: Callable[[str], str], lattice: Decimal | None = None, *, ends: bool = False,
    source: str = "Ash Office", statistic: str = "highest value",
) -> list[Json]:  # fmt: skip
    one = Decimal(1)
    kinds = [*(_threshold(kind, one) for kind in (*_FLOORS, *_CAPS)), Stretch("between", one, one + 1)]
    return [
        {
            "series": series,
            "text": about(kind.words) + "\n",
            "reason": "The text names the value and the day.",
            "line": {
                "underlying": "tide",
                "source": source,
                "statistic": statistic,
                "unit": "feet",
                "instant": "close_time",
                "strike_types": [kind.kind],
                "lattice": None if lattice is None else str(lattice),
                "ends_included": ends,
            },
        }
        for kind in kinds
    ]


def line(random: Random) -> World:
    """Thresholds of both directions in one event, or brackets and thresholds of two series: on one value that a review
    confirms, on one that nobody has reviewed, or on two values of nearly the same name."""
    draft, seen, about = Draft(), _line(random), _about("tide")
    first = _brackets(random, seen) if random.random() < 0.6 else _mixed(random, seen)
    if random.random() < 0.3:
        draft.event("TIDE-1", _listed("A", first, about), exclusive=False)
        draft.settle(_names("A", first), seen.rows(first))
        return draft.world("line", "one event")
    strikes = [strike for one in first for strike in (one.low, one.high) if strike is not None]
    kinds = random.choice([_FLOORS, _CAPS, _FLOORS + _CAPS])
    picked = random.sample(strikes, min(len(strikes), random.randint(2, 3)))
    second = list(dict.fromkeys(_threshold(random.choice(kinds), strike) for strike in picked))
    kind = random.choice(["plain", "plain", "plain", "unreviewed", "source", "statistic", "named", "instant"])
    close = "2026-11-24T18:00:00Z" if kind == "instant" else CLOSE
    draft.event("TIDE-1", _listed("A", first, about), exclusive=False)
    other = "Hill Office" if kind in {"source", "named"} else "Ash Office"
    draft.event("FLOOD-1", _listed("B", second, about, close=close), exclusive=False, source=other)
    if kind != "unreviewed":
        statistic = "last value" if kind == "statistic" else "highest value"
        lattice = seen.lattice if random.random() < 0.5 else None
        draft.reviewed = [
            *_reviews("TIDE", about, lattice),
            *_reviews("FLOOD", about, lattice, source=other if kind == "source" else "Ash Office", statistic=statistic),
        ]
    names = _names("A", first), _names("B", second)
    if kind == "plain" or (kind == "unreviewed" and random.random() < 0.5):
        draft.settle([*names[0], *names[1]], seen.rows([*first, *second]))
        return draft.world("line", kind)
    draft.settle(names[0], seen.rows(first))
    draft.settle(names[1], seen.rows(second))
    return draft.world("line", kind)


def _mixed(random: Random, seen: Line) -> list[Stretch]:
    strikes = _strikes(random, seen, random.randint(2, 4))
    drawn = [_threshold(random.choice(_FLOORS + _CAPS), random.choice(strikes)) for _ in range(4)]
    low, high = strikes[0], strikes[-1]
    found = [*drawn, Stretch("between", low, high)] if random.random() < 0.5 else [*drawn, _threshold("greater", low)]
    return list(dict.fromkeys(found))
