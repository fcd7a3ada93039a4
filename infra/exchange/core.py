"""The exchange itself, pure: listings, orders, matching, cash, settlement. No sockets, no clock, no asyncio.

Time comes in through :meth:`ExchangeCore.advance`, identifiers through a callable, and everything that happened goes
out as data (:mod:`infra.exchange.emissions`). At every moment the cash of all accounts, a dollar for each open pair of
contracts less the collateral that was returned, and the fees collected add up to what was paid in.

It is built in layers, each on the one before: :mod:`state` (what there is), :mod:`execution` (steps of an order),
:mod:`entry` (orders as they come in), :mod:`members` (groups and cash), :mod:`life` (a market from listing to payment),
:mod:`rules` (fees and pauses), and here time and snapshots.
"""

from collections.abc import Callable, Mapping

import msgspec

from infra.exchange.account import Account, SavedAccount
from infra.exchange.agenda import Agenda, Due
from infra.exchange.groups import OrderGroup
from infra.exchange.market import MarketState, SavedMarket
from infra.exchange.rules import ExchangeRules
from infra.exchange.state import Pauses, ScheduledFees
from infra.exchange.terms import EventTerms, SeriesTerms
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Cash


class SavedCore(msgspec.Struct, frozen=True):
    """All markets, books and accounts in a snapshot. ``markets`` are those of ``events``, in their order."""

    now_ms: int
    started_ms: int
    series: list[SeriesTerms]
    events: list[EventTerms]
    markets: list[SavedMarket]
    accounts: list[SavedAccount]
    groups: list[OrderGroup]
    fees_collected: Cash
    fee_changes: list[ScheduledFees]
    pauses: Pauses
    agenda: Agenda


class ExchangeCore(ExchangeRules):
    """All markets, books and accounts.

    :param now_ms: the exchange's first moment, UTC milliseconds
    :param ids: gives a new identifier for every order, trade, market, group, transfer and fee change
    """

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
            core._closing.update({order_id: (state, order) for order_id, order in state.closing.items()})
        core._groups = {group.group_id: group for group in saved.groups}
        core.fees_collected = saved.fees_collected
        core.fee_changes = saved.fee_changes
        core._pauses = saved.pauses
        core._agenda = saved.agenda
        return core

    def save(self) -> SavedCore:
        """The exchange for a snapshot."""
        return SavedCore(
            self._now, self.started_ms, list(self.series.values()), list(self.events.values()),
            [self.markets[terms.ticker].save() for event in self.events.values() for terms in event.markets],
            [account.save() for account in self.accounts.values()], list(self._groups.values()),
            self.fees_collected, self.fee_changes, self._pauses, self._agenda,
        )  # fmt: skip

    def open_account(
        self, account_id: str, cash: Mapping[int, Cash], precision: Precision, *, is_crowd: bool = False
    ) -> Account:
        """Open an account with cash (1e-6 dollars) by shard."""
        account = Account(account_id, cash, precision, is_crowd=is_crowd)
        account.record_balance(self._now)
        self.accounts[account_id] = account
        return account

    def advance(self, now_ms: int) -> None:
        """Let time pass: whatever is due by then happens at its own time. Time that runs backwards is ignored."""
        while (entry := self._agenda.pop(now_ms)) is not None:
            due_ms, due, subject = entry
            self._now = max(self._now, due_ms)
            match due:
                case Due.EXPIRE:
                    self._expire(subject, due_ms)
                case Due.FEES:
                    self._apply_fees(subject)
                case Due.PAUSE | Due.RESUME:
                    self._turn_weekly_pause(due, due_ms)
                case _:
                    market = self.markets.get(subject)
                    if market is not None:
                        self._happen(market, due, due_ms)
        self._now = max(self._now, now_ms)

    def _expire(self, order_id: str, due_ms: int) -> None:
        entry = self._resting.get(order_id)
        if entry is not None and entry[1].expiration_ms == due_ms:
            self._withdraw(*entry, "ExpiryCancel", own=False)

    def _happen(self, market: MarketState, due: Due, due_ms: int) -> None:
        """What is due for a market, if it still is: terms and results may have changed since it was noted."""
        before_close = (MarketStatus.INITIALIZED, MarketStatus.INACTIVE, MarketStatus.ACTIVE)
        if due is Due.OPEN and market.status is MarketStatus.INITIALIZED:
            market.status = MarketStatus.ACTIVE
        elif due is Due.CLOSE and market.terms.close_ms == due_ms and market.status in before_close:
            self._close(market)
        elif due is Due.CLOSE_CANCEL and market.status is MarketStatus.CLOSED:
            self._end_closing(market)
        elif due is Due.FINALIZE and market.finalize_ms == due_ms and market.payout is not None:
            market.finalize_ms = None
            self._finalize(market, market.payout)
        elif due is Due.WAIVER_ENDS:
            self._reprice(market)
