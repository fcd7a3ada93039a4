"""The accepted groups, the one small item that tells readers when they changed, and what happened to each."""

import logging
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from kalshi_arb import schemas
from kalshi_arb.aws.dynamo import Condition, Item, Table, TransactionCancelledError, envelope, n, opened, s
from kalshi_arb.domain.errors import SchemaError, StoreError
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry, RecordChange
from kalshi_arb.ports import GroupChanges

logger = logging.getLogger(__name__)

_VERSION_KEY = "#version"
_CHANGE_KEY = "#change#"
# A partition of 188 markets has some 35,000 payouts: packed it costs a tenth of the write units and stays far below
# the 400 KB that an item may have.
_PACK_ABOVE = 16_000
# Two actions for each group, two for the version: below the 100 actions and the 4 MB of a transaction.
_GROUPS_PER_WRITE = 40
_BYTES_PER_WRITE = 2_000_000
_TRIES = 12
_CHANGES_KEPT = 100
_KEEP_CHANGES_SECONDS = 24 * 3600
_KEEP_HISTORY_SECONDS = 90 * 24 * 3600


def _row(record: GroupRecord) -> Item:
    item: Item = {"group_id": s(record.group_id), **envelope(record), "revision": n(record.revision)}
    body = item["body"]["S"].encode()
    if len(body) > _PACK_ABOVE:
        del item["body"]
        item["packed"] = {"B": zlib.compress(body, 6)}
    return item


def _record(item: Item) -> GroupRecord:
    if "packed" not in item:
        return opened(item, GroupRecord)
    try:
        body = zlib.decompress(item["packed"]["B"])
    except zlib.error as error:
        raise SchemaError(f"a group that cannot be unpacked: {error}") from error
    return schemas.decode(body, GroupRecord)


def _is_current(item: Item) -> bool:
    """Whether it was written by a program of the same schema. What an older one left is as good as not there:
    discovery finds the group anew."""
    return item.get("kind") == s("group_record") and item.get("v") == n(schemas.version_of(GroupRecord))


def _size(change: RecordChange) -> int:
    # Payouts are what makes a group large.
    group = None if change.after is None else change.after.group
    return 1_000 if group is None else len(group.markets) * (1_000 + 8 * len(group.states))


class DynamoGroupStore:
    """:class:`kalshi_arb.ports.GroupStore` on the groups table and the table of their history.

    A group, its line of history, the version and the list of what the version changed are written in one transaction:
    a reader that sees a version finds all of it, and a writer that dies leaves nothing half-done.
    """

    def __init__(self, groups: Table, history: Table) -> None:
        self._groups = groups
        self._history = history

    def version(self) -> int:
        """The current version, 0 before the first group."""
        mark = self._groups.get(_VERSION_KEY)
        return 0 if mark is None else int(mark["version"]["N"])

    def changes_since(self, version: int) -> GroupChanges | None:
        """What changed after a version; None when it is more than a hundred versions back."""
        now = self.version()
        if not 0 <= now - version <= _CHANGES_KEPT:
            return None
        steps = self._history.get_many(f"{_CHANGE_KEY}{number}" for number in range(version + 1, now + 1))
        if len(steps) < now - version:
            return None
        return GroupChanges(now, frozenset(one for step in steps for one in step["groups"]["SS"]))

    def all(self) -> list[GroupRecord]:
        """Every accepted group, by id."""
        items = [item for item in self._groups.scan() if item["group_id"]["S"] != _VERSION_KEY]
        current = [item for item in items if _is_current(item)]
        if len(current) < len(items):
            logger.warning("%d stored groups of an older schema are left out", len(items) - len(current))
        return sorted(map(_record, current), key=lambda record: record.group_id)

    def get(self, group_id: str) -> GroupRecord | None:
        """One group, or None when it is not accepted (any more)."""
        item = None if group_id == _VERSION_KEY else self._groups.get(group_id)
        return None if item is None or not _is_current(item) else _record(item)

    def get_many(self, group_ids: Sequence[str]) -> list[GroupRecord]:
        """Those of these that are accepted."""
        items = self._groups.get_many(one for one in group_ids if one != _VERSION_KEY)
        return [_record(item) for item in items if _is_current(item)]

    def write(self, changes: Sequence[RecordChange]) -> frozenset[str]:
        """Carry out each step whose ``before`` is still what is stored. Many steps are several transactions, each with
        a version of its own."""
        written: set[str] = set()
        for part in _parts(changes):
            written |= self._write(part)
        return frozenset(written)

    def history(self, group_id: str, limit: int) -> list[HistoryEntry]:
        """Newest first, of the last ninety days."""
        items = self._history.query("by_group", "group_id", group_id, newest_first=True, limit=limit)
        return [opened(item, HistoryEntry) for item in items]

    def _write(self, changes: Sequence[RecordChange]) -> frozenset[str]:
        pending = list(changes)
        for _ in range(_TRIES):
            if not pending:
                return frozenset()
            version = self.version()
            try:
                self._groups.transact(f"write groups to {self._groups.name}", self._actions(pending, version))
            except TransactionCancelledError as cancelled:
                late = [place for place in range(len(pending)) if cancelled.refused(place)]
                if not late and not cancelled.refused(len(pending)):
                    raise
                pending = [change for place, change in enumerate(pending) if place not in late]
            else:
                return frozenset(change.group_id for change in pending)
        raise StoreError(f"write groups to {self._groups.name}: other writers kept being first")

    def _actions(self, changes: Sequence[RecordChange], version: int) -> list[dict[str, Any]]:
        """The groups first, then the version, so that a refusal's place tells what was refused."""
        at_s = max(change.entry.at_ms for change in changes) // 1_000
        step: Item = {
            "entry_id": s(f"{_CHANGE_KEY}{version + 1}"),
            "groups": {"SS": sorted({change.group_id for change in changes})},
            "expires_at": n(at_s + _KEEP_CHANGES_SECONDS),
        }
        first = Condition("attribute_not_exists(#version)", {})
        unchanged = Condition("#version = :old", {":old": n(version)}) if version else first
        return [
            *(self._action(change) for change in changes),
            self._groups.updating(_VERSION_KEY, "SET #version = :new", unchanged, {":new": n(version + 1)}),
            self._history.putting(step, None),
            *(self._history.putting(_line(change.entry), None) for change in changes),
        ]

    def _action(self, change: RecordChange) -> dict[str, Any]:
        if change.before is None:
            # What an older schema left is overwritten.
            schema = n(schemas.version_of(GroupRecord))
            unchanged = Condition("attribute_not_exists(#revision) OR #v <> :schema", {":schema": schema})
        else:
            unchanged = Condition("#revision = :before", {":before": n(change.before.revision)})
        if change.after is None:
            return self._groups.deleting(change.group_id, unchanged)
        return self._groups.putting(_row(change.after), unchanged)


def _line(entry: HistoryEntry) -> Item:
    return {
        "entry_id": s(f"{entry.group_id}#{entry.at_ms}#{entry.revision}"),
        **envelope(entry),
        "group_id": s(entry.group_id),
        "at_ms": n(entry.at_ms),
        "expires_at": n(entry.at_ms // 1_000 + _KEEP_HISTORY_SECONDS),
    }


def _parts(changes: Sequence[RecordChange]) -> Iterator[list[RecordChange]]:
    part: list[RecordChange] = []
    size = 0
    for change in changes:
        own = _size(change)
        if part and (len(part) == _GROUPS_PER_WRITE or size + own > _BYTES_PER_WRITE):
            yield part
            part, size = [], 0
        part.append(change)
        size += own
    if part:
        yield part
