"""Order groups: orders that share a limit on how many contracts may trade within fifteen seconds.

Fills of a group's orders within a rolling 15 s that add up to more than its limit trigger it: all its orders are
cancelled and new ones are refused until it is reset (Kalshi API documentation, order groups). A group is judged when
an incoming order is done, so one order, or the makers that one order meets, may carry it past its limit.
"""

from dataclasses import dataclass, field
from enum import Enum, unique

from kalshi_arb.domain.money import ONE_CONTRACT, Count

WINDOW_MS = 15_000
LOWEST_LIMIT = ONE_CONTRACT
HIGHEST_LIMIT = Count(1_000_000 * ONE_CONTRACT)
MOST_GROUPS = 100_000


@unique
class GroupStep(Enum):
    """What happened to a group, in the words of the stream."""

    CREATED = "created"
    TRIGGERED = "triggered"
    RESET = "reset"
    DELETED = "deleted"
    LIMIT_UPDATED = "limit_updated"


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as its owner sees it. ``order_ids`` are its resting orders, oldest first."""

    group_id: str
    shard: int
    limit: Count
    is_triggered: bool
    order_ids: tuple[str, ...]


@dataclass(slots=True)
class OrderGroup:
    """A group in motion. ``fills`` are the (UTC milliseconds, contracts) that the window may still hold."""

    group_id: str
    account_id: str
    shard: int
    limit: Count
    is_triggered: bool = False
    order_ids: list[str] = field(default_factory=list)
    fills: list[tuple[int, Count]] = field(default_factory=list)

    def view(self) -> GroupView:
        """What the owner sees now."""
        return GroupView(self.group_id, self.shard, self.limit, self.is_triggered, tuple(self.order_ids))

    def note_fill(self, ms: int, count: Count) -> None:
        """One of the group's orders traded."""
        self.fills.append((ms, count))

    def is_over(self, now_ms: int) -> bool:
        """Whether the window that ends now holds more than the limit."""
        self.fills = [(ms, count) for ms, count in self.fills if ms > now_ms - WINDOW_MS]
        return sum(count for _, count in self.fills) > self.limit

    def reset(self) -> None:
        """Begin to count anew."""
        self.is_triggered = False
        self.fills.clear()
