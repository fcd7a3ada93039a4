"""Fees against the exchange's own examples, its official table, and real fills."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest

from kalshi_arb.domain.errors import AmountError, ProofError
from kalshi_arb.domain.fees import (
    FeeSchedule,
    FeeType,
    Precision,
    Role,
    charge,
    model_fee,
    order_fee,
    order_fee_bound,
    schedule_from_wire,
    trade_fee,
)
from kalshi_arb.domain.money import Cash, Count, Price, cash_from_wire, count_from_wire, notional, price_from_wire

QUADRATIC = FeeSchedule(FeeType.QUADRATIC)
REAL_FILLS = Path(__file__).resolve().parents[3] / "shared" / "data" / "fees" / "real_fills.csv"


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


def test_a_rebate_never_makes_a_fee_negative() -> None:
    result = charge(Cash(-100), Cash(0), Precision.DIRECT, Cash(950))
    assert result.fee == 0
    assert result.accumulator == 950


def test_real_fills_cost_what_the_rule_says() -> None:
    """All but one of the recorded fills were charged exactly what the current rule says. That one, 71.94 contracts at
    0.0130, was charged by an earlier rule, which cost a grid step more."""
    if not REAL_FILLS.exists():
        pytest.skip("the recorded fills are not on this machine")
    with REAL_FILLS.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    differences = []
    for row in rows:
        schedule = schedule_from_wire("quadratic", row["fee_multiplier_inferred"])
        level = [(price_from_wire(row["price_dollars_of_side"]), count_from_wire(row["count_fp"]))]
        charged = cash_from_wire(row["fee_cost_charged"])
        differences.append(charged - order_fee(schedule, level, Precision.DIRECT))
    assert sorted(differences) == [0] * 21 + [100]


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
    # Off the grid each of two fills can lose a step that nothing gives back.
    off_grid = [(Price(4_001), Count(250))]
    assert order_fee_bound(free, off_grid, Precision.DIRECT, Count(125)) == 99 + 2 * 100
    assert notional(Price(4_001), Count(125)) % Precision.DIRECT == 25
