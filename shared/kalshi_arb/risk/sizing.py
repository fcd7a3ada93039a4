"""Sizes a bundle to the operator's limits: a smaller copy of the same proportions, because a bundle that is proved at
one size keeps its payoffs at every other and only roundings change. What comes out is proved again by the caller."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from kalshi_arb.domain.money import ONE_CONTRACT, Count
from kalshi_arb.domain.opportunity import Leg


def copies(legs: Sequence[Leg]) -> tuple[int, int]:
    """How many smallest proportional copies a bundle is made of, and how many of them make one step.

    Whole contracts stay whole: a step is then a whole number of contracts for every leg.
    """
    unit = math.gcd(*(leg.count for leg in legs))
    whole = all(leg.count % ONE_CONTRACT == 0 for leg in legs)
    return unit, ONE_CONTRACT if whole else 1


def scaled(legs: Sequence[Leg], share: int) -> tuple[Leg, ...]:
    """The bundle made of ``share`` of its smallest copies."""
    unit, _ = copies(legs)
    return tuple(replace(leg, count=Count(leg.count // unit * share)) for leg in legs)


def largest_that_fits(legs: Sequence[Leg], fits: Callable[[tuple[Leg, ...]], bool]) -> tuple[Leg, ...]:
    """The largest proportional copy for which ``fits`` holds, the bundle itself when it does; empty when none does.

    ``fits`` must hold for every smaller copy of one for which it holds, as limits on cost and loss do but for
    roundings of the last digit: the answer itself is always checked.
    """
    if fits(tuple(legs)):
        return tuple(legs)
    unit, step = copies(legs)
    low, high = 0, unit // step
    while high - low > 1:
        middle = (low + high) // 2
        if fits(scaled(legs, middle * step)):
            low = middle
        else:
            high = middle
    return scaled(legs, low * step) if low else ()
