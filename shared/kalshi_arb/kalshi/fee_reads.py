"""The fee book as the exchange tells it: series, event overrides, and the changes announced for both."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.fee_book import FeeBook, FeeChange
from kalshi_arb.domain.fees import FeeSchedule, override_from_wire, schedule_from_wire
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.kalshi.models.market import EventFeeChangeWire, EventWire, SeriesFeeChangeWire, SeriesWire


@dataclass(frozen=True, slots=True)
class EventFees:
    """What one event's markets charge at ``at_ms``, and from when they charge something else."""

    book: FeeBook
    series_ticker: str
    event_ticker: str
    at_ms: int

    def now(self, waiver_until_ms: int | None) -> FeeSchedule:
        """The schedule of a market with this waiver."""
        return self.book.schedule(self.series_ticker, self.event_ticker, self.at_ms, waiver_until_ms=waiver_until_ms)

    def next_change_ms(self, waiver_until_ms: int | None) -> int | None:
        """When it changes next, None while nothing is announced."""
        return self.book.next_change_ms(
            self.series_ticker, self.event_ticker, self.at_ms, waiver_until_ms=waiver_until_ms
        )


class FeeReads:
    """Announced changes, and from them the fees of an event at a moment.

    The series and the event, when they are read, say what holds at that moment, so only changes after it are taken
    from the lists; of two for the same moment the later in the list holds.

    :param at_ms: when the series and events are read, UTC milliseconds
    :raises WireFormatError: a change that cannot be read
    """

    def __init__(self, series: Iterable[SeriesFeeChangeWire], events: Iterable[EventFeeChangeWire], at_ms: int) -> None:
        self._at_ms = at_ms
        self._series: dict[str, dict[int, FeeChange]] = {}
        self._events: dict[str, dict[int, FeeChange]] = {}
        for change in series:
            if change.scheduled_ts > at_ms:
                fees = _schedule(f"fee change {change.id}", change.fee_type, change.fee_multiplier)
                self._series.setdefault(change.series_ticker, {})[change.scheduled_ts] = FeeChange(
                    change.scheduled_ts, fees
                )
        for override in events:
            if override.scheduled_ts > at_ms:
                self._events.setdefault(override.event_ticker, {})[override.scheduled_ts] = FeeChange(
                    override.scheduled_ts,
                    _override(
                        f"fee change {override.id}", override.fee_type_override, override.fee_multiplier_override
                    ),
                )

    def of(self, event: EventWire, series: SeriesWire) -> EventFees:
        """The event's fees: its override, else its series' schedule, changes included.

        :raises WireFormatError: a multiplier that is negative or finer than 1e-4.
        """
        override = _override(f"fees of {event.event_ticker}", event.fee_type_override, event.fee_multiplier_override)
        own = _schedule(f"fees of {event.event_ticker}", series.fee_type, series.fee_multiplier)
        book = FeeBook(
            {series.ticker: own},
            {series.ticker: _sorted(self._series.get(series.ticker, {}))},
            {} if override is None else {event.event_ticker: override},
            {event.event_ticker: _sorted(self._events.get(event.event_ticker, {}))},
        )
        return EventFees(book, series.ticker, event.event_ticker, self._at_ms)


def _sorted(changes: dict[int, FeeChange]) -> tuple[FeeChange, ...]:
    return tuple(changes[moment] for moment in sorted(changes))


def _override(what: str, fee_type: str | None, multiplier: Decimal | None) -> FeeSchedule | None:
    try:
        return override_from_wire(fee_type, None if multiplier is None else f"{multiplier:f}")
    except DomainError as error:
        raise WireFormatError(f"{what}: {error}") from error


def _schedule(what: str, fee_type: str, multiplier: Decimal) -> FeeSchedule:
    try:
        return schedule_from_wire(fee_type, f"{multiplier:f}")
    except DomainError as error:
        raise WireFormatError(f"{what}: {error}") from error
