"""REST: orders through the core. Every rule is in the core; here requests are read, paid and answered."""

from aiohttp import web

from infra.exchange import wire, wire_portfolio
from infra.exchange.account import OrderView
from infra.exchange.bodies import Target, read_amendment, read_cancel, read_decrease, read_order
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.rest_desk import Access, Call, Handler, Pays, RestDesk, Route
from infra.exchange.rest_portfolio import primary_only
from infra.exchange.tokens import DEFAULT_COST
from kalshi_arb.domain.money import Count, count_to_wire

ORDERS = "/portfolio/events/orders"
TRADE = "write::trade"
_CANCEL_COST = 2
_AVERAGES = ("average_fill_price", "average_fee_paid")
_COUNTS = ("fill_count", "remaining_count", "ts_ms")


async def create(call: Call) -> web.Response:
    """POST /portfolio/events/orders."""
    order = read_order(await call.body())
    call.pay_routed(DEFAULT_COST, order.shard)
    call.desk.tick()
    view = call.desk.gate.place(call.account.account_id, order)
    return await call.desk.answer_order(wire_portfolio.ack_json(view, call.desk.core.now_ms), 201)


async def create_batch(call: Call) -> web.Response:
    """POST /portfolio/events/orders/batched: 201 whatever became of the items, each with its own answer."""
    answers = [_create_item(call, item) for item in await _items(call, DEFAULT_COST)]
    return await call.desk.answer_order({"orders": answers}, 201)


def _create_item(call: Call, item: object) -> wire.Json:
    nothing: wire.Json = dict.fromkeys(_AVERAGES)
    try:
        view = call.desk.gate.place(call.account.account_id, read_order(item))
    except ExchangeRefusalError as refusal:
        client_order_id = item.get("client_order_id") if isinstance(item, dict) else None
        return {"client_order_id": client_order_id, **dict.fromkeys(_COUNTS), **nothing, "error": refusal.body()}
    return {**nothing, **wire_portfolio.ack_json(view, call.desk.core.now_ms)}


async def _items(call: Call, cost: int) -> list[object]:
    """The items of a batch, paid: a batch is taken whole or refused whole, always from the unscoped bucket."""
    items = (await call.body()).get("orders")
    if not isinstance(items, list) or not items:
        raise ExchangeRefusalError(400, "missing_parameters", "orders")
    call.pay(cost * len(items))
    call.desk.tick()
    return items


def _find(desk: RestDesk, target: Target) -> int:
    """Where to look for an order: without a shard or a known market the exchange looks on shard 0 only."""
    if target.shard is not None:
        return target.shard
    market = desk.core.markets.get(target.ticker)
    return market.series.shard if market is not None else 0


def _pay_for(call: Call, target: Target, cost: int) -> None:
    call.pay_routed(cost, None if target.shard is None and target.ticker else target.shard or 0)


def _changed(order: OrderView, change: wire.Json, call: Call) -> wire.Json:
    answer: wire.Json = {"order_id": order.order_id, **change}
    if order.client_order_id:
        answer["client_order_id"] = order.client_order_id
    return {**answer, "ts_ms": call.desk.core.now_ms}


async def cancel(call: Call) -> web.Response:
    """DELETE /portfolio/events/orders/{order_id}."""
    query = call.query("subaccount", "exchange_index", "market_ticker")
    primary_only(query)
    target = Target(call.part("order_id"), query.shard(), query.text("market_ticker"))
    _pay_for(call, target, _CANCEL_COST)
    order, reduced = call.desk.gate.cancel(call.account.account_id, target.order_id, _find(call.desk, target))
    return await call.desk.answer_order(_changed(order, {"reduced_by": count_to_wire(reduced)}, call))


async def cancel_batch(call: Call) -> web.Response:
    """DELETE /portfolio/events/orders/batched: 200 whatever became of the items, each with its own answer."""
    answers = [_cancel_item(call, item) for item in await _items(call, _CANCEL_COST)]
    return await call.desk.answer_order({"orders": answers})


def _cancel_item(call: Call, item: object) -> wire.Json:
    try:
        target = read_cancel(item)
        order, reduced = call.desk.gate.cancel(call.account.account_id, target.order_id, _find(call.desk, target))
    except ExchangeRefusalError as refusal:
        order_id = item.get("order_id") if isinstance(item, dict) else None
        return {"order_id": order_id or "", "reduced_by": count_to_wire(Count(0)), "error": refusal.body()}
    return _changed(order, {"reduced_by": count_to_wire(reduced)}, call)


async def cancel_all(call: Call) -> web.Response:
    """DELETE /portfolio/events/orders: everything on all shards, without a word about it."""
    primary_only(call.query("subaccount"))
    call.desk.gate.cancel_all(call.account.account_id)
    call.desk.flush()
    return web.Response(status=204)


async def amend(call: Call) -> web.Response:
    """POST /portfolio/events/orders/{order_id}/amend."""
    primary_only(call.query("subaccount"))
    amendment = read_amendment(call.part("order_id"), await call.body())
    call.pay_routed(DEFAULT_COST, amendment.shard)
    call.desk.tick()
    view = call.desk.gate.amend(call.account.account_id, amendment)
    return await call.desk.answer_order(wire_portfolio.ack_json(view, call.desk.core.now_ms))


async def decrease(call: Call) -> web.Response:
    """POST /portfolio/events/orders/{order_id}/decrease."""
    primary_only(call.query("subaccount"))
    wanted = read_decrease(call.part("order_id"), await call.body())
    _pay_for(call, wanted.target, DEFAULT_COST)
    call.desk.tick()
    view = call.desk.gate.decrease(
        call.account.account_id, wanted.target.order_id, reduce_by=wanted.reduce_by, reduce_to=wanted.reduce_to,
        shard=_find(call.desk, wanted.target),
    )  # fmt: skip
    return await call.desk.answer_order(_changed(view, {"remaining_count": count_to_wire(view.remaining)}, call))


async def gone(call: Call) -> web.Response:
    """Every order write of the first generation, which is gone for good."""
    del call
    raise ExchangeRefusalError(410, "deprecated_v1_order_endpoint")


def trade(method: str, path: str, handler: Handler, *, cost: int = DEFAULT_COST, pays: Pays = Pays.HANDLER) -> Route:
    """A write that trading keys may make."""
    return Route(method, path, handler, Access.MEMBER, pays, cost, TRADE)


_GONE: tuple[tuple[str, str], ...] = (
    ("POST", "/portfolio/orders"),
    ("POST", "/portfolio/orders/batched"),
    ("POST", "/portfolio/orders/{order_id}/amend"),
    ("POST", "/portfolio/orders/{order_id}/decrease"),
    ("DELETE", "/portfolio/orders/batched"),
    ("DELETE", "/portfolio/orders/{order_id}"),
)

ROUTES = (
    trade("POST", ORDERS, create),
    trade("DELETE", ORDERS, cancel_all, cost=_CANCEL_COST, pays=Pays.WRITE),
    trade("POST", f"{ORDERS}/batched", create_batch),
    trade("DELETE", f"{ORDERS}/batched", cancel_batch, cost=_CANCEL_COST),
    trade("DELETE", f"{ORDERS}/{{order_id}}", cancel, cost=_CANCEL_COST),
    trade("POST", f"{ORDERS}/{{order_id}}/amend", amend),
    trade("POST", f"{ORDERS}/{{order_id}}/decrease", decrease),
    *(trade(method, path, gone, pays=Pays.WRITE) for method, path in _GONE),
)
"""In the order in which they are matched: fixed words before identifiers."""
