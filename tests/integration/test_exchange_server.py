"""The embedded exchange over real sockets: the wire format, the stream against the books, the command line."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.auth import KeyRing
from infra.exchange.connection import PING_PAYLOAD
from infra.exchange.errors import ExchangeStartError
from infra.exchange.server import WS_PATH, ExchangeServer, ServerConfig
from infra.exchange.testkit import ManualTime, rest, still_core
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.book import Bids, Book
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, count_from_wire, count_to_wire, price_from_wire
from tests.exchange_venue import KEY, KEY_ID, A, Venue, public_pem, signed, with_still_venue


async def receive(ws: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(ws.recv(), 10))
    return message


def test_what_a_request_does_reaches_the_stream_before_its_answer_is_needed() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        async with venue.stream() as ws:
            channels = ["orderbook_delta", "fill", "user_orders"]
            command = {"id": 1, "cmd": "subscribe", "params": {"channels": channels, "market_tickers": [A]}}
            await ws.send(json.dumps(command))
            kinds = [(await receive(ws))["type"] for _ in range(4)]
            assert kinds == ["subscribed", "orderbook_snapshot", "subscribed", "subscribed"]
            rest(venue.server.core, A, Outcome.NO, 60, 10)
            await venue.order(client_order_id="c-1")
            frames = [await receive(ws) for _ in range(4)]
            assert [frame["type"] for frame in frames] == ["orderbook_delta", "orderbook_delta", "fill", "user_order"]
            assert frames[2]["msg"]["client_order_id"] == "c-1"

    with_still_venue(scenario)


def test_the_heartbeat_is_a_ping_frame() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        pinged = asyncio.Event()
        payloads = []

        class Watching(ClientConnection):
            def process_event(self, event: Any) -> None:
                if getattr(event, "opcode", None) == 9:
                    payloads.append(bytes(event.data))
                    pinged.set()
                super().process_event(event)

        headers = signed("GET", WS_PATH, venue.now_ms())
        async with connect(venue.server.ws_url, additional_headers=headers, create_connection=Watching):
            await asyncio.wait_for(pinged.wait(), 10)
        assert payloads[0] == PING_PAYLOAD == b"heartbeat"

    with_still_venue(scenario, ServerConfig(ping_seconds=0.05))


def test_a_reader_that_falls_behind_loses_its_subscription_and_may_subscribe_again() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        subscribe = {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_ticker": A}}
        async with venue.stream() as ws:
            await ws.send(json.dumps(subscribe))
            assert (await receive(ws))["type"] == "subscribed"
            assert (await receive(ws))["type"] == "orderbook_snapshot"
            # All in one turn of the loop, so the sender cannot empty the queue in between.
            for cents in range(1, 40):
                rest(venue.server.core, A, Outcome.YES, cents, 1)
            venue.server.flush()
            error = await receive(ws)
            assert (error["type"], error["sid"], error["msg"]["code"]) == ("error", 1, 25)
            await ws.send(json.dumps(subscribe))
            assert (await receive(ws))["msg"]["sid"] == 2
            snapshot = await receive(ws)
            assert len(snapshot["msg"]["yes_dollars_fp"]) == 39

    with_still_venue(scenario, ServerConfig(buffer_frames=20))


def apply(books: dict[str, Book], message: dict[str, Any]) -> None:
    body = message["msg"]
    book = books.setdefault(body["market_ticker"], Book(body["market_ticker"]))
    if message["type"] == "orderbook_snapshot":
        for outcome in Outcome:
            rows = body.get(f"{outcome.value}_dollars_fp", [])
            book.side(outcome).replace((price_from_wire(price), count_from_wire(count)) for price, count in rows)
    elif message["type"] == "orderbook_delta":
        side = book.side(Outcome(body["side"]))
        side.add(price_from_wire(body["price_dollars"]), count_from_wire(body["delta_fp"]))


def rows(side: Bids) -> list[list[str]]:
    return [[f"{price // 10_000}.{price % 10_000:04d}", count_to_wire(count)] for price, count in reversed(list(side))]


class StoppableTime:
    """The machine's time until it is stopped."""

    stopped_ms: int | None = None

    def now_ms(self) -> int:
        return SystemClock().now_ms() if self.stopped_ms is None else self.stopped_ms


def test_a_living_exchange_streams_books_that_equal_its_own_without_a_gap() -> None:
    time = StoppableTime()

    async def main() -> None:
        world = UniverseConfig(
            events=8, event_life_ms=(1_500, 2_500), mispricing_every_ms=200, mispricing_life_ms=(200, 400),
            deltas_per_second=400,
        )  # fmt: skip
        options = ExchangeOptions(3, KEY_ID, KEY.public_key(), Cash(10**10), universe=world)
        server = create_exchange(options, time.now_ms)
        await server.start()
        try:
            async with httpx.AsyncClient() as http:
                await follow(Venue(server, http, time.now_ms))
        finally:
            await server.stop()

    async def follow(venue: Venue) -> None:
        core = venue.server.core
        tickers = list(core.markets)
        books: dict[str, Book] = {}
        lifecycle = []
        expected = {1: 1, 2: 1}
        async with venue.stream() as ws:
            params = {"channels": ["orderbook_delta", "market_lifecycle_v2"], "market_tickers": tickers}
            await ws.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
            done = False
            asked = False
            while not done:
                message = await receive(ws)
                if "seq" in message:
                    assert message["seq"] == expected[message["sid"]]
                    expected[message["sid"]] += 1
                if message["type"] in ("orderbook_snapshot", "orderbook_delta"):
                    apply(books, message)
                    assert message["sending_ts_ms"] >= message["msg"].get("ts_ms", 0)
                elif message["type"] == "market_lifecycle_v2":
                    lifecycle.append(message["msg"]["event_type"])
                # When two events have been paid out time stops, and what is under way is still read to the end.
                if not asked and lifecycle.count("settled") >= 10:
                    asked = True
                    time.stopped_ms = core.now_ms
                    await ws.send(json.dumps({"id": 2, "cmd": "list_subscriptions"}))
                done = message["type"] == "ok"
        assert {"created", "determined", "settled"} <= set(lifecycle)
        assert set(books) == set(tickers)
        answer = (await venue.read("/markets/orderbooks", tickers=tickers[:100]))["orderbooks"]
        for row in answer:
            book = books[row["ticker"]]
            assert row["orderbook_fp"] == {"yes_dollars": rows(book.yes), "no_dollars": rows(book.no)}
        stats = await venue.admin("stats")
        assert stats["frames_sent"] >= expected[1]
        assert stats["mispricings"]["injected"] >= 1
        assert stats["events_settled"] >= 1

    asyncio.run(main())


def test_only_loopback_is_ever_bound() -> None:
    async def main(host: str) -> None:
        server = ExchangeServer(still_core(), KeyRing(), ServerConfig(host=host), now_ms=ManualTime().now_ms)
        with pytest.raises(ExchangeStartError, match="not a loopback address"):
            await server.start()
        await server.stop()

    for host in ("0.0.0.0", "192.0.2.1", "example.org", "::"):  # noqa: S104 - the point of the test
        asyncio.run(main(host))


def command(tmp_path: Path, *arguments: str) -> list[str]:
    key = tmp_path / "key.pub"
    if not key.exists():
        key.write_bytes(public_pem())
    base = [sys.executable, "-m", "infra.exchange", "--json", "--key-id", KEY_ID, "--public-key-file", str(key)]
    return [*base, *arguments]


def test_the_command_prints_one_line_when_ready_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    arguments = command(tmp_path, "--port", "0", "--seed", "4", "--cash", "500.50", "--events", "5")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["ready"] is True
            assert ready["rest_url"].startswith("http://127.0.0.1:")
            assert ready["ws_url"] == ready["rest_url"].replace("http", "ws").replace("v2", "ws/v2")
            events = httpx.get(f"{ready['rest_url']}/events", params={"status": "open"}).json()["events"]
            assert len(events) == 5
            balance = httpx.get(
                f"{ready['rest_url']}/portfolio/balance",
                headers=signed("GET", "/trade-api/v2/portfolio/balance", SystemClock().now_ms()),
            )
            assert balance.json()["balance_dollars"] == "500.5000"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=10)
        finally:
            if process.poll() is None:
                process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_what_prevents_a_start_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        bad = tmp_path / "bad.pub"
        bad.write_text("no key")
        cases = [
            (["--port", str(port)], f"cannot listen on 127.0.0.1:{port}"),
            (["--public-key-file", str(bad)], "the public key is no PEM public key"),
            (["--public-key-file", str(tmp_path / "none")], "cannot read"),
            (["--host", "0.0.0.0"], "not a loopback address"),  # noqa: S104 - the point of the test
            (["--event-life-ms", "5:4"], "a range of the universe runs backwards"),
        ]
        running = [
            (text, subprocess.Popen(command(tmp_path, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True))
            for arguments, text in cases
        ]  # fmt: skip
        for text, process in running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 1, err
            assert out == ""
            assert err.count("\n") == 1
            assert text in err


def test_stopping_twice_is_harmless_and_frees_the_port() -> None:
    async def main() -> None:
        server = ExchangeServer(still_core(), KeyRing(), ServerConfig(), now_ms=ManualTime().now_ms)
        await server.start()
        port = server.port
        await server.stop()
        await server.stop()
        again = ExchangeServer(still_core(), KeyRing(), ServerConfig(port=port), now_ms=ManualTime().now_ms)
        await again.start()
        assert again.rest_url == f"http://127.0.0.1:{port}/trade-api/v2"
        await again.stop()

    asyncio.run(main())
