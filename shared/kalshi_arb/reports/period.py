"""A span of whole days of New York, as the exchange counts them."""

import re
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache

from kalshi_arb.domain.eastern import local_day, utc_ms
from kalshi_arb.domain.errors import DomainError

_HOUR_MS = 3_600_000
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


class PeriodError(DomainError):
    """A day or a range that is none, or that the journal knows nothing of; the message says what it must be."""


@dataclass(frozen=True, slots=True)
class Period:
    """From the first to the last day, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise PeriodError(f"the range ends on {self.last}, before it begins on {self.first}")

    @property
    def start_ms(self) -> int:
        """When it begins (UTC milliseconds)."""
        return utc_ms(self.first, time(0))

    @property
    def end_ms(self) -> int:
        """The first moment after it (UTC milliseconds)."""
        return utc_ms(self.last + timedelta(days=1), time(0))

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def read_day(text: str) -> date:
    """A day such as ``2026-11-22``. :raises PeriodError: it is none."""
    try:
        if _DAY.match(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise PeriodError(f"{text!r} is no day: write it as 2026-11-22")


def read_range(text: str) -> Period:
    """A range such as ``2026-11-01:2026-11-30``. :raises PeriodError: it is none."""
    first, colon, last = text.partition(":")
    if not colon:
        raise PeriodError(f"{text!r} is no range: write it as 2026-11-01:2026-11-30")
    return Period(read_day(first), read_day(last))


@lru_cache(maxsize=4_096)
def _day_of_hour(hour: int) -> date:
    return local_day(hour * _HOUR_MS)


def day_of(ms: int) -> date:
    """The day of a moment (UTC milliseconds). Days begin on a whole hour, so each hour is looked up once."""
    return _day_of_hour(ms // _HOUR_MS)
