"""Ways out of an incomplete basket, priced on current books. Pure.

A basket holds some part of each leg. Bringing every leg to one common share of its planned count leaves a smaller copy
of the proved bundle (the share nought leaves nothing). Each share that some leg already has is a way out: what a leg
holds above it is unwound by buying the opposite outcome, what it lacks may be bought once more at its first limit.
Ways are compared by their worst-state cash in exact integers, with the books' own prices and the highest fees.

Selling goes down a ladder: a way out takes only what the books bid within some distance of their best bid, and doing
nothing is a way out too, so no step sells where holding is better.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kalshi_arb.domain.basket import Basket, OrderState, Purpose
from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.fees import order_fee_bound
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Cash, Count, Price, ceil_div, complement, notional
from kalshi_arb.execution.exposure import (
    Purchase,
    basket_worst_cash,
    fee_rules,
    highest_cost,
    holdings,
    outcome_of,
    worst_cash,
    worst_of_any_fill,
)

_CENT = Price(100)
_LAST_CENT = Price(ONE_DOLLAR - _CENT)


@dataclass(frozen=True, slots=True)
class Step:
    """A purchase as the books price it now; ``cost`` (1e-6 dollars) includes the highest fee."""

    purchase: Purchase
    cost: Cash


@dataclass(frozen=True, slots=True)
class WayOut:
    """Completions to make first, unwinds to make after them, and the worst-state cash when all of them fill."""

    completions: tuple[Step, ...]
    unwinds: tuple[Step, ...]
    worst: Cash


Share = tuple[int, int]
"""A share of the planned counts, as numerator and denominator."""


def hold(basket: Basket) -> WayOut:
    """Doing nothing."""
    return WayOut((), (), basket_worst_cash(basket))


def unwinds(basket: Basket, books: Mapping[str, BookSnapshot], dearer: Price) -> list[WayOut]:
    """Every way that only sells: all legs down to a common share, or one leg alone.

    Left out is what could, if it fills in part, leave the basket worse than both its exposure bound and doing nothing.

    :param dearer: how much above the best price of the moment (1e-4 dollars) the other outcome may be bought
    """
    plans = [_selling(basket, books, targets, dearer) for targets in _targets(basket)]
    plans += [(step,) for targets in _plain_targets(basket) for step in _selling(basket, books, targets, dearer)]
    distinct = dict.fromkeys(plan for plan in plans if plan)
    return [_way(basket, (), plan) for plan in distinct if is_safe(basket, plan)]


def completion(basket: Basket, books: Mapping[str, BookSnapshot], buyable: frozenset[int]) -> WayOut | None:
    """Buying what is missing of the ``buyable`` legs at their first limits, as far as the books show depth for all.

    What no completion can match is unwound in the same valuation, because it will be next.
    """
    reached = [
        (_reach(basket, books, leg) if leg in buyable else int(basket.leg_position(leg)), int(basket.legs[leg].count))
        for leg in range(len(basket.legs))
    ]
    targets = _at_share(basket, _lowest(reached), up=False)
    buys = []
    for leg, target in enumerate(targets):
        missing = target - basket.leg_position(leg)
        if missing > 0:
            buys.append(_step(basket, leg, Count(missing), _offers(basket, books, leg)))
    if not buys or not is_safe(basket, buys):
        return None
    return _way(basket, buys, _selling(basket, books, targets, ONE_DOLLAR))


def sales(basket: Basket, books: Mapping[str, BookSnapshot], counts: Sequence[Count]) -> tuple[Step, ...]:
    """Selling just these counts; nothing where one of them cannot be sold whole at a price that is allowed."""
    steps = []
    for leg, count in enumerate(counts):
        if count:
            step = _sale(basket, leg, count, _bids(basket, books, leg, ONE_DOLLAR))
            if step is None or step.purchase.count < count:
                return ()
            steps.append(step)
    return tuple(steps)


def outlay(basket: Basket, steps: Iterable[Step]) -> dict[int, Cash]:
    """The most that these purchases can take from the balance, by shard (1e-6 dollars)."""
    needed = Counter[int]()
    for step in steps:
        own, terms = step.purchase, basket.terms[step.purchase.leg]
        needed[terms.shard] += highest_cost(terms, own.count, own.limit, fee_rules(basket))
    return {shard: Cash(amount) for shard, amount in sorted(needed.items())}


def safest(basket: Basket, steps: Sequence[Step]) -> tuple[Step, ...]:
    """All of these if that is safe; otherwise the one of them that leaves most in the worst case, if that one is safe;
    otherwise none."""
    if is_safe(basket, steps):
        return tuple(steps)
    alone = max(steps, key=lambda step: worst_case(basket, (step,)), default=None)
    return (alone,) if alone is not None and is_safe(basket, (alone,)) else ()


def is_safe(basket: Basket, steps: Iterable[Step]) -> bool:
    """Whether no partial fill of these steps can be worse than the exposure bound (or than doing nothing, if that is
    worse already)."""
    return worst_case(basket, steps) >= min(-basket.exposure_bound, basket_worst_cash(basket))


def worst_case(basket: Basket, steps: Iterable[Step]) -> Cash:
    """Worst-state cash over every way in which these steps can fill."""
    bought, opposite = holdings(basket)
    purchases = [step.purchase for step in steps]
    return worst_of_any_fill(
        basket.payouts, basket.terms, bought, opposite, basket.spent(), purchases, fee_rules(basket)
    )


def _plain_targets(basket: Basket) -> list[tuple[int, ...]]:
    """What a single leg may be brought down to: nothing, and the share that every leg has at least."""
    shares = [(int(basket.leg_position(index)), int(leg.count)) for index, leg in enumerate(basket.legs)]
    return [(0,) * len(shares), _at_share(basket, _lowest(shares), up=False)]


def _lowest(shares: Sequence[Share]) -> Share:
    lowest = shares[0]
    for share in shares[1:]:
        if share[0] * lowest[1] < lowest[0] * share[1]:
            lowest = share
    return lowest


def _targets(basket: Basket) -> list[tuple[int, ...]]:
    """Positions to unwind down to, one for each distinct share that some leg has, and none."""
    held = [int(basket.leg_position(leg)) for leg in range(len(basket.legs))]
    shares: list[Share] = [(0, 1), *((part, int(leg.count)) for part, leg in zip(held, basket.legs, strict=True))]
    targets = {
        tuple(min(part, target) for part, target in zip(held, _at_share(basket, share, up=up), strict=True))
        for share in shares
        for up in (False, True)
    }
    return sorted(targets - {tuple(held)})


def _at_share(basket: Basket, share: Share, *, up: bool) -> tuple[int, ...]:
    """The planned counts times a share, rounded to whole contracts unless the leg trades in fractions already."""
    result = []
    for leg, planned in enumerate(basket.legs):
        whole = planned.count % ONE_CONTRACT == 0 and basket.leg_position(leg) % ONE_CONTRACT == 0
        unit = ONE_CONTRACT if whole else 1
        numerator, denominator = planned.count * share[0], share[1] * unit
        result.append((-(-numerator // denominator) if up else numerator // denominator) * unit)
    return tuple(result)


def _selling(
    basket: Basket, books: Mapping[str, BookSnapshot], targets: Sequence[int], dearer: Price
) -> tuple[Step, ...]:
    steps = []
    for leg, target in enumerate(targets):
        excess = basket.leg_position(leg) - target
        if excess > 0 and (step := _sale(basket, leg, Count(excess), _bids(basket, books, leg, dearer))) is not None:
            steps.append(step)
    return tuple(steps)


def _way(basket: Basket, buys: Sequence[Step], sales: Sequence[Step]) -> WayOut:
    bought, opposite = holdings(basket)
    spent = basket.spent()
    for step in (*buys, *sales):
        (opposite if step.purchase.opposite else bought)[step.purchase.leg] += step.purchase.count
        spent = Cash(spent + step.cost)
    return WayOut(tuple(buys), tuple(sales), worst_cash(basket.payouts, bought, opposite, spent))


def _offers(basket: Basket, books: Mapping[str, BookSnapshot], leg: int) -> tuple[Level, ...]:
    """What of a leg can be bought at its first limit."""
    planned = basket.legs[leg]
    book = books.get(planned.ticker)
    asks = () if book is None else book.asks(planned.outcome)
    return tuple(level for level in asks if level.price <= planned.limit)


def _bids(basket: Basket, books: Mapping[str, BookSnapshot], leg: int, dearer: Price) -> tuple[Level, ...]:
    """What a sale of a leg can take, as purchases of its other outcome, no more than ``dearer`` above the best."""
    planned = basket.legs[leg]
    book = books.get(planned.ticker)
    asks = () if book is None else book.asks(outcome_of(planned, opposite=True))
    return tuple(level for level in asks if level.price <= asks[0].price + dearer)


def _reach(basket: Basket, books: Mapping[str, BookSnapshot], leg: int) -> int:
    depth = sum(level.size for level in _offers(basket, books, leg))
    return min(int(basket.legs[leg].count), basket.leg_position(leg) + depth)


def _step(basket: Basket, leg: int, count: Count, offers: Iterable[Level]) -> Step:
    """Buy ``count``, of which at least that much is offered, at the leg's first limit."""
    taken, _ = _take(offers, count)
    return Step(Purchase(leg, False, count, basket.legs[leg].limit), _cost(basket, leg, taken))


def _sale(basket: Basket, leg: int, count: Count, bids: Sequence[Level]) -> Step | None:
    """Sell as much of ``count`` as is bid for, limited by the dearest level that it needs; None when that is nothing.

    The limit is that level's price or the whole cent above it. A grid may become coarser while the basket lives, and
    whole cents are on every grid that the exchange has, so they come first wherever one is left below the dollar. After
    a refusal it is the other one's turn: the price on the grid that the basket knows, or at a dollar's edge what 99
    cents reach.
    """
    legal = _legal_limits(basket, leg, count, bids)
    if not legal:
        return None
    limit = legal[_refused_sales(basket, leg) % len(legal)]
    taken, left = _take((level for level in bids if level.price <= limit), count)
    if not taken:
        return None
    return Step(Purchase(leg, True, Count(count - left), limit), _cost(basket, leg, taken))


def _take(levels: Iterable[Level], count: int) -> tuple[list[tuple[Price, Count]], int]:
    """The levels that a purchase of ``count`` takes, and how much they leave of it."""
    taken: list[tuple[Price, Count]] = []
    for level in levels:
        if count <= 0:
            break
        part = min(count, int(level.size))
        taken.append((level.price, Count(part)))
        count -= part
    return taken, count


def _cost(basket: Basket, leg: int, taken: Sequence[tuple[Price, Count]]) -> Cash:
    rules = fee_rules(basket)
    fee = order_fee_bound(basket.terms[leg].fees, taken, rules.precision, rules.smallest_fill)
    return Cash(sum(notional(price, part) for price, part in taken) + fee)


def _legal_limits(basket: Basket, leg: int, count: Count, bids: Sequence[Level]) -> list[Price]:
    """Limits for a sale, the one to try first in front."""
    taken, _ = _take(bids, count)
    if not taken:
        return []
    dearest = taken[-1][0]
    known = _at_or_above(basket.terms[leg].grid, basket.legs[leg].outcome.other, dearest)
    cent = Price(ceil_div(dearest, _CENT) * _CENT)
    limits = [known, _LAST_CENT] if cent > _LAST_CENT else [cent, known]
    return list(dict.fromkeys(limit for limit in limits if limit is not None))


def _refused_sales(basket: Basket, leg: int) -> int:
    """How often the exchange refused a sale of this leg."""
    return sum(
        order.leg == leg and order.purpose is Purpose.UNWIND and order.state is OrderState.REJECTED
        for order in basket.orders
    )


def _at_or_above(grid: PriceGrid, outcome: Outcome, price: Price) -> Price | None:
    """The lowest price on the grid that reaches ``price``. Grids are stated in YES prices."""
    if outcome is Outcome.YES:
        return grid.at_or_above(price)
    wire = grid.at_or_below(complement(price))
    return None if wire is None else complement(wire)
