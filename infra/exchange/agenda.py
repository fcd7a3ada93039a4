"""What is due on the exchange and when: markets open, close and pay out at their times, orders expire, fees change."""

import heapq
from dataclasses import dataclass, field
from enum import IntEnum, unique


@unique
class Due(IntEnum):
    """What happens by itself, and what its subject names."""

    OPEN = 0  # market
    CLOSE = 1  # market
    CLOSE_CANCEL = 2  # market: what rested when it closed is cancelled
    FINALIZE = 3  # market
    EXPIRE = 4  # order
    FEES = 5  # series or event
    WAIVER_ENDS = 6  # market
    PAUSE = 7  # none: the weekly pause
    RESUME = 8


@dataclass(slots=True)
class Agenda:
    """Everything that is due, a heap by time (UTC milliseconds) and then by when it was added.

    Nothing is ever taken back: whoever carries an entry out looks whether it still holds.
    """

    entries: list[tuple[int, int, Due, str]] = field(default_factory=list)
    added: int = 0

    def add(self, ms: int, due: Due, subject: str) -> None:
        """Have something done to a subject at ``ms``."""
        heapq.heappush(self.entries, (ms, self.added, due, subject))
        self.added += 1

    def pop(self, now_ms: int) -> tuple[int, Due, str] | None:
        """The next thing that is due by ``now_ms``, with its own time, or None."""
        if not self.entries or self.entries[0][0] > now_ms:
            return None
        ms, _, due, subject = heapq.heappop(self.entries)
        return ms, due, subject
