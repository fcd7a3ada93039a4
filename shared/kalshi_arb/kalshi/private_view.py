"""What the stream's private channels say about our own account: a cross-check beside REST, never on the money path.

The channels are not sequenced and nothing is repeated (Kalshi API documentation, WebSocket), so silence proves nothing
here: what was said can contradict the REST reads, what was not said cannot.
"""

from dataclasses import dataclass, field
from typing import Any

from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.money import Count, count_from_wire, count_to_wire
from kalshi_arb.kalshi.frames import FillMessage, OrderGroupMessage, OrderMessage, PositionMessage, PrivateMessage

# How long fills and their order may say different things, since they come over different channels.
ORDER_PATIENCE_MS = 10_000
_KEPT = 1_000
_SIGNS = {"bid": 1, "ask": -1}


@dataclass(slots=True)
class _Order:
    changed_ms: int
    said: int | None = None  # what the order's own messages say was filled, 1e-2 contracts
    added: int = 0  # what its fills add up to


@dataclass(slots=True)
class PrivateCounts:
    """Messages by kind since the start, and how often they contradicted each other."""

    fills: int = 0
    repeated_fills: int = 0
    orders: int = 0
    positions: int = 0
    order_groups: int = 0
    differences: int = 0


@dataclass(slots=True)
class PrivateView:
    """Fills, orders and positions of the main account as the stream tells them. ``positions`` holds + YES and - NO."""

    counts: PrivateCounts = field(default_factory=PrivateCounts)
    positions: dict[str, Count] = field(default_factory=dict)
    heard_ms: int = 0
    _by_fills: dict[str, int] = field(default_factory=dict)
    _trades: dict[str, None] = field(default_factory=dict)
    _orders: dict[str, _Order] = field(default_factory=dict)

    def reset(self) -> None:
        """The connection is another one: what happened in between was not told."""
        self.positions.clear()
        self._by_fills.clear()
        self._trades.clear()
        self._orders.clear()

    def take(self, message: PrivateMessage, now_ms: int) -> str | None:
        """Take in one message (``now_ms``: UTC milliseconds); returns what contradicts the earlier ones, if anything
        does. A subaccount's message is not ours."""
        self.heard_ms = now_ms
        if isinstance(message, OrderGroupMessage):
            self.counts.order_groups += 1
            return None
        if message.is_of_subaccount():
            return None
        try:
            problem = self._take(message, now_ms)
        except AmountError as error:
            problem = f"{type(message).__name__}: {error}"
        if problem is not None:
            self.counts.differences += 1
        return problem

    def _take(self, message: FillMessage | OrderMessage | PositionMessage, now_ms: int) -> str | None:
        match message:
            case FillMessage():
                return self._fill(message, now_ms)
            case OrderMessage():
                self.counts.orders += 1
                self._order(message.order_id, now_ms).said = count_from_wire(message.fill_count_fp)
            case PositionMessage():
                self.counts.positions += 1
                self.positions[message.market_ticker] = count_from_wire(message.position_fp)
        return None

    def _fill(self, message: FillMessage, now_ms: int) -> str | None:
        if message.trade_id in self._trades:
            self.counts.repeated_fills += 1
            return None
        count = count_from_wire(message.count_fp)
        self.counts.fills += 1
        self._trades[message.trade_id] = None
        _forget(self._trades)
        self._order(message.order_id, now_ms).added += count
        sign = _SIGNS.get(message.book_side)
        if message.post_position_fp is None or sign is None:
            return None
        ticker, after = message.market_ticker, count_from_wire(message.post_position_fp)
        before = self._by_fills.get(ticker)
        self._by_fills[ticker] = after
        self.positions[ticker] = after
        if before is None or before + sign * count == after:
            return None
        told = count_to_wire(Count(before + sign * count))
        return f"{ticker}: fills lead to a position of {told}, the last one says {message.post_position_fp}"

    def _order(self, order_id: str, now_ms: int) -> _Order:
        order = self._orders.get(order_id)
        if order is None:
            order = self._orders[order_id] = _Order(now_ms)
            _forget(self._orders)
        order.changed_ms = now_ms
        return order

    def unmatched(self, now_ms: int) -> int:
        """How many orders say that more or less was filled than their fills do, some time after the last message."""
        return sum(
            order.said is not None and order.said != order.added and now_ms - order.changed_ms >= ORDER_PATIENCE_MS
            for order in self._orders.values()
        )

    def summary(self, now_ms: int) -> dict[str, object]:
        """For the feed's status, which the reconciliation reads."""
        return {
            "heard_ms": self.heard_ms,
            "fills": self.counts.fills,
            "orders": self.counts.orders,
            "differences": self.counts.differences,
            "unmatched_orders": self.unmatched(now_ms),
            "positions": {ticker: count_to_wire(count) for ticker, count in self.positions.items()},
        }


def _forget(kept: dict[str, Any]) -> None:
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]
