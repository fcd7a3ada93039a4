"""Records of groups: pure steps, what an approval does, a mirror that follows a store, and mass changes told as one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.group_record import (
    GroupRecord,
    HistoryKind,
    RecordChange,
    SuspensionReason,
    accept,
    approve,
    end,
    resume,
    succeed,
    suspend,
)
from kalshi_arb.domain.state_space import Group
from kalshi_arb.fakes import MemoryGroupStore
from kalshi_arb.relations.approvals import judged
from kalshi_arb.relations.changes import Difference, alerts_of
from kalshi_arb.relations.mirror import GroupMirror
from tests.cloud_samples import NOW, group

ASSUMED = replace(group(), assumptions=("the rules say so",))


def first(wanted: Group = ASSUMED) -> GroupRecord:
    after = accept(wanted, read_ms=NOW, now_ms=NOW).after
    assert after is not None
    return after


def after(change: RecordChange) -> GroupRecord:
    assert change.after is not None
    return change.after


def test_an_approval_holds_for_one_fingerprint_and_ends_with_it() -> None:
    record = first()
    assert record.needs_approval
    assert judged(record) == ASSUMED
    approved = after(approve(record, "read the rules", now_ms=NOW + 1))
    assert not approved.needs_approval
    group_then = judged(approved)
    assert group_then.assumptions == ()
    assert group_then.certificate[-1] == "the rules say so [approved by a person: read the rules]"
    assert group_then.fingerprint == ASSUMED.fingerprint
    changed = after(succeed(approved, replace(ASSUMED, fingerprint="f2"), ("x",), read_ms=NOW, now_ms=NOW + 2))
    assert changed.needs_approval
    assert (changed.number, changed.revision, changed.since_ms) == (2, 3, NOW + 2)


def test_what_needs_no_approval_or_is_suspended_takes_none() -> None:
    with pytest.raises(ProofError, match="nothing that needs approval"):
        approve(first(group()), "x", now_ms=NOW)
    with pytest.raises(ProofError, match="approved already: because"):
        approve(after(approve(first(), "because", now_ms=NOW)), "x", now_ms=NOW)
    with pytest.raises(ProofError, match="suspended: why"):
        approve(after(suspend(first(), SuspensionReason.CHANGED, "why", now_ms=NOW)), "x", now_ms=NOW)


def test_a_suspension_keeps_the_approval_and_a_resumption_the_version() -> None:
    approved = after(approve(first(), "because", now_ms=NOW))
    again = after(resume(after(suspend(approved, SuspensionReason.ANNOUNCED, "w", now_ms=NOW)), read_ms=9, now_ms=9))
    assert (again.approval, again.number, again.suspension) == (approved.approval, 1, None)


steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["succeed", "suspend", "end", "refresh"])), max_size=30
)


@given(steps)
def test_a_mirror_is_the_store_however_the_store_got_there(script: list[tuple[str, str]]) -> None:
    store = MemoryGroupStore()
    mirror = GroupMirror(store)
    for number, (name, step) in enumerate(script):
        record = store.get(name)
        if step == "refresh":
            mirror.refresh()
        elif record is None:
            store.write([accept(replace(group(name), fingerprint=str(number)), read_ms=0, now_ms=0)])
        elif step == "succeed":
            store.write([succeed(record, group(name, str(number)), (), read_ms=0, now_ms=0)])
        elif step == "suspend":
            store.write([suspend(record, SuspensionReason.CHANGED, str(number), now_ms=number)])
        else:
            store.write([end(record, (), now_ms=0)])
    mirror.refresh()
    assert dict(mirror.records) == {record.group_id: record for record in store.all()}
    assert mirror.touching(["KXTEST-26"]).keys() == mirror.records.keys()
    assert mirror.touching(["ELSEWHERE"]) == {}
    assert mirror.refresh() == frozenset()
    assert {entry.kind for entry in store.history("a", 99)} <= set(HistoryKind)


def test_a_mirror_of_a_store_that_was_made_anew_starts_anew() -> None:
    store = MemoryGroupStore([group("a"), group("b")])
    store.hold([group("a")])
    mirror = GroupMirror(store)
    mirror.refresh()
    mirror._groups = MemoryGroupStore([group("z")])
    assert mirror.refresh() == {"a", "z"}
    assert mirror.records.keys() == {"z"}


def test_very_many_changes_at_once_are_told_in_a_few_alerts_and_each_has_its_own_id() -> None:
    many = [Difference(first(group(f"g{number}")), None, ("gone",), ordinary=number == 0) for number in range(60)]
    alerts = alerts_of(many, "simulated", NOW)
    assert len(alerts) == len({alert.alert_id for alert in alerts}) == 11
    assert alerts[0].title == "Group g1 suspended"
    assert alerts[-1].title == "49 more groups suspended at once"
    assert "and 9 more" in alerts[-1].text
    assert alerts_of(many[:1], "simulated", NOW) == []
    assert [one.alert_id for one in alerts_of(many, "simulated", NOW + 5)] == [one.alert_id for one in alerts]
