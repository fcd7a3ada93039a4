"""The simulated market makers' ordinary quotes: many levels around the fair price, never crossing anything."""

from collections.abc import Callable
from random import Random

import msgspec

from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.terms import MarketTerms, NewOrder, TimeInForce
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price, complement

CROWD = "crowd"
"""The account that all simulated members share; its quotes never meet each other."""

_LEVELS = 6
_LEVEL_GAP = 100  # 1e-4 dollars between two levels, a cent
_ORDERS_PER_LEVEL = 4

Level = tuple[Outcome, Price]


class SavedQuotes(msgspec.Struct, frozen=True):
    """The market makers in a snapshot: by market, its levels with their orders, and its half spread."""

    orders: dict[str, list[tuple[Outcome, Price, list[str]]]]
    half_spread: dict[str, int]


class Quotes:
    """Resting crowd orders by market and level, except the mispriced ones."""

    def __init__(self, core: ExchangeCore, random: Random) -> None:
        self._core = core
        self._random = random
        self._orders: dict[str, dict[Level, list[str]]] = {}
        self._half_spread: dict[str, int] = {}

    @classmethod
    def restore(cls, saved: SavedQuotes, core: ExchangeCore, random: Random) -> "Quotes":
        """The quotes as they were saved."""
        quotes = cls(core, random)
        for ticker, levels in saved.orders.items():
            quotes._orders[ticker] = {(outcome, price): orders for outcome, price, orders in levels}
        quotes._half_spread = saved.half_spread
        return quotes

    def save(self) -> SavedQuotes:
        """The quotes for a snapshot."""
        orders = {
            ticker: [(outcome, price, orders) for (outcome, price), orders in levels.items()]
            for ticker, levels in self._orders.items()
        }
        return SavedQuotes(orders, self._half_spread)

    def open(self, ticker: str) -> None:
        """Begin to quote a market."""
        self._orders[ticker] = {}
        self._half_spread[ticker] = self._random.randint(100, 200)

    def close(self, ticker: str) -> None:
        """Forget a market: the exchange has taken its orders off the book."""
        del self._orders[ticker]
        del self._half_spread[ticker]

    def requote(self, terms: MarketTerms, fair: float) -> int:
        """Move a market's levels to a new fair price; returns the number of changes made to the book."""
        wanted = _levels(terms.grid, round(fair * ONE_DOLLAR), self._half_spread[terms.ticker])
        levels = self._orders[terms.ticker]
        changes = 0
        # What goes must go first, or a level of the new side could cross one of the old.
        for level in [level for level in levels if level not in wanted]:
            changes += self._pull(terms.ticker, level)
        for level in wanted:
            if not self._resting(terms.ticker, level):
                changes += self._add(terms.ticker, level, self._random.randint(20, 300))
        return changes

    def pull_crossing(self, ticker: str, outcome: Outcome, price: Price) -> None:
        """Take away the quotes that a bid for ``outcome`` at ``price`` would trade with."""
        opposite = [
            level for level in self._orders[ticker] if level[0] is outcome.other and level[1] + price >= ONE_DOLLAR
        ]
        for level in opposite:
            self._pull(ticker, level)

    def jitter(self, ticker: str) -> int:
        """Ordinary order flow: somebody joins or leaves one level; returns the number of changes (0 or 1)."""
        levels = list(self._orders[ticker])
        if not levels:
            return 0
        level = self._random.choice(levels)
        orders = self._resting(ticker, level)
        if len(orders) >= 2 and (len(orders) >= _ORDERS_PER_LEVEL or self._random.random() < 0.5):
            self._core.cancel(CROWD, orders.pop(self._random.randrange(len(orders))))
            return 1
        return self._add(ticker, level, self._random.randint(1, 60))

    def _resting(self, ticker: str, level: Level) -> list[str]:
        orders = self._orders[ticker].get(level, [])
        orders[:] = [order_id for order_id in orders if self._core.is_resting(order_id)]
        return orders

    def _add(self, ticker: str, level: Level, contracts: int) -> int:
        order_id = rest(self._core, ticker, level, Count(contracts * ONE_CONTRACT))
        if order_id is None:
            return 0
        self._orders[ticker].setdefault(level, []).append(order_id)
        return 1

    def _pull(self, ticker: str, level: Level) -> int:
        orders = self._resting(ticker, level)
        for order_id in orders:
            self._core.cancel(CROWD, order_id)
        del self._orders[ticker][level]
        return len(orders)


def rest(core: ExchangeCore, ticker: str, level: Level, count: Count) -> str | None:
    """Rest a crowd order, or None when it would trade: the crowd never takes."""
    outcome, price = level
    best = core.markets[ticker].book.side(outcome.other).best
    if best is not None and best.price + price >= ONE_DOLLAR:
        return None
    order = NewOrder(ticker, outcome, price, count, TimeInForce.GOOD_TILL_CANCELED, post_only=True)
    try:
        return core.place(CROWD, order).order_id
    except ExchangeRefusalError as refusal:
        raise RuntimeError(f"the crowd cannot quote {ticker}: {refusal}") from refusal


def _levels(grid: PriceGrid, fair: int, half_spread: int) -> dict[Level, None]:
    levels: dict[Level, None] = {}
    sides: tuple[tuple[Outcome, int, Callable[[Price], Price | None]], ...] = (
        (Outcome.YES, fair - half_spread, lambda price: grid.at_or_below(price)),
        # A NO bid at q is a YES ask at 1 - q, so asks are snapped upwards.
        (Outcome.NO, fair + half_spread, lambda price: grid.at_or_above(price)),
    )
    for outcome, start, snap in sides:
        away = -_LEVEL_GAP if outcome is Outcome.YES else _LEVEL_GAP
        for number in range(_LEVELS):
            target = start + number * away
            yes_price = snap(Price(target)) if 0 < target < ONE_DOLLAR else None
            if yes_price is not None:
                levels[outcome, yes_price if outcome is Outcome.YES else complement(yes_price)] = None
    return levels
