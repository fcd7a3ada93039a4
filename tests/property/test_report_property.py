"""Reports of random histories on the exchange's core: the parts are the change of the exchange's own cash, whatever the
period, and closed lots gain what the account gained."""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash, Price
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_change, cash_entry, fee_entry, void_entry
from kalshi_arb.journal_view import Names
from kalshi_arb.reports.figures import Report, report
from kalshi_arb.reports.lots import open_lots_cash, tax_rows
from kalshi_arb.reports.period import Period, day_of
from tests.books_desk import ACTIONS, PAYOUTS, Desk, play

EXAMPLES = int(os.environ.get("KALSHI_ARB_BOOKS_EXAMPLES", "60"))
STRETCH = 7 * 3_600
"""A second of a history becomes seven hours, so that histories of some seconds have days."""


def whole_days(desk: Desk) -> list[LedgerEntry]:
    """The desk's journal, stretched over days."""
    entries = desk.ledger.all()
    begin = entries[0].created_ms
    return [replace(entry, created_ms=begin + (entry.created_ms - begin) * STRETCH) for entry in entries]


def with_corrections(entries: list[LedgerEntry], later: Sequence[tuple[int, int, int]]) -> list[LedgerEntry]:
    """Cash moved by hand, fees corrected and fills voided, at any time after what they are about."""
    fills = [entry for entry in entries if entry.kind is EntryKind.FILL]
    paid = {entry.ticker for entry in entries if entry.kind is EntryKind.SETTLEMENT}
    end = entries[-1].created_ms
    added: list[LedgerEntry] = []
    for number, (what, which, amount) in enumerate(later):
        if what == 0 or not fills:
            moment = entries[which % len(entries)].created_ms
            added.append(cash_entry(EntryKind.CASH, f"cash-{number}", 0, Cash(amount), moment, "by hand"))
            continue
        fill = fills[which % len(fills)]
        moment = fill.created_ms + (end - fill.created_ms) * (which % 5) // 4
        if what == 1:
            added.append(fee_entry(fill, fill.fee, Cash(fill.fee + amount), moment, "charged otherwise"))
        elif fill.ticker not in paid:
            # A payment is of what was held: what the exchange has paid for was there.
            added.append(void_entry(fill, moment, "unknown to the exchange"))
    distinct = {entry.entry_id: entry for entry in added}
    return sorted([*entries, *distinct.values()], key=lambda entry: entry.created_ms)


def reports(entries: list[LedgerEntry], cuts: Sequence[int]) -> list[Report]:
    """Reports of periods that follow each other without a gap and hold every entry."""
    first, last = day_of(entries[0].created_ms), day_of(entries[-1].created_ms)
    ends = sorted({first + timedelta(days=cut) for cut in cuts if first + timedelta(days=cut) < last} | {last})
    begins = [first, *(end + timedelta(days=1) for end in ends[:-1])]
    return [made(entries, begin, end) for begin, end in zip(begins, ends, strict=True)]


def made(entries: list[LedgerEntry], first: date, last: date) -> Report:
    names = Names({"b1": "E-1", "b2": "E-2"}, {"b1": "ladder"}, {})
    return report(entries, [], names, Period(first, last), mode="simulated", now_ms=entries[-1].created_ms)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    ACTIONS,
    st.sampled_from(Precision),
    st.sampled_from([0, 10_000, 12_345]),
    st.lists(PAYOUTS, min_size=3, max_size=3),
    st.lists(st.integers(0, 12), max_size=4),
)
def test_the_parts_of_every_period_are_the_change_of_the_exchanges_cash(
    actions: list[tuple[object, ...]], precision: Precision, multiplier: int, last: list[Price], cuts: list[int]
) -> None:
    desk = Desk(precision, multiplier)
    play(desk, actions, last, lambda: None)
    desk.wait(30)
    entries = whole_days(desk)
    rows = reports(entries, cuts)
    account = desk.account
    theirs = sum(account.cash.values()) - sum(account.initial_cash.values())
    assert sum(one.cash.change for one in rows) == theirs
    assert sum(amount for one in rows for _, amount in one.cash.parts()) == theirs
    assert rows[-1].cash_after == sum(account.cash.values())
    # Everything was paid, so what was earned is what came, and closed lots say the same.
    assert sum(one.cash.profit for one in rows) == theirs
    assert sum(row.gain for one in rows for row in one.lots) == theirs
    assert rows[-1].open == ()
    assert -sum(one.cash.fees for one in rows) == account.fees_paid
    for before, after in pairwise(rows):
        assert before.cash_after == after.cash_before


_LATER = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(-50_000, 50_000).filter(bool)), max_size=4
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(ACTIONS, _LATER, st.lists(st.integers(0, 12), max_size=4))
def test_what_is_corrected_later_moves_between_periods_and_nothing_is_lost(
    actions: list[tuple[object, ...]], later: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    desk = Desk(Precision.DIRECT, 10_000)
    play(desk, actions, [Price(0)] * 3, lambda: None)
    entries = with_corrections(whole_days(desk), later)
    rows = reports(entries, cuts)
    change = cash_change(entries)
    assert sum(one.cash.change for one in rows) == change
    moved = sum(entry.cash for entry in entries if entry.kind is EntryKind.CASH)
    assert sum(one.cash.moved for one in rows) == moved
    assert sum(row.gain for row in tax_rows(entries)) - open_lots_cash(entries) == change - moved
    for one in rows:
        assert sum(row.profit for row in one.by_day) == one.cash.profit
        assert sum(line.open_cost for line in one.open) == one.locked_capital
