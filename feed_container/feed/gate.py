"""Which candidates are worth a message: not the same books twice, and not one group many times in a moment."""

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.book import BookVersion

Versions = tuple[BookVersion, ...]


@unique
class Verdict(Enum):
    """What happens to a candidate."""

    SEND = "send"
    SAME_BOOKS = "same_books"
    TOO_SOON = "too_soon"


@dataclass(frozen=True, slots=True)
class _Sent:
    edge: int
    versions: Versions
    sent_ms: int


class Gate:
    """Remembers what was sent for each group.

    :param cooldown_ms: least time between two candidates of one group, unless the edge grew
    """

    def __init__(self, cooldown_ms: int) -> None:
        self._cooldown_ms = cooldown_ms
        self._sent: dict[str, _Sent] = {}

    def decide(self, group_id: str, edge: int, versions: Versions, now_ms: int) -> Verdict:
        """Judge a candidate; SEND is remembered as sent. TOO_SOON should be asked again at :meth:`due_ms`."""
        last = self._sent.get(group_id)
        if last is not None:
            if last.versions == versions:
                return Verdict.SAME_BOOKS
            if now_ms - last.sent_ms < self._cooldown_ms and edge <= last.edge:
                return Verdict.TOO_SOON
        self._sent[group_id] = _Sent(edge, versions, now_ms)
        return Verdict.SEND

    def due_ms(self, group_id: str) -> int:
        """When the group's cooldown ends (UTC milliseconds), 0 when nothing was sent."""
        last = self._sent.get(group_id)
        return last.sent_ms + self._cooldown_ms if last is not None else 0

    def keep(self, group_ids: Container[str]) -> None:
        """Forget every other group."""
        self._sent = {group_id: sent for group_id, sent in self._sent.items() if group_id in group_ids}
