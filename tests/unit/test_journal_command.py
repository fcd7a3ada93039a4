"""`kalshi-arb journal`, `positions` and `pnl`: what a person reads adds up, and nothing does of a damaged journal."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kalshi_arb import journal_view as view
from kalshi_arb.cli import journal as commands
from kalshi_arb.cli.main import cli
from kalshi_arb.domain.basket import LegTerms
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.carried import encoded, from_journal
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.journal import Head, JournalError, Sealed, unsealed
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_change,
    cash_entry,
    decision_entry,
    fill_entry,
    settlement_entry,
)
from kalshi_arb.domain.positions import replay
from kalshi_arb.fakes import ManualClock, MemoryBookStore, MemoryLedgerStore, MemoryStatusStore
from kalshi_arb.journal_view import By, Names
from tests.cloud_samples import HIGH, LOW, NOW, basket

YES, NO = Outcome.YES, Outcome.NO
DAY = 86_400_000
ANSWER: dict[str, Any] = {"differences": ["cash shard 0: $1.00 have no cause"], "found": 1, "recorded": 1}


def bought(number: int, basket_id: str, ticker: str, outcome: Outcome, count: int, price: int, ms: int) -> LedgerEntry:
    fill = Fill(f"t{number}", "o", ticker, outcome, Count(count), Price(price), Cash(20_000), ms)
    return fill_entry(fill, basket_id)


ENTRIES = [
    cash_entry(EntryKind.OPENING, "opening-cash-0", 0, Cash(10**9), NOW, "cash when the journal began"),
    bought(1, "b1", LOW, YES, 1_000, 4_000, NOW + 1),
    bought(2, "b1", HIGH, NO, 1_000, 5_000, NOW + 1),
    decision_entry("end", "b1", "seal-1", "lock: complete", NOW + 2),
    bought(3, "b2", LOW, NO, 400, 5_500, NOW + 3),
    bought(4, "", LOW, YES, 100, 3_000, NOW + 4),
    cash_entry(EntryKind.CASH, "cash-0-1", 0, Cash(7_000_000), NOW + 5, "paid in"),
    settlement_entry(Settlement(HIGH, Price(0), Cash(10_000_000), NOW + 2 * DAY)),
]
NAMES = view.names_of([basket("b1"), replace(basket("b2", "other"), family="partition")])


def level(price: int, size: int) -> tuple[Level, ...]:
    return (Level(Price(price), Count(size)),)


BOOK = BookSnapshot(LOW, BookVersion(1, 1, 1), NOW, NOW, level(3_800, 500), level(5_900, 10_000))


@pytest.fixture
def comparison() -> MemoryStatusStore:
    """What the last comparison told."""
    return MemoryStatusStore()


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, comparison: MemoryStatusStore) -> MemoryLedgerStore:
    store, books = MemoryLedgerStore(ManualClock(NOW)), MemoryBookStore()
    store.append(ENTRIES)
    books.put(BOOK)

    class StackOfTests:
        ledger = store
        status = comparison

        def __init__(self) -> None:
            self.books = books

        def repair(self) -> dict[str, Any]:
            return ANSWER

    monkeypatch.setattr(commands, "stack_of", lambda *_: StackOfTests())
    monkeypatch.setattr(commands, "names_of", lambda *_: NAMES)
    return store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def damage(store: MemoryLedgerStore) -> None:
    row = store.kept["fill-t1-o"]
    store.kept["fill-t1-o"] = replace(row, text=row.text.replace("20000", "20001"))


def test_a_whole_journal_verifies(ledger: MemoryLedgerStore) -> None:
    done = run("journal", "verify")
    assert (done.exit_code, done.output) == (0, "8 records, whole\n")
    whole = {"records": 8, "damages": [], "carried_forward": "whole"}
    assert json.loads(run("journal", "verify", "--json").output) == whole


def test_a_state_carried_forward_that_is_not_the_journals_is_named(ledger: MemoryLedgerStore) -> None:
    rows = ledger.rows()[0]
    true = from_journal(rows, unsealed(rows[0]).written_ms + 10**9)
    ledger.keep(encoded(true))
    assert run("journal", "verify").exit_code == 0
    ledger.keep(encoded(replace(true, cash={0: Cash(1)})))
    done = run("journal", "verify")
    assert done.exit_code == 1
    assert done.output.startswith("CARRIED  the cash brought forward is not what the entries before it give")
    assert json.loads(run("journal", "verify", "--json").output)["carried_forward"].startswith("the cash")


def test_a_damaged_journal_is_named_and_nothing_is_added_up_of_it(ledger: MemoryLedgerStore, tmp_path: Path) -> None:
    damage(ledger)
    done = run("journal", "verify")
    assert done.exit_code == 1
    place = "basket:b1 record 0: its text is not the one that was sealed"
    assert done.output == f"DAMAGED  {place}\n8 records, 1 damaged places\n"
    target = tmp_path / "out.csv"
    for command in (["pnl"], ["positions"], ["journal", "show", "b1"], ["journal", "export", "--csv", str(target)]):
        done = run(*command)
        assert isinstance(done.exception, JournalError)
        assert place in str(done.exception)
        assert done.output == ""
    assert not target.exists()


def test_a_record_seen_before_the_one_before_it_is_no_damage() -> None:
    class Writing(MemoryLedgerStore):
        """The first reading misses the first record of a chain."""

        reads = 0

        def rows(self) -> tuple[list[Sealed], dict[str, Head]]:
            rows, heads = super().rows()
            self.reads += 1
            return (rows[1:] if self.reads == 1 else rows), heads

    store = Writing(ManualClock(NOW))
    store.append(ENTRIES)
    assert view.damages(store) == (8, [])
    assert store.reads == 2


def test_show_tells_what_a_basket_did_and_what_became_of_its_markets(ledger: MemoryLedgerStore) -> None:
    done = run("journal", "show", "b1")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[1] for line in lines] == ["fill", "fill", "decision", "settlement"]
    assert f"10.00 {LOW} yes at 0.4000, fee $0.02" in lines[0]
    assert lines[2].endswith("lock: complete  [seal-1]")
    assert f"{HIGH} pays 0.0000 a YES" in lines[3]
    assert len(json.loads(run("journal", "show", "b1", "--json").output)["entries"]) == 4
    unknown = run("journal", "show", "b9")
    assert (unknown.exit_code, unknown.output) == (1, "Error: the journal tells nothing of a basket b9\n")


def test_the_export_is_a_table_whose_sums_are_the_journals(ledger: MemoryLedgerStore, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    assert run("journal", "export", "--csv", str(target)).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert tuple(rows[0]) == view.COLUMNS
    assert len(rows) == len(ENTRIES)
    assert sum(round(float(row["cash_dollars"]) * 10**6) for row in rows) == sum(entry.cash for entry in ENTRIES)
    assert sum(round(float(row["fee_dollars"]) * 10**6) for row in rows) == 80_000
    assert rows[1]["event"] == "KXTEST-26"
    assert rows[1]["day_new_york"] == "2027-01-15"
    assert rows[1]["time_utc"] == "2027-01-15T08:00:00.001Z"


def test_positions_by_market_are_net_and_by_basket_each_its_own() -> None:
    books = {LOW: BOOK}
    (net,) = view.positions(ENTRIES, By.MARKET, NAMES, books)
    # 10 YES at 0.40 and 1 at 0.30, and 4 NO that close four of the ten.
    assert (net.name, net.contracts) == (LOW, 700)
    assert net.value == 500 * 3_800, "five find a bid, two count as worth nothing"
    assert net.unrealised == net.value - net.open_cost
    by_basket = {
        line.name: (line.contracts, line.open_cost) for line in view.positions(ENTRIES, By.BASKET, NAMES, books)
    }
    assert by_basket == {
        "b1": (1_000, 4_000_000), "b2": (400, 2_200_000), view.NOBODY: (100, 300_000),
    }  # fmt: skip
    by_event = {line.name: line.contracts for line in view.positions(ENTRIES, By.EVENT, NAMES, books)}
    assert by_event == {"KXTEST-26": 1_400, view.NOBODY: 100}
    by_family = {line.name: line.contracts for line in view.positions(ENTRIES, By.FAMILY, NAMES, books)}
    assert by_family == {"ladder": 1_000, "partition": 400, view.NOBODY: 100}


def test_a_position_without_a_book_has_no_value() -> None:
    (line,) = view.positions(ENTRIES, By.MARKET, NAMES, {})
    assert (line.value, line.unrealised) == (None, None)
    assert "no book" in view.line_text(line)


def test_the_release_date_is_the_last_of_its_markets() -> None:
    terms = tuple(LegTerms(CENT_GRID, FeeSchedule(FeeType.QUADRATIC), 0, paid) for paid in (NOW, NOW + 1))
    dated = replace(basket("b1"), terms=terms)
    (line,) = view.positions(ENTRIES[:3], By.BASKET, view.names_of([dated]), {})
    assert line.release_ms == NOW + 1
    assert "pays by 2027-01-15T08:00:00.001Z" in view.line_text(line)
    assert view.line_json(line)["locked"] == "9.000000"


def test_nothing_is_held_by_day() -> None:
    with pytest.raises(ValueError, match="by day"):
        view.positions(ENTRIES, By.DAY, NAMES, {})


@pytest.mark.parametrize("by", list(By))
def test_results_add_up_to_the_profit_however_they_are_listed(by: By) -> None:
    total = sum(held.profit for held in replay(ENTRIES).virtual.values())
    assert sum(one.profit for one in view.results(ENTRIES, by, NAMES)) == total
    assert sum(one.fees for one in view.results(ENTRIES, by, NAMES)) == 80_000


def test_results_of_one_day_are_that_days() -> None:
    by_day = {one.name: one.profit for one in view.results(ENTRIES, By.DAY, NAMES)}
    # The fees of the first day; the settlement two days later pays a dollar for 50 cents.
    assert by_day == {"2027-01-15": -80_000, "2027-01-17": 5_000_000}
    (only,) = view.results(ENTRIES, By.BASKET, NAMES, "2027-01-17")
    assert (only.name, only.profit) == ("b1", 5_000_000)


def test_the_parts_are_the_change_of_cash() -> None:
    parts = view.balance(ENTRIES, cash_change(ENTRIES))
    assert parts.unexplained == 0
    assert (parts.moved, parts.freed) == (7_000_000, 4 * 1_000_000)
    assert parts.open_cost == 6_500_000
    settled = [*ENTRIES, settlement_entry(Settlement(LOW, ONE_DOLLAR, Cash(7_000_000), NOW + 3 * DAY))]
    end = view.balance(settled, cash_change(settled))
    assert (end.unexplained, end.freed, end.open_cost) == (0, 0, 0)
    assert end.change == end.profit + end.moved


def test_the_commands_say_the_same_to_people_and_machines(ledger: MemoryLedgerStore) -> None:
    told: dict[str, Any] = json.loads(run("pnl", "--json").output)
    assert [one["name"] for one in told["results"]] == ["2027-01-15", "2027-01-17"]
    assert told["balance"]["change"] == "9.420000"
    text = run("pnl").output
    assert "2027-01-17  $5.00 ($5.00 less $0.00 fees)" in text
    assert "cash changed by $9.42: $4.92 realised after fees, $6.50 locked in what is held" in text
    held = json.loads(run("positions", "--by", "market", "--json").output)["positions"]
    assert [one["name"] for one in held] == [LOW]
    assert run("positions").output.splitlines()[0].startswith(view.NOBODY)


@pytest.mark.usefixtures("ledger")
def test_with_netting_on_positions_say_what_has_come_back(comparison: MemoryStatusStore) -> None:
    comparison.put("account", {"balance": "12.000000", "ledger": "12.000000", "returned": "3.500000"})
    last = run("positions").output.splitlines()[-1]
    assert last == "$3.50 of it had come back as collateral at the last comparison"
    assert json.loads(run("positions", "--json").output)["returned"] == "3.500000"
    comparison.put("account", {"balance": "12.000000", "ledger": "12.000000"})
    assert "collateral" not in run("positions").output
    assert "returned" not in json.loads(run("positions", "--json").output)


def test_an_unknown_day_is_a_wrong_use(ledger: MemoryLedgerStore) -> None:
    done = run("pnl", "--day", "yesterday")
    assert done.exit_code == 2
    assert "'yesterday' is no day: write it as 2026-11-22" in done.output


def test_an_empty_journal_holds_nothing(ledger: MemoryLedgerStore) -> None:
    ledger.kept.clear()
    ledger.heads.clear()
    assert run("positions").output == "nothing is held\n"
    assert run("pnl").exit_code == 0


def test_repair_tells_what_was_recorded(ledger: MemoryLedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWER, "differences", None)
    moving = run("journal", "repair")
    assert (moving.exit_code, "try again" in moving.output) == (1, True)


def test_repair_lists_every_difference(ledger: MemoryLedgerStore) -> None:
    found = ANSWER["differences"]
    assert run("journal", "repair").output.splitlines() == [*found, "1 differences, 1 entries recorded"]
    assert json.loads(run("journal", "repair", "--json").output) == ANSWER


def test_names_without_groups_or_baskets_are_unknown() -> None:
    assert view.results(ENTRIES, By.EVENT, Names())[0].name in (view.NOBODY, view.UNKNOWN)
