"""What a REST answer, or its absence, means for a read and for a write."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_arb.domain.book import BookVersion
from kalshi_arb.domain.errors import ExchangeError, SettingsError
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import ComboLeg, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, OrderReport, OrderRequest, Settlement, TimeInForce
from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi.answers import read_error
from kalshi_arb.kalshi.client import READ_ATTEMPTS, RestClient
from kalshi_arb.kalshi.errors import AuthError, RejectedError, RetryableError, UnknownOutcomeError, WireFormatError
from kalshi_arb.kalshi.market_data import COMBO_EVENTS, KalshiMarketData
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.kalshi.wire import time_ms

BASE = "http://exchange.test/trade-api/v2"
KEY = Ed25519PrivateKey.generate()
CREDENTIALS = Credentials("key", KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Exchange:
    """Answers calls in turn, the last answer for ever, and remembers what was asked. Announced fee changes are answered
    apart, since every listing asks for them."""

    def __init__(
        self, *answers: Answer, series_changes: Sequence[object] = (), event_changes: Sequence[object] = ()
    ) -> None:
        self.answers = list(answers)
        self.announced = {
            "series/fee_changes": {"series_fee_change_arr": list(series_changes)},
            "events/fee_changes": {"event_fee_changes": list(event_changes), "cursor": ""},
        }
        self.requests: list[httpx.Request] = []
        self.clock = ManualClock()
        self.client = RestClient(
            base_url=BASE, credentials=CREDENTIALS, clock=self.clock,
            transport=httpx.MockTransport(self.answer), jitter=lambda: 1.0,
        )  # fmt: skip
        self.data = KalshiMarketData(self.client, self.clock)
        self.trading = KalshiTrading(self.client)

    def answer(self, request: httpx.Request) -> httpx.Response:
        announced = self.announced.get(request.url.path.removeprefix("/trade-api/v2/"))
        if announced is not None:
            return ok(announced)
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def queries(self) -> list[list[tuple[str, str]]]:
        return [parse_qsl(request.url.query.decode(), keep_blank_values=True) for request in self.requests]


def ok(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body)


def error(status: int, code: str, message: str = "", details: str = "") -> httpx.Response:
    return ok({"error": {"code": code, "message": message, "details": details}}, status)


def order(client_order_id: str = "c-1", outcome: Outcome = Outcome.YES, count: int = 1_000) -> OrderRequest:
    return OrderRequest(
        client_order_id, "KXA-1", outcome, Count(count), Price(5_600), TimeInForce.FILL_OR_KILL, shard=2
    )


def acknowledgement(filled: str = "10.00", **extra: object) -> dict[str, object]:
    return {"order_id": "o-1", "client_order_id": "c-1", "fill_count": filled, "remaining_count": "0.00", **extra}


# Writes


def test_an_order_is_written_in_yes_terms_and_signed() -> None:
    exchange = Exchange(ok(acknowledgement(), 201))
    assert exchange.trading.place([order()]) == [OrderReport("c-1", "o-1", Count(1_000), None)]
    (request,) = exchange.requests
    assert (request.method, request.url.path) == ("POST", "/trade-api/v2/portfolio/events/orders")
    assert json.loads(request.content) == {
        "ticker": "KXA-1", "client_order_id": "c-1", "side": "bid", "count": "10.00", "price": "0.5600",
        "time_in_force": "fill_or_kill", "self_trade_prevention_type": "taker_at_cross", "exchange_index": 2,
    }  # fmt: skip
    assert request.headers["KALSHI-ACCESS-KEY"] == "key"
    assert request.headers["KALSHI-ACCESS-TIMESTAMP"] == str(exchange.clock.now_ms())


def test_buying_no_is_an_ask_at_the_complement() -> None:
    exchange = Exchange(ok(acknowledgement(), 201))
    exchange.trading.place([order(outcome=Outcome.NO)])
    body = json.loads(exchange.requests[0].content)
    assert (body["side"], body["price"]) == ("ask", "0.4400")


def test_a_killed_order_is_a_report_not_an_error() -> None:
    exchange = Exchange(error(409, "fill_or_kill_insufficient_resting_volume"))
    report = OrderReport("c-1", None, Count(0), "fill_or_kill_insufficient_resting_volume")
    assert exchange.trading.place([order()]) == [report]


@pytest.mark.parametrize("code", ["order_already_exists", "ORDER_ALREADY_EXISTS", "some_conflict_of_theirs"])
def test_a_duplicate_id_is_reported_so_that_the_caller_asks(code: str) -> None:
    assert Exchange(error(409, code)).trading.place([order()])[0].rejection == "order_already_exists"


def test_a_definite_refusal_keeps_the_exchanges_word() -> None:
    assert Exchange(error(400, "insufficient_balance")).trading.place([order()])[0].rejection == "insufficient_balance"
    assert Exchange(error(410, "deprecated_v1_order_endpoint")).trading.place([order()])[0].rejection is not None


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_an_error_for_a_person(status: int) -> None:
    with pytest.raises(AuthError, match="authentication_error"):
        Exchange(error(status, "authentication_error")).trading.place([order()])


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 302])
def test_a_write_without_a_clear_answer_is_unknown_and_never_repeated(status: int) -> None:
    exchange = Exchange(httpx.Response(status))
    with pytest.raises(UnknownOutcomeError):
        exchange.trading.place([order()])
    assert len(exchange.requests) == 1


@pytest.mark.parametrize("failure", [httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError])
def test_a_write_that_lost_its_connection_is_unknown(failure: type[httpx.TransportError]) -> None:
    with pytest.raises(UnknownOutcomeError):
        Exchange(failure("gone")).trading.place([order()])


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
def test_a_write_that_never_left_may_be_repeated(failure: type[httpx.TransportError]) -> None:
    exchange = Exchange(failure("not there"))
    with pytest.raises(RetryableError):
        exchange.trading.place([order()])
    assert len(exchange.requests) == 1


def test_a_rate_limit_had_no_effect() -> None:
    with pytest.raises(RetryableError, match="too many requests"):
        Exchange(ok({"error": "too many requests"}, 429)).trading.place([order()])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(201, content=b"<html>"),
        ok({}, 201),
        ok(acknowledgement("ten"), 201),
        ok(acknowledgement("-1.00"), 201),
        ok(acknowledgement("10.01"), 201),
        ok({**acknowledgement(), "client_order_id": "another"}, 201),
    ],
)
def test_an_accepted_order_with_an_unbelievable_answer_is_unknown(answer: httpx.Response) -> None:
    with pytest.raises(UnknownOutcomeError):
        Exchange(answer).trading.place([order()])


def test_a_batch_is_answered_item_by_item() -> None:
    items = [
        acknowledgement("4.00"),
        {"client_order_id": "c-2", "fill_count": None, "error": {"code": "FOK_INSUFFICIENT_VOLUME", "details": ""}},
        {"client_order_id": "c-3", "error": {"code": "ORDER_ALREADY_EXISTS", "message": "x", "details": ""}},
        {"error": {"code": "insufficient_balance"}},
        {"client_order_id": "c-5", "error": {"code": "too_many_requests"}},
    ]
    exchange = Exchange(ok({"orders": items}, 201))
    reports = exchange.trading.place([order(f"c-{n}") for n in (1, 2, 3, 4, 5)])
    assert [(r.client_order_id, r.filled, r.rejection) for r in reports] == [
        ("c-1", 400, None),
        ("c-2", 0, "FOK_INSUFFICIENT_VOLUME"),
        ("c-3", 0, "order_already_exists"),
        ("c-4", 0, "insufficient_balance"),
        ("c-5", 0, "too_many_requests"),
    ]
    assert exchange.requests[0].url.path.endswith("/portfolio/events/orders/batched")
    assert len(json.loads(exchange.requests[0].content)["orders"]) == 5


def test_a_batch_refused_as_a_whole_refuses_every_order() -> None:
    reports = Exchange(ok({"code": "bad_request", "message": "no"}, 400)).trading.place([order("c-1"), order("c-2")])
    assert [(r.client_order_id, r.rejection) for r in reports] == [("c-1", "bad_request"), ("c-2", "bad_request")]


@pytest.mark.parametrize(
    "items",
    [
        [acknowledgement()],
        [acknowledgement(), {"client_order_id": "c-2", "error": {"code": "EXCHANGE_UNAVAILABLE"}}],
        [acknowledgement(), {"client_order_id": "c-2", "error": {"code": "SELF_CROSS_ATTEMPT_PARTIALLY_FILLED"}}],
        [acknowledgement(), {**acknowledgement(), "client_order_id": "c-3"}],
    ],
)
def test_a_batch_that_leaves_one_order_open_is_unknown(items: list[object]) -> None:
    with pytest.raises(UnknownOutcomeError):
        Exchange(ok({"orders": items}, 201)).trading.place([order("c-1"), order("c-2")])


def test_nothing_to_place_calls_nobody() -> None:
    exchange = Exchange(ok({}))
    assert exchange.trading.place([]) == []
    assert exchange.requests == []


# Reads


@pytest.mark.parametrize("failure", [httpx.Response(503), httpx.Response(429), httpx.ReadTimeout("slow")])
def test_a_read_is_repeated_with_growing_pauses(failure: Answer) -> None:
    exchange = Exchange(failure, failure, ok({"as_of_time": "2026-06-14T07:33:32.558Z"}))
    began = exchange.clock.now_ms()
    assert exchange.trading.user_data_ms() == 1_781_422_412_558
    assert len(exchange.requests) == 3
    assert exchange.clock.now_ms() - began == 500 + 1_000


def test_a_read_gives_up_after_some_attempts() -> None:
    exchange = Exchange(httpx.Response(503))
    with pytest.raises(RetryableError):
        exchange.trading.balance()
    assert len(exchange.requests) == READ_ATTEMPTS


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(400, "bad_request"), RejectedError),
        (error(404, "not_found"), RejectedError),
        (error(401, "header_timestamp_expired"), AuthError),
        (httpx.Response(200, content=b"{"), WireFormatError),
        (ok({"balance": 5}), WireFormatError),
        (ok({"balance_breakdown": [{"exchange_index": 0, "balance": "1.2.3"}]}), WireFormatError),
    ],
)
def test_a_read_that_is_answered_is_not_repeated(answer: httpx.Response, kind: type[ExchangeError]) -> None:
    exchange = Exchange(answer)
    with pytest.raises(kind):
        exchange.trading.balance()
    assert len(exchange.requests) == 1


def test_the_three_shapes_of_an_error_body() -> None:
    nested = b'{"error":{"code":"invalid_order","message":"invalid order","details":"post only cross"}}'
    assert read_error(nested) == ("invalid_order", "invalid order: post only cross")
    assert read_error(b'{"code":"bad_request","message":"m","details":""}') == ("bad_request", "m")
    assert read_error(b'{"error":"too many requests"}') == ("too_many_requests", "too many requests")
    assert read_error(b"<html>gateway</html>") == ("unknown_error", "<html>gateway</html>")
    assert read_error(b"\xff\xfe")[0] == "unknown_error"
    assert read_error(b"[1]")[0] == "unknown_error"


def test_without_a_key_private_calls_say_so() -> None:
    client = RestClient(
        base_url=BASE, credentials=None, clock=ManualClock(), transport=httpx.MockTransport(lambda _: ok({}))
    )
    with pytest.raises(SettingsError, match="needs an API key"):
        KalshiTrading(client).balance()


def test_balance_by_shard() -> None:
    rows = [{"exchange_index": 0, "balance": "100.0000"}, {"exchange_index": 3, "balance": "0.000001"}]
    exchange = Exchange(ok({"balance": 10_000, "balance_dollars": "100.0000", "balance_breakdown": rows}))
    assert exchange.trading.balance() == {0: Cash(100_000_000), 3: Cash(1)}


def test_orders_are_found_by_client_id_over_every_page() -> None:
    def row(name: str, ticker: str, filled: str) -> dict[str, object]:
        return {
            "order_id": f"o-{name}", "client_order_id": name, "ticker": ticker, "status": "executed",
            "fill_count_fp": filled,
        }  # fmt: skip

    exchange = Exchange(
        ok({"orders": [row("c-1", "A", "1.00")], "cursor": "next"}),
        ok({"orders": [row("c-2", "A", "0.00"), {**row("x", "A", "1.00"), "client_order_id": None}], "cursor": None}),
        ok(
            {
                "orders": [
                    row("c-3", "B", "2.50"),
                    row("c-4", "OTHER", "1.00"),
                    {**row("c-5", "B", "0.00"), "status": "resting"},
                ],
                "cursor": "",
            }
        ),
    )
    found = exchange.trading.find_orders(["B", "A", "A"], 1_000_000)
    assert {name: report.filled for name, report in found.items()} == {"c-1": 100, "c-2": 0, "c-3": 250}
    assert found["c-1"] == OrderReport("c-1", "o-c-1", Count(100), None)
    assert exchange.queries() == [
        [("ticker", "A"), ("min_ts", "995"), ("limit", "1000")],
        [("ticker", "A"), ("min_ts", "995"), ("limit", "1000"), ("cursor", "next")],
        [("ticker", "B"), ("min_ts", "995"), ("limit", "1000")],
    ]


def test_many_tickers_are_listed_once() -> None:
    exchange = Exchange(ok({"orders": [], "cursor": ""}))
    exchange.trading.find_orders([f"T{n}" for n in range(20)], 9_000)
    assert exchange.queries() == [[("min_ts", "4"), ("limit", "1000")]]


def test_a_cursor_that_stands_still_is_an_error_not_a_loop() -> None:
    exchange = Exchange(ok({"orders": [], "cursor": "same"}))
    with pytest.raises(WireFormatError, match="cursor"):
        exchange.trading.find_orders(["A"], 0)


def test_fills_carry_the_price_of_the_outcome_bought() -> None:
    def row(number: int, side: str, time: str) -> dict[str, object]:
        return {
            "trade_id": f"t-{number}", "order_id": "o-1", "ticker": "A", "outcome_side": side, "count_fp": "2.50",
            "yes_price_dollars": "0.3600", "no_price_dollars": "0.6400", "fee_cost": "0.010001", "created_time": time,
            "side": "deprecated",
        }  # fmt: skip

    later, earlier = "2026-06-14T07:33:33Z", "2026-06-14T07:33:32.55868Z"
    rows = [row(1, "yes", later), row(2, "no", earlier), row(1, "yes", later)]
    exchange = Exchange(ok({"fills": rows, "cursor": ""}))
    assert exchange.trading.fills(["B", "A"], 10_000) == [
        Fill("t-2", "o-1", "A", Outcome.NO, Count(250), Price(6_400), Cash(10_001), 1_781_422_412_558),
        Fill("t-1", "o-1", "A", Outcome.YES, Count(250), Price(3_600), Cash(10_001), 1_781_422_413_000),
    ]
    assert exchange.queries() == [[("ticker", "A,B"), ("min_ts", "5"), ("limit", "1000")]]


FILL = {
    "trade_id": "t", "order_id": "o", "ticker": "A", "outcome_side": "yes", "count_fp": "1.00", "fee_cost": "0.01",
    "yes_price_dollars": "0.3600", "no_price_dollars": "0.6400", "created_time": "2026-06-14T07:33:32Z", "ts": 9,
}  # fmt: skip


def test_a_fill_without_its_time_has_that_of_its_second() -> None:
    row = {name: value for name, value in FILL.items() if name != "created_time"}
    (fill,) = Exchange(ok({"fills": [row]})).trading.fills(["A"], 0)
    assert fill.created_ms == 9_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"no_price_dollars": "0.6300"}, "at 3600 and 6300"),
        ({"count_fp": "0.00"}, "fill t: 0 "),
        ({"count_fp": "-1.00"}, "negative"),
        ({"outcome_side": "maybe"}, "unknown outcome 'maybe'"),
        ({"created_time": None, "ts": None}, "no time"),
    ],
)
def test_a_fill_that_contradicts_itself_is_an_error(changes: dict[str, object], says: str) -> None:
    with pytest.raises(WireFormatError, match=says):
        Exchange(ok({"fills": [FILL | changes]})).trading.fills(["A"], 0)


def test_positions_leave_zeros_out() -> None:
    rows = [{"ticker": "A", "position_fp": "-1.50"}, {"ticker": "B", "position_fp": "0.00"}]
    assert Exchange(ok({"market_positions": rows})).trading.positions() == {"A": Count(-150)}


@pytest.mark.parametrize(("result", "value", "payout"), [("yes", 100, 10_000), ("no", None, 0), ("scalar", 50, 5_000)])
def test_settlements_pay_what_one_yes_paid(result: str, value: int | None, payout: int) -> None:
    row = {
        "ticker": "A",
        "market_result": result,
        "value": value,
        "revenue": 250,
        "settled_time": "2026-06-14T07:33:32Z",
    }
    (paid,) = Exchange(ok({"settlements": [row], "cursor": ""})).trading.settlements(0)
    assert paid == Settlement("A", Price(payout), Cash(2_500_000), 1_781_422_412_000)


def test_a_scalar_settlement_without_a_value_is_an_error() -> None:
    row = {"ticker": "A", "market_result": "scalar", "revenue": 250, "settled_time": "2026-06-14T07:33:32Z"}
    with pytest.raises(WireFormatError, match="scalar"):
        Exchange(ok({"settlements": [row]})).trading.settlements(0)


@pytest.mark.parametrize("text", ["yesterday", "2026-06-14T07:33:32"])
def test_times_need_a_date_and_an_offset(text: str) -> None:
    with pytest.raises(WireFormatError, match="time"):
        time_ms(text)


# Books


def wire_book(ticker: str, yes: list[list[str]], no: list[list[str]]) -> dict[str, object]:
    return {"ticker": ticker, "orderbook_fp": {"yes_dollars": yes, "no_dollars": no}}


def test_books_come_best_first_and_are_as_old_as_their_answer() -> None:
    exchange = Exchange(ok({"orderbooks": [wire_book("A", [["0.0100", "200.00"], ["0.4200", "13.50"]], [])]}))
    book = exchange.data.orderbooks(["A", "GONE", "A"])["A"]
    assert book.yes_bids == ((4_200, 1_350), (100, 20_000))
    assert book.no_bids == ()
    assert book.version == BookVersion(0, 0, 0)
    assert book.alive_ms == exchange.clock.now_ms()
    assert exchange.queries() == [[("tickers", "A"), ("tickers", "GONE")]]


def test_books_are_read_a_hundred_at_a_time() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        tickers = [value for _, value in parse_qsl(request.url.query.decode())]
        return ok({"orderbooks": [wire_book(ticker, [], []) for ticker in tickers]})

    exchange = Exchange(answer)
    assert len(exchange.data.orderbooks([f"T{n}" for n in range(250)])) == 250
    assert [len(query) for query in exchange.queries()] == [100, 100, 50]


@pytest.mark.parametrize("level", [["1.0000", "5.00"], ["0.4200", "0.00"], ["0.4200", "-1.00"], ["0.42001", "1.00"]])
def test_a_level_that_cannot_rest_is_an_error(level: list[str]) -> None:
    with pytest.raises(WireFormatError, match=r"book of A: impossible|orderbook_fp\.yes_dollars\.0: "):
        Exchange(ok({"orderbooks": [wire_book("A", [level], [])]})).data.orderbooks(["A"])


# Listings


def wire_market(**changes: object) -> dict[str, object]:
    return {
        "ticker": "KXA-1-B5", "event_ticker": "KXA-1", "status": "active", "close_time": "2026-06-14T07:33:32Z",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}], "rules_primary": "If it rains.",
        "rules_secondary": "Really.", "market_type": "binary", "title": "Rain?", "strike_type": "between",
        "floor_strike": 5.10, "cap_strike": 78999.99, "custom_strike": {"b": 1, "a": "x"}, "exchange_index": 2,
        "a_field_of_tomorrow": [1, 2],
    } | changes  # fmt: skip


def wire_event(*markets: dict[str, object], **changes: object) -> dict[str, object]:
    return {
        "event_ticker": "KXA-1", "series_ticker": "KXA", "title": "Rain", "mutually_exclusive": True,
        "exchange_index": 1, "markets": list(markets),
    } | changes  # fmt: skip


SERIES = ok({"series": [{"ticker": "KXA", "fee_type": "quadratic", "fee_multiplier": 0.5}]})


def test_an_event_maps_with_exact_strikes_subject_fees_and_shard() -> None:
    exchange = Exchange(SERIES, ok({"events": [wire_event(wire_market())], "cursor": ""}))
    (listing,) = exchange.data.open_events()
    assert (listing.event_ticker, listing.series_ticker, listing.mutually_exclusive) == ("KXA-1", "KXA", True)
    (listed,) = listing.markets
    market, status = listed.market, listed.status
    assert status is MarketStatus.ACTIVE
    assert (market.strike_type, market.floor, market.cap) == (StrikeType.BETWEEN, Decimal("5.1"), Decimal("78999.99"))
    assert market.subject == '{"a":"x","b":1}'
    assert market.grid == CENT_GRID
    assert market.fees == FeeSchedule(FeeType.QUADRATIC, 5_000)
    assert (market.shard, market.close_ms, market.title) == (2, 1_781_422_412_000, "Rain?")
    assert exchange.queries()[1] == [("status", "open"), ("with_nested_markets", "true"), ("limit", "200")]


@pytest.mark.parametrize(
    ("sent", "step"),
    [({}, 1), ({"fractional_trading_enabled": True}, 1), ({"fractional_trading_enabled": False}, 100)],
)
def test_hundredths_are_traded_unless_the_exchange_says_otherwise(sent: dict[str, object], step: int) -> None:
    exchange = Exchange(SERIES, ok({"events": [wire_event(wire_market(**sent))], "cursor": ""}))
    (listing,) = exchange.data.open_events()
    assert listing.markets[0].market.count_step == step


def test_rules_fingerprints_tell_the_two_parts_apart() -> None:
    events = [
        wire_event(
            wire_market(rules_primary="a b", rules_secondary="c"), wire_market(rules_primary="a", rules_secondary="b c")
        )
    ]
    (listing,) = Exchange(SERIES, ok({"events": events})).data.open_events()
    first, second = (one.market.rules_fingerprint for one in listing.markets)
    assert first != second


def test_an_events_own_fees_override_its_series() -> None:
    events = [
        wire_event(wire_market(), fee_type_override="quadratic_with_maker_fees", fee_multiplier_override=1),
        wire_event(wire_market(), fee_type_override=None, fee_multiplier_override=None),
        wire_event(wire_market(), fee_type_override="something_new", fee_multiplier_override=2),
    ]
    listings = Exchange(SERIES, ok({"events": events})).data.open_events()
    assert [listing.markets[0].market.fees for listing in listings] == [
        FeeSchedule(FeeType.WITH_MAKER, 10_000),
        FeeSchedule(FeeType.QUADRATIC, 5_000),
        FeeSchedule(FeeType.UNKNOWN, 20_000),
    ]


def test_pages_and_series_that_are_younger_than_the_listing() -> None:
    younger = ok({"series": {"ticker": "KXB", "fee_type": "quadratic", "fee_multiplier": 1}})
    exchange = Exchange(
        SERIES,
        ok({"events": [wire_event(wire_market())], "cursor": "more"}),
        ok({"events": [wire_event(wire_market(), series_ticker="KXB")], "cursor": None}),
        younger,
    )
    assert [listing.series_ticker for listing in exchange.data.open_events()] == ["KXA", "KXB"]
    assert [request.url.path.removeprefix("/trade-api/v2/") for request in exchange.requests] == [
        "series", "events", "events", "series/KXB",
    ]  # fmt: skip


def test_the_shard_of_the_event_stands_in_for_the_markets() -> None:
    exchange = Exchange(SERIES, ok({"events": [wire_event(wire_market(exchange_index=None))]}))
    (listing,) = exchange.data.open_events()
    assert listing.markets[0].market.shard == 1


@pytest.mark.parametrize(
    "broken",
    [
        wire_event(wire_market(), wire_market(status="on_fire")),
        wire_event(wire_market(), wire_market(market_type="scalar")),
        wire_event(wire_market(), wire_market(price_ranges=[])),
        wire_event(wire_market(), wire_market(price_ranges=[{"start": "0", "end": "1", "step": "0.00001"}])),
        wire_event(wire_market(), wire_market(close_time="soon")),
        wire_event(wire_market(), wire_market(event_ticker="ANOTHER")),
        wire_event(wire_market(), {key: value for key, value in wire_market().items() if key != "rules_primary"}),
        wire_event(wire_market(exchange_index=None), exchange_index=None),
        wire_event(wire_market(), fee_type_override="flat", fee_multiplier_override=None),
        wire_event(wire_market(floor_strike="5.1")),
        wire_event(wire_market(fee_waiver_expiration_time="2026")),
        {"event_ticker": "KXA-1"},
    ],
)
def test_an_event_with_one_unreadable_market_is_left_out_whole(broken: dict[str, object]) -> None:
    exchange = Exchange(SERIES, ok({"events": [broken, wire_event(wire_market())], "cursor": ""}))
    assert len(list(exchange.data.open_events())) == 1
    assert exchange.data.skipped == {"unreadable": 1}


def test_an_event_of_no_known_series_is_left_out() -> None:
    orphan = wire_event(wire_market(), series_ticker="GONE")
    exchange = Exchange(SERIES, ok({"events": [orphan], "cursor": ""}), error(404, "not_found"))
    assert list(exchange.data.open_events()) == []
    assert exchange.data.skipped == {"no_series": 1}


def test_strike_types_without_structure_are_other() -> None:
    markets = [wire_market(strike_type=kind) for kind in ("structured", None, "greater_or_equal")]
    (listing,) = Exchange(SERIES, ok({"events": [wire_event(*markets)]})).data.open_events()
    kinds = [one.market.strike_type for one in listing.markets]
    assert kinds == [StrikeType.OTHER, StrikeType.OTHER, StrikeType.GREATER_OR_EQUAL]


def test_the_rules_text_of_every_market_comes_with_its_event() -> None:
    (listing,) = Exchange(SERIES, ok({"events": [wire_event(wire_market())]})).data.open_events()
    assert {one.market.ticker: one.rules for one in listing.markets} == {"KXA-1-B5": "If it rains.\nReally."}


LEGS = [
    {"event_ticker": "KXB-1", "market_ticker": "KXB-1-T", "side": "yes", "yes_settlement_value_dollars": None},
    {"event_ticker": "KXC-1", "market_ticker": "KXC-1-T", "side": "no"},
]


def quote(event: str, bid: str, ask: str) -> dict[str, object]:
    return wire_market(ticker=f"{event}-M", event_ticker=event, yes_bid_size_fp=bid, yes_ask_size_fp=ask)


def combo_event(ticker: str, **changes: object) -> dict[str, object]:
    combo = wire_market(event_ticker=ticker, strike_type="custom", mve_selected_legs=LEGS, **changes)
    return {"event": wire_event(combo, event_ticker=ticker, mutually_exclusive=False)}


ONE_SERIES = ok({"series": {"ticker": "KXA", "fee_type": "quadratic_with_combo_maker_fees", "fee_multiplier": 1}})


def test_combos_with_a_quote_are_read_event_by_event_with_their_legs() -> None:
    quotes = [quote("E1", "0.00", "12.00"), quote("E2", "0.00", "0.00"), quote("E1", "1.00", "0.00")]
    exchange = Exchange(ok({"markets": quotes, "cursor": "endless"}), ok(combo_event("E1")), ONE_SERIES)
    (listing,) = exchange.data.combo_events()
    combo = listing.markets[0].market
    assert combo.legs == (ComboLeg("KXB-1", "KXB-1-T", Outcome.YES), ComboLeg("KXC-1", "KXC-1-T", Outcome.NO))
    assert combo.fees == FeeSchedule(FeeType.WITH_COMBO_MAKER, 10_000)
    assert [request.url.path.removeprefix("/trade-api/v2/") for request in exchange.requests] == [
        "markets", "events/E1", "series/KXA",
    ]  # fmt: skip
    assert exchange.queries()[0] == [("status", "open"), ("mve_filter", "only"), ("limit", "1000")]


def test_only_so_many_combo_events_are_read() -> None:
    tickers = [f"E{number}" for number in range(COMBO_EVENTS + 5)]
    events = [ok(combo_event(ticker)) for ticker in tickers[:COMBO_EVENTS]]
    exchange = Exchange(ok({"markets": [quote(ticker, "1.00", "0.00") for ticker in tickers]}), events[0], ONE_SERIES,
                        *events[1:])  # fmt: skip
    assert [listing.event_ticker for listing in exchange.data.combo_events()] == tickers[:COMBO_EVENTS]


def test_a_combo_event_that_is_gone_or_unreadable_is_left_out() -> None:
    odd = combo_event("E2", status="on_fire")
    sideways = combo_event("E3")
    sideways["event"]["markets"][0]["mve_selected_legs"] = [{**LEGS[0], "side": "up"}]  # type: ignore[index]
    quotes = [quote(f"E{number}", "1.00", "0.00") for number in range(1, 5)]
    exchange = Exchange(
        ok({"markets": quotes}), error(404, "not_found"), ok(odd), ONE_SERIES, ok(sideways), ok(combo_event("E4"))
    )
    assert [listing.event_ticker for listing in exchange.data.combo_events()] == ["E4"]


def test_a_quote_that_is_no_count_is_an_error_and_no_silent_zero() -> None:
    exchange = Exchange(ok({"markets": [quote("E1", "many", "0.00")]}))
    with pytest.raises(
        WireFormatError, match=r"MarketsReply\.markets\.0\.yes_bid_size_fp: not a plain decimal: 'many'"
    ):
        list(exchange.data.combo_events())


def state(ticker: str, status: str, **more: object) -> dict[str, object]:
    return wire_market(ticker=ticker, event_ticker="KXA", status=status, **more)


def test_market_states_tell_payouts_of_finalized_markets_only() -> None:
    rows = [
        state("A", "active", result=""),
        state("B", "determined", result="yes", settlement_value_dollars="1.0000"),
        state("C", "finalized", result="scalar", settlement_value_dollars="0.2500"),
        state("D", "finalized", result="no"),
        state("OTHER", "active"),
    ]
    exchange = Exchange(ok({"markets": rows}))
    states = exchange.data.market_states(["A", "B", "C", "D", "A"])
    assert {ticker: (found.status, found.yes_payout) for ticker, found in states.items()} == {
        "A": (MarketStatus.ACTIVE, None),
        "B": (MarketStatus.DETERMINED, None),
        "C": (MarketStatus.FINALIZED, 2_500),
        "D": (MarketStatus.FINALIZED, 0),
    }
    assert exchange.queries() == [[("tickers", "A,B,C,D"), ("limit", "1000")]]


@pytest.mark.parametrize("row", [state("A", "asleep"), state("A", "finalized"), state("A", "finalized", result="void")])
def test_a_market_state_that_cannot_be_read_is_an_error(row: dict[str, object]) -> None:
    with pytest.raises(WireFormatError, match="market A"):
        Exchange(ok({"markets": [row]})).data.market_states(["A"])


NOW_MS = ManualClock().now_ms()


def at(ms: int) -> str:
    """A time on the wire, ``ms`` milliseconds from now."""
    return (datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(milliseconds=ms)).isoformat()


def test_fees_of_an_events_markets_are_their_waiver_its_override_or_its_series() -> None:
    def fees(event: dict[str, object]) -> dict[str, FeeSchedule]:
        series = ok({"series": {"ticker": "KXA", "fee_type": "quadratic", "fee_multiplier": 0.5}})
        return Exchange(ok({"event": event}), series).data.market_fees("KXA-1")

    plain = wire_event(wire_market(), wire_market(ticker="W", fee_waiver_expiration_time=at(1)))
    assert fees(plain) == {
        "KXA-1-B5": FeeSchedule(FeeType.QUADRATIC, 5_000), "W": FeeSchedule(FeeType.QUADRATIC, 0),
    }  # fmt: skip
    override = wire_event(wire_market(), fee_type_override="quadratic", fee_multiplier_override=2)
    assert fees(override)["KXA-1-B5"].multiplier == 20_000
    with pytest.raises(WireFormatError, match="fees of KXA-1: negative fee multiplier"):
        fees(wire_event(fee_type_override="quadratic", fee_multiplier_override=-1))


def series_change(ms: int, multiplier: float, fee_type: str = "quadratic") -> dict[str, object]:
    return {
        "id": f"c{ms}", "series_ticker": "KXA", "fee_type": fee_type, "fee_multiplier": multiplier,
        "scheduled_ts": at(ms),
    }  # fmt: skip


def event_change(ms: int, fee_type: str | None, multiplier: float | None) -> dict[str, object]:
    return {
        "id": f"e{ms}", "event_ticker": "KXA-1", "series_ticker": "KXA", "fee_type_override": fee_type,
        "fee_multiplier_override": multiplier, "scheduled_ts": at(ms),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("series", "events", "waiver", "due"),
    [
        ([], [], None, None),
        ([series_change(-60_000, 9), series_change(60_000, 1)], [], None, 60_000),
        ([series_change(60_000, 0.5), series_change(90_000, 1)], [], None, 90_000),
        ([], [event_change(30_000, "quadratic", 2), event_change(60_000, None, None)], None, 30_000),
        ([series_change(60_000, 1)], [event_change(30_000, None, None)], None, 60_000),
        ([], [], 45_000, 45_000),
        ([], [], -45_000, None),
    ],
)
def test_a_listing_says_when_its_fees_are_going_to_change(
    series: list[object], events: list[object], waiver: int | None, due: int | None
) -> None:
    market = wire_market(fee_waiver_expiration_time=None if waiver is None else at(waiver))
    listed = ok({"events": [wire_event(market)], "cursor": ""})
    exchange = Exchange(SERIES, listed, series_changes=series, event_changes=events)
    (listing,) = exchange.data.open_events()
    assert listing.markets[0].market.fees.multiplier == (0 if waiver == 45_000 else 5_000)
    assert listing.markets[0].fee_change_ms == (None if due is None else NOW_MS + due)


def test_an_announced_change_that_cannot_be_read_stops_the_listing() -> None:
    with pytest.raises(WireFormatError, match="fee change c1: negative"):
        list(Exchange(SERIES, series_changes=[series_change(1, -1)]).data.open_events())


# Fields that come and go


def test_fields_that_nobody_knows_are_counted_by_model_and_name_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = [wire_event(wire_market(), wire_market(), also_new=None)]
    exchange = Exchange(SERIES, ok({"events": events}))
    list(exchange.data.open_events())
    assert exchange.client.unknown.counts() == {"EventWire.also_new": 1, "MarketWire.a_field_of_tomorrow": 2}
    assert sum("MarketWire.a_field_of_tomorrow" in record.message for record in caplog.records) == 1


def test_a_needed_field_that_is_missing_null_or_of_another_type_is_named() -> None:
    def refusal(row: dict[str, object]) -> str:
        with pytest.raises(WireFormatError) as caught:
            Exchange(ok({"market_positions": [row]})).trading.positions()
        return str(caught.value)

    call = "GET portfolio/positions: PositionsReply.market_positions.0.position_fp: "
    assert refusal({"ticker": "A"}) == f"{call}Field required"
    assert refusal({"ticker": "A", "position_fp": None}) == f"{call}the amount is missing"
    assert refusal({"ticker": "A", "position_fp": True}) == f"{call}expected a decimal string, got True"
    assert refusal({"ticker": "A", "position_fp": "1.005"}) == f"{call}1.005 is finer than 1e-2"


@pytest.mark.parametrize(
    ("text", "count"), [("-1.50", -150), ('"-1.50"', -150), ("1e2", 10_000), ("2", 200), ('"7"', 700)]
)
def test_bare_numbers_are_read_from_their_own_digits(text: str, count: int) -> None:
    body = f'{{"market_positions":[{{"ticker":"A","position_fp":{text}}}]}}'
    assert Exchange(httpx.Response(200, content=body)).trading.positions() == {"A": count}


@pytest.mark.parametrize("text", ["0.56000000000000000001", "1e-3", "1e400", "1e999999999999", "NaN", "-Infinity"])
def test_a_number_that_no_amount_can_be_is_an_error_not_a_rounding(text: str) -> None:
    body = f'{{"market_positions":[{{"ticker":"A","position_fp":{text}}}]}}'
    with pytest.raises(WireFormatError):
        Exchange(httpx.Response(200, content=body)).trading.positions()


def test_strikes_keep_every_digit() -> None:
    strike = "0.12345678901234567890123"
    body = json.dumps({"events": [wire_event(wire_market(floor_strike=5))]})
    body = body.replace('"floor_strike": 5', f'"floor_strike": {strike}')
    (listing,) = Exchange(SERIES, httpx.Response(200, content=body)).data.open_events()
    assert listing.markets[0].market.floor == Decimal(strike)
