"""What every keeper of a coherent price vector has in common.

A vector of prices is coherent when it is a mixture of the certain states. As long as each lies between its market's bid
and ask, fees included, no bundle can gain in every certain state (weak duality): the payoff of any bundle under the
mixture is at most what it costs.
"""

from dataclasses import dataclass
from typing import Protocol

from kalshi_arb.detection.effective import ONE

NO_ASK = 10**6 * ONE
NO_BID = -NO_ASK
"""What stands for a missing side: no price reaches it."""


@dataclass(frozen=True, slots=True)
class TopBundle:
    """What a set of contracts gains in the worst certain state at the best prices, fees unrounded (``edge``, 1e-10
    dollars, rounded away from zero), and its contracts: places in the group with counts in ``1 / scale`` contracts of
    YES, positive where it is bought, negative where it is sold."""

    edge: int
    scale: int
    counts: tuple[tuple[int, int], ...]


class Prices(Protocol):
    """A kept vector. ``low`` and ``high`` are each market's price (1e-10 dollars) rounded down and up."""

    low: list[int]
    high: list[int]

    def take(self, place: int, bid: int, ask: int) -> bool:
        """A quote changed: what selling one YES frees and what buying one costs. Whether the price lies between."""
        ...

    def settle(self) -> bool:
        """Repair the vector. False when no vector fits every quote; ``breach`` then holds the bundle."""
        ...

    def breach(self) -> TopBundle:
        """The bundle that ``settle`` found last."""
        ...

    def nearest(self) -> TopBundle | None:
        """The bundle on more than one market that comes nearest to a gain, while the vector fits every quote; None when
        too many sides are missing to form any."""
        ...
