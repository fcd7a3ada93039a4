"""What the order book stream reports."""

from enum import Enum, unique

import msgspec

from kalshi_arb.domain.book import Book
from kalshi_arb.kalshi.frames import PrivateMessage


@unique
class Best(Enum):
    """What became of a book's best level on the side that changed."""

    SAME = "same"
    SIZE = "size"
    PRICE = "price"


class BookChanged(msgspec.Struct, frozen=True, gc=False):
    """A level changed; ``best`` says whether that was a best one. ``book`` is the live book, to be read before the next
    frame is applied."""

    ticker: str
    best: Best
    book: Book


class BookReplaced(msgspec.Struct, frozen=True, gc=False):
    """A snapshot replaced a whole book, which is right from here on (``exchange_ms``: UTC milliseconds). At a market's
    close it is empty."""

    ticker: str
    exchange_ms: int


class LifecycleSeen(msgspec.Struct, frozen=True, gc=False):
    """Something happened to a market or, for ``event_lifecycle`` and ``event_fee_update``, to an event."""

    ticker: str
    event_type: str


class PrivateSeen(msgspec.Struct, frozen=True, gc=False):
    """A private channel told something of our own account: a cross-check, nothing to act on."""

    message: PrivateMessage


class GapDetected(msgspec.Struct, frozen=True, gc=False):
    """Frames of a subscription are missing; every book of it is stale until its next snapshot."""

    sid: int
    expected: int
    received: int


class BooksStale(msgspec.Struct, frozen=True, gc=False):
    """These books must not be used until a snapshot replaces them."""

    tickers: tuple[str, ...]
    reason: str


class SubscriptionLost(msgspec.Struct, frozen=True, gc=False):
    """The exchange ended a subscription (terminal error); it is subscribed again without reconnecting."""

    channel: str
    code: int
    message: str


class CommandFailed(msgspec.Struct, frozen=True, gc=False):
    """The exchange refused a command for these tickers. ``final`` when they are not asked for again."""

    code: int
    message: str
    tickers: tuple[str, ...]
    final: bool


class FrameRejected(msgspec.Struct, frozen=True, gc=False):
    """A frame that could not be read or cannot be true."""

    reason: str


class ReconnectNeeded(msgspec.Struct, frozen=True, gc=False):
    """The connection is of no further use."""

    reason: str


Event = (
    BookChanged
    | BookReplaced
    | LifecycleSeen
    | PrivateSeen
    | GapDetected
    | BooksStale
    | SubscriptionLost
    | CommandFailed
    | FrameRejected
    | ReconnectNeeded
)
