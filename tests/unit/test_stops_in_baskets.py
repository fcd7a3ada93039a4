"""Each stop, set while a basket trades: not one more purchase leaves, and what is held is sold again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.portfolio import OrderRequest
from kalshi_arb.execution.arming import HOUR_MS, Terms, hash_of, new_arming
from kalshi_arb.execution.control import set_stop
from kalshi_arb.risk.breaker import Breaker, Cause
from kalshi_arb.stop_desk import ArmOrder, StopDesk, StopOrder
from tests.basket_world import World, leg, partition

YES, NO = Outcome.YES, Outcome.NO
TERMS = Terms(template=hash_of("t"), limits=hash_of("l"), key_id="k")


class Denied:
    """The state machine may not call the function that buys: the call fails, and the machine goes on to assess."""

    def run(self, *_: object) -> int:
        return 0


def by_item(world: World) -> None:
    set_stop(world.status, by="ann", reason="", now_ms=world.clock.now_ms())


def by_desk(world: World) -> None:
    StopDesk(status=world.status, clock=world.clock, mode=world.mode).stop(StopOrder(by="the page"))


def by_breaker(world: World) -> None:
    breaker = Breaker(
        status=world.status, notifier=world.notifier, clock=world.clock, mode=world.mode, limits=lambda: world.limits
    )
    for number in range(world.limits.breaker_max_rejects + 1):
        breaker.note(Cause.REJECTS, f"order-{number}")


def by_denial(world: World) -> None:
    world.executor = Denied()  # type: ignore[assignment]


def by_time(world: World) -> None:
    arming = new_arming(TERMS, hours=1, by="ann", now_ms=world.clock.now_ms() - HOUR_MS)
    world.status.put("arming", arming)


def trading(stop: Callable[[World], None], mode: str = "simulated") -> tuple[World, str]:
    """A world whose first wave fills, and in which the stop is set as it does."""
    world = World(partition(), mode=mode)
    world.status.put("arming", new_arming(TERMS, hours=1, by="ann", now_ms=world.clock.now_ms()))
    world.offer_bundle()
    world.offer(*((f"EV-{number}", NO, 72, 50) for number in range(3)))
    basket = world.propose_bundle()

    def once(_: Sequence[OrderRequest]) -> None:
        if len(world.exchange.batches) == 1:
            stop(world)

    world.exchange.before_place = once
    return world, basket.basket_id


@pytest.mark.parametrize(
    ("stop", "mode"),
    [(by_item, "paper"), (by_desk, "simulated"), (by_breaker, "demo"), (by_denial, "simulated"), (by_time, "live")],
)
def test_a_stop_while_a_basket_trades(stop: Callable[[World], None], mode: str) -> None:
    world, basket_id = trading(stop, mode)
    row = world.drive(basket_id)
    assert [[order.outcome for order in batch] for batch in world.exchange.batches] == [[YES], [NO]], (
        "the first wave was on its way; after it nothing but the unwind"
    )
    assert row.state is BasketState.FLAT
    world.assert_ended_well(basket_id)


@pytest.mark.parametrize(("stop", "mode"), [(by_item, "paper"), (by_breaker, "demo"), (by_time, "live")])
def test_a_stop_before_the_first_order(stop: Callable[[World], None], mode: str) -> None:
    world, basket_id = trading(lambda _: None, mode)
    stop(world)
    assert world.drive(basket_id).state is BasketState.REFUSED
    assert world.exchange.batches == []
    assert not world.reservations.held


def test_after_a_cancel_all_even_the_unwind_waits_for_its_minute() -> None:
    cancelled: list[int] = []

    def abandon(world: World) -> None:
        now = world.clock.now_ms()
        cancelled.append(now)
        set_stop(world.status, by="ann", reason="abandoned", now_ms=now, no_orders_until_ms=now + 60_000)

    world, basket_id = trading(abandon)
    sent: list[int] = []
    first = world.exchange.before_place

    def note(orders: Sequence[OrderRequest]) -> None:
        sent.append(world.clock.now_ms())
        first(orders)

    world.exchange.before_place = note
    row = world.drive(basket_id)
    assert row.state is BasketState.FLAT
    assert len(sent) == 2
    assert sent[1] >= cancelled[0] + 60_000
    world.assert_ended_well(basket_id)


def test_lifting_the_stop_lets_the_next_basket_trade() -> None:
    world, basket_id = trading(by_item)
    world.drive(basket_id)
    desk = StopDesk(status=world.status, clock=world.clock, mode=world.mode)
    desk.arm(ArmOrder(by="ann"))
    world.clock.advance(60_000)
    world.offer(("EV-0", YES, 30, 20))
    again = world.propose(*(leg(f"EV-{number}", YES, 10, 30) for number in range(3)), opportunity_id="opp-2")
    assert world.drive(again.basket_id).state is BasketState.LOCK


@pytest.mark.parametrize("field", ["template", "limits", "key_id"])
def test_real_money_armed_for_something_else_is_refused_with_its_name(field: str) -> None:
    world, basket_id = trading(lambda _: None, "live")
    deployed = replace(TERMS, **{field: "another"})
    world.risk._reader._terms = lambda: deployed  # type: ignore[attr-defined]
    row = world.drive(basket_id)
    assert row.state is BasketState.REFUSED
    assert row.reason == "not_armed"
    assert "changed since it was armed" in row.findings[0].text
