"""Sending one wave: saved before it is sent, sent at most once, and every kind of answer recorded for what it is."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState, OrderState, Purpose
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.portfolio import OrderReport, OrderRequest
from kalshi_arb.execution.plan import NOT_SENT
from kalshi_arb.fakes import Fault
from kalshi_arb.kalshi.errors import WireFormatError
from tests.basket_world import YES, World, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer_bundle()
    world.offer(*((f"EV-{number}", YES.other, 75, 50) for number in range(3)))
    return world


@pytest.fixture
def basket_id(world: World) -> str:
    basket = world.propose_bundle()
    assert world.risk.run(basket.basket_id, 1).accepted
    return basket.basket_id


def first_order_state(world: World, basket_id: str) -> tuple[OrderState, str | None]:
    order = world.row(basket_id).orders[0]
    return order.state, order.rejection


def test_the_row_says_sent_before_the_exchange_hears_of_it(world: World, basket_id: str) -> None:
    seen: list[Basket] = []
    sent_ms = world.clock.now_ms()
    world.exchange.before_place = lambda _orders: seen.append(world.row(basket_id))
    assert world.executor.run(basket_id, 1, 0) == 1
    (during,) = seen
    assert during.state is BasketState.EXECUTING
    assert during.first_order_ms == sent_ms
    assert (during.orders[0].state, during.orders[0].sent_ms) == (OrderState.SENT, sent_ms)


def test_until_its_fills_are_read_an_order_counts_at_its_worst(world: World, basket_id: str) -> None:
    world.executor.run(basket_id, 1, 0)
    order = world.row(basket_id).orders[0]
    assert (order.state, order.filled, order.booked) == (OrderState.DONE, 1000, False)
    assert order.cost == 3_000_000
    exact = sum(fill.fee for fill in world.exchange.fills(["EV-0"], 0))
    assert order.fee >= exact


def test_called_twice_it_sends_once(world: World, basket_id: str) -> None:
    assert world.executor.run(basket_id, 1, 0) == 1
    assert world.executor.run(basket_id, 1, 0) == 0
    assert len(world.exchange.batches) == 1


@pytest.mark.parametrize(
    ("fault", "state", "rejection", "sent", "reached"),
    [
        (Fault.LOST_REQUEST, OrderState.UNKNOWN, None, 1, 0),
        (Fault.LOST_ANSWER, OrderState.UNKNOWN, None, 1, 1),
        (Fault.RATE_LIMITED, OrderState.ABSENT, NOT_SENT, 0, 0),
        (Fault.REFUSED, OrderState.REJECTED, "invalid_order", 1, 0),
    ],
)
def test_each_answer_is_recorded_for_what_it_is(
    world: World, basket_id: str, fault: Fault, state: OrderState, rejection: str | None, sent: int, reached: int
) -> None:
    world.exchange.faults.append(fault)
    assert world.executor.run(basket_id, 1, 0) == sent
    assert first_order_state(world, basket_id) == (state, rejection)
    assert len(world.exchange.executions()) == reached
    unknown = {"unknown_orders": 1} if state is OrderState.UNKNOWN else {}
    assert world.status.counters("execution") == unknown


def test_a_killed_order_is_a_definite_refusal(world: World, basket_id: str) -> None:
    world.exchange.caps["EV-0"] = Count(999)
    world.executor.run(basket_id, 1, 0)
    code = "fill_or_kill_insufficient_resting_volume"
    assert first_order_state(world, basket_id) == (OrderState.REJECTED, code)


def answer_with(world: World, answers: Sequence[OrderReport] | Exception) -> None:
    def place(orders: Sequence[OrderRequest], leave_by_ms: int) -> list[OrderReport]:
        if isinstance(answers, Exception):
            raise answers
        return list(answers)

    world.exchange.place = place  # type: ignore[method-assign]


@pytest.mark.parametrize("case", ["none", "another", "too many", "no id", "duplicate", "exists", "filled and refused"])
def test_an_answer_that_cannot_be_the_whole_truth_leaves_the_order_unknown(
    world: World, basket_id: str, case: str
) -> None:
    own = world.row(basket_id).orders[0].request.client_order_id
    answers = {
        "none": [],
        "another": [OrderReport("other", "o1", Count(1000), None)],
        "too many": [OrderReport(own, "o1", Count(1001), None)],
        "no id": [OrderReport(own, None, Count(1000), None)],
        "duplicate": [OrderReport(own, None, Count(0), "duplicate_client_order_id")],
        "exists": [OrderReport(own, None, Count(0), "ORDER_ALREADY_EXISTS")],
        "filled and refused": [OrderReport(own, "o1", Count(5), "invalid_order")],
    }
    answer_with(world, answers[case])
    assert world.executor.run(basket_id, 1, 0) == 1
    # A repeated id says that the order arrived, which is remembered.
    repeated = {"duplicate": "duplicate_client_order_id", "exists": "ORDER_ALREADY_EXISTS"}
    assert first_order_state(world, basket_id) == (OrderState.UNKNOWN, repeated.get(case))


def test_an_answer_that_cannot_be_read_may_have_traded(world: World, basket_id: str) -> None:
    answer_with(world, WireFormatError("not JSON"))
    world.executor.run(basket_id, 1, 0)
    assert first_order_state(world, basket_id)[0] is OrderState.UNKNOWN


def test_an_order_that_filled_nothing_is_final_and_booked(world: World, basket_id: str) -> None:
    own = world.row(basket_id).orders[0].request.client_order_id
    answer_with(world, [OrderReport(own, "o1", Count(0), None)])
    world.executor.run(basket_id, 1, 0)
    order = world.row(basket_id).orders[0]
    assert (order.state, order.filled, order.booked, order.cost) == (OrderState.DONE, 0, True, 0)


def test_an_old_attempt_sends_nothing(world: World, basket_id: str) -> None:
    world.baskets.save(replace(world.row(basket_id), attempt=2))
    assert world.executor.run(basket_id, 1, 0) == 0
    assert first_order_state(world, basket_id)[0] is OrderState.PLANNED


def test_nothing_is_sent_for_a_basket_that_is_not_there_or_whose_end_is_decided(world: World, basket_id: str) -> None:
    assert world.executor.run("nobody", 1, 0) == 0
    world.baskets.save(replace(world.row(basket_id), ending=BasketState.REFUSED))
    assert world.executor.run(basket_id, 1, 0) == 0
    assert not world.exchange.batches


def test_nothing_is_sent_while_an_outcome_is_open(world: World, basket_id: str) -> None:
    world.exchange.faults.append(Fault.LOST_ANSWER)
    world.executor.run(basket_id, 1, 0)
    row = world.row(basket_id)
    plan = replace(row.orders[0], state=OrderState.PLANNED, wave=1, sent_ms=None)
    world.baskets.save(replace(row, orders=(*row.orders, plan)))
    assert world.executor.run(basket_id, 1, 1) == 0
    assert len(world.exchange.batches) == 1


def test_an_old_plan_is_not_sent(world: World, basket_id: str) -> None:
    world.clock.advance(world.policy.plan_fresh_ms + 1)
    assert world.executor.run(basket_id, 1, 0) == 0
    assert first_order_state(world, basket_id)[0] is OrderState.PLANNED


def test_a_stop_forbids_purchases_and_lets_unwinds_run(world: World, basket_id: str) -> None:
    world.status.put("control", {"stop": True})
    assert world.executor.run(basket_id, 1, 0) == 0
    world.status.put("control", {"stop": False})
    assert world.executor.run(basket_id, 1, 0) == 1
    world.assessor.run(basket_id, 1, 0)
    row = world.row(basket_id)
    entry = row.orders[0]
    unwind = replace(
        entry,
        request=replace(entry.request, client_order_id="unwind", outcome=YES.other, limit=7500),  # type: ignore[arg-type]
        state=OrderState.PLANNED, purpose=Purpose.UNWIND, wave=7, sent_ms=None,
    )  # fmt: skip
    world.baskets.save(replace(row, orders=(entry, unwind), state=BasketState.UNWINDING))
    world.status.put("control", {"stop": True})
    assert world.executor.run(basket_id, 1, 7) == 0
    assert world.unwinder.run(basket_id, 1, 7) == 1
    assert not world.exchange.positions()


def test_what_unwinds_buys_nothing(world: World, basket_id: str) -> None:
    assert world.unwinder.run(basket_id, 1, 0) == 0
    assert not world.exchange.batches
    assert first_order_state(world, basket_id)[0] is OrderState.PLANNED


def test_a_process_that_slept_between_saving_and_sending_does_not_send(world: World, basket_id: str) -> None:
    save = world.baskets.save

    def slow(basket: Basket) -> Basket:
        saved = save(basket)
        if any(order.state is OrderState.SENT for order in saved.orders):
            world.clock.advance(world.policy.send_window_ms + 1)
        return saved

    world.baskets.save = slow  # type: ignore[method-assign]
    assert world.executor.run(basket_id, 1, 0) == 0
    assert first_order_state(world, basket_id) == (OrderState.ABSENT, NOT_SENT)
    assert not world.exchange.batches


def test_another_writer_before_sending_is_read_again(world: World, basket_id: str) -> None:
    save = world.baskets.save
    lost: list[Basket] = []

    def lose_once(basket: Basket) -> Basket:
        if not lost:
            lost.append(basket)
            raise ConflictError("another writer was first")
        return save(basket)

    world.baskets.save = lose_once  # type: ignore[method-assign]
    assert world.executor.run(basket_id, 1, 0) == 1
    assert len(world.exchange.batches) == 1


def test_a_writer_that_is_always_first_is_reported_and_nothing_was_sent(world: World, basket_id: str) -> None:
    def lose(basket: Basket) -> Basket:
        raise ConflictError("another writer was first")

    world.baskets.save = lose  # type: ignore[method-assign]
    with pytest.raises(ConflictError):
        world.executor.run(basket_id, 1, 0)
    assert not world.exchange.batches


def test_a_newer_attempt_that_took_over_meanwhile_asks_the_exchange_itself(world: World, basket_id: str) -> None:
    def take_over(orders: object) -> None:
        row = world.row(basket_id)
        world.baskets.save(replace(row, attempt=2))

    world.exchange.before_place = take_over
    assert world.executor.run(basket_id, 1, 0) == 1
    row = world.row(basket_id)
    assert (row.attempt, row.orders[0].state) == (2, OrderState.SENT)
    world.exchange.before_place = None
    world.assessor.run(basket_id, 2, 0)
    assert world.row(basket_id).orders[0].filled == 1000
