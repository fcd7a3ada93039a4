"""Public market data and the exchange's own state: every call answers without a key.

Times given are Unix seconds, as the exchange takes them.
"""

from collections.abc import Iterator, Sequence
from typing import TypedDict, Unpack

from kalshi_arb.kalshi.client import Endpoint, Kind, RestClient
from kalshi_arb.kalshi.models import market as models
from kalshi_arb.kalshi.requests import query
from kalshi_arb.kalshi.wire import convert

PAGE = 1_000
EVENT_PAGE = 200
BOOKS_PER_CALL = 100

_STATUS = Endpoint("GET", "exchange/status")
_SCHEDULE = Endpoint("GET", "exchange/schedule")
_USER_DATA = Endpoint("GET", "exchange/user_data_timestamp")
_ALL_SERIES = Endpoint("GET", "series", Kind.LISTING)
_SERIES = Endpoint("GET", "series/{series_ticker}")
_SERIES_FEES = Endpoint("GET", "series/fee_changes")
_EVENTS = Endpoint("GET", "events", Kind.LISTING)
_EVENT = Endpoint("GET", "events/{event_ticker}")
_EVENT_METADATA = Endpoint("GET", "events/{event_ticker}/metadata")
_EVENT_FEES = Endpoint("GET", "events/fee_changes")
_COMBO_EVENTS = Endpoint("GET", "events/multivariate", Kind.LISTING)
_MARKETS = Endpoint("GET", "markets", Kind.LISTING)
_MARKET = Endpoint("GET", "markets/{ticker}")
_BOOK = Endpoint("GET", "markets/{ticker}/orderbook")
_BOOKS = Endpoint("GET", "markets/orderbooks")


class EventFilters(TypedDict, total=False):
    """Which events are listed; ``*_ts`` in seconds UTC. ``status`` is unopened, open, closed or settled: an event
    matches if any of its markets does."""

    status: str
    series_ticker: str | None
    tickers: Sequence[str]
    with_nested_markets: bool
    min_close_ts: int
    min_updated_ts: int


class MarketFilters(TypedDict, total=False):
    """Which markets are listed; ``*_ts`` in seconds UTC, of which the families exclude each other. ``status`` is
    unopened, open, paused, closed or settled; ``mve_filter`` is only or exclude, for combos."""

    status: str
    event_ticker: str
    series_ticker: str
    tickers: Sequence[str]
    mve_filter: str
    min_created_ts: int
    max_created_ts: int
    min_close_ts: int
    max_close_ts: int
    min_settled_ts: int
    max_settled_ts: int
    min_updated_ts: int
    max_updated_ts: int


class Markets:
    """Reads of market data. All raise an ``ExchangeError`` when the exchange cannot answer."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    # The exchange

    def status(self) -> models.ExchangeStatusReply:
        """Whether it is open and trading, in all and by shard."""
        return self._client.read(_STATUS, models.ExchangeStatusReply)

    def schedule(self) -> models.ScheduleWire:
        """Trading hours (Eastern Time) and maintenance."""
        return self._client.read(_SCHEDULE, models.ScheduleReply).schedule

    def user_data_ms(self) -> int:
        """How far reads of orders, fills, positions and balance have caught up with writes (UTC milliseconds)."""
        return self._client.read(_USER_DATA, models.UserDataReply).as_of_time

    # Series and events

    def all_series(
        self, *, category: str | None = None, tags: Sequence[str] = (), min_updated_ts: int | None = None
    ) -> list[models.SeriesWire]:
        """Every series, in one reply of megabytes; or those that changed since a moment."""
        narrowed = query(category=category, tags=tags, min_updated_ts=min_updated_ts)
        reply = self._client.read(_ALL_SERIES, models.SeriesListReply, narrowed)
        return reply.series or []

    def series(self, series_ticker: str) -> models.SeriesWire:
        """One series."""
        return self._client.read(_SERIES, models.SeriesReply, (), series_ticker).series

    def series_fee_changes(
        self, series_ticker: str | None = None, *, show_historical: bool = False
    ) -> list[models.SeriesFeeChangeWire]:
        """Announced changes of series' fees; with ``show_historical`` past ones too."""
        narrowed = query(series_ticker=series_ticker, show_historical=show_historical or None)
        return self._client.read(_SERIES_FEES, models.SeriesFeeChangesReply, narrowed).series_fee_change_arr or []

    def event_fee_changes(self, event_ticker: str | None = None) -> Iterator[models.EventFeeChangeWire]:
        """Announced changes of events' overrides."""
        narrowed = query(event_ticker=event_ticker, limit=PAGE)
        for page in self._client.pages(_EVENT_FEES, models.EventFeeChangesReply, narrowed):
            yield from page.event_fee_changes or ()

    def event_pages(self, **filters: Unpack[EventFilters]) -> Iterator[list[dict[str, object]]]:
        """Events, combos left out, page by page and undecoded, so that an odd one costs only itself: each is for
        :meth:`read_event`."""
        for page in self._client.pages(_EVENTS, models.EventsReply, query(**filters, limit=EVENT_PAGE)):
            yield page.events

    def events(self, **filters: Unpack[EventFilters]) -> Iterator[models.EventWire]:
        """Events, combos left out."""
        for page in self.event_pages(**filters):
            yield from map(self.read_event, page)

    def combo_events(
        self, *, series_ticker: str | None = None, with_nested_markets: bool = False
    ) -> Iterator[models.EventWire]:
        """Multivariate events."""
        narrowed = query(series_ticker=series_ticker, with_nested_markets=with_nested_markets or None, limit=EVENT_PAGE)
        for page in self._client.pages(_COMBO_EVENTS, models.EventsReply, narrowed):
            yield from map(self.read_event, page.events)

    def event(self, event_ticker: str, *, with_nested_markets: bool = False) -> models.EventWire:
        """One event."""
        return self.read_event(self.raw_event(event_ticker, with_nested_markets=with_nested_markets))

    def raw_event(self, event_ticker: str, *, with_nested_markets: bool = False) -> dict[str, object]:
        """One event undecoded, for :meth:`read_event`."""
        narrowed = query(with_nested_markets=with_nested_markets or None)
        return self._client.read(_EVENT, models.EventReply, narrowed, event_ticker).event

    def read_event(self, raw: dict[str, object]) -> models.EventWire:
        """One event of a page. :raises WireFormatError: it cannot be read."""
        return convert(raw, models.EventWire, f"event {raw.get('event_ticker')}", self._client.unknown)

    def event_metadata(self, event_ticker: str) -> models.EventMetadataReply:
        """Images and settlement sources of an event."""
        return self._client.read(_EVENT_METADATA, models.EventMetadataReply, (), event_ticker)

    # Markets

    def market_pages(self, **filters: Unpack[MarketFilters]) -> Iterator[list[models.MarketWire]]:
        """Markets, newest first, up to 15 seconds old, page by page."""
        for page in self._client.pages(_MARKETS, models.MarketsReply, query(**filters, limit=PAGE)):
            yield page.markets

    def markets(self, **filters: Unpack[MarketFilters]) -> Iterator[models.MarketWire]:
        """The markets of :meth:`market_pages`, one by one."""
        for page in self.market_pages(**filters):
            yield from page

    def market(self, ticker: str) -> models.MarketWire:
        """One market. :raises RejectedError: it does not exist, or was created a moment ago."""
        return self._client.read(_MARKET, models.MarketReply, (), ticker).market

    def orderbook(self, ticker: str, depth: int = 0) -> models.LevelsWire:
        """One book, uncached, its best ``depth`` levels (0 is all). An unknown ticker has an empty one."""
        return self._client.read(_BOOK, models.OrderbookReply, query(depth=depth or None), ticker).orderbook_fp

    def orderbooks(self, tickers: Sequence[str]) -> list[models.BookWire]:
        """Books of at most 100 markets, uncached."""
        # A comma list would be read as one bogus ticker: the parameter is repeated.
        return self._client.read(_BOOKS, models.OrderbooksReply, [("tickers", ticker) for ticker in tickers]).orderbooks
