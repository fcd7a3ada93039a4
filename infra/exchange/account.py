"""Accounts: cash per shard, collateral, one net position per market, and what the account may read of them.

Everything is fully collateralised: a purchase costs price times count, and buying one outcome while holding the other
closes pairs that free a dollar each (Kalshi documentation, positions and order direction). Views are immutable and
kept with the time they became true, so that a read side that lags can be served exactly.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Generic, TypeVar

import msgspec

from infra.exchange.terms import SelfTradePrevention
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional

T = TypeVar("T")


@unique
class OrderStatus(Enum):
    """Status of an order."""

    RESTING = "resting"
    CANCELED = "canceled"
    EXECUTED = "executed"


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as its owner sees it at one moment. ``price`` is the limit in the price of ``outcome``."""

    order_id: str
    client_order_id: str
    ticker: str
    event_ticker: str
    shard: int
    outcome: Outcome
    price: Price
    status: OrderStatus
    self_trade: SelfTradePrevention
    initial: Count
    filled: Count
    remaining: Count
    taker_cost: Cash
    maker_cost: Cash
    taker_fees: Cash
    maker_fees: Cash
    created_ms: int
    updated_ms: int
    expiration_ms: int | None = None
    order_group_id: str | None = None
    cancel_on_pause: bool = False


@dataclass(frozen=True, slots=True)
class FillView:
    """One execution of one order: ``count`` of ``outcome`` bought at ``price``, ``fee`` as really charged."""

    trade_id: str
    order_id: str
    ticker: str
    shard: int
    outcome: Outcome
    price: Price
    count: Count
    fee: Cash
    is_taker: bool
    ms: int


@dataclass(frozen=True, slots=True)
class SettlementView:
    """The payment of one market's net position. ``yes_payout`` is what one YES paid."""

    ticker: str
    event_ticker: str
    shard: int
    position: Count
    cost: Cash
    yes_payout: Price
    revenue: Cash
    fees: Cash
    ms: int


@dataclass(frozen=True, slots=True)
class Position:
    """One account's net holding of a market: ``count`` is + for YES and - for NO.

    ``cost`` is what the open contracts cost without fees, ``realized`` the gain of closed pairs and settlement before
    fees, ``traded`` the notional of everything ever bought.
    """

    count: Count = Count(0)
    cost: Cash = Cash(0)
    realized: Cash = Cash(0)
    fees: Cash = Cash(0)
    traded: Cash = Cash(0)
    updated_ms: int = 0

    def held(self, outcome: Outcome) -> Count:
        """Contracts held of one outcome."""
        return Count(max(0, self.count if outcome is Outcome.YES else -self.count))

    def after_purchase(self, outcome: Outcome, price: Price, count: Count, fee: Cash, ms: int) -> "Position":
        """The position after buying ``count``: pairs close first, at average cost."""
        opposite = self.held(outcome.other)
        closing = Count(min(opposite, count))
        released = self.cost * closing // opposite if closing else 0
        signed = count if outcome is Outcome.YES else -count
        return Position(
            count=Count(self.count + signed),
            cost=Cash(self.cost - released + notional(price, Count(count - closing))),
            realized=Cash(self.realized + notional(complement(price), closing) - released),
            fees=Cash(self.fees + fee),
            traded=Cash(self.traded + notional(price, count)),
            updated_ms=ms,
        )

    def freed_by(self, outcome: Outcome, count: Count) -> Cash:
        """The dollars that buying ``count`` frees, one for each pair it closes."""
        return notional(ONE_DOLLAR, Count(min(self.held(outcome.other), count)))


@dataclass(slots=True)
class Cover:
    """The NO contracts of one event whose collateral may be returned (:mod:`infra.exchange.collateral`).

    ``counts`` by market; ``returned`` is what came back for them, 1e-6 dollars.
    """

    counts: dict[str, Count] = field(default_factory=dict)
    returned: Cash = Cash(0)


@dataclass(frozen=True, slots=True)
class TransferView:
    """Cash that moved between two shards of an account."""

    transfer_id: str
    client_transfer_id: str | None
    amount: Cash
    source_shard: int
    destination_shard: int
    ms: int


@dataclass(slots=True)
class History(Generic[T]):
    """The values a fact had over time, each with the moment it became true (UTC milliseconds)."""

    times: list[int] = field(default_factory=list)
    values: list[T] = field(default_factory=list)

    def put(self, ms: int, value: T) -> None:
        """The value from ``ms`` on. Times never run backwards."""
        if self.times and self.times[-1] == ms:
            self.values[-1] = value
            return
        self.times.append(ms)
        self.values.append(value)

    def at(self, ms: int) -> T | None:
        """The value at ``ms``, or None before the first."""
        index = bisect_right(self.times, ms)
        return self.values[index - 1] if index else None


class SavedAccount(msgspec.Struct, frozen=True):
    """An account in a snapshot."""

    account_id: str
    precision: Precision
    is_crowd: bool
    initial_cash: dict[int, Cash]
    cash: dict[int, Cash]
    reserved: dict[int, Cash]
    positions: dict[str, Position]
    fees_paid: Cash
    settled_revenue: Cash
    fills: list[FillView]
    settlements: list[SettlementView]
    orders: dict[str, History[OrderView]]
    orders_by_client_id: dict[str, int]
    attempts_by_client_id: dict[str, int]
    duplicate_attempts: int
    position_history: dict[str, History[Position]]
    homes: dict[str, tuple[str, int]]
    balance_history: History[dict[int, Cash]]
    deposits: dict[int, Cash]
    netting: bool
    covers: dict[str, Cover]
    transfers: list[TransferView]
    cancel_all_until_ms: int


class Account:
    """One member. ``is_crowd`` marks a simulated one: it is charged like any other but nobody reads its records.

    ``deposits`` is what was paid in (negative: out) since the account was opened, by shard. ``netting`` says whether
    the collateral of what is bought from now on may be returned; ``covers`` is what it was returned for, by event.
    Orders placed before ``cancel_all_until_ms`` are caught by the last cancel-all.
    """

    def __init__(self, account_id: str, cash: Mapping[int, Cash], precision: Precision, *, is_crowd: bool) -> None:
        self.account_id = account_id
        self.precision = precision
        self.is_crowd = is_crowd
        self.initial_cash = dict(cash)
        self.cash = dict(cash)
        self.reserved: dict[int, Cash] = dict.fromkeys(cash, Cash(0))
        self.positions: dict[str, Position] = {}
        self.fees_paid = Cash(0)
        self.settled_revenue = Cash(0)
        self.fills: list[FillView] = []
        self.settlements: list[SettlementView] = []
        self.orders: dict[str, History[OrderView]] = {}
        self.orders_by_client_id: dict[str, int] = {}
        self.attempts_by_client_id: dict[str, int] = {}
        self.duplicate_attempts = 0
        self.position_history: dict[str, History[Position]] = {}
        self._homes: dict[str, tuple[str, int]] = {}
        self.balance_history: History[dict[int, Cash]] = History()
        self.deposits: dict[int, Cash] = dict.fromkeys(cash, Cash(0))
        self.netting = False
        self.covers: dict[str, Cover] = {}
        self.transfers: list[TransferView] = []
        self.cancel_all_until_ms = 0

    @classmethod
    def restore(cls, saved: SavedAccount) -> "Account":
        """The account as it was saved."""
        account = cls(saved.account_id, saved.initial_cash, saved.precision, is_crowd=saved.is_crowd)
        account.cash = saved.cash
        account.reserved = saved.reserved
        account.positions = saved.positions
        account.fees_paid = saved.fees_paid
        account.settled_revenue = saved.settled_revenue
        account.fills = saved.fills
        account.settlements = saved.settlements
        account.orders = saved.orders
        account.orders_by_client_id = saved.orders_by_client_id
        account.attempts_by_client_id = saved.attempts_by_client_id
        account.duplicate_attempts = saved.duplicate_attempts
        account.position_history = saved.position_history
        account._homes = saved.homes
        account.balance_history = saved.balance_history
        account.deposits = saved.deposits
        account.netting = saved.netting
        account.covers = saved.covers
        account.transfers = saved.transfers
        account.cancel_all_until_ms = saved.cancel_all_until_ms
        return account

    def save(self) -> SavedAccount:
        """The account for a snapshot."""
        return SavedAccount(
            self.account_id, self.precision, self.is_crowd, self.initial_cash, self.cash, self.reserved,
            self.positions, self.fees_paid, self.settled_revenue, self.fills, self.settlements, self.orders,
            self.orders_by_client_id, self.attempts_by_client_id, self.duplicate_attempts, self.position_history,
            self._homes, self.balance_history, self.deposits, self.netting, self.covers, self.transfers,
            self.cancel_all_until_ms,
        )  # fmt: skip

    def available(self, shard: int) -> Cash:
        """Cash on a shard that no resting order has reserved; 0 on a shard without an account."""
        return Cash(self.cash.get(shard, 0) - self.reserved.get(shard, 0))

    def position(self, ticker: str) -> Position:
        """The holding of a market, empty when there never was one."""
        return self.positions.get(ticker, Position())

    def home(self, ticker: str) -> tuple[str, int]:
        """Event and shard of a market the account has traded. :raises KeyError: it has not."""
        return self._homes[ticker]

    def set_position(self, ticker: str, home: tuple[str, int], position: Position) -> None:
        """Replace a market's holding (``home``: its event and shard); the crowd's closed ones are forgotten."""
        if not self.is_crowd:
            self._homes[ticker] = home
            self.position_history.setdefault(ticker, History()).put(position.updated_ms, position)
        elif position.count == 0:
            self.positions.pop(ticker, None)
            return
        self.positions[ticker] = position

    def set_cover(self, event_ticker: str, ticker: str, covered: Count, returned: Cash) -> None:
        """Replace a market's covered NO contracts and what the event's cover has returned; moves no cash."""
        if event_ticker not in self.covers and not covered:
            return
        cover = self.covers.setdefault(event_ticker, Cover())
        cover.counts[ticker] = covered
        cover.returned = returned
        if not covered:
            del cover.counts[ticker]
        if not cover.counts:
            del self.covers[event_ticker]

    def move(self, shard: int, change: int) -> None:
        """Add a signed amount (1e-6 dollars) to the cash of a shard."""
        self.cash[shard] = Cash(self.cash.get(shard, 0) + change)

    def reserve(self, shard: int, change: int) -> None:
        """Add a signed amount (1e-6 dollars) to what resting orders hold on a shard."""
        self.reserved[shard] = Cash(self.reserved.get(shard, 0) + change)

    def record_balance(self, ms: int) -> None:
        """Remember the available cash of every shard as of ``ms``."""
        if not self.is_crowd:
            self.balance_history.put(ms, {shard: self.available(shard) for shard in sorted(self.cash)})
