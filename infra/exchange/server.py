"""The embedded exchange on a loopback port: REST and WebSocket around the core, and an admin read for reconciliation.

Nothing but loopback is ever bound. One task moves the exchange's time; whatever happens in a step or in a request is
sent to the sessions before the next one is handled.
"""

import asyncio
import contextlib
import ipaddress
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import ClientConnectionResetError, WSMsgType, web

from infra.exchange.account import Account
from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.durable import Keeper
from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError
from infra.exchange.inputs import Gate, forget
from infra.exchange.playback import Playback
from infra.exchange.rest import RestApi, json_response, refusal_response
from infra.exchange.stream import Frame, StreamSession
from infra.exchange.universe import Universe

log = logging.getLogger(__name__)

WS_PATH = "/trade-api/ws/v2"
REST_PATH = "/trade-api/v2"
PING_PAYLOAD = b"heartbeat"
_MAX_MESSAGE = 64 * 1024 * 1024
_CLOSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and how the exchange serves. ``buffer_frames`` unread frames end a session's subscription (error 25);
    ``reply_ms`` is how long the answer to an order is under way after the order was executed."""

    host: str = "127.0.0.1"
    port: int = 0
    step_ms: int = 20
    read_lag_ms: int = 0
    reply_ms: int = 0
    ping_seconds: float = 10.0
    buffer_frames: int = 20_000


class _Connection:
    """One WebSocket with its unread frames."""

    def __init__(
        self,
        session: StreamSession,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        limit: int,
    ) -> None:
        self.session = session
        self.socket = socket
        self._transport = transport
        self.sent = 0
        self._limit = limit
        self._frames: deque[Frame] = deque()
        self._ready = asyncio.Event()

    def push(self, frames: list[Frame]) -> None:
        """Queue frames; a subscription that overflows the queue loses what is unread, and itself."""
        lost: set[int] = set()
        for frame in frames:
            if frame.sid in lost:
                continue
            if len(self._frames) >= self._limit and frame.sid is not None:
                lost.add(frame.sid)
                self._frames = deque(kept for kept in self._frames if kept.sid != frame.sid)
                self._frames.extend(self.session.overflow(frame.sid))
            else:
                self._frames.append(frame)
        if self._frames:
            self._ready.set()

    async def write(self) -> None:
        """Send queued frames until cancelled or the peer is gone."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._frames:
                await self.socket.send_str(self._frames.popleft().text)
                self.sent += 1

    async def close(self) -> None:
        """Say goodbye, but never wait for a peer that does not read."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self.socket.close(code=1001, message=b"exchange stops"), _CLOSE_SECONDS)
        if self._transport is not None:
            self._transport.abort()

    async def ping(self, seconds: float) -> None:
        """Send the heartbeat until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.socket.ping(PING_PAYLOAD)


class ExchangeServer:
    """Serves one core.

    :param now_ms: UTC milliseconds; also what signatures are checked against
    :param universe: the world that lives on the core, generated or from a tape, or None for one that only its owner
        changes
    :param keeper: keeps what happens on disk, or None when all ends with the process
    """

    def __init__(
        self,
        core: ExchangeCore,
        keys: KeyRing,
        config: ServerConfig,
        *,
        now_ms: Callable[[], int],
        universe: Universe | Playback | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.core = core
        self.universe = universe
        self._keeper = keeper
        self._gate = Gate(core, universe, forget if keeper is None else keeper.keep)
        self._keys = keys
        self._config = config
        self._now_ms = now_ms
        self._connections: dict[int, _Connection] = {}
        self._connection_number = 0
        self._frames_sent = 0
        self._runner: web.AppRunner | None = None
        self._clockwork: asyncio.Task[None] | None = None
        self.failed = asyncio.Event()
        self.port = config.port

    @property
    def went_on(self) -> bool:
        """Whether this exchange was there before its process, and goes on from what was kept of it."""
        return self._keeper is not None and self._keeper.was_there

    @property
    def rest_url(self) -> str:
        """Where REST is served, once started."""
        return f"http://{self._netloc}{REST_PATH}"

    @property
    def ws_url(self) -> str:
        """Where the stream is served, once started."""
        return f"ws://{self._netloc}{WS_PATH}"

    @property
    def admin_url(self) -> str:
        """Where the admin reads are served, once started."""
        return f"http://{self._netloc}/admin"

    @property
    def _netloc(self) -> str:
        host = self._config.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def start(self) -> None:
        """Bind the port and begin to live.

        :raises ExchangeStartError: the host is not loopback, or the port is taken.
        """
        _check_loopback(self._config.host)
        api = RestApi(
            self.core, self._gate, self._keys, now_ms=self._now_ms, tick=self.tick, flush=self.flush,
            read_lag_ms=self._config.read_lag_ms, reply_ms=self._config.reply_ms,
        )  # fmt: skip
        app = web.Application(middlewares=[api.answer], client_max_size=_MAX_MESSAGE)
        app.add_routes(api.routes())
        app.add_routes(
            [
                web.get(WS_PATH, self._stream, allow_head=False),
                web.get("/admin/account", self._admin_account, allow_head=False),
                web.get("/admin/stats", self._admin_stats, allow_head=False),
            ]
        )
        if isinstance(self.universe, Playback):
            app.add_routes(
                [
                    web.get("/admin/tape", self._admin_tape, allow_head=False),
                    web.post("/admin/tape", self._admin_start_tape),
                ]
            )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, self._config.host, self._config.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ExchangeStartError(
                f"cannot listen on {self._config.host}:{self._config.port}: {error.strerror}; "
                "choose another port, or 0 for any free one"
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]
        self._clockwork = asyncio.create_task(self._run_clock())

    async def stop(self) -> None:
        """Close every session and the port. Stopping twice does nothing."""
        clockwork, self._clockwork = self._clockwork, None
        if clockwork is not None:
            clockwork.cancel()
            await asyncio.gather(clockwork, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in list(self._connections.values())))
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._keeper is not None:
            self._keeper.close(is_sound=self._gate.is_sound)

    def tick(self) -> None:
        """Bring the core to the present and send what happened meanwhile."""
        self._gate.advance(self._now_ms())
        self.flush()

    def flush(self) -> None:
        """Send everything the core has emitted to the sessions that subscribed to it."""
        emissions = self.core.drain()
        if emissions:
            for connection in self._connections.values():
                connection.push(connection.session.emit(emissions))

    async def _run_clock(self) -> None:
        try:
            while True:
                self._gate.step(self._now_ms())
                self.flush()
                await asyncio.sleep(self._config.step_ms / 1_000)
        except Exception:
            # An exchange whose time stands still would look alive; whoever runs it must hear that it is not.
            log.exception("the exchange's clock has stopped")
            self.failed.set()
            raise

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            account_id = self._keys.authenticate(request.headers, "GET", request.path, self._now_ms())
        except ExchangeRefusalError as refusal:
            return refusal_response(refusal)
        socket = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE, timeout=_CLOSE_SECONDS)
        await socket.prepare(request)
        session = StreamSession(self.core, account_id)
        connection = _Connection(session, socket, request.transport, self._config.buffer_frames)
        self._connection_number += 1
        number = self._connection_number
        self._connections[number] = connection
        helpers = (
            asyncio.create_task(connection.write()),
            asyncio.create_task(connection.ping(self._config.ping_seconds)),
        )
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.tick()
                    connection.push(connection.session.handle(message.data))
        finally:
            del self._connections[number]
            self._frames_sent += connection.sent
            for helper in helpers:
                helper.cancel()
            with contextlib.suppress(ClientConnectionResetError, ConnectionError):
                for outcome in await asyncio.gather(*helpers, return_exceptions=True):
                    if isinstance(outcome, Exception):
                        raise outcome
        return socket

    # Admin

    async def _admin_account(self, request: web.Request) -> web.Response:
        members = [account for account in self.core.accounts.values() if not account.is_crowd]
        wanted = request.query.get("account", members[0].account_id if members else "")
        for account in members:
            if account.account_id == wanted:
                return json_response(_account_json(account))
        raise ExchangeRefusalError(404, "not_found", "no such account")

    async def _admin_stats(self, _request: web.Request) -> web.Response:
        open_frames = sum(connection.sent for connection in self._connections.values())
        stats: dict[str, object] = {
            "frames_sent": self._frames_sent + open_frames,
            "connections": len(self._connections),
            "now_ms": self.core.now_ms,
        }
        if isinstance(self.universe, Universe):
            counts = self.universe.mispricings.counts
            stats |= {
                "mispricings": {
                    "injected": counts.injected,
                    "live": len(self.universe.mispricings),
                    "expired": counts.expired,
                    "faded": counts.faded,
                    "taken": counts.taken,
                    "partly": counts.partly,
                },
                "events_listed": self.universe.events_listed,
                "events_settled": self.universe.events_settled,
            }
        return json_response(stats)

    async def _admin_tape(self, _request: web.Request) -> web.Response:
        return json_response(self._playback().stats())

    async def _admin_start_tape(self, _request: web.Request) -> web.Response:
        self.tick()
        self._playback().start()
        self.flush()
        return json_response({"started": True})

    def _playback(self) -> Playback:
        if not isinstance(self.universe, Playback):
            raise ExchangeRefusalError(404, "not_found", "no tape is played here")
        return self.universe


def _account_json(account: Account) -> dict[str, object]:
    """Exact integers: cash in 1e-6 dollars, contracts in 1e-2."""
    positions = {ticker: position.count for ticker, position in account.positions.items() if position.count}
    return {
        "account_id": account.account_id,
        "initial_cash": {str(shard): cash for shard, cash in sorted(account.initial_cash.items())},
        "cash": {str(shard): cash for shard, cash in sorted(account.cash.items())},
        "reserved": {str(shard): cash for shard, cash in sorted(account.reserved.items())},
        "fees_paid": account.fees_paid,
        "settled_revenue": account.settled_revenue,
        "positions": positions,
        "orders": len(account.orders),
        "fills": len(account.fills),
        "settlements": len(account.settlements),
        "duplicate_order_attempts": account.duplicate_attempts,
        "orders_by_client_order_id": account.orders_by_client_id,
        "attempts_by_client_order_id": account.attempts_by_client_id,
    }


def _check_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ExchangeStartError(f"{host} is not a loopback address; the embedded exchange serves this machine only")
