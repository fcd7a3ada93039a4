"""The private channels as a cross-check: what they add up to, and when they contradict themselves."""

import pytest

from kalshi_arb.kalshi.frames import FillMessage, OrderGroupMessage, OrderMessage, PositionMessage
from kalshi_arb.kalshi.private_view import ORDER_PATIENCE_MS, PrivateView

NOW = 1_795_000_000_000


def fill(
    trade: str, count: str, after: str | None, *, side: str = "bid", order: str = "o", subaccount: int | None = None
) -> FillMessage:
    return FillMessage(
        trade_id=trade, order_id=order, market_ticker="A", count_fp=count, book_side=side, post_position_fp=after,
        subaccount=subaccount,
    )  # fmt: skip


def order(count: str, order_id: str = "o") -> OrderMessage:
    return OrderMessage(order_id=order_id, ticker="A", fill_count_fp=count)


def test_fills_that_lead_to_the_told_position_are_no_difference() -> None:
    view = PrivateView()
    messages = [
        fill("1", "10.00", "10.00"),
        fill("2", "2.50", "7.50", side="ask"),
        fill("3", "20.00", "-12.50", side="ask"),
    ]
    assert [view.take(message, NOW) for message in messages] == [None, None, None]
    assert view.positions == {"A": -1_250}
    assert view.summary(NOW) == {
        "heard_ms": NOW, "fills": 3, "orders": 0, "differences": 0, "unmatched_orders": 0, "positions": {"A": "-12.50"},
    }  # fmt: skip


def test_a_fill_that_was_not_told_shows_in_the_next_one() -> None:
    view = PrivateView()
    view.take(fill("1", "10.00", "10.00"), NOW)
    problem = view.take(fill("3", "1.00", "13.00"), NOW)
    assert problem == "A: fills lead to a position of 11.00, the last one says 13.00"
    assert view.counts.differences == 1
    # From there on it fits again.
    assert view.take(fill("4", "1.00", "14.00"), NOW) is None


def test_a_fill_told_twice_counts_once() -> None:
    view = PrivateView()
    for _ in range(2):
        assert view.take(fill("1", "10.00", "10.00"), NOW) is None
    assert (view.counts.fills, view.counts.repeated_fills) == (1, 1)


def test_an_order_and_its_fills_have_some_time_to_agree() -> None:
    view = PrivateView()
    view.take(order("10.00"), NOW)
    view.take(fill("1", "4.00", None), NOW + 1)
    assert view.unmatched(NOW + ORDER_PATIENCE_MS) == 0
    assert view.unmatched(NOW + 1 + ORDER_PATIENCE_MS) == 1
    view.take(fill("2", "6.00", None), NOW + 2)
    assert view.unmatched(NOW + 2 + ORDER_PATIENCE_MS) == 0
    # Fills of an order that told nothing of itself are no contradiction.
    view.take(fill("3", "6.00", None, order="other"), NOW)
    assert view.unmatched(NOW + 10 * ORDER_PATIENCE_MS) == 0


def test_a_position_message_is_the_last_word_and_a_subaccounts_is_not_ours() -> None:
    view = PrivateView()
    view.take(fill("1", "10.00", "10.00"), NOW)
    view.take(PositionMessage(market_ticker="A", position_fp="9.00"), NOW)
    view.take(PositionMessage(market_ticker="A", position_fp="1.00", subaccount=2), NOW)
    view.take(fill("2", "1.00", "5.00", subaccount=2), NOW)
    assert view.positions == {"A": 900}
    assert (view.counts.fills, view.counts.positions) == (1, 1)


def test_an_amount_that_is_none_is_a_difference_not_a_crash() -> None:
    view = PrivateView()
    assert view.take(PositionMessage(market_ticker="A", position_fp="many"), NOW) == (
        "PositionMessage: not a plain decimal: 'many'"
    )
    assert view.counts.differences == 1


def test_groups_are_counted_and_a_new_connection_starts_over() -> None:
    view = PrivateView()
    view.take(OrderGroupMessage(order_group_id="g", event_type="triggered"), NOW)
    view.take(fill("1", "10.00", "10.00"), NOW)
    view.reset()
    assert view.counts.order_groups == 1
    assert view.positions == {}
    assert view.take(fill("9", "1.00", "50.00"), NOW) is None


@pytest.mark.parametrize("kept", [1_000])
def test_only_the_latest_are_remembered(kept: int) -> None:
    view = PrivateView()
    for number in range(kept + 5):
        view.take(fill(str(number), "1.00", None, order=str(number)), NOW)
    view.take(fill("0", "1.00", None), NOW)
    assert view.counts.repeated_fills == 0
    view.take(fill(str(kept), "1.00", None), NOW)
    assert view.counts.repeated_fills == 1
