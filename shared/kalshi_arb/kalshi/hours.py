"""When the exchange stops trading by its own schedule (Kalshi API documentation, exchange schedule): sessions of each
weekday in Eastern Time, and maintenance windows."""

import re
from collections.abc import Iterator
from datetime import date, time, timedelta

from kalshi_arb.domain.eastern import local_day, utc_ms
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.kalshi.models.market import HoursWire, ScheduleWire, WeekWire

_DAYS_AHEAD = 8
_DAY_MINUTES = 24 * 60
_HOUR = re.compile(r"(\d\d):([0-5]\d)(?::00)?", re.ASCII)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def closes_ms(schedule: ScheduleWire, now_ms: int) -> int | None:
    """The first moment from ``now_ms`` on at which it does not trade; None when there is none within a week. A day that
    no week of the schedule covers counts as open, since nothing is said about it. UTC milliseconds.

    :raises WireFormatError: an hour is not ``HH:MM``.
    """
    moment = now_ms
    for opens, closes in _sessions(schedule, local_day(now_ms)):
        if opens <= moment < closes:
            moment = closes
        elif opens > moment:
            break
    ends = utc_ms(local_day(now_ms) + timedelta(days=_DAYS_AHEAD), time(0))
    stops = [moment] if moment < ends else []
    stops += [
        max(now_ms, window.start_datetime) for window in schedule.maintenance_windows if window.end_datetime > now_ms
    ]
    return min(stops, default=None)


def _sessions(schedule: ScheduleWire, today: date) -> Iterator[tuple[int, int]]:
    """Sessions in order, from yesterday's on: one may reach over midnight."""
    for ahead in range(-1, _DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        begins, ends = utc_ms(day, time(0)), utc_ms(day + timedelta(days=1), time(0))
        week = next((one for one in schedule.standard_hours if _covers(one, begins, ends)), None)
        if week is None:
            yield begins, ends
            continue
        hours: list[HoursWire] = getattr(week, _WEEKDAYS[day.weekday()])
        sessions = sorted((_minute(one.open_time), _minute(one.close_time)) for one in hours)
        for opens, closes in sessions:
            # A session that ends at midnight or after it is written with an hour no later than its first.
            yield _at(day, opens), _at(day, closes if closes > opens else closes + _DAY_MINUTES)


def _at(day: date, minute: int) -> int:
    """A minute of a local day, which may lie in the next, in UTC milliseconds."""
    days, minute = divmod(minute, _DAY_MINUTES)
    return utc_ms(day + timedelta(days=days), time(*divmod(minute, 60)))


def _covers(week: WeekWire, begins: int, ends: int) -> bool:
    return week.start_time < ends and begins < week.end_time


def _minute(text: str) -> int:
    """The minute of the day that ``HH:MM`` names, ``24:00`` included."""
    match = _HOUR.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match else _DAY_MINUTES + 1
    if minute > _DAY_MINUTES:
        raise WireFormatError(f"exchange schedule: {text!r} is no hour")
    return minute
