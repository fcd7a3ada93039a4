"""Whatever arrives, a book that may be used is the exchange's own book as of the last frame."""

import json
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.money import count_from_wire, price_from_wire
from kalshi_arb.kalshi.frames import Unreadable, count_of, decode_frame, price_of
from kalshi_arb.kalshi.stream import BookStream
from tests import stream_samples as wire

TICKERS = ("A", "B", "C")
PRICES = st.integers(1, 9_999)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["change"] * 6 + ["snapshot", "lose", "repeat", "garble", "lie", "noise", "serve"]),
        st.sampled_from(TICKERS),
        st.sampled_from(["yes", "no"]),
        st.sampled_from([100, 200, 5_000, 5_001, 9_999]),
        st.integers(1, 500),
        st.booleans(),
    ),
    max_size=60,
)


@dataclass
class Exchange:
    """The truth: books, one sequence, and the frames it writes."""

    seq: int = 0
    books: dict[str, dict[str, dict[int, int]]] = field(
        default_factory=lambda: {ticker: {"yes": {}, "no": {}} for ticker in TICKERS}
    )

    def change(self, ticker: str, side: str, price: int, size: int, remove: bool) -> str:
        level = self.books[ticker][side]
        change = -level[price] if remove and price in level else size
        level[price] = level.get(price, 0) + change
        if not level[price]:
            del level[price]
        self.seq += 1
        return wire.delta(self.seq, ticker, side, price, change)

    def snapshot(self, ticker: str) -> str:
        self.seq += 1
        return wire.snapshot(self.seq, ticker, self.books[ticker]["yes"], self.books[ticker]["no"])

    def answer(self, text: str) -> list[str]:
        params = json.loads(text)["params"]
        if params.get("action") == "get_snapshot":
            return [self.snapshot(ticker) for ticker in params["market_tickers"]]
        return []


def check(stream: BookStream, exchange: Exchange) -> None:
    for ticker in TICKERS:
        book = stream.book(ticker)
        if book is not None:
            truth = exchange.books[ticker]
            assert (dict(book.yes), dict(book.no)) == (truth["yes"], truth["no"])


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_a_usable_book_is_the_exchanges_book_whatever_was_lost_or_garbled(
    steps: list[tuple[str, str, str, int, int, bool]],
) -> None:
    exchange, stream, now = Exchange(), BookStream(1), 0
    stream.want(TICKERS, now)
    stream.connected(now)
    commands: list[str] = []
    stream.receive(wire.subscribed(), now)
    for ticker in TICKERS:
        stream.receive(exchange.snapshot(ticker), now)
    check(stream, exchange)
    # A frame that was lost can be known only from the one after it.
    lost = False
    for kind, ticker, side, price, size, remove in steps:
        commands += stream.take_commands()
        if kind == "serve":
            for text in commands:
                for frame in exchange.answer(text):
                    stream.receive(frame, now)
                    lost = False
            commands.clear()
        elif kind == "noise":
            stream.receive(b"\xff{", now)
        elif kind == "snapshot":
            stream.receive(exchange.snapshot(ticker), now)
            lost = False
        else:
            frame = exchange.change(ticker, side, price, size, remove)
            if kind == "lose":
                lost = True
                continue
            if kind == "garble":
                frame = frame.replace('"price_dollars"', '"price"')
            elif kind == "lie":
                frame = frame.replace('"side": "yes"', '"side": "YES"').replace('"side": "no"', '"side": "NO"')
            stream.receive(frame, now)
            lost = False
            if kind == "repeat":
                stream.receive(frame, now)
        if not lost:
            check(stream, exchange)
    # However it went, asking mends it.
    stream.receive(exchange.change("A", "yes", 4_000, 1, remove=False), now)
    for _ in range(3):
        now += 100_000
        stream.tick(now)
        for text in commands + stream.take_commands():
            for frame in exchange.answer(text):
                stream.receive(frame, now)
        commands.clear()
    check(stream, exchange)
    assert stream.totals() == (3, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["orderbook_delta", "orderbook_snapshot", "ok", "error", "subscribed", "unsubscribed", "new"])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_at_all_can_raise_or_change_a_book(data: bytes) -> None:
    stream = BookStream(1)
    stream.want(["A"], 0)
    stream.connected(0)
    stream.receive(wire.subscribed(), 0)
    stream.receive(wire.snapshot(1, "A", {5_500: 100}), 0)
    stream.receive(data, 0)
    book = stream.book("A")
    assert book is not None
    assert dict(book.yes) == {5_500: 100}


@settings(max_examples=200, deadline=None)
@given(KINDS, st.integers() | st.none() | st.text(max_size=3), st.integers() | st.none(), JSON)
def test_frames_of_known_types_with_any_content_never_raise(kind: str, sid: object, seq: object, msg: object) -> None:
    stream = BookStream(1)
    stream.want(["A"], 0)
    stream.connected(0)
    stream.receive(wire.subscribed(), 0)
    stream.receive(wire.snapshot(1, "A", {5_500: 100}), 0)
    for body in (sid, wire.BOOK_SID):
        stream.receive(json.dumps({"type": kind, "sid": body, "seq": seq, "msg": msg}), 0)
    book = stream.book("A")
    assert book is None or dict(book.yes) == {5_500: 100}


@given(PRICES, st.integers(-(10**9), 10**9))
def test_remembered_amounts_are_the_amounts(price: int, count: int) -> None:
    price_text, count_text = f"{price / 10_000:.4f}", f"{count / 100:.2f}"
    for _ in range(2):
        assert price_of(price_text) == price_from_wire(price_text) == price
        assert count_of(count_text) == count_from_wire(count_text) == count


@given(st.text(max_size=12))
def test_a_text_is_an_amount_for_the_cache_exactly_when_it_is_one(text: str) -> None:
    for cached, plain in ((price_of, price_from_wire), (count_of, count_from_wire)):
        try:
            expected: int | None = plain(text)
        except AmountError:
            expected = None
        try:
            actual: int | None = cached(text)
        except AmountError:
            actual = None
        assert actual == expected


def test_what_cannot_be_read_names_its_place_in_the_sequence() -> None:
    frame = decode_frame('{"type":"orderbook_delta","sid":4,"seq":9,"msg":{}}')
    assert isinstance(frame, Unreadable)
    assert (frame.sid, frame.seq) == (4, 9)
