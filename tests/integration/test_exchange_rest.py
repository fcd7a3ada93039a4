"""REST of the embedded exchange over real sockets: shapes, filters, refusals, limits and what is served when."""

from dataclasses import replace
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import connect

from infra.exchange.auth import KEY_HEADER
from infra.exchange.living import MEMBER
from infra.exchange.server import ServerConfig
from infra.exchange.testkit import CLOSE_MS, START_MS, TICKERS, ManualTime, rest, still_event
from infra.exchange.tokens import Tier
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Price, price_from_wire
from tests.exchange_venue import ORDERS, A, B, C, Venue, order_body, signed, with_still_venue

ROOT = "/trade-api/v2"


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


def test_market_data_is_anonymous_and_carries_every_required_field() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        core = venue.server.core
        for cents in (1, 42):
            rest(core, A, Outcome.YES, cents, 13)
        for cents in (1, 56):
            rest(core, A, Outcome.NO, cents, 17)
        status = await venue.read("/exchange/status")
        assert status["trading_active"]
        assert [row["exchange_index"] for row in status["exchange_index_statuses"]] == [0, 2]
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
            ("/markets", {"max_close_ts": 5, "status": "open"}),
            ("/markets", {"min_created_ts": 5, "min_settled_ts": 5}),
            ("/markets", {"min_updated_ts": 5, "tickers": A}),
            ("/markets", {"event_ticker": "A,B"}),
            ("/markets", {"unheard_of": "1"}),
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


def test_who_asks_too_much_gets_a_bare_429_and_passes_again_when_the_bucket_covers_the_call() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        reads = [(await venue.call("GET", "/portfolio/orders", sign=True))[0] for _ in range(60)]
        assert set(reads) == {200}
        answer = await venue.http.get(
            venue.server.rest_url + "/portfolio/orders", headers=signed("GET", f"{ROOT}/portfolio/orders", time.ms)
        )
        assert (answer.status_code, answer.json()) == (429, {"error": "too many requests"})
        hints = [name for name in answer.headers if "retry" in name or "ratelimit" in name]
        assert hints == []
        # Market data of who shows no key is paid by its address, which has asked nothing yet.
        assert (await venue.call("GET", "/markets"))[0] == 200
        time.ms += 50
        assert (await venue.call("GET", "/portfolio/orders", sign=True))[0] == 200
        assert (await venue.admin("stats"))["calls_over_limit"] == 1

    with_still_venue(scenario, ServerConfig(tier=Tier.BASIC))


def test_who_shows_no_key_reads_like_the_lowest_tier() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        reads = [(await venue.call("GET", "/exchange/status"))[0] for _ in range(61)]
        assert reads == [200] * 60 + [429]
        assert (await venue.call("GET", "/exchange/status", sign=True))[0] == 200
        time.ms += 1_000
        assert (await venue.call("GET", "/exchange/status"))[0] == 200

    with_still_venue(scenario)


def test_a_write_is_paid_by_its_shard_and_one_that_must_be_routed_by_all_of_them() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        async def order(**fields: object) -> int:
            return (await venue.order(time_in_force="good_till_canceled", price="0.0100", count="1", **fields))[0]

        assert [await order(exchange_index=2) for _ in range(10)] == [201] * 10
        status, body = await venue.order(exchange_index=2)
        error = {"code": "too_many_requests", "message": "too many requests"}
        assert (status, body) == (429, {"error": error})
        # Routed by its ticker it is charged to every shard, and shard 2 has nothing left.
        assert await order() == 429
        # Nothing was taken from shard 0 for it: a batch, which is always paid there, still has all.
        orders = [order_body(ticker="NONE")] * 10
        assert (await venue.call("POST", f"{ORDERS}/batched", sign=True, json={"orders": orders}))[0] == 201
        time.ms += 1_000
        assert (await venue.call("POST", f"{ORDERS}/batched", sign=True, json={"orders": [*orders, {}]}))[0] == 429
        cancels = [{"order_id": "none"}] * 50
        assert (await venue.call("DELETE", f"{ORDERS}/batched", sign=True, json={"orders": cancels}))[0] == 200
        assert (await venue.call("DELETE", ORDERS, sign=True))[0] == 429
        time.ms += 20
        assert (await venue.call("DELETE", ORDERS, sign=True)) == (204, None)

    with_still_venue(scenario, ServerConfig(tier=Tier.BASIC))


def test_a_call_that_is_not_paid_changes_nothing() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        core = venue.server.core
        await venue.call("POST", f"{ORDERS}/batched", sign=True, json={"orders": [order_body(ticker="NONE")] * 10})
        before = len(core.accounts[MEMBER].attempts_by_client_id)
        assert (await venue.order(client_order_id="unpaid", exchange_index=0))[0] == 429
        assert len(core.accounts[MEMBER].attempts_by_client_id) == before

    with_still_venue(scenario, ServerConfig(tier=Tier.BASIC))


def test_market_lists_may_be_as_old_as_the_delivery_network_keeps_them_but_books_never() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        async def quoted() -> tuple[str, str]:
            (market,) = (await venue.read("/markets", tickers=A))["markets"]
            book = (await venue.read(f"/markets/{A}/orderbook"))["orderbook_fp"]
            return market["yes_bid_size_fp"], book["yes_dollars"][0][1] if book["yes_dollars"] else "0.00"

        assert await quoted() == ("0.00", "0.00")
        rest(venue.server.core, A, Outcome.YES, 30, 7)
        assert await quoted() == ("0.00", "7.00")
        assert (await venue.read("/markets", tickers=A, status="open"))["markets"][0]["yes_bid_size_fp"] == "7.00"
        assert (await venue.read(f"/markets/{A}"))["market"]["yes_bid_size_fp"] == "7.00"
        time.ms += 14_999
        assert await quoted() == ("0.00", "7.00")
        time.ms += 1
        assert await quoted() == ("7.00", "7.00")
        answer = await venue.http.get(f"{venue.server.rest_url}/markets")
        assert answer.headers["cache-control"] == "public, max-age=15"
        series = await venue.http.get(f"{venue.server.rest_url}/series/KXSTILL")
        assert series.headers["cache-control"] == "public, max-age=15"
        assert (await venue.call("GET", "/series/NONE"))[0] == 404

    with_still_venue(scenario, ServerConfig(cache_ms=15_000))


def test_an_error_is_shown_in_one_of_three_shapes() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        status, body = await venue.order(post_only=True, price="0.0001")
        assert (status, set(body), set(body["error"])) == (400, {"error"}, {"code", "message", "details"})
        for method, path in (
            ("POST", ORDERS),
            ("POST", f"{ORDERS}/batched"),
            ("DELETE", f"{ORDERS}/batched"),
            ("POST", f"{ORDERS}/x/amend"),
            ("POST", f"{ORDERS}/x/decrease"),
            ("POST", "/portfolio/order_groups/create"),
            ("POST", "/portfolio/intra_exchange_instance_transfer"),
            ("PUT", "/portfolio/subaccounts/netting"),
        ):
            for content in (b"{", b"[]", b"\xff\xfe", b""):
                status, body = await venue.call(method, path, sign=True, content=content)
                assert (status, set(body)) == (400, {"code", "message", "details"}), (method, path, content)
                assert body["code"] == "bad_request"

    with_still_venue(scenario)


def test_the_three_causes_of_a_401_and_a_scope_that_is_missing() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        path = f"{ROOT}/portfolio/balance"

        async def cause(headers: dict[str, str]) -> tuple[int, str, str]:
            answer = await venue.http.get(venue.server.rest_url + "/portfolio/balance", headers=headers)
            error = answer.json()["error"]
            return answer.status_code, error["code"], error["details"]

        good = signed("GET", path, time.ms)
        assert await cause({}) == (401, "authentication_error", "MISSING_AUTHENTICATION_HEADERS")
        assert await cause(good | {KEY_HEADER: "nobody"}) == (401, "authentication_error", "API_KEY_NOT_FOUND")
        other = signed("GET", f"{path}?subaccount=0", time.ms)
        assert await cause(other) == (401, "authentication_error", "INCORRECT_API_KEY_SIGNATURE")
        stale = signed("GET", path, time.ms - 30_001)
        assert await cause(stale) == (401, "header_timestamp_expired", "")
        # A key that is shown is checked even where none is needed: its owner wants to pay by it.
        answer = await venue.http.get(venue.server.rest_url + "/markets", headers=good)
        assert answer.status_code == 401

    with_still_venue(scenario)


def test_empty_sides_are_shown_by_their_size_and_by_no_certain_price() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        markets = (await venue.read("/markets"))["markets"]
        assert {market["yes_bid_size_fp"] for market in markets} == {"0.00"}
        assert {market["yes_bid_dollars"] for market in markets} == {"0.0000", "1.0000"}
        assert {market["yes_ask_dollars"] for market in markets} == {"0.0000", "1.0000"}

    with_still_venue(scenario)


def test_an_amended_order_that_crosses_trades_and_its_count_is_the_total() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        rest(venue.server.core, A, Outcome.NO, 60, 10)
        status, placed = await venue.order(time_in_force="good_till_canceled", price="0.1000", count="4")
        path = f"{ORDERS}/{placed['order_id']}/amend"
        change = {"ticker": A, "side": "bid", "price": "0.4000", "count": "6"}
        status, body = await venue.call("POST", path, sign=True, json=change)
        assert (status, body["fill_count"], body["remaining_count"]) == (200, "6.00", "0.00")
        assert body["average_fill_price"] == "0.4000"
        status, body = await venue.call("POST", path, sign=True, json=change)
        assert (status, body["error"]["code"]) == (404, "not_found")

    with_still_venue(scenario)


def test_after_a_cancel_all_what_is_placed_within_a_minute_is_caught_as_well() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        resting = {"time_in_force": "good_till_canceled", "price": "0.1000"}
        await venue.order(**resting)
        assert await venue.call("DELETE", ORDERS, sign=True) == (204, None)
        status, caught = await venue.order(**resting)
        assert (status, caught["remaining_count"]) == (201, "0.00")
        time.ms += 60_000
        assert (await venue.order(**resting))[1]["remaining_count"] == "4.00"

    with_still_venue(scenario)


def test_pages_of_trades_newest_first() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        for cents in (60, 59, 58):
            rest(venue.server.core, A, Outcome.NO, cents, 1)
            await venue.order(count="1.00")
            time.ms += 1_000
        prices: list[str] = []
        cursor = ""
        while True:
            body = await venue.read("/markets/trades", limit=2, cursor=cursor)
            prices += [row["yes_price_dollars"] for row in body["trades"]]
            cursor = body["cursor"]
            if not cursor:
                break
        assert prices == ["0.4200", "0.4100", "0.4000"]
        late = await venue.read("/markets/trades", min_ts=START_MS // 1_000 + 1, max_ts=START_MS // 1_000 + 1)
        assert [row["yes_price_dollars"] for row in late["trades"]] == ["0.4100"]
        assert (await venue.read("/markets/trades", is_block_trade="true"))["trades"] == []

    with_still_venue(scenario)


def test_candles_put_minutes_together_and_refuse_other_periods() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        start_s = START_MS // 1_000
        for cents in (60, 70):
            rest(venue.server.core, A, Outcome.NO, cents, 1)
            await venue.order(count="1.00")
            time.ms += 60_000
        path = f"/series/KXSTILL/markets/{A}/candlesticks"
        span: dict[str, Any] = {"start_ts": start_s, "end_ts": start_s + 7_200}
        minutes = (await venue.read(path, period_interval=1, **span))["candlesticks"]
        assert [row["price"]["close_dollars"] for row in minutes] == ["0.4000", "0.3000"]
        assert minutes[1]["price"]["previous_dollars"] == "0.4000"
        (hour,) = (await venue.read(path, period_interval=60, **span))["candlesticks"]
        assert (hour["price"]["open_dollars"], hour["price"]["low_dollars"], hour["volume_fp"]) == (
            "0.4000",
            "0.3000",
            "2.00",
        )
        later: dict[str, Any] = {
            "start_ts": minutes[1]["end_period_ts"],
            "end_ts": span["end_ts"],
            "period_interval": 1,
        }
        assert len((await venue.read(path, **later))["candlesticks"]) == 1
        with_earlier = await venue.read(path, include_latest_before_start="true", **later)
        assert with_earlier["candlesticks"] == minutes
        no_span: dict[str, Any] = {"period_interval": 1}
        for params in (span | {"period_interval": 5}, no_span, later | {"end_ts": 1}):
            assert (await venue.call("GET", path, params=params))[0] == 400
        assert (await venue.call("GET", path.replace("KXSTILL", "KXOTHER"), params=later))[0] == 404

    with_still_venue(scenario)


def test_a_finished_event_that_the_world_forgets_is_history() -> None:
    async def scenario(venue: Venue, time: ManualTime) -> None:
        core = venue.server.core
        time.ms = CLOSE_MS
        await venue.read("/exchange/status")
        for ticker in TICKERS:
            core.determine(ticker, ONE_DOLLAR, "40")
        time.ms += 10_000
        assert len((await venue.read("/markets", status="settled"))["markets"]) == 3
        assert (await venue.read("/historical/markets"))["markets"] == []
        venue.server.tick()
        core.forget_event("KXSTILL-1")
        core.list_event(replace(still_event(("KXNEW-1", "KXNEW-2", "KXNEW-3")), ticker="KXNEW"))
        venue.server.flush()
        assert (await venue.call("GET", f"/markets/{A}"))[0] == 404
        assert (await venue.read(f"/historical/markets/{A}"))["market"]["result"] == "yes"
        old = (await venue.read("/historical/markets", event_ticker="KXSTILL-1", limit=2))["markets"]
        assert [row["ticker"] for row in old] == [C, B]
        cutoff = await venue.read("/historical/cutoff")
        assert cutoff["market_settled_ts"] > old[0]["settlement_ts"]
        assert cutoff["trades_created_ts"] < old[0]["settlement_ts"]

    with_still_venue(scenario)


def test_limits_tell_the_tier_by_which_calls_are_really_paid() -> None:
    async def scenario(venue: Venue, _: ManualTime) -> None:
        limits = await venue.read("/account/limits", sign=True)
        assert limits["usage_tier"] == "expert"
        burst = limits["read"]["bucket_capacity"] // 10
        reads = [(await venue.call("GET", "/portfolio/fills", sign=True))[0] for _ in range(burst)]
        assert reads == [200] * (burst - 1) + [429]

    with_still_venue(scenario, ServerConfig(tier=Tier.EXPERT))
