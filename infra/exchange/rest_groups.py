"""REST: order groups. A group is looked for on shard 0 unless ``exchange_index`` says otherwise."""

from collections.abc import Callable

from aiohttp import web

from infra.exchange import wire_portfolio
from infra.exchange.bodies import read_group, read_limit
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.groups import GroupView
from infra.exchange.rest_desk import Call, Handler, json_response, private
from infra.exchange.rest_orders import trade
from infra.exchange.rest_portfolio import primary_only
from infra.exchange.tokens import DEFAULT_COST

_GROUPS = "/portfolio/order_groups"
_GROUP = f"{_GROUPS}/{{order_group_id}}"


async def groups(call: Call) -> web.Response:
    """GET /portfolio/order_groups."""
    primary_only(call.query("subaccount"))
    rows = call.desk.core.groups(call.account.account_id)
    return json_response({"order_groups": [wire_portfolio.listed_group_json(group) for group in rows]})


async def one_group(call: Call) -> web.Response:
    """GET /portfolio/order_groups/{order_group_id}."""
    primary_only(call.query("subaccount"))
    return json_response(wire_portfolio.group_json(_find(call, None)))


def _find(call: Call, shard: int | None) -> GroupView:
    for group in call.desk.core.groups(call.account.account_id):
        if group.group_id == call.part("order_group_id") and shard in (None, group.shard):
            return group
    raise ExchangeRefusalError(404, "order_group_not_found")


async def create(call: Call) -> web.Response:
    """POST /portfolio/order_groups/create."""
    limit, shard = read_group(await call.body())
    call.pay_routed(DEFAULT_COST, shard)
    group = call.desk.gate.create_group(call.account.account_id, limit, shard)
    body = {"order_group_id": group.group_id, "subaccount": 0, "exchange_index": group.shard}
    return await call.desk.answer_order(body, 201)


async def set_limit(call: Call) -> web.Response:
    """PUT /portfolio/order_groups/{order_group_id}/limit."""
    limit = read_limit(await call.body())
    return await _change(call, lambda account_id, group_id: call.desk.gate.set_group_limit(account_id, group_id, limit))


async def reset(call: Call) -> web.Response:
    """PUT /portfolio/order_groups/{order_group_id}/reset."""
    return await _change(call, call.desk.gate.reset_group)


async def trigger(call: Call) -> web.Response:
    """PUT /portfolio/order_groups/{order_group_id}/trigger."""
    return await _change(call, call.desk.gate.trigger_group)


async def delete(call: Call) -> web.Response:
    """DELETE /portfolio/order_groups/{order_group_id}: its orders go with it."""
    return await _change(call, call.desk.gate.delete_group)


async def _change(call: Call, change: Callable[[str, str], object]) -> web.Response:
    query = call.query("subaccount", "exchange_index")
    primary_only(query)
    shard = query.shard() or 0
    call.pay_routed(DEFAULT_COST, shard)
    group = _find(call, shard)
    change(call.account.account_id, group.group_id)
    return await call.desk.answer_order({})


def _put(word: str, handler: Handler) -> tuple[str, str, Handler]:
    return "PUT", f"{_GROUP}/{word}", handler


ROUTES = (
    private(_GROUPS, groups),
    private(_GROUP, one_group),
    trade("POST", f"{_GROUPS}/create", create),
    *(trade(*put) for put in (_put("limit", set_limit), _put("reset", reset), _put("trigger", trigger))),
    trade("DELETE", _GROUP, delete),
)
