"""Puts the deployed handlers on in-memory stores and an exchange in this process, each call of either an occasion.

``bootstrap`` composes everything as it does in the cloud; only what leads out of the process is replaced: settings,
clock, stores, secrets, the exchange's client and the log.
"""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.chaos.plan import Blow, Fates, Killed, Kind
from infra.chaos.scheduler import Scheduler, VirtualClock
from infra.chaos.transport import InProcess
from infra.chaos.worlds import World
from infra.checks.template import Template
from infra.exchange.auth import KeyRing
from infra.exchange.living import MEMBER
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.tokens import Tier as ServedTier
from kalshi_arb import bootstrap, fakes
from kalshi_arb.domain.basket import LIVE_STATES, Basket
from kalshi_arb.domain.errors import StoreError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.rate_limit import Budget, Caller
from kalshi_arb.kalshi.rate_limit import Tier as OwnTier
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.settings import AccountType, Mode, Settings

ROOT = Path(__file__).resolve().parents[2]
_BASE_URL = "http://exchange.invalid/trade-api/v2"
_KEY = Ed25519PrivateKey.generate()
_PEM = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
_ORDERS = "/portfolio/events/orders"
_WRITE_S = 5.0
_LONGEST_FLIGHT_MS = 4_500
"""A request that was sent arrives within the time that its sender waits for an answer, or never."""

Handler = Callable[[dict[str, Any], object], Any]


def function_name(reference: str) -> str:
    """``${RiskCheckFunctionArn}`` of the state machine as the folder ``risk_check``."""
    words = reference.removeprefix("${").removesuffix("FunctionArn}")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in words).lstrip("_")


def time_limits() -> dict[str, int]:
    """The time-out of each function in seconds, from the template, by the name of its folder."""
    found = {}
    for name, properties in Template.read(ROOT / "template.yaml").functions():
        found[function_name(f"${{{name.removesuffix('Function')}FunctionArn}}")] = int(properties["Timeout"])
    return found


def load_handler(name: str) -> Handler:
    """A function's handler."""
    handler: Handler = importlib.import_module(f"functions.{name}.handler").handler
    return handler


class Trace:
    """What happened, line by line."""

    def __init__(self, scheduler: Scheduler, start_ms: int) -> None:
        self._scheduler = scheduler
        self._start_ms = start_ms
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """One line, with time and activity."""
        activity = self._scheduler.current
        moment = self._scheduler.now_ms() - self._start_ms
        self.lines.append(f"{moment:>8} {activity.name:<26} {activity.function:<14} {text}")


class Probe:
    """Stands before everything outside a function."""

    def __init__(self, scheduler: Scheduler, fates: Fates, trace: Trace) -> None:
        self.scheduler = scheduler
        self.fates = fates
        self.trace = trace

    def store(self, port: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One call of a store: on its way, carried out, on its way back; each may fail."""
        name = f"{port}.{method.__name__}"
        activity = self.scheduler.current
        if not activity.function:
            return method(*args, **kwargs)
        pace = activity.pace
        blow = self.fates.at(activity.function, name, Kind.STORE)
        self.trace.note(name if blow is None else f"{name} ({blow.value})")
        if blow is Blow.KILL_BEFORE:
            raise Killed
        self.scheduler.wait(self.fates.stall_ms() if blow is Blow.STALL_BEFORE else self.fates.latency_ms(pace))
        if blow is Blow.ERROR_BEFORE:
            raise StoreError(f"{name}: throttled")
        if name == "ledger.append" and blow in (Blow.ERROR_AFTER, Blow.KILL_AFTER):
            # Entries are added one by one: what failed half-way left some of them.
            method(args[0][: self.fates.part(len(args[0]))])
            result = None
        else:
            result = method(*args, **kwargs)
        if blow is Blow.ERROR_AFTER:
            raise StoreError(f"{name}: no answer")
        if blow is Blow.KILL_AFTER:
            raise Killed
        self.scheduler.wait(self.fates.stall_ms() if blow is Blow.STALL_AFTER else self.fates.latency_ms(pace))
        return result


class Watched:
    """A port behind the probe."""

    def __init__(self, name: str, port: Any, probe: Probe) -> None:
        self._name = name
        self._port = port
        self._probe = probe

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return lambda *args, **kwargs: self._probe.store(self._name, method, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Orders that left a function for the exchange."""

    at_ms: int
    function: str


class Wire(httpx.BaseTransport):
    """The network between a client and the exchange.

    :param refused_again: how many orders the exchange has refused so far because their ids had been there before
    """

    def __init__(self, inner: InProcess, probe: Probe, refused_again: Callable[[], int]) -> None:
        self._inner = inner
        self._probe = probe
        self._refused_again = refused_again
        self.left: list[Leaving] = []
        self.repeated = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request: it may be lost on the way, late, or answered to nobody."""
        scheduler, fates = self._probe.scheduler, self._probe.fates
        activity = scheduler.current
        if not activity.function:
            return self._inner.handle_request(request)
        path = request.url.path.removeprefix("/trade-api/v2")
        places = request.method == "POST" and path.startswith(_ORDERS)
        name = f"{request.method} {_template_of(path)}"
        blow = fates.at(activity.function, name, Kind.ORDER if places else Kind.EXCHANGE)
        self._probe.trace.note(name if blow is None else f"{name} ({blow.value})")
        if blow is Blow.KILL_BEFORE:
            raise Killed
        if places:
            self.left.append(Leaving(scheduler.now_ms(), activity.function))
        patience_ms = round((request.extensions.get("timeout", {}).get("read") or _WRITE_S) * 1000)
        if blow is Blow.KILL_UNDER_WAY:
            flight = min(fates.stall_ms(), _LONGEST_FLIGHT_MS)
            scheduler.start(f"{activity.name} late", lambda: self._arrive_late(request), flight)
            raise Killed
        there = fates.stall_ms() if blow is Blow.STALL_BEFORE else fates.latency_ms(activity.pace)
        self._travel(min(there, patience_ms - 1), patience_ms, on_time=there < patience_ms)
        response = self._repeat(request) if blow is Blow.REPEATED else self._inner.handle_request(request)
        if blow is Blow.KILL_AFTER:
            raise Killed
        back = fates.stall_ms() if blow is Blow.STALL_AFTER else fates.latency_ms(activity.pace)
        self._travel(back, patience_ms - there, on_time=there + back < patience_ms)
        return response

    def _repeat(self, request: httpx.Request) -> httpx.Response:
        """A proxy that hears no answer asks again, and gives up when the exchange does not even look at the orders."""
        with suppress(httpx.HTTPError):
            self._inner.handle_request(request)
        before = self._refused_again()
        response = self._inner.handle_request(request)
        self.repeated += self._refused_again() - before
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS):
            raise httpx.RemoteProtocolError("the proxy gave up")
        return response

    def _travel(self, took_ms: int, patience_ms: int, *, on_time: bool) -> None:
        scheduler = self._probe.scheduler
        if on_time:
            scheduler.wait(took_ms)
            return
        scheduler.wait(max(0, patience_ms))
        raise httpx.ReadTimeout("no answer in time")

    def _arrive_late(self, request: httpx.Request) -> None:
        """Nobody waits for the answer any more."""
        self._probe.trace.note(f"{request.method} {request.url.path} arrives late")
        try:
            self._inner.handle_request(request)
        except httpx.HTTPError:
            return


def _template_of(path: str) -> str:
    """The path without what it is about."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] in ("events", "series", "markets") and parts[2] != "orderbooks":
        parts[2] = "{ticker}"
    return "/".join(parts)


class OneLive(fakes.MemoryBasketStore):
    """Basket rows; says when a group has two live baskets, or an attempt writes that another has taken over from."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.created: list[str] = []
        self.overlaps: list[str] = []

    def create(self, basket: Basket, *args: Any, **kwargs: Any) -> bool:
        """As the port says."""
        if not super().create(basket, *args, **kwargs):
            return False
        self.created.append(basket.basket_id)
        self._count_live(basket.group_id)
        return True

    def reopen(self, basket: Basket) -> Basket | None:
        """As the port says."""
        live = super().reopen(basket)
        if live is not None:
            self._count_live(basket.group_id)
        return live

    def _count_live(self, group_id: str) -> None:
        rows = self.in_states(LIVE_STATES, 1_000)
        live = [row.basket_id for row in rows if row.group_id == group_id]
        if len(live) > 1:
            self.overlaps.append(f"{group_id} has live baskets {', '.join(sorted(live))}")

    def save(self, basket: Basket) -> Basket:
        """As the port says."""
        saved = super().save(basket)
        attempt = self._scheduler.current.attempt
        if 0 < attempt < saved.attempt:
            self.overlaps.append(f"attempt {attempt} at {basket.basket_id} wrote after attempt {saved.attempt} began")
        return saved


class Launcher:
    """The workflow: an execution is started once for each basket and attempt."""

    def __init__(self, launch: Callable[[str, int], None]) -> None:
        self._launch = launch
        self.started: set[tuple[str, int]] = set()

    def start(self, basket_id: str, attempt: int) -> bool:
        """Start an execution; False when it exists."""
        if (basket_id, attempt) in self.started:
            return False
        self.started.add((basket_id, attempt))
        self._launch(basket_id, attempt)
        return True


class Audits:
    """The queue of audit requests: each message goes on its way."""

    def __init__(self, deliver: Callable[[str], None]) -> None:
        self._deliver = deliver

    def send(self, body: str) -> None:
        """As the port says."""
        self._deliver(body)


class Quiet:
    """Observability whose lines go into the trace."""

    def __init__(self, trace: Trace) -> None:
        self.metrics = fakes.MemoryMetrics()
        self.logger = self
        self._trace = trace

    @contextmanager
    def invocation(self, _context: object, **_ids: str) -> Iterator["Quiet"]:
        """An invocation; what it raises is told by whoever invoked it."""
        yield self

    def info(self, message: object, *_: Any, extra: Mapping[str, object] | None = None, **__: Any) -> None:
        """A line and its fields."""
        self._trace.note(f"  {message} {json.dumps(dict(extra or {}), default=str)}")

    def error(self, message: object, *args: Any, **_: Any) -> None:
        """A line."""
        self._trace.note(f"  {str(message) % args if args else message}")

    warning = error
    exception = error


class Secrets:
    """What the cloud keeps for us."""

    def __init__(self, limits: Mapping[str, object]) -> None:
        self._limits = limits

    def parameter(self, _name: str) -> dict[str, object]:
        """The limits."""
        return dict(self._limits)


class Stage:
    """One exchange, one set of stores and the handlers over both.

    :param ahead_ms: how far our clock is ahead of the exchange's
    :param basic: both sides keep to the lowest rate tier
    """

    def __init__(
        self,
        world: World,
        scheduler: Scheduler,
        probe: Probe,
        launch: Callable[[str, int], None],
        request_audit: Callable[[str], None],
        *,
        limits: Mapping[str, object],
        ahead_ms: int,
        basic: bool,
        seed: str,
    ) -> None:
        self.world = world
        self.clock = VirtualClock(scheduler, ahead_ms)
        keys = KeyRing()
        keys.add("key", _KEY.public_key(), MEMBER)
        config = ServerConfig(tier=ServedTier.BASIC if basic else ServedTier.PRESTIGE)
        self.server = ExchangeServer(world.core, keys, config, now_ms=scheduler.now_ms)
        self.inner = InProcess(self.server)
        self.baskets = OneLive(scheduler)
        self.ledger = fakes.MemoryLedgerStore(self.clock)
        self.groups = fakes.MemoryGroupStore(world.groups)
        self.reservations = fakes.MemoryReservationStore()
        self.status = fakes.MemoryStatusStore()
        self.notifier = fakes.MemoryNotifier()
        self.launcher = Launcher(launch)
        self._probe = probe
        self._scheduler = scheduler
        self._settings = Settings(
            mode=Mode.SIMULATED,
            account=AccountType.CENT if world.plan.precision is Precision.CENT else AccountType.DIRECT,
            rate_tier=OwnTier.BASIC if basic else OwnTier.PRESTIGE,
            rest_url=_BASE_URL,
            smallest_fill="100",
            netting=Netting.ON if world.plan.netting else Netting.OFF,
            limits_parameter="limits",
        )
        ports: dict[str, object] = {
            "audits": Audits(request_audit),
            "baskets": self.baskets,
            "groups": self.groups,
            "opportunities": fakes.MemoryOpportunityStore(),
            "ledger": self.ledger,
            "reservations": self.reservations,
            "status": self.status,
            "notifier": self.notifier,
            "workflow": self.launcher,
        }
        self._stores = SimpleNamespace(**{name: Watched(name, port, probe) for name, port in ports.items()})
        self.wire = Wire(self.inner, probe, lambda: world.core.accounts[MEMBER].duplicate_attempts)
        self._jitter = Random(f"jitter-{seed}")  # noqa: S311 - seeded
        self._secrets = Secrets(limits)
        self._clients: dict[tuple[Caller, bool], RestClient] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let the handlers work on this stage while the block lasts."""
        ours: dict[str, Callable[..., object]] = {
            "settings": lambda: self._settings,
            "clock": lambda: self.clock,
            "stores": lambda _settings: self._stores,
            "observability": lambda _service: Quiet(self._probe.trace),
            "_vault": lambda: self._secrets,
            "_own_exchange": lambda _settings, caller, *_: self.client(caller, signed=True),
            "_public_exchange": lambda _settings, caller, *_: self.client(caller, signed=False),
        }
        theirs = {name: getattr(bootstrap, name) for name in ours}
        bootstrap.reset()
        for name, one in ours.items():
            setattr(bootstrap, name, one)
        try:
            yield
        finally:
            for name, one in theirs.items():
                setattr(bootstrap, name, one)
            bootstrap.reset()
            for client in self._clients.values():
                client.close()
            self.inner.close()

    def client(self, caller: Caller, *, signed: bool) -> RestClient:
        """A caller's client, with its share of the rate limit."""
        known = self._clients.get((caller, signed))
        if known is None:
            known = RestClient(
                base_url=_BASE_URL,
                credentials=Credentials("key", _PEM) if signed else None,
                clock=self.clock,
                budget=Budget(self._settings.rate_tier.limits, caller.share, self.clock.now_ms()),
                transport=self.wire,
                jitter=self._jitter.random,
            )
            self._clients[caller, signed] = known
        return known

    def row(self, basket_id: str) -> Basket:
        """A basket's row."""
        row = self.baskets.get(basket_id)
        if row is None:
            raise StoreError(f"there is no basket {basket_id}")
        return row

    def rows(self, basket_ids: Sequence[str] | None = None) -> list[Basket]:
        """All rows, in the order of their creation."""
        return [self.row(basket_id) for basket_id in (basket_ids or self.baskets.created)]


def invoke(handler: Handler, event: dict[str, Any], scheduler: Scheduler, function: str, limit_s: int) -> Any:
    """Run a handler in the current activity, as one invocation with a time-out.

    :raises Killed: its process died
    :raises DeadlineError: its time was up
    """
    activity = scheduler.current
    before = activity.function, activity.deadline_ms
    activity.function, activity.deadline_ms = function, scheduler.now_ms() + limit_s * 1000
    try:
        return handler(event, SimpleNamespace(aws_request_id="chaos"))
    finally:
        activity.function, activity.deadline_ms = before
