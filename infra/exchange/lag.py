"""How far the portfolio reads are behind the truth, for each kind of read by itself and changeable while it serves.

The exchange says how far its read side has caught up (``GET /exchange/user_data_timestamp``): that is the slowest kind.
"""

from enum import Enum, unique


@unique
class ReadSide(Enum):
    """The reads that may lag (Kalshi API documentation, user data timestamp)."""

    BALANCE = "balance"
    POSITIONS = "positions"
    FILLS = "fills"
    ORDERS = "orders"
    SETTLEMENTS = "settlements"


class ReadLag:
    """Milliseconds by kind of read, ``usual_ms`` until told otherwise."""

    def __init__(self, usual_ms: int = 0) -> None:
        self._usual_ms = usual_ms
        self._other: dict[ReadSide, int] = {}

    def ms(self, side: ReadSide) -> int:
        """How far reads of this kind are behind."""
        return self._other.get(side, self._usual_ms)

    def slowest_ms(self) -> int:
        """How far the slowest kind is behind."""
        return max(self.ms(side) for side in ReadSide)

    def use(self, other: dict[ReadSide, int]) -> None:
        """Let these kinds lag this much from now on, and all others as usual."""
        self._other = dict(other)
