"""The weekly pause: Thursdays 03:00 to 05:00 in New York (Kalshi API documentation, exchange schedule)."""

from calendar import SUNDAY, THURSDAY
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_BEGINS, _ENDS = time(3), time(5)
_WINTER, _SUMMER = timedelta(hours=-5), timedelta(hours=-4)


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
            pause = Pause(_utc_ms(day, _BEGINS), _utc_ms(day, _ENDS))
            if pause.ends_ms > ms:
                return pause
        day += timedelta(days=1)


def _utc_ms(day: date, at: time) -> int:
    # Clocks change on Sundays, so a whole Thursday has one offset and no table of time zones is needed.
    offset = _SUMMER if _nth_sunday(day.year, 3, 2) <= day < _nth_sunday(day.year, 11, 1) else _WINTER
    return int((datetime.combine(day, at, tzinfo=UTC) - offset).timestamp()) * 1_000


def _nth_sunday(year: int, month: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(SUNDAY - first.weekday()) % 7 + 7 * (number - 1))
