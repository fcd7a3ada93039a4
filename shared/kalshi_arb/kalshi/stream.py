"""The order book stream as a state machine: frames and times in, events and commands out. No socket, clock or task.

Rules of the stream (Kalshi API documentation, WebSocket): ``seq`` starts at 1 with every subscription and counts over
all its markets, control replies included; a jump invalidates every book of the subscription; a snapshot replaces a
book, an absent side is empty; a subscription that ended with error 10 or 25 must be made again.

A caller that judges whole exchange milliseconds decodes a frame itself and looks at its time before it is applied.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kalshi_arb.domain.book import Book, BookSnapshot, BookVersion
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.kalshi import frames
from kalshi_arb.kalshi.commands import BOOK_CHANNEL, LIFECYCLE_CHANNEL, Action, Command, NoPrices, Outbox
from kalshi_arb.kalshi.frames import Delta, complement_of, count_of, levels_of, price_of
from kalshi_arb.kalshi.stream_events import (
    Best,
    BookChanged,
    BookReplaced,
    BooksStale,
    CommandFailed,
    Event,
    FrameRejected,
    GapDetected,
    LifecycleSeen,
    PrivateSeen,
    ReconnectNeeded,
    SubscriptionLost,
)

TICKERS_PER_COMMAND = 500
SNAPSHOT_PATIENCE_MS = 5_000
LONGEST_PATIENCE_MS = 60_000
SUBSCRIBE_PATIENCE_MS = 15_000
FIRST_RETRY_MS = 1_000
LONGEST_RETRY_MS = 30_000
CALM_MS = 60_000

INVALID_PARAMETER = 11
MARKET_LIMIT = 26
TERMINAL_CODES = frozenset({10, 25})

_NOTHING: tuple[Event, ...] = ()


@dataclass(slots=True)
class _Subscription:
    channel: str
    sid: int
    generation: int
    last_seq: int = 0


class _Live:
    """A book and what is known of it."""

    __slots__ = (
        "book", "depth_changed", "due_ms", "exchange_ms", "fresh", "generation", "no", "patience_ms", "price_changed",
        "seq", "size_changed", "yes",
    )  # fmt: skip

    def __init__(self, ticker: str, due_ms: int | None = None) -> None:
        self.book = Book(ticker)
        self.yes, self.no = self.book.yes, self.book.no
        # Nearly every frame is reported by one of these, so they are made once.
        self.price_changed: tuple[Event, ...] = (BookChanged(ticker, Best.PRICE, self.book),)
        self.size_changed: tuple[Event, ...] = (BookChanged(ticker, Best.SIZE, self.book),)
        self.depth_changed: tuple[Event, ...] = (BookChanged(ticker, Best.SAME, self.book),)
        self.fresh = False
        self.generation = 0
        self.seq = 0
        self.exchange_ms = 0
        # When to ask (again) for a snapshot that is waited for, and how long the wait after that is.
        self.due_ms = due_ms
        self.patience_ms = SNAPSHOT_PATIENCE_MS


@dataclass(slots=True)
class StreamCounts:
    """What happened since the start."""

    frames: int = 0
    gaps: int = 0
    resyncs: int = 0
    malformed: int = 0
    refused: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Retry:
    """When a refused or lost subscription is made again: at once after a calm time, then ever later."""

    due_ms: int | None = None
    delay_ms: int = 0
    last_ms: int | None = None

    def schedule(self, now_ms: int) -> None:
        if self.last_ms is None or now_ms - self.last_ms > CALM_MS:
            self.delay_ms = 0
        else:
            self.delay_ms = min(LONGEST_RETRY_MS, max(FIRST_RETRY_MS, self.delay_ms * 2))
        self.last_ms = now_ms
        self.due_ms = now_ms + self.delay_ms


class BookStream:
    """Subscriptions and books, over one connection after the other.

    :param epoch: number of this writer, the first part of every book version
    :param private: our own account's channels to subscribe to as well, of ``PRIVATE_CHANNELS``
    :param no_prices: what is asked of the exchange, and so how the levels of the NO side are read
    """

    def __init__(
        self,
        epoch: int,
        *,
        private: Sequence[str] = (),
        tickers_per_command: int = TICKERS_PER_COMMAND,
        no_prices: NoPrices = NoPrices.NO,
    ) -> None:
        self.counts = StreamCounts()
        self._epoch = epoch
        self._chunk = tickers_per_command
        self._no_price_of = complement_of if no_prices is NoPrices.YES else price_of
        self._outbox = Outbox(tickers_per_command, no_prices)
        self._wanted: dict[str, None] = {}
        self._refused: set[str] = set()
        self._generation = 0
        self._connected = False
        self._alive_ms = 0
        self._lives: dict[str, _Live] = {}
        self._books: _Subscription | None = None
        self._others: dict[int, _Subscription] = {}
        self._channels = (LIFECYCLE_CHANNEL, *private)
        self._asked: set[str] = set()
        self._subscribing_since: int | None = None
        self._retry = _Retry()

    # What the caller wants and reads

    def want(self, tickers: Iterable[str], now_ms: int) -> None:
        """Replace the set of markets whose books are kept; the difference is asked for without reconnecting."""
        self._wanted = dict.fromkeys(tickers)
        self._refused.clear()
        if self._books is None and self._subscribing_since is None:
            self._forget_unwanted()
        self._sync(now_ms)

    def take_commands(self) -> list[str]:
        """JSON texts to send, in order; each is handed out once."""
        return self._outbox.take()

    @property
    def has_commands(self) -> bool:
        """Whether :meth:`take_commands` would hand out something."""
        return self._outbox.is_waiting

    def book(self, ticker: str) -> Book | None:
        """The live book, or None when there is none or it must not be used."""
        live = self._lives.get(ticker)
        return live.book if live is not None and live.fresh else None

    def version(self, ticker: str) -> BookVersion | None:
        """The version of a book that may be used, else None."""
        live = self._lives.get(ticker)
        return BookVersion(self._epoch, live.generation, live.seq) if live is not None and live.fresh else None

    def freeze(self, ticker: str, depth: int) -> BookSnapshot | None:
        """A copy of a book that may be used, else None."""
        live = self._lives.get(ticker)
        if live is None or not live.fresh:
            return None
        version = BookVersion(self._epoch, live.generation, live.seq)
        return live.book.freeze(version, live.exchange_ms, self._alive_ms, depth)

    def totals(self) -> tuple[int, int]:
        """How many books are kept, and how many of them are stale."""
        return len(self._lives), sum(not live.fresh for live in self._lives.values())

    # The connection

    def connected(self, now_ms: int) -> None:
        """A connection was opened: subscribe to everything wanted."""
        self._reset()
        self._connected = True
        self._alive_ms = now_ms
        self._sync(now_ms)

    def disconnected(self) -> tuple[Event, ...]:
        """The connection is gone: every book is stale."""
        self._reset()
        return self._stale(list(self._lives), "disconnected")

    def alive(self, now_ms: int) -> None:
        """The peer is known to have been there at ``now_ms``, and everything it sent before was applied."""
        self._alive_ms = max(self._alive_ms, now_ms)

    def tick(self, now_ms: int) -> tuple[Event, ...]:
        """Ask again for what did not come; call about once a second."""
        if not self._connected:
            return _NOTHING
        if self._subscribing_since is not None and now_ms - self._subscribing_since > SUBSCRIBE_PATIENCE_MS:
            return (ReconnectNeeded("no answer to a subscription"),)
        if self._retry.due_ms is not None and now_ms >= self._retry.due_ms:
            self._retry.due_ms = None
            self._sync(now_ms)
        self._outbox.forget(now_ms)
        overdue = [t for t, live in self._lives.items() if live.due_ms is not None and now_ms >= live.due_ms]
        self._request_snapshots(overdue, now_ms)
        return _NOTHING

    # Frames

    def receive(self, data: bytes | str, received_ms: int) -> tuple[Event, ...]:
        """Decode and apply one frame."""
        return self.apply(frames.decode_frame(data), received_ms)

    def apply(self, frame: frames.Frame, received_ms: int) -> tuple[Event, ...]:
        """Take in one decoded frame that arrived at ``received_ms``. Never raises for what the peer sent."""
        self.counts.frames += 1
        self._alive_ms = received_ms
        if type(frame) is not Delta:
            return self._apply_rare(frame, received_ms)
        subscription = self._books
        if subscription is None or frame.sid != subscription.sid:
            return _NOTHING
        seq = frame.seq
        if seq != subscription.last_seq + 1:
            return self._gap(subscription, seq, received_ms)
        subscription.last_seq = seq
        message = frame.msg
        live = self._lives.get(message.market_ticker)
        if live is None or not live.fresh:
            return _NOTHING
        word = message.side
        try:
            if word == "yes":
                side, price = live.yes, price_of(message.price_dollars)
            elif word == "no":
                side, price = live.no, self._no_price_of(message.price_dollars)
            else:
                return self._impossible(message.market_ticker, f"side {word!r}", received_ms)
            top = side.top
            best_changed = side.add(price, count_of(message.delta_fp))
        except DomainError as error:
            return self._impossible(message.market_ticker, str(error), received_ms)
        live.seq = seq
        live.exchange_ms = message.ts_ms or received_ms
        if best_changed:
            return live.size_changed if side.top == top else live.price_changed
        return live.depth_changed

    def _apply_rare(self, frame: frames.Frame, now_ms: int) -> tuple[Event, ...]:
        match frame:
            case frames.Subscribed():
                return self._subscribed(frame, now_ms)
            case frames.Unreadable():
                return self._unreadable(frame, now_ms)
            case _:
                # A terminal error's number belongs to the subscription that it ends: count before reading.
                return (*self._count(frame.sid, frame.seq, now_ms), *self._apply_counted(frame, now_ms))

    def _apply_counted(self, frame: frames.Frame, now_ms: int) -> tuple[Event, ...]:
        match frame:
            case frames.Snapshot():
                return self._snapshot(frame, now_ms)
            case frames.StreamError():
                return self._error(frame, now_ms)
            case frames.Ok():
                self._outbox.answered(frame.id)
            case frames.Unsubscribed():
                return self._lost(frame.sid, 0, "unsubscribed by the exchange", now_ms)
            case frames.MarketLifecycle():
                return (LifecycleSeen(frame.msg.market_ticker, frame.msg.event_type),)
            case frames.EventLifecycle():
                return (LifecycleSeen(frame.msg.event_ticker, "event_lifecycle"),)
            case frames.EventFeeUpdate():
                return (LifecycleSeen(frame.msg.event_ticker, "event_fee_update"),)
            case frames.FillFrame() | frames.OrderFrame() | frames.PositionFrame() | frames.OrderGroupFrame():
                return (PrivateSeen(frame.msg),)
            case frames.Header():
                return self._unknown(frame, now_ms)
        return _NOTHING

    def _count(self, sid: int | None, seq: int | None, now_ms: int) -> tuple[Event, ...]:
        """Follow the sequence of any frame that carries one, whatever its type."""
        subscription = self._subscription(sid)
        if subscription is None or seq is None:
            return _NOTHING
        if seq != subscription.last_seq + 1:
            return self._gap(subscription, seq, now_ms)
        subscription.last_seq = seq
        return _NOTHING

    def _subscription(self, sid: int | None) -> _Subscription | None:
        if self._books is not None and self._books.sid == sid:
            return self._books
        return self._others.get(sid) if sid is not None else None

    def _subscribed(self, frame: frames.Subscribed, now_ms: int) -> tuple[Event, ...]:
        self._outbox.answered(frame.id)
        channel, sid = frame.msg.channel, frame.msg.sid
        if channel != BOOK_CHANNEL:
            self._others[sid] = _Subscription(channel, sid, 0)
            return _NOTHING
        self._generation += 1
        self._books = _Subscription(channel, sid, self._generation)
        self._subscribing_since = None
        for live in self._lives.values():
            live.due_ms = now_ms + live.patience_ms
        self._sync(now_ms)
        # Books of an older subscription are no part of the new sequence.
        return self._stale(list(self._lives), "subscribed anew")

    def _snapshot(self, frame: frames.Snapshot, now_ms: int) -> tuple[Event, ...]:
        subscription, message = self._books, frame.msg
        live = self._lives.get(message.market_ticker)
        if subscription is None or frame.sid != subscription.sid or live is None:
            return _NOTHING
        try:
            yes, no = (
                levels_of(message.yes_dollars_fp, price_of),
                levels_of(message.no_dollars_fp, self._no_price_of),
            )
            live.yes.replace(yes)
            live.no.replace(no)
        except DomainError as error:
            self.counts.malformed += 1
            live.due_ms = now_ms + live.patience_ms
            rejected = FrameRejected(f"snapshot of {message.market_ticker}: {error}")
            return (rejected, *self._stale([message.market_ticker], "impossible snapshot"))
        live.fresh = True
        live.generation = subscription.generation
        live.seq = frame.seq
        live.exchange_ms = frame.sending_ts_ms or now_ms
        live.due_ms = None
        live.patience_ms = SNAPSHOT_PATIENCE_MS
        return (BookReplaced(message.market_ticker, live.exchange_ms),)

    # What goes wrong

    def _gap(self, subscription: _Subscription, received: int, now_ms: int) -> tuple[Event, ...]:
        self.counts.gaps += 1
        gap = GapDetected(subscription.sid, subscription.last_seq + 1, received)
        # Whatever the number is, counting goes on from it: the snapshots that follow make the books right again.
        subscription.last_seq = received
        if subscription is not self._books:
            return (gap,)
        return (gap, *self._resync(list(self._lives), "gap", now_ms))

    def _impossible(self, ticker: str, reason: str, now_ms: int) -> tuple[Event, ...]:
        """One book contradicts its own stream; the sequence, and so the other books, are intact."""
        self.counts.malformed += 1
        return (FrameRejected(f"{ticker}: {reason}"), *self._resync([ticker], "impossible change", now_ms))

    def _unknown(self, frame: frames.Header, now_ms: int) -> tuple[Event, ...]:
        """A type of frame we do not know: if it is about one of our books, that book may have changed by it."""
        ticker = frame.market_ticker() if self._books is not None and frame.sid == self._books.sid else None
        if ticker is None or ticker not in self._lives:
            return _NOTHING
        self.counts.malformed += 1
        rejected = FrameRejected(f"{ticker}: unknown frame {frame.type!r} on the subscription to books")
        return (rejected, *self._resync([ticker], "unknown frame", now_ms))

    def _unreadable(self, frame: frames.Unreadable, now_ms: int) -> tuple[Event, ...]:
        self.counts.malformed += 1
        rejected = FrameRejected(frame.reason)
        missed = self._count(frame.sid, frame.seq, now_ms)
        # Without a readable sid, the next frame of its sequence, if it had one, shows the gap.
        if missed or self._books is None or frame.sid != self._books.sid:
            return (rejected, *missed)
        return (rejected, *self._resync(list(self._lives), "unreadable frame", now_ms))

    def _error(self, frame: frames.StreamError, now_ms: int) -> tuple[Event, ...]:
        code, text = frame.msg.code, frame.msg.msg
        if code in TERMINAL_CODES:
            if self._subscription(frame.sid) is None:
                return (ReconnectNeeded(f"error {code} without a known subscription: {text}"),)
            return self._lost(frame.sid, code, text, now_ms)
        self.counts.refused += 1
        command = self._outbox.answered(frame.id)
        if command is None:
            return (CommandFailed(code, text, (), final=False),)
        return self._refuse(command, code, text, now_ms)

    def _lost(self, sid: int | None, code: int, text: str, now_ms: int) -> tuple[Event, ...]:
        subscription = self._subscription(sid)
        if subscription is None:
            return _NOTHING
        self.counts.lost += 1
        stale: tuple[Event, ...] = _NOTHING
        if subscription is self._books:
            self._books = None
            stale = self._stale(list(self._lives), "subscription lost")
            self._forget_unwanted()
        else:
            del self._others[subscription.sid]
            self._asked.discard(subscription.channel)
        self._retry.schedule(now_ms)
        return (SubscriptionLost(subscription.channel, code, text), *stale, *self.tick(now_ms))

    def _refuse(self, command: Command, code: int, text: str, now_ms: int) -> tuple[Event, ...]:
        action, tickers = command.action, command.tickers
        if code == INVALID_PARAMETER and len(tickers) > 1:
            # One bad ticker refuses the whole command: halves find it.
            self._split(command, now_ms)
            return (CommandFailed(code, text, tickers, final=False),)
        if action not in (Action.SUBSCRIBE_BOOKS, Action.ADD):
            # A missing snapshot is asked for again when its patience ends, another channel at the next connection.
            return (CommandFailed(code, text, tickers, final=action is not Action.SNAPSHOT),)
        if action is Action.SUBSCRIBE_BOOKS:
            self._subscribing_since = None
        for ticker in tickers:
            self._lives.pop(ticker, None)
        final = code in (INVALID_PARAMETER, MARKET_LIMIT)
        if final:
            self._refused.update(tickers)
            self._sync(now_ms)
        else:
            self._retry.schedule(now_ms)
        return (CommandFailed(code, text, tickers, final=final),)

    def _split(self, command: Command, now_ms: int) -> None:
        middle = len(command.tickers) // 2
        first, second = command.tickers[:middle], command.tickers[middle:]
        if command.action is Action.SUBSCRIBE_BOOKS:
            # The second half is added once the first has its subscription.
            self._subscribe_books(first, now_ms)
        elif self._books is not None:
            for half in (first, second):
                self._outbox.update(command.action, self._books.sid, half, now_ms)

    def _resync(self, tickers: Sequence[str], reason: str, now_ms: int) -> tuple[Event, ...]:
        self.counts.resyncs += 1
        # A snapshot that is under way anyway makes its book right, whatever was lost before it.
        self._request_snapshots([ticker for ticker in tickers if self._lives[ticker].due_ms is None], now_ms)
        return self._stale(tickers, reason)

    def _stale(self, tickers: Sequence[str], reason: str) -> tuple[Event, ...]:
        turned = tuple(ticker for ticker in tickers if self._lives[ticker].fresh)
        for ticker in turned:
            self._lives[ticker].fresh = False
        return (BooksStale(turned, reason),) if turned else _NOTHING

    # Asking

    def _reset(self) -> None:
        self._connected = False
        self._outbox.clear()
        self._books = None
        self._others.clear()
        self._asked.clear()
        self._subscribing_since = None
        self._retry = _Retry()
        self._forget_unwanted()
        for live in self._lives.values():
            live.due_ms = None
            live.patience_ms = SNAPSHOT_PATIENCE_MS

    def _forget_unwanted(self) -> None:
        self._lives = {ticker: live for ticker, live in self._lives.items() if ticker in self._wanted}

    def _sync(self, now_ms: int) -> None:
        """Ask for the difference between what is wanted and what was asked for."""
        if not self._connected or self._retry.due_ms is not None:
            return
        for channel in self._channels:
            if channel not in self._asked:
                self._asked.add(channel)
                self._outbox.subscribe_channel(channel, now_ms)
        if self._books is None:
            first = tuple(ticker for ticker in self._wanted if ticker not in self._refused)[: self._chunk]
            if first and self._subscribing_since is None:
                self._subscribe_books(first, now_ms)
            return
        unwanted = [ticker for ticker in self._lives if ticker not in self._wanted]
        self._outbox.update(Action.DELETE, self._books.sid, unwanted, now_ms)
        for ticker in unwanted:
            del self._lives[ticker]
        missing = [t for t in self._wanted if t not in self._lives and t not in self._refused]
        self._outbox.update(Action.ADD, self._books.sid, missing, now_ms)
        for ticker in missing:
            self._lives[ticker] = _Live(ticker, now_ms + SNAPSHOT_PATIENCE_MS)

    def _subscribe_books(self, tickers: tuple[str, ...], now_ms: int) -> None:
        self._lives = {ticker: self._lives.get(ticker) or _Live(ticker) for ticker in tickers}
        self._subscribing_since = now_ms
        self._outbox.subscribe_books(tickers, now_ms)

    def _request_snapshots(self, tickers: Sequence[str], now_ms: int) -> None:
        if self._books is None:
            return
        self._outbox.update(Action.SNAPSHOT, self._books.sid, tickers, now_ms)
        for ticker in tickers:
            live = self._lives[ticker]
            live.due_ms = now_ms + live.patience_ms
            live.patience_ms = min(LONGEST_PATIENCE_MS, live.patience_ms * 2)
