"""The embedded exchange on a loopback port: REST and WebSocket around the core, and an admin read for reconciliation.

Nothing but loopback is ever bound. One task moves the exchange's time; whatever happens in a step or in a request is
sent to the sessions before the next one is handled.
"""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import ClientConnectionResetError, WSMsgType, web

from infra.exchange.admin import ADMIN_PATH, AdminApi
from infra.exchange.auth import KeyRing
from infra.exchange.cache import ReplyCache
from infra.exchange.channels import StreamLimits
from infra.exchange.connection import CLOSE_SECONDS, Connection
from infra.exchange.core import ExchangeCore
from infra.exchange.durable import Keeper
from infra.exchange.errors import ExchangeRefusalError, ExchangeStartError
from infra.exchange.fault_board import FaultBoard
from infra.exchange.fault_http import FaultyHttp
from infra.exchange.fault_world import GateWorld
from infra.exchange.inputs import Gate, forget
from infra.exchange.lag import ReadLag
from infra.exchange.past import LIVE_WINDOW_MS, Past
from infra.exchange.playback import Playback
from infra.exchange.rest import RestApi
from infra.exchange.rest_desk import RestDesk, refusal_response
from infra.exchange.stream import StreamSession
from infra.exchange.tokens import Budgets, Tier
from infra.exchange.universe import Universe
from infra.exchange.wire import Json

log = logging.getLogger(__name__)

WS_PATH = "/trade-api/ws/v2"
REST_PATH = "/trade-api/v2"
_MAX_MESSAGE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and how the exchange serves. ``buffer_frames`` unread frames end a session's subscription (error 25);
    ``reply_ms`` is how long the answer to an order is under way after the order was executed; ``tier`` is every
    member's usage tier; ``cache_ms`` is how long ``/markets`` may answer with what it answered before; ``window_ms`` is
    how long data stays on the live endpoints."""

    host: str = "127.0.0.1"
    port: int = 0
    step_ms: int = 20
    read_lag_ms: int = 0
    reply_ms: int = 0
    tier: Tier = Tier.PRESTIGE
    cache_ms: int = 0
    window_ms: int = LIVE_WINDOW_MS
    ping_seconds: float = 10.0
    buffer_frames: int = 20_000
    stream: StreamLimits = field(default_factory=StreamLimits)


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
        self._budgets = Budgets(config.tier)
        self._past = Past(core, config.window_ms)
        self._config = config
        self._now_ms = now_ms
        self._lag = ReadLag(config.read_lag_ms)
        self._world = GateWorld(core, self._gate)
        self.faults = FaultBoard(now_ms, self._world, self._lag)
        self._faulty = FaultyHttp(self.faults, WS_PATH, now_ms=now_ms, tick=self.tick, flush=self.flush)
        self._connections: dict[int, Connection] = {}
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
        return f"http://{self._netloc}{ADMIN_PATH}"

    @property
    def _netloc(self) -> str:
        host = self._config.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def application(self) -> web.Application:
        """Everything that this exchange answers, for a socket or for a caller in the same process."""
        desk = RestDesk(
            self.core, self._gate, self._keys, self._budgets, self._past,
            ReplyCache(self._config.cache_ms), now_ms=self._faulty.judging_now_ms, tick=self.tick, flush=self.flush,
            lag=self._lag, reply_seconds=self._config.reply_ms / 1_000,
        )  # fmt: skip
        api = RestApi(desk)
        admin = AdminApi(self.core, self.universe, self.faults, traffic=self._traffic, tick=self.tick, flush=self.flush)
        app = web.Application(middlewares=[self._faulty.disturb, api.answer], client_max_size=_MAX_MESSAGE)
        app.on_response_prepare.append(self._faulty.date)
        app.add_routes(api.routes())
        app.add_routes(admin.routes())
        app.add_routes([web.get(WS_PATH, self._stream, allow_head=False)])
        return app

    async def start(self) -> None:
        """Bind the port and begin to live.

        :raises ExchangeStartError: the host is not loopback, or the port is taken.
        """
        _check_loopback(self._config.host)
        runner = web.AppRunner(
            self.application(), access_log=None, handle_signals=False, shutdown_timeout=CLOSE_SECONDS
        )
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
        now_ms = self._now_ms()
        self._gate.advance(now_ms)
        self._world.pass_time(now_ms)
        self.flush()

    def flush(self) -> None:
        """Send everything the core has emitted to the sessions that subscribed to it."""
        emissions = self.core.drain()
        if emissions:
            self._past.hear(emissions)
            for connection in self._connections.values():
                connection.push(connection.session.emit(emissions))

    async def _run_clock(self) -> None:
        try:
            while True:
                now_ms = self._now_ms()
                self._gate.step(now_ms)
                self._world.pass_time(now_ms)
                self.flush()
                await asyncio.sleep(self._config.step_ms / 1_000)
        except Exception:
            # An exchange whose time stands still would look alive; whoever runs it must hear that it is not.
            log.exception("the exchange's clock has stopped")
            self.failed.set()
            raise

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            judged_ms = self._faulty.judging_now_ms()
            account_id = self._keys.authenticate(request.headers, "GET", request.path, judged_ms)
        except ExchangeRefusalError as refusal:
            return refusal_response(refusal)
        socket = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE, timeout=CLOSE_SECONDS)
        await socket.prepare(request)
        session = StreamSession(self.core, account_id, limits=self._config.stream, faults=self.faults)
        connection = Connection(session, socket, request.transport, self.faults, self._config.buffer_frames)
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
            connection.forget()
            self._frames_sent += connection.sent
            for helper in helpers:
                helper.cancel()
            with contextlib.suppress(ClientConnectionResetError, ConnectionError):
                for outcome in await asyncio.gather(*helpers, return_exceptions=True):
                    if isinstance(outcome, Exception):
                        raise outcome
        return socket

    def _traffic(self) -> Json:
        open_frames = sum(connection.sent for connection in self._connections.values())
        return {
            "frames_sent": self._frames_sent + open_frames,
            "connections": len(self._connections),
            "calls_over_limit": self._budgets.refused,
        }


def _check_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ExchangeStartError(f"{host} is not a loopback address; the embedded exchange serves this machine only")
