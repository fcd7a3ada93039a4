"""Each stop, set on the deployed stack while its state machine drives a basket: not one more purchase, and a way out.

The answer to a basket's first purchase is held back until the stop is in force, so all that follows comes after it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from unittest.mock import patch

import httpx
import pytest
from click.testing import CliRunner, Result

from infra.chaos.worlds import Shape, WorldPlan
from infra.exchange.account import OrderView
from infra.exchange.living import MEMBER
from infra.exchange.terms import NewOrder
from kalshi_arb import bootstrap
from kalshi_arb.cli.main import cli
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.basket import Basket, BasketState, Purpose
from kalshi_arb.domain.market import Outcome
from kalshi_arb.execution.plan import UNDELIVERED
from tests.integration.local_cloud_support import wait_for
from tests.trading_cloud import TradingCloud, in_the_account, trading_cloud

SEED = 3
STACK = ("--stack", "simulated")
HELD_BACK_S = 60.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TradingCloud]:
    """For each stop a group to be stopped in, and one to trade afterwards."""
    plan = WorldPlan(SEED, (Shape.PARTITION,) * 2 * len(STOPS), cash=50_000, start_ms=SystemClock().now_ms())
    with trading_cloud(tmp_path_factory.mktemp("stops"), plan) as made:
        yield made


@pytest.fixture(autouse=True)
def account(cloud: TradingCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_the_account(cloud, monkeypatch, tmp_path)


def command(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return result


def by_hard_stop(_: TradingCloud) -> None:
    answer = json.loads(command("stop", "--hard", "--reason", "a test", *STACK).stdout)
    assert answer["denied"]
    assert answer["trading"]["stopped"].endswith(", a test")


def by_denial_alone(_: TradingCloud) -> None:
    bootstrap.deployed_stack("simulated").deny()


def by_item_alone(_: TradingCloud) -> None:
    assert json.loads(command("stop", *STACK).stdout)["denied"] is False


def by_page(cloud: TradingCloud) -> None:
    secret = cloud.client("secretsmanager").get_secret_value(SecretId=cloud.report.outputs["ApiTokenSecret"])
    token = json.loads(secret["SecretString"])["token"]
    answer = httpx.post(f"{cloud.report.api_url}/stop", headers={"authorization": f"Bearer {token}"})
    assert answer.json()["trading"]["stopped"] is not None, answer.text


STOPS: tuple[Callable[[TradingCloud], None], ...] = (by_hard_stop, by_denial_alone, by_item_alone, by_page)


@contextmanager
def first_answer_held_back(cloud: TradingCloud, placed: list[NewOrder]) -> Iterator[tuple[Event, Event]]:
    """The exchange notes the member's orders as it takes them, and answers the first one when it is let go."""
    core, taken, go = cloud.world.core, Event(), Event()
    original = core.place

    def place(account_id: str, order: NewOrder) -> OrderView:
        view = original(account_id, order)
        if account_id == MEMBER:
            placed.append(order)
            taken.set()
            go.wait(HELD_BACK_S)
        return view

    with patch.object(core, "place", place):
        try:
            yield taken, go
        finally:
            go.set()


def tasks_of(cloud: TradingCloud, row: Basket) -> list[str]:
    """The states that the basket's executions entered, in their order."""
    workflows = cloud.client("stepfunctions")
    machine = cloud.report.outputs["BasketMachineArn"]
    (arn,) = (
        one["executionArn"]
        for one in workflows.list_executions(stateMachineArn=machine)["executions"]
        if one["name"].startswith(row.basket_id)
    )
    events = workflows.get_execution_history(executionArn=arn, maxResults=1000)["events"]
    return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]


@pytest.mark.parametrize("number", range(len(STOPS)), ids=[stop.__name__ for stop in STOPS])
def test_a_stop_on_the_deployed_stack_ends_the_buying_and_arm_gives_it_back(cloud: TradingCloud, number: int) -> None:
    stop, stopped, later = STOPS[number], 2 * number, 2 * number + 1
    placed: list[NewOrder] = []
    with first_answer_held_back(cloud, placed) as (taken, go):
        cloud.offer(stopped)
        assert taken.wait(HELD_BACK_S), "the first purchase reached the exchange"
        bought = len(placed)
        stop(cloud)
        go.set()
        row = cloud.end_of(stopped)
    after = placed[bought:]
    assert Outcome.YES not in [order.outcome for order in after], "nothing of the bundle was bought any more"
    assert bought < len(row.legs), "it was half filled"
    assert row.state in (BasketState.FLAT, BasketState.HELD)
    sales = [order for order in row.orders if order.purpose is Purpose.UNWIND and order.sent_ms is not None]
    assert [sale.request.count for sale in sales] == [order.count for order in after]
    assert sum(sale.filled for sale in sales) == (row.legs[0].count if row.state is BasketState.FLAT else 0)
    tasks = tasks_of(cloud, row)
    assert "Unwind" in tasks
    # With the denial alone the machine goes to buy once more, and the call fails; a stop keeps it from even trying.
    assert tasks.count("ExecuteWave") == (2 if stop is by_denial_alone else 1)
    assert any(order.rejection == UNDELIVERED for order in row.orders) == (stop is by_denial_alone)
    alerts, ended = cloud.stores.alerts, f"{row.basket_id}-end"
    (told,) = wait_for(lambda: [alert for alert in alerts.recent(100) if alert.alert_id == ended])
    assert row.state.value in told.title

    armed = json.loads(command("arm", "--yes", *STACK).stdout)
    assert armed["denied"] is False
    assert armed["trading"]["stopped"] is None
    cloud.offer(later)
    assert cloud.end_of(later).state is BasketState.LOCK
