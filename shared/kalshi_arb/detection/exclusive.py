"""The exact sweep of a set of which at most one, or at least one, market pays.

The payoff of such a set depends on the smallest common position only, and each leg's cost is convex, so all legs move
in lockstep and the greedy walk over the levels is exact (one concave variable). Amounts: 1e-10 dollars a contract,
counts 1e-2 contracts, values 1e-12 dollars.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_arb.detection.effective import ONE, Offer


class Lockstep(NamedTuple):
    """``sets`` is the common count, ``counts`` what each leg gets, ``value`` the gain in the worst state."""

    sets: int
    counts: tuple[int, ...]
    value: int


NOTHING = Lockstep(0, (), 0)


def sell_all(no_offers: Sequence[Sequence[Offer]]) -> Lockstep:
    """Buy NO of every market of an exclusive set: all but one pay, whichever it is.

    A leg without offers, or one that runs out, drops out: the others only lose its gain. Sets of ``m`` contracts earn
    the sum of ``1 - cost`` over their legs minus one dollar for the market that may pay.
    """
    levels = [0] * len(no_offers)
    left = [int(side[0].size) if side else 0 for side in no_offers]
    counts = [0] * len(no_offers)
    sets = value = 0
    while True:
        active = [
            leg
            for leg, side in enumerate(no_offers)
            if levels[leg] < len(side) and side[levels[leg]].cost < ONE
        ]  # fmt: skip
        gain = sum(ONE - no_offers[leg][levels[leg]].cost for leg in active) - ONE
        if gain <= 0:
            return Lockstep(sets, tuple(counts), value)
        step = min(left[leg] for leg in active)
        sets += step
        value += gain * step
        for leg in active:
            counts[leg] += step
            _advance(no_offers[leg], levels, left, leg, step)


def buy_all(yes_offers: Sequence[Sequence[Offer]]) -> Lockstep:
    """Buy YES of every market of a covering set: at least one pays. Every leg is needed, so the first that runs out
    ends the sweep."""
    if not all(yes_offers):
        return NOTHING
    levels = [0] * len(yes_offers)
    left = [int(side[0].size) for side in yes_offers]
    sets = value = 0
    while all(levels[leg] < len(side) for leg, side in enumerate(yes_offers)):
        gain = ONE - sum(side[levels[leg]].cost for leg, side in enumerate(yes_offers))
        if gain <= 0:
            break
        step = min(left)
        sets += step
        value += gain * step
        for leg, side in enumerate(yes_offers):
            _advance(side, levels, left, leg, step)
    return Lockstep(sets, (sets,) * len(yes_offers), value)


def _advance(side: Sequence[Offer], levels: list[int], left: list[int], leg: int, step: int) -> None:
    left[leg] -= step
    if left[leg] == 0:
        levels[leg] += 1
        if levels[leg] < len(side):
            left[leg] = side[levels[leg]].size
