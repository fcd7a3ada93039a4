"""A tape played in one process and one thread: exchange, stream, books, screen, detection, without sockets or waiting.

The feed judges after every single frame, which no real one can: whatever could be priced from two passes at once would
be found here.
"""

from collections.abc import Iterable
from random import Random
from typing import Any

from feed.config import FeedConfig
from feed.core import FeedCore, Moment
from infra.exchange.assembly import TapeOptions
from infra.exchange.channels import Frame
from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.playback import Playback, listed_groups
from infra.exchange.stream import StreamSession
from kalshi_arb.detection.detect import Detector
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus, Netting
from kalshi_arb.domain.money import CASH_PER_DOLLAR, Cash, Count
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.fakes import (
    ManualClock,
    MemoryBasketStore,
    MemoryGroupStore,
    MemoryNotifier,
    MemoryOpportunityStore,
    MemoryStatusStore,
    MemoryWorkflow,
)
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.schemas import Candidate, Lifecycle

START_MS = 1_795_000_000_000
STEP_MS = 20


class TapeBench:
    """Everything between a tape and the stored opportunities."""

    def __init__(self, played: TapeOptions, *, smallest_fill: Count = Count(100)) -> None:
        self.exchange = ExchangeCore(START_MS, seeded_ids(Random(3)))
        self.exchange.open_account(MEMBER, {0: Cash(10_000 * CASH_PER_DOLLAR)}, Precision.DIRECT)
        self.playback = Playback(self.exchange, played.tape, played.speed)
        self.playback.start()
        self.session = StreamSession(self.exchange, MEMBER)
        self.feed = FeedCore(stream=BookStream(1), outlet=self, config=FeedConfig(mode="simulated", depth=100))
        self.store = MemoryOpportunityStore()
        self.groups = MemoryGroupStore()
        self.clock = ManualClock(START_MS)
        self.candidates = 0
        self.frames = 0
        self.detector = Detector(
            groups=self.groups, opportunities=self.store, baskets=MemoryBasketStore(), workflow=MemoryWorkflow(),
            status=MemoryStatusStore(), notifier=MemoryNotifier(), clock=self.clock, mode="simulated",
            precision=Precision.DIRECT, smallest_fill=smallest_fill, max_book_age_ms=5_000,
            netting=Netting.OFF, free=lambda _: {},
        )  # fmt: skip
        self.discover()
        self.feed.open(self.clock.now_ms())
        self.answer()

    # The feed's outlet

    def candidate(self, candidate: Candidate, received: Moment) -> None:
        self.candidates += 1
        self.detector.handle(candidate)

    def book(self, book: BookSnapshot) -> bool:
        return True

    def lifecycle(self, message: Lifecycle) -> None:
        pass

    # The loop

    def moment(self) -> Moment:
        now_ms = self.clock.now_ms()
        return Moment(now_ms, now_ms * 1_000_000)

    def discover(self) -> None:
        """What discovery would accept now."""
        trading = [
            event.ticker
            for event in self.exchange.events.values()
            if self.exchange.markets[event.markets[0].ticker].status is MarketStatus.ACTIVE
        ]
        groups = [group for event in trading for group in listed_groups(self.exchange, event)]
        self.groups.hold(groups)
        self.feed.install(Screen(groups), groups, self.moment())

    def answer(self) -> None:
        """Carry commands to the exchange until there are none."""
        while self.feed.stream.has_commands:
            for text in self.feed.stream.take_commands():
                self.deliver(self.session.handle(text))

    def deliver(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self.frames += 1
            self.feed.frame(frame.text, self.moment())
            self.feed.judge(self.clock.now_ms())

    def step(self, ms: int = STEP_MS) -> None:
        """Let time pass by one step."""
        self.clock.advance(ms)
        self.playback.step(self.clock.now_ms())
        self.deliver(self.session.emit(self.exchange.drain()))
        self.feed.judge_waiting(self.moment())
        self.answer()

    def play(self) -> None:
        """To the end of the tape, and until its last pass is set; discovery runs after each pass."""
        seen = 0
        while seen < len(self.playback.tape.recording.passes):
            self.step()
            if self.playback.passes_seen != seen:
                seen = self.playback.passes_seen
                self.discover()
                self.answer()

    def stats(self) -> dict[str, Any]:
        """The exchange's own words on the tape."""
        return self.playback.stats()

    def opportunities(self) -> list[Opportunity]:
        """Everything detection stored."""
        return self.store.recent(100_000)
