"""The worst that orders can do: every fill vector, every state, limit prices and highest fees. Exact integers.

For a fixed state the loss is a sum of one term per order, and orders fill independently, so the worst fill vector of a
state is the worst fill of each order: no enumeration is needed. A wave that is cut short, or never sent, is a fill
vector with noughts in it. Amounts are 1e-6 dollars.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kalshi_arb.domain.basket import Basket, LegTerms, PreSendBound, Purpose
from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.collateral import sure_payout
from kalshi_arb.domain.fees import FeeSchedule, Precision, order_cost_bound, order_fee_bound
from kalshi_arb.domain.market import CollateralReturn, Netting, Outcome
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
    return tuple(LegTerms(market.grid, market.fees, market.shard, market.paid_by_ms) for market in markets)


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
    whole = _whole(waves)
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


def pre_send_bound(
    group: Group,
    legs: Sequence[Leg],
    waves: Sequence[Sequence[int]],
    books: Mapping[str, BookSnapshot],
    *,
    precision: Precision,
    smallest_fill: Count,
    netting: Netting = Netting.OFF,
) -> PreSendBound:
    """What is stored with a basket before its first order is sent.

    ``loss`` is :func:`worst_loss`. ``loss_unwound`` takes every incomplete fill vector to be sold out: of each leg as
    much as the books bid for, one order a leg at the books' own prices with the highest fee, and what they do not take
    stays to settlement. Where holding bounds the loss better than that, it is ``loss``, because selling is a choice.
    It is no promise: it holds while the books stand and sales fill, every further sale of the same leg can round its
    fee once more, and a bid so low that a rounding eats what it brings may be left standing.

    ``cash`` counts on nothing that comes back while buying. Buying the other outcome of what is held frees a dollar a
    pair at once and unconditionally, so a sale needs cash only where its fee is above what it brings. Collateral that
    the exchange returned across the markets of one event has to be there again before those can be sold; the entry's
    own cash stays reserved until the basket ends, so only what is above that counts (Kalshi API documentation,
    positions and collateral return).

    :param books: the exchange's books as just read; a market without one takes no sale
    :param netting: whether the account gets that collateral back
    :raises ProofError: a leg is not in the group.
    """
    terms = leg_terms(group, legs)
    rules = FeeRules(precision, smallest_fill)
    loss = worst_loss(group, legs, waves, precision=precision, smallest_fill=smallest_fill)
    exits = [_exits(own, leg.count, leg.limit, _bids(books, leg), rules) for own, leg in zip(terms, legs, strict=True)]
    sold = max(_worst_sold(row, legs, _whole(waves), exits) for row in leg_payouts(group, legs))
    cash, on_top = Counter[int](), Counter[int]()
    for own, leg, ways in zip(terms, legs, exits, strict=True):
        cash[own.shard] += highest_cost(own, leg.count, leg.limit, rules) + split_overhead(own, leg.limit, rules)
        on_top[own.shard] += max(0, *(way.needs for way in ways))
    for shard, amount in returned_collateral(group, legs, netting).items():
        on_top[shard] += max(0, amount - cash[shard])
    return PreSendBound(
        loss=loss,
        loss_unwound=Cash(min(loss, sold)),
        cash=tuple((shard, Cash(amount)) for shard, amount in sorted(cash.items())),
        unwind_cash=tuple((shard, Cash(on_top[shard])) for shard in sorted(cash)),
    )


def returned_collateral(group: Group, legs: Iterable[Leg], netting: Netting) -> dict[int, Cash]:
    """Cash by shard that the exchange gives back at once across the markets of an event once ``legs`` are held: of NO
    counts over markets of which at most one pays, all but the largest (Kalshi API documentation, collateral return).

    :raises ProofError: a leg is not in the group.
    """
    left = Counter[int]()
    for leg in legs:
        left[group.index(leg.ticker)] += leg.count if leg.outcome is Outcome.NO else -leg.count
    counts: dict[tuple[str, int], list[int]] = {}
    for place, count in left.items():
        market = group.markets[place]
        if count > 0 and netting is Netting.ON and market.collateral_return is CollateralReturn.MECNET:
            counts.setdefault((market.event_ticker, market.shard), []).append(count)
    back = Counter[int]()
    for (_, shard), own in counts.items():
        back[shard] += sure_payout(own)
    return {shard: Cash(amount) for shard, amount in back.items()}


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


def _whole(waves: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The leg that fills whole or not at all, with nothing sent after it: a first wave of one leg is fill-or-kill."""
    return tuple(waves[0]) if waves and len(waves[0]) == 1 else ()


@dataclass(frozen=True, slots=True)
class _Exit:
    """Having bought ``part`` of a leg and sold of it what the books take: what that ``costs``, what ``stays`` to
    settlement, and what the sale ``needs`` above the dollars that it frees."""

    part: int
    costs: int
    stays: int
    needs: int


def _bids(books: Mapping[str, BookSnapshot], leg: Leg) -> tuple[Level, ...]:
    """What a sale of the leg would take, as purchases of its other outcome, cheapest first."""
    book = books.get(leg.ticker)
    return () if book is None else book.asks(leg.outcome.other)


def _worst_sold(
    row: Sequence[Price], legs: Sequence[Leg], whole: Sequence[int], exits: Sequence[tuple[_Exit, ...]]
) -> int:
    """The largest loss (>= 0) in one state over all incomplete fill vectors, each sold out."""
    worst = 0
    spared: int | None = None
    for index, (leg, payout, ways) in enumerate(zip(legs, row, exits, strict=True)):
        full = max(way.costs - payout * way.stays for way in ways if way.part == leg.count)
        if index in whole:
            worst += full
            continue
        part = max((way.costs - payout * way.stays for way in ways if way.part < leg.count), default=0)
        part = max(0, part)
        worst += max(full, part)
        # Some leg must be short; the cheapest one to make short is.
        spared = max(0, full - part) if spared is None else min(spared, max(0, full - part))
    return 0 if spared is None else max(0, worst - spared)


@lru_cache(maxsize=1024)
def _exits(terms: LegTerms, count: Count, limit: Price, bids: tuple[Level, ...], rules: FeeRules) -> tuple[_Exit, ...]:
    """The parts of a leg that can be the worst to have bought and sold again.

    Between two ends of levels cost is linear but for roundings: with a fill's rounding added for each of the orders,
    only the ends and what lies next to them can be worst.
    """
    may_round = _may_round(terms, limit, rules)
    rounding = (1 if may_round else int(rules.precision)) + (ORDERS_PER_LEG - 1) * _extra_order(rules, may_round)
    ways = []
    for part in _ends(count, bids, rules.smallest_fill):
        taken, left = _taken(bids, part)
        fee = order_fee_bound(terms.fees, taken, rules.precision, rules.smallest_fill) if taken else 0
        needs = sum(price * size for price, size in taken) + fee - ONE_DOLLAR * (part - left)
        slack = rounding + (_extra_order(rules, may_round=True) if taken else 0)
        bought = _highest(terms.fees, limit, part, rules, may_round)
        ways.append(_Exit(part, bought + needs + slack, left, needs))
    return tuple(ways)


def _taken(bids: Iterable[Level], part: int) -> tuple[list[tuple[Price, Count]], int]:
    """What selling ``part`` takes of the levels, and how much of it they leave."""
    taken = []
    for price, size in bids:
        if part <= 0:
            break
        taken.append((price, Count(min(part, size))))
        part -= min(part, size)
    return taken, part


def _ends(count: Count, bids: Iterable[Level], smallest: Count) -> list[Count]:
    """The turning points of every range of parts that ends at the same level, from the purchase's and from the sale's
    beginning, and one below the whole."""
    points = {*_turning_points(count, smallest), Count(count - 1)}
    reached = 0
    for size in (*(level.size for level in bids), count):
        end = min(count, reached + size)
        points |= {Count(reached + point) for point in _turning_points(Count(end - reached), smallest)}
        points |= {Count(end // smallest * smallest), Count(end // smallest * smallest + 1)}
        reached = end
    return sorted(point for point in points if 1 <= point <= count)


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
