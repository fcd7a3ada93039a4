"""Eastern Time, in which the exchange counts its days and hours (Kalshi API documentation, exchange schedule).

Summer time runs from the second Sunday of March to the first Sunday of November, 02:00 local time, as United States law
has had it since 2007, so no table of time zones is needed.
"""

from calendar import SUNDAY
from datetime import UTC, date, datetime, time, timedelta

_WINTER, _SUMMER = timedelta(hours=-5), timedelta(hours=-4)
_CHANGES_AT = time(2)


def utc_ms(day: date, at: time) -> int:
    """A local date and time in UTC milliseconds. The hour that autumn repeats is its first, the one that spring skips
    counts from the winter's side."""
    local = datetime.combine(day, at, tzinfo=UTC)
    begins = datetime.combine(_nth_sunday(day.year, 3, 2), _CHANGES_AT, tzinfo=UTC)
    ends = datetime.combine(_nth_sunday(day.year, 11, 1), _CHANGES_AT, tzinfo=UTC)
    offset = _SUMMER if begins <= local < ends else _WINTER
    return int((local - offset).timestamp()) * 1_000


def local_day(ms: int) -> date:
    """The local date of a moment (UTC milliseconds)."""
    day = datetime.fromtimestamp(ms / 1_000, tz=UTC).date()
    return day if utc_ms(day, time(0)) <= ms else day - timedelta(days=1)


def midnight_ms(ms: int) -> int:
    """The local midnight that a moment's day began with, both UTC milliseconds."""
    return utc_ms(local_day(ms), time(0))


def _nth_sunday(year: int, month: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(SUNDAY - first.weekday()) % 7 + 7 * (number - 1))
