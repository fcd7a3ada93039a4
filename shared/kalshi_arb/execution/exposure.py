"""The worst that orders can do: every fill vector, every state, limit prices and highest fees. Exact integers.

For a fixed state the loss is a sum of one term per order, and orders fill independently, so the worst fill vector of a
state is the worst fill of each order: no enumeration is needed. Amounts are 1e-6 dollars.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kalshi_arb.domain.basket import Basket, LegTerms, Purpose
from kalshi_arb.domain.fees import FeeSchedule, Precision, order_fee_bound, trade_fee
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

    Price plus model fee rises with the price, so the limit is the dearest price but for roundings: a legal price just
    below it that is off the balance grid can keep a rounding in every fill.
    """
    return Cash(max(_cost_at(terms.fees, price, count, rules) for price in _dear_prices(terms.fees, limit, rules)))


def split_overhead(terms: LegTerms, limit: Price, rules: FeeRules) -> Cash:
    """What completing a leg with a second order can add to :func:`highest_cost`."""
    return Cash(
        (ORDERS_PER_LEG - 1) * max(_extra_order(price, rules) for price in _dear_prices(terms.fees, limit, rules))
    )


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
            cash -= _worst_part(terms[order.leg].fees, order.count, order.limit, payout, rules, 1)
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
                loss += _worst_part(terms[index].fees, leg.count, leg.limit, row[index], rules, orders_per_leg)
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


@lru_cache(maxsize=4096)
def _cost_at(fees: FeeSchedule, price: Price, count: Count, rules: FeeRules) -> int:
    return notional(price, count) + order_fee_bound(fees, ((price, count),), rules.precision, rules.smallest_fill)


@lru_cache(maxsize=4096)
def _dear_prices(fees: FeeSchedule, limit: Price, rules: FeeRules) -> tuple[Price, ...]:
    """The limit, and prices so little below it that roundings can make them dearer.

    A fill of at least the smallest size saves (limit - price) x size and can keep at most one step of the balance, so
    the search is short; among prices that keep it the highest is the dearest.
    """
    prices = [limit]
    if limit > 1:
        prices.append(Price(limit - 1))
    for price in range(limit - 2, max(0, limit - 1 - rules.precision // rules.smallest_fill), -1):
        if price % rules.precision and trade_fee(fees, Price(price), rules.smallest_fill) < rules.precision:
            prices.append(Price(price))
            break
    return tuple(prices)


@lru_cache(maxsize=4096)
def _worst_part(fees: FeeSchedule, count: Count, limit: Price, payout: Price, rules: FeeRules, orders: int) -> int:
    """The largest loss (>= 0) from buying any part of ``count``, if each contract pays ``payout``.

    Between the sizes at which the number of fills or the kept rounding changes, cost is linear but for the rounding up
    of its fee, to 1e-6 dollars or, at a price on the balance grid, to a step of it: with that much added, only the ends
    of those ranges can be worst.
    """
    worst = 0
    for price in _dear_prices(fees, limit, rules):
        rounding = 1 if price % rules.precision else rules.precision
        for part in _turning_points(fees, price, count, rules):
            loss = _cost_at(fees, price, part, rules) - payout * part + rounding
            loss += (orders - 1) * _extra_order(price, rules)
            worst = max(worst, loss)
    return worst


def _extra_order(price: Price, rules: FeeRules) -> int:
    """What splitting a purchase over one more order can add: a fill, its rounding, and what the order keeps."""
    return 2 + rules.precision + (rules.precision if price % rules.precision else 0)


@lru_cache(maxsize=4096)
def _turning_points(fees: FeeSchedule, price: Price, count: Count, rules: FeeRules) -> tuple[Count, ...]:
    smallest = rules.smallest_fill
    below = min(count, Count(smallest - 1))
    points = {1, below, min(count, smallest), count}
    steps = count // smallest
    points |= {step * smallest for step in (1, steps)} | {step * smallest - 1 for step in (2, steps)}
    # The size from which a fill's own fee gives an earlier rounding back.
    low, high = 1, int(below)
    while low < high:
        middle = (low + high) // 2
        if trade_fee(fees, price, Count(middle)) >= rules.precision:
            high = middle
        else:
            low = middle + 1
    points |= {low, low - 1}
    return tuple(Count(point) for point in sorted(points) if 1 <= point <= count)
