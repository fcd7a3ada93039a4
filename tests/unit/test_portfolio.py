"""The ledger: what fills and settlements do to cash and positions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_by_shard,
    cash_change,
    fill_entry,
    held,
    home_shards,
    net_positions,
    position_entries,
    settlement_entry,
)
from kalshi_arb.domain.positions import replay


def fill(number: int, outcome: Outcome, count: int, price: int, *, fee: int = 0, ticker: str = "T") -> LedgerEntry:
    return fill_entry(
        Fill(f"trade{number}", "order", ticker, outcome, Count(count), Price(price), Cash(fee), 7), "basket"
    )


def test_a_fill_costs_its_price_and_its_fee() -> None:
    entry = fill(1, Outcome.NO, 250, 4_000, fee=42_000)
    assert entry == LedgerEntry(
        "fill-trade1-order", EntryKind.FILL, "basket", "T", Outcome.NO, Count(250), Price(4_000), Cash(42_000),
        Cash(-1_042_000), 7, reference="order",
    )  # fmt: skip
    assert cash_change([entry]) == -1_042_000


def test_both_sides_of_one_trade_are_two_entries() -> None:
    mine = fill_entry(Fill("t", "order-a", "T", Outcome.YES, Count(1), Price(1), Cash(0), 0), "b")
    other = fill_entry(Fill("t", "order-b", "T", Outcome.NO, Count(1), Price(9_999), Cash(0), 0), "b")
    assert mine.entry_id != other.entry_id


def test_a_settlement_pays_the_account() -> None:
    entry = settlement_entry(Settlement("T", ONE_DOLLAR, Cash(2_500_000), 9))
    assert entry.kind is EntryKind.SETTLEMENT
    assert (entry.entry_id, entry.cash, entry.basket_id) == ("settlement-T", 2_500_000, "")
    assert cash_change([fill(1, Outcome.YES, 250, 4_000), entry]) == 1_500_000


def test_a_pair_of_yes_and_no_frees_its_dollar_at_once() -> None:
    rows = [fill(1, Outcome.YES, 300, 4_000), fill(2, Outcome.NO, 200, 5_500)]
    assert held(rows) == {"T": (300, 200)}
    assert net_positions(rows) == {"T": 100}
    assert cash_change(rows) == -1_200_000 - 1_100_000 + 2_000_000


def test_positions_are_signed_and_settled_ones_are_gone() -> None:
    rows = [
        fill(1, Outcome.YES, 300, 4_000, ticker="A"),
        fill(2, Outcome.NO, 200, 4_000, ticker="B"),
        fill(3, Outcome.YES, 100, 4_000, ticker="C"),
        fill(4, Outcome.NO, 100, 4_000, ticker="C"),
        fill(5, Outcome.YES, 100, 4_000, ticker="D"),
        settlement_entry(Settlement("D", Price(0), Cash(0), 9)),
    ]
    assert net_positions(rows) == {"A": 300, "B": -200}


def test_an_entry_counts_once() -> None:
    row = fill(1, Outcome.YES, 100, 4_000)
    with pytest.raises(DomainError, match="fill-trade1-order appears twice"):
        cash_change([row, row])


@given(st.lists(st.tuples(st.sampled_from(list(Outcome)), st.integers(1, 500), st.integers(1, 9_999)), max_size=12),
       st.booleans())  # fmt: skip
def test_cash_is_what_was_paid_and_what_the_net_position_is_worth(
    trades: list[tuple[Outcome, int, int]], yes_wins: bool
) -> None:
    """Settling the net position and freeing the pairs comes to the same as paying every contract by itself."""
    rows = [fill(number, outcome, count, price) for number, (outcome, count, price) in enumerate(trades)]
    net = net_positions(rows).get("T", 0)
    payout = ONE_DOLLAR if yes_wins else Price(0)
    revenue = net * payout if net > 0 else -net * (ONE_DOLLAR - payout)
    rows.append(settlement_entry(Settlement("T", payout, Cash(revenue), 9)))
    each = sum(
        count * ((payout if outcome is Outcome.YES else ONE_DOLLAR - payout) - price)
        for outcome, count, price in trades
    )
    assert cash_change(rows) == each


@given(
    st.lists(st.tuples(st.sampled_from(list(Outcome)), st.integers(1, 500), st.integers(1, 9_999)), max_size=8),
    st.integers(-1_000, 1_000),
    st.integers(0, 2),
)
def test_a_position_that_is_recorded_as_told_moves_no_cash(
    trades: list[tuple[Outcome, int, int]], told: int, shard: int
) -> None:
    rows = [
        replace(fill(number, outcome, count, price), shard=shard)
        for number, (outcome, count, price) in enumerate(trades)
    ]
    before, ours = cash_by_shard(rows), net_positions(rows).get("T", Count(0))
    home = home_shards(rows).get("T", 0)
    after = [*rows, *position_entries("T", ours, Count(told), home, 9, "as told")]
    assert net_positions(after).get("T", 0) == told
    assert {one: cash for one, cash in cash_by_shard(after).items() if cash} == {
        one: cash for one, cash in before.items() if cash
    }
    assert sum(held.count for held in replay(after).virtual.values()) == told
