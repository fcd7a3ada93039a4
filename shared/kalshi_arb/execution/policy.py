"""How patient the execution is. Nothing here is about money: that is ``risk.limits``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """Times in milliseconds.

    An order whose answer was lost counts as absent only when the exchange's read side is past its sending time plus
    ``write_timeout_ms`` (how long a request may be under way) plus ``margin_ms`` (clocks, and the time between saving
    and sending, which ``send_window_ms`` bounds).
    """

    write_timeout_ms: int = 5_000
    margin_ms: int = 3_000
    send_window_ms: int = 1_500
    plan_fresh_ms: int = 5_000  # a plan older than this was made on books that are gone
    patience_ms: int = 8_000  # how long to wait for a book on which a loss can be made smaller
    stuck_after_ms: int = 60_000  # when a person is told that orders stay unresolved
    longest_wait_s: int = 5
    unwind_rounds: int = 5
    most_waves: int = 40

    def absent_after(self, sent_ms: int) -> int:
        """The read-side time after which an order sent at ``sent_ms`` that is not there never was."""
        return sent_ms + self.write_timeout_ms + self.margin_ms
