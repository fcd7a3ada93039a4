"""What a person reads of each leg."""

import pytest

from kalshi_arb.domain.basket import Basket, OrderState, Purpose
from kalshi_arb.execution.legs import LegState, leg_state
from tests.basket_rows import ordered, trading, yes_book
from tests.basket_world import YES, leg, partition


@pytest.fixture
def row() -> Basket:
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30), leg("EV-2", YES, 10, 30)]
    return trading(partition(), legs, {own.ticker: yes_book(own.ticker, 30) for own in legs})


def test_a_leg_is_new_until_something_was_sent_for_it(row: Basket) -> None:
    assert leg_state(row, 0) is LegState.NEW
    assert leg_state(ordered(row, 0, OrderState.PLANNED), 0) is LegState.NEW
    assert leg_state(ordered(row, 0, OrderState.ABSENT, rejection="withdrawn"), 0) is LegState.NEW
    assert leg_state(ordered(row, 0, OrderState.DONE, 10), 1) is LegState.NEW


@pytest.mark.parametrize(
    ("state", "filled", "rejection", "expected"),
    [
        (OrderState.SENT, 0, None, LegState.SENT),
        (OrderState.UNKNOWN, 0, None, LegState.UNKNOWN),
        (OrderState.DONE, 10, None, LegState.FILLED),
        (OrderState.DONE, 4, None, LegState.PARTIAL),
        (OrderState.DONE, 0, None, LegState.KILLED),
        (OrderState.REJECTED, 0, "fill_or_kill_insufficient_resting_volume", LegState.KILLED),
        (OrderState.REJECTED, 0, "FOK_INSUFFICIENT_VOLUME", LegState.KILLED),
        (OrderState.REJECTED, 0, "market_inactive", LegState.REJECTED),
    ],
)
def test_one_order_decides(
    row: Basket, state: OrderState, filled: int, rejection: str | None, expected: LegState
) -> None:
    assert leg_state(ordered(row, 0, state, filled, rejection=rejection), 0) is expected


def test_what_was_bought_adds_up_over_entry_and_completion(row: Basket) -> None:
    part = ordered(row, 0, OrderState.DONE, 4)
    assert leg_state(ordered(part, 0, OrderState.DONE, 6, purpose=Purpose.COMPLETE), 0) is LegState.FILLED
    assert leg_state(ordered(part, 0, OrderState.REJECTED, purpose=Purpose.COMPLETE), 0) is LegState.PARTIAL


def test_a_sale_is_not_undone_buying_but_its_open_order_shows(row: Basket) -> None:
    whole = ordered(row, 0, OrderState.DONE, 10)
    assert leg_state(ordered(whole, 0, OrderState.DONE, 10, purpose=Purpose.UNWIND, cents=75), 0) is LegState.FILLED
    assert leg_state(ordered(whole, 0, OrderState.UNKNOWN, purpose=Purpose.UNWIND, cents=75), 0) is LegState.UNKNOWN


def test_an_unknown_order_comes_before_one_that_is_only_on_its_way(row: Basket) -> None:
    assert leg_state(ordered(ordered(row, 0, OrderState.UNKNOWN), 0, OrderState.SENT), 0) is LegState.UNKNOWN


def test_the_words_are_all_there_is() -> None:
    assert {state.value for state in LegState} == {
        "new", "sent", "unknown", "partial", "filled", "killed", "rejected",
    }  # fmt: skip
