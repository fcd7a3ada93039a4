"""Answers to order writes, orders, fills and order groups.

``average_fill_price`` and ``average_fee_paid`` of a write's answer are display values with cut decimals and are not
read: quantities come from the answer, cash and fees from the fills and from ``*_fill_cost_dollars`` and
``*_fees_dollars``.
"""

from kalshi_arb.kalshi.wire import PageModel, WireCash, WireCost, WireModel, WirePrice, WireSize, WireTime

_DISPLAY = frozenset({"average_fill_price", "average_fee_paid"})
_OLD_DIRECTION = frozenset({"side", "action"})


class ItemErrorWire(WireModel):
    """The error of one item of a batch."""

    code: str = "unknown_error"
    message: str | None = None
    details: str | None = None


class PlacedWire(WireModel):
    """The answer to one created order."""

    ignored = _DISPLAY

    order_id: str
    fill_count: WireSize
    remaining_count: WireSize
    client_order_id: str | None = None
    ts_ms: int | None = None


class BatchItemWire(WireModel):
    """The answer to one order of a batch: as :class:`PlacedWire`, or with an error instead."""

    ignored = _DISPLAY

    order_id: str | None = None
    client_order_id: str | None = None
    fill_count: WireSize | None = None
    remaining_count: WireSize | None = None
    ts_ms: int | None = None
    error: ItemErrorWire | None = None


class BatchReply(WireModel):
    """``POST /portfolio/events/orders/batched``."""

    orders: list[BatchItemWire]


class CanceledWire(WireModel):
    """The answer to a cancelled order. ``reduced_by`` is what was cancelled."""

    order_id: str
    reduced_by: WireSize
    client_order_id: str | None = None
    ts_ms: int | None = None


class CanceledItemWire(WireModel):
    """The answer to one order of a batch of cancels: as :class:`CanceledWire`, or with an error."""

    order_id: str
    reduced_by: WireSize | None = None
    client_order_id: str | None = None
    ts_ms: int | None = None
    error: ItemErrorWire | None = None


class CanceledBatchReply(WireModel):
    """``DELETE /portfolio/events/orders/batched``."""

    orders: list[CanceledItemWire]


class AmendedWire(WireModel):
    """The answer to an amended order."""

    ignored = _DISPLAY

    order_id: str
    remaining_count: WireSize | None = None
    fill_count: WireSize | None = None
    client_order_id: str | None = None
    ts_ms: int | None = None


class DecreasedWire(WireModel):
    """The answer to a decreased order."""

    order_id: str
    remaining_count: WireSize
    client_order_id: str | None = None
    ts_ms: int | None = None


class OrderWire(WireModel):
    """An order of ours. Costs and fees so far are exact and split by role."""

    ignored = _OLD_DIRECTION

    order_id: str
    ticker: str
    status: str
    fill_count_fp: WireSize
    client_order_id: str | None = None
    user_id: str | None = None
    outcome_side: str | None = None
    book_side: str | None = None
    type: str | None = None
    yes_price_dollars: WirePrice | None = None
    no_price_dollars: WirePrice | None = None
    initial_count_fp: WireSize | None = None
    remaining_count_fp: WireSize | None = None
    taker_fill_cost_dollars: WireCost | None = None
    maker_fill_cost_dollars: WireCost | None = None
    taker_fees_dollars: WireCash | None = None
    maker_fees_dollars: WireCash | None = None
    expiration_time: WireTime | None = None
    created_time: WireTime | None = None
    last_update_time: WireTime | None = None
    self_trade_prevention_type: str | None = None
    order_group_id: str | None = None
    cancel_order_on_pause: bool | None = None
    subaccount_number: int | None = None
    exchange_index: int | None = None


class OrderReply(WireModel):
    """``GET /portfolio/orders/{id}``."""

    order: OrderWire


class OrdersReply(PageModel):
    """One page of ``GET /portfolio/orders`` or ``GET /historical/orders``."""

    orders: list[OrderWire]


class FillWire(WireModel):
    """A fill of ours. It carries no client order id: join on ``order_id``. ``ts`` is ``created_time`` in Unix
    seconds."""

    ignored = _OLD_DIRECTION

    trade_id: str
    order_id: str
    ticker: str
    outcome_side: str
    count_fp: WireSize
    yes_price_dollars: WirePrice
    no_price_dollars: WirePrice
    fee_cost: WireCash
    created_time: WireTime | None = None
    fill_id: str | None = None
    market_ticker: str | None = None
    book_side: str | None = None
    is_taker: bool | None = None
    ts: int | None = None
    subaccount_number: int | None = None
    exchange_index: int | None = None


class FillsReply(PageModel):
    """One page of ``GET /portfolio/fills`` or ``GET /historical/fills``."""

    fills: list[FillWire]


class QueuePositionWire(WireModel):
    """Contracts ahead of a resting order."""

    order_id: str
    market_ticker: str
    queue_position_fp: WireSize


class QueuePositionsReply(WireModel):
    """``GET /portfolio/orders/queue_positions``."""

    queue_positions: list[QueuePositionWire] | None


class QueuePositionReply(WireModel):
    """``GET /portfolio/orders/{id}/queue_position``."""

    queue_position_fp: WireSize


class GroupCreatedReply(WireModel):
    """``POST /portfolio/order_groups/create``."""

    order_group_id: str
    subaccount: int | None = None
    exchange_index: int | None = None


class GroupWire(WireModel):
    """An order group of a listing."""

    id: str
    is_auto_cancel_enabled: bool
    contracts_limit_fp: WireSize | None = None
    exchange_index: int | None = None


class GroupsReply(WireModel):
    """``GET /portfolio/order_groups``."""

    order_groups: list[GroupWire] | None = None


class GroupReply(WireModel):
    """``GET /portfolio/order_groups/{id}``; ``orders`` are their ids."""

    is_auto_cancel_enabled: bool
    orders: list[str] | None
    contracts_limit_fp: WireSize | None = None
    exchange_index: int | None = None
