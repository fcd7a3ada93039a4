"""The exact solvers behind one interface: the bundle with the greatest gain in the worst state, linear fees, over all
depth. Whether it survives rounding is the question of ``trim``, whether it is one at all that of ``verify``."""

from collections.abc import Mapping
from dataclasses import dataclass

from kalshi_arb.detection.solvers.plans import Method, plan_of
from kalshi_arb.detection.solvers.sweeps import Part
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.money import HUNDREDTH, Count
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group

__all__ = ["Bundle", "Method", "Part", "solve"]

_PER_EDGE = 100


@dataclass(frozen=True, slots=True)
class Bundle:
    """The linear-fee optimum: ``legs`` in the group's order, each limit the worst level its count needs.

    ``linear_profit`` is the gain in the worst state in 1e-10 dollars, cut down, when every contract costs its level and
    its unrounded fee: an upper bound of what any bundle on these books can gain in these states. ``parts`` are what it
    is made of, but for the legs of a lockstep sale, which stand for each other; contracts are numbers (see ``sides``),
    units 1e-2 contracts.
    """

    legs: tuple[Leg, ...]
    method: Method
    linear_profit: int
    parts: tuple[Part, ...]


def solve(
    group: Group, books: Mapping[str, BookSnapshot], *, every_state: bool = False, step: Count = HUNDREDTH
) -> Bundle | None:
    """The best bundle of a group on these books, None when no bundle gains. Missing and crossed books offer nothing.

    :param every_state: whether it must gain in the possible states too, not in the certain ones alone
    :param step: what counts must be multiples of (1e-2 contracts): 1, or a whole contract
    :raises ProofError: a market's fee cannot be computed, or no state is certain.
    :raises SolverError: a solver ended without an optimum.
    """
    plan = plan_of(group, every_state=every_state)
    method, found, sides = plan.run(books, step)
    if found.value <= 0:
        return None
    tickers, counts = plan.tickers, found.counts
    legs = tuple([sides.leg(contract, tickers[contract >> 1], counts[contract]) for contract in sorted(counts)])
    parts = found.parts if step == 1 else tuple(Part(contracts, units * step) for contracts, units in found.parts)
    return Bundle(legs, method, found.value // _PER_EDGE, parts)
