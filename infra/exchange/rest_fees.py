"""REST: fees that change on a date, of series and of events."""

from aiohttp import web

from infra.exchange import wire
from infra.exchange.query import page
from infra.exchange.rest_desk import Call, json_response, public
from infra.exchange.rest_market_data import PAGE


async def series_changes(call: Call) -> web.Response:
    """GET /series/fee_changes: those still ahead, or all."""
    query = call.query("series_ticker", "show_historical")
    ticker, historical = query.text("series_ticker"), query.flag("show_historical")
    rows = [
        {
            "id": change.change_id,
            "series_ticker": change.series_ticker,
            **wire.fees_json(change.schedule),
            "scheduled_ts": wire.iso(change.from_ms),
        }
        for change in call.desk.core.fee_changes
        if change.series_ticker is not None
        and change.schedule is not None
        and ticker in ("", change.series_ticker)
        and (historical or change.from_ms > call.desk.core.now_ms)
    ]
    return json_response({"series_fee_change_arr": rows})


async def event_changes(call: Call) -> web.Response:
    """GET /events/fee_changes: overrides still ahead; null is a return to what the series charges."""
    query = call.query(*PAGE, "event_ticker")
    wanted, core = query.text("event_ticker"), call.desk.core
    rows = [
        change
        for change in core.fee_changes
        if change.event_ticker in core.events and wanted in ("", change.event_ticker) and change.from_ms > core.now_ms
    ]
    limit = query.whole("limit", 100, 1, 1_000)
    rows, cursor = page(rows, lambda change: f"{change.from_ms:015d}:{change.change_id}", limit, query.text("cursor"))
    shown = [
        {
            "id": change.change_id,
            "event_ticker": change.event_ticker,
            "series_ticker": core.events[change.event_ticker or ""].series_ticker,
            **wire.override_json(change.schedule),
            "scheduled_ts": wire.iso(change.from_ms),
        }
        for change in rows
    ]
    return json_response({"event_fee_changes": shown, "cursor": cursor})


ROUTES = (public("/series/fee_changes", series_changes), public("/events/fee_changes", event_changes))
"""To be matched before the routes whose paths end in a ticker."""
