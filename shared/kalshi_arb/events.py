"""What functions are called with: events are hostile until they were parsed here."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

from kalshi_arb.domain.errors import SchemaError, SettingsError

T = TypeVar("T")

BasketId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Attempt = Annotated[int, msgspec.Meta(ge=1)]
Wave = Annotated[int, msgspec.Meta(ge=0)]
Word = Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{0,40}\Z")]
EventTicker = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z0-9][A-Z0-9._-]{0,127}\Z")]

REFUSED = "refused"
"""Where the answer to a calculation says why there is none."""
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class BasketTask:
    """A step of the state machine on one attempt at one basket."""

    basket_id: BasketId
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class WaveTask:
    """The step that sends one wave, or the one that asks what became of it."""

    basket_id: BasketId
    attempt: Attempt
    wave: Wave


@dataclass(frozen=True, slots=True)
class CloseTask:
    """The last step of an attempt; ``gave_up`` says why it goes no further, and is empty when an end was decided."""

    basket_id: BasketId
    attempt: Attempt
    gave_up: Word = ""


@dataclass(frozen=True, slots=True)
class SweepTask:
    """A pass of the sweeper: a schedule says nothing more, whoever has ended all that drove baskets says when."""

    drivers_ended_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class ScanOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to scan: one event, or everything."""

    event_ticker: EventTicker | None = None


@dataclass(frozen=True, slots=True)
class ScanTask:
    """A direct call that asks for a scan."""

    scan: ScanOrder


@dataclass(frozen=True, slots=True)
class CalcTask:
    """A direct call that asks for a calculation, given as it was written."""

    calc: str


@dataclass(frozen=True, slots=True)
class Notification:
    """The part of an SNS record that we read."""

    Message: str


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """One record of an SNS event."""

    Sns: Notification


@dataclass(frozen=True, slots=True)
class NotificationEvent:
    """An SNS event."""

    Records: tuple[NotificationRecord, ...]


def parse(event: object, shape: type[T]) -> T:
    """Read an event as one of the shapes above; fields that the shape does not name are ignored.

    :raises SchemaError: it is something else.
    """
    try:
        return msgspec.convert(event, shape)
    except msgspec.ValidationError as error:
        raise SchemaError(f"not a {shape.__name__}: {error}") from error


def is_queue_event(event: object) -> bool:
    """Whether the event comes from SQS."""
    if not isinstance(event, dict):
        return False
    records = event.get("Records")
    return isinstance(records, list) and any(
        isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in records
    )


class Logger(Protocol):
    """As much of a logger as is needed here."""

    def error(self, msg: object, *args: Any, exc_info: Any = None) -> None:
        """Write one line."""
        ...


class QueueMessage(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an SQS record that we read."""

    message_id: str
    body: str


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """An SQS event."""

    Records: tuple[QueueMessage, ...]


class Batch(Generic[T]):
    """Messages of a queue event, each decoded by itself, so that a bad one fails alone.

    :raises SchemaError: the event is not from a queue
    """

    def __init__(self, event: object, read: Callable[[str], T], log: Logger) -> None:
        """``read`` turns a body into a message or raises SchemaError; what it refuses is logged and fails."""
        self._log = log
        self._failed: list[str] = []
        self.messages: list[tuple[str, T]] = []
        """With the ids that :meth:`fail` takes."""
        for record in parse(event, QueueEvent).Records:
            try:
                self.messages.append((record.message_id, read(record.body)))
            except SchemaError as error:
                self.fail(record.message_id, error)

    def fail(self, message_id: str, error: Exception) -> None:
        """Have a message delivered again."""
        self._log.error("message %s failed: %s", message_id, error, exc_info=error)
        self._failed.append(message_id)

    def answer(self) -> dict[str, list[dict[str, str]]]:
        """What a function with partial failures answers (Lambda developer guide, SQS batch item failures)."""
        return {"batchItemFailures": [{"itemIdentifier": one} for one in self._failed]}


def is_scheduled(event: object) -> bool:
    """Whether the event is one that the template's schedules send."""
    return isinstance(event, dict) and event.get("source") == "kalshi-arb.schedule"


def is_calculation(event: object) -> bool:
    """Whether the event is a direct call that asks for a calculation."""
    return isinstance(event, dict) and "calc" in event


def bearer_token(event: object) -> str | None:
    """The token of an ``Authorization: Bearer`` header in a request of payload format 2.0, or None.

    API Gateway writes header names in lower case; other senders need not.
    """
    headers = event.get("headers") if isinstance(event, dict) else None
    if not isinstance(headers, dict):
        return None
    for name, value in headers.items():
        if isinstance(name, str) and name.lower() == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            return token.strip() if scheme.lower() == "bearer" else None
    return None


def is_authorized(token: str | None, secret: Mapping[str, object]) -> bool:
    """Whether a request's token is the one in the secret, ``{"token": "..."}``; the time it takes tells nothing.

    :raises SettingsError: the secret holds no token, or one that could be guessed.
    """
    expected = secret.get("token")
    if not isinstance(expected, str) or len(expected) < _SHORTEST_TOKEN:
        raise SettingsError(
            f'the API token secret must be {{"token": "..."}} with at least {_SHORTEST_TOKEN} characters'
        )
    if token is None:
        return False
    given, wanted = (hashlib.sha256(text.encode(errors="replace")).digest() for text in (token, expected))
    return hmac.compare_digest(given, wanted)
