"""Tells the report of each day that is over in a few lines, once."""

from collections.abc import Sequence
from datetime import date, timedelta

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.money import dollars
from kalshi_arb.domain.portfolio import LedgerEntry, refusal_code
from kalshi_arb.journal_view import damages, names_of
from kalshi_arb.ports import Alert, AlertKind, BasketStore, LedgerStore, Notifier, StatusStore
from kalshi_arb.reports.figures import report
from kalshi_arb.reports.period import Period, day_of, read_day
from kalshi_arb.reports.text import digest_lines

DIGEST = "digest"
"""Status component: the last day that was told."""
MARGIN_MS = 10 * 60_000
"""How long after midnight in New York a day is told: what came late is in its report then."""
_MOST_DAYS = 7


class Digest:
    """Runs on the settlement schedule. An alert's id is its day's, so a repetition is recognised."""

    def __init__(
        self,
        *,
        ledger: LedgerStore,
        baskets: BasketStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
    ) -> None:
        self._ledger = ledger
        self._baskets = baskets
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode

    def run(self) -> int:
        """Tell every day since the last one that was told, a week at most; returns how many. A day of which no true
        report can be made is told as an error."""
        over = day_of(self._clock.now_ms() - MARGIN_MS) - timedelta(days=1)
        before = self._status.get(DIGEST) or {}
        if before.get("day") == over.isoformat():
            return 0
        told = self._tell(before.get("day"), over)
        self._status.put(DIGEST, {"day": over.isoformat()})
        return told

    def _tell(self, last: object, over: date) -> int:
        _, damaged = damages(self._ledger)
        if damaged:
            self._publish(over, AlertKind.ERROR, "No report", f"The journal is damaged, {damaged[0]}.")
            return 1
        entries = self._ledger.all()
        if not entries:
            return 0
        first = day_of(min(entry.created_ms for entry in entries))
        begin = read_day(last) + timedelta(days=1) if isinstance(last, str) else first
        day = max(begin, first, over - timedelta(days=_MOST_DAYS - 1))
        told = 0
        while day <= over:
            self._tell_day(day, entries)
            told += 1
            day += timedelta(days=1)
        return told

    def _tell_day(self, day: date, entries: Sequence[LedgerEntry]) -> None:
        period = Period(day, day)
        rows = self._rows(entries, period)
        try:
            made = report(entries, rows, names_of(rows), period, mode=self._mode, now_ms=self._clock.now_ms())
        except DomainError as error:
            self._publish(day, AlertKind.ERROR, "No report", f"{error}.")
            return
        self._publish(day, AlertKind.REPORT, f"{dollars(made.cash.profit)} after fees", " ".join(digest_lines(made)))

    def _rows(self, entries: Sequence[LedgerEntry], period: Period) -> list[Basket]:
        ids = {
            entry.basket_id
            for entry in entries
            if entry.basket_id and period.start_ms <= entry.created_ms < period.end_ms and refusal_code(entry) is None
        }
        return [row for row in map(self._baskets.get, sorted(ids)) if row is not None]

    def _publish(self, day: date, kind: AlertKind, title: str, text: str) -> None:
        self._notifier.publish(
            Alert(
                alert_id=f"digest-{self._mode}-{day}" + ("" if kind is AlertKind.REPORT else "-failed"),
                kind=kind,
                mode=self._mode,
                title=f"Day {day}: {title}",
                text=f"{text} See `kalshi-arb report --day {day}`.",
                created_ms=self._clock.now_ms(),
            )
        )
