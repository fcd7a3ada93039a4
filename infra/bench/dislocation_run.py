"""Runs one planted dislocation through the real code until its basket has ended, on an exchange of its own.

The exchange's core holds the recorded books as resting orders, and is asked over its own REST routes, in this process
and without a socket. Detection, risk, waves, assessment, unwinding and sweeping are the product's; stores are in
memory, and time is virtual.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.chaos.transport import InProcess
from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.faults import Fault, FaultScript
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.playback import Playback, listed_groups
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.tape_terms import Tape
from kalshi_arb.detection.detect import Detector, Handled, Origin
from kalshi_arb.domain.basket import ENDED_STATES, Basket, Purpose
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import CASH_PER_DOLLAR, Cash, Count
from kalshi_arb.domain.portfolio import Fill
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.assess import Action, Assessor
from kalshi_arb.execution.close import Closer
from kalshi_arb.execution.machine import BUYING
from kalshi_arb.execution.sweep import Sweeper
from kalshi_arb.execution.waves import WaveExecutor
from kalshi_arb.fakes import (
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
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.rate_limit import Tier, Use
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.risk.breaker import Breaker
from kalshi_arb.risk.check import RiskCheck
from kalshi_arb.risk.limits import Limits
from kalshi_arb.schemas import Candidate

MODE = "simulated"
TIER = Tier.BASIC
OPENING = Cash(5_000 * CASH_PER_DOLLAR)
ORDER_PATHS = ("/portfolio/events/orders", "/portfolio/events/orders/batched")
_ROUNDS = 60
_STEPS = 200
_SWEEP_MS = 21_000
_MAX_AGE_MS = 5_000
_KEY_ID = "planted"


class NotEndedError(KalshiArbError):
    """A basket did not come to an end."""


class _BeforeOrders(httpx.BaseTransport):
    """Lets something happen right before the n-th request that places orders (the first is 0)."""

    def __init__(self, inner: httpx.BaseTransport, at: int | None, happens: Callable[[], None]) -> None:
        self._inner = inner
        self._left = -1 if at is None else at
        self._happens = happens

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith(ORDER_PATHS):
            if self._left == 0:
                self._happens()
            self._left -= 1
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a dislocation. ``basket`` is None when detection started none, and ``detected`` says why.

    ``cash`` (1e-6 dollars) and ``positions`` are the account's own, as the exchange's core keeps them: the change of
    the cash, and the signed contracts held. ``struck`` counts the misfortunes that really happened.
    """

    detected: Handled
    group: Group
    basket: Basket | None
    fills: tuple[Fill, ...]
    cash: Cash
    positions: dict[str, Count]
    struck: int
    attempts: int


class Venue:
    """The exchange with one event on it, and the product's ports to it.

    :param tape: an event's books at one moment, and those that follow when ``moves_before`` is given: right before the
        request that places orders of that number
    """

    def __init__(self, tape: Tape, seed: int, *, moves_before: int | None = None) -> None:
        self.clock = ManualClock(tape.recording.passes[0].ms)
        chance = Random(seed)  # noqa: S311 - the same seed gives the same run again
        self.core = ExchangeCore(self.clock.now_ms(), seeded_ids(chance))
        self.core.open_account(MEMBER, {series.shard: OPENING for series in tape.series}, Precision.DIRECT)
        self.playback = Playback(self.core, tape, 1.0)
        self.playback.start()
        self.playback.step(self.clock.now_ms())
        self.moved = False
        key = Ed25519PrivateKey.generate()
        keys = KeyRing()
        keys.add(_KEY_ID, key.public_key(), MEMBER)
        self.server = ExchangeServer(self.core, keys, ServerConfig(), now_ms=self.clock.now_ms)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self._client = RestClient(
            base_url="http://127.0.0.1/trade-api/v2",
            credentials=Credentials(_KEY_ID, pem),
            clock=self.clock,
            transport=_BeforeOrders(InProcess(self.server), moves_before, self._move),
            jitter=chance.random,
        )
        self.market_data = KalshiMarketData(self._client, self.clock)
        self.trading = KalshiTrading(self._client)
        self.unwinding = KalshiTrading(self._client, Use.REDUCING)

    def _move(self) -> None:
        """The tape goes on: its next books are there at once."""
        passes = self.playback.tape.recording.passes
        self.clock.advance(1)
        self.playback.step(max(self.clock.now_ms(), self.playback.at(passes[-1].ms)))
        self.moved = True

    def close(self) -> None:
        """Nothing more is asked."""
        self._client.close()


def run(
    tape: Tape,
    group_id: str,
    *,
    seed: int,
    limits: Limits,
    smallest_fill: Count,
    faults: Sequence[Fault] = (),
    moves_before: int | None = None,
) -> Ended:
    """Have one group's books looked at, and whatever follows carried out to its end.

    :raises NotEndedError: a basket is still live after many sweeps
    """
    venue = Venue(tape, seed, moves_before=moves_before)
    try:
        if faults:
            venue.server.faults.add(FaultScript(tuple(faults), seed))
        return _Desk(venue, group_id, limits, smallest_fill).work(faults)
    finally:
        venue.close()


class _Desk:
    """The product's use cases over one venue."""

    def __init__(self, venue: Venue, group_id: str, limits: Limits, smallest_fill: Count) -> None:
        self._venue = venue
        self._clock = venue.clock
        event = next(iter(venue.core.events))
        self._group = next(group for group in listed_groups(venue.core, event) if group.group_id == group_id)
        self._baskets = MemoryBasketStore()
        self._workflow = MemoryWorkflow()
        clock, baskets, precision = venue.clock, self._baskets, Precision.DIRECT
        groups, status, notifier = MemoryGroupStore([self._group]), MemoryStatusStore(), MemoryNotifier()
        reservations = MemoryReservationStore()

        def current() -> Limits:
            return limits

        self._detector = Detector(
            groups=groups, opportunities=MemoryOpportunityStore(), baskets=baskets, workflow=self._workflow,
            status=status, notifier=notifier, clock=clock, mode=MODE, precision=precision,
            smallest_fill=smallest_fill, max_book_age_ms=_MAX_AGE_MS, netting=Netting.OFF, free=lambda _: {},
        )  # fmt: skip
        ledger = MemoryLedgerStore(clock)
        ledger = MemoryLedgerStore(clock)
        self._risk = RiskCheck(
            baskets=baskets, groups=groups, ledger=ledger, market_data=venue.market_data, trading=venue.trading,
            reservations=reservations, status=status, notifier=notifier, clock=clock, mode=MODE, precision=precision,
            smallest_fill=smallest_fill, may_trade_on_its_fees=True, write_tokens=TIER.limits.write.capacity,
            terms=lambda: None, limits=current,
        )  # fmt: skip
        self._buyer = WaveExecutor(baskets=baskets, trading=venue.trading, purposes=BUYING, status=status, clock=clock)
        self._seller = WaveExecutor(
            baskets=baskets, trading=venue.unwinding, purposes=frozenset({Purpose.UNWIND}), status=status, clock=clock
        )
        breaker = Breaker(status=status, notifier=notifier, clock=clock, mode=MODE, limits=current)
        self._assessor = Assessor(
            baskets=baskets, ledger=ledger, trading=venue.trading, market_data=venue.market_data,
            status=status, notifier=notifier, breaker=breaker, clock=clock,
        )  # fmt: skip
        self._closer = Closer(
            baskets=baskets, ledger=ledger, reservations=reservations, audits=MemoryQueue(), status=status,
            notifier=notifier, breaker=breaker, clock=clock, write_problem=warnings.warn,
        )  # fmt: skip
        self._sweeper = Sweeper(
            baskets=baskets, ledger=ledger, workflow=self._workflow, reservations=reservations, status=status,
            notifier=notifier, breaker=breaker, clock=clock, mode=MODE,
        )  # fmt: skip

    def work(self, faults: Sequence[Fault]) -> Ended:
        """Detection, and the basket it started to its end."""
        venue, group = self._venue, self._group
        books = venue.market_data.orderbooks(group.tickers)
        now = self._clock.now_ms()
        candidate = Candidate(group.group_id, group.fingerprint, tuple(books.values()), 0, now, now)
        (handled,) = self._detector.handle_all([candidate], Origin.READ)
        if isinstance(handled, KalshiArbError):
            raise handled
        row = None if handled.basket_id is None else self._drive(handled.basket_id)
        struck = venue.moved + sum(venue.server.faults.struck(fault.label) > 0 for fault in faults)
        venue.server.faults.clear()
        fills: list[Fill] = []
        if row is not None:
            own = {order.order_id for order in row.orders if order.order_id is not None}
            shown = venue.trading.fills([leg.ticker for leg in row.legs], 0)
            fills = [fill for fill in shown if fill.order_id in own]
        account = venue.core.accounts[MEMBER]
        cash = Cash(sum(account.cash.values()) - sum(OPENING for _ in account.cash))
        positions = {
            ticker: account.position(ticker).count for ticker in group.tickers if account.position(ticker).count
        }
        return Ended(handled, group, row, tuple(fills), cash, positions, struck, 0 if row is None else row.attempt)

    def _drive(self, basket_id: str) -> Basket:
        """Attempts and sweeps until the basket has ended."""
        self._attempt(basket_id, 1)
        for _ in range(_ROUNDS):
            row = self._row(basket_id)
            if row.state in ENDED_STATES:
                return row
            self._clock.advance(_SWEEP_MS)
            started = len(self._workflow.started)
            self._sweeper.run()
            for name, attempt in self._workflow.started[started:]:
                self._attempt(name, attempt)
        raise NotEndedError(f"basket {basket_id} is still {self._row(basket_id).state.value}")

    def _attempt(self, basket_id: str, attempt: int) -> None:
        """One execution of the state machine, step by step as its file says."""
        answer = self._risk.run(basket_id, attempt)
        if not answer.accepted:
            return
        action, wave = Action.WAVE, answer.wave
        for _ in range(_STEPS):
            if action is Action.WAVE:
                self._buyer.run(basket_id, attempt, wave)
            elif action is Action.UNWIND:
                self._seller.run(basket_id, attempt, wave)
            elif action is Action.CLOSE:
                self._closer.run(basket_id, attempt)
                return
            elif action is Action.HANDOVER:
                self._closer.run(basket_id, attempt, "handed over")
                return
            assessment = self._assessor.run(basket_id, attempt, wave)
            action = assessment.action
            if action is Action.WAIT:
                self._clock.sleep(assessment.wait_seconds)
            elif action in (Action.WAVE, Action.UNWIND):
                wave = assessment.wave
        raise NotEndedError(f"an attempt at basket {basket_id} does not end")

    def _row(self, basket_id: str) -> Basket:
        row = self._baskets.get(basket_id)
        if row is None:
            raise NotEndedError(f"there is no basket {basket_id}")
        return row
