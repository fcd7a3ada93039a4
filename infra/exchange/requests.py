"""Everything that can be asked of the exchange so that it changes, as data that can be kept and done again."""

from decimal import Decimal

import msgspec

from infra.exchange.account import OrderView, TransferView
from infra.exchange.core import ExchangeCore
from infra.exchange.groups import GroupView
from infra.exchange.terms import Amendment, GridName, NewOrder
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.money import Cash, Count, Price


class Step(msgspec.Struct, frozen=True, tag="step"):
    """Bring the world to ``ms`` (UTC milliseconds)."""

    ms: int


class Advance(msgspec.Struct, frozen=True, tag="advance"):
    """Move time alone to ``ms`` (UTC milliseconds), because somebody asked something."""

    ms: int


class Place(msgspec.Struct, frozen=True, tag="place"):
    """Take an order."""

    account_id: str
    order: NewOrder

    def apply(self, core: ExchangeCore) -> OrderView:
        """Carry it out."""
        return core.place(self.account_id, self.order)


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel a resting order."""

    account_id: str
    order_id: str
    shard: int | None

    def apply(self, core: ExchangeCore) -> tuple[OrderView, Count]:
        """Carry it out."""
        return core.cancel(self.account_id, self.order_id, self.shard)


class CancelAll(msgspec.Struct, frozen=True, tag="cancel_all"):
    """Cancel everything that rests, and what comes in the next minute."""

    account_id: str

    def apply(self, core: ExchangeCore) -> list[OrderView]:
        """Carry it out."""
        return core.cancel_all(self.account_id)


class Amend(msgspec.Struct, frozen=True, tag="amend"):
    """Give a resting order new terms."""

    account_id: str
    amendment: Amendment

    def apply(self, core: ExchangeCore) -> OrderView:
        """Carry it out."""
        return core.amend(self.account_id, self.amendment)


class Decrease(msgspec.Struct, frozen=True, tag="decrease"):
    """Make a resting order smaller."""

    account_id: str
    order_id: str
    reduce_by: Count | None
    reduce_to: Count | None
    shard: int | None

    def apply(self, core: ExchangeCore) -> OrderView:
        """Carry it out."""
        return core.decrease(
            self.account_id, self.order_id, reduce_by=self.reduce_by, reduce_to=self.reduce_to, shard=self.shard
        )


class CreateGroup(msgspec.Struct, frozen=True, tag="create_group"):
    """Open an order group."""

    account_id: str
    limit: Count
    shard: int

    def apply(self, core: ExchangeCore) -> GroupView:
        """Carry it out."""
        return core.create_group(self.account_id, self.limit, self.shard)


class SetGroupLimit(msgspec.Struct, frozen=True, tag="set_group_limit"):
    """Change an order group's limit."""

    account_id: str
    group_id: str
    limit: Count

    def apply(self, core: ExchangeCore) -> GroupView:
        """Carry it out."""
        return core.set_group_limit(self.account_id, self.group_id, self.limit)


class ResetGroup(msgspec.Struct, frozen=True, tag="reset_group"):
    """Let an order group begin anew."""

    account_id: str
    group_id: str

    def apply(self, core: ExchangeCore) -> GroupView:
        """Carry it out."""
        return core.reset_group(self.account_id, self.group_id)


class TriggerGroup(msgspec.Struct, frozen=True, tag="trigger_group"):
    """Cancel and stop an order group."""

    account_id: str
    group_id: str

    def apply(self, core: ExchangeCore) -> GroupView:
        """Carry it out."""
        return core.trigger_group(self.account_id, self.group_id)


class DeleteGroup(msgspec.Struct, frozen=True, tag="delete_group"):
    """Cancel and forget an order group."""

    account_id: str
    group_id: str

    def apply(self, core: ExchangeCore) -> GroupView:
        """Carry it out."""
        return core.delete_group(self.account_id, self.group_id)


class Transfer(msgspec.Struct, frozen=True, tag="transfer"):
    """Move cash between two shards."""

    account_id: str
    amount: Cash
    source_shard: int
    destination_shard: int
    client_transfer_id: str | None

    def apply(self, core: ExchangeCore) -> TransferView:
        """Carry it out."""
        return core.transfer(
            self.account_id, self.amount, self.source_shard, self.destination_shard, self.client_transfer_id
        )


class SetNetting(msgspec.Struct, frozen=True, tag="set_netting"):
    """Switch collateral return on or off."""

    account_id: str
    enabled: bool

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.set_netting(self.account_id, enabled=self.enabled)


class PauseTrading(msgspec.Struct, frozen=True, tag="pause_trading"):
    """Begin or end a trading pause."""

    paused: bool

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.pause_trading(paused=self.paused)


class PauseExchange(msgspec.Struct, frozen=True, tag="pause_exchange"):
    """Begin or end an exchange pause."""

    paused: bool

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.pause_exchange(paused=self.paused)


class SetWeeklyPause(msgspec.Struct, frozen=True, tag="set_weekly_pause"):
    """Switch the weekly pause on or off."""

    enabled: bool

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.set_weekly_pause(enabled=self.enabled)


class Deactivate(msgspec.Struct, frozen=True, tag="deactivate"):
    """Pause one market."""

    ticker: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.deactivate(self.ticker)


class Activate(msgspec.Struct, frozen=True, tag="activate"):
    """Let a paused market trade again."""

    ticker: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.activate(self.ticker)


class CloseMarket(msgspec.Struct, frozen=True, tag="close_market"):
    """Close a market ahead of its time."""

    ticker: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.close_market(self.ticker)


class MoveClose(msgspec.Struct, frozen=True, tag="move_close"):
    """Move a market's closing time."""

    ticker: str
    close_ms: int

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.move_close(self.ticker, self.close_ms)


class Determine(msgspec.Struct, frozen=True, tag="determine"):
    """Give a market its result."""

    ticker: str
    yes_payout: Price
    value: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.determine(self.ticker, self.yes_payout, self.value)


class Dispute(msgspec.Struct, frozen=True, tag="dispute"):
    """Stop the payment of a result."""

    ticker: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.dispute(self.ticker)


class AmendResult(msgspec.Struct, frozen=True, tag="amend_result"):
    """Give another result, or confirm a disputed one."""

    ticker: str
    yes_payout: Price
    value: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.amend_result(self.ticker, self.yes_payout, self.value)


class ChangeStrike(msgspec.Struct, frozen=True, tag="change_strike"):
    """Change a market's strikes."""

    ticker: str
    floor: Decimal | None
    cap: Decimal | None

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.change_strike(self.ticker, self.floor, self.cap)


class ChangeRules(msgspec.Struct, frozen=True, tag="change_rules"):
    """Change a market's rules text."""

    ticker: str
    rules: str

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.change_rules(self.ticker, self.rules)


class ChangeGrid(msgspec.Struct, frozen=True, tag="change_grid"):
    """Change a market's legal prices."""

    ticker: str
    grid: GridName

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.change_grid(self.ticker, self.grid)


class ChangeFees(msgspec.Struct, frozen=True, tag="change_fees"):
    """Schedule another fee of a series or override of an event."""

    ticker: str
    schedule: FeeSchedule | None
    from_ms: int

    def apply(self, core: ExchangeCore) -> str:
        """Carry it out."""
        return core.change_fees(self.ticker, self.schedule, self.from_ms)


class MoveCash(msgspec.Struct, frozen=True, tag="move_cash"):
    """Pay cash in or out."""

    account_id: str
    shard: int
    amount: Cash

    def apply(self, core: ExchangeCore) -> None:
        """Carry it out."""
        core.move_cash(self.account_id, self.shard, self.amount)


Change = (
    Place
    | Cancel
    | CancelAll
    | Amend
    | Decrease
    | CreateGroup
    | SetGroupLimit
    | ResetGroup
    | TriggerGroup
    | DeleteGroup
    | Transfer
    | SetNetting
    | PauseTrading
    | PauseExchange
    | SetWeeklyPause
    | Deactivate
    | Activate
    | CloseMarket
    | MoveClose
    | Determine
    | Dispute
    | AmendResult
    | ChangeStrike
    | ChangeRules
    | ChangeGrid
    | ChangeFees
    | MoveCash
)
"""What somebody asked for, apart from the passing of time."""

Request = Step | Advance | Change
