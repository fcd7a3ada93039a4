"""Proves that nothing stays held that belongs to nobody: reservations and leases against the rows they were made for.

A row ends only after its reservation was given back, and its lease in the same step. So what is still held once the row
was seen to have ended is held for ever, unless somebody gives it back: that is done here, counted and told.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, BasketState
from kalshi_arb.domain.reservation_keys import UNTIL_END
from kalshi_arb.ports import Alert, AlertKind, BasketStore, Holdings, Notifier, ReservationStore, StatusStore

COMPONENT = "reservations"
"""Status component of the last comparison of the sums."""
_HOLDING = frozenset({BasketState.LOCK, BasketState.HELD})
_EVERYTHING = ("",)
# No candidate is this old when it is judged, so none can be from before the mark.
_KEEP_MARKS_MS = 3_600_000
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Leaks:
    """Reservations and leases that were given back for nobody, and whether the sums are off the records."""

    reservations: int
    leases: int
    sums_differ: bool


class LeakFinder:
    """One pass over everything that is held. Everything may be repeated."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
    ) -> None:
        self._baskets = baskets
        self._reservations = reservations
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode

    def run(self) -> Leaks:
        """Give back what belongs to no basket, and compare what is held with what is recorded.

        :raises ConflictError: others kept changing what is to be given back.
        """
        holdings = self._reservations.holdings()
        return Leaks(self._free_reservations(holdings), self._free_leases(), self._compare(holdings))

    def _free_reservations(self, holdings: Holdings) -> int:
        suspected = {}
        for basket_id, amounts in holdings.records.items():
            prefixes = self._ownerless(basket_id)
            if any(key.startswith(prefixes) for key in amounts):
                suspected[basket_id] = prefixes
        if not suspected:
            return 0
        # Read again after the rows: what a basket gave back between the two readings is no leak.
        records = self._reservations.holdings().records
        freed = 0
        for basket_id, prefixes in suspected.items():
            leaked = {key: amount for key, amount in records.get(basket_id, {}).items() if key.startswith(prefixes)}
            if leaked:
                self._reservations.release(basket_id, prefixes)
                self._tell(
                    f"leak-{basket_id}",
                    f"Basket {basket_id} had left a reservation",
                    f"Nobody needed it any more and it was given back: {_listed(leaked)}.",
                )
                freed += 1
        return freed

    def _ownerless(self, basket_id: str) -> tuple[str, ...]:
        """Kinds of keys that the basket has no right to."""
        row = self._baskets.get(basket_id)
        if row is not None and row.state in LIVE_STATES:
            return ()
        return UNTIL_END if row is not None and row.state in _HOLDING else _EVERYTHING

    def _free_leases(self) -> int:
        freed = 0
        now = self._clock.now_ms()
        for lease in self._baskets.leases():
            if lease.owner is None:
                if now - lease.mark_ms > _KEEP_MARKS_MS:
                    self._baskets.free_lease(lease)
                continue
            row = self._baskets.get(lease.owner)
            if (row is None or row.state not in LIVE_STATES) and self._baskets.free_lease(lease):
                self._tell(
                    f"leak-lease-{lease.owner}",
                    f"Group {lease.group_id} had no live basket but a lease",
                    f"It was {lease.owner}'s, and was given back.",
                )
                freed += 1
        return freed

    def _compare(self, holdings: Holdings) -> bool:
        """Whether the sums differ from the records, twice in a row in the same way: once can be a pass between two
        writes."""
        recorded: Counter[str] = Counter()
        for amounts in holdings.records.values():
            recorded.update(amounts)
        differ = {
            key: holdings.used.get(key, 0) - recorded[key]
            for key in sorted(holdings.used.keys() | recorded.keys())
            if holdings.used.get(key, 0) != recorded[key]
        }
        suspicion = _listed(differ)
        last = self._status.get(COMPONENT) or {}
        if suspicion or last.get("suspicion"):
            self._status.put(COMPONENT, {"suspicion": suspicion, "checked_ms": self._clock.now_ms()})
        if not suspicion or last.get("suspicion") != suspicion:
            return False
        self._tell(
            f"sums-{hashlib.sha256(suspicion.encode()).hexdigest()[:16]}",
            "Reservations do not add up",
            f"More is held than baskets recorded, or less, by {suspicion}. Limits are judged by the sums.",
        )
        return True

    def _tell(self, alert_id: str, title: str, text: str) -> None:
        self._notifier.publish(
            Alert(
                alert_id=alert_id,
                kind=AlertKind.ERROR,
                mode=self._mode,
                title=title,
                text=text,
                created_ms=self._clock.now_ms(),
            )
        )


def _listed(amounts: Mapping[str, int]) -> str:
    shown = [f"{key} {amount}" for key, amount in sorted(amounts.items())[:_SHOWN]]
    more = len(amounts) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])
