"""From the linear optimum to whole orders: the quantities whose exact profit is best.

A solver knows linear fees. An order pays a rounded fee, so the last level of a thin edge often costs more than it
brings, and a few hundredths of a contract decide whether a rounding step is paid. It is also sent with one limit, its
worst level, and may have to pay that for everything when the book moves before it arrives. The objective is therefore
the profit at the levels, highest fee, worst payout, among the quantities that do not lose at their limits either (their
floor); where none of those gains, the best floor, so that a refusal can be explained.
Amounts: counts 1e-2 contracts, cash 1e-6 dollars.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from kalshi_arb.detection.solvers import Part
from kalshi_arb.detection.solvers.states import Row, paid
from kalshi_arb.domain.book import Level
from kalshi_arb.domain.fees import Precision, order_cost_bound, order_fee_bound
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price

# Between two level ends the profit rises in a straight line less a rounding sawtooth, so the best quantity lies within
# a few steps below an end: once the profit is below the best by more than the sawtooth is high, no smaller count can be
# better. These bound how many steps and ends are priced at most; thin edges need the most.
_STEPS = 1_500
_FEWEST_STEPS = 24
_ENDS = 256
_SCANNED_ENDS = 4
_PASSES = 3


class Cost(NamedTuple):
    """What a count costs at the levels and with every contract at its limit, the highest fees included."""

    levels: int
    limit: int


_FREE = Cost(0, 0)


class Curve:
    """What one leg costs as a function of its count."""

    __slots__ = ("_before", "_costs", "_fewest", "_levels", "_market", "_precision", "ends", "step")

    def __init__(self, market: Market, asks: Sequence[Level], precision: Precision, smallest_fill: Count) -> None:
        self._market = market
        self._levels = asks
        self._precision = precision
        self._fewest = smallest_fill
        self._costs: dict[int, Cost] = {0: _FREE}
        self.ends = list(accumulate(level.size for level in asks))
        self._before = [0, *accumulate(level.price * level.size for level in asks)]
        self.step = market.count_step

    @property
    def sawtooth(self) -> int:
        """More cash than rounding alone can move the cost by from one count to another."""
        return 2 * int(self._precision)

    @property
    def depth(self) -> int:
        """All that can be bought."""
        return self.ends[-1] if self.ends else 0

    def limit(self, count: int) -> Price:
        """The worst level that ``count`` contracts need. ``count`` lies between 1 and the depth."""
        return self._levels[bisect_left(self.ends, count)].price

    def cost(self, count: int) -> Cost:
        """What ``count`` contracts cost: with the highest fee that the seen levels can cause, and at the limit with the
        highest however the book stands when the order arrives."""
        known = self._costs.get(count)
        if known is not None:
            return known
        schedule, precision, fewest = self._market.fees, self._precision, self._fewest
        last = bisect_left(self.ends, count)
        limit = self._levels[last].price
        before = self.ends[last - 1] if last else 0
        fills = [*self._levels[:last], Level(limit, Count(count - before))]
        seen: int = order_fee_bound(schedule, fills, precision, fewest)
        highest = seen
        if last:
            at_limit = [(limit, size) for _, size in fills]
            highest = max(highest, order_fee_bound(schedule, at_limit, precision, fewest))
        may_round = self._market.grid.leaves_steps_of(limit, Price(precision))
        most = order_cost_bound(schedule, limit, Count(count), precision, fewest, revenue_may_round=may_round)
        highest = max(highest, most - limit * count)
        cost = self._costs[count] = Cost(
            self._before[last] + limit * (count - before) + seen, limit * count + highest
        )  # fmt: skip
        return cost

    def is_whole(self) -> bool:
        """Whether every level holds whole contracts, or the market trades nothing else."""
        return self.step == ONE_CONTRACT or all(level.size % ONE_CONTRACT == 0 for level in self._levels)


def worth(payout: int, costs: Iterable[Cost]) -> int:
    """The objective: the profit at the levels where the limits leave one too, else the floor."""
    levels = limit = payout
    for cost in costs:
        levels -= cost.levels
        limit -= cost.limit
    return levels if limit > 0 else min(limit, levels)


def step_of(curves: Iterable[Curve]) -> int:
    """Whole contracts where the books hold whole contracts or some market trades nothing else, else hundredths."""
    every = list(curves)
    if all(curve.is_whole() for curve in every) or any(curve.step == ONE_CONTRACT for curve in every):
        return ONE_CONTRACT
    return 1


def trim_sold(curves: Sequence[Curve], sets: int) -> list[int]:
    """Counts per NO leg of an exclusive set, the common count at most ``sets``.

    With counts ``x`` the worst payout is their sum less the largest, so at a common count each leg is chosen by itself:
    all of it, its best shorter count, or none where its own payout would not cover its cost.
    """
    step = step_of(curves)
    good = [_good_points(curve, step, sets) for curve in curves]

    def counts(common: int) -> list[int]:
        return [_best_count(curve, points, common) for curve, points in zip(curves, good, strict=True)]

    def value(common: int) -> int:
        chosen = counts(common)
        paid_out = (sum(chosen) - max(chosen)) * ONE_DOLLAR
        return worth(paid_out, [curve.cost(count) for curve, count in zip(curves, chosen, strict=True)])

    chosen = counts(_search(curves, sets, step, value))
    # Where even the best is a loss, the whole sweep stays on the table so that the refusal can be explained.
    return chosen if any(chosen) else [min(curve.depth, sets) // step * step for curve in curves]


def trim_common(curves: Sequence[Curve], sets: int, payout: int) -> int:
    """The common count of legs that pay ``payout`` (1e-4 dollars) a set together, at most ``sets``."""

    def value(common: int) -> int:
        return worth(common * payout, [curve.cost(common) for curve in curves])

    return _search(curves, sets, step_of(curves), value)


def _good_points(curve: Curve, step: int, sets: int) -> list[tuple[int, int]]:
    """Counts of one leg, rising, each earning more than every one before it: ``(count, earned)``."""
    points: list[tuple[int, int]] = []
    best = 0
    for end in curve.ends:
        whole = end // step * step
        for count in (whole - step, whole):
            if 0 < count <= sets and _earned(curve, count) > best:
                best = _earned(curve, count)
                points.append((count, best))
    return points


def _earned(curve: Curve, count: int) -> int:
    return count * ONE_DOLLAR - curve.cost(count).levels


def _best_count(curve: Curve, points: Sequence[tuple[int, int]], common: int) -> int:
    chosen, earned = 0, 0
    position = bisect_left(points, (common + 1, 0))
    if position:
        chosen, earned = points[position - 1]
    if common <= curve.depth and _earned(curve, common) > earned:
        chosen = common
    return chosen


def _search(curves: Sequence[Curve], sets: int, step: int, value: Callable[[int], int]) -> int:
    """The common count with the best value: first at level ends, then stepwise below the best of them."""
    sets -= sets % step
    ends = sorted({end - end % step for curve in curves for end in curve.ends if step <= end < sets} | {sets})
    if len(ends) > _ENDS:
        ends = ends[:: len(ends) // _ENDS + 1] + ends[-1:]
    ranked = sorted(((value(end), -number) for number, end in enumerate(ends)), reverse=True)
    best, best_count = ranked[0][0], ends[-ranked[0][1]]
    window = max(_FEWEST_STEPS, _STEPS // len(curves))
    slack = sum(curve.sawtooth for curve in curves)
    for _, negative_number in ranked[:_SCANNED_ENDS]:
        number = -negative_number
        below = ends[number - 1] if number else 0
        for count in range(ends[number] - step, max(below, ends[number] - step * window), -step):
            found = value(count)
            if found > best:
                best, best_count = found, count
            elif found < best - slack:
                break
    return best_count


class PartsTrim:
    """Improves a bundle of parts by changing the count of one part at a time."""

    def __init__(self, curves: Mapping[int, Curve], rows: Sequence[Row], parts: Sequence[Part]) -> None:
        """``curves`` by contract, of every contract in ``parts``; ``rows`` the states that must be gained in."""
        merged: dict[tuple[int, ...], int] = {}
        for contracts, units in parts:
            merged[contracts] = merged.get(contracts, 0) + units
        self._curves = curves
        self._contracts = list(merged)
        self._start = list(merged.values())
        self._step = step_of(curves.values())
        self._payouts = _lowest({tuple(sum(paid(row, one) for one in part) for part in merged) for row in rows})

    def totals(self, counts: Sequence[int]) -> dict[int, int]:
        """Counts by contract."""
        found: dict[int, int] = {}
        for contracts, count in zip(self._contracts, counts, strict=True):
            if count:
                for contract in contracts:
                    found[contract] = found.get(contract, 0) + count
        return found

    def value(self, counts: Sequence[int]) -> int:
        """The objective."""
        payout = min(
            sum(count * pays for count, pays in zip(counts, row, strict=True)) for row in self._payouts
        )  # fmt: skip
        return worth(payout, [self._curves[contract].cost(count) for contract, count in self.totals(counts).items()])

    def best(self) -> dict[int, int]:
        """The best counts by contract reached from the whole bundle or from one part of it; never none."""
        found: tuple[int, list[int]] | None = None
        every = range(len(self._start))
        alone = [[self._start[place] if place == one else 0 for place in every] for one in every]
        for start in [self._start, *(alone if len(alone) > 1 else ())]:
            counts = list(start)
            value = self._polish(counts)
            if found is None or value > found[0]:
                found = value, counts
        return self.totals(found[1] if found is not None else self._start)

    def _polish(self, counts: list[int]) -> int:
        best = self.value(counts)
        for _ in range(_PASSES):
            before = best
            moving = [place for place, count in enumerate(counts) if count]
            for place in moving:
                best = self._improve(counts, place, best, max(_FEWEST_STEPS, _STEPS // (2 * len(moving))))
            if best == before or len(moving) == 1:
                break
        return best

    def _improve(self, counts: list[int], place: int, best: int, window: int) -> int:
        totals = self.totals(counts)
        now = counts[place]
        if not now:
            return best
        curves = [(self._curves[contract], totals[contract] - now) for contract in self._contracts[place]]
        most = min(curve.depth - others for curve, others in curves)
        ends = {end - others for curve, others in curves for end in curve.ends} | {now, most}
        candidates = sorted({end - end % self._step for end in ends if self._step <= end <= most}, reverse=True)
        if sum(count > 0 for count in counts) > 1:
            candidates.append(0)
        chosen = now

        def attempt(count: int) -> int:
            nonlocal best, chosen
            counts[place] = count
            value = self.value(counts)
            if value > best:
                best, chosen = value, count
            return value

        for count in candidates:
            attempt(count)
        top = chosen
        slack = sum(curve.sawtooth for curve, _ in curves)
        for count in range(top - self._step, max(0, top - self._step * window), -self._step):
            if attempt(count) < best - slack:
                break
        counts[place] = chosen
        return best


def _lowest(rows: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The payouts by part that can be the worst: none that another one is nowhere above."""
    return [
        row
        for row in rows
        if not any(other != row and all(map(int.__le__, other, row)) for other in rows)
    ]  # fmt: skip
