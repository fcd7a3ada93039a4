"""What stops purchases in a run: a person, the breaker, or an abandonment; and what may still leave after it.

A wave that was taken before the stop may still leave, within the window in which a wave has to be sent and the time
that its request waits for tokens. After that no purchase leaves until the stop is over. Unwinds go on, but for the
minute after an abandonment, in which the exchange cancels whatever is placed.
"""

from dataclasses import dataclass
from enum import StrEnum, unique

from infra.chaos.scheduler import Scheduler
from infra.chaos.wiring import Stage, Trace
from kalshi_arb.execution.control import lift_stop, read_stop, set_stop
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.risk.breaker import COMPONENT, Breaker, Cause, read_trip, reset_breaker
from kalshi_arb.risk.limits import Limits

FORBIDDEN_MS = 60_000
_BUYING, _UNWINDING = "execute_wave", "unwind"
_TOKEN_WAIT_MS = {_BUYING: 200, _UNWINDING: 1_000}
_CYCLE_MS = {function: ExecutionPolicy().send_window_ms + wait for function, wait in _TOKEN_WAIT_MS.items()}


@unique
class Means(StrEnum):
    """What stops purchases."""

    STOP = "stop"
    BREAKER = "breaker"
    ABANDON = "abandon"


@dataclass(frozen=True, slots=True)
class Halt:
    """Purchases are stopped at a moment of a run for so long; the minute without any orders runs on by itself."""

    means: Means
    at_ms: int
    for_ms: int


@dataclass(frozen=True, slots=True)
class _Span:
    """Nothing of a function's may leave between these moments, but for one cycle at the beginning."""

    means: Means
    function: str
    from_ms: int
    to_ms: int


class Halts:
    """Carries them out, and says what left in spite of them."""

    def __init__(self, stage: Stage, scheduler: Scheduler, trace: Trace) -> None:
        self._stage = stage
        self._trace = trace
        self._scheduler = scheduler
        self._spans: list[_Span] = []

    def carry_out(self, halt: Halt) -> None:
        """Stop purchases, wait, and let them go on."""
        since = self._scheduler.now_ms()
        self._trace.note(f"{halt.means.value} for {halt.for_ms} ms")
        if halt.means is Means.BREAKER:
            self._trip(halt)
        else:
            self._stop(halt)
        until = self._scheduler.now_ms()
        self._trace.note(f"the {halt.means.value} is over")
        if halt.means is Means.ABANDON:
            until = max(until, since + FORBIDDEN_MS)
            self._spans.append(_Span(halt.means, _UNWINDING, since, since + FORBIDDEN_MS))
        self._spans.append(_Span(halt.means, _BUYING, since, until))

    def problems(self) -> list[str]:
        """Orders that left more than a cycle after what forbids them."""
        return [
            f"{span.function} sent orders {leaving.at_ms - span.from_ms} ms after the {span.means.value}"
            for span in self._spans
            for leaving in self._stage.wire.left
            if leaving.function == span.function
            and span.from_ms + _CYCLE_MS[span.function] < leaving.at_ms < span.to_ms
        ]

    def unwinds(self) -> int:
        """How many batches of unwinds left while purchases were stopped."""
        return sum(
            leaving.function == _UNWINDING and any(span.from_ms <= leaving.at_ms < span.to_ms for span in self._spans)
            for leaving in self._stage.wire.left
        )

    def _stop(self, halt: Halt) -> None:
        status, now_ms = self._stage.status, self._stage.clock.now_ms()
        until_ms = now_ms + FORBIDDEN_MS if halt.means is Means.ABANDON else 0
        set_stop(status, by="person", reason="a person wants it", now_ms=now_ms, no_orders_until_ms=until_ms)
        self._scheduler.wait(halt.for_ms)
        lift_stop(status, by="person", now_ms=self._stage.clock.now_ms(), seen=read_stop(status))

    def _trip(self, halt: Halt) -> None:
        status = self._stage.status
        breaker = Breaker(
            status=status, notifier=self._stage.notifier, clock=self._stage.clock, mode="simulated", limits=Limits
        )
        breaker.note(Cause.LOSS, "chaos", Limits().breaker_max_loss + 1)
        self._scheduler.wait(halt.for_ms)
        trip = read_trip(status.get(COMPONENT))
        if trip is not None:
            reset_breaker(status, trip)
