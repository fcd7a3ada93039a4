"""Mode paper: :class:`kalshi_arb.ports.Trading` over the exchange's real books, with fills of our own assumption.

Nothing is ever sent to the exchange. How an order fills is in :mod:`kalshi_arb.domain.paper`; here is what surrounds
it: the reads, the one write that decides, and what a failure of either means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ExchangeError, StoreError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.paper import LATENCY_MS, PaperAccount, PaperOrder, Seen, match
from kalshi_arb.domain.portfolio import AccountOrder, Fill, OrderReport, OrderRequest, Settlement
from kalshi_arb.kalshi.answers import ORDER_ALREADY_EXISTS
from kalshi_arb.kalshi.errors import RetryableError, UnknownOutcomeError
from kalshi_arb.ports import MarketState, MarketTerms, PaperStore

SHARDS = 4
"""Kalshi's shards are 0 to 3. Each has the opening cash; an order on any other has none."""
NOT_ACTIVE = "market_not_active"
PLACE_LIMIT_MS = 4_000
"""A placement that took longer than this writes nothing: by then its absence may be taken for its end."""
_ATTEMPTS = 8
_NO_FEES = FeeSchedule(FeeType.UNKNOWN)


class PaperTrading:
    """``ports.Trading`` on paper. The store is its own truth, so its reads never trail its writes.

    :param opening_cash: on each of the ``SHARDS`` shards, 1e-6 dollars
    :param precision: the account's balance grid
    :param latency_ms: how long an order is under way before the book that it meets is read
    """

    def __init__(
        self,
        *,
        market: MarketTerms,
        store: PaperStore,
        clock: Clock,
        opening_cash: Cash,
        precision: Precision,
        latency_ms: int = LATENCY_MS,
    ) -> None:
        self._market = market
        self._store = store
        self._clock = clock
        self._precision = precision
        self._latency_ms = latency_ms
        self.opening = dict.fromkeys(range(SHARDS), opening_cash)

    def place(self, orders: Sequence[OrderRequest], leave_by_ms: int | None = None) -> list[OrderReport]:
        """Fill one batch against the books that it meets after the latency, and write it whole or not at all.

        Each order meets its own market's book, read for it alone, one after another as the exchange works a batch.

        A refused order leaves no trace. A repeated client order id is ``order_already_exists``, as at the exchange.

        :raises RetryableError: nothing was placed.
        :raises UnknownOutcomeError: the write was not answered, so the whole batch may or may not be there.
        """
        if not orders:
            return []
        began_ms = self._clock.now_ms()
        try:
            terms = self._sent(orders)
        except ExchangeError as error:
            raise RetryableError(f"nothing was placed on paper: {error}") from error
        if leave_by_ms is not None and self._clock.now_ms() > leave_by_ms:
            raise RetryableError("nothing was placed on paper: the books took too long to read")
        self._clock.sleep(self._latency_ms / 1_000)
        for _ in range(_ATTEMPTS):
            try:
                account, reports, new = self._matched(orders, terms)
            except (ExchangeError, StoreError) as error:
                raise RetryableError(f"nothing was placed on paper: {error}") from error
            if not new:
                return reports
            if self._clock.now_ms() - began_ms > PLACE_LIMIT_MS:
                raise RetryableError("nothing was placed on paper: the books took too long to read")
            try:
                if self._store.append(account.version, new, ()):
                    return reports
            except StoreError as error:
                raise UnknownOutcomeError(f"the paper order may or may not be written: {error}") from error
        raise RetryableError("nothing was placed on paper: others kept trading at the same moment")

    def find_orders(self, tickers: Sequence[str], since_ms: int) -> dict[str, OrderReport]:
        """Accepted orders on these markets since then, by client order id."""
        wanted = frozenset(tickers)
        return {
            order.request.client_order_id: _report(order)
            for order in self._store.read().orders
            if order.request.ticker in wanted and order.created_ms >= since_ms
        }

    def fills(self, tickers: Sequence[str], since_ms: int) -> list[Fill]:
        """Fills on these markets since then, oldest first."""
        wanted = frozenset(tickers)
        found = [
            fill
            for order in self._store.read().orders
            for fill in order.fills
            if fill.ticker in wanted and fill.created_ms >= since_ms
        ]
        return sorted(found, key=lambda fill: (fill.created_ms, fill.trade_id))

    def account_orders(self, since_ms: int) -> list[AccountOrder]:
        """Accepted orders since then."""
        return [
            AccountOrder(
                order.order_id, order.request.client_order_id, order.request.ticker, order.filled, False,
                order.created_ms,
            )
            for order in self._store.read().orders
            if order.created_ms >= since_ms
        ]  # fmt: skip

    def account_fills(self, since_ms: int) -> list[Fill]:
        """Fills on all markets since then, oldest first."""
        found = [fill for order in self._store.read().orders for fill in order.fills if fill.created_ms >= since_ms]
        return sorted(found, key=lambda fill: (fill.created_ms, fill.trade_id))

    def user_data_ms(self) -> int:
        """Now (UTC milliseconds)."""
        return self._clock.now_ms()

    def balance(self) -> dict[int, Cash]:
        """Paper cash by shard."""
        return self._store.read().cash(self.opening)

    def positions(self) -> dict[str, Count]:
        """Signed net positions, zeros left out."""
        return self._store.read().positions()

    def fees_paid(self) -> Cash:
        """The fees of all fills, 1e-6 dollars."""
        return Cash(sum(fill.fee for order in self._store.read().orders for fill in order.fills))

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Pay what has been finalized meanwhile, each market once, then every payment since then, oldest first.

        :raises ExchangeError: the markets could not be read; nothing was paid.
        """
        for _ in range(_ATTEMPTS):
            account = self._store.read()
            held = sorted(account.positions())
            states = self._market.market_states(held) if held else {}
            now = self._clock.now_ms()
            due = [
                account.payment(ticker, states[ticker].yes_payout or Price(0), self._precision, now)
                for ticker in held
                if ticker in states and states[ticker].yes_payout is not None
            ]
            if not due:
                break
            self._store.append(account.version, (), due)
        paid = [payment for payment in account.settlements if payment.settled_ms >= since_ms]
        return sorted(paid, key=lambda payment: (payment.settled_ms, payment.ticker))

    def _sent(self, orders: Sequence[OrderRequest]) -> "_Terms":
        """What is known when the batch is sent. :raises ExchangeError: it could not be read."""
        tickers = list(dict.fromkeys(order.ticker for order in orders))
        states = self._market.market_states(tickers)
        fees: dict[str, FeeSchedule] = {}
        for event_ticker in {state.event_ticker for state in states.values()}:
            fees |= self._market.market_fees(event_ticker)
        # The books last: they are what changes fastest.
        return _Terms(states, fees, self._market.orderbooks(tickers))

    def _matched(
        self, orders: Sequence[OrderRequest], terms: "_Terms"
    ) -> tuple[PaperAccount, list[OrderReport], list[PaperOrder]]:
        """The account as it was read, a report for each order, and the orders to write."""
        read = account = self._store.read()
        settled = {payment.ticker for payment in account.settlements}
        known = {order.request.client_order_id for order in account.orders}
        reports: list[OrderReport] = []
        new: list[PaperOrder] = []
        for request in orders:
            state = terms.states.get(request.ticker)
            result: PaperOrder | str
            if request.client_order_id in known:
                result = ORDER_ALREADY_EXISTS
            elif state is None or state.status is not MarketStatus.ACTIVE or request.ticker in settled:
                result = NOT_ACTIVE
            else:
                met = self._market.orderbooks([request.ticker]).get(request.ticker)
                seen, schedule = Seen(terms.books.get(request.ticker), met), terms.fees.get(request.ticker, _NO_FEES)
                now = self._clock.now_ms()
                result = match(request, seen, schedule, self._precision, account, self.opening, now)
            if isinstance(result, str):
                reports.append(OrderReport(request.client_order_id, None, Count(0), result))
                continue
            known.add(request.client_order_id)
            account = replace(account, orders=(*account.orders, result))
            new.append(result)
            reports.append(_report(result))
        return read, reports, new


@dataclass(frozen=True, slots=True)
class _Terms:
    """A batch's markets as they were when it was sent."""

    states: Mapping[str, MarketState]
    fees: Mapping[str, FeeSchedule]
    books: Mapping[str, BookSnapshot]


def _report(order: PaperOrder) -> OrderReport:
    return OrderReport(order.request.client_order_id, order.order_id, order.filled, None)
