"""Recordings of the real stream, replayed through our decoder: nothing unexplained, and books equal to the tickers."""

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalshi_arb.domain.book import Book
from kalshi_arb.domain.money import ONE_DOLLAR, count_from_wire, price_from_wire
from kalshi_arb.kalshi import frames as wire
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.kalshi.stream_events import BookChanged, BookReplaced, CommandFailed, Event

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "ws"
SHORT = FOLDER / "bracket_event_60s.jsonl"
LONG = sorted(FOLDER.glob("*.frames.jsonl.gz"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="recordings of the exchange are not on this machine")

CHECK_EVERY = 1_000
# Fields of the wire that no book, version or time rests on: names of the market and deprecated times.
UNDECLARED = {"orderbook_snapshot": {"msg.market_id"}, "orderbook_delta": {"msg.market_id", "msg.ts"}}

Levels = dict[int, int]
Sides = tuple[Levels, Levels]
Quote = tuple[int | None, int | None, int | None, int | None]


class PlainBooks:
    """Snapshots plus signed changes by hand: the oracle, which shares nothing with the decoder but the numbers."""

    def __init__(self) -> None:
        self.sides: dict[str, Sides] = {}

    def apply(self, kind: str, message: dict[str, Any]) -> None:
        ticker = message["market_ticker"]
        if kind == "orderbook_snapshot":
            yes, no = (
                {price_from_wire(price): count_from_wire(count) for price, count in message.get(key, [])}
                for key in ("yes_dollars_fp", "no_dollars_fp")
            )
            self.sides[ticker] = (dict(yes), dict(no))
            return
        levels = self.sides[ticker][("yes", "no").index(message["side"])]
        price = price_from_wire(message["price_dollars"])
        size = levels.pop(price, 0) + count_from_wire(message["delta_fp"])
        assert size >= 0, f"{ticker} would rest {size} at {price}"
        if size:
            levels[price] = size


def check_book(book: Book | None, truth: Sides) -> None:
    assert book is not None
    for side, levels in ((book.yes, truth[0]), (book.no, truth[1])):
        prices = [level.price for level in side]
        assert prices == sorted(levels, reverse=True)
        assert all(0 < price < ONE_DOLLAR for price in prices)
        assert dict(side) == levels


def plain(frame: str) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(frame)
    return decoded


def verbatim() -> list[str]:
    return [json.loads(line)["raw"] for line in SHORT.read_text(encoding="utf-8").splitlines()]


def test_a_bracket_event_of_eight_markets_on_one_subscription() -> None:
    frames = verbatim()
    parsed = [plain(frame) for frame in frames]
    tickers = [p["msg"]["market_ticker"] for p in parsed if p["type"] == "orderbook_snapshot"]
    stream, events, truth = BookStream(1), list[Event](), PlainBooks()
    stream.want(tickers, 0)
    stream.connected(0)
    for frame, p in zip(frames, parsed, strict=True):
        events += [event for event in stream.receive(frame, 0) if not isinstance(event, BookChanged)]
        if p["type"].startswith("orderbook_"):
            truth.apply(p["type"], p["msg"])
            check_book(stream.book(p["msg"]["market_ticker"]), truth.sides[p["msg"]["market_ticker"]])
    assert len(tickers) == len(set(tickers)) == 8
    assert [event.ticker for event in events if isinstance(event, BookReplaced)] == tickers
    # The recorder's own refused commands are in the file; they are all that is not a book.
    errors = [p for p in parsed if p["type"] == "error"]
    assert [event for event in events if not isinstance(event, BookReplaced)] == [
        CommandFailed(p["msg"]["code"], p["msg"]["msg"], (), final=False) for p in errors
    ]
    assert (stream.counts.frames, stream.counts.gaps, stream.counts.malformed) == (len(frames), 0, 0)
    assert sum(p["type"] == "orderbook_delta" for p in parsed) == 61


def leaves(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields by their path; lists are values."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= leaves(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {prefix + key: inner}
    return found


def test_verbatim_frames_decode_without_loss() -> None:
    undeclared: dict[str, set[str]] = {}
    kinds: set[str] = set()
    for text in verbatim():
        original = leaves(plain(text))
        frame = wire.decode_frame(text)
        assert not isinstance(frame, wire.Header | wire.Unreadable), text
        again = leaves(plain(msgspec.json.encode(frame).decode()))
        kinds.add(original["type"])
        assert {path: again[path] for path in original.keys() & again.keys()} == {
            path: value for path, value in original.items() if path in again
        }
        # What the frame did not say is a default, never an invention.
        assert not any(again[path] for path in again.keys() - original.keys()), again
        undeclared.setdefault(original["type"], set()).update(original.keys() - again.keys())
    assert kinds == {"subscribed", "orderbook_snapshot", "orderbook_delta", "error"}
    assert {kind: paths for kind, paths in undeclared.items() if paths} == UNDECLARED


def recorded(path: Path) -> Iterator[str]:
    """The frames of a recording as their own text."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield line[line.index('"frame":') + len('"frame":') : line.rindex("}")]


def best_of(book: Book) -> Quote:
    """YES bid, its size, YES ask, its size."""
    yes, no = book.yes.best, book.no.best
    return (
        yes.price if yes else None, yes.size if yes else None,
        ONE_DOLLAR - no.price if no else None, no.size if no else None,
    )  # fmt: skip


def quote_of(message: dict[str, Any]) -> Quote:
    bid_size, ask_size = count_from_wire(message["yes_bid_size_fp"]), count_from_wire(message["yes_ask_size_fp"])
    bid, ask = price_from_wire(message["yes_bid_dollars"]), price_from_wire(message["yes_ask_dollars"])
    # A side exists only when it has a size; its price is a sentinel otherwise.
    return bid if bid_size else None, bid_size or None, ask if ask_size else None, ask_size or None


@dataclass
class Line:
    """What one market's book and ticker said over time."""

    times: list[int] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    shown: dict[int, Quote] = field(default_factory=dict)

    def state(self, ts_ms: int, quote: Quote) -> None:
        assert not self.times or ts_ms >= self.times[-1], "exchange time went backwards"
        if self.times and self.times[-1] == ts_ms:
            self.quotes[-1] = quote
        else:
            self.times.append(ts_ms)
            self.quotes.append(quote)

    def pairs(self) -> Iterator[tuple[Quote, Quote]]:
        """Book and ticker at each millisecond that a ticker names and whose end was seen on the book."""
        for ts_ms, quote in self.shown.items():
            place = bisect_right(self.times, ts_ms)
            if 0 < place < len(self.times):
                yield self.quotes[place - 1], quote


@dataclass
class Replay:
    """One recording, followed market by market."""

    stream: BookStream = field(default_factory=lambda: BookStream(1))
    truth: PlainBooks = field(default_factory=PlainBooks)
    lines: dict[str, Line] = field(default_factory=dict)
    last_seq: int = 0
    frames: int = 0
    changes: int = 0
    rolls: int = 0
    tickers: int = 0
    rare: list[Event] = field(default_factory=list)

    def take(self, text: str) -> None:
        frame = plain(text)
        kind, message = frame["type"], frame["msg"]
        ticker = message["market_ticker"]
        self.frames += 1
        if kind == "ticker":
            self.tickers += 1
            line = self.lines.setdefault(ticker, Line())
            # Several in one millisecond: the last one shows its end.
            line.shown[message["ts_ms"]] = quote_of(message)
            return
        if kind == "orderbook_snapshot" and ticker not in self.truth.sides:
            self.roll(ticker, frame)
        assert frame["seq"] == self.last_seq + 1, f"unexplained gap: {self.last_seq} to {frame['seq']}"
        self.last_seq = frame["seq"]
        self.truth.apply(kind, message)
        events = self.stream.receive(text, 0)
        self.rare += [event for event in events if not isinstance(event, BookChanged)]
        book = self.stream.book(ticker)
        assert book is not None, self.rare[-3:]
        if kind == "orderbook_delta":
            self.changes += 1
            self.lines.setdefault(ticker, Line()).state(message["ts_ms"], best_of(book))
        if kind == "orderbook_snapshot" or self.changes % CHECK_EVERY == 0:
            check_book(book, self.truth.sides[ticker])

    def roll(self, ticker: str, frame: dict[str, Any]) -> None:
        """The recorder went on to the next market with a new subscription, whose reply is not in the file: the sequence
        restarts, and only here, after the last market's close wiped its book."""
        assert frame["seq"] == 1
        if self.truth.sides:
            self.rolls += 1
            assert all(sides == ({}, {}) for sides in self.truth.sides.values())
        self.last_seq = 0
        self.stream.want([ticker], 0)
        self.stream.connected(0)
        subscribed = {"id": 2, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": frame["sid"]}}
        self.stream.receive(json.dumps(subscribed), 0)


@pytest.mark.parametrize("path", LONG, ids=lambda path: path.name.split(".")[0])
def test_a_recording_has_no_gap_and_its_books_equal_its_tickers(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replay = Replay()
    for text in recorded(path):
        replay.take(text)
    counts = replay.stream.counts
    assert replay.rolls == 1, "each recording rolls from one market to the next once"
    assert (counts.gaps, counts.malformed, counts.lost) == (0, 0, 0)
    # Two snapshots that open a market and one without sides that closes the first.
    assert [type(event) for event in replay.rare] == [BookReplaced] * 3
    for ticker, line in replay.lines.items():
        crossed = [quote for quote in line.quotes if quote[0] and quote[2] and quote[0] >= quote[2]]
        assert not crossed, f"{ticker} is crossed at the end of a millisecond"
    check_book(replay.stream.book(ticker), replay.truth.sides[ticker])
    pairs = [pair for line in replay.lines.values() for pair in line.pairs()]
    equal = sum(book == quote for book, quote in pairs)
    instants = sum(len(line.shown) for line in replay.lines.values())
    with capsys.disabled():
        print(  # noqa: T201 - the figure is what the recording is replayed for
            f"\n{path.name}: {replay.frames} frames, {replay.changes} changes, {replay.rolls} roll, 0 gaps; "
            f"{equal} of {len(pairs)} comparable instants equal ({instants} instants, {replay.tickers} tickers)"
        )
    assert len(pairs) >= 0.9 * instants
    assert equal >= 0.999 * len(pairs), f"{equal} of {len(pairs)} equal"
