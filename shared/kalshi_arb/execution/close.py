"""The last step of an attempt at a basket: its end is carried out, or the row says why this attempt gave up.

It neither asks nor tells the exchange anything, so nothing that goes wrong there can keep a basket from its end. In
this order, each step repeatable: record, release, notify, end the row. A crash in between leaves a live row whose end
is decided; the sweeper's next attempt finishes it here. Only then the comparison of the books with the exchange is
asked for: what keeps that from being asked keeps nothing else, and the schedule compares anyway.
"""

from collections.abc import Callable
from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState
from kalshi_arb.domain.errors import StoreError, TransitionError
from kalshi_arb.execution.conflicts import undisturbed
from kalshi_arb.execution.ending import Ending
from kalshi_arb.execution.exposure import basket_worst_cash
from kalshi_arb.ports import BasketStore, LedgerStore, Notifier, Queue, ReservationStore, StatusStore
from kalshi_arb.risk.breaker import Breaker, Cause
from kalshi_arb.schemas import AuditRequest, encode


class Closer:
    """Tasks Close and HandOver of a basket's state machine. Repeating them changes nothing.

    :param audits: where a comparison with the exchange is asked for after a basket that sent orders
    :param write_problem: takes one line about what went wrong and kept nothing from its end
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        reservations: ReservationStore,
        audits: Queue,
        status: StatusStore,
        notifier: Notifier,
        breaker: Breaker,
        clock: Clock,
        write_problem: Callable[[str], None],
    ) -> None:
        self._baskets = baskets
        self._audits = audits
        self._status = status
        self._breaker = breaker
        self._clock = clock
        self._write_problem = write_problem
        self._ending = Ending(
            baskets=baskets, ledger=ledger, reservations=reservations, status=status, notifier=notifier, clock=clock
        )

    def run(self, basket_id: str, attempt: int, gave_up: str = "") -> BasketState:
        """Carry out the end that was decided, or note that this attempt gave up; returns the state of the row.

        A row that has ended, or that another attempt has taken over, is left as it is.

        :param gave_up: in one word why this attempt goes no further; the sweeper's next one continues
        :raises StoreError: there is no such basket.
        :raises TransitionError: no end was decided and nobody gave up.
        :raises ConflictError: other writers kept being first.
        """
        return undisturbed(lambda: self._run(basket_id, attempt, gave_up))

    def _run(self, basket_id: str, attempt: int, gave_up: str) -> BasketState:
        row = self._baskets.get(basket_id)
        if row is None:
            raise StoreError(f"there is no basket {basket_id}")
        if row.attempt != attempt or row.state in ENDED_STATES:
            return row.state
        if gave_up:
            self._give_up(row, gave_up)
            return row.state
        if row.ending is None:
            raise TransitionError(f"no end was decided for basket {basket_id}")
        self._note_loss(row)
        ended = self._ending.carry_out(row)
        if ended.state is not BasketState.REFUSED:
            self._request_audit(ended)
        return ended.state

    def _note_loss(self, row: Basket) -> None:
        """A loss for the breaker: for what is kept, the loss of the worst state. Of an early sale, what it lost more
        than the basket had lost when it ended before."""
        lost, name = max(0, -(row.locked_profit or 0)), row.basket_id
        if row.release is not None:
            wave, number = row.release.wave, row.release.number
            before = replace(row, orders=tuple(order for order in row.orders if order.wave < wave))
            lost, name = lost - max(0, -basket_worst_cash(before)), f"{row.basket_id}-release-{number}"
        if lost > 0:
            self._breaker.note(Cause.LOSS, name, lost)

    def _request_audit(self, row: Basket) -> None:
        """Once for each end: the row has ended, so whoever repeats this step comes no further than to the row."""
        try:
            self._audits.send(encode(AuditRequest(row.basket_id, row.updated_ms)))
        except StoreError as error:
            self._write_problem(f"no audit was asked for after basket {row.basket_id}, the schedule makes one: {error}")
            self._status.count("execution", {"audits_not_asked": 1})

    def _give_up(self, row: Basket, why: str) -> None:
        if row.ending is not None or row.reason == why:
            # A decided end keeps its reason, and what is noted is noted.
            return
        self._baskets.save(replace(row, reason=why, updated_ms=self._clock.now_ms()))
        self._status.count("execution", {f"gave_up.{why}": 1})
