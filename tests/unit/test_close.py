"""The last step of an attempt: record, release, notify, end the row; or the note that it gave up."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.errors import ConflictError, StoreError, TransitionError
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.portfolio import EntryKind
from kalshi_arb.execution.ending import decided
from kalshi_arb.fakes import Fault
from kalshi_arb.ports import AlertKind
from kalshi_arb.risk.breaker import COMPONENT, read_trip
from kalshi_arb.schemas import AuditRequest, decode
from tests.basket_world import Killed, World, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer_bundle()
    return world


@pytest.fixture
def basket_id(world: World) -> str:
    """A basket whose first leg is held and whose end is decided: held, 3 dollars lost in the worst state."""
    basket = world.propose_bundle()
    assert world.risk.run(basket.basket_id, 1).accepted
    assert world.executor.run(basket.basket_id, 1, 0) == 1
    world.assessor.run(basket.basket_id, 1, 0)
    row = world.row(basket.basket_id)
    lost = Cash(-3_000_000)
    world.baskets.save(decided(row, BasketState.HELD, "book faded", lost, world.clock.now_ms()))
    return basket.basket_id


def decisions(world: World) -> list[str]:
    return [entry.note for entry in world.ledger.all() if entry.kind is EntryKind.DECISION and "held" in entry.note]


def test_recorded_released_told_and_only_then_ended(world: World, basket_id: str) -> None:
    order: list[str] = []

    def watch(holder: Any, name: str) -> None:
        method: Callable[..., Any] = getattr(holder, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            if not order or order[-1] != name:
                order.append(name)
            return method(*args, **kwargs)

        setattr(holder, name, noted)

    for holder, name in (
        (world.ledger, "append"), (world.reservations, "release"), (world.notifier, "publish"),
        (world.baskets, "save"), (world.status, "count"), (world.audits, "send"),
    ):  # fmt: skip
        watch(holder, name)
    assert world.closer.run(basket_id, 1) is BasketState.HELD
    assert order == ["append", "release", "publish", "save", "count", "send"]
    assert decisions(world) == ["held: book faded"]
    assert [alert.kind for alert in world.notifier.published] == [AlertKind.BASKET]


def test_killed_at_every_call_and_repeated_it_happens_once() -> None:
    calls = None
    for position in range(1, 40):
        for after in (False, True):
            world = World(partition())
            world.offer_bundle()
            basket = world.propose_bundle()
            world.risk.run(basket.basket_id, 1)
            world.executor.run(basket.basket_id, 1, 0)
            world.assessor.run(basket.basket_id, 1, 0)
            row = world.row(basket.basket_id)
            world.baskets.save(decided(row, BasketState.HELD, "x", Cash(-5), world.clock.now_ms()))
            world.switch.calls, world.switch.kill_at, world.switch.after = 0, position, after
            try:
                world.closer.run(basket.basket_id, 1)
            except Killed:
                world.switch.kill_at = None
                assert world.closer.run(basket.basket_id, 1) is BasketState.HELD
            else:
                calls = position - 1
            assert world.row(basket.basket_id).state is BasketState.HELD
            assert decisions(world) == ["held: x"]
            assert len({alert.alert_id for alert in world.notifier.published}) == 1
            item = world.status.get(COMPONENT) or {}
            assert item["noted"] == [["loss", basket.basket_id, 5, world.clock.now_ms()]]
            assert len(world.audits.bodies) <= 1
        if calls is not None:
            break
    assert calls is not None
    assert calls >= 8


def test_a_loss_reaches_the_breaker(world: World, basket_id: str) -> None:
    world.limits = replace(world.limits, breaker_max_loss=Cash(2_999_999))
    world.closer.run(basket_id, 1)
    trip = read_trip(world.status.get(COMPONENT))
    assert trip is not None
    assert trip.cause == "loss"


def test_a_refusal_is_recorded_and_no_alert(world: World) -> None:
    basket = world.propose_bundle()
    world.risk.run(basket.basket_id, 1)
    row = world.row(basket.basket_id)
    world.baskets.save(decided(row, BasketState.REFUSED, "stopped", None, world.clock.now_ms()))
    assert world.closer.run(basket.basket_id, 1) is BasketState.REFUSED
    (refused,) = world.ledger.all()
    assert (refused.entry_id, refused.note) == (f"refused-{basket.basket_id}", "stopped")
    assert not world.notifier.published
    assert world.status.counters("risk")["refused.stopped"] == 1
    assert not world.audits.bodies, "nothing was sent that could be compared"


def test_the_end_of_a_basket_that_sent_orders_asks_for_one_audit(world: World, basket_id: str) -> None:
    assert world.closer.run(basket_id, 1, "close_failed") is BasketState.EXECUTING
    assert not world.audits.bodies, "an attempt that gave up ended nothing"
    world.clock.advance(1_000)
    world.closer.run(basket_id, 1)
    for _ in range(2):
        world.clock.advance(1_000)
        world.closer.run(basket_id, 1)
    (body,) = world.audits.bodies
    assert decode(body, AuditRequest) == AuditRequest(basket_id, world.clock.now_ms() - 2_000)
    assert not world.problems


@pytest.mark.parametrize("state", [BasketState.LOCK, BasketState.FLAT, BasketState.HELD])
def test_an_audit_that_cannot_be_asked_for_keeps_no_basket_from_its_end(
    world: World, basket_id: str, state: BasketState
) -> None:
    def fail(_body: str) -> None:
        raise StoreError("send to audits: throttled")

    row = world.row(basket_id)
    world.baskets.save(replace(row, ending=state))
    world.audits.send = fail  # type: ignore[method-assign]
    assert world.closer.run(basket_id, 1) is state
    assert world.row(basket_id).state is state
    assert [alert.kind for alert in world.notifier.published] == [AlertKind.BASKET]
    (line,) = world.problems
    assert line == (
        f"no audit was asked for after basket {basket_id}, the schedule makes one: send to audits: throttled"
    )
    counted = world.status.counters("execution")
    assert (counted["audits_not_asked"], counted[f"end.{state.value}"]) == (1, 1)
    assert world.closer.run(basket_id, 1) is state
    assert len(world.problems) == 1


def test_closing_again_changes_nothing(world: World, basket_id: str) -> None:
    world.closer.run(basket_id, 1)
    row, told = world.row(basket_id), list(world.notifier.published)
    assert world.closer.run(basket_id, 1) is BasketState.HELD
    assert world.closer.run(basket_id, 1, "close_failed") is BasketState.HELD
    assert world.row(basket_id) == row
    assert world.notifier.published == told


def test_another_attempt_s_basket_is_left_alone(world: World, basket_id: str) -> None:
    fenced = world.baskets.save(replace(world.row(basket_id), attempt=2))
    assert world.closer.run(basket_id, 1) is BasketState.EXECUTING
    assert world.closer.run(basket_id, 1, "turns_used_up") is BasketState.EXECUTING
    assert world.row(basket_id) == fenced


def test_what_was_never_decided_cannot_be_closed(world: World) -> None:
    basket = world.propose_bundle()
    with pytest.raises(TransitionError, match="no end was decided"):
        world.closer.run(basket.basket_id, 1)
    with pytest.raises(StoreError, match="no basket nobody"):
        world.closer.run("nobody", 1)


def test_an_attempt_that_gives_up_says_why_and_the_next_one_finishes(world: World) -> None:
    basket = world.propose_bundle()
    world.risk.run(basket.basket_id, 1)
    world.exchange.faults.append(Fault.LOST_ANSWER)
    world.executor.run(basket.basket_id, 1, 0)
    assert world.closer.run(basket.basket_id, 1, "assessment_failed") is BasketState.EXECUTING
    assert world.closer.run(basket.basket_id, 1, "assessment_failed") is BasketState.EXECUTING
    row = world.row(basket.basket_id)
    assert (row.reason, row.ending) == ("assessment_failed", None)
    assert world.status.counters("execution")["gave_up.assessment_failed"] == 1
    world.clock.advance(21_000)
    assert world.sweeper.run().resumed == 1
    assert world.execute(basket.basket_id, 2)
    assert world.row(basket.basket_id).state is BasketState.LOCK
    world.assert_ended_well(basket.basket_id)


def test_a_decided_end_keeps_its_reason_when_closing_gives_up(world: World, basket_id: str) -> None:
    assert world.closer.run(basket_id, 1, "close_failed") is BasketState.EXECUTING
    assert world.row(basket_id).reason == "book faded"


def test_a_writer_that_is_always_first_is_reported(world: World, basket_id: str) -> None:
    def lose(_row: object) -> None:
        raise ConflictError("another writer was first")

    world.baskets.save = lose  # type: ignore[assignment,method-assign]
    with pytest.raises(ConflictError):
        world.closer.run(basket_id, 1)
