"""Recordings of the real stream, replayed through our decoder: nothing unexplained, and books equal to the tickers."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kalshi_arb.domain.book import Book
from kalshi_arb.domain.money import ONE_DOLLAR, count_from_wire, price_from_wire
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.kalshi.stream_events import BookReplaced, CommandFailed, Event, GapDetected

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "ws"
SHORT = FOLDER / "bracket_event_60s.jsonl"
LONG = FOLDER / "rv600_forward_native_shadow_20260513T1556Z.frames.jsonl.gz"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="recordings of the exchange are not on this machine")


@dataclass
class Replay:
    """A stream that follows a recording, whatever markets turn up in it."""

    stream: BookStream = field(default_factory=lambda: BookStream(1))
    events: list[Event] = field(default_factory=list)
    crossed: int = 0

    def open(self, tickers: list[str], sid: int) -> None:
        self.stream.want(tickers, 0)
        self.stream.connected(0)
        subscribed = {"id": 2, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": sid}}
        self.receive(json.dumps(subscribed))

    def receive(self, text: str) -> None:
        self.events += [event for event in self.stream.receive(text, 0) if event.__class__.__name__ != "BookChanged"]


def check_levels(book: Book) -> None:
    for side in (book.yes, book.no):
        prices = [level.price for level in side]
        assert prices == sorted(set(prices), reverse=True)
        assert all(0 < price < ONE_DOLLAR for price in prices)
        assert all(level.size > 0 for level in side)


def test_a_bracket_event_of_eight_markets_on_one_subscription() -> None:
    frames = [json.loads(line)["raw"] for line in SHORT.read_text(encoding="utf-8").splitlines()]
    parsed = [json.loads(frame) for frame in frames]
    tickers = [p["msg"]["market_ticker"] for p in parsed if p["type"] == "orderbook_snapshot"]
    replay = Replay()
    replay.stream.want(tickers, 0)
    replay.stream.connected(0)
    for frame in frames:
        replay.receive(frame)
    assert len(tickers) == len(set(tickers)) == 8
    assert [event.ticker for event in replay.events if isinstance(event, BookReplaced)] == tickers
    # The recorder's own refused commands are in the file; they are all that is not a book.
    errors = [p for p in parsed if p["type"] == "error"]
    assert [event for event in replay.events if not isinstance(event, BookReplaced)] == [
        CommandFailed(p["msg"]["code"], p["msg"]["msg"], (), final=False) for p in errors
    ]
    counts = replay.stream.counts
    assert (counts.frames, counts.gaps, counts.malformed) == (len(frames), 0, 0)
    # Independently of the decoder: snapshots plus signed changes, by hand.
    assert sum(p["type"] == "orderbook_delta" for p in parsed) == 61
    truth: dict[tuple[str, str], dict[int, int]] = {}
    for p in parsed:
        message = p["msg"]
        if p["type"] == "orderbook_snapshot":
            for side in ("yes", "no"):
                levels = message.get(f"{side}_dollars_fp", [])
                truth[message["market_ticker"], side] = {price_from_wire(q): count_from_wire(c) for q, c in levels}
        elif p["type"] == "orderbook_delta":
            level = truth[message["market_ticker"], message["side"]]
            price = price_from_wire(message["price_dollars"])
            level[price] = level.get(price, 0) + count_from_wire(message["delta_fp"])
            if level[price] == 0:
                del level[price]
    for ticker in tickers:
        book = replay.stream.book(ticker)
        assert book is not None
        check_levels(book)
        assert dict(book.yes) == truth[ticker, "yes"]
        assert dict(book.no) == truth[ticker, "no"]


def long_frames() -> Iterator[dict[str, Any]]:
    with gzip.open(LONG, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["frame"]


Quote = tuple[int | None, int | None, int | None, int | None]


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


def test_books_equal_the_tickers_at_every_exchange_millisecond() -> None:
    replay = Replay()
    quotes: dict[tuple[str, int], list[Quote]] = {}
    states: dict[tuple[str, int], Quote] = {}
    opened: set[str] = set()
    frames = changes = crossed_at_end = 0
    for frame in long_frames():
        frames += 1
        message = frame["msg"]
        if frame["type"] == "ticker":
            quotes.setdefault((message["market_ticker"], message["ts_ms"]), []).append(quote_of(message))
            continue
        ticker = message["market_ticker"]
        if frame["type"] == "orderbook_snapshot" and ticker not in opened:
            # The recorder subscribed to the next market; its own commands are not in the file.
            opened.add(ticker)
            replay.open([ticker], frame["sid"])
        replay.receive(json.dumps(frame))
        book = replay.stream.book(ticker)
        assert book is not None, (frame, replay.events[-3:])
        if frame["type"] == "orderbook_delta":
            changes += 1
            states[ticker, message["ts_ms"]] = best_of(book)
            if changes % 1_000 == 0:
                check_levels(book)
        else:
            check_levels(book)
    counts = replay.stream.counts
    assert (frames, changes, len(opened)) == (45_943, 45_602, 2)
    assert (counts.gaps, counts.malformed, counts.lost) == (0, 0, 0)
    assert not [event for event in replay.events if isinstance(event, GapDetected)]
    # A market's close arrives as a snapshot without sides.
    assert sum(isinstance(event, BookReplaced) for event in replay.events) == 3
    crossed_at_end = sum(bid is not None and ask is not None and bid >= ask for bid, _, ask, _ in states.values())
    assert crossed_at_end == 0
    compared = [(states[key], quote) for key, shown in quotes.items() if key in states for quote in shown[-1:]]
    equal = sum(state == quote for state, quote in compared)
    assert len(compared) >= 300
    assert equal >= 0.999 * len(compared), f"{equal} of {len(compared)} equal"
