"""One listed market in motion: its terms, its book by price and time, its status and figures."""

from collections.abc import Iterator, Mapping

import msgspec

from infra.exchange.account import Account, OrderView
from infra.exchange.orders import Order, SavedOrder
from infra.exchange.terms import EventTerms, MarketTerms, SeriesTerms
from kalshi_arb.domain.book import Book
from kalshi_arb.domain.fees import FeeSchedule, Role, trade_fee
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional

WITH_RESULT = (MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED, MarketStatus.FINALIZED)
"""Where a market has a result, final or not."""


class SavedMarket(msgspec.Struct, frozen=True):
    """A market in a snapshot. ``orders`` are those of YES and then of NO, level by level, each in its queue's order;
    ``closing`` those that a close took off the book and that are not cancelled yet."""

    market_id: str
    status: MarketStatus
    fees: FeeSchedule
    created_ms: int
    updated_ms: int
    volume: Count
    open_interest: Count
    last_price: Price | None
    last_size: Count
    payout: Price | None
    expiration_value: str
    determined_ms: int | None
    finalize_ms: int | None
    settled_ms: int | None
    orders: list[SavedOrder]
    closing: list[SavedOrder]


class MarketState:
    """A market's book and figures.

    ``fees`` is what it charges now. ``payout`` is what one YES pays once determined, ``finalize_ms`` when that is paid
    (None while it is not due). ``closing`` are orders that a close took off the book: still resting for their owners,
    and cancelled shortly after.
    """

    def __init__(
        self,
        terms: MarketTerms,
        event: EventTerms,
        series: SeriesTerms,
        fees: FeeSchedule,
        market_id: str,
        now_ms: int,
    ) -> None:
        self.terms = terms
        self.event = event
        self.series = series
        self.market_id = market_id
        self.fees = fees
        self.status = MarketStatus.INITIALIZED
        self.book = Book(terms.ticker)
        self._queues: dict[Outcome, dict[Price, dict[str, Order]]] = {Outcome.YES: {}, Outcome.NO: {}}
        self.created_ms = now_ms
        self.updated_ms = now_ms
        self.volume = Count(0)
        self.open_interest = Count(0)
        self.last_price: Price | None = None
        self.last_size = Count(0)
        self.payout: Price | None = None
        self.expiration_value = ""
        self.determined_ms: int | None = None
        self.finalize_ms: int | None = None
        self.settled_ms: int | None = None
        self.closing: dict[str, Order] = {}

    @classmethod
    def restore(
        cls,
        saved: SavedMarket,
        terms: MarketTerms,
        event: EventTerms,
        series: SeriesTerms,
        accounts: Mapping[str, Account],
    ) -> "MarketState":
        """The market as it was saved, with its orders in their queues."""
        market = cls(terms, event, series, saved.fees, saved.market_id, saved.created_ms)
        market.status = saved.status
        market.updated_ms = saved.updated_ms
        market.volume = saved.volume
        market.open_interest = saved.open_interest
        market.last_price = saved.last_price
        market.last_size = saved.last_size
        market.payout = saved.payout
        market.expiration_value = saved.expiration_value
        market.determined_ms = saved.determined_ms
        market.finalize_ms = saved.finalize_ms
        market.settled_ms = saved.settled_ms
        for order in saved.orders:
            market.rest(order.order(accounts))
        market.closing = {order.order_id: order.order(accounts) for order in saved.closing}
        return market

    def save(self) -> SavedMarket:
        """The market for a snapshot."""
        return SavedMarket(
            self.market_id, self.status, self.fees, self.created_ms, self.updated_ms, self.volume,
            self.open_interest, self.last_price, self.last_size, self.payout, self.expiration_value,
            self.determined_ms, self.finalize_ms, self.settled_ms,
            [SavedOrder.of(order) for order in self.resting()],
            [SavedOrder.of(order) for order in self.closing.values()],
        )  # fmt: skip

    @property
    def ticker(self) -> str:
        """The market's ticker."""
        return self.terms.ticker

    @property
    def home(self) -> tuple[str, int]:
        """Event and shard, for an account's records."""
        return self.event.ticker, self.series.shard

    def rest(self, order: Order) -> None:
        """Put an order at the end of its level's queue."""
        self._queues[order.outcome].setdefault(order.price, {})[order.order_id] = order
        self.book.side(order.outcome).add(order.price, order.remaining)

    def take(self, order: Order, count: Count) -> None:
        """Remove ``count`` contracts of a resting order from the book; an empty order leaves its queue."""
        self.book.side(order.outcome).add(order.price, -count)
        if count == order.remaining:
            level = self._queues[order.outcome][order.price]
            del level[order.order_id]
            if not level:
                del self._queues[order.outcome][order.price]

    def stop_book(self) -> None:
        """Take every order off the book at once; what rested is in ``closing`` now."""
        self.closing = {order.order_id: order for order in self.resting()}
        self.book = Book(self.ticker)
        self._queues = {Outcome.YES: {}, Outcome.NO: {}}

    def ahead_of(self, order: Order) -> Count:
        """Contracts that trade before a resting order does: those at better prices and the older ones at its own."""
        ahead: int = sum(level.size for level in self.book.side(order.outcome) if level.price > order.price)
        for other in self._queues[order.outcome][order.price].values():
            if other is order:
                break
            ahead += other.remaining
        return Count(ahead)

    def opposing(self, outcome: Outcome, limit: Price) -> Iterator[Order]:
        """Resting orders that a purchase of ``outcome`` at ``limit`` meets, best price first, then oldest first."""
        for level in self.book.side(outcome.other):
            if complement(level.price) > limit:
                return
            yield from self._queues[outcome.other][level.price].values()

    def resting(self) -> list[Order]:
        """Every resting order."""
        return [order for side in self._queues.values() for level in side.values() for order in level.values()]

    def takes_price(self, outcome: Outcome, limit: Price) -> bool:
        """Whether an order may carry this limit (in the price of ``outcome``): the grid is one of YES prices."""
        return self.terms.grid.is_valid(limit if outcome is Outcome.YES else complement(limit))

    def view(self, order: Order) -> OrderView:
        """What the owner sees of an order now."""
        return OrderView(
            order.order_id, order.client_order_id, self.ticker, self.event.ticker, self.series.shard, order.outcome,
            order.price, order.status, order.self_trade, order.initial, order.filled, order.remaining,
            order.taker_cost, order.maker_cost, order.taker_fees, order.maker_fees, order.created_ms,
            order.updated_ms, order.expiration_ms, order.group_id, order.cancel_on_pause,
        )  # fmt: skip

    def reservation(self, order: Order, remaining: Count) -> Cash:
        """What a resting order holds of its account's cash: the cost and maker fee of all that remains."""
        if remaining == 0:
            return Cash(0)
        return Cash(notional(order.price, remaining) + trade_fee(self.fees, order.price, remaining, Role.MAKER))


def pair_value(count: Count) -> Cash:
    """The collateral behind ``count`` pairs of YES and NO."""
    return notional(ONE_DOLLAR, count)
