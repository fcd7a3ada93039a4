"""Coherent prices of a combo and its independent legs: a market that pays exactly when all others come true, each on a
side of its own, whatever the others do among themselves.

With each leg's price turned to its side, prices are coherent exactly when the combo is not dearer than any leg, and no
cheaper than all legs less a dollar for each leg but one: the sets of contracts of which one always pays. So a breach is
read off the quotes, and a vector is made directly. Prices are in 1e-10 dollars.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_arb.detection.effective import ONE
from kalshi_arb.detection.prices import NO_ASK, NO_BID, TopBundle

# A combo and six legs are 64 states; telling whether more markets are independent takes too long.
_MOST_CONJOINED = 7


class Conjunction(NamedTuple):
    """The combo's place, and each leg's with the side that must come true (true for YES)."""

    combo: int
    legs: tuple[tuple[int, bool], ...]


def conjunction(columns: Sequence[Sequence[bool]]) -> Conjunction | None:
    """The market that pays exactly when all others come true; None when there is none.

    The others must be independent, all 2^n results of them among the states: with fewer, other bundles could gain too.
    """
    if not 1 < len(columns) <= _MOST_CONJOINED:
        return None
    everything = list(zip(*columns, strict=True))
    for combo, pays in enumerate(columns):
        others = [place for place in range(len(columns)) if place != combo]
        if len({tuple(row[place] for place in others) for row in everything}) < 2 ** len(others):
            continue
        legs = tuple((place, all(map(int.__ge__, columns[place], pays))) for place in others)
        if [all(row[place] is side for place, side in legs) for row in everything] == list(pays):
            return Conjunction(combo, legs)
    return None


class ComboPrices:
    """The kept price vector of a combo's group."""

    __slots__ = ("_asks", "_bids", "_breach", "_combo", "_due", "_legs", "high", "low")

    def __init__(self, shape: Conjunction) -> None:
        self._combo, self._legs = shape
        width = len(self._legs) + 1
        self._bids = [NO_BID] * width
        self._asks = [NO_ASK] * width
        self._breach = TopBundle(0, 1, ())
        self._due = True
        self.low = [0] * width
        self.high = self.low

    def take(self, place: int, bid: int, ask: int) -> bool:
        """A quote changed: what selling one YES frees and what buying one costs. Whether the price lies between."""
        self._bids[place], self._asks[place] = bid, ask
        inside = bid <= self.low[place] <= ask
        self._due = self._due or not inside
        return inside

    def settle(self) -> bool:
        """Repair the vector. False when no vector fits every quote; ``breach`` then holds the bundle."""
        if not self._due:
            return True
        best = self.nearest()
        if best is not None and best.edge > 0:
            self._breach = best
            return False
        self._adopt()
        self._due = False
        return True

    def breach(self) -> TopBundle:
        """The bundle that ``settle`` found last."""
        return self._breach

    def nearest(self) -> TopBundle | None:
        """The best of the covering sets that have all their sides."""
        combo, bids, asks = self._combo, self._bids, self._asks
        everything = asks[combo]
        every: list[tuple[int, int]] = [(combo, 1)]
        best: TopBundle | None = None
        for place, side in self._legs:
            # NO of the combo with the leg's own side: when the leg fails the combo fails.
            edge = bids[combo] - (asks[place] if side else ONE - bids[place])
            if best is None or edge > best.edge:
                best = TopBundle(edge, 1, ((combo, -1), (place, 1 if side else -1)))
            everything += ONE - bids[place] if side else asks[place]
            every.append((place, -1 if side else 1))
        # YES of the combo with every leg's other side: when no leg fails the combo pays.
        if best is None or ONE - everything > best.edge:
            best = TopBundle(ONE - everything, 1, tuple(sorted(every)))
        return best if best.edge > NO_BID // 2 else None

    def _adopt(self) -> None:
        """Choose prices near the middle of every quote. Only when quotes cross themselves is there nothing to choose;
        the vector is then of no use, and nothing is judged by it."""
        sides = []
        for place, side in self._legs:
            bid, ask = max(0, self._bids[place]), min(ONE, self._asks[place])
            sides.append((bid, ask) if side else (ONE - ask, ONE - bid))
        allowance = (len(sides) - 1) * ONE
        bid, ask = max(0, self._bids[self._combo]), min(ONE, self._asks[self._combo])
        lowest = max(bid, sum(low for low, _ in sides) - allowance)
        combo = max(lowest, min((bid + ask) // 2, *(high for _, high in sides)))
        prices = [max(low, combo, (low + high) // 2) for low, high in sides]
        over = sum(prices) - combo - allowance
        for number, (low, _) in enumerate(sides):
            if over > 0:
                less = min(over, prices[number] - max(low, combo))
                prices[number] -= less
                over -= less
        self.low[self._combo] = combo
        for (place, side), price in zip(self._legs, prices, strict=True):
            self.low[place] = price if side else ONE - price
