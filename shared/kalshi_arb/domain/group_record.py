"""A group as it is kept: which version it is, whether it may be used, who approved it, and what became of it.

Every change is a pure step from one record to the next, with the line of history that it leaves behind. A step names
the record it starts from, so that of two writers the second notices that it is late.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, unique

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.state_space import Group


@unique
class SuspensionReason(Enum):
    """Why a group must not be used now."""

    ANNOUNCED = "announced"  # the exchange said that something changed; what, has not been read yet
    CHANGED = "changed"  # the listing is not the one that its proof rests on


@dataclass(frozen=True, slots=True)
class Suspension:
    """Since when (UTC milliseconds) and why a group must not be used; ``words`` for a person."""

    reason: SuspensionReason
    words: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word for the assumptions of exactly this fingerprint, and when it was given (UTC milliseconds)."""

    fingerprint: str
    reason: str
    approved_ms: int


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """One group with its standing.

    ``number`` counts its fingerprints, ``revision`` its changes of any kind. ``since_ms`` is when this fingerprint was
    first accepted, ``read_ms`` when the listing behind it was asked for (UTC milliseconds): whoever asked earlier knows
    less. ``nearby`` says what was refused of its events and markets, and why.
    """

    group: Group
    number: int
    revision: int
    since_ms: int
    read_ms: int
    suspension: Suspension | None = None
    approval: Approval | None = None
    nearby: tuple[str, ...] = ()

    @property
    def group_id(self) -> str:
        """The group's id."""
        return self.group.group_id

    @property
    def needs_approval(self) -> bool:
        """Whether its proof rests on something that nobody has approved."""
        return bool(self.group.assumptions) and self.approval is None


@unique
class HistoryKind(Enum):
    """What happened to a group."""

    ACCEPTED = "accepted"
    SUSPENDED = "suspended"
    RESUMED = "resumed"  # read again and found as it was
    REPLACED = "replaced"  # another fingerprint, and so a new version
    APPROVED = "approved"
    GONE = "gone"  # its markets do not form it any more


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What happened, when (UTC milliseconds), to which version, and in words."""

    group_id: str
    kind: HistoryKind
    number: int
    revision: int
    fingerprint: str
    at_ms: int
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One step: ``before`` is None for a group that was not there, ``after`` for one that is gone."""

    before: GroupRecord | None
    after: GroupRecord | None
    entry: HistoryEntry

    @property
    def group_id(self) -> str:
        """The group it is about."""
        return self.entry.group_id


def accept(group: Group, *, read_ms: int, now_ms: int, nearby: tuple[str, ...] = ()) -> RecordChange:
    """A group that was not there before."""
    return _step(None, GroupRecord(group, 1, 1, now_ms, read_ms, nearby=nearby), HistoryKind.ACCEPTED, now_ms)


def suspend(record: GroupRecord, reason: SuspensionReason, words: str, *, now_ms: int) -> RecordChange:
    """Stop its use."""
    after = replace(record, revision=record.revision + 1, suspension=Suspension(reason, words, now_ms))
    return _step(record, after, HistoryKind.SUSPENDED, now_ms, (words,))


def resume(record: GroupRecord, *, read_ms: int, now_ms: int) -> RecordChange:
    """It was read again and is as it was."""
    after = replace(record, revision=record.revision + 1, suspension=None, read_ms=read_ms)
    return _step(record, after, HistoryKind.RESUMED, now_ms)


def succeed(
    record: GroupRecord,
    group: Group,
    words: Sequence[str],
    *,
    read_ms: int,
    now_ms: int,
    nearby: tuple[str, ...] = (),
) -> RecordChange:
    """A new version takes its place; the approval ends.

    :param words: what changed
    """
    after = GroupRecord(group, record.number + 1, record.revision + 1, now_ms, read_ms, nearby=nearby)
    return _step(record, after, HistoryKind.REPLACED, now_ms, tuple(words))


def approve(record: GroupRecord, reason: str, *, now_ms: int) -> RecordChange:
    """A person takes its assumptions for true.

    :raises ProofError: nothing needs approval, or the group is suspended.
    """
    if not record.group.assumptions:
        raise ProofError(f"{record.group_id} rests on nothing that needs approval")
    if record.approval is not None:
        raise ProofError(f"{record.group_id} is approved already: {record.approval.reason}")
    if record.suspension is not None:
        raise ProofError(f"{record.group_id} is suspended: {record.suspension.words}")
    approval = Approval(record.group.fingerprint, reason, now_ms)
    after = replace(record, revision=record.revision + 1, approval=approval)
    return _step(record, after, HistoryKind.APPROVED, now_ms, (reason,))


def end(record: GroupRecord, words: Sequence[str], *, now_ms: int) -> RecordChange:
    """Its markets do not form it any more."""
    entry = HistoryEntry(
        record.group_id, HistoryKind.GONE, record.number, record.revision + 1, record.group.fingerprint, now_ms,
        tuple(words),
    )  # fmt: skip
    return RecordChange(record, None, entry)


def _step(
    before: GroupRecord | None, after: GroupRecord, kind: HistoryKind, now_ms: int, words: tuple[str, ...] = ()
) -> RecordChange:
    entry = HistoryEntry(
        after.group_id, kind, after.number, after.revision, after.group.fingerprint, now_ms, words
    )  # fmt: skip
    return RecordChange(before, after, entry)
