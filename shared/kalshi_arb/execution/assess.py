"""Asks the exchange what became of a basket's orders, books it, and has the next step decided.

It sends nothing, so it may be repeated after any error. Each run saves the row with one more turn, unless it is not
this attempt's to drive: a basket that somebody drives looks driven, and the turns bound the state machine's loop.

An end is decided only once the exchange's reads are past the basket's last fill. With its end a basket gives back the
cash that it holds, so from then on the balance alone has to say what was spent, and it may be behind the fills: each
kind of read lags by itself, and ``user_data_timestamp`` says how far all of them have caught up (Kalshi API
documentation, user data timestamp).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import (
    ENDED_STATES,
    OPEN_ORDER_STATES,
    Basket,
    BasketOrder,
    BasketState,
    Finding,
    OrderState,
    Purpose,
)
from kalshi_arb.domain.errors import ExchangeError, StoreError
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.portfolio import net_positions
from kalshi_arb.execution.catching_up import caught_up
from kalshi_arb.execution.conflicts import undisturbed
from kalshi_arb.execution.control import buying_stopped, orders_forbidden
from kalshi_arb.execution.ending import EXPIRED, decided
from kalshi_arb.execution.exposure import basket_worst_cash
from kalshi_arb.execution.machine import (
    BUYING,
    Decision,
    End,
    Send,
    Wait,
    decide,
    decide_without_books,
    starts_release,
)
from kalshi_arb.execution.plan import UNDELIVERED, withdraw
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import book, first_sent, is_unbooked, resolve, unseen
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.kalshi.answers import is_kill
from kalshi_arb.ports import (
    Alert,
    AlertKind,
    BasketStore,
    LedgerStore,
    MarketData,
    Notifier,
    StatusStore,
    Trading,
)
from kalshi_arb.risk.breaker import Breaker, Cause

_HOUR_MS = 3_600_000
# The exchange's clock and ours: reads start this much before the first order was sent.
_READ_MARGIN_MS = 60_000


@unique
class Action(StrEnum):
    """What the state machine does next."""

    WAVE = "wave"  # send the planned purchases
    UNWIND = "unwind"  # send the planned unwinds
    WAIT = "wait"
    CLOSE = "close"  # the end is decided, or the row is not this attempt's any more
    HANDOVER = "handover"  # this attempt can do no more; the sweeper starts the next one


@dataclass(frozen=True, slots=True)
class Assessment:
    """The next action: ``wave`` is meaningful for WAVE and UNWIND, ``wait_seconds`` for WAIT. ``turns`` counts the
    assessments of this attempt."""

    action: Action
    state: BasketState
    turns: int
    wave: int = 0
    wait_seconds: int = 0


class Assessor:
    """Task Assess of a basket's state machine."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        trading: Trading,
        market_data: MarketData,
        status: StatusStore,
        notifier: Notifier,
        breaker: Breaker,
        clock: Clock,
        policy: ExecutionPolicy | None = None,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._journal = RunningJournal(ledger, clock)
        self._trading = trading
        self._market_data = market_data
        self._status = status
        self._notifier = notifier
        self._breaker = breaker
        self._clock = clock
        self._policy = policy or ExecutionPolicy()

    def run(self, basket_id: str, attempt: int, wave: int) -> Assessment:
        """Account for every order and say what comes next.

        :param wave: the last wave that was handed out to be sent in this attempt
        :raises StoreError: there is no such basket.
        :raises ConflictError: other writers kept being first.
        """
        return undisturbed(lambda: self._run(basket_id, attempt, wave))

    def _run(self, basket_id: str, attempt: int, wave: int) -> Assessment:
        before = self._baskets.get(basket_id)
        if before is None:
            raise StoreError(f"there is no basket {basket_id}")
        if before.attempt != attempt or before.state in ENDED_STATES or before.ending is not None:
            return Assessment(Action.CLOSE, before.state, before.turns)
        row = replace(before, turns=before.turns + 1)
        if row.attempt > 1 and row.terms:
            try:
                row = caught_up(row, self._trading)
            except ExchangeError:
                return self._wait_for_exchange(before, row)
        now = self._clock.now_ms()
        stop = buying_stopped(self._status, now, row.mode)
        if self._is_still_to_send(row, wave, stop, now):
            return self._send(self._save(before, row))
        row = withdraw(row, wave)
        if row.state in (BasketState.PROPOSED, BasketState.RESERVED):
            why = _why_nothing_was_sent(row, stop)
            return self._decide_end(before, replace(row, findings=(why,)), End(BasketState.REFUSED, why.code))
        try:
            row = self._account(row)
            self._note(row)
            if row.has_open_orders() or any(is_unbooked(order) for order in row.orders):
                return self._wait_for_exchange(before, row)
            # What was not delivered when the basket entered keeps nobody from selling what it holds.
            stopped = stop is not None or (row.release is None and _is_undelivered(row))
            decision = self._decide(row, stopped=stopped)
            if isinstance(decision, End) and not self._is_seen(row):
                return self._wait_for_exchange(before, row)
        except ExchangeError:
            return self._wait_for_exchange(before, row)
        return self._apply(before, row, decision)

    def _is_still_to_send(self, row: Basket, wave: int, stop: str | None, now_ms: int) -> bool:
        """Whether the plan is one whose announcement was lost: made after the wave that was handed out, and fresh."""
        planned = row.planned_orders()
        if not planned or row.has_open_orders() or any(order.wave <= wave for order in planned):
            return False
        optional = any(order.purpose in BUYING for order in planned) or starts_release(row, planned[0].wave)
        if stop is not None and optional:
            return False
        return all(now_ms - order.planned_ms <= self._policy.plan_fresh_ms for order in planned)

    def _decide(self, row: Basket, *, stopped: bool) -> Decision:
        now = self._clock.now_ms()
        decision = decide_without_books(row, stopped=stopped, now_ms=now)
        if decision is not None:
            return decision
        forbidden = orders_forbidden(self._status, now)
        if forbidden is not None:
            return Wait(self._policy.longest_wait_s, forbidden)
        books = self._market_data.orderbooks([leg.ticker for leg in row.legs])
        return decide(row, books, stopped=stopped, now_ms=self._clock.now_ms(), policy=self._policy)

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
            absent = unseen(row, found, user_data_ms, self._policy)
            row = replace(row, orders=resolve(row, found, absent, self._unexplained(absent)))
        if any(is_unbooked(order) for order in row.orders):
            orders, entries = book(row, self._trading.fills(tickers, since_ms))
            # The ledger first: an order counts as booked only when its fills are in it.
            self._ledger.append(entries)
            row = replace(row, orders=orders)
        return row

    def _is_seen(self, row: Basket) -> bool:
        """Whether whoever reads the balance from now on sees all that the basket has spent."""
        last_ms = row.last_fill_ms()
        return last_ms is None or self._trading.user_data_ms() > last_ms

    def _unexplained(self, orders: Sequence[BasketOrder]) -> dict[str, Count]:
        """What the exchange's positions hold beyond the ledger's on the markets of these orders."""
        if not orders:
            return {}
        # The ledger first: what is filled in between looks like a difference, which errs on the safe side.
        own = net_positions(self._journal.entries())
        theirs = self._trading.positions()
        tickers = {order.request.ticker for order in orders}
        return {ticker: Count(theirs.get(ticker, 0) - own.get(ticker, 0)) for ticker in tickers}

    def _note(self, row: Basket) -> None:
        """Tell the breaker what the exchange refused and what it does not say. Noting it again changes nothing."""
        for order in row.orders:
            if order.state is OrderState.REJECTED and not is_kill(order.rejection or ""):
                self._breaker.note(Cause.REJECTS, order.request.client_order_id)
            elif order.state is OrderState.UNKNOWN:
                self._breaker.note(Cause.UNKNOWNS, order.request.client_order_id)

    def _wait_for_exchange(self, before: Basket, row: Basket) -> Assessment:
        """Wait longer and longer; after a while tell a person and leave the basket, still live, to the sweeper."""
        now = self._clock.now_ms()
        row = self._save(before, row)
        unsettled = [order for order in row.orders if order.state in OPEN_ORDER_STATES or is_unbooked(order)]
        sent = [order.sent_ms for order in (unsettled or row.orders) if order.sent_ms is not None]
        begun = row.created_ms if row.release is None else row.release.started_ms
        elapsed = now - max([*sent, begun])
        if elapsed <= self._policy.stuck_after_ms:
            seconds = min(self._policy.longest_wait_s, 1 + elapsed // 5_000)
            return Assessment(Action.WAIT, row.state, row.turns, wait_seconds=seconds)
        names = ", ".join(order.request.client_order_id for order in unsettled) or "its order books, or how far it is,"
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
        return Assessment(Action.HANDOVER, row.state, row.turns)

    def _apply(self, before: Basket, row: Basket, decision: Decision) -> Assessment:
        if isinstance(decision, Send):
            planned = replace(row, orders=row.orders + decision.orders, state=decision.state)
            return self._send(self._save(before, planned))
        if isinstance(decision, End):
            return self._decide_end(before, row, decision)
        saved = self._save(before, replace(row, reason=decision.reason))
        return Assessment(Action.WAIT, saved.state, saved.turns, wait_seconds=decision.seconds)

    def _send(self, row: Basket) -> Assessment:
        """Hand out the planned wave, of purchases or of unwinds: they take different paths."""
        first = row.planned_orders()[0]
        action = Action.UNWIND if first.purpose is Purpose.UNWIND else Action.WAVE
        return Assessment(action, row.state, row.turns, wave=first.wave)

    def _decide_end(self, before: Basket, row: Basket, end: End) -> Assessment:
        worst = None if end.state is BasketState.REFUSED else basket_worst_cash(row)
        saved = self._save(before, decided(row, end.state, end.reason, worst, self._clock.now_ms()))
        return Assessment(Action.CLOSE, saved.state, saved.turns)

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


def _why_nothing_was_sent(row: Basket, stop: str | None) -> Finding:
    """The one finding of a basket that was accepted and then sent no order."""
    if stop is not None:
        code, _, text = stop.partition(": ")
        return Finding(code, text)
    if _is_undelivered(row):
        return Finding(UNDELIVERED, "whoever was to send its first orders could not be called, or died before it did")
    return Finding(EXPIRED, "its first orders were not sent while their plan was fresh")


def _is_undelivered(row: Basket) -> bool:
    return any(order.rejection == UNDELIVERED for order in row.orders)
