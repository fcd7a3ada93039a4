"""The weekly pause: Thursdays 03:00 to 05:00 in New York (Kalshi API documentation, exchange schedule)."""

from calendar import THURSDAY
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from kalshi_arb.domain.eastern import utc_ms

_BEGINS, _ENDS = time(3), time(5)


@dataclass(frozen=True, slots=True)
class Pause:
    """One weekly pause, UTC milliseconds; ``ends_ms`` is the first moment after it."""

    begins_ms: int
    ends_ms: int


def pause_at_or_after(ms: int) -> Pause:
    """The weekly pause that is going on at ``ms`` (UTC milliseconds), or else the next one."""
    day = datetime.fromtimestamp(ms / 1_000, tz=UTC).date() - timedelta(days=1)
    while True:
        if day.weekday() == THURSDAY:
            pause = Pause(utc_ms(day, _BEGINS), utc_ms(day, _ENDS))
            if pause.ends_ms > ms:
                return pause
        day += timedelta(days=1)
