"""What stays held for nobody is found, given back and told; what somebody needs is left alone."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.execution.sweep import SweepReport
from kalshi_arb.ports import AlertKind
from tests.basket_world import YES, World, partition

HOUR_MS = 3_600_000


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer(*((f"EV-{number}", YES, 30, 50) for number in range(3)))
    return world


@pytest.fixture
def basket(world: World) -> Basket:
    return world.propose_bundle()


def told(world: World) -> list[str]:
    return [alert.alert_id for alert in world.notifier.published if alert.kind is AlertKind.ERROR]


def test_a_live_basket_and_a_lock_keep_what_they_hold(world: World, basket: Basket) -> None:
    world.risk.run(basket.basket_id, 1)
    before = world.reservations.used()
    assert world.sweeper.run() == SweepReport(0, 0, 0)
    assert world.reservations.used() == before
    world.drive(basket.basket_id)
    kept = world.reservations.used()
    assert kept
    assert world.sweeper.run().leaked == 0
    assert world.reservations.used() == kept
    assert not told(world)


def test_a_check_that_reserved_after_the_end_leaves_nothing(world: World, basket: Basket) -> None:
    """A check slept while another attempt refused the basket, and reserved then."""
    world.status.put("control", {"stop": True})
    world.risk.run(basket.basket_id, 1)
    world.reservations.reserve(basket.basket_id, {"market#EV-0": 5, "open#baskets": 1}, {})
    assert world.sweeper.run() == SweepReport(0, 0, 1)
    assert world.reservations.used() == {}
    assert told(world) == [f"leak-{basket.basket_id}"]
    (alert,) = world.notifier.published
    assert "market#EV-0 5, open#baskets 1" in alert.text
    assert world.sweeper.run().leaked == 0
    assert world.status.counters("sweeper")["leaked"] == 1


def test_a_reservation_of_a_basket_that_never_was_is_given_back(world: World) -> None:
    world.reservations.reserve("nobody", {"cash#0": 5}, {})
    assert world.sweeper.run().leaked == 1
    assert world.reservations.used() == {}


def test_a_lock_gives_back_only_what_trading_needed(world: World, basket: Basket) -> None:
    world.drive(basket.basket_id)
    kept = dict(world.reservations.held[basket.basket_id])
    world.reservations.held[basket.basket_id]["open#baskets"] = 1
    assert world.sweeper.run().leaked == 1
    assert world.reservations.held[basket.basket_id] == kept


def test_what_is_given_back_between_two_looks_is_no_leak(
    world: World, basket: Basket, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.risk.run(basket.basket_id, 1)
    row = world.row(basket.basket_id)
    read = world.baskets.get

    def ends_now(basket_id: str) -> Basket | None:
        if basket_id in world.reservations.held:
            world.reservations.release(basket_id)
            world.baskets.save(replace(row, state=BasketState.REFUSED))
        return read(basket_id)

    monkeypatch.setattr(world.baskets, "get", ends_now)
    assert world.sweeper.run().leaked == 0
    assert not told(world)


def test_a_lease_without_a_live_basket_is_given_back(world: World, basket: Basket) -> None:
    del world.baskets._baskets[basket.basket_id]
    assert world.sweeper.run().leaked == 1
    assert not world.baskets.owners
    assert told(world) == [f"leak-lease-{basket.basket_id}"]


def test_a_mark_is_forgotten_when_no_candidate_can_be_that_old(world: World, basket: Basket) -> None:
    world.drive(basket.basket_id)
    (lease,) = world.baskets.leases()
    world.clock.advance(lease.mark_ms + HOUR_MS - world.clock.now_ms())
    world.sweeper.run()
    assert world.baskets.leases() == [lease]
    world.clock.advance(1)
    world.sweeper.run()
    assert world.baskets.leases() == []
    assert not told(world)


def test_sums_that_differ_twice_in_the_same_way_are_told(
    world: World, basket: Basket, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.risk.run(basket.basket_id, 1)
    read = world.reservations.holdings
    off = {"cash#0": 7}

    def drifted() -> object:
        held = read()
        return replace(held, used={**held.used, **{key: held.used[key] + off[key] for key in off}})

    monkeypatch.setattr(world.reservations, "holdings", drifted)
    world.sweeper.run()
    assert not told(world), "once can be a pass between two writes"
    world.sweeper.run()
    assert [one.partition("-")[0] for one in told(world)] == ["sums"]
    assert "cash#0 7" in world.notifier.published[-1].text
    assert world.status.counters("sweeper")["sums_differ"] == 1
    off.clear()
    world.sweeper.run()
    world.sweeper.run()
    assert len(told(world)) == 1
