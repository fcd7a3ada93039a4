"""The whole system killed at random moments and started again on what it left: nothing acknowledged is lost.

The long form is ``make crash N=100``.
"""

import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from infra.local.crash import CrashTest, Life, Moment, Plan, is_clean

pytestmark = pytest.mark.e2e

# Of these eight, six are planned with an order under way, one at the start and one at any time.
KILLS, SEED = 8, 6


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Plan(kills=KILLS, folder=tmp_path_factory.mktemp("crash") / "run", seed=SEED)


@pytest.fixture(scope="module")
def figures(plan: Plan) -> Iterator[dict[str, Any]]:
    try:
        yield CrashTest(plan, lambda line: sys.stderr.write(line + "\n")).run()
    finally:
        sys.stderr.write(plan.folder.with_name("run.log").read_text()[-3000:])


def test_it_was_killed_as_often_as_planned_most_often_with_an_order_under_way(figures: dict[str, Any]) -> None:
    assert figures["kills"] == figures["restarts"] == sum(figures["kills_by_moment"].values()) == KILLS
    assert figures["kills_by_moment"][Moment.IN_FLIGHT] >= 3
    assert figures["acknowledged_writes"] > 100
    assert figures["acknowledged_orders"] > 3


def test_open_baskets_were_resumed(figures: dict[str, Any]) -> None:
    assert figures["baskets_resumed"] > 0


def test_no_order_was_sent_twice(figures: dict[str, Any]) -> None:
    assert figures["duplicates"] == 0


def test_the_ledger_is_the_exchanges_account_to_the_last_unit(figures: dict[str, Any]) -> None:
    assert figures["difference_to_exchange"] == 0
    assert figures["positions_that_differ"] == []


def test_nothing_that_was_acknowledged_is_lost(figures: dict[str, Any]) -> None:
    assert figures["acknowledged_writes_lost"] == 0
    assert figures["acknowledged_orders_lost"] == 0
    assert is_clean(figures)


def test_what_a_killed_runner_leaves_behind_is_gone_before_the_next_one_is_ready(
    figures: dict[str, Any], plan: Plan
) -> None:
    assert figures
    orphaned = Life(plan)
    before = orphaned.ready()
    family = psutil.Process(orphaned.process.pid).children(recursive=True)
    assert len(family) > 4
    orphaned.process.kill()
    orphaned.process.communicate()
    heir = Life(plan)
    after = heir.ready()
    try:
        left = [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert left == []
        assert after.api_token == before.api_token
    finally:
        account = heir.stop()
    assert account["ledger_matches_exchange"] is True
