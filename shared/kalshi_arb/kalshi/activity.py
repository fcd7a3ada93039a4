"""Public trades and candles. Times given are Unix seconds; no call needs a key."""

from collections.abc import Iterator, Sequence

from kalshi_arb.kalshi.client import Endpoint, Kind, RestClient
from kalshi_arb.kalshi.models import activity as models
from kalshi_arb.kalshi.requests import query

PAGE = 1_000

_TRADES = Endpoint("GET", "markets/trades", Kind.LISTING)
_CANDLES = Endpoint("GET", "series/{series_ticker}/markets/{ticker}/candlesticks", Kind.LISTING)
_EVENT_CANDLES = Endpoint("GET", "series/{series_ticker}/events/{event_ticker}/candlesticks", Kind.LISTING)
_MANY_CANDLES = Endpoint("GET", "markets/candlesticks", Kind.LISTING)


class Activity:
    """What happened in markets. All raise an ``ExchangeError`` when the exchange cannot answer."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    def trades(
        self,
        *,
        ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        is_block_trade: bool | None = None,
    ) -> Iterator[models.TradeWire]:
        """Public trades, newest first."""
        narrowed = query(ticker=ticker, min_ts=min_ts, max_ts=max_ts, is_block_trade=is_block_trade, limit=PAGE)
        for page in self._client.pages(_TRADES, models.TradesReply, narrowed):
            yield from page.trades

    def candles(
        self, series_ticker: str, ticker: str, *, start_ts: int, end_ts: int, period_minutes: int
    ) -> list[models.CandleWire]:
        """Candles of one market; ``period_minutes`` is 1, 60 or 1440."""
        narrowed = query(start_ts=start_ts, end_ts=end_ts, period_interval=period_minutes)
        return self._client.read(_CANDLES, models.CandlesReply, narrowed, series_ticker, ticker).candlesticks

    def event_candles(
        self, series_ticker: str, event_ticker: str, *, start_ts: int, end_ts: int, period_minutes: int
    ) -> models.EventCandlesReply:
        """Candles of all of an event's markets."""
        narrowed = query(start_ts=start_ts, end_ts=end_ts, period_interval=period_minutes)
        return self._client.read(_EVENT_CANDLES, models.EventCandlesReply, narrowed, series_ticker, event_ticker)

    def many_candles(
        self, tickers: Sequence[str], *, start_ts: int, end_ts: int, period_minutes: int
    ) -> dict[str, list[models.CandleWire]]:
        """Candles of at most 100 markets, 10,000 in all."""
        narrowed = query(market_tickers=tickers, start_ts=start_ts, end_ts=end_ts, period_interval=period_minutes)
        reply = self._client.read(_MANY_CANDLES, models.ManyCandlesReply, narrowed)
        return {row.market_ticker: row.candlesticks for row in reply.markets}
