"""Accounting for orders and choosing the next step, one situation at a time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from kalshi_arb.domain.basket import Basket, BasketState, OrderState, Purpose
from kalshi_arb.domain.errors import ConflictError, StoreError, TransitionError
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.portfolio import Fill, OrderReport, OrderRequest
from kalshi_arb.domain.reservation_keys import UNTIL_SETTLED
from kalshi_arb.execution.assess import Action, Assessment
from kalshi_arb.execution.ending import Ending
from kalshi_arb.execution.machine import BUYING, UNWINDING, decide_without_books
from kalshi_arb.execution.plan import BATCH_ORDERS, NOT_SENT, UNDELIVERED, WITHDRAWN
from kalshi_arb.execution.reconcile import sent_at
from kalshi_arb.execution.waves import WaveExecutor
from kalshi_arb.fakes import Fault
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.ports import AlertKind, Trading
from tests.basket_world import NO, YES, World, handed_out, leg, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer_bundle()
    return world


@pytest.fixture
def basket_id(world: World) -> str:
    basket = world.propose_bundle()
    assert world.risk.run(basket.basket_id, 1).accepted
    return basket.basket_id


def step(world: World, basket_id: str) -> Assessment:
    """One assessment after every wave that was handed out was taken."""
    return ask(world, basket_id, handed_out(world.row(basket_id)))


def ask(world: World, basket_id: str, wave: int) -> Assessment:
    """One assessment after a wave, and the close that follows when it decided an end: then with the state it left."""
    row = world.row(basket_id)
    answer = world.assessor.run(basket_id, row.attempt, wave)
    if answer.action is Action.CLOSE:
        answer = replace(answer, state=world.closer.run(basket_id, row.attempt))
    return replace(answer, turns=0)


def send(world: World, basket_id: str, answer: Assessment) -> None:
    world.send(answer.action, basket_id, 1, answer.wave)


def after_first_wave(world: World, basket_id: str) -> Assessment:
    assert world.executor.run(basket_id, 1, 0) == 1
    return step(world, basket_id)


def after_second_wave(world: World, basket_id: str) -> Assessment:
    answer = after_first_wave(world, basket_id)
    send(world, basket_id, answer)
    return step(world, basket_id)


def test_the_next_planned_wave_follows_a_whole_fill_without_reading_books(
    world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.executor.run(basket_id, 1, 0)

    def never(tickers: object) -> None:
        raise AssertionError("no time for that between two waves")

    monkeypatch.setattr(world.exchange, "orderbooks", never)
    assert step(world, basket_id) == Assessment(Action.WAVE, BasketState.EXECUTING, 0, wave=1)
    planned = world.row(basket_id).planned_orders()
    assert [(o.leg, o.request.count, o.request.limit) for o in planned] == [(1, 1000, 3000), (2, 1000, 3000)]


def test_asking_again_before_the_wave_ran_gives_the_same_answer(world: World, basket_id: str) -> None:
    first = after_first_wave(world, basket_id)
    row = world.row(basket_id)
    assert step(world, basket_id) == first
    again = world.row(basket_id)
    assert again == replace(row, turns=row.turns + 1, revision=row.revision + 1)


def test_costs_and_fees_become_the_exchanges_own(world: World, basket_id: str) -> None:
    after_first_wave(world, basket_id)
    order = world.row(basket_id).orders[0]
    fills = world.exchange.fills(["EV-0"], 0)
    assert order.booked
    assert order.cost == sum(fill.price * fill.count for fill in fills)
    assert order.fee == sum(fill.fee for fill in fills)
    assert {entry.basket_id for entry in world.ledger.all()} == {basket_id}
    assert len(world.ledger.all()) == len(fills)


def test_a_killed_first_leg_ends_flat_and_free(world: World, basket_id: str) -> None:
    world.exchange.caps["EV-0"] = Count(0)
    answer = after_first_wave(world, basket_id)
    row = world.row(basket_id)
    assert answer == Assessment(Action.CLOSE, BasketState.FLAT, 0)
    assert (row.locked_profit, row.settled_profit) == (0, 0)
    assert "fill_or_kill" in row.reason
    assert not world.reservations.held
    assert world.status.counters("execution") == {"end.flat": 1}
    assert [alert.alert_id for alert in world.notifier.published] == [f"{basket_id}-end"]


def test_a_lock_says_what_it_earns_in_the_worst_state(world: World, basket_id: str) -> None:
    assert after_second_wave(world, basket_id) == Assessment(Action.CLOSE, BasketState.LOCK, 0)
    row = world.row(basket_id)
    spent = world.opening - sum(world.exchange.balance().values())
    assert row.locked_profit == 10_000_000 - spent
    assert row.locked_profit >= row.expected_profit
    assert {"market#EV-0", "market#EV-1", "market#EV-2", "event#EV"} <= set(world.reservations.held[basket_id])
    assert all(key.startswith(UNTIL_SETTLED) for key in world.reservations.held[basket_id])


# Unknown is not failed


def test_an_order_whose_answer_was_lost_is_found_by_its_own_id(world: World, basket_id: str) -> None:
    world.exchange.faults.append(Fault.LOST_ANSWER)
    assert after_first_wave(world, basket_id).action is Action.WAVE
    assert world.row(basket_id).orders[0].filled == 1000
    assert world.status.counters("execution") == {"unknown_orders": 1, "resolved_orders": 1}


def test_absence_counts_only_when_the_reads_are_far_enough_past_the_sending(world: World, basket_id: str) -> None:
    world.exchange.faults.append(Fault.LOST_REQUEST)
    world.executor.run(basket_id, 1, 0)
    must_pass = world.policy.write_timeout_ms + world.policy.margin_ms
    world.exchange.read_lag_ms = 700
    world.clock.advance(must_pass + 700)
    answer = step(world, basket_id)
    assert (answer.action, answer.state) == (Action.WAIT, BasketState.EXECUTING)
    assert world.row(basket_id).orders[0].state is OrderState.UNKNOWN
    world.clock.advance(1)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.FLAT, 0)
    order = world.row(basket_id).orders[0]
    assert (order.state, order.filled) == (OrderState.ABSENT, 0)


def test_a_dead_executor_leaves_an_order_that_is_asked_for(world: World, basket_id: str) -> None:
    save, calls = world.baskets.save, []

    def die_after_sending(basket: Basket) -> Basket:
        calls.append(basket)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return save(basket)

    world.baskets.save = die_after_sending  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        world.executor.run(basket_id, 1, 0)
    world.baskets.save = save  # type: ignore[method-assign]
    assert world.row(basket_id).orders[0].state is OrderState.SENT
    assert step(world, basket_id).action is Action.WAVE
    assert world.status.counters("execution") == {"resolved_orders": 1}


def test_fills_that_do_not_add_up_yet_are_waited_for(world: World, basket_id: str) -> None:
    world.executor.run(basket_id, 1, 0)
    world.exchange.read_lag_ms = 1_200
    assert step(world, basket_id) == Assessment(Action.WAIT, BasketState.EXECUTING, 0, wait_seconds=1)
    assert not world.ledger.all()
    world.clock.advance(1_200)
    assert step(world, basket_id).action is Action.WAVE


@pytest.mark.parametrize("wrong", ["count", "ticker", "outcome"])
def test_fills_that_contradict_the_order_are_never_booked(
    world: World, basket_id: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.executor.run(basket_id, 1, 0)
    fills = world.exchange.fills
    change = {"count": {"count": Count(101)}, "ticker": {"ticker": "EV-1"}, "outcome": {"outcome": NO}}[wrong]

    def contradict(tickers: list[str], since_ms: int) -> list[Fill]:
        first, *rest = fills(tickers, since_ms)
        return [replace(first, **change), *rest]  # type: ignore[arg-type]

    monkeypatch.setattr(world.exchange, "fills", contradict)
    assert step(world, basket_id).action is Action.WAIT
    assert not world.row(basket_id).orders[0].booked
    assert not world.ledger.all()


def test_a_fill_listed_twice_counts_once(world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.executor.run(basket_id, 1, 0)
    fills = world.exchange.fills
    monkeypatch.setattr(world.exchange, "fills", lambda tickers, since: fills(tickers, since) * 2)
    assert step(world, basket_id).action is Action.WAVE


def test_an_order_that_stays_unaccounted_for_reaches_a_person_and_stays_open(world: World, basket_id: str) -> None:
    world.executor.run(basket_id, 1, 0)
    world.exchange.read_lag_ms = 10**9
    waits = 0
    while (answer := step(world, basket_id)).action is Action.WAIT:
        waits += 1
        world.clock.sleep(answer.wait_seconds)
    assert 10 < waits < 61
    assert answer == Assessment(Action.HANDOVER, BasketState.EXECUTING, 0)
    row = world.row(basket_id)
    assert (row.state, row.orders[0].filled, row.orders[0].booked) == (BasketState.EXECUTING, 1000, False)
    (alert,) = world.notifier.published
    assert alert.kind is AlertKind.ERROR
    assert row.orders[0].request.client_order_id in alert.text
    # The sweeper asks again, and when the exchange shows it the basket goes on.
    world.exchange.read_lag_ms = 0
    assert world.drive(basket_id).state in (BasketState.LOCK, BasketState.HELD)
    world.assert_ended_well(basket_id)


def test_a_read_that_fails_is_waited_for(world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.executor.run(basket_id, 1, 0)

    def fail(tickers: object, since_ms: int) -> None:
        raise RetryableError("no answer")

    monkeypatch.setattr(world.exchange, "fills", fail)
    assert step(world, basket_id).action is Action.WAIT


# Completing, unwinding, holding


def fade(world: World, ticker: str, contracts: int) -> None:
    """The second batch gets only so many contracts of a ticker."""

    def cap(orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.caps[ticker] = Count(contracts * 100)

    world.exchange.before_place = cap


def test_what_is_missing_is_bought_once_more_at_the_first_limit(world: World, basket_id: str) -> None:
    fade(world, "EV-2", 4)
    answer = after_second_wave(world, basket_id)
    assert answer == Assessment(Action.WAVE, BasketState.EXECUTING, 0, wave=2)
    (order,) = world.row(basket_id).planned_orders()
    assert (order.purpose, order.leg, order.request.count, order.request.limit) == (Purpose.COMPLETE, 2, 600, 3000)
    world.executor.run(basket_id, 1, 2)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.LOCK, 0)


def test_a_leg_is_completed_once_and_then_the_excess_is_unwound(world: World, basket_id: str) -> None:
    world.offer(("EV-0", NO, 72, 50), ("EV-1", NO, 72, 50))
    fade(world, "EV-2", 4)
    answer = after_second_wave(world, basket_id)
    world.exchange.caps["EV-2"] = Count(0)
    send(world, basket_id, answer)
    answer = step(world, basket_id)
    assert answer == Assessment(Action.UNWIND, BasketState.UNWINDING, 0, wave=3)
    planned = world.row(basket_id).planned_orders()
    assert [(o.leg, o.request.outcome, o.request.count, o.request.limit) for o in planned] == [
        (0, NO, 600, 7200),
        (1, NO, 600, 7200),
    ]
    send(world, basket_id, answer)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.HELD, 0)
    row = world.row(basket_id)
    assert [row.leg_position(index) for index in range(3)] == [400, 400, 400]
    world.assert_ended_well(basket_id)


def test_a_batch_that_was_never_taken_costs_no_leg_its_completion(world: World, basket_id: str) -> None:
    """The exchange asks to slow down for a while: what provably never left may be sent again when it listens."""
    world.exchange.faults.extend([Fault.NONE, *[Fault.RATE_LIMITED] * 4])
    assert world.drive(basket_id).state is BasketState.LOCK
    world.assert_ended_well(basket_id)


def test_sales_that_never_left_use_up_no_round(world: World, basket_id: str) -> None:
    world.offer(*((own.ticker, NO, 71, 50) for own in world.group.markets))

    def vanish(orders: Sequence[OrderRequest]) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.set_book(orders[-1].ticker)

    world.exchange.before_place = vanish
    refused = world.policy.unwind_rounds + 2
    world.exchange.faults.extend([Fault.NONE, Fault.NONE, *[Fault.RATE_LIMITED] * refused])
    row = world.drive(basket_id)
    assert row.state is BasketState.FLAT
    assert len({order.wave for order in row.orders if order.rejection == NOT_SENT}) == refused
    world.assert_ended_well(basket_id)


def test_without_depth_at_the_first_limit_nothing_is_completed(world: World, basket_id: str) -> None:
    world.offer(("EV-0", NO, 72, 50), ("EV-1", NO, 72, 50), ("EV-2", NO, 72, 50))

    def dearer(orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.set_book("EV-2", yes_bids=[(2800, 5000)], no_bids=[(6900, 9000)])

    world.exchange.before_place = dearer
    assert after_second_wave(world, basket_id) == Assessment(Action.UNWIND, BasketState.UNWINDING, 0, wave=2)
    world.unwinder.run(basket_id, 1, 2)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.FLAT, 0)
    row = world.row(basket_id)
    assert row.settled_profit == row.locked_profit
    assert row.locked_profit is not None
    assert -row.exposure_bound < row.locked_profit < 0
    world.assert_ended_well(basket_id)


def test_a_partial_completion_is_matched_by_unwinding_the_rest(world: World, basket_id: str) -> None:
    world.offer(("EV-0", NO, 72, 50), ("EV-1", NO, 72, 50))

    def thin(orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.set_book("EV-2", no_bids=[(7000, 500)])

    world.exchange.before_place = thin
    answer = after_second_wave(world, basket_id)
    # Five were there and were bought, none is left: bring the others down to five.
    assert answer.state is BasketState.UNWINDING
    assert [o.request.count for o in world.row(basket_id).planned_orders()] == [500, 500]


def test_a_loss_waits_a_while_for_a_book_and_is_then_held(world: World, basket_id: str) -> None:
    world.exchange.before_place = lambda _orders: (
        [world.exchange.set_book(ticker) for ticker in ("EV-1", "EV-2")] if len(world.exchange.batches) == 2 else None
    )
    answer = after_second_wave(world, basket_id)
    assert (answer.action, answer.wait_seconds) == (Action.WAIT, 1)
    while answer.action is Action.WAIT:
        world.clock.sleep(answer.wait_seconds)
        answer = step(world, basket_id)
    assert answer == Assessment(Action.CLOSE, BasketState.HELD, 0)
    row = world.row(basket_id)
    assert row.leg_position(0) == 1000
    assert row.locked_profit == sum(world.exchange.balance().values()) - world.opening
    world.assert_ended_well(basket_id)


def test_a_book_that_comes_back_within_the_patience_is_used(world: World, basket_id: str) -> None:
    world.exchange.before_place = lambda _orders: (
        [world.exchange.set_book(ticker) for ticker in ("EV-1", "EV-2")] if len(world.exchange.batches) == 2 else None
    )
    assert after_second_wave(world, basket_id).action is Action.WAIT
    world.clock.advance(2_000)
    world.offer(("EV-0", NO, 71, 20))
    assert step(world, basket_id) == Assessment(Action.UNWIND, BasketState.UNWINDING, 0, wave=2)


# Stopping, sleeping, racing


def test_a_stop_after_the_first_wave_unwinds_instead_of_going_on(world: World, basket_id: str) -> None:
    world.offer(("EV-0", NO, 72, 50))
    after_first_wave(world, basket_id)
    world.status.put("control", {"stop": True})
    assert world.executor.run(basket_id, 1, 1) == 0
    assert ask(world, basket_id, wave=1) == Assessment(Action.UNWIND, BasketState.UNWINDING, 0, wave=2)
    row = world.row(basket_id)
    assert [order.rejection for order in row.orders if order.wave == 1] == [UNDELIVERED, UNDELIVERED]
    assert world.unwinder.run(basket_id, 1, 2) == 1
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.FLAT, 0)


def test_a_stop_before_anything_was_sent_refuses(world: World, basket_id: str) -> None:
    world.status.put("control", {"stop": True})
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.REFUSED, 0)
    assert world.row(basket_id).reason == "stopped"
    assert not world.reservations.held


def test_a_first_wave_that_was_not_taken_is_refused_at_once(world: World, basket_id: str) -> None:
    assert ask(world, basket_id, wave=0) == Assessment(Action.CLOSE, BasketState.REFUSED, 0)
    assert world.row(basket_id).reason == "undelivered"
    assert not world.exchange.batches
    world.assert_ended_well(basket_id)


@pytest.mark.parametrize("way_out", [True, False])
def test_purchases_that_nobody_can_send_end_in_giving_up_and_never_in_a_circle(
    world: World, basket_id: str, *, way_out: bool
) -> None:
    """The function that buys is taken away after the first wave, for good."""
    if way_out:
        world.offer(("EV-0", NO, 72, 50))
    answer = after_first_wave(world, basket_id)
    actions = []
    for _ in range(60):
        actions.append(answer.action)
        if answer.action is Action.CLOSE:
            break
        world.clock.sleep(answer.wait_seconds or 4)
        if answer.action is Action.UNWIND:
            send(world, basket_id, answer)
        answer = ask(
            world, basket_id, answer.wave if answer.action is not Action.WAIT else handed_out(world.row(basket_id))
        )
    assert actions.count(Action.WAVE) == 1
    assert actions[-1] is Action.CLOSE
    assert world.row(basket_id).state is (BasketState.FLAT if way_out else BasketState.HELD)
    world.assert_ended_well(basket_id)


def test_a_plan_that_slept_is_withdrawn_and_decided_again_on_books_of_now(world: World, basket_id: str) -> None:
    after_first_wave(world, basket_id)
    world.clock.advance(world.policy.plan_fresh_ms + 1)
    answer = ask(world, basket_id, wave=0)
    assert answer == Assessment(Action.WAVE, BasketState.EXECUTING, 0, wave=2)
    row = world.row(basket_id)
    assert {order.purpose for order in row.planned_orders()} == {Purpose.COMPLETE}
    world.executor.run(basket_id, 1, 2)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.LOCK, 0)
    world.assert_ended_well(basket_id)


def test_an_old_attempt_decides_nothing(world: World, basket_id: str) -> None:
    world.executor.run(basket_id, 1, 0)
    fenced = world.baskets.save(replace(world.row(basket_id), attempt=2))
    assert world.assessor.run(basket_id, 1, 0) == Assessment(Action.CLOSE, BasketState.EXECUTING, 0)
    assert world.closer.run(basket_id, 1) is BasketState.EXECUTING
    assert world.row(basket_id) == fenced


def test_an_end_once_decided_does_not_change_its_mind(world: World, basket_id: str) -> None:
    world.exchange.before_place = lambda _orders: (
        [world.exchange.set_book(ticker) for ticker in ("EV-1", "EV-2")] if len(world.exchange.batches) == 2 else None
    )
    after_second_wave(world, basket_id)
    world.clock.advance(world.policy.patience_ms)
    release = world.reservations.release

    def die(basket_id: str, prefix: str = "") -> None:
        raise RuntimeError("killed")

    world.reservations.release = die  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        step(world, basket_id)
    world.reservations.release = release  # type: ignore[method-assign]
    # Now there would be a way out, but the reservation may be gone already.
    world.offer(("EV-0", NO, 71, 20))
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.HELD, 0)
    assert world.row(basket_id).leg_position(0) == 1000


def test_an_ended_basket_stays_as_it_is(world: World, basket_id: str) -> None:
    after_second_wave(world, basket_id)
    row = world.row(basket_id)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.LOCK, 0)
    assert world.row(basket_id) == row


def test_a_basket_that_is_not_there_is_an_error(world: World) -> None:
    with pytest.raises(StoreError, match="no basket nobody"):
        world.assessor.run("nobody", 1, 0)


def test_a_writer_that_is_always_first_is_reported(
    world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.executor.run(basket_id, 1, 0)

    def lose(basket: Basket) -> Basket:
        raise ConflictError("another writer was first")

    monkeypatch.setattr(world.baskets, "save", lose)
    with pytest.raises(ConflictError):
        step(world, basket_id)


def test_nothing_is_decided_while_an_order_is_unaccounted_for(world: World, basket_id: str) -> None:
    with pytest.raises(TransitionError, match="not accounted for"):
        decide_without_books(world.row(basket_id), stopped=False, now_ms=0)


def test_an_end_that_was_never_decided_cannot_be_carried_out(world: World, basket_id: str) -> None:
    ending = Ending(
        baskets=world.baskets, ledger=world.ledger, reservations=world.reservations, status=world.status,
        notifier=world.notifier, clock=world.clock,
    )  # fmt: skip
    with pytest.raises(TransitionError, match="no end was decided"):
        ending.carry_out(world.row(basket_id))


def test_many_waves_end_in_holding_what_is_there(world: World, basket_id: str) -> None:
    world.offer(("EV-0", NO, 72, 50))
    after_first_wave(world, basket_id)
    row = world.row(basket_id)
    old = replace(row.orders[0], wave=world.policy.most_waves)
    world.baskets.save(replace(row, orders=(old,), waves=((0,),)))
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.HELD, 0)


def test_unwinding_takes_a_bounded_number_of_rounds(world: World, basket_id: str) -> None:
    world.offer(*((f"EV-{number}", NO, 72, 50) for number in range(3)))

    def starve(orders: object) -> None:
        world.exchange.caps.update({"EV-1": Count(0), "EV-2": Count(0)})
        if len(world.exchange.batches) > 1:
            world.exchange.caps["EV-0"] = Count(100)

    world.exchange.before_place = starve
    start = world.clock.now_ms()
    row = world.drive(basket_id)
    assert row.state is BasketState.HELD
    # After the last round there is nothing to wait for: only each batch's answer takes a moment.
    assert world.clock.now_ms() == start + len(world.exchange.batches)
    assert row.leg_position(0) == 1000 - 100 * world.policy.unwind_rounds
    assert len({o.wave for o in row.orders if o.purpose is Purpose.UNWIND}) == world.policy.unwind_rounds
    world.assert_ended_well(basket_id)


def test_the_unwind_of_a_no_is_limited_on_the_grid_of_yes_prices() -> None:
    world = World(partition())
    world.offer(*((f"EV-{number}", NO, 60, 20 + number) for number in range(3)))
    world.offer(("EV-0", YES, 44, 50))
    basket = world.propose(*(leg(f"EV-{number}", NO, 10, 60) for number in range(3)))
    world.exchange.before_place = lambda _orders: (
        [world.exchange.set_book(ticker) for ticker in ("EV-1", "EV-2")] if len(world.exchange.batches) == 2 else None
    )
    row = world.drive(basket.basket_id)
    assert row.state is BasketState.FLAT
    unwind = row.orders[-1].request
    assert (unwind.outcome, unwind.limit) == (YES, Price(4400))


def wide(size: int = 12) -> tuple[World, str]:
    """A partition that needs three waves."""
    world = World(partition(size))
    world.offer(*((f"EV-{number}", YES, 6, 20 + number) for number in range(size)))
    world.offer(*((f"EV-{number}", NO, 95, 40) for number in range(size)))
    basket = world.propose(*(leg(f"EV-{number}", YES, 10, 6) for number in range(size)))
    assert world.risk.run(basket.basket_id, 1).accepted
    return world, basket.basket_id


def test_a_partial_second_wave_is_completed_together_with_the_third_on_books_of_now() -> None:
    world, basket_id = wide()
    fade(world, "EV-3", 4)
    assert after_second_wave(world, basket_id) == Assessment(Action.WAVE, BasketState.EXECUTING, 0, wave=2)
    planned = {order.leg: order for order in world.row(basket_id).planned_orders()}
    assert set(planned) == {3, 9, 10, 11}
    assert planned[3].request.count == 600
    assert {leg: order.purpose for leg, order in planned.items()} == {
        3: Purpose.COMPLETE, 9: Purpose.ENTER, 10: Purpose.ENTER, 11: Purpose.ENTER,
    }  # fmt: skip
    world.executor.run(basket_id, 1, 2)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.LOCK, 0)
    world.assert_ended_well(basket_id)


def test_a_later_wave_is_not_sent_when_an_earlier_one_cannot_be_completed() -> None:
    world, basket_id = wide()

    def vanish(_orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.set_book("EV-3")

    world.exchange.before_place = vanish
    assert after_second_wave(world, basket_id).state is BasketState.UNWINDING
    row = world.drive(basket_id)
    assert row.state is BasketState.FLAT
    assert {order.leg for order in row.orders} == set(range(1 + BATCH_ORDERS))
    world.assert_ended_well(basket_id)


def test_unwinding_many_legs_takes_as_many_batches_as_the_lowest_tier_needs() -> None:
    world, basket_id = wide()

    def vanish(_orders: object) -> None:
        if len(world.exchange.batches) == 3:
            world.exchange.set_book("EV-11")

    world.exchange.before_place = vanish
    row = world.drive(basket_id)
    assert row.state is BasketState.FLAT
    assert [len(batch) for batch in world.exchange.batches] == [1, 8, 3, 8, 3]
    world.assert_ended_well(basket_id)


def test_only_what_gives_a_position_up_may_spend_the_tokens_that_are_kept_back() -> None:
    world, basket_id = wide()
    unwound: list[str] = []

    class Unwinding:
        def place(self, orders: Sequence[OrderRequest], leave_by_ms: int) -> list[OrderReport]:
            unwound.extend(order.client_order_id for order in orders)
            return world.exchange.place(orders)

    def vanish(_orders: object) -> None:
        if len(world.exchange.batches) == 3:
            world.exchange.set_book("EV-11")

    world.unwinder = WaveExecutor(
        baskets=world.baskets, trading=cast("Trading", Unwinding()), purposes=UNWINDING, status=world.status,
        clock=world.clock, policy=world.policy,
    )  # fmt: skip
    world.exchange.before_place = vanish
    row = world.drive(basket_id)
    given_up = [order.request.client_order_id for order in row.orders if order.purpose not in BUYING]
    assert given_up
    assert sorted(unwound) == sorted(given_up)


def test_an_order_that_was_never_sent_has_no_sending_time(world: World, basket_id: str) -> None:
    with pytest.raises(ValueError, match="never sent"):
        sent_at(world.row(basket_id).orders[0])


# Stops that come between an assessment and its wave, and what the breaker hears


def test_a_plan_that_was_never_handed_out_may_be_bought_when_the_stop_is_lifted(world: World, basket_id: str) -> None:
    after_first_wave(world, basket_id)
    world.status.put("control", {"stop": True})
    assert ask(world, basket_id, wave=0).action is Action.WAIT
    assert {order.rejection for order in world.row(basket_id).orders if order.wave == 1} == {WITHDRAWN}
    world.status.put("control", {"stop": False})
    assert ask(world, basket_id, wave=0).action is Action.WAVE


def test_while_no_order_at_all_may_be_sent_a_basket_waits(world: World, basket_id: str) -> None:
    """After a cancel-all the exchange would cancel an unwind, too."""
    world.offer(("EV-0", NO, 72, 50))
    after_first_wave(world, basket_id)
    until = world.clock.now_ms() + 60_000
    world.status.put("control", {"stop": True, "no_orders_until_ms": until})
    answer = ask(world, basket_id, wave=1)
    assert (answer.action, answer.wait_seconds) == (Action.WAIT, world.policy.longest_wait_s)
    assert world.row(basket_id).reason.startswith("abandoned")
    world.clock.advance(60_000)
    assert ask(world, basket_id, wave=1).action is Action.UNWIND


@pytest.mark.parametrize(("fault", "cause"), [(Fault.REFUSED, "rejects"), (Fault.LOST_REQUEST, "unknowns")])
def test_the_breaker_hears_once_of_what_was_refused_or_is_unknown(
    world: World, basket_id: str, fault: Fault, cause: str
) -> None:
    world.exchange.faults.append(fault)
    world.executor.run(basket_id, 1, 0)
    ask(world, basket_id, wave=0)
    ask(world, basket_id, wave=0)
    (order,) = world.row(basket_id).orders
    noted = (world.status.get("breaker") or {})["noted"]
    assert noted == [[cause, order.request.client_order_id, 1, world.clock.now_ms()]]


def test_the_breaker_hears_nothing_of_an_order_that_found_no_depth(world: World, basket_id: str) -> None:
    world.exchange.caps["EV-0"] = Count(0)
    after_first_wave(world, basket_id)
    assert world.row(basket_id).orders[0].state is OrderState.REJECTED
    assert world.status.get("breaker") is None


def test_an_end_waits_until_the_balance_shows_what_was_spent(world: World, basket_id: str) -> None:
    send(world, basket_id, after_first_wave(world, basket_id))
    world.exchange.read_lag_ms = 1
    assert step(world, basket_id).action is Action.WAIT
    row = world.row(basket_id)
    assert all(order.booked for order in row.orders)
    assert row.last_fill_ms() == world.exchange.user_data_ms()
    assert "cash#0" in world.reservations.held[basket_id]
    world.clock.advance(1)
    assert step(world, basket_id) == Assessment(Action.CLOSE, BasketState.LOCK, 0)
    assert "cash#0" not in world.reservations.held[basket_id]
