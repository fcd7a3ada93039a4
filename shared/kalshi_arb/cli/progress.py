"""How far a long work has come, on standard error."""

import sys
import time

_REDRAW_SECONDS = 0.2
_LINE_SECONDS = 10.0
_BAR_WIDTH = 30


class Progress:
    """One line drawn again and again on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._interval = _REDRAW_SECONDS if self._terminal else _LINE_SECONDS
        self._next = time.monotonic() + self._interval

    def tell(self, text: str) -> None:
        """Say it, but not more often than a person can read."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
            sys.stderr.flush()

    def bar(self, done: int, total: int, what: str) -> None:
        """Show how much of a known amount is done, as a bar; on a terminal only."""
        if self._terminal and total:
            filled = done * _BAR_WIDTH // total
            self.tell(f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {done} of {total} {what}")

    def clear(self) -> None:
        """Take the drawn line away."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
