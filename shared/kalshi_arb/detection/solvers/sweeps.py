"""Exact sweeps over the levels of the books, integers only.

**Lockstep.** The payoff of a set of which at most one, or exactly one, contract pays depends on the smallest common
position only, and each contract's cost is convex, so all legs move together and the walk over the levels is exact (one
concave variable). Two contracts of which at least one pays are the smallest such set.

**Heap with regret** (slope trick), O(levels log levels). A bundle of nested contracts is a transport: every contract
bought on an easier rung covers one opposite bought on a harder one, and the pair pays at least a dollar. From the
hardest rung down, opposites become tokens worth a dollar less their cost; each purchase is matched with the dearest
token above it, and goes back as a token worth its own cost, so that a cheaper purchase on an easier rung can take its
place. Pairs chosen one by one would count shared depth twice; pairs of neighbours only would miss bundles over an empty
middle rung.

Costs, units and contracts as in ``sides``.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate
from typing import NamedTuple

from kalshi_arb.detection.solvers.sides import Sides

Rungs = Sequence[Sequence[int]]
"""Nested contracts from the easiest to the hardest; those of one rung always pay alike."""


class Part(NamedTuple):
    """``units`` of each of these contracts, which gain together."""

    contracts: tuple[int, ...]
    units: int


class Found(NamedTuple):
    """The best bundle, units by contract, its gain in the worst state (1e-12 dollars), and the parts that it is the sum
    of. A lockstep sale has no parts: all its legs stand for each other."""

    counts: dict[int, int]
    value: int
    parts: tuple[Part, ...]


NOTHING = Found({}, 0, ())


def of_parts(parts: Sequence[Part], value: int) -> Found:
    """A bundle from its parts."""
    counts: dict[int, int] = {}
    for contracts, units in parts:
        for contract in contracts:
            counts[contract] = counts.get(contract, 0) + units
    return Found(counts, value, tuple(parts))


def buy_together(contracts: Sequence[int], sides: Sides) -> Found:
    """Buy all of a set of contracts of which at least one pays, as long as they cost less than a dollar together.

    Exact for two contracts, and for any number of which exactly one pays. Every leg is needed, so the first that runs
    out ends the sweep.
    """
    one, tops = sides.one, sides.tops
    gain = one - sum([tops[contract] for contract in contracts])
    if gain <= 0:
        return NOTHING
    legs = [sides.offers(contract, one) for contract in contracts]
    ends = [(leg[0][1], number, 0) for number, leg in enumerate(legs)]
    heapify(ends)
    units = value = 0
    while gain > 0:
        end, number, level = ends[0]
        value += gain * (end - units)
        units = end
        leg = legs[number]
        level += 1
        if level == len(leg):
            break
        gain += leg[level - 1][0] - leg[level][0]
        heapreplace(ends, (end + leg[level][1], number, level))
    return Found(dict.fromkeys(contracts, units), value, (Part(tuple(contracts), units),))


def sell_together(contracts: Sequence[int], sides: Sides) -> Found:
    """Buy the opposite of all contracts of which at most one pays: all opposites but one pay, whichever it is.

    A leg without offers, or one that runs out, drops out: the others only lose its gain. A set earns what its legs cost
    less than a dollar each, less one dollar for the contract that may pay.
    """
    one, tops = sides.one, sides.tops
    gain = -one
    opposites = []
    for contract in contracts:
        top = tops[contract ^ 1]
        if top < one:
            gain += one - top
            opposites.append(contract ^ 1)
    if gain <= 0:
        return NOTHING
    legs = [sides.offers(contract, one) for contract in opposites]
    counts: dict[int, int] = {}
    ends = [(leg[0][1], number, 0) for number, leg in enumerate(legs)]
    heapify(ends)
    units = value = 0
    while gain > 0:
        end, number, level = ends[0]
        value += gain * (end - units)
        units = end
        leg = legs[number]
        level += 1
        if level < len(leg):
            gain += leg[level - 1][0] - leg[level][0]
            heapreplace(ends, (end + leg[level][1], number, level))
        else:
            gain += leg[-1][0] - one
            counts[opposites[number]] = end
            heappop(ends)
    for _, number, _ in ends:
        counts[opposites[number]] = units
    return Found(counts, value, ())


def nested(rungs: Rungs, sides: Sides) -> Found:
    """The best bundle of nested contracts."""
    one, tops = sides.one, sides.tops
    # The cheapest purchase and the cheapest opposite on each rung, and up to it or from it on.
    if sum(map(len, rungs)) == len(rungs):
        own = [tops[rung[0]] for rung in rungs]
        opposite = [tops[rung[0] ^ 1] for rung in rungs]
    else:
        own = [min([tops[contract] for contract in rung]) for rung in rungs]
        opposite = [min([tops[contract ^ 1] for contract in rung]) for rung in rungs]
    easier = list(accumulate(own, min))
    harder = list(accumulate(reversed(opposite), min))
    harder.reverse()
    # A purchase that is dearer than every token above it, or a token worth less than every purchase below it, is in no
    # best bundle; neither is a level of that price.
    buys = [cost + other < one for cost, other in zip(own, harder, strict=True)]
    sales = [cost + other < one for cost, other in zip(opposite, easier, strict=True)]
    if True not in buys:
        return NOTHING
    counts: dict[int, int] = {}
    value = number = 0
    tokens: list[tuple[int, int, int, int]] = []
    used_rungs = [rung for rung in range(len(rungs) - 1, -1, -1) if sales[rung] or buys[rung]]
    for rung in used_rungs:
        if sales[rung]:
            for cost, size, contract in _offers(rungs[rung], 1, one - easier[rung], sides):
                number += 1
                # Dearest first; the number keeps the order of equals fixed.
                heappush(tokens, (cost - one, number, contract, size))
        if not buys[rung]:
            continue
        for cost, size, contract in _offers(rungs[rung], 0, one - harder[rung], sides):
            left = size
            while left and tokens and -tokens[0][0] > cost:
                negative_worth, place, other, units = tokens[0]
                used = min(left, units)
                value -= (negative_worth + cost) * used
                left -= used
                # A token of a purchase stands for undoing it.
                counts[other] = counts.get(other, 0) + (used if place > 0 else -used)
                if used == units:
                    heappop(tokens)
                else:
                    tokens[0] = (negative_worth, place, other, units - used)
            if left < size:
                counts[contract] = counts.get(contract, 0) + size - left
                number += 1
                heappush(tokens, (-cost, -number, contract, size - left))
            if left:
                # Dearer offers of this rung meet the same or cheaper tokens.
                break
    counts = {contract: units for contract, units in counts.items() if units}
    return Found(counts, value, _pairs([rungs[rung] for rung in used_rungs], counts))


def _offers(rung: Sequence[int], side: int, below: int, sides: Sides) -> list[tuple[int, int, int]]:
    """What a rung offers of its contracts, or with ``side`` 1 of their opposites: cost, units and contract, cheapest
    first."""
    if len(rung) == 1:
        contract = rung[0] ^ side
        return [(cost, size, contract) for cost, size in sides.offers(contract, below)]
    return sorted(
        (cost, size, contract ^ side) for contract in rung for cost, size in sides.offers(contract ^ side, below)
    )


def _pairs(rungs: Rungs, counts: dict[int, int]) -> tuple[Part, ...]:
    """Split a bundle into pairs, each purchase covering the nearest harder opposite that is still free.

    :param rungs: those that the bundle is on, the hardest first
    """
    free: list[tuple[int, int]] = []
    found = []
    for rung in rungs:
        for contract in rung:
            if contract ^ 1 in counts:
                free.append((contract ^ 1, counts[contract ^ 1]))  # noqa: PERF401  # a walk, not a list to be made
        for contract in rung:
            left = counts.get(contract, 0)
            while left:
                harder, units = free.pop()
                used = min(left, units)
                found.append(Part((contract, harder), used))
                left -= used
                if used < units:
                    free.append((harder, units - used))
    return tuple(found)
