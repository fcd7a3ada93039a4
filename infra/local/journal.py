"""The tables on disk: every accepted change is appended before its answer goes out, and read back at the next start.

Only tables live here. Queues, executions, schedules and subscriptions of the embedded AWS end with its process, by
design: a candidate is worth nothing after a second, the sweeper resumes every open basket from its row, discovery runs
at each start, and the template makes the rest anew.

What is written is the item as it is after the change, not the request: reading it back evaluates no condition, adds to
no counter twice and tells no stream. A refused condition or a failed transaction changes nothing and leaves no line; a
transaction or a batch is one line, so it is there whole or not at all.

Layout, in generations::

    snapshot-00000007.journal   every item when generation 7 began; absent for the first
    tail-00000007.journal       the changes since, one accepted call a line
    lock                        held by the process that writes

A line is the CRC-32 of its JSON in eight hexadecimal digits, a blank and the JSON. The first line of a file says what
the file is; a snapshot's last line counts its items. Changes carry running numbers, so a lost line is noticed. A tail
that has grown long is followed by the next generation, whose snapshot a thread writes meanwhile from the files alone.
Lines reach the operating system before the answer is sent: they survive the death of every process, not of the machine.
"""

import fcntl
import json
import logging
import os
import re
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from infra.local.errors import LocalCloudError

logger = logging.getLogger("local_cloud.journal")

FORMAT = "kalshi-arb local tables"
VERSION = 1
REMEDY = "move the folder away to keep it, or start anew with --fresh"
_SNAPSHOT, _TAIL = "snapshot", "tail"
_NAME = re.compile(r"(snapshot|tail)-(\d{8})\.journal")
_SUM = 8  # hexadecimal digits
_TAIL_BYTES = 32 << 20
_LOCK_SECONDS = 10.0

Item = Mapping[str, Any]
Tables = dict[str, dict[str, Item]]
"""By table ARN: items by their key in canonical JSON."""


class JournalError(LocalCloudError):
    """The journal cannot be read or written; the message names the file and what to do."""


class Change(NamedTuple):
    """One item of one table (ARN) as it is now; ``item`` is None when it was removed."""

    table: str
    key: Item
    item: Item | None


def key_text(key: Item) -> str:
    """A key in a form that can be compared."""
    return json.dumps(key, sort_keys=True, separators=(",", ":"))


def apply_changes(tables: Tables, changes: Sequence[Change]) -> None:
    """Bring ``tables`` to after the changes."""
    for change in changes:
        items = tables.setdefault(change.table, {})
        if change.item is None:
            items.pop(key_text(change.key), None)
        else:
            items[key_text(change.key)] = change.item


def encode_line(content: object) -> bytes:
    """One line with its checksum."""
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode_line(line: bytes) -> Any:
    """:raises ValueError: the line is not as it was written."""
    text = line[_SUM + 1 :]
    if line[_SUM : _SUM + 1] != b" " or int(line[:_SUM], 16) != zlib.crc32(text):
        raise ValueError("the checksum is another")
    return json.loads(text)


@dataclass(slots=True)
class _Reader:
    """Goes through the files of one journal in order. ``tables`` is what they add up to, ``number`` the last change."""

    tables: Tables = field(default_factory=dict)
    number: int = 0

    def read_snapshot(self, path: Path, generation: int) -> None:
        """:raises JournalError: it is damaged, cut short, or of another version."""
        for counted, (where, content) in enumerate(self._lines(path, _SNAPSHOT, generation, may_be_cut=False)):
            if "items" in content:
                if content["items"] != counted:
                    raise JournalError(f"{where}: {content['items']} items expected, {counted} found; {REMEDY}")
                self.number = content["number"]
                return
            apply_changes(self.tables, [Change(*content["c"])])
        raise JournalError(f"{path}: its end is missing; {REMEDY}")

    def read_tail(self, path: Path, generation: int, *, may_be_cut: bool) -> None:
        """:raises JournalError: a line is damaged or missing; half a line at the end is not damage if it may be cut."""
        for where, content in self._lines(path, _TAIL, generation, may_be_cut=may_be_cut):
            if content["n"] != self.number + 1:
                raise JournalError(f"{where}: change {self.number + 1} is missing; {REMEDY}")
            self.number += 1
            apply_changes(self.tables, [Change(*change) for change in content["c"]])

    @staticmethod
    def _lines(path: Path, kind: str, generation: int, *, may_be_cut: bool) -> Iterator[tuple[str, Any]]:
        """Every line after the first, with its place for a message."""
        header = True
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}, line {number}"
                if not line.endswith(b"\n") and may_be_cut:
                    return
                try:
                    content = _decode_line(line.removesuffix(b"\n"))
                except ValueError as error:
                    raise JournalError(f"{where}: damaged ({error}); {REMEDY}") from error
                if not header:
                    yield where, content
                    continue
                if content.get("journal") != FORMAT or content.get("version") != VERSION:
                    found = f"{content.get('journal')!r} version {content.get('version')!r}"
                    raise JournalError(f"{where}: this is {found}, not {FORMAT!r} version {VERSION}; {REMEDY}")
                if (content["kind"], content["generation"]) != (kind, generation):
                    raise JournalError(f"{where}: the file was renamed; {REMEDY}")
                header = False
        if header and not may_be_cut:
            raise JournalError(f"{path}: it is empty; {REMEDY}")


def _path(folder: Path, kind: str, generation: int) -> Path:
    return folder / f"{kind}-{generation:08}.journal"


def _header(kind: str, generation: int) -> bytes:
    return encode_line({"journal": FORMAT, "version": VERSION, "kind": kind, "generation": generation})


def _generations(folder: Path) -> dict[str, list[int]]:
    """The generations on disk by kind of file, in order."""
    found: dict[str, list[int]] = {_SNAPSHOT: [], _TAIL: []}
    for path in folder.iterdir():
        name = _NAME.fullmatch(path.name)
        if name:
            found[name[1]].append(int(name[2]))
    return {kind: sorted(numbers) for kind, numbers in found.items()}


def _read(folder: Path, before: int | None = None) -> _Reader:
    """Add up the newest snapshot and every tail since.

    :param before: leave this generation and later ones out
    :raises JournalError: something of it is damaged or missing
    """
    found = _generations(folder)
    snapshots = [number for number in found[_SNAPSHOT] if before is None or number < before]
    reader = _Reader()
    first = 1
    if snapshots:
        first = snapshots[-1]
        reader.read_snapshot(_path(folder, _SNAPSHOT, first), first)
    tails = [number for number in found[_TAIL] if number >= first and (before is None or number < before)]
    for expected, number in enumerate(tails, first):
        if number != expected:
            raise JournalError(f"{_path(folder, _TAIL, expected)}: it is missing; {REMEDY}")
        # Only the file that was being written when a process died can end in half a line.
        cut = before is None and number == tails[-1]
        reader.read_tail(_path(folder, _TAIL, number), number, may_be_cut=cut)
    return reader


def _write_snapshot(folder: Path, generation: int, content: _Reader) -> None:
    """Write it beside the others, all or nothing, and remove what it replaces."""
    draft = folder / "snapshot.new"
    with draft.open("wb") as file:
        file.write(_header(_SNAPSHOT, generation))
        counted = 0
        for table, items in content.tables.items():
            for key, item in items.items():
                file.write(encode_line({"c": [table, json.loads(key), item]}))
                counted += 1
        file.write(encode_line({"items": counted, "number": content.number}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(_path(folder, _SNAPSHOT, generation))
    for kind, numbers in _generations(folder).items():
        for number in numbers:
            if number < generation:
                _path(folder, kind, number).unlink()


class Journal:
    """The one writer of a folder. Safe to use from several threads."""

    def __init__(self, folder: Path, *, tail_bytes: int = _TAIL_BYTES, lock_seconds: float = _LOCK_SECONDS) -> None:
        """Describe it; nothing is touched.

        :param tail_bytes: a tail longer than this is followed by the next generation
        :param lock_seconds: how long to wait for a process that is still ending
        """
        self._folder = folder
        self._tail_bytes = tail_bytes
        self._lock_seconds = lock_seconds
        self._lock = threading.Lock()
        self._held = -1
        self._tail = -1
        self._generation = 0
        self._written = 0
        self._number = 0
        self._compaction: threading.Thread | None = None

    def open(self) -> Tables:
        """Take the folder, read what is there, write it as a new generation, and be ready to append.

        :returns: every item; it belongs to the caller
        :raises JournalError: another process writes here, or a file is damaged; nothing on disk was changed then
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        content = _read(self._folder)
        newest = max((number for numbers in _generations(self._folder).values() for number in numbers), default=0)
        self._number = content.number
        if newest:
            _write_snapshot(self._folder, newest + 1, content)
        self._begin(newest + 1)
        return content.tables

    def append(self, changes: Sequence[Change]) -> None:
        """Put the changes of one accepted call on disk as one line, before the call is answered.

        :raises OSError: it could not be written; the process must not answer, and not go on
        """
        with self._lock:
            line = encode_line({"n": self._number + 1, "c": changes})
            view = memoryview(line)
            while view:
                view = view[os.write(self._tail, view) :]
            self._number += 1
            self._written += len(line)
            if self._written >= self._tail_bytes and self._idle():
                self._begin(self._generation + 1)
                self._compaction = threading.Thread(
                    target=self._compact, args=(self._generation,), name="journal-compaction", daemon=True
                )
                self._compaction.start()

    def close(self) -> None:
        """Wait for the snapshot being written, and let the folder go."""
        if self._compaction is not None:
            self._compaction.join()
        for descriptor in (self._tail, self._held):
            if descriptor >= 0:
                os.close(descriptor)
        self._tail = self._held = -1

    def _idle(self) -> bool:
        return self._compaction is None or not self._compaction.is_alive()

    def _take_lock(self) -> None:
        held = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + self._lock_seconds
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    os.close(held)
                    raise JournalError(f"{self._folder}: another process still writes here; end it first") from error
                time.sleep(0.05)
            else:
                self._held = held
                return

    def _begin(self, generation: int) -> None:
        """Open the tail of a new generation. :raises OSError: it cannot be made."""
        path = _path(self._folder, _TAIL, generation)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        os.write(descriptor, _header(_TAIL, generation))
        if self._tail >= 0:
            os.close(self._tail)
        self._tail, self._generation, self._written = descriptor, generation, 0

    def _compact(self, generation: int) -> None:
        """Write the snapshot with which a generation begins, from the files before it."""
        try:
            _write_snapshot(self._folder, generation, _read(self._folder, before=generation))
        except (OSError, JournalError):
            # Nothing is lost: the files before are still there, and the next generation tries again.
            logger.exception("the journal's snapshot %s could not be written", generation)
