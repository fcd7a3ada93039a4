"""How far this machine's clock is from the exchange's.

Measured from the ``Date`` header of every answer, because each has one and it is the clock of the host that checks
signatures. It counts whole seconds: the true time lies somewhere in the second it names, and the answer was on its way,
so one answer tells the offset to within half a second and half the call's duration. Several narrow it down, since the
true offset lies within all their bounds. ``user_data_timestamp`` has milliseconds, but says how far reads have caught
up, which may trail the clock without a limit; it is no clock.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_DATE_STEP_MS = 1_000
# Bounds older than this may be of before the machine's clock was set.
_FORGET_MS = 600_000


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """``offset_ms`` is this machine's clock less the exchange's, in the middle of its bounds; the truth is within
    ``error_ms`` of it. Milliseconds."""

    offset_ms: int
    error_ms: int

    def __str__(self) -> str:
        """For a person."""
        direction = "ahead of" if self.offset_ms > 0 else "behind"
        return (
            f"this machine's clock is {abs(self.offset_ms) / 1000:.1f} s {direction} the exchange's "
            f"(to within {self.error_ms / 1000:.1f} s)"
        )


def server_second_ms(date: str | None, age: str | None) -> int | None:
    """The beginning of the second that the headers ``Date`` and ``Age`` (seconds a kept copy has waited) name, UTC
    milliseconds; None when they do not."""
    try:
        moment = parsedate_to_datetime(date or "")
        return round(moment.timestamp()) * 1000 + int(age or "0") * 1000
    except (ValueError, TypeError, OverflowError):
        return None


class OffsetMeter:
    """Narrows the offset down, answer by answer."""

    def __init__(self) -> None:
        self._low_ms = 0
        self._high_ms = 0
        self._measured_ms: int | None = None

    def note(self, second_ms: int, sent_ms: int, received_ms: int) -> None:
        """One answer: the exchange was in the second ``second_ms`` at some moment between ``sent_ms`` and
        ``received_ms`` of this machine's clock."""
        low, high = sent_ms - (second_ms + _DATE_STEP_MS - 1), received_ms - second_ms
        if low > high:
            return
        known = self._measured_ms is not None and 0 <= received_ms - self._measured_ms <= _FORGET_MS
        if known and low <= self._high_ms and high >= self._low_ms:
            low, high = max(low, self._low_ms), min(high, self._high_ms)
        # Else a clock was set in between: what was known is wrong.
        self._low_ms, self._high_ms, self._measured_ms = low, high, received_ms

    def offset(self) -> ClockOffset | None:
        """What is known; None before the first answer."""
        if self._measured_ms is None:
            return None
        middle = (self._low_ms + self._high_ms) // 2
        return ClockOffset(middle, self._high_ms - middle)
