"""Bundles as a circulation of least cost, in exact integers.

Where every contract's price is the difference of two potentials (the probability up to two cut points of a line; the
probabilities of two statements, one of which implies the other), a coherent pricing is a set of potentials and a bundle
is a circulation: buying is an arc with the level's cost, what the structure promises is an arc without a limit. The
matrix is totally unimodular, so the optimum is made of whole units. A circulation is best when no cycle of what is left
has a negative cost; such cycles are found by relaxing labels and cancelled until the labels of all nodes agree, and the
labels are then the proof.

Costs, units and contracts as in ``sides``.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from kalshi_arb.detection.solvers.sides import NEVER, Offers, Sides
from kalshi_arb.detection.solvers.sweeps import NOTHING, Found, Part, of_parts


class Arc(NamedTuple):
    """From node to node. Buying a unit of ``contract`` costs its price plus ``dollars``; without a contract (-1) the
    arc is free to use at ``dollars`` a unit."""

    tail: int
    head: int
    dollars: int
    contract: int = -1


def circulate(nodes: int, arcs: Sequence[Arc], sides: Sides) -> Found:
    """The best bundle of a network."""
    one = sides.one
    offered = [arc for arc in arcs if arc.contract < 0 or sides.tops[arc.contract] < one]
    flow = _Circulation(nodes, offered, sides)
    flow.optimise()
    parts = flow.parts()
    return of_parts(parts, flow.value()) if parts else NOTHING


class _Circulation:
    """Arc ``e`` has its way back at ``e ^ 1``: ``cost`` and ``room`` are those of the next unit either way."""

    def __init__(self, nodes: int, arcs: Sequence[Arc], sides: Sides) -> None:
        self._arcs = arcs
        one = sides.one
        self._levels: list[Offers] = []
        self._filled = [0] * len(arcs)
        self._level = [0] * len(arcs)
        self._used = [0] * len(arcs)
        self._cost: list[int] = []
        self._room: list[int] = []
        self._head: list[int] = []
        self._out: list[list[int]] = [[] for _ in range(nodes)]
        for number, arc in enumerate(arcs):
            shift = arc.dollars * one
            offers = sides.offers(arc.contract, one) if arc.contract >= 0 else [(0, NEVER)]
            levels = [(cost + shift, size) for cost, size in offers]
            self._levels.append(levels)
            self._cost += (levels[0][0], 0)
            self._room += (levels[0][1], 0)
            self._head += (arc.head, arc.tail)
            self._out[arc.tail].append(2 * number)
            self._out[arc.head].append(2 * number + 1)

    def optimise(self) -> None:
        """Cancel cycles of negative cost until there is none."""
        cost, room, head, out = self._cost, self._room, self._head, self._out
        nodes = len(out)
        label = [0] * nodes
        parent = [-1] * nodes
        queue = deque(range(nodes))
        waiting = [True] * nodes
        lowered = 0
        while queue:
            node = queue.popleft()
            waiting[node] = False
            here = label[node]
            for edge in out[node]:
                if room[edge]:
                    there = head[edge]
                    reached = here + cost[edge]
                    if reached < label[there]:
                        label[there] = reached
                        parent[there] = edge
                        lowered += 1
                        if not waiting[there]:
                            waiting[there] = True
                            queue.append(there)
            if lowered >= nodes:
                lowered = 0
                for cycle in self._cycles(parent):
                    self._cancel(cycle)
                    for edge in cycle:
                        there = head[edge]
                        parent[there] = -1
                        if not waiting[there]:
                            waiting[there] = True
                            queue.append(there)

    def _cycles(self, parent: Sequence[int]) -> list[list[int]]:
        """The cycles of the parents, each of negative cost: a label went down by less than its way round."""
        head = self._head
        seen = [0] * len(parent)
        found = []
        for start in range(len(parent)):
            node = start
            while parent[node] >= 0 and not seen[node]:
                seen[node] = start + 1
                node = head[parent[node] ^ 1]
            if parent[node] >= 0 and seen[node] == start + 1:
                cycle = []
                last = node
                while True:
                    edge = parent[last]
                    cycle.append(edge)
                    last = head[edge ^ 1]
                    if last == node:
                        break
                found.append(cycle)
        return found

    def _cancel(self, cycle: Sequence[int]) -> None:
        amount = min([self._room[edge] for edge in cycle])
        for edge in cycle:
            self._push(edge, amount)

    def _push(self, edge: int, amount: int) -> None:
        """Move along an arc, or back; never further than to the end of a level."""
        number = edge >> 1
        levels = self._levels[number]
        level, used = self._level[number], self._used[number]
        if edge & 1:
            if not used:
                level -= 1
                used = levels[level][1]
            used -= amount
            self._filled[number] -= amount
        else:
            used += amount
            self._filled[number] += amount
            if used == levels[level][1]:
                level, used = level + 1, 0
        self._level[number], self._used[number] = level, used
        if level < len(levels):
            self._cost[2 * number], self._room[2 * number] = levels[level][0], levels[level][1] - used
        else:
            self._room[2 * number] = 0
        if used:
            self._cost[2 * number + 1], self._room[2 * number + 1] = -levels[level][0], used
        elif level:
            self._cost[2 * number + 1], self._room[2 * number + 1] = -levels[level - 1][0], levels[level - 1][1]
        else:
            self._room[2 * number + 1] = 0

    def value(self) -> int:
        """What the circulation gains (1e-12 dollars)."""
        total = 0
        for number, levels in enumerate(self._levels):
            level = self._level[number]
            total -= sum([cost * size for cost, size in levels[:level]])
            if self._used[number]:
                total -= levels[level][0] * self._used[number]
        return total

    def parts(self) -> tuple[Part, ...]:
        """The circulation as cycles, each the contracts that it buys together."""
        left = list(self._filled)
        out: list[list[int]] = [[] for _ in self._out]
        for number, arc in enumerate(self._arcs):
            if left[number]:
                out[arc.tail].append(number)
        found: list[Part] = []
        for start in range(len(out)):
            while self._next(out[start], left) >= 0:
                path: list[int] = []
                at: dict[int, int] = {}
                node = start
                while node not in at:
                    at[node] = len(path)
                    number = self._next(out[node], left)
                    path.append(number)
                    node = self._arcs[number].head
                cycle = path[at[node] :]
                units = min([left[number] for number in cycle])
                for number in cycle:
                    left[number] -= units
                contracts = [self._arcs[number].contract for number in cycle if self._arcs[number].contract >= 0]
                found.append(Part(tuple(sorted(contracts)), units))
        return tuple(found)

    @staticmethod
    def _next(numbers: list[int], left: Sequence[int]) -> int:
        while numbers and not left[numbers[-1]]:
            numbers.pop()
        return numbers[-1] if numbers else -1
