"""The steps of every order: it trades, rests, leaves the book, and its owner hears of it."""

from infra.exchange.account import FillView as Fill
from infra.exchange.account import History, OrderStatus, OrderView
from infra.exchange.agenda import Due
from infra.exchange.emissions import BookChanged, Filled, GroupChanged, OrderChanged, Traded
from infra.exchange.groups import GroupStep, OrderGroup
from infra.exchange.market import MarketState
from infra.exchange.matching import Plan, PlannedFill, Side
from infra.exchange.orders import Order
from infra.exchange.state import CoreState
from kalshi_arb.domain.fees import Role
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price, complement, notional


class Execution(CoreState):
    """Moves orders, contracts and cash as planned. Whoever calls has checked that it may be done."""

    def _carry_out(self, market: MarketState, order: Order, plan: Plan, *, rests: bool, reason: str) -> OrderView:
        """Match an order as planned, and rest or cancel what is left of it.

        :param reason: what its owner is told when it does not trade
        """
        trades = self._commit(market, order, plan)
        if trades:
            reason = "Trade"
        if rests:
            self._rest(market, order)
        elif order.remaining:
            order.remaining = Count(0)
            order.status = OrderStatus.CANCELED
            reason = "SelfTradeCancel" if plan.stopped else reason
        else:
            order.status = OrderStatus.EXECUTED
        view = self._record(market, order, reason)
        touched = [order.group_id, *(fill.maker_order.group_id for fill in plan.fills)] if trades else []
        for group_id in dict.fromkeys(touched):
            if group_id is not None and self._judge(self._groups[group_id]):
                view = market.view(order)
        for trade in trades:
            for observer in self._observers:
                observer(trade)
        return view

    def _commit(self, market: MarketState, order: Order, plan: Plan) -> list[Traded]:
        for resting, reason in plan.removed:
            self._withdraw(market, resting, reason, own=False)
        return [self._execute(market, order, fill) for fill in plan.fills]

    def _execute(self, market: MarketState, order: Order, fill: PlannedFill) -> Traded:
        maker = fill.maker_order
        trade_id = self._ids()
        left = Count(maker.remaining - fill.count)
        released = market.reservation(maker, maker.remaining) - market.reservation(maker, left)
        maker.account.reserve(market.series.shard, -released)
        market.take(maker, fill.count)
        self._emitted.append(BookChanged(market.ticker, maker.outcome, maker.price, -fill.count, self._now))
        yes_price = fill.price if order.outcome is Outcome.YES else complement(fill.price)
        trade = Traded(
            trade_id, market.ticker, yes_price, fill.count, order.outcome, maker.order_id,
            order.account.account_id, self._now,
        )  # fmt: skip
        self._emitted.append(trade)
        held_before = max(0, order.account.position(market.ticker).count)
        held_before += max(0, maker.account.position(market.ticker).count)
        for party, side, role in ((order, fill.taker, Role.TAKER), (maker, fill.maker, Role.MAKER)):
            price = fill.price if role is Role.TAKER else maker.price
            self._book_fill(party, price, fill.count, side, role)
            party.account.move(market.series.shard, side.cash)
            party.account.set_cover(market.event.ticker, market.ticker, side.covered, side.returned)
            party.account.set_position(market.ticker, market.home, side.position)
            party.account.record_balance(self._now)
            self._report_fill(market, party, price, fill.count, side, role, trade_id)
        held_after = max(0, fill.taker.position.count) + max(0, fill.maker.position.count)
        market.open_interest = Count(market.open_interest + held_after - held_before)
        market.volume = Count(market.volume + fill.count)
        market.last_price, market.last_size = yes_price, fill.count
        if maker.remaining == 0:
            maker.status = OrderStatus.EXECUTED
            self._forget_resting(maker)
        self._record(market, maker, "Trade")
        return trade

    def _book_fill(self, order: Order, price: Price, count: Count, side: Side, role: Role) -> None:
        fee = side.fee
        order.filled = Count(order.filled + count)
        order.remaining = Count(order.remaining - count)
        order.accumulator = fee.accumulator
        order.updated_ms = self._now
        cost = notional(price, count)
        if role is Role.TAKER:
            order.taker_cost = Cash(order.taker_cost + cost)
            order.taker_fees = Cash(order.taker_fees + fee.fee)
        else:
            order.maker_cost = Cash(order.maker_cost + cost)
            order.maker_fees = Cash(order.maker_fees + fee.fee)
        order.account.fees_paid = Cash(order.account.fees_paid + fee.fee)
        self.fees_collected = Cash(self.fees_collected + fee.fee)
        if order.group_id is not None:
            self._groups[order.group_id].note_fill(self._now, count)

    def _report_fill(
        self, market: MarketState, order: Order, price: Price, count: Count, side: Side, role: Role, trade_id: str
    ) -> None:
        if order.account.is_crowd:
            return
        fill = Fill(
            trade_id, order.order_id, market.ticker, market.series.shard, order.outcome, price, count, side.fee.fee,
            role is Role.TAKER, self._now,
        )  # fmt: skip
        order.account.fills.append(fill)
        self._emitted.append(Filled(order.account.account_id, order.client_order_id, fill, side.position.count))

    def _rest(self, market: MarketState, order: Order) -> None:
        order.account.reserve(market.series.shard, market.reservation(order, order.remaining))
        order.account.record_balance(self._now)
        market.rest(order)
        self._resting[order.order_id] = (market, order)
        if order.group_id is not None:
            self._groups[order.group_id].order_ids.append(order.order_id)
        self._watch_expiry(order)
        self._show_change(market, order, order.remaining, own=True)

    def _watch_expiry(self, order: Order) -> None:
        if order.expiration_ms is not None:
            self._agenda.add(order.expiration_ms, Due.EXPIRE, order.order_id)

    def _unrest(self, market: MarketState, order: Order, *, own: bool) -> None:
        """Take an order off the book and give its reservation back."""
        self._release(market, order)
        market.take(order, order.remaining)
        self._forget_resting(order)
        self._show_change(market, order, -order.remaining, own=own)

    def _withdraw(self, market: MarketState, order: Order, reason: str, *, own: bool) -> OrderView:
        """Cancel an order that rests; ``own`` when its owner wanted it."""
        self._unrest(market, order, own=own)
        return self._end(market, order, reason)

    def _end_closing(self, market: MarketState) -> None:
        """Cancel what a close took off the book."""
        for order in list(market.closing.values()):
            self._release(market, order)
            del market.closing[order.order_id], self._closing[order.order_id]
            self._leave_group(order)
            self._end(market, order, "CloseCancel")

    def _end(self, market: MarketState, order: Order, reason: str) -> OrderView:
        order.remaining = Count(0)
        order.status = OrderStatus.CANCELED
        order.updated_ms = self._now
        return self._record(market, order, reason)

    def _release(self, market: MarketState, order: Order) -> None:
        order.account.reserve(market.series.shard, -market.reservation(order, order.remaining))
        order.account.record_balance(self._now)

    def _forget_resting(self, order: Order) -> None:
        del self._resting[order.order_id]
        self._leave_group(order)

    def _leave_group(self, order: Order) -> None:
        # A group may be deleted while what rested in a closed market still waits for its cancel.
        group = self._groups.get(order.group_id) if order.group_id is not None else None
        if group is not None:
            group.order_ids.remove(order.order_id)

    def _show_change(self, market: MarketState, order: Order, change: int, *, own: bool) -> None:
        shown = own and not order.account.is_crowd
        self._emitted.append(
            BookChanged(
                market.ticker, order.outcome, order.price, change, self._now,
                order.account.account_id if shown else None, order.client_order_id if shown else None,
            )
        )  # fmt: skip

    def _record(self, market: MarketState, order: Order, reason: str) -> OrderView:
        view = market.view(order)
        account = order.account
        if not account.is_crowd:
            history = account.orders.get(order.order_id)
            if history is None:
                history = account.orders[order.order_id] = History()
                if order.client_order_id:
                    known = account.orders_by_client_id.get(order.client_order_id, 0)
                    account.orders_by_client_id[order.client_order_id] = known + 1
            history.put(self._now, view)
            self._emitted.append(OrderChanged(account.account_id, view, reason))
        return view

    # Groups

    def _judge(self, group: OrderGroup) -> bool:
        """Trigger a group whose orders have traded more than its limit; says whether it did."""
        if group.is_triggered or not group.is_over(self._now):
            return False
        self._trigger(group)
        return True

    def _trigger(self, group: OrderGroup) -> None:
        group.is_triggered = True
        self._cancel_group(group)
        self._tell(group, GroupStep.TRIGGERED)

    def _cancel_group(self, group: OrderGroup) -> None:
        for order_id in list(group.order_ids):
            entry = self._resting.get(order_id)
            if entry is not None:
                self._withdraw(*entry, "", own=False)

    def _tell(self, group: OrderGroup, step: GroupStep) -> None:
        self._emitted.append(GroupChanged(group.account_id, group.group_id, step, group.limit, self._now))
