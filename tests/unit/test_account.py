"""The account of a run: what counts as a lock, and when the books balance."""

from typing import Any

import pytest

from infra.local.account import Account, percentile, reconcile
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, Settlement, fill_entry, settlement_entry


def bought(trade: str, ticker: str, outcome: Outcome, count: int, price: int, fee: int) -> LedgerEntry:
    return fill_entry(Fill(trade, "o", ticker, outcome, Count(count), Price(price), Cash(fee), 1), "b")


def exchange(cash: int, fees: int, positions: dict[str, int]) -> dict[str, Any]:
    return {"cash": {"0": cash}, "initial_cash": {"0": 1_000_000_000}, "fees_paid": fees, "positions": positions}


def test_the_books_balance_when_cash_fees_and_positions_agree() -> None:
    # 10 YES at 0.40 with 0.0168 fee, half of it closed by 5 NO at 0.55: five dollars come back for the pairs.
    entries = [bought("t1", "A", Outcome.YES, 1000, 4000, 16_800), bought("t2", "A", Outcome.NO, 500, 5500, 8_700)]
    cash = 1_000_000_000 - 4_000_000 - 16_800 - 2_750_000 - 8_700 + 5_000_000
    assert reconcile(entries, exchange(cash, 25_500, {"A": 500, "B": 0})).matches


@pytest.mark.parametrize(
    ("cash", "fees", "positions"),
    [(-1, 0, {"A": 1000}), (0, 1, {"A": 1000}), (0, 0, {"A": 999}), (0, 0, {}), (0, 0, {"A": 1000, "B": -1})],
)
def test_one_unit_of_difference_is_a_mismatch(cash: int, fees: int, positions: dict[str, int]) -> None:
    entries = [bought("t1", "A", Outcome.YES, 1000, 4000, 16_800)]
    told = exchange(1_000_000_000 - 4_016_800 + cash, 16_800 + fees, positions)
    assert not reconcile(entries, told).matches


def test_a_settled_position_is_gone_and_its_payment_is_in_the_cash() -> None:
    entries = [
        bought("t1", "A", Outcome.NO, 300, 9000, 18_900),
        settlement_entry(Settlement("A", Price(0), Cash(3_000_000), 5)),
    ]
    assert reconcile(entries, exchange(1_000_000_000 - 2_718_900 + 3_000_000, 18_900, {})).matches


def test_a_feed_that_says_nothing_any_more_is_not_shown_as_connected() -> None:
    def state(**more: Any) -> str:
        return Account(1, "simulated", "embedded", **more).feed_state

    assert state(feed={"connected": True}, feed_age_ms=1_200) == "connected"
    assert state(feed={"connected": True}, feed_age_ms=40_900) == "SILENT for 40 s"
    assert state(feed={"connected": False}) == state() == "NOT CONNECTED"
    assert state(feed={"connected": True}, feed_age_ms=40_900, feed_stopped=True) == "stopped"


def test_percentiles_take_the_nearest_rank() -> None:
    assert percentile([], 0.5) is None
    assert percentile([7], 0.99) == 7
    assert percentile(list(range(100)), 0.99) == 99
    assert percentile(list(range(100)), 0.5) == 50
