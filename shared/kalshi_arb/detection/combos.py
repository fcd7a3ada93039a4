"""The covering sets of a combo: contracts of which at least one pays, whatever its legs do.

A combo pays when all its legs come true. Two kinds of sets cover every result, and prices of a single "all of them"
and its independent legs that respect both kinds are coherent (with the bounds 0 and 1 these are the facets of its joint
prices), so a group without an edge in one of them has none at all:

- NO of the combo with the selected side of one leg: when the leg fails the combo fails
- YES of the combo with the opposite side of every leg: when no leg fails the combo pays

Both kinds never have an edge together on uncrossed books: what makes the one cheap makes the other dear.
"""

from collections.abc import Sequence

from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.state_space import Group

Cover = tuple[tuple[int, Outcome], ...]
"""Contracts by the place of their market in the group, in the group's order."""


def covers(group: Group) -> Sequence[Cover]:
    """Every covering set of a combo's group: the combo is its first market, the legs follow in the combo's order."""
    selected = [leg.outcome for leg in group.markets[0].legs]
    pairs = [((0, Outcome.NO), (place, outcome)) for place, outcome in enumerate(selected, start=1)]
    opposites = [(place, outcome.other) for place, outcome in enumerate(selected, start=1)]
    return (*pairs, ((0, Outcome.YES), *opposites))
