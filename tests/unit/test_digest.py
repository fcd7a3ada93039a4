"""The digest: every day that is over is told once, and a day that cannot be told truly is an error."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.eastern import midnight_ms
from kalshi_arb.domain.portfolio import decision_entry
from kalshi_arb.fakes import (
    ManualClock,
    MemoryBasketStore,
    MemoryLedgerStore,
    MemoryNotifier,
    MemoryStatusStore,
)
from kalshi_arb.ports import AlertKind
from kalshi_arb.reports.digest import DIGEST, MARGIN_MS, Digest
from tests.report_samples import DAY, MONDAY, week

HOUR = 3_600_000
OVER = midnight_ms(MONDAY) + DAY
"""The midnight after the first day."""


class Desk:
    """The sample week's books, at a moment of it."""

    def __init__(self, now_ms: int, *, empty: bool = False) -> None:
        self.clock = ManualClock(now_ms)
        self.ledger, self.baskets = MemoryLedgerStore(ManualClock(MONDAY)), MemoryBasketStore()
        self.status, self.notifier = MemoryStatusStore(), MemoryNotifier()
        seen = week()
        if not empty:
            self.ledger.append(seen.journal())
            for row in seen.rows:
                assert self.baskets.create(row, now_ms)
        self.digest = Digest(
            ledger=self.ledger,
            baskets=self.baskets,
            status=self.status,
            notifier=self.notifier,
            clock=self.clock,
            mode="simulated",
        )

    def told(self) -> list[str]:
        return [alert.alert_id for alert in self.notifier.published]


def test_a_day_is_told_some_minutes_after_midnight_in_new_york_and_once() -> None:
    desk = Desk(OVER + MARGIN_MS - 1)
    assert desk.digest.run() == 0
    desk.clock.advance(1)
    assert desk.digest.run() == 1
    assert desk.digest.run() == 0
    (alert,) = desk.notifier.published
    assert (alert.alert_id, alert.kind, alert.mode) == ("digest-simulated-2027-01-15", AlertKind.REPORT, "simulated")
    assert alert.title == "Day 2027-01-15: -$2.3979 after fees"
    assert alert.text.startswith("-$2.3979 realised after $1.9979 fees; cash changed by ")
    assert "Baskets: 1 flat, 2 lock." in alert.text
    assert "$35.00 locked in 2 open positions." in alert.text
    assert alert.text.endswith("See `kalshi-arb report --day 2027-01-15`.")


def test_days_that_were_missed_are_told_one_by_one_but_no_more_than_a_week() -> None:
    desk = Desk(OVER + MARGIN_MS)
    desk.digest.run()
    desk.clock.advance(3 * DAY)
    assert desk.digest.run() == 3
    assert desk.told() == [f"digest-simulated-2027-01-{day}" for day in (15, 16, 17, 18)]
    desk.clock.advance(30 * DAY)
    assert desk.digest.run() == 7
    assert desk.told()[-1] == "digest-simulated-2027-02-17"


def test_a_crash_before_it_is_noted_repeats_the_same_alert() -> None:
    desk = Desk(OVER + MARGIN_MS)
    desk.digest.run()
    first = desk.notifier.published[0]
    desk.status.put(DIGEST, {})
    desk.digest.run()
    assert [alert.alert_id for alert in desk.notifier.published] == [first.alert_id] * 2


def test_an_empty_journal_is_not_told() -> None:
    desk = Desk(OVER + MARGIN_MS, empty=True)
    assert desk.digest.run() == 0
    assert desk.status.get(DIGEST) == {"day": "2027-01-15"}
    assert desk.told() == []


def test_what_was_refused_on_a_day_is_told_with_that_day_however_late() -> None:
    desk = Desk(OVER + MARGIN_MS + 2 * DAY)
    refusal = decision_entry("refused", "late", "", "depth: 3 of 10 are there; min_profit: $0.01", MONDAY + HOUR)
    desk.ledger.append([refusal])
    desk.digest.run()
    first, second, third = (alert.text for alert in desk.notifier.published)
    assert "Refused, by the first reason: 1 depth, 1 max book age ms." in first
    assert "Refused, by the first reason: 1 max book age ms." in second
    assert "Refused, by the first reason: 1 min profit." in third
    assert "Without an explanation" not in first


def test_a_damaged_journal_is_told_with_its_place_and_no_figures() -> None:
    desk = Desk(OVER + MARGIN_MS)
    name = next(key for key in desk.ledger.kept if key.startswith("fill-"))
    row = desk.ledger.kept[name]
    desk.ledger.kept[name] = replace(row, text=row.text.replace("2000", "2001", 1))
    assert desk.digest.run() == 1
    assert desk.digest.run() == 0
    (alert,) = desk.notifier.published
    assert (alert.kind, alert.alert_id) == (AlertKind.ERROR, "digest-simulated-2027-01-15-failed")
    assert "The journal is damaged, basket:b" in alert.text
    assert "$" not in alert.text


def test_a_day_whose_figures_contradict_each_other_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from kalshi_arb.reports import digest
    from kalshi_arb.reports.figures import ReportError

    def contradiction(*_: object, **__: object) -> None:
        raise ReportError("$0.000001 of the change of cash have no cause: nothing is reported")

    monkeypatch.setattr(digest, "report", contradiction)
    desk = Desk(OVER + MARGIN_MS)
    assert desk.digest.run() == 1
    (alert,) = desk.notifier.published
    assert alert.kind is AlertKind.ERROR
    assert "have no cause" in alert.text
