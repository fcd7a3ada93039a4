"""Bids for what is held rise above what it pays, and the settlement function goes round: some of it is sold early.

What is bid need not reach for all that is held, and may be gone again when it is to be sold: whatever goes wrong in the
run goes wrong here too.
"""

from dataclasses import dataclass
from random import Random

from infra.chaos.wiring import Stage, Trace
from infra.exchange.living import MEMBER
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.market import MarketStatus, Outcome

_HELD = (BasketState.LOCK, BasketState.HELD)
_CENT = 100
_LEAST_CENTS, _MOST_CENTS = 3, 96


@dataclass(frozen=True, slots=True)
class Bidding:
    """Bids rise at ``at_ms`` by so many cents a leg above an even share of what a set pays, ``depth`` contracts of
    each (from, to), and held baskets are looked at at each of ``reviews_ms``. With ``gone_after_ms`` the bids for one
    leg of each basket are gone again so long after."""

    at_ms: int
    reviews_ms: tuple[int, ...]
    cents: int
    depth: tuple[int, int]
    gone_after_ms: int | None = None


class Bidders:
    """Carries it out on the maker's account."""

    def __init__(self, stage: Stage, trace: Trace, chance: Random) -> None:
        self._stage = stage
        self._trace = trace
        self._chance = chance

    def bid(self, bidding: Bidding) -> None:
        """Let everything that is held be sold."""
        for row in self._held():
            for place, cents in enumerate(_shares(row, bidding.cents)):
                self._offer(row, place, cents, self._chance.randint(*bidding.depth))

    def take_back(self) -> None:
        """Take the bids for one leg of everything that is held away."""
        for row in self._stage.rows():
            if row.release is not None or row.state in _HELD:
                place = self._chance.randrange(len(row.legs))
                self._clear(row.legs[place].ticker, row.legs[place].outcome.other)

    def _held(self) -> list[Basket]:
        return [row for row in self._stage.rows() if row.state in _HELD]

    def _offer(self, row: Basket, place: int, cents: int, contracts: int) -> None:
        leg, core = row.legs[place], self._stage.world.core
        if core.markets[leg.ticker].status is not MarketStatus.ACTIVE:
            return
        # What is offered at that price or below would only be taken.
        self._clear(leg.ticker, leg.outcome)
        self._trace.note(f"{contracts} {leg.ticker} {leg.outcome.value} are bid for at {cents} cents")
        self._stage.world.rest(leg.ticker, leg.outcome, cents * _CENT, contracts)

    def _clear(self, ticker: str, outcome: Outcome) -> None:
        """Take away what can be bought of an outcome."""
        core = self._stage.world.core
        market = core.markets[ticker]
        if market.status is not MarketStatus.ACTIVE:
            return
        for order in list(market.resting()):
            if order.outcome is outcome.other and order.account.account_id != MEMBER:
                core.cancel(order.account.account_id, order.order_id, market.series.shard)


def _shares(row: Basket, above: int) -> list[int]:
    """What to bid for each leg, in cents: what it was bought for, and an even part of what a set gains, and more."""
    pays = min(sum(own) for own in row.payouts) // _CENT
    paid = [leg.limit // _CENT for leg in row.legs]
    gain = max(0, pays - sum(paid))
    each = -(-gain // len(paid)) + above
    return [max(_LEAST_CENTS, min(_MOST_CENTS, cents + each)) for cents in paid]
