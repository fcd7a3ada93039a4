"""The last step of an attempt at a basket: its end is carried out, or the row says why this attempt gave up.

It neither asks nor tells the exchange anything, so nothing that goes wrong there can keep a basket from its end. In
this order, each step repeatable: record, release, notify, end the row. A crash in between leaves a live row whose end
is decided; the sweeper's next attempt finishes it here.
"""

from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState
from kalshi_arb.domain.errors import StoreError, TransitionError
from kalshi_arb.domain.money import dollars
from kalshi_arb.domain.portfolio import decision_entry
from kalshi_arb.execution.conflicts import undisturbed
from kalshi_arb.execution.ending import Ending
from kalshi_arb.ports import BasketStore, LedgerStore, Notifier, ReservationStore, StatusStore
from kalshi_arb.risk.breaker import Breaker, Cause


class Closer:
    """Tasks Close and HandOver of a basket's state machine. Repeating them changes nothing."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        breaker: Breaker,
        clock: Clock,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._status = status
        self._breaker = breaker
        self._clock = clock
        self._ending = Ending(baskets=baskets, reservations=reservations, status=status, notifier=notifier, clock=clock)

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
        self._record(row)
        return self._ending.carry_out(row).state

    def _record(self, row: Basket) -> None:
        """Every fill is in the ledger since its order was booked. What is added is the end, and a loss for the breaker:
        for what is kept, the loss of the worst state."""
        if row.ending is None or row.ending is BasketState.REFUSED:
            return
        proof = row.certificate.seal
        accepted = f"{dollars(row.expected_profit)} expected, at most {dollars(row.exposure_bound)} lost"
        ended = f"{row.ending.value}: {row.reason}"
        self._ledger.append(
            [
                decision_entry("accepted", row.basket_id, proof, accepted, row.created_ms),
                decision_entry("end", row.basket_id, proof, ended, row.updated_ms),
            ]
        )
        worst = row.locked_profit or 0
        if worst < 0:
            self._breaker.note(Cause.LOSS, row.basket_id, -worst)

    def _give_up(self, row: Basket, why: str) -> None:
        if row.ending is not None or row.reason == why:
            # A decided end keeps its reason, and what is noted is noted.
            return
        self._baskets.save(replace(row, reason=why, updated_ms=self._clock.now_ms()))
        self._status.count("execution", {f"gave_up.{why}": 1})
