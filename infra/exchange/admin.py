"""What who runs the exchange may ask and do beside the API: the member's true account, figures, tape and faults."""

from collections.abc import Callable

from aiohttp import web

from infra.exchange.account import Account
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError, FaultScriptError
from infra.exchange.fault_board import FaultBoard
from infra.exchange.faults import read_script, script_schema
from infra.exchange.playback import Playback
from infra.exchange.rest_desk import json_response
from infra.exchange.universe import Universe
from infra.exchange.wire import Json

ADMIN_PATH = "/admin"


class AdminApi:
    """The routes under ``/admin``.

    :param traffic: what the server knows of its connections
    :param tick: brings the exchange to the present and sends what happened meanwhile
    :param flush: sends what a request made happen
    """

    def __init__(
        self,
        core: ExchangeCore,
        universe: Universe | Playback | None,
        board: FaultBoard,
        *,
        traffic: Callable[[], Json],
        tick: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        self._core = core
        self._universe = universe
        self._board = board
        self._traffic = traffic
        self._tick = tick
        self._flush = flush

    def routes(self) -> list[web.RouteDef]:
        """Every route."""
        return [
            web.get(f"{ADMIN_PATH}/account", self._account, allow_head=False),
            web.get(f"{ADMIN_PATH}/stats", self._stats, allow_head=False),
            web.get(f"{ADMIN_PATH}/faults", self._faults, allow_head=False),
            web.get(f"{ADMIN_PATH}/faults/schema", self._fault_schema, allow_head=False),
            web.post(f"{ADMIN_PATH}/faults", self._add_faults),
            web.delete(f"{ADMIN_PATH}/faults", self._clear_faults),
            web.get(f"{ADMIN_PATH}/tape", self._tape, allow_head=False),
            web.post(f"{ADMIN_PATH}/tape", self._start_tape),
        ]

    async def _account(self, request: web.Request) -> web.Response:
        members = [account for account in self._core.accounts.values() if not account.is_crowd]
        wanted = request.query.get("account", members[0].account_id if members else "")
        for account in members:
            if account.account_id == wanted:
                return json_response(_account_json(account))
        raise ExchangeRefusalError(404, "not_found", "no such account")

    async def _stats(self, _request: web.Request) -> web.Response:
        stats: Json = {**self._traffic(), "now_ms": self._core.now_ms}
        if isinstance(self._universe, Universe):
            counts = self._universe.mispricings.counts
            stats |= {
                "mispricings": {
                    "injected": counts.injected,
                    "live": len(self._universe.mispricings),
                    "expired": counts.expired,
                    "faded": counts.faded,
                    "taken": counts.taken,
                    "partly": counts.partly,
                },
                "events_listed": self._universe.events_listed,
                "events_settled": self._universe.events_settled,
            }
        return json_response(stats)

    async def _faults(self, _request: web.Request) -> web.Response:
        return json_response(self._board.state())

    async def _fault_schema(self, _request: web.Request) -> web.Response:
        return json_response(script_schema())

    async def _add_faults(self, request: web.Request) -> web.Response:
        self._tick()
        try:
            numbers = self._board.add(read_script(await request.read()))
        except FaultScriptError as error:
            raise ExchangeRefusalError(400, "bad_request", str(error)) from error
        self._flush()
        return json_response({"ids": numbers}, 201)

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._board.clear()
        return json_response(self._board.state())

    async def _tape(self, _request: web.Request) -> web.Response:
        return json_response(self._playback().stats())

    async def _start_tape(self, _request: web.Request) -> web.Response:
        playback = self._playback()
        self._tick()
        playback.start()
        self._flush()
        return json_response({"started": True})

    def _playback(self) -> Playback:
        if not isinstance(self._universe, Playback):
            raise ExchangeRefusalError(404, "not_found", "no tape is played here")
        return self._universe


def _account_json(account: Account) -> Json:
    """Exact integers: cash in 1e-6 dollars, contracts in 1e-2."""
    positions = {ticker: position.count for ticker, position in account.positions.items() if position.count}
    return {
        "account_id": account.account_id,
        "initial_cash": {str(shard): cash for shard, cash in sorted(account.initial_cash.items())},
        "deposits": {str(shard): cash for shard, cash in sorted(account.deposits.items())},
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
