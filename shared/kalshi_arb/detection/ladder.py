"""The exact sweep of nested markets: a heap with regret (slope trick), O(levels log levels), integers only.

A bundle of a ladder is a transport: every YES bought on an easier strike covers one NO bought on a harder one, and the
pair pays at least a dollar. From the hardest strike down, NO offers become tokens worth ``1 - cost``; each YES offer is
matched with the dearest token above it, and goes back as a token worth its own cost, so that a cheaper YES offer of an
easier strike can take its place. Pairs chosen one by one would count shared depth twice; pairs of neighbours only would
miss bundles over an empty middle strike. Amounts as in ``exclusive``.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from kalshi_arb.detection.effective import ONE, Offer


class LadderSweep(NamedTuple):
    """Counts of YES and NO bought per market, easiest first, and the gain in the worst state (1e-12 dollars)."""

    yes: tuple[int, ...]
    no: tuple[int, ...]
    value: int


class Flow(NamedTuple):
    """``size`` pairs of YES of market ``easier`` and NO of market ``harder``."""

    easier: int
    harder: int
    size: int


class _Token(NamedTuple):
    # Dearest first; the number keeps the order of equals fixed.
    negative_worth: int
    number: int
    market: int
    is_regret: bool
    size: int


def sweep(yes_offers: Sequence[Sequence[Offer]], no_offers: Sequence[Sequence[Offer]]) -> LadderSweep:
    """The best bundle of a ladder on full depth, before rounding. Offers per market, easiest market first."""
    yes = [0] * len(yes_offers)
    no = [0] * len(no_offers)
    value = number = 0
    tokens: list[_Token] = []
    for market in range(len(yes_offers) - 1, -1, -1):
        for cost, size in yes_offers[market]:
            left = int(size)
            while left and tokens and -tokens[0].negative_worth > cost:
                token = heappop(tokens)
                used = min(left, token.size)
                value += (-token.negative_worth - cost) * used
                left -= used
                yes[market] += used
                if token.is_regret:
                    yes[token.market] -= used
                else:
                    no[token.market] += used
                if used < token.size:
                    heappush(tokens, token._replace(size=token.size - used))
                number += 1
                heappush(tokens, _Token(-cost, number, market, True, used))
            if left:
                # Dearer offers of this market meet the same or cheaper tokens.
                break
        for cost, size in no_offers[market]:
            if cost >= ONE:
                break
            number += 1
            heappush(tokens, _Token(cost - ONE, number, market, False, size))
    return LadderSweep(tuple(yes), tuple(no), value)


def flows(yes: Sequence[int], no: Sequence[int]) -> list[Flow]:
    """Split a bundle into pairs, each YES covering the nearest harder NO that is still free."""
    free: list[list[int]] = []
    found = []
    for market in range(len(yes) - 1, -1, -1):
        left = yes[market]
        while left and free:
            harder, count = free[-1]
            used = min(left, count)
            found.append(Flow(market, harder, used))
            left -= used
            if used == count:
                free.pop()
            else:
                free[-1][1] -= used
        if no[market]:
            free.append([market, no[market]])
    return found
