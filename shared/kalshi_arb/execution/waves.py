"""Sends one wave. An order leaves the planned state in the table before it leaves for the exchange, so nothing is ever
sent twice: a crash at any point leaves either a plan, which may be dropped, or an order whose outcome must be asked."""

from collections.abc import Sequence
from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketOrder, BasketState, OrderState, Purpose
from kalshi_arb.domain.errors import ConflictError, ExchangeError
from kalshi_arb.domain.portfolio import OrderReport
from kalshi_arb.execution.conflicts import undisturbed
from kalshi_arb.execution.control import buying_stopped, orders_forbidden
from kalshi_arb.execution.machine import BUYING, starts_release
from kalshi_arb.execution.plan import NOT_SENT, moved
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import reported
from kalshi_arb.kalshi.errors import RejectedError, RetryableError
from kalshi_arb.ports import BasketStore, StatusStore, Trading


class WaveExecutor:
    """Tasks ExecuteWave and Unwind of a basket's state machine, which differ in what they may send and in nothing else:
    so that the one can be forbidden from outside while the other goes on.

    :param trading: places the orders; for unwinds one that may spend what the rate limit keeps back for them
    :param purposes: what this one sends
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        trading: Trading,
        purposes: frozenset[Purpose],
        status: StatusStore,
        clock: Clock,
        policy: ExecutionPolicy | None = None,
    ) -> None:
        self._baskets = baskets
        self._trading = trading
        self._purposes = purposes
        self._status = status
        self._clock = clock
        self._policy = policy or ExecutionPolicy()

    def run(self, basket_id: str, attempt: int, wave: int) -> int:
        """Send the planned orders of one wave in one batch and record what came back; returns how many were sent.

        Sends nothing when there is nothing planned, the plan is not for this one to send, the attempt is not the row's,
        an order's outcome is still open, the plan is too old, or a stop forbids it; assessment then decides anew.

        :raises ConflictError: other writers kept being first, and nothing was sent.
        """
        sending = undisturbed(lambda: self._take(basket_id, attempt, wave))
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
        """The row with the wave's orders marked as sent, or None when nothing may be sent.

        The sending time is from before the stops are read: so the window in which the orders may leave bounds how long
        after a stop one may still leave.
        """
        now = self._clock.now_ms()
        row = self._baskets.get(basket_id)
        if row is None or not self._may_send(row, attempt, wave, now):
            return None
        return self._mark_sent(row, wave, now)

    def _may_send(self, row: Basket, attempt: int, wave: int, now: int) -> bool:
        """Whether the wave may leave. That an older attempt sends nothing only saves it the trouble: a plan is sent by
        whoever is first to mark it in the row, which the row's revision lets happen once, and is accounted for by the
        attempt of the row, whoever sent it."""
        planned = [order for order in row.planned_orders() if order.wave == wave]
        if not planned or row.attempt != attempt or row.state not in LIVE_STATES or row.ending is not None:
            return False
        if row.has_open_orders() or any(order.purpose not in self._purposes for order in planned):
            return False
        if any(now - order.planned_ms > self._policy.plan_fresh_ms for order in planned):
            return False
        optional = any(order.purpose in BUYING for order in planned) or starts_release(row, wave)
        forbidden = buying_stopped(self._status, now, row.mode) if optional else orders_forbidden(self._status, now)
        return forbidden is None

    def _mark_sent(self, row: Basket, wave: int, now: int) -> Basket:
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
        leave_by_ms = (orders[0].sent_ms or 0) + self._policy.send_window_ms
        if self._clock.now_ms() > leave_by_ms:
            # Absence is judged from the sending time in the row: an order that leaves later could be missed.
            return [moved(order, OrderState.ABSENT, rejection=NOT_SENT, booked=True) for order in orders]
        try:
            reports = self._trading.place([order.request for order in orders], leave_by_ms)
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
