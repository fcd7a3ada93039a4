"""How a basket ends: decided once in the row, then carried out step by step, each of which may be repeated.

The decision is saved first. From then on whoever meets the basket can only finish it: write the decision to the
journal, give reservations back, tell people, and move the row to its end, which frees the group. A crash in between
leaves a live row that the sweeper finds, and the journal takes each entry once.
"""

from collections.abc import Sequence
from dataclasses import replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket, BasketState, Finding, Releasing
from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.money import Cash, count_to_wire, dollars
from kalshi_arb.domain.portfolio import LedgerEntry, decision_entry
from kalshi_arb.domain.reservation_keys import UNTIL_END
from kalshi_arb.execution.legs import leg_state
from kalshi_arb.ports import Alert, AlertKind, BasketStore, LedgerStore, Notifier, ReservationStore, StatusStore

EXPIRED = "expired"
"""The code of a refusal for want of time: nothing of the basket was sent while its plan was fresh."""
NOTE_LENGTH = 1_000
"""How many characters of findings a refusal's note takes; what it leaves out it counts."""

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
    """Brings baskets to LOCK, FLAT, HELD or REFUSED: records, releases, tells people, and ends the row last."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._reservations = reservations
        self._status = status
        self._notifier = notifier
        self._clock = clock

    def refuse(self, basket: Basket, findings: Sequence[Finding]) -> Basket:
        """End a basket of which nothing was ever sent.

        :param findings: every reason, the one that is counted first
        :raises ConflictError: another writer was first; nothing was given back.
        """
        row = replace(basket, findings=tuple(findings))
        return self.carry_out(
            self._baskets.save(decided(row, BasketState.REFUSED, findings[0].code, None, self._clock.now_ms()))
        )

    def carry_out(self, basket: Basket) -> Basket:
        """Finish a basket whose end is decided; repeating it is harmless.

        :raises ConflictError: another writer was first.
        """
        state = basket.ending
        if state is None:
            raise TransitionError(f"no end was decided for basket {basket.basket_id}")
        self._ledger.append(_decisions(basket, state))
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
            # An early sale is no basket more that has traded.
            what = "end" if basket.release is None else "released"
            self._status.count("execution", {f"{what}.{state.value}": 1})
        return ended


def _decisions(basket: Basket, state: BasketState) -> list[LedgerEntry]:
    """What the journal is told of a decided end. Every fill is in it since its order was booked."""
    proof = basket.certificate.seal
    if state is BasketState.REFUSED:
        return [decision_entry("refused", basket.basket_id, proof, _refusal_note(basket), basket.updated_ms)]
    ended = f"{state.value}: {basket.reason}"
    if (release := basket.release) is not None:
        # It ended before, and its entries of then stand.
        what = f"to sell early: {_sold_early(basket, release)}"
        return [
            decision_entry(f"release-{release.number}", basket.basket_id, proof, what, release.started_ms),
            decision_entry(f"end-{release.number}", basket.basket_id, proof, ended, basket.updated_ms),
        ]
    accepted = f"{dollars(basket.expected_profit)} expected, at most {dollars(basket.exposure_bound)} lost"
    return [
        decision_entry("accepted", basket.basket_id, proof, accepted, basket.created_ms),
        decision_entry("end", basket.basket_id, proof, ended, basket.updated_ms),
    ]


def _sold_early(basket: Basket, release: Releasing) -> str:
    counts = zip(release.counts, basket.legs, strict=True)
    return ", ".join(f"{count_to_wire(count)} {leg.ticker} {leg.outcome.value}" for count, leg in counts if count)


def _refusal_note(basket: Basket) -> str:
    """Its findings as ``code: text``, as many whole ones as fit."""
    told = [f"{found.code}: {found.text}" for found in basket.findings] or [basket.reason]
    note = _shortened(told[0])
    for place, text in enumerate(told[1:], 1):
        if len(note) + len(text) + 2 > NOTE_LENGTH:
            return f"{note}; and {len(told) - place} more"
        note = f"{note}; {text}"
    return note


def _shortened(text: str) -> str:
    more = len(text) - NOTE_LENGTH
    return text if more <= 0 else f"{text[:NOTE_LENGTH]} and {more} characters more"


def _end_alert(basket: Basket, state: BasketState) -> Alert:
    worst = basket.locked_profit or Cash(0)
    legs = ", ".join(
        f"{leg.ticker} {leg.outcome.value} {leg_state(basket, place).value}" for place, leg in enumerate(basket.legs)
    )
    name, what = f"{basket.basket_id}-end", "Basket"
    if basket.release is not None:
        name, what = f"{name}-{basket.release.number}", "Early sale"
    return Alert(
        alert_id=name,
        kind=AlertKind.BASKET,
        mode=basket.mode,
        title=f"{what} ended: {state.value}, {dollars(worst)} in the worst state",
        text=f"{basket.basket_id} on {basket.event_ticker} ({legs}): {basket.reason}.",
        created_ms=basket.updated_ms,
    )
