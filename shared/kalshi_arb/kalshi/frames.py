"""Frames of the order book stream: what is decoded, and only the fields that are needed.

Strings stay strings until a book needs them. The strict decoder is the fast path; amounts that arrive as bare numbers
(third parties have seen them) fail it and are read by the lenient one.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec

from kalshi_arb.domain.money import Count, Price, complement, count_from_wire, price_from_wire

T = TypeVar("T")

# What the decoder raises for bytes that are no JSON, no text, or nested too deeply, and for values of another kind.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Bounds are checked while decoding, where they cost next to nothing.
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]

# More different texts than books hold; beyond it remembering starts anew instead of growing for ever.
REMEMBERED = 100_000


class DeltaMessage(msgspec.Struct, gc=False):
    """A signed change of one level."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: str
    ts_ms: Milliseconds = 0


class Delta(msgspec.Struct, tag_field="type", tag="orderbook_delta", gc=False):
    """``orderbook_delta``."""

    sid: Number
    seq: Number
    msg: DeltaMessage


class SnapshotMessage(msgspec.Struct, gc=False):
    """A whole book; the key of an empty side is absent."""

    market_ticker: str
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []


class Snapshot(msgspec.Struct, tag_field="type", tag="orderbook_snapshot", gc=False):
    """``orderbook_snapshot``."""

    sid: Number
    seq: Number
    msg: SnapshotMessage
    sending_ts_ms: Milliseconds = 0


class SubscribedMessage(msgspec.Struct, gc=False):
    """Which channel got which subscription id."""

    channel: str
    sid: Number


class Subscribed(msgspec.Struct, tag_field="type", tag="subscribed", gc=False):
    """``subscribed``: always precedes that subscription's data."""

    msg: SubscribedMessage
    id: int = 0


class Ok(msgspec.Struct, tag_field="type", tag="ok", gc=False):
    """``ok``: a command was carried out; it consumes a number of its subscription's sequence."""

    id: int = 0
    sid: Number | None = None
    seq: Number | None = None


class Unsubscribed(msgspec.Struct, tag_field="type", tag="unsubscribed", gc=False):
    """``unsubscribed``."""

    sid: Number
    seq: Number | None = None


class ErrorMessage(msgspec.Struct, gc=False):
    """Code and text of a stream error."""

    code: int
    msg: str = ""


class StreamError(msgspec.Struct, tag_field="type", tag="error", gc=False):
    """``error``: of a command (``id``), of a subscription (``sid``), or of neither."""

    msg: ErrorMessage
    id: int = 0
    sid: Number | None = None
    seq: Number | None = None


class LifecycleMessage(msgspec.Struct, gc=False):
    """What happened to a market."""

    market_ticker: str
    event_type: str


class MarketLifecycle(msgspec.Struct, tag_field="type", tag="market_lifecycle_v2", gc=False):
    """``market_lifecycle_v2``."""

    sid: Number
    msg: LifecycleMessage
    seq: Number | None = None


class EventMessage(msgspec.Struct, gc=False):
    """Which event changed."""

    event_ticker: str


class EventLifecycle(msgspec.Struct, tag_field="type", tag="event_lifecycle", gc=False):
    """``event_lifecycle``."""

    sid: Number
    msg: EventMessage
    seq: Number | None = None


class EventFeeUpdate(msgspec.Struct, tag_field="type", tag="event_fee_update", gc=False):
    """``event_fee_update``."""

    sid: Number
    msg: EventMessage
    seq: Number | None = None


Amount = str | int | float


class _Own(msgspec.Struct, gc=False):
    subaccount: int | None = None
    subaccount_number: int | None = None

    def is_of_subaccount(self) -> bool:
        """Whether it is about another account than the main one."""
        return bool(self.subaccount or self.subaccount_number)


class FillMessage(_Own, kw_only=True, gc=False):
    """One of our orders traded. ``book_side`` is that of the one book; ``post_position_fp`` is + YES and - NO."""

    trade_id: str
    order_id: str
    market_ticker: str
    count_fp: Amount
    book_side: str = ""
    post_position_fp: Amount | None = None


class FillFrame(msgspec.Struct, tag_field="type", tag="fill", gc=False):
    """``fill``, not sequenced."""

    sid: Number
    msg: FillMessage
    seq: Number | None = None


class OrderMessage(_Own, kw_only=True, gc=False):
    """One of our orders changed. Its market's key is ``ticker``."""

    order_id: str
    ticker: str
    fill_count_fp: Amount


class OrderFrame(msgspec.Struct, tag_field="type", tag="user_order", gc=False):
    """``user_order``, not sequenced."""

    sid: Number
    msg: OrderMessage
    seq: Number | None = None


class PositionMessage(_Own, kw_only=True, gc=False):
    """One of our positions changed: + YES and - NO."""

    market_ticker: str
    position_fp: Amount


class PositionFrame(msgspec.Struct, tag_field="type", tag="market_position", gc=False):
    """``market_position``, not sequenced."""

    sid: Number
    msg: PositionMessage
    seq: Number | None = None


class OrderGroupMessage(msgspec.Struct, gc=False):
    """Something happened to one of our order groups."""

    order_group_id: str
    event_type: str


class OrderGroupFrame(msgspec.Struct, tag_field="type", tag="order_group_updates", gc=False):
    """``order_group_updates``."""

    sid: Number
    msg: OrderGroupMessage
    seq: Number | None = None


PrivateMessage = FillMessage | OrderMessage | PositionMessage | OrderGroupMessage


class Header(msgspec.Struct, gc=False):
    """What every frame may have: a frame of a type we do not read still counts in its sequence."""

    type: str = ""
    sid: Number | None = None
    seq: Number | None = None
    msg: msgspec.Raw = msgspec.Raw()

    def market_ticker(self) -> str | None:
        """The market it is about, if it names one."""
        try:
            return _about.decode(self.msg).market_ticker if bytes(self.msg) else None
        except _UNREADABLE:
            return None


class _About(msgspec.Struct, gc=False):
    market_ticker: str | None = None


_about = msgspec.json.Decoder(_About)


class _Owner(msgspec.Struct, gc=False):
    sid: Number | None = None


class _Place(msgspec.Struct, gc=False):
    sid: Number | None = None
    seq: Number | None = None


_owner = msgspec.json.Decoder(_Owner)
_place = msgspec.json.Decoder(_Place)


class Unreadable(msgspec.Struct, gc=False):
    """A frame that could not be read; ``sid`` and ``seq`` are known when at least they could be."""

    reason: str
    sid: Number | None
    seq: Number | None


class _LenientDeltaMessage(msgspec.Struct):
    market_ticker: str
    price_dollars: Amount
    delta_fp: Amount
    side: str
    ts_ms: Milliseconds = 0


class _LenientDelta(msgspec.Struct, tag_field="type", tag="orderbook_delta"):
    sid: Number
    seq: Number
    msg: _LenientDeltaMessage


class _LenientSnapshotMessage(msgspec.Struct):
    market_ticker: str
    yes_dollars_fp: list[tuple[Amount, Amount]] = []
    no_dollars_fp: list[tuple[Amount, Amount]] = []


class _LenientSnapshot(msgspec.Struct, tag_field="type", tag="orderbook_snapshot"):
    sid: Number
    seq: Number
    msg: _LenientSnapshotMessage
    sending_ts_ms: Milliseconds = 0


Private = FillFrame | OrderFrame | PositionFrame | OrderGroupFrame
Known = (
    Delta
    | Snapshot
    | Subscribed
    | Ok
    | Unsubscribed
    | StreamError
    | MarketLifecycle
    | EventLifecycle
    | EventFeeUpdate
    | Private
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
        "fill",
        "user_order",
        "market_position",
        "order_group_updates",
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
    except _UNREADABLE as error:
        return _decode_rest(data, error)


def _decode_rest(data: bytes | str, error: Exception) -> Frame:
    try:
        header = _header.decode(data)
    except _UNREADABLE:
        return _unreadable(data, error)
    if header.type and header.type not in _TYPES:
        return header
    try:
        frame = _lenient.decode(data)
    except _UNREADABLE:
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


def _unreadable(data: bytes | str, error: Exception) -> Unreadable:
    """As much of its place as can be told: the sid alone says which books it may have changed."""
    try:
        place = _place.decode(data)
        return Unreadable(str(error), place.sid, place.seq)
    except _UNREADABLE:
        pass
    try:
        return Unreadable(str(error), _owner.decode(data).sid, None)
    except _UNREADABLE:
        return Unreadable(str(error), None, None)


def _text(amount: Amount) -> str:
    return amount if isinstance(amount, str) else repr(amount)


def _text_levels(levels: list[tuple[Amount, Amount]]) -> list[tuple[str, str]]:
    return [(_text(price), _text(count)) for price, count in levels]


class _Remembered(dict[str, T]):
    """Amounts by their text. Looking one up that is known runs no Python code, and nearly every amount is known."""

    def __init__(self, read: Callable[[object], T]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> T:
        amount = self._read(text)
        if len(self) >= REMEMBERED:
            self.clear()
        self[text] = amount
        return amount


def _complement_from_wire(value: object) -> Price:
    return complement(price_from_wire(value))


price_of: Callable[[str], Price] = _Remembered(price_from_wire).__getitem__
"""A price by its text. :raises AmountError: not a price."""
complement_of: Callable[[str], Price] = _Remembered(_complement_from_wire).__getitem__
"""The complement of a price by its text. :raises AmountError: not a price."""
count_of: Callable[[str], Count] = _Remembered(count_from_wire).__getitem__
"""A signed count by its text. :raises AmountError: not a count."""


def levels_of(levels: list[tuple[str, str]], price_at: Callable[[str], Price]) -> list[tuple[Price, Count]]:
    """A snapshot's side; ``price_at`` is :data:`price_of` or :data:`complement_of`.

    :raises AmountError: a level that is no price and count.
    """
    return [(price_at(price), count_of(count)) for price, count in levels]
