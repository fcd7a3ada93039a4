"""Every fault of the embedded exchange's stream against the feed: its books are the exchange's again, whatever happens.

The feed runs whole, over a real socket; between its frames the books of a still exchange are changed at random.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.asyncio.client import ClientConnection, connect

from feed.config import FeedConfig
from feed.connection import SignedConnector
from feed.publisher import Ports
from feed.service import FeedService
from infra.exchange.account import OrderView
from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.faults import (
    CallScope,
    Disconnected,
    Disorder,
    Fault,
    FaultScript,
    FillsDisordered,
    FrameDelayed,
    FrameDropped,
    FrameDuplicated,
    FrameScope,
    HttpError,
    SequenceGap,
    StaleSnapshot,
    SubscriptionEnded,
)
from infra.exchange.living import MEMBER
from infra.exchange.server import WS_PATH, ExchangeServer, ServerConfig
from infra.exchange.testkit import MAKER, buy, rest, still_core, still_event
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.market import Outcome
from kalshi_arb.fakes import MemoryBookStore, MemoryGroupStore, MemoryMetrics, MemoryQueue, MemoryStatusStore
from kalshi_arb.kalshi.signing import Credentials, Signer
from kalshi_arb.kalshi.stream import BookStream
from tests.basket_world import ladder

GENEROUS_S = 20.0
GROUP = ladder()
TICKERS = tuple(market.ticker for market in GROUP.markets)
BOOKS = FrameScope(channels=("orderbook_delta",), types=("orderbook_delta",))
OUT_OF_ORDER = FillsDisordered(how=Disorder.OUT_OF_ORDER, ms=300)
QUICK = FeedConfig(
    mode="simulated", first_backoff_s=0.02, longest_backoff_s=0.05, poll_s=0.02, status_s=0.05, beat_s=0.01,
    ping_every_s=0.02,
)  # fmt: skip


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.005)


@dataclass
class Scene:
    """A feed on a served exchange, and a crowd that changes its books."""

    server: ExchangeServer
    service: FeedService
    chance: random.Random
    resting: list[OrderView]
    credentials: Credentials
    status: MemoryStatusStore

    @property
    def core(self) -> ExchangeCore:
        return self.server.core

    @property
    def stream(self) -> BookStream:
        return self.service.core.stream

    def arm(self, *faults: Fault) -> None:
        self.server.faults.add(FaultScript(faults, seed=5))

    async def change_books(self, changes: int) -> None:
        """Orders come and go on bids below 50 cents, so nothing ever crosses."""
        for _ in range(changes):
            if len(self.resting) > 20 and self.chance.random() < 0.6:
                order = self.resting.pop(self.chance.randrange(len(self.resting)))
                self.core.cancel(MAKER, order.order_id)
            else:
                outcome, cents = self.chance.choice(tuple(Outcome)), self.chance.randint(40, 45)
                ticker, size = self.chance.choice(TICKERS), self.chance.randint(1, 9)
                self.resting.append(rest(self.core, ticker, outcome, cents, size))
            self.server.flush()
            await asyncio.sleep(0.001)

    def books_are_right(self) -> bool:
        for ticker in TICKERS:
            mine, theirs = self.stream.book(ticker), self.core.markets[ticker].book
            if mine is None or (list(mine.yes), list(mine.no)) != (list(theirs.yes), list(theirs.no)):
                return False
        return True

    async def settle_down(self) -> None:
        await until(self.books_are_right, "all books are the exchange's")


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    clock, status, key = SystemClock(), MemoryStatusStore(), Ed25519PrivateKey.generate()
    now_ms = clock.now_ms()
    core = still_core(event=lambda: still_event(TICKERS, open_ms=now_ms, close_ms=now_ms + 3_600_000))
    core.advance(now_ms)
    core.drain()
    keys = KeyRing()
    keys.add("key", key.public_key(), MEMBER)
    server = ExchangeServer(core, keys, ServerConfig(ping_seconds=0.05), now_ms=clock.now_ms)
    await server.start()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    credentials = Credentials("key", pem)
    service = FeedService(
        config=QUICK,
        connector=SignedConnector(server.ws_url, Signer(credentials), clock),
        groups=MemoryGroupStore([GROUP]),
        ports=Ports(MemoryQueue(), MemoryQueue(), MemoryBookStore(), status),
        metrics=MemoryMetrics(),
        clock=clock,
        epoch=1,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    try:
        made = Scene(server, service, random.Random(11), [], credentials, status)
        await made.settle_down()
        await made.change_books(60)
        await made.settle_down()
        yield made
        assert not task.done(), "the feed lives on"
    finally:
        stop.set()
        await asyncio.wait([task])
        await server.stop()
    await task


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with scene() as made:
            await act(made)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "is_noticed"),
    [
        (FrameDropped(scope=BOOKS, count=3, chance=0.2), "gap"),
        (FrameDuplicated(scope=BOOKS, count=3, chance=0.2), "gap"),
        (FrameDelayed(scope=BOOKS, ms=150, overtaken=True, count=2, chance=0.2), "gap"),
        (FrameDelayed(scope=BOOKS, ms=40, count=2, chance=0.2), "nothing"),
        (SequenceGap(scope=BOOKS, size=4, count=3, chance=0.2), "gap"),
        (Disconnected(scope=BOOKS), "connection"),
        (Disconnected(scope=BOOKS, clean=True), "connection"),
        (SubscriptionEnded(scope=BOOKS, code=10), "loss"),
        (SubscriptionEnded(scope=BOOKS, code=25), "loss"),
    ],
    ids=lambda value: value.label if isinstance(value, Fault) else value,
)
def test_books_are_right_again_after_every_fault_of_the_stream(fault: Fault, is_noticed: str) -> None:
    async def act(made: Scene) -> None:
        made.arm(fault)
        await made.change_books(120)
        await made.settle_down()
        assert made.server.faults.struck(fault.label) == fault.most
        counts = made.stream.counts
        # A subscription that ends takes a numbered frame with it, so a gap may show first.
        assert is_noticed == "loss" or (counts.gaps > 0) == (is_noticed == "gap")
        assert (counts.lost > 0) == (is_noticed == "loss")
        reconnects = int(is_noticed == "connection")
        await until(lambda: (made.status.get("feed") or {}).get("reconnects") == reconnects, "it is reported")

    play(act)


def test_a_snapshot_that_is_stale_shows_itself_at_the_first_change_it_cannot_bear() -> None:
    async def act(made: Scene) -> None:
        ticker = TICKERS[0]
        # The session's first snapshot of the book was empty; the stale one that answers the gap is empty again.
        assert made.core.markets[ticker].book.yes.best is not None
        made.arm(SequenceGap(scope=BOOKS), StaleSnapshot(scope=FrameScope(markets=(ticker,))))
        rest(made.core, TICKERS[1], Outcome.YES, 41, 1)
        made.server.flush()
        await until(lambda: made.server.faults.struck("stale_snapshot") == 1, "the stale snapshot")
        await until(lambda: made.stream.totals() == (3, 0), "every book is taken for right")
        assert not made.books_are_right()
        before = made.stream.counts.resyncs
        order = next(order for order in made.resting if order.ticker == ticker)
        made.core.cancel(MAKER, order.order_id)
        made.server.flush()
        await until(lambda: made.stream.counts.resyncs > before, "the feed asks again")
        await made.settle_down()

    play(act)


def test_a_handshake_that_is_refused_for_a_while_is_tried_again() -> None:
    async def act(made: Scene) -> None:
        handshake = CallScope(paths=(WS_PATH,))
        made.arm(Disconnected(scope=BOOKS), HttpError(status=503, scope=handshake, count=3))
        await made.change_books(20)
        await made.settle_down()
        assert made.server.faults.struck("http_error") == 3

    play(act)


def test_a_storm_of_everything_at_once_leaves_the_books_right() -> None:
    async def act(made: Scene) -> None:
        made.arm(
            FrameDropped(scope=BOOKS, count=8, chance=0.05),
            FrameDuplicated(scope=BOOKS, count=8, chance=0.05),
            FrameDelayed(scope=BOOKS, ms=15, overtaken=True, count=8, chance=0.05),
            SequenceGap(scope=BOOKS, count=8, chance=0.05),
            Disconnected(scope=BOOKS, count=3, chance=0.02),
        )
        await made.change_books(400)
        await asyncio.sleep(0.05)
        await made.settle_down()
        assert made.server.faults.struck("frame_dropped") > 0
        assert made.server.faults.struck("sequence_gap") > 0

    play(act)


async def heard_on(ws: ClientConnection) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(ws.recv(), GENEROUS_S))
    return frame


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        (OUT_OF_ORDER, [1, 0, 2]),
        (FillsDisordered(how=Disorder.LATE, ms=500), [1, 2, 0]),
        (FillsDisordered(how=Disorder.DUPLICATE), [0, 0, 1, 2]),
    ],
    ids=lambda value: value.how.value if isinstance(value, FillsDisordered) else "",
)
def test_fills_reach_the_private_stream_as_disordered_as_the_fault_says(fault: Fault, order: list[int]) -> None:
    async def act(made: Scene) -> None:
        rest(made.core, TICKERS[0], Outcome.NO, 52, 10)
        headers = Signer(made.credentials).headers(made.core.now_ms, "GET", WS_PATH)
        async with connect(made.server.ws_url, additional_headers=headers, compression=None) as ws:
            await ws.send(json.dumps({"id": 1, "cmd": "subscribe", "params": {"channels": ["fill"]}}))
            assert (await heard_on(ws))["type"] == "subscribed"
            made.arm(fault)
            sent, heard = [], []
            for number in range(3):
                sent.append(buy(made.core, TICKERS[0], Outcome.YES, 48, 1, client_order_id=f"c-{number}").order_id)
                made.server.flush()
                await asyncio.sleep(0)
                if fault == OUT_OF_ORDER and number == 1:  # both before the third is traded
                    heard = [await heard_on(ws), await heard_on(ws)]
            while len(heard) < len(order):
                heard.append(await heard_on(ws))
        told = [frame["msg"]["order_id"] for frame in heard]
        assert [sent.index(order_id) for order_id in told] == order
        assert made.server.faults.struck("fills") == 1

    play(act)
