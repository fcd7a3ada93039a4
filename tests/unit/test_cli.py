"""The command line: what it says, and with which exit code it ends."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kalshi_arb.cli.control import status_lines
from kalshi_arb.cli.local_state import LOCK_FILE, RunState, clear_run_state, read_run_state, write_run_state
from kalshi_arb.domain.errors import SettingsError
from tests.command_line import kalshi_arb


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kalshi_arb.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = process("--help")
    assert done.returncode == 0
    for word in ("run", "status", "stop", "arm", "abandon", "end", "doctor", "Exit codes"):
        assert word in done.stdout


@pytest.mark.parametrize("arguments", [("--no-such-option",), ("no-such-command",), ("run", "--seconds", "soon")])
def test_wrong_use_ends_with_2_and_says_what_is_wrong(arguments: tuple[str, ...]) -> None:
    done = kalshi_arb(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["status", "stop", "arm", "abandon", "end"])
def test_commands_for_a_run_that_is_not_there_say_so(command: str, tmp_path: Path) -> None:
    done = kalshi_arb(command, "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "kalshi-arb run" in done.stderr


def test_a_malformed_setting_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    done = process("run", "--seconds", "5", "--folder", str(tmp_path), KALSHI_ARB_BOOK_DEPTH="deep")
    assert done.returncode == 1
    assert done.stderr.startswith("error: settings cannot be used: KALSHI_ARB_BOOK_DEPTH")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    done = kalshi_arb("run", "--seconds", "5", "--folder", str(tmp_path), KALSHI_ARB_BOOK_DEPHT="20")
    assert done.returncode == 1
    assert "unknown setting KALSHI_ARB_BOOK_DEPHT" in done.stderr


def test_doctor_finds_this_machine_fit_and_an_unknown_setting_not() -> None:
    healthy = json.loads(kalshi_arb("doctor", "--json").stdout)
    assert {check["check"] for check in healthy["checks"]} >= {"python", "packages", "memory", "loopback", "settings"}
    done = kalshi_arb("doctor", "--json", KALSHI_ARB_TYPO="1")
    assert done.returncode == 1
    broken = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert not broken["settings"]["ok"]
    assert "KALSHI_ARB_TYPO" in broken["settings"]["found"]


def test_the_run_state_is_private_and_forgotten_when_its_process_is_gone(tmp_path: Path) -> None:
    state = RunState(os.getpid(), "simulated", "http://127.0.0.1:2", "http://127.0.0.1:1/", "secret", 1)
    write_run_state(tmp_path, state)
    assert (tmp_path / "run.json").stat().st_mode & 0o077 == 0
    assert read_run_state(tmp_path) is None, "nobody holds the lock: the process id is a stranger's by now"
    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run_state(tmp_path) == state
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_run_state(
        tmp_path, RunState(ended.pid, "simulated", "http://127.0.0.1:2", "http://127.0.0.1:1/", "secret", 1)
    )
    assert read_run_state(tmp_path) is None
    clear_run_state(tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_status_says_plainly_what_is_wrong() -> None:
    state = RunState(7, "simulated", "http://127.0.0.1:2", "http://127.0.0.1:1/", "secret", 1)
    fine = {
        "feed": {"connected": True, "frames": 5, "books": 2, "stale_books": 0, "gaps": 0},
        "discovery": {"groups": {"ladder": 3}},
        "trading": {"stopped": None},
        "account": {"matches": True},
        "counters": {"risk": {"accepted": 2, "refused.depth": 1}},
        "alerts": [{"title": "Basket ended: lock"}],
    }
    text = "\n".join(status_lines(state, fine))
    for part in ("connected, 5 frames", "ladder 3", "allowed", "equals", "accepted 2, refused.depth 1", "ended: lock"):
        assert part in text
    netted = "\n".join(status_lines(state, {**fine, "account": {"matches": True, "returned": "3.500000"}}))
    assert "equals the exchange's account, $3.50 of returned collateral in both" in netted
    assert "collateral" not in text
    bad = "\n".join(status_lines(state, {"account": {"matches": False}, "trading": {"stopped": "stopped: by ann"}}))
    for part in ("NOT CONNECTED", "DIFFERS", "stopped: by ann"):
        assert part in bad


def test_a_foreign_run_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"something": "else"}')
    with pytest.raises(SettingsError, match="remove it"):
        read_run_state(tmp_path)
