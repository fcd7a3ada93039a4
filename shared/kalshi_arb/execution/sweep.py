"""Finds baskets that nobody drives any more and has them driven again, by a new attempt that fences the old one; and
what is held for baskets that do not need it any more."""

from dataclasses import dataclass, replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketState, Finding
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.execution.ending import EXPIRED, Ending
from kalshi_arb.execution.leaks import LeakFinder
from kalshi_arb.ports import (
    Alert,
    AlertKind,
    BasketStore,
    LedgerStore,
    Notifier,
    ReservationStore,
    StatusStore,
    Workflow,
)
from kalshi_arb.risk.breaker import Breaker, Cause

FEED = "feed"
FEED_SILENT_MS = 60_000
_ROWS = 100
_ALARMING_ATTEMPTS = frozenset({3, 10, 30, 100, 300, 1000})


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Baskets whose execution was started again, baskets given up unsent, and reservations and leases that were given
    back because they belonged to no basket."""

    resumed: int
    abandoned: int
    leaked: int = 0


class Sweeper:
    """Runs on a schedule.

    :param stale_ms: a live row that nobody saved for this long is taken to be abandoned; longer than any task runs
        between two saves
    :param expire_ms: a proposal older than this is refused, since nothing was sent for it
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        workflow: Workflow,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        breaker: Breaker,
        mode: str,
        stale_ms: int = 20_000,
        expire_ms: int = 30_000,
    ) -> None:
        self._baskets = baskets
        self._workflow = workflow
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._breaker = breaker
        self._stale_ms = stale_ms
        self._expire_ms = expire_ms
        self._ending = Ending(
            baskets=baskets, ledger=ledger, reservations=reservations, status=status, notifier=notifier, clock=clock
        )
        self._leaks = LeakFinder(
            baskets=baskets, reservations=reservations, status=status, notifier=notifier, clock=clock, mode=mode
        )

    def run(self, drivers_ended_ms: int = 0) -> SweepReport:
        """One pass over the live rows, those longest untouched first, and then over what is held.

        :param drivers_ended_ms: whatever drove baskets is known to have ended at this moment (UTC milliseconds), so a
            row last saved before it is abandoned however young it is
        """
        resumed = abandoned = 0
        now = self._clock.now_ms()
        for row in self._baskets.in_states(LIVE_STATES, _ROWS):
            if now - row.updated_ms <= self._stale_ms and row.updated_ms >= drivers_ended_ms:
                continue
            try:
                if row.state is BasketState.PROPOSED and row.ending is None and now - row.created_ms > self._expire_ms:
                    waited = f"nothing drove it for {(now - row.created_ms) // 1000} s, so what was proved is too old"
                    self._ending.refuse(row, (Finding(EXPIRED, waited),))
                    abandoned += 1
                else:
                    self._resume(row)
                    resumed += 1
            except ConflictError:
                # Somebody saved it meanwhile: it is driven after all.
                continue
        self._look_at_feed(now)
        leaks = self._leaks.run()
        leaked = leaks.reservations + leaks.leases
        self._status.count(
            "sweeper",
            {"resumed": resumed, "abandoned": abandoned, "leaked": leaked, "sums_differ": int(leaks.sums_differ)},
        )
        return SweepReport(resumed, abandoned, leaked)

    def _look_at_feed(self, now_ms: int) -> None:
        """Tell the breaker of a feed that has stopped reporting, once a minute; one that never did is not meant to
        run. A feed that says itself that it is not connected finds nothing, and waits out the exchange's pauses."""
        feed = self._status.get(FEED)
        updated = None if feed is None else feed.get("updated_ms")
        if isinstance(updated, int) and now_ms - updated > FEED_SILENT_MS:
            self._breaker.note(Cause.STALE, f"feed-{now_ms // FEED_SILENT_MS}")

    def _resume(self, row: Basket) -> None:
        now = self._clock.now_ms()
        fenced = self._baskets.save(replace(row, attempt=row.attempt + 1, turns=0, updated_ms=now))
        if fenced.attempt in _ALARMING_ATTEMPTS:
            self._notifier.publish(
                Alert(
                    alert_id=f"{row.basket_id}-attempt-{fenced.attempt}",
                    kind=AlertKind.ERROR,
                    mode=row.mode,
                    title=f"Basket {row.basket_id} needs attempt {fenced.attempt}",
                    text=f"It is {row.state.value} on {row.event_ticker} and its executions keep dying or cannot "
                    "account for its orders. Look at the executions named after it.",
                    created_ms=now,
                )
            )
        self._workflow.start(fenced.basket_id, fenced.attempt)
