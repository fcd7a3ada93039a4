"""Keeps the armed faults, decides where they strike, and counts it. No sockets, no asyncio.

Whoever sends a frame or answers a call asks here first. Time comes in as a callable and chance from the scripts' seeds,
so the same occasions in the same order are struck in the same way again.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Protocol

from infra.exchange.faults import (
    Call,
    CallFault,
    ClockSkewed,
    Disconnected,
    Disorder,
    Fault,
    FaultScript,
    FillsDisordered,
    FillSource,
    FrameDelayed,
    FrameDropped,
    FrameDuplicated,
    ReadsLagging,
    SequenceGap,
    StaleSnapshot,
    SubscriptionEnded,
    WorldFault,
)
from infra.exchange.lag import ReadLag, ReadSide
from infra.exchange.wire import Json

FrameAction = FrameDropped | FrameDuplicated | FrameDelayed | Disconnected | SubscriptionEnded


class FaultWorld(Protocol):
    """What can really be done to markets, cash and terms."""

    def check(self, fault: WorldFault) -> None:
        """:raises FaultScriptError: it names something that is not there, or cannot be done to it."""
        ...

    def strike(self, fault: WorldFault) -> bool:
        """Do it now; False when it changed nothing."""
        ...


class Armed:
    """One fault of a script with what became of it."""

    def __init__(self, number: int, fault: Fault, now_ms: int, chance: Random) -> None:
        self.number = number
        self.fault = fault
        self.seen = 0
        self.struck = 0
        self._chance = chance
        self._until_ms = None if fault.for_ms is None else now_ms + fault.for_ms

    def is_armed(self, now_ms: int) -> bool:
        """Whether it may still strike."""
        most = self.fault.most
        return (most is None or self.struck < most) and (self._until_ms is None or now_ms < self._until_ms)

    def try_strike(self) -> bool:
        """An occasion has come: whether it strikes there."""
        self.seen += 1
        if self.seen <= self.fault.skip or not self._is_lucky():
            return False
        self.struck += 1
        return True

    def _is_lucky(self) -> bool:
        return self.fault.chance >= 1 or self._chance.random() < self.fault.chance


class FaultBoard:
    """All faults of one exchange.

    :param now_ms: the exchange's time, UTC milliseconds
    :param lag: how far portfolio reads are behind, which a fault may change
    """

    def __init__(self, now_ms: Callable[[], int], world: FaultWorld, lag: ReadLag) -> None:
        self._now_ms = now_ms
        self._world = world
        self._lag = lag
        self._armed: list[Armed] = []
        self._number = 0

    # Scripts

    def add(self, script: FaultScript) -> list[int]:
        """Arm a script's faults beside those that are; returns their numbers.

        What changes the world without waiting for a call strikes before this returns.

        :raises FaultScriptError: something in it cannot be done here; then none of it is.
        """
        for fault in script.faults:
            if isinstance(fault, WorldFault):
                self._world.check(fault)
        chance = Random(script.seed)
        now_ms = self._now_ms()
        numbers = []
        for fault in script.faults:
            self._number += 1
            numbers.append(self._number)
            armed = Armed(self._number, fault, now_ms, chance)
            self._armed.append(armed)
            if isinstance(fault, WorldFault) and fault.before is None:
                self._strike_world(armed, fault)
        return numbers

    def clear(self) -> None:
        """Disarm everything and forget all counts. What was done to the world stays done."""
        self._armed.clear()
        self._lag.use({})

    def state(self) -> Json:
        """Every fault with how often it had an occasion and how often it struck, and the strikes by name and kind."""
        now_ms = self._now_ms()
        rows: list[Json] = [
            {
                "id": armed.number,
                "fault": armed.fault.label,
                "name": armed.fault.name,
                "armed": armed.is_armed(now_ms),
                "seen": armed.seen,
                "struck": armed.struck,
            }
            for armed in self._armed
        ]
        return {"now_ms": now_ms, "faults": rows, "struck": dict(self._strikes())}

    def struck(self, name: str) -> int:
        """How often faults of this name or kind have struck."""
        return self._strikes()[name]

    def _strikes(self) -> Counter[str]:
        strikes: Counter[str] = Counter()
        for armed in self._armed:
            for word in {armed.fault.label, armed.fault.name} - {""}:
                strikes[word] += armed.struck
        return strikes

    def _live(self) -> Iterator[tuple[Armed, Fault]]:
        if not self._armed:
            return
        now_ms = self._now_ms()
        for armed in self._armed:
            if armed.is_armed(now_ms):
                yield armed, armed.fault

    # Frames

    @property
    def is_idle(self) -> bool:
        """Whether nothing was ever armed since the last :meth:`clear`."""
        return not self._armed

    def frame(self, channel: str, kind: str, market: str) -> FrameAction | None:
        """What is to happen to a frame that is about to be queued, or None."""
        for armed, fault in self._live():
            if isinstance(fault, FrameAction) and fault.scope.covers(channel, kind, market) and armed.try_strike():
                return fault
        if kind == "fill":
            return self._fill_frame(market)
        return None

    def _fill_frame(self, market: str) -> FrameAction | None:
        for armed, fault in self._live():
            if not isinstance(fault, FillsDisordered) or not fault.covers(FillSource.STREAM, (market,)):
                continue
            if fault.how is Disorder.OUT_OF_ORDER and armed.seen % 2:
                armed.seen += 1  # the one that overtakes the one before it
                continue
            if armed.try_strike():
                duplicate = fault.how is Disorder.DUPLICATE
                return FrameDuplicated() if duplicate else FrameDelayed(ms=fault.ms, overtaken=True)
        return None

    def numbers_skipped(self, channel: str, kind: str, market: str) -> int:
        """How many sequence numbers are left out before a frame."""
        if not self._armed:
            return 0
        for armed, fault in self._live():
            if isinstance(fault, SequenceGap) and fault.scope.covers(channel, kind, market) and armed.try_strike():
                return fault.size
        return 0

    def shows_stale(self, channel: str, market: str) -> bool:
        """Whether a snapshot for which there is a different older one shows that instead."""
        return any(
            isinstance(fault, StaleSnapshot)
            and fault.scope.covers(channel, "orderbook_snapshot", market)
            and armed.try_strike()
            for armed, fault in self._live()
        )

    # Calls

    def call(self, call: Call) -> CallFault | None:
        """What is to happen to a call, or None. What changes the world before it has happened when this returns."""
        for armed, fault in self._live():
            if isinstance(fault, WorldFault) and fault.before is not None and fault.before.covers(call):
                self._strike_world(armed, fault)
        for armed, fault in self._live():
            if isinstance(fault, CallFault) and fault.scope.covers(call) and armed.try_strike():
                return fault
        return None

    def clock_skew_ms(self, call: Call) -> int:
        """How far the exchange's clock is ahead for this call."""
        for armed, fault in self._live():
            if isinstance(fault, ClockSkewed) and fault.scope.covers(call) and armed.try_strike():
                return fault.ms
        return 0

    def set_lag(self, call: Call) -> None:
        """Let the portfolio reads lag for this call as the armed faults say."""
        lags: dict[ReadSide, int] = {}
        for armed, fault in self._live():
            if not isinstance(fault, ReadsLagging):
                continue
            if call.path == "/exchange/user_data_timestamp" or (fault.scope.covers(call) and armed.try_strike()):
                lags |= dict.fromkeys(fault.reads or tuple(ReadSide), fault.ms)
        self._lag.use(lags)

    def fills_read(
        self, call: Call, rows: list[Json], disorder: Callable[[FillsDisordered, list[Json]], list[Json]]
    ) -> list[Json]:
        """The fills that this call shows in place of ``rows``. A fault that would change nothing has no occasion."""
        for armed, fault in self._live():
            if isinstance(fault, FillsDisordered) and fault.covers(FillSource.READS, call.markets):
                changed = disorder(fault, rows)
                if changed != rows and armed.try_strike():
                    rows = changed
        return rows

    def _strike_world(self, armed: Armed, fault: WorldFault) -> None:
        if armed.try_strike() and not self._world.strike(fault):
            armed.struck -= 1
