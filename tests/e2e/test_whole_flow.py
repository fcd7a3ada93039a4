"""The whole local system as a person starts it, with the feed and a handler killed while orders are under way."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.whole_system import System, wait_for, whole_system

pytestmark = pytest.mark.e2e


def feed(system: System) -> psutil.Process | None:
    for child in psutil.Process(system.process.pid).children():
        if child.cmdline()[-2:] == ["-m", "feed"]:
            return child
    return None


def handlers(system: System, function: str) -> list[psutil.Process]:
    found = []
    for child in system.members():
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
    # What can be bought stands long enough to be bought on a slow machine too.
    options = ("--seed", "11", "--fade-share", "0.5", "--reply-ms", "400", "--mispricing-ms", "15000")
    with whole_system(folder, *options) as system:
        seen = drive(system)
        ended = system.end()
        # Handlers end when their host closes their pipe: they are given a moment, not a minute.
        _, alive = psutil.wait_procs(seen["members"], timeout=5)
        seen["left_behind"] = [member.name() for member in alive]
        seen["exit_code"], seen["account"] = ended.exit_code, ended.account
        yield seen


def locks(system: System) -> list[dict[str, Any]]:
    """Baskets that ended with every leg complete, settled since or not: what the account counts as locks."""
    ended = system.baskets("lock", "settled")
    return [basket for basket in ended if all(leg["held"] == leg["wanted"] for leg in basket["legs"])]


def drive(system: System) -> dict[str, Any]:
    """Wait for a first lock, kill the feed, then a handler that waits for the exchange's answer; see both mended."""
    seen: dict[str, Any] = {}
    wait_for("a first lock", lambda: locks(system))

    process = wait_for("the feed", lambda: feed(system))
    epoch = system.ask("health")["feed"]["epoch"]
    process.kill()

    def books_right_again() -> bool:
        told = system.ask("health")["feed"]
        return bool(told["epoch"] > epoch and told["connected"] and told["books"] and not told["stale_books"])

    wait_for("right books after the feed was killed", books_right_again)
    seen["epochs"] = (epoch, system.ask("health")["feed"]["epoch"])

    def kill_in_flight() -> bool:
        """The exchange has executed an order whose answer is still under way: kill who waits for it."""
        before = system.ask_exchange("admin/account")["orders"]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if system.ask_exchange("admin/account")["orders"] > before:
                waiting = handlers(system, "kalshi-arb-simulated-execute-wave")
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
    wait_for("a second lock", lambda: len(locks(system)) >= 2)
    seen["faded"] = wait_for("a basket whose leg faded", lambda: system.baskets("flat", "held"))
    wait_for("a settled basket", lambda: system.baskets("settled"))
    seen["exchange"] = system.ask_exchange("admin/account")
    seen["members"] = system.members()
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
    assert finished["faded"]
    for basket in finished["faded"]:
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
