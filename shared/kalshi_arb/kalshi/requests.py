"""What is asked of the exchange: orders and their changes as typed values, and their bodies on the wire.

One book in YES terms: a bid buys YES, an ask sells YES or buys NO, whichever the position makes of it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.errors import AmountError, DomainError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, complement, count_to_wire, price_to_wire
from kalshi_arb.domain.portfolio import OrderRequest
from kalshi_arb.domain.side import BookSide
from kalshi_arb.kalshi.client import Query

_CLIENT_ORDER_ID = re.compile(r"[A-Za-z0-9_+=/:-]{1,64}\Z", re.ASCII)


@unique
class Lifetime(Enum):
    """``time_in_force``. A killed fill-or-kill is refused with HTTP 409."""

    GOOD_TILL_CANCELED = "good_till_canceled"
    IMMEDIATE_OR_CANCEL = "immediate_or_cancel"
    FILL_OR_KILL = "fill_or_kill"


@unique
class SelfTrade(Enum):
    """What happens when an order meets one of ours: the taker stops and is cancelled, or the resting one is."""

    CANCEL_TAKER = "taker_at_cross"
    CANCEL_MAKER = "maker"


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to create.

    ``price`` is the YES price (1e-4 dollars), ``count`` in 1e-2 contracts, ``expires_s`` in Unix seconds. ``shard`` is
    the market's ``exchange_index``; None lets the exchange route, which costs tokens of every shard.

    :raises AmountError: a price that is not between 0 and 1 dollar, or nothing to trade.
    :raises DomainError: options that the exchange never takes together, or a client order id it would not.
    """

    ticker: str
    side: BookSide
    count: Count
    price: Price
    lifetime: Lifetime = Lifetime.GOOD_TILL_CANCELED
    client_order_id: str | None = None
    self_trade: SelfTrade = SelfTrade.CANCEL_TAKER
    expires_s: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    cancel_on_pause: bool = False
    group_id: str | None = None
    subaccount: int | None = None
    shard: int | None = None

    def __post_init__(self) -> None:
        _check_amounts(self.ticker, self.price, self.count)
        check_client_order_id(self.client_order_id)
        resting = self.lifetime is Lifetime.GOOD_TILL_CANCELED
        if self.expires_s is not None and not resting:
            raise DomainError(f"an order on {self.ticker} that does not rest cannot expire")
        if self.post_only and not resting:
            raise DomainError(f"a post-only order on {self.ticker} must be good till canceled")
        if self.reduce_only and self.lifetime is not Lifetime.IMMEDIATE_OR_CANCEL:
            raise DomainError(f"a reduce-only order on {self.ticker} must be immediate or cancel")

    def to_wire(self) -> dict[str, object]:
        """Its body; an option that is not used is left out."""
        body: dict[str, object] = {
            "ticker": self.ticker,
            "side": self.side.value,
            "count": count_to_wire(self.count),
            "price": price_to_wire(self.price),
            "time_in_force": self.lifetime.value,
            "self_trade_prevention_type": self.self_trade.value,
        }
        options: dict[str, object | None] = {
            "client_order_id": self.client_order_id,
            "expiration_time": self.expires_s,
            "post_only": self.post_only or None,
            "reduce_only": self.reduce_only or None,
            "cancel_order_on_pause": self.cancel_on_pause or None,
            "order_group_id": self.group_id,
            "subaccount": self.subaccount,
            "exchange_index": self.shard,
        }
        return body | present(options)


def purchase(order: OrderRequest) -> NewOrder:
    """Our own kind of order as one of the YES book: buying NO at q is an ask at 1 - q."""
    buys_yes = order.outcome is Outcome.YES
    return NewOrder(
        order.ticker,
        BookSide.BID if buys_yes else BookSide.ASK,
        order.count,
        order.limit if buys_yes else complement(order.limit),
        Lifetime(order.time_in_force.value),
        order.client_order_id,
        shard=order.shard,
    )


@dataclass(frozen=True, slots=True)
class OrderRef:
    """An order of ours to cancel. Without its market or its shard the exchange looks on shard 0 only and misses.

    :raises DomainError: neither is given.
    """

    order_id: str
    ticker: str | None = None
    shard: int | None = None
    subaccount: int | None = None

    def __post_init__(self) -> None:
        if self.ticker is None and self.shard is None:
            raise DomainError(f"order {self.order_id} needs its market or its shard, or it is looked for on shard 0")

    def fields(self) -> dict[str, object]:
        """What finds it, beside its id."""
        return present({"subaccount": self.subaccount, "exchange_index": self.shard, "market_ticker": self.ticker})


@dataclass(frozen=True, slots=True)
class Amendment:
    """New terms of a resting order. ``count`` is the total: what is filled plus what is to remain. The place in the
    queue is kept only when nothing but the size goes down or the expiry changes. ``expires_s`` None keeps the expiry,
    0 clears it.

    :raises AmountError: a price that is not between 0 and 1 dollar, or nothing to trade.
    """

    ticker: str
    side: BookSide
    count: Count
    price: Price
    client_order_id: str | None = None
    new_client_order_id: str | None = None
    expires_s: int | None = None
    shard: int | None = None

    def __post_init__(self) -> None:
        _check_amounts(self.ticker, self.price, self.count)
        check_client_order_id(self.new_client_order_id)

    def to_wire(self) -> dict[str, object]:
        """Its body."""
        body: dict[str, object] = {
            "ticker": self.ticker,
            "side": self.side.value,
            "count": count_to_wire(self.count),
            "price": price_to_wire(self.price),
        }
        options: dict[str, object | None] = {
            "client_order_id": self.client_order_id,
            "updated_client_order_id": self.new_client_order_id,
            "expiration_time": self.expires_s,
            "exchange_index": self.shard,
        }
        return body | present(options)


def _check_amounts(ticker: str, price: Price, count: Count) -> None:
    if not 0 < price < ONE_DOLLAR:
        raise AmountError(f"an order on {ticker} at {price_to_wire(price)}: a price lies between 0 and 1 dollar")
    if count <= 0:
        raise AmountError(f"an order on {ticker} for {count_to_wire(count)} contracts")


def check_client_order_id(client_order_id: str | None) -> None:
    """:raises DomainError: the exchange would not take it."""
    if client_order_id is not None and not _CLIENT_ORDER_ID.match(client_order_id):
        raise DomainError(f"client order id {client_order_id!r}: 1 to 64 of letters, digits and _+=/:-")


def present(options: Mapping[str, object | None]) -> dict[str, object]:
    """Those that are given."""
    return {name: value for name, value in options.items() if value is not None}


def query(**parameters: str | int | bool | Iterable[str] | None) -> Query:
    """Query parameters: what is None or empty is left out, several values are joined by commas."""
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif value is None or isinstance(value, (str, int)):
            text = "" if value is None else str(value)
        else:
            text = ",".join(value)
        if text:
            pairs.append((name, text))
    return pairs
