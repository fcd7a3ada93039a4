"""The best prices of one market with fees, as the screen keeps them.

Prices are in 1e-10 dollars for one contract: an ask is what one YES costs, a bid what selling one YES (buying one NO at
the complement) frees. The fee is the unrounded one, cut down: a lower bound of every real fee.
"""

from functools import cache

from kalshi_arb.detection.effective import ONE, Costs, costs_of
from kalshi_arb.detection.prices import NO_ASK, NO_BID
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule, Role
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR, Price, price_to_wire

# Above x10 the effective price is no longer sure to rise with the price; a lower multiplier is still a lower bound.
_MULTIPLIER_CAP = 10 * 10**MULTIPLIER_DECIMALS


def lower_bound(schedule: FeeSchedule) -> FeeSchedule | None:
    """The schedule that is counted with; None where no exact fee is known: no leg on such a market can be proved."""
    if not schedule.is_tradable():
        return None
    return FeeSchedule(schedule.fee_type, min(schedule.multiplier, _MULTIPLIER_CAP))


class Asks(dict[int, int]):
    """What one YES costs by the best ask (1e-4 dollars); a dollar stands for none. Nothing costs anything without
    ``costs``: no leg on such a market can be proved."""

    def __init__(self, costs: Costs | None) -> None:
        super().__init__({int(ONE_DOLLAR): NO_ASK})
        self._costs = costs

    def __missing__(self, ask: int) -> int:
        cost = self[ask] = self._costs[ask] if self._costs is not None else NO_ASK
        return cost


class Bids(dict[int, int]):
    """What selling one YES frees by the best bid (1e-4 dollars); 0 stands for none."""

    def __init__(self, costs: Costs | None) -> None:
        super().__init__({0: NO_BID})
        self._costs = costs

    def __missing__(self, bid: int) -> int:
        freed = self[bid] = ONE - self._costs[ONE_DOLLAR - bid] if self._costs is not None else NO_BID
        return freed


@cache
def _tables(schedule: FeeSchedule | None) -> tuple[Bids, Asks]:
    costs = costs_of(schedule) if schedule is not None else None
    return Bids(costs), Asks(costs)


class Quote:
    """The best levels of one market. ``known`` is false until a book was seen or since it went stale; ``bids`` and
    ``asks`` tell what a price on the book is with its fee."""

    __slots__ = ("_schedule", "ask", "asks", "bid", "bids", "book_ask", "book_bid", "crossed", "known", "ticker")

    def __init__(self, market: Market) -> None:
        self.ticker = market.ticker
        self._schedule = lower_bound(market.fees)
        self.bids, self.asks = _tables(self._schedule)
        self.known = False
        self.crossed = False
        self.ask = NO_ASK
        self.bid = NO_BID
        # Best bid and ask of YES as they stand on the book; 0 and a dollar on an empty side.
        self.book_bid = 0
        self.book_ask: int = ONE_DOLLAR

    def also(self, market: Market) -> None:
        """Two groups may know other terms while discovery runs: the cheaper fee is a bound for both."""
        other = lower_bound(market.fees)
        if other is None:
            return
        if self._schedule is None or other.coefficient(Role.TAKER) < self._schedule.coefficient(Role.TAKER):
            self._schedule = other
            self.bids, self.asks = _tables(other)

    def take(self, book_bid: int, book_ask: int) -> None:
        """Take over the best prices, both of YES; 0 and a dollar where a side is empty."""
        self.bid = self.bids[book_bid]
        self.ask = self.asks[book_ask]
        self.known = True
        self.crossed = book_bid >= book_ask
        self.book_bid, self.book_ask = book_bid, book_ask

    def leg(self, count: int) -> str:
        """A purchase at the best price in words: of YES where the count is positive, of NO where it is negative."""
        if count > 0:
            return f"buy YES {self.ticker} at {shown(self.book_ask)}"
        return f"buy NO {self.ticker} at {shown(ONE_DOLLAR - self.book_bid)}"


def shown(price: int) -> str:
    """A price or a sum of prices (1e-4 dollars) as the exchange writes it."""
    return price_to_wire(Price(price))
