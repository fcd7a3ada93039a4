"""How an opportunity becomes a basket and its legs become waves."""

import hashlib

import pytest

from kalshi_arb.domain.basket import BasketState, OrderState, Purpose, client_order_id
from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.portfolio import TimeInForce
from kalshi_arb.execution.plan import BATCH_ORDERS, WITHDRAWN, entry_orders, moved, plan_waves, withdraw
from tests.basket_world import NO, YES, World, leg, partition


def books_of(world: World):
    return world.exchange.orderbooks([own.ticker for own in world.group.markets])


def test_a_proposal_reserves_and_plans_nothing() -> None:
    world = World(partition())
    world.offer(("EV-0", YES, 30, 20), ("EV-1", YES, 30, 20), ("EV-2", YES, 30, 20))
    basket = world.propose(*(leg(f"EV-{n}", YES, 10, 30) for n in range(3)), opportunity_id="opp")
    assert basket.basket_id == "b" + hashlib.sha256(b"opp").hexdigest()[:20]
    assert (basket.state, basket.attempt, basket.revision) == (BasketState.PROPOSED, 1, 0)
    assert (basket.waves, basket.orders, basket.reserved) == ((), (), 0)
    assert basket.expected_profit == basket.certificate.floor_profit


def test_the_leg_with_least_depth_for_its_need_goes_first_and_alone() -> None:
    world = World(partition())
    # 1.5 times, 1.2 times and 3 times what is needed.
    world.offer(("EV-0", YES, 30, 15), ("EV-1", NO, 60, 12), ("EV-2", YES, 30, 30))
    legs = (leg("EV-0", YES, 10, 30), leg("EV-1", NO, 10, 60), leg("EV-2", YES, 10, 30))
    assert plan_waves(legs, books_of(world)) == ((1,), (0, 2))


def test_depth_above_the_limit_does_not_count() -> None:
    world = World(partition())
    world.offer(("EV-0", YES, 30, 12), ("EV-0", YES, 31, 500), ("EV-1", YES, 30, 15), ("EV-2", YES, 30, 30))
    legs = tuple(leg(f"EV-{n}", YES, 10, 30) for n in range(3))
    assert plan_waves(legs, books_of(world))[0] == (0,)


def test_of_equal_depths_the_one_on_fewer_levels_goes_first() -> None:
    world = World(partition(2))
    world.offer(("EV-0", YES, 29, 10), ("EV-0", YES, 30, 10), ("EV-1", YES, 30, 20))
    legs = (leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30))
    assert plan_waves(legs, books_of(world)) == ((1,), (0,))


def test_a_batch_never_exceeds_what_the_lowest_tier_takes() -> None:
    world = World(partition(24))
    world.offer(*((f"EV-{n}", YES, 4, 20 + n) for n in range(24)))
    waves = plan_waves(tuple(leg(f"EV-{n}", YES, 10, 4) for n in range(24)), books_of(world))
    assert [len(wave) for wave in waves] == [1, BATCH_ORDERS, BATCH_ORDERS, 24 - 1 - 2 * BATCH_ORDERS]
    assert sorted(sum(waves, ())) == list(range(24))


def test_client_order_ids_are_derived_so_that_the_same_order_is_recognised() -> None:
    world = World(partition())
    world.offer(*((f"EV-{n}", YES, 30, 20 + n) for n in range(3)))
    basket = world.propose(*(leg(f"EV-{n}", YES, 10, 30) for n in range(3)))
    assert world.risk.run(basket.basket_id, 1).accepted
    row = world.row(basket.basket_id)
    (first,) = row.orders
    assert first.request.client_order_id == client_order_id(basket.basket_id, 0, 0) == f"{basket.basket_id}-0-0"
    assert (first.wave, first.purpose, first.state) == (0, Purpose.ENTER, OrderState.PLANNED)
    assert first.request.time_in_force is TimeInForce.FILL_OR_KILL
    later = entry_orders(row, (1, 2), world.clock.now_ms())
    assert [order.request.client_order_id[-4:] for order in later] == ["-1-0", "-2-0"]
    assert {order.wave for order in later} == {1}
    assert {order.request.time_in_force for order in later} == {TimeInForce.IMMEDIATE_OR_CANCEL}


def test_a_withdrawn_plan_never_reached_the_exchange() -> None:
    world = World(partition())
    world.offer(*((f"EV-{n}", YES, 30, 20) for n in range(3)))
    basket = world.propose(*(leg(f"EV-{n}", YES, 10, 30) for n in range(3)))
    world.risk.run(basket.basket_id, 1)
    (order,) = withdraw(world.row(basket.basket_id)).orders
    assert (order.state, order.rejection, order.booked) == (OrderState.ABSENT, WITHDRAWN, True)
    with pytest.raises(TransitionError):
        moved(order, OrderState.SENT)
