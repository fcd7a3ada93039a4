"""REST under ``/trade-api/v2``: market data for anyone, the portfolio for who signs, orders through the core.

Handlers read the request, ask or change the core, and shape the answer; every rule is in the core.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from aiohttp import web

from infra.exchange import wire
from infra.exchange.account import Account, OrderStatus, OrderView
from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.inputs import Gate
from infra.exchange.market import MarketState
from infra.exchange.query import Query, bad_request, page, read_json, read_order
from infra.exchange.terms import EventTerms
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import count_to_wire

PREFIX = "/trade-api/v2"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PAGE = ("limit", "cursor")
_SUBACCOUNT = ("subaccount",)
_MAX_BOOKS = 100
_encode = msgspec.json.Encoder().encode


def json_response(body: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_encode(body), status=status, content_type="application/json")


def refusal_response(refusal: ExchangeRefusalError) -> web.Response:
    """An error answer in the usual shape."""
    return json_response({"error": refusal.body()}, refusal.status)


class RestApi:
    """The REST routes.

    :param gate: the only way in which a request changes the core
    :param tick: brings the core to the present and sends what happened meanwhile
    :param flush: sends what a request made happen
    :param read_lag_ms: how far portfolio reads are behind the truth
    :param reply_ms: how long the answer to an order takes after the order was executed
    """

    def __init__(
        self,
        core: ExchangeCore,
        gate: Gate,
        keys: KeyRing,
        *,
        now_ms: Callable[[], int],
        tick: Callable[[], None],
        flush: Callable[[], None],
        read_lag_ms: int,
        reply_ms: int,
    ) -> None:
        self._core = core
        self._gate = gate
        self._keys = keys
        self._now_ms = now_ms
        self._tick = tick
        self._flush = flush
        self._read_lag_ms = read_lag_ms
        self._reply_seconds = reply_ms / 1000

    def routes(self) -> list[web.RouteDef]:
        """Every route."""
        public: list[tuple[str, Handler]] = [
            ("/exchange/status", self._status),
            ("/exchange/user_data_timestamp", self._user_data_timestamp),
            ("/series", self._series_list),
            ("/series/{series}", self._series),
            ("/events", self._events),
            ("/events/{event}", self._event),
            ("/markets", self._markets),
            ("/markets/orderbooks", self._orderbooks),
            ("/markets/{ticker}", self._market),
            ("/markets/{ticker}/orderbook", self._orderbook),
            ("/account/limits", self._limits),
            ("/api_keys", self._api_keys),
            ("/portfolio/balance", self._balance),
            ("/portfolio/positions", self._positions),
            ("/portfolio/fills", self._fills),
            ("/portfolio/orders", self._orders),
            ("/portfolio/orders/{order_id}", self._order),
            ("/portfolio/settlements", self._settlements),
        ]
        routes = [web.get(PREFIX + path, handler, allow_head=False) for path, handler in public]
        routes += [
            web.post(PREFIX + "/portfolio/events/orders", self._create),
            web.post(PREFIX + "/portfolio/events/orders/batched", self._create_batch),
            web.delete(PREFIX + "/portfolio/events/orders/{order_id}", self._cancel),
        ]
        # The first generation of order writes is gone for good.
        routes += [
            web.post(PREFIX + path, self._gone)
            for path in (
                "/portfolio/orders",
                "/portfolio/orders/batched",
                "/portfolio/orders/{order_id}/amend",
                "/portfolio/orders/{order_id}/decrease",
            )
        ]
        routes += [
            web.delete(PREFIX + path, self._gone)
            for path in ("/portfolio/orders/batched", "/portfolio/orders/{order_id}")
        ]
        return routes

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn refusals into error bodies, and give every request the exchange of this moment."""
        self._tick()
        try:
            return await handler(request)
        except ExchangeRefusalError as refusal:
            return refusal_response(refusal)
        except web.HTTPMethodNotAllowed:
            return refusal_response(ExchangeRefusalError(405, "method_not_allowed"))
        except web.HTTPNotFound:
            return refusal_response(ExchangeRefusalError(404, "not_found"))

    def _account(self, request: web.Request) -> Account:
        account_id = self._keys.authenticate(request.headers, request.method, request.path, self._now_ms())
        return self._core.accounts[account_id]

    def _as_of_ms(self) -> int:
        return self._core.now_ms - self._read_lag_ms

    # Market data

    async def _status(self, request: web.Request) -> web.Response:
        Query(request.query.items(), ())
        active = {"exchange_active": True, "trading_active": True, "intra_exchange_transfers_active": True}
        shards = sorted({series.shard for series in self._core.series.values()})
        rows = [{"exchange_index": shard, "description": f"Shard {shard}", **active} for shard in shards]
        return json_response({**active, "exchange_index_statuses": rows})

    async def _user_data_timestamp(self, request: web.Request) -> web.Response:
        Query(request.query.items(), ())
        return json_response({"as_of_time": wire.iso(self._as_of_ms())})

    async def _series_list(self, request: web.Request) -> web.Response:
        category = Query(request.query.items(), ("category",)).text("category")
        rows = [row for row in self._core.series.values() if category in ("", row.category)]
        return json_response({"series": [wire.series_json(row, self._core.started_ms) for row in rows]})

    async def _series(self, request: web.Request) -> web.Response:
        Query(request.query.items(), ("include_volume",))
        series = self._core.series.get(request.match_info["series"])
        if series is None:
            raise ExchangeRefusalError(404, "not_found")
        return json_response({"series": wire.series_json(series, self._core.started_ms)})

    async def _events(self, request: web.Request) -> web.Response:
        known = (*_PAGE, "status", "series_ticker", "tickers", "with_nested_markets")
        query = Query(request.query.items(), known)
        statuses, wanted = _statuses(query), query.listed("tickers")
        series = query.text("series_ticker")
        rows = [
            event
            for event in self._core.events.values()
            if series in ("", event.series_ticker)
            and (not wanted or event.ticker in wanted)
            and (not statuses or any(self._state(terms.ticker).status in statuses for terms in event.markets))
        ]
        limit = query.whole("limit", 200, 1, 200)
        rows, cursor = page(rows, self._event_key, limit, query.text("cursor"))
        nested = query.flag("with_nested_markets")
        events = [wire.event_json(self._core, event, nested=nested) for event in rows]
        return json_response({"events": events, "milestones": [], "cursor": cursor})

    async def _event(self, request: web.Request) -> web.Response:
        nested = Query(request.query.items(), ("with_nested_markets",)).flag("with_nested_markets")
        event = self._core.events.get(request.match_info["event"])
        if event is None:
            raise ExchangeRefusalError(404, "not_found")
        beside = [] if nested else [wire.market_json(self._state(terms.ticker)) for terms in event.markets]
        return json_response({"event": wire.event_json(self._core, event, nested=nested), "markets": beside})

    async def _markets(self, request: web.Request) -> web.Response:
        known = (*_PAGE, "event_ticker", "series_ticker", "tickers", "status", "mve_filter")
        query = Query(request.query.items(), known)
        statuses, wanted = _statuses(query), query.listed("tickers")
        event, series = query.text("event_ticker"), query.text("series_ticker")
        combos = query.text("mve_filter")
        if combos not in ("", "only", "exclude"):
            raise bad_request("parameter mve_filter must be only or exclude")
        rows = [
            market
            for market in self._core.markets.values()
            if combos != "only"
            and event in ("", market.event.ticker)
            and series in ("", market.series.ticker)
            and (not wanted or market.ticker in wanted)
            and (not statuses or market.status in statuses)
        ]
        limit = query.whole("limit", 100, 0, 1_000) or 100
        rows, cursor = page(rows, _market_key, limit, query.text("cursor"))
        return json_response({"markets": [wire.market_json(market) for market in rows], "cursor": cursor})

    async def _market(self, request: web.Request) -> web.Response:
        Query(request.query.items(), ())
        market = self._core.markets.get(request.match_info["ticker"])
        if market is None:
            raise ExchangeRefusalError(404, "not_found")
        return json_response({"market": wire.market_json(market)})

    async def _orderbook(self, request: web.Request) -> web.Response:
        depth = Query(request.query.items(), ("depth",)).whole("depth", 0, 0, 100)
        market = self._core.markets.get(request.match_info["ticker"])
        return json_response({"orderbook_fp": wire.orderbook_json(market, depth)})

    async def _orderbooks(self, request: web.Request) -> web.Response:
        tickers = Query(request.query.items(), ("tickers",)).repeated("tickers")
        if not 1 <= len(tickers) <= _MAX_BOOKS:
            raise bad_request(f"parameter tickers must be given 1 to {_MAX_BOOKS} times")
        books = [
            {"ticker": ticker, "orderbook_fp": wire.orderbook_json(self._core.markets.get(ticker))}
            for ticker in tickers
        ]
        return json_response({"orderbooks": books})

    def _state(self, ticker: str) -> MarketState:
        return self._core.markets[ticker]

    def _event_key(self, event: EventTerms) -> str:
        return f"{self._state(event.markets[0].ticker).created_ms:015d}:{event.ticker}"

    # Account

    async def _limits(self, request: web.Request) -> web.Response:
        self._account(request)
        Query(request.query.items(), ())
        # The tier that every account starts with; this exchange counts no tokens.
        read, write = ({"refill_rate": rate, "bucket_capacity": size} for rate, size in ((200, 600), (100, 100)))
        return json_response({"usage_tier": "basic", "read": read, "write": write, "grants": []})

    async def _api_keys(self, request: web.Request) -> web.Response:
        account = self._account(request)
        Query(request.query.items(), ())
        keys = [
            {"api_key_id": key_id, "name": "", "scopes": list(holder.scopes)}
            for key_id, holder in self._keys.of_account(account.account_id).items()
        ]
        return json_response({"api_keys": keys})

    # Portfolio

    async def _balance(self, request: web.Request) -> web.Response:
        account = self._account(request)
        query = Query(request.query.items(), (*_SUBACCOUNT, "exchange_index"))
        _primary_only(query)
        return json_response(wire.balance_json(self._core, account, self._as_of_ms(), query.shard()))

    async def _positions(self, request: web.Request) -> web.Response:
        account = self._account(request)
        known = (*_PAGE, *_SUBACCOUNT, "ticker", "event_ticker", "count_filter", "settlement_status", "exchange_index")
        query = Query(request.query.items(), known)
        _primary_only(query)
        as_of_ms, shard = self._as_of_ms(), query.shard()
        settled = {row.ticker for row in account.settlements if row.ms <= as_of_ms}
        status = query.text("settlement_status") or "unsettled"
        if status not in ("unsettled", "settled", "all"):
            raise bad_request("parameter settlement_status must be unsettled, settled or all")
        filters = query.listed("count_filter")
        if not set(filters) <= {"position", "total_traded"}:
            raise bad_request("parameter count_filter takes position and total_traded")
        rows = []
        for ticker, history in account.position_history.items():
            position = history.at(as_of_ms)
            event, market_shard = account.home(ticker)
            if (
                position is None
                or query.text("ticker") not in ("", ticker)
                or query.text("event_ticker") not in ("", event)
                or (shard is not None and shard != market_shard)
                or (status != "all" and (ticker in settled) != (status == "settled"))
                or ("position" in filters and position.count == 0)
            ):
                continue
            rows.append((ticker, event, market_shard, position))
        limit = query.whole("limit", 100, 1, 1_000)
        rows, cursor = page(rows, lambda row: row[0], limit, query.text("cursor"))
        by_event = {event: [row[3] for row in rows if row[1] == event] for _, event, _, _ in rows}
        return json_response(
            {
                "market_positions": [wire.position_json(row[0], row[3], row[2]) for row in rows],
                "event_positions": [wire.event_position_json(event, held) for event, held in by_event.items()],
                "cursor": cursor,
            }
        )

    async def _fills(self, request: web.Request) -> web.Response:
        account = self._account(request)
        known = (*_PAGE, *_SUBACCOUNT, "ticker", "order_id", "min_ts", "max_ts", "exchange_index")
        query = Query(request.query.items(), known)
        _primary_only(query)
        tickers, order_id, shard = query.listed("ticker"), query.text("order_id"), query.shard()
        low, high = query.seconds_as_ms("min_ts"), query.seconds_as_ms("max_ts")
        rows = [
            fill
            for fill in account.fills
            if fill.ms <= self._as_of_ms()
            and (not tickers or fill.ticker in tickers)
            and order_id in ("", fill.order_id)
            and (shard is None or fill.shard == shard)
            and (low is None or fill.ms >= low)
            and (high is None or fill.ms <= high)
        ]
        limit = query.whole("limit", 100, 1, 1_000)
        rows, cursor = page(rows, lambda fill: f"{fill.ms:015d}:{fill.trade_id}:{fill.order_id}", limit,
                            query.text("cursor"))  # fmt: skip
        return json_response({"fills": [wire.fill_json(fill) for fill in rows], "cursor": cursor})

    async def _orders(self, request: web.Request) -> web.Response:
        account = self._account(request)
        known = (
            *_PAGE, *_SUBACCOUNT, "ticker", "event_ticker", "min_ts", "max_ts", "status", "exchange_index",
        )  # fmt: skip
        query = Query(request.query.items(), known)
        _primary_only(query)
        status, events = query.text("status"), query.listed("event_ticker")
        if status and status not in {choice.value for choice in OrderStatus}:
            raise bad_request("parameter status must be resting, canceled or executed")
        if len(events) > 10:
            raise bad_request("parameter event_ticker takes at most 10 events")
        ticker, shard = query.text("ticker"), query.shard()
        low, high = query.seconds_as_ms("min_ts"), query.seconds_as_ms("max_ts")
        rows = [
            order
            for order in self._readable(account)
            if ticker in ("", order.ticker)
            and (not events or order.event_ticker in events)
            and status in ("", order.status.value)
            and (shard is None or order.shard == shard)
            and (low is None or order.created_ms >= low)
            and (high is None or order.created_ms <= high)
        ]
        limit = query.whole("limit", 100, 1, 1_000)
        rows, cursor = page(rows, lambda row: f"{row.created_ms:015d}:{row.order_id}", limit, query.text("cursor"))
        orders = [wire.order_json(order, account.account_id) for order in rows]
        return json_response({"orders": orders, "cursor": cursor})

    async def _order(self, request: web.Request) -> web.Response:
        account = self._account(request)
        Query(request.query.items(), ())
        history = account.orders.get(request.match_info["order_id"])
        order = history.at(self._as_of_ms()) if history else None
        if order is None:
            raise ExchangeRefusalError(404, "not_found")
        return json_response({"order": wire.order_json(order, account.account_id)})

    async def _settlements(self, request: web.Request) -> web.Response:
        account = self._account(request)
        known = (*_PAGE, *_SUBACCOUNT, "ticker", "event_ticker", "min_ts", "max_ts")
        query = Query(request.query.items(), known)
        _primary_only(query)
        low, high = query.seconds_as_ms("min_ts"), query.seconds_as_ms("max_ts")
        rows = [
            row
            for row in account.settlements
            if row.ms <= self._as_of_ms()
            and query.text("ticker") in ("", row.ticker)
            and query.text("event_ticker") in ("", row.event_ticker)
            and (low is None or row.ms >= low)
            and (high is None or row.ms <= high)
        ]
        limit = query.whole("limit", 100, 1, 1_000)
        rows, cursor = page(rows, lambda row: f"{row.ms:015d}:{row.ticker}", limit, query.text("cursor"))
        return json_response({"settlements": [wire.settlement_json(row) for row in rows], "cursor": cursor})

    def _readable(self, account: Account) -> Iterable[OrderView]:
        as_of_ms = self._as_of_ms()
        for history in account.orders.values():
            order = history.at(as_of_ms)
            if order is not None:
                yield order

    # Orders

    async def _create(self, request: web.Request) -> web.Response:
        account = self._account(request)
        try:
            fields = read_json(await request.read())
        except ValueError as error:
            return _unreadable(error)
        self._tick()
        order = self._gate.place(account.account_id, read_order(fields))
        answer = wire.ack_json(order, self._core.now_ms)
        self._flush()
        await asyncio.sleep(self._reply_seconds)
        return json_response(answer, 201)

    async def _create_batch(self, request: web.Request) -> web.Response:
        account = self._account(request)
        try:
            fields = read_json(await request.read())
        except ValueError as error:
            return _unreadable(error)
        items = fields.get("orders")
        if not isinstance(items, list) or not items:
            raise ExchangeRefusalError(400, "missing_parameters", "orders")
        self._tick()
        answers = [self._create_item(account, item) for item in items]
        self._flush()
        await asyncio.sleep(self._reply_seconds)
        return json_response({"orders": answers}, 201)

    def _create_item(self, account: Account, item: object) -> wire.Json:
        nothing: wire.Json = dict.fromkeys(("average_fill_price", "average_fee_paid"))
        try:
            order = self._gate.place(account.account_id, read_order(item))
        except ExchangeRefusalError as refusal:
            client_order_id = item.get("client_order_id") if isinstance(item, dict) else None
            counts: wire.Json = dict.fromkeys(("fill_count", "remaining_count", "ts_ms"))
            return {"client_order_id": client_order_id, **counts, **nothing, "error": refusal.body()}
        return {**nothing, **wire.ack_json(order, self._core.now_ms)}

    async def _cancel(self, request: web.Request) -> web.Response:
        account = self._account(request)
        query = Query(request.query.items(), (*_SUBACCOUNT, "exchange_index", "market_ticker"))
        _primary_only(query)
        shard, ticker = query.shard(), query.text("market_ticker")
        if shard is None:
            # Without a ticker the exchange cannot route a cancel and looks on shard 0 only.
            market = self._core.markets.get(ticker)
            shard = market.series.shard if market is not None else 0
        order, reduced = self._gate.cancel(account.account_id, request.match_info["order_id"], shard)
        self._flush()
        answer: wire.Json = {"order_id": order.order_id, "reduced_by": count_to_wire(reduced)}
        if order.client_order_id:
            answer["client_order_id"] = order.client_order_id
        return json_response({**answer, "ts_ms": self._core.now_ms})

    async def _gone(self, request: web.Request) -> web.Response:
        self._account(request)
        raise ExchangeRefusalError(410, "deprecated_v1_order_endpoint")


def _unreadable(error: ValueError) -> web.Response:
    # A body that cannot be parsed is answered with the three fields at top level, unlike every other error.
    return json_response({"code": "bad_request", "message": "bad request", "details": str(error)}, 400)


def _statuses(query: Query) -> tuple[MarketStatus, ...]:
    word = query.text("status")
    if not word:
        return ()
    if word not in wire.STATUS_FILTERS:
        raise bad_request(f"parameter status must be one of {', '.join(wire.STATUS_FILTERS)}")
    return wire.STATUS_FILTERS[word]


def _primary_only(query: Query) -> None:
    if query.whole("subaccount", 0, 0, 63):
        raise ExchangeRefusalError(404, "not_found", "no such subaccount")


def _market_key(market: MarketState) -> str:
    return f"{market.created_ms:015d}:{market.ticker}"
