"""The simulated market makers' ordinary quotes, never crossing anything, shaped like recorded books of their kind.

Spread, number of levels, gaps and sizes of a market are drawn from the figures of its profile. The best bid is never
above the fair price and the best ask never below it, so the quotes of an event are coherent when its fair prices are.
Orders behind the best stay where they are when the fair price moves, as on the real exchange.
"""

from collections.abc import Iterator, Mapping
from random import Random

import msgspec

from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.figures import RANKS, BookFigures, Profile, Spread
from infra.exchange.targets import depth_target, spread_target
from infra.exchange.terms import MarketTerms, NewOrder, TimeInForce
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price, complement

CROWD = "crowd"
"""The account that all simulated members share; its quotes never meet each other."""

_CENT = 100
_DIME = 1_000
_SHARE = 10_000
_TOP_FLOW = 0.35  # share of ordinary changes that happen at the best price
_REPLACE = 0.5  # share of those that replace an order; the others add one beside it
_JOINING = 4  # who joins a level brings a quarter of what one drawn alone would be
_SLACK = 2  # levels that a side may have more than it should before one goes
_TRIES = 6
_COMBO_MARGIN = (100, 1_000)  # 1e-4 dollars above the fair price, at which combos are offered
_SQUEEZED = frozenset({Profile.SPORTS, Profile.CRYPTO_15M, Profile.MACRO})
"""Kinds whose makers quote both sides, closer than they would, where the fair price leaves no room for their spread."""

_ONE_SIDED: Mapping[Profile, float] = {Profile.MACRO: 0.6, Profile.WEATHER: 0.65}
"""Share of markets in which nobody bids for a side that will probably lose."""

_HOPELESS: Mapping[Profile, float] = {Profile.MACRO: 0.35, Profile.WEATHER: 0.15}
"""The fair price, in dollars, up to which a side will probably lose."""


class Maker(msgspec.Struct):
    """Who quotes one market. ``spread`` in 1e-4 dollars, ``lean`` is where the fair price lies in it (0 at the bid).

    ``filled`` are levels a cent of each side (1e-4). ``tops`` are the levels that are sized as the best ones. Nobody
    quotes a ``bare`` market, and in a ``one_sided`` one nobody bids for a side that will probably lose.
    """

    profile: Profile
    spread: int
    lean: float
    filled: dict[Outcome, int]
    levels: dict[Outcome, dict[Price, list[str]]]
    tops: dict[Outcome, Price]
    bare: bool
    one_sided: bool


class SavedQuotes(msgspec.Struct, frozen=True):
    """The market makers in a snapshot, by market."""

    makers: dict[str, Maker]


class Quotes:
    """Resting crowd orders by market and level, except the mispriced ones."""

    def __init__(self, core: ExchangeCore, random: Random) -> None:
        self._core = core
        self._random = random
        self._makers: dict[str, Maker] = {}

    @classmethod
    def restore(cls, saved: SavedQuotes, core: ExchangeCore, random: Random) -> "Quotes":
        """The quotes as they were saved."""
        quotes = cls(core, random)
        quotes._makers = saved.makers
        return quotes

    def save(self) -> SavedQuotes:
        """The quotes for a snapshot."""
        return SavedQuotes(self._makers)

    def is_open(self, ticker: str) -> bool:
        """Whether a market is being quoted."""
        return ticker in self._makers

    def quoted(self) -> Iterator[tuple[str, Profile]]:
        """Every market that is being quoted, and its profile."""
        return ((ticker, maker.profile) for ticker, maker in self._makers.items())

    def open(self, ticker: str, profile: Profile) -> None:
        """Begin to quote a market."""
        depth = depth_target(profile)
        if profile is Profile.COMBO:
            spread = self._random.randint(*_COMBO_MARGIN)
        else:
            spread = spread_target(profile).draw(self._random)
        filled = {outcome: _known(depth.filled).draw(self._random) for outcome in Outcome}
        if profile is Profile.COMBO:  # one price is all that a combo is offered at
            filled = dict.fromkeys(Outcome, 0)
        # Some combos are quoted by nobody: their ask is a whole dollar.
        bare = profile is Profile.COMBO and self._random.random() * _SHARE < depth.empty
        one_sided = self._random.random() < _ONE_SIDED.get(profile, 0.0)
        levels: dict[Outcome, dict[Price, list[str]]] = {outcome: {} for outcome in Outcome}
        lean = self._random.random()
        self._makers[ticker] = Maker(profile, spread, lean, filled, levels, {}, bare, one_sided)

    def close(self, ticker: str) -> None:
        """Forget a market: the exchange has taken its orders off the book."""
        del self._makers[ticker]

    def requote(self, terms: MarketTerms, fair: float) -> int:
        """Move a market's best quotes to a new fair price; returns the number of changes made to the book."""
        maker = self._makers[terms.ticker]
        if maker.bare:
            return 0
        best = _best(terms.grid, fair * ONE_DOLLAR, maker)
        changes = 0
        for outcome, levels in maker.levels.items():
            for level in list(levels):
                if not self._resting(maker, outcome, level):  # taken by members, or gone with a pause
                    self._pull(maker, outcome, level)
        # What goes must go first, or a level of the new side could cross one of the old.
        for outcome, price in best.items():
            levels = maker.levels[outcome]
            for gone in [level for level in levels if price is None or level > price]:
                changes += self._pull(maker, outcome, gone)
        for outcome, price in best.items():
            if price is not None:
                changes += self._fill(terms, maker, outcome, price)
        return changes

    def spread(self, ticker: str) -> int:
        """How far a market's best quotes are apart where there is room for it, 1e-4 dollars."""
        return self._makers[ticker].spread

    def make_way(self, ticker: str, outcome: Outcome, price: Price) -> None:
        """Take away the quotes that a bid for ``outcome`` at ``price`` would trade with, and those that are as good."""
        maker = self._makers[ticker]
        for side, least in ((outcome.other, ONE_DOLLAR - price), (outcome, price)):
            for level in [level for level in maker.levels[side] if level >= least]:
                self._pull(maker, side, level)

    def jitter(self, ticker: str) -> int:
        """Ordinary order flow: somebody joins, leaves or replaces an order of one level; returns the changes made."""
        maker = self._makers[ticker]
        sides = [outcome for outcome in Outcome if maker.levels[outcome]]
        if not sides:
            return 0
        outcome = self._random.choice(sides)
        prices = sorted(maker.levels[outcome], reverse=True)
        rank = 0 if self._random.random() < _TOP_FLOW else self._random.randrange(len(prices))
        price = prices[rank]
        orders = self._resting(maker, outcome, price)
        if len(orders) > 1:
            self._core.cancel(CROWD, orders.pop())
            return 1
        size = self._size(maker.profile, rank)
        if not orders:  # a member took all of it
            return self._add(ticker, maker, (outcome, price), size)
        if self._random.random() < _REPLACE:
            return self._resize(ticker, maker, (outcome, price), size)
        return self._add(ticker, maker, (outcome, price), _whole(size // _JOINING))

    def _fill(self, terms: MarketTerms, maker: Maker, outcome: Outcome, best: Price) -> int:
        """Have a side begin at its best price and hold the levels it should."""
        levels = maker.levels[outcome]
        changes = 0
        before = maker.tops.get(outcome)
        if before is not None and before != best and before in levels:
            changes += self._resize(terms.ticker, maker, (outcome, before), self._size(maker.profile, 1))
        if best not in levels:
            changes += self._add(terms.ticker, maker, (outcome, best), self._size(maker.profile, 0))
        elif before != best:
            changes += self._resize(terms.ticker, maker, (outcome, best), self._size(maker.profile, 0))
        maker.tops[outcome] = best
        wanted = max(1, round(maker.filled[outcome] * max(1, best // _CENT) / _SHARE))
        while len(levels) < wanted:
            price = self._free_price(terms.grid, maker, outcome, best)
            if price is None:
                break
            rank = sum(level > price for level in levels)
            added = self._add(terms.ticker, maker, (outcome, price), self._size(maker.profile, rank))
            if not added:
                break
            changes += added
        while len(levels) > wanted + min(_SLACK, wanted - 1):
            gone = self._random.choice([level for level in levels if level != best])
            changes += self._pull(maker, outcome, gone)
        return changes

    def _free_price(self, grid: PriceGrid, maker: Maker, outcome: Outcome, best: Price) -> Price | None:
        levels = maker.levels[outcome]
        gap = _known(depth_target(maker.profile).gap)
        below = _snapped(grid, outcome, min(levels, default=best) - gap.draw(self._random))
        if below is not None and below not in levels:
            return below
        for number in range(_TRIES):
            # Every other one near the end, where ticks are finer.
            price = _snapped(grid, outcome, self._random.randint(1, min(best, _DIME) if number % 2 else best))
            if price is not None and price not in levels:
                return price
        return None

    def _size(self, profile: Profile, rank: int) -> Count:
        """The size of an order that is all of the ``rank``-th level (0 is the best)."""
        depth = depth_target(profile)
        sizes = _sizes(depth, rank)
        drawn = sizes.draw(self._random)
        fractional = depth.fractional_level if rank else depth.fractional_top_side
        if self._random.random() * _SHARE < (fractional or 0):
            return Count(drawn if drawn % ONE_CONTRACT else drawn + self._random.randint(1, ONE_CONTRACT - 1))
        return _whole(drawn)

    def _resting(self, maker: Maker, outcome: Outcome, price: Price) -> list[str]:
        orders = maker.levels[outcome][price]
        orders[:] = [order_id for order_id in orders if self._core.is_resting(order_id)]
        return orders

    def _add(self, ticker: str, maker: Maker, level: tuple[Outcome, Price], size: Count) -> int:
        order_id = rest(self._core, ticker, level, size)
        if order_id is None:
            return 0
        maker.levels[level[0]].setdefault(level[1], []).append(order_id)
        return 1

    def _resize(self, ticker: str, maker: Maker, level: tuple[Outcome, Price], size: Count) -> int:
        """Replace what rests at a level. The new order comes first, so that the level is never empty."""
        before = list(self._resting(maker, *level))
        changes = self._add(ticker, maker, level, size)
        for order_id in before:
            self._core.cancel(CROWD, order_id)
        self._resting(maker, *level)
        return changes + len(before)

    def _pull(self, maker: Maker, outcome: Outcome, price: Price) -> int:
        orders = self._resting(maker, outcome, price)
        for order_id in orders:
            self._core.cancel(CROWD, order_id)
        del maker.levels[outcome][price]
        if maker.tops.get(outcome) == price:
            del maker.tops[outcome]
        return len(orders)


def rest(core: ExchangeCore, ticker: str, level: tuple[Outcome, Price], count: Count) -> str | None:
    """Rest a crowd order, or None when its market takes none, its price is off the grid now, or it would trade."""
    outcome, price = level
    market = core.markets[ticker]
    best = market.book.side(outcome.other).best
    if not (core.is_open(ticker) and market.takes_price(outcome, price)):
        return None
    if best is not None and best.price + price >= ONE_DOLLAR:
        return None
    order = NewOrder(ticker, outcome, price, count, TimeInForce.GOOD_TILL_CANCELED, post_only=True)
    try:
        return core.place(CROWD, order).order_id
    except ExchangeRefusalError as refusal:
        raise RuntimeError(f"the crowd cannot quote {ticker}: {refusal}") from refusal


def _whole(size: int) -> Count:
    """Whole contracts, at least one."""
    return Count(max(1, round(size / ONE_CONTRACT)) * ONE_CONTRACT)


def _known(spread: Spread | None) -> Spread:
    if spread is None:
        raise LookupError("the figures of this profile hold no depth")
    return spread


def _sizes(depth: BookFigures, rank: int) -> Spread:
    """The sizes at a rank, or at the deepest recorded one before it."""
    for (first, _), sizes in reversed(list(zip(RANKS, depth.sizes, strict=True))):
        if rank >= first and sizes is not None:
            return sizes
    return _known(None)


def _snapped(grid: PriceGrid, outcome: Outcome, price: int) -> Price | None:
    """The legal price of an outcome at or below ``price``. Legality is a matter of the YES price."""
    if not 0 < price < ONE_DOLLAR:
        return None
    if outcome is Outcome.YES:
        return grid.at_or_below(Price(price))
    above = grid.at_or_above(complement(Price(price)))
    return None if above is None else complement(above)


def _best(grid: PriceGrid, fair: float, maker: Maker) -> dict[Outcome, Price | None]:
    """Each outcome's best bid: a spread around the fair price (1e-4 dollars) as far as the ends leave room for it."""
    down, up = Price(int(fair)), Price(-int(-fair // 1))
    if maker.profile is Profile.COMBO:
        ask = _ask(grid, max(up, Price(up + maker.spread)))
        return {Outcome.YES: None, Outcome.NO: None if ask is None else complement(ask)}
    here = grid.at_or_below(down)
    above = grid.next_above(down)
    tick = _CENT if here is None or above is None else above - here
    bid = _snapped(grid, Outcome.YES, int(fair - maker.lean * max(0, maker.spread - tick)))
    if bid is None and maker.profile in _SQUEEZED:
        bid = None if here is None else grid.next_above(Price(0))
    wide = (bid or 0) + maker.spread
    near = grid.at_or_below(Price(wide)) if wide < ONE_DOLLAR else None
    ask = near if near is not None and near >= fair and near > (bid or 0) else _ask(grid, max(up, Price(wide)))
    if ask is None and maker.profile in _SQUEEZED:
        highest = grid.next_below(ONE_DOLLAR)
        ask = highest if highest is not None and highest >= fair else None
    best = {Outcome.YES: bid, Outcome.NO: None if ask is None else complement(ask)}
    if maker.one_sided:
        hopeless = _HOPELESS[maker.profile] * ONE_DOLLAR
        for outcome, own in ((Outcome.YES, fair), (Outcome.NO, ONE_DOLLAR - fair)):
            if own < hopeless:
                best[outcome] = None
    return best


def _ask(grid: PriceGrid, price: Price) -> Price | None:
    return grid.at_or_above(price) if price < ONE_DOLLAR else None
