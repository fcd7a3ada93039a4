"""A list that misses an order that traded: positions say so, and the basket does not act as if nothing had happened."""

import pytest

from kalshi_arb.domain.basket import BasketState, OrderState
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, OrderReport, fill_entry
from kalshi_arb.execution.assess import Action, Assessment
from kalshi_arb.fakes import Fault
from tests.basket_world import World, partition


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


def assessed_late(world: World, basket_id: str, fault: Fault) -> Assessment:
    """The first order's answer is lost; asked when its absence would count."""
    world.exchange.faults.append(fault)
    world.executor.run(basket_id, 1, 0)
    world.clock.advance(world.policy.write_timeout_ms + world.policy.margin_ms + 1)
    return world.assessor.run(basket_id, 1, 0)


def blind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(tickers: object, since_ms: int) -> dict[str, OrderReport]:
        return {}

    monkeypatch.setattr(world.exchange, "find_orders", nothing)


def test_an_order_that_no_list_shows_but_that_moved_the_position_is_waited_for(
    world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        blind(world, patch)
        answer = assessed_late(world, basket_id, Fault.LOST_ANSWER)
        assert (answer.action, answer.state) == (Action.WAIT, BasketState.EXECUTING)
        assert world.row(basket_id).orders[0].state is OrderState.UNKNOWN
    assert world.assessor.run(basket_id, 1, 0).action is Action.WAVE
    assert world.row(basket_id).orders[0].filled == 1000


def test_an_order_that_neither_list_nor_position_shows_never_was(world: World, basket_id: str) -> None:
    answer = assessed_late(world, basket_id, Fault.LOST_REQUEST)
    assert answer.action is Action.CLOSE
    assert world.row(basket_id).orders[0].state is OrderState.ABSENT


def test_what_another_basket_holds_on_the_market_is_in_the_ledger_and_explains_the_position(
    world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten more are held than this basket knows of: by another one, whose fills are booked."""
    own = world.exchange.positions
    monkeypatch.setattr(world.exchange, "positions", lambda: {**own(), "EV-0": Count(1000)})
    assert assessed_late(world, basket_id, Fault.LOST_REQUEST).action is Action.WAIT
    other = Fill("t9", "o9", "EV-0", Outcome.YES, Count(1000), Price(3000), Cash(0), world.clock.now_ms())
    world.ledger.append([fill_entry(other, "another")])
    assert world.assessor.run(basket_id, 1, 0).action is Action.CLOSE
    assert world.row(basket_id).orders[0].state is OrderState.ABSENT


def test_positions_are_asked_only_when_an_order_would_be_given_up(
    world: World, basket_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("no need to ask")

    monkeypatch.setattr(world.exchange, "positions", never)
    world.executor.run(basket_id, 1, 0)
    assert world.assessor.run(basket_id, 1, 0).action is Action.WAVE
