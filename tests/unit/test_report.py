"""`kalshi-arb report`: what is shown adds up, says what money it is, and is nothing at all where it could be wrong."""

import io
import json
import re
from dataclasses import replace
from datetime import date
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from kalshi_arb.cli import report as command
from kalshi_arb.cli.main import cli
from kalshi_arb.cli.stack import stack_of
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.journal import JournalError
from kalshi_arb.domain.money import Cash, cash_from_wire
from kalshi_arb.domain.portfolio import EntryKind, void_entry
from kalshi_arb.execution.explain import Part
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore
from kalshi_arb.journal_view import UNKNOWN, Names, names_of
from kalshi_arb.reports.figures import CORRECTIONS, CashParts, Report, ReportError, report
from kalshi_arb.reports.html import report_html
from kalshi_arb.reports.lots import How
from kalshi_arb.reports.machine import COLUMNS
from kalshi_arb.reports.period import Period, PeriodError, read_day, read_range
from kalshi_arb.reports.text import digest_lines, mode_words, report_text
from kalshi_arb.settings import Mode
from tests.report_samples import DAY, MONDAY, Week, week

WHOLE = "2027-01-15:2027-01-19"
NOW = MONDAY + 5 * DAY


def made(week: Week, first: str, last: str | None = None, mode: str = "simulated") -> Report:
    period = Period(read_day(first), read_day(last or first))
    return report(week.journal(), week.rows, names_of(week.rows), period, mode=mode, now_ms=NOW)


@pytest.fixture(scope="module")
def seen() -> Week:
    return week()


@pytest.fixture
def ledger(seen: Week, monkeypatch: pytest.MonkeyPatch) -> MemoryLedgerStore:
    store = MemoryLedgerStore(ManualClock(NOW))
    store.append(seen.journal())
    stack = SimpleNamespace(
        mode="simulated",
        ledger=store,
        baskets=SimpleNamespace(recent=lambda _limit: seen.rows),
        status=SimpleNamespace(get=lambda _component: None),
    )
    monkeypatch.setattr(command, "stack_of", lambda *_: stack)
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: NOW)
    return store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["report", *arguments])


def test_a_day_shows_its_own_and_days_add_up_to_the_range(seen: Week) -> None:
    whole = made(seen, "2027-01-15", "2027-01-19")
    days = [made(seen, f"2027-01-{day}") for day in range(15, 20)]
    assert sum(one.cash.change for one in days) == whole.cash.change
    assert sum(one.cash.profit for one in days) == whole.cash.profit
    assert [row.profit for row in whole.by_day] == [one.cash.profit for one in days]
    assert sum((one.lots for one in days), ()) == whole.lots
    assert whole.cash.moved == 25_000_000
    assert sum(one.accepted for one in days) == whole.accepted == 14
    assert dict(whole.refused) == {"max_book_age_ms": 2, "min_profit": 1, "depth": 1, "stopped": 1}
    assert days[1].refused == (("max_book_age_ms", 1),)


def test_every_basket_goes_from_expected_to_its_result_with_nothing_left(seen: Week) -> None:
    whole = made(seen, "2027-01-15", "2027-01-19")
    by_end = {one.end: one.baskets for one in whole.ends}
    assert by_end == {"flat": 2, "lock": 5, "settled": 7}
    for line in whole.baskets:
        assert line.unexplained == 0, line.basket_id
        assert line.result == line.expected + sum(amount for _, amount in line.parts)
    (held,) = (line for line in whole.baskets if line.basket_id == "b08")
    assert dict(held.parts)[Part.SETTLEMENT] == 3_000_000
    assert sum(line.settled or 0 for line in whole.baskets if line.end != "lock") == whole.cash.profit + sum(
        row.fees for row in whole.by_event if row.name in {"KXB04", "KXB09", "KXB10", "KXB12", "KXB13"}
    )


def test_a_report_is_as_of_the_end_of_its_period_however_late_it_is_made(seen: Week) -> None:
    then = {line.basket_id: line for line in made(seen, "2027-01-15").baskets}
    assert (then["b00"].end, then["b00"].settled) == ("lock", None)
    assert made(seen, "2027-01-15").open, "what settled the day after was open"
    later = {line.basket_id: line for line in made(seen, "2027-01-16").baskets}
    assert (later["b00"].end, later["b00"].settled) == ("settled", 2_535_800)


def test_a_result_is_provisional_until_it_is_paid(seen: Week) -> None:
    lines = {line.basket_id: line for line in made(seen, "2027-01-15", "2027-01-19").baskets}
    assert lines["b09"].provisional == 1_732_700
    assert lines["b10"].provisional is None
    assert lines["b00"].provisional is None


def test_a_basket_that_still_trades_has_no_result(seen: Week) -> None:
    rows = Week()
    row = rows.basket("b1", MONDAY, (4_000, 5_000), [], BasketState.LOCK)
    rows.entries = [entry for entry in rows.entries if not entry.entry_id.startswith("end-")]
    rows.rows = [replace(row, state=BasketState.EXECUTING)]
    (line,) = made(rows, "2027-01-15").baskets
    assert (line.end, line.result, line.unexplained, line.problem) == ("trading", None, None, "it still traded")


def test_a_row_that_is_gone_or_says_otherwise_is_named_and_the_cash_still_adds_up(seen: Week) -> None:
    rows = week()
    rows.rows = [row for row in rows.rows if row.basket_id != "b00"]
    rows.rows[0] = replace(rows.rows[0], locked_profit=Cash(1))
    found = made(rows, "2027-01-15", "2027-01-19")
    problems = {line.basket_id: line.problem for line in found.baskets if line.problem}
    assert problems["b00"] == "its row is gone"
    assert "the row says $0.000001 in the worst state" in problems["b01"]
    assert found.cash == made(seen, "2027-01-15", "2027-01-19").cash
    assert digest_lines(found)[-1] == "Without an explanation: b00, b01."


def test_what_is_voided_later_is_a_correction_where_it_is_recorded() -> None:
    seen = week()
    before = made(seen, "2027-01-15"), made(seen, "2027-01-19")
    fill = next(entry for entry in seen.journal() if entry.kind is EntryKind.FILL and entry.basket_id == "b10")
    seen.entries.append(void_entry(fill, MONDAY + 4 * DAY + 1, "unknown to the exchange"))
    assert made(seen, "2027-01-15") == before[0]
    last = made(seen, "2027-01-19")
    assert (last.by_day[-1].name, last.by_day[-1].profit) == (CORRECTIONS, fill.fee)
    assert last.cash.change == before[1].cash.change - fill.cash


def test_parts_that_do_not_add_up_are_no_report() -> None:
    with pytest.raises(ReportError, match=r"\$0.000001 of the change of cash have no cause"):
        CashParts(Cash(10), Cash(9), Cash(0), Cash(0), Cash(0), Cash(0))


@pytest.mark.parametrize(("first", "last"), [("2027-01-14", "2027-01-14"), ("2027-01-21", "2027-02-01")])
def test_a_period_that_nothing_is_known_of_is_refused(seen: Week, first: str, last: str) -> None:
    with pytest.raises(PeriodError, match="the journal begins on 2027-01-15, and today is 2027-01-20"):
        made(seen, first, last)


def test_an_empty_journal_has_no_report() -> None:
    with pytest.raises(PeriodError, match="the journal is empty"):
        report([], [], Names(), Period(date(2027, 1, 1), date(2027, 1, 1)), mode="simulated", now_ms=NOW)


def test_a_day_without_anything_is_reported_as_one() -> None:
    empty = made(Week(), "2027-01-16")
    assert (empty.entries, empty.baskets, empty.lots, empty.ends) == (0, (), (), ())
    assert (empty.cash.change, empty.cash_before, empty.cash_after) == (0, 10**9, 10**9)
    assert "CASH" in report_text(empty)
    assert "<h1>Report of 2027-01-16</h1>" in report_html(empty)


def test_ranges_and_days_are_read_strictly() -> None:
    assert read_range("2026-11-01:2026-11-30") == Period(date(2026, 11, 1), date(2026, 11, 30))
    for text in ("2026-11-31", "20261101", "yesterday", "2026-W48-1", ""):
        with pytest.raises(PeriodError, match="is no day"):
            read_day(text)


def test_the_period_of_a_day_is_new_yorks() -> None:
    assert (
        Period(date(2026, 11, 1), date(2026, 11, 1)).end_ms - Period(date(2026, 11, 1), date(2026, 11, 1)).start_ms
        == 25 * 3_600_000
    )


# The command


def test_the_table_says_what_was_expected_and_why_it_came_otherwise(ledger: MemoryLedgerStore) -> None:
    done = run("--range", WHOLE)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].endswith("mode simulated: an exchange of our own, no real money")
    assert any(re.fullmatch(r"= change of cash +-55\.601300", line) for line in lines)
    assert any(re.match(r"b08 .* -0\.676200 .* 2\.913300  0\.000000", line) for line in lines)
    assert any(re.fullmatch(r"max book age ms +2", line) for line in lines)
    assert any(re.match(r"b04 +18\.400000  2027-01-22", line) for line in lines)


def test_the_json_form_has_the_same_figures(ledger: MemoryLedgerStore) -> None:
    told: dict[str, Any] = json.loads(run("--range", WHOLE, "--json").output)
    cash = told["cash"]
    parts = sum(cash_from_wire(cash[name]) for name in ("realised", "fees", "opened", "freed", "moved"))
    assert parts == cash_from_wire(cash["change"]) == -55_601_300
    for one in told["baskets"]:
        settled = one["settled"] or one["locked"]
        explained = sum(cash_from_wire(amount) for amount in one["parts"].values())
        assert cash_from_wire(one["expected"]) + explained == cash_from_wire(settled)
    assert told["mode"] == "simulated"


def test_the_tax_table_opens_in_pandas_and_its_gains_are_the_reports(ledger: MemoryLedgerStore, tmp_path: Path) -> None:
    target = tmp_path / "lots.csv"
    assert run("--range", WHOLE, "--csv", str(target)).exit_code == 0
    frame = pd.read_csv(target, parse_dates=["date_acquired", "date_closed", "acquired_utc", "closed_utc"])
    assert tuple(frame.columns) == COLUMNS
    assert set(frame["mode"]) == {"simulated"}
    assert set(frame["kind"]) == {How.SALE, How.PAYMENT}
    assert (frame["date_acquired"] <= frame["date_closed"]).all()
    assert frame["date_closed"].min() == pd.Timestamp("2027-01-15")
    gains = (frame["proceeds"] - frame["cost"] - frame["fees"] - frame["gain"]).abs()
    assert gains.max() < 1e-9
    assert round(frame["gain"].sum(), 6) == 12.784
    assert round(frame["contracts"].sum()) == 20 * (7 * 2 + 2) - 7
    # Every amount to the last digit, as written.
    exact = pd.read_csv(io.StringIO(target.read_text()), dtype=str)
    assert all(re.fullmatch(r"-?\d+\.\d{6}", text) for text in exact["gain"])


@pytest.mark.parametrize("mode", list(Mode))
def test_the_page_loads_nothing_and_says_what_money_it_is(seen: Week, mode: Mode) -> None:
    page = report_html(made(seen, "2027-01-15", "2027-01-19", mode.value))
    assert not re.search(r"https?://|src=|href=|url\(|<script|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert f"Mode {mode.value}: {escape(mode_words(mode.value))}" in page
    assert ("no real money" in page) == (mode is not Mode.LIVE)
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 8
    for chart in charts:
        assert ET.fromstring(chart).tag == "svg"  # noqa: S314 - our own text
        assert not re.search(r'="-\d', chart.replace("-0", "")), "something is drawn outside"


def test_names_in_the_page_are_text_whatever_they_hold(seen: Week) -> None:
    evil = Names({row.basket_id: "<script>alert(1)</script>" for row in seen.rows}, {}, {})
    period = Period(date(2027, 1, 15), date(2027, 1, 19))
    page = report_html(report(seen.journal(), seen.rows, evil, period, mode="paper", now_ms=NOW))
    assert "<script" not in page
    assert UNKNOWN in page


def test_the_page_is_written_by_the_command(ledger: MemoryLedgerStore, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    assert run("--day", "2027-01-18", "--html", str(target)).exit_code == 0
    assert target.read_text().startswith("<!doctype html>")
    nowhere = run("--day", "2027-01-18", "--html", str(tmp_path / "no" / "where.html"))
    assert nowhere.exit_code == 1
    assert nowhere.output.splitlines()[-1].startswith("Error: cannot write")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--day", "2026-02-30"], "'2026-02-30' is no day: write it as 2026-11-22"),
        (["--range", "2026-11-01"], "'2026-11-01' is no range: write it as 2026-11-01:2026-11-30"),
        (["--range", "2026-11-02:2026-11-01"], "the range ends on 2026-11-01, before it begins on 2026-11-02"),
        (["--day", "2026-11-01", "--range", WHOLE], "give --day or --range, not both"),
    ],
)
def test_a_malformed_day_is_a_wrong_use(ledger: MemoryLedgerStore, arguments: list[str], problem: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert problem in done.output


def test_a_damaged_journal_is_refused_with_the_place_and_nothing_is_written(
    ledger: MemoryLedgerStore, tmp_path: Path
) -> None:
    name = next(key for key in ledger.kept if key.startswith("fill-"))
    row = ledger.kept[name]
    ledger.kept[name] = replace(row, text=row.text.replace("2000", "2001", 1))
    target = tmp_path / "lots.csv"
    done = run("--range", WHOLE, "--csv", str(target))
    assert isinstance(done.exception, JournalError)
    assert re.search(r"the journal is damaged, basket:b\d\d record \d: ", str(done.exception))
    assert done.output == ""
    assert not target.exists()


def test_a_missing_record_is_refused_too(ledger: MemoryLedgerStore) -> None:
    del ledger.kept["settled-b00"]
    done = run("--range", WHOLE)
    assert isinstance(done.exception, JournalError)
    assert "missing up to record" in str(done.exception)


def test_a_stack_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "stack_of", stack_of)
    done = run("--folder", str(tmp_path))
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: nothing is running from {tmp_path}")
