"""The feed without sockets, tasks or threads: frames and groups in, candidates, copies of books and messages out.

A group is judged when the exchange millisecond that changed it is complete, because books lock or cross for moments
inside one millisecond. Complete means that a later ``ts_ms`` was seen, or that the caller's short timer ran out.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from feed.config import FeedConfig
from feed.gate import Gate, Verdict
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.book import Book, BookSnapshot
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.frames import Delta, decode_frame
from kalshi_arb.kalshi.private_view import PrivateView
from kalshi_arb.kalshi.stream import BookStream
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
from kalshi_arb.schemas import Candidate, Lifecycle

logger = logging.getLogger(__name__)

# Looking a member up on its enum takes longer than everything else that is done for most frames.
_PRICE, _SIZE = Best.PRICE, Best.SIZE


class Moment(NamedTuple):
    """When a frame arrived: our UTC milliseconds for records, monotonic nanoseconds for measuring."""

    utc_ms: int
    monotonic_ns: int


class Outlet(Protocol):
    """Where results go. None of these may wait."""

    def candidate(self, candidate: Candidate, received: Moment) -> None:
        """Hand over a candidate; ``sent_ms`` is set when it is sent."""
        ...

    def book(self, book: BookSnapshot) -> bool:
        """Hand over a copy of a book; False when there is no room now."""
        ...

    def lifecycle(self, message: Lifecycle) -> None:
        """Hand over a lifecycle message."""
        ...


class FeedCore:
    """Books, screen and gate of one feed process."""

    def __init__(self, *, stream: BookStream, outlet: Outlet, config: FeedConfig) -> None:
        self.stream = stream
        self.screen = Screen(())
        self.private = PrivateView()
        self.drops: Counter[str] = Counter()
        self.candidates = 0
        self.groups = 0
        self.connected = False
        self.reconnect_reason: str | None = None
        self.worst_lag_ms: int | None = None
        self._outlet = outlet
        self._config = config
        self._gate = Gate(config.cooldown_ms)
        self._dirty: dict[str, Moment] = {}
        # Groups whose edge was positive when last judged.
        self._standing: set[str] = set()
        self._waiting: dict[str, Moment] = {}
        self._exchange_ms = 0
        self._changed: set[str] = set()
        self._copied_ms: dict[str, int] = {}
        self._watched: frozenset[str] = frozenset()
        self._suspended: frozenset[str] = frozenset()
        self._concerned: dict[str, tuple[str, ...]] = {}

    # Connection

    def open(self, now_ms: int) -> None:
        """A connection was opened."""
        self.connected = True
        self.reconnect_reason = None
        self._exchange_ms = 0
        self.stream.connected(now_ms)

    def close(self, now: Moment) -> None:
        """The connection is gone."""
        self.connected = False
        for event in self.stream.disconnected():
            self._take(event, now)
        self.private.reset()
        self._dirty.clear()
        self._waiting.clear()

    def frame(self, data: bytes | str, received: Moment) -> None:
        """Take in one frame; judges what an earlier exchange millisecond changed before the frame is applied."""
        frame = decode_frame(data)
        utc_ms = received.utc_ms
        if type(frame) is Delta and (exchange_ms := frame.msg.ts_ms) > self._exchange_ms:
            if self._dirty:
                self.judge(utc_ms)
            self._exchange_ms = exchange_ms
            lag_ms = utc_ms - exchange_ms
            if self.worst_lag_ms is None or lag_ms > self.worst_lag_ms:
                self.worst_lag_ms = lag_ms
        for event in self.stream.apply(frame, utc_ms):
            if type(event) is BookChanged:
                self._changed.add(event.ticker)
                best = event.best
                if best is _PRICE:
                    self._screen(event.book, received)
                elif best is _SIZE and self._standing:
                    self._size_changed(event.ticker, received)
            else:
                self._take(event, received)

    def tick(self, now: Moment) -> None:
        """Let the stream ask again for what did not come."""
        for event in self.stream.tick(now.utc_ms):
            self._take(event, now)

    # Groups

    def install(self, screen: Screen, groups: Sequence[Group], now: Moment) -> None:
        """Replace the accepted groups; books that are kept already are screened at once."""
        self.screen = screen
        self.groups = len(groups)
        tickers = dict.fromkeys(market.ticker for group in groups for market in group.markets)
        self.stream.want(tickers, now.utc_ms)
        ids = {group.group_id for group in groups}
        self._gate.keep(ids)
        self._changed.intersection_update(tickers)
        self._copied_ms = {ticker: ms for ticker, ms in self._copied_ms.items() if ticker in tickers}
        self._waiting = {group_id: at for group_id, at in self._waiting.items() if group_id in ids}
        self._standing.clear()
        self._dirty.clear()
        self._concerned = _concerned(groups)
        for ticker in tickers:
            self._screen_kept(ticker, now)

    def suspend(self, group_ids: frozenset[str], now: Moment) -> None:
        """Offer nothing of these groups from now on, and of no others. What may be used again is judged at once: its
        books may have stood still."""
        for group_id in self._suspended - group_ids:
            if self.screen.group(group_id) is not None:
                self._dirty.setdefault(group_id, now)
        self._suspended = group_ids

    def watch(self, group_ids: Collection[str]) -> None:
        """Groups whose books are copied as often as near ones, since a person or a basket watches them."""
        self._watched = frozenset(group_ids)

    # Judging

    @property
    def has_dirty(self) -> bool:
        """Whether some group waits for its exchange millisecond to be complete."""
        return bool(self._dirty)

    def judge(self, now_ms: int) -> None:
        """Judge every group that changed: its exchange millisecond is complete."""
        dirty, self._dirty = self._dirty, {}
        for group_id, received in dirty.items():
            if self._waiting:
                self._waiting.pop(group_id, None)
            edge = self.screen.gain(group_id)
            if edge > 0:
                self._standing.add(group_id)
                self._offer(group_id, edge, received, now_ms)
            elif self._standing:
                self._standing.discard(group_id)

    def judge_waiting(self, now: Moment) -> None:
        """Judge again what its cooldown held back: a candidate that still stands must not be lost to it. The cooldown
        is on purpose, so it does not count as latency."""
        due = [group_id for group_id in self._waiting if self._gate.due_ms(group_id) <= now.utc_ms]
        for group_id in due:
            received = self._waiting.pop(group_id)
            # A change that is under way is judged when its millisecond is complete.
            if group_id not in self._dirty:
                edge = self.screen.gain(group_id)
                if edge > 0:
                    self._offer(group_id, edge, Moment(received.utc_ms, now.monotonic_ns), now.utc_ms)

    def _offer(self, group_id: str, edge: int, received: Moment, now_ms: int) -> None:
        group = self.screen.group(group_id)
        if group is None:
            return
        if group_id in self._suspended:
            self.drops["group_suspended"] += 1
            return
        # Versions first: most candidates end here, and copying books is the dear part.
        versions = [self.stream.version(market.ticker) for market in group.markets]
        known = tuple(version for version in versions if version is not None)
        if len(known) < len(versions):
            self.drops["stale_book"] += 1
            return
        verdict = self._gate.decide(group_id, edge, known, now_ms)
        if verdict is Verdict.SEND:
            copies = (self.stream.freeze(market.ticker, self._config.depth) for market in group.markets)
            books = tuple(book for book in copies if book is not None)
            self.candidates += 1
            self._outlet.candidate(Candidate(group_id, group.fingerprint, books, edge, received.utc_ms, 0), received)
        elif verdict is Verdict.TOO_SOON:
            self.drops["cooldown"] += 1
            self._waiting[group_id] = received
        else:
            self.drops["same_books"] += 1

    # Copies of books

    def copy_books(self, now_ms: int) -> None:
        """Hand over the books that changed and whose interval is over: short for near and watched groups."""
        for ticker in list(self._changed):
            interval = self._config.snapshot_interval_ms if self._is_close(ticker) else self._config.sweep_interval_ms
            last = self._copied_ms.get(ticker)
            if last is not None and now_ms - last < interval:
                continue
            book = self.stream.freeze(ticker, self._config.depth)
            if book is None:
                continue
            if not self._outlet.book(book):
                return
            self._changed.discard(ticker)
            self._copied_ms[ticker] = now_ms

    def _is_close(self, ticker: str) -> bool:
        for group_id in self.screen.groups_of(ticker):
            if group_id in self._watched or self.screen.is_near(group_id, self._config.near_edge):
                return True
        return False

    # Events

    def _take(self, event: Event, now: Moment) -> None:
        match event:
            case BookReplaced(ticker=ticker):
                self._changed.add(ticker)
                self._screen_kept(ticker, now)
                # A snapshot may change sizes alone.
                self._size_changed(ticker, now)
            case BooksStale(tickers=tickers, reason=reason):
                logger.warning("%d books stale: %s", len(tickers), reason)
                for ticker in tickers:
                    self.screen.forget(ticker)
            case LifecycleSeen(ticker=ticker, event_type=event_type):
                groups = self._concerned.get(ticker, ())
                self._outlet.lifecycle(Lifecycle(ticker, event_type, now.utc_ms, groups))
            case PrivateSeen(message=message):
                problem = self.private.take(message, now.utc_ms)
                if problem is not None:
                    logger.error("the private channels contradict themselves: %s", problem)
            case GapDetected(sid=sid, expected=expected, received=received):
                logger.warning("gap in subscription %d: expected %d, got %d", sid, expected, received)
            case FrameRejected(reason=reason):
                self.drops["malformed_frame"] += 1
                logger.warning("frame rejected: %s", reason)
            case CommandFailed(code=code, message=message, tickers=tickers, final=final):
                if final:
                    self.drops["market_refused"] += len(tickers)
                logger.warning("command for %d markets failed with %d: %s", len(tickers), code, message)
            case SubscriptionLost(channel=channel, code=code, message=message):
                logger.warning("subscription to %s lost with %d: %s", channel, code, message)
            case ReconnectNeeded(reason=reason):
                self.reconnect_reason = reason

    def _screen(self, book: Book, now: Moment) -> None:
        dirty = self._dirty
        for group_id in self.screen.update(book):
            if group_id not in dirty:
                dirty[group_id] = now

    def _size_changed(self, ticker: str, now: Moment) -> None:
        # No edge changed, but there is more, or less, of what a candidate found.
        for group_id in self.screen.groups_of(ticker):
            if group_id in self._standing:
                self._dirty.setdefault(group_id, now)

    def _screen_kept(self, ticker: str, now: Moment) -> None:
        book = self.stream.book(ticker)
        if book is not None:
            self._screen(book, now)


def _concerned(groups: Sequence[Group]) -> dict[str, tuple[str, ...]]:
    """Ids of the groups by market and by event: the stream names either."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for ticker in (*group.tickers, *group.event_tickers):
            found.setdefault(ticker, []).append(group.group_id)
    return {ticker: tuple(dict.fromkeys(ids)) for ticker, ids in found.items()}
