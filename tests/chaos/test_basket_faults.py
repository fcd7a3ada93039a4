"""Baskets whose answers are lost, whose attempts overlap and whose tasks run twice, each wherever it can be.

Whatever happens, it ends, nothing is executed twice, the ledger is the exchange's account to 1e-6 dollars, and the
loss stays inside the bound that was computed before anything was sent. Deaths and what chance brings are in
``test_chaos.py``.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import LIVE_STATES, BasketState
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.portfolio import TimeInForce
from kalshi_arb.fakes import Fault
from tests.basket_world import NO, YES, World, handed_out, ladder, leg, partition


def buy_all(**options: object) -> tuple[World, str]:
    """All of a partition for 90 cents, with bids to sell back to."""
    world = World(partition(), **options)  # type: ignore[arg-type]
    world.offer_bundle()
    world.offer(("EV-0", NO, 75, 50), ("EV-1", NO, 75, 50), ("EV-2", NO, 75, 50))
    basket = world.propose(leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30), leg("EV-2", YES, 10, 30))
    return world, basket.basket_id


def cross_ladder() -> tuple[World, str]:
    """The easier strike's YES and the harder strike's NO for 85 cents: at least one pays."""
    world = World(ladder())
    world.offer(("LD-0", YES, 45, 30), ("LD-2", NO, 40, 12), ("LD-0", NO, 60, 9), ("LD-2", YES, 65, 20))
    basket = world.propose(leg("LD-0", YES, 12, 45), leg("LD-2", NO, 12, 40))
    return world, basket.basket_id


def fading(world: World, ticker: str) -> None:
    """After the first batch, the ticker has nothing left but one contract."""

    def fade(orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.caps[ticker] = Count(100)

    world.exchange.before_place = fade


def vanishing(world: World, ticker: str) -> None:
    """With the second batch, a book loses all it offers."""

    def vanish(orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.set_book(ticker)

    world.exchange.before_place = vanish


SCENARIOS: dict[str, Callable[[], tuple[World, str]]] = {
    "all goes well": buy_all,
    "cent account": lambda: buy_all(precision=Precision.CENT),
    "ladder": cross_ladder,
    "a leg fades": lambda: prepared(fading, "EV-2"),
    "a book vanishes": lambda: prepared(vanishing, "EV-2"),
}


def prepared(fault: Callable[[World, str], None], ticker: str) -> tuple[World, str]:
    """The partition with a fault of the market set up."""
    world, basket_id = buy_all()
    fault(world, ticker)
    return world, basket_id


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("call", range(6))
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
@pytest.mark.parametrize("lag", [0, 1_500])
def test_any_answer_lost_at_any_batch(name: str, call: int, fault: Fault, lag: int) -> None:
    world, basket_id = SCENARIOS[name]()
    world.exchange.read_lag_ms = lag
    world.exchange.faults.extend([Fault.NONE] * call + [fault])
    world.drive(basket_id)
    world.clock.advance(lag)
    world.assert_ended_well(basket_id)


def test_the_first_wave_goes_alone_and_fill_or_kill() -> None:
    world, basket_id = buy_all()
    world.drive(basket_id)
    first, second = world.exchange.batches
    assert [order.time_in_force for order in first] == [TimeInForce.FILL_OR_KILL]
    assert first[0].ticker == "EV-0"
    assert {order.time_in_force for order in second} == {TimeInForce.IMMEDIATE_OR_CANCEL}
    assert len(second) == 2


def test_a_basket_that_fills_whole_is_a_lock_that_earns_what_was_promised() -> None:
    world, basket_id = buy_all()
    row = world.drive(basket_id)
    assert row.state is BasketState.LOCK
    assert row.locked_profit is not None
    assert row.locked_profit >= row.expected_profit > 0


def sleeping_at(world: World, basket_id: str, call: int, pause_ms: int) -> Callable[[], str]:
    """The first attempt's process sleeps at a port call while a second attempt takes over and finishes."""
    asleep = False

    def sleep() -> str:
        nonlocal asleep
        # A request that is under way longer than its time-out is broken off, so nobody sleeps inside one.
        if world.switch.calls < call or asleep or world.switch.method == "place":
            return ""
        asleep = True
        stale = world.row(basket_id)
        if stale.state in LIVE_STATES:
            world.baskets.save(replace(stale, attempt=stale.attempt + 1))
            world.clock.advance(pause_ms)
            world.execute(basket_id, stale.attempt + 1)
        return ""

    return sleep


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("pause_ms", [0, 400, 21_000])
def test_an_old_attempt_that_wakes_up_after_a_newer_one_ran_changes_nothing(name: str, pause_ms: int) -> None:
    world, basket_id = SCENARIOS[name]()
    world.drive(basket_id)
    for call in range(1, world.switch.calls + 1):
        disturbed, basket_id = SCENARIOS[name]()
        disturbed.switch.chooser = sleeping_at(disturbed, basket_id, call, pause_ms)
        disturbed.drive(basket_id)
        disturbed.assert_ended_well(basket_id)


def twice_at(world: World, basket_id: str, call: int, step: str) -> Callable[[], str]:
    """At a port call, the same task runs once more from start to end."""
    nested = False

    def twice() -> str:
        nonlocal nested
        if world.switch.calls != call or nested:
            return ""
        nested = True
        row = world.row(basket_id)
        if step == "risk":
            world.risk.run(basket_id, row.attempt)
        elif step == "execute":
            for wave in range(row.next_wave()):
                world.executor.run(basket_id, row.attempt, wave)
        else:
            world.assessor.run(basket_id, row.attempt, handed_out(row))
        return ""

    return twice


@pytest.mark.parametrize("step", ["risk", "execute", "assess"])
def test_a_task_that_runs_twice_at_the_same_time_acts_once(step: str) -> None:
    for call in range(1, 40):
        world, basket_id = buy_all()
        world.switch.chooser = twice_at(world, basket_id, call, step)
        row = world.drive(basket_id)
        world.assert_ended_well(basket_id)
        assert row.state in (BasketState.LOCK, BasketState.REFUSED)
