"""REST: the state of the exchange itself, its hours, its clock, and what calls cost."""

from datetime import UTC, datetime, timedelta

from aiohttp import web

from infra.exchange import wire
from infra.exchange.rest_desk import Call, Route, json_response, public
from infra.exchange.tokens import DEFAULT_COST

_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ALL_DAY = {"open_time": "00:00", "close_time": "24:00"}
# The weekly pause, Eastern time.
_THURSDAY = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "24:00"}]
_HOURS_DAYS = 365


async def status(call: Call) -> web.Response:
    """GET /exchange/status."""
    call.query()
    core = call.desk.core
    active = {
        "exchange_active": core.exchange_active,
        "trading_active": core.trading_active,
        "intra_exchange_transfers_active": core.exchange_active,
    }
    rows = [{"exchange_index": shard, "description": f"Shard {shard}", **active} for shard in call.desk.shards]
    return json_response({**active, "exchange_index_statuses": rows})


async def schedule(call: Call) -> web.Response:
    """GET /exchange/schedule: round the clock but for the weekly pause, if it is kept; hours in Eastern time."""
    call.query()
    thursday = _THURSDAY if call.desk.core.pauses_weekly else [_ALL_DAY]
    began = datetime.fromtimestamp(call.desk.core.started_ms // 1_000, tz=UTC)
    hours: wire.Json = {day: thursday if day == "thursday" else [_ALL_DAY] for day in _WEEK}
    hours["start_time"] = began.isoformat()
    hours["end_time"] = (began + timedelta(days=_HOURS_DAYS)).isoformat()
    return json_response({"schedule": {"standard_hours": [hours], "maintenance_windows": []}})


async def user_data_timestamp(call: Call) -> web.Response:
    """GET /exchange/user_data_timestamp: how far the read side has caught up."""
    call.query()
    return json_response({"as_of_time": wire.iso(call.desk.core.now_ms - call.desk.lag.slowest_ms())})


ROUTES = (
    public("/exchange/status", status),
    public("/exchange/schedule", schedule),
    public("/exchange/user_data_timestamp", user_data_timestamp),
)


def costs_route(routes: tuple[Route, ...]) -> Route:
    """GET /account/endpoint_costs: every route that does not cost what is usual; batches cost that much per item."""

    async def endpoint_costs(call: Call) -> web.Response:
        call.query()
        rows = [
            {"method": route.method, "path": route.path, "cost": route.cost}
            for route in routes
            if route.cost != DEFAULT_COST
        ]
        return json_response({"default_cost": DEFAULT_COST, "endpoint_costs": rows})

    return public("/account/endpoint_costs", endpoint_costs)
