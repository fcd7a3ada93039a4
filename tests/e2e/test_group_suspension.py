"""A strike, then a rule sentence changes under the whole local system: suspended, told, seen by the command line."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from kalshi_arb.cli.main import cli
from tests.whole_system import System, wait_for, whole_system

pytestmark = pytest.mark.e2e

ROOM_MS = 30_000


def relations(system: System, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["relations", *arguments, "--folder", str(system.folder), "--json"])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.output)
    return answer


def steps_of(system: System, group_id: str, since_ms: int) -> list[dict[str, Any]]:
    """What became of a group since a moment, oldest first."""
    history: list[dict[str, Any]] = relations(system, "history", group_id)["history"]
    return [row for row in reversed(history) if row["at_ms"] >= since_ms]


def change(system: System, *faults: dict[str, Any]) -> None:
    answer = httpx.post(f"{system.state.exchange_url}/admin/faults", json={"faults": list(faults)}, timeout=20)
    answer.raise_for_status()


def youngest_ladder(system: System) -> dict[str, Any] | None:
    """An active ladder that has the longest time before it, as it is shown."""
    rows = [row for row in relations(system, "list")["groups"] if row["standing"] == "active"]
    ladders = [row for row in rows if row["family"] == "ladder"]
    if not ladders:
        return None
    return relations(system, "show", max(ladders, key=lambda row: int(row["closes_ms"]))["id"])


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with whole_system(tmp_path_factory.mktemp("run"), "--seed", "5") as running:
        yield running


def test_a_strike_that_changes_suspends_its_group_and_tells_the_difference(system: System) -> None:
    view = wait_for("an accepted ladder", lambda: youngest_ladder(system))
    # The end of the ladder, moved outwards: its order stays what it was.
    ladder = [market for market in view["markets"] if market["floor"] is not None]
    hardest = max(ladder, key=lambda market: float(market["floor"]))
    strike = str(int(float(hardest["floor"])) + 1_000)
    changed_ms = time.time_ns() // 1_000_000
    change(system, {"fault": "strike_changed", "market": hardest["ticker"], "floor": strike})
    shown = system.ask_exchange(f"trade-api/v2/markets/{hardest['ticker']}")["market"]
    assert str(shown["floor_strike"]) == strike

    def changed() -> list[dict[str, Any]]:
        steps = steps_of(system, view["id"], changed_ms)
        return steps if any(step["what"] in ("replaced", "gone") for step in steps) else []

    steps = wait_for("the change in the group's history", changed)
    assert steps[0]["what"] == "suspended"
    assert hardest["ticker"] in steps[0]["words"][0]
    sys.stderr.write(f"suspended {steps[0]['at_ms'] - changed_ms} ms after the strike changed\n")
    assert steps[0]["at_ms"] < changed_ms + ROOM_MS
    assert any(f"to {strike}." in sentence for step in steps for sentence in step["words"])
    wait_for("the alert", lambda: system.told(view["id"], "Floor strike", f"to {strike}."))


def test_a_sentence_that_changes_is_found_without_a_message(system: System) -> None:
    view = wait_for("an accepted ladder", lambda: youngest_ladder(system))
    ticker = view["markets"][0]["ticker"]
    changed_ms = time.time_ns() // 1_000_000
    change(system, {"fault": "rules_changed", "market": ticker, "rules": "Another sentence decides now."})

    def suspended() -> list[dict[str, Any]]:
        return [step for step in steps_of(system, view["id"], changed_ms) if step["what"] == "suspended"]

    (step,) = wait_for("the suspension in the group's history", suspended)
    assert any(f"Rules text of {ticker} changed" in sentence for sentence in step["words"])
    sys.stderr.write(f"suspended {step['at_ms'] - changed_ms} ms after the sentence changed\n")
    assert step["at_ms"] < changed_ms + 60_000 + ROOM_MS
    wait_for("the alert", lambda: system.told(view["id"], "Rules text", ticker))
