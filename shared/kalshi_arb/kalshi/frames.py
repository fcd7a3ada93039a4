"""Frames of the order book stream: what is decoded, and only the fields that are needed.

Strings stay strings until a book needs them. The strict decoder is the fast path; amounts that arrive as bare numbers
(third parties have seen them) fail it and are read by the lenient one.
"""

import msgspec

from kalshi_arb.domain.money import Count, Price, count_from_wire, price_from_wire

# More different sizes than any book holds; the cache starts anew beyond it instead of growing for ever.
_COUNT_CACHE_LIMIT = 100_000


class DeltaMessage(msgspec.Struct, gc=False):
    """A signed change of one level."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: str
    ts_ms: int = 0


class Delta(msgspec.Struct, tag_field="type", tag="orderbook_delta", gc=False):
    """``orderbook_delta``."""

    sid: int
    seq: int
    msg: DeltaMessage


class SnapshotMessage(msgspec.Struct, gc=False):
    """A whole book; the key of an empty side is absent."""

    market_ticker: str
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []


class Snapshot(msgspec.Struct, tag_field="type", tag="orderbook_snapshot", gc=False):
    """``orderbook_snapshot``."""

    sid: int
    seq: int
    msg: SnapshotMessage
    sending_ts_ms: int = 0


class SubscribedMessage(msgspec.Struct, gc=False):
    """Which channel got which subscription id."""

    channel: str
    sid: int


class Subscribed(msgspec.Struct, tag_field="type", tag="subscribed", gc=False):
    """``subscribed``: always precedes that subscription's data."""

    msg: SubscribedMessage
    id: int = 0


class Ok(msgspec.Struct, tag_field="type", tag="ok", gc=False):
    """``ok``: a command was carried out; it consumes a number of its subscription's sequence."""

    id: int = 0
    sid: int | None = None
    seq: int | None = None


class Unsubscribed(msgspec.Struct, tag_field="type", tag="unsubscribed", gc=False):
    """``unsubscribed``."""

    sid: int
    seq: int | None = None


class ErrorMessage(msgspec.Struct, gc=False):
    """Code and text of a stream error."""

    code: int
    msg: str = ""


class StreamError(msgspec.Struct, tag_field="type", tag="error", gc=False):
    """``error``: of a command (``id``), of a subscription (``sid``), or of neither."""

    msg: ErrorMessage
    id: int = 0
    sid: int | None = None
    seq: int | None = None


class LifecycleMessage(msgspec.Struct, gc=False):
    """What happened to a market."""

    market_ticker: str
    event_type: str


class MarketLifecycle(msgspec.Struct, tag_field="type", tag="market_lifecycle_v2", gc=False):
    """``market_lifecycle_v2``."""

    sid: int
    msg: LifecycleMessage
    seq: int | None = None


class EventMessage(msgspec.Struct, gc=False):
    """Which event changed."""

    event_ticker: str


class EventLifecycle(msgspec.Struct, tag_field="type", tag="event_lifecycle", gc=False):
    """``event_lifecycle``."""

    sid: int
    msg: EventMessage
    seq: int | None = None


class EventFeeUpdate(msgspec.Struct, tag_field="type", tag="event_fee_update", gc=False):
    """``event_fee_update``."""

    sid: int
    msg: EventMessage
    seq: int | None = None


class Header(msgspec.Struct, gc=False):
    """What every frame may have: a frame of a type we do not read still counts in its sequence."""

    type: str = ""
    sid: int | None = None
    seq: int | None = None


class Unreadable(msgspec.Struct, gc=False):
    """A frame that could not be read. ``sid`` is known when at least its header could be."""

    reason: str
    sid: int | None
    seq: int | None


Amount = str | int | float


class _LenientDeltaMessage(msgspec.Struct):
    market_ticker: str
    price_dollars: Amount
    delta_fp: Amount
    side: str
    ts_ms: int = 0


class _LenientDelta(msgspec.Struct, tag_field="type", tag="orderbook_delta"):
    sid: int
    seq: int
    msg: _LenientDeltaMessage


class _LenientSnapshotMessage(msgspec.Struct):
    market_ticker: str
    yes_dollars_fp: list[tuple[Amount, Amount]] = []
    no_dollars_fp: list[tuple[Amount, Amount]] = []


class _LenientSnapshot(msgspec.Struct, tag_field="type", tag="orderbook_snapshot"):
    sid: int
    seq: int
    msg: _LenientSnapshotMessage
    sending_ts_ms: int = 0


Known = (
    Delta | Snapshot | Subscribed | Ok | Unsubscribed | StreamError | MarketLifecycle | EventLifecycle | EventFeeUpdate
)
Frame = Known | Header | Unreadable

_TYPES = frozenset(
    {
        "orderbook_delta",
        "orderbook_snapshot",
        "subscribed",
        "ok",
        "unsubscribed",
        "error",
        "market_lifecycle_v2",
        "event_lifecycle",
        "event_fee_update",
    }
)
_strict: "msgspec.json.Decoder[Known]" = msgspec.json.Decoder(Known)
_lenient: "msgspec.json.Decoder[_LenientDelta | _LenientSnapshot]" = msgspec.json.Decoder(
    _LenientDelta | _LenientSnapshot
)
_header = msgspec.json.Decoder(Header)
_strict_decode = _strict.decode


def decode_frame(data: bytes | str) -> Frame:
    """Read one frame. Never raises: what cannot be read comes back as :class:`Unreadable`, an unknown type as its
    :class:`Header`."""
    try:
        return _strict_decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_rest(data, error)


def _decode_rest(data: bytes | str, error: Exception) -> Frame:
    try:
        header = _header.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unreadable(str(error), None, None)
    if header.type and header.type not in _TYPES:
        return header
    try:
        frame = _lenient.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Unreadable(str(error), header.sid, header.seq)
    if isinstance(frame, _LenientDelta):
        change = frame.msg
        return Delta(
            frame.sid,
            frame.seq,
            DeltaMessage(
                change.market_ticker, _text(change.price_dollars), _text(change.delta_fp), change.side, change.ts_ms
            ),
        )
    book = frame.msg
    return Snapshot(
        frame.sid,
        frame.seq,
        SnapshotMessage(book.market_ticker, _text_levels(book.yes_dollars_fp), _text_levels(book.no_dollars_fp)),
        frame.sending_ts_ms,
    )


def _text(amount: Amount) -> str:
    return amount if isinstance(amount, str) else repr(amount)


def _text_levels(levels: list[tuple[Amount, Amount]]) -> list[tuple[str, str]]:
    return [(_text(price), _text(count)) for price, count in levels]


_prices: dict[str, Price] = {}
_counts: dict[str, Count] = {}


def price_of(text: str) -> Price:
    """A price by its text, remembered: there are at most some ten thousand.

    :raises AmountError: not a price.
    """
    price = _prices.get(text)
    if price is None:
        price = _prices[text] = price_from_wire(text)
    return price


def count_of(text: str) -> Count:
    """A signed count by its text, remembered: sizes repeat.

    :raises AmountError: not a count.
    """
    count = _counts.get(text)
    if count is None:
        if len(_counts) >= _COUNT_CACHE_LIMIT:
            _counts.clear()
        count = _counts[text] = count_from_wire(text)
    return count


def levels_of(levels: list[tuple[str, str]]) -> list[tuple[Price, Count]]:
    """A snapshot's side. :raises AmountError: a level that is no price and count."""
    return [(price_of(price), count_of(count)) for price, count in levels]
