"""What a person sees of the stops, sets and takes back: plain JSON, for the HTTP API and the command line alike."""

import msgspec

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.execution.arming import COMPONENT as ARMING
from kalshi_arb.execution.control import buying_stopped, lift_stop, read_stop, set_stop
from kalshi_arb.ports import StatusStore
from kalshi_arb.risk.breaker import COMPONENT as BREAKER
from kalshi_arb.risk.breaker import read_trip, reset_breaker
from kalshi_arb.settings import Mode

Json = dict[str, object]

LONGEST_REASON = 500


class StopError(KalshiArbError):
    """A stop cannot be set or taken back like this; the message says what to do."""


class StopOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's stop."""

    by: str = ""
    reason: str = ""


class ArmOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person takes the stop back, and with ``reset_breaker`` the breaker's trip too."""

    by: str = ""
    reset_breaker: bool = False


def read_stop_order(body: str | None) -> StopOrder:
    """The body of a stop, which may be empty. :raises StopError: it cannot be read."""
    problem = f'the body must be empty or {{"by": "...", "reason": "..."}}, each of at most {LONGEST_REASON} characters'
    try:
        order = msgspec.json.decode(body or "{}", type=StopOrder)
    except msgspec.DecodeError:
        raise StopError(problem) from None
    if max(len(order.by), len(order.reason)) > LONGEST_REASON:
        raise StopError(problem)
    return order


def read_arm_order(body: str | None) -> ArmOrder:
    """The body of an arming, which may be empty. :raises StopError: it cannot be read."""
    problem = f'the body must be empty or {{"by": "...", "reset_breaker": true}}, "by" of at most {LONGEST_REASON}'
    try:
        order = msgspec.json.decode(body or "{}", type=ArmOrder)
    except msgspec.DecodeError:
        raise StopError(problem) from None
    if len(order.by) > LONGEST_REASON:
        raise StopError(problem)
    return order


def trading_view(status: StatusStore, now_ms: int, mode: str) -> Json:
    """Whether anything new may be bought, and each stop. ``stopped`` is the reason, null when there is none."""
    stop, trip = read_stop(status), read_trip(status.get(BREAKER))
    arming = status.get(ARMING) or {}
    return {
        "stopped": buying_stopped(status, now_ms, mode),
        "stop": {"by": stop.by, "reason": stop.reason, "at_ms": stop.at_ms} if stop.stopped else None,
        "no_orders_until_ms": stop.no_orders_until_ms if stop.no_orders_until_ms > now_ms else None,
        "breaker": None if trip is None else {"cause": trip.cause, "text": trip.text, "at_ms": trip.at_ms},
        "armed_until_ms": arming.get("until_ms") if mode == Mode.LIVE.value else None,
    }


class StopDesk:
    """The use cases behind `stop` and `arm`."""

    def __init__(self, *, status: StatusStore, clock: Clock, mode: str) -> None:
        self._status = status
        self._clock = clock
        self._mode = mode

    def view(self) -> Json:
        """As things stand."""
        return {"mode": self._mode, "trading": trading_view(self._status, self._clock.now_ms(), self._mode)}

    def stop(self, order: StopOrder) -> Json:
        """Refuse purchases from now on; unwinds run."""
        set_stop(self._status, by=order.by, reason=order.reason, now_ms=self._clock.now_ms())
        return self.view()

    def arm(self, order: ArmOrder) -> Json:
        """Take the stop back where no real money moves.

        :raises StopError: in mode live, where only the owner of the AWS account arms; the breaker has tripped and is
            not to be reset; or somebody stopped again at this moment
        """
        if self._mode == Mode.LIVE.value:
            raise StopError(
                "real money is armed with `kalshi-arb arm --stack live` and AWS credentials, not over the API"
            )
        self.lift(order)
        return self.view()

    def lift(self, order: ArmOrder) -> None:
        """Take back the breaker's trip if asked to, then the stop. :raises StopError: as :meth:`arm` says."""
        trip = read_trip(self._status.get(BREAKER))
        if trip is not None and not order.reset_breaker:
            raise StopError(f"the breaker has tripped ({trip.text}): find out why, then reset it (--reset-breaker)")
        if trip is not None and not reset_breaker(self._status, trip):
            raise StopError("the breaker's item changed at this moment: look again")
        stop = read_stop(self._status)
        if stop.stopped and not lift_stop(self._status, by=order.by, now_ms=self._clock.now_ms(), seen=stop):
            raise StopError("somebody stopped trading again at this moment: look again")
