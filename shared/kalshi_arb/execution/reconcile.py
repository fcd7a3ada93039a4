"""What the exchange says about our orders, brought into the row. Sans-I/O: answers come in, orders go out.

Unknown is not failed: an order whose answer was lost stays UNKNOWN until the exchange shows it, or until its read side
is far enough past the sending that showing nothing means there is nothing, and positions say so too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kalshi_arb.domain.basket import OPEN_ORDER_STATES, Basket, BasketOrder, OrderState
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, notional
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, OrderReport, fill_entry
from kalshi_arb.execution.exposure import fee_rules, highest_cost
from kalshi_arb.execution.plan import moved
from kalshi_arb.execution.policy import ExecutionPolicy

# The exchange refuses a repeated client order id without saying what became of the first one: it did arrive.
_REPEATED = ("exist", "duplicate", "conflict")


def reported(basket: Basket, order: BasketOrder, report: OrderReport | None) -> BasketOrder:
    """An open order after the exchange's answer on it. Cost and fee are the worst case until its fills are read.

    UNKNOWN, when there is no answer, or one that cannot be the whole truth about this order.
    """
    if report is None or not _is_conclusive(order, report):
        unknown = order if order.state is OrderState.UNKNOWN else moved(order, OrderState.UNKNOWN)
        arrived = report is not None and _is_repeated(report.rejection)
        return replace(unknown, rejection=report.rejection) if report is not None and arrived else unknown
    if report.rejection is not None:
        return moved(order, OrderState.REJECTED, order_id=report.order_id, rejection=report.rejection, booked=True)
    if report.filled == 0:
        return moved(order, OrderState.DONE, order_id=report.order_id, rejection=None, booked=True)
    cost = notional(order.request.limit, report.filled)
    most = highest_cost(basket.terms[order.leg], report.filled, order.request.limit, fee_rules(basket))
    return moved(
        order,
        OrderState.DONE,
        order_id=report.order_id,
        rejection=None,
        filled=report.filled,
        cost=cost,
        fee=Cash(most - cost),
    )


def unseen(
    basket: Basket, found: Mapping[str, OrderReport], user_data_ms: int, policy: ExecutionPolicy
) -> tuple[BasketOrder, ...]:
    """The open orders that the exchange does not list although its read side is far enough past their sending.

    An order whose id the exchange has refused as repeated is never among them: it did arrive.

    :param found: the exchange's list by client order id, read after ``user_data_ms`` was
    :param user_data_ms: how far its read side had caught up (UTC milliseconds)
    """
    return tuple(
        order
        for order in basket.orders
        if order.state in OPEN_ORDER_STATES
        and order.request.client_order_id not in found
        and user_data_ms > policy.absent_after(sent_at(order))
        and not _is_repeated(order.rejection)
    )


def resolve(
    basket: Basket,
    found: Mapping[str, OrderReport],
    absent: Iterable[BasketOrder],
    unexplained: Mapping[str, Count],
) -> tuple[BasketOrder, ...]:
    """All orders, with the open ones judged by what the exchange lists.

    A list can miss an order (its filters rest on our clock), positions have no filter: an ``absent`` order stays
    UNKNOWN while its market's position is off in the direction in which the order trades. Positions are of the whole
    account, so another basket's fills, or a person's, can look like that until they are in the ledger, and can hide a
    difference of the same size: this is a second witness, not a proof.

    :param absent: what :func:`unseen` gave
    :param unexplained: per market of these the exchange's signed position less that of the ledger, + YES and - NO
    """
    gone = {
        order.request.client_order_id
        for order in absent
        if unexplained.get(order.request.ticker, 0) * (1 if order.request.outcome is Outcome.YES else -1) <= 0
    }

    def judged(order: BasketOrder) -> BasketOrder:
        if order.state not in OPEN_ORDER_STATES:
            return order
        if order.request.client_order_id in gone:
            return moved(order, OrderState.ABSENT, booked=True)
        return reported(basket, order, found.get(order.request.client_order_id))

    return tuple(judged(order) for order in basket.orders)


def book(basket: Basket, fills: Iterable[Fill]) -> tuple[tuple[BasketOrder, ...], list[LedgerEntry]]:
    """Exact costs from the exchange's fills: all orders, and the ledger entries of those that could be booked.

    An order is booked only when its fills add up to what it filled, all of them of its own market and outcome.
    """
    by_order: dict[str, dict[str, Fill]] = {}
    for fill in fills:
        by_order.setdefault(fill.order_id, {})[fill.trade_id] = fill
    orders: list[BasketOrder] = []
    entries: list[LedgerEntry] = []
    for order in basket.orders:
        own = list(by_order.get(order.order_id or "", {}).values()) if is_unbooked(order) else []
        if not own or not _adds_up(order, own):
            orders.append(order)
            continue
        cost = Cash(sum(notional(fill.price, fill.count) for fill in own))
        fee, last_ms = Cash(sum(fill.fee for fill in own)), max(fill.created_ms for fill in own)
        orders.append(replace(order, cost=cost, fee=fee, booked=True, filled_ms=last_ms))
        entries += [fill_entry(fill, basket.basket_id) for fill in own]
    return tuple(orders), entries


def is_unbooked(order: BasketOrder) -> bool:
    """Whether an order has filled, but its exact cost is not known yet."""
    return order.state is OrderState.DONE and not order.booked


def sent_at(order: BasketOrder) -> int:
    """When an order was sent. :raises ValueError: it never was."""
    if order.sent_ms is None:
        raise ValueError(f"order {order.request.client_order_id} was never sent")
    return order.sent_ms


def first_sent(orders: Sequence[BasketOrder]) -> int:
    """The earliest sending time of these orders."""
    return min(sent_at(order) for order in orders)


def _is_conclusive(order: BasketOrder, report: OrderReport) -> bool:
    if not 0 <= report.filled <= order.request.count:
        return False
    if report.rejection is not None:
        return report.filled == 0 and not _is_repeated(report.rejection)
    # Fills are joined by order id: without one they could never be read.
    return report.filled == 0 or report.order_id is not None


def _is_repeated(rejection: str | None) -> bool:
    return rejection is not None and any(word in rejection.lower() for word in _REPEATED)


def _adds_up(order: BasketOrder, fills: Sequence[Fill]) -> bool:
    request = order.request
    return Count(sum(fill.count for fill in fills)) == order.filled and all(
        fill.ticker == request.ticker and fill.outcome is request.outcome for fill in fills
    )
