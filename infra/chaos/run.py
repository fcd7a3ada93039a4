"""One run: candidates arrive, executions of the state machine start, the sweeper goes round, and things go wrong.

When nothing can go wrong any more everything must come to its end; then the markets settle, and the promises are
checked (:mod:`infra.chaos.checks`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Any

from infra.chaos.checks import problems_after, problems_after_settlement
from infra.chaos.halts import Halt, Halts
from infra.chaos.machine import Edge, Interpreter, Json, TaskError
from infra.chaos.plan import KILLS, Aim, Blow, ExecutionDied, Fates, Killed, Kind, Occasion, Odds, exchange_faults
from infra.chaos.releases import Bidders, Bidding
from infra.chaos.scheduler import DeadlineError, Scheduler
from infra.chaos.wiring import ROOT, Probe, Stage, Trace, function_name, invoke, load_handler, time_limits
from infra.chaos.worlds import START_MS, World, WorldPlan, payouts
from infra.exchange.faults import CashMissing, Fault, FaultScript
from kalshi_arb.domain.basket import LIVE_STATES, Basket, Purpose
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.errors import ExchangeError, KalshiArbError, StoreError
from kalshi_arb.schemas import Candidate, encode

CALM_MS = 240_000
LAST_MS = 5_400_000
_SWEEP_MS = 60_000
_VISIBILITY_MS = 120_000
_RECEIVES = 4
_AUDIT_DELAY_MS = 6_000
_PAYLOAD_BYTES = 8_192
_EXECUTION = "state machine"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A candidate of a group reaches detection: its books are read at ``made_ms``, it arrives at each of ``at_ms``."""

    site: int
    made_ms: int
    at_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that decides a run.

    :param name: what it is asked for by, to be run again
    :param faults: makes the exchange's fault scripts for the world
    :param ahead_ms: how far our clock is ahead of the exchange's
    :param stops: when purchases are stopped, how, and for how long
    :param biddings: when what is held can be sold for more than it pays, and is looked at
    """

    name: str
    world: WorldPlan
    deliveries: tuple[Delivery, ...]
    odds: Odds
    faults: Callable[[World, Random], list[Fault]]
    limits: dict[str, object] = field(default_factory=dict)
    ahead_ms: int = 0
    basic: bool = False
    aims: tuple[Aim, ...] = ()
    stops: tuple[Halt, ...] = ()
    biddings: tuple[Bidding, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a run. ``ends`` are the states of its baskets, ``unwound`` how many of them sold something again,
    ``released`` how many sold something early; ``met`` all occasions in their order, ``rows`` the baskets as they
    ended, before anything settled; ``unwinds_stopped`` counts the batches of unwinds that left while purchases were
    stopped."""

    schedule: Schedule
    problems: tuple[str, ...]
    ends: tuple[str, ...]
    unwound: int
    reasons: tuple[str, ...]
    worst: tuple[tuple[int, int], ...]
    met: tuple[tuple[Occasion, Kind], ...]
    struck: dict[tuple[Occasion, Blow], int]
    exchange_struck: dict[str, int]
    transitions: tuple[int, ...]
    trace: tuple[str, ...]
    rows: tuple[Basket, ...]
    unwinds_stopped: int
    released: int


@cache
def _machine() -> Json:
    text = (ROOT / "infra" / "statemachines" / "basket.asl.json").read_text(encoding="utf-8")
    machine: Json = json.loads(text)
    return machine


@cache
def limits_of_time() -> dict[str, int]:
    return time_limits()


class Run:
    """Carries out one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        name = schedule.name.partition("@")[0]  # what is aimed at comes on top of the same run
        self._chance = Random(f"run-{name}")  # noqa: S311 - seeded
        self._scheduler = Scheduler(f"turns-{name}", START_MS)
        self._fates = Fates(name, schedule.odds, schedule.aims)
        self._trace = Trace(self._scheduler, START_MS)
        self._probe = Probe(self._scheduler, self._fates, self._trace)
        self._world = World(schedule.world)
        self._stage = Stage(
            self._world, self._scheduler, self._probe, self._launch, self._request_audit, limits=schedule.limits,
            ahead_ms=schedule.ahead_ms, basic=schedule.basic, seed=name,
        )  # fmt: skip
        self._halts = Halts(self._stage, self._scheduler, self._trace)
        bids = Random(f"bids-{name}")  # noqa: S311 - seeded
        self._bidders = Bidders(self._stage, self._trace, bids)
        self._problems: list[str] = []
        self._transitions: list[int] = []
        self._busy = 0
        self._armed: list[str] = []
        self._exchange_struck: dict[str, int] = {}

    def result(self) -> Result:
        """Run it, then settle everything, and say what was wrong."""
        worst: list[tuple[int, int]] = []
        with self._stage.open():
            self._start()
            self._scheduler.run()
            rows = self._stage.rows()
            self._problems += [*problems_after(self._stage), *self._short_of_cash(rows), *self._halts.problems()]
            if not self._problems:
                self._scheduler.start("settlement", self._settle)
                self._scheduler.run()
                self._problems += problems_after_settlement(self._stage, cash_was_moved=self._cash_was_moved())
                worst = [(int(row.settled_profit or 0), int(row.exposure_bound)) for row in self._stage.rows()]
        return Result(
            self._schedule, tuple(self._problems), tuple((row.ending or row.state).value for row in rows),
            sum(any(order.purpose is Purpose.UNWIND and order.filled for order in row.orders) for row in rows),
            tuple(row.reason for row in rows), tuple(worst), tuple(self._fates.met), dict(self._fates.struck),
            self._exchange_struck, tuple(self._transitions), tuple(self._trace.lines), tuple(rows),
            self._halts.unwinds(),
            sum(any(order.filled for order in row.release_orders()) for row in rows),
        )  # fmt: skip

    def _short_of_cash(self, rows: list[Basket]) -> list[str]:
        """What was reserved must be there when it is needed, unless the exchange moved it away."""
        if self._cash_was_moved():
            return []
        orders = [order for row in rows for order in row.orders if order.rejection == "insufficient_balance"]
        return [f"cash was reserved for order {order.request.client_order_id} and is not there" for order in orders]

    def _cash_was_moved(self) -> bool:
        return CashMissing.__struct_config__.tag in self._armed

    # What goes on

    def _start(self) -> None:
        schedule, board = self._schedule, self._stage.server.faults
        faults = schedule.faults(self._world, self._chance)
        self._armed = sorted({fault.label for fault in faults})
        if faults:
            board.add(FaultScript(tuple(faults), self._chance.randrange(2**31)))
        for number, delivery in enumerate(schedule.deliveries):
            self._begin(f"candidate {number}", partial(self._make, number, delivery), delivery.made_ms)
        for halt in schedule.stops:
            self._begin("person", partial(self._halts.carry_out, halt), halt.at_ms)
        for bidding in schedule.biddings:
            self._begin("bids", partial(self._bidders.bid, bidding), bidding.at_ms)
            if bidding.gone_after_ms is not None:
                self._begin("bids gone", self._bidders.take_back, bidding.at_ms + bidding.gone_after_ms)
            for number, at_ms in enumerate(bidding.reviews_ms):
                self._begin(f"review {number}", self._review, at_ms)
        self._scheduler.start("sweeper", self._sweep, _SWEEP_MS)
        self._scheduler.start("calm", self._calm_down, CALM_MS)

    def _begin(self, name: str, work: Callable[[], None], after_ms: int = 0) -> None:
        """An activity that has to be over before the run is."""
        self._busy += 1

        def whole() -> None:
            try:
                work()
            finally:
                self._busy -= 1

        self._scheduler.start(name, whole, after_ms)

    def _calm_down(self) -> None:
        if not self._fates.is_over:
            self._trace.note("nothing goes wrong any more")
            self._fates.calm_down()
            board = self._stage.server.faults
            self._exchange_struck = {word: board.struck(word) for word in self._armed}
            board.clear()

    def _make(self, number: int, delivery: Delivery) -> None:
        """The feed sees the books and sends a candidate, which may be delivered more than once."""
        group = self._world.sites[delivery.site].group
        now = self._stage.clock.now_ms()
        self._stage.server.tick()
        books = tuple(self._seen_book(ticker, number, now) for ticker in group.tickers)
        candidate = Candidate(group.group_id, group.fingerprint, books, 10**8, now, now)
        body = encode(candidate)
        for again, at_ms in enumerate(delivery.at_ms):
            self._begin(f"delivery {number}.{again}", partial(self._deliver, number, body), at_ms)

    def _seen_book(self, ticker: str, number: int, now_ms: int) -> BookSnapshot:
        """A book as the stream shows it: the exchange's times, and alive by our clock."""
        book = self._world.core.markets[ticker].book
        seen = BookVersion(1, 1, number)
        return BookSnapshot(ticker, seen, self._scheduler.now_ms(), now_ms, tuple(book.yes), tuple(book.no))

    def _deliver(self, number: int, body: str) -> None:
        """One message of the queue, delivered again as long as it fails."""
        event = {"Records": [{"messageId": f"m{number}", "body": body, "eventSource": "aws:sqs"}]}
        for _ in range(_RECEIVES):
            try:
                answer = self._invoke("detection", event, limits_of_time()["detection"])
            except TaskError:
                self._scheduler.wait(_VISIBILITY_MS)
                continue
            if not answer["batchItemFailures"]:
                return
            self._scheduler.wait(_VISIBILITY_MS)

    def _sweep(self) -> None:
        """Once a minute until everything is over, and now and then twice at once."""
        while True:
            if self._chance.random() < 0.1:
                self._begin("second sweeper", self._sweep_once)
            self._sweep_once()
            live = self._stage.baskets.in_states(LIVE_STATES, 1_000)
            if not self._busy and not live:
                return
            if self._scheduler.now_ms() - START_MS > LAST_MS:
                names = ", ".join(f"{row.basket_id} {row.state.value}" for row in live)
                self._problems.append(f"it does not end: {names or 'something still goes on'}")
                return
            self._scheduler.wait(_SWEEP_MS)

    def _sweep_once(self) -> None:
        event = json.loads((ROOT / "events" / "schedule_sweeper.json").read_text(encoding="utf-8"))
        try:
            self._invoke("sweeper", event, limits_of_time()["sweeper"])
        except TaskError as error:
            self._trace.note(f"the sweeper failed: {error}")

    def _review(self) -> None:
        """The settlement function goes round while nothing settles."""
        event = json.loads((ROOT / "events" / "schedule_settlement.json").read_text(encoding="utf-8"))
        try:
            self._invoke("settlement", event, limits_of_time()["settlement"])
        except TaskError as error:
            self._trace.note(f"the settlement failed: {error}")

    def _settle(self) -> None:
        """Every market settles in one of the ways its group allows, and the settlement function goes round."""
        core = self._world.core
        self._stage.server.tick()
        paid: dict[str, int] = {}
        for group in self._world.groups:
            for ticker, payout in payouts(group, self._chance):
                # Groups of one ladder share markets: the first says how they settle.
                paid.setdefault(ticker, int(payout))
        for ticker in paid:
            if core.markets[ticker].status.value in ("active", "inactive"):
                core.close_market(ticker)
        self._scheduler.wait(2_000)
        self._stage.server.tick()
        for ticker, payout in self._consistent(paid).items():
            core.determine(ticker, payout, "")
        for _ in range(3):
            self._scheduler.wait(180_000)
            self._stage.server.tick()
            event = json.loads((ROOT / "events" / "schedule_settlement.json").read_text(encoding="utf-8"))
            self._invoke("settlement", event, limits_of_time()["settlement"])

    def _consistent(self, paid: dict[str, int]) -> dict[str, Any]:
        """Payouts that every group allows: the rungs of a shared ladder pay up to one of them."""
        shared = sorted((ticker for ticker in paid if ticker.startswith("KXSHARED-")), key=lambda one: int(one[9:]))
        reached = self._chance.randint(0, len(shared)) if shared else 0
        return {**paid, **{ticker: 10_000 if rung < reached else 0 for rung, ticker in enumerate(shared)}}

    def _request_audit(self, body: str) -> None:
        """A basket has ended: the books are compared when the queue's delay is over."""
        event = {"Records": [{"messageId": "audit", "body": body, "eventSource": "aws:sqs"}]}
        self._begin("audit", partial(self._audit, event), _AUDIT_DELAY_MS)

    def _audit(self, event: Json) -> None:
        try:
            self._invoke("settlement", event, limits_of_time()["settlement"])
        except TaskError as error:
            self._trace.note(f"the audit failed: {error}")

    # Executions

    def _launch(self, basket_id: str, attempt: int) -> None:
        self._begin(f"{basket_id[:8]}-{attempt}", lambda: self._execute(basket_id, attempt), self._fates.latency_ms())

    def _execute(self, basket_id: str, attempt: int) -> None:
        self._scheduler.current.attempt = attempt
        interpreter = Interpreter(
            _machine(), invoke=self._invoke_task, wait=lambda seconds: self._scheduler.wait(round(seconds * 1000)),
            note=self._note_state,
        )  # fmt: skip
        try:
            outcome = interpreter.run({"basket_id": basket_id, "attempt": attempt})
        except ExecutionDied:
            self._trace.note("the execution died")
            return
        self._transitions.append(outcome.transitions)
        self._trace.note(f"{outcome.status} in {outcome.state}")

    def _note_state(self, state: str, edge: Edge, data: Json) -> None:
        size = len(json.dumps(data))
        if size > _PAYLOAD_BYTES:
            self._problems.append(f"{size} bytes pass through {state}")
        if edge is Edge.BEFORE:
            self._trace.note(f"-> {state}")
        blow = self._fates.at(_EXECUTION, f"{state} {edge.value}", Kind.STATE)
        if blow in KILLS.values():
            raise ExecutionDied

    def _invoke_task(self, reference: str, payload: Json, timeout_s: int) -> Any:
        function = function_name(reference)
        limit_s = min(timeout_s, limits_of_time()[function])
        blow = self._fates.at(function, "invocation", Kind.INVOCATION)
        if blow is not None:
            self._trace.note(f"{function} ({blow.value})")
        match blow:
            case Blow.THROTTLED:
                raise TaskError("Lambda.TooManyRequestsException", "throttled")
            case Blow.SERVICE_ERROR:
                raise TaskError("Lambda.ServiceException", "not invoked")
            case Blow.GOES_ON:
                attempt = self._scheduler.current.attempt
                name = f"{self._scheduler.current.name}+"
                self._begin(name, lambda: self._invoke_alone(attempt, function, payload, limit_s))
                self._scheduler.wait(self._fates.latency_ms())
                raise TaskError("Lambda.SdkClientException", "the connection was lost")
            case Blow.ANSWER_LOST:
                self._invoke(function, payload, limit_s)
                raise TaskError("Lambda.ServiceException", "the answer was lost")
            case _:
                return self._invoke(function, payload, limit_s)

    def _invoke_alone(self, attempt: int, function: str, payload: Json, limit_s: int) -> None:
        self._scheduler.current.attempt = attempt
        try:
            self._invoke(function, payload, limit_s)
        except TaskError as error:
            self._trace.note(f"nobody hears that {function} failed: {error}")

    def _invoke(self, function: str, event: Json, limit_s: int) -> Any:
        """One invocation, its failure under the name that Step Functions gives it."""
        self._scheduler.current.pace = self._fates.pace()
        try:
            return invoke(load_handler(function), event, self._scheduler, function, limit_s)
        except Killed:
            self._trace.note(f"{function}: its process died")
            raise TaskError("Runtime.ExitError", "the process died") from None
        except DeadlineError:
            self._trace.note(f"{function}: its time was up")
            raise TaskError("Sandbox.Timedout", "time-out") from None
        except (StoreError, ExchangeError) as error:
            self._trace.note(f"{function}: {type(error).__name__}: {error}")
            raise TaskError(type(error).__name__, str(error)) from error
        except (KalshiArbError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            # Nothing that went wrong outside explains these.
            self._problems.append(f"{function} raised {type(error).__name__}: {error}")
            self._trace.note(f"{function}: {type(error).__name__}: {error}")
            raise TaskError(type(error).__name__, str(error)) from error


def random_faults(most: int) -> Callable[[World, Random], list[Fault]]:
    """Faults of the exchange as chance has them."""
    return lambda world, chance: exchange_faults(world, chance, most)
