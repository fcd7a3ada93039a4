"""What every REST handler works with: the exchange behind the routes, one call at a time, and the two ways to answer.

A route says who may call it and what it costs. Both are settled before its handler runs, except for writes whose cost
depends on what the body says: their handlers pay themselves, before they change anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, unique

import msgspec
from aiohttp import web

from infra.exchange.account import Account
from infra.exchange.auth import KEY_HEADER, KeyRing
from infra.exchange.bodies import read_json
from infra.exchange.cache import ReplyCache
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.inputs import Gate
from infra.exchange.lag import ReadLag, ReadSide
from infra.exchange.past import Past
from infra.exchange.query import Query
from infra.exchange.tokens import DEFAULT_COST, UNSCOPED, Budgets

PREFIX = "/trade-api/v2"

_encode = msgspec.json.Encoder().encode


def json_response(body: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_encode(body), status=status, content_type="application/json")


def refusal_response(refusal: ExchangeRefusalError) -> web.Response:
    """An error answer in the usual shape."""
    return json_response({"error": refusal.body()}, refusal.status)


class UnreadableBodyError(ExchangeRefusalError):
    """A body that is no JSON object: answered with the three fields at top level, unlike every other error."""

    def __init__(self, details: str) -> None:
        super().__init__(400, "bad_request", details)


class TooManyRequestsError(ExchangeRefusalError):
    """The bucket does not cover the call. Two bodies are in use; here reads get one and writes the other, so that
    nobody who works against this exchange can know only one of them. Neither comes with a header that says when."""

    def __init__(self, *, is_read: bool) -> None:
        super().__init__(429, "too_many_requests")
        self.is_read = is_read

    def shown(self) -> object:
        """What stands under ``error``."""
        return "too many requests" if self.is_read else {"code": self.code, "message": "too many requests"}


@unique
class Access(Enum):
    """Who may call."""

    ANYONE = "anyone"
    MEMBER = "member"


@unique
class Pays(Enum):
    """Which bucket a call is paid from, and by whom."""

    READ = "read"
    WRITE = "write"  # the unscoped write bucket
    HANDLER = "handler"  # a write whose handler pays when it knows the shard or the number of items


@dataclass(frozen=True, slots=True)
class RestDesk:
    """The exchange as REST serves it.

    :param gate: the only way in which a request changes the core
    :param past: trades, quotes over time and what is no longer listed
    :param cache: old answers for the calls that a delivery network answers
    :param now_ms: the time by which signatures are judged
    :param tick: brings the core to the present and sends what happened meanwhile
    :param flush: sends what a request made happen
    :param lag: how far portfolio reads are behind the truth
    :param reply_seconds: how long the answer to an order takes after the order was executed
    """

    core: ExchangeCore
    gate: Gate
    keys: KeyRing
    budgets: Budgets
    past: Past
    cache: ReplyCache
    now_ms: Callable[[], int]
    tick: Callable[[], None]
    flush: Callable[[], None]
    lag: ReadLag
    reply_seconds: float

    def as_of_ms(self, side: ReadSide) -> int:
        """The moment that a read shows."""
        return self.core.now_ms - self.lag.ms(side)

    @property
    def shards(self) -> tuple[int, ...]:
        """Every ``exchange_index``; 0 always exists."""
        return tuple(sorted({0, *(series.shard for series in self.core.series.values())}))

    async def answer_order(self, body: object, status: int = 200) -> web.Response:
        """Send what happened to the streams, and the answer after the time that it is under way."""
        self.flush()
        await asyncio.sleep(self.reply_seconds)
        return json_response(body, status)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``member`` is None only where anyone may call."""

    desk: RestDesk
    request: web.Request
    member: Account | None

    @property
    def account(self) -> Account:
        """Who calls a route that needs a key."""
        if self.member is None:
            raise RuntimeError("a route for members was called without one")
        return self.member

    def query(self, *known: str) -> Query:
        """The parameters; those that are not ``known`` are refused."""
        return Query(self.request.query.items(), known)

    def part(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    async def body(self) -> dict[str, object]:
        """The body. :raises UnreadableBodyError: it is no JSON object."""
        try:
            return read_json(await self.request.read())
        except ValueError as error:
            raise UnreadableBodyError(str(error)) from error

    def pay(self, cost: int, shards: Iterable[int] = (UNSCOPED,)) -> None:
        """Pay for a write. :raises TooManyRequestsError: one of the buckets does not cover it; none was touched."""
        now_ms = self.desk.core.now_ms
        if not self.desk.budgets.of_member(self.account.account_id, now_ms).spend_write(cost, tuple(shards), now_ms):
            raise TooManyRequestsError(is_read=False)

    def pay_routed(self, cost: int, shard: int | None) -> None:
        """Pay for one write to a shard; one that the exchange has to route itself (None) is charged to all of them."""
        self.pay(cost, self.desk.shards if shard is None else (shard,))


Handler = Callable[[Call], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. ``child`` is the narrower scope that also opens it; ``cost`` is a call's, or that of one item."""

    method: str
    path: str
    handler: Handler
    access: Access = Access.MEMBER
    pays: Pays = Pays.HANDLER
    cost: int = DEFAULT_COST
    child: str | None = None

    def definition(self, desk: RestDesk) -> web.RouteDef:
        """The route as the server wants it."""

        async def handle(request: web.Request) -> web.Response:
            return await self.handler(Call(desk, request, self._admit(desk, request)))

        if self.method == "GET":
            return web.get(PREFIX + self.path, handle, allow_head=False)
        return web.RouteDef(self.method, PREFIX + self.path, handle, {})

    def _admit(self, desk: RestDesk, request: web.Request) -> Account | None:
        member = self._member(desk, request)
        if self.pays is Pays.HANDLER:
            return member
        now_ms = desk.core.now_ms
        if member is None:
            budget = desk.budgets.of_address(request.remote or "", now_ms)
        else:
            budget = desk.budgets.of_member(member.account_id, now_ms)
        if self.pays is Pays.READ:
            paid = budget.spend_read(self.cost, now_ms)
        else:
            paid = budget.spend_write(self.cost, (UNSCOPED,), now_ms)
        if not paid:
            raise TooManyRequestsError(is_read=self.pays is Pays.READ)
        return member

    def _member(self, desk: RestDesk, request: web.Request) -> Account | None:
        if self.access is Access.ANYONE and KEY_HEADER not in request.headers:
            return None
        path = request.rel_url.raw_path
        account_id = desk.keys.authenticate(request.headers, request.method, path, desk.now_ms(), self.child)
        return desk.core.accounts[account_id]


def public(path: str, handler: Handler) -> Route:
    """A read for anyone. Who shows a key pays from its own bucket, everyone else from their address's."""
    return Route("GET", path, handler, Access.ANYONE, Pays.READ)


def private(path: str, handler: Handler, child: str | None = None) -> Route:
    """A read for members."""
    return Route("GET", path, handler, Access.MEMBER, Pays.READ, child=child)


def definitions(desk: RestDesk, routes: Sequence[Route]) -> list[web.RouteDef]:
    """All routes as the server wants them."""
    return [route.definition(desk) for route in routes]
