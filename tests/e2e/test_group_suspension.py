"""A strike, then a rule sentence changes under the whole local system: suspended, told, seen by the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from kalshi_arb.cli.alerts import RECEIVED_FILE
from kalshi_arb.cli.local_state import RunState, read_run_state
from kalshi_arb.cli.main import cli

pytestmark = pytest.mark.e2e

PATIENCE_S = 90.0
ROOM_MS = 30_000


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """Poll until something is there; how long it takes is the machine's business, that it comes is ours."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(0.2)
    pytest.fail(f"{what} did not come within {PATIENCE_S:.0f} s")


class System:
    """A running system as its owner reaches it."""

    def __init__(self, folder: Path, state: RunState) -> None:
        self.folder = folder
        self.state = state

    def command(self, *arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(cli, ["relations", *arguments, "--folder", str(self.folder), "--json"])
        assert done.exit_code == 0, done.output
        answer: dict[str, Any] = json.loads(done.output)
        return answer

    def steps(self, group_id: str, since_ms: int) -> list[dict[str, Any]]:
        """What became of a group since a moment, oldest first."""
        history: list[dict[str, Any]] = self.command("history", group_id)["history"]
        return [row for row in reversed(history) if row["at_ms"] >= since_ms]

    def change(self, *faults: dict[str, Any]) -> None:
        answer = httpx.post(f"{self.state.exchange_url}/admin/faults", json={"faults": list(faults)}, timeout=20)
        answer.raise_for_status()

    def market(self, ticker: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.state.exchange_url}/trade-api/v2/markets/{ticker}", timeout=20)
        answer.raise_for_status()
        market: dict[str, Any] = answer.json()["market"]
        return market

    def alerts(self, *parts: str) -> list[str]:
        path = self.folder / RECEIVED_FILE
        lines = path.read_text().splitlines() if path.exists() else []
        texts = [str(json.loads(line)["text"]) for line in lines]
        return [text for text in texts if all(part in text for part in parts)]

    def youngest_ladder(self) -> dict[str, Any] | None:
        """An active ladder that has the longest time before it, as it is shown."""
        rows = [row for row in self.command("list")["groups"] if row["standing"] == "active"]
        ladders = [row for row in rows if row["family"] == "ladder"]
        if not ladders:
            return None
        return self.command("show", max(ladders, key=lambda row: int(row["closes_ms"]))["id"])


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("run")
    log = (folder / "runner.log").open("w")
    process = subprocess.Popen(
        [*(sys.executable, "-m", "kalshi_arb.cli", "run", "--json", "--folder", str(folder)), "--seed", "5"],
        stdout=subprocess.DEVNULL,
        stderr=log,
        env={name: value for name, value in os.environ.items() if not name.startswith("KALSHI_ARB_")},
    )
    try:
        state = wait_for("the run's state", lambda: process.poll() is None and read_run_state(folder))
        yield System(folder, state)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        sys.stderr.write((folder / "runner.log").read_text()[-3000:])


def test_a_strike_that_changes_suspends_its_group_and_tells_the_difference(system: System) -> None:
    view = wait_for("an accepted ladder", system.youngest_ladder)
    # The end of the ladder, moved outwards: its order stays what it was.
    ladder = [market for market in view["markets"] if market["floor"] is not None]
    hardest = max(ladder, key=lambda market: float(market["floor"]))
    strike = str(int(float(hardest["floor"])) + 1_000)
    changed_ms = time.time_ns() // 1_000_000
    system.change({"fault": "strike_changed", "market": hardest["ticker"], "floor": strike})
    assert str(system.market(hardest["ticker"])["floor_strike"]) == strike

    def changed() -> list[dict[str, Any]]:
        steps = system.steps(view["id"], changed_ms)
        return steps if any(step["what"] in ("replaced", "gone") for step in steps) else []

    steps = wait_for("the change in the group's history", changed)
    assert steps[0]["what"] == "suspended"
    assert hardest["ticker"] in steps[0]["words"][0]
    sys.stderr.write(f"suspended {steps[0]['at_ms'] - changed_ms} ms after the strike changed\n")
    assert steps[0]["at_ms"] < changed_ms + ROOM_MS
    assert any(f"to {strike}." in sentence for step in steps for sentence in step["words"])
    wait_for("the alert", lambda: system.alerts(view["id"], "Floor strike", f"to {strike}."))


def test_a_sentence_that_changes_is_found_without_a_message(system: System) -> None:
    view = wait_for("an accepted ladder", system.youngest_ladder)
    ticker = view["markets"][0]["ticker"]
    changed_ms = time.time_ns() // 1_000_000
    system.change({"fault": "rules_changed", "market": ticker, "rules": "Another sentence decides now."})

    def suspended() -> list[dict[str, Any]]:
        return [step for step in system.steps(view["id"], changed_ms) if step["what"] == "suspended"]

    (step,) = wait_for("the suspension in the group's history", suspended)
    assert any(f"Rules text of {ticker} changed" in sentence for sentence in step["words"])
    sys.stderr.write(f"suspended {step['at_ms'] - changed_ms} ms after the sentence changed\n")
    assert step["at_ms"] < changed_ms + 60_000 + ROOM_MS
    wait_for("the alert", lambda: system.alerts(view["id"], "Rules text", ticker))
