"""The user's relations between two sweeps: resolved when everything is read, kept, and used again for single events.

A pattern stands for every ticker that fits it, which only a sweep knows. So what it came to is kept as a status, and a
look rebuilds a user's group from that.
"""

from collections.abc import Callable, Collection, Iterable

import msgspec

from kalshi_arb.domain.errors import SchemaError
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.state_space import Family
from kalshi_arb.ports import StatusStore
from kalshi_arb.relations.fingerprints import digest
from kalshi_arb.relations.user import NO_USER_RELATIONS, UserRelationError, UserRelations

COMPONENT = "discovery-user-relations"


class KeptUserRelations:
    """What the user wrote down, and what it came to at the last sweep."""

    def __init__(self, user: Callable[[], UserRelations], status: StatusStore) -> None:
        self._user = user
        self._status = status

    def is_current(self) -> bool:
        """Whether the last sweep knew what the user has written down now."""
        kept = self._status.get(COMPONENT) or {"written": _mark(NO_USER_RELATIONS)}
        return kept.get("written") == self._read()[1]

    def resolve(self, tickers: Collection[str]) -> tuple[UserRelations, str | None]:
        """The relations of a sweep, kept for later, and what is wrong with them: then none of them counts."""
        written, mark, problem = self._read()
        resolved = NO_USER_RELATIONS
        if problem is None and written.relations:
            try:
                resolved = written.resolved(tickers)
            except UserRelationError as error:
                problem = str(error)
        self._status.put(COMPONENT, {"written": mark, "resolved": msgspec.to_builtins(resolved)})
        return resolved, problem

    def of(self, records: Iterable[GroupRecord]) -> UserRelations:
        """The relations behind these groups.

        :raises SchemaError: what was kept cannot be read.
        """
        own = {ticker for one in records if one.group.family is Family.USER for ticker in one.group.tickers}
        if not own:
            return NO_USER_RELATIONS
        kept = self._status.get(COMPONENT) or {}
        try:
            resolved = msgspec.convert(kept.get("resolved"), UserRelations)
        except msgspec.ValidationError as error:
            raise SchemaError(f"the kept user relations cannot be read: {error}") from error
        return UserRelations(
            resolved.file, tuple(relation for relation in resolved.relations if own.intersection(relation.members))
        )

    def _read(self) -> tuple[UserRelations, str, str | None]:
        try:
            written = self._user()
        except UserRelationError as error:
            return NO_USER_RELATIONS, digest([str(error)]), str(error)
        return written, _mark(written), None


def _mark(relations: UserRelations) -> str:
    return digest([msgspec.to_builtins(relations)])
