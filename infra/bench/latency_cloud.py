"""The way from a candidate to the first order in the whole local system: stream, queue, functions in processes of their
own, state machine, exchange, all over sockets of this machine.

What is read is what the system itself keeps: in the basket's row the moment when its candidate was made and the moment
just before its first order left, and the state machine's history.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.local.crash import BASKETS_TABLE, Life, Plan
from infra.local.endpoint import local_client
from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.dynamo import Table
from kalshi_arb.domain.basket import ENDED_STATES, Basket
from kalshi_arb.domain.errors import KalshiArbError

_MACHINE = "kalshi-arb-simulated-basket"
_START_SECONDS = 90.0
_LOOK_SECONDS = 1.0
_ROWS = 2_000


class NoBasketsError(KalshiArbError):
    """The system started too few baskets to say anything."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the system. Milliseconds from a candidate to its first order, in the order of the orders; and for
    each basket that ended as a lock of two waves in one execution the states that it took."""

    to_first_order_ms: tuple[int, ...]
    transitions: tuple[int, ...]


def measure(folder: Path, baskets: int, seed: int) -> Start:
    """Start the system anew and wait until so many baskets have ended that sent an order.

    :raises NoBasketsError: none did in time
    """
    life = Life(Plan(kills=0, folder=folder, seed=seed, reply_ms=20), "--fresh")
    try:
        state = life.ready()
        url = f"http://{urlsplit(state.api_url).netloc}"
        store = DynamoBasketStore(Table(local_client("dynamodb", url), BASKETS_TABLE, "basket_id"))
        rows = _wait(store, baskets)
        machine = local_client("stepfunctions", url)
        transitions = tuple(_transitions(machine, row) for row in rows if _is_plain(row))
    finally:
        if life.process.poll() is None:
            life.stop()
    times = [row.first_order_ms - row.candidate_ms for row in rows if row.first_order_ms is not None]
    return Start(tuple(times), transitions)


def _wait(store: DynamoBasketStore, baskets: int) -> list[Basket]:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        rows = [row for row in store.recent(_ROWS) if row.first_order_ms is not None and row.state in ENDED_STATES]
        if len(rows) >= baskets or time.monotonic() > deadline:
            if not rows:
                raise NoBasketsError(f"no basket sent an order within {_START_SECONDS:.0f} s")
            return sorted(rows, key=lambda row: row.first_order_ms or 0)
        time.sleep(_LOOK_SECONDS)


def _is_plain(row: Basket) -> bool:
    """Whether it is a lock of two waves that one execution brought there, every answer known at once."""
    return row.attempt == 1 and row.locked_profit is not None and row.turns == 2 and len(row.waves) == 2


def _transitions(machine: Any, row: Basket) -> int:
    """The states that the basket's execution entered."""
    listed = machine.list_state_machines()["stateMachines"]
    (arn,) = (one["stateMachineArn"] for one in listed if one["name"] == _MACHINE)
    execution = f"{arn.replace(':stateMachine:', ':execution:')}:{row.basket_id}-{row.attempt}"
    return sum(event["type"].endswith("StateEntered") for event in _history(machine, execution))


def _history(machine: Any, execution: str) -> Iterator[dict[str, Any]]:
    asked: dict[str, Any] = {"executionArn": execution, "maxResults": 1000}
    while True:
        answer = machine.get_execution_history(**asked)
        yield from answer["events"]
        if not answer.get("nextToken"):
            return
        asked["nextToken"] = answer["nextToken"]
