"""What the exchange consists of, and the questions that every part of it asks. Nothing here changes an order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.exchange.account import Account
from infra.exchange.agenda import Agenda
from infra.exchange.emissions import Emission, Traded
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.groups import OrderGroup
from infra.exchange.market import MarketState
from infra.exchange.orders import Order
from infra.exchange.terms import EventTerms, SeriesTerms
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price


@dataclass(frozen=True, slots=True)
class ScheduledFees:
    """A change of fees: of a series, or of an event's override (None clears it), from ``from_ms`` on.

    Exactly one of the two tickers is set. UTC milliseconds.
    """

    change_id: str
    series_ticker: str | None
    event_ticker: str | None
    schedule: FeeSchedule | None
    from_ms: int


@dataclass(slots=True)
class Pauses:
    """Why nobody may trade: by hand, by the weekly hours, or because the whole exchange stands still.

    ``weekly_ms`` is when the weekly pause next begins or ends, None while there is none.
    """

    trading: bool = False
    exchange: bool = False
    weekly: bool = False
    weekly_ms: int | None = None


class CoreState:
    """Listings, accounts, orders and what is due.

    :param now_ms: the exchange's first moment, UTC milliseconds
    :param ids: gives a new identifier for every order, trade, market, group, transfer and fee change
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
        self.fee_changes: list[ScheduledFees] = []
        self._pauses = Pauses()
        self._groups: dict[str, OrderGroup] = {}
        self._resting: dict[str, tuple[MarketState, Order]] = {}
        self._closing: dict[str, tuple[MarketState, Order]] = {}
        self._agenda = Agenda()
        self._emitted: list[Emission] = []
        self._observers: list[Callable[[Traded], None]] = []

    @property
    def now_ms(self) -> int:
        """The exchange's time, UTC milliseconds."""
        return self._now

    @property
    def exchange_active(self) -> bool:
        """Whether anything can be asked of the exchange: false in an exchange pause, when cancels fail as well."""
        return not self._pauses.exchange

    @property
    def trading_active(self) -> bool:
        """Whether orders can be placed and amended, apart from the state of their market."""
        return not (self._pauses.exchange or self._pauses.trading or self._pauses.weekly)

    def trades_until(self, now_ms: int) -> bool:
        """Whether trading is not paused now and, as far as it is known, not until ``now_ms`` either."""
        begins_ms = self._pauses.weekly_ms
        return self.trading_active and (begins_ms is None or now_ms < begins_ms)

    @property
    def pauses_weekly(self) -> bool:
        """Whether trading pauses every Thursday."""
        return self._pauses.weekly_ms is not None

    def is_open(self, ticker: str) -> bool:
        """Whether a market takes orders at this moment."""
        market = self.markets.get(ticker)
        return market is not None and market.status is MarketStatus.ACTIVE and self.trading_active

    def drain(self) -> list[Emission]:
        """Everything that happened since the last call, in order."""
        emitted, self._emitted = self._emitted, []
        return emitted

    def observe(self, observer: Callable[[Traded], None]) -> None:
        """Have ``observer`` called with every trade of an order, after that order is done and before the next one."""
        self._observers.append(observer)

    def is_resting(self, order_id: str) -> bool:
        """Whether an order is on a book."""
        return order_id in self._resting

    def resting(self, order_id: str) -> tuple[MarketState, Order] | None:
        """An order that is on a book, with its market."""
        return self._resting.get(order_id)

    def queue_position(self, order_id: str) -> Count:
        """Contracts that trade before a resting order does. :raises ExchangeRefusalError: it does not rest."""
        entry = self._resting.get(order_id)
        if entry is None:
            raise ExchangeRefusalError(404, "not_found")
        return entry[0].ahead_of(entry[1])

    def _all_resting(self) -> Iterator[tuple[MarketState, Order]]:
        """Every order on a book, in an order that a restart does not change."""
        for market in self.markets.values():
            for order in market.resting():
                yield market, order

    def _market(self, ticker: str) -> MarketState:
        market = self.markets.get(ticker)
        if market is None:
            raise ExchangeRefusalError(404, "market_not_found")
        return market

    def _account(self, account_id: str) -> Account:
        account = self.accounts.get(account_id)
        if account is None:
            raise ExchangeRefusalError(404, "not_found", "no such account")
        return account

    def _check_exchange(self) -> None:
        if not self.exchange_active:
            raise ExchangeRefusalError(400, "exchange_paused")

    def _check_trading(self) -> None:
        self._check_exchange()
        if not self.trading_active:
            raise ExchangeRefusalError(400, "trading_paused")

    def _yes_left(self, event: EventTerms) -> Price:
        """What the YES contracts of an event with at most one YES can still pay in all."""
        if not event.mutually_exclusive:
            return ONE_DOLLAR
        settled = (self.markets[terms.ticker] for terms in event.markets)
        paid = sum(m.payout for m in settled if m.status is MarketStatus.FINALIZED and m.payout is not None)
        return Price(max(0, ONE_DOLLAR - paid))

    def _fees_of(self, market: MarketState) -> FeeSchedule:
        """What a market charges at this moment: nothing while a waiver holds, else its event's or series' schedule."""
        schedule = market.event.fees_override or market.series.fees
        waiver = market.terms.fee_waiver_until_ms
        if waiver is not None and self._now < waiver:
            return FeeSchedule(schedule.fee_type, 0)
        return schedule
