"""The best prices of one market with fees, as the screen keeps them.

Prices are in 1e-10 dollars for one contract: an ask is what one YES costs, a bid what selling one YES (buying one NO at
the complement) frees. The fee is the unrounded one, cut down: a lower bound of every real fee.
"""

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


class Quote:
    """The best levels of one market. ``known`` is false until a book was seen or since it went stale."""

    __slots__ = ("_costs", "_schedule", "ask", "bid", "book_ask", "book_bid", "crossed", "known", "ticker")

    def __init__(self, market: Market) -> None:
        self.ticker = market.ticker
        self._schedule = lower_bound(market.fees)
        self._costs: Costs | None = costs_of(self._schedule) if self._schedule is not None else None
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
            self._schedule, self._costs = other, costs_of(other)

    def take(self, book_bid: int, book_ask: int) -> None:
        """Take over the best prices, both of YES; 0 and a dollar where a side is empty."""
        costs = self._costs
        if costs is not None:
            if book_bid != self.book_bid:
                self.bid = ONE - costs[ONE_DOLLAR - book_bid] if book_bid else NO_BID
            if book_ask != self.book_ask:
                self.ask = costs[book_ask] if book_ask < ONE_DOLLAR else NO_ASK
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
