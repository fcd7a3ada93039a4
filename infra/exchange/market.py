"""One listed market in motion: its book by price and time, its status and figures, and the plan of a match.

A match is planned before anything moves. The plan carries exact fees and balances of both sides, so an order that must
be refused (killed, too little cash) leaves no trace.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from infra.exchange.account import Account, OrderStatus, OrderView, Position
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.terms import EventTerms, MarketTerms, SelfTradePrevention, SeriesTerms
from kalshi_arb.domain.book import Book
from kalshi_arb.domain.fees import FeeSchedule, FillFee, Role, charge, trade_fee
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional

INSUFFICIENT_BALANCE = "insufficient_balance"


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
    filled: Count
    accumulator: Cash
    taker_cost: Cash
    maker_cost: Cash
    taker_fees: Cash
    maker_fees: Cash

    @classmethod
    def of(cls, order: Order) -> "SavedOrder":
        """An order that rests on a book."""
        return cls(
            order.order_id, order.client_order_id, order.account.account_id, order.outcome, order.price,
            order.initial, order.remaining, order.self_trade, order.created_ms, order.updated_ms, order.filled,
            order.accumulator, order.taker_cost, order.maker_cost, order.taker_fees, order.maker_fees,
        )  # fmt: skip

    def order(self, accounts: Mapping[str, Account]) -> Order:
        """The order again."""
        return Order(
            self.order_id, self.client_order_id, accounts[self.account_id], self.outcome, self.price, self.initial,
            self.remaining, self.self_trade, self.created_ms, self.updated_ms, OrderStatus.RESTING, self.filled,
            self.accumulator, self.taker_cost, self.maker_cost, self.taker_fees, self.maker_fees,
        )  # fmt: skip


class SavedMarket(msgspec.Struct, frozen=True):
    """A market in a snapshot. ``orders`` are those of YES and then of NO, level by level, each in its queue's order."""

    market_id: str
    status: MarketStatus
    created_ms: int
    updated_ms: int
    volume: Count
    open_interest: Count
    last_price: Price | None
    last_size: Count
    payout: Price | None
    expiration_value: str
    determined_ms: int | None
    settled_ms: int | None
    orders: list[SavedOrder]


class MarketState:
    """A market's book and figures. ``payout`` is what one YES pays once determined."""

    def __init__(self, terms: MarketTerms, event: EventTerms, series: SeriesTerms, market_id: str, now_ms: int) -> None:
        self.terms = terms
        self.event = event
        self.series = series
        self.market_id = market_id
        self.fees: FeeSchedule = event.fees_override or series.fees
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
        self.settled_ms: int | None = None

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
        market = cls(terms, event, series, saved.market_id, saved.created_ms)
        market.status = saved.status
        market.updated_ms = saved.updated_ms
        market.volume = saved.volume
        market.open_interest = saved.open_interest
        market.last_price = saved.last_price
        market.last_size = saved.last_size
        market.payout = saved.payout
        market.expiration_value = saved.expiration_value
        market.determined_ms = saved.determined_ms
        market.settled_ms = saved.settled_ms
        for order in saved.orders:
            market.rest(order.order(accounts))
        return market

    def save(self) -> SavedMarket:
        """The market for a snapshot."""
        return SavedMarket(
            self.market_id, self.status, self.created_ms, self.updated_ms, self.volume, self.open_interest,
            self.last_price, self.last_size, self.payout, self.expiration_value, self.determined_ms,
            self.settled_ms, [SavedOrder.of(order) for order in self.resting()],
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

    def opposing(self, outcome: Outcome, limit: Price) -> Iterator[Order]:
        """Resting orders that a purchase of ``outcome`` at ``limit`` meets, best price first, then oldest first."""
        for level in self.book.side(outcome.other):
            if complement(level.price) > limit:
                return
            yield from self._queues[outcome.other][level.price].values()

    def resting(self) -> list[Order]:
        """Every resting order."""
        return [order for side in self._queues.values() for level in side.values() for order in level.values()]

    def view(self, order: Order) -> OrderView:
        """What the owner sees of an order now."""
        return OrderView(
            order.order_id, order.client_order_id, self.ticker, self.event.ticker, self.series.shard, order.outcome,
            order.price, order.status, order.self_trade, order.initial, order.filled, order.remaining,
            order.taker_cost, order.maker_cost, order.taker_fees, order.maker_fees, order.created_ms,
            order.updated_ms,
        )  # fmt: skip

    def reservation(self, order: Order, remaining: Count) -> Cash:
        """What a resting order holds of its account's cash: the cost and maker fee of all that remains."""
        if remaining == 0:
            return Cash(0)
        return Cash(notional(order.price, remaining) + trade_fee(self.fees, order.price, remaining, Role.MAKER))


@dataclass(frozen=True, slots=True)
class Side:
    """What one fill does to one of its two accounts. ``cash`` is the whole change: price, fee and freed pairs."""

    fee: FillFee
    cash: Cash
    position: Position


@dataclass(frozen=True, slots=True)
class PlannedFill:
    """One execution against one resting order at its price; ``price`` is what the taker pays."""

    maker_order: Order
    count: Count
    price: Price
    taker: Side
    maker: Side


@dataclass(slots=True)
class Plan:
    """What an incoming order would do. ``removed`` are resting orders that leave with the exchange's reason."""

    fills: list[PlannedFill] = field(default_factory=list)
    removed: list[tuple[Order, str]] = field(default_factory=list)
    filled: Count = Count(0)
    met_itself: bool = False
    available: Cash = Cash(0)


class _Draft:
    """Balances as they would be while a plan is being made."""

    def __init__(self, market: MarketState, now_ms: int) -> None:
        self._market = market
        self._now_ms = now_ms
        self._available: dict[str, Cash] = {}
        self._positions: dict[str, Position] = {}

    def available(self, account: Account) -> Cash:
        """Cash the account could spend at this point of the plan."""
        known = self._available.get(account.account_id)
        return account.available(self._market.series.shard) if known is None else known

    def try_buy(self, order: Order, price: Price, count: Count, role: Role, accumulator: Cash, released: Cash) -> Side:
        """The effect of a purchase, without keeping it. ``released`` is the reservation it sets free."""
        account = order.account
        position = self._positions.get(account.account_id) or account.position(self._market.ticker)
        raw = trade_fee(self._market.fees, price, count, role)
        fee = charge(Cash(-notional(price, count)), raw, account.precision, accumulator)
        cash = Cash(fee.change + position.freed_by(order.outcome, count))
        after = position.after_purchase(order.outcome, price, count, fee.fee, self._now_ms)
        if self.available(account) + released + cash < 0:
            raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE)
        return Side(fee, cash, after)

    def keep(self, account: Account, side: Side, released: Cash) -> None:
        """Make the effect of a purchase part of the draft."""
        self._available[account.account_id] = Cash(self.available(account) + released + side.cash)
        self._positions[account.account_id] = side.position


def plan_match(market: MarketState, order: Order, now_ms: int) -> Plan:
    """Match an incoming order against the book without changing anything.

    Takers pay the resting price. A resting order whose account cannot pay any more leaves the book instead of trading
    (MarginCancel); an account never trades with itself.

    :raises ExchangeRefusalError: the taker cannot pay for what it would get.
    """
    plan, draft = Plan(), _Draft(market, now_ms)
    wanted, accumulator = order.remaining, order.accumulator
    for maker in market.opposing(order.outcome, order.price):
        if wanted == 0:
            break
        if maker.account is order.account:
            if order.self_trade is SelfTradePrevention.TAKER_AT_CROSS:
                plan.met_itself = True
                break
            plan.removed.append((maker, "SelfTradeCancel"))
            continue
        count = Count(min(wanted, maker.remaining))
        left = Count(maker.remaining - count)
        released = Cash(market.reservation(maker, maker.remaining) - market.reservation(maker, left))
        try:
            maker_side = draft.try_buy(maker, maker.price, count, Role.MAKER, maker.accumulator, released)
        except ExchangeRefusalError:
            plan.removed.append((maker, "MarginCancel"))
            continue
        price = complement(maker.price)
        taker_side = draft.try_buy(order, price, count, Role.TAKER, accumulator, Cash(0))
        draft.keep(maker.account, maker_side, released)
        draft.keep(order.account, taker_side, Cash(0))
        accumulator = taker_side.fee.accumulator
        plan.fills.append(PlannedFill(maker, count, price, taker_side, maker_side))
        plan.filled = Count(plan.filled + count)
        wanted = Count(wanted - count)
    plan.available = draft.available(order.account)
    return plan


def check_funds(market: MarketState, account: Account, outcome: Outcome, limit: Price, count: Count) -> None:
    """An order needs the cash of its opening part at the limit, with the fee, on its market's shard.

    :raises ExchangeRefusalError: the shard has less.
    """
    opening = Count(max(0, count - account.position(market.ticker).held(outcome.other)))
    needed = notional(limit, opening) + trade_fee(market.fees, limit, opening)
    if account.available(market.series.shard) < needed:
        raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE, f"on exchange_index {market.series.shard}")


def pair_value(count: Count) -> Cash:
    """The collateral behind ``count`` pairs of YES and NO."""
    return notional(ONE_DOLLAR, count)
