"""The parts of a group that the exact sweeps can work on: chains of contracts, and sets of which at most one pays.

A chain lists contracts, each a place in the group and an outcome, from the easiest to the hardest: in every certain
state each implies all before it. NO of "below 5" is YES of "5 or above", so thresholds of both directions form one
chain. What the shapes of a group leave out (a bracket against the two thresholds at its ends, say) is never searched;
it can still be verified.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from kalshi_arb.domain.market import Market, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis, Family, Group

Contract = tuple[int, Outcome]
Chain = tuple[Contract, ...]

# As thresholds on a rising scale: the outcome that pays above the strike, and whether it leaves the strike itself out.
_RISING = {
    StrikeType.GREATER_OR_EQUAL: (Outcome.YES, False),
    StrikeType.GREATER: (Outcome.YES, True),
    StrikeType.LESS: (Outcome.NO, False),
    StrikeType.LESS_OR_EQUAL: (Outcome.NO, True),
}


def chains(group: Group) -> tuple[Chain, ...]:
    """The chains to search. Where contracts of a chain always pay alike, a second one has them the other way round."""
    match group.family:
        case Family.LADDER | Family.DEADLINE:
            return (tuple((place, Outcome.YES) for place in range(len(group.markets))),)
        case Family.LINE:
            return _line_chains(group.markets)
        case Family.USER:
            return _user_chains(group)
        case _:
            return ()


def at_most_one(group: Group) -> tuple[int, ...]:
    """Places of markets of which no certain state pays two; empty when the group has no such set to search."""
    match group.family:
        case Family.PARTITION | Family.EXCLUSIVE | Family.GAME:
            return tuple(range(len(group.markets)))
        case Family.LINE:
            places = [place for place, one in enumerate(group.markets) if one.strike_type is StrikeType.BETWEEN]
        case Family.USER:
            places = list(range(len(group.markets)))
        case _:
            return ()
    together = max((sum(row[place] for place in places) for row in certain_rows(group)), default=0)
    return tuple(places) if len(places) > 1 and together <= ONE_DOLLAR else ()


def certain_rows(group: Group) -> list[tuple[int, ...]]:
    """The payouts of every certain state."""
    return [state.yes_payouts for state in group.states if state.basis is Basis.CERTAIN]


def _line_chains(markets: Sequence[Market]) -> tuple[Chain, ...]:
    rungs: list[_Rung] = []
    for place, market in enumerate(markets):
        known = _RISING.get(market.strike_type)
        strike = market.floor if market.floor is not None else market.cap
        if known is not None and strike is not None:
            rungs.append(((strike, known[1]), (place, known[0])))
    return _both_ways(rungs, lambda rung: rung[0]) if len(rungs) > 1 else ()


def _user_chains(group: Group) -> tuple[Chain, ...]:
    columns = list(zip(*certain_rows(group), strict=True))
    first = columns[0]
    turned: list[_Rung] = []
    for place, column in enumerate(columns):
        opposite = tuple(ONE_DOLLAR - value for value in column)
        if _inside(column, first) or _inside(first, column):
            turned.append((column, (place, Outcome.YES)))
        elif _inside(opposite, first) or _inside(first, opposite):
            turned.append((opposite, (place, Outcome.NO)))
        else:
            return ()
    turned.sort(key=lambda rung: -sum(rung[0]))
    if not all(_inside(harder[0], easier[0]) for easier, harder in pairwise(turned)):
        return ()
    return _both_ways(turned, lambda rung: -sum(rung[0]))


_Rung = tuple[tuple[Any, ...], Contract]


def _both_ways(rungs: Sequence[_Rung], key: Callable[[_Rung], Any]) -> tuple[Chain, ...]:
    # Sorting keeps the order of equals, so the second has them turned round.
    backwards = list(rungs)[::-1]
    found = [tuple(contract for _, contract in sorted(order, key=key)) for order in (rungs, backwards)]
    return tuple(dict.fromkeys(found))


def _inside(inner: Sequence[int], outer: Sequence[int]) -> bool:
    return all(one <= other for one, other in zip(inner, outer, strict=True))
