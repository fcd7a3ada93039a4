"""Fees against the exchange's own examples and its official table."""

from itertools import pairwise

import pytest

from kalshi_arb.domain.errors import AmountError, FeeError, ProofError
from kalshi_arb.domain.fees import (
    SIX_DECIMALS_FROM_MS,
    FeeSchedule,
    FeeType,
    Precision,
    Role,
    RoundingRegime,
    charge,
    fill_fees,
    model_fee,
    order_fee,
    order_fee_bound,
    order_fee_least,
    override_from_wire,
    precision_from_wire,
    regime_at,
    schedule_from_wire,
    trade_fee,
)
from kalshi_arb.domain.money import Cash, Count, Price, notional

QUADRATIC = FeeSchedule(FeeType.QUADRATIC)


def one_fill(
    price: int, contracts: int, precision: Precision, role: Role = Role.TAKER, fee: FeeSchedule = QUADRATIC
) -> int:
    return order_fee(fee, [(Price(price), Count(contracts * 100))], precision, role)


@pytest.mark.parametrize(
    ("cents", "one", "hundred"),
    [
        (1, 1, 7), (5, 1, 34), (10, 1, 63), (15, 1, 90), (20, 2, 112), (25, 2, 132), (30, 2, 147), (35, 2, 160),
        (40, 2, 168), (45, 2, 174), (50, 2, 175), (85, 1, 90), (90, 1, 63), (95, 1, 34), (99, 1, 7),
    ],
)  # fmt: skip
def test_the_official_table_of_cent_accounts(cents: int, one: int, hundred: int) -> None:
    assert one_fill(cents * 100, 1, Precision.CENT) == one * 10_000
    assert one_fill(cents * 100, 100, Precision.CENT) == hundred * 10_000


@pytest.mark.parametrize(("cents", "fee"), [(5, 9), (10, 16), (20, 28), (25, 33), (40, 42), (50, 44)])
def test_the_official_table_of_makers(cents: int, fee: int) -> None:
    schedule = FeeSchedule(FeeType.WITH_MAKER)
    assert one_fill(cents * 100, 100, Precision.CENT, Role.MAKER, schedule) == fee * 10_000
    assert one_fill(cents * 100, 100, Precision.CENT, Role.MAKER) == 0


@pytest.mark.parametrize(
    ("price", "contracts", "six", "direct", "cent"),
    [
        (5_000, 1, 17_500, 17_500, 20_000),
        (500, 1, 3_325, 3_400, 10_000),
        (4_300, 100, 1_715_700, 1_715_700, 1_720_000),
        (2_500, 100, 1_312_500, 1_312_500, 1_320_000),
        (9_950, 100, 34_825, 34_900, 40_000),
    ],
)
def test_roundings_of_single_fills(price: int, contracts: int, six: int, direct: int, cent: int) -> None:
    assert trade_fee(QUADRATIC, Price(price), Count(contracts * 100)) == six
    assert one_fill(price, contracts, Precision.DIRECT) == direct
    assert one_fill(price, contracts, Precision.CENT) == cent


def test_the_documented_example_of_a_broker_account() -> None:
    fee = charge(Cash(-55_000), trade_fee(QUADRATIC, Price(550), Count(100)), Precision.CENT)
    assert trade_fee(QUADRATIC, Price(550), Count(100)) == 3_639
    assert (fee.fee, fee.change, fee.accumulator) == (5_000, -60_000, 1_361)


def test_the_documented_accumulator_of_three_fills() -> None:
    # Each fill leaves 0.004 over: the third makes the carried amount reach a cent, which comes back.
    carried, seen = Cash(0), []
    for _ in range(3):
        result = charge(Cash(-500_000), Cash(16_000), Precision.CENT, carried)
        carried = result.accumulator
        seen.append((result.fee, carried))
    assert seen == [(20_000, 4_000), (20_000, 8_000), (10_000, 2_000)]


def test_fills_of_one_order_share_their_roundings() -> None:
    three = [(Price(550), Count(100))] * 3
    fees = [order_fee(QUADRATIC, three[:count], Precision.DIRECT) for count in (1, 2, 3)]
    assert fees == [3_700, 7_300, 11_000]
    ten = [(Price(4_300), Count(1_000))] * 10
    each = [order_fee(QUADRATIC, ten[:count], Precision.CENT) for count in range(11)]
    assert [after - before for before, after in pairwise(each)] == [
        180_000, *[170_000] * 5, 180_000, *[170_000] * 3,
    ]  # fmt: skip


def test_the_balance_of_three_fills_moves_in_whole_steps() -> None:
    three = list(fill_fees(QUADRATIC, [(Price(550), Count(100))] * 3, Precision.DIRECT))
    assert [one.change for one in three] == [-58_700, -58_600, -58_700]
    assert [one.rebate for one in three] == [0, 100, 0]


@pytest.mark.parametrize(("cents", "fee"), [(50, 88), (10, 32)])
def test_half_the_rate_was_the_retired_index_rate(cents: int, fee: int) -> None:
    half = FeeSchedule(FeeType.QUADRATIC, 5_000)
    assert one_fill(cents * 100, 100, Precision.CENT, fee=half) == fee * 10_000


@pytest.mark.parametrize(
    ("revenue", "raw", "rounding", "nets"),
    [
        (-55_000, 8_500, 6_500, [15_000, 5_000, 15_000]),
        (-150_000, 4_100, 5_900, [10_000, 0, 10_000]),
        (-9_903, 500, 9_597, [10_097, 97, 97]),
    ],
)
def test_the_worked_examples_of_the_older_page(revenue: int, raw: int, rounding: int, nets: list[int]) -> None:
    """Sub-cent prices, fractional contracts, and both: three fills each, with the page's own trade fees."""
    carried = Cash(0)
    for net in nets:
        result = charge(Cash(revenue), Cash(raw), Precision.CENT, carried, regime=RoundingRegime.CENTICENT)
        assert (result.rounding, result.fee) == (rounding, net)
        carried = result.accumulator


def test_in_the_older_regime_a_cent_exactly_is_still_carried() -> None:
    result = charge(Cash(-500_000), Cash(15_000), Precision.CENT, Cash(5_000), regime=RoundingRegime.CENTICENT)
    assert (result.rounding, result.rebate, result.accumulator) == (5_000, 0, 10_000)
    now = charge(Cash(-500_000), Cash(15_000), Precision.CENT, Cash(5_000))
    assert (now.rebate, now.accumulator) == (10_000, 0)


def test_the_rounding_rule_goes_by_date() -> None:
    assert SIX_DECIMALS_FROM_MS == 1_788_220_800_000  # 2026-09-01T00:00:00Z
    assert regime_at(SIX_DECIMALS_FROM_MS - 1) is RoundingRegime.CENTICENT
    assert regime_at(SIX_DECIMALS_FROM_MS) is RoundingRegime.SIX_DECIMALS
    fill = [(Price(130), Count(7_194))]
    assert order_fee(QUADRATIC, fill, Precision.DIRECT, regime=RoundingRegime.CENTICENT) == 64_780
    assert order_fee(QUADRATIC, fill, Precision.DIRECT) == 64_680


def test_proceeds_round_differently_from_a_cost_of_the_same_size() -> None:
    raw = trade_fee(QUADRATIC, Price(533), Count(100))
    cost = charge(Cash(-53_300), raw, Precision.CENT)
    proceeds = charge(Cash(53_300), raw, Precision.CENT)
    assert raw == 3_533
    assert (cost.change, cost.fee) == (-60_000, 6_700)
    assert (proceeds.change, proceeds.fee) == (40_000, 13_300)


def test_a_rebate_never_makes_a_fee_negative() -> None:
    result = charge(Cash(-100), Cash(0), Precision.DIRECT, Cash(950))
    assert result.fee == 0
    assert result.accumulator == 950


def test_schedules_are_read_and_unknown_ones_are_not_tradable() -> None:
    assert schedule_from_wire("quadratic", 0.5) == FeeSchedule(FeeType.QUADRATIC, 5_000)
    assert schedule_from_wire("quadratic_with_combo_maker_fees", "1").coefficient(Role.MAKER) == 350 * 10_000
    for name in ("margin_market_maker_program_fees", "flat", ""):
        schedule = schedule_from_wire(name, 1)
        assert not schedule.is_tradable()
        with pytest.raises(ProofError, match="no exact fee"):
            model_fee(schedule, Price(5_000), Count(100))
    with pytest.raises(AmountError, match="negative"):
        schedule_from_wire("quadratic", "-1")
    with pytest.raises(AmountError):
        schedule_from_wire("quadratic", "0.00001")
    assert not FeeSchedule(FeeType.QUADRATIC, -1).is_tradable()


def test_an_override_is_both_fields_or_none() -> None:
    assert override_from_wire(None, None) is None
    assert override_from_wire("quadratic", 1) == QUADRATIC
    assert override_from_wire("quadratic_with_maker_fees", "0.5") == FeeSchedule(FeeType.WITH_MAKER, 5_000)
    for half in (("quadratic", None), (None, 1)):
        with pytest.raises(FeeError, match="half a fee override"):
            override_from_wire(*half)


def test_accounts_have_one_of_two_precisions() -> None:
    assert precision_from_wire("0.0001") is Precision.DIRECT
    assert precision_from_wire(0.01) is Precision.CENT
    for bad in ("0.001", "1", "cent", None):
        with pytest.raises(AmountError):
            precision_from_wire(bad)


def test_halved_fees_are_half() -> None:
    half = FeeSchedule(FeeType.QUADRATIC, 5_000)
    assert 2 * model_fee(half, Price(4_200), Count(100)) == model_fee(QUADRATIC, Price(4_200), Count(100))


def test_the_bound_of_one_whole_cent_fill_is_its_fee() -> None:
    for cents in range(1, 100):
        level = [(Price(cents * 100), Count(1_300))]
        exact = order_fee(QUADRATIC, level, Precision.DIRECT)
        assert order_fee_bound(QUADRATIC, level, Precision.DIRECT, Count(1_300)) == exact


def test_nothing_bought_costs_nothing() -> None:
    assert order_fee(QUADRATIC, [], Precision.DIRECT) == 0
    assert order_fee_bound(QUADRATIC, [], Precision.DIRECT, Count(100)) == 0


def test_a_fee_free_market_costs_nothing_on_the_balance_grid() -> None:
    free = FeeSchedule(FeeType.QUADRATIC, 0)
    assert order_fee_bound(free, [(Price(4_000), Count(1_000))], Precision.DIRECT, Count(1)) == 0
    # Off the grid each of two fills rounds, and no fee is there to give anything back from.
    off_grid = [(Price(4_001), Count(250))]
    assert notional(Price(4_001), Count(125)) % Precision.DIRECT == 25
    assert order_fee(free, [(Price(4_001), Count(125))] * 2, Precision.DIRECT) == 2 * 75
    assert order_fee_bound(free, off_grid, Precision.DIRECT, Count(125)) == 2 * 75
    assert order_fee_least(free, off_grid, Precision.DIRECT) == 50


def test_the_rest_of_an_order_may_be_too_small_to_give_a_rounding_back() -> None:
    half = FeeSchedule(FeeType.QUADRATIC, 5_000)
    sizes = [100, 100, 100, 101, 100, 102, 1]
    fee = order_fee(half, [(Price(8_422), Count(size)) for size in sizes], Precision.DIRECT)
    assert fee == 28_212
    assert order_fee_bound(half, [(Price(8_422), Count(604))], Precision.DIRECT, Count(100)) >= fee
    assert order_fee_least(half, [(Price(8_422), Count(604))], Precision.DIRECT) <= fee


def test_bounds_know_the_role() -> None:
    with_maker = FeeSchedule(FeeType.WITH_MAKER)
    level = [(Price(5_000), Count(10_000))]
    assert order_fee_least(with_maker, level, Precision.DIRECT, Role.MAKER) == 437_500
    assert order_fee_bound(with_maker, level, Precision.DIRECT, Count(10_000), Role.MAKER) == 437_500
    assert order_fee_bound(QUADRATIC, level, Precision.DIRECT, Count(100), Role.MAKER) == 0
