"""The one door through which anything comes to change on the exchange, and what came through it as data.

The core and the world on it follow entirely from where they began and from these inputs, in this order: both take
time, chance and identifiers from outside. So keeping the inputs keeps the exchange. An input is kept with its answer
after it was carried out and before the answer goes out; doing a kept input again must give the same record again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Protocol, TypeVar, cast

import msgspec

from infra.exchange import requests
from infra.exchange.account import OrderView, TransferView
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.groups import GroupView
from infra.exchange.requests import Advance, Change, Request, Step
from infra.exchange.terms import Amendment, GridName, NewOrder
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.money import Cash, Count, Price

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Input(msgspec.Struct, frozen=True, array_like=True):
    """A request with its answer in plain JSON: what it gave (None for nothing), or the code of the refusal."""

    request: Request
    answer: Any


class Refused(msgspec.Struct, frozen=True):
    """The answer to a request that was refused."""

    refused: str


class World(Protocol):
    """What lives on the core and moves with its time."""

    def step(self, now_ms: int) -> None:
        """Bring the world and the core to ``now_ms``."""
        ...


class _Doing(Protocol[T_co]):
    def apply(self, core: ExchangeCore) -> T_co: ...


def forget(_: Input) -> None:
    """Keep nothing: an exchange that ends with its process."""


class Gate:
    """Carries inputs out, one at a time, and hands each to ``keep`` before it returns.

    Every method raises :class:`ExchangeRefusalError` with the exchange's status and code when it is refused. When
    carrying out or keeping fails half-way, memory is no longer what was kept: from then on everything raises
    RuntimeError, so that nobody is answered from it.
    """

    def __init__(self, core: ExchangeCore, world: World | None, keep: Callable[[Input], None] = forget) -> None:
        self._core = core
        self._world = world
        self._keep = keep
        self._sound = True

    @property
    def is_sound(self) -> bool:
        """Whether memory is exactly what was kept."""
        return self._sound

    # Time

    def step(self, now_ms: int) -> None:
        """Bring the world to ``now_ms``; without a world, the core's time alone."""
        if self._world is None:
            self.advance(now_ms)
            return
        with self._change():
            if self._core.trades_until(now_ms):
                self._world.step(now_ms)
            else:  # the world cannot place anything, so it stands still until trading goes on
                self._core.advance(now_ms)
            self._keep(Input(Step(now_ms), None))

    def advance(self, now_ms: int) -> None:
        """Let the core's time pass; time that does not move changes nothing."""
        with self._change():
            if now_ms > self._core.now_ms:
                self._core.advance(now_ms)
                self._keep(Input(Advance(now_ms), None))

    # Orders

    def place(self, account_id: str, order: NewOrder) -> OrderView:
        """Take an order (:meth:`ExchangeCore.place`)."""
        return self._do(requests.Place(account_id, order))

    def cancel(self, account_id: str, order_id: str, shard: int | None) -> tuple[OrderView, Count]:
        """Cancel a resting order; returns it and what left the book (:meth:`ExchangeCore.cancel`)."""
        return self._do(requests.Cancel(account_id, order_id, shard))

    def cancel_all(self, account_id: str) -> list[OrderView]:
        """Cancel everything on all shards, and what is placed in the next minute (:meth:`ExchangeCore.cancel_all`)."""
        return self._do(requests.CancelAll(account_id))

    def amend(self, account_id: str, amendment: Amendment) -> OrderView:
        """Give a resting order new terms (:meth:`ExchangeCore.amend`)."""
        return self._do(requests.Amend(account_id, amendment))

    def decrease(
        self,
        account_id: str,
        order_id: str,
        *,
        reduce_by: Count | None = None,
        reduce_to: Count | None = None,
        shard: int | None = None,
    ) -> OrderView:
        """Make a resting order smaller (:meth:`ExchangeCore.decrease`)."""
        return self._do(requests.Decrease(account_id, order_id, reduce_by, reduce_to, shard))

    # Order groups

    def create_group(self, account_id: str, limit: Count, shard: int) -> GroupView:
        """Open an order group on a shard (:meth:`ExchangeCore.create_group`)."""
        return self._do(requests.CreateGroup(account_id, limit, shard))

    def set_group_limit(self, account_id: str, group_id: str, limit: Count) -> GroupView:
        """Change a group's limit (:meth:`ExchangeCore.set_group_limit`)."""
        return self._do(requests.SetGroupLimit(account_id, group_id, limit))

    def reset_group(self, account_id: str, group_id: str) -> GroupView:
        """Let a group take orders again (:meth:`ExchangeCore.reset_group`)."""
        return self._do(requests.ResetGroup(account_id, group_id))

    def trigger_group(self, account_id: str, group_id: str) -> GroupView:
        """Cancel a group's orders and refuse new ones (:meth:`ExchangeCore.trigger_group`)."""
        return self._do(requests.TriggerGroup(account_id, group_id))

    def delete_group(self, account_id: str, group_id: str) -> GroupView:
        """Cancel a group's orders and forget it (:meth:`ExchangeCore.delete_group`)."""
        return self._do(requests.DeleteGroup(account_id, group_id))

    def groups(self, account_id: str) -> list[GroupView]:
        """An account's groups, oldest first; changes nothing."""
        return self._core.groups(account_id)

    # Cash

    def transfer(
        self,
        account_id: str,
        amount: Cash,
        source_shard: int,
        destination_shard: int,
        client_transfer_id: str | None = None,
    ) -> TransferView:
        """Move cash (1e-6 dollars) between two shards (:meth:`ExchangeCore.transfer`)."""
        return self._do(requests.Transfer(account_id, amount, source_shard, destination_shard, client_transfer_id))

    def set_netting(self, account_id: str, *, enabled: bool) -> None:
        """Switch collateral return on or off (:meth:`ExchangeCore.set_netting`)."""
        self._do(requests.SetNetting(account_id, enabled))

    def move_cash(self, account_id: str, shard: int, amount: Cash) -> None:
        """Pay a signed amount (1e-6 dollars) in or out (:meth:`ExchangeCore.move_cash`)."""
        self._do(requests.MoveCash(account_id, shard, amount))

    # Pauses

    def pause_trading(self, *, paused: bool) -> None:
        """Begin or end a trading pause (:meth:`ExchangeCore.pause_trading`)."""
        self._do(requests.PauseTrading(paused))

    def pause_exchange(self, *, paused: bool) -> None:
        """Begin or end an exchange pause (:meth:`ExchangeCore.pause_exchange`)."""
        self._do(requests.PauseExchange(paused))

    def set_weekly_pause(self, *, enabled: bool) -> None:
        """Switch the Thursday pause on or off (:meth:`ExchangeCore.set_weekly_pause`)."""
        self._do(requests.SetWeeklyPause(enabled))

    def deactivate(self, ticker: str) -> None:
        """Pause one market (:meth:`ExchangeCore.deactivate`)."""
        self._do(requests.Deactivate(ticker))

    def activate(self, ticker: str) -> None:
        """Let a paused market trade again, its orders cancelled (:meth:`ExchangeCore.activate`)."""
        self._do(requests.Activate(ticker))

    # A market's end

    def close_market(self, ticker: str) -> None:
        """Close a market now (:meth:`ExchangeCore.close_market`)."""
        self._do(requests.CloseMarket(ticker))

    def move_close(self, ticker: str, close_ms: int) -> None:
        """Move a market's closing time, UTC milliseconds (:meth:`ExchangeCore.move_close`)."""
        self._do(requests.MoveClose(ticker, close_ms))

    def determine(self, ticker: str, yes_payout: Price, value: str) -> None:
        """Give a market its result (:meth:`ExchangeCore.determine`)."""
        self._do(requests.Determine(ticker, yes_payout, value))

    def dispute(self, ticker: str) -> None:
        """Stop the payment of a result (:meth:`ExchangeCore.dispute`)."""
        self._do(requests.Dispute(ticker))

    def amend_result(self, ticker: str, yes_payout: Price, value: str) -> None:
        """Give another result; the timer starts again (:meth:`ExchangeCore.amend_result`)."""
        self._do(requests.AmendResult(ticker, yes_payout, value))

    # Terms

    def change_strike(self, ticker: str, floor: Decimal | None, cap: Decimal | None) -> None:
        """Change a market's strikes (:meth:`ExchangeCore.change_strike`)."""
        self._do(requests.ChangeStrike(ticker, floor, cap))

    def change_rules(self, ticker: str, rules: str) -> None:
        """Change a market's rules text (:meth:`ExchangeCore.change_rules`)."""
        self._do(requests.ChangeRules(ticker, rules))

    def change_grid(self, ticker: str, grid: GridName) -> None:
        """Change a market's legal prices (:meth:`ExchangeCore.change_grid`)."""
        self._do(requests.ChangeGrid(ticker, grid))

    def change_fees(self, ticker: str, schedule: FeeSchedule | None, from_ms: int) -> str:
        """Schedule fees of a series or event; returns the change's id (:meth:`ExchangeCore.change_fees`)."""
        return self._do(requests.ChangeFees(ticker, schedule, from_ms))

    # Again

    def repeat(self, happened: Input) -> None:
        """Do a kept input again. What it answers now goes to ``keep``, as at the first time."""
        request = happened.request
        if isinstance(request, Step):
            self.step(request.ms)
        elif isinstance(request, Advance):
            self.advance(request.ms)
        else:
            try:
                # What each kind gives does not matter here: the comparison of the answers says whether it is the same.
                self._do(cast("_Doing[object]", request))
            except ExchangeRefusalError:
                return

    def _do(self, request: _Doing[T]) -> T:
        with self._change():
            change = cast(Change, request)
            try:
                answer = request.apply(self._core)
            except ExchangeRefusalError as refusal:
                # A refused order counts as an attempt and may use up an identifier.
                self._keep(Input(change, _plain(Refused(refusal.code))))
                raise
            self._keep(Input(change, _plain(answer)))
            return answer

    @contextmanager
    def _change(self) -> Iterator[None]:
        if not self._sound:
            raise RuntimeError("the exchange stands still: an earlier change failed half-way")
        self._sound = False
        try:
            yield
        except ExchangeRefusalError:
            self._sound = True
            raise
        self._sound = True


def _plain(answer: object) -> object:
    """An answer as it is read back from a file."""
    return None if answer is None else msgspec.json.decode(msgspec.json.encode(answer))
