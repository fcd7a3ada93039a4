"""Orders and order groups of the account: V2 writes, and the reads that show what became of them.

A success does not mean that an order rests: read the counts. After ``UnknownOutcomeError`` ask before sending again.
"""

from collections.abc import Iterator, Sequence

from kalshi_arb.domain.errors import AmountError, ExchangeError
from kalshi_arb.domain.money import Count, count_to_wire
from kalshi_arb.kalshi.answers import item_failure
from kalshi_arb.kalshi.client import Drawn, Endpoint, Kind, RestClient
from kalshi_arb.kalshi.errors import UnknownOutcomeError
from kalshi_arb.kalshi.models import orders as models
from kalshi_arb.kalshi.rate_limit import Use
from kalshi_arb.kalshi.requests import Amendment, NewOrder, OrderRef, present, query

PAGE = 1_000

_ORDERS = "portfolio/events/orders"
_CREATE = Endpoint("POST", _ORDERS, Kind.WRITE, signed=True)
_CREATE_BATCH = Endpoint("POST", f"{_ORDERS}/batched", Kind.WRITE, signed=True)
_CANCEL = Endpoint("DELETE", f"{_ORDERS}/{{order_id}}", Kind.WRITE, signed=True)
_CANCEL_BATCH = Endpoint("DELETE", f"{_ORDERS}/batched", Kind.WRITE, signed=True)
_CANCEL_ALL = Endpoint("DELETE", _ORDERS, Kind.WRITE, signed=True)
_AMEND = Endpoint("POST", f"{_ORDERS}/{{order_id}}/amend", Kind.WRITE, signed=True)
_DECREASE = Endpoint("POST", f"{_ORDERS}/{{order_id}}/decrease", Kind.WRITE, signed=True)
_LIST = Endpoint("GET", "portfolio/orders", signed=True)
_ORDER = Endpoint("GET", "portfolio/orders/{order_id}", signed=True)
_QUEUE = Endpoint("GET", "portfolio/orders/{order_id}/queue_position", signed=True)
_QUEUES = Endpoint("GET", "portfolio/orders/queue_positions", signed=True)
_GROUPS = Endpoint("GET", "portfolio/order_groups", signed=True)
_GROUP = Endpoint("GET", "portfolio/order_groups/{group_id}", signed=True)
_GROUP_CREATE = Endpoint("POST", "portfolio/order_groups/create", Kind.WRITE, signed=True)
_GROUP_LIMIT = Endpoint("PUT", "portfolio/order_groups/{group_id}/limit", Kind.WRITE, signed=True)
_GROUP_RESET = Endpoint("PUT", "portfolio/order_groups/{group_id}/reset", Kind.WRITE, signed=True)
_GROUP_TRIGGER = Endpoint("PUT", "portfolio/order_groups/{group_id}/trigger", Kind.WRITE, signed=True)
_GROUP_DELETE = Endpoint("DELETE", "portfolio/order_groups/{group_id}", Kind.WRITE, signed=True)


class Orders:
    """Writes raise ``RejectedError`` (certainly refused), ``RetryableError`` (certainly without effect) or
    ``UnknownOutcomeError``."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def create(self, order: NewOrder, use: Use = Use.OPENING) -> models.PlacedWire:
        """Place one order. A killed fill-or-kill and a repeated client order id are refusals."""
        return self._client.write(_CREATE, models.PlacedWire, order.to_wire(), drawn=Drawn(order.shard, use=use))

    def create_batch(
        self, orders: Sequence[NewOrder], use: Use = Use.OPENING
    ) -> list[models.PlacedWire | ExchangeError]:
        """Place several; one answer for each, in order: what was placed, or its own error.

        :raises UnknownOutcomeError: also when not every order was answered.
        """
        body = {"orders": [order.to_wire() for order in orders]}
        drawn = Drawn(items=len(orders), use=use)
        items = self._client.write(_CREATE_BATCH, models.BatchReply, body, drawn=drawn).orders
        _check_number(items, orders)
        return [_placed(item) for item in items]

    def amend(self, order_id: str, amendment: Amendment) -> models.AmendedWire:
        """Change a resting order's price, total size, expiry or client order id."""
        drawn = Drawn(amendment.shard)
        return self._client.write(_AMEND, models.AmendedWire, amendment.to_wire(), order_id, drawn=drawn)

    def decrease(
        self, order: OrderRef, *, reduce_by: Count | None = None, reduce_to: Count | None = None
    ) -> models.DecreasedWire:
        """Make a resting order smaller, keeping its place. Exactly one of both, in 1e-2 contracts.

        :raises AmountError: both or neither are given, or one that is negative.
        """
        if (reduce_by is None) == (reduce_to is None):
            raise AmountError("decrease an order by an amount or to one, not both")
        amount = reduce_by if reduce_by is not None else reduce_to
        if amount is None or amount < 0:
            raise AmountError("decrease an order by or to an amount that is not negative")
        size = {"reduce_by" if reduce_by is not None else "reduce_to": count_to_wire(amount)}
        fields = {name: value for name, value in order.fields().items() if name != "subaccount"}
        return self._client.write(
            _DECREASE, models.DecreasedWire, size | fields, order.order_id,
            query=query(subaccount=order.subaccount), drawn=Drawn(order.shard, use=Use.REDUCING),
        )  # fmt: skip

    def cancel(self, order: OrderRef) -> models.CanceledWire:
        """Cancel one order. :raises RejectedError: 404 when it is gone already."""
        narrowed = query(subaccount=order.subaccount, exchange_index=order.shard, market_ticker=order.ticker)
        drawn = Drawn(order.shard, use=Use.REDUCING)
        return self._client.write(_CANCEL, models.CanceledWire, None, order.order_id, query=narrowed, drawn=drawn)

    def cancel_batch(self, orders: Sequence[OrderRef]) -> list[models.CanceledWire | ExchangeError]:
        """Cancel several; one answer for each, in order: what was cancelled, or its own error.

        :raises UnknownOutcomeError: also when not every order was answered.
        """
        body = {"orders": [{"order_id": order.order_id} | order.fields() for order in orders]}
        drawn = Drawn(items=len(orders), use=Use.REDUCING)
        items = self._client.write(_CANCEL_BATCH, models.CanceledBatchReply, body, drawn=drawn).orders
        _check_number(items, orders)
        return [_canceled(item) for item in items]

    def cancel_all(self, subaccount: int | None = None) -> None:
        """Cancel everything on every shard. Orders placed during the following minute may be cancelled too."""
        drawn = Drawn(None, use=Use.REDUCING)
        self._client.command(_CANCEL_ALL, None, query=query(subaccount=subaccount), drawn=drawn)

    # Reads

    def order(self, order_id: str) -> models.OrderWire:
        """One order."""
        return self._client.read(_ORDER, models.OrderReply, (), order_id).order

    def orders(
        self,
        *,
        ticker: str | None = None,
        event_tickers: Sequence[str] = (),
        status: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        subaccount: int | None = None,
        shard: int | None = None,
    ) -> Iterator[models.OrderWire]:
        """Our orders. ``status`` is resting, canceled or executed; times are Unix seconds. Older ones than the cutoff
        are in the history."""
        narrowed = query(
            ticker=ticker, event_ticker=event_tickers, min_ts=min_ts, max_ts=max_ts, status=status,
            subaccount=subaccount, exchange_index=shard, limit=PAGE,
        )  # fmt: skip
        for page in self._client.pages(_LIST, models.OrdersReply, narrowed):
            yield from page.orders

    def queue_position(self, order_id: str) -> Count:
        """Contracts ahead of a resting order, 1e-2."""
        return self._client.read(_QUEUE, models.QueuePositionReply, (), order_id).queue_position_fp

    def queue_positions(
        self, *, tickers: Sequence[str] = (), event_ticker: str | None = None, subaccount: int | None = None
    ) -> list[models.QueuePositionWire]:
        """Contracts ahead of each resting order of some markets or an event."""
        narrowed = query(market_tickers=tickers, event_ticker=event_ticker, subaccount=subaccount)
        return self._client.read(_QUEUES, models.QueuePositionsReply, narrowed).queue_positions or []

    # Groups

    def create_group(
        self, contracts_limit: Count, *, subaccount: int | None = None, shard: int | None = None
    ) -> models.GroupCreatedReply:
        """A group that cancels its orders when more than ``contracts_limit`` (1e-2) fill within 15 seconds."""
        body = _group_limit(contracts_limit) | present({"subaccount": subaccount, "exchange_index": shard})
        return self._client.write(_GROUP_CREATE, models.GroupCreatedReply, body, drawn=Drawn(shard or 0))

    def groups(self, subaccount: int | None = None) -> list[models.GroupWire]:
        """Every group."""
        return self._client.read(_GROUPS, models.GroupsReply, query(subaccount=subaccount)).order_groups or []

    def group(self, group_id: str, subaccount: int | None = None) -> models.GroupReply:
        """One group and the ids of its orders."""
        return self._client.read(_GROUP, models.GroupReply, query(subaccount=subaccount), group_id)

    def limit_group(self, group_id: str, contracts_limit: Count, *, shard: int = 0) -> None:
        """Change its limit."""
        self._change_group(_GROUP_LIMIT, group_id, shard, _group_limit(contracts_limit))

    def reset_group(self, group_id: str, *, shard: int = 0) -> None:
        """Let a triggered group take orders again, its count back at 0."""
        self._change_group(_GROUP_RESET, group_id, shard, {})

    def trigger_group(self, group_id: str, *, shard: int = 0) -> None:
        """Cancel its orders and take no more until it is reset."""
        self._change_group(_GROUP_TRIGGER, group_id, shard, {}, Use.REDUCING)

    def delete_group(self, group_id: str, *, shard: int = 0) -> None:
        """Cancel its orders and forget it."""
        self._change_group(_GROUP_DELETE, group_id, shard, None, Use.REDUCING)

    def _change_group(
        self, endpoint: Endpoint, group_id: str, shard: int, body: dict[str, object] | None, use: Use = Use.OPENING
    ) -> None:
        drawn = Drawn(shard, use=use)
        self._client.command(endpoint, body, group_id, query=query(exchange_index=shard), drawn=drawn)


def _check_number(items: Sequence[object], orders: Sequence[object]) -> None:
    if len(items) != len(orders):
        raise UnknownOutcomeError(f"{len(orders)} orders were sent, {len(items)} answered")


def _placed(item: models.BatchItemWire) -> models.PlacedWire | ExchangeError:
    if item.error is not None:
        return item_failure(f"order {item.client_order_id}", item.error.code, item.error.message, item.error.details)
    if item.order_id is None or item.fill_count is None or item.remaining_count is None:
        return UnknownOutcomeError(f"order {item.client_order_id} was answered without its id or counts")
    return models.PlacedWire.model_construct(**item.model_dump(exclude={"error"}))


def _canceled(item: models.CanceledItemWire) -> models.CanceledWire | ExchangeError:
    if item.error is not None:
        return item_failure(f"cancel {item.order_id}", item.error.code, item.error.message, item.error.details)
    if item.reduced_by is None:
        return UnknownOutcomeError(f"cancel {item.order_id} was answered without what it cancelled")
    return models.CanceledWire.model_construct(**item.model_dump(exclude={"error"}))


def _group_limit(contracts_limit: Count) -> dict[str, object]:
    if contracts_limit <= 0:
        raise AmountError(f"an order group for {count_to_wire(contracts_limit)} contracts")
    return {"contracts_limit_fp": count_to_wire(contracts_limit)}
