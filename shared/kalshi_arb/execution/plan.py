"""How an opportunity becomes a basket, and a basket's legs waves of orders. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from kalshi_arb.domain.basket import (
    Basket,
    BasketOrder,
    BasketState,
    LegTerms,
    OrderState,
    Purpose,
    check_order_move,
    client_order_id,
)
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, trade_fee
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price, complement, notional
from kalshi_arb.domain.opportunity import Leg, Opportunity
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.execution.exposure import outcome_of
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.kalshi.rate_limit import DEFAULT_COST

BATCH_ORDERS = 8
"""Orders in one request that the lowest rate tier takes: a batch must fit its write bucket whole, less what is kept
back for cancels and unwinds."""

_CERTAIN = 10**6

NOT_SENT = "not_sent"
"""Recorded on an order that provably never left: the exchange refused to take the request, or it came too late."""
WITHDRAWN = "withdrawn"
"""Recorded on an order that was planned and then, before it was sent, dropped."""

UNDELIVERED = "undelivered"
"""Recorded on a purchase that was handed out to be sent and not taken: whoever sends could not be called, died first,
or found a stop. Such a basket buys nothing any more."""


def basket_id_of(opportunity_id: str) -> str:
    """The id of the one basket that an opportunity can become."""
    return "b" + hashlib.sha256(opportunity_id.encode()).hexdigest()[:20]


def propose_basket(opportunity: Opportunity, family: str, mode: str, now_ms: int) -> Basket:
    """The first row of a basket: nothing reserved, nothing planned.

    :param family: of the opportunity's group
    :param now_ms: UTC milliseconds
    """
    return Basket(
        basket_id=basket_id_of(opportunity.opportunity_id),
        opportunity_id=opportunity.opportunity_id,
        group_id=opportunity.group_id,
        event_ticker=opportunity.event_ticker,
        family=family,
        mode=mode,
        state=BasketState.PROPOSED,
        attempt=1,
        revision=0,
        legs=opportunity.legs,
        waves=(),
        orders=(),
        certificate=opportunity.certificate,
        expected_profit=opportunity.certificate.floor_profit,
        exposure_bound=Cash(0),
        locked_profit=None,
        settled_profit=None,
        reserved=Cash(0),
        reason="",
        candidate_ms=opportunity.candidate_ms,
        created_ms=now_ms,
        updated_ms=now_ms,
    )


def plan_waves(
    legs: Sequence[Leg],
    books: Mapping[str, BookSnapshot],
    terms: Sequence[LegTerms],
    *,
    batch: int = BATCH_ORDERS,
) -> tuple[tuple[int, ...], ...]:
    """Legs by position, wave by wave, so that the expected regret is least.

    The regret of a failing leg is what getting out of the legs already bought would cost; its expectation weighs that
    with the chance that the leg fails. The first wave is one leg, fill-or-kill: if it fails nothing was bought and
    nothing is regretted. The others follow immediate-or-cancel, ``batch`` to a request. Of a request everything is
    sent, so a leg that fails regrets all legs of its own and of earlier waves; legs are taken to fail one at a time.

    Of all first legs the one with the least sum is taken. The rest go by chance to fail over cost of getting out, the
    highest first, and are cut into batches in that order: exact while they fit one batch, and for more the order that
    is best when legs are sent one by one. Within a batch it is the order in which the exchange works.

    The chance (millionths) is a ranking of legs, not a forecast: nothing in it is fitted to recordings. See
    :func:`chance_to_fail` and :func:`exit_cost`.

    :param terms: of each leg, for its tick and its fee
    """
    places = range(len(legs))
    chances = [chance_to_fail(leg, books[leg.ticker], own.grid) for leg, own in zip(legs, terms, strict=True)]
    exits = [exit_cost(leg, books[leg.ticker], own.fees) for leg, own in zip(legs, terms, strict=True)]
    by_ratio = sorted(places, key=lambda place: (Fraction(-chances[place], exits[place]), place))

    def planned(first: int) -> tuple[tuple[int, ...], ...]:
        rest = [place for place in by_ratio if place != first]
        return ((first,), *(tuple(rest[start : start + batch]) for start in range(0, len(rest), batch)))

    def regret(first: int) -> int:
        bought = total = 0
        for wave in planned(first):
            bought += sum(exits[place] for place in wave)
            total += sum(chances[place] * (bought - exits[place]) for place in wave)
        return total

    return planned(min(by_ratio, key=regret)) if legs else ()


def chance_to_fail(leg: Leg, book: BookSnapshot, grid: PriceGrid) -> int:
    """How likely the leg is not to fill whole, in millionths: ``s / (s + 1 + n * r)`` where, at its limit or better,

    * ``r`` is the depth beyond what it needs over what it needs: what may fade without harm,
    * ``n`` is the number of price levels: several levels are several orders, which do not leave together, and the next
      one is there when the best is gone. It stands in for refill, how quickly a level comes back: one snapshot of a
      book does not measure that,
    * ``s`` is the spread in ticks: the wider it is, the more a lone order the best one is, and the more room there is
      to take it away. Without a bid every tick below the ask counts.

    A leg that the book cannot fill fails for certain.
    """
    levels = [level for level in book.asks(leg.outcome) if level.price <= leg.limit]
    spare = sum(level.size for level in levels) - leg.count
    if spare < 0:
        return _CERTAIN
    spread = _ticks(leg, book, grid, levels[0].price) * leg.count
    return _CERTAIN * spread // (spread + leg.count + len(levels) * spare)


def exit_cost(leg: Leg, book: BookSnapshot, fees: FeeSchedule) -> Cash:
    """What buying the leg at its limit and selling it into the present book loses, model fees of both included, in 1e-6
    dollars and at least 1. What the book does not bid for counts as lost whole."""
    cost = notional(leg.limit, leg.count) + trade_fee(fees, leg.limit, leg.count)
    left = int(leg.count)
    for level in book.bids(leg.outcome):
        part = Count(min(left, level.size))
        if part == 0:
            break
        cost = Cash(cost - notional(level.price, part) + trade_fee(fees, level.price, part))
        left -= part
    return Cash(max(1, cost))


def _ticks(leg: Leg, book: BookSnapshot, grid: PriceGrid, ask: Price) -> int:
    """Steps of the grid from the best bid up to the ask, at least 1. Grids are stated in YES prices."""
    bids = book.bids(leg.outcome)
    bid = bids[0].price if bids else Price(0)
    low, high = (bid, ask) if leg.outcome is Outcome.YES else (complement(ask), complement(bid))
    return max(1, sum(max(0, min(high, band.end) - max(low, band.start)) // band.step for band in grid.bands))


def write_tokens(waves: Sequence[Sequence[int]], policy: ExecutionPolicy) -> int:
    """The write-rate tokens that one batch of completing or of unwinding a basket can need, whichever is more.

    A basket has one batch under way at a time, and it is assessed, which takes reads, before the next. A sale of more
    than one batch holds goes out in several rounds.
    """
    legs = sum(len(wave) for wave in waves)
    completing = max((len(wave) for wave in waves), default=0)
    unwinding = min(legs, BATCH_ORDERS) if policy.unwind_rounds else 0
    return max(completing, unwinding) * DEFAULT_COST


def planned_order(
    basket: Basket,
    leg: int,
    count: Count,
    limit: Price,
    purpose: Purpose,
    time_in_force: TimeInForce,
    now_ms: int,
) -> BasketOrder:
    """The leg's next order, in the basket's next wave, under its deterministic client order id."""
    terms = basket.terms[leg]
    request = OrderRequest(
        client_order_id=client_order_id(basket.basket_id, leg, basket.next_number(leg)),
        ticker=basket.legs[leg].ticker,
        outcome=outcome_of(basket.legs[leg], opposite=purpose is Purpose.UNWIND),
        count=count,
        limit=limit,
        time_in_force=time_in_force,
        shard=terms.shard,
    )
    return BasketOrder(request, leg, basket.next_wave(), purpose, planned_ms=now_ms)


def entry_orders(basket: Basket, wave: Iterable[int], now_ms: int) -> tuple[BasketOrder, ...]:
    """The orders that enter a wave's legs at their full counts and limits. The first wave is fill-or-kill."""
    first = not basket.orders
    kind = TimeInForce.FILL_OR_KILL if first else TimeInForce.IMMEDIATE_OR_CANCEL
    return tuple(
        planned_order(basket, leg, basket.legs[leg].count, basket.legs[leg].limit, Purpose.ENTER, kind, now_ms)
        for leg in wave
    )


def withdraw(basket: Basket, handed_out: int) -> Basket:
    """The basket without plans: orders that are not sent yet will not be.

    :param handed_out: the last wave that was given to whoever sends it; what it bought and is still planned was not
        taken
    """

    def dropped(order: BasketOrder) -> BasketOrder:
        if order.state is not OrderState.PLANNED:
            return order
        refused = order.wave <= handed_out and order.purpose is not Purpose.UNWIND
        return moved(order, OrderState.ABSENT, rejection=UNDELIVERED if refused else WITHDRAWN, booked=True)

    return replace(basket, orders=tuple(dropped(order) for order in basket.orders))


def moved(order: BasketOrder, state: OrderState, **changes: object) -> BasketOrder:
    """The order in another state. :raises TransitionError: it may not go there."""
    check_order_move(order.state, state)
    return replace(order, state=state, **changes)  # type: ignore[arg-type]  # replace() cannot type forwarded fields
