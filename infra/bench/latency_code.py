"""The way from a candidate to the first order, without sockets: the product's use cases over stores in memory, driven
by the deployed state machine. What is timed is our own code; what it would have asked for is counted."""

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.chaos.machine import Edge, Interpreter
from infra.checks.basket_machine import BASKET_MACHINE
from kalshi_arb.detection.detect import Detector
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Market, Netting, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.execution.assess import Assessor
from kalshi_arb.execution.close import Closer
from kalshi_arb.execution.machine import BUYING, UNWINDING
from kalshi_arb.execution.waves import WaveExecutor
from kalshi_arb.fakes import (
    FakeExchange,
    ManualClock,
    MemoryBasketStore,
    MemoryGroupStore,
    MemoryLedgerStore,
    MemoryNotifier,
    MemoryOpportunityStore,
    MemoryQueue,
    MemoryReservationStore,
    MemoryStatusStore,
    MemoryWorkflow,
)
from kalshi_arb.risk.breaker import Breaker
from kalshi_arb.risk.check import RiskCheck
from kalshi_arb.risk.limits import parse_limits
from kalshi_arb.schemas import Candidate

ROOT = Path(__file__).resolve().parents[2]
MODE = "simulated"
LEGS = 3
_PRICE = 3_000
_CONTRACTS = 2_000
_MAX_AGE_MS = 60_000
_LIMITS = {f"max_share_per_{what}": "1" for what in ("market", "event", "series", "underlying")}


@dataclass(frozen=True, slots=True)
class Measured:
    """One basket. Times in milliseconds; ``calls`` counts those made before the first order, by the part of the system
    that they would go to (``table``, ``exchange``, ``workflow``, ``topic``)."""

    detection_ms: float
    to_first_order_ms: float
    whole_ms: float
    transitions: int
    transitions_to_first_order: int
    tasks_to_first_order: int
    calls: dict[str, int]


class _Counting:
    """A port whose calls are counted until the first order is placed."""

    def __init__(self, port: Any, part: str, run: "CodeRun") -> None:
        self._port = port
        self._part = part
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._port, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._run.met(self._part, name)
            return method(*args, **kwargs)

        return counted


class CodeRun:
    """One basket of two waves, from its candidate to its lock."""

    def __init__(self) -> None:
        self._clock = clock = ManualClock()
        self._group = _partition()
        exchange = FakeExchange(clock, self._group.markets, cash={0: Cash(1_000_000_000)})
        for market in self._group.markets:
            exchange.offer(market.ticker, Outcome.YES, _PRICE, _CONTRACTS)
        self._books = exchange.orderbooks(self._group.tickers)
        self._calls: Counter[str] = Counter()
        self._states: list[str] = []
        self._first: tuple[float, int] | None = None
        self._store = MemoryBasketStore()
        self._workflow = MemoryWorkflow()

        def port(inner: Any, part: str = "table") -> Any:
            return _Counting(inner, part, self)

        market, baskets, status = port(exchange, "exchange"), port(self._store), port(MemoryStatusStore())
        groups, ledger = port(MemoryGroupStore([self._group])), port(MemoryLedgerStore(clock))
        reservations, notifier = port(MemoryReservationStore()), port(MemoryNotifier(), "topic")
        limits, precision, smallest = parse_limits(_LIMITS), Precision.DIRECT, Count(100)
        breaker = Breaker(status=status, notifier=notifier, clock=clock, mode=MODE, limits=lambda: limits)
        self._detector = Detector(
            groups=groups, opportunities=port(MemoryOpportunityStore()), baskets=baskets,
            workflow=port(self._workflow, "workflow"), status=status, notifier=notifier, clock=clock, mode=MODE,
            precision=precision, smallest_fill=smallest, max_book_age_ms=_MAX_AGE_MS, netting=Netting.OFF,
            free=lambda _: {},
        )  # fmt: skip
        self._risk = RiskCheck(
            baskets=baskets, groups=groups, ledger=ledger, market_data=market, trading=market,
            reservations=reservations, status=status, notifier=notifier, clock=clock, mode=MODE, precision=precision,
            smallest_fill=smallest, may_trade_on_its_fees=True, write_tokens=1_000, terms=lambda: None,
            limits=lambda: limits,
        )  # fmt: skip
        self._senders = {
            name: WaveExecutor(baskets=baskets, trading=market, purposes=purposes, status=status, clock=clock)
            for name, purposes in (("ExecuteWave", BUYING), ("Unwind", UNWINDING))
        }
        self._assessor = Assessor(
            baskets=baskets, ledger=ledger, trading=market, market_data=market, status=status, notifier=notifier,
            breaker=breaker, clock=clock,
        )  # fmt: skip
        self._closer = Closer(
            baskets=baskets, ledger=ledger, reservations=reservations, audits=port(MemoryQueue(), "queue"),
            status=status, notifier=notifier, breaker=breaker, clock=clock, write_problem=warnings.warn,
        )  # fmt: skip

    def met(self, part: str, name: str) -> None:
        """A port was called."""
        if self._first is None:
            if name == "place":
                self._first = (time.perf_counter(), len(self._states))
            else:
                self._calls[part] += 1

    def measure(self) -> Measured:
        """Run it once.

        :raises RuntimeError: the basket did not become a lock, so there is nothing to be told
        """
        now = self._clock.now_ms()
        candidate = Candidate(
            self._group.group_id, self._group.fingerprint, tuple(self._books.values()), 10**9, now, now
        )
        began = time.perf_counter()
        handled = self._detector.handle(candidate)
        detected = time.perf_counter()
        if handled.basket_id is None:
            raise RuntimeError(f"detection dropped the candidate: {handled.outcome}")
        machine = Interpreter(_machine(), invoke=self._invoke, wait=self._clock.sleep, note=self._note)
        outcome = machine.run({"basket_id": handled.basket_id, "attempt": 1})
        ended = time.perf_counter()
        row = self._store.get(handled.basket_id)
        if row is None or row.state is not BasketState.LOCK or self._first is None:
            raise RuntimeError(f"the basket became no lock: {row and row.reason}")
        first, entered = self._first
        before = self._states[:entered]
        return Measured(
            detection_ms=(detected - began) * 1000,
            to_first_order_ms=(first - began) * 1000,
            whole_ms=(ended - began) * 1000,
            transitions=outcome.transitions,
            transitions_to_first_order=len(before),
            tasks_to_first_order=sum(_machine()["States"][name]["Type"] == "Task" for name in before),
            calls=dict(self._calls),
        )

    def _note(self, state: str, edge: Edge, _data: object) -> None:
        if edge is Edge.BEFORE:
            self._states.append(state)

    def _invoke(self, function: str, payload: dict[str, Any], _timeout: int) -> dict[str, Any]:
        name = function.removeprefix("${").removesuffix("FunctionArn}")
        basket_id, attempt = payload["basket_id"], payload["attempt"]
        if name == "RiskCheck":
            risk = self._risk.run(basket_id, attempt)
            return {"accepted": risk.accepted, "reason": risk.reason, "wave": risk.wave}
        if name in self._senders:
            return {"sent": self._senders[name].run(basket_id, attempt, payload["wave"])}
        if name == "Assess":
            found = self._assessor.run(basket_id, attempt, payload["wave"])
            return {
                "action": found.action.value, "wave": found.wave, "wait_seconds": found.wait_seconds,
                "turns": found.turns, "state": found.state.value,
            }  # fmt: skip
        return {"state": self._closer.run(basket_id, attempt, payload.get("gave_up", "")).value}


def _machine() -> dict[str, Any]:
    if not _MACHINE:
        _MACHINE.update(json.loads((ROOT / BASKET_MACHINE).read_text(encoding="utf-8")))
    return _MACHINE


_MACHINE: dict[str, Any] = {}


def _partition() -> Group:
    """Markets of which exactly one settles YES, each offered far below its share of a dollar."""
    markets = tuple(
        Market(
            f"KXLATENCY-{number}", "KXLATENCY", "KXLATENCY", StrikeType.GREATER, None, None, "", f"market {number}",
            CENT_GRID, FeeSchedule(FeeType.QUADRATIC), 0, 2_000_000_000_000, "rules",
        )
        for number in range(LEGS)
    )  # fmt: skip
    states = tuple(
        State(
            f"{markets[winner].ticker} wins",
            tuple(ONE_DOLLAR if number == winner else Price(0) for number in range(LEGS)),
            Basis.CERTAIN,
        )
        for winner in range(LEGS)
    )
    return Group("latency", Family.PARTITION, "KXLATENCY", markets, states, (), "print-latency")
