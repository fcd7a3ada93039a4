"""The sweeper: abandoned baskets are driven again under a new attempt, unsent ones given up."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.execution.sweep import SweepReport
from kalshi_arb.ports import AlertKind
from tests.basket_world import World, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer_bundle()
    return world


@pytest.fixture
def basket(world: World) -> Basket:
    return world.propose_bundle()


def test_a_basket_that_was_saved_lately_is_left_alone(world: World, basket: Basket) -> None:
    world.clock.advance(20_000)
    assert world.sweeper.run() == SweepReport(0, 0)
    assert world.row(basket.basket_id) == basket


def test_a_proposal_that_nobody_took_up_is_started_once_more(world: World, basket: Basket) -> None:
    world.clock.advance(20_001)
    assert world.sweeper.run() == SweepReport(1, 0)
    assert world.workflow.started == [(basket.basket_id, 2)]
    assert world.row(basket.basket_id).attempt == 2
    assert not world.risk.run(basket.basket_id, 1).accepted
    assert world.risk.run(basket.basket_id, 2).accepted


def test_a_proposal_too_old_to_trade_is_refused_and_its_group_is_free(world: World, basket: Basket) -> None:
    world.clock.advance(30_001)
    assert world.sweeper.run() == SweepReport(0, 1)
    row = world.row(basket.basket_id)
    assert (row.state, row.reason) == (BasketState.REFUSED, "expired")
    assert not world.baskets.owners
    assert world.status.counters("risk") == {"refused.expired": 1}
    assert not world.workflow.started


def test_the_attempt_is_saved_before_the_new_execution_starts(world: World, basket: Basket) -> None:
    world.risk.run(basket.basket_id, 1)
    world.clock.advance(21_000)

    def check(basket_id: str, attempt: int) -> bool:
        assert world.row(basket_id).attempt == attempt
        return True

    world.workflow.start = check  # type: ignore[method-assign]
    assert world.sweeper.run().resumed == 1


def test_a_sweep_that_just_resumed_a_basket_does_not_do_it_again(world: World, basket: Basket) -> None:
    world.risk.run(basket.basket_id, 1)
    world.clock.advance(21_000)
    assert world.sweeper.run() == SweepReport(1, 0)
    assert world.sweeper.run() == SweepReport(0, 0)


def test_a_decided_end_is_finished_by_the_next_attempt(world: World, basket: Basket) -> None:
    world.risk.run(basket.basket_id, 1)
    world.baskets.save(replace(world.row(basket.basket_id), ending=BasketState.REFUSED, reason="stopped", turns=7))
    world.clock.advance(21_000)
    assert world.sweeper.run() == SweepReport(1, 0)
    assert world.row(basket.basket_id).turns == 0
    assert world.workflow.started == [(basket.basket_id, 2)]
    assert world.execute(basket.basket_id, 2)
    assert world.row(basket.basket_id).state is BasketState.REFUSED
    assert not world.reservations.held
    assert not world.exchange.batches


def test_a_basket_that_somebody_saves_meanwhile_is_skipped(
    world: World, basket: Basket, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.advance(21_000)

    def lose(row: Basket) -> Basket:
        raise ConflictError("another writer was first")

    monkeypatch.setattr(world.baskets, "save", lose)
    assert world.sweeper.run() == SweepReport(0, 0)
    assert not world.workflow.started


def test_a_basket_whose_executions_keep_dying_is_told_to_a_person(world: World, basket: Basket) -> None:
    world.risk.run(basket.basket_id, 1)
    for _ in range(9):
        world.clock.advance(21_000)
        world.sweeper.run()
    errors = [alert for alert in world.notifier.published if alert.kind is AlertKind.ERROR]
    assert [alert.alert_id for alert in errors] == [f"{basket.basket_id}-attempt-{number}" for number in (3, 10)]


def test_ended_baskets_are_never_touched(world: World, basket: Basket) -> None:
    ended = world.drive(basket.basket_id)
    world.clock.advance(1_000_000)
    assert world.sweeper.run() == SweepReport(0, 0)
    assert world.row(basket.basket_id) == ended


def test_once_all_that_drove_baskets_has_ended_even_a_young_row_is_resumed(world: World, basket: Basket) -> None:
    world.clock.advance(100)
    assert world.sweeper.run(drivers_ended_ms=basket.updated_ms) == SweepReport(0, 0)
    assert world.sweeper.run(drivers_ended_ms=world.clock.now_ms()) == SweepReport(1, 0)
    assert world.workflow.started == [(basket.basket_id, 2)]
    assert world.sweeper.run(drivers_ended_ms=world.clock.now_ms()) == SweepReport(0, 0), "driven since"
    assert world.status.counters("sweeper")["resumed"] == 1
