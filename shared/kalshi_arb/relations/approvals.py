"""What a person's approval makes of a group: an assumption becomes a sentence of its certificate.

The fingerprint stays, so an approval that was given for it holds for exactly the group that the person saw. A group
whose fingerprint is another one needs an approval of its own.
"""

from collections.abc import Collection
from dataclasses import replace

from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.state_space import Group


def approved(group: Group, assumptions: Collection[str], reason: str) -> Group:
    """The group without those of its assumptions that a person approved, for the given reason."""
    agreed = [assumption for assumption in group.assumptions if assumption in assumptions]
    return replace(
        group,
        assumptions=tuple(assumption for assumption in group.assumptions if assumption not in assumptions),
        certificate=(*group.certificate, *(f"{assumption} [approved by a person: {reason}]" for assumption in agreed)),
    )


def judged(record: GroupRecord) -> Group:
    """The group that bundles are proved on: the one that is kept, with what a person has approved of it."""
    if record.approval is None:
        return record.group
    return approved(record.group, record.group.assumptions, record.approval.reason)
