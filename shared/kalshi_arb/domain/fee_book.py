"""Which fee schedule held when: series terms, event overrides, their scheduled changes, and waivers, by date.

Resolution (Kalshi API documentation, "Get Series Fee Changes", "Get Event Fee Changes" and the market object): an
event's override, when it has one, comes before its series' schedule; a market whose ``fee_waiver_expiration_time`` lies
ahead is free until then. All times are ms UTC; a change holds from its moment on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from kalshi_arb.domain.errors import FeeError
from kalshi_arb.domain.fees import FeeSchedule, FeeType

_NOTHING_KNOWN = FeeSchedule(FeeType.UNKNOWN)


@dataclass(frozen=True, slots=True)
class FeeChange:
    """From ``from_ms`` on ``fees`` hold; None clears an event's override, so that its series' schedule holds again."""

    from_ms: int
    fees: FeeSchedule | None


@dataclass(frozen=True, slots=True)
class FeeBook:
    """Schedules by date. ``series`` and ``event_overrides`` hold before the first change listed for them.

    A series nobody named has an UNKNOWN schedule, which is not tradable.

    :raises FeeError: changes that are not in strictly rising order of their moments, or a series change to nothing.
    """

    series: Mapping[str, FeeSchedule]
    series_changes: Mapping[str, tuple[FeeChange, ...]] = field(default_factory=dict)
    event_overrides: Mapping[str, FeeSchedule] = field(default_factory=dict)
    event_changes: Mapping[str, tuple[FeeChange, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for ticker, changes in (*self.series_changes.items(), *self.event_changes.items()):
            if any(earlier.from_ms >= later.from_ms for earlier, later in pairwise(changes)):
                raise FeeError(f"fee changes of {ticker} are not in the order of their moments")
        for ticker, changes in self.series_changes.items():
            if any(change.fees is None for change in changes):
                raise FeeError(f"series {ticker} changes to no fee schedule at all")

    def schedule(
        self, series_ticker: str, event_ticker: str, at_ms: int, *, waiver_until_ms: int | None = None
    ) -> FeeSchedule:
        """What a market charges at ``at_ms``; a waived one has its type with a multiplier of 0.

        :param waiver_until_ms: the market's ``fee_waiver_expiration_time``; the waiver ends at that moment.
        """
        override = _held(self.event_overrides.get(event_ticker), self.event_changes.get(event_ticker, ()), at_ms)
        base = _held(self.series.get(series_ticker), self.series_changes.get(series_ticker, ()), at_ms)
        fees = override or base or _NOTHING_KNOWN
        if waiver_until_ms is not None and at_ms < waiver_until_ms:
            return replace(fees, multiplier=0)
        return fees

    def next_change_ms(
        self, series_ticker: str, event_ticker: str, at_ms: int, *, waiver_until_ms: int | None = None
    ) -> int | None:
        """The first moment after ``at_ms`` from which another schedule holds, or None while none is announced."""
        changes = (*self.series_changes.get(series_ticker, ()), *self.event_changes.get(event_ticker, ()))
        moments = {change.from_ms for change in changes}
        if waiver_until_ms is not None:
            moments.add(waiver_until_ms)
        now = self.schedule(series_ticker, event_ticker, at_ms, waiver_until_ms=waiver_until_ms)
        for moment in sorted(moment for moment in moments if moment > at_ms):
            if self.schedule(series_ticker, event_ticker, moment, waiver_until_ms=waiver_until_ms) != now:
                return moment
        return None


def _held(before: FeeSchedule | None, changes: tuple[FeeChange, ...], at_ms: int) -> FeeSchedule | None:
    held = before
    for change in changes:
        if change.from_ms > at_ms:
            break
        held = change.fees
    return held
