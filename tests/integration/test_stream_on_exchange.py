"""The stream's client against the embedded exchange's stream, without a socket between them: books in both conventions
of prices, markets that come and go, and the private channels beside the exchange's own account."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER
from infra.exchange.stream import StreamSession
from infra.exchange.testkit import START_MS, TICKERS, buy, rest, still_core
from kalshi_arb.domain.book import Book
from kalshi_arb.domain.market import Outcome
from kalshi_arb.kalshi.commands import PRIVATE_CHANNELS, NoPrices
from kalshi_arb.kalshi.private_view import PrivateView
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.kalshi.stream_events import CommandFailed, Event, GapDetected, PrivateSeen

A, B, C = TICKERS


@dataclass
class Line:
    """One client on one exchange."""

    core: ExchangeCore
    stream: BookStream
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = StreamSession(self.core, MEMBER)
        self.stream.connected(START_MS)
        self.pump()

    def pump(self) -> None:
        """Carry what happened to the client, and its commands to the exchange, until both are quiet."""
        self.take(frame.text for frame in self.session.emit(self.core.drain()))
        while self.stream.has_commands:
            for text in self.stream.take_commands():
                self.take(frame.text for frame in self.session.handle(text))

    def take(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.events += self.stream.receive(text, START_MS)

    def check(self, *tickers: str) -> None:
        for ticker in tickers:
            ours, theirs = self.stream.book(ticker), self.core.markets[ticker].book
            assert ours is not None
            assert levels(ours) == levels(theirs)
        assert not [event for event in self.events if isinstance(event, GapDetected | CommandFailed)]


def levels(book: Book) -> tuple[dict[int, int], dict[int, int]]:
    return dict(book.yes), dict(book.no)


def stocked() -> ExchangeCore:
    core = still_core()
    for ticker in TICKERS:
        rest(core, ticker, Outcome.YES, 40, 20)
        rest(core, ticker, Outcome.NO, 45, 30)
        rest(core, ticker, Outcome.NO, 44, 7)
    core.drain()
    return core


@pytest.mark.parametrize("no_prices", NoPrices)
def test_books_follow_the_exchange_in_either_convention(no_prices: NoPrices) -> None:
    stream = BookStream(1, no_prices=no_prices)
    stream.want([A, B], START_MS)
    line = Line(stocked(), stream)
    line.check(A, B)
    buy(line.core, A, Outcome.YES, 56, 33)
    rest(line.core, B, Outcome.NO, 46, 5)
    line.pump()
    line.check(A, B)
    assert stream.book(C) is None


def test_markets_come_and_go_on_the_living_subscription() -> None:
    stream = BookStream(1, tickers_per_command=1)
    stream.want([A], START_MS)
    line = Line(stocked(), stream)
    generation = stream.version(A)
    stream.want([A, B, C], START_MS)
    line.pump()
    line.check(A, B, C)
    stream.want([B], START_MS)
    line.pump()
    rest(line.core, A, Outcome.YES, 41, 1)
    rest(line.core, B, Outcome.YES, 41, 1)
    line.pump()
    line.check(B)
    assert stream.book(A) is None
    after = stream.version(B)
    assert generation is not None
    assert after is not None
    assert after.generation == generation.generation


def test_the_private_channels_tell_what_the_account_holds() -> None:
    stream = BookStream(1, private=PRIVATE_CHANNELS)
    stream.want([A], START_MS)
    line = Line(stocked(), stream)
    for outcome, cents, contracts in ((Outcome.YES, 56, 33), (Outcome.NO, 60, 4), (Outcome.NO, 60, 3)):
        buy(line.core, A, outcome, cents, contracts)
        line.pump()
    line.check(A)
    view = PrivateView()
    told = [view.take(event.message, START_MS) for event in line.events if isinstance(event, PrivateSeen)]
    assert told
    assert not any(told)
    # 33 YES in two fills, then 7 NO against them.
    assert view.positions == {A: 2_600}
    assert view.counts.fills == 4
    assert view.unmatched(START_MS + 60_000) == 0
