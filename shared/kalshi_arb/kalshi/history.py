"""What is older than the cutoff: only here, no longer in the live endpoints. Times are Unix seconds."""

from collections.abc import Iterator, Sequence

from kalshi_arb.kalshi.client import Endpoint, Kind, RestClient
from kalshi_arb.kalshi.models.account import PositionsReply, PositionWire
from kalshi_arb.kalshi.models.activity import CutoffReply, PastCandlesReply, PastCandleWire, TradesReply, TradeWire
from kalshi_arb.kalshi.models.market import MarketReply, MarketsReply, MarketWire
from kalshi_arb.kalshi.models.orders import FillsReply, FillWire, OrdersReply, OrderWire
from kalshi_arb.kalshi.requests import query

PAGE = 1_000

_CUTOFF = Endpoint("GET", "historical/cutoff")
_MARKETS = Endpoint("GET", "historical/markets", Kind.LISTING)
_MARKET = Endpoint("GET", "historical/markets/{ticker}")
_CANDLES = Endpoint("GET", "historical/markets/{ticker}/candlesticks", Kind.LISTING)
_TRADES = Endpoint("GET", "historical/trades", Kind.LISTING)
_FILLS = Endpoint("GET", "historical/fills", Kind.LISTING, signed=True)
_ORDERS = Endpoint("GET", "historical/orders", Kind.LISTING, signed=True)
_POSITIONS = Endpoint("GET", "historical/positions", Kind.LISTING, signed=True)


class History:
    """All raise an ``ExchangeError`` when the exchange cannot answer."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def cutoff(self) -> CutoffReply:
        """Where the live endpoints end."""
        return self._client.read(_CUTOFF, CutoffReply)

    def markets(
        self,
        *,
        tickers: Sequence[str] = (),
        event_ticker: str | None = None,
        series_ticker: str | None = None,
        mve_filter: str | None = None,
    ) -> Iterator[MarketWire]:
        """Markets settled before the cutoff."""
        narrowed = query(
            tickers=tickers, event_ticker=event_ticker, series_ticker=series_ticker, mve_filter=mve_filter, limit=PAGE
        )
        for page in self._client.pages(_MARKETS, MarketsReply, narrowed):
            yield from page.markets

    def market(self, ticker: str) -> MarketWire:
        """One market."""
        return self._client.read(_MARKET, MarketReply, (), ticker).market

    def candles(self, ticker: str, *, start_ts: int, end_ts: int, period_minutes: int) -> list[PastCandleWire]:
        """Candles of a market; ``period_minutes`` is 1, 60 or 1440."""
        narrowed = query(start_ts=start_ts, end_ts=end_ts, period_interval=period_minutes)
        return self._client.read(_CANDLES, PastCandlesReply, narrowed, ticker).candlesticks

    def trades(
        self, *, ticker: str | None = None, min_ts: int | None = None, max_ts: int | None = None
    ) -> Iterator[TradeWire]:
        """Public trades."""
        narrowed = query(ticker=ticker, min_ts=min_ts, max_ts=max_ts, limit=PAGE)
        for page in self._client.pages(_TRADES, TradesReply, narrowed):
            yield from page.trades

    def fills(
        self, *, ticker: str | None = None, min_ts: int | None = None, max_ts: int | None = None
    ) -> Iterator[FillWire]:
        """Our fills."""
        narrowed = query(ticker=ticker, min_ts=min_ts, max_ts=max_ts, limit=PAGE)
        for page in self._client.pages(_FILLS, FillsReply, narrowed):
            yield from page.fills

    def orders(
        self, *, ticker: str | None = None, min_ts: int | None = None, max_ts: int | None = None
    ) -> Iterator[OrderWire]:
        """Our orders."""
        narrowed = query(ticker=ticker, min_ts=min_ts, max_ts=max_ts, limit=PAGE)
        for page in self._client.pages(_ORDERS, OrdersReply, narrowed):
            yield from page.orders

    def positions(self, *, ticker: str | None = None, event_ticker: str | None = None) -> Iterator[PositionWire]:
        """Our positions."""
        for page in self._client.pages(
            _POSITIONS, PositionsReply, query(ticker=ticker, event_ticker=event_ticker, limit=PAGE)
        ):
            yield from page.market_positions
