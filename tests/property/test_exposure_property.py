"""The exposure bound against brute force: every fill vector of small orders, every state."""

from dataclasses import replace
from itertools import product

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import LegTerms
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.grid import CENT_GRID, Band, PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.execution.exposure import FeeRules, highest_cost, worst_loss
from tests.basket_world import market

schedules = st.builds(FeeSchedule, st.just(FeeType.QUADRATIC), st.sampled_from([0, 123, 5_000, 10_000, 20_000]))
prices = st.one_of(st.integers(1, 9_999), st.integers(1, 99).map(lambda cents: cents * 100)).map(Price)
FINEST = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(1)),))
payouts = st.one_of(st.sampled_from([0, ONE_DOLLAR]), st.integers(0, ONE_DOLLAR)).map(Price)


@st.composite
def bundles(draw):
    size = draw(st.integers(1, 3))
    states = draw(st.lists(st.tuples(*[payouts] * size), min_size=1, max_size=4))
    markets = tuple(market(f"M-{number}") for number in range(size))
    group = Group(
        "g", Family.PARTITION, "EV", markets,
        tuple(State(str(number), row, Basis.CERTAIN) for number, row in enumerate(states)), (), "print",
    )  # fmt: skip
    legs = tuple(
        Leg(own.ticker, draw(st.sampled_from(Outcome)), Count(draw(st.integers(1, 9))), draw(prices)) for own in markets
    )
    whole = draw(st.booleans())
    waves = ((0,), tuple(range(1, size))) if whole else (tuple(range(size)),)
    return group, legs, waves


@settings(max_examples=200, deadline=None)
@given(bundle=bundles(), precision=st.sampled_from(Precision), smallest=st.integers(1, 4))
def test_the_bound_is_the_worst_of_every_fill_vector(bundle, precision: Precision, smallest: int) -> None:
    group, legs, waves = bundle
    rules = FeeRules(precision, Count(smallest))
    terms = [LegTerms(own.grid, own.fees, 0) for own in group.markets]
    parts = [range(leg.count + 1) for leg in legs]
    if len(waves[0]) == 1:
        parts[0] = [legs[0].count]
    worst = 0
    for vector in product(*parts):
        paid = sum(
            highest_cost(own, Count(part), leg.limit, rules) if part else 0
            for own, leg, part in zip(terms, legs, vector, strict=True)
        )
        for state in group.states:
            back = sum(
                part * state.payout(index, leg.outcome)
                for index, (leg, part) in enumerate(zip(legs, vector, strict=True))
            )
            worst = max(worst, paid - back)
    bound = worst_loss(group, legs, waves, precision=precision, smallest_fill=Count(smallest), orders_per_leg=1)
    assert worst <= bound <= worst + len(legs) * precision


belows = st.one_of(st.integers(0, 3), st.integers(0, 300))
mores = st.one_of(st.integers(0, 2), st.integers(0, 200))


@settings(max_examples=800, deadline=None)
# The first fills leave a rounding each, and the rest is too small to give any of it back.
@example(FeeSchedule(FeeType.QUADRATIC), Price(1_701), [(0, 0)] * 6, (0, 1), FINEST, Precision.CENT, 100)
@example(FeeSchedule(FeeType.QUADRATIC), Price(8_422), [(0, 0)] * 6, (1, 1), FINEST, Precision.DIRECT, 100)
@given(
    schedule=schedules,
    limit=prices,
    fills=st.lists(st.tuples(belows, mores), min_size=1, max_size=6),
    rest=st.one_of(st.none(), st.tuples(belows, st.integers(1, 99))),
    grid=st.sampled_from([CENT_GRID, FINEST]),
    precision=st.sampled_from(Precision),
    smallest=st.sampled_from([1, 37, 100]),
)
def test_no_sequence_of_fills_at_or_below_the_limit_costs_more(
    schedule: FeeSchedule,
    limit: Price,
    fills: list[tuple[int, int]],
    rest: tuple[int, int] | None,
    grid: PriceGrid,
    precision: Precision,
    smallest: int,
) -> None:
    sizes = [(below, smallest + more) for below, more in fills] + ([rest] if rest else [])
    legal = [(grid.at_or_below(Price(limit - below)) or grid.at_or_above(Price(1)), size) for below, size in sizes]
    taken = [(price, Count(size)) for price, size in legal if price is not None]
    highest = Price(max(limit, *(price for price, _ in taken)))
    count = Count(sum(size for _, size in taken))
    paid = sum(price * size for price, size in taken) + order_fee(schedule, taken, precision)
    terms = LegTerms(grid, schedule, 0)
    assert paid <= highest_cost(terms, count, highest, FeeRules(precision, Count(smallest)))


@settings(max_examples=150, deadline=None)
# A fee that steps on the balance grid is worst just after a step, inside a range of sizes.
@example(FeeSchedule(FeeType.QUADRATIC, 5_000), Price(100), 1, 60, CENT_GRID, Precision.DIRECT, 50)
# A rest makes one fill more than the whole ones.
@example(FeeSchedule(FeeType.QUADRATIC), Price(5_000), 5_170, 101, FINEST, Precision.CENT, 100)
@given(
    schedule=schedules,
    limit=prices,
    payout=st.one_of(payouts, st.integers(-40, 40)),
    count=st.integers(1, 250),
    grid=st.sampled_from([CENT_GRID, FINEST]),
    precision=st.sampled_from(Precision),
    smallest=st.sampled_from([1, 7, 50, 100, 300]),
)
def test_the_worst_part_of_one_order_is_found_without_trying_all(
    schedule: FeeSchedule, limit: Price, payout: int, count: int, grid: PriceGrid, precision: Precision, smallest: int
) -> None:
    # Payouts close to the limit are where the roundings decide which part is worst.
    paid = Price(min(ONE_DOLLAR, max(0, limit + payout if payout <= 40 else payout)))
    own = replace(market("M"), fees=schedule, grid=grid)
    group = Group("g", Family.LADDER, "EV", (own,), (State("s", (paid,), Basis.CERTAIN),), (), "print")
    rules = FeeRules(precision, Count(smallest))
    terms = LegTerms(own.grid, schedule, 0)
    worst = max(0, *(highest_cost(terms, Count(part), limit, rules) - paid * part for part in range(1, count + 1)))
    bound = worst_loss(
        group, [Leg("M", Outcome.YES, Count(count), limit)], (), precision=precision, smallest_fill=Count(smallest),
        orders_per_leg=1,
    )  # fmt: skip
    assert worst <= bound <= worst + precision
