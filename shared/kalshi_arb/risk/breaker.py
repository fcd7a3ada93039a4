"""Trips when more goes wrong within a window than the limits allow, and stays tripped until a person resets it.

What went wrong and the trip are one status item, changed only if it is still what was read, so that writers at the same
moment cannot lose each other's events and a trip is never overwritten.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.money import Cash, dollars
from kalshi_arb.ports import Alert, AlertKind, Notifier, StatusStore
from kalshi_arb.risk.limits import Limits

COMPONENT = "breaker"
MOST_NOTED = 1_000
"""More events than this within the window trip the breaker whatever they are: the item holds no more."""
_TRIES = 20


@unique
class Cause(StrEnum):
    """What is counted. The limit it may reach within the window, but not exceed, is ``breaker_max_`` and its word."""

    LOSS = "loss"  # 1e-6 dollars that ended baskets lost
    REJECTS = "rejects"  # orders that the exchange refused; one that merely found no depth is none
    UNKNOWNS = "unknowns"  # orders whose outcome had to be asked for
    STALE = "stale"  # looks at the feed that found it silent
    DIFFERENCES = "differences"  # reconciliations that did not come out even


@dataclass(frozen=True, slots=True)
class Trip:
    """A tripped breaker: since when (UTC milliseconds), and the figures in words."""

    cause: str
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class _Event:
    cause: Cause
    event_id: str
    amount: int
    at_ms: int


class Breaker:
    """Counts what goes wrong.

    :param limits: the operator's limits as they are now; asked at every event
    """

    def __init__(
        self, *, status: StatusStore, notifier: Notifier, clock: Clock, mode: str, limits: Callable[[], Limits]
    ) -> None:
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode
        self._limits = limits

    def note(self, cause: Cause, event_id: str, amount: int = 1) -> Trip | None:
        """Count one event, and trip if that is one too many; returns the trip when the breaker is tripped.

        Noting the same event of a cause again within the window changes nothing, so it may be repeated after any error.

        :param event_id: what it is about, such as a client order id or a basket id
        :param amount: 1, or for a loss the 1e-6 dollars that were lost
        :raises ConflictError: other writers kept being first; nothing was counted
        """
        if amount <= 0:
            raise ValueError(f"an event of {amount} is none")
        for _ in range(_TRIES):
            before = self._status.get(COMPONENT)
            trip = read_trip(before)
            if trip is not None:
                self._tell(before, trip)
                return trip
            after, trip = self._counted(before or {}, cause, event_id, amount)
            if after is None:
                return None
            if self._status.swap(COMPONENT, before, after):
                if trip is not None:
                    self._tell(after, trip)
                return trip
        raise ConflictError(f"the breaker's item changed {_TRIES} times while {cause} {event_id} was noted")

    def _counted(
        self, item: Mapping[str, object], cause: Cause, event_id: str, amount: int
    ) -> tuple[dict[str, object] | None, Trip | None]:
        """The item with the event in it, None when it is there already; and the trip if it causes one."""
        limits, now = self._limits(), self._clock.now_ms()
        events = [one for one in _events(item) if one.at_ms > now - limits.breaker_window_s * 1000]
        if any((one.cause, one.event_id) == (cause, event_id) for one in events):
            return None, None
        events.append(_Event(cause, event_id, amount, now))
        total = sum(one.amount for one in events if one.cause is cause)
        allowed = int(getattr(limits, f"breaker_max_{cause}"))
        trip = None
        if total > allowed or len(events) > MOST_NOTED:
            trip = Trip(cause, _text(cause, total, allowed, limits.breaker_window_s, event_id), now)
        noted = [[one.cause, one.event_id, one.amount, one.at_ms] for one in events[-MOST_NOTED:]]
        return {"noted": noted, "trip": None if trip is None else _trip_item(trip, told=False)}, trip

    def _tell(self, item: Mapping[str, object] | None, trip: Trip) -> None:
        """Alert a person, unless somebody has. Whoever tripped it may have died before."""
        stored = (item or {}).get("trip")
        if not isinstance(stored, dict) or stored.get("told") is True:
            return
        self._notifier.publish(
            Alert(
                alert_id=f"breaker-{trip.at_ms}",
                kind=AlertKind.ERROR,
                mode=self._mode,
                title="The breaker has tripped: nothing new is bought",
                text=f"{trip.text}. Unwinds run. Find out why, then reset it with `kalshi-arb arm --reset-breaker`.",
                created_ms=trip.at_ms,
            )
        )
        # Lost to another writer: then that one tells again, under the same alert id.
        self._status.swap(COMPONENT, item, {**(item or {}), "trip": _trip_item(trip, told=True)})


def read_trip(item: Mapping[str, object] | None) -> Trip | None:
    """The trip that the item holds, None when it is not tripped. One that cannot be read counts as tripped."""
    if item is None or item.get("trip", "") is None:
        return None
    trip = item.get("trip")
    if not isinstance(trip, dict):
        return Trip("unreadable", "the breaker's item cannot be read", 0)
    at = trip.get("at_ms")
    return Trip(str(trip.get("cause")), str(trip.get("text")), at if isinstance(at, int) else 0)


def reset_breaker(status: StatusStore, seen: Trip) -> bool:
    """Forget the trip that a person has seen, and what led to it; False when it is not that one any more."""
    item = status.get(COMPONENT)
    if read_trip(item) != seen:
        return False
    return status.swap(COMPONENT, item, {"noted": [], "trip": None})


def _events(item: Mapping[str, object]) -> list[_Event]:
    noted = item.get("noted")
    return [
        _Event(Cause(cause), event_id, amount, at_ms)
        for cause, event_id, amount, at_ms in (noted if isinstance(noted, list) else [])
    ]


def _trip_item(trip: Trip, *, told: bool) -> dict[str, object]:
    return {"cause": str(trip.cause), "text": trip.text, "at_ms": trip.at_ms, "told": told}


def _text(cause: Cause, total: int, allowed: int, window_s: int, last: str) -> str:
    if cause is Cause.LOSS:
        figures = f"{dollars(Cash(total))} lost", f"{dollars(Cash(allowed))}"
    else:
        figures = f"{total} {_WORDS[cause]}", str(allowed)
    return f"{figures[0]} within {window_s} s, at most {figures[1]} allowed; the last was {last}"


_WORDS = {
    Cause.REJECTS: "orders refused by the exchange",
    Cause.UNKNOWNS: "orders of unknown outcome",
    Cause.STALE: "looks at a silent feed",
    Cause.DIFFERENCES: "reconciliations with a difference",
}
