"""REST: what was: public trades, candles, and the historical endpoints.

What is older than the cutoff is on the historical endpoints only, and what is younger on the live ones only.
"""

from collections.abc import Iterable

from aiohttp import web

from infra.exchange import wire, wire_past
from infra.exchange.emissions import Traded
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import MarketState
from infra.exchange.past import Candle
from infra.exchange.query import Query, bad_request, page
from infra.exchange.rest_desk import Call, json_response, private, public
from infra.exchange.rest_market_data import PAGE, combo_filter, market_key, of_kind
from infra.exchange.rest_portfolio import (
    TIMES,
    fills_body,
    held,
    is_old_order,
    is_old_position,
    orders_body,
    positions_body,
    primary_only,
    readable_fills,
    readable_orders,
)

_CANDLES = ("start_ts", "end_ts", "period_interval")
_PERIODS = (1, 60, 1_440)
_MOST_MARKETS = 100
_MOST_CANDLES = 10_000


def _trades(call: Call, *, historical: bool) -> wire.Json:
    query = call.query(*PAGE, *TIMES, "ticker", "is_block_trade")
    ticker, low, high = query.text("ticker"), query.seconds_as_ms("min_ts"), query.seconds_as_ms("max_ts")
    # No block trades happen here: asking for them alone finds nothing.
    blocks_only, cutoff_ms = query.flag("is_block_trade"), call.desk.past.cutoff_ms
    rows: Iterable[Traded] = (
        trade
        for trade in call.desk.past.trades
        if not blocks_only
        and ticker in ("", trade.ticker)
        and (low is None or trade.ms >= low)
        and (high is None or trade.ms <= high)
        and (trade.ms < cutoff_ms) == historical
    )
    limit = query.whole("limit", 100, 0, 1_000) or 100
    chosen, cursor = page(rows, lambda trade: f"{trade.ms:015d}:{trade.trade_id}", limit, query.text("cursor"))
    return {"trades": [wire_past.trade_json(trade) for trade in chosen], "cursor": cursor}


async def trades(call: Call) -> web.Response:
    """GET /markets/trades."""
    return json_response(_trades(call, historical=False))


async def old_trades(call: Call) -> web.Response:
    """GET /historical/trades."""
    return json_response(_trades(call, historical=True))


def _candles(call: Call, query: Query, market: MarketState) -> list[Candle]:
    missing = [name for name in _CANDLES if not query.text(name)]
    if missing:
        raise ExchangeRefusalError(400, "missing_parameters", ", ".join(missing))
    start_s, end_s = query.whole("start_ts", 0, 0, 10**12), query.whole("end_ts", 0, 0, 10**12)
    minutes = query.whole("period_interval", 1, 1, 1_440)
    if minutes not in _PERIODS:
        raise bad_request("parameter period_interval must be 1, 60 or 1440")
    if end_s < start_s:
        raise bad_request("parameter end_ts must not be before start_ts")
    found = call.desk.past.candles(market.ticker, start_s, end_s, minutes)
    if query.flag("include_latest_before_start"):
        found = call.desk.past.candles(market.ticker, 0, start_s - 1, minutes)[-1:] + found
    if len(found) > _MOST_CANDLES:
        raise bad_request(f"more than {_MOST_CANDLES} candles")
    return found


async def market_candles(call: Call) -> web.Response:
    """GET /series/{series_ticker}/markets/{ticker}/candlesticks."""
    query = call.query(*_CANDLES, "include_latest_before_start")
    market = call.desk.core.markets.get(call.part("ticker"))
    if market is None or market.series.ticker != call.part("series_ticker") or not call.desk.past.is_live(market):
        raise ExchangeRefusalError(404, "not_found")
    rows = [wire_past.candle_json(candle) for candle in _candles(call, query, market)]
    return json_response({"ticker": market.ticker, "candlesticks": rows})


async def batch_candles(call: Call) -> web.Response:
    """GET /markets/candlesticks: of up to 100 markets, 10,000 candles in all."""
    query = call.query(*_CANDLES, "market_tickers", "include_latest_before_start")
    tickers = query.listed("market_tickers")
    if not 1 <= len(tickers) <= _MOST_MARKETS:
        raise bad_request(f"parameter market_tickers takes 1 to {_MOST_MARKETS} markets")
    markets = [call.desk.core.markets[ticker] for ticker in tickers if ticker in call.desk.core.markets]
    found = [(market.ticker, _candles(call, query, market)) for market in markets]
    if sum(len(candles) for _, candles in found) > _MOST_CANDLES:
        raise bad_request(f"more than {_MOST_CANDLES} candles in all")
    rows = [
        {"market_ticker": ticker, "candlesticks": [wire_past.candle_json(candle) for candle in candles]}
        for ticker, candles in found
    ]
    return json_response({"markets": rows})


async def event_candles(call: Call) -> web.Response:
    """GET /series/{series_ticker}/events/{ticker}/candlesticks."""
    query = call.query(*_CANDLES)
    core, event = call.desk.core, call.desk.core.events.get(call.part("ticker"))
    if event is None or event.series_ticker != call.part("series_ticker"):
        raise ExchangeRefusalError(404, "not_found")
    tickers = [terms.ticker for terms in event.markets]
    rows = [
        [wire_past.candle_json(candle) for candle in _candles(call, query, core.markets[ticker])] for ticker in tickers
    ]
    end_s = min(query.whole("end_ts", 0, 0, 10**12), core.now_ms // 1_000)
    return json_response({"market_tickers": tickers, "market_candlesticks": rows, "adjusted_end_ts": end_s})


async def cutoff(call: Call) -> web.Response:
    """GET /historical/cutoff: it moves on by itself."""
    call.query()
    past = call.desk.past
    moment = wire.iso(past.cutoff_ms)
    return json_response(
        {
            "market_settled_ts": wire.iso(past.settled_cutoff_ms),
            "trades_created_ts": moment,
            "orders_updated_ts": moment,
            "market_positions_last_updated_ts": moment,
        }
    )


async def old_markets(call: Call) -> web.Response:
    """GET /historical/markets."""
    query = call.query(*PAGE, "tickers", "event_ticker", "series_ticker", "mve_filter")
    wanted, event, series = query.listed("tickers"), query.listed("event_ticker"), query.text("series_ticker")
    combos = combo_filter(query)
    rows = [
        market
        for market in call.desk.past.old_markets
        if of_kind(market, combos)
        and (not wanted or market.ticker in wanted)
        and (not event or market.event.ticker in event)
        and series in ("", market.series.ticker)
    ]
    limit = query.whole("limit", 100, 0, 1_000) or 100
    rows, cursor = page(rows, market_key, limit, query.text("cursor"))
    return json_response({"markets": [wire.market_json(market) for market in rows], "cursor": cursor})


def _old_market(call: Call) -> MarketState:
    market = call.desk.past.old_market(call.part("ticker"))
    if market is None:
        raise ExchangeRefusalError(404, "not_found")
    return market


async def old_market(call: Call) -> web.Response:
    """GET /historical/markets/{ticker}."""
    call.query()
    return json_response({"market": wire.market_json(_old_market(call))})


async def old_candles(call: Call) -> web.Response:
    """GET /historical/markets/{ticker}/candlesticks, in names of its own."""
    query = call.query(*_CANDLES)
    market = _old_market(call)
    rows = [wire_past.old_candle_json(candle) for candle in _candles(call, query, market)]
    return json_response({"ticker": market.ticker, "candlesticks": rows})


async def old_fills(call: Call) -> web.Response:
    """GET /historical/fills."""
    query = call.query(*PAGE, *TIMES, "ticker", "subaccount")
    primary_only(query)
    rows = readable_fills(call, query, query.listed("ticker"))
    return json_response(fills_body(query, [row for row in rows if row.ms < call.desk.past.cutoff_ms]))


async def old_orders(call: Call) -> web.Response:
    """GET /historical/orders."""
    query = call.query(*PAGE, *TIMES, "ticker", "subaccount")
    primary_only(query)
    rows = [row for row in readable_orders(call, query) if is_old_order(call.desk, row)]
    return json_response(orders_body(call, query, rows))


async def old_positions(call: Call) -> web.Response:
    """GET /historical/positions."""
    query = call.query(*PAGE, "ticker", "event_ticker", "subaccount")
    primary_only(query)
    return json_response(
        positions_body(query, [row for row in held(call, query) if is_old_position(call.desk, row[3])])
    )


ROUTES = (
    public("/markets/trades", trades),
    public("/markets/candlesticks", batch_candles),
    public("/series/{series_ticker}/markets/{ticker}/candlesticks", market_candles),
    public("/series/{series_ticker}/events/{ticker}/candlesticks", event_candles),
    public("/historical/cutoff", cutoff),
    public("/historical/markets", old_markets),
    public("/historical/markets/{ticker}", old_market),
    public("/historical/markets/{ticker}/candlesticks", old_candles),
    public("/historical/trades", old_trades),
    private("/historical/fills", old_fills),
    private("/historical/orders", old_orders),
    private("/historical/positions", old_positions),
)
"""To be matched before the routes whose paths end in a ticker."""
