"""Lets armed faults strike at HTTP calls: between the socket and the routes, which know nothing of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec
from aiohttp import web

from infra.exchange.fault_board import FaultBoard
from infra.exchange.faults import Call, Disorder, FillsDisordered, HttpError, ReplyDelayed, ReplyLost
from infra.exchange.rest_desk import PREFIX, json_response
from infra.exchange.wire import Json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CODES = {
    408: "request_timeout",
    429: "too_many_requests",
    500: "internal_server_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}
_TICKER_PARAMETERS = ("ticker", "tickers", "market_ticker", "market_tickers")
_FILLS = "/portfolio/fills"


class FaultyHttp:
    """A middleware around everything under the API's root and the stream's handshake.

    :param now_ms: the right time, UTC milliseconds
    :param tick: brings the exchange to the present, so that whatever a fault changes happens now
    :param flush: sends what a fault made happen
    """

    def __init__(
        self,
        board: FaultBoard,
        ws_path: str,
        *,
        now_ms: Callable[[], int],
        tick: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        self._board = board
        self._ws_path = ws_path
        self._now_ms = now_ms
        self._tick = tick
        self._flush = flush
        self._skew_ms: ContextVar[int] = ContextVar("skew_ms", default=0)

    def judging_now_ms(self) -> int:
        """The time by which the signature of the call in hand is judged."""
        return self._now_ms() + self._skew_ms.get()

    async def date(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Show the exchange's clock in every answer."""
        moment = datetime.fromtimestamp(self.judging_now_ms() // 1_000, tz=UTC)
        response.headers["Date"] = format_datetime(moment, usegmt=True)

    @web.middleware
    async def disturb(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer as the armed faults say, or let the call through."""
        self._skew_ms.set(0)  # a kept connection's next call is judged by the right clock again
        concerns = request.path.startswith(f"{PREFIX}/") or request.path == self._ws_path
        if self._board.is_idle or not concerns:
            return await handler(request)
        call = await self._described(request)
        self._skew_ms.set(self._board.clock_skew_ms(call))
        self._tick()
        fault = self._board.call(call)
        self._flush()
        self._board.set_lag(call)
        # A handshake is answered before there is anything to carry out.
        if isinstance(fault, HttpError | ReplyLost) and (call.is_handshake or not fault.executed):
            return _failed(request, fault)
        if isinstance(fault, ReplyDelayed) and call.is_handshake:
            await asyncio.sleep(fault.ms / 1_000)
            fault = None
        response = await handler(request)
        if isinstance(fault, ReplyDelayed):
            await asyncio.sleep(fault.ms / 1_000)
        elif fault is not None:
            return _failed(request, fault)
        if call.method == "GET" and call.path == _FILLS and isinstance(response, web.Response):
            return self._disordered(call, response)
        return response

    async def _described(self, request: web.Request) -> Call:
        if request.path == self._ws_path:
            return Call(request.method, request.path, is_handshake=True)
        path = request.path.removeprefix(PREFIX)
        markets = {part for name in _TICKER_PARAMETERS for part in request.query.getall(name, ())}
        markets = {ticker for part in markets for ticker in part.split(",")}
        if path.startswith("/markets/"):
            markets.add(path.split("/")[2])
        if request.can_read_body:
            markets.update(_named(await request.read()))
        return Call(request.method, path, frozenset(markets - {""}))

    def _disordered(self, call: Call, response: web.Response) -> web.Response:
        body = response.body
        if response.status != 200 or not isinstance(body, bytes):
            return response
        page = msgspec.json.decode(body)
        page["fills"] = self._board.fills_read(call, page["fills"], self._disorder)
        return json_response(page)

    def _disorder(self, fault: FillsDisordered, rows: list[Json]) -> list[Json]:
        if fault.how is Disorder.DUPLICATE:
            return [row for row in rows for _ in range(2)]
        if fault.how is Disorder.OUT_OF_ORDER:
            return rows[::-1]
        youngest = datetime.fromtimestamp((self._now_ms() - fault.ms) / 1_000, tz=UTC)
        return [row for row in rows if datetime.fromisoformat(str(row["created_time"])) <= youngest]


def _failed(request: web.Request, fault: HttpError | ReplyLost) -> web.Response:
    if isinstance(fault, ReplyLost):
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # nobody gets it: its connection is gone
    code = _CODES[fault.status]
    return json_response({"error": {"code": code, "message": code.replace("_", " "), "details": ""}}, fault.status)


def _named(body: bytes) -> set[str]:
    """The markets that a body names: of one order, or of each in a batch."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return set()
    if not isinstance(fields, dict):
        return set()
    items = fields.get("orders")
    rows = [fields, *(items if isinstance(items, list) else ())]
    named = [row.get(key) for row in rows if isinstance(row, dict) for key in ("ticker", "market_ticker")]
    return {ticker for ticker in named if isinstance(ticker, str)}
