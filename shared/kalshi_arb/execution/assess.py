"""Asks the exchange what became of a basket's orders, books it, and has the next step decided.

It sends nothing, so it may be repeated after any error. Each run saves the row at least once, except where the answer
is only to execute what is planned already: a basket that somebody drives looks driven.
"""

from dataclasses import dataclass, replace
from enum import StrEnum, unique

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import ENDED_STATES, OPEN_ORDER_STATES, Basket, BasketState, OrderState
from kalshi_arb.domain.errors import ConflictError, ExchangeError, StoreError
from kalshi_arb.execution.control import read_control
from kalshi_arb.execution.ending import Ending
from kalshi_arb.execution.exposure import basket_worst_cash
from kalshi_arb.execution.machine import BUYING, Decision, End, Send, decide, decide_without_books
from kalshi_arb.execution.plan import withdraw
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import book, first_sent, is_unbooked, resolve
from kalshi_arb.ports import (
    Alert,
    AlertKind,
    BasketStore,
    LedgerStore,
    MarketData,
    Notifier,
    ReservationStore,
    StatusStore,
    Trading,
)

_CONFLICT_TRIES = 4
_HOUR_MS = 3_600_000
# The exchange's clock and ours: reads start this much before the first order was sent.
_READ_MARGIN_MS = 60_000


@unique
class Action(StrEnum):
    """What the state machine does next."""

    WAVE = "wave"
    WAIT = "wait"
    END = "end"


@dataclass(frozen=True, slots=True)
class Assessment:
    """The next action: ``wave`` is meaningful for WAVE, ``wait_seconds`` for WAIT. END ends this attempt; the basket
    itself is over only if ``state`` says so."""

    action: Action
    state: BasketState
    wave: int = 0
    wait_seconds: int = 0


class Assessor:
    """Third task of a basket's state machine."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        trading: Trading,
        market_data: MarketData,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        policy: ExecutionPolicy | None = None,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._trading = trading
        self._market_data = market_data
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._policy = policy or ExecutionPolicy()
        self._ending = Ending(baskets=baskets, reservations=reservations, status=status, notifier=notifier, clock=clock)

    def run(self, basket_id: str, attempt: int) -> Assessment:
        """Account for every order and say what comes next.

        :raises StoreError: there is no such basket.
        :raises ConflictError: other writers kept being first.
        """
        for _ in range(_CONFLICT_TRIES - 1):
            try:
                return self._run(basket_id, attempt)
            except ConflictError:
                continue
        return self._run(basket_id, attempt)

    def _run(self, basket_id: str, attempt: int) -> Assessment:
        row = self._baskets.get(basket_id)
        if row is None:
            raise StoreError(f"there is no basket {basket_id}")
        if row.attempt != attempt or row.state in ENDED_STATES or row.state is BasketState.PROPOSED:
            return Assessment(Action.END, row.state)
        if row.ending is not None:
            return Assessment(Action.END, self._ending.carry_out(row).state)
        stopped = read_control(self._status).stopped
        planned = row.planned_orders()
        if planned and not row.has_open_orders():
            forbidden = stopped and any(order.purpose in BUYING for order in planned)
            now = self._clock.now_ms()
            if not forbidden and all(now - order.planned_ms <= self._policy.plan_fresh_ms for order in planned):
                return Assessment(Action.WAVE, row.state, wave=planned[0].wave)
        before = row
        row = withdraw(row)
        if row.state is BasketState.RESERVED:
            return Assessment(Action.END, self._ending.refuse(row, "stopped" if stopped else "expired").state)
        try:
            row = self._account(row)
            if row.has_open_orders() or any(is_unbooked(order) for order in row.orders):
                return self._wait_for_exchange(before, row)
            now = self._clock.now_ms()
            decision = decide_without_books(row, stopped=stopped, now_ms=now)
            if decision is None:
                books = self._market_data.orderbooks([leg.ticker for leg in row.legs])
                decision = decide(row, books, stopped=stopped, now_ms=self._clock.now_ms(), policy=self._policy)
        except ExchangeError:
            return self._wait_for_exchange(before, row)
        return self._apply(before, row, decision)

    def _account(self, row: Basket) -> Basket:
        """The row with open orders resolved and fills booked, as far as the exchange shows them. Not saved yet."""
        unsettled = [order for order in row.orders if order.state in OPEN_ORDER_STATES or is_unbooked(order)]
        if not unsettled:
            return row
        tickers = sorted({order.request.ticker for order in unsettled})
        since_ms = first_sent(unsettled) - _READ_MARGIN_MS
        if row.has_open_orders():
            # First how far the reads have caught up, then what they show: absence is judged by the older of both.
            user_data_ms = self._trading.user_data_ms()
            found = self._trading.find_orders(tickers, since_ms)
            row = replace(row, orders=resolve(row, found, user_data_ms, self._policy))
        if any(is_unbooked(order) for order in row.orders):
            orders, entries = book(row, self._trading.fills(tickers, since_ms))
            # The ledger first: an order counts as booked only when its fills are in it.
            self._ledger.append(entries)
            row = replace(row, orders=orders)
        return row

    def _wait_for_exchange(self, before: Basket, row: Basket) -> Assessment:
        """Wait longer and longer; after a while tell a person and leave the basket, still live, to the sweeper."""
        now = self._clock.now_ms()
        row = self._save(before, row)
        unsettled = [order for order in row.orders if order.state in OPEN_ORDER_STATES or is_unbooked(order)]
        sent = [order.sent_ms for order in (unsettled or row.orders) if order.sent_ms is not None]
        elapsed = now - max(sent, default=row.created_ms)
        if elapsed <= self._policy.stuck_after_ms:
            seconds = min(self._policy.longest_wait_s, 1 + elapsed // 5_000)
            return Assessment(Action.WAIT, row.state, wait_seconds=seconds)
        names = ", ".join(order.request.client_order_id for order in unsettled) or "the order books"
        self._notifier.publish(
            Alert(
                # One an hour for as long as it lasts.
                alert_id=f"{row.basket_id}-stuck-{now // _HOUR_MS}",
                kind=AlertKind.ERROR,
                mode=row.mode,
                title=f"Basket {row.basket_id} cannot be accounted for",
                text=f"The exchange has not shown {names} for {elapsed // 1000} s. The basket stays open and is asked "
                "for again; nothing new is sent for it. Compare the account's orders with it.",
                created_ms=now,
            )
        )
        self._status.count("execution", {"stuck": 1})
        return Assessment(Action.END, row.state)

    def _apply(self, before: Basket, row: Basket, decision: Decision) -> Assessment:
        if isinstance(decision, Send):
            planned = replace(row, orders=row.orders + decision.orders, state=decision.state)
            saved = self._save(before, planned)
            return Assessment(Action.WAVE, saved.state, wave=decision.orders[0].wave)
        if isinstance(decision, End):
            ended = self._ending.end(row, decision.state, decision.reason, basket_worst_cash(row))
            self._count(before, row)
            return Assessment(Action.END, ended.state)
        saved = self._save(before, replace(row, reason=decision.reason))
        return Assessment(Action.WAIT, saved.state, wait_seconds=decision.seconds)

    def _save(self, before: Basket, row: Basket) -> Basket:
        saved = self._baskets.save(replace(row, updated_ms=self._clock.now_ms()))
        self._count(before, row)
        return saved

    def _count(self, before: Basket, row: Basket) -> None:
        """Orders that became unknown, and orders whose outcome became known, by this run."""
        changes = {"unknown_orders": 0, "resolved_orders": 0}
        for old, new in zip(before.orders, row.orders, strict=False):
            if old.state is OrderState.SENT and new.state is OrderState.UNKNOWN:
                changes["unknown_orders"] += 1
            elif old.state in OPEN_ORDER_STATES and new.state not in OPEN_ORDER_STATES:
                changes["resolved_orders"] += 1
        changes = {name: change for name, change in changes.items() if change}
        if changes:
            self._status.count("execution", changes)
