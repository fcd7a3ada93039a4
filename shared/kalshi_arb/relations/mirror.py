"""A copy of the accepted groups that follows the store at the cost of what changed."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.ports import GroupStore


class GroupMirror:
    """Every accepted group in memory. The first :meth:`refresh` reads them all, later ones only those that changed."""

    def __init__(self, groups: GroupStore) -> None:
        self._groups = groups
        self._version: int | None = None
        self._records: dict[str, GroupRecord] = {}
        self._of_event: dict[str, set[str]] = {}

    @property
    def records(self) -> Mapping[str, GroupRecord]:
        """By group id, as of the last refresh."""
        return MappingProxyType(self._records)

    def refresh(self) -> frozenset[str]:
        """Catch up; returns the ids of groups that are new, different or gone.

        :raises StoreError: the store cannot be read; the copy stays as it was.
        """
        changes = None if self._version is None else self._groups.changes_since(self._version)
        if changes is None:
            # The version first: what changes while everything is read is read again at the next refresh.
            version = self._groups.version()
            found = {record.group_id: record for record in self._groups.all()}
            known = self._records.keys() | found.keys()
            changed = frozenset(one for one in known if self._records.get(one) != found.get(one))
        else:
            version, changed = changes.version, changes.group_ids
            found = {record.group_id: record for record in self._groups.get_many(sorted(changed))}
        for group_id in changed:
            self._put(group_id, found.get(group_id))
        self._version = version
        return changed

    def touching(self, event_tickers: Iterable[str]) -> dict[str, GroupRecord]:
        """Groups with a market of these events, by id."""
        ids = set().union(*(self._of_event.get(event, ()) for event in event_tickers))
        return {group_id: self._records[group_id] for group_id in sorted(ids)}

    def _put(self, group_id: str, record: GroupRecord | None) -> None:
        old = self._records.pop(group_id, None)
        if old is not None:
            for event in old.group.event_tickers:
                self._of_event[event].discard(group_id)
        if record is not None:
            self._records[group_id] = record
            for event in record.group.event_tickers:
                self._of_event.setdefault(event, set()).add(group_id)
