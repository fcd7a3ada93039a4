"""The journal of the tables: what was acknowledged is there again, half a line is dropped, damage is named."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.journal import Change, Journal, JournalError, Tables, apply_changes, encode_line, key_text

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/books"
OTHER = "arn:aws:dynamodb:us-east-1:000000000000:table/ledger"


def put(name: str, value: int, table: str = ARN) -> Change:
    key = {"id": {"S": name}}
    return Change(table, key, {**key, "value": {"N": str(value)}})


def gone(name: str, table: str = ARN) -> Change:
    return Change(table, {"id": {"S": name}}, None)


def read_back(folder: Path) -> Tables:
    """Everything the journal holds, without empty tables."""
    journal = Journal(folder, lock_seconds=0)
    try:
        return {table: items for table, items in journal.open().items() if items}
    finally:
        journal.close()


def written(folder: Path, *calls: list[Change], **options: Any) -> None:
    """A life that ended without a farewell: nothing is told to the journal."""
    journal = Journal(folder, lock_seconds=0, **options)
    journal.open()
    for changes in calls:
        journal.append(changes)
    journal.close()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def tail_of(folder: Path) -> Path:
    return max(folder.glob("tail-*.journal"))


def test_items_are_back_as_they_were_last_and_removed_ones_are_not(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)], [put("a", 2), put("b", 1, OTHER)], [put("c", 3)], [gone("c")])
    assert read_back(tmp_path) == {
        ARN: {key_text({"id": {"S": "a"}}): {"id": {"S": "a"}, "value": {"N": "2"}}},
        OTHER: {key_text({"id": {"S": "b"}}): {"id": {"S": "b"}, "value": {"N": "1"}}},
    }


def test_every_start_begins_a_generation_and_leaves_one_snapshot_and_one_tail(tmp_path: Path) -> None:
    for life in range(1, 4):
        written(tmp_path, [put("a", life)], [put(str(life), 0)])
        assert len(files(tmp_path)) == min(life, 2)
    assert len(read_back(tmp_path)[ARN]) == 4


def test_half_a_line_at_the_end_is_dropped_with_the_whole_call_it_stood_for(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)], [put("a", 2), put("b", 2)])
    tail = tail_of(tmp_path)
    tail.write_bytes(tail.read_bytes()[:-3])
    assert read_back(tmp_path) == {ARN: {key_text({"id": {"S": "a"}}): {"id": {"S": "a"}, "value": {"N": "1"}}}}


def test_a_tail_cut_in_its_first_line_is_an_empty_one(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)])
    written(tmp_path)
    tail_of(tmp_path).write_bytes(b"0123")
    assert len(read_back(tmp_path)[ARN]) == 1


def test_a_death_between_snapshot_and_tail_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)])
    written(tmp_path, [put("b", 1)])
    written(tmp_path)
    tail_of(tmp_path).unlink()
    assert len(read_back(tmp_path)[ARN]) == 2


def spoil(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (2, lambda lines: lines[1].replace(b'"N":"1"', b'"N":"7"')),
        (2, lambda _: b"\n"),
        (2, lambda _: b"zzzzzzzz {}\n"),
        (1, lambda _: b"\xff\xfe\n"),
        (3, lambda lines: lines[2].replace(b" ", b"_", 1)),
    ],
)
def test_a_damaged_line_is_named_with_what_to_do_and_nothing_is_overwritten(
    tmp_path: Path, line: int, change: Any
) -> None:
    written(tmp_path, [put("a", 1)], [put("b", 1)], [put("c", 1)])
    tail = tail_of(tmp_path)
    lines = tail.read_bytes().splitlines(keepends=True)
    lines[line - 1] = change(lines)
    tail.write_bytes(b"".join(lines))
    before = files(tmp_path)
    with pytest.raises(JournalError, match=rf"tail-00000001\.journal, line {line}: damaged.*--fresh"):
        read_back(tmp_path)
    assert files(tmp_path) == before


def test_a_lost_line_is_noticed_by_its_number(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)], [put("b", 1)], [put("c", 1)])
    lines = tail_of(tmp_path).read_bytes().splitlines(keepends=True)
    tail_of(tmp_path).write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(JournalError, match=r"line 3: change 2 is missing.*--fresh"):
        read_back(tmp_path)


@pytest.mark.parametrize("kind", ["tail", "snapshot"])
def test_another_version_is_named(tmp_path: Path, kind: str) -> None:
    written(tmp_path, [put("a", 1)])
    written(tmp_path)
    path = next(tmp_path.glob(f"{kind}-*.journal"))
    lines = path.read_bytes().splitlines(keepends=True)
    header = {"journal": "kalshi-arb local tables", "version": 2, "kind": kind, "generation": 2}
    path.write_bytes(b"".join([encode_line(header), *lines[1:]]))
    before = files(tmp_path)
    with pytest.raises(JournalError, match=r"version 2, not 'kalshi-arb local tables' version 1; .*--fresh"):
        read_back(tmp_path)
    assert files(tmp_path) == before


def test_a_snapshot_cut_short_or_missing_is_named(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)], [put("b", 1)])
    written(tmp_path, [put("c", 1)])
    snapshot = next(tmp_path.glob("snapshot-*"))
    lines = snapshot.read_bytes().splitlines(keepends=True)
    snapshot.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(JournalError, match="its end is missing"):
        read_back(tmp_path)
    snapshot.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    with pytest.raises(JournalError, match="2 items expected, 1 found"):
        read_back(tmp_path)
    snapshot.write_bytes(b"")
    with pytest.raises(JournalError, match="it is empty"):
        read_back(tmp_path)
    snapshot.unlink()
    with pytest.raises(JournalError, match=r"tail-00000001\.journal: it is missing"):
        read_back(tmp_path)


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    written(tmp_path, [put("a", 1)])
    tail_of(tmp_path).rename(tmp_path / "snapshot-00000001.journal")
    with pytest.raises(JournalError, match="the file was renamed"):
        read_back(tmp_path)


def test_a_long_tail_is_followed_by_the_next_generation_while_writing_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tail_bytes=2_000, lock_seconds=0)
    journal.open()
    expected: Tables = {}
    for number in range(400):
        changes = [put(str(number % 7), number), put(str(number % 3), number, OTHER)]
        apply_changes(expected, changes)
        journal.append(changes)
    journal.close()
    assert any(name.startswith("snapshot-") for name in files(tmp_path))
    assert "tail-00000001.journal" not in files(tmp_path)
    assert read_back(tmp_path) == expected


def test_a_snapshot_that_cannot_be_written_costs_nothing_but_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, tail_bytes=1_000, lock_seconds=0)
    journal.open()
    with monkeypatch.context() as patched:
        patched.setattr("infra.local.journal.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
        for number in range(50):
            journal.append([put(str(number), number)])
        journal.close()
    assert not list(tmp_path.glob("snapshot-*.journal"))
    assert len(read_back(tmp_path)[ARN]) == 50


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, lock_seconds=0)
    journal.open()
    with pytest.raises(JournalError, match="another process still writes here"):
        Journal(tmp_path, lock_seconds=0).open()
    journal.close()
    read_back(tmp_path)


changes = st.builds(
    lambda name, value, table: gone(name, table) if value is None else put(name, value, table),
    st.sampled_from("abcdef"),
    st.none() | st.integers(0, 99),
    st.sampled_from([ARN, OTHER]),
)


@settings(max_examples=60, deadline=None)
@given(
    lives=st.lists(st.lists(st.lists(changes, min_size=1, max_size=4), max_size=8), min_size=1, max_size=4),
    cut=st.integers(0, 10_000),
    tail_bytes=st.sampled_from([300, 1 << 20]),
)
def test_wherever_a_process_died_the_state_is_that_after_some_whole_call(
    lives: list[list[list[Change]]], cut: int, tail_bytes: int
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        states: list[Tables] = [{}]
        for calls in lives:
            written(folder, *calls, tail_bytes=tail_bytes)
            for call in calls:
                after = {table: dict(items) for table, items in states[-1].items()}
                apply_changes(after, call)
                states.append(after)
        tail = tail_of(folder)
        content = tail.read_bytes()
        kept = content[: len(content) - cut % (len(content) + 1)]
        tail.write_bytes(kept)
        whole = states[len(states) - 1 - (content.count(b"\n") - max(kept.count(b"\n"), 1))]
        assert read_back(folder) == {table: items for table, items in whole.items() if items}
    finally:
        shutil.rmtree(folder)
