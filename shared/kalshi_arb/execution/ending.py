"""How a basket ends: decided once in the row, then carried out step by step, each of which may be repeated.

The decision is saved first. From then on whoever meets the basket can only finish it: give reservations back, tell
people, and move the row to its end, which frees the group. A crash in between leaves a live row that the sweeper finds.
"""

from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.money import Cash, dollars
from kalshi_arb.ports import Alert, AlertKind, BasketStore, Notifier, ReservationStore, StatusStore

MARKET_KEY = "market#"
EVENT_KEY = "event#"
CASH_KEY = "cash#"
OPEN_KEY = "open#"
OUTLAY_KEY = "outlay#"
_UNTIL_END = (CASH_KEY, OPEN_KEY, OUTLAY_KEY)
# A lock or a held basket counts against the limits of its markets and its event until they settle.
_HELD_ON = frozenset({BasketState.LOCK, BasketState.HELD})


class Ending:
    """Brings baskets to LOCK, FLAT, HELD or REFUSED."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        self._baskets = baskets
        self._reservations = reservations
        self._status = status
        self._notifier = notifier
        self._clock = clock

    def refuse(self, basket: Basket, reason: str) -> Basket:
        """End a basket of which nothing was ever sent.

        :raises ConflictError: another writer was first; nothing was given back.
        """
        return self.end(basket, BasketState.REFUSED, reason, None)

    def end(self, basket: Basket, state: BasketState, reason: str, worst: Cash | None) -> Basket:
        """Decide an end and carry it out.

        :param worst: cash in the worst state from the exchange's own fills and fees, None when nothing was sent
        :raises ConflictError: another writer was first.
        """
        decided = replace(
            basket,
            ending=state,
            reason=reason,
            locked_profit=worst,
            settled_profit=worst if state is BasketState.FLAT else None,
            updated_ms=self._clock.now_ms(),
        )
        return self.carry_out(self._baskets.save(decided))

    def carry_out(self, basket: Basket) -> Basket:
        """Finish a basket whose end is decided; repeating it is harmless.

        :raises ConflictError: another writer was first.
        """
        state = basket.ending
        if state is None:
            raise TransitionError(f"no end was decided for basket {basket.basket_id}")
        if state in _HELD_ON:
            for prefix in _UNTIL_END:
                self._reservations.release(basket.basket_id, prefix)
        else:
            self._reservations.release(basket.basket_id)
        if state is not BasketState.REFUSED:
            self._notifier.publish(_end_alert(basket, state))
        ended = self._baskets.save(replace(basket, state=state, updated_ms=self._clock.now_ms()))
        # Counted last, so that only the writer whose save won counts.
        if state is BasketState.REFUSED:
            self._status.count("risk", {f"refused.{basket.reason}": 1})
        else:
            self._status.count("execution", {f"end.{state.value}": 1})
        return ended


def _end_alert(basket: Basket, state: BasketState) -> Alert:
    worst = basket.locked_profit or Cash(0)
    legs = ", ".join(f"{leg.ticker} {leg.outcome.value}" for leg in basket.legs)
    return Alert(
        alert_id=f"{basket.basket_id}-end",
        kind=AlertKind.BASKET,
        mode=basket.mode,
        title=f"Basket ended: {state.value}, {dollars(worst)} in the worst state",
        text=f"{basket.basket_id} on {basket.event_ticker} ({legs}): {basket.reason}.",
        created_ms=basket.updated_ms,
    )
