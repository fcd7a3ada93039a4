"""One order in motion, and what of it goes into a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from infra.exchange.account import Account, OrderStatus
from infra.exchange.terms import SelfTradePrevention
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price


@dataclass(slots=True, eq=False)
class Order:
    """An order in motion. ``price`` is the limit in the price of ``outcome``; amounts in 1e-6 dollars."""

    order_id: str
    client_order_id: str
    account: Account
    outcome: Outcome
    price: Price
    initial: Count
    remaining: Count
    self_trade: SelfTradePrevention
    created_ms: int
    updated_ms: int
    post_only: bool = False
    cancel_on_pause: bool = False
    expiration_ms: int | None = None
    group_id: str | None = None
    status: OrderStatus = OrderStatus.RESTING
    filled: Count = Count(0)
    accumulator: Cash = Cash(0)
    taker_cost: Cash = Cash(0)
    maker_cost: Cash = Cash(0)
    taker_fees: Cash = Cash(0)
    maker_fees: Cash = Cash(0)


class SavedOrder(msgspec.Struct, frozen=True, array_like=True):
    """A resting order in a snapshot: the fields of :class:`Order` with the account's id."""

    order_id: str
    client_order_id: str
    account_id: str
    outcome: Outcome
    price: Price
    initial: Count
    remaining: Count
    self_trade: SelfTradePrevention
    created_ms: int
    updated_ms: int
    post_only: bool
    cancel_on_pause: bool
    expiration_ms: int | None
    group_id: str | None
    filled: Count
    accumulator: Cash
    taker_cost: Cash
    maker_cost: Cash
    taker_fees: Cash
    maker_fees: Cash

    @classmethod
    def of(cls, order: Order) -> "SavedOrder":
        """An order that rests on a book, or did so until its market closed."""
        return cls(
            order.order_id, order.client_order_id, order.account.account_id, order.outcome, order.price,
            order.initial, order.remaining, order.self_trade, order.created_ms, order.updated_ms, order.post_only,
            order.cancel_on_pause, order.expiration_ms, order.group_id, order.filled, order.accumulator,
            order.taker_cost, order.maker_cost, order.taker_fees, order.maker_fees,
        )  # fmt: skip

    def order(self, accounts: Mapping[str, Account]) -> Order:
        """The order again."""
        return Order(
            self.order_id, self.client_order_id, accounts[self.account_id], self.outcome, self.price, self.initial,
            self.remaining, self.self_trade, self.created_ms, self.updated_ms, self.post_only, self.cancel_on_pause,
            self.expiration_ms, self.group_id, OrderStatus.RESTING, self.filled, self.accumulator, self.taker_cost,
            self.maker_cost, self.taker_fees, self.maker_fees,
        )  # fmt: skip
