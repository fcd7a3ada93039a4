"""How patient the execution is. How much money may be at stake is not here: that is ``risk.limits``."""

from dataclasses import dataclass

from kalshi_arb.domain.money import ONE_DOLLAR, Price


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """Times in milliseconds.

    An order whose answer was lost counts as absent only when the exchange's read side is past its sending time plus
    ``write_timeout_ms`` (how long a request may be under way) plus ``margin_ms`` (clocks, and the time between saving
    and sending, which ``send_window_ms`` bounds).

    ``unwind_steps`` is the ladder of an unwind: how much dearer than the best price of the moment (1e-4 dollars) it may
    buy the other outcome, step by step. Every round of sales goes one step on, and so does every ``step_ms`` in which
    nothing was worth sending; the last step takes whatever is better than holding. It ends after ``unwind_rounds``
    rounds, or ``patience_ms`` after the last purchase with no better bid in sight.
    """

    write_timeout_ms: int = 5_000
    margin_ms: int = 3_000
    send_window_ms: int = 1_500
    plan_fresh_ms: int = 5_000  # a plan older than this was made on books that are gone
    patience_ms: int = 8_000  # how long to wait for a book on which a loss can be made smaller
    stuck_after_ms: int = 60_000  # when a person is told that orders stay unresolved
    longest_wait_s: int = 5
    unwind_rounds: int = 5
    unwind_steps: tuple[Price, ...] = (Price(100), Price(500), ONE_DOLLAR)
    step_ms: int = 1_000
    most_waves: int = 40

    def absent_after(self, sent_ms: int) -> int:
        """The read-side time after which an order sent at ``sent_ms`` that is not there never was."""
        return sent_ms + self.write_timeout_ms + self.margin_ms

    @property
    def worst_completion_ms(self) -> int:
        """How long a basket may need from its proof until it is complete or given up, if every answer is lost: its
        plan waits, two waves enter, and unwinding is patient and takes all its steps and rounds."""
        answer = self.send_window_ms + self.write_timeout_ms + self.margin_ms
        ladder = (self.unwind_rounds + len(self.unwind_steps)) * self.step_ms
        return self.plan_fresh_ms + self.patience_ms + ladder + (2 + self.unwind_rounds) * answer
