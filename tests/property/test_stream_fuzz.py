"""Mutated frames: each is applied exactly as a strict, independent reading says, or the books it touches are stale.

``KALSHI_ARB_FUZZ=full`` tries 100,000 mutated frames, otherwise it is a twentieth of them. Seeds are fixed.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from kalshi_arb.kalshi.commands import NoPrices
from kalshi_arb.kalshi.stream import BookStream
from tests import stream_samples as wire

FULL = os.environ.get("KALSHI_ARB_FUZZ") == "full"
PARTS = 10
FRAMES_A_PART = 10_000 if FULL else 500

TICKERS = ("KXA-1", "KXA-2", "KXB-T0.5")
OTHER_SID = wire.BOOK_SID + 1
DOLLAR = 10_000
Sides = dict[str, dict[int, int]]
Json = dict[str, Any]

# Strict reading, by hand


class UnreadableError(Exception):
    """Not even sid and seq can be told."""


class FaultyError(Exception):
    """Sid and seq can be told; what it says cannot be true or read. ``ticker`` when it concerns one market only."""

    def __init__(self, ticker: str | None = None) -> None:
        super().__init__(ticker)
        self.ticker = ticker


def number(value: object, limit: int = 2**63) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
        raise UnreadableError
    return value


def time_of(holder: Json, key: str) -> None:
    """A time that is there must be one."""
    if key in holder:
        number(holder[key], 2**53)


def amount(value: object, unit: int) -> int:
    text = value if isinstance(value, str) else repr(value)
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII):
        raise FaultyError
    scaled = Decimal(text) * unit
    if scaled != scaled.to_integral_value():
        raise FaultyError
    return int(scaled)


def price(value: object) -> int:
    read = amount(value, DOLLAR)
    if not 0 <= read <= DOLLAR:
        raise FaultyError
    return read


def loads(data: bytes) -> Json:
    def refuse(word: str) -> None:
        raise ValueError(word)

    # Half a character, written as an escape, is text to nobody (RFC 8259, section 8.2).
    if re.search(rb"\\u[dD][89a-bA-B]", data):
        raise UnreadableError
    try:
        # Bytes that are no UTF-8 matter only where they are read.
        frame = json.loads(data.decode(errors="surrogateescape"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise UnreadableError from None
    if not isinstance(frame, dict):
        raise UnreadableError
    return frame


def text_of(message: Json, key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or not is_text(value):
        raise FaultyError
    return value


def is_amount(value: object) -> bool:
    """Whether it could be one by its kind."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and is_text(str(value))


def is_level(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and all(map(is_amount, row))


def is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


@dataclass
class Shadow:
    """What a careful reader would hold: books, the sequence, and which books must not be used."""

    books: dict[str, Sides]
    seq: int = 0
    sid: int | None = wire.BOOK_SID
    stale: set[str] = field(default_factory=set)
    reading: str = ""

    def take(self, data: bytes) -> None:
        try:
            frame = loads(data)
        except UnreadableError:
            self.reading = "unreadable"
            return
        kind = frame.get("type")
        if kind == "subscribed":
            self.subscribed(frame)
            return
        try:
            sid = number(frame["sid"]) if frame.get("sid") is not None else None
        except UnreadableError:
            self.reading = "unreadable"
            return
        if sid is None or sid != self.sid:
            self.reading = "elsewhere"
        else:
            try:
                seq = number(frame["seq"]) if frame.get("seq") is not None else None
            except UnreadableError:
                self.reading, self.stale = "faulty", set(TICKERS)
            else:
                self.ours(kind, seq, frame)

    def subscribed(self, frame: Json) -> None:
        message = frame.get("msg")
        self.reading = "subscribed"
        if isinstance(message, dict) and message.get("channel") == "orderbook_delta":
            try:
                number(frame.get("id", 0))
                self.sid, self.seq = number(message.get("sid")), 0
            except UnreadableError:
                return
            self.stale = set(TICKERS)

    def ours(self, kind: object, seq: int | None, frame: Json) -> None:
        if seq is not None and seq != self.seq + 1:
            self.stale = set(TICKERS)
        if seq is not None:
            self.seq = seq
        message = frame.get("msg")
        code = message.get("code") if isinstance(message, dict) else None
        if kind == "unsubscribed" or (kind == "error" and code in (10, 25)):
            self.reading, self.sid, self.stale = "ended", None, set(TICKERS)
            return
        try:
            if isinstance(kind, str) and kind.startswith("orderbook_") and kind in KNOWN:
                self.reading = kind
                self.book(kind, seq, message, frame)
            else:
                self.reading = "control"
                self.control(kind, message)
        except (FaultyError, UnreadableError) as problem:
            self.reading = "faulty"
            ticker = problem.ticker if isinstance(problem, FaultyError) else None
            self.stale |= set(TICKERS) if ticker is None else {ticker}

    def control(self, kind: object, message: object) -> None:
        if not isinstance(kind, str):
            raise FaultyError
        ticker = message.get("market_ticker") if isinstance(message, dict) else None
        if kind not in KNOWN and ticker in TICKERS:
            raise FaultyError(ticker)

    def book(self, kind: str, seq: int | None, message: object, frame: Json) -> None:
        if seq is None or not isinstance(message, dict):
            raise FaultyError
        ticker = text_of(message, "market_ticker")
        if kind == "orderbook_snapshot":
            time_of(frame, "sending_ts_ms")
            sides = {side: message.get(f"{side}_dollars_fp", []) for side in ("yes", "no")}
            if not all(isinstance(levels, list) and all(map(is_level, levels)) for levels in sides.values()):
                raise FaultyError
            if ticker in self.books:
                self.books[ticker] = {side: self.levels(ticker, levels) for side, levels in sides.items()}
                self.stale.discard(ticker)
            return
        side = text_of(message, "side")
        time_of(message, "ts_ms")
        if not is_amount(message.get("price_dollars")) or not is_amount(message.get("delta_fp")):
            raise FaultyError
        if ticker not in self.books:
            return
        try:
            at, change = price(message["price_dollars"]), amount(message["delta_fp"], 100)
        except FaultyError:
            raise FaultyError(ticker) from None
        if side not in ("yes", "no") or not 0 < at < DOLLAR:
            raise FaultyError(ticker)
        levels = self.books[ticker][side]
        size = levels.get(at, 0) + change
        if size < 0:
            raise FaultyError(ticker)
        levels.pop(at, None)
        if size:
            levels[at] = size

    def levels(self, ticker: str, rows: list[list[object]]) -> dict[int, int]:
        found: dict[int, int] = {}
        for row in rows:
            try:
                at, size = price(row[0]), amount(row[1], 100)
            except FaultyError:
                raise FaultyError(ticker) from None
            if size <= 0 or at in found or not 0 < at < DOLLAR:
                raise FaultyError(ticker)
            found[at] = size
        return found


KNOWN = {
    "orderbook_delta", "orderbook_snapshot", "subscribed", "ok", "unsubscribed", "error", "market_lifecycle_v2",
    "event_lifecycle", "event_fee_update", "fill", "user_order", "market_position", "order_group_updates",
}  # fmt: skip

# Frames and what is done to them

START: dict[str, Sides] = {
    TICKERS[0]: {"yes": {4_500: 30_000, 4_400: 1_000}, "no": {5_000: 15_000, 4_900: 25}},
    TICKERS[1]: {"yes": {100: 5_000}, "no": {}},
    TICKERS[2]: {"yes": {3_210: 150}, "no": {6_500: 1_234, 6_499: 10_000}},
}


def sample(random: Random, seq: int, shadow: Shadow) -> str:
    """A frame that the exchange could send next."""
    ticker = random.choice(TICKERS)
    kind = random.choice(["delta"] * 6 + ["snapshot"] * 3 + ["ok", "error", "ended", "lifecycle", "subscribed"])
    if kind == "delta":
        side = random.choice(["yes", "no"])
        at = random.choice([*shadow.books[ticker][side], 1, 4_600, 9_999])
        resting = shadow.books[ticker][side].get(at, 0)
        return wire.delta(seq, ticker, side, at, random.choice([-resting, 100, 1, 123_456]) or 7)
    if kind == "snapshot":
        sides = shadow.books[ticker]
        return wire.snapshot(seq, ticker, sides["yes"], sides["no"], sending_ts_ms=1_000)
    if kind == "ok":
        return wire.ok(seq, random.randrange(5))
    if kind == "error":
        return wire.error(random.choice([10, 25, 8, 11, 27]), random.randrange(5), sid=wire.BOOK_SID, seq=seq)
    if kind == "ended":
        return json.dumps({"id": 3, "sid": wire.BOOK_SID, "seq": seq, "type": "unsubscribed"})
    if kind == "subscribed":
        return wire.subscribed(sid=random.choice([wire.BOOK_SID, OTHER_SID]))
    message = {"market_ticker": ticker, "event_type": "determined"}
    return json.dumps({"type": "market_lifecycle_v2", "sid": OTHER_SID, "seq": seq, "msg": message})


VALUES: list[object] = [
    None, True, False, 0, 1, -1, 5.0, 0.07, 1e300, 2**62, 2**64, 10**40, "", " ", "0", "1", "-0.00", "0.5600",
    "0.56001", "1e2", "+1", " 1", "1 ", "1_0", ".5", "1.", "0x1", "NaN", "Infinity", "\u0665", "9" * 16, "9" * 400,
    "0." + "0" * 30,
    "yes", "no", "YES", [], {}, [[]], [["0.5", "1"]], [["0.5", "1"], ["0.50", "1"]], [["0.5"]], [["0.5", "1", "1"]],
    {"market_ticker": "KXA-1"}, "KXA-1", "KXA-2", "orderbook_delta", "orderbook_snapshot", "of_tomorrow", "ok",
    "subscribed", "unsubscribed", "error", "fill", "\ud800", "\u0000",
]  # fmt: skip


def places(value: object) -> list[tuple[Any, Any]]:
    """Every container with a key or index in it."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found += places(inner)
    return found


def of_fields(random: Random, text: str) -> bytes:
    """Change, drop, add or move fields."""
    frame = json.loads(text)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        spots = places(frame)
        if not spots:
            break
        holder, key = random.choice(spots)
        kind = random.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder[key], int):
            holder[key] += random.choice([-1, 1, 2, 10**6])
        elif kind == 2 and isinstance(holder[key], str):
            holder[key] = of_characters(random, holder[key])
        elif kind == 3 and isinstance(holder, list):
            holder.append(deepcopy(holder[key]))
        elif kind == 4 and isinstance(holder, dict):
            holder[random.choice(["sid", "seq", "type", "msg", "side", "price_dollars", "new"])] = deepcopy(holder[key])
        else:
            holder[key] = deepcopy(random.choice(VALUES))
    return json.dumps(frame, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")


def of_characters(random: Random, text: str) -> str:
    place = random.randrange(len(text) + 1)
    kind = random.randrange(3)
    if kind == 0:
        return text[:place] + random.choice("0123456789.-eE+ _\u0661\u00e9yn") + text[place:]
    if kind == 1:
        return text[:place] + text[place + 1 :]
    return text[:place] + random.choice("0123456789.-") + text[place + 1 :]


def of_bytes(random: Random, text: str) -> bytes:
    data = bytearray(text.encode())
    for _ in range(random.choice([1, 1, 2, 5])):
        place = random.randrange(len(data)) if data else 0
        kind = random.randrange(6)
        if kind == 0 and data:
            data[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            del data[place : place + random.choice([1, 1, 10])]
        elif kind == 2:
            data[place:place] = random.choice([b"\x00", b"\xff", b"\xc3", b'"', b"{", b"}", b",", b"0", b"-", b"1e9"])
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            end = place + random.randrange(20)
            data[place:place] = data[place:end]
        elif data:
            data[place] = random.randrange(256)
    return bytes(data)


def of_repetition(random: Random, text: str) -> bytes:
    """Keys twice, frames twice, and nesting without end."""
    kind = random.randrange(4)
    if kind == 0:
        key = random.choice(["seq", "sid", "type", "msg"])
        return f"{text[:-1]}, {json.dumps(key)}: {json.dumps(random.choice(VALUES))}}}".encode(errors="surrogatepass")
    if kind == 1:
        return (text + text).encode()
    if kind == 2:
        return (text[:-1] + ', "new": ' + "[" * 5_000 + "]" * 5_000 + "}").encode()
    return b"\xef\xbb\xbf" + text.encode()


MUTATIONS: list[Callable[[Random, str], bytes]] = [of_fields] * 6 + [of_bytes] * 3 + [of_repetition]


def opened() -> tuple[BookStream, Shadow]:
    stream = BookStream(1)
    stream.want(TICKERS, 0)
    stream.connected(0)
    stream.receive(wire.subscribed(), 0)
    shadow = Shadow({ticker: {side: dict(levels) for side, levels in sides.items()} for ticker, sides in START.items()})
    for ticker, sides in START.items():
        shadow.seq += 1
        stream.receive(wire.snapshot(shadow.seq, ticker, sides["yes"], sides["no"]), 0)
    stream.take_commands()
    return stream, shadow


def says_twice(data: bytes) -> bool:
    """Whether an object in it has a key twice."""
    twice = False

    def look(pairs: list[tuple[str, object]]) -> Json:
        nonlocal twice
        twice = twice or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    try:
        json.loads(data.decode(errors="surrogateescape"), object_pairs_hook=look)
    except (ValueError, RecursionError):
        return False
    return twice


def check(stream: BookStream, shadow: Shadow, data: bytes) -> int:
    """No book that may be used differs from the careful reader's; returns how many may be used."""
    usable = 0
    for ticker in TICKERS:
        book = stream.book(ticker)
        if book is None:
            continue
        usable += 1
        assert ticker not in shadow.stale, f"{ticker} must be stale after {data!r}"
        assert {"yes": dict(book.yes), "no": dict(book.no)} == shadow.books[ticker], f"{ticker} after {data!r}"
        for side in (book.yes, book.no):
            prices = [level.price for level in side]
            assert prices == sorted(set(prices), reverse=True)
            assert all(level.size > 0 for level in side)
            assert side.top == (prices[0] if prices else 0)
    return usable


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutated_frame_is_read_strictly_or_costs_the_books_it_touches(part: int) -> None:
    random = Random(1_000 + part)
    readings: Counter[str] = Counter()
    for _ in range(FRAMES_A_PART):
        stream, shadow = opened()
        text = sample(random, shadow.seq + 1, shadow)
        data = random.choice(MUTATIONS)(random, text)
        before = shadow.seq
        stream.receive(data, 0)
        shadow.take(data)
        usable = check(stream, shadow, data)
        readings[shadow.reading] += 1
        if shadow.reading in ("orderbook_delta", "orderbook_snapshot", "elsewhere", "unreadable"):
            # Staleness is no way out: what a careful reader can use, we use, but for numbers longer than any real one
            # and frames that say a thing twice.
            odd = re.search(rb"[0-9]{16}", data) or says_twice(data)
            assert odd or usable >= len(TICKERS) - len(shadow.stale), data
        # The exchange goes on counting from its own frame. What it says now is either right or shows what was lost.
        for seq in (before + 2, before + 3):
            good = wire.delta(seq, random.choice(TICKERS), "yes", 9_000, 100)
            stream.receive(good, 0)
            shadow.take(good.encode())
            check(stream, shadow, data)
    assert readings.keys() >= {
        "unreadable", "elsewhere", "subscribed", "control", "faulty", "ended", "orderbook_delta", "orderbook_snapshot",
    }  # fmt: skip


def test_both_price_conventions_make_the_same_books() -> None:
    """The same changes, the NO side once in NO prices and once in YES prices."""
    random = Random(5)
    own, as_yes = BookStream(1), BookStream(1, no_prices=NoPrices.YES)
    for stream in (own, as_yes):
        stream.want(TICKERS, 0)
        stream.connected(0)
        stream.receive(wire.subscribed(), 0)
    seq = 0

    def send(text: str) -> None:
        own.receive(text, 0)
        frame = json.loads(text)
        message = frame["msg"]
        if message.get("side") == "no":
            message["price_dollars"] = f"{1 - Decimal(message['price_dollars']):.4f}"
        for level in message.get("no_dollars_fp", []):
            level[0] = f"{1 - Decimal(level[0]):.4f}"
        as_yes.receive(json.dumps(frame), 0)

    for ticker, sides in START.items():
        seq += 1
        send(wire.snapshot(seq, ticker, sides["yes"], sides["no"]))
    for _ in range(500):
        seq += 1
        send(wire.delta(seq, random.choice(TICKERS), random.choice(["yes", "no"]), random.randrange(1, DOLLAR), 100))
    for ticker in TICKERS:
        mine, theirs = own.book(ticker), as_yes.book(ticker)
        assert mine is not None
        assert theirs is not None
        assert (dict(mine.yes), dict(mine.no)) == (dict(theirs.yes), dict(theirs.no))
        assert len(mine.no) > 50
    commands = [json.loads(text) for stream in (own, as_yes) for text in stream.take_commands()]
    asked = [command["params"]["use_yes_price"] for command in commands if "market_tickers" in command["params"]]
    assert asked == [False, True]
