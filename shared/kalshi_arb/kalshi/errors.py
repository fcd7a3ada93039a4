"""What the exchange can do to a call.

ExchangeError
+-- RejectedError         it said no, for certain; carries its code
|   +-- AuthError         key, signature, clock or scope refused
|       +-- ClockError    the signature's time is too far from the exchange's
+-- RetryableError        nothing happened; the same call may be made again (429, failed reads, no connection)
|   +-- BudgetError       our own share of the rate limit does not cover the call; it was not sent
+-- UnknownOutcomeError   a write that may or may not have happened (408, 5xx, dropped connection)
+-- WireFormatError       an answer that does not mean what its contract says
"""

from kalshi_arb.domain.errors import ExchangeError


class RejectedError(ExchangeError):
    """A definite refusal. ``code`` is the exchange's own word, ``status`` the HTTP status."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{code}: {message} (HTTP {status})")
        self.code = code
        self.status = status


class AuthError(RejectedError):
    """The key, its signature, its scope or our clock was refused: a person must act."""


class ClockError(AuthError):
    """The exchange refused the signature's time. The message says how far this machine's clock is off."""


class RetryableError(ExchangeError):
    """The call had no effect and may be repeated."""


class BudgetError(RetryableError):
    """The caller's share of the rate limit does not cover the call within the time it may wait; nothing was sent."""


class UnknownOutcomeError(ExchangeError):
    """A write whose effect is unknown: ask the exchange before doing anything else with that basket."""


class WireFormatError(ExchangeError):
    """An answer that cannot be read as what it should be."""
