"""How an opportunity becomes a basket, and a basket's legs waves of orders. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kalshi_arb.domain.basket import (
    Basket,
    BasketOrder,
    BasketState,
    OrderState,
    Purpose,
    check_order_move,
    client_order_id,
)
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg, Opportunity
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.execution.exposure import outcome_of

BATCH_ORDERS = 8
"""Orders in one request that the lowest rate tier takes: a batch must fit its write bucket whole, less what is kept
back for cancels and unwinds."""

WITHDRAWN = "withdrawn"
"""Recorded on an order that was planned and then, before it was sent, dropped."""


def basket_id_of(opportunity_id: str) -> str:
    """The id of the one basket that an opportunity can become."""
    return "b" + hashlib.sha256(opportunity_id.encode()).hexdigest()[:20]


def propose_basket(opportunity: Opportunity, mode: str, now_ms: int) -> Basket:
    """The first row of a basket: nothing reserved, nothing planned.

    :param now_ms: UTC milliseconds
    """
    return Basket(
        basket_id=basket_id_of(opportunity.opportunity_id),
        opportunity_id=opportunity.opportunity_id,
        group_id=opportunity.group_id,
        event_ticker=opportunity.event_ticker,
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
    legs: Sequence[Leg], books: Mapping[str, BookSnapshot], *, batch: int = BATCH_ORDERS
) -> tuple[tuple[int, ...], ...]:
    """Legs by position, wave by wave: the leg most likely to fail alone, then the others in batches.

    A leg is the likelier to fail the less depth there is for each contract it needs, then the fewer price levels
    carry that depth: one level may be one order. Within a batch the thinnest legs come first too, because the
    exchange works a batch in order.
    """

    def fragility(index: int) -> tuple[int, int, int]:
        leg = legs[index]
        levels = [level for level in books[leg.ticker].asks(leg.outcome) if level.price <= leg.limit]
        # Depth per contract needed, as an integer so that equal ratios stay equal.
        return sum(level.size for level in levels) * 10**6 // leg.count, len(levels), index

    order = sorted(range(len(legs)), key=fragility)
    rest = order[1:]
    return (tuple(order[:1]), *(tuple(rest[start : start + batch]) for start in range(0, len(rest), batch)))


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


def withdraw(basket: Basket) -> Basket:
    """The basket without plans: orders that are not sent yet will not be."""
    return replace(
        basket,
        orders=tuple(
            moved(order, OrderState.ABSENT, rejection=WITHDRAWN, booked=True)
            if order.state is OrderState.PLANNED
            else order
            for order in basket.orders
        ),
    )


def moved(order: BasketOrder, state: OrderState, **changes: object) -> BasketOrder:
    """The order in another state. :raises TransitionError: it may not go there."""
    check_order_move(order.state, state)
    return replace(order, state=state, **changes)  # type: ignore[arg-type]  # replace() cannot type forwarded fields
