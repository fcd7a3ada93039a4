"""From an exact sweep to whole orders: the quantities whose floor profit is best after rounding.

A sweep knows linear fees and level prices. An order is sent with one limit, its worst level, and pays a rounded fee, so
the last level of a thin edge often costs more than it brings, and a few hundredths of a contract decide whether a
rounding step is paid. Here the floor is the objective: everything at its limit, highest fee, worst payout.
Amounts: counts 1e-2 contracts, cash 1e-6 dollars.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from kalshi_arb.detection.ladder import Flow
from kalshi_arb.domain.book import Level
from kalshi_arb.domain.fees import FeeSchedule, Precision, order_fee_bound
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price

# Between two level ends the floor rises in a straight line less a rounding sawtooth, so the best quantity lies within
# a few steps below an end: once the floor is below the best by more than the sawtooth is high, no smaller count can be
# better. These bound how many steps and ends are priced at most; thin edges need the most.
_STEPS = 1_500
_FEWEST_STEPS = 24
_ENDS = 256
_SCANNED_ENDS = 4
_PASSES = 3


class Curve:
    """What one leg costs as a function of its count, when the whole count is ordered at the worst level it needs."""

    __slots__ = ("_costs", "_fewest", "_levels", "_precision", "_schedule", "ends")

    def __init__(
        self, schedule: FeeSchedule, asks: Sequence[Level], precision: Precision, smallest_fill: Count
    ) -> None:
        self._schedule = schedule
        self._levels = asks
        self._precision = precision
        self._fewest = smallest_fill
        self._costs: dict[int, int] = {0: 0}
        self.ends = list(accumulate(level.size for level in asks))

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

    def cost(self, count: int) -> int:
        """Cash for ``count`` contracts at their limit, with the highest fee at the levels or at the limit."""
        known = self._costs.get(count)
        if known is not None:
            return known
        last = bisect_left(self.ends, count)
        limit = self._levels[last].price
        before = self.ends[last - 1] if last else 0
        fills = [*self._levels[:last], Level(limit, Count(count - before))]
        fee = order_fee_bound(self._schedule, fills, self._precision, self._fewest)
        if last:
            at_limit = [(limit, size) for _, size in fills]
            fee = max(fee, order_fee_bound(self._schedule, at_limit, self._precision, self._fewest))
        cost = limit * count + fee
        self._costs[count] = cost
        return cost

    def is_whole(self) -> bool:
        """Whether every level holds whole contracts."""
        return all(level.size % ONE_CONTRACT == 0 for level in self._levels)


def step_of(curves: Iterable[Curve]) -> int:
    """Whole contracts where the books hold whole contracts, else hundredths."""
    return ONE_CONTRACT if all(curve.is_whole() for curve in curves) else 1


def trim_sold(curves: Sequence[Curve], sets: int) -> list[int]:
    """Counts per NO leg of an exclusive set, the common count at most ``sets``.

    With counts ``x`` the worst payout is their sum less the largest, so at a common count each leg is chosen by itself:
    all of it, its best shorter count, or none where its own payout would not cover its cost.
    """
    step = step_of(curves)
    good = [_good_points(curve, step, sets) for curve in curves]

    def counts(common: int) -> list[int]:
        return [_best_count(curve, points, common) for curve, points in zip(curves, good, strict=True)]

    def floor(common: int) -> int:
        chosen = counts(common)
        paid = (sum(chosen) - max(chosen)) * ONE_DOLLAR
        return paid - sum(curve.cost(count) for curve, count in zip(curves, chosen, strict=True))

    chosen = counts(_search(curves, sets, step, floor))
    # Where even the best is a loss, the whole sweep stays on the table so that the refusal can be explained.
    return chosen if any(chosen) else [min(curve.depth, sets) for curve in curves]


def trim_bought(curves: Sequence[Curve], sets: int) -> int:
    """The common count of a covering set, at most ``sets``: it pays one dollar a set."""

    def floor(common: int) -> int:
        return common * ONE_DOLLAR - sum(curve.cost(common) for curve in curves)

    return _search(curves, sets, step_of(curves), floor)


def _good_points(curve: Curve, step: int, sets: int) -> list[tuple[int, int]]:
    """Counts of one leg, rising, each earning more than every one before it: ``(count, earned)``."""
    points: list[tuple[int, int]] = []
    best = 0
    for end in curve.ends:
        for count in (end - step, end):
            if 0 < count <= sets and count * ONE_DOLLAR - curve.cost(count) > best:
                best = count * ONE_DOLLAR - curve.cost(count)
                points.append((count, best))
    return points


def _best_count(curve: Curve, points: Sequence[tuple[int, int]], common: int) -> int:
    chosen, earned = 0, 0
    position = bisect_left(points, (common + 1, 0))
    if position:
        chosen, earned = points[position - 1]
    if common <= curve.depth and common * ONE_DOLLAR - curve.cost(common) > earned:
        chosen = common
    return chosen


def _search(curves: Sequence[Curve], sets: int, step: int, floor: Callable[[int], int]) -> int:
    """The common count with the best floor: first at level ends, then stepwise below the best of them."""
    ends = sorted({end for curve in curves for end in curve.ends if end < sets} | {sets})
    if len(ends) > _ENDS:
        ends = ends[:: len(ends) // _ENDS + 1] + ends[-1:]
    ranked = sorted(((floor(end), -number) for number, end in enumerate(ends)), reverse=True)
    best, best_count = ranked[0][0], ends[-ranked[0][1]]
    window = max(_FEWEST_STEPS, _STEPS // len(curves))
    slack = sum(curve.sawtooth for curve in curves)
    for _, negative_number in ranked[:_SCANNED_ENDS]:
        number = -negative_number
        below = ends[number - 1] if number else 0
        for count in range(ends[number] - step, max(below, ends[number] - step * window), -step):
            value = floor(count)
            if value > best:
                best, best_count = value, count
            elif value < best - slack:
                break
    return best_count


class LadderTrim:
    """Improves a ladder bundle, seen as pairs of YES and NO, by changing one pair's count at a time."""

    def __init__(self, yes: Sequence[Curve], no: Sequence[Curve]) -> None:
        self._yes = yes
        self._no = no
        self._step = step_of([*yes, *no])

    def floor(self, pairs: dict[tuple[int, int], int]) -> int:
        """Worst payout less the cost at limits."""
        yes, no = self.totals(pairs)
        paid = worst = sum(no.values())
        # Markets settle YES from the easiest up to some strike: each one that does adds its YES and loses its NO.
        for market in sorted(yes.keys() | no.keys()):
            paid += yes.get(market, 0) - no.get(market, 0)
            worst = min(worst, paid)
        cost = sum(self._yes[market].cost(count) for market, count in yes.items())
        return worst * ONE_DOLLAR - cost - sum(self._no[market].cost(count) for market, count in no.items())

    @staticmethod
    def totals(pairs: dict[tuple[int, int], int]) -> tuple[dict[int, int], dict[int, int]]:
        """YES and NO counts per market."""
        yes: dict[int, int] = {}
        no: dict[int, int] = {}
        for (easier, harder), count in pairs.items():
            if count:
                yes[easier] = yes.get(easier, 0) + count
                no[harder] = no.get(harder, 0) + count
        return yes, no

    def best(self, starts: Iterable[Sequence[Flow]]) -> dict[tuple[int, int], int]:
        """The best bundle reached from any start; never empty when a start is not."""
        found: tuple[int, dict[tuple[int, int], int]] | None = None
        tried: list[dict[tuple[int, int], int]] = [{}]
        for start in starts:
            pairs: dict[tuple[int, int], int] = {}
            for flow in start:
                pairs[flow.easier, flow.harder] = pairs.get((flow.easier, flow.harder), 0) + flow.size
            if pairs in tried:
                continue
            tried.append(dict(pairs))
            value = self._polish(pairs)
            if found is None or value > found[0]:
                found = value, pairs
        return found[1] if found else {}

    def _polish(self, pairs: dict[tuple[int, int], int]) -> int:
        best = self.floor(pairs)
        for _ in range(_PASSES):
            before = best
            for pair in list(pairs):
                best = self._improve(pairs, pair, best, max(_FEWEST_STEPS, _STEPS // (2 * len(pairs))))
            if best == before or len(pairs) == 1:
                break
        return best

    def _improve(self, pairs: dict[tuple[int, int], int], pair: tuple[int, int], best: int, window: int) -> int:
        yes, no = self.totals(pairs)
        now = pairs[pair]
        others_yes = yes.get(pair[0], 0) - now
        others_no = no.get(pair[1], 0) - now
        bought, sold = self._yes[pair[0]], self._no[pair[1]]
        most = min(bought.depth - others_yes, sold.depth - others_no)
        ends = {end - others_yes for end in bought.ends} | {end - others_no for end in sold.ends} | {now, most}
        chosen = now
        candidates = sorted({end for end in ends if 0 < end <= most}, reverse=True)
        if len(pairs) > 1:
            candidates.append(0)

        def attempt(count: int) -> int:
            nonlocal best, chosen
            pairs[pair] = count
            value = self.floor(pairs)
            if value > best:
                best, chosen = value, count
            return value

        for count in candidates:
            attempt(count)
        top = chosen
        slack = bought.sawtooth + sold.sawtooth
        for count in range(top - self._step, max(0, top - self._step * window), -self._step):
            if attempt(count) < best - slack:
                break
        if chosen:
            pairs[pair] = chosen
        else:
            del pairs[pair]
        return best
