"""Fault scripts: what goes wrong on the exchange, when, how often and for whom, as typed and documented data.

A script is a JSON object ``{"seed": 7, "faults": [{"fault": "http_error", "status": 503, "executed": true}, ...]}``,
posted to ``/admin/faults`` or built from these classes. Three families:

* frames: what the stream sends (:class:`FrameScope`),
* calls: how REST answers (:class:`CallScope`), and what it says of the account,
* world: what really happens to markets, cash and terms. Such a fault strikes at once, or, with ``before``, right before
  a matching call is carried out.

Every fault skips its first ``skip`` occasions and then strikes each one with ``chance`` (from the script's seed) until
it has struck ``count`` times or ``for_ms`` of the exchange's time have passed; without either it strikes once. Each
strike is counted. A key that is not known, or a value that cannot be, refuses the whole script.
"""

from collections.abc import Callable, Collection
from decimal import Decimal, InvalidOperation
from enum import Enum, unique
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from infra.exchange.errors import FaultScriptError
from infra.exchange.lag import ReadSide
from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, schedule_from_wire
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, cash_from_wire, count_from_wire

Ordinal = Annotated[int, Meta(ge=1, le=1_000_000)]
Whole = Annotated[int, Meta(ge=0, le=1_000_000)]
Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]
Chance = Annotated[float, Meta(gt=0, le=1)]
Tickers = Annotated[tuple[str, ...], Meta(min_length=1)]
T = TypeVar("T", Cash, Count)

CONTROL_TYPES = frozenset({"subscribed", "unsubscribed", "ok", "error"})


def _amount(text: str, read: Callable[[object], T]) -> T:
    # What a script's reader names as wrong must be a ValueError.
    try:
        amount = read(text)
    except AmountError as error:
        raise ValueError(f"{text!r} is no amount") from error
    if amount < 0:
        raise ValueError(f"{text} is negative")
    return amount


def _strike(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no strike") from error
    if not value.is_finite():
        raise ValueError(f"{text!r} is no strike")
    return value


class FrameScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frames of these channels, of these ``type`` words and about these markets; an empty list is all of them.

    Replies to commands are only meant when their type is named.
    """

    channels: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()

    def covers(self, channel: str, kind: str, market: str) -> bool:
        """Whether a frame is meant."""
        if self.types:
            if kind not in self.types:
                return False
        elif kind in CONTROL_TYPES:
            return False
        return (not self.channels or channel in self.channels) and (not self.markets or market in self.markets)


class CallScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calls with these methods, to these paths and about these markets; an empty list is all of them.

    Paths stand below ``/trade-api/v2``, and ``*`` stands for anything. The handshake of the stream is only meant by its
    own whole path, ``/trade-api/ws/v2``. A call is about the markets that its path, query or body names.
    """

    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()

    def covers(self, call: "Call") -> bool:
        """Whether a call is meant."""
        if self.paths:
            if not any(fnmatchcase(call.path, pattern) for pattern in self.paths):
                return False
        elif call.is_handshake:
            return False
        return (not self.methods or call.method in self.methods) and (
            not self.markets or not call.markets.isdisjoint(self.markets)
        )


class Call(msgspec.Struct, frozen=True):
    """A request as a scope sees it."""

    method: str
    path: str
    markets: frozenset[str] = frozenset()
    is_handshake: bool = False


ORDERS = CallScope(methods=("POST",), paths=("/portfolio/events/orders", "/portfolio/events/orders/batched"))
"""Calls that place orders."""


class _Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    name: str = ""
    skip: Whole = 0
    count: Ordinal | None = None
    for_ms: Milliseconds | None = None
    chance: Chance = 1.0

    @property
    def most(self) -> int | None:
        """How often it strikes at most; None is without end until its time is over."""
        return 1 if self.count is None and self.for_ms is None else self.count

    @property
    def label(self) -> str:
        """Its kind, the word that stands under ``fault`` in a script."""
        return str(self.__struct_config__.tag)


# Frames


class _FrameFault(_Fault, frozen=True, kw_only=True):
    scope: FrameScope = FrameScope()


class FrameDropped(_FrameFault, frozen=True, tag="frame_dropped"):
    """A frame is never sent. If it is numbered, the next one shows the gap."""


class FrameDuplicated(_FrameFault, frozen=True, tag="frame_duplicated"):
    """A frame is sent twice, with the same number."""


class FrameDelayed(_FrameFault, frozen=True, kw_only=True, tag="frame_delayed"):
    """A frame is sent ``ms`` later. Everything behind it waits too, unless it may be ``overtaken``."""

    ms: Milliseconds
    overtaken: bool = False


class SequenceGap(_FrameFault, frozen=True, kw_only=True, tag="sequence_gap"):
    """``size`` numbers are left out before a frame although nothing is missing."""

    size: Ordinal = 1


class StaleSnapshot(_FrameFault, frozen=True, tag="stale_snapshot"):
    """A snapshot that was asked for shows the book as the session's previous snapshot of it did, under a new number.

    There is an occasion only when that differs from the book.
    """


class Disconnected(_FrameFault, frozen=True, kw_only=True, tag="disconnect"):
    """The connection ends instead of sending a frame: without a word, or with a close frame when ``clean``."""

    clean: bool = False


class SubscriptionEnded(_FrameFault, frozen=True, kw_only=True, tag="subscription_ended"):
    """A subscription ends instead of sending a frame, with a terminal error."""

    code: Literal[10, 25] = 10


# Calls


class _CallFault(_Fault, frozen=True, kw_only=True):
    scope: CallScope = CallScope()


class HttpError(_CallFault, frozen=True, kw_only=True, tag="http_error"):
    """A call is answered with an error status: without being carried out, or after it was (``executed``)."""

    status: Literal[408, 429, 500, 502, 503, 504]
    executed: bool = False

    def __post_init__(self) -> None:
        if self.status == 429 and self.executed:
            raise ValueError("a 429 is never sent for a call that was carried out")


class ReplyLost(_CallFault, frozen=True, kw_only=True, tag="reply_lost"):
    """The connection ends instead of an answer, after the call was carried out, or before with ``executed`` false."""

    executed: bool = True


class ReplyDelayed(_CallFault, frozen=True, kw_only=True, tag="reply_delayed"):
    """The answer to a call that was carried out is under way ``ms`` longer."""

    ms: Milliseconds


class ClockSkewed(_CallFault, frozen=True, kw_only=True, tag="clock_skew"):
    """Signatures are judged by a clock that is ``ms`` ahead (or behind, when negative), and ``Date`` shows it."""

    ms: Annotated[int, Meta(ge=-86_400_000, le=86_400_000)]

    def __post_init__(self) -> None:
        if self.ms == 0:
            raise ValueError("a clock that is 0 ms off is right")


class ReadsLagging(_Fault, frozen=True, kw_only=True, tag="read_lag"):
    """Portfolio reads of these kinds are ``ms`` behind, and ``user_data_timestamp`` says so. An empty list is all."""

    ms: Milliseconds
    reads: tuple[ReadSide, ...] = ()
    scope: CallScope = CallScope(methods=("GET",), paths=("/portfolio/*",))


@unique
class Disorder(Enum):
    """What is wrong with fills."""

    LATE = "late"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"


@unique
class FillSource(Enum):
    """Where a member hears of its fills."""

    STREAM = "stream"
    READS = "reads"


class FillsDisordered(_Fault, frozen=True, kw_only=True, tag="fills"):
    """Fills come late by ``ms``, twice, or in another order, on the private stream and in ``GET /portfolio/fills``.

    A late fill is missing from reads that claim to be up to date. On the stream every other fill is held for ``ms``
    when they are out of order.
    """

    how: Disorder
    ms: Milliseconds = 1_000
    where: Annotated[tuple[FillSource, ...], Meta(min_length=1)] = tuple(FillSource)
    markets: tuple[str, ...] = ()

    def covers(self, source: FillSource, markets: Collection[str]) -> bool:
        """Whether fills from there about these markets (none is all) are meant."""
        return source in self.where and (
            not self.markets or not markets or any(market in self.markets for market in markets)
        )


# World


class _WorldFault(_Fault, frozen=True, kw_only=True):
    before: CallScope | None = None


class MarketPaused(_WorldFault, frozen=True, kw_only=True, tag="market_paused"):
    """Markets are deactivated, and activated again ``resume_after_ms`` later when that is given."""

    markets: Tickers
    resume_after_ms: Milliseconds | None = None


class MarketClosed(_WorldFault, frozen=True, kw_only=True, tag="market_closed"):
    """Markets close for good, ahead of their time."""

    markets: Tickers


class CashMissing(_WorldFault, frozen=True, kw_only=True, tag="cash_missing"):
    """All of the member's free cash of a shard but ``leave`` dollars goes over to another shard."""

    shard: Whole
    to: Whole
    leave: str = "0"

    def __post_init__(self) -> None:
        if self.shard == self.to:
            raise ValueError("cash cannot go over to the shard that it is on")
        _amount(self.leave, cash_from_wire)

    @property
    def leave_cash(self) -> Cash:
        """What stays, in 1e-6 dollars."""
        return _amount(self.leave, cash_from_wire)


class BookThinned(_WorldFault, frozen=True, kw_only=True, tag="book_thinned"):
    """Of what can be bought of an outcome (both, when none is named) only the best ``leave`` contracts stay."""

    markets: Tickers
    outcome: Outcome | None = None
    leave: str = "0"

    def __post_init__(self) -> None:
        _amount(self.leave, count_from_wire)

    @property
    def leave_count(self) -> Count:
        """What stays, in hundredths of a contract."""
        return _amount(self.leave, count_from_wire)


class RulesChanged(_WorldFault, frozen=True, kw_only=True, tag="rules_changed"):
    """A market's rules text becomes another one."""

    market: str
    rules: Annotated[str, Meta(min_length=1)]


class StrikeChanged(_WorldFault, frozen=True, kw_only=True, tag="strike_changed"):
    """A market's strikes become other ones: decimal strings, null where it has none."""

    market: str
    floor: str | None = None
    cap: str | None = None

    def __post_init__(self) -> None:
        for text in (self.floor, self.cap):
            _strike(text)

    @property
    def floor_value(self) -> Decimal | None:
        """In the unit of the underlying."""
        return _strike(self.floor)

    @property
    def cap_value(self) -> Decimal | None:
        """In the unit of the underlying."""
        return _strike(self.cap)


class FeesChanged(_WorldFault, frozen=True, kw_only=True, tag="fees_changed"):
    """An event's fees become its own (``multiplier`` a decimal string), or its series' again without a type."""

    event: str
    fee_type: FeeType | None = None
    multiplier: str = "1"

    def __post_init__(self) -> None:
        try:
            override = self.override
        except AmountError as error:
            raise ValueError(str(error)) from error
        if override is not None and not override.is_tradable():
            raise ValueError(f"{override.fee_type.value} cannot be charged")

    @property
    def override(self) -> FeeSchedule | None:
        """What the event charges from then on, None for what its series does."""
        return None if self.fee_type is None else schedule_from_wire(self.fee_type.value, self.multiplier)


FrameFault = (
    FrameDropped | FrameDuplicated | FrameDelayed | SequenceGap | StaleSnapshot | Disconnected | SubscriptionEnded
)
CallFault = HttpError | ReplyLost | ReplyDelayed
WorldFault = MarketPaused | MarketClosed | CashMissing | BookThinned | RulesChanged | StrikeChanged | FeesChanged
Fault = FrameFault | CallFault | ClockSkewed | ReadsLagging | FillsDisordered | WorldFault


class FaultScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults that are armed together; ``seed`` decides wherever their ``chance`` is below 1."""

    faults: Annotated[tuple[Fault, ...], Meta(min_length=1)]
    seed: int = 0


_decoder = msgspec.json.Decoder(FaultScript)


def read_script(body: bytes) -> FaultScript:
    """Read a script from JSON.

    :raises FaultScriptError: it is none; the line says what is wrong and where.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FaultScriptError(f"the fault script cannot be used: {error}") from error


def script_schema() -> dict[str, object]:
    """The JSON Schema of a script, with the words that describe each fault."""
    return msgspec.json.schema(FaultScript)
