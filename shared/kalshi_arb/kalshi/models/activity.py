"""Trades and candles, of now and of long ago."""

from kalshi_arb.kalshi.wire import PageModel, WireCash, WireModel, WirePrice, WireSize, WireTime


class TradeWire(WireModel):
    """A public trade."""

    ignored = frozenset({"taker_side"})

    trade_id: str
    ticker: str
    count_fp: WireSize
    yes_price_dollars: WirePrice
    no_price_dollars: WirePrice
    taker_outcome_side: str
    taker_book_side: str
    created_time: WireTime
    is_block_trade: bool | None = None


class TradesReply(PageModel):
    """One page of ``GET /markets/trades`` or ``GET /historical/trades``."""

    trades: list[TradeWire]


class QuoteRangeWire(WireModel):
    """First, lowest, highest and last quote of a period, dollars with up to six decimals."""

    open_dollars: WireCash
    low_dollars: WireCash
    high_dollars: WireCash
    close_dollars: WireCash


class PriceRangeOfTradesWire(WireModel):
    """Traded prices of a period; null when nothing traded. ``mean_dollars`` is for display."""

    open_dollars: WireCash | None = None
    low_dollars: WireCash | None = None
    high_dollars: WireCash | None = None
    close_dollars: WireCash | None = None
    mean_dollars: WireCash | None = None
    previous_dollars: WireCash | None = None
    min_dollars: WireCash | None = None
    max_dollars: WireCash | None = None


class CandleWire(WireModel):
    """One period of a market; ``end_period_ts`` in Unix seconds."""

    end_period_ts: int
    yes_bid: QuoteRangeWire
    yes_ask: QuoteRangeWire
    price: PriceRangeOfTradesWire
    volume_fp: WireSize
    open_interest_fp: WireSize


class CandlesReply(WireModel):
    """``GET /series/{series}/markets/{ticker}/candlesticks``."""

    ticker: str
    candlesticks: list[CandleWire]


class MarketCandlesWire(WireModel):
    """The candles of one of several markets."""

    market_ticker: str
    candlesticks: list[CandleWire]


class ManyCandlesReply(WireModel):
    """``GET /markets/candlesticks``."""

    markets: list[MarketCandlesWire]


class EventCandlesReply(WireModel):
    """``GET /series/{series}/events/{event}/candlesticks``: one list of candles for each ticker, in order."""

    market_tickers: list[str]
    market_candlesticks: list[list[CandleWire]]
    adjusted_end_ts: int | None = None


class PastQuoteRangeWire(WireModel):
    """As :class:`QuoteRangeWire`, in the historical endpoints' names."""

    open: WireCash
    low: WireCash
    high: WireCash
    close: WireCash


class PastPriceRangeWire(WireModel):
    """As :class:`PriceRangeOfTradesWire`, in the historical endpoints' names."""

    open: WireCash | None
    low: WireCash | None
    high: WireCash | None
    close: WireCash | None
    mean: WireCash | None
    previous: WireCash | None


class PastCandleWire(WireModel):
    """As :class:`CandleWire`, in the historical endpoints' names."""

    end_period_ts: int
    yes_bid: PastQuoteRangeWire
    yes_ask: PastQuoteRangeWire
    price: PastPriceRangeWire
    volume: WireSize
    open_interest: WireSize


class PastCandlesReply(WireModel):
    """``GET /historical/markets/{ticker}/candlesticks``."""

    ticker: str
    candlesticks: list[PastCandleWire]


class CutoffReply(WireModel):
    """``GET /historical/cutoff``: what is older than these is only in the historical endpoints."""

    market_settled_ts: WireTime
    trades_created_ts: WireTime
    orders_updated_ts: WireTime
    market_positions_last_updated_ts: WireTime | None = None
