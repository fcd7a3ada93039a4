"""Sends one wave. An order leaves the planned state in the table before it leaves for the exchange, so nothing is ever
sent twice: a crash at any point leaves either a plan, which may be dropped, or an order whose outcome must be asked."""

from collections.abc import Sequence
from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketOrder, BasketState, OrderState
from kalshi_arb.domain.errors import ConflictError, ExchangeError
from kalshi_arb.domain.portfolio import OrderReport
from kalshi_arb.execution.control import read_control
from kalshi_arb.execution.machine import BUYING
from kalshi_arb.execution.plan import moved
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import reported
from kalshi_arb.kalshi.errors import RejectedError, RetryableError
from kalshi_arb.ports import BasketStore, StatusStore, Trading

NOT_SENT = "not_sent"
"""Recorded on an order that provably never left: the exchange refused to take the request, or it came too late."""

_CONFLICT_TRIES = 4


class WaveExecutor:
    """Second task of a basket's state machine.

    :param unwinding: places what gives a position up, which may spend what the rate limit keeps back for it
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        trading: Trading,
        unwinding: Trading,
        status: StatusStore,
        clock: Clock,
        policy: ExecutionPolicy | None = None,
    ) -> None:
        self._baskets = baskets
        self._trading = trading
        self._unwinding = unwinding
        self._status = status
        self._clock = clock
        self._policy = policy or ExecutionPolicy()

    def run(self, basket_id: str, attempt: int, wave: int) -> int:
        """Send the planned orders of one wave in one batch and record what came back; returns how many were sent.

        Sends nothing when there is nothing planned, the attempt is not the row's, an order's outcome is still open,
        the plan is too old, or a stop forbids it; assessment then decides anew.

        :raises ConflictError: other writers kept being first, and nothing was sent.
        """
        sending = self._take(basket_id, attempt, wave)
        if sending is None:
            return 0
        orders = [order for order in sending.orders if order.wave == wave and order.state is OrderState.SENT]
        after = self._send(sending, orders)
        changed = {order.request.client_order_id: order for order in after}
        recorded = replace(
            sending,
            orders=tuple(changed.get(order.request.client_order_id, order) for order in sending.orders),
            updated_ms=self._clock.now_ms(),
        )
        try:
            self._baskets.save(recorded)
        except ConflictError:
            # Somebody took over while the exchange was answering. The row says SENT, so they will ask it themselves.
            return len(orders)
        unknown = sum(order.state is OrderState.UNKNOWN for order in after)
        if unknown:
            self._status.count("execution", {"unknown_orders": unknown})
        return sum(order.rejection != NOT_SENT for order in after)

    def _take(self, basket_id: str, attempt: int, wave: int) -> Basket | None:
        """The row with the wave's orders marked as sent, or None when nothing may be sent."""
        for tries in range(1, _CONFLICT_TRIES + 1):
            row = self._baskets.get(basket_id)
            if row is None or not self._may_send(row, attempt, wave):
                return None
            try:
                return self._mark_sent(row, wave)
            except ConflictError:
                if tries == _CONFLICT_TRIES:
                    raise
        return None

    def _may_send(self, row: Basket, attempt: int, wave: int) -> bool:
        planned = [order for order in row.planned_orders() if order.wave == wave]
        if not planned or row.attempt != attempt or row.state not in LIVE_STATES or row.ending is not None:
            return False
        if row.has_open_orders():
            return False
        now = self._clock.now_ms()
        if any(now - order.planned_ms > self._policy.plan_fresh_ms for order in planned):
            return False
        return not (any(order.purpose in BUYING for order in planned) and read_control(self._status).stopped)

    def _mark_sent(self, row: Basket, wave: int) -> Basket:
        now = self._clock.now_ms()
        return self._baskets.save(
            replace(
                row,
                state=BasketState.EXECUTING if row.state is BasketState.RESERVED else row.state,
                orders=tuple(
                    moved(order, OrderState.SENT, sent_ms=now)
                    if order.wave == wave and order.state is OrderState.PLANNED
                    else order
                    for order in row.orders
                ),
                first_order_ms=now if row.first_order_ms is None else row.first_order_ms,
                updated_ms=now,
            )
        )

    def _send(self, basket: Basket, orders: Sequence[BasketOrder]) -> list[BasketOrder]:
        """One batch to the exchange, and each order as its answer leaves it."""
        if self._clock.now_ms() - (orders[0].sent_ms or 0) > self._policy.send_window_ms:
            # Absence is judged from the sending time in the row: an order that leaves later could be missed.
            return [moved(order, OrderState.ABSENT, rejection=NOT_SENT, booked=True) for order in orders]
        opens = any(order.purpose in BUYING for order in orders)
        trading = self._trading if opens else self._unwinding
        try:
            reports = trading.place([order.request for order in orders])
        except RetryableError:
            return [moved(order, OrderState.ABSENT, rejection=NOT_SENT, booked=True) for order in orders]
        except RejectedError as refused:
            return [
                reported(basket, order, OrderReport(order.request.client_order_id, None, order.filled, refused.code))
                for order in orders
            ]
        except ExchangeError:
            # A lost answer, or one that cannot be read: the orders may have traded.
            return [reported(basket, order, None) for order in orders]
        answers = {report.client_order_id: report for report in reports}
        return [reported(basket, order, answers.get(order.request.client_order_id)) for order in orders]
