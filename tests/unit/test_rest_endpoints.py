"""Every call of the client: what goes over the wire, and what of the documented answer is read."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalshi_arb.domain.errors import AmountError, DomainError
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.side import BookSide
from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi.answers import item_failure
from kalshi_arb.kalshi.errors import BudgetError, RejectedError, RetryableError, UnknownOutcomeError
from kalshi_arb.kalshi.rate_limit import Budget, Share, Tier
from kalshi_arb.kalshi.requests import Amendment, Lifetime, NewOrder, OrderRef, SelfTrade
from kalshi_arb.kalshi.rest import Kalshi
from kalshi_arb.kalshi.signing import Credentials

ROOT = "/trade-api/v2/"
PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
T = "2026-06-14T07:33:32Z"
T_MS = 1_781_422_412_000
SERIES = {"ticker": "KX", "fee_type": "quadratic", "fee_multiplier": 1}
EVENT = {"event_ticker": "KX-1", "series_ticker": "KX", "mutually_exclusive": True}
MARKET = {
    "ticker": "KX-1-A", "event_ticker": "KX-1", "status": "active", "close_time": T, "rules_primary": "If it rains.",
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
}  # fmt: skip
LEVELS = {"yes_dollars": [["0.0100", "200.00"]], "no_dollars": []}
TRADE = {
    "trade_id": "t", "ticker": "KX-1-A", "count_fp": "1.50", "yes_price_dollars": "0.3600", "created_time": T,
    "no_price_dollars": "0.6400", "taker_outcome_side": "no", "taker_book_side": "ask",
}  # fmt: skip
QUOTES = dict.fromkeys(("open_dollars", "low_dollars", "high_dollars", "close_dollars"), "0.5600")
CANDLE = {
    "end_period_ts": 60, "yes_bid": QUOTES, "yes_ask": QUOTES, "price": {"mean_dollars": "0.560001"},
    "volume_fp": "3.00", "open_interest_fp": "5.00",
}  # fmt: skip
PAST = dict.fromkeys(("open", "low", "high", "close"), "0.5600")
PAST_CANDLE = {
    "end_period_ts": 60, "yes_bid": PAST, "yes_ask": PAST, "volume": "3.00", "open_interest": "5.00",
    "price": {**PAST, "mean": None, "previous": None},
}  # fmt: skip
ORDER = {"order_id": "o", "ticker": "KX-1-A", "status": "resting", "fill_count_fp": "0.00"}
FILL = {
    "trade_id": "t", "order_id": "o", "ticker": "KX-1-A", "outcome_side": "yes", "count_fp": "1.00", "fee_cost": "0.01",
    "yes_price_dollars": "0.3600", "no_price_dollars": "0.6400", "created_time": T,
}  # fmt: skip
POSITION = {"ticker": "KX-1-A", "position_fp": "-2.00"}
SETTLEMENT = {"ticker": "KX-1-A", "market_result": "no", "revenue": 100, "settled_time": T}
TRANSFER = {
    "transfer_id": "x", "source": "event_contract", "destination": "event_contract", "source_exchange_shard": 0,
    "destination_exchange_shard": 2, "amount": "12.3400", "status": "completed", "created_ts": 5,
}  # fmt: skip
PLACED = {"order_id": "o", "client_order_id": "c", "fill_count": "0.00", "remaining_count": "10.00", "ts_ms": 7}
NEW = NewOrder("KX-1-A", BookSide.BID, Count(1_000), Price(5_600), client_order_id="c", shard=2)
REF = OrderRef("o", ticker="KX-1-A", shard=2)
STATUS = {"exchange_active": True, "trading_active": False}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEK = {"start_time": T, "end_time": T, **{day: [{"open_time": "00:00", "close_time": "24:00"}] for day in DAYS}}


class Wire:
    """Answers one body for ever and remembers what was asked."""

    def __init__(self, *answers: httpx.Response, budget: Budget | None = None) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.clock = ManualClock()
        self.kalshi = Kalshi(
            f"http://exchange.test{ROOT}", Credentials("key", PEM), clock=self.clock, budget=budget,
            transport=httpx.MockTransport(self._answer),
        )  # fmt: skip

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def asked(self) -> str:
        """The last call."""
        request = self.requests[-1]
        query = f"?{request.url.query.decode()}" if request.url.query else ""
        return f"{request.method} {request.url.path.removeprefix(ROOT)}{query}"

    def body(self) -> Any:
        """The last call's body."""
        return json.loads(self.requests[-1].content) if self.requests[-1].content else None


def answering(body: object, status: int = 200) -> Wire:
    return Wire(httpx.Response(status, json=body) if body is not None else httpx.Response(status))


Ask = Callable[[Kalshi], Any]
PUBLIC: list[tuple[Ask, str, object, Callable[[Any], object], object]] = [
    (lambda k: k.markets.status(), "GET exchange/status", STATUS, lambda r: r.trading_active, False),
    (
        lambda k: k.markets.schedule(), "GET exchange/schedule",
        {"schedule": {"standard_hours": [WEEK], "maintenance_windows": []}},
        lambda r: r.standard_hours[0].thursday[0].close_time, "24:00",
    ),
    (lambda k: k.markets.user_data_ms(), "GET exchange/user_data_timestamp", {"as_of_time": T}, int, T_MS),
    (
        lambda k: k.markets.all_series(category="Sports", tags=["a", "b"]), "GET series?category=Sports&tags=a%2Cb",
        {"series": [SERIES]}, lambda r: r[0].ticker, "KX",
    ),
    (lambda k: k.markets.all_series(), "GET series", {"series": None}, list, []),
    (lambda k: k.markets.series("KX"), "GET series/KX", {"series": SERIES}, lambda r: r.fee_type, "quadratic"),
    (
        lambda k: k.markets.series_fee_changes("KX", show_historical=True),
        "GET series/fee_changes?series_ticker=KX&show_historical=true",
        {"series_fee_change_arr": [{
            "id": "1", "series_ticker": "KX", "fee_type": "flat", "fee_multiplier": 0.5, "scheduled_ts": T,
        }]}, lambda r: r[0].scheduled_ts, T_MS,
    ),
    (
        lambda k: list(k.markets.event_fee_changes("KX-1")), "GET events/fee_changes?event_ticker=KX-1&limit=1000",
        {"event_fee_changes": [{
            "id": "1", "event_ticker": "KX-1", "fee_type_override": None, "fee_multiplier_override": None,
            "scheduled_ts": T,
        }], "cursor": ""}, lambda r: r[0].fee_type_override, None,
    ),
    (
        lambda k: list(k.markets.events(status="open", series_ticker="KX", tickers=["KX-1", "KX-2"])),
        "GET events?status=open&series_ticker=KX&tickers=KX-1%2CKX-2&limit=200",
        {"events": [EVENT], "milestones": [], "cursor": ""}, lambda r: r[0].event_ticker, "KX-1",
    ),
    (
        lambda k: list(k.markets.combo_events(series_ticker="KX")),
        "GET events/multivariate?series_ticker=KX&limit=200", {"events": [EVENT], "cursor": ""}, len, 1,
    ),
    (
        lambda k: k.markets.event("KX-1", with_nested_markets=True), "GET events/KX-1?with_nested_markets=true",
        {"event": {**EVENT, "markets": [MARKET]}, "markets": []}, lambda r: r.markets[0].ticker, "KX-1-A",
    ),
    (
        lambda k: k.markets.event_metadata("KX-1"), "GET events/KX-1/metadata",
        {"image_url": "x", "market_details": [], "settlement_sources": [{"name": "NWS"}]},
        lambda r: r.settlement_sources[0].name, "NWS",
    ),
    (
        lambda k: list(k.markets.markets(status="open", mve_filter="exclude", min_close_ts=5)),
        "GET markets?status=open&mve_filter=exclude&min_close_ts=5&limit=1000", {"markets": [MARKET], "cursor": None},
        len, 1,
    ),
    (lambda k: k.markets.market("KX-1-A"), "GET markets/KX-1-A", {"market": MARKET}, lambda r: r.close_time, T_MS),
    (
        lambda k: k.markets.orderbook("KX-1-A", depth=5), "GET markets/KX-1-A/orderbook?depth=5",
        {"orderbook_fp": LEVELS}, lambda r: r.yes_dollars, [(100, 20_000)],
    ),
    (
        lambda k: k.markets.orderbooks(["A", "B"]), "GET markets/orderbooks?tickers=A&tickers=B",
        {"orderbooks": [{"ticker": "A", "orderbook_fp": LEVELS}]}, lambda r: r[0].ticker, "A",
    ),
    (
        lambda k: list(k.activity.trades(ticker="KX-1-A", min_ts=1, max_ts=2, is_block_trade=False)),
        "GET markets/trades?ticker=KX-1-A&min_ts=1&max_ts=2&is_block_trade=false&limit=1000",
        {"trades": [TRADE], "cursor": ""}, lambda r: (r[0].count_fp, r[0].yes_price_dollars), (150, 3_600),
    ),
    (
        lambda k: k.activity.candles("KX", "KX-1-A", start_ts=0, end_ts=60, period_minutes=1),
        "GET series/KX/markets/KX-1-A/candlesticks?start_ts=0&end_ts=60&period_interval=1",
        {"ticker": "KX-1-A", "candlesticks": [CANDLE]}, lambda r: (r[0].price.open_dollars, r[0].price.mean_dollars),
        (None, 560_001),
    ),
    (
        lambda k: k.activity.event_candles("KX", "KX-1", start_ts=0, end_ts=60, period_minutes=60),
        "GET series/KX/events/KX-1/candlesticks?start_ts=0&end_ts=60&period_interval=60",
        {"market_tickers": ["KX-1-A"], "market_candlesticks": [[CANDLE]], "adjusted_end_ts": 60},
        lambda r: r.market_candlesticks[0][0].end_period_ts, 60,
    ),
    (
        lambda k: k.activity.many_candles(["A", "B"], start_ts=0, end_ts=60, period_minutes=1440),
        "GET markets/candlesticks?market_tickers=A%2CB&start_ts=0&end_ts=60&period_interval=1440",
        {"markets": [{"market_ticker": "A", "candlesticks": [CANDLE]}]}, lambda r: list(r), ["A"],
    ),
    (
        lambda k: k.history.cutoff(), "GET historical/cutoff",
        {"market_settled_ts": T, "trades_created_ts": T, "orders_updated_ts": T}, lambda r: r.trades_created_ts, T_MS,
    ),
    (
        lambda k: list(k.history.markets(tickers=["A"], event_ticker="KX-1")),
        "GET historical/markets?tickers=A&event_ticker=KX-1&limit=1000", {"markets": [MARKET], "cursor": ""}, len, 1,
    ),
    (lambda k: k.history.market("A"), "GET historical/markets/A", {"market": MARKET}, lambda r: r.status, "active"),
    (
        lambda k: k.history.candles("A", start_ts=0, end_ts=60, period_minutes=1),
        "GET historical/markets/A/candlesticks?start_ts=0&end_ts=60&period_interval=1",
        {"ticker": "A", "candlesticks": [PAST_CANDLE]}, lambda r: r[0].yes_bid.open, 560_000,
    ),
    (
        lambda k: list(k.history.trades(ticker="A")), "GET historical/trades?ticker=A&limit=1000",
        {"trades": [TRADE], "cursor": ""}, len, 1,
    ),
    (
        lambda k: k.membership.endpoint_costs(), "GET account/endpoint_costs",
        {"default_cost": 10, "endpoint_costs": [{
            "method": "DELETE", "path": "/portfolio/events/orders/{order_id}", "cost": 3,
        }]}, lambda r: (r.of("DELETE", "portfolio/events/orders/{id}"), r.of("GET", "markets")), (3, 10),
    ),
]  # fmt: skip
PRIVATE: list[tuple[Ask, str, object, Callable[[Any], object], object]] = [
    (
        lambda k: k.portfolio.balance(subaccount=1, shard=2), "GET portfolio/balance?subaccount=1&exchange_index=2",
        {"balance": 1, "balance_breakdown": [{"exchange_index": 2, "balance": "0.015001"}]},
        lambda r: r.balance_breakdown[0].balance, 15_001,
    ),
    (
        lambda k: list(k.portfolio.fills(tickers=["A", "B"], order_id="o", min_ts=1)),
        "GET portfolio/fills?ticker=A%2CB&order_id=o&min_ts=1&limit=1000", {"fills": [FILL], "cursor": ""},
        lambda r: r[0].fee_cost, 10_000,
    ),
    (
        lambda k: list(k.portfolio.position_pages(count_filter="position", settlement_status="all")),
        "GET portfolio/positions?count_filter=position&settlement_status=all&limit=1000",
        {"market_positions": [POSITION], "event_positions": [{"event_ticker": "KX-1"}], "cursor": ""},
        lambda r: r[0].market_positions[0].position_fp, -200,
    ),
    (
        lambda k: list(k.portfolio.settlements(event_ticker="KX-1")),
        "GET portfolio/settlements?event_ticker=KX-1&limit=1000", {"settlements": [SETTLEMENT], "cursor": ""},
        lambda r: r[0].revenue, 100,
    ),
    (
        lambda k: k.portfolio.resting_value(), "GET portfolio/summary/total_resting_order_value",
        {"total_resting_order_value": 12, "resting_order_value_breakdown": []},
        lambda r: r.total_resting_order_value, 12,
    ),
    (
        lambda k: k.membership.netting(), "GET portfolio/subaccounts/netting",
        {"netting_configs": [{"subaccount_number": 0, "enabled": True, "exchange_index": 0}]},
        lambda r: r[0].enabled, True,
    ),
    (
        lambda k: list(k.membership.transfers()), "GET portfolio/intra_exchange_instance_transfers?limit=100",
        {"transfers": [TRANSFER], "cursor": ""}, lambda r: r[0].amount, 12_340_000,
    ),
    (
        lambda k: k.membership.one_transfer("x"), "GET portfolio/intra_exchange_instance_transfers/x",
        {"transfer": TRANSFER}, lambda r: r.status, "completed",
    ),
    (
        lambda k: k.membership.limits(), "GET account/limits",
        {"usage_tier": "basic", "read": {"refill_rate": 200, "bucket_capacity": 600},
         "write": {"refill_rate": 100, "bucket_capacity": 100}, "grants": []},
        lambda r: (r.usage_tier, r.write.bucket_capacity), ("basic", 100),
    ),
    (
        lambda k: k.membership.api_keys(), "GET api_keys",
        {"api_keys": [{"api_key_id": "key", "name": "n", "scopes": ["read"]}]},
        lambda r: r.api_keys[0].scopes, ["read"],
    ),
    (lambda k: k.orders.order("o"), "GET portfolio/orders/o", {"order": ORDER}, lambda r: r.status, "resting"),
    (
        lambda k: list(k.orders.orders(ticker="A", event_tickers=["E", "F"], status="resting", shard=1)),
        "GET portfolio/orders?ticker=A&event_ticker=E%2CF&status=resting&exchange_index=1&limit=1000",
        {"orders": [ORDER], "cursor": ""}, len, 1,
    ),
    (
        lambda k: k.orders.queue_position("o"), "GET portfolio/orders/o/queue_position", {"queue_position_fp": "7.50"},
        int, 750,
    ),
    (
        lambda k: k.orders.queue_positions(tickers=["A"]), "GET portfolio/orders/queue_positions?market_tickers=A",
        {"queue_positions": [{"order_id": "o", "market_ticker": "A", "queue_position_fp": "0.00"}]},
        lambda r: r[0].queue_position_fp, 0,
    ),
    (
        lambda k: k.orders.groups(), "GET portfolio/order_groups",
        {"order_groups": [{"id": "g", "is_auto_cancel_enabled": True, "contracts_limit_fp": "150.00"}]},
        lambda r: r[0].contracts_limit_fp, 15_000,
    ),
    (
        lambda k: k.orders.group("g"), "GET portfolio/order_groups/g",
        {"is_auto_cancel_enabled": False, "orders": ["o"]}, lambda r: r.orders, ["o"],
    ),
    (
        lambda k: list(k.history.fills(ticker="A")), "GET historical/fills?ticker=A&limit=1000",
        {"fills": [FILL], "cursor": ""}, len, 1,
    ),
    (
        lambda k: list(k.history.orders(min_ts=1, max_ts=2)), "GET historical/orders?min_ts=1&max_ts=2&limit=1000",
        {"orders": [ORDER], "cursor": ""}, len, 1,
    ),
    (
        lambda k: list(k.history.positions(event_ticker="KX-1")),
        "GET historical/positions?event_ticker=KX-1&limit=1000", {"market_positions": [POSITION], "cursor": ""}, len, 1,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "call", "reply", "look", "seen"), PUBLIC + PRIVATE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_read(ask: Ask, call: str, reply: object, look: Callable[[Any], object], seen: object) -> None:
    wire = answering(reply)
    assert look(ask(wire.kalshi)) == seen
    assert wire.asked() == call
    assert wire.kalshi.client.unknown.counts() == {}


@pytest.mark.parametrize(("ask", "reply"), [(row[0], row[2]) for row in PUBLIC])
def test_public_reads_are_not_signed(ask: Ask, reply: object) -> None:
    wire = answering(reply)
    ask(wire.kalshi)
    assert "KALSHI-ACCESS-KEY" not in wire.requests[0].headers


@pytest.mark.parametrize(("ask", "reply"), [(row[0], row[2]) for row in PRIVATE])
def test_private_reads_are_signed(ask: Ask, reply: object) -> None:
    wire = answering(reply)
    ask(wire.kalshi)
    assert wire.requests[0].headers["KALSHI-ACCESS-KEY"] == "key"


AMENDED = {
    "order_id": "o",
    "remaining_count": "4.00",
    "fill_count": "1.00",
    "average_fill_price": "0.123456",
    "ts_ms": 7,
}
NEW_BODY = {
    "ticker": "KX-1-A", "side": "bid", "count": "10.00", "price": "0.5600", "time_in_force": "good_till_canceled",
    "self_trade_prevention_type": "taker_at_cross", "client_order_id": "c", "exchange_index": 2,
}  # fmt: skip
CANCELED = {"order_id": "o", "client_order_id": "c", "reduced_by": "10.00", "ts_ms": 7}
WRITES: list[tuple[Ask, str, object, object, Callable[[Any], object], object]] = [
    (
        lambda k: k.orders.create(NEW), "POST portfolio/events/orders", NEW_BODY, PLACED,
        lambda r: (r.order_id, r.fill_count, r.remaining_count), ("o", 0, 1_000),
    ),
    (
        lambda k: k.orders.create_batch([NEW, NEW]), "POST portfolio/events/orders/batched",
        {"orders": [NEW_BODY, NEW_BODY]},
        {"orders": [PLACED, {"error": {"code": "invalid_order", "message": "invalid order", "details": ""}}]},
        lambda r: [getattr(item, "code", None) for item in r], [None, "invalid_order"],
    ),
    (
        lambda k: k.orders.amend("o", Amendment(
            "KX-1-A", BookSide.ASK, Count(500), Price(4_400), "c", "d", expires_s=0, shard=2)),
        "POST portfolio/events/orders/o/amend",
        {"ticker": "KX-1-A", "side": "ask", "count": "5.00", "price": "0.4400", "client_order_id": "c",
         "updated_client_order_id": "d", "expiration_time": 0, "exchange_index": 2},
        AMENDED, lambda r: (r.remaining_count, r.fill_count), (400, 100),
    ),
    (
        lambda k: k.orders.decrease(REF, reduce_by=Count(250)), "POST portfolio/events/orders/o/decrease",
        {"reduce_by": "2.50", "exchange_index": 2, "market_ticker": "KX-1-A"},
        {"order_id": "o", "remaining_count": "7.50", "ts_ms": 7}, lambda r: r.remaining_count, 750,
    ),
    (
        lambda k: k.orders.decrease(OrderRef("o", shard=0, subaccount=3), reduce_to=Count(0)),
        "POST portfolio/events/orders/o/decrease?subaccount=3", {"reduce_to": "0.00", "exchange_index": 0},
        {"order_id": "o", "remaining_count": "0.00", "ts_ms": 7}, lambda r: r.remaining_count, 0,
    ),
    (
        lambda k: k.orders.cancel(REF), "DELETE portfolio/events/orders/o?exchange_index=2&market_ticker=KX-1-A", None,
        CANCELED, lambda r: r.reduced_by, 1_000,
    ),
    (
        lambda k: k.orders.cancel_batch([REF, OrderRef("p", ticker="KX-1-A")]),
        "DELETE portfolio/events/orders/batched",
        {"orders": [{"order_id": "o", "exchange_index": 2, "market_ticker": "KX-1-A"},
                    {"order_id": "p", "market_ticker": "KX-1-A"}]},
        {"orders": [CANCELED, {"order_id": "p", "reduced_by": "0.00", "error": {"code": "not_found"}}]},
        lambda r: [getattr(item, "code", None) for item in r], [None, "not_found"],
    ),
    (lambda k: k.orders.cancel_all(), "DELETE portfolio/events/orders", None, None, lambda r: r, None),
    (
        lambda k: k.orders.create_group(Count(15_000), shard=1), "POST portfolio/order_groups/create",
        {"contracts_limit_fp": "150.00", "exchange_index": 1}, {"order_group_id": "g", "subaccount": 0},
        lambda r: r.order_group_id, "g",
    ),
    (
        lambda k: k.orders.limit_group("g", Count(100)), "PUT portfolio/order_groups/g/limit?exchange_index=0",
        {"contracts_limit_fp": "1.00"}, {}, lambda r: r, None,
    ),
    (
        lambda k: k.orders.reset_group("g", shard=1), "PUT portfolio/order_groups/g/reset?exchange_index=1", {}, {},
        lambda r: r, None,
    ),
    (
        lambda k: k.orders.trigger_group("g"), "PUT portfolio/order_groups/g/trigger?exchange_index=0", {}, {},
        lambda r: r, None,
    ),
    (
        lambda k: k.orders.delete_group("g"), "DELETE portfolio/order_groups/g?exchange_index=0", None, {},
        lambda r: r, None,
    ),
    (
        lambda k: k.membership.set_netting(0, enabled=True), "PUT portfolio/subaccounts/netting",
        {"subaccount_number": 0, "enabled": True}, None, lambda r: r, None,
    ),
    (
        lambda k: k.membership.transfer(Cash(12_340_000), source_shard=0, target_shard=2, transfer_id="u"),
        "POST portfolio/intra_exchange_instance_transfer",
        {"source": "event_contract", "destination": "event_contract", "amount": 123_400, "source_exchange_shard": 0,
         "destination_exchange_shard": 2, "client_transfer_id": "u"},
        {"transfer_id": "x"}, str, "x",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "call", "body", "reply", "look", "seen"), WRITES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_write(ask: Ask, call: str, body: object, reply: object, look: Callable[[Any], object], seen: object) -> None:
    wire = answering(reply, 200 if reply is not None else 204)
    assert look(ask(wire.kalshi)) == seen
    assert (wire.asked(), wire.body()) == (call, body)
    assert wire.requests[0].headers["KALSHI-ACCESS-KEY"] == "key"
    assert wire.kalshi.client.unknown.counts() == {}


@pytest.mark.parametrize("ask", [row[0] for row in WRITES])
def test_no_write_is_repeated_or_taken_for_failed_when_its_answer_is_lost(ask: Ask) -> None:
    wire = Wire(httpx.Response(503))
    with pytest.raises(UnknownOutcomeError):
        ask(wire.kalshi)
    assert len(wire.requests) == 1


def test_every_option_of_an_order() -> None:
    order = NewOrder(
        "A", BookSide.ASK, Count(1), Price(1), client_order_id="c", expires_s=9, post_only=True, cancel_on_pause=True,
        group_id="g", subaccount=3, shard=0, self_trade=SelfTrade.CANCEL_MAKER,
    )  # fmt: skip
    assert order.to_wire() == {
        "ticker": "A", "side": "ask", "count": "0.01", "price": "0.0001", "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "maker", "client_order_id": "c", "expiration_time": 9, "post_only": True,
        "cancel_order_on_pause": True, "order_group_id": "g", "subaccount": 3, "exchange_index": 0,
    }  # fmt: skip
    reducing = NewOrder("A", BookSide.BID, Count(1), Price(1), Lifetime.IMMEDIATE_OR_CANCEL, reduce_only=True)
    assert reducing.to_wire()["reduce_only"] is True


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"price": Price(0)}, "at 0.0000: a price lies between 0 and 1 dollar"),
        ({"price": Price(10_000)}, "at 1.0000"),
        ({"count": Count(0)}, "for 0.00 contracts"),
        ({"client_order_id": "no spaces"}, "client order id 'no spaces'"),
        ({"client_order_id": "x" * 65}, "1 to 64"),
        ({"lifetime": Lifetime.FILL_OR_KILL, "expires_s": 5}, "cannot expire"),
        ({"lifetime": Lifetime.IMMEDIATE_OR_CANCEL, "post_only": True}, "post-only"),
        ({"reduce_only": True}, "reduce-only"),
    ],
)
def test_an_order_the_exchange_never_takes_is_not_sent(changes: dict[str, Any], says: str) -> None:
    terms: dict[str, Any] = {"ticker": "A", "side": BookSide.BID, "count": Count(100), "price": Price(5_000)}
    with pytest.raises(DomainError, match=says):
        NewOrder(**terms | changes)


def test_changes_that_say_nothing_or_too_much_are_not_sent() -> None:
    orders = answering({}).kalshi.orders
    with pytest.raises(DomainError, match="its market or its shard"):
        OrderRef("o")
    with pytest.raises(AmountError, match="not both"):
        orders.decrease(REF)
    with pytest.raises(AmountError, match="not both"):
        orders.decrease(REF, reduce_by=Count(1), reduce_to=Count(1))
    with pytest.raises(AmountError, match="not negative"):
        orders.decrease(REF, reduce_by=Count(-1))
    with pytest.raises(AmountError, match="order group"):
        orders.create_group(Count(0))
    with pytest.raises(AmountError, match="1e-4 dollars"):
        answering({}).kalshi.membership.transfer(Cash(150), source_shard=0, target_shard=1)


def test_a_path_parameter_cannot_reach_another_endpoint() -> None:
    wire = answering({"market": MARKET})
    wire.kalshi.markets.market("../orderbooks?x=1")
    assert wire.requests[0].url.raw_path.decode() == f"{ROOT}markets/..%2Forderbooks%3Fx%3D1"


def test_the_errors_of_batch_items() -> None:
    assert type(item_failure("c", "INSUFFICIENT_BALANCE", "m", "d")) is RejectedError
    assert type(item_failure("c", "EXCHANGE_UNAVAILABLE", None, "")) is UnknownOutcomeError
    assert type(item_failure("c", "SELF_CROSS_ATTEMPT_PARTIALLY_FILLED", None, None)) is UnknownOutcomeError
    assert type(item_failure("c", "too_many_requests", None, None)) is RetryableError


# The rate limit


def basic(share: Share) -> Budget:
    return Budget(Tier.BASIC.limits, share, ManualClock().now_ms())


def test_a_read_waits_for_its_tokens() -> None:
    wire = Wire(httpx.Response(200, json={"as_of_time": T}), budget=basic(Share(5, 0)))
    began = wire.clock.now_ms()
    for _ in range(4):
        wire.kalshi.markets.user_data_ms()
    assert wire.clock.now_ms() - began == 1_000, "30 tokens at once, the next 10 at 10 a second"


def test_an_order_does_not_wait_past_its_usefulness() -> None:
    wire = Wire(httpx.Response(201, json=PLACED), budget=basic(Share(0, 20)))
    wire.kalshi.orders.create(NEW)
    wire.kalshi.orders.create(NEW)
    with pytest.raises(BudgetError, match=r"POST portfolio/events/orders costs 10 tokens, .* in 500 ms; not sent"):
        wire.kalshi.orders.create(NEW)
    assert len(wire.requests) == 2
    wire.answers = [httpx.Response(200, json=CANCELED)]
    began = wire.clock.now_ms()
    wire.kalshi.orders.cancel(REF)
    assert wire.clock.now_ms() - began == 100, "a cancel may wait for its 2 tokens"


def test_a_batch_that_never_fits_is_refused_at_once() -> None:
    wire = Wire(httpx.Response(201, json={"orders": []}), budget=basic(Share(0, 100, 20)))
    with pytest.raises(
        BudgetError, match="costs 90 tokens, more than this process's share of the rate limit ever holds"
    ):
        wire.kalshi.orders.create_batch([NEW] * 9)
    assert wire.requests == []


def test_a_refusal_for_the_rate_limit_slows_the_next_call_down() -> None:
    answers = (httpx.Response(429, json={"error": "too many requests"}), httpx.Response(200, json={"as_of_time": T}))
    wire = Wire(*answers)
    began = wire.clock.now_ms()
    wire.kalshi.markets.user_data_ms()
    assert len(wire.requests) == 2
    assert wire.clock.now_ms() - began > 200
