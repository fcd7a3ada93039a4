"""Which exact method fits a group: read from its states alone, once for each group, never from tickers or names.

- sure: a contract that every state pays is a bundle of its own, whatever the others do; one that no state pays is none
- nested: in every state each contract implies all before it (the opposite of a market may stand for it): heap sweep,
  or for two contracts the sweep of one pair
- exclusive: no state pays two contracts: lockstep sweeps, buying all of them too where every state pays one
- line: every market pays on a stretch of the states in the order they are listed, with the ends joined to a circle:
  network over the cut points
- order: the states are all that some implications allow: network over the statements
- states: anything else, and every group with payouts between nothing and a dollar
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from kalshi_arb.detection.effective import Costs
from kalshi_arb.detection.solvers.network import Arc, circulate
from kalshi_arb.detection.solvers.sides import Sides, tables
from kalshi_arb.detection.solvers.states import Row, best_of_states
from kalshi_arb.detection.solvers.sweeps import NOTHING, Found, Part, buy_together, nested, of_parts, sell_together
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.money import ONE_DOLLAR, Count
from kalshi_arb.domain.state_space import Basis, Group

_REMEMBERED = 20_000
_ENDS = frozenset((0, ONE_DOLLAR))


@unique
class Method(StrEnum):
    """How a bundle was found."""

    SURE = "sure"
    PAIR = "pair"
    HEAP = "heap"
    SALE = "lockstep_sale"
    PURCHASE = "lockstep_purchase"
    NETWORK = "network"
    STATES = "states"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a group is solved over some of its states. ``rows`` are those states without repetitions."""

    tickers: tuple[str, ...]
    costs: tuple[Costs, ...]
    rows: tuple[Row, ...]
    sure: tuple[int, ...] = ()
    pair: tuple[int, ...] = ()
    rungs: tuple[tuple[int, ...], ...] = ()
    exclusive: tuple[int, ...] = ()
    covering: bool = False
    nodes: int = 0
    arcs: tuple[Arc, ...] = ()
    is_general: bool = False

    def run(self, books: Mapping[str, BookSnapshot], step: Count) -> tuple[Method, Found, Sides]:
        """The best bundle on these books, the sure contracts included."""
        sides = Sides(self.tickers, self.costs, books, step)
        method, found = self._search(sides)
        if self.sure:
            sure = _sure(self.sure, sides)
            if sure.counts and not found.counts:
                method = Method.SURE
            found = Found(found.counts | sure.counts, found.value + sure.value, (*found.parts, *sure.parts))
        return method, found, sides

    def _search(self, sides: Sides) -> tuple[Method, Found]:
        if self.pair:
            return Method.PAIR, buy_together(self.pair, sides)
        if self.rungs:
            return Method.HEAP, nested(self.rungs, sides)
        if self.exclusive:
            sold = sell_together(self.exclusive, sides)
            if sold.counts or not self.covering:
                return Method.SALE, sold
            # Where selling all gains, the bids exceed a dollar and so do the asks above them.
            return Method.PURCHASE, buy_together(self.exclusive, sides)
        if self.arcs:
            return Method.NETWORK, circulate(self.nodes, self.arcs, sides)
        if self.is_general:
            return Method.STATES, best_of_states(self.rows, sides)
        return Method.SURE, NOTHING


def _sure(contracts: Sequence[int], sides: Sides) -> Found:
    one = sides.one
    parts = []
    value = 0
    for contract in contracts:
        offers = sides.offers(contract, one)
        if offers:
            parts.append(Part((contract,), sum([size for _, size in offers])))
            value += sum([(one - cost) * size for cost, size in offers])
    return of_parts(parts, value)


_plans: OrderedDict[tuple[int, bool], tuple[Group, Plan]] = OrderedDict()


def plan_of(group: Group, *, every_state: bool) -> Plan:
    """The plan of a group over its certain states, or over all of them; computed once for as long as it is remembered.

    :raises ProofError: a market's fee cannot be computed, or no state is certain.
    """
    key = id(group), every_state
    known = _plans.get(key)
    # The group is kept with its plan, so that no other one can have its identity.
    if known is not None and known[0] is group:
        return known[1]
    plan = _make(group, every_state=every_state)
    _plans[key] = group, plan
    if len(_plans) > _REMEMBERED:
        _plans.popitem(last=False)
    return plan


def _make(group: Group, *, every_state: bool) -> Plan:
    rows = tuple(
        dict.fromkeys(
            Row(state.yes_payouts, state.highest or state.yes_payouts)
            for state in group.states
            if every_state or state.basis is Basis.CERTAIN
        )
    )
    if not rows:
        raise ProofError(f"group {group.group_id} has no certain state")
    plan = Plan(group.tickers, tables(group.markets), rows)
    if any(row.least != row.most for row in rows) or any(not _ENDS.issuperset(row.least) for row in rows):
        return replace(plan, is_general=True)
    columns = [0] * len(group.markets)
    for number, row in enumerate(rows):
        bit = 1 << number
        for place, payout in enumerate(row.least):
            if payout:
                columns[place] |= bit
    everything = (1 << len(rows)) - 1
    sure = tuple(
        2 * place + (not column) for place, column in enumerate(columns) if column in (0, everything)
    )  # fmt: skip
    plan = replace(plan, sure=sure)
    varying = {2 * place: column for place, column in enumerate(columns) if column not in (0, everything)}
    if not varying:
        return plan
    rungs = _rungs(varying, everything)
    if rungs is not None:
        if len(rungs) == 2 and len(rungs[0]) == len(rungs[1]) == 1:
            return replace(plan, pair=(rungs[0][0], rungs[1][0] ^ 1))
        return replace(plan, rungs=rungs)
    union = 0
    for column in varying.values():
        union |= column
    if sum(column.bit_count() for column in varying.values()) == union.bit_count():
        return replace(plan, exclusive=tuple(varying), covering=union == everything)
    arcs = _line(varying, len(rows))
    if arcs is not None:
        return replace(plan, nodes=len(rows), arcs=arcs)
    order = _order(varying, len(rows))
    if order is not None:
        return replace(plan, nodes=order[0], arcs=order[1])
    # The program over the states sees the sure contracts too.
    return replace(plan, sure=(), is_general=True)


def _rungs(columns: Mapping[int, int], everything: int) -> tuple[tuple[int, ...], ...] | None:
    """Contracts by nesting, easiest first, one of each market; None when they do not nest."""
    first = next(iter(columns.values()))
    turned = []
    for contract, column in columns.items():
        opposite = everything ^ column
        if column & first in (column, first):
            turned.append((column, contract))
        elif opposite & first in (opposite, first):
            turned.append((opposite, contract ^ 1))
        else:
            return None
    turned.sort(key=lambda one: -one[0].bit_count())
    rungs: list[tuple[int, list[int]]] = []
    for column, contract in turned:
        if rungs and column == rungs[-1][0]:
            rungs[-1][1].append(contract)
        elif rungs and column & rungs[-1][0] != column:
            return None
        else:
            rungs.append((column, [contract]))
    return tuple(tuple(contracts) for _, contracts in rungs)


def _line(columns: Mapping[int, int], states: int) -> tuple[Arc, ...] | None:
    """The cut points between states as nodes, the last one joined to the first a dollar higher. YES of a stretch costs
    the potential at its end less the one at its beginning."""
    everything = (1 << states) - 1
    arcs = []
    for contract, column in columns.items():
        before = (column << 1 | column >> (states - 1)) & everything
        begins, ends = column & ~before, before & ~column
        if begins.bit_count() != 1:
            return None
        first, after = begins.bit_length() - 1, ends.bit_length() - 1
        wraps = int(after <= first)
        arcs += [Arc(first, after, -wraps, contract), Arc(after, first, wraps - 1, contract + 1)]
    arcs += [Arc(cut + 1, cut, 0) for cut in range(states - 1)]
    return (*arcs, Arc(0, states - 1, 1))


def _order(columns: Mapping[int, int], states: int) -> tuple[int, tuple[Arc, ...]] | None:
    """Node 0 is probability 0, every other node a statement, those that always hold together being one. None when the
    states are fewer than the implications among the statements allow."""
    statements = list(dict.fromkeys(columns.values()))
    members = {
        sum(1 << place for place, column in enumerate(statements) if column >> state & 1) for state in range(states)
    }
    smallest = []
    for place in range(len(statements)):
        meet = (1 << len(statements)) - 1
        for member in members:
            if member >> place & 1:
                meet &= member
        smallest.append(meet)
    # All sets that are closed under the implications are the unions of the smallest ones.
    if 0 not in members or not members.issuperset(smallest):
        return None
    if any(member | least not in members for member in members for least in smallest):
        return None
    node = {column: place + 1 for place, column in enumerate(statements)}
    arcs = []
    for contract, column in columns.items():
        arcs += [Arc(0, node[column], 0, contract), Arc(node[column], 0, -1, contract + 1)]
    for place, least in enumerate(smallest):
        arcs += [Arc(0, place + 1, 1), Arc(place + 1, 0, 0)]
        # What a statement implies is at least as probable.
        implied = [other for other in range(len(statements)) if other != place and least >> other & 1]
        arcs += [Arc(other + 1, place + 1, 0) for other in implied]
    return 1 + len(statements), tuple(arcs)
