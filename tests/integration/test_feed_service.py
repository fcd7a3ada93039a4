"""The feed as a whole: a real WebSocket on loopback, real threads, stores in memory."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.utils import accept_key

from feed.config import FeedConfig
from feed.connection import SignedConnector
from feed.publisher import Ports
from feed.service import FeedCrashError, FeedService, next_epoch
from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import StoreError
from kalshi_arb.domain.money import Cash
from kalshi_arb.fakes import (
    ManualClock,
    MemoryBookStore,
    MemoryGroupStore,
    MemoryMetrics,
    MemoryQueue,
    MemoryStatusStore,
)
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import AuthError
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Credentials, Signer
from kalshi_arb.metrics_names import Metric
from kalshi_arb.schemas import Candidate, Lifecycle, decode
from tests.market_samples import formed, group

KEY = Ed25519PrivateKey.generate()
CREDENTIALS = Credentials("key", KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
EASY, HARD = "> 70", "> 72"
GENEROUS_S = 10.0


@dataclass
class Script:
    """A tiny exchange: one book subscription a connection, which the test drives frame by frame."""

    commands: list[dict[str, object]] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    subscribed: list[str] = field(default_factory=list)
    sockets: list[ServerConnection] = field(default_factory=list)
    seq: int = 0
    refuse_with: int | None = None

    async def handle(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        self.seq = 0
        self.subscribed = []
        try:
            async for text in socket:
                await self._answer(socket, json.loads(text))
        except ConnectionClosed:
            return

    def check(self, socket: ServerConnection, request: Request) -> Response | None:
        self.signed.append(request.headers["KALSHI-ACCESS-SIGNATURE"])
        if self.refuse_with is None:
            return None
        return socket.respond(self.refuse_with, '{"error":{"code":"authentication_error","message":"bad signature"}}')

    async def _answer(self, socket: ServerConnection, command: dict[str, object]) -> None:
        self.commands.append(command)
        params = command["params"]
        assert isinstance(params, dict)
        if command["cmd"] == "subscribe":
            (channel,) = params["channels"]
            sid = 1 if channel == "market_lifecycle_v2" else 2
            reply = {"id": command["id"], "type": "subscribed", "msg": {"channel": channel, "sid": sid}}
            await socket.send(json.dumps(reply))
        else:
            await self.book_frame("ok", {}, id=command["id"])
        if params.get("market_tickers") and params.get("action") in (None, "add_markets"):
            self.subscribed += params["market_tickers"]

    async def book_frame(self, kind: str, message: dict[str, object], **extra: object) -> None:
        self.seq += 1
        await self.sockets[-1].send(json.dumps({"type": kind, "sid": 2, "seq": self.seq, "msg": message, **extra}))

    async def snapshot(self, ticker: str, yes: dict[str, str], no: dict[str, str]) -> None:
        message: dict[str, object] = {"market_ticker": ticker}
        if yes:
            message["yes_dollars_fp"] = [[price, size] for price, size in yes.items()]
        if no:
            message["no_dollars_fp"] = [[price, size] for price, size in no.items()]
        await self.book_frame("orderbook_snapshot", message)

    async def delta(self, ticker: str, side: str, price: str, change: str, ts_ms: int) -> None:
        await self.book_frame(
            "orderbook_delta",
            {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": side, "ts_ms": ts_ms},
        )

    async def fair_books(self) -> None:
        """YES of the easier market costs 0.60, of the harder one it sells at 0.40: nothing to find."""
        await self.snapshot(EASY, {"0.5500": "10.00"}, {"0.4000": "10.00"})
        await self.snapshot(HARD, {"0.4000": "10.00"}, {"0.5500": "10.00"})


@dataclass
class Running:
    """A feed at work and everything it touches."""

    script: Script
    service: FeedService
    candidates: MemoryQueue
    lifecycle: MemoryQueue
    books: MemoryBookStore
    groups: MemoryGroupStore
    status: MemoryStatusStore
    metrics: MemoryMetrics
    stop: asyncio.Event
    task: asyncio.Task[None]

    def found(self) -> list[Candidate]:
        return [decode(body, Candidate) for body in list(self.candidates.bodies)]


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.005)


def quick(health_file: str | None = None) -> FeedConfig:
    return FeedConfig(
        mode="simulated", first_backoff_s=0.02, longest_backoff_s=0.05, poll_s=0.02, status_s=0.05, metrics_s=0.05,
        snapshot_interval_ms=50, beat_s=0.01, ping_every_s=0.02, health_file=health_file,
    )  # fmt: skip


@asynccontextmanager
async def feed_at_work(
    script: Script,
    *,
    config: FeedConfig | None = None,
    books: MemoryBookStore | None = None,
    candidates: MemoryQueue | None = None,
) -> AsyncIterator[Running]:
    async with serve(script.handle, "127.0.0.1", 0, process_request=script.check, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/trade-api/ws/v2"
        async with feed_on(url, script, config=config, books=books, candidates=candidates) as running:
            yield running


@asynccontextmanager
async def feed_on(
    url: str,
    script: Script,
    *,
    config: FeedConfig | None = None,
    books: MemoryBookStore | None = None,
    candidates: MemoryQueue | None = None,
    groups: MemoryGroupStore | None = None,
) -> AsyncIterator[Running]:
    clock, status, metrics = SystemClock(), MemoryStatusStore(), MemoryMetrics()
    candidates, lifecycle = candidates or MemoryQueue(), MemoryQueue()
    books, groups = books or MemoryBookStore(), groups or MemoryGroupStore([group(EASY, HARD)])
    service = FeedService(
        config=config or quick(),
        connector=SignedConnector(url, Signer(CREDENTIALS), clock),
        groups=groups,
        ports=Ports(candidates, lifecycle, books, status),
        metrics=metrics,
        clock=clock,
        epoch=next_epoch(status),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    try:
        yield Running(script, service, candidates, lifecycle, books, groups, status, metrics, stop, task)
    finally:
        stop.set()
        await asyncio.wait([task])


async def ready(running: Running) -> None:
    await until(lambda: set(running.script.subscribed) == {EASY, HARD}, "both markets are subscribed")


async def run_script(script: Script, play: Callable[[Running], Awaitable[None]], **options: object) -> None:
    async with feed_at_work(script, **options) as running:  # type: ignore[arg-type]
        await ready(running)
        await play(running)
        assert not running.task.done()
    await running.task


def test_a_crossing_ladder_becomes_one_candidate_with_the_books_it_was_seen_on() -> None:
    async def play(running: Running) -> None:
        script = running.script
        await script.fair_books()
        # Inside one exchange millisecond the harder market is bid up through the easier one's ask, to 0.70.
        await script.delta(HARD, "no", "0.5500", "-10.00", 1_000)
        await script.delta(HARD, "yes", "0.7000", "7.00", 1_000)
        await until(lambda: len(running.candidates.bodies) == 1, "the candidate")
        # Nothing about it changes any more: it is not sent again.
        await script.delta("OTHER", "yes", "0.1000", "1.00", 2_000)
        await until(lambda: running.service.core.stream.counts.frames >= 7, "the later frame was read")
        await asyncio.sleep(0.4)
        (candidate,) = running.found()
        assert candidate.group_id == running.groups.all()[0].group.group_id
        assert candidate.fingerprint == running.groups.all()[0].group.fingerprint
        # Buying YES > 70 at 0.60 and NO > 72 at 0.30 costs 0.90 and fees: 0.1 - 0.0168 - 0.0147.
        assert candidate.edge == 685_000_000
        assert candidate.sent_ms >= candidate.received_ms
        by_ticker = {book.ticker: book for book in candidate.books}
        assert by_ticker[HARD].yes_bids == ((7_000, 700), (4_000, 1_000))
        assert by_ticker[HARD].no_bids == ()
        assert by_ticker[EASY].no_bids == ((4_000, 1_000),)
        assert by_ticker[HARD].version == (1, 1, 4)
        assert by_ticker[EASY].version == (1, 1, 1)
        assert by_ticker[HARD].exchange_ms == 1_000

    asyncio.run(run_script(Script(), play))


def test_a_lock_inside_one_millisecond_is_no_candidate() -> None:
    async def play(running: Running) -> None:
        script = running.script
        await script.fair_books()
        await until(lambda: running.service.core.stream.totals() == (2, 0), "both books are right")
        # In one burst: up through everything, and back before the millisecond is over; then the next millisecond.
        frames = [("yes", "0.7000", "7.00", 1_000), ("yes", "0.7000", "-7.00", 1_000), ("yes", "0.4000", "1.00", 1_001)]
        for side, price, change, ts_ms in frames:
            await script.delta(HARD, side, price, change, ts_ms)
        await until(lambda: running.service.core.stream.counts.frames >= 7, "the burst was read")
        await asyncio.sleep(0.05)
        assert running.found() == []

    asyncio.run(run_script(Script(), play, config=FeedConfig(mode="simulated", judge_delay_s=0.5, poll_s=0.02)))


def test_a_gap_makes_books_unusable_until_their_snapshots() -> None:
    async def play(running: Running) -> None:
        script = running.script
        await script.fair_books()
        await until(lambda: running.service.core.stream.totals() == (2, 0), "both books are right")
        script.seq += 1
        # What would be a candidate, were it not for the frame that is missing.
        await script.delta(HARD, "no", "0.5500", "-10.00", 1_000)
        await script.delta(HARD, "yes", "0.7000", "7.00", 1_001)
        await script.delta(HARD, "yes", "0.1000", "7.00", 1_002)

        def asked() -> list[dict[str, object]]:
            return [c for c in script.commands if c["params"].get("action") == "get_snapshot"]  # type: ignore[attr-defined]

        await until(lambda: bool(asked()), "snapshots are asked for")
        assert sorted(asked()[0]["params"]["market_tickers"]) == [EASY, HARD]  # type: ignore[index]
        assert running.found() == []
        assert running.service.core.stream.totals() == (2, 2)
        await script.snapshot(EASY, {"0.5500": "10.00"}, {"0.4000": "10.00"})
        await script.snapshot(HARD, {"0.6800": "3.00"}, {})
        await until(lambda: len(running.candidates.bodies) == 1, "the candidate on right books")
        (candidate,) = running.found()
        assert {book.ticker: book.yes_bids for book in candidate.books}[HARD] == ((6_800, 300),)
        await until(lambda: (running.status.get("feed") or {}).get("gaps") == 1, "the gap is reported")

    asyncio.run(run_script(Script(), play))


def test_after_a_disconnect_the_feed_comes_back_with_newer_book_versions() -> None:
    async def play(running: Running) -> None:
        script = running.script
        await script.fair_books()
        await until(lambda: running.service.core.stream.totals() == (2, 0), "both books are right")
        before = running.service.core.stream.version(EASY)
        await script.sockets[-1].close()
        await until(lambda: len(script.sockets) == 2, "it connects again")
        await ready(running)
        assert running.service.core.stream.version(EASY) is None
        await script.fair_books()
        await until(lambda: running.service.core.stream.totals() == (2, 0), "both books are right again")
        after = running.service.core.stream.version(EASY)
        assert before is not None
        assert after is not None
        assert after > before
        # Every handshake is signed anew.
        assert len(set(script.signed)) == len(script.signed) == 2
        await until(lambda: (running.status.get("feed") or {}).get("reconnects") == 1, "it is reported")

    asyncio.run(run_script(Script(), play))


def test_a_silent_connection_is_given_up() -> None:
    """The peer neither sends nor answers pings: what a half-open connection looks like."""

    async def scenario() -> None:
        connections = 0

        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            request = await reader.readuntil(b"\r\n\r\n")
            key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if b"Sec-WebSocket-Key" in line)
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept_key(key.decode()).encode() + b"\r\n\r\n"
            )
            connections += 1
            await reader.read()
            writer.close()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        async with server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/trade-api/ws/v2"
            config = FeedConfig(mode="simulated", heartbeat_s=0.1, first_backoff_s=0.01, longest_backoff_s=0.02)
            async with feed_on(url, Script(), config=config):
                await until(lambda: connections >= 2, "it connects again")

    asyncio.run(scenario())


def test_groups_come_and_go_without_reconnecting() -> None:
    async def play(running: Running) -> None:
        script = running.script
        await script.fair_books()
        await until(lambda: running.service.core.stream.totals() == (2, 0), "both books are right")
        other = group("> 10", "> 20", event="OTHER")
        running.groups.hold([other])
        await until(lambda: {"> 10", "> 20"} <= set(script.subscribed), "the new markets are added")
        deleted = [c["params"] for c in script.commands if c["params"].get("action") == "delete_markets"]  # type: ignore[attr-defined]
        assert [sorted(params["market_tickers"]) for params in deleted] == [[EASY, HARD]]  # type: ignore[index]
        await script.snapshot("> 10", {}, {"0.4000": "5.00"})
        await script.snapshot("> 20", {"0.7000": "5.00"}, {})
        await until(lambda: len(running.candidates.bodies) == 1, "a candidate of the new group")
        assert running.found()[0].group_id == other.group_id
        assert len(script.sockets) == 1

    asyncio.run(run_script(Script(), play))


def test_lifecycle_messages_reach_their_queue_and_books_their_table() -> None:
    async def play(running: Running) -> None:
        script = running.script
        await script.fair_books()
        message = {"market_ticker": "NEW-1", "event_type": "created"}
        await script.sockets[-1].send(json.dumps({"type": "market_lifecycle_v2", "sid": 1, "seq": 1, "msg": message}))
        await until(lambda: len(running.lifecycle.bodies) == 1, "the lifecycle message")
        passed = decode(running.lifecycle.bodies[0], Lifecycle)
        assert (passed.ticker, passed.event_type) == ("NEW-1", "created")
        await until(lambda: running.books.books.keys() == {EASY, HARD}, "copies of both books")
        assert running.books.books[EASY].yes_bids == ((5_500, 1_000),)

    asyncio.run(run_script(Script(), play))


def test_status_and_health_file_say_how_the_feed_is(tmp_path: Path) -> None:
    path = tmp_path / "health.json"

    async def play(running: Running) -> None:
        await running.script.fair_books()

        def status() -> dict[str, object]:
            return running.status.get("feed") or {}

        await until(lambda: bool(status().get("misses")), "the nearest miss is shown")
        assert status()["connected"] is True
        assert status()["books"] == 2
        assert status()["stale_books"] == 0
        assert status()["groups"] == 1
        assert status()["mode"] == "simulated"
        misses = status()["misses"]
        assert isinstance(misses, list)
        (miss,) = misses
        # YES > 70 at 0.60 and NO > 72 at 0.60 with a fee of 0.0168 each: 0.2336 dollars short.
        assert miss["edge_dollars"] == "-0.2336000000"
        assert miss["text"].startswith("buy YES > 70 at 0.6000 and buy NO > 72 at 0.6000")
        await until(lambda: path.exists() and json.loads(path.read_text())["books"] == 2, "the health file follows")
        await until(lambda: running.metrics.flushes > 0, "metrics are published")
        assert running.metrics.counted[Metric.FRAMES] >= 4

    asyncio.run(run_script(Script(), play, config=quick(str(path))))


def test_a_store_that_hangs_holds_up_neither_candidates_nor_the_end() -> None:
    hanging, release = threading.Event(), threading.Event()

    class Hanging(MemoryBookStore):
        def put(self, book: BookSnapshot) -> bool:
            hanging.set()
            release.wait(60)
            return True

    async def scenario() -> None:
        script = Script()
        async with feed_at_work(script, books=Hanging()) as running:
            await ready(running)
            await script.fair_books()
            await until(hanging.is_set, "the store hangs")
            await script.delta(HARD, "no", "0.5500", "-10.00", 1_000)
            await script.delta(HARD, "yes", "0.7000", "7.00", 1_001)
            await until(lambda: len(running.candidates.bodies) == 1, "the candidate")
            running.stop.set()
            await running.task
            # The store has not come back: the feed did not wait for it.
            assert not release.is_set()
            assert (running.status.get("feed") or {})["connected"] is False
        release.set()

    asyncio.run(scenario())


async def crossed_books(running: Running) -> None:
    await ready(running)
    await running.script.snapshot(EASY, {}, {"0.4000": "10.00"})
    await running.script.snapshot(HARD, {"0.7000": "10.00"}, {})


def test_a_store_that_refuses_is_counted() -> None:
    class Refusing(MemoryQueue):
        def send(self, body: str) -> None:
            raise StoreError("no such queue")

    async def scenario() -> None:
        async with feed_at_work(Script(), candidates=Refusing()) as running:
            await crossed_books(running)

            def drops() -> dict[str, int]:
                return (running.status.get("feed") or {}).get("drops") or {}  # type: ignore[return-value]

            await until(lambda: drops().get("candidates_refused") == 1, "the refusal is counted")
        await running.task

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_in_a_thread_ends_the_feed_instead_of_leaving_it_mute() -> None:
    class Broken(MemoryQueue):
        def send(self, body: str) -> None:
            raise ZeroDivisionError

    async def scenario() -> None:
        async with feed_at_work(Script(), candidates=Broken()) as running:
            await crossed_books(running)
            await asyncio.wait([running.task], timeout=GENEROUS_S)
            with pytest.raises(FeedCrashError, match="candidates"):
                running.task.result()

    asyncio.run(scenario())


def test_a_refused_key_ends_the_feed_at_once() -> None:
    async def scenario() -> None:
        async with feed_at_work(Script(refuse_with=401)) as running:
            await asyncio.wait([running.task], timeout=GENEROUS_S)
            with pytest.raises(AuthError, match="bad signature"):
                running.task.result()

    asyncio.run(scenario())


def test_an_exchange_that_is_not_there_is_tried_again() -> None:
    async def scenario() -> None:
        async with feed_at_work(Script(refuse_with=503)) as running:
            await until(lambda: len(running.script.signed) >= 3, "several attempts")
            running.script.refuse_with = None
            await ready(running)

    asyncio.run(scenario())


def test_every_writer_has_a_higher_epoch() -> None:
    status = MemoryStatusStore()
    assert [next_epoch(status) for _ in range(3)] == [1, 2, 3]


def test_against_the_embedded_exchange_candidates_come_with_true_books() -> None:
    """Books of the feed equal the exchange's own after thousands of deltas, and its mispricings are found."""

    async def scenario() -> None:
        world = UniverseConfig(events=6, mispricing_every_ms=300, deltas_per_second=1_500)
        options = ExchangeOptions(7, CREDENTIALS.key_id, KEY.public_key(), Cash(1_000_000_000), universe=world)
        exchange = create_exchange(options, SystemClock().now_ms)
        await exchange.start()
        try:
            client = RestClient(base_url=exchange.rest_url, credentials=None, clock=ManualClock())
            listings = await asyncio.to_thread(lambda: list(KalshiMarketData(client, SystemClock()).open_events()))
            groups = [found for listing in listings for found in formed(listing)[0]]
            assert groups
            store = MemoryGroupStore(groups)
            async with feed_on(exchange.ws_url, Script(), groups=store) as running:
                core = running.service.core
                await until(lambda: core.candidates > 0 and core.stream.counts.frames > 2_000, "candidates")
                assert core.stream.counts.gaps == core.stream.counts.malformed == 0
                exchange_books = exchange.core.markets
                # Stop time, let the last frames arrive, compare every book that is still traded.
                assert exchange._clockwork is not None
                exchange._clockwork.cancel()
                frames = -1
                while frames != core.stream.counts.frames:
                    frames = core.stream.counts.frames
                    await asyncio.sleep(0.2)
                compared = 0
                for found in groups:
                    for market in found.markets:
                        mine, theirs = core.stream.book(market.ticker), exchange_books[market.ticker].book
                        assert mine is not None
                        assert (list(mine.yes), list(mine.no)) == (list(theirs.yes), list(theirs.no))
                        compared += 1
                assert compared > 20
            await asyncio.to_thread(client.close)
        finally:
            await exchange.stop()

    asyncio.run(scenario())
