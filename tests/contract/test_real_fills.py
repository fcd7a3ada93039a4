"""Real taker fills of August 2026: every charge reproduced under the rounding rule of that month."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from kalshi_arb.domain.fees import Precision, Role, RoundingRegime, order_fee, regime_at, schedule_from_wire
from kalshi_arb.domain.money import Cash, cash_from_wire, count_from_wire, price_from_wire

FILLS = Path(__file__).resolve().parents[3] / "shared" / "data" / "fees" / "real_fills.csv"
AUGUST_22_MS = 1_787_356_800_000


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    if not FILLS.exists():
        pytest.skip("the recorded fills are not on this machine")
    with FILLS.open(newline="") as lines:
        return list(csv.DictReader(lines))


def overcharge(row: dict[str, str], regime: RoundingRegime) -> Cash:
    """What the exchange charged beyond our figure; the fee is the same for both outcomes."""
    assert (row["action"], row["is_taker"]) == ("buy", "True")
    schedule = schedule_from_wire("quadratic", row["fee_multiplier_inferred"])
    fill = price_from_wire(row["price_dollars_of_side"]), count_from_wire(row["count_fp"])
    fee = order_fee(schedule, [fill], Precision.DIRECT, Role.TAKER, regime=regime)
    return Cash(cash_from_wire(row["fee_cost_charged"]) - fee)


def test_every_fill_was_charged_what_the_rule_of_its_month_says(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= 20
    assert [overcharge(row, regime_at(AUGUST_22_MS)) for row in rows] == [0] * len(rows)


def test_the_current_rule_would_have_charged_a_few_of_them_one_step_less(
    rows: list[dict[str, str]], record_property: Callable[[str, object], None]
) -> None:
    differences = [overcharge(row, RoundingRegime.SIX_DECIMALS) for row in rows]
    same = differences.count(Cash(0))
    record_property("fills", len(rows))
    record_property("same_under_the_current_rule", same)
    # A trade fee rounded up to 0.0001 dollars instead of 0.000001 moves the balance by a step of 0.0001 or not at all.
    assert set(differences) <= {0, 100}
    assert same > len(rows) * 3 // 4
