"""A market's life: listed, opened, paused, closed, given a result, disputed, paid (Kalshi API documentation, market
lifecycle); and the changes that its terms may see meanwhile."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

from infra.exchange.account import Account, Position, SettlementView
from infra.exchange.agenda import Due
from infra.exchange.collateral import sure_payout
from infra.exchange.emissions import BookChanged, BookReplaced, EventListed, LifecycleKind, MarketLifecycle
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import MarketState
from infra.exchange.members import MemberDesk
from infra.exchange.terms import EventTerms, GridName, MarketTerms, SeriesTerms
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional

CLOSE_CANCEL_MS = 500
"""How long after a close its orders are cancelled; until then their owners see them rest."""

_BEFORE_CLOSE = (MarketStatus.INITIALIZED, MarketStatus.INACTIVE, MarketStatus.ACTIVE)


class MarketLife(MemberDesk):
    """Lists markets and takes them through their states."""

    def add_series(self, series: SeriesTerms) -> None:
        """List a series."""
        self.series[series.ticker] = series

    def list_event(self, event: EventTerms) -> None:
        """List an event of a known series with its markets. Markets open silently at their ``open_ms``."""
        series = self.series[event.series_ticker]
        self.events[event.ticker] = event
        self._emitted.append(EventListed(event.ticker, self._now))
        for terms in event.markets:
            fees = event.fees_override or series.fees
            market = MarketState(terms, event, series, fees, self._ids(), self._now)
            self.markets[terms.ticker] = market
            if terms.fee_waiver_until_ms is not None:
                market.fees = self._fees_of(market)
                self._agenda.add(terms.fee_waiver_until_ms, Due.WAIVER_ENDS, terms.ticker)
            self._announce(market, LifecycleKind.CREATED)
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

    # Pauses and closing times

    def deactivate(self, ticker: str) -> None:
        """Pause one market: nothing is placed or amended there. :raises ExchangeRefusalError: it is not trading."""
        market = self._in_status(ticker, MarketStatus.ACTIVE)
        market.status = MarketStatus.INACTIVE
        self._announce(market, LifecycleKind.DEACTIVATED)
        for order in market.resting():
            if order.cancel_on_pause:
                self._withdraw(market, order, "HaltCancel", own=False)

    def activate(self, ticker: str) -> None:
        """Let a paused market trade again, which cancels everything that rests there.

        :raises ExchangeRefusalError: it is not paused.
        """
        market = self._in_status(ticker, MarketStatus.INACTIVE)
        for order in market.resting():
            self._withdraw(market, order, "HaltCancel", own=False)
        market.status = MarketStatus.ACTIVE
        self._announce(market, LifecycleKind.ACTIVATED)

    def close_market(self, ticker: str) -> None:
        """Close a market now, ahead of its time. :raises ExchangeRefusalError: it is closed already."""
        self._in_status(ticker, *_BEFORE_CLOSE)
        self.move_close(ticker, self._now)

    def move_close(self, ticker: str, close_ms: int) -> None:
        """Move a market's closing time (UTC milliseconds), either way; a closed market without result reopens.

        :raises ExchangeRefusalError: it has a result, or a moment before it opens.
        """
        market = self._in_status(ticker, *_BEFORE_CLOSE, MarketStatus.CLOSED)
        if close_ms < market.terms.open_ms:
            raise ExchangeRefusalError(400, "bad_request", "a market cannot close before it opens")
        self._change_terms(market, replace(market.terms, close_ms=close_ms))
        self._announce(market, LifecycleKind.CLOSE_DATE_UPDATED)
        if close_ms > self._now:
            self._agenda.add(close_ms, Due.CLOSE, ticker)
            if market.status is MarketStatus.CLOSED:
                self._end_closing(market)
                market.status = MarketStatus.ACTIVE
                self._announce(market, LifecycleKind.ACTIVATED)
        elif market.status is not MarketStatus.CLOSED:
            self._close(market)

    def _close(self, market: MarketState) -> None:
        """The book is empty at once; what rested there can no longer be touched and is cancelled shortly after."""
        market.status = MarketStatus.CLOSED
        market.updated_ms = self._now
        market.stop_book()
        for order_id in market.closing:
            self._closing[order_id] = self._resting.pop(order_id)
        self._agenda.add(self._now + CLOSE_CANCEL_MS, Due.CLOSE_CANCEL, market.ticker)
        self._emitted.append(BookReplaced(market.ticker, (), (), self._now))

    # Results

    def determine(self, ticker: str, yes_payout: Price, value: str) -> None:
        """Fix a market's result; it is paid out when its settlement timer has run. Closes it first if need be.

        :param yes_payout: 0, a dollar, or between for a scalar result
        :param value: the underlying's value as published
        :raises ExchangeRefusalError: determined already, or a payout outside 0 to 1 dollar.
        """
        market = self._in_status(ticker, *_BEFORE_CLOSE, MarketStatus.CLOSED)
        _check_payout(yes_payout)
        if market.status is not MarketStatus.CLOSED:
            self._close(market)
        self._end_closing(market)
        market.determined_ms = self._now
        self._give_result(market, MarketStatus.DETERMINED, yes_payout, value)

    def dispute(self, ticker: str) -> None:
        """Stop the payment of a result until it is amended. :raises ExchangeRefusalError: no result to dispute."""
        market = self._in_status(ticker, MarketStatus.DETERMINED, MarketStatus.AMENDED)
        market.status = MarketStatus.DISPUTED
        market.finalize_ms = None
        market.updated_ms = self._now

    def amend_result(self, ticker: str, yes_payout: Price, value: str) -> None:
        """Give another result, or confirm a disputed one; the settlement timer starts again.

        :raises ExchangeRefusalError: no result yet, paid already, or a payout outside 0 to 1 dollar.
        """
        market = self._in_status(ticker, MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED)
        _check_payout(yes_payout)
        self._give_result(market, MarketStatus.AMENDED, yes_payout, value)

    def _give_result(self, market: MarketState, status: MarketStatus, yes_payout: Price, value: str) -> None:
        market.status = status
        market.payout = yes_payout
        market.expiration_value = value
        market.finalize_ms = self._now + market.terms.settlement_timer_s * 1_000
        self._announce(market, LifecycleKind.DETERMINED)
        self._agenda.add(market.finalize_ms, Due.FINALIZE, market.ticker)

    def _finalize(self, market: MarketState, yes_payout: Price) -> None:
        market.status = MarketStatus.FINALIZED
        market.settled_ms = self._now
        for account in self.accounts.values():
            if account.position(market.ticker).count:
                self._pay(market, account, yes_payout)
            elif market.event.ticker in account.covers:
                # What the others' NO contracts are sure to pay has changed, and comes back at once.
                account.move(market.series.shard, -self._uncover(market, account))
                account.record_balance(self._now)
        market.open_interest = Count(0)
        self._announce(market, LifecycleKind.SETTLED)

    def _pay(self, market: MarketState, account: Account, yes_payout: Price) -> None:
        position = account.position(market.ticker)
        exact = notional(yes_payout, position.held(Outcome.YES)) + notional(
            complement(yes_payout), position.held(Outcome.NO)
        )
        taken_back = self._uncover(market, account)
        # A scalar payout may be finer than the account's balance grid; the exchange shows the rest as a fee.
        paid = Cash(exact // account.precision * account.precision)
        rounding = exact - paid
        account.move(market.series.shard, paid - taken_back)
        account.fees_paid = Cash(account.fees_paid + rounding)
        self.fees_collected = Cash(self.fees_collected + rounding)
        account.settled_revenue = Cash(account.settled_revenue + paid)
        account.record_balance(self._now)
        closed = Position(
            Count(0), Cash(0), Cash(position.realized + exact - position.cost), Cash(position.fees + rounding),
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

    def _uncover(self, market: MarketState, account: Account) -> Cash:
        """Take a settled market out of its event's cover; returns the collateral that must be given back for it."""
        cover = account.covers.get(market.event.ticker)
        if cover is None:
            return Cash(0)
        left = {ticker: count for ticker, count in cover.counts.items() if ticker != market.ticker}
        returned, before = sure_payout(left, self._yes_left(market.event)), cover.returned
        account.set_cover(market.event.ticker, market.ticker, Count(0), returned)
        return Cash(before - returned)

    # Terms

    def change_strike(self, ticker: str, floor: Decimal | None, cap: Decimal | None) -> None:
        """Change a market's strikes, in the unit of its underlying. :raises ExchangeRefusalError: unknown market."""
        market = self._market(ticker)
        self._change_terms(market, replace(market.terms, floor=floor, cap=cap))
        self._announce(market, LifecycleKind.METADATA_UPDATED)

    def change_rules(self, ticker: str, rules: str) -> None:
        """Change a market's rules text. No message says so: the stream's metadata holds no rules."""
        market = self._market(ticker)
        self._change_terms(market, replace(market.terms, rules=rules))

    def change_grid(self, ticker: str, grid: GridName) -> None:
        """Change a market's legal prices. What rests off the new ones is cancelled, the rest stays where it is."""
        market = self._market(ticker)
        self._change_terms(market, replace(market.terms, grid_name=grid))
        for order in market.resting():
            if not market.takes_price(order.outcome, order.price):
                self._withdraw(market, order, "HaltCancel", own=False)
        self._announce(market, LifecycleKind.PRICE_LEVEL_STRUCTURE_UPDATED)

    def _change_terms(self, market: MarketState, terms: MarketTerms) -> None:
        listed = tuple(terms if known.ticker == terms.ticker else known for known in market.event.markets)
        market.terms = terms
        market.updated_ms = self._now
        self._change_event(replace(market.event, markets=listed))

    def _change_event(self, event: EventTerms) -> None:
        self.events[event.ticker] = event
        for terms in event.markets:
            self.markets[terms.ticker].event = event

    # Steps

    def _announce(self, market: MarketState, kind: LifecycleKind) -> None:
        market.updated_ms = self._now
        self._emitted.append(MarketLifecycle(market.ticker, kind, self._now))

    def _in_status(self, ticker: str, *statuses: MarketStatus) -> MarketState:
        market = self._market(ticker)
        if market.status not in statuses:
            raise ExchangeRefusalError(409, "invalid_market_status", f"{ticker} is {market.status.value} already")
        return market


def _check_payout(yes_payout: Price) -> None:
    if not 0 <= yes_payout <= ONE_DOLLAR:
        raise ExchangeRefusalError(400, "bad_request", "a payout must be 0 to 1 dollar")
