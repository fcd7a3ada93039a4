"""REST: series, events, markets and their books, for anyone."""

from collections.abc import Iterable

from aiohttp import web

from infra.exchange import wire
from infra.exchange.cache import cached
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import MarketState
from infra.exchange.query import Query, bad_request, page
from infra.exchange.rest_desk import Call, json_response, public
from infra.exchange.terms import EventTerms, SeriesTerms
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Count

PAGE = ("limit", "cursor")
_MAX_BOOKS = 100
_MARKETS_PER_PAGE = 1_000
_EVENTS_PER_PAGE = 200
_TIMES = {
    "created": ("", "unopened", "open"),
    "close": ("", "closed"),
    "settled": ("", "settled"),
    "updated": ("",),
}
"""The families of time filters, of which only one may be used, each with the ``status`` words it goes with."""


def statuses(query: Query, words: Iterable[str]) -> tuple[MarketStatus, ...]:
    """The statuses that the ``status`` filter stands for, none when it is absent."""
    word = query.text("status")
    if not word:
        return ()
    if word not in words:
        raise bad_request(f"parameter status must be one of {', '.join(words)}")
    return wire.STATUS_FILTERS[word]


def combo_filter(query: Query) -> str:
    """The ``mve_filter``."""
    word = query.text("mve_filter")
    if word not in ("", "only", "exclude"):
        raise bad_request("parameter mve_filter must be only or exclude")
    return word


def of_kind(market: MarketState, combos: str) -> bool:
    """Whether a market is one that the ``mve_filter`` asks for."""
    return not combos or market.event.is_combo == (combos == "only")


def market_key(market: MarketState) -> str:
    """Markets are listed newest first."""
    return f"{market.created_ms:015d}:{market.ticker}"


async def series_list(call: Call) -> web.Response:
    """GET /series, which is never paged."""
    query = call.query("category", "tags", "include_product_metadata", "include_volume", "min_updated_ts")
    category, tags = query.text("category"), set(query.listed("tags"))
    updated_ms, volume = query.seconds_as_ms("min_updated_ts"), query.flag("include_volume")
    query.flag("include_product_metadata")
    core = call.desk.core
    rows = [
        series
        for series in core.series.values()
        if category in ("", series.category)
        # No series here carries a tag.
        and not tags
        and (updated_ms is None or core.started_ms >= updated_ms)
    ]
    return json_response({"series": [_series_json(core, row, volume=volume) for row in rows]})


def _series_json(core: ExchangeCore, series: SeriesTerms, *, volume: bool) -> wire.Json:
    traded = Count(sum(row.volume for row in core.markets.values() if row.series is series)) if volume else None
    return wire.series_json(series, core.started_ms, traded)


@cached
async def one_series(call: Call) -> web.Response:
    """GET /series/{series_ticker}."""
    volume = call.query("include_volume").flag("include_volume")
    series = call.desk.core.series.get(call.part("series_ticker"))
    if series is None:
        raise ExchangeRefusalError(404, "not_found")
    return json_response({"series": _series_json(call.desk.core, series, volume=volume)})


async def events(call: Call) -> web.Response:
    """GET /events: an event matches a status when any of its markets does. Combos are never among them."""
    query = call.query(
        *PAGE, "status", "series_ticker", "tickers", "with_nested_markets", "with_milestones", "min_close_ts",
        "min_updated_ts",
    )  # fmt: skip
    chosen, wanted = statuses(query, ("unopened", "open", "closed", "settled")), query.listed("tickers")
    series, nested = query.text("series_ticker"), query.flag("with_nested_markets")
    close_ms, updated_ms = query.seconds_as_ms("min_close_ts"), query.seconds_as_ms("min_updated_ts")
    desk = call.desk
    rows = []
    for event in desk.core.events.values():
        markets = [desk.core.markets[terms.ticker] for terms in event.markets]
        if (
            not event.is_combo
            and series in ("", event.series_ticker)
            and (not wanted or event.ticker in wanted)
            and (not chosen or any(market.status in chosen for market in markets))
            and (close_ms is None or any(market.terms.close_ms >= close_ms for market in markets))
            and (updated_ms is None or any(market.updated_ms >= updated_ms for market in markets))
            and any(desk.past.is_live(market) for market in markets)
        ):
            rows.append((f"{markets[0].created_ms:015d}:{event.ticker}", event))
    limit = query.whole("limit", _EVENTS_PER_PAGE, 1, _EVENTS_PER_PAGE)
    rows, cursor = page(rows, lambda row: row[0], limit, query.text("cursor"))
    body: wire.Json = {
        "events": [wire.event_json(desk.core, event, nested=nested) for _, event in rows],
        "cursor": cursor,
    }
    if query.flag("with_milestones"):
        body["milestones"] = []
    return json_response(body)


async def multivariate_events(call: Call) -> web.Response:
    """GET /events/multivariate: the combos. A collection's ticker is its series'."""
    query = call.query(*PAGE, "series_ticker", "collection_ticker", "with_nested_markets")
    series, collection = query.text("series_ticker"), query.text("collection_ticker")
    if series and collection:
        raise bad_request("parameters series_ticker and collection_ticker exclude each other")
    core, nested = call.desk.core, query.flag("with_nested_markets")
    rows = [
        (f"{core.markets[event.markets[0].ticker].created_ms:015d}:{event.ticker}", event)
        for event in core.events.values()
        if event.is_combo and (series or collection) in ("", event.series_ticker)
    ]
    limit = query.whole("limit", 100, 1, _EVENTS_PER_PAGE)
    rows, cursor = page(rows, lambda row: row[0], limit, query.text("cursor"))
    shown = [wire.event_json(core, event, nested=nested) for _, event in rows]
    return json_response({"events": shown, "cursor": cursor})


def _event(call: Call) -> EventTerms:
    event = call.desk.core.events.get(call.part("event_ticker"))
    if event is None:
        raise ExchangeRefusalError(404, "not_found")
    return event


async def one_event(call: Call) -> web.Response:
    """GET /events/{event_ticker}: the markets inside the event when asked so, otherwise beside it."""
    nested = call.query("with_nested_markets").flag("with_nested_markets")
    event, core = _event(call), call.desk.core
    beside = [] if nested else [wire.market_json(core.markets[terms.ticker]) for terms in event.markets]
    return json_response({"event": wire.event_json(core, event, nested=nested), "markets": beside})


async def event_metadata(call: Call) -> web.Response:
    """GET /events/{event_ticker}/metadata."""
    call.query()
    event = _event(call)
    details = [{"market_ticker": terms.ticker, "image_url": "", "color_code": ""} for terms in event.markets]
    return json_response({"image_url": "", "market_details": details, "settlement_sources": []})


@cached
async def markets(call: Call) -> web.Response:
    """GET /markets, newest first."""
    times = [f"{end}_{family}_ts" for family in _TIMES for end in ("min", "max")]
    query = call.query(*PAGE, "event_ticker", "series_ticker", "tickers", "status", "mve_filter", *times)
    chosen, wanted = statuses(query, wire.STATUS_FILTERS), query.listed("tickers")
    event, series, combos = query.text("event_ticker"), query.text("series_ticker"), combo_filter(query)
    if "," in event:
        raise bad_request("parameter event_ticker takes one event")
    family = _time_family(query)
    low, high = query.seconds_as_ms(f"min_{family}_ts"), query.seconds_as_ms(f"max_{family}_ts")
    rows = [
        market
        for market in call.desk.core.markets.values()
        if combos != ("exclude" if market.terms.legs else "only")
        and event in ("", market.event.ticker)
        and series in ("", market.series.ticker)
        and (not wanted or market.ticker in wanted)
        and (not chosen or market.status in chosen)
        and _within(_time_of(market, family), low, high)
        and call.desk.past.is_live(market)
    ]
    limit = query.whole("limit", 100, 0, _MARKETS_PER_PAGE) or 100
    rows, cursor = page(rows, market_key, limit, query.text("cursor"))
    return json_response({"markets": [wire.market_json(market) for market in rows], "cursor": cursor})


def _time_family(query: Query) -> str:
    used = [family for family in _TIMES if query.text(f"min_{family}_ts") or query.text(f"max_{family}_ts")]
    if len(used) > 1:
        raise bad_request("parameters for different times exclude each other")
    if not used:
        return "created"
    (family,) = used
    if query.text("status") not in _TIMES[family]:
        raise bad_request(f"parameter status does not go with min_{family}_ts or max_{family}_ts")
    if family == "updated" and (query.text("event_ticker") or query.text("tickers") or combo_filter(query) == "only"):
        raise bad_request("min_updated_ts and max_updated_ts go with mve_filter=exclude and series_ticker only")
    return family


def _time_of(market: MarketState, family: str) -> int | None:
    match family:
        case "close":
            return market.terms.close_ms
        case "settled":
            return market.settled_ms
        case "updated":
            return market.updated_ms
        case _:
            return market.created_ms


def _within(ms: int | None, low: int | None, high: int | None) -> bool:
    if ms is None:
        return low is None and high is None
    return (low is None or ms >= low) and (high is None or ms <= high)


async def one_market(call: Call) -> web.Response:
    """GET /markets/{ticker}."""
    call.query()
    market = call.desk.core.markets.get(call.part("ticker"))
    if market is None or not call.desk.past.is_live(market):
        raise ExchangeRefusalError(404, "not_found")
    return json_response({"market": wire.market_json(market)})


async def orderbook(call: Call) -> web.Response:
    """GET /markets/{ticker}/orderbook: an unknown market has an empty book."""
    depth = call.query("depth").whole("depth", 0, 0, 100)
    market = call.desk.core.markets.get(call.part("ticker"))
    return json_response({"orderbook_fp": wire.orderbook_json(market, depth)})


async def orderbooks(call: Call) -> web.Response:
    """GET /markets/orderbooks: ``tickers`` is repeated; a list with commas is one ticker that nobody knows."""
    tickers = call.query("tickers").repeated("tickers")
    if not 1 <= len(tickers) <= _MAX_BOOKS:
        raise bad_request(f"parameter tickers must be given 1 to {_MAX_BOOKS} times")
    core = call.desk.core
    books = [{"ticker": ticker, "orderbook_fp": wire.orderbook_json(core.markets.get(ticker))} for ticker in tickers]
    return json_response({"orderbooks": books})


ROUTES = (
    public("/series", series_list),
    public("/series/{series_ticker}", one_series),
    public("/events", events),
    public("/events/multivariate", multivariate_events),
    public("/events/{event_ticker}", one_event),
    public("/events/{event_ticker}/metadata", event_metadata),
    public("/markets", markets),
    public("/markets/orderbooks", orderbooks),
    public("/markets/{ticker}", one_market),
    public("/markets/{ticker}/orderbook", orderbook),
)
"""In the order in which they are matched: fixed words before tickers."""
