"""Coherent prices of markets that each pay on one stretch of a line: a measure on the cells between the cut points.

With ``S`` the probability of lying at a cut point or beyond, a stretch from one cut point to another is worth the
difference of two ``S``. Quotes are then difference constraints, one arc each between two cut points, and coherent
prices exist exactly when the arcs have no negative cycle; such a cycle is a bundle that gains, one contract for each of
its quotes. A vector once found stays valid until a quote leaves it behind, and is then repaired by shortest paths from
that quote's arc alone, which moves only the cut points that must move.

Integers only: prices in 1e-10 dollars. A missing side is a price beyond every bound.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from kalshi_arb.detection.effective import ONE
from kalshi_arb.detection.prices import NO_ASK, TopBundle

_BEYOND = 10**5 * ONE
"""Weights beyond this belong to a side that is missing."""


def stretches(columns: Sequence[Sequence[bool]]) -> tuple[tuple[int, int, bool], ...] | None:
    """Each market's first state and the one after its last, and whether it pays outside of them instead of inside.

    None when some market pays on no single stretch of the states in their order, nor outside of one.
    """
    found = []
    for column in columns:
        turned = False
        places = [place for place, pays in enumerate(column) if pays]
        if places and places[-1] - places[0] + 1 != len(places):
            turned = True
            places = [place for place, pays in enumerate(column) if not pays]
            if places[-1] - places[0] + 1 != len(places):
                return None
        found.append((places[0], places[-1] + 1, turned) if places else (0, 0, turned))
    return tuple(found)


class LinePrices:
    """The kept price vector of one line. ``low`` and ``high`` bound each market's price; they are the same here."""

    __slots__ = (
        "_broken", "_cycle", "_fixed", "_heads", "_nodes", "_out", "_stretches", "_tails", "_terms", "_values",
        "_weights", "high", "low",
    )  # fmt: skip

    def __init__(self, cells: int, parts: Sequence[tuple[int, int, bool]]) -> None:
        self._stretches = parts
        self._nodes = cells
        # The last cut point is the first one less a dollar, so the two are one node.
        self._values = [-(node * ONE // cells) for node in range(cells)]
        self._tails: list[int] = []
        self._heads: list[int] = []
        self._weights: list[int] = []
        self._fixed: dict[int, int] = {}
        # What a contract on the stretch is in YES, and what its arcs lie off its price.
        self._terms: list[tuple[bool, int]] = []
        for place, (first, last, turned) in enumerate(parts):
            start, end = first % cells, last % cells
            if start == end:
                self._fixed[place] = ONE if (last > first) is not turned else 0
            shift = ONE if last == cells else 0
            self._terms.append((False, self._fixed[place]) if start == end else (turned, shift))
            # Even arcs are what the stretch can be bought for, odd arcs what it can be sold for.
            self._tails += (end, start)
            self._heads += (start, end)
            self._weights += (NO_ASK, NO_ASK)
        for node in range(cells):
            # The probability of lying further on is not higher.
            self._tails.append(node)
            self._heads.append((node + 1) % cells)
            self._weights.append(ONE if node == cells - 1 else 0)
        self._out: list[list[int]] = [[] for _ in range(cells)]
        for slot, tail in enumerate(self._tails):
            if tail != self._heads[slot]:
                self._out[tail].append(slot)
        self._broken: set[int] = set()
        self._cycle: list[int] = []
        self.low = [0] * len(parts)
        self.high = self.low
        for place in range(len(parts)):
            self._reprice(place)

    def take(self, place: int, bid: int, ask: int) -> bool:
        """A quote changed: what selling one YES frees and what buying one costs. Whether the price lies between."""
        turned, shift = self._terms[place]
        weights, slot = self._weights, 2 * place
        if turned:
            weights[slot] = ONE - bid - shift
            weights[slot + 1] = shift - ONE + ask
        else:
            weights[slot] = ask - shift
            weights[slot + 1] = shift - bid
        inside = bid <= self.low[place] <= ask
        if not inside:
            # What a later change mends, ``settle`` takes off.
            self._broken.update(one for one in (slot, slot + 1) if not self._holds(one))
        return inside

    def _holds(self, slot: int) -> bool:
        return self._values[self._heads[slot]] <= self._values[self._tails[slot]] + self._weights[slot]

    def settle(self) -> bool:
        """Repair the vector. False when no vector fits every quote; ``breach`` then holds the bundle."""
        for slot in sorted(self._broken):
            if self._holds(slot):
                self._broken.discard(slot)
                continue
            if slot >> 1 in self._fixed:
                self._cycle = [slot]
                return False
            weight = self._weights[slot]
            # In the middle between bid and ask if it can be, so that the next small move breaks nothing.
            spread = min(weight + self._weights[slot ^ 1], _MOST_ROOM)
            if not self._tighten(slot, weight - spread // 2) and not self._tighten(slot, weight):
                return False
            self._broken.discard(slot)
        return True

    def breach(self) -> TopBundle:
        """The bundle that ``settle`` found last."""
        return self._bundle(self._cycle)

    def nearest(self) -> TopBundle | None:
        """The bundle on more than one market that comes nearest to a gain, while the vector fits every quote.

        Every quote by the least slack it has in the vector, each with the shortest way back over other markets, until
        the slack alone is more than the best bundle lacks.
        """
        values, weights = self._values, self._weights
        slacks = sorted(
            (weights[slot] + values[self._tails[slot]] - values[self._heads[slot]], slot)
            for slot in range(2 * len(self._stretches))
            if weights[slot] < _BEYOND and slot >> 1 not in self._fixed
        )
        best: list[int] = []
        lack = _BEYOND
        for slack, slot in slacks:
            if slack >= lack:
                break
            found = self._way_back(slot, lack - slack)
            # A way that crosses itself is two bundles, each with less to gain from the other than nothing.
            if found is not None and self._is_simple([slot, *found[1]]):
                lack, best = slack + found[0], [slot, *found[1]]
        return self._bundle(best) if best else None

    def _tighten(self, slot: int, weight: int) -> bool:
        """Make one arc hold with this weight and keep every other that is not broken. False, and nothing changed, when
        that needs a negative cycle."""
        values, weights, heads, out, broken = self._values, self._weights, self._heads, self._out, self._broken
        tail, head = self._tails[slot], heads[slot]
        due = {head: values[tail] + weight - values[head]}
        via = {head: slot}
        heap = [(due[head], head)]
        moved: dict[int, int] = {}
        while heap:
            change, node = heappop(heap)
            if node in moved:
                continue
            if node == tail:
                self._cycle = self._way_of(via, tail, slot)
                return False
            here = moved[node] = values[node] + change
            for step in out[node]:
                there = heads[step]
                if there in moved:
                    continue
                lowered = here + weights[step] - values[there]
                if lowered < due.get(there, 0) and (step not in broken or step == slot):
                    due[there] = lowered
                    via[there] = step
                    heappush(heap, (lowered, there))
        touched = set()
        for node, value in moved.items():
            values[node] = value
        for node in moved:
            for step in out[node]:
                touched.add(step >> 1)
        for place in touched:
            if place < len(self._stretches):
                self._reprice(place)
        return True

    def _way_of(self, via: dict[int, int], node: int, last: int) -> list[int]:
        steps = [via[node]]
        while steps[-1] != last:
            steps.append(via[self._tails[steps[-1]]])
        return steps

    def _way_back(self, slot: int, budget: int) -> tuple[int, list[int]] | None:
        """The shortest way from the head of an arc to its tail that uses another market's quote and none of its own,
        in slack; None when it is not under ``budget``. No way takes both sides of the first quote it uses."""
        values, weights, heads, out = self._values, self._weights, self._heads, self._out
        own, goal = slot >> 1, (self._tails[slot], True)
        start = (heads[slot], False)
        markets = len(self._stretches)
        near: dict[tuple[int, bool], int] = {start: 0}
        via: dict[tuple[int, bool], tuple[tuple[int, bool], int]] = {}
        first: dict[tuple[int, bool], int] = {start: -1}
        heap = [(0, start)]
        done = set()
        while heap:
            length, place = heappop(heap)
            if place in done:
                continue
            done.add(place)
            if place == goal:
                steps = []
                while place != start:
                    place, step = via[place]
                    steps.append(step)
                return length, steps
            node, quoted = place
            for step in out[node]:
                market = step >> 1
                if market == own or (quoted and market == first[place]):
                    continue
                head = heads[step]
                longer = length + weights[step] + values[node] - values[head]
                there = (head, quoted or market < markets)
                if longer < budget and longer < near.get(there, budget):
                    near[there] = longer
                    via[there] = (place, step)
                    first[there] = first[place] if quoted else (market if market < markets else -1)
                    heappush(heap, (longer, there))
        return None

    def _is_simple(self, cycle: Sequence[int]) -> bool:
        return len({self._tails[slot] for slot in cycle}) == len(cycle)

    def _bundle(self, cycle: Sequence[int]) -> TopBundle:
        counts: dict[int, int] = {}
        for slot in cycle:
            place, sold = divmod(slot, 2)
            if place < len(self._stretches):
                turned = self._stretches[place][2] and place not in self._fixed
                counts[place] = counts.get(place, 0) + (1 if bool(sold) is turned else -1)
        edge = -sum(self._weights[slot] for slot in cycle)
        return TopBundle(edge, 1, tuple((place, count) for place, count in sorted(counts.items()) if count))

    def _reprice(self, place: int) -> None:
        if place in self._fixed:
            self.low[place] = self._fixed[place]
            return
        first, last, turned = self._stretches[place]
        value = self._values[first % self._nodes] - self._values[last % self._nodes]
        if last == self._nodes:
            value += ONE
        self.low[place] = ONE - value if turned else value


_MOST_ROOM = 4 * ONE // 100
"""How far from a quote the middle may lie: the other side may be missing, or a dollar away."""
