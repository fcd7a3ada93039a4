"""Rows of baskets that trade, and the books beside them, without any port: for the parts of execution that are pure."""

from collections.abc import Sequence
from dataclasses import replace

from kalshi_arb.domain.basket import (
    Basket,
    BasketOrder,
    BasketState,
    OrderState,
    Purpose,
    client_order_id,
)
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import fee_rules, leg_payouts, leg_terms, pre_send_bound
from kalshi_arb.execution.plan import plan_waves
from tests.cloud_samples import NOW
from tests.cloud_samples import basket as proposed

Cents = tuple[int, int]
"""A price in cents and contracts at it."""


def book(ticker: str, *, yes: Sequence[Cents] = (), no: Sequence[Cents] = ()) -> BookSnapshot:
    """A book of bids in whole cents and contracts."""

    def levels(bids: Sequence[Cents]) -> tuple[Level, ...]:
        return tuple(Level(Price(cents * 100), Count(size * 100)) for cents, size in sorted(bids, reverse=True))

    return BookSnapshot(ticker, BookVersion(1, 1, 1), NOW, NOW, levels(yes), levels(no))


def trading(group: Group, legs: Sequence[Leg], books: dict[str, BookSnapshot]) -> Basket:
    """A basket that is reserved and may send."""
    row = replace(proposed(), legs=tuple(legs))
    terms, rules = leg_terms(group, legs), fee_rules(row)
    waves = plan_waves(legs, books, terms)
    bound = pre_send_bound(group, legs, waves, books, precision=rules.precision, smallest_fill=rules.smallest_fill)
    return replace(
        row, state=BasketState.EXECUTING, waves=waves, bound=bound, exposure_bound=bound.loss, terms=terms,
        payouts=leg_payouts(group, legs),
    )  # fmt: skip


def ordered(
    basket: Basket,
    leg: int,
    state: OrderState,
    filled: int = 0,
    *,
    purpose: Purpose = Purpose.ENTER,
    cents: int | None = None,
    rejection: str | None = None,
    count: int | None = None,
    sent_ms: int = NOW,
) -> Basket:
    """The row with one more order of a leg, in a wave of its own, booked at its limit without a fee.

    :param filled: contracts
    :param cents: the limit; the leg's own when there is none
    :param count: contracts ordered; the whole leg when there is none
    """
    own = basket.legs[leg]
    limit = own.limit if cents is None else Price(cents * 100)
    request = OrderRequest(
        client_order_id(basket.basket_id, leg, basket.next_number(leg)),
        own.ticker,
        own.outcome.other if purpose is Purpose.UNWIND else own.outcome,
        own.count if count is None else Count(count * 100),
        limit,
        TimeInForce.IMMEDIATE_OR_CANCEL,
        0,
    )
    part = Count(filled * 100)
    order = BasketOrder(
        request, leg, basket.next_wave(), purpose, state, None if state is OrderState.PLANNED else sent_ms,
        f"x{leg}" if state is OrderState.DONE else None, part, Cash(limit * part), Cash(0), state is OrderState.DONE,
        rejection, sent_ms,
    )  # fmt: skip
    return replace(basket, orders=(*basket.orders, order))


def yes_book(ticker: str, ask: int, size: int = 50, *bids: Cents) -> BookSnapshot:
    """A book that offers YES at ``ask`` cents and bids for it."""
    return book(ticker, yes=bids, no=((100 - ask, size),))
