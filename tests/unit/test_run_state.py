"""The folder of a run: continued whole, begun anew whole, and named when it is neither; leftovers are ended."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local.errors import StateError
from infra.local.leftovers import ChildRecord
from infra.local.runner import lift_own_stop, set_own_stop
from infra.local.state import Life, StateFolder
from kalshi_arb.execution.control import COMPONENT, read_stop, set_stop
from kalshi_arb.fakes import MemoryStatusStore

DEFAULTS = {"seed": 7, "cash": 10_000}
OPEN = {"seed": None, "cash": None}


def opened(folder: Path, wanted: dict[str, Any] = OPEN, *, fresh: bool = False) -> tuple[Life, list[str]]:
    told: list[str] = []
    return StateFolder(folder).open(wanted, DEFAULTS, fresh=fresh, say=told.append), told


def begun(folder: Path, **wanted: int) -> Life:
    """A state that a run has worked on."""
    state = StateFolder(folder)
    life = state.open({**OPEN, **wanted}, DEFAULTS, fresh=False, say=lambda _: None)
    state.exchange.mkdir(parents=True)
    (state.exchange / "journal").write_text("orders")
    state.journal.mkdir(parents=True)
    (state.journal / "tail").write_text("baskets")
    state.begun()
    return life


def test_a_second_run_continues_with_the_same_choices_and_the_same_token(tmp_path: Path) -> None:
    first = begun(tmp_path, seed=11)
    second, told = opened(tmp_path)
    assert (first.continued, second.continued) == (False, True)
    assert second.choices == {"seed": 11, "cash": 10_000}
    assert second.api_token == first.api_token
    assert len(first.api_token) >= 32
    assert told == []
    assert (tmp_path / "exchange" / "journal").read_text() == "orders"


def test_the_token_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    begun(tmp_path)
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


def test_an_option_that_the_state_overrules_is_told_in_one_line(tmp_path: Path) -> None:
    begun(tmp_path, seed=11)
    life, told = opened(tmp_path, {"seed": 3, "cash": 10_000})
    assert life.choices["seed"] == 11
    assert told == ["--seed 3 is not used: the state goes on with 11; --fresh starts anew"]


def test_fresh_starts_anew_with_nothing_of_the_old(tmp_path: Path) -> None:
    first = begun(tmp_path)
    second, told = opened(tmp_path, {"seed": 3, "cash": None}, fresh=True)
    assert not second.continued
    assert second.choices == {"seed": 3, "cash": 10_000}
    assert second.api_token != first.api_token
    assert not (tmp_path / "exchange").exists()
    assert not any((tmp_path / "cloud").iterdir())
    assert told == []


@pytest.mark.parametrize("phase", ["clearing", "starting"])
def test_a_start_that_was_killed_before_anything_counted_is_begun_again(tmp_path: Path, phase: str) -> None:
    begun(tmp_path)
    content = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**content, "phase": phase}))
    life, _ = opened(tmp_path)
    assert not life.continued
    assert not (tmp_path / "exchange").exists()
    assert not any((tmp_path / "cloud").iterdir())


@pytest.mark.parametrize("half", ["exchange", "cloud/journal"])
def test_one_half_without_the_other_is_named_and_left_alone(tmp_path: Path, half: str) -> None:
    begun(tmp_path)
    for file in (tmp_path / half).iterdir():
        file.unlink()
    with pytest.raises(StateError, match=rf"{half}: .* is gone.*--fresh"):
        opened(tmp_path)
    other = {"exchange": "cloud/journal", "cloud/journal": "exchange"}[half]
    assert any((tmp_path / other).iterdir())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"version": 2, "phase": "sleeping", "choices": {}, "api_token": ""}', "is damaged"),
        ('{"version": 1, "phase": "begun", "choices": {}, "api_token": ""}', "is of version 1, not 2"),
        (None, "is missing beside a state"),
    ],
)
def test_a_state_that_cannot_be_read_is_named_until_fresh(tmp_path: Path, content: str | None, told: str) -> None:
    begun(tmp_path)
    if content is None:
        (tmp_path / "state.json").unlink()
    else:
        (tmp_path / "state.json").write_text(content)
    with pytest.raises(StateError, match=rf"state\.json {told}.*--fresh"):
        opened(tmp_path)
    assert (tmp_path / "exchange" / "journal").exists()
    assert not opened(tmp_path, fresh=True)[0].continued


def test_unpacked_code_outlives_every_state_and_passing_files_outlive_none(tmp_path: Path) -> None:
    begun(tmp_path)
    for name in ("tmp", "handlers"):
        (tmp_path / "cloud" / name / "half").mkdir(parents=True)
    opened(tmp_path)
    assert {path.name for path in (tmp_path / "cloud").iterdir()} == {"journal", "handlers"}
    opened(tmp_path, fresh=True)
    assert {path.name for path in (tmp_path / "cloud").iterdir()} == {"handlers"}


def sleeper(code: str = "import time; time.sleep(60)") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_children_of_a_killed_run_are_ended_with_their_own(tmp_path: Path) -> None:
    with sleeper(PARENT) as child:
        assert child.stdout is not None
        grandchild = psutil.Process(int(child.stdout.readline()))
        ChildRecord(tmp_path).add(child.pid)
        assert ChildRecord(tmp_path).end_all() == 1
        assert not psutil.pid_exists(child.pid)
        assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    assert ChildRecord(tmp_path).end_all() == 0


def test_a_stranger_who_has_the_number_of_a_child_by_now_is_left_alone(tmp_path: Path) -> None:
    with sleeper() as stranger:
        record = tmp_path / "children.jsonl"
        record.write_text(json.dumps({"pid": stranger.pid, "born": 1.0}) + '\n{"pid": 1')
        assert ChildRecord(tmp_path).end_all() == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_child_that_has_ended_needs_no_ending(tmp_path: Path) -> None:
    with sleeper("") as child:
        child.wait()
    ChildRecord(tmp_path).add(child.pid)
    ChildRecord(tmp_path).add(os.getpid())
    (tmp_path / "children.jsonl").write_text("")
    assert ChildRecord(tmp_path).end_all() == 0


def test_a_run_takes_back_the_stop_of_the_one_before() -> None:
    status = MemoryStatusStore()
    set_own_stop(status, now_ms=1)
    assert read_stop(status).stopped
    lift_own_stop(status, now_ms=2)
    assert not read_stop(status).stopped


def test_the_stop_of_a_person_outlives_every_run() -> None:
    status = MemoryStatusStore()
    set_stop(status, by="somebody", reason="", now_ms=1)
    set_own_stop(status, now_ms=2)
    assert read_stop(status).by == "somebody"
    lift_own_stop(status, now_ms=3)
    assert read_stop(status).stopped


def test_a_state_without_a_stop_has_nothing_to_take_back() -> None:
    status = MemoryStatusStore()
    lift_own_stop(status, now_ms=1)
    assert status.get(COMPONENT) is None
