"""Schedules of the virtual-time harness on the embedded AWS: the real interpreter, tables and functions end alike.

Faults strike by the count of a basket's own order calls, so they strike the same calls in real time. A few run with
every change; KALSHI_ARB_CHAOS_ON_CLOUD=30 runs that many.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from infra.chaos.run import Run, Schedule
from infra.chaos.schedules import bases
from infra.chaos.worlds import Shape, Site, World, WorldPlan
from infra.checks.template import Template
from infra.exchange.faults import ORDERS, BookThinned, Fault, HttpError, MarketClosed, ReplyLost
from infra.exchange.living import MEMBER
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.portfolio import net_positions
from kalshi_arb.execution.audit import ACCOUNT
from tests.integration.local_cloud_support import wait_for
from tests.trading_cloud import ROOT, TradingCloud, trading_cloud

pytestmark = pytest.mark.e2e

RUNS = int(os.environ.get("KALSHI_ARB_CHAOS_ON_CLOUD", "3"))
WARM_UP = 1
QUEUES = list(Template.read(ROOT / "template.yaml").of_type("AWS::SQS::Queue"))
SEED = 11


def plan(start_ms: int) -> WorldPlan:
    """A group for each schedule, and one to warm the functions up; all of them on one exchange."""
    chance = Random(SEED)
    shapes = (Shape.PARTITION, Shape.EXCLUSIVE, Shape.LADDER, Shape.MIRROR)
    sites = tuple(chance.choice(shapes) for _ in range(RUNS + WARM_UP))
    return WorldPlan(SEED, sites, cash=50_000, start_ms=start_ms)


def faults_of(site: Site, number: int) -> tuple[Fault, ...]:
    """What goes wrong with the orders of one group."""
    tickers = site.group.tickers
    own = ORDERS.__class__(methods=ORDERS.methods, paths=ORDERS.paths, markets=tickers)
    thinned = tuple(
        BookThinned(markets=(ticker,), outcome=outcome, before=own, skip=1, leave=f"{number % 5}.00")
        for ticker, outcome in zip(tickers, site.outcomes, strict=True)
    )
    choices: tuple[tuple[Fault, ...], ...] = (
        (),
        thinned,
        (ReplyLost(scope=own, skip=1),),
        (MarketClosed(markets=tickers, before=own, skip=1),),
        (HttpError(scope=own, status=503, executed=True),),
        (MarketClosed(markets=tickers, before=own),),
        (*thinned, ReplyLost(scope=own, skip=2)),
        (HttpError(scope=own, status=429, skip=1),),
        (ReplyLost(scope=own, executed=False),),
    )
    return () if number < WARM_UP else choices[number % len(choices)]


Figures = tuple[object, ...]


def figures(row: Basket) -> Figures:
    """What a basket ended with: its state, its worst case, and what every order that was sent did and cost."""
    orders = tuple(
        (order.leg, order.purpose.value, order.state.value, order.filled, order.cost, order.fee)
        for order in row.orders
        if order.sent_ms is not None
    )
    return row.state.value, row.locked_profit, row.exposure_bound, tuple(row.legs), orders


def in_virtual_time(number: int) -> Figures:
    """The same group, with the same faults, in the harness."""

    def faults(world: World, _: Random) -> list[Fault]:
        return list(faults_of(world.sites[number], number))

    lock = bases()["lock"]
    (delivery,) = lock.deliveries
    schedule: Schedule = replace(
        lock, name="cloud", world=plan(lock.world.start_ms), deliveries=(replace(delivery, site=number),), faults=faults
    )
    result = Run(schedule).result()
    assert result.problems == ()
    (row,) = result.rows
    return figures(row)


def on_the_cloud(cloud: TradingCloud, number: int) -> Figures:
    """Let a candidate of a group arrive, with its faults armed, and wait for its basket's end."""
    armed = faults_of(cloud.world.sites[number], number)
    if armed:
        cloud.served.arm(*armed)
    cloud.offer(number)
    row = cloud.end_of(number)
    if armed:
        cloud.served.disarm()
    return figures(row)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TradingCloud]:
    with trading_cloud(tmp_path_factory.mktemp("chaos"), plan(SystemClock().now_ms())) as made:
        # What is compared with the exchange here is compared because a basket has ended.
        made.client("scheduler").delete_schedule(Name="kalshi-arb-simulated-settlement")
        for number in range(WARM_UP):
            on_the_cloud(made, number)
        yield made


@pytest.mark.parametrize("number", range(WARM_UP, WARM_UP + RUNS))
def test_a_schedule_ends_on_the_local_cloud_as_in_virtual_time(cloud: TradingCloud, number: int) -> None:
    began = time.monotonic()
    assert on_the_cloud(cloud, number) == in_virtual_time(number), f"after {time.monotonic() - began:.1f} s"


def test_soon_after_a_basket_the_books_are_compared_with_the_exchange(cloud: TradingCloud) -> None:
    """Close asks, the queue waits until reads do not trail the basket any more, and settlement compares."""
    ended_ms = max(row.updated_ms for row in cloud.stores.baskets.recent(100))

    def compared() -> dict[str, object] | None:
        told = cloud.stores.status.get(ACCOUNT) or {}
        return told if int(str(told.get("checked_ms", 0))) > ended_ms else None

    told = wait_for(compared)
    delay_ms = 1_000 * next(body["DelaySeconds"] for name, body in QUEUES if name == "AuditsQueue")
    assert told["checked_ms"] >= ended_ms + delay_ms
    assert told["matches"] is True
    assert told["balance"] == told["ledger"]
    held = net_positions(cloud.stores.ledger.all())
    account = cloud.world.core.accounts[MEMBER]
    assert held == {ticker: own.count for ticker, own in account.positions.items() if own.count}
