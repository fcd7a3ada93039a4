"""What holds for many markets at once and may change: fees on their dates, and pauses."""

from dataclasses import replace

from infra.exchange.agenda import Due
from infra.exchange.emissions import EventFeeUpdated
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.hours import pause_at_or_after
from infra.exchange.life import MarketLife
from infra.exchange.market import MarketState
from infra.exchange.state import ScheduledFees
from kalshi_arb.domain.fees import FeeSchedule


class ExchangeRules(MarketLife):
    """Fee schedules by date, and when the exchange pauses."""

    # Fees (Kalshi API documentation, series and event fee changes)

    def change_fees(self, ticker: str, schedule: FeeSchedule | None, from_ms: int) -> str:
        """Schedule another fee for a series, or another override for an event (None clears it); returns its id.

        A moment that is not ahead (UTC milliseconds) means at once.

        :raises ExchangeRefusalError: no such series or event, a fee nobody could compute, or a series without one.
        """
        if ticker not in self.series and ticker not in self.events:
            raise ExchangeRefusalError(404, "not_found", "no such series or event")
        if schedule is None and ticker in self.series:
            raise ExchangeRefusalError(400, "bad_request", "a series has a fee schedule")
        if schedule is not None and not schedule.is_tradable():
            raise ExchangeRefusalError(400, "bad_request", f"no exact fee for type {schedule.fee_type.value}")
        of_series, of_event = (ticker, None) if ticker in self.series else (None, ticker)
        change = ScheduledFees(self._ids(), of_series, of_event, schedule, max(from_ms, self._now))
        self.fee_changes.append(change)
        if change.from_ms == self._now:
            self._apply_fees(change.change_id)
        else:
            self._agenda.add(change.from_ms, Due.FEES, change.change_id)
        return change.change_id

    def _apply_fees(self, change_id: str) -> None:
        change = next(known for known in self.fee_changes if known.change_id == change_id)
        if change.series_ticker is not None and change.schedule is not None:
            series = replace(self.series[change.series_ticker], fees=change.schedule)
            self.series[series.ticker] = series
            markets = [market for market in self.markets.values() if market.series.ticker == series.ticker]
            for market in markets:
                market.series = series
        else:
            event = self.events.get(change.event_ticker or "")
            if event is None:
                return  # forgotten meanwhile
            self._change_event(replace(event, fees_override=change.schedule))
            self._emitted.append(EventFeeUpdated(event.ticker, change.schedule, self._now))
            markets = [self.markets[terms.ticker] for terms in event.markets]
        for market in markets:
            self._reprice(market)

    def _reprice(self, market: MarketState) -> None:
        """Charge what holds now. What rests there reserves accordingly; an account that cannot loses the order."""
        fees = self._fees_of(market)
        if fees == market.fees:
            return
        self._end_closing(market)
        orders = market.resting()
        before = {order.order_id: market.reservation(order, order.remaining) for order in orders}
        market.fees = fees
        market.updated_ms = self._now
        shard = market.series.shard
        unaffordable = []
        for order in orders:
            change = market.reservation(order, order.remaining) - before[order.order_id]
            if order.account.available(shard) < change:
                unaffordable.append(order)
            order.account.reserve(shard, change)
        for order in unaffordable:
            self._withdraw(market, order, "MarginCancel", own=False)
        for account in {order.account.account_id: order.account for order in orders}.values():
            account.record_balance(self._now)

    # Pauses (Kalshi API documentation, exchange schedule and maintenance)

    def pause_trading(self, *, paused: bool) -> None:
        """Begin or end a trading pause: nothing is placed or amended, cancels are taken, orders stay.

        Only orders that asked for it are cancelled when it begins.
        """
        self._pauses.trading = paused
        if paused:
            self._halt()

    def pause_exchange(self, *, paused: bool) -> None:
        """Begin or end an exchange pause, in which cancels are refused as well. Time and markets go on."""
        self._pauses.exchange = paused
        if paused:
            self._halt()

    def set_weekly_pause(self, *, enabled: bool) -> None:
        """Pause trading on Thursdays 03:00 to 05:00 in New York from now on, or no longer."""
        self._pauses.weekly = False
        self._pauses.weekly_ms = None
        if enabled:
            self._await_weekly_pause()

    def _await_weekly_pause(self) -> None:
        pause = pause_at_or_after(self._now)
        if pause.begins_ms <= self._now:
            self._begin_weekly_pause(pause.ends_ms)
        else:
            self._pauses.weekly_ms = pause.begins_ms
            self._agenda.add(pause.begins_ms, Due.PAUSE, "")

    def _begin_weekly_pause(self, ends_ms: int) -> None:
        self._pauses.weekly = True
        self._pauses.weekly_ms = ends_ms
        self._agenda.add(ends_ms, Due.RESUME, "")
        self._halt()

    def _turn_weekly_pause(self, due: Due, due_ms: int) -> None:
        if self._pauses.weekly_ms != due_ms:
            return  # switched off since this was noted
        if due is Due.PAUSE:
            self._begin_weekly_pause(pause_at_or_after(due_ms).ends_ms)
        else:
            self._pauses.weekly = False
            self._await_weekly_pause()

    def _halt(self) -> None:
        for market, order in list(self._all_resting()):
            if order.cancel_on_pause:
                self._withdraw(market, order, "HaltCancel", own=False)
