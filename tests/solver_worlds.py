"""Random groups of every family with random books: depth, odd fees, fractional sizes, tapered grids, thin edges."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID, Band, PriceGrid
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, complement
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.user import PAIR_KINDS, UserRelation, components, solutions
from tests.combo_samples import combo_group
from tests.market_samples import NOW_MS, market
from tests.relation_samples import index_event, index_registry

TAPERED = PriceGrid(
    (
        Band(Price(0), Price(1_000), Price(10)),
        Band(Price(1_000), Price(9_000), Price(100)),
        Band(Price(9_000), ONE_DOLLAR, Price(10)),
    )
)
GRIDS = (CENT_GRID, CENT_GRID, TAPERED, PriceGrid((Band(Price(0), ONE_DOLLAR, Price(1)),)))
FEES = tuple(
    FeeSchedule(FeeType.QUADRATIC, multiplier) for multiplier in (0, 2_500, 3_500, 5_000, 7_777, 10_000, 10_000, 13_001)
)


class World(NamedTuple):
    """A group with its books."""

    kind: str
    group: Group
    books: dict[str, BookSnapshot]


def world(seed: int) -> World:
    """One group of a random family; the same seed gives the same world."""
    rng = random.Random(seed)
    kind = rng.choice(list(KINDS))
    group = KINDS[kind](rng)
    fees = rng.choice(FEES)
    odd = rng.random() < 0.3
    grid = rng.choice(GRIDS)
    markets = tuple(
        replace(one, grid=grid, fees=rng.choice(FEES) if odd else fees) for one in group.markets
    )  # fmt: skip
    group = replace(group, markets=markets)
    return World(kind, group, random_books(rng, group, levels=5))


def plain(count: int) -> tuple[Market, ...]:
    """Markets without strikes."""
    return tuple(
        replace(market("> 1", ticker=f"M{number}"), strike_type=StrikeType.OTHER) for number in range(count)
    )  # fmt: skip


def of_states(family: Family, rows: Sequence[Sequence[bool]], possible: Sequence[State] = ()) -> Group:
    """A group of plain markets that settle in one of these ways."""
    states = tuple(
        State(f"S{number}", tuple(ONE_DOLLAR if paid else Price(0) for paid in row), Basis.CERTAIN)
        for number, row in enumerate(rows)
    )
    return Group(family.value, family, "EVENT", plain(len(rows[0])), (*states, *possible), (), "print")


def _of_event(strikes: Sequence[str], *, lattice: bool) -> Group:
    registry = index_registry(lattice="1", ends_included=True) if lattice else index_registry()
    (group,) = build_groups([index_event("E", *strikes)], registry=registry).groups
    return group


def ladder(rng: random.Random) -> Group:
    """Thresholds of one direction; on a lattice two of them can be the same statement."""
    signs = rng.choice([(">", ">="), ("<", "<="), (">",)])
    levels = rng.sample(range(12), rng.randint(2, 8))
    return _of_event([f"{rng.choice(signs)} {level}" for level in levels], lattice=rng.random() < 0.3)


def partition(rng: random.Random) -> Group:
    """Brackets with or without tails, touching or not."""
    count = rng.randint(1, 7)
    gap = rng.choice([1, 1, 0, 2])
    brackets = [f"{number * (2 + gap)} .. {number * (2 + gap) + 2}" for number in range(count)]
    top = (count - 1) * (2 + gap) + 2
    tails = ["< 0", f"> {top}"] if rng.random() < 0.8 or count < 2 else []
    return _of_event([*brackets, *tails], lattice=rng.random() < 0.3)


def line(rng: random.Random) -> Group:
    """Thresholds and brackets on one line, of one event or of two that are joined."""
    joined = rng.random() < 0.3
    while True:
        strikes = [
            f"{rng.choice(['>', '>=', '<', '<='])} {rng.randint(0, 8)}"
            if rng.random() < 0.5
            else f"{(low := rng.randint(0, 7))} .. {low + rng.randint(1, 3)}"
            for _ in range(rng.randint(3, 9))
        ]
        strikes = list(dict.fromkeys(strikes))
        if joined and len(strikes) > 3:
            half = len(strikes) // 2
            events: list[EventListing] = [
                index_event("E1", *strikes[:half]),
                index_event("E2", *strikes[half:], series="OTHER"),
            ]
            groups = build_groups(events, registry=index_registry("SERIES", "OTHER")).groups
            found = [group for group in groups if len(group.event_tickers) > 1]
        else:
            found = list(build_groups([index_event("E", *strikes)], registry=index_registry()).groups)
        if found:
            return found[0]


def exclusive(rng: random.Random) -> Group:
    """Candidates of whom one or nobody wins."""
    count = rng.randint(3, 9)
    rows = [[place == winner for place in range(count)] for winner in range(count + 1)]
    return of_states(Family.EXCLUSIVE, rows)


def game(rng: random.Random) -> Group:
    """Two or three sides of which one wins; perhaps nobody, perhaps a settlement at a price."""
    count = rng.choice([2, 3])
    possible = [State("nobody", (Price(0),) * count, Basis.POSSIBLE)]
    if rng.random() < 0.5:
        low = rng.choice([0, 2_000, 4_500])
        highest = (Price(rng.choice([10_000, 8_000, 5_000])),) * count
        possible.append(State("fair price", (Price(low),) * count, Basis.POSSIBLE, highest=highest))
    return of_states(Family.GAME, [[place == winner for place in range(count)] for winner in range(count)], possible)


def deadline(rng: random.Random) -> Group:
    """The same statement by several dates."""
    count = rng.randint(2, 8)
    return of_states(Family.DEADLINE, [[place < paid for place in range(count)] for paid in range(count + 1)])


def combo(rng: random.Random) -> Group:
    """A combo and its legs."""
    return combo_group(*(f"{rng.choice(['yes', 'no'])} L{number}" for number in range(rng.randint(2, 4))))


def implications(rng: random.Random) -> Group:
    """Markets of which some imply others, and nothing else."""
    return _user(rng, (RelationKind.SUBSET, RelationKind.SUBSET, RelationKind.EQUAL))


def user(rng: random.Random) -> Group:
    """Markets that any relations tie together."""
    return _user(rng, tuple(RelationKind))


def _user(rng: random.Random, kinds: Sequence[RelationKind]) -> Group:
    names = "ABCDEF"
    while True:
        relations = []
        for number in range(rng.randint(2, 5)):
            kind = rng.choice(kinds)
            members = rng.sample(names, 2 if kind in PAIR_KINDS else rng.randint(2, 4))
            relations.append(UserRelation(kind, tuple(members), "so", number))
        for component in components(relations):
            rows = solutions(component.tickers, component.relations)
            if rows and len(component.tickers) > 1:
                return of_states(Family.USER, rows)


KINDS: Mapping[str, Callable[[random.Random], Group]] = {
    one.__name__: one
    for one in (ladder, partition, line, exclusive, game, deadline, combo, implications, user)
}  # fmt: skip


def random_books(rng: random.Random, group: Group, *, levels: int) -> dict[str, BookSnapshot]:
    """Uncrossed books around a coherent price of each market, some of them out of line by a little."""
    certain = [state.yes_payouts for state in group.states if state.basis is Basis.CERTAIN]
    # Most of the weight on few states: many statements are then about as probable as their neighbours.
    weights = [rng.random() ** rng.choice([3, 20]) + 0.001 for _ in certain]
    total = sum(weights)
    width = rng.choice([0, 0, 0, 1])
    whole = rng.random() < 0.4
    # By how much each price is beyond its fee, the same way or another for each market: mostly less than a cent.
    astray = rng.choice([150, 250, 300, 400, 400, 700, 1_200, 2_500])
    lean = rng.choice([-1, 0, 1])
    made = {}
    for place, one in enumerate(group.markets):
        fair = sum(weight * row[place] for weight, row in zip(weights, certain, strict=True)) / total
        fee = 0.07 * one.fees.multiplier / 10_000 * fair * (1 - fair / ONE_DOLLAR)
        middle = round(fair + (lean or rng.choice([-1, 1])) * (fee + rng.random() * astray))
        bid = one.grid.at_or_below(Price(min(max(middle - rng.randint(0, width) * 50, 1), ONE_DOLLAR - 1)))
        ask = one.grid.at_or_above(Price(min(max(middle + rng.randint(0, width) * 50, 1), ONE_DOLLAR - 1)))
        yes = _side(rng, one.grid, bid, levels, whole=whole, up=False)
        asks = _side(
            rng, one.grid, ask if ask != bid or ask is None else one.grid.next_above(ask), levels, whole=whole, up=True
        )
        no = tuple(Level(complement(price), size) for price, size in asks)
        made[one.ticker] = BookSnapshot(one.ticker, BookVersion(1, 1, 1), NOW_MS, NOW_MS, yes, no)
    return made


def _side(
    rng: random.Random, grid: PriceGrid, best: Price | None, levels: int, *, whole: bool, up: bool
) -> tuple[Level, ...]:
    found: list[Level] = []
    price = best
    if rng.random() < 0.08:
        return ()
    for _ in range(rng.randint(1, levels)):
        if price is None or not 0 < price < ONE_DOLLAR:
            break
        size = rng.randint(1, 40) * 100 if whole else rng.choice([rng.randint(1, 99), rng.randint(1, 3_000)])
        found.append(Level(price, Count(size)))
        for _ in range(rng.randint(1, 3)):
            if price is not None:
                price = grid.next_above(price) if up else grid.next_below(price)
    return tuple(found)
