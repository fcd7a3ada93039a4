"""REST: what a member has and did: balance, positions, orders, fills, settlements."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from aiohttp import web

from infra.exchange import wire_portfolio as shape
from infra.exchange.account import Account, FillView, OrderStatus, OrderView, Position
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.lag import ReadSide
from infra.exchange.query import Query, bad_request, page
from infra.exchange.rest_desk import Call, RestDesk, json_response, private
from infra.exchange.rest_market_data import PAGE
from infra.exchange.wire import Json

T = TypeVar("T")

TIMES = ("min_ts", "max_ts")
_MOST_EVENTS = 10
_MOST_FILL_TICKERS = 100

PositionRow = tuple[str, str, int, Position]
"""Ticker, event, shard and holding."""


def primary_only(query: Query) -> None:
    """Check a ``subaccount`` parameter: members here have none but the first."""
    if query.whole("subaccount", 0, 0, 63):
        raise ExchangeRefusalError(404, "not_found", "no such subaccount")


def listing(name: str, query: Query, rows: Iterable[T], key: Callable[[T], str], show: Callable[[T], object]) -> Json:
    """One page of a member's rows, newest first."""
    limit = query.whole("limit", 100, 1, 1_000)
    chosen, cursor = page(rows, key, limit, query.text("cursor"))
    return {name: [show(row) for row in chosen], "cursor": cursor}


async def balance(call: Call) -> web.Response:
    """GET /portfolio/balance."""
    query = call.query("subaccount", "exchange_index")
    primary_only(query)
    as_of_ms = call.desk.as_of_ms(ReadSide.BALANCE)
    return json_response(shape.balance_json(call.desk.core, call.account, as_of_ms, query.shard()))


def held(call: Call, query: Query) -> list[PositionRow]:
    """The member's holdings that the usual filters leave, as the read side shows them."""
    as_of_ms = call.desk.as_of_ms(ReadSide.POSITIONS)
    ticker, event = query.text("ticker"), query.listed("event_ticker")
    if len(event) > _MOST_EVENTS:
        raise bad_request(f"parameter event_ticker takes at most {_MOST_EVENTS} events")
    rows = []
    for held_ticker, history in call.account.position_history.items():
        position = history.at(as_of_ms)
        home, shard = call.account.home(held_ticker)
        if position is not None and ticker in ("", held_ticker) and (not event or home in event):
            rows.append((held_ticker, home, shard, position))
    return rows


def is_old_position(desk: RestDesk, position: Position) -> bool:
    """Whether a holding is on the historical endpoint only: closed, and long ago."""
    return position.count == 0 and position.updated_ms < desk.past.cutoff_ms


def positions_body(query: Query, rows: Iterable[PositionRow]) -> Json:
    """A page of market positions, with those of their events."""
    chosen, cursor = page(rows, lambda row: row[0], query.whole("limit", 100, 1, 1_000), query.text("cursor"))
    by_event: dict[str, list[Position]] = {}
    for _, event, _, position in chosen:
        by_event.setdefault(event, []).append(position)
    return {
        "market_positions": [shape.position_json(ticker, position, shard) for ticker, _, shard, position in chosen],
        "event_positions": [shape.event_position_json(event, group) for event, group in by_event.items()],
        "cursor": cursor,
    }


async def positions(call: Call) -> web.Response:
    """GET /portfolio/positions."""
    query = call.query(
        *PAGE, "subaccount", "ticker", "event_ticker", "count_filter", "settlement_status", "exchange_index"
    )
    primary_only(query)
    shard, status = query.shard(), query.text("settlement_status") or "unsettled"
    if status not in ("unsettled", "settled", "all"):
        raise bad_request("parameter settlement_status must be unsettled, settled or all")
    filters = query.listed("count_filter")
    if not set(filters) <= {"position", "total_traded"}:
        raise bad_request("parameter count_filter takes position and total_traded")
    as_of_ms = call.desk.as_of_ms(ReadSide.POSITIONS)
    settled = {row.ticker for row in call.account.settlements if row.ms <= as_of_ms}
    rows = [
        row
        for row in held(call, query)
        if (shard is None or shard == row[2])
        and (status == "all" or (row[0] in settled) == (status == "settled"))
        and ("position" not in filters or row[3].count != 0)
        and ("total_traded" not in filters or row[3].traded != 0)
        and not is_old_position(call.desk, row[3])
    ]
    return json_response(positions_body(query, rows))


def readable_fills(call: Call, query: Query, tickers: list[str]) -> list[FillView]:
    """The member's fills that the usual filters leave, as the read side shows them."""
    as_of_ms, low, high = call.desk.as_of_ms(ReadSide.FILLS), *_times(query)
    return [
        fill
        for fill in call.account.fills
        if fill.ms <= as_of_ms
        and (not tickers or fill.ticker in tickers)
        and (low is None or fill.ms >= low)
        and (high is None or fill.ms <= high)
    ]


def fills_body(query: Query, rows: Iterable[FillView]) -> Json:
    """A page of fills."""
    return listing(
        "fills", query, rows, lambda fill: f"{fill.ms:015d}:{fill.trade_id}:{fill.order_id}", shape.fill_json
    )


async def fills(call: Call) -> web.Response:
    """GET /portfolio/fills."""
    query = call.query(*PAGE, *TIMES, "subaccount", "ticker", "order_id", "exchange_index")
    primary_only(query)
    tickers, order_id, shard = query.listed("ticker"), query.text("order_id"), query.shard()
    if len(tickers) > _MOST_FILL_TICKERS:
        raise bad_request(f"parameter ticker takes at most {_MOST_FILL_TICKERS} markets")
    rows = [
        fill
        for fill in readable_fills(call, query, tickers)
        if order_id in ("", fill.order_id)
        and (shard is None or fill.shard == shard)
        and fill.ms >= call.desk.past.cutoff_ms
    ]
    return json_response(fills_body(query, rows))


def _visible(account: Account, as_of_ms: int) -> Iterator[OrderView]:
    for history in account.orders.values():
        order = history.at(as_of_ms)
        if order is not None:
            yield order


def readable_orders(call: Call, query: Query) -> list[OrderView]:
    """The member's orders that the usual filters leave, as the read side shows them."""
    ticker, (low, high) = query.text("ticker"), _times(query)
    return [
        order
        for order in _visible(call.account, call.desk.as_of_ms(ReadSide.ORDERS))
        if ticker in ("", order.ticker)
        and (low is None or order.created_ms >= low)
        and (high is None or order.created_ms <= high)
    ]


def is_old_order(desk: RestDesk, order: OrderView) -> bool:
    """Whether an order is on the historical endpoint only: done, and long ago."""
    return order.status is not OrderStatus.RESTING and order.updated_ms < desk.past.cutoff_ms


def orders_body(call: Call, query: Query, rows: Iterable[OrderView]) -> Json:
    """A page of orders."""
    account_id = call.account.account_id
    return listing(
        "orders", query, rows, lambda row: f"{row.created_ms:015d}:{row.order_id}",
        lambda row: shape.order_json(row, account_id),
    )  # fmt: skip


async def orders(call: Call) -> web.Response:
    """GET /portfolio/orders."""
    query = call.query(*PAGE, *TIMES, "subaccount", "ticker", "event_ticker", "status", "exchange_index")
    primary_only(query)
    status, events, shard = query.text("status"), query.listed("event_ticker"), query.shard()
    if status and status not in {choice.value for choice in OrderStatus}:
        raise bad_request("parameter status must be resting, canceled or executed")
    if len(events) > _MOST_EVENTS:
        raise bad_request(f"parameter event_ticker takes at most {_MOST_EVENTS} events")
    rows = [
        order
        for order in readable_orders(call, query)
        if (not events or order.event_ticker in events)
        and status in ("", order.status.value)
        and (shard is None or order.shard == shard)
        and not is_old_order(call.desk, order)
    ]
    return json_response(orders_body(call, query, rows))


async def one_order(call: Call) -> web.Response:
    """GET /portfolio/orders/{order_id}."""
    call.query()
    history = call.account.orders.get(call.part("order_id"))
    order = history.at(call.desk.as_of_ms(ReadSide.ORDERS)) if history else None
    if order is None or is_old_order(call.desk, order):
        raise ExchangeRefusalError(404, "not_found")
    return json_response({"order": shape.order_json(order, call.account.account_id)})


async def queue_position(call: Call) -> web.Response:
    """GET /portfolio/orders/{order_id}/queue_position: the contracts at its price that trade before it."""
    call.query()
    entry = call.desk.core.resting(call.part("order_id"))
    if entry is None or entry[1].account is not call.account:
        raise ExchangeRefusalError(404, "not_found")
    market, order = entry
    return json_response({"queue_position_fp": shape.queue_position(market, order)})


async def queue_positions(call: Call) -> web.Response:
    """GET /portfolio/orders/queue_positions, of named markets or of one event."""
    query = call.query("market_tickers", "event_ticker", "subaccount")
    primary_only(query)
    tickers, event = query.listed("market_tickers"), query.text("event_ticker")
    if not tickers and not event:
        raise ExchangeRefusalError(400, "missing_parameters", "market_tickers or event_ticker")
    rows = []
    for market in call.desk.core.markets.values():
        if market.ticker in tickers or market.event.ticker == event:
            rows += [
                {
                    "order_id": order.order_id,
                    "market_ticker": market.ticker,
                    "queue_position_fp": shape.queue_position(market, order),
                }
                for order in market.resting()
                if order.account is call.account
            ]
    return json_response({"queue_positions": rows})


async def settlements(call: Call) -> web.Response:
    """GET /portfolio/settlements."""
    query = call.query(*PAGE, *TIMES, "subaccount", "ticker", "event_ticker")
    primary_only(query)
    as_of_ms, low, high = call.desk.as_of_ms(ReadSide.SETTLEMENTS), *_times(query)
    ticker, event = query.text("ticker"), query.text("event_ticker")
    rows = [
        row
        for row in call.account.settlements
        if row.ms <= as_of_ms
        and ticker in ("", row.ticker)
        and event in ("", row.event_ticker)
        and (low is None or row.ms >= low)
        and (high is None or row.ms <= high)
    ]
    return json_response(
        listing("settlements", query, rows, lambda row: f"{row.ms:015d}:{row.ticker}", shape.settlement_json)
    )


async def resting_value(call: Call) -> web.Response:
    """GET /portfolio/summary/total_resting_order_value: what resting orders hold, without fees."""
    call.query()
    rows = [
        row for row in _visible(call.account, call.desk.as_of_ms(ReadSide.ORDERS)) if row.status is OrderStatus.RESTING
    ]
    return json_response(shape.resting_value_json(rows, call.desk.shards))


def _times(query: Query) -> tuple[int | None, int | None]:
    return query.seconds_as_ms("min_ts"), query.seconds_as_ms("max_ts")


ROUTES = (
    private("/portfolio/balance", balance, "read::portfolio_balance"),
    private("/portfolio/positions", positions),
    private("/portfolio/fills", fills),
    private("/portfolio/orders", orders),
    private("/portfolio/orders/queue_positions", queue_positions),
    private("/portfolio/orders/{order_id}", one_order),
    private("/portfolio/orders/{order_id}/queue_position", queue_position),
    private("/portfolio/settlements", settlements),
    private("/portfolio/summary/total_resting_order_value", resting_value),
)
"""In the order in which they are matched: fixed words before identifiers."""
