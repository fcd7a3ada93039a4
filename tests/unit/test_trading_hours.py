"""When the exchange stops trading by its own schedule, in Eastern Time."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.eastern import local_day, midnight_ms, utc_ms
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.kalshi.hours import closes_ms
from kalshi_arb.kalshi.models.market import ScheduleWire

NEW_YORK = ZoneInfo("America/New_York")
ALL_DAY = [{"open_time": "00:00", "close_time": "24:00"}]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def schedule(*maintenance: tuple[int, int], valid_days: int = 365, **days: object) -> ScheduleWire:
    week: dict[str, Any] = {day: days.get(day, ALL_DAY) for day in DAYS}
    week |= {"start_time": "2026-01-01T00:00:00Z", "end_time": at(date(2026, 1, 1) + timedelta(days=valid_days), 0)}
    windows = [{"start_datetime": iso(begins), "end_datetime": iso(ends)} for begins, ends in maintenance]
    return ScheduleWire.model_validate({"standard_hours": [week], "maintenance_windows": windows})


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat()


def at(day: date, hour: int) -> str:
    return iso(utc_ms(day, time(hour)))


THURSDAY = date(2026, 11, 26)
PAUSE = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "24:00"}]


@given(st.integers(1_200_000_000, 4_000_000_000))
def test_days_begin_when_new_york_says_so(seconds: int) -> None:
    now = datetime.fromtimestamp(seconds, tz=UTC)
    local = now.astimezone(NEW_YORK)
    ms = seconds * 1000
    assert local_day(ms) == local.date()
    midnight = datetime.combine(local.date(), time(0), tzinfo=NEW_YORK)
    assert midnight_ms(ms) == int(midnight.timestamp()) * 1000


@pytest.mark.parametrize(
    ("hour", "stops"), [(1, 3), (2, 3), (3, 3), (4, 4)], ids=["before", "shortly before", "as it begins", "during"]
)
def test_the_weekly_pause_is_seen_coming_and_is_now_while_it_lasts(hour: int, stops: int) -> None:
    week = schedule(thursday=PAUSE)
    assert closes_ms(week, utc_ms(THURSDAY, time(hour))) == utc_ms(THURSDAY, time(stops))


def test_nothing_stops_within_a_week_of_days_and_nights() -> None:
    assert closes_ms(schedule(), utc_ms(THURSDAY, time(4))) is None


def test_after_the_pause_comes_the_next_weeks() -> None:
    stops = closes_ms(schedule(thursday=PAUSE), utc_ms(THURSDAY, time(5)))
    assert stops == utc_ms(THURSDAY + timedelta(days=7), time(3))


def test_a_session_reaches_over_midnight() -> None:
    late = [{"open_time": "08:00", "close_time": "02:00"}]
    week = schedule(**dict.fromkeys(DAYS, late))
    assert closes_ms(week, utc_ms(THURSDAY, time(1))) == utc_ms(THURSDAY, time(2))
    assert closes_ms(week, utc_ms(THURSDAY, time(23))) == utc_ms(THURSDAY + timedelta(days=1), time(2))
    assert closes_ms(week, utc_ms(THURSDAY, time(7))) == utc_ms(THURSDAY, time(7))


def test_midnight_may_be_written_as_the_next_days_first_minute() -> None:
    week = schedule(thursday=[{"open_time": "00:00", "close_time": "00:00"}])
    assert closes_ms(week, utc_ms(THURSDAY, time(12))) is None


def test_a_day_without_sessions_is_closed() -> None:
    week = schedule(friday=[])
    assert closes_ms(week, utc_ms(THURSDAY, time(12))) == utc_ms(THURSDAY + timedelta(days=1), time(0))


def test_maintenance_counts_when_it_comes_first_and_not_once_it_is_over() -> None:
    noon = utc_ms(THURSDAY, time(12))
    hour = 3_600_000
    assert closes_ms(schedule((noon + hour, noon + 2 * hour)), noon) == noon + hour
    assert closes_ms(schedule((noon - hour, noon + hour)), noon) == noon
    assert closes_ms(schedule((noon - hour, noon)), noon) is None


def test_of_days_that_no_week_covers_nothing_is_known() -> None:
    assert closes_ms(schedule(valid_days=1, thursday=[]), utc_ms(THURSDAY, time(12))) is None


@pytest.mark.parametrize("hour", ["25:00", "24:01", "8am", "08:60", ""])
def test_an_hour_that_is_none_is_an_error(hour: str) -> None:
    week = schedule(thursday=[{"open_time": "00:00", "close_time": hour}])
    with pytest.raises(WireFormatError, match="no hour"):
        closes_ms(week, utc_ms(THURSDAY, time(12)))
