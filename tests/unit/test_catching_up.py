"""A row that is older than what was sent for it, as after a restore: the exchange is asked first what became of it."""

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

from kalshi_arb.domain.basket import BasketState, OrderState, Purpose
from kalshi_arb.domain.money import Count
from kalshi_arb.execution.assess import Action
from kalshi_arb.execution.catching_up import NOT_LISTED, with_orders
from kalshi_arb.fakes import Fault
from kalshi_arb.kalshi.errors import RetryableError
from tests.basket_world import NO, World, partition


def proposed() -> tuple[World, str]:
    """Ten of each outcome of a partition for 90 cents a set, with bids to sell back to."""
    world = World(partition())
    world.offer_bundle()
    world.offer(*((f"EV-{number}", NO, 72, 50) for number in range(3)))
    return world, world.propose_bundle().basket_id


def backup(world: World) -> Any:
    tables = SimpleNamespace(
        baskets=world.baskets, ledger=world.ledger, reservations=world.reservations, status=world.status
    )
    return deepcopy(tables, {id(world.clock): world.clock})


def restored(world: World, tables: Any) -> World:
    """The exchange goes on, the tables are those of then; a person has stopped trading."""
    world.clock.advance(60_000)
    later = World(world.group, clock=world.clock, exchange=world.exchange, tables=tables)
    later.opening = world.opening
    later.status.put("control", {"stop": True, "by": "ann"})
    return later


def swept(world: World, basket_id: str) -> None:
    world.sweeper.run()
    ((_, attempt),) = world.workflow.started
    world.execute(basket_id, attempt)


def reserved(_: World, __: str) -> None:
    """Nothing is sent yet."""


def first_wave_sent(world: World, basket_id: str) -> None:
    world.executor.run(basket_id, 1, 0)


def second_wave_planned(world: World, basket_id: str) -> None:
    first_wave_sent(world, basket_id)
    assert world.assess(basket_id, 1, 0) is not None


@pytest.mark.parametrize("then", [reserved, first_wave_sent, second_wave_planned])
@pytest.mark.parametrize("faded", [False, True])
def test_it_ends_as_it_really_ended_and_sends_nothing(then: Callable[[World, str], None], faded: bool) -> None:
    """Complete, or unwound because two books went away: under a stop, and with an order that nobody knew of."""
    world, basket_id = proposed()
    assert world.risk.run(basket_id, 1).accepted
    then(world, basket_id)
    tables = backup(world)
    if faded:
        world.exchange.before_place = lambda orders: (
            [world.exchange.set_book(ticker) for ticker in ("EV-1", "EV-2")] if orders[0].ticker != "EV-0" else None
        )
    world.clock.advance(21_000)
    really = world.drive(basket_id) if then is not reserved else _driven(world, basket_id)
    assert really.state is (BasketState.FLAT if faded else BasketState.LOCK)
    sent = len(world.exchange.batches)

    later = restored(world, tables)
    swept(later, basket_id)
    row = later.row(basket_id)
    assert row.state is really.state
    assert (row.locked_profit, row.settled_profit) == (really.locked_profit, really.settled_profit)
    filled = {order.request.client_order_id: (order.filled, order.cost, order.fee) for order in really.orders}
    assert {
        order.request.client_order_id: (order.filled, order.cost, order.fee) for order in row.orders if order.filled
    } == {name: what for name, what in filled.items() if what[0]}
    assert len(world.exchange.batches) == sent
    later.assert_ended_well(basket_id)


def _driven(world: World, basket_id: str) -> Any:
    """The plan of its first wave was still fresh when the backup was made."""
    world.clock.advance(-21_000)
    world.send(Action.WAVE, basket_id, 1, 0)
    world.clock.advance(21_000)
    return world.drive(basket_id)


def test_a_basket_that_was_never_sent_is_refused_as_always() -> None:
    world, basket_id = proposed()
    assert world.risk.run(basket_id, 1).accepted
    later = restored(world, backup(world))
    swept(later, basket_id)
    row = later.row(basket_id)
    assert (row.state, row.reason) == (BasketState.REFUSED, "stopped")
    later.assert_ended_well(basket_id)


def test_nothing_is_decided_while_the_exchange_does_not_show_all_of_it() -> None:
    world, basket_id = proposed()
    assert world.risk.run(basket_id, 1).accepted
    first_wave_sent(world, basket_id)
    tables = backup(world)
    assert world.drive(basket_id).state is BasketState.LOCK
    later = restored(world, tables)
    hidden, later.exchange._fills = later.exchange._fills, []
    later.sweeper.run()
    assert later.risk.run(basket_id, 2).accepted
    first = later.assess(basket_id, 2, 0)
    assert first is not None
    assert first.action is Action.HANDOVER, "a person is told, and the next attempt asks again"
    assert later.row(basket_id).state is BasketState.EXECUTING
    later.exchange._fills = hidden
    assert later.assess(basket_id, 2, 0) is not None
    assert later.close(basket_id, 2)
    assert later.row(basket_id).state is BasketState.LOCK
    later.assert_ended_well(basket_id)


def test_a_reserved_basket_waits_for_an_exchange_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket_id = proposed()
    assert world.risk.run(basket_id, 1).accepted
    later = restored(world, backup(world))
    later.sweeper.run()

    def unread(*_: object) -> None:
        raise RetryableError("busy")

    monkeypatch.setattr(later.exchange, "find_orders", unread)
    with pytest.raises(RetryableError):
        later.risk.run(basket_id, 2)
    assert later.row(basket_id).state is BasketState.RESERVED
    # Its orders could not be sent, and whether it has others cannot be read: it waits for that, and is handed on.
    waiting = later.assessor.run(basket_id, 2, 0)
    assert waiting.action is Action.WAIT
    later.clock.advance(120_000)
    assert later.assessor.run(basket_id, 2, 0).action is Action.HANDOVER
    assert later.row(basket_id).state is BasketState.RESERVED


def test_numbers_that_the_exchange_does_not_list_did_not_trade() -> None:
    world, basket_id = proposed()
    assert world.risk.run(basket_id, 1).accepted
    row = world.row(basket_id)
    world.drive(basket_id)
    reports = world.exchange.find_orders(["EV-1"], 0)
    report = reports[f"{basket_id}-1-0"]
    found = {f"{basket_id}-1-2": report}
    fills = world.exchange.fills(["EV-1"], 0)
    orders = with_orders(row, found, fills).orders[1:]
    assert [(order.state, order.rejection, order.filled) for order in orders] == [
        (OrderState.ABSENT, NOT_LISTED, 0), (OrderState.ABSENT, NOT_LISTED, 0), (OrderState.SENT, None, 0)
    ]  # fmt: skip
    assert [order.purpose for order in orders] == [Purpose.ENTER, Purpose.COMPLETE, Purpose.COMPLETE]
    assert orders[2].request.count == report.filled == Count(1_000)
    assert with_orders(row, found, fills).next_number(1) == 3, "the next order's id is a new one"
    with pytest.raises(RetryableError, match="does not show all fills"):
        with_orders(row, found, fills[:-1])


def test_a_first_attempt_asks_for_nothing_more_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket_id = proposed()
    asked: list[object] = []
    find = world.exchange.find_orders

    def counted(tickers: Any, since_ms: int) -> Any:
        asked.append(tickers)
        return find(tickers, since_ms)

    monkeypatch.setattr(world.exchange, "find_orders", counted)
    assert world.drive(basket_id).state is BasketState.LOCK
    assert asked == []


def test_a_resumed_basket_that_knows_all_its_orders_is_left_as_it_is() -> None:
    world, basket_id = proposed()
    world.exchange.faults.append(Fault.LOST_ANSWER)
    assert world.risk.run(basket_id, 1).accepted
    first_wave_sent(world, basket_id)
    before = world.row(basket_id)
    world.clock.advance(21_000)
    swept(world, basket_id)
    row = world.row(basket_id)
    assert (row.state, row.attempt) == (BasketState.LOCK, 2)
    assert [order.request for order in row.orders][: len(before.orders)] == [order.request for order in before.orders]
    world.assert_ended_well(basket_id)
