"""Versioned messages and items: everything stored or sent is an envelope ``{"v": 1, "kind": "...", "body": {...}}``.

The body is the domain's own data class, so a stored item means exactly what the code means. A reader refuses an
unknown kind or version instead of guessing.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import DomainError, SchemaError
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.domain.paper import PaperOrder
from kalshi_arb.domain.portfolio import Settlement
from kalshi_arb.ports import Alert, AlertDigest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the feed's screen lets through: a group's books at one complete exchange millisecond.

    ``edge`` is the screen's estimate in 1e-10 dollars per contract set, before rounding. Times are UTC milliseconds:
    ``received_ms`` when the frame that changed the group arrived, ``sent_ms`` when this message was sent.
    """

    group_id: str
    fingerprint: str
    books: tuple[BookSnapshot, ...]
    edge: int
    received_ms: int
    sent_ms: int


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A market or event lifecycle message of the stream, passed on to discovery.

    ``groups`` are the ids of the accepted groups that the market, or a market of the event, is in, as far as the feed
    knows them.
    """

    ticker: str
    event_type: str
    received_ms: int
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """The feed lives and it is time to ask the exchange what changed: texts change without a message of the stream."""

    sent_ms: int


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """A basket that had sent orders has ended: compare the books with the exchange (``ended_ms`` UTC milliseconds)."""

    basket_id: str
    ended_ms: int


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    version: int
    body: type


_KINDS = {
    kind.body: kind
    for kind in (
        _Kind("candidate", 1, Candidate),
        _Kind("lifecycle", 2, Lifecycle),
        _Kind("look", 1, Look),
        _Kind("audit_request", 1, AuditRequest),
        _Kind("book", 1, BookSnapshot),
        _Kind("group_record", 1, GroupRecord),
        _Kind("group_history", 1, HistoryEntry),
        _Kind("opportunity", 2, Opportunity),
        _Kind("basket", 3, Basket),
        _Kind("alert", 1, Alert),
        _Kind("alert_digest", 1, AlertDigest),
        _Kind("paper_order", 1, PaperOrder),
        _Kind("settlement", 1, Settlement),
    )
}


class _Envelope(msgspec.Struct):
    v: int
    kind: str
    body: msgspec.Raw


_encoder = msgspec.json.Encoder()
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_body_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def version_of(body: type) -> int:
    """The current version number of a message or item type."""
    return _KINDS[body].version


def encode(value: object) -> str:
    """Write a message or item as its JSON envelope."""
    kind = _KINDS[type(value)]
    return _encoder.encode({"v": kind.version, "kind": kind.name, "body": value}).decode()


def is_a(text: str, body: type) -> bool:
    """Whether a text is an envelope of this kind, of any version."""
    try:
        return _envelope_decoder.decode(text).kind == _KINDS[body].name
    except msgspec.DecodeError:
        return False


def decode(text: str | bytes, body: type[T]) -> T:
    """Read an envelope that must hold a ``body``.

    :raises SchemaError: not JSON, another kind, another version, or a body that does not fit.
    """
    kind = _KINDS[body]
    try:
        envelope = _envelope_decoder.decode(text)
        if envelope.kind != kind.name or envelope.v != kind.version:
            raise SchemaError(f"expected {kind.name} v{kind.version}, got {envelope.kind} v{envelope.v}")
        decoder = _body_decoders.get(body)
        if decoder is None:
            decoder = _body_decoders[body] = msgspec.json.Decoder(body)
        result: T = decoder.decode(envelope.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SchemaError(f"cannot read a {kind.name}: {error}") from error
    except (ValueError, TypeError, DomainError) as error:
        raise SchemaError(f"a {kind.name} that contradicts itself: {error}") from error
    return result
