"""Bundles of any structure: a program over the states, solved with HiGHS, its whole numbers priced again exactly.

The bundle's payout in every state is at least its worst payout, which is to be as large as possible less the costs.
Without structure the best bundle need not be whole, and rounding it down can turn a gain into a loss: where the linear
program ends between units, it is solved again with whole ones.

Costs, units and contracts as in ``sides``.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_arb.detection.solvers.highs import INFINITY, Program, maximise
from kalshi_arb.detection.solvers.sides import Offers, Sides
from kalshi_arb.detection.solvers.sweeps import NOTHING, Found, Part
from kalshi_arb.domain.errors import SolverError
from kalshi_arb.domain.money import ONE_DOLLAR

# What a dollar's worth of units is to the solver. Much more makes its ratio tests fail, much less lets its tolerance of
# 1e-9 hide what counts: as it is, 1e-10 dollars on ten thousand contracts.
_DOLLAR = 100_000
# How far from a whole number a count may be that is one, and how far the objective from its exact value.
_WHOLE = 1e-6
_RELATIVE = 1e-7
_ABSOLUTE = 1e-2


class Row(NamedTuple):
    """What YES of each market pays in a state (1e-4 dollars): the least and the most."""

    least: tuple[int, ...]
    most: tuple[int, ...]


def paid(row: Row, contract: int) -> int:
    """The least that a contract pays in a state (1e-4 dollars)."""
    place = contract >> 1
    return ONE_DOLLAR - row.most[place] if contract & 1 else row.least[place]


def best_of_states(rows: Sequence[Row], sides: Sides) -> Found:
    """The best bundle over all these states.

    :raises SolverError: the solver ended without an optimum, or with one that its own counts contradict.
    """
    one = sides.one
    offered = {
        contract: offers
        for contract, top in enumerate(sides.tops)
        if top < one and any(paid(row, contract) for row in rows) and (offers := sides.offers(contract, one))
    }
    if not _may_gain(rows, offered):
        return NOTHING
    contracts = list(offered)
    program = _program(rows, offered, one)
    optimum = maximise(program)
    counts = _whole(optimum.columns, contracts)
    if counts is None:
        optimum = maximise(program._replace(whole=range(1, 1 + len(contracts))))
        counts = _whole(optimum.columns, contracts)
        if counts is None:
            raise SolverError("the solver's whole numbers are none")
    value = gain_of(rows, counts, offered, one)
    stated = optimum.gain * one / _DOLLAR
    if abs(value - stated) > _ABSOLUTE * one + _RELATIVE * abs(value):
        raise SolverError(f"the solver states {stated}, its counts are worth {value}")
    return Found(counts, value, _layers(counts)) if value > 0 else NOTHING


def _may_gain(rows: Sequence[Row], offered: dict[int, Offers]) -> bool:
    """Whether any state can pay more than nothing for what is offered: one that pays nothing settles the question."""
    return bool(offered) and all(any(paid(row, contract) for contract in offered) for row in rows)


def _program(rows: Sequence[Row], offered: dict[int, Offers], one: int) -> Program:
    """Columns: the worst payout less a dollar for each NO, the units of each contract, the units of each level.

    A NO is seen as a dollar less a YES: most states pay few YES, so most entries vanish.
    """
    dollar = float(_DOLLAR)
    contracts = list(offered)
    gains = [dollar] + [dollar if contract & 1 else 0.0 for contract in contracts]
    lowest = [-INFINITY] + [0.0] * len(contracts)
    highest = [INFINITY] + [float(sum([size for _, size in offered[contract]])) for contract in contracts]
    found: list[tuple[list[int], list[float]]] = []
    for row in dict.fromkeys(rows):
        columns, values = [0], [-1.0]
        for number, contract in enumerate(contracts, start=1):
            place = contract >> 1
            payout = -row.most[place] if contract & 1 else row.least[place]
            if payout:
                columns.append(number)
                values.append(payout / ONE_DOLLAR)
        found.append((columns, values))
    row_lowest = [0.0] * len(found)
    row_highest = [INFINITY] * len(found)
    for number, contract in enumerate(contracts, start=1):
        levels = offered[contract]
        first = len(gains)
        gains += [-cost * _DOLLAR / one for cost, _ in levels]
        lowest += [0.0] * len(levels)
        highest += [float(size) for _, size in levels]
        found.append(([number, *range(first, len(gains))], [1.0] + [-1.0] * len(levels)))
        row_lowest.append(0.0)
        row_highest.append(0.0)
    return Program(gains, lowest, highest, found, row_lowest, row_highest)


def _whole(columns: Sequence[float], contracts: Sequence[int]) -> dict[int, int] | None:
    counts = {}
    for number, contract in enumerate(contracts, start=1):
        units = round(columns[number])
        if abs(columns[number] - units) > _WHOLE * max(1.0, abs(units)):
            return None
        if units:
            counts[contract] = units
    return counts


def gain_of(rows: Sequence[Row], counts: dict[int, int], offered: dict[int, Offers], one: int) -> int:
    """What these units gain in the worst of the states (1e-12 dollars), cheapest levels first."""
    worst = min([sum([paid(row, contract) * units for contract, units in counts.items()]) for row in rows])
    spent = 0
    for contract, units in counts.items():
        left = units
        for cost, size in offered[contract]:
            used = min(left, size)
            spent += cost * used
            left -= used
        if left:
            raise SolverError(f"the solver buys {left} units more than there are")
    return worst * one // ONE_DOLLAR - spent


def _layers(counts: dict[int, int]) -> tuple[Part, ...]:
    """Counts as parts in which every contract has the same: all of them, then those that go on."""
    parts = []
    before = 0
    for units in sorted(set(counts.values())):
        contracts = tuple(contract for contract, count in counts.items() if count >= units)
        parts.append(Part(contracts, units - before))
        before = units
    return tuple(parts)
