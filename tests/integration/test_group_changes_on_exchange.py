"""A strike, then a rule sentence changes on the embedded exchange: from stream to risk check, over real sockets.

The order of events is what is asserted. The one duration that is, from the exchange's own time stamp to the suspension,
has a limit far above what it takes.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from feed.config import FeedConfig
from feed.connection import SignedConnector
from feed.publisher import Ports
from feed.service import FeedService
from infra.exchange.faults import CallScope, HttpError, RulesChanged, StrikeChanged
from infra.exchange.testkit import EVENT, TICKERS, rest, still_core, still_event
from infra.exchange.testserver import ServedExchange
from kalshi_arb.clock import SystemClock
from kalshi_arb.detection.detect import Detector
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.group_record import GroupRecord, HistoryKind, SuspensionReason
from kalshi_arb.domain.market import Netting, Outcome
from kalshi_arb.domain.money import Count
from kalshi_arb.fakes import (
    MemoryBasketStore,
    MemoryBookStore,
    MemoryGroupStore,
    MemoryLedgerStore,
    MemoryMetrics,
    MemoryNotifier,
    MemoryOpportunityStore,
    MemoryQueue,
    MemoryReservationStore,
    MemoryStatusStore,
    MemoryWorkflow,
)
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Signer
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.relations.discover import LOOK_EVERY_MS, Discovery
from kalshi_arb.risk.check import RiskCheck
from kalshi_arb.risk.limits import parse_limits
from kalshi_arb.schemas import Candidate, Lifecycle, Look, decode, is_a
from tests.basket_world import WIDE_LIMITS

GENEROUS_S = 30.0
GROUP = f"{EVENT}:ladder"
EASY, MIDDLE, _ = TICKERS
QUICK = FeedConfig(mode="simulated", poll_s=0.02, beat_s=0.01, status_s=0.05, cooldown_ms=50, look_s=0.2)


class AheadClock(SystemClock):
    """The machine's clock, put forward by what a test does not wait for."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class HastyClock(SystemClock):
    """The machine's clock, on which pauses between repeated reads are short."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / 20)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


@dataclass
class System:
    """Feed, discovery, detection and risk check on one served exchange; stores in memory."""

    served: ServedExchange
    clock: AheadClock = field(default_factory=AheadClock)
    groups: MemoryGroupStore = field(default_factory=MemoryGroupStore)
    status: MemoryStatusStore = field(default_factory=MemoryStatusStore)
    notifier: MemoryNotifier = field(default_factory=MemoryNotifier)
    baskets: MemoryBasketStore = field(default_factory=MemoryBasketStore)
    candidates: MemoryQueue = field(default_factory=MemoryQueue)
    lifecycle: MemoryQueue = field(default_factory=MemoryQueue)

    def __post_init__(self) -> None:
        now = SystemClock()
        self.client = RestClient(
            base_url=self.served.server.rest_url, credentials=self.served.credentials, clock=HastyClock()
        )  # fmt: skip
        data, trading = KalshiMarketData(self.client, now), KalshiTrading(self.client)
        self.discovery = Discovery(
            market_data=data, groups=self.groups, status=self.status, notifier=self.notifier, clock=self.clock,
            mode="simulated",
        )  # fmt: skip
        self.detector = Detector(
            groups=self.groups, opportunities=MemoryOpportunityStore(), baskets=self.baskets,
            workflow=MemoryWorkflow(), status=self.status, notifier=self.notifier, clock=now, mode="simulated",
            precision=Precision.DIRECT, smallest_fill=Count(100), max_book_age_ms=60_000, netting=Netting.OFF,
            free=lambda _claims: {},
        )  # fmt: skip
        self.risk = RiskCheck(
            baskets=self.baskets, groups=self.groups, ledger=MemoryLedgerStore(), market_data=data, trading=trading,
            reservations=MemoryReservationStore(), status=self.status, notifier=self.notifier, clock=now,
            mode="simulated", precision=Precision.DIRECT, smallest_fill=Count(100), may_trade_on_its_fees=True,
            write_tokens=1_000, terms=lambda: None, limits=lambda: parse_limits(WIDE_LIMITS),
        )  # fmt: skip
        self.service = FeedService(
            config=QUICK,
            connector=SignedConnector(self.served.server.ws_url, Signer(self.served.credentials), now),
            groups=self.groups,
            ports=Ports(self.candidates, self.lifecycle, MemoryBookStore(), self.status),
            metrics=MemoryMetrics(),
            clock=now,
            epoch=1,
        )

    def record(self) -> GroupRecord:
        record = self.groups.get(GROUP)
        assert record is not None
        return record

    def crowd(self, ticker: str, outcome: Outcome, cents: int, contracts: int) -> None:
        self.served.do(lambda: rest(self.served.core, ticker, outcome, cents, contracts))

    def messages(self) -> list[Lifecycle]:
        return [decode(body, Lifecycle) for body in self.lifecycle.bodies if is_a(body, Lifecycle)]

    async def opportunity(self, fingerprint: str) -> tuple[Candidate, str]:
        """A candidate of this version of the group, and the basket that detection made of it."""

        def newest() -> Candidate | None:
            found = [decode(body, Candidate) for body in self.candidates.bodies]
            return next((one for one in reversed(found) if one.fingerprint == fingerprint), None)

        await until(lambda: newest() is not None, "a candidate of this version")
        candidate = newest()
        assert candidate is not None
        handled = self.detector.handle(candidate)
        assert (handled.outcome, handled.basket_id is None) == ("started", False)
        return candidate, str(handled.basket_id)

    def told(self, part: str) -> list[str]:
        return [alert.text for alert in self.notifier.published if part in alert.text]

    async def look(self) -> dict[str, int]:
        """The next look, without waiting for it."""
        self.clock.ahead_ms += LOOK_EVERY_MS
        report = await asyncio.to_thread(self.discovery.look)
        return report.changes


async def play(system: System) -> None:
    served = system.served
    assert (await asyncio.to_thread(system.discovery.run)).groups == {"ladder": 1}
    first = system.record().group.fingerprint
    await until(lambda: system.service.core.stream.totals() == (3, 0), "every book is right")
    # YES of the easier strike for 40 cents, NO of the harder for 50: a dollar at least, whatever happens.
    system.crowd(EASY, Outcome.NO, 60, 10)
    system.crowd(MIDDLE, Outcome.YES, 50, 10)
    candidate, basket = await system.opportunity(first)

    # A strike changes, and the exchange's reads are down when its message comes.
    served.arm(HttpError(status=503, scope=CallScope(paths=("/events", "/events/*")), for_ms=600_000))
    served.arm(StrikeChanged(market=EASY, floor="15"))
    await until(lambda: bool(system.messages()), "the message of the stream")
    (message,) = system.messages()
    assert (message.ticker, message.event_type, message.groups) == (EASY, "metadata_updated", (GROUP,))
    await asyncio.to_thread(lambda: system.discovery.heard([message], reminded=False))

    suspension = system.record().suspension
    assert suspension is not None
    assert suspension.reason is SuspensionReason.ANNOUNCED
    changed_ms = served.do(lambda: served.core.markets[EASY].updated_ms)
    assert changed_ms <= message.received_ms <= suspension.since_ms < changed_ms + GENEROUS_S * 1_000
    assert system.detector.handle(candidate).outcome == "group_suspended"
    refused = await asyncio.to_thread(lambda: system.risk.run(basket, 1))
    assert (refused.accepted, refused.reason) == (False, "group_suspended")

    # The feed offers nothing of it either.
    await until(lambda: GROUP in system.service.core._suspended, "the feed knows")
    offered = len(system.candidates.bodies)
    system.crowd(EASY, Outcome.NO, 61, 10)
    await until(lambda: system.service.core.drops["group_suspended"] > 0, "a candidate that was held back")
    assert len(system.candidates.bodies) == offered

    # The reads are back: the group as it is now is a new version, and a person is told what changed.
    served.disarm()
    assert await system.look() == {"replaced": 1}
    (text,) = system.told(f"Floor strike of {EASY} changed from 10 to 15.")
    assert text.endswith("As it is now it is active as version 2.")
    second = system.record()
    assert (second.number, second.suspension) == (2, None)
    assert [entry.kind for entry in reversed(system.groups.history(GROUP, 9))] == [
        HistoryKind.ACCEPTED, HistoryKind.SUSPENDED, HistoryKind.REPLACED,
    ]  # fmt: skip

    # The running feed and detection go on with the new version.
    system.crowd(EASY, Outcome.NO, 62, 10)
    candidate, basket = await system.opportunity(second.group.fingerprint)

    # A sentence of the rules changes: no message says so, the next look finds it.
    await asyncio.sleep(0.5)
    heard = len(system.messages())
    served.arm(
        *(
            RulesChanged(market=ticker, rules=f"Yes if the value is greater than {number}0 as first published.")
            for number, ticker in enumerate(TICKERS, start=1)
        )
    )
    assert await system.look() == {"suspended": 1, "replaced": 1}
    assert len(system.messages()) == heard
    assert any(is_a(body, Look) for body in system.lifecycle.bodies), "the feed reminds of looking"
    assert len(system.told(f"Rules text of {MIDDLE} changed")) == 1
    assert system.record().number == 3
    assert system.detector.handle(candidate).outcome == "fingerprint_changed"
    refused = await asyncio.to_thread(lambda: system.risk.run(basket, 1))
    assert (refused.accepted, refused.reason) == (False, "fingerprint_changed")


def test_a_changed_strike_and_a_changed_sentence_stop_what_rests_on_them() -> None:
    now_ms = SystemClock().now_ms()
    core = still_core(event=lambda: still_event(TICKERS, open_ms=now_ms, close_ms=now_ms + 3_600_000))
    core.advance(now_ms)
    core.drain()

    async def main(served: ServedExchange) -> None:
        system = System(served)
        stop = asyncio.Event()
        task = asyncio.create_task(system.service.run(stop))
        try:
            await play(system)
            assert not task.done()
        finally:
            stop.set()
            await asyncio.wait([task])
            system.client.close()
        await task

    with ServedExchange(core, SystemClock().now_ms) as served:
        asyncio.run(main(served))
