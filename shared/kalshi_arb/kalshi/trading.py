"""``ports.Trading`` on the REST API. Everything sent is fill-or-kill or immediate-or-cancel."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from kalshi_arb.domain.errors import ExchangeError, StoreError
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.portfolio import Fill, OrderReport, OrderRequest, Settlement
from kalshi_arb.kalshi.answers import TOO_MANY_REQUESTS, refusal_of_order
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import AuthError, RejectedError, RetryableError, UnknownOutcomeError
from kalshi_arb.kalshi.mapping import to_balances, to_fill, to_report, to_settlement
from kalshi_arb.kalshi.markets import Markets
from kalshi_arb.kalshi.models.orders import PlacedWire
from kalshi_arb.kalshi.order_caps import OrderCaps
from kalshi_arb.kalshi.orders import Orders
from kalshi_arb.kalshi.portfolio import Portfolio
from kalshi_arb.kalshi.rate_limit import Use
from kalshi_arb.kalshi.requests import NewOrder, purchase

FILL_TICKERS_PER_CALL = 100
# Above this many tickers one unfiltered listing is cheaper than a call for each: orders filter by one ticker only.
ORDER_CALLS = 5
# The filter counts whole seconds of the exchange's clock, ours may be ahead of it.
SINCE_MARGIN_S = 5


class KalshiTrading:
    """Our own orders, fills and cash in domain terms.

    :param use: what its orders are for: only cancels and unwinds may spend the tokens that are kept back
    :param caps: the order groups that its orders belong to; None for none, as an unwind must run whatever was bought
    """

    def __init__(self, client: RestClient, use: Use = Use.OPENING, caps: OrderCaps | None = None) -> None:
        self._orders = Orders(client)
        self._caps = caps
        self._portfolio = Portfolio(client)
        self._markets = Markets(client)
        self._use = use

    def place(self, orders: Sequence[OrderRequest], leave_by_ms: int | None = None) -> list[OrderReport]:
        """Send one order, or several as one batch; one report per order, in order.

        A definite refusal is a report with the exchange's code (a killed fill-or-kill is one). A duplicate client
        order id is reported as ``order_already_exists``: the first order with that id may have traded, so ask.

        :raises AuthError: key, signature or scope refused; nothing was placed.
        :raises RetryableError: nothing was placed.
        :raises UnknownOutcomeError: at least one order may or may not have traded.
        """
        if not orders:
            return []
        placed: Sequence[PlacedWire | ExchangeError]
        asked = self._asked(orders, leave_by_ms)
        try:
            if len(asked) == 1:
                placed = [self._orders.create(asked[0], self._use)]
            else:
                placed = self._orders.create_batch(asked, self._use)
        except AuthError:
            raise
        except RejectedError as error:
            code = refusal_of_order(error.code, error.status)
            self._note_refusals(orders, [error] * len(orders))
            return [OrderReport(order.client_order_id, None, Count(0), code) for order in orders]
        self._note_refusals(orders, placed)
        return [_report(order, wire) for order, wire in zip(orders, placed, strict=True)]

    def _asked(self, orders: Sequence[OrderRequest], leave_by_ms: int | None) -> list[NewOrder]:
        if self._caps is None:
            return [purchase(order) for order in orders]
        groups = self._caps.groups_of({order.shard for order in orders}, leave_by_ms)
        return [replace(purchase(order), group_id=groups[order.shard]) for order in orders]

    def _note_refusals(self, orders: Sequence[OrderRequest], answers: Sequence[PlacedWire | ExchangeError]) -> None:
        if self._caps is None:
            return
        refused = {
            (order.shard, answer.code)
            for order, answer in zip(orders, answers, strict=True)
            if isinstance(answer, RejectedError)
        }
        for shard, code in sorted(refused):
            # The answers stand whether or not this can be kept: the next refusal says it again.
            with suppress(StoreError):
                self._caps.note_refusal(shard, code)

    def find_orders(self, tickers: Sequence[str], since_ms: int) -> dict[str, OrderReport]:
        """Our orders on these markets since then (with a margin of seconds), by client order id. Reads lag writes:
        absence means something only once :meth:`user_data_ms` has passed the send."""
        wanted = set(tickers)
        filters: Sequence[str | None] = sorted(wanted) if len(wanted) <= ORDER_CALLS else [None]
        found: dict[str, OrderReport] = {}
        for ticker in filters:
            for wire in self._orders.orders(ticker=ticker, min_ts=_since(since_ms)):
                # Nothing of ours rests: an order that seems to was read before its end, so it is not there yet.
                if wire.ticker in wanted and wire.client_order_id and wire.status != "resting":
                    found[wire.client_order_id] = to_report(wire)
        return found

    def fills(self, tickers: Sequence[str], since_ms: int) -> list[Fill]:
        """Our fills on these markets since then (with a margin of seconds), oldest first."""
        fills: dict[tuple[str, str], Fill] = {}
        for chunk in _chunks(sorted(set(tickers)), FILL_TICKERS_PER_CALL):
            for wire in self._portfolio.fills(tickers=chunk, min_ts=_since(since_ms)):
                # Pages shift while new fills arrive: the same fill can come twice.
                fills[wire.trade_id, wire.order_id] = to_fill(wire)
        return sorted(fills.values(), key=lambda fill: (fill.created_ms, fill.trade_id, fill.order_id))

    def user_data_ms(self) -> int:
        """How far orders, fills, positions and balance have caught up with writes (UTC milliseconds)."""
        return self._markets.user_data_ms()

    def balance(self) -> dict[int, Cash]:
        """Cash by shard."""
        return to_balances(self._portfolio.balance())

    def positions(self) -> dict[str, Count]:
        """Signed net positions, zeros left out."""
        pages = self._portfolio.position_pages(count_filter="position")
        return {wire.ticker: wire.position_fp for page in pages for wire in page.market_positions if wire.position_fp}

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Payments of settled positions since then (with a margin of seconds), oldest first."""
        paid = {wire.ticker: to_settlement(wire) for wire in self._portfolio.settlements(min_ts=_since(since_ms))}
        return sorted(paid.values(), key=lambda settlement: (settlement.settled_ms, settlement.ticker))


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _since(since_ms: int) -> int:
    return max(0, since_ms // 1000 - SINCE_MARGIN_S)


def _report(order: OrderRequest, wire: PlacedWire | ExchangeError) -> OrderReport:
    if isinstance(wire, RejectedError):
        return OrderReport(order.client_order_id, None, Count(0), refusal_of_order(wire.code, None))
    if isinstance(wire, RetryableError):
        # Of this order alone: others of its batch may have been placed.
        return OrderReport(order.client_order_id, None, Count(0), TOO_MANY_REQUESTS)
    if isinstance(wire, ExchangeError):
        raise wire
    if wire.client_order_id not in (None, order.client_order_id):
        raise UnknownOutcomeError(f"order {order.client_order_id} was answered as {wire.client_order_id}")
    if wire.fill_count > order.count:
        raise UnknownOutcomeError(f"order {order.client_order_id} for {order.count} reports {wire.fill_count} filled")
    return OrderReport(order.client_order_id, wire.order_id, wire.fill_count, None)
