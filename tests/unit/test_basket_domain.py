"""Baskets, orders and groups: which moves are allowed and what a row adds up to."""

from dataclasses import replace
from itertools import product

import pytest

from kalshi_arb.domain.basket import (
    ENDED_STATES,
    LIVE_STATES,
    OPEN_ORDER_STATES,
    Basket,
    BasketOrder,
    BasketState,
    OrderState,
    Purpose,
    check_move,
    check_order_move,
    client_order_id,
)
from kalshi_arb.domain.errors import ProofError, TransitionError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.domain.state_space import Basis, State
from tests.market_samples import group

B, O = BasketState, OrderState  # noqa: E741 (a short name for a table)

MOVES = {
    (B.PROPOSED, B.RESERVED), (B.PROPOSED, B.REFUSED), (B.RESERVED, B.EXECUTING), (B.RESERVED, B.REFUSED),
    (B.EXECUTING, B.EXECUTING), (B.EXECUTING, B.UNWINDING), (B.EXECUTING, B.LOCK), (B.EXECUTING, B.FLAT),
    (B.EXECUTING, B.HELD), (B.UNWINDING, B.UNWINDING), (B.UNWINDING, B.FLAT), (B.UNWINDING, B.HELD),
    (B.LOCK, B.SETTLED), (B.HELD, B.SETTLED),
    # An early sale, and one that sold nothing.
    (B.LOCK, B.UNWINDING), (B.HELD, B.UNWINDING), (B.UNWINDING, B.LOCK),
}  # fmt: skip
ORDER_MOVES = {
    (O.PLANNED, O.SENT), (O.PLANNED, O.ABSENT), (O.SENT, O.UNKNOWN), (O.SENT, O.DONE), (O.SENT, O.REJECTED),
    (O.SENT, O.ABSENT), (O.UNKNOWN, O.DONE), (O.UNKNOWN, O.REJECTED), (O.UNKNOWN, O.ABSENT),
}  # fmt: skip


def test_baskets_move_along_the_drawn_edges_only() -> None:
    for old, new in product(BasketState, repeat=2):
        if (old, new) in MOVES:
            check_move(old, new)
        else:
            with pytest.raises(TransitionError, match=f"from {old.value} to {new.value}"):
                check_move(old, new)


def test_orders_move_along_the_drawn_edges_only() -> None:
    for old, new in product(OrderState, repeat=2):
        if (old, new) in ORDER_MOVES:
            check_order_move(old, new)
        else:
            with pytest.raises(TransitionError, match=f"from {old.value} to {new.value}"):
                check_order_move(old, new)


def test_every_state_is_live_or_ended_and_ends_stay_ends_but_for_an_early_sale() -> None:
    assert set(BasketState) == LIVE_STATES | ENDED_STATES
    assert not LIVE_STATES & ENDED_STATES
    revived = {(old, new) for old, new in MOVES if old in ENDED_STATES and new in LIVE_STATES}
    assert revived == {(B.LOCK, B.UNWINDING), (B.HELD, B.UNWINDING)}
    # An order that was sent is open until the exchange's answer is known.
    assert {O.SENT, O.UNKNOWN} == OPEN_ORDER_STATES


def order(
    leg: int,
    outcome: Outcome,
    filled: int,
    *,
    purpose: Purpose = Purpose.ENTER,
    state: OrderState = O.DONE,
    wave: int = 0,
) -> BasketOrder:
    request = OrderRequest(
        client_order_id("b1", leg, 0), f"T{leg}", outcome, Count(500), Price(4_000), TimeInForce.IMMEDIATE_OR_CANCEL, 0
    )
    return BasketOrder(
        request, leg, wave, purpose, state, filled=Count(filled), cost=Cash(4_000 * filled), fee=Cash(filled)
    )


def basket(*orders: BasketOrder) -> Basket:
    certificate = Certificate(
        "g", "f", Grade.PROVED, Cash(0), Cash(0), Cash(0), Cash(0), "s", None, 1, Count(100), 100, (), 0, (), (), (), 0,
        "",
    )  # fmt: skip
    legs = (Leg("T0", Outcome.YES, Count(500), Price(4_000)), Leg("T1", Outcome.NO, Count(500), Price(4_000)))
    return Basket(
        "b1", "o1", "g", "E", "ladder", "simulated", B.EXECUTING, 1, 0, legs, ((0,), (1,)), orders, certificate,
        Cash(0), Cash(0), None, None, Cash(0), "", 0, 0, 0,
    )  # fmt: skip


def test_a_new_basket_holds_nothing() -> None:
    empty = basket()
    assert empty.leg_position(0) == 0
    assert empty.spent() == 0
    assert not empty.has_open_orders()
    assert empty.planned_orders() == ()
    assert empty.next_wave() == 0
    assert empty.next_number(0) == 0


def test_a_row_adds_up_its_orders() -> None:
    row = basket(
        order(0, Outcome.YES, 300),
        order(0, Outcome.YES, 200, purpose=Purpose.COMPLETE, wave=1),
        order(0, Outcome.NO, 100, purpose=Purpose.UNWIND, wave=2),
        order(1, Outcome.NO, 0, state=O.REJECTED),
    )
    assert row.leg_position(0) == 400
    assert row.leg_position(1) == 0
    assert row.spent() == 600 * 4_000 + 600
    assert row.next_wave() == 3
    assert (row.next_number(0), row.next_number(1)) == (3, 1)
    assert not row.has_open_orders()


@pytest.mark.parametrize(("state", "is_open"), [(O.PLANNED, False), (O.SENT, True), (O.UNKNOWN, True), (O.DONE, False)])
def test_open_orders_are_those_whose_outcome_is_not_known(state: OrderState, is_open: bool) -> None:
    row = basket(order(0, Outcome.YES, 0, state=state))
    assert row.has_open_orders() is is_open
    assert bool(row.planned_orders()) is (state is O.PLANNED)


def test_client_order_ids_are_the_same_for_the_same_order() -> None:
    assert client_order_id("b1", 2, 0) == client_order_id("b1", 2, 0) == "b1-2-0"
    assert client_order_id("b1", 2, 1) != client_order_id("b1", 1, 2)


def test_outcomes_have_an_opposite() -> None:
    assert Outcome.YES.other is Outcome.NO
    assert Outcome.NO.other is Outcome.YES


def test_states_pay_either_outcome_and_together_a_dollar() -> None:
    state = State("s", (Price(10_000), Price(2_500)), Basis.CERTAIN)
    assert [state.payout(index, Outcome.YES) for index in (0, 1)] == [10_000, 2_500]
    assert [state.payout(index, Outcome.NO) for index in (0, 1)] == [0, ONE_DOLLAR - 2_500]


def test_groups_refuse_states_that_do_not_fit() -> None:
    found = group("> 1", "> 2")
    assert found.index("> 2") == 1
    with pytest.raises(ProofError, match="> 9 is not in group"):
        found.index("> 9")
    with pytest.raises(ProofError, match="no states"):
        replace(found, states=())
    with pytest.raises(ProofError, match="wrong width"):
        replace(found, states=(State("s", (Price(0),), Basis.CERTAIN),))
