"""The whole local system as a person starts it, with the feed and a handler killed while orders are under way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kalshi_arb.cli.local_state import RunState, read_run_state

pytestmark = pytest.mark.e2e

PATIENCE_S = 90.0


def wait_for(what: str, found: Callable[[], Any], seconds: float = PATIENCE_S, pause: float = 0.1) -> Any:
    """Poll until something is there; how long it takes is the machine's business, that it comes is ours."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(pause)
    pytest.fail(f"{what} did not come within {seconds:.0f} s")


@dataclass
class System:
    """A running system as its owner reaches it."""

    process: subprocess.Popen[str]
    state: RunState
    folder: Path

    def ask(self, path: str) -> dict[str, Any]:
        answer = httpx.get(
            self.state.api_url + path, headers={"authorization": f"Bearer {self.state.api_token}"}, timeout=20
        )
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def exchange_account(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.state.exchange_url}/admin/account", timeout=20)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def baskets(self, *states: str) -> list[dict[str, Any]]:
        return [basket for basket in self.ask("baskets")["baskets"] if basket["state"] in states]

    def feed(self) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children():
            if child.cmdline()[-2:] == ["-m", "feed"]:
                return child
        return None

    def handlers(self, function: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                # The kernel keeps fifteen characters of a title: the end of the function's name.
                if child.name() == function[-15:]:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Start once, kill twice, end with Ctrl-C; yields what was seen on the way and the final account."""
    folder = tmp_path_factory.mktemp("run")
    log = (folder / "runner.log").open("w")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kalshi_arb.cli", "run", "--json", "--folder", str(folder)),
            *("--seed", "11", "--fade-share", "0.5", "--reply-ms", "400"),
        ],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("KALSHI_ARB_")},
    )
    try:
        state = wait_for("the run's state", lambda: process.poll() is None and read_run_state(folder))
        seen = drive(System(process, state, folder))
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        out, _ = process.communicate(timeout=60)
        seen["seconds_to_stop"] = time.monotonic() - asked
        seen["exit_code"] = process.returncode
        # Handlers end when their host closes their pipe: they are given a moment, not a minute.
        _, alive = psutil.wait_procs(seen["members"], timeout=5)
        seen["left_behind"] = [member.name() for member in alive]
        seen["account"] = json.loads(out)
        yield seen
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        log.close()
        sys.stderr.write((folder / "runner.log").read_text()[-3000:])


def drive(system: System) -> dict[str, Any]:
    """Wait for a first lock, kill the feed, then a handler that waits for the exchange's answer; see both mended."""
    seen: dict[str, Any] = {}
    wait_for("a first lock", lambda: system.baskets("lock", "settled"))

    feed = wait_for("the feed", system.feed)
    epoch = system.ask("health")["feed"]["epoch"]
    feed.kill()

    def books_right_again() -> bool:
        told = system.ask("health")["feed"]
        return bool(told["epoch"] > epoch and told["connected"] and told["books"] and not told["stale_books"])

    wait_for("right books after the feed was killed", books_right_again)
    seen["epochs"] = (epoch, system.ask("health")["feed"]["epoch"])

    def kill_in_flight() -> bool:
        """The exchange has executed an order whose answer is still under way: kill who waits for it."""
        before = system.exchange_account()["orders"]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if system.exchange_account()["orders"] > before:
                waiting = system.handlers("kalshi-arb-simulated-execute-wave")
                for handler in waiting:
                    handler.kill()
                return bool(waiting)
            time.sleep(0.01)
        return False

    wait_for("an order in flight", kill_in_flight)
    live = wait_for("a basket in flight", lambda: system.baskets("executing", "unwinding", "lock", "flat", "held"))
    seen["hit"] = live[0]["basket_id"]
    wait_for(
        "the end of every basket that was live",
        lambda: not {b["basket_id"] for b in live} & {b["basket_id"] for b in system.baskets("executing", "unwinding")},
    )
    wait_for("a second lock", lambda: len(system.baskets("lock", "settled")) >= 2)
    wait_for("a basket whose leg faded", lambda: system.baskets("flat", "held"))
    wait_for("a settled basket", lambda: system.baskets("settled"))
    seen["baskets"] = system.ask("baskets")["baskets"]
    seen["exchange"] = system.exchange_account()
    seen["members"] = psutil.Process(system.process.pid).children(recursive=True)
    return seen


def test_no_order_was_sent_twice(finished: dict[str, Any]) -> None:
    exchange = finished["exchange"]
    assert exchange["orders"] > 3
    assert exchange["duplicate_order_attempts"] == 0
    assert set(exchange["attempts_by_client_order_id"].values()) == {1}


def test_the_feed_came_back_as_a_new_writer_with_right_books(finished: dict[str, Any]) -> None:
    before, after = finished["epochs"]
    assert after > before


def test_a_faded_leg_costs_no_more_than_was_computed_before(finished: dict[str, Any]) -> None:
    faded = [basket for basket in finished["baskets"] if basket["state"] in ("flat", "held")]
    assert faded
    for basket in faded:
        assert float(basket["locked_profit"]) >= -float(basket["largest_loss"]), basket["basket_id"]


def test_the_account_balances_after_all_of_it(finished: dict[str, Any]) -> None:
    account = finished["account"]
    assert account["ledger_matches_exchange"] is True
    assert account["aws_resources"]["missing"] == []
    assert account["aws_resources"]["declared"] == account["aws_resources"]["created"] > 50
    assert account["baskets"]["lock"] >= 2
    assert account["baskets"]["settled"] >= 1
    assert float(account["locked_profit"]) >= float(account["expected_profit"]) > 0


def test_ctrl_c_ends_it_cleanly_and_leaves_nothing_running(finished: dict[str, Any]) -> None:
    assert finished["exit_code"] == 0
    assert finished["left_behind"] == []


def test_the_account_has_the_fields_that_readers_rely_on(finished: dict[str, Any]) -> None:
    assert set(finished["account"]) == {
        "mode", "exchange", "seconds", "frames", "books", "groups", "candidates", "opportunities", "baskets",
        "expected_profit", "locked_profit", "settled_profit", "ledger_matches_exchange", "ledger_minus_exchange",
        "aws_resources", "alerts",
        "latency_ms",
    }  # fmt: skip
    assert finished["account"]["mode"] == "simulated"


def test_two_runs_in_one_folder_and_a_port_in_use_are_refused_with_one_line(tmp_path: Path) -> None:
    import fcntl
    import socket

    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("w") as held, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "kalshi_arb.cli", "run", "--seconds", "5", "--folder", str(tmp_path)]
        done = subprocess.run([*command, "--port", str(port)], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert f"port {port} is in use" in done.stderr
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert "kalshi-arb end" in done.stderr
        assert "Traceback" not in done.stderr
