"""What the exchange has published so far and its books no longer show: trades, quotes by the minute, old markets.

It listens to what the core emits and looks at the books whenever something was sent, so its candles know every quote
that a reader of the exchange could have seen. It begins with the process: an exchange that goes on from its disk keeps
every account, order and fill, but the public trades and candles from before are gone.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged, BookReplaced, Emission, EventListed, Traded
from infra.exchange.market import MarketState
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, complement

MINUTE_S = 60
LIVE_WINDOW_MS = 14 * 24 * 3_600_000
"""How long data stays on the live endpoints: two weeks."""

_TRADES = 50_000
_OLD_MARKETS = 20_000


@dataclass(slots=True)
class Span:
    """First, lowest, highest and last of a price over a period."""

    open: Price
    low: Price
    high: Price
    close: Price

    @classmethod
    def at(cls, price: Price) -> "Span":
        """A period in which the price stands still."""
        return cls(price, price, price, price)

    def move(self, price: Price) -> None:
        """The price is another one now."""
        self.low, self.high, self.close = min(self.low, price), max(self.high, price), price

    def then(self, later: "Span") -> "Span":
        """This period and the one after it as one."""
        return Span(self.open, min(self.low, later.low), max(self.high, later.high), later.close)


@dataclass(slots=True)
class Candle:
    """One period of one market, ending at ``end_s`` (Unix seconds). ``price`` is None without a trade, ``paid`` the sum
    of price times count of its trades, ``previous`` the last price before it."""

    end_s: int
    bid: Span
    ask: Span
    previous: Price | None
    price: Span | None = None
    volume: Count = Count(0)
    paid: int = 0
    open_interest: Count = Count(0)

    def then(self, later: "Candle", end_s: int) -> "Candle":
        """This period and a later one as one that ends at ``end_s``."""
        price = later.price if self.price is None else self.price.then(later.price) if later.price else self.price
        return Candle(
            end_s, self.bid.then(later.bid), self.ask.then(later.ask), self.previous, price,
            Count(self.volume + later.volume), self.paid + later.paid, later.open_interest,
        )  # fmt: skip


@dataclass(slots=True)
class _Chart:
    minutes: list[Candle] = field(default_factory=list)
    last_price: Price | None = None


def quotes(market: MarketState) -> tuple[Price, Price]:
    """Best bid and ask for YES; 0 and a dollar where a side is empty."""
    yes, no = market.book.yes.best, market.book.no.best
    return (yes.price if yes else Price(0)), (complement(no.price) if no else ONE_DOLLAR)


class Past:
    """Listens to one core.

    :param window_ms: how long trades, orders and settled markets stay on the live endpoints
    """

    def __init__(self, core: ExchangeCore, window_ms: int = LIVE_WINDOW_MS) -> None:
        self._core = core
        self._window_ms = window_ms
        self._trades: deque[Traded] = deque(maxlen=_TRADES)
        self._charts: dict[str, _Chart] = {}
        self._listed: dict[str, MarketState] = dict(core.markets)
        self._dropped: dict[str, MarketState] = {}
        self._dropped_ms = 0

    @property
    def cutoff_ms(self) -> int:
        """What is older than this is on the historical endpoints only (UTC milliseconds)."""
        return self._core.now_ms - self._window_ms

    @property
    def settled_cutoff_ms(self) -> int:
        """The same for markets by their settlement: it moves past every market that is no longer listed."""
        return max(self.cutoff_ms, self._dropped_ms)

    @property
    def trades(self) -> Sequence[Traded]:
        """Public trades, oldest first."""
        return self._trades

    @property
    def old_markets(self) -> list[MarketState]:
        """Settled markets that are on the historical endpoints only."""
        return [market for market in (*self._dropped.values(), *self._listed.values()) if not self.is_live(market)]

    def old_market(self, ticker: str) -> MarketState | None:
        """One of them."""
        market = self._dropped.get(ticker) or self._listed.get(ticker)
        return None if market is None or self.is_live(market) else market

    def is_live(self, market: MarketState) -> bool:
        """Whether a market, if it is listed, is on the live endpoints."""
        return market.settled_ms is None or market.settled_ms >= self.settled_cutoff_ms

    def hear(self, emissions: Sequence[Emission]) -> None:
        """Take note of what happened, before anyone can ask about it."""
        # As many may be new as were forgotten at the same time.
        has_new = any(isinstance(emission, EventListed) for emission in emissions)
        if has_new or len(self._listed) != len(self._core.markets):
            self._note_listings()
        touched: dict[str, None] = {}
        for emission in emissions:
            match emission:
                case Traded():
                    self._trades.append(emission)
                    touched[emission.ticker] = None
                    self._note_trade(emission)
                case BookChanged() | BookReplaced():
                    touched[emission.ticker] = None
        for ticker in touched:
            market = self._core.markets.get(ticker)
            if market is not None:
                self._note_quotes(market)

    def candles(self, ticker: str, start_s: int, end_s: int, minutes: int) -> list[Candle]:
        """The candles that end from ``start_s`` to ``end_s``, of ``minutes`` each. A period in which nothing moved has
        none."""
        chart = self._charts.get(ticker)
        if chart is None:
            return []
        period_s = minutes * MINUTE_S
        found: dict[int, Candle] = {}
        for candle in chart.minutes:
            end = -(-candle.end_s // period_s) * period_s
            if start_s <= end <= end_s:
                earlier = found.get(end)
                found[end] = earlier.then(candle, end) if earlier else Candle(
                    end, candle.bid, candle.ask, candle.previous, candle.price, candle.volume, candle.paid,
                    candle.open_interest,
                )  # fmt: skip
        return list(found.values())

    def _note_listings(self) -> None:
        listed = self._core.markets
        for ticker, market in self._listed.items():
            if ticker not in listed:
                self._dropped[ticker] = market
                self._dropped_ms = max(self._dropped_ms, (market.settled_ms or 0) + 1)
        self._listed = dict(listed)
        for ticker in list(self._dropped)[: max(0, len(self._dropped) - _OLD_MARKETS)]:
            del self._dropped[ticker]
            self._charts.pop(ticker, None)

    def _minute(self, market: MarketState) -> Candle:
        chart = self._charts.setdefault(market.ticker, _Chart())
        end_s = (self._core.now_ms // 1_000 // MINUTE_S + 1) * MINUTE_S
        if not chart.minutes or chart.minutes[-1].end_s < end_s:
            if chart.minutes:
                bid, ask = chart.minutes[-1].bid.close, chart.minutes[-1].ask.close
            else:
                bid, ask = quotes(market)
            chart.minutes.append(Candle(end_s, Span.at(bid), Span.at(ask), chart.last_price))
        return chart.minutes[-1]

    def _note_trade(self, trade: Traded) -> None:
        market = self._core.markets.get(trade.ticker)
        if market is None:
            return
        candle = self._minute(market)
        if candle.price is None:
            candle.price = Span.at(trade.yes_price)
        else:
            candle.price.move(trade.yes_price)
        candle.volume = Count(candle.volume + trade.count)
        candle.paid += trade.yes_price * trade.count
        self._charts[trade.ticker].last_price = trade.yes_price

    def _note_quotes(self, market: MarketState) -> None:
        candle = self._minute(market)
        bid, ask = quotes(market)
        candle.bid.move(bid)
        candle.ask.move(ask)
        candle.open_interest = market.open_interest
