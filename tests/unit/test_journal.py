"""The journal: whatever is changed in it is found, and the place is named."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.journal import (
    ANCHOR_CHAIN,
    DAY_MS,
    Damage,
    Head,
    JournalError,
    Record,
    Sealed,
    anchors_due,
    canonical,
    chain_of,
    opened,
    sealed,
    start_of,
    unsealed,
    verify,
)
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_entry,
    fill_entry,
    settlement_entry,
)
from kalshi_arb.fakes import ManualClock, MemoryLedgerStore

NOON = 20_000 * DAY_MS + DAY_MS // 2


def bought(number: int, basket: str = "b1") -> LedgerEntry:
    return fill_entry(Fill(f"t{number}", "o", "T", Outcome.YES, Count(100), Price(4_000), Cash(16_800), NOON), basket)


def paid(ticker: str) -> LedgerEntry:
    return settlement_entry(Settlement(ticker, Price(0), Cash(0), NOON))


def written(*entries: LedgerEntry) -> MemoryLedgerStore:
    store = MemoryLedgerStore(ManualClock(NOON))
    assert store.append(entries) == len(entries)
    return store


def whole() -> MemoryLedgerStore:
    """Two baskets, a market, the account, and an anchor over all of them."""
    opening = cash_entry(EntryKind.OPENING, "opening-0", 0, Cash(10**9), NOON, "cash at the beginning")
    store = written(bought(0), bought(1), bought(2), bought(3, "b2"), paid("T"), paid("U"), opening)
    store.append(anchors_due(records(store), NOON + 2 * DAY_MS, 3_600_000))
    return store


def records(store: MemoryLedgerStore) -> list[tuple[Record, str]]:
    return [(unsealed(row), row.seal) for row in store.kept.values()]


def problems(store: MemoryLedgerStore) -> list[str]:
    return [str(damage) for damage in verify(*store.rows())]


def at(store: MemoryLedgerStore, entry_id: str) -> Sealed:
    return store.kept[entry_id]


def test_what_was_written_is_whole_and_reads_back_the_same() -> None:
    store = whole()
    assert problems(store) == []
    assert len(store.all()) == 8
    assert {row.entry_id for row in store.all()} == set(store.kept)
    assert [chain_of(row) for row in (bought(0), paid("T"))] == ["basket:b1", "market:T"]


def test_repeating_an_append_changes_nothing() -> None:
    store = whole()
    before = store.rows()
    assert store.append([bought(1), bought(1), paid("U")]) == 0
    assert store.rows() == before


def test_the_first_record_follows_from_the_name_of_its_chain() -> None:
    store = written(bought(0))
    first = unsealed(at(store, "fill-t0-o"))
    assert (first.number, first.previous) == (0, start_of("basket:b1").seal)
    assert store.heads["basket:b1"] == Head("basket:b1", 0, at(store, "fill-t0-o").seal, NOON)


def test_a_changed_amount_is_named() -> None:
    store = whole()
    row = at(store, "fill-t1-o")
    store.kept["fill-t1-o"] = replace(row, text=row.text.replace("16800", "16900"))
    assert problems(store) == ["basket:b1 record 1: its text is not the one that was sealed"]
    with pytest.raises(JournalError, match="fill-t1-o is not what was written"):
        store.all()


def test_a_changed_amount_with_a_new_seal_breaks_what_follows_and_the_day() -> None:
    store = whole()
    record = opened(at(store, "fill-t1-o").text)
    store.kept["fill-t1-o"] = sealed(replace(record, entry=replace(record.entry, fee=Cash(0))))
    assert problems(store) == ["basket:b1 record 2: it does not follow from the record before it"]
    # At the end of a chain nothing follows: its head and the day's anchor tell.
    store = whole()
    record = opened(at(store, "fill-t2-o").text)
    forged = sealed(replace(record, entry=replace(record.entry, fee=Cash(0))))
    store.kept["fill-t2-o"] = forged
    assert problems(store) == [
        "basket:b1 record 2: the chain's head names record 2 with another seal",
        "anchor record 0: the records of day 20000 are not those it was made of",
    ]
    store.heads["basket:b1"] = replace(store.heads["basket:b1"], seal=forged.seal)
    assert problems(store) == ["anchor record 0: the records of day 20000 are not those it was made of"]


def test_a_missing_record_is_named_wherever_it_stood() -> None:
    for gone, chain, number in (("fill-t0-o", "basket:b1", 0), ("fill-t1-o", "basket:b1", 1)):
        store = whole()
        del store.kept[gone]
        assert problems(store) == [f"{chain} record {number}: missing up to record {number}"]
    store = whole()
    del store.kept["fill-t2-o"]
    assert problems(store)[0] == "basket:b1 record 2: missing up to record 2, the end of the chain"


def test_a_chain_cut_short_together_with_its_head_breaks_the_anchor() -> None:
    store = whole()
    del store.kept["settlement-U"], store.heads["market:U"]
    assert problems(store) == ["anchor record 0: the records of day 20000 are not those it was made of"]


def test_two_records_that_changed_places_are_named() -> None:
    store = whole()
    first, second = opened(at(store, "fill-t0-o").text), opened(at(store, "fill-t1-o").text)
    store.kept["fill-t0-o"] = sealed(replace(first, entry=second.entry))
    store.kept["fill-t1-o"] = sealed(replace(second, entry=first.entry))
    assert problems(store) == [
        "basket:b1 record 1: it does not follow from the record before it",
        "basket:b1 record 2: it does not follow from the record before it",
    ]


def test_a_record_kept_under_another_id_is_named() -> None:
    store = whole()
    store.kept["fill-t0-o"] = replace(store.kept["fill-t0-o"], key="fill-t7-o")
    assert problems(store) == ["basket:b1 record 0: it is kept as fill-t7-o"]


def test_an_added_record_is_named() -> None:
    store = whole()
    extra = sealed(Record("basket:b1", 3, at(store, "fill-t2-o").seal, NOON, bought(9)))
    store.kept["fill-t9-o"] = extra
    assert "basket:b1 record 3: the chain's head names record 2 with another seal" in problems(store)
    store = whole()
    store.kept["fill-t9-o"] = sealed(Record("basket:b1", 1, at(store, "fill-t0-o").seal, NOON, bought(9)))
    assert "basket:b1 record 1: there are two records of this number" in problems(store)
    store = whole()
    store.kept["fill-t9-o"] = sealed(Record("basket:b9", 0, start_of("basket:b9").seal, NOON, bought(9)))
    found = problems(store)
    assert "basket:b9 record 0: its entry belongs to basket:b1" in found
    assert "basket:b9 record 0: the chain has no head" in found


def test_an_entry_in_two_chains_is_named() -> None:
    store = written(bought(0))
    other = replace(bought(0), basket_id="b2")
    store.kept["again"] = sealed(Record("basket:b2", 0, start_of("basket:b2").seal, NOON, other))
    assert any("fill-t0-o is in basket:b1 too" in line for line in problems(store))


def test_a_record_written_before_the_one_before_it_is_named() -> None:
    store = written(bought(0))
    late = Record("basket:b1", 1, at(store, "fill-t0-o").seal, NOON - 1, bought(1))
    store.kept["fill-t1-o"] = sealed(late)
    store.heads["basket:b1"] = Head("basket:b1", 1, sealed(late).seal, NOON - 1)
    assert problems(store) == ["basket:b1 record 1: it was written before the record before it"]


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[2]", '"x"'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(JournalError):
        opened(text)
    assert verify([Sealed("k", text, "s")], {})[0].chain == "entry k"


def test_only_the_canonical_writing_is_a_record() -> None:
    text = at(written(bought(0)), "fill-t0-o").text
    with pytest.raises(JournalError, match="not written canonically"):
        opened(text.replace(",", ", ", 1))


def test_a_writer_whose_clock_runs_behind_does_not_write_before_the_chain() -> None:
    clock = ManualClock(NOON)
    store = MemoryLedgerStore(clock)
    store.append([bought(0)])
    clock.advance(-60_000)
    store.append([bought(1)])
    assert unsealed(at(store, "fill-t1-o")).written_ms == NOON
    assert problems(store) == []


def test_a_day_gets_one_anchor_once_it_is_over_and_another_day_another() -> None:
    clock = ManualClock(NOON)
    store = MemoryLedgerStore(clock)
    store.append([bought(0)])
    end = 20_001 * DAY_MS
    assert anchors_due(records(store), end + 3_599_999, 3_600_000) == []
    (first,) = anchors_due(records(store), end + 3_600_000, 3_600_000)
    assert (first.entry_id, first.kind, first.note) == ("anchor-20000", EntryKind.ANCHOR, "1 chains")
    clock.advance(DAY_MS)
    store.append([first])
    # A chain that goes on the next day does not touch the day before; the anchor itself makes no anchor due.
    store.append([bought(1)])
    assert [row.entry_id for row in anchors_due(records(store), end + 9 * DAY_MS, 0)] == ["anchor-20001"]
    clock.advance(DAY_MS)
    store.append(anchors_due(records(store), clock.now_ms(), 0))
    assert anchors_due(records(store), end + 9 * DAY_MS, 0) == []
    assert store.heads[ANCHOR_CHAIN].number == 1
    assert problems(store) == []


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    st.builds(
        LedgerEntry, _TEXT, st.sampled_from(EntryKind), _TEXT, _TEXT, st.none() | st.sampled_from(Outcome),
        st.integers().map(Count), st.integers().map(Price), st.integers().map(Cash), st.integers().map(Cash),
        st.integers(), st.integers(0, 9), _TEXT, _TEXT,
    ),
    _TEXT, st.integers(), st.integers(),
)  # fmt: skip
def test_every_record_reads_back_as_itself(entry: LedgerEntry, chain: str, number: int, written_ms: int) -> None:
    record = Record(chain, number, "0" * 64, written_ms, entry)
    assert opened(canonical(record)) == record


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    """In the text, seal or key of any record, and in any head."""
    store = whole()
    if data.draw(st.booleans(), label="in a record"):
        key = data.draw(st.sampled_from(sorted(store.kept)))
        field = data.draw(st.sampled_from(["key", "text", "seal"]))
        row = store.kept[key]
        value = bytearray(getattr(row, field).encode())
        value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        store.kept[key] = replace(row, **{field: value.decode(errors="replace")})
    else:
        chain = data.draw(st.sampled_from(sorted(store.heads)))
        head = store.heads[chain]
        field = data.draw(st.sampled_from(["number", "seal", "written_ms"]))
        old = getattr(head, field)
        bit = 1 << data.draw(st.integers(0, 6))
        new: Any = chr(ord(old[0]) ^ bit) + old[1:] if isinstance(old, str) else old ^ bit
        store.heads[chain] = replace(head, **{field: new})
    assert verify(*store.rows())


def test_damage_names_its_place() -> None:
    assert str(Damage("basket:b", 4, "missing")) == "basket:b record 4: missing"
