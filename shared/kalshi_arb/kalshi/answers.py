"""What an answer that is no success, or its absence, means. Pure: status and body in, typed error out.

The exchange says no in three shapes: ``{"error": {"code", "message", "details"}}``, the same three at the top level,
and ``{"error": "text"}``. An unknown code on 400, 403, 404, 409, 410 or 429 is a definite refusal all the same; 408 and
any 5xx leave a write's outcome open (Kalshi API documentation, order errors). Most codes are snake_case, some of the
engine's are upper case: both spellings mean the same here.
"""

from http import HTTPStatus
from typing import Any

from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.kalshi.errors import (
    AuthError,
    ClockError,
    RejectedError,
    RetryableError,
    UnknownOutcomeError,
    WireFormatError,
)
from kalshi_arb.kalshi.wire import parse_json

ORDER_ALREADY_EXISTS = "order_already_exists"
UNKNOWN_CODE = "unknown_error"
# A killed fill-or-kill: HTTP 409 in REST, upper case from the engine.
_KILLED = frozenset({"fill_or_kill_insufficient_resting_volume", "fok_insufficient_volume"})
# A 409 that is neither a kill nor a duplicate.
_MISMATCHES = frozenset({"order_id_and_client_order_id_mismatch", "order_side_mismatch", "order_ticker_mismatch"})
# What failed inside the exchange may have traded, also when a batch's item says it inside a 201.
_INSIDE = frozenset(
    {
        *("exchange_unavailable", "service_unavailable", "internal_error", "internal_server_error"),
        *("request_timeout", "gateway_timeout", "timeout"),
    }
)
TOO_MANY_REQUESTS = "too_many_requests"
_CLOCK = "header_timestamp_expired"


def read_error(content: bytes) -> tuple[str, str]:
    """Code and message of an error body in any of its three shapes; anything else is ``unknown_error`` with the
    beginning of the body."""
    try:
        body: Any = parse_json(content, "error body")
    except WireFormatError:
        body = None
    if isinstance(body, dict):
        inner = body.get("error")
        source = inner if isinstance(inner, dict) else body
        if isinstance(source.get("code"), str) and source["code"].strip():
            parts = (source.get("message"), source.get("details"))
            return _line(source["code"]), _line(": ".join(part for part in parts if isinstance(part, str) and part))
        if isinstance(inner, str) and inner.strip():
            return _line(inner).replace(" ", "_"), _line(inner)
    return UNKNOWN_CODE, _line(content[:200].decode(errors="replace"))


def _line(text: str) -> str:
    """One line that a log and a person can bear."""
    return " ".join(text[:400].split())


def failure(call: str, status: int, content: bytes, *, writes: bool) -> ExchangeError:
    """The error for an answer that is no success.

    :param call: the method and path, for the message
    :param writes: the call changes something, so that a failure inside the exchange leaves its outcome open
    """
    code, message = read_error(content)
    text = f"{call}: {message or code}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RetryableError(f"{text} (HTTP {status})")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return (ClockError if code.lower() == _CLOCK else AuthError)(code, text, status)
    inside = status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if inside or code.lower() in _INSIDE:
        text = f"{code}: {text} (HTTP {status})"
        return UnknownOutcomeError(text) if writes else RetryableError(text)
    if status < HTTPStatus.BAD_REQUEST:
        # A redirect or an informational answer is nothing this API promises.
        text = f"{call}: unexpected HTTP {status}"
        return UnknownOutcomeError(text) if writes else WireFormatError(text)
    return RejectedError(code, text, status)


def item_failure(call: str, code: str, message: str | None, details: str | None) -> ExchangeError:
    """The error of one item of a batch: ``RejectedError``, ``RetryableError`` or ``UnknownOutcomeError``. It came
    inside a success, so its code alone tells which."""
    parts = ": ".join(part for part in (message, details) if part)
    text = f"{call}: {_line(parts) or code}"
    if leaves_open(code):
        return UnknownOutcomeError(f"{code}: {text}")
    if code.lower() == TOO_MANY_REQUESTS:
        return RetryableError(f"{code}: {text}")
    return RejectedError(code, text, HTTPStatus.OK)


def leaves_open(code: str) -> bool:
    """Whether a refusal with this code may have traded all the same."""
    lowered = code.lower()
    return "partially_filled" in lowered or lowered in _INSIDE


def is_kill(code: str) -> bool:
    """Whether a refusal only says that a fill-or-kill found too little to trade with."""
    return code.lower() in _KILLED


def refusal_of_order(code: str, status: int | None) -> str:
    """The code of a refused order, the forms of "this client order id exists" made one.

    The exact word for a duplicate is not documented; a 409 means "resource already exists" unless it says otherwise.

    :param status: the HTTP status; None for an item of a batch
    :raises UnknownOutcomeError: the code itself says that a part may have traded.
    """
    lowered = code.lower()
    if leaves_open(code):
        raise UnknownOutcomeError(f"the exchange refused an order with {code}: part of it may have traded")
    if is_kill(code) or lowered in _MISMATCHES:
        return code
    if status == HTTPStatus.CONFLICT or "already_exists" in lowered or "duplicate" in lowered:
        return ORDER_ALREADY_EXISTS
    return code
