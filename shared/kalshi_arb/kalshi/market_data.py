"""``ports.Listings``, ``ports.Venue`` and ``ports.MarketTerms`` on the REST API."""

import logging
from collections.abc import Iterator, Sequence

from kalshi_arb.clock import Clock
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import RejectedError, WireFormatError
from kalshi_arb.kalshi.fee_reads import FeeReads
from kalshi_arb.kalshi.hours import closes_ms
from kalshi_arb.kalshi.mapping import is_quoted, to_book, to_listing, to_state
from kalshi_arb.kalshi.markets import BOOKS_PER_CALL, Markets
from kalshi_arb.kalshi.models.market import MarketWire, ScheduleWire, SeriesWire
from kalshi_arb.ports import ListingChanges, MarketState

logger = logging.getLogger(__name__)

# Each costs a call; a discovery run must stay far below the read limit.
COMBO_EVENTS = 25
# Tickers of events are long, and an address of more than 8 KB is refused on the way.
_EVENTS_PER_CALL = 100
# Above this many unknown ones the series are read in one reply of megabytes.
_SERIES_ONE_BY_ONE = 12
_KEEP_SCHEDULE_MS = 300_000


class KalshiMarketData:
    """Public reads in domain terms. Needs no key.

    ``skipped`` counts by reason the events the last complete :meth:`open_events` could not map.
    """

    def __init__(self, client: RestClient, clock: Clock) -> None:
        self._markets = Markets(client)
        self._clock = clock
        self._schedule: tuple[int, ScheduleWire] | None = None
        self.skipped: dict[str, int] = {}

    def open_events(self, series_tickers: Sequence[str] = ()) -> Iterator[EventListing]:
        """Every open event with its markets, or those of these series; combos are left out by the exchange itself. An
        event that cannot be mapped is logged, counted in ``skipped`` and left out whole.

        :raises ExchangeError: a page, the series or the announced fee changes cannot be read.
        """
        self.skipped = {}
        fees = self._fee_reads()
        series: dict[str, SeriesWire] = {}
        if not series_tickers:
            series = {item.ticker: item for item in self._markets.all_series()}
        for one in series_tickers or (None,):
            for page in self._markets.event_pages(status="open", series_ticker=one, with_nested_markets=True):
                for raw in page:
                    listing = self._listing(raw, series, fees)
                    if listing is not None:
                        yield listing

    def combo_events(self) -> Iterator[EventListing]:
        """Events with a quoted combo, from the newest page of open combos and at most ``COMBO_EVENTS`` of them: combos
        are made by users without end, and most are never quoted. One that cannot be mapped is logged and left out.

        :raises ExchangeError: the page, an event, a series or the announced fee changes cannot be read.
        """
        page = self._newest_combos()
        quoted = list(dict.fromkeys(market.event_ticker for market in page if is_quoted(market)))
        logger.info("%d combos read, %d events with a quote, %d taken", len(page), len(quoted), COMBO_EVENTS)
        if not quoted:
            return
        fees = self._fee_reads()
        series: dict[str, SeriesWire] = {}
        for ticker in quoted[:COMBO_EVENTS]:
            try:
                raw = self._markets.raw_event(ticker, with_nested_markets=True)
            except RejectedError as error:
                logger.warning("combo event left out: %s", error)
                continue
            listing = self._listing(raw, series, fees)
            if listing is not None:
                yield listing

    def events(self, event_tickers: Sequence[str]) -> Iterator[EventListing]:
        """These events as they are listed now, 100 in a call; combos one by one, because the listing leaves them out.
        One that cannot be mapped or is not there any more is logged and left out.

        :raises ExchangeError: a page, an event, a series or the announced fee changes cannot be read.
        """
        if not event_tickers:
            return
        fees = self._fee_reads()
        wanted = dict.fromkeys(event_tickers)
        series: dict[str, SeriesWire] = {}
        for chunk in _chunks(list(wanted), _EVENTS_PER_CALL):
            for page in self._markets.event_pages(tickers=chunk, with_nested_markets=True):
                if len({str(raw.get("series_ticker")) for raw in page} - series.keys()) > _SERIES_ONE_BY_ONE:
                    series = {item.ticker: item for item in self._markets.all_series()}
                for raw in page:
                    wanted.pop(str(raw.get("event_ticker")), None)
                    listing = self._listing(raw, series, fees)
                    if listing is not None:
                        yield listing
        for ticker in wanted:
            try:
                raw = self._markets.raw_event(ticker, with_nested_markets=True)
            except RejectedError as error:
                logger.warning("event left out: %s", error)
                continue
            listing = self._listing(raw, series, fees)
            if listing is not None:
                yield listing

    def changes_since(self, since_ms: int, fees_until_ms: int) -> ListingChanges:
        """What changed after a moment, by the exchange's own ``min_updated_ts``, and every series and event whose fees
        change after it and up to ``fees_until_ms``.

        :raises ExchangeError: one of the reads failed.
        """
        since_s = since_ms // 1000
        pages = self._markets.event_pages(min_updated_ts=since_s)
        events = {str(raw.get("event_ticker")) for page in pages for raw in page}
        changed = self._markets.markets(mve_filter="exclude", min_updated_ts=since_s)
        events |= {market.event_ticker for market in changed}
        series = {item.ticker for item in self._markets.all_series(min_updated_ts=since_s)}
        series |= {
            change.series_ticker
            for change in self._markets.series_fee_changes()
            if since_ms < change.scheduled_ts <= fees_until_ms
        }
        events |= {
            change.event_ticker
            for change in self._markets.event_fee_changes()
            if since_ms < change.scheduled_ts <= fees_until_ms
        }
        return ListingChanges(frozenset(events), frozenset(series))

    def _newest_combos(self) -> list[MarketWire]:
        return next(self._markets.market_pages(status="open", mve_filter="only"))

    def _fee_reads(self) -> FeeReads:
        # What is due before the series and events are read is in them by then.
        at_ms = self._clock.now_ms()
        return FeeReads(self._markets.series_fee_changes(), self._markets.event_fee_changes(), at_ms)

    def _listing(self, raw: dict[str, object], series: dict[str, SeriesWire], fees: FeeReads) -> EventListing | None:
        try:
            event = self._markets.read_event(raw)
            owner = series.get(event.series_ticker)
            if owner is None:
                # A series younger than the listing.
                owner = series[event.series_ticker] = self._markets.series(event.series_ticker)
            return to_listing(event, fees.of(event, owner))
        except (WireFormatError, RejectedError) as error:
            reason = "unreadable" if isinstance(error, WireFormatError) else "no_series"
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
            logger.warning("event left out: %s", error)
            return None

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """Books read now, in calls of 100 tickers. A ticker the exchange left out of its answer is missing here; one it
        does not know is answered with an empty book, as the exchange does.

        :raises ExchangeError: a call failed, or a book cannot be true.
        """
        books: dict[str, BookSnapshot] = {}
        for chunk in _chunks(list(dict.fromkeys(tickers)), BOOKS_PER_CALL):
            wires = self._markets.orderbooks(chunk)
            received_ms = self._clock.now_ms()
            for wire in wires:
                if wire.ticker in chunk:
                    books[wire.ticker] = to_book(wire, received_ms)
        return books

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        """Where these markets stand, up to 15 seconds old: the listing is cached on its way.

        :raises ExchangeError: a call failed, or a market cannot be read.
        """
        states: dict[str, MarketState] = {}
        for chunk in _chunks(list(dict.fromkeys(tickers)), BOOKS_PER_CALL):
            for wire in self._markets.markets(tickers=chunk):
                if wire.ticker in chunk:
                    states[wire.ticker] = to_state(wire)
        return states

    def closes_ms(self, now_ms: int) -> int | None:
        """When the exchange next stops trading by its schedule, which is read every few minutes; ``now_ms`` itself
        while it is closed, None when nothing is announced for a week. UTC milliseconds.

        :raises ExchangeError: the schedule cannot be read.
        """
        if self._schedule is None or not 0 <= now_ms - self._schedule[0] < _KEEP_SCHEDULE_MS:
            self._schedule = (now_ms, self._markets.schedule())
        return closes_ms(self._schedule[1], now_ms)

    def market_fees(self, event_ticker: str) -> dict[str, FeeSchedule]:
        """What each of the event's markets charges now: its waiver, else the event's override or its series' schedule.

        The series' answer may be 15 seconds old. That a change fell due in them is known from the announcements of the
        listing, which says so ahead of time (``ListedMarket.fee_change_ms``).

        :raises ExchangeError: a call failed, or a multiplier cannot be read.
        """
        event = self._markets.event(event_ticker, with_nested_markets=True)
        series = self._markets.series(event.series_ticker)
        fees = FeeReads((), (), self._clock.now_ms()).of(event, series)
        return {wire.ticker: fees.now(wire.fee_waiver_expiration_time) for wire in event.markets or ()}


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
