"""What keeps the system from buying: the stop that anybody sets, the breaker that trips by itself, and for real money
an arming that is missing, over or made for something else. Each is an item of its own, strongly read at each use, and
any of them is enough. None of them keeps an unwind from selling."""

from collections.abc import Mapping
from dataclasses import dataclass

from kalshi_arb.execution.arming import COMPONENT as ARMING
from kalshi_arb.execution.arming import Terms, arming_fault
from kalshi_arb.ports import StatusStore
from kalshi_arb.risk.breaker import COMPONENT as BREAKER
from kalshi_arb.risk.breaker import read_trip
from kalshi_arb.settings import Mode

COMPONENT = "control"


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop item.

    ``stopped`` refuses purchases. Until ``no_orders_until_ms`` (UTC milliseconds) no order may be sent at all, since
    the exchange cancels what is placed in the minute after a cancel-all.
    """

    stopped: bool = False
    by: str = ""
    reason: str = ""
    at_ms: int = 0
    no_orders_until_ms: int = 0


def read_stop(status: StatusStore) -> Stop:
    """The stop item, strongly read. Anything but an explicit false counts as a stop; no item is none."""
    return _stop_of(status.get(COMPONENT) or {})


def set_stop(status: StatusStore, *, by: str, reason: str, now_ms: int, no_orders_until_ms: int = 0) -> Stop:
    """Refuse purchases from now on, until a person lifts it. Wins over every other writer."""
    until = max(no_orders_until_ms, read_stop(status).no_orders_until_ms)
    stop = Stop(stopped=True, by=by, reason=reason, at_ms=now_ms, no_orders_until_ms=until)
    status.put(COMPONENT, _item_of(stop))
    return stop


def lift_stop(status: StatusStore, *, by: str, now_ms: int, seen: Stop) -> bool:
    """Take back the stop that the caller has seen; False when another one was set meanwhile, which stands. A time
    without any orders runs on."""
    item = status.get(COMPONENT)
    if _stop_of(item or {}) != seen:
        return False
    lifted = Stop(by=by, at_ms=now_ms, no_orders_until_ms=seen.no_orders_until_ms)
    return status.swap(COMPONENT, item, _item_of(lifted))


def orders_forbidden(status: StatusStore, now_ms: int) -> str | None:
    """Why no order at all may be sent, not even an unwind's; None when one may."""
    return _forbidden(read_stop(status), now_ms)


def buying_stopped(status: StatusStore, now_ms: int, mode: str, terms: Terms | None = None) -> str | None:
    """Why nothing new may be bought, None when it may. The word before the colon is one of ``abandoned``, ``stopped``,
    ``breaker`` and ``not_armed``; what follows is for a person.

    :param mode: the word for the stack's mode; only ``live`` has to be armed
    :param terms: what the caller finds deployed; the arming must have been made for the same
    """
    stop = read_stop(status)
    if (forbidden := _forbidden(stop, now_ms)) is not None:
        return forbidden
    if stop.stopped:
        return f"stopped: by {stop.by or 'a person'}{f', {stop.reason}' if stop.reason else ''}"
    if (trip := read_trip(status.get(BREAKER))) is not None:
        return f"breaker: {trip.text}"
    if mode == Mode.LIVE.value and (fault := arming_fault(status.get(ARMING), now_ms, terms)) is not None:
        return f"not_armed: {fault}"
    return None


def _forbidden(stop: Stop, now_ms: int) -> str | None:
    left = stop.no_orders_until_ms - now_ms
    if left <= 0:
        return None
    return f"abandoned: the exchange cancels whatever is placed in the next {-(-left // 1000)} s"


def _stop_of(item: Mapping[str, object]) -> Stop:
    at, until = item.get("at_ms"), item.get("no_orders_until_ms")
    return Stop(
        stopped=item.get("stop", False) is not False,
        by=str(item.get("by", "")),
        reason=str(item.get("reason", "")),
        at_ms=at if isinstance(at, int) else 0,
        no_orders_until_ms=until if isinstance(until, int) else 0,
    )


def _item_of(stop: Stop) -> dict[str, object]:
    return {
        "stop": stop.stopped,
        "by": stop.by,
        "reason": stop.reason,
        "at_ms": stop.at_ms,
        "no_orders_until_ms": stop.no_orders_until_ms,
    }
