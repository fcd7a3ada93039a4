"""Orders as they come in: placed, cancelled, amended, decreased (Kalshi API documentation, orders and order errors)."""

from dataclasses import replace

from infra.exchange.account import Account, OrderView
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.execution import Execution
from infra.exchange.market import MarketState
from infra.exchange.matching import INSUFFICIENT_BALANCE, Plan, check_funds, plan_match
from infra.exchange.orders import Order
from infra.exchange.terms import Amendment, Keep, NewOrder, TimeInForce
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Count

MAX_CLIENT_ORDER_ID = 64
CANCEL_ALL_MS = 60_000
"""How long a cancel-all goes on to cancel what its account places."""


class OrderEntry(Execution):
    """Takes orders and changes of orders, or refuses them without a trace."""

    def place(self, account_id: str, new: NewOrder) -> OrderView:
        """Take an order, match it, and rest or cancel what is left as its time in force says.

        In the minute after a cancel-all an order is cancelled as it arrives, having filled nothing, whatever its time
        in force. A fill-or-kill order that meets its own account is treated as immediate-or-cancel.

        :raises ExchangeRefusalError: nothing happened; the code says why. A post-only order that would cross is on
            record as cancelled all the same (PostOnlyCrossCancel).
        """
        account = self._account(account_id)
        self._count_attempt(account, new.client_order_id)
        self._check_trading()
        market = self._tradable(new.ticker, new.shard)
        count = self._checked_count(market, account, new)
        order = Order(
            self._ids(), new.client_order_id or "", account, new.outcome, new.limit, count, count, new.self_trade,
            self._now, self._now, new.post_only, new.cancel_on_pause, new.expiration_ms, new.order_group_id,
        )  # fmt: skip
        if count == 0:
            return self._end(market, order, "ReduceOnlyCancel")
        yes_left = self._yes_left(market.event)
        check_funds(market, order, yes_left)
        if self._now < account.cancel_all_until_ms:
            return self._end(market, order, "")
        plan = plan_match(market, order, yes_left, self._now)
        if new.post_only and _crosses(plan):
            self._end(market, order, "PostOnlyCrossCancel")
            raise ExchangeRefusalError(400, "invalid_order", "post only cross")
        if new.time_in_force is TimeInForce.FILL_OR_KILL and plan.filled < count and not plan.met_itself:
            raise ExchangeRefusalError(409, "fill_or_kill_insufficient_resting_volume")
        may_rest = new.time_in_force is TimeInForce.GOOD_TILL_CANCELED
        rests = may_rest and _can_rest(market, order, plan)
        return self._carry_out(market, order, plan, rests=rests, reason="")

    def cancel(self, account_id: str, order_id: str, shard: int | None = None) -> tuple[OrderView, Count]:
        """Cancel a resting order; returns it and the contracts that were taken off the book.

        Allowed while trading is paused and in a deactivated market; not after the close, nor in an exchange pause.

        :raises ExchangeRefusalError: not resting, not on that shard, its market is closed, or an exchange pause.
        """
        self._check_exchange()
        market, order = self._own_resting(account_id, order_id, shard)
        reduced = order.remaining
        return self._withdraw(market, order, "", own=True), reduced

    def cancel_all(self, account_id: str) -> list[OrderView]:
        """Cancel every resting order of an account on all shards; returns them.

        Everything the account places in the following minute is cancelled as well, on arrival (Kalshi API
        documentation, cancel all orders: it "may" be; here it always is).

        :raises ExchangeRefusalError: an exchange pause.
        """
        self._check_exchange()
        account = self._account(account_id)
        account.cancel_all_until_ms = self._now + CANCEL_ALL_MS
        own = [(market, order) for market, order in self._all_resting() if order.account is account]
        return [self._withdraw(market, order, "", own=True) for market, order in own]

    def amend(self, account_id: str, amendment: Amendment) -> OrderView:
        """Give a resting order new terms; returns it afterwards.

        It keeps its place in the queue when only its size comes down or its expiry changes. Otherwise it leaves the
        book and enters it anew with what remains: it trades if it crosses, else it goes to the end of its level.

        :raises ExchangeRefusalError: nothing happened; the code says why.
        """
        self._check_trading()
        market, order = self._own_resting(account_id, amendment.order_id, amendment.shard)
        if market.status is not MarketStatus.ACTIVE:
            raise ExchangeRefusalError(400, "market_inactive")
        wanted = self._checked_amendment(market, order, amendment)
        expiration_ms = amendment.expiration_ms
        keeps_expiry = isinstance(expiration_ms, Keep) or expiration_ms == order.expiration_ms
        new_expiry = order.expiration_ms if isinstance(expiration_ms, Keep) else expiration_ms
        if amendment.limit == order.price and wanted <= order.remaining:
            self._identify(order, amendment)
            order.expiration_ms = new_expiry
            if not keeps_expiry:
                self._watch_expiry(order)
            return self._shrink(market, order, wanted, "Amend")
        draft = replace(order, price=amendment.limit, initial=amendment.count, remaining=wanted)
        released = market.reservation(order, order.remaining)
        yes_left = self._yes_left(market.event)
        check_funds(market, draft, yes_left, released)
        plan = plan_match(market, draft, yes_left, self._now, released)
        if order.post_only and _crosses(plan):
            raise ExchangeRefusalError(400, "invalid_order", "post only cross")
        rests = _can_rest(market, draft, plan)
        self._unrest(market, order, own=True)
        self._identify(order, amendment)
        order.price, order.initial, order.remaining = draft.price, draft.initial, draft.remaining
        order.expiration_ms, order.updated_ms = new_expiry, self._now
        return self._carry_out(market, order, plan, rests=rests, reason="Amend")

    def decrease(
        self, account_id: str, order_id: str, *, reduce_by: Count | None, reduce_to: Count | None, shard: int | None
    ) -> OrderView:
        """Make a resting order smaller where it stands; nothing left cancels it.

        :param reduce_by: contracts to take away; more than remain take all
        :param reduce_to: contracts to leave, no more than remain; exactly one of the two is given
        :raises ExchangeRefusalError: as :meth:`cancel`, or a size that is no decrease.
        """
        self._check_exchange()
        if (reduce_by is None) == (reduce_to is None):
            raise ExchangeRefusalError(400, "bad_request", "exactly one of reduce_by and reduce_to is needed")
        market, order = self._own_resting(account_id, order_id, shard)
        left = Count(max(0, order.remaining - reduce_by)) if reduce_by is not None else reduce_to
        if left is None or not 0 <= left <= order.remaining or (reduce_by is not None and reduce_by <= 0):
            raise ExchangeRefusalError(400, "invalid_order_size")
        return self._shrink(market, order, left, "Decrease")

    # Checks

    def _count_attempt(self, account: Account, client_order_id: str | None) -> None:
        if client_order_id is None or account.is_crowd:
            return
        attempts = account.attempts_by_client_id
        attempts[client_order_id] = attempts.get(client_order_id, 0) + 1
        if client_order_id in account.orders_by_client_id:
            account.duplicate_attempts += 1
            raise ExchangeRefusalError(409, "order_already_exists")

    def _tradable(self, ticker: str, shard: int | None) -> MarketState:
        market = self._market(ticker)
        if shard is not None and shard != market.series.shard:
            raise ExchangeRefusalError(404, "market_not_found")
        if market.status is not MarketStatus.ACTIVE:
            raise ExchangeRefusalError(400, "market_inactive")
        return market

    def _own_resting(self, account_id: str, order_id: str, shard: int | None) -> tuple[MarketState, Order]:
        entry = self._resting.get(order_id) or self._closing.get(order_id)
        if entry is None or entry[1].account.account_id != account_id:
            raise ExchangeRefusalError(404, "not_found")
        if shard is not None and shard != entry[0].series.shard:
            raise ExchangeRefusalError(404, "not_found")
        if order_id in self._closing:
            raise ExchangeRefusalError(400, "market_inactive")
        return entry

    def _checked_count(self, market: MarketState, account: Account, new: NewOrder) -> Count:
        """The contracts an order is for. :raises ExchangeRefusalError: a field the exchange does not accept."""
        if not market.takes_price(new.outcome, new.limit):
            raise ExchangeRefusalError(400, "invalid_order", "invalid price")
        if new.count <= 0:
            raise ExchangeRefusalError(400, "invalid_order_size")
        _check_client_order_id(new.client_order_id)
        if new.expiration_ms is not None:
            if new.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
                raise ExchangeRefusalError(400, "invalid_order", "expiration_time needs good_till_canceled")
            self._check_expiry(new.expiration_ms)
        if new.order_group_id is not None:
            self._check_group(account, new.order_group_id, market.series.shard)
        if not new.reduce_only:
            return new.count
        if new.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL:
            raise ExchangeRefusalError(400, "invalid_order", "reduce only needs immediate_or_cancel")
        return Count(min(new.count, account.position(market.ticker).held(new.outcome.other)))

    def _check_expiry(self, expiration_ms: int) -> None:
        if expiration_ms <= self._now:
            raise ExchangeRefusalError(400, "invalid_order", "expiration_time is past")

    def _check_group(self, account: Account, group_id: str, shard: int) -> None:
        group = self._groups.get(group_id)
        if group is None or group.account_id != account.account_id or group.shard != shard:
            raise ExchangeRefusalError(404, "order_group_not_found")
        if group.is_triggered:
            raise ExchangeRefusalError(400, "exceeded_order_group_risk_limit")

    def _checked_amendment(self, market: MarketState, order: Order, amendment: Amendment) -> Count:
        """The contracts an amended order is still for. :raises ExchangeRefusalError: it cannot be amended so."""
        if amendment.client_order_id is not None and amendment.client_order_id != order.client_order_id:
            raise ExchangeRefusalError(409, "order_id_and_client_order_id_mismatch")
        if amendment.ticker != market.ticker:
            raise ExchangeRefusalError(409, "order_ticker_mismatch")
        if amendment.outcome is not order.outcome:
            raise ExchangeRefusalError(409, "order_side_mismatch")
        if not market.takes_price(amendment.outcome, amendment.limit):
            raise ExchangeRefusalError(400, "invalid_order", "invalid price")
        if amendment.count <= order.filled:
            raise ExchangeRefusalError(400, "INVALID_AMEND_QTY_FOR_ORDER")
        if isinstance(amendment.expiration_ms, int):
            self._check_expiry(amendment.expiration_ms)
        new_id = amendment.updated_client_order_id
        _check_client_order_id(new_id)
        if new_id is not None and new_id != order.client_order_id and new_id in order.account.orders_by_client_id:
            raise ExchangeRefusalError(409, "order_already_exists")
        return Count(amendment.count - order.filled)

    # Steps

    def _identify(self, order: Order, amendment: Amendment) -> None:
        new_id = amendment.updated_client_order_id
        if new_id is not None and new_id != order.client_order_id:
            order.client_order_id = new_id
            order.account.orders_by_client_id[new_id] = 1

    def _shrink(self, market: MarketState, order: Order, left: Count, reason: str) -> OrderView:
        """Leave ``left`` of a resting order, in its place; the total comes down with it."""
        if left == 0:
            return self._withdraw(market, order, reason, own=True)
        gone = Count(order.remaining - left)
        order.initial = Count(order.initial - gone)
        order.updated_ms = self._now
        if gone:
            released = market.reservation(order, order.remaining) - market.reservation(order, left)
            order.account.reserve(market.series.shard, -released)
            order.account.record_balance(self._now)
            market.take(order, gone)
            order.remaining = left
            self._show_change(market, order, -gone, own=True)
        return self._record(market, order, reason)


def _crosses(plan: Plan) -> bool:
    return bool(plan.fills or plan.removed or plan.met_itself)


def _can_rest(market: MarketState, order: Order, plan: Plan) -> bool:
    """Whether anything of a good-till-cancelled order is left to rest. :raises ExchangeRefusalError: no cash for it."""
    left = Count(order.remaining - plan.filled)
    if left == 0 or plan.stopped:
        return False
    if plan.available < market.reservation(order, left):
        raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE, f"on exchange_index {market.series.shard}")
    return True


def _check_client_order_id(client_order_id: str | None) -> None:
    if client_order_id is not None and len(client_order_id) > MAX_CLIENT_ORDER_ID:
        raise ExchangeRefusalError(400, "invalid_order", "client_order_id is too long")
