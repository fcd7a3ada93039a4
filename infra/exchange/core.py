"""The exchange itself, pure: listings, orders, matching, cash, settlement. No sockets, no clock, no asyncio.

Time comes in through :meth:`ExchangeCore.advance`, identifiers through a callable, and everything that happened goes
out as data (:mod:`infra.exchange.emissions`). At every moment the cash of all accounts, a dollar for each open pair of
contracts and the fees collected add up to what was paid in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from infra.exchange.account import (
    Account,
    History,
    OrderStatus,
    OrderView,
    Position,
    SavedAccount,
    SettlementView,
)
from infra.exchange.account import FillView as Fill
from infra.exchange.agenda import Agenda, Due
from infra.exchange.emissions import (
    BookChanged,
    BookReplaced,
    Emission,
    EventListed,
    Filled,
    LifecycleKind,
    MarketLifecycle,
    OrderChanged,
    Traded,
)
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import (
    INSUFFICIENT_BALANCE,
    MarketState,
    Order,
    Plan,
    PlannedFill,
    SavedMarket,
    check_funds,
    plan_match,
)
from infra.exchange.terms import EventTerms, NewOrder, SeriesTerms, TimeInForce
from kalshi_arb.domain.fees import FillFee, Precision, Role
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional

MAX_CLIENT_ORDER_ID = 64


class SavedCore(msgspec.Struct, frozen=True):
    """All markets, books and accounts in a snapshot. ``markets`` are those of ``events``, in their order."""

    now_ms: int
    started_ms: int
    series: list[SeriesTerms]
    events: list[EventTerms]
    markets: list[SavedMarket]
    accounts: list[SavedAccount]
    fees_collected: Cash
    agenda: Agenda


class ExchangeCore:
    """All markets, books and accounts.

    :param now_ms: the exchange's first moment, UTC milliseconds
    :param ids: gives a new identifier for every order, trade and market
    """

    def __init__(self, now_ms: int, ids: Callable[[], str]) -> None:
        self._now = now_ms
        self.started_ms = now_ms
        self._ids = ids
        self.series: dict[str, SeriesTerms] = {}
        self.events: dict[str, EventTerms] = {}
        self.markets: dict[str, MarketState] = {}
        self.accounts: dict[str, Account] = {}
        self.fees_collected = Cash(0)
        self._resting: dict[str, tuple[MarketState, Order]] = {}
        self._agenda = Agenda()
        self._emitted: list[Emission] = []
        self._observers: list[Callable[[Traded], None]] = []

    @classmethod
    def restore(cls, saved: SavedCore, ids: Callable[[], str]) -> "ExchangeCore":
        """The exchange as it was saved; who observed trades has to say so again."""
        core = cls(saved.started_ms, ids)
        core._now = saved.now_ms
        core.series = {series.ticker: series for series in saved.series}
        core.events = {event.ticker: event for event in saved.events}
        core.accounts = {account.account_id: Account.restore(account) for account in saved.accounts}
        listed = [(terms, event) for event in saved.events for terms in event.markets]
        for (terms, event), market in zip(listed, saved.markets, strict=True):
            series = core.series[event.series_ticker]
            state = MarketState.restore(market, terms, event, series, core.accounts)
            core.markets[terms.ticker] = state
            core._resting.update({order.order_id: (state, order) for order in state.resting()})
        core.fees_collected = saved.fees_collected
        core._agenda = saved.agenda
        return core

    def save(self) -> SavedCore:
        """The exchange for a snapshot."""
        return SavedCore(
            self._now, self.started_ms, list(self.series.values()), list(self.events.values()),
            [self.markets[terms.ticker].save() for event in self.events.values() for terms in event.markets],
            [account.save() for account in self.accounts.values()], self.fees_collected, self._agenda,
        )  # fmt: skip

    @property
    def now_ms(self) -> int:
        """The exchange's time, UTC milliseconds."""
        return self._now

    def drain(self) -> list[Emission]:
        """Everything that happened since the last call, in order."""
        emitted, self._emitted = self._emitted, []
        return emitted

    def observe(self, observer: Callable[[Traded], None]) -> None:
        """Have ``observer`` called with every trade of an order, after that order is done and before the next one."""
        self._observers.append(observer)

    # Listings and time

    def add_series(self, series: SeriesTerms) -> None:
        """List a series."""
        self.series[series.ticker] = series

    def open_account(
        self, account_id: str, cash: Mapping[int, Cash], precision: Precision, *, is_crowd: bool = False
    ) -> Account:
        """Open an account with cash (1e-6 dollars) by shard."""
        account = Account(account_id, cash, precision, is_crowd=is_crowd)
        account.record_balance(self._now)
        self.accounts[account_id] = account
        return account

    def list_event(self, event: EventTerms) -> None:
        """List an event of a known series with its markets. Markets open silently at their ``open_ms``."""
        series = self.series[event.series_ticker]
        self.events[event.ticker] = event
        self._emitted.append(EventListed(event.ticker, self._now))
        for terms in event.markets:
            market = MarketState(terms, event, series, self._ids(), self._now)
            self.markets[terms.ticker] = market
            self._emitted.append(MarketLifecycle(terms.ticker, LifecycleKind.CREATED, self._now))
            if terms.open_ms <= self._now:
                market.status = MarketStatus.ACTIVE
            else:
                self._agenda.add(terms.open_ms, Due.OPEN, terms.ticker)
            self._agenda.add(terms.close_ms, Due.CLOSE, terms.ticker)

    def forget_event(self, event_ticker: str) -> None:
        """Drop a finalized event from the live data, as the exchange does with old ones."""
        event = self.events.pop(event_ticker)
        for terms in event.markets:
            del self.markets[terms.ticker]

    def advance(self, now_ms: int) -> None:
        """Let time pass: markets open, close and pay out when due. Time that runs backwards is ignored."""
        while (entry := self._agenda.pop(now_ms)) is not None:
            due_ms, due, ticker = entry
            self._now = max(self._now, due_ms)
            market = self.markets[ticker]
            if due is Due.OPEN and market.status is MarketStatus.INITIALIZED:
                market.status = MarketStatus.ACTIVE
            elif due is Due.CLOSE and market.status in (MarketStatus.INITIALIZED, MarketStatus.ACTIVE):
                self._close(market)
            elif due is Due.FINALIZE:
                self._finalize(market)
        self._now = max(self._now, now_ms)

    def determine(self, ticker: str, yes_payout: Price, value: str) -> None:
        """Fix a market's result; it is paid out when its settlement timer has run.

        :param yes_payout: 0, a dollar, or between for a scalar result
        :param value: the underlying's value as published
        :raises ValueError: determined already, or a payout outside 0 to 1 dollar.
        """
        market = self.markets[ticker]
        if not 0 <= yes_payout <= ONE_DOLLAR:
            raise ValueError(f"{ticker} cannot pay {yes_payout}")
        if market.status in (MarketStatus.INITIALIZED, MarketStatus.ACTIVE):
            self._close(market)
        if market.status is not MarketStatus.CLOSED:
            raise ValueError(f"{ticker} is {market.status.value} already")
        market.status = MarketStatus.DETERMINED
        market.payout = yes_payout
        market.expiration_value = value
        market.determined_ms = self._now
        self._emitted.append(MarketLifecycle(ticker, LifecycleKind.DETERMINED, self._now))
        self._agenda.add(self._now + market.terms.settlement_timer_s * 1_000, Due.FINALIZE, ticker)

    @contextmanager
    def replacing(self, tickers: Sequence[str]) -> Iterator[None]:
        """Show whatever happens to these books inside the block as one change of all of them.

        The stream sees them empty first, one by one, and then as they are at the end: nobody who reads it frame by
        frame can take one book from before the change and another from after it for one moment.
        """
        first = len(self._emitted)
        yield
        happened = self._emitted[first:]
        self._emitted[first:] = [BookReplaced(ticker, (), (), self._now) for ticker in tickers]
        replaced = frozenset(tickers)
        self._emitted += [
            emission for emission in happened if not (isinstance(emission, BookChanged) and emission.ticker in replaced)
        ]
        for ticker in tickers:
            book = self.markets[ticker].book
            self._emitted.append(BookReplaced(ticker, tuple(book.yes), tuple(book.no), self._now))

    # Orders

    def place(self, account_id: str, new: NewOrder) -> OrderView:
        """Take an order, match it, and rest or cancel what is left as its time in force says.

        :raises ExchangeRefusalError: nothing happened; the code says why.
        """
        account = self.accounts[account_id]
        self._count_attempt(account, new.client_order_id)
        market = self._tradable(new.ticker, new.shard)
        count = _checked_count(market, account, new)
        order = Order(
            self._ids(), new.client_order_id or "", account, new.outcome, new.limit, count, count,
            new.self_trade, self._now, self._now,
        )  # fmt: skip
        if count == 0:
            order.status = OrderStatus.CANCELED
            return self._record(market, order, "ReduceOnlyCancel")
        check_funds(market, account, new.outcome, new.limit, count)
        plan = plan_match(market, order, self._now)
        if new.post_only and (plan.fills or plan.met_itself or plan.removed):
            raise ExchangeRefusalError(400, "invalid_order", "post only cross")
        if new.time_in_force is TimeInForce.FILL_OR_KILL and plan.filled < count and not plan.met_itself:
            raise ExchangeRefusalError(409, "fill_or_kill_insufficient_resting_volume")
        left = Count(count - plan.filled)
        rests = new.time_in_force is TimeInForce.GOOD_TILL_CANCELED and left > 0 and not plan.met_itself
        if rests and plan.available < market.reservation(order, left):
            raise ExchangeRefusalError(400, INSUFFICIENT_BALANCE, f"on exchange_index {market.series.shard}")
        trades = self._commit(market, order, plan)
        if rests:
            self._rest(market, order)
            reason = "Trade" if trades else ""
        elif order.remaining:
            order.remaining = Count(0)
            order.status = OrderStatus.CANCELED
            reason = "SelfTradeCancel" if plan.met_itself else "Trade" if trades else ""
        else:
            order.status = OrderStatus.EXECUTED
            reason = "Trade"
        view = self._record(market, order, reason)
        for trade in trades:
            for observer in self._observers:
                observer(trade)
        return view

    def cancel(self, account_id: str, order_id: str, shard: int | None = None) -> tuple[OrderView, Count]:
        """Cancel a resting order; returns it and the contracts that were taken off the book.

        :raises ExchangeRefusalError: not resting, not on that shard, or its market is not trading.
        """
        entry = self._resting.get(order_id)
        if entry is None or entry[1].account.account_id != account_id:
            raise ExchangeRefusalError(404, "not_found")
        market, order = entry
        if shard is not None and shard != market.series.shard:
            raise ExchangeRefusalError(404, "not_found")
        if market.status is not MarketStatus.ACTIVE:
            raise ExchangeRefusalError(400, "market_inactive")
        reduced = order.remaining
        return self._withdraw(market, order, "", own=True), reduced

    def is_resting(self, order_id: str) -> bool:
        """Whether an order is on a book."""
        return order_id in self._resting

    def resting(self, order_id: str) -> tuple[MarketState, Order] | None:
        """An order that is on a book, with its market."""
        return self._resting.get(order_id)

    # Steps of an order

    def _count_attempt(self, account: Account, client_order_id: str | None) -> None:
        if client_order_id is None or account.is_crowd:
            return
        attempts = account.attempts_by_client_id
        attempts[client_order_id] = attempts.get(client_order_id, 0) + 1
        if client_order_id in account.orders_by_client_id:
            account.duplicate_attempts += 1
            raise ExchangeRefusalError(409, "order_already_exists")

    def _tradable(self, ticker: str, shard: int | None) -> MarketState:
        market = self.markets.get(ticker)
        if market is None or (shard is not None and shard != market.series.shard):
            raise ExchangeRefusalError(404, "market_not_found")
        if market.status is not MarketStatus.ACTIVE:
            raise ExchangeRefusalError(400, "market_inactive")
        return market

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
            self._book_fill(party, price, fill.count, side.fee, role)
            party.account.move(market.series.shard, side.cash)
            party.account.set_position(market.ticker, market.home, side.position)
            party.account.record_balance(self._now)
            self._report_fill(market, party, price, fill.count, side.fee, role, trade_id)
        held_after = max(0, fill.taker.position.count) + max(0, fill.maker.position.count)
        market.open_interest = Count(market.open_interest + held_after - held_before)
        market.volume = Count(market.volume + fill.count)
        market.last_price, market.last_size = yes_price, fill.count
        if maker.remaining == 0:
            maker.status = OrderStatus.EXECUTED
            del self._resting[maker.order_id]
        self._record(market, maker, "Trade")
        return trade

    def _book_fill(self, order: Order, price: Price, count: Count, fee: FillFee, role: Role) -> None:
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

    def _report_fill(
        self, market: MarketState, order: Order, price: Price, count: Count, fee: FillFee, role: Role, trade_id: str
    ) -> None:
        if order.account.is_crowd:
            return
        fill = Fill(
            trade_id, order.order_id, market.ticker, market.series.shard, order.outcome, price, count, fee.fee,
            role is Role.TAKER, self._now,
        )  # fmt: skip
        order.account.fills.append(fill)
        position = order.account.position(market.ticker).count
        self._emitted.append(Filled(order.account.account_id, order.client_order_id, fill, position))

    def _rest(self, market: MarketState, order: Order) -> None:
        order.account.reserve(market.series.shard, market.reservation(order, order.remaining))
        order.account.record_balance(self._now)
        market.rest(order)
        self._resting[order.order_id] = (market, order)
        self._emit_own_change(market, order, order.remaining, own=True)

    def _withdraw(self, market: MarketState, order: Order, reason: str, *, own: bool) -> OrderView:
        order.account.reserve(market.series.shard, -market.reservation(order, order.remaining))
        order.account.record_balance(self._now)
        market.take(order, order.remaining)
        del self._resting[order.order_id]
        if market.status is MarketStatus.ACTIVE:
            self._emit_own_change(market, order, -order.remaining, own=own)
        order.remaining = Count(0)
        order.status = OrderStatus.CANCELED
        order.updated_ms = self._now
        return self._record(market, order, reason)

    def _emit_own_change(self, market: MarketState, order: Order, change: int, *, own: bool) -> None:
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

    # Steps of a market's life

    def _close(self, market: MarketState) -> None:
        market.status = MarketStatus.CLOSED
        for order in market.resting():
            self._withdraw(market, order, "CloseCancel", own=False)
        self._emitted.append(BookReplaced(market.ticker, (), (), self._now))

    def _finalize(self, market: MarketState) -> None:
        if market.payout is None:
            raise ValueError(f"{market.ticker} has no result to pay")
        market.status = MarketStatus.FINALIZED
        market.settled_ms = self._now
        for account in self.accounts.values():
            if account.position(market.ticker).count:
                self._pay(market, account, market.payout)
        market.open_interest = Count(0)
        self._emitted.append(MarketLifecycle(market.ticker, LifecycleKind.SETTLED, self._now))

    def _pay(self, market: MarketState, account: Account, yes_payout: Price) -> None:
        position = account.position(market.ticker)
        exact = notional(yes_payout, position.held(Outcome.YES)) + notional(
            complement(yes_payout), position.held(Outcome.NO)
        )
        # A scalar payout may be finer than the account's balance grid; the exchange shows the rest as a fee.
        paid = Cash(exact // account.precision * account.precision)
        rounding = exact - paid
        account.move(market.series.shard, paid)
        account.fees_paid = Cash(account.fees_paid + rounding)
        self.fees_collected = Cash(self.fees_collected + rounding)
        account.settled_revenue = Cash(account.settled_revenue + paid)
        account.record_balance(self._now)
        closed = Position(
            Count(0), Cash(0), Cash(position.realized + paid - position.cost), Cash(position.fees + rounding),
            position.traded, self._now,
        )  # fmt: skip
        account.set_position(market.ticker, market.home, closed)
        if not account.is_crowd:
            account.settlements.append(
                SettlementView(
                    market.ticker, market.event.ticker, market.series.shard, position.count, position.cost,
                    yes_payout, paid, closed.fees, self._now,
                )
            )  # fmt: skip


def _checked_count(market: MarketState, account: Account, new: NewOrder) -> Count:
    """The contracts an order is for. :raises ExchangeRefusalError: a field the exchange does not accept."""
    yes_price = new.limit if new.outcome is Outcome.YES else complement(new.limit)
    if not market.terms.grid.is_valid(yes_price):
        raise ExchangeRefusalError(400, "invalid_order", "invalid price")
    if new.count <= 0:
        raise ExchangeRefusalError(400, "invalid_order_size")
    if new.client_order_id is not None and len(new.client_order_id) > MAX_CLIENT_ORDER_ID:
        raise ExchangeRefusalError(400, "invalid_order", "client_order_id is too long")
    if not new.reduce_only:
        return new.count
    if new.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL:
        raise ExchangeRefusalError(400, "invalid_order", "reduce only needs immediate_or_cancel")
    return Count(min(new.count, account.position(market.ticker).held(new.outcome.other)))
