"""Groups and their versions in their tables: what changed is told, what is late is refused."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from kalshi_arb import schemas
from kalshi_arb.aws.dynamo import s
from kalshi_arb.domain.errors import SchemaError, StoreError
from kalshi_arb.domain.group_record import (
    GroupRecord,
    HistoryKind,
    Suspension,
    SuspensionReason,
    accept,
    end,
    succeed,
    suspend,
)
from kalshi_arb.ports import GroupChanges, GroupStore
from tests.cloud_samples import NOW, group, large_group
from tests.moto_cloud import group_store, new_group


@pytest.fixture
def groups(dynamo: Any) -> GroupStore:
    return group_store(dynamo)


def stored(store: GroupStore, group_id: str) -> GroupRecord:
    record = store.get(group_id)
    assert record is not None
    return record


def test_groups_and_their_versions(groups: GroupStore) -> None:
    assert (groups.version(), groups.all(), groups.get("g1")) == (0, [], None)
    assert groups.write([new_group("g1"), new_group("g2")]) == {"g1", "g2"}
    assert [record.group for record in groups.all()] == [group("g1"), group("g2")]
    assert (groups.version(), groups.write([])) == (1, frozenset())
    changed = succeed(stored(groups, "g2"), group("g2", "f2"), ("a strike changed",), read_ms=NOW, now_ms=NOW + 1)
    assert groups.write([changed]) == {"g2"}
    assert stored(groups, "g2") == changed.after
    assert groups.write([end(stored(groups, "g2"), ("closed",), now_ms=NOW + 2)]) == {"g2"}
    assert (groups.version(), groups.get("g2")) == (3, None)
    assert [record.group_id for record in groups.get_many(["g1", "g2", "g3"])] == ["g1"]
    assert [(line.kind, line.words) for line in groups.history("g2", 9)] == [
        (HistoryKind.GONE, ("closed",)), (HistoryKind.REPLACED, ("a strike changed",)), (HistoryKind.ACCEPTED, ()),
    ]  # fmt: skip


def test_readers_are_told_what_changed_or_to_read_everything(groups: GroupStore, dynamo: Any) -> None:
    assert groups.changes_since(0) == GroupChanges(0, frozenset())
    groups.write([new_group("g1"), new_group("g2")])
    groups.write([suspend(stored(groups, "g1"), SuspensionReason.CHANGED, "why", now_ms=NOW)])
    assert groups.changes_since(0) == GroupChanges(2, frozenset({"g1", "g2"}))
    assert groups.changes_since(1) == GroupChanges(2, frozenset({"g1"}))
    assert groups.changes_since(2) == GroupChanges(2, frozenset())
    assert groups.changes_since(3) is None, "the tables were made anew"
    dynamo.delete_item(TableName="group_history", Key={"entry_id": s("#change#1")})
    assert groups.changes_since(0) is None, "too long ago"


def test_the_version_item_is_no_group(groups: GroupStore) -> None:
    groups.write([new_group("g1")])
    assert groups.get("#version") is None
    assert groups.get_many(["#version"]) == []


def test_of_two_writers_the_second_is_late_and_the_others_of_its_batch_are_written(groups: GroupStore) -> None:
    groups.write([new_group("g1"), new_group("g2")])
    first, second = stored(groups, "g1"), stored(groups, "g1")
    assert groups.write([suspend(first, SuspensionReason.CHANGED, "first", now_ms=NOW)]) == {"g1"}
    late = suspend(second, SuspensionReason.CHANGED, "second", now_ms=NOW)
    assert groups.write([late, suspend(stored(groups, "g2"), SuspensionReason.CHANGED, "x", now_ms=NOW)]) == {"g2"}
    assert stored(groups, "g1").suspension == Suspension(SuspensionReason.CHANGED, "first", NOW)
    assert groups.write([new_group("g1", "f9")]) == frozenset(), "it is there already"


def test_writers_at_once_lose_nothing(groups: GroupStore, dynamo: Any) -> None:
    """Another writer takes the version between our reading it and our writing."""

    class Interrupted:
        left = 3

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **arguments: Any) -> Any:
            if self.left:
                self.left -= 1
                group_store(dynamo).write([new_group(f"other{self.left}")])
            return dynamo.transact_write_items(**arguments)

    assert group_store(Interrupted()).write([new_group("g1")]) == {"g1"}
    assert groups.version() == 4
    assert groups.changes_since(3) == GroupChanges(4, frozenset({"g1"}))


def test_a_write_that_dies_leaves_nothing(groups: GroupStore, dynamo: Any) -> None:
    class Dies:
        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **_: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")

    with pytest.raises(StoreError):
        group_store(Dies()).write([new_group("g1")])
    assert (groups.version(), groups.all()) == (0, [])


def test_many_groups_and_very_large_ones(groups: GroupStore) -> None:
    wanted = [group(f"g{number:03d}") for number in range(60)] + [large_group("h", 300)]
    changes = [accept(one, read_ms=NOW, now_ms=NOW) for one in wanted]
    assert len(schemas.encode(changes[-1].after)) > 200_000
    assert groups.write(changes) == {one.group_id for one in wanted}
    assert [record.group for record in groups.all()] == wanted
    assert stored(groups, "h").group == wanted[-1]
    assert groups.version() > 1, "several transactions, each a version"


def test_what_an_older_program_left_is_not_there_and_is_overwritten(groups: GroupStore, dynamo: Any) -> None:
    old = {"group_id": s("g1"), "v": {"N": "2"}, "kind": s("group"), "body": s("{}"), "fingerprint": s("f")}
    dynamo.put_item(TableName="groups", Item=old)
    assert (groups.get("g1"), groups.all(), groups.get_many(["g1"])) == (None, [], [])
    assert groups.write([new_group("g1")]) == {"g1"}
    assert stored(groups, "g1").group == group("g1")


def test_a_packed_group_that_is_damaged_is_refused(groups: GroupStore, dynamo: Any) -> None:
    item = {"group_id": s("g"), "packed": {"B": b"no"}, "v": {"N": "1"}, "kind": s("group_record")}
    dynamo.put_item(TableName="groups", Item=item)
    with pytest.raises(SchemaError):
        groups.get("g")
