"""What a solver sees of the books: for each contract what its next unit costs, converted only where it is looked at.

A contract is a number, twice the place of its market in the group, plus one for NO; ``contract ^ 1`` is its opposite.
A unit is the smallest amount that may be bought of every contract (1e-2 contracts, or a whole contract). Costs are in
1e-12 dollars a unit, so that they are whole numbers for any unit; a dollar's worth of units is ``one``.
"""

from collections.abc import Iterable, Mapping, Sequence

from kalshi_arb.detection.effective import ONE, Costs, costs_of
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price
from kalshi_arb.domain.opportunity import Leg

NEVER = 10**30
"""The cost of what is not offered."""

Offers = list[tuple[int, int]]
"""(cost of a unit in 1e-12 dollars, units), cheapest first."""

OUTCOMES = (Outcome.YES, Outcome.NO)


def tables(markets: Iterable[Market]) -> tuple[Costs, ...]:
    """The cost table of each market. :raises ProofError: a market's fee cannot be computed."""
    return tuple(costs_of(market.fees) for market in markets)


class Sides:
    """The books of a group. ``tops`` has the cheapest cost of each contract, ``NEVER`` where there is none."""

    __slots__ = ("_bids", "_costs", "_knotted", "_step", "one", "tops")

    def __init__(
        self, tickers: Sequence[str], costs: Sequence[Costs], books: Mapping[str, BookSnapshot], step: Count
    ) -> None:
        """Missing and crossed books offer nothing."""
        self._step = step
        self.one = ONE * step
        self._costs = costs
        self._knotted: dict[int, Offers] = {}
        # Bids that a purchase of each contract meets: those of the other outcome.
        bids: list[Sequence[tuple[Price, Count]]] = []
        tops: list[int] = []
        for ticker, table in zip(tickers, costs, strict=True):
            book = books.get(ticker)
            yes_bids: Sequence[tuple[Price, Count]] = book.yes_bids if book is not None else ()
            no_bids: Sequence[tuple[Price, Count]] = book.no_bids if book is not None else ()
            if yes_bids and no_bids and yes_bids[0][0] + no_bids[0][0] >= ONE_DOLLAR:
                yes_bids = no_bids = ()
            bids += (no_bids, yes_bids)
            tops.append(table[ONE_DOLLAR - no_bids[0][0]] if no_bids else NEVER)
            tops.append(table[ONE_DOLLAR - yes_bids[0][0]] if yes_bids else NEVER)
        self._bids = bids
        self.tops = tops
        if step != 1:
            for contract in range(len(bids)):
                knotted = self._knotted[contract] = reknot(self._levels(contract, NEVER), step)
                tops[contract] = knotted[0][0] if knotted else NEVER

    def offers(self, contract: int, below: int) -> Offers:
        """What can be bought of a contract for less than ``below`` a unit."""
        if self._step == 1:
            return self._levels(contract, below)
        return [offer for offer in self._knotted[contract] if offer[0] < below]

    def _levels(self, contract: int, below: int) -> Offers:
        table = self._costs[contract >> 1]
        found: Offers = []
        for price, size in self._bids[contract]:
            cost = table[ONE_DOLLAR - price]
            if cost >= below:
                break
            found.append((cost, size))
        return found

    def leg(self, contract: int, ticker: str, units: int) -> Leg:
        """The order that buys ``units`` of a contract: its limit is the worst level they need."""
        count = left = units * self._step
        for price, size in self._bids[contract]:
            left -= size
            if left <= 0:
                return Leg(ticker, OUTCOMES[contract & 1], Count(count), Price(ONE_DOLLAR - price))
        raise AssertionError(f"{ticker} does not hold {count}")


def reknot(levels: Offers, step: int) -> Offers:
    """Offers in units of ``step``: a unit that straddles levels costs what its parts cost. Still cheapest first, and
    exact, because a cost curve is only asked at whole units. What does not fill a last unit cannot be bought."""
    found: Offers = []
    open_size = open_cost = 0
    for cost, size in levels:
        left = size
        if open_size:
            used = min(left, step - open_size)
            open_size += used
            open_cost += used * cost
            left -= used
            if open_size < step:
                continue
            found.append((open_cost, 1))
            open_size = open_cost = 0
        if left >= step:
            found.append((cost * step, left // step))
        open_size = left % step
        open_cost = open_size * cost
    return found
