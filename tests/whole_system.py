"""`kalshi-arb run` as a person starts it, and the running system as its owner reaches it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kalshi_arb.cli.alerts import RECEIVED_FILE
from kalshi_arb.cli.local_state import RunState, read_run_state

PATIENCE_S = 90.0
STOP_S = 60.0
LOG_FILE = "runner.log"
BOUGHT = ("lock", "flat", "held", "settled")
"""What a basket ends as that bought something."""


def wait_for(what: str, found: Callable[[], Any], seconds: float = PATIENCE_S, pause: float = 0.1) -> Any:
    """Poll until something is there; how long it takes is the machine's business, that it comes is ours."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(pause)
    pytest.fail(f"{what} did not come within {seconds:.0f} s")


@dataclass(frozen=True)
class Ended:
    """How a run ended: the object it printed, what it said, and its exit code."""

    account: dict[str, Any]
    said: str
    exit_code: int


@dataclass(frozen=True)
class System:
    """A running system."""

    process: subprocess.Popen[str]
    state: RunState
    folder: Path

    def ask(self, path: str) -> dict[str, Any]:
        """An answer of its API."""
        return _body(self.state.api_url + path, {"authorization": f"Bearer {self.state.api_token}"})

    def ask_exchange(self, path: str) -> dict[str, Any]:
        """An answer of the exchange that it trades on, which anybody gets."""
        return _body(f"{self.state.exchange_url}/{path}", {})

    def baskets(self, *states: str) -> list[dict[str, Any]]:
        """Its baskets in these states."""
        return [basket for basket in self.ask("baskets")["baskets"] if basket["state"] in states]

    def told(self, *parts: str) -> list[str]:
        """The texts of its alerts that have all these parts."""
        path = self.folder / RECEIVED_FILE
        lines = path.read_text().splitlines() if path.exists() else []
        texts = [str(json.loads(line)["text"]) for line in lines]
        return [text for text in texts if all(part in text for part in parts)]

    def members(self) -> list[psutil.Process]:
        """Every process of it but the first."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def end(self) -> Ended:
        """End it as a person does."""
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=STOP_S)
        said = (self.folder / LOG_FILE).read_text()
        assert self.process.returncode == 0, said[-3000:]
        return Ended(json.loads(out), said, self.process.returncode)


def _body(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    answer = httpx.get(url, headers=dict(headers), timeout=20)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


@contextmanager
def whole_system(folder: Path, *options: str, **settings: str) -> Iterator[System]:
    """Start one in an empty folder, and wait until it is ready; whatever is left of it ends with the block.

    :param settings: what of ours is in its environment, where nothing else of ours is
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("KALSHI_ARB_")}
    with (folder / LOG_FILE).open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kalshi_arb.cli", "run", "--json", "--folder", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**others, **settings},
        )
    try:
        yield System(process, wait_for("the run's state", lambda: _ready(process, folder)), folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()
        sys.stderr.write((folder / LOG_FILE).read_text()[-3000:])


def _ready(process: subprocess.Popen[str], folder: Path) -> RunState | None:
    if process.poll() is not None:
        pytest.fail(f"the run ended before it was ready: {(folder / LOG_FILE).read_text()[-3000:]}")
    return read_run_state(folder)
