"""Kills the whole local system again and again, starts it each time on what it left, and counts what that cost.

``python -m infra.local.crash --kills 100`` ends with one JSON object on standard output. Every process is killed at
once with SIGKILL, in random order, at seeded moments: most while the answer to an order is under way, some at any time,
some while the system starts. What was acknowledged is written down here, outside what is killed: every answered write
of a probe in the tables, every order that the exchange admitted to. Both are asked for again after each start.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.endpoint import local_client
from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.status import DynamoStatusStore
from kalshi_arb.cli.local_state import RunState, read_run_state
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.basket import LIVE_STATES
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.money import cash_from_wire
from kalshi_arb.execution.control import set_stop

STATUS_TABLE = "kalshi-arb-simulated-status"
BASKETS_TABLE = "kalshi-arb-simulated-baskets"
_PROBES = ("crash-probe#a", "crash-probe#b")
_READY_SECONDS = 60.0
_ORDER_SECONDS = 60.0  # how long to wait for an order before killing without one
_SETTLE_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class CrashTestError(KalshiArbError):
    """The system did not come back, or did not end; the message carries the end of its log."""


class Moment(StrEnum):
    """When to kill."""

    STARTING = "starting"
    RUNNING = "running"
    IN_FLIGHT = "order in flight"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. Everything random follows from ``seed``, but for what the machine makes of it."""

    kills: int
    folder: Path
    seed: int = 1
    reply_ms: int = 400

    def moment(self, chance: random.Random) -> tuple[Moment, float]:
        """When to kill next: the kind, and how many seconds after it began."""
        kind = chance.choices(tuple(Moment), weights=(15, 20, 65))[0]
        spans = {Moment.STARTING: 2.5, Moment.RUNNING: 4.0, Moment.IN_FLIGHT: self.reply_ms / 1000}
        return kind, chance.uniform(0, spans[kind])


@dataclass(slots=True)
class Acknowledged:
    """What was answered to somebody outside of what is killed, and what of it was not there afterwards."""

    writes: int = 0
    writes_lost: int = 0
    torn_transactions: int = 0
    orders: set[str] = field(default_factory=set)
    orders_lost: set[str] = field(default_factory=set)
    most_attempts: dict[str, int] = field(default_factory=dict)

    @property
    def duplicates(self) -> int:
        """Orders that reached the exchange more often than once."""
        return sum(attempts - 1 for attempts in self.most_attempts.values())

    def take_account(self, account: dict[str, Any]) -> None:
        """Note what the exchange says of orders; nothing that it said before may be missing."""
        there = set(account["orders_by_client_order_id"])
        self.orders_lost |= self.orders - there
        self.orders |= there
        for order, attempts in account["attempts_by_client_order_id"].items():
            self.most_attempts[order] = max(attempts, self.most_attempts.get(order, 0))


class Probe:
    """Writes two items in one transaction, again and again, and remembers the last that was answered."""

    def __init__(self, tables: Any, acknowledged: Acknowledged) -> None:
        """Ask first for what was acknowledged before."""
        self._tables = tables
        self._acknowledged = acknowledged
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write, name="probe", daemon=True)
        found = [self._read(name) for name in _PROBES]
        acknowledged.writes_lost += max(0, acknowledged.writes - min(found))
        acknowledged.torn_transactions += found[0] != found[1]
        self._next = max(acknowledged.writes, *found) + 1

    def _read(self, name: str) -> int:
        answer = self._tables.get_item(TableName=STATUS_TABLE, Key={"component": {"S": name}}, ConsistentRead=True)
        return int(answer["Item"]["n"]["N"]) if "Item" in answer else 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; from here on what was acknowledged stands."""
        self._ending.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._ending.is_set():
            puts = [
                {"Put": {"TableName": STATUS_TABLE, "Item": {"component": {"S": name}, "n": {"N": str(self._next)}}}}
                for name in _PROBES
            ]
            try:
                self._tables.transact_write_items(TransactItems=puts)
            except (BotoCoreError, ClientError):
                return  # it is being killed
            self._acknowledged.writes = self._next
            self._next += 1
            time.sleep(0.005)


class Life:
    """The system from one start to one end."""

    def __init__(self, plan: Plan, *options: str) -> None:
        """Start it."""
        self._folder = plan.folder
        self._log = plan.folder.with_name(plan.folder.name + ".log")
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "kalshi_arb.cli", "run", "--json", "--folder", str(plan.folder)),
                    *("--reply-ms", str(plan.reply_ms), "--fade-share", "0.4", "--seed", str(plan.seed), *options),
                    # There is something to buy whenever it is ready, on the slowest machine too.
                    *("--mispricing-ms", "30000"),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("KALSHI_ARB_")},
                start_new_session=True,
            )

    def ready(self) -> RunState:
        """Wait until it is. :raises CrashTestError: it does not come up."""
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            state = read_run_state(self._folder)
            if state is not None and state.pid == self.process.pid:
                return state
            time.sleep(_LOOK_SECONDS)
        raise self._failed("did not come up")

    def kill(self, chance: random.Random) -> None:
        """End every process of it with SIGKILL, in any order, and wait until all are gone."""
        top = psutil.Process(self.process.pid)
        tree = [top, *top.children(recursive=True)]
        chance.shuffle(tree)
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()
        _, alive = psutil.wait_procs(tree, timeout=10)
        if alive:
            raise self._failed(f"left processes {[process.pid for process in alive]}")

    def stop(self) -> dict[str, Any]:
        """End it as a person would, and return its account. :raises CrashTestError: it does not end well."""
        self.process.send_signal(signal.SIGINT)
        try:
            out, _ = self.process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise self._failed("did not end") from error
        if self.process.returncode:
            raise self._failed(f"ended with code {self.process.returncode}")
        account: dict[str, Any] = json.loads(out)
        return account

    def _failed(self, what: str) -> CrashTestError:
        lines = self._log.read_text().splitlines()[-5:]
        return CrashTestError(f"the run in {self._folder} {what}: {' | '.join(lines)}")


class CrashTest:
    """The whole test."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        """Describe it; ``say`` is told what happens, a line at a time."""
        self._plan = plan
        self._say = say
        # When is drawn apart from in which order: how many processes there are must not move the moments.
        self._when = random.Random(plan.seed)  # noqa: S311  moments, not secrets
        self._order = random.Random(f"order {plan.seed}")  # noqa: S311  the same
        self._acknowledged = Acknowledged()
        self._moments: Counter[Moment] = Counter()
        self._http = httpx.Client(timeout=20)

    def run(self) -> dict[str, Any]:
        """Kill as often as planned, then stop well; returns the figures.

        :raises CrashTestError: the system did not come back
        """
        began = time.monotonic()
        life = Life(self._plan, "--fresh")
        try:
            for number in range(1, self._plan.kills + 1):
                moment = self._live_and_die(life, *self._plan.moment(self._when))
                self._moments[moment] += 1
                self._say(
                    f"kill {number} of {self._plan.kills}: {moment}; so far {self._acknowledged.writes} writes and "
                    f"{len(self._acknowledged.orders)} orders acknowledged"
                )
                life = Life(self._plan)
            return self._end(life, began)
        finally:
            if life.process.poll() is None:
                life.kill(self._order)
            self._http.close()

    def _live_and_die(self, life: Life, kind: Moment, seconds: float) -> Moment:
        """One life; returns when it was killed, which is not always when it was meant to be."""
        if kind is Moment.STARTING:
            time.sleep(seconds)
            life.kill(self._order)
            return kind
        state = life.ready()
        probe = self._probe(state)
        try:
            if kind is Moment.IN_FLIGHT and not self._order_in_flight(state):
                kind = Moment.RUNNING
            time.sleep(seconds)
            self._look(state)
            life.kill(self._order)
        finally:
            probe.stop()
        return kind

    def _probe(self, state: RunState) -> Probe:
        """Compare with what was acknowledged, and go on writing."""
        self._look(state)
        probe = Probe(self._tables(state), self._acknowledged)
        probe.start()
        return probe

    @staticmethod
    def _tables(state: RunState) -> Any:
        return local_client("dynamodb", f"http://{urlsplit(state.api_url).netloc}")

    def _look(self, state: RunState) -> int:
        """Note what the exchange says; returns the number of orders."""
        answer = self._http.get(f"{state.exchange_url}/admin/account")
        answer.raise_for_status()
        account = answer.json()
        self._acknowledged.take_account(account)
        return int(account["orders"])

    def _order_in_flight(self, state: RunState) -> bool:
        """Wait for an order that the exchange has executed and not answered. Whether one came."""
        before = self._look(state)
        deadline = time.monotonic() + _ORDER_SECONDS
        while time.monotonic() < deadline:
            if self._look(state) > before:
                return True
            time.sleep(_LOOK_SECONDS)
        return False

    def _end(self, life: Life, began: float) -> dict[str, Any]:
        state = life.ready()
        self._probe(state).stop()
        tables = self._tables(state)
        status = DynamoStatusStore(Table(tables, STATUS_TABLE, "component"))
        baskets = DynamoBasketStore(Table(tables, BASKETS_TABLE, "basket_id"))
        # What is open ends before the books are compared, however long a crowded machine takes for it.
        set_stop(status, by="crash test", reason="the account is compared", now_ms=SystemClock().now_ms())
        deadline = time.monotonic() + _SETTLE_SECONDS
        while baskets.in_states(LIVE_STATES, 1):
            if time.monotonic() > deadline:
                raise CrashTestError(f"open baskets did not end within {_SETTLE_SECONDS:.0f} s")
            time.sleep(0.2)
        self._look(state)
        resumed = status.counters("sweeper").get("resumed", 0)
        account = life.stop()
        seen, difference = self._acknowledged, account["ledger_minus_exchange"]
        return {
            "kills": self._plan.kills,
            "kills_by_moment": {moment.value: self._moments[moment] for moment in Moment},
            "restarts": self._plan.kills,
            "baskets_resumed": resumed,
            "duplicates": seen.duplicates,
            "difference_to_exchange": abs(cash_from_wire(difference["cash"])) + abs(cash_from_wire(difference["fees"])),
            "positions_that_differ": difference["positions"],
            "acknowledged_writes": seen.writes,
            "acknowledged_writes_lost": seen.writes_lost + seen.torn_transactions,
            "acknowledged_orders": len(seen.orders),
            "acknowledged_orders_lost": len(seen.orders_lost),
            "baskets": account["baskets"],
            "seconds": round(time.monotonic() - began, 1),
        }


def is_clean(figures: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled or left out of the books."""
    lost = ("duplicates", "difference_to_exchange", "acknowledged_writes_lost", "acknowledged_orders_lost")
    return not any(figures[name] for name in lost) and not figures["positions_that_differ"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        test = CrashTest(Plan(given.kills, folder.resolve(), given.seed), lambda line: print(line, file=sys.stderr))  # noqa: T201
        try:
            figures = test.run()
        except KalshiArbError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if is_clean(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
