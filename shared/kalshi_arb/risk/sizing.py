"""Sizes a bundle to the operator's limits: a smaller copy in the same proportions, because a bundle that is proved at
one size keeps its payoffs at every other and only roundings change. What comes out is proved again by the caller."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from kalshi_arb.domain.money import ONE_CONTRACT, Count
from kalshi_arb.domain.opportunity import Leg

Fits = Callable[[tuple[Leg, ...]], bool]


def smallest_copy(legs: Sequence[Leg]) -> tuple[Leg, ...]:
    """The smallest exact copy of the proportions in whole steps: what a bundle is judged at that fits at no size."""
    step = ONE_CONTRACT if all(leg.count % ONE_CONTRACT == 0 for leg in legs) else 1
    parts = math.gcd(*(leg.count // step for leg in legs))
    return tuple(replace(leg, count=Count(leg.count // parts)) for leg in legs)


def largest_that_fits(legs: Sequence[Leg], fits: Fits) -> tuple[Leg, ...]:
    """The largest smaller copy for which ``fits`` holds, the bundle itself when it does; empty when none does.

    An exact copy of the proportions is preferred; where the counts have no common part small enough, each is rounded
    down, which the proof that follows may or may not accept. Whole contracts stay whole. ``fits`` must hold for every
    smaller copy of one for which it holds, as limits on cost and loss do but for roundings of the last digit: the
    answer itself is always checked.
    """
    whole = tuple(legs)
    if fits(whole):
        return whole
    step = ONE_CONTRACT if all(leg.count % ONE_CONTRACT == 0 for leg in legs) else 1
    steps = [leg.count // step for leg in legs]
    for parts in (math.gcd(*steps), max(steps)):
        found = _search(whole, steps, step, parts, fits)
        if found:
            return found
    return ()


def _search(legs: tuple[Leg, ...], steps: Sequence[int], step: int, parts: int, fits: Fits) -> tuple[Leg, ...]:
    """Bisect for the most of ``parts`` equal parts of the bundle that fit, counts rounded down to whole steps."""

    def copy(taken: int) -> tuple[Leg, ...]:
        return tuple(
            replace(leg, count=Count(count * taken // parts * step)) for leg, count in zip(legs, steps, strict=True)
        )

    low, high = 0, parts
    while high - low > 1:
        middle = (low + high) // 2
        smaller = copy(middle)
        # A copy that lost a leg is no bundle and cannot be asked about; larger ones may still fit.
        if not all(leg.count for leg in smaller) or fits(smaller):
            low = middle
        else:
            high = middle
    found = copy(low)
    return found if all(leg.count for leg in found) else ()
