"""What is over is summed up, what is open stands entry by entry, and a wrong or old state is noticed."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.carried import CLOSED_AFTER_MS, MARGIN_MS, Carried, decoded, difference, encoded, from_journal
from kalshi_arb.domain.journal import JournalError, seal_of, sealed, unsealed
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_by_shard,
    cash_entry,
    decision_entry,
    fill_entry,
    position_entries,
    settlement_entry,
    void_entry,
)
from kalshi_arb.execution.audit import WINDOW_MS
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore
from kalshi_arb.journal_view import carried_problem

NOW = 1_790_000_000_000
HOUR = 3_600_000
OPENING = cash_entry(EntryKind.OPENING, "opening-cash-0", 0, Cash(100_000_000), NOW, "")


def fill(basket: str, ticker: str, outcome: Outcome = Outcome.YES, ms: int = NOW) -> LedgerEntry:
    trade = f"{basket}-{ticker}-{outcome.value}-{ms}"
    return fill_entry(Fill(trade, trade, ticker, outcome, Count(1_000), Price(4_000), Cash(10_000), ms), basket)


def paid(ticker: str, ms: int = NOW) -> LedgerEntry:
    return settlement_entry(Settlement(ticker, ONE_DOLLAR, Cash(10_000_000), ms))


def decision(what: str, basket: str, ms: int = NOW) -> LedgerEntry:
    return decision_entry(what, basket, "seal", "", ms)


LOCK = [fill("b1", "A"), decision("accepted", "b1"), decision("end", "b1")]
SETTLED = [paid("A"), decision("settled", "b1")]


class World:
    def __init__(self, *entries: LedgerEntry) -> None:
        self.clock = ManualClock(NOW)
        self.ledger = MemoryLedgerStore(self.clock)
        self.running = RunningJournal(self.ledger, self.clock)
        self.ledger.append([OPENING, *entries])

    def later(self, ms: int) -> "World":
        self.clock.advance(ms)
        return self

    def state(self) -> Carried:
        text = self.ledger.carried()
        carried = None if text is None else decoded(text)
        assert carried is not None
        return carried

    def ids(self) -> list[str]:
        return [entry.entry_id for entry in self.running.entries()]


def test_what_is_over_for_three_days_is_one_sum_of_cash() -> None:
    world = World(*LOCK, *SETTLED, fill("b2", "B")).later(CLOSED_AFTER_MS + 1)
    world.running.renew()
    assert world.ids() == ["carried-0", "opening-cash-0", "fill-b2-B-yes-1790000000000-b2-B-yes-1790000000000"]
    assert world.state().cash == {0: 10_000_000 - 4_010_000}
    assert cash_by_shard(world.running.entries()) == cash_by_shard(world.ledger.all())


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (LOCK, "it waits for its market"),
        ([*LOCK, paid("A")], "its settlement is not recorded yet"),
        ([fill("b1", "A"), fill("b1", "A", Outcome.NO)], "nobody decided its end"),
        ([*LOCK, *SETTLED, fill("b2", "A", ms=NOW - 1)], "another basket of the market is not over"),
        ([fill("", "A")], "it is held, whoever bought it"),
        (
            [
                *position_entries("A", Count(0), Count(5), 0, NOW, ""),
                *position_entries("A", Count(5), Count(0), 0, NOW + 1, ""),
            ],
            "no trade says on which shard its pairs freed their dollars",
        ),
    ],
)
def test_what_is_not_over_stands_entry_by_entry_however_old(entries: list[LedgerEntry], why: str) -> None:
    world = World(*entries).later(100 * CLOSED_AFTER_MS)
    world.running.renew()
    assert world.running.entries() == world.ledger.all(), why


@pytest.mark.parametrize(
    "entries",
    [
        [fill("b1", "A"), fill("b1", "A", Outcome.NO), decision("end", "b1")],
        [decision("refused", "b1")],
        [fill("", "A"), paid("A")],
    ],
)
def test_what_ended_flat_or_refused_or_is_nobodys_and_paid_is_over(entries: list[LedgerEntry]) -> None:
    world = World(*entries).later(CLOSED_AFTER_MS + 1)
    world.running.renew()
    assert {entry.kind for entry in world.running.entries()} <= {EntryKind.OPENING, EntryKind.CASH}
    assert cash_by_shard(world.running.entries()) == cash_by_shard(world.ledger.all())


def test_what_is_over_is_kept_for_longer_than_a_comparison_looks_back() -> None:
    assert WINDOW_MS < CLOSED_AFTER_MS
    world = World(*LOCK, *SETTLED).later(CLOSED_AFTER_MS - HOUR)
    world.running.renew()
    assert world.running.entries() == world.ledger.all()


def test_news_are_read_on_top_of_what_was_kept_and_kept_when_they_are_many_or_old() -> None:
    world = World(*LOCK)
    world.running.renew()
    kept = world.ledger.carried()
    world.ledger.append([paid("A")])
    assert world.running.entries() == world.ledger.all()
    world.running.carry()
    assert world.ledger.carried() == kept, "one chain is cheap to read again"
    world.later(6 * 60_000).running.carry()
    assert world.state().heads.keys() == {"account", "basket:b1", "market:A"}
    kept = world.ledger.carried()
    world.later(HOUR).running.carry()
    assert world.ledger.carried() == kept, "nothing is new"
    world.ledger.append([fill(f"c{number}", f"C{number}") for number in range(4)])
    world.running.carry()
    assert len(world.state().records) == 5 + 4


def test_a_slow_writer_is_seen_although_its_time_is_before_the_state() -> None:
    world = World(*LOCK)
    world.later(HOUR).running.renew()
    slow = MemoryLedgerStore(ManualClock(world.clock.now_ms() - MARGIN_MS + 1))
    slow.kept, slow.heads = world.ledger.kept, world.ledger.heads
    slow.append([fill("b2", "B")])
    assert world.running.entries() == world.ledger.all()


def test_what_was_summed_up_and_is_written_to_again_makes_everything_be_read() -> None:
    world = World(*LOCK, *SETTLED).later(CLOSED_AFTER_MS + 1)
    world.running.renew()
    world.ledger.append([void_entry(LOCK[0], world.clock.now_ms(), "")])
    assert world.running.entries() == world.ledger.all()
    assert carried_problem(world.ledger) == "", "it is going to be made anew, which is not a damage"
    world.running.carry()
    assert world.state().cash == {}
    assert world.running.entries() == world.ledger.all()


def test_a_state_that_the_journal_does_not_give_is_named() -> None:
    world = World(*LOCK, *SETTLED, fill("b2", "B")).later(CLOSED_AFTER_MS + 1)
    world.running.renew()
    true, rows = world.state(), world.ledger.rows()[0]
    assert difference(true, rows) == ""
    forged = replace(true, cash={0: Cash(true.cash[0] + 1)})
    assert difference(forged, rows) == "the cash brought forward is not what the entries before it give"
    changed = replace(true.records[1], entry=replace(true.records[1].entry, fee=Cash(1)))
    wrong = replace(true, records=(true.records[0], changed))
    assert difference(wrong, rows) == "basket:b2 is carried forward otherwise than it is written"
    fewer = [row for row in rows if unsealed(row).chain != "basket:b2"]
    assert difference(true, fewer) == "basket:b2 is carried forward and not written"
    world.ledger.keep(encoded(forged))
    assert carried_problem(world.ledger) == "the cash brought forward is not what the entries before it give"
    world.running.renew()
    assert carried_problem(world.ledger) == ""


def test_a_state_that_is_damaged_or_of_another_version_is_not_used() -> None:
    world = World(*LOCK)
    world.running.renew()
    text = world.ledger.carried() or ""
    assert decoded(text.replace("4000", "4001")) is None
    other = encoded(from_journal([], NOW)).partition(" ")[2].replace("[1,", "[0,", 1)
    assert decoded(f"{seal_of(other)} {other}") is None
    world.ledger.keep("0 []")
    assert world.running.entries() == world.ledger.all()
    world.running.carry()
    assert world.ledger.carried() == text


def test_news_that_do_not_follow_are_refused() -> None:
    world = World(*LOCK)
    world.running.renew()
    world.ledger.append([decision("settled", "b1")])
    row = world.ledger.kept["settled-b1"]
    world.ledger.kept["settled-b1"] = sealed(replace(unsealed(row), previous="0" * 64))
    with pytest.raises(JournalError, match="record 3 of basket:b1 does not follow"):
        world.running.entries()
    world.ledger.kept["settled-b1"] = replace(row, text=row.text.replace("seal", "seam"))
    with pytest.raises(JournalError, match="is not what was written"):
        world.running.entries()
