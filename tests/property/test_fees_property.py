"""The fee bounds against every way an order can fill, and the rounding rule against what the balance must satisfy.

``FEE_BOUND_EXAMPLES`` makes the search for a fee outside its bounds as long as one likes.
"""

import os
import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.fees import (
    FeeSchedule,
    FeeType,
    Precision,
    Role,
    RoundingRegime,
    charge,
    model_fee,
    order_fee,
    order_fee_bound,
    order_fee_least,
    trade_fee,
)
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.side import BookSide

schedules = st.builds(
    FeeSchedule,
    st.sampled_from([FeeType.QUADRATIC, FeeType.WITH_MAKER, FeeType.WITH_COMBO_MAKER]),
    st.sampled_from([0, 1, 123, 5_000, 10_000, 17_500]),
)
prices = st.one_of(st.integers(1, 9_999), st.integers(1, 99), st.integers(1, 99).map(lambda cents: cents * 100))
precisions = st.sampled_from(Precision)
roles = st.sampled_from(Role)
regimes = st.sampled_from(RoundingRegime)
smallest_fills = st.sampled_from([1, 37, 100, 1_000])


def split(levels: list[tuple[int, int]], smallest: int, rng: random.Random) -> list[tuple[Price, Count]]:
    """Fills of at least the smallest size, but one: the last of the order may be the rest of what was wanted."""
    fills: list[tuple[int, int]] = []
    rest = rng.randrange(len(levels)) if rng.random() < 0.7 else -1
    last = None
    for number, (price, count) in enumerate(levels):
        left = count
        if number == rest and count > smallest:
            # Tiny rests are the dangerous ones: their fee cannot give an earlier rounding back.
            small = min(smallest - 1, count - smallest)
            size = count % smallest if rng.random() < 0.3 else rng.choice([1, rng.randint(1, max(1, small)), small])
            if 0 < size <= small:
                last = (price, size)
                left -= size
        while left >= 2 * smallest and rng.random() < 0.97:
            part = smallest if rng.random() < 0.7 else rng.randint(smallest, left - smallest)
            fills.append((price, part))
            left -= part
        fills.append((price, left))
    rng.shuffle(fills)
    fills += [last] if last else []
    return [(Price(price), Count(count)) for price, count in fills]


@settings(max_examples=int(os.environ.get("FEE_BOUND_EXAMPLES", "800")), deadline=None)
@given(
    schedules,
    st.lists(st.tuples(prices, st.integers(1, 700)), min_size=1, max_size=3),
    precisions,
    smallest_fills,
    roles,
    regimes,
    st.integers(0, 10**9),
)
# The rest of an order is too small to give back what the fills before it left.
@example(
    FeeSchedule(FeeType.QUADRATIC), [(5_030, 201)], Precision.CENT, 100, Role.TAKER, RoundingRegime.SIX_DECIMALS, 0
)
@example(FeeSchedule(FeeType.QUADRATIC), [(51, 301)], Precision.DIRECT, 100, Role.TAKER, RoundingRegime.SIX_DECIMALS, 3)
def test_no_split_into_fills_leaves_the_bounds(
    schedule: FeeSchedule,
    levels: list[tuple[int, int]],
    precision: Precision,
    smallest: int,
    role: Role,
    regime: RoundingRegime,
    seed: int,
) -> None:
    rng = random.Random(seed)
    typed = [(Price(price), Count(count)) for price, count in levels]
    least = order_fee_least(schedule, typed, precision, role, regime=regime)
    most = order_fee_bound(schedule, typed, precision, Count(smallest), role, regime=regime)
    for _ in range(12):
        fee = order_fee(schedule, split(levels, smallest, rng), precision, role, regime=regime)
        assert least <= fee <= most
        assert fee * 10**12 >= sum(model_fee(schedule, price, count, role) for price, count in typed)


@given(schedules, prices, st.integers(1, 700), precisions, roles, regimes)
def test_the_least_fee_is_what_one_fill_is_charged(
    schedule: FeeSchedule, price: int, count: int, precision: Precision, role: Role, regime: RoundingRegime
) -> None:
    fill = [(Price(price), Count(count))]
    charged = order_fee(schedule, fill, precision, role, regime=regime)
    least = order_fee_least(schedule, fill, precision, role, regime=regime)
    assert least == charged


@given(
    schedules,
    st.lists(st.tuples(prices, st.integers(1, 10**6)), min_size=1, max_size=8),
    st.booleans(),
    precisions,
    roles,
    regimes,
)
def test_the_balance_stays_on_its_grid_and_pays_exactly_the_fee(
    schedule: FeeSchedule,
    fills: list[tuple[int, int]],
    is_sale: bool,
    precision: Precision,
    role: Role,
    regime: RoundingRegime,
) -> None:
    accumulator = Cash(0)
    for price, count in fills:
        revenue = Cash(price * count if is_sale else -price * count)
        raw = trade_fee(schedule, Price(price), Count(count), role, regime=regime)
        result = charge(revenue, raw, precision, accumulator, regime=regime)
        assert result.change == revenue - result.fee
        assert result.change % precision == 0
        assert result.fee == raw + result.rounding - result.rebate
        assert 0 <= result.rounding < precision
        assert result.fee >= 0
        assert result.accumulator == accumulator + result.rounding - result.rebate >= 0
        accumulator = result.accumulator


@given(
    schedules,
    st.lists(st.tuples(prices, st.integers(1, 10**5)), min_size=1, max_size=8),
    precisions,
    regimes,
)
def test_selling_one_outcome_is_charged_like_buying_the_other(
    schedule: FeeSchedule, fills: list[tuple[int, int]], precision: Precision, regime: RoundingRegime
) -> None:
    sold, bought = Cash(0), Cash(0)
    for price, count in fills:
        own, other = Price(price), BookSide.ASK.purchase_price(Price(price))
        raw = trade_fee(schedule, own, Count(count), regime=regime)
        assert raw == trade_fee(schedule, other, Count(count), regime=regime)
        sale = charge(notional(own, Count(count)), raw, precision, sold, regime=regime)
        purchase = charge(Cash(-notional(other, Count(count))), raw, precision, bought, regime=regime)
        assert (sale.fee, sale.rounding, sale.rebate) == (purchase.fee, purchase.rounding, purchase.rebate)
        # Netting pays a dollar for each pair.
        assert sale.change == purchase.change + notional(ONE_DOLLAR, Count(count))
        sold, bought = sale.accumulator, purchase.accumulator
    assert sold == bought


@given(schedules, prices, st.integers(1, 10**5), st.integers(1, 10**5), smallest_fills, precisions, regimes)
def test_more_contracts_never_lower_the_highest_cost(
    schedule: FeeSchedule,
    price: int,
    count: int,
    more: int,
    smallest: int,
    precision: Precision,
    regime: RoundingRegime,
) -> None:
    def highest(size: int) -> int:
        level = Price(price), Count(size)
        return notional(*level) + order_fee_bound(schedule, [level], precision, Count(smallest), regime=regime)

    assert highest(count) <= highest(count + more)
