"""The embedded exchange over real sockets: the wire format, the stream against the books, the command line."""

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect

from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.auth import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, KeyRing
from infra.exchange.errors import ExchangeStartError
from infra.exchange.living import MEMBER
from infra.exchange.server import PING_PAYLOAD, WS_PATH, ExchangeServer, ServerConfig
from infra.exchange.testkit import CLOSE_MS, START_MS, TICKERS, ManualTime, rest, still_core
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.book import Book, BookSide
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Price, count_from_wire, count_to_wire, price_from_wire

KEY_ID = "key-1"
KEY = Ed25519PrivateKey.generate()
A, B, C = TICKERS
ORDERS = "/portfolio/events/orders"


def words(text: str) -> set[str]:
    return set(text.split())


MARKET_FIELDS = words(
    "ticker event_ticker market_type yes_sub_title no_sub_title created_time updated_time open_time close_time "
    "latest_expiration_time settlement_timer_seconds status notional_value_dollars yes_bid_dollars yes_ask_dollars "
    "no_bid_dollars no_ask_dollars yes_bid_size_fp yes_ask_size_fp last_price_dollars previous_yes_bid_dollars "
    "previous_yes_ask_dollars previous_price_dollars volume_fp volume_24h_fp open_interest_fp result can_close_early "
    "expiration_value rules_primary rules_secondary price_level_structure price_ranges settlement_bounds_type"
)
EVENT_FIELDS = words(
    "event_ticker series_ticker sub_title title collateral_return_type mutually_exclusive settlement_sources"
)
SERIES_FIELDS = words(
    "ticker frequency title category categories tags settlement_sources contract_url contract_terms_url fee_type "
    "fee_multiplier additional_prohibitions"
)
ORDER_FIELDS = words(
    "order_id user_id client_order_id ticker outcome_side book_side type status yes_price_dollars no_price_dollars "
    "fill_count_fp remaining_count_fp initial_count_fp taker_fees_dollars maker_fees_dollars taker_fill_cost_dollars "
    "maker_fill_cost_dollars"
)
FILL_FIELDS = words(
    "fill_id exchange_index trade_id order_id ticker market_ticker outcome_side book_side count_fp yes_price_dollars "
    "no_price_dollars is_taker fee_cost"
)
POSITION_FIELDS = words(
    "ticker exchange_index total_traded_dollars position_fp market_exposure_dollars realized_pnl_dollars "
    "fees_paid_dollars last_updated_ts"
)
EVENT_POSITION_FIELDS = words(
    "event_ticker total_cost_dollars total_cost_shares_fp event_exposure_dollars realized_pnl_dollars fees_paid_dollars"
)
SETTLEMENT_FIELDS = words(
    "ticker exchange_index event_ticker market_result yes_count_fp yes_total_cost_dollars no_count_fp "
    "no_total_cost_dollars revenue settled_time fee_cost"
)


def public_pem() -> bytes:
    return KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(method: str, path: str, now_ms: int) -> dict[str, str]:
    signature = KEY.sign(f"{now_ms}{method}{path}".encode())
    return {
        KEY_HEADER: KEY_ID,
        TIMESTAMP_HEADER: str(now_ms),
        SIGNATURE_HEADER: base64.b64encode(signature).decode(),
    }


@dataclass
class Venue:
    """A running exchange and a member's client."""

    server: ExchangeServer
    http: httpx.AsyncClient
    now_ms: Callable[[], int]

    async def call(self, method: str, path: str, *, sign: bool = False, **named: Any) -> tuple[int, Any]:
        headers = signed(method, f"/trade-api/v2{path}", self.now_ms()) if sign else {}
        response = await self.http.request(method, self.server.rest_url + path, headers=headers, **named)
        return response.status_code, response.json()

    async def read(self, path: str, *, sign: bool = False, **params: Any) -> Any:
        status, body = await self.call("GET", path, sign=sign, params=params)
        assert status == 200, body
        return body

    async def order(self, **fields: object) -> tuple[int, Any]:
        return await self.call("POST", ORDERS, sign=True, json=order_body(**fields))

    async def admin(self, what: str) -> Any:
        return (await self.http.get(f"{self.server.admin_url}/{what}")).json()

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[ClientConnection]:
        headers = signed("GET", WS_PATH, self.now_ms())
        async with connect(self.server.ws_url, additional_headers=headers, compression=None) as ws:
            yield ws


def order_body(**fields: object) -> dict[str, object]:
    body: dict[str, object] = {
        "ticker": A,
        "side": "bid",
        "count": "4.00",
        "price": "0.4500",
        "time_in_force": "immediate_or_cancel",
        "self_trade_prevention_type": "taker_at_cross",
    }
    return body | fields


def with_still_venue(
    scenario: Callable[[Venue, ManualTime], Coroutine[Any, Any, None]], config: ServerConfig | None = None
) -> None:
    async def main() -> None:
        clock = ManualTime()
        keys = KeyRing()
        keys.add(KEY_ID, KEY.public_key(), MEMBER)
        server = ExchangeServer(still_core(), keys, config or ServerConfig(), now_ms=clock.now_ms)
        await server.start()
        try:
            async with httpx.AsyncClient() as http:
                await scenario(Venue(server, http, clock.now_ms), clock)
        finally:
            await server.stop()

    asyncio.run(main())


def test_market_data_is_anonymous_and_carries_every_required_field() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        core = venue.server.core
        for cents in (1, 42):
            rest(core, A, Outcome.YES, cents, 13)
        for cents in (1, 56):
            rest(core, A, Outcome.NO, cents, 17)
        status = await venue.read("/exchange/status")
        assert status["trading_active"]
        assert [row["exchange_index"] for row in status["exchange_index_statuses"]] == [2]
        assert (await venue.read("/exchange/user_data_timestamp"))["as_of_time"].startswith("20")
        (series,) = (await venue.read("/series"))["series"]
        assert set(series) >= SERIES_FIELDS
        assert (await venue.read("/series/KXSTILL"))["series"] == series
        (event,) = (await venue.read("/events", status="open", with_nested_markets="true"))["events"]
        assert set(event) >= EVENT_FIELDS
        assert [market["ticker"] for market in event["markets"]] == list(TICKERS)
        assert set(event["markets"][0]) >= MARKET_FIELDS
        flat = await venue.read("/events/KXSTILL-1")
        assert "markets" not in flat["event"]
        assert [market["ticker"] for market in flat["markets"]] == list(TICKERS)
        market = (await venue.read(f"/markets/{A}"))["market"]
        assert (market["status"], market["yes_bid_dollars"], market["yes_ask_dollars"]) == (
            "active",
            "0.4200",
            "0.4400",
        )
        assert (market["no_ask_dollars"], market["yes_ask_size_fp"]) == ("0.5800", "17.00")
        assert (market["strike_type"], market["floor_strike"]) == ("greater", 10)
        book = (await venue.read(f"/markets/{A}/orderbook"))["orderbook_fp"]
        assert book == {
            "yes_dollars": [["0.0100", "13.00"], ["0.4200", "13.00"]],
            "no_dollars": [["0.0100", "17.00"], ["0.5600", "17.00"]],
        }
        shallow = (await venue.read(f"/markets/{A}/orderbook", depth=1))["orderbook_fp"]
        assert shallow["yes_dollars"] == [["0.4200", "13.00"]]
        assert (await venue.read("/markets/NONE/orderbook"))["orderbook_fp"] == {"yes_dollars": [], "no_dollars": []}
        books = (await venue.read("/markets/orderbooks", tickers=[A, f"{A},{B}"]))["orderbooks"]
        assert [row["ticker"] for row in books] == [A, f"{A},{B}"]
        assert books[0]["orderbook_fp"] == book
        assert books[1]["orderbook_fp"]["yes_dollars"] == []

    with_still_venue(scenario)


def test_lists_filter_and_page_as_the_exchange_does() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        seen: list[str] = []
        cursor = ""
        while True:
            body = await venue.read("/markets", limit=2, cursor=cursor, status="open")
            seen += [market["ticker"] for market in body["markets"]]
            cursor = body["cursor"]
            if not cursor:
                break
        assert sorted(seen) == list(TICKERS)
        chosen = await venue.read("/markets", tickers=f"{A},{C}", event_ticker="KXSTILL-1")
        assert {market["ticker"] for market in chosen["markets"]} == {A, C}
        assert (await venue.read("/events", status="settled"))["events"] == []
        assert (await venue.read("/markets", mve_filter="only"))["markets"] == []
        refused: tuple[tuple[str, dict[str, str | int]], ...] = (
            ("/markets", {"status": "active"}),
            ("/markets", {"limit": 1001}),
            ("/events", {"limit": 201}),
            ("/markets", {"max_close_ts": 5}),
            (f"/markets/{A}/orderbook", {"depth": 101}),
            ("/markets/orderbooks", {}),
        )
        for path, params in refused:
            status, body = await venue.call("GET", path, params=params)
            assert (status, body["error"]["code"]) == (400, "bad_request"), path
        for path in ("/markets/NONE", "/events/NONE", "/series/NONE", "/nonsense"):
            status, body = await venue.call("GET", path)
            assert (status, body["error"]["code"]) == (404, "not_found"), path

    with_still_venue(scenario)


def test_the_portfolio_and_the_stream_need_a_signature() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        for path in ("balance", "positions", "fills", "orders", "settlements", "orders/x"):
            status, body = await venue.call("GET", f"/portfolio/{path}")
            assert (status, body["error"]["code"]) == (401, "authentication_error")
        assert (await venue.call("POST", ORDERS, json=order_body()))[0] == 401
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect(venue.server.ws_url):
                pass
        assert caught.value.response.status_code == 401
        stale = signed("GET", "/trade-api/v2/portfolio/balance", time.ms - 31_000)
        answer = await venue.http.get(venue.server.rest_url + "/portfolio/balance", headers=stale)
        assert answer.json()["error"]["code"] == "header_timestamp_expired"

    with_still_venue(scenario)


def test_an_order_is_told_alike_by_every_read() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        rest(venue.server.core, A, Outcome.NO, 60, 10)
        status, ack = await venue.order(client_order_id="c-1", exchange_index=2)
        assert status == 201
        assert (ack["fill_count"], ack["remaining_count"], ack["client_order_id"]) == ("4.00", "0.00", "c-1")
        assert (ack["average_fill_price"], ack["average_fee_paid"], ack["ts_ms"]) == ("0.4000", "0.0168", START_MS)
        (order,) = (await venue.read("/portfolio/orders", sign=True, ticker=A, min_ts=START_MS // 1000))["orders"]
        assert set(order) >= ORDER_FIELDS
        assert (order["order_id"], order["status"], order["taker_fill_cost_dollars"]) == (
            ack["order_id"],
            "executed",
            "1.600000",
        )
        assert (await venue.read(f"/portfolio/orders/{ack['order_id']}", sign=True))["order"] == order
        (fill,) = (await venue.read("/portfolio/fills", sign=True, ticker=f"{A},{B}"))["fills"]
        assert set(fill) >= FILL_FIELDS
        assert "client_order_id" not in fill
        assert (fill["order_id"], fill["fee_cost"], fill["yes_price_dollars"]) == (
            ack["order_id"],
            "0.067200",
            "0.4000",
        )
        positions = await venue.read("/portfolio/positions", sign=True)
        (position,), (event,) = positions["market_positions"], positions["event_positions"]
        assert set(position) >= POSITION_FIELDS
        assert set(event) >= EVENT_POSITION_FIELDS
        assert (position["position_fp"], position["market_exposure_dollars"]) == ("4.00", "1.600000")
        balance = await venue.read("/portfolio/balance", sign=True)
        assert balance["balance_breakdown"] == [
            {"exchange_index": 0, "balance": "1000.0000"},
            {"exchange_index": 2, "balance": "998.3328"},
        ]
        assert (balance["balance_dollars"], balance["balance"]) == ("1998.3328", 199_833)
        only = await venue.read("/portfolio/balance", sign=True, exchange_index=2)
        assert only["balance_dollars"] == "998.3328"
        admin = await venue.admin("account")
        assert admin["cash"] == {"0": 1_000_000_000, "2": 998_332_800}
        assert (admin["fees_paid"], admin["positions"], admin["orders"]) == (67_200, {A: 400}, 1)
        assert admin["orders_by_client_order_id"] == {"c-1": 1}

    with_still_venue(scenario)


def test_refusals_carry_the_exchanges_codes() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        rest(venue.server.core, A, Outcome.NO, 60, 10)
        cases: list[tuple[dict[str, object], int, str]] = [
            ({"time_in_force": "fill_or_kill", "count": "11"}, 409, "fill_or_kill_insufficient_resting_volume"),
            ({"ticker": "NONE"}, 404, "market_not_found"),
            ({"exchange_index": 0}, 404, "market_not_found"),
            ({"price": "0.4550"}, 400, "invalid_order"),
            ({"count": "-1"}, 400, "invalid_order_size"),
            ({"count": "100000"}, 400, "insufficient_balance"),
            ({"side": ""}, 400, "missing_parameters"),
        ]
        for change, expected, code in cases:
            status, body = await venue.order(**change)
            assert (status, body["error"]["code"]) == (expected, code), change
            assert set(body["error"]) == {"code", "message", "details"}
        assert (await venue.order(client_order_id="twice"))[0] == 201
        status, body = await venue.order(client_order_id="twice")
        assert (status, body["error"]["code"]) == (409, "order_already_exists")
        assert (await venue.admin("account"))["duplicate_order_attempts"] == 1
        status, body = await venue.call("POST", ORDERS, sign=True, content=b"{")
        assert (status, set(body)) == (400, {"code", "message", "details"})
        for method, path in (
            ("POST", "/portfolio/orders"),
            ("POST", "/portfolio/orders/batched"),
            ("DELETE", "/portfolio/orders/x"),
            ("POST", "/portfolio/orders/x/amend"),
        ):
            status, body = await venue.call(method, path, sign=True)
            assert (status, body["error"]["code"]) == (410, "deprecated_v1_order_endpoint")
        assert (await venue.call("PUT", "/portfolio/orders", sign=True))[0] == 405

    with_still_venue(scenario)


def test_a_batch_answers_every_item_in_order() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        rest(venue.server.core, A, Outcome.NO, 60, 10)
        rest(venue.server.core, B, Outcome.YES, 30, 10)
        orders = [
            order_body(client_order_id="one"),
            order_body(client_order_id="two", time_in_force="fill_or_kill", count="50"),
            order_body(client_order_id="three", ticker=B, side="ask", price="0.2000"),
            {"client_order_id": "four"},
        ]
        status, body = await venue.call("POST", f"{ORDERS}/batched", sign=True, json={"orders": orders})
        assert status == 201
        one, two, three, four = body["orders"]
        assert [item["client_order_id"] for item in body["orders"]] == ["one", "two", "three", "four"]
        assert (one["fill_count"], three["fill_count"], three["average_fill_price"]) == ("4.00", "4.00", "0.3000")
        assert two["error"]["code"] == "fill_or_kill_insufficient_resting_volume"
        assert (two["fill_count"], two["ts_ms"], two["error"]["details"]) == (None, None, "")
        assert four["error"]["code"] == "missing_parameters"
        positions = (await venue.read("/portfolio/positions", sign=True))["market_positions"]
        assert {row["ticker"]: row["position_fp"] for row in positions} == {A: "4.00", B: "-4.00"}
        status, body = await venue.call("POST", f"{ORDERS}/batched", sign=True, json={"orders": []})
        assert (status, body["error"]["code"]) == (400, "missing_parameters")

    with_still_venue(scenario)


def test_a_cancel_without_its_market_looks_on_shard_zero_only() -> None:
    async def scenario(venue: Venue, _time: ManualTime) -> None:
        _, ack = await venue.order(time_in_force="good_till_canceled", price="0.1000")
        path = f"{ORDERS}/{ack['order_id']}"
        status, body = await venue.call("DELETE", path, sign=True)
        assert (status, body["error"]["code"]) == (404, "not_found")
        status, body = await venue.call("DELETE", path, sign=True, params={"market_ticker": A})
        assert (status, body["reduced_by"], body["order_id"]) == (200, "4.00", ack["order_id"])
        assert (await venue.call("DELETE", path, sign=True, params={"market_ticker": A}))[0] == 404
        (order,) = (await venue.read("/portfolio/orders", sign=True, status="canceled"))["orders"]
        assert order["remaining_count_fp"] == "0.00"

    with_still_venue(scenario)


def test_lagging_reads_say_so_and_show_nothing_newer() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        rest(venue.server.core, A, Outcome.NO, 60, 10)
        time.ms += 10_000
        _, ack = await venue.order()
        placed_ms = time.ms
        time.ms += 999
        as_of = (await venue.read("/exchange/user_data_timestamp"))["as_of_time"]
        assert as_of.endswith("9.999Z")
        assert (await venue.read("/portfolio/orders", sign=True))["orders"] == []
        assert (await venue.read("/portfolio/fills", sign=True))["fills"] == []
        assert (await venue.read("/portfolio/positions", sign=True))["market_positions"] == []
        assert (await venue.read("/portfolio/balance", sign=True))["balance_dollars"] == "2000.0000"
        assert (await venue.call("GET", f"/portfolio/orders/{ack['order_id']}", sign=True))[0] == 404
        time.ms = placed_ms + 1_000
        assert len((await venue.read("/portfolio/orders", sign=True))["orders"]) == 1
        assert len((await venue.read("/portfolio/fills", sign=True))["fills"]) == 1
        assert (await venue.read("/portfolio/balance", sign=True))["balance_dollars"] == "1998.3328"

    with_still_venue(scenario, ServerConfig(read_lag_ms=1_000))


def test_settlement_pays_and_is_listed() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        core = venue.server.core
        rest(core, A, Outcome.NO, 60, 10)
        await venue.order()
        time.ms = CLOSE_MS
        assert (await venue.read(f"/markets/{A}"))["market"]["status"] == "closed"
        core.determine(A, ONE_DOLLAR, "12")
        assert (await venue.read(f"/markets/{A}"))["market"]["result"] == "yes"
        assert (await venue.read("/portfolio/settlements", sign=True))["settlements"] == []
        time.ms += 1_000
        market = (await venue.read(f"/markets/{A}"))["market"]
        assert (market["status"], market["settlement_value_dollars"]) == ("finalized", "1.0000")
        (row,) = (await venue.read("/portfolio/settlements", sign=True, min_ts=CLOSE_MS // 1000))["settlements"]
        assert set(row) >= SETTLEMENT_FIELDS
        assert (row["revenue"], row["value"], row["yes_count_fp"], row["fee_cost"]) == (400, 100, "4.00", "0.067200")
        assert (await venue.read("/portfolio/positions", sign=True))["market_positions"] == []
        settled = await venue.read("/portfolio/positions", sign=True, settlement_status="settled")
        assert settled["market_positions"][0]["position_fp"] == "0.00"
        admin = await venue.admin("account")
        assert admin["cash"]["2"] == 1_000_000_000 - 1_600_000 - 67_200 + 4_000_000
        assert (admin["settled_revenue"], admin["positions"]) == (4_000_000, {})

    with_still_venue(scenario)


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


def rows(side: BookSide) -> list[list[str]]:
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
    base = [sys.executable, "-m", "infra.exchange", "--key-id", KEY_ID, "--public-key-file", str(key)]
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


def test_what_prevents_a_start_is_one_clear_line_and_status_two(tmp_path: Path) -> None:
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
            assert process.returncode == 2, err
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


def test_prices_and_counts_have_the_exchanges_decimals() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        rest(venue.server.core, A, Outcome.YES, 5, 1)
        market = (await venue.read(f"/markets/{A}"))["market"]
        prices = {name: value for name, value in market.items() if name.endswith("_dollars")}
        counts = {name: value for name, value in market.items() if name.endswith("_fp")}
        assert len(prices) >= 9
        assert all(isinstance(value, str) and len(value.split(".")[1]) == 4 for value in prices.values())
        assert all(isinstance(value, str) and len(value.split(".")[1]) == 2 for value in counts.values())
        assert Price(500) == price_from_wire(market["yes_bid_dollars"])

    with_still_venue(scenario)
