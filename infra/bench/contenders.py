"""Everybody who takes the frames: ours at two depths, and the peers, each used the way its own documentation shows.

A contender is fed raw frames one by one and is asked afterwards for its books. Peers are imported when they are made,
since they live in an environment of their own.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from feed.config import FeedConfig
from feed.core import FeedCore, Moment
from infra.bench.workload import SID, START_MS, Books, Levels, Workload
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.money import ONE_DOLLAR, count_from_wire, price_from_wire
from kalshi_arb.kalshi.commands import BOOK_CHANNEL
from kalshi_arb.kalshi.frames import Delta, Snapshot
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.schemas import Candidate, Lifecycle

SUBSCRIBED = b'{"id":2,"type":"subscribed","msg":{"channel":"%b","sid":%d}}' % (BOOK_CHANNEL.encode(), SID)
PEERS = ("pykalshi", "nautilus_trader")


class PeerMissingError(KalshiArbError):
    """A peer is not installed where the comparison runs: without it there is nothing to compare with."""


class Contender(Protocol):
    """Takes frames, keeps books."""

    def feed(self, frames: tuple[bytes, ...]) -> None:
        """Take in frames, one after the other."""
        ...

    def books(self) -> Books:
        """What was made of them."""
        ...


def peer(module: str) -> Any:
    """A module of a peer. :raises PeerMissingError: it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise PeerMissingError(
            f"{module.partition('.')[0]} is not installed here, and ratios without a peer mean nothing: run it with "
            "`make bench-feed`, which makes the environment .venv-bench from infra/env/bench.txt"
        ) from error


def _of_ours(stream: BookStream, tickers: tuple[str, ...]) -> Books:
    books = ((ticker, stream.book(ticker)) for ticker in tickers)
    return {ticker: (_levels(book.yes), _levels(book.no)) for ticker, book in books if book is not None}


def _levels(side: Any) -> Levels:
    return {level.price: level.size for level in side}


def opened_stream(workload: Workload) -> BookStream:
    """A stream that waits for the snapshots of the load."""
    stream = BookStream(1)
    stream.want(workload.tickers, 0)
    return stream


class OurBooks:
    """Our decoder and books: sequence, sizes and the best-changed flag, no screen."""

    def __init__(self, workload: Workload) -> None:
        self._tickers = workload.tickers
        self._stream = opened_stream(workload)
        self._stream.connected(0)
        self._stream.receive(SUBSCRIBED, 0)

    def feed(self, frames: tuple[bytes, ...]) -> None:
        """As the protocol says."""
        receive = self._stream.receive
        for frame in frames:
            receive(frame, START_MS)

    def books(self) -> Books:
        """As the protocol says."""
        return _of_ours(self._stream, self._tickers)


class _Sink:
    """An outlet that only counts candidates."""

    def __init__(self) -> None:
        self.groups: dict[str, int] = {}

    def candidate(self, candidate: Candidate, received: Moment) -> None:  # noqa: ARG002 - the outlet's signature
        """As the feed's outlet says."""
        self.groups[candidate.group_id] = self.groups.get(candidate.group_id, 0) + 1

    def book(self, book: BookSnapshot) -> bool:  # noqa: ARG002 - the outlet's signature
        """As the feed's outlet says."""
        return True

    def lifecycle(self, message: Lifecycle) -> None:
        """As the feed's outlet says."""


class OurFeed:
    """The feed's core as it runs in production: books, screen, every completed exchange millisecond judged."""

    def __init__(self, workload: Workload) -> None:
        self._tickers = workload.tickers
        self.sink = _Sink()
        config = FeedConfig(mode="simulated")
        self.core = FeedCore(stream=opened_stream(workload), outlet=self.sink, config=config)
        self._groups = workload.groups
        self.core.install(Screen(workload.groups), workload.groups, Moment(START_MS, 0))
        self.core.open(START_MS)
        self.core.frame(SUBSCRIBED, Moment(START_MS, 0))

    def feed(self, frames: tuple[bytes, ...]) -> None:
        """As the protocol says."""
        frame_in, moment = self.core.frame, Moment(START_MS, 0)
        for frame in frames:
            frame_in(frame, moment)

    def books(self) -> Books:
        """As the protocol says."""
        return _of_ours(self.core.stream, self._tickers)

    def check(self) -> None:
        """Every edge is what a new screen makes of the final books, and mispriced ladders were found.

        :raises KalshiArbError: not so.
        """
        self.core.judge(START_MS)
        fresh = Screen(self._groups)
        for ticker in self._tickers:
            book = self.core.stream.book(ticker)
            if book is not None:
                fresh.update(book)
        for group in self._groups:
            if fresh.edge(group.group_id) != self.core.screen.edge(group.group_id):
                raise KalshiArbError(f"the kept edge of {group.group_id} is not that of its books")
        if not self.sink.groups:
            raise KalshiArbError("the load holds mispriced ladders and the screen let none through")


class PyKalshi:
    """pykalshi: its message parser and its order book manager, as its feed example wires them."""

    def __init__(self, workload: Workload) -> None:  # noqa: ARG002 - made like every other contender
        self._parse: Callable[[bytes], tuple[str, str, Any, Any]] = peer("pykalshi.feed")._parse_message
        self._new = peer("pykalshi").OrderbookManager
        self._books: dict[str, Any] = {}

    def feed(self, frames: tuple[bytes, ...]) -> None:
        """As the protocol says."""
        parse, take = self._parse, self.take
        for frame in frames:
            take(parse(frame)[2])

    def take(self, message: Any) -> None:
        """One parsed message, as the handler of its documentation takes it."""
        ticker = message.market_ticker
        books = self._books
        if ticker not in books:
            books[ticker] = self._new(ticker)
        if hasattr(message, "yes_dollars"):
            books[ticker].apply_snapshot(message.yes_dollars, message.no_dollars)
        else:
            books[ticker].apply_delta(message.side, message.price_dollars, message.delta_fp)

    def books(self) -> Books:
        """As the protocol says."""
        return {
            ticker: (
                {price_from_wire(price): count_from_wire(count) for price, count in book.yes.items()},
                {price_from_wire(price): count_from_wire(count) for price, count in book.no.items()},
            )
            for ticker, book in self._books.items()
        }


class PyKalshiBest(PyKalshi):
    """pykalshi with the best price of the changed side read after each change."""

    def take(self, message: Any) -> None:
        """As the base says."""
        super().take(message)
        book = self._books[message.market_ticker]
        if getattr(message, "side", "yes") == "yes":
            book.best_bid  # noqa: B018 - a property that does the work
        else:
            book.best_ask  # noqa: B018


class Nautilus:
    """msgspec and nautilus_trader's order book, fed as its own adapters do: an ``OrderBookDelta`` for every change,
    bids as they are and NO bids as asks at the complement.

    The exchange sends changes and the book wants sizes, so sizes are kept here. Prices and sizes are built once each.
    """

    def __init__(self, workload: Workload) -> None:
        msgspec = peer("msgspec")
        model, data = peer("nautilus_trader.model.book"), peer("nautilus_trader.model.data")
        enums, objects = peer("nautilus_trader.model.enums"), peer("nautilus_trader.model.objects")
        identifiers = peer("nautilus_trader.model.identifiers")

        self._decode = msgspec.json.Decoder(Delta | Snapshot).decode
        self._delta_type = Delta
        self._price, self._quantity = objects.Price, objects.Quantity
        self._order, self._delta = data.BookOrder, data.OrderBookDelta
        self._update, self._delete = enums.BookAction.UPDATE, enums.BookAction.DELETE
        self._sides = {"yes": enums.OrderSide.BUY, "no": enums.OrderSide.SELL}
        self._ids = {t: identifiers.InstrumentId.from_str(f"{t}.KALSHI") for t in workload.tickers}
        self._books = {t: model.OrderBook(i, enums.BookType.L2_MBP) for t, i in self._ids.items()}
        self._sizes: dict[tuple[str, str, str], int] = {}
        self._prices: dict[tuple[str, str], Any] = {}
        self._quantities: dict[int, Any] = {}
        self._changes: dict[str, int] = {}

    def feed(self, frames: tuple[bytes, ...]) -> None:
        """As the protocol says."""
        decode, delta_type, change, best = self._decode, self._delta_type, self._change, self._best
        for raw in frames:
            frame = decode(raw)
            message = frame.msg
            ticker = message.market_ticker
            if type(frame) is delta_type:
                change(ticker, message.side, message.price_dollars, message.delta_fp, message.ts_ms, frame.seq)
                best(ticker, message.side)
            else:
                for side, levels in (("yes", message.yes_dollars_fp), ("no", message.no_dollars_fp)):
                    for price, count in levels:
                        change(ticker, side, price, count, 0, frame.seq)

    def _change(self, ticker: str, side: str, price_text: str, change_text: str, ts_ms: int, seq: int) -> None:
        change = self._changes.get(change_text)
        if change is None:
            change = self._changes[change_text] = count_from_wire(change_text)
        sizes, key = self._sizes, (ticker, side, price_text)
        size = sizes[key] = sizes.get(key, 0) + change
        price = self._prices.get((side, price_text))
        if price is None:
            units = price_from_wire(price_text)
            shown = units if side == "yes" else ONE_DOLLAR - units
            price = self._prices[side, price_text] = self._price.from_str(f"{shown / 10_000:.4f}")
        quantity = self._quantities.get(size)
        if quantity is None:
            quantity = self._quantities[size] = self._quantity.from_str(f"{size / 100:.2f}")
        self._apply(ticker, side, price, quantity, ts_ms, seq, gone=not size)

    def _apply(self, ticker: str, side: str, price: Any, quantity: Any, ts_ms: int, seq: int, *, gone: bool) -> None:
        order = self._order(self._sides[side], price, quantity, 0)
        action = self._delete if gone else self._update
        time_ns = ts_ms * 1_000_000
        self._books[ticker].apply_delta(self._delta(self._ids[ticker], action, order, 0, seq, time_ns, time_ns))

    def _best(self, ticker: str, side: str) -> None:
        book = self._books[ticker]
        if side == "yes":
            book.best_bid_price()
        else:
            book.best_ask_price()

    def books(self) -> Books:
        """As the protocol says."""

        def levels(side: Any, *, complement: bool) -> Levels:
            rows = ((price_from_wire(str(level.price)), round(level.size() * 100)) for level in side)
            return {(ONE_DOLLAR - price if complement else price): size for price, size in rows}

        return {
            ticker: (levels(book.bids(), complement=False), levels(book.asks(), complement=True))
            for ticker, book in self._books.items()
        }


class NautilusDirect(Nautilus):
    """The same without ``OrderBookDelta``: the book's own ``update`` and ``delete``, the fastest way in from Python."""

    def _apply(self, ticker: str, side: str, price: Any, quantity: Any, ts_ms: int, seq: int, *, gone: bool) -> None:
        order, book = self._order(self._sides[side], price, quantity, 0), self._books[ticker]
        if gone:
            book.delete(order, ts_ms * 1_000_000, 0, seq)
        else:
            book.update(order, ts_ms * 1_000_000, 0, seq)


CONTENDERS: dict[str, Callable[[Workload], Contender]] = {
    "ours_apply": OurBooks,
    "ours_apply_screen": OurFeed,
    "pykalshi_apply": PyKalshi,
    "pykalshi_apply_best": PyKalshiBest,
    "msgspec_nautilus_best": Nautilus,
    "msgspec_nautilus_direct_best": NautilusDirect,
}
