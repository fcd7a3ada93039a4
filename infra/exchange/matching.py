"""The plan of a match: what an incoming order would do to the book and to both accounts, before anything moves.

The plan carries exact fees and balances of both sides, so an order that must be refused (killed, too little cash)
leaves no trace.
"""

from dataclasses import dataclass, field

from infra.exchange.account import Account, Cover, Position
from infra.exchange.collateral import covered_after, sure_payout
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import MarketState
from infra.exchange.orders import Order
from infra.exchange.terms import SelfTradePrevention
from kalshi_arb.domain.fees import FillFee, Role, charge, regime_at, trade_fee
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional

INSUFFICIENT_BALANCE = "insufficient_balance"
_NO_COVER = Cover()


@dataclass(frozen=True, slots=True)
class Side:
    """What one fill does to one of its two accounts.

    ``cash`` is the whole change: price, fee, freed pairs and returned collateral. ``covered`` and ``returned`` are the
    market's covered NO contracts and the event's returned collateral after it.
    """

    fee: FillFee
    cash: Cash
    position: Position
    covered: Count
    returned: Cash


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
    """What an incoming order would do.

    ``removed`` are resting orders that leave with the exchange's reason. ``met_itself`` says that it met an order of
    its own account, ``stopped`` that it ended there.
    """

    fills: list[PlannedFill] = field(default_factory=list)
    removed: list[tuple[Order, str]] = field(default_factory=list)
    filled: Count = Count(0)
    met_itself: bool = False
    stopped: bool = False
    available: Cash = Cash(0)


class _Draft:
    """Balances as they would be while a plan is being made."""

    def __init__(self, market: MarketState, yes_left: Price, now_ms: int) -> None:
        self._market = market
        self._yes_left = yes_left
        self._now_ms = now_ms
        self._available: dict[str, Cash] = {}
        self._sides: dict[str, Side] = {}

    def available(self, account: Account) -> Cash:
        """Cash the account could spend at this point of the plan."""
        known = self._available.get(account.account_id)
        return account.available(self._market.series.shard) if known is None else known

    def release(self, account: Account, cash: Cash) -> None:
        """Count what an order reserved as available."""
        self._available[account.account_id] = Cash(self.available(account) + cash)

    def try_buy(self, order: Order, price: Price, count: Count, role: Role, accumulator: Cash, released: Cash) -> Side:
        """The effect of a purchase, without keeping it. ``released`` is the reservation it sets free."""
        account, market = order.account, self._market
        before = self._sides.get(account.account_id)
        position = account.position(market.ticker) if before is None else before.position
        regime = regime_at(self._now_ms)
        raw = trade_fee(market.fees, price, count, role, regime=regime)
        fee = charge(Cash(-notional(price, count)), raw, account.precision, accumulator, regime=regime)
        covered, returned, change = self._cover(account, before, position, order.outcome, count)
        cash = Cash(fee.change + position.freed_by(order.outcome, count) + change)
        after = position.after_purchase(order.outcome, price, count, fee.fee, self._now_ms)
        if self.available(account) + released + cash < 0:
            raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE)
        return Side(fee, cash, after, covered, returned)

    def keep(self, account: Account, side: Side, released: Cash) -> None:
        """Make the effect of a purchase part of the draft."""
        self._available[account.account_id] = Cash(self.available(account) + released + side.cash)
        self._sides[account.account_id] = side

    def _cover(
        self, account: Account, before: Side | None, position: Position, outcome: Outcome, count: Count
    ) -> tuple[Count, Cash, Cash]:
        """Covered contracts and returned collateral after a purchase, and how much more is returned than before."""
        event, ticker = self._market.event, self._market.ticker
        if not event.mutually_exclusive or not (account.netting or event.ticker in account.covers):
            return Count(0), Cash(0), Cash(0)
        cover = account.covers.get(event.ticker, _NO_COVER)
        covered = cover.counts.get(ticker, Count(0)) if before is None else before.covered
        returned = cover.returned if before is None else before.returned
        covered = covered_after(position, covered, outcome, count, netting=account.netting)
        now = sure_payout({**cover.counts, ticker: covered}, self._yes_left)
        return covered, now, Cash(now - returned)


def plan_match(market: MarketState, order: Order, yes_left: Price, now_ms: int, released: Cash = Cash(0)) -> Plan:
    """Match an incoming order against the book without changing anything.

    Takers pay the resting price. A resting order whose account cannot pay any more leaves the book instead of trading
    (MarginCancel); an account never trades with itself.

    :param yes_left: what the YES contracts of the market's event can still pay in all
    :param released: cash that the order itself held until now
    :raises ExchangeRefusalError: the taker cannot pay for what it would get.
    """
    plan, draft = Plan(), _Draft(market, yes_left, now_ms)
    draft.release(order.account, released)
    wanted, accumulator = order.remaining, order.accumulator
    for maker in market.opposing(order.outcome, order.price):
        if wanted == 0:
            break
        if maker.account is order.account:
            plan.met_itself = True
            if order.self_trade is SelfTradePrevention.TAKER_AT_CROSS:
                plan.stopped = True
                break
            plan.removed.append((maker, "SelfTradeCancel"))
            draft.release(maker.account, market.reservation(maker, maker.remaining))
            continue
        count = Count(min(wanted, maker.remaining))
        left = Count(maker.remaining - count)
        freed = Cash(market.reservation(maker, maker.remaining) - market.reservation(maker, left))
        try:
            maker_side = draft.try_buy(maker, maker.price, count, Role.MAKER, maker.accumulator, freed)
        except ExchangeRefusalError:
            plan.removed.append((maker, "MarginCancel"))
            draft.release(maker.account, market.reservation(maker, maker.remaining))
            continue
        price = complement(maker.price)
        taker_side = draft.try_buy(order, price, count, Role.TAKER, accumulator, Cash(0))
        draft.keep(maker.account, maker_side, freed)
        draft.keep(order.account, taker_side, Cash(0))
        accumulator = taker_side.fee.accumulator
        plan.fills.append(PlannedFill(maker, count, price, taker_side, maker_side))
        plan.filled = Count(plan.filled + count)
        wanted = Count(wanted - count)
    plan.available = draft.available(order.account)
    return plan


def check_funds(market: MarketState, order: Order, yes_left: Price, released: Cash = Cash(0)) -> None:
    """An order needs the cash of its opening part at the limit, with the fee, on its market's shard.

    Its closing part needs what the pairs it frees do not pay: something only where their collateral was returned.

    :raises ExchangeRefusalError: the shard has less.
    """
    account, shard = order.account, market.series.shard
    position = account.position(market.ticker)
    closing = Count(min(order.remaining, position.held(order.outcome.other)))
    opening = Count(order.remaining - closing)
    needed = notional(order.price, opening) + trade_fee(market.fees, order.price, opening)
    cover = account.covers.get(market.event.ticker)
    if cover is not None and closing:
        covered = cover.counts.get(market.ticker, Count(0))
        left = covered_after(position, covered, order.outcome, closing, netting=False)
        owed = cover.returned - sure_payout({**cover.counts, market.ticker: left}, yes_left)
        needed += max(0, notional(order.price, closing) + owed - notional(ONE_DOLLAR, closing))
    if account.available(shard) + released < needed:
        raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE, f"on exchange_index {shard}")
