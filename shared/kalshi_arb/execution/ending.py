"""How a basket ends: decided once in the row, then carried out step by step, each of which may be repeated.

The decision is saved first. From then on whoever meets the basket can only finish it: give reservations back, tell
people, and move the row to its end, which frees the group. A crash in between leaves a live row that the sweeper finds.
"""

from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.money import Cash, dollars
from kalshi_arb.domain.reservation_keys import UNTIL_END
from kalshi_arb.execution.legs import leg_state
from kalshi_arb.ports import Alert, AlertKind, BasketStore, Notifier, ReservationStore, StatusStore

# A lock or a held basket counts against the limits of its markets until they settle.
_HELD_ON = frozenset({BasketState.LOCK, BasketState.HELD})


def decided(basket: Basket, state: BasketState, reason: str, worst: Cash | None, now_ms: int) -> Basket:
    """The row with its end decided, to be saved before anything is done about it.

    :param worst: cash in the worst state from the exchange's own fills and fees, None when nothing was sent
    :param now_ms: UTC milliseconds
    """
    return replace(
        basket,
        ending=state,
        reason=reason,
        locked_profit=worst,
        settled_profit=worst if state is BasketState.FLAT else None,
        updated_ms=now_ms,
    )


class Ending:
    """Brings baskets to LOCK, FLAT, HELD or REFUSED: releases, tells people, and ends the row last."""

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
        return self.carry_out(
            self._baskets.save(decided(basket, BasketState.REFUSED, reason, None, self._clock.now_ms()))
        )

    def carry_out(self, basket: Basket) -> Basket:
        """Finish a basket whose end is decided; repeating it is harmless.

        :raises ConflictError: another writer was first.
        """
        state = basket.ending
        if state is None:
            raise TransitionError(f"no end was decided for basket {basket.basket_id}")
        if state in _HELD_ON:
            self._reservations.release(basket.basket_id, UNTIL_END)
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
    legs = ", ".join(
        f"{leg.ticker} {leg.outcome.value} {leg_state(basket, place).value}" for place, leg in enumerate(basket.legs)
    )
    return Alert(
        alert_id=f"{basket.basket_id}-end",
        kind=AlertKind.BASKET,
        mode=basket.mode,
        title=f"Basket ended: {state.value}, {dollars(worst)} in the worst state",
        text=f"{basket.basket_id} on {basket.event_ticker} ({legs}): {basket.reason}.",
        created_ms=basket.updated_ms,
    )
