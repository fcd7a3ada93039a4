"""The fee bound against every way an order can fill."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, Role, charge, model_fee, order_fee, order_fee_bound
from kalshi_arb.domain.money import Cash, Count, Price

schedules = st.builds(
    FeeSchedule,
    st.sampled_from([FeeType.QUADRATIC, FeeType.WITH_MAKER, FeeType.WITH_COMBO_MAKER]),
    st.sampled_from([0, 1, 123, 5_000, 10_000, 17_500]),
)
prices = st.one_of(st.integers(1, 9_999), st.integers(1, 99).map(lambda cents: cents * 100))
smallest_fills = st.sampled_from([1, 37, 100, 1_000])


@settings(max_examples=600, deadline=None)
@given(
    schedules,
    st.lists(st.tuples(prices, st.integers(1, 700)), min_size=1, max_size=3),
    st.sampled_from(list(Precision)),
    smallest_fills,
    st.integers(0, 10**9),
)
def test_no_split_into_fills_costs_more_than_the_bound(
    schedule: FeeSchedule, levels: list[tuple[int, int]], precision: Precision, smallest: int, seed: int
) -> None:
    rng = random.Random(seed)
    typed = [(Price(price), Count(count)) for price, count in levels]
    bound = order_fee_bound(schedule, typed, precision, Count(smallest))
    for _ in range(10):
        fills: list[tuple[Price, Count]] = []
        for price, count in levels:
            left = count
            while left >= 2 * smallest and rng.random() < 0.95:
                part = smallest if rng.random() < 0.5 else rng.randint(smallest, left - smallest)
                fills.append((Price(price), Count(part)))
                left -= part
            fills.append((Price(price), Count(left)))
        rng.shuffle(fills)
        fee = order_fee(schedule, fills, precision)
        assert fee <= bound
        assert fee * 10**12 >= sum(model_fee(schedule, price, count) for price, count in fills)


@given(schedules, prices, st.integers(1, 10**6), st.sampled_from(list(Precision)), st.sampled_from(list(Role)))
def test_the_balance_stays_on_its_grid_and_pays_exactly_the_fee(
    schedule: FeeSchedule, price: int, count: int, precision: Precision, role: Role
) -> None:
    revenue = Cash(-price * count)
    raw = Cash(-(-model_fee(schedule, Price(price), Count(count), role) // 10**12))
    result = charge(revenue, raw, precision)
    assert result.change == revenue - result.fee
    assert result.change % precision == 0
    assert 0 <= result.fee <= raw + precision - 1
    assert result.accumulator >= 0


@given(schedules, prices, st.integers(1, 10**5), st.integers(1, 10**5), smallest_fills)
def test_on_whole_cents_more_contracts_never_lower_the_bound(
    schedule: FeeSchedule, price: int, count: int, more: int, smallest: int
) -> None:
    cents = Price(max(100, price // 100 * 100))
    fewer = order_fee_bound(schedule, [(cents, Count(count))], Precision.DIRECT, Count(smallest))
    assert fewer <= order_fee_bound(schedule, [(cents, Count(count + more))], Precision.DIRECT, Count(smallest))
