"""The accepted groups and the one small item that tells readers when they changed."""

import hashlib
import zlib
from collections.abc import Sequence

from kalshi_arb import schemas
from kalshi_arb.aws.dynamo import Item, Table, envelope, n, opened, s
from kalshi_arb.domain.errors import SchemaError
from kalshi_arb.domain.state_space import Group

_VERSION_KEY = "#version"
# A partition of 188 markets has some 35,000 payouts: packed it costs a tenth of the write units and stays far below
# the 400 KB that an item may have.
_PACK_ABOVE = 16_000


def _row(group: Group) -> Item:
    item: Item = {"group_id": s(group.group_id), **envelope(group), "fingerprint": s(group.fingerprint)}
    body = item["body"]["S"].encode()
    if len(body) > _PACK_ABOVE:
        del item["body"]
        item["packed"] = {"B": zlib.compress(body, 6)}
    return item


def _group(item: Item) -> Group:
    if "packed" not in item:
        return opened(item, Group)
    try:
        body = zlib.decompress(item["packed"]["B"])
    except zlib.error as error:
        raise SchemaError(f"a group that cannot be unpacked: {error}") from error
    return schemas.decode(body, Group)


def _digest(marks: dict[str, str]) -> str:
    lines = "\n".join(f"{group_id} {mark}" for group_id, mark in sorted(marks.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


class DynamoGroupStore:
    """:class:`kalshi_arb.ports.GroupStore` on the groups table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def replace_all(self, groups: Sequence[Group]) -> int:
        """Make this the accepted set; returns the version, unchanged when nothing changed.

        The version rises after the groups were written, so a reader that sees the new version finds the new groups.
        Its item carries a digest of the set: a run that died in between is noticed by the next one.
        """
        schema = schemas.version_of(Group)
        wanted = {group.group_id: f"{group.fingerprint} {schema}" for group in groups}
        stored = {
            item["group_id"]["S"]: f"{item['fingerprint']['S']} {item['v']['N']}"
            for item in self._table.scan(("group_id", "fingerprint", "v"))
            if item["group_id"]["S"] != _VERSION_KEY
        }
        changed = [_row(group) for group in groups if stored.get(group.group_id) != wanted[group.group_id]]
        gone = sorted(stored.keys() - wanted.keys())
        digest = _digest(wanted)
        mark = self._table.get(_VERSION_KEY)
        if mark is not None and not changed and not gone and mark["digest"]["S"] == digest:
            return int(mark["version"]["N"])
        self._table.write_many(changed, gone)
        new = self._table.update(
            _VERSION_KEY, "ADD #version :one SET #digest = :digest", {":one": n(1), ":digest": s(digest)}
        )
        return int(new["version"]["N"])

    def version(self) -> int:
        """The current version, 0 before the first discovery."""
        mark = self._table.get(_VERSION_KEY)
        return 0 if mark is None else int(mark["version"]["N"])

    def all(self) -> list[Group]:
        """Every accepted group, by id."""
        rows = [_group(item) for item in self._table.scan() if item["group_id"]["S"] != _VERSION_KEY]
        return sorted(rows, key=lambda group: group.group_id)

    def get(self, group_id: str) -> Group | None:
        """One group, or None when it is not accepted (any more)."""
        item = None if group_id == _VERSION_KEY else self._table.get(group_id)
        return None if item is None else _group(item)
