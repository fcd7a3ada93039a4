"""The worst that orders can do: every fill vector, every state, limit prices and highest fees. Exact integers.

For a fixed state the loss is a sum of one term per order, and orders fill independently, so the worst fill vector of a
state is the worst fill of each order: no enumeration is needed. Amounts are 1e-6 dollars.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kalshi_arb.domain.basket import Basket, LegTerms, Purpose
from kalshi_arb.domain.fees import FeeSchedule, Precision, order_cost_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group

ORDERS_PER_LEG = 2
"""An entry and one completion: each order of its own can round its fee up once more."""

Payouts = tuple[tuple[Price, ...], ...]
"""Per distinct state the payout of one contract of each leg."""


@dataclass(frozen=True, slots=True)
class FeeRules:
    """The account's balance grid and the declared smallest fill: what turns a price into a highest cost."""

    precision: Precision
    smallest_fill: Count


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order that may fill in any part: ``count`` of a leg, or of its opposite, at ``limit`` or better."""

    leg: int
    opposite: bool
    count: Count
    limit: Price


def leg_terms(group: Group, legs: Sequence[Leg]) -> tuple[LegTerms, ...]:
    """Trading terms per leg. :raises ProofError: a leg is not in the group."""
    markets = [group.markets[group.index(leg.ticker)] for leg in legs]
    return tuple(LegTerms(market.grid, market.fees, market.shard) for market in markets)


def leg_payouts(group: Group, legs: Sequence[Leg]) -> Payouts:
    """What one contract of each leg pays in every state, equal states merged.

    :raises ProofError: a leg is not in the group.
    """
    places = [(group.index(leg.ticker), leg.outcome) for leg in legs]
    rows = (tuple(state.payout(index, outcome) for index, outcome in places) for state in group.states)
    return tuple(dict.fromkeys(rows))


def fee_rules(basket: Basket) -> FeeRules:
    """The rules that the basket's certificate was made under."""
    return FeeRules(Precision(basket.certificate.precision), basket.certificate.smallest_fill)


def highest_cost(terms: LegTerms, count: Count, limit: Price, rules: FeeRules) -> Cash:
    """The most that one order for ``count`` at ``limit`` can take from the balance when it fills whole, fees included.

    However it fills at or below its limit: every fill but the last is at least the declared smallest.
    """
    return Cash(_highest(terms.fees, limit, count, rules, _may_round(terms, limit, rules)))


def split_overhead(terms: LegTerms, limit: Price, rules: FeeRules) -> Cash:
    """What completing a leg with a second order can add to :func:`highest_cost`."""
    return Cash((ORDERS_PER_LEG - 1) * _extra_order(rules, _may_round(terms, limit, rules)))


def worst_cash(payouts: Payouts, bought: Sequence[int], opposite: Sequence[int], spent: Cash) -> Cash:
    """Cash after settlement in the worst state: ``bought`` of each leg, ``opposite`` of its other outcome, all paid.

    A pair of both outcomes pays a dollar in every state, which is the dollar that netting frees.
    """
    return Cash(
        min(
            sum(
                payout * held + (ONE_DOLLAR - payout) * other
                for payout, held, other in zip(row, bought, opposite, strict=True)
            )
            for row in payouts
        )
        - spent
    )


def worst_of_any_fill(
    payouts: Payouts,
    terms: Sequence[LegTerms],
    bought: Sequence[int],
    opposite: Sequence[int],
    spent: Cash,
    orders: Iterable[Purchase],
    rules: FeeRules,
) -> Cash:
    """Like :func:`worst_cash` while ``orders`` may each fill in any part, at the limit and with the highest fees."""
    pending = tuple(orders)
    worst = None
    for row in payouts:
        cash = sum(
            payout * held + (ONE_DOLLAR - payout) * other
            for payout, held, other in zip(row, bought, opposite, strict=True)
        )
        for order in pending:
            payout = Price(ONE_DOLLAR - row[order.leg]) if order.opposite else row[order.leg]
            cash -= _worst_part(terms[order.leg], order.count, order.limit, payout, rules, 1)
        worst = cash if worst is None else min(worst, cash)
    if worst is None:
        raise ValueError("a basket without states has no worst one")
    return Cash(worst - spent)


def worst_loss(
    group: Group,
    legs: Sequence[Leg],
    waves: Sequence[Sequence[int]],
    *,
    precision: Precision,
    smallest_fill: Count,
    orders_per_leg: int = ORDERS_PER_LEG,
) -> Cash:
    """The largest loss (>= 0) over every way the planned orders can fill and every state of the group.

    A first wave of one leg is fill-or-kill: when it is killed nothing else is sent. Every other leg may fill in any
    part, through up to ``orders_per_leg`` orders. The result is a bound, and above the exact worst case by no more
    than one step of the balance (1e-6 dollars off the balance grid) per leg, and the roundings of extra orders.

    :raises ProofError: a leg is not in the group.
    """
    terms = leg_terms(group, legs)
    rules = FeeRules(precision, smallest_fill)
    whole = tuple(waves[0]) if waves and len(waves[0]) == 1 else ()
    worst = 0
    for row in leg_payouts(group, legs):
        loss = 0
        for index, leg in enumerate(legs):
            if index in whole:
                loss += highest_cost(terms[index], leg.count, leg.limit, rules) - notional(row[index], leg.count)
            else:
                loss += _worst_part(terms[index], leg.count, leg.limit, row[index], rules, orders_per_leg)
        worst = max(worst, loss)
    return Cash(worst)


def holdings(basket: Basket) -> tuple[list[int], list[int]]:
    """Contracts bought per leg and of each leg's opposite outcome."""
    bought, opposite = [0] * len(basket.legs), [0] * len(basket.legs)
    for order in basket.orders:
        (opposite if order.purpose is Purpose.UNWIND else bought)[order.leg] += order.filled
    return bought, opposite


def basket_worst_cash(basket: Basket) -> Cash:
    """Worst-state cash of what the basket holds now, from what its orders cost."""
    bought, opposite = holdings(basket)
    return worst_cash(basket.payouts, bought, opposite, basket.spent())


def outcome_of(leg: Leg, *, opposite: bool) -> Outcome:
    """The outcome that an order buys."""
    return leg.outcome.other if opposite else leg.outcome


def _may_round(terms: LegTerms, limit: Price, rules: FeeRules) -> bool:
    """Whether an order can fill at a price off the balance grid, so that its revenue is rounded."""
    return terms.grid.leaves_steps_of(limit, Price(rules.precision))


def _highest(fees: FeeSchedule, limit: Price, count: Count, rules: FeeRules, may_round: bool) -> int:
    return order_cost_bound(fees, limit, count, rules.precision, rules.smallest_fill, revenue_may_round=may_round)


@lru_cache(maxsize=4096)
def _worst_part(terms: LegTerms, count: Count, limit: Price, payout: Price, rules: FeeRules, orders: int) -> int:
    """The largest loss (>= 0) from buying any part of ``count``, if each contract pays ``payout``.

    Between the sizes at which the number of fills changes, cost is linear but for the rounding up of its fee, to 1e-6
    dollars or, where revenue is never rounded, to a step of the balance: with that much added, only the ends of those
    ranges can be worst, and of the ranges the first two and the last.
    """
    may_round = _may_round(terms, limit, rules)
    rounding = 1 if may_round else int(rules.precision)
    worst = max(
        _highest(terms.fees, limit, part, rules, may_round) - payout * part
        for part in _turning_points(count, rules.smallest_fill)
    )
    return max(0, worst + rounding + (orders - 1) * _extra_order(rules, may_round))


def _extra_order(rules: FeeRules, may_round: bool) -> int:
    """What splitting a purchase over one more order can add: a fill, its rounding, and what the order keeps."""
    return 2 + rules.precision + (int(rules.precision) if may_round else 0)


def _turning_points(count: Count, smallest: Count) -> list[Count]:
    """The ends of the first two ranges of one more fill, and of the last whole and the last one."""
    steps = (count - 1) // smallest
    points = {1, smallest, smallest + 1, 2 * smallest, steps * smallest, steps * smallest + 1, count}
    return [Count(point) for point in points if 1 <= point <= count]
