"""``ports.AccountReads`` on the REST API: the whole account, live and historical."""

from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.portfolio import AccountOrder, Fill, Settlement
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.history import History
from kalshi_arb.kalshi.mapping import to_fill
from kalshi_arb.kalshi.models.orders import FillWire, OrderWire
from kalshi_arb.kalshi.orders import Orders
from kalshi_arb.kalshi.portfolio import Portfolio
from kalshi_arb.kalshi.trading import KalshiTrading

_RESTING = "resting"


class KalshiAccount:
    """All raise an ``ExchangeError`` when the exchange cannot answer. What is older than the cutoff is only in the
    history (Kalshi API documentation, historical data); the cutoff moves, so rows that come from both count once."""

    def __init__(self, client: RestClient) -> None:
        self._trading = KalshiTrading(client)
        self._orders = Orders(client)
        self._portfolio = Portfolio(client)
        self._history = History(client)

    def account_orders(self, since_ms: int) -> list[AccountOrder]:
        """All orders created since then, oldest first."""
        since = since_ms // 1000
        # The history last: an order that moves there meanwhile is in one of both.
        rows: list[OrderWire] = list(self._orders.orders(min_ts=since))
        if self._history.cutoff().orders_updated_ts > since_ms:
            rows += self._history.orders(min_ts=since)
        found = {wire.order_id: _order(wire) for wire in reversed(rows) if (wire.created_time or since_ms) >= since_ms}
        return sorted(found.values(), key=lambda order: (order.created_ms, order.order_id))

    def account_fills(self, since_ms: int) -> list[Fill]:
        """All fills since then, oldest first."""
        since = since_ms // 1000
        rows: list[FillWire] = list(self._portfolio.fills(min_ts=since))
        if self._history.cutoff().trades_created_ts > since_ms:
            rows += self._history.fills(min_ts=since)
        found = {(wire.trade_id, wire.order_id): to_fill(wire) for wire in reversed(rows)}
        fills = [fill for fill in found.values() if fill.created_ms >= since_ms]
        return sorted(fills, key=lambda fill: (fill.created_ms, fill.trade_id, fill.order_id))

    def user_data_ms(self) -> int:
        """How far orders, fills, positions and balance have caught up with writes (UTC milliseconds)."""
        return self._trading.user_data_ms()

    def balance(self) -> dict[int, Cash]:
        """Cash by shard."""
        return self._trading.balance()

    def positions(self) -> dict[str, Count]:
        """Signed net positions, zeros left out. One that is open is never in the history alone."""
        return self._trading.positions()

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Payments of settled positions since then (with a margin of seconds), oldest first."""
        return self._trading.settlements(since_ms)


def _order(wire: OrderWire) -> AccountOrder:
    return AccountOrder(
        wire.order_id, wire.client_order_id or "", wire.ticker, wire.fill_count_fp, wire.status == _RESTING,
        wire.created_time or 0,
    )  # fmt: skip
