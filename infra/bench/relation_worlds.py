"""Small worlds whose whole truth is known: what the exchange would list, and every way it can settle.

A world hides what its payload does not say: whether the observed value is rounded, whether a bracket pays at its ends,
whether two texts mean the same value, whether a list of candidates is complete. Its truth is brute force: each observed
value is walked over a grid finer than any strike, and every result that comes up is written down. Some worlds lie in
ways that have cost others money (a type that says above and a text that says below, deadlines that are flagged as
exclusive); nothing in them may be claimed that their truth does not hold.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from random import Random
from typing import Any

from kalshi_arb.domain.money import ONE_DOLLAR

Json = dict[str, Any]
Row = tuple[int, ...]
"""What one YES of each market pays, in 1e-4 dollars."""

DOLLAR = int(ONE_DOLLAR)
HALF = DOLLAR // 2
NOW = "2026-11-23T12:00:00Z"
CLOSE = "2026-11-24T17:00:00Z"
_CENTS = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
_FINE = 4
_FAIR = "A match that has not started within 48 hours resolves to a fair market price."
_TIE = "In a tie each market resolves to $0.50."
_PRICES = (0, DOLLAR * 3 // 10, DOLLAR * 7 // 10, DOLLAR)


@dataclass(frozen=True, slots=True)
class World:
    """A payload in the form of a case, the order of its markets, every way they settle, and sets of special interest:
    the markets of one event and subject, or of one value."""

    family: str
    content: Json
    tickers: tuple[str, ...]
    truth: frozenset[Row]
    sets: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class _Draft:
    """A world that is being put together: markets of which each group settles by itself."""

    events: list[Json] = field(default_factory=list)
    reviewed: list[Json] = field(default_factory=list)
    relations: str | None = None
    parts: list[tuple[tuple[str, ...], frozenset[Row]]] = field(default_factory=list)

    def event(self, ticker: str, markets: Sequence[Json], *, exclusive: bool, source: str = "Ash Office") -> None:
        own = [{**market, "event_ticker": ticker, "exchange_index": 0} for market in markets]
        self.events.append(
            {
                "event_ticker": ticker,
                "series_ticker": ticker.partition("-")[0],
                "title": ticker,
                "mutually_exclusive": exclusive,
                "collateral_return_type": "MECNET" if exclusive else "",
                "settlement_sources": [{"name": source, "url": "https://example.org"}],
                "markets": own,
            }
        )

    def settle(self, tickers: Sequence[str], rows: Iterable[Row]) -> None:
        """These markets settle together in these ways, whatever the others do."""
        self.parts.append((tuple(tickers), frozenset(rows)))

    def world(self, family: str, sets: Iterable[Sequence[str]] = ()) -> World:
        series = dict.fromkeys(event["series_ticker"] for event in self.events)
        content: Json = {
            "now": NOW,
            "series": [{"ticker": one, "fee_type": "quadratic", "fee_multiplier": 1} for one in series],
            "events": self.events,
            "reviewed": self.reviewed,
        }
        if self.relations is not None:
            content["relations"] = self.relations
        tickers = tuple(ticker for own, _ in self.parts for ticker in own)
        rows = product(*(sorted(rows) for _, rows in self.parts))
        truth = frozenset(tuple(value for row in joined for value in row) for joined in rows)
        listed = [own for own, _ in self.parts if len(own) > 1]
        return World(family, content, tickers, truth, (*listed, *map(tuple, sets)))


def market(ticker: str, text: str, close: str = CLOSE, **fields: Any) -> Json:
    """A market in the exchange's form."""
    return {
        "ticker": ticker,
        "status": "active",
        "close_time": close,
        "price_ranges": _CENTS,
        "rules_primary": text,
        "rules_secondary": "",
        "can_close_early": False,
        **fields,
    }


# Values on a line


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
    draft, line, about = _Draft(), _line(random), _about("tide")
    stretches = _ladder(random, line)
    names = _names("A", stretches)
    trap = random.choice(["none", "none", "subjects", "mislabelled", "station", "close", "flag", "price", "early"])
    if trap == "mislabelled":
        other = {"greater": "less", "greater_or_equal": "less_or_equal", "less": "greater"}
        wrong = stretches[0]
        strike = wrong.high if wrong.low is None else wrong.low
        real = _threshold(other.get(wrong.kind, "greater_or_equal"), strike or Decimal(0))
        rows = [{**row, "strike_type": wrong.kind} for row in _listed("A", stretches, about)]
        rows[0]["rules_primary"] = about(real.words)
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names, line.rows([real, *stretches[1:]]))
        return draft.world("ladder")
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
        return draft.world("ladder")
    if trap == "price":
        rows = _listed("A", stretches, about)
        rows[0]["rules_secondary"] = "If nothing is measured, the markets resolve to the last fair price."
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names, {*line.rows(stretches), *product(_PRICES, repeat=len(names))})
        return draft.world("ladder")
    if trap == "subjects":
        others = _ladder(random, line)
        rows = [
            *_listed("A", stretches, _about("tide at Ash"), custom_strike={"place": "ash"}),
            *_listed("B", others, _about("tide at Oak"), custom_strike={"place": "oak"}),
        ]
        draft.event("TIDE-1", rows, exclusive=False)
        draft.settle(names, line.rows(stretches))
        draft.settle(_names("B", others), line.rows(others))
        return draft.world("ladder")
    draft.event("TIDE-1", _listed("A", stretches, about), exclusive=trap == "flag")
    draft.settle(names, line.rows(stretches))
    return draft.world("ladder")


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
    draft, line, about = _Draft(), _line(random), _about("reading")
    stretches = _brackets(random, line)
    rows = line.rows(stretches)
    if random.random() < 0.4:
        # A review may only say what is so.
        ends = line.ends == (True, True) and random.random() < 0.7
        draft.reviewed = _reviews("HEAT", about, line.lattice if random.random() < 0.7 else None, ends=ends)
    flag = random.random() < 0.05 or all(sum(row) <= DOLLAR for row in rows)
    draft.event("HEAT-1", _listed("M", stretches, about), exclusive=flag)
    draft.settle(_names("M", stretches), rows)
    return draft.world("partition")


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
    draft, seen, about = _Draft(), _line(random), _about("tide")
    first = _brackets(random, seen) if random.random() < 0.6 else _mixed(random, seen)
    if random.random() < 0.3:
        draft.event("TIDE-1", _listed("A", first, about), exclusive=False)
        draft.settle(_names("A", first), seen.rows(first))
        return draft.world("line")
    strikes = [strike for one in first for strike in (one.low, one.high) if strike is not None]
    kinds = random.choice([_FLOORS, _CAPS, _FLOORS + _CAPS])
    picked = random.sample(strikes, min(len(strikes), random.randint(2, 3)))
    second = list(dict.fromkeys(_threshold(random.choice(kinds), strike) for strike in picked))
    kind = random.choice(["same", "same", "same", "unreviewed", "source", "statistic", "named", "instant"])
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
    if kind == "same" or (kind == "unreviewed" and random.random() < 0.5):
        draft.settle([*names[0], *names[1]], seen.rows([*first, *second]))
        return draft.world("line")
    draft.settle(names[0], seen.rows(first))
    draft.settle(names[1], seen.rows(second))
    return draft.world("line")


def _mixed(random: Random, seen: Line) -> list[Stretch]:
    strikes = _strikes(random, seen, random.randint(2, 4))
    drawn = [_threshold(random.choice(_FLOORS + _CAPS), random.choice(strikes)) for _ in range(4)]
    low, high = strikes[0], strikes[-1]
    found = [*drawn, Stretch("between", low, high)] if random.random() < 0.5 else [*drawn, _threshold("greater", low)]
    return list(dict.fromkeys(found))


# Winners, dates, combos, the user's own


def _winners(count: int, *, complete: bool) -> set[Row]:
    rows = {tuple(DOLLAR if place == winner else 0 for place in range(count)) for winner in range(count)}
    return rows if complete else {*rows, (0,) * count}


def exclusive(random: Random) -> World:
    """Candidates: a list that may be complete, a subject that is shown under two names, nested words, a void."""
    return _flagged(random, "exclusive", random.randint(4, 7))


def game(random: Random) -> World:
    """Two or three sides: a tie, a fair price, a side that does not trade."""
    return _flagged(random, "game", random.randint(2, 3))


def _flagged(random: Random, family: str, count: int) -> World:
    draft = _Draft()
    names = [f"W{number}" for number in range(count)]
    trap = random.choice(["none", "none", "price", "tie", "subject", "nested", "dates", "no flag", "paused"])
    rows = [
        market(name, f"If {name} wins the match on Nov 24, 2026, the market resolves to Yes.",
               strike_type="structured", custom_strike={"side": name})
        for name in names
    ]  # fmt: skip
    truth = _winners(count, complete=random.random() < 0.5)
    if trap == "price":
        for row in rows:
            row["rules_secondary"] = _FAIR
        truth |= {tuple(random.choice(_PRICES) for _ in names) for _ in range(20)}
    elif trap == "tie":
        for row in rows:
            row["rules_secondary"] = _TIE
        # Which two of several sides tie is open.
        truth |= {tuple(HALF if place in (one, one + 1) else 0 for place in range(count)) for one in range(count - 1)}
    elif trap == "subject":
        rows[1]["custom_strike"] = rows[0]["custom_strike"]
        truth = {(row[0] or row[1], row[0] or row[1], *row[2:]) for row in truth}
    elif trap == "nested":
        for number, row in enumerate(rows, start=1):
            row["rules_primary"] = f"If Ash scores {number} goals or more on Nov 24, 2026, the market resolves to Yes."
        truth = _nested(count)
    elif trap == "dates":
        for number, row in enumerate(rows, start=1):
            row["rules_primary"] = f"If the bridge opens before Dec {number}, 2026, the market resolves to Yes."
        truth = {row[::-1] for row in _nested(count)}
    elif trap == "no flag":
        truth = set(product((0, DOLLAR), repeat=count))
    elif trap == "paused":
        rows[-1]["status"] = "inactive"
    draft.event("WIN-1", rows, exclusive=trap != "no flag")
    draft.settle(names, truth)
    return draft.world(family)


def _nested(count: int) -> set[Row]:
    return {(DOLLAR,) * paid + (0,) * (count - paid) for paid in range(count + 1)}


def deadline(random: Random) -> World:
    """The same statement by several days; or another statement, or what has not happened by then."""
    draft, count = _Draft(), random.randint(2, 4)
    names = [f"D{number}" for number in range(count)]
    trap = random.choice(["none", "none", "none", "reviewed", "statement", "negated", "in", "order"])
    verb = "does not open" if trap == "negated" else "opens"
    preposition = "on" if trap == "in" else "before"
    texts = [
        f"If the bridge {verb} {preposition} Dec {number + 1}, 2026, the market resolves to Yes."
        for number in range(count)
    ]
    truth = {row[::-1] for row in _nested(count)}
    order = list(range(count))
    if trap == "negated":
        truth = {tuple(DOLLAR - value for value in row) for row in truth}
    elif trap == "in":
        truth = _winners(count, complete=False)
    elif trap == "statement":
        texts[0] = texts[0].replace("bridge", "harbour")
        truth = {(first, *row[1:]) for row in truth for first in (0, DOLLAR)}
    elif trap == "order":
        order.reverse()
    elif trap == "reviewed":
        draft.reviewed = [
            {"series": "OPEN", "text": texts[0] + "\n", "reason": "It opens before a day.", "deadline": "close_time"}
        ]
    rows = [
        market(name, text, f"2026-12-{place + 1:02}T05:00:00Z", strike_type="custom", custom_strike={"by": name})
        for name, text, place in zip(names, texts, order, strict=True)
    ]
    draft.event("OPEN-1", rows, exclusive=False)
    draft.settle(names, truth)
    return draft.world("deadline")


def combo(random: Random) -> World:
    """Two to four legs, YES or NO, free of each other or nested; sometimes one may settle at a price."""
    draft, count = _Draft(), random.randint(2, 4)
    names = [f"L{number}" for number in range(count)]
    sides = [random.choice(["yes", "yes", "no"]) for _ in names]
    has_price = random.random() < 0.25
    values = _PRICES if has_price else (0, DOLLAR)
    legs = set(product(values, repeat=count)) if random.random() < 0.7 else _nested(count)
    for name in names:
        text = f"If {name} comes true on Nov 24, 2026, the market resolves to Yes."
        row = market(name, text, rules_secondary=_FAIR if has_price else "")
        draft.event(f"LEG-{name}", [row], exclusive=False)
    selected = [
        {"event_ticker": f"LEG-{name}", "market_ticker": name, "side": side}
        for name, side in zip(names, sides, strict=True)
    ]
    draft.event(
        "MIX-1", [market("C", "If all legs come true, the market resolves to Yes.", mve_selected_legs=selected)],
        exclusive=False,
    )  # fmt: skip
    rows = set()
    for row in legs:
        paid = 1
        for value, side in zip(row, sides, strict=True):
            paid *= value if side == "yes" else DOLLAR - value
        rows.add((paid // DOLLAR ** (count - 1), *row))
    draft.settle(["C", *names], rows)
    return draft.world("combo")


def user(random: Random) -> World:
    """Three or four markets that settle in a few ways, and true relations that the user wrote down of them."""
    draft, count = _Draft(), random.randint(3, 4)
    names = [f"U{number}" for number in range(count)]
    everything = list(product((0, DOLLAR), repeat=count))
    truth = set(random.sample(everything, random.randint(count + 1, len(everything) // 2 + 1)))
    # Each market can go either way, or nobody would list it.
    truth |= {tuple(DOLLAR - value for value in next(iter(sorted(truth))))}
    true = [
        (kind, (one, other))
        for kind, holds in _SAYS.items()
        for one, other in product(range(count), repeat=2)
        if one != other and all(holds(row[one], row[other]) for row in truth)
    ]
    picked = random.sample(true, min(len(true), 2))
    if picked:
        lines = [
            f"  - kind: {kind}\n    members: [{names[pair[0]]}, {names[pair[1]]}]\n    reason: So it is.\n"
            for kind, pair in picked
        ]
        draft.relations = "relations:\n" + "".join(dict.fromkeys(lines))
    for name in names:
        text = f"If {name} comes true on Nov 24, 2026, the market resolves to Yes."
        draft.event(f"OWN-{name}", [market(name, text)], exclusive=False)
    draft.settle(names, truth)
    return draft.world("user")


_SAYS: Mapping[str, Callable[[int, int], bool]] = {
    "subset": lambda one, other: one <= other,
    "disjoint": lambda one, other: one + other <= DOLLAR,
    "exhaustive": lambda one, other: one + other >= DOLLAR,
}

FAMILIES: Mapping[str, Callable[[Random], World]] = {
    "ladder": ladder,
    "partition": partition,
    "line": line,
    "exclusive": exclusive,
    "game": game,
    "deadline": deadline,
    "combo": combo,
    "user": user,
}


def worlds(seed: int, each: int) -> Iterator[World]:
    """``each`` worlds of every family, the same for the same numbers."""
    for number, (name, make) in enumerate(FAMILIES.items()):
        random = Random(f"{seed} {number} {name}")  # noqa: S311 - reproducible worlds, not cryptography
        for _ in range(each):
            yield make(random)
