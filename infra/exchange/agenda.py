"""What is due on the exchange and when: markets open, close and pay out at their times."""

import heapq
from dataclasses import dataclass, field
from enum import IntEnum, unique


@unique
class Due(IntEnum):
    """What happens to a market by itself."""

    OPEN = 0
    CLOSE = 1
    FINALIZE = 2


@dataclass(slots=True)
class Agenda:
    """Everything that is due, a heap by time (UTC milliseconds) and then by when it was added."""

    entries: list[tuple[int, int, Due, str]] = field(default_factory=list)
    added: int = 0

    def add(self, ms: int, due: Due, ticker: str) -> None:
        """Have something done to a market at ``ms``."""
        heapq.heappush(self.entries, (ms, self.added, due, ticker))
        self.added += 1

    def pop(self, now_ms: int) -> tuple[int, Due, str] | None:
        """The next thing that is due by ``now_ms``, with its own time, or None."""
        if not self.entries or self.entries[0][0] > now_ms:
            return None
        ms, _, due, ticker = heapq.heappop(self.entries)
        return ms, due, ticker
