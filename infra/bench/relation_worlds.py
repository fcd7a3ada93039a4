"""Small worlds whose whole truth is known: what the exchange would list, and every way it can settle.

A world hides what its payload does not say: whether the observed value is rounded, whether a bracket pays at its ends,
whether two texts mean the same value, whether a list of candidates is complete. Its truth is brute force: each observed
value is walked over a grid finer than any strike, and every result that comes up is written down. Some worlds lie in
ways that have cost others money (a type that says above and a text that says below, deadlines that are flagged as
exclusive); nothing in them may be claimed that their truth does not hold.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from random import Random

from infra.bench.relation_draft import DOLLAR, PRICES, Draft, Row, World, market
from infra.bench.relation_lines import ladder, line, partition

_HALF = DOLLAR // 2
_FAIR = "A match that has not started within 48 hours resolves to a fair market price."
_TIE = "In a tie each market resolves to $0.50."


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
    draft = Draft()
    names = [f"W{number}" for number in range(count)]
    trap = random.choice(["plain", "plain", "price", "tie", "subject", "nested", "dates", "no flag", "paused"])
    rows = [
        market(name, f"If {name} wins the match on Nov 24, 2026, the market resolves to Yes.",
               strike_type="structured", custom_strike={"side": name})
        for name in names
    ]  # fmt: skip
    truth = _winners(count, complete=random.random() < 0.5)
    if trap == "price":
        for row in rows:
            row["rules_secondary"] = _FAIR
        truth |= {tuple(random.choice(PRICES) for _ in names) for _ in range(20)}
    elif trap == "tie":
        for row in rows:
            row["rules_secondary"] = _TIE
        # Which two of several sides tie is open.
        truth |= {tuple(_HALF if place in (one, one + 1) else 0 for place in range(count)) for one in range(count - 1)}
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
    return draft.world(family, trap)


def _nested(count: int) -> set[Row]:
    return {(DOLLAR,) * paid + (0,) * (count - paid) for paid in range(count + 1)}


def deadline(random: Random) -> World:
    """The same statement by several days; or another statement, or what has not happened by then."""
    draft, count = Draft(), random.randint(2, 4)
    names = [f"D{number}" for number in range(count)]
    trap = random.choice(["plain", "plain", "plain", "reviewed", "statement", "negated", "in", "order"])
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
    return draft.world("deadline", trap)


def combo(random: Random) -> World:
    """Two to four legs, YES or NO, free of each other or nested; sometimes one may settle at a price."""
    draft, count = Draft(), random.randint(2, 4)
    names = [f"L{number}" for number in range(count)]
    sides = [random.choice(["yes", "yes", "no"]) for _ in names]
    has_price = random.random() < 0.25
    values = PRICES if has_price else (0, DOLLAR)
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
    for values_of_legs in legs:
        paid = prod(
            value if side == "yes" else DOLLAR - value for value, side in zip(values_of_legs, sides, strict=True)
        )  # fmt: skip
        rows.add((paid // DOLLAR ** (count - 1), *values_of_legs))
    draft.settle(["C", *names], rows)
    # All legs but what fails of them: at least one of the combo and the legs' other sides pays.
    turned = tuple((name, side == "no") for name, side in zip(names, sides, strict=True))
    return draft.world("combo", "price" if has_price else "plain", [(("C", True), *turned)])


def user(random: Random) -> World:
    """Three or four markets that settle in a few ways, and true relations that the user wrote down of them."""
    draft, count = Draft(), random.randint(3, 4)
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
