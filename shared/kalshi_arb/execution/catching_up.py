"""Brings into a row the orders that the exchange has of its basket and the row does not know of.

Every order is in the row before it leaves, so there are none, but where the row is older than what was sent: it was
restored from a backup. What it did since is then read from the exchange before anything is decided about it, so that
nothing is refused that traded, nothing is bought twice and no half of a whole basket is sold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, OrderState, Purpose, client_order_id
from kalshi_arb.domain.money import Price
from kalshi_arb.domain.portfolio import Fill, OrderReport, OrderRequest, TimeInForce
from kalshi_arb.execution.plan import moved
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.ports import Trading

NOT_LISTED = "not_listed"
"""Recorded on an order between two that the exchange lists, which it does not list itself: it did not trade."""
_READ_MARGIN_MS = 60_000


def caught_up(row: Basket, trading: Trading) -> Basket:
    """The row with every order of it that the exchange lists, those it did not know of as sent and not yet accounted
    for; the same row where it knew of all.

    :raises ExchangeError: the exchange could not be read, or does not show all fills of such an order yet.
    """
    tickers = sorted({leg.ticker for leg in row.legs})
    since_ms = row.created_ms - _READ_MARGIN_MS
    known = {order.request.client_order_id for order in row.orders if order.state is not OrderState.PLANNED}
    prefix = f"{row.basket_id}-"
    found = {
        name: report
        for name, report in trading.find_orders(tickers, since_ms).items()
        if name.startswith(prefix) and name not in known
    }
    return with_orders(row, found, trading.fills(tickers, since_ms)) if found else row


def with_orders(row: Basket, found: Mapping[str, OrderReport], fills: Iterable[Fill]) -> Basket:
    """The row with these orders of it.

    :param found: what the exchange says of them, by client order id
    :raises RetryableError: not all their fills are there.
    """
    by_order: dict[str | None, dict[str, Fill]] = {}
    for fill in fills:
        by_order.setdefault(fill.order_id, {})[fill.trade_id] = fill
    orders = [
        moved(order, OrderState.SENT, sent_ms=row.created_ms) if order.request.client_order_id in found else order
        for order in row.orders
    ]
    for leg in range(len(row.legs)):
        ids = {int(name.rpartition("-")[2]): name for name in found if name.startswith(f"{row.basket_id}-{leg}-")}
        for number in range(row.next_number(leg), max(ids, default=-1) + 1):
            report = found.get(client_order_id(row.basket_id, leg, number))
            own = [] if report is None else list(by_order.get(report.order_id, {}).values())
            orders.append(_order(row, leg, number, report, own))
    state = BasketState.EXECUTING if row.state is BasketState.RESERVED else row.state
    first_ms = row.created_ms if row.first_order_ms is None else row.first_order_ms
    return replace(row, state=state, orders=tuple(orders), first_order_ms=first_ms)


def _order(row: Basket, leg: int, number: int, report: OrderReport | None, fills: list[Fill]) -> BasketOrder:
    """An order as far as it can be told from what became of it; its worst is what it filled at its dearest price."""
    own = row.legs[leg]
    filled = own.count if report is None else report.filled
    if report is not None and sum(fill.count for fill in fills) != filled:
        raise RetryableError(f"the exchange does not show all fills of order {report.client_order_id} yet")
    outcome = fills[0].outcome if fills else own.outcome
    purpose = Purpose.UNWIND if outcome is not own.outcome else Purpose.COMPLETE if number else Purpose.ENTER
    limit = Price(max((fill.price for fill in fills), default=own.limit))
    request = OrderRequest(
        client_order_id(row.basket_id, leg, number), own.ticker, outcome, filled or own.count, limit,
        TimeInForce.IMMEDIATE_OR_CANCEL, row.terms[leg].shard,
    )  # fmt: skip
    order = BasketOrder(request, leg, row.next_wave(), purpose, planned_ms=row.created_ms)
    if report is None:
        return moved(order, OrderState.ABSENT, rejection=NOT_LISTED, booked=True)
    return moved(order, OrderState.SENT, sent_ms=row.created_ms)
