"""Every fault of the embedded exchange over real sockets, against our own REST client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from infra.exchange.core import ExchangeCore
from infra.exchange.faults import (
    ORDERS,
    BookThinned,
    CallScope,
    CashMissing,
    ClockSkewed,
    Disorder,
    Fault,
    FeesChanged,
    FillsDisordered,
    HttpError,
    MarketClosed,
    MarketPaused,
    ReadsLagging,
    ReplyDelayed,
    ReplyLost,
    RulesChanged,
    StrikeChanged,
)
from infra.exchange.lag import ReadSide
from infra.exchange.living import MEMBER
from infra.exchange.testkit import EVENT, START_MS, TICKERS, rest, still_core
from infra.exchange.testserver import ServedExchange
from kalshi_arb.domain.fees import FeeType
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, Count, Price
from kalshi_arb.domain.portfolio import OrderReport, OrderRequest, TimeInForce
from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import AuthError, RetryableError, UnknownOutcomeError
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Signer
from kalshi_arb.kalshi.trading import KalshiTrading

A, B, C = TICKERS
SHARD = 2
READS = CallScope(methods=("GET",))


@dataclass
class Member:
    """A member's client of a served exchange on whose market A ten NO rest at 60 cents."""

    exchange: ServedExchange
    clock: ManualClock
    client: RestClient

    def __post_init__(self) -> None:
        self.trading = KalshiTrading(self.client)
        self.data = KalshiMarketData(self.client, self.clock)

    @property
    def core(self) -> ExchangeCore:
        return self.exchange.core

    def buy(self, name: str, contracts: int = 2) -> OrderReport:
        """Buy YES of A at 40 cents, as much as there is."""
        limit, kind = Price(4_000), TimeInForce.IMMEDIATE_OR_CANCEL
        order = OrderRequest(name, A, Outcome.YES, Count(contracts * 100), limit, kind, SHARD)
        (report,) = self.trading.place([order])
        return report

    def placed(self) -> dict[str, int]:
        """Orders by client order id, as the exchange knows them."""
        return self.exchange.do(lambda: dict(self.core.accounts[MEMBER].orders_by_client_id))

    def assert_account_is_true(self) -> None:
        """What the member reads is what the exchange holds."""
        account = self.exchange.do(lambda: self.core.accounts[MEMBER])
        assert self.trading.balance() == account.cash
        held = {ticker: position.count for ticker, position in account.positions.items() if position.count}
        assert self.trading.positions() == held


@contextmanager
def member(*faults: Fault) -> Iterator[Member]:
    core = still_core()
    rest(core, A, Outcome.NO, 60, 10)
    clock = ManualClock(START_MS)
    with ServedExchange(core, clock.now_ms) as exchange:
        client = RestClient(
            base_url=exchange.server.rest_url, credentials=exchange.credentials, clock=clock, jitter=lambda: 1.0
        )
        try:
            if faults:
                exchange.arm(*faults)
            yield Member(exchange, clock, client)
        finally:
            client.close()


# Calls


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_read_that_fails_is_made_again_and_loses_nothing(status: Any) -> None:
    with member(HttpError(status=status, count=3, scope=READS)) as mine:
        assert mine.trading.balance() == {0: 1_000 * CASH_PER_DOLLAR, SHARD: 1_000 * CASH_PER_DOLLAR}
        assert mine.exchange.struck("http_error") == 3


@pytest.mark.parametrize(
    "fault",
    [HttpError(status=503, scope=ORDERS), HttpError(status=408, scope=ORDERS), ReplyLost(executed=False, scope=ORDERS)],
    ids=["503", "408", "no answer"],
)
def test_a_write_that_fails_before_it_was_carried_out_is_unknown_and_was_not_placed(fault: Fault) -> None:
    with member(fault) as mine:
        with pytest.raises(UnknownOutcomeError):
            mine.buy("c-1")
        assert mine.placed() == {}
        assert mine.trading.user_data_ms() >= START_MS
        assert mine.trading.find_orders([A], START_MS) == {}
        assert mine.buy("c-1").filled == 200
        assert mine.placed() == {"c-1": 1}


@pytest.mark.parametrize(
    "fault",
    [
        HttpError(status=500, executed=True, scope=ORDERS),
        HttpError(status=503, executed=True, scope=ORDERS),
        ReplyLost(scope=ORDERS),
    ],
    ids=["500", "503", "no answer"],
)
def test_a_write_that_fails_after_it_was_carried_out_is_unknown_and_found_by_its_id(fault: Fault) -> None:
    with member(fault) as mine:
        with pytest.raises(UnknownOutcomeError):
            mine.buy("c-1")
        assert mine.exchange.struck(fault.label) == 1
        found = mine.trading.find_orders([A], START_MS)
        assert found["c-1"].filled == 200
        # The same id once more is no second order.
        assert mine.buy("c-1").rejection == "order_already_exists"
        assert mine.placed() == {"c-1": 1}
        mine.assert_account_is_true()


def test_no_answer_to_a_batch_leaves_every_order_of_it_to_be_found() -> None:
    with member(ReplyLost(scope=CallScope(paths=("*/batched",)))) as mine:
        limit, kind = Price(4_000), TimeInForce.IMMEDIATE_OR_CANCEL
        orders = [OrderRequest(name, A, Outcome.YES, Count(100), limit, kind, SHARD) for name in ("c-1", "c-2")]
        with pytest.raises(UnknownOutcomeError):
            mine.trading.place(orders)
        assert {name: report.filled for name, report in mine.trading.find_orders([A], START_MS).items()} == {
            "c-1": 100,
            "c-2": 100,
        }
        mine.assert_account_is_true()


def test_a_storm_of_429_places_nothing_and_ends_by_the_exchanges_time() -> None:
    with member(HttpError(status=429, for_ms=2_000)) as mine:
        for attempt in range(3):
            with pytest.raises(RetryableError):
                mine.buy(f"c-{attempt}")
        assert mine.placed() == {}
        mine.clock.advance(2_000)
        assert [mine.buy(f"c-{attempt}").filled for attempt in range(3)] == [200, 200, 200]
        assert mine.placed() == {"c-0": 1, "c-1": 1, "c-2": 1}
        assert mine.exchange.struck("http_error") == 3
        mine.assert_account_is_true()


def test_an_answer_that_is_under_way_for_longer_is_the_true_one() -> None:
    with member(ReplyDelayed(ms=30, scope=ORDERS)) as mine:
        assert mine.buy("c-1").filled == 200
        assert mine.exchange.struck("reply_delayed") == 1


@pytest.mark.parametrize("ms", [-31_000, 31_000])
def test_a_clock_that_is_off_refuses_signatures_and_shows_in_every_answer(ms: int) -> None:
    with member(ClockSkewed(ms=ms, for_ms=1_000)) as mine:
        with pytest.raises(AuthError, match="header_timestamp_expired"):
            mine.trading.balance()
        url = f"{mine.exchange.server.rest_url}/exchange/status"
        skewed = httpx.get(url).headers["Date"]
        mine.clock.advance(1_000)
        assert httpx.get(url).headers["Date"] != skewed
        mine.assert_account_is_true()


def test_a_client_that_corrects_its_clock_gets_through_all_the_same() -> None:
    with member(ClockSkewed(ms=45_000, for_ms=60_000)) as mine:
        client = RestClient(
            base_url=mine.exchange.server.rest_url,
            credentials=mine.exchange.credentials,
            clock=mine.clock,
            correct_clock=True,
        )
        try:
            KalshiMarketData(client, mine.clock).orderbooks([A])
            assert sum(KalshiTrading(client).balance().values()) == 2_000 * CASH_PER_DOLLAR
        finally:
            client.close()
        assert mine.exchange.struck("clock_skew") == 2


@pytest.mark.parametrize("executed", [False, True])
def test_a_refused_handshake_is_meant_by_its_own_path(executed: bool) -> None:
    path = "/trade-api/ws/v2"
    with member(HttpError(status=503, executed=executed, scope=CallScope(paths=(path,)))) as mine:
        mine.trading.balance()
        url = mine.exchange.server.ws_url.replace("ws://", "http://")
        headers = Signer(mine.exchange.credentials).headers(START_MS, "GET", path)
        assert httpx.get(url, headers=headers).status_code == 503
        assert httpx.get(url, headers=headers).status_code != 503


# What is read


def test_reads_lag_by_kind_and_say_so_until_they_are_told_otherwise() -> None:
    with member() as mine:
        mine.clock.advance(5_000)
        mine.buy("c-1")
        placed_ms = mine.clock.now_ms()
        mine.exchange.arm(ReadsLagging(ms=2_000, reads=(ReadSide.FILLS, ReadSide.POSITIONS), for_ms=60_000))
        mine.clock.advance(1_000)
        assert mine.trading.fills([A], START_MS) == []
        assert mine.trading.positions() == {}
        assert set(mine.trading.find_orders([A], START_MS)) == {"c-1"}
        assert mine.trading.user_data_ms() < placed_ms
        assert mine.exchange.struck("read_lag") >= 3
        mine.exchange.disarm()
        assert mine.trading.user_data_ms() > placed_ms
        assert len(mine.trading.fills([A], START_MS)) == 1
        mine.assert_account_is_true()


def test_a_fill_that_is_late_is_missing_from_reads_that_claim_to_be_up_to_date() -> None:
    with member(FillsDisordered(how=Disorder.LATE, ms=1_500, for_ms=60_000)) as mine:
        mine.buy("c-1")
        mine.clock.advance(1_000)
        assert mine.trading.user_data_ms() > START_MS
        assert mine.trading.fills([A], START_MS) == []
        assert set(mine.trading.find_orders([A], START_MS)) == {"c-1"}
        mine.clock.advance(500)
        assert [fill.count for fill in mine.trading.fills([A], START_MS)] == [200]
        assert mine.exchange.struck("fills") == 1


@pytest.mark.parametrize("how", [Disorder.DUPLICATE, Disorder.OUT_OF_ORDER])
def test_fills_that_come_twice_or_out_of_order_are_read_once_and_in_order(how: Disorder) -> None:
    with member() as mine:
        for number in range(3):
            mine.buy(f"c-{number}")
            mine.clock.advance(10)
        right = mine.trading.fills([A], START_MS)
        assert len(right) == 3
        mine.exchange.arm(FillsDisordered(how=how, count=1))
        assert mine.trading.fills([A], START_MS) == right
        assert mine.exchange.struck("fills") == 1


# The world


def test_a_book_that_shrinks_under_an_order_fills_it_in_part() -> None:
    with member(BookThinned(markets=(A,), outcome=Outcome.YES, leave="1.50", before=ORDERS)) as mine:
        assert mine.data.orderbooks([A])[A].no_bids[0].size == 1_000
        assert mine.buy("c-1", contracts=5).filled == 150
        assert mine.exchange.struck("book_thinned") == 1
        mine.assert_account_is_true()


def test_a_market_that_closes_under_an_order_refuses_it() -> None:
    with member(MarketClosed(markets=(A,), before=ORDERS, skip=1)) as mine:
        assert mine.buy("c-1").filled == 200
        refused = mine.buy("c-2")
        assert (refused.filled, refused.rejection is not None) == (0, True)
        assert mine.data.market_states([A])[A].status is MarketStatus.CLOSED
        mine.assert_account_is_true()


def test_a_market_that_pauses_refuses_orders_until_it_resumes_by_itself() -> None:
    with member(MarketPaused(markets=(A,), resume_after_ms=3_000)) as mine:
        assert mine.buy("c-1").rejection is not None
        assert mine.data.market_states([A])[A].status is MarketStatus.INACTIVE
        mine.clock.advance(3_000)
        # Whatever rested was cancelled when it resumed.
        assert mine.data.orderbooks([A])[A].no_bids == ()
        mine.exchange.do(lambda: rest(mine.core, A, Outcome.NO, 60, 10))
        assert mine.buy("c-2").filled == 200


def test_cash_that_is_missing_on_a_shard_is_elsewhere_and_refuses_orders() -> None:
    with member(CashMissing(shard=SHARD, to=0, leave="0.50")) as mine:
        assert mine.trading.balance() == {0: 1_999_500_000, SHARD: 500_000}
        assert mine.buy("c-1").rejection == "insufficient_balance"
        mine.assert_account_is_true()


def test_terms_that_change_are_read_changed() -> None:
    rules, strike = RulesChanged(market=A, rules="Yes if it rains."), StrikeChanged(market=B, floor="21.5")
    fees = FeesChanged(event=EVENT, fee_type=FeeType.WITH_MAKER, multiplier="0.5")
    with member(rules, strike, fees) as mine:
        (listing,) = mine.data.open_events()
        by_ticker = {one.market.ticker: one for one in listing.markets}
        assert by_ticker[A].rules.strip() == "Yes if it rains."
        assert str(by_ticker[B].market.floor) == "21.5"
        assert by_ticker[C].market.fees.multiplier == 5_000
        assert [mine.exchange.struck(fault.label) for fault in (rules, strike, fees)] == [1, 1, 1]


# The endpoint


def test_a_wrong_script_is_refused_whole_in_one_line() -> None:
    with member() as mine:
        url = f"{mine.exchange.server.admin_url}/faults"
        scripts: list[tuple[object, str]] = [
            ({"faults": [{"fault": "http_error", "status": 503}, {"fault": "dance"}]}, "$.faults[1].fault"),
            ({"faults": [{"fault": "http_error", "status": 503, "often": 1}]}, "unknown field `often`"),
            (
                {"faults": [{"fault": "http_error", "status": 503}, {"fault": "market_closed", "markets": ["X"]}]},
                "market_closed: there is no market X here",
            ),
            ({"faults": [{"fault": "cash_missing", "shard": 2, "to": 9}]}, "there is no shard 9 here"),
        ]
        for script, says in scripts:
            answer = httpx.post(url, content=json.dumps(script))
            assert answer.status_code == 400
            details = answer.json()["error"]["details"]
            assert says in details
            assert "\n" not in details
        assert httpx.get(url).json()["faults"] == []
        mine.trading.balance()


def test_the_endpoint_says_what_is_armed_and_what_has_struck() -> None:
    with member() as mine:
        url = f"{mine.exchange.server.admin_url}/faults"
        storm = {"fault": "http_error", "name": "storm", "status": 503, "count": 1, "scope": {"methods": ["GET"]}}
        answer = httpx.post(url, json={"faults": [storm, {"fault": "frame_dropped"}], "seed": 4})
        assert (answer.status_code, answer.json()) == (201, {"ids": [1, 2]})
        mine.trading.balance()
        state = httpx.get(url).json()
        assert state["struck"] == {"storm": 1, "http_error": 1, "frame_dropped": 0}
        assert state["faults"][0] == {
            "id": 1, "fault": "http_error", "name": "storm", "armed": False, "seen": 1, "struck": 1,
        }  # fmt: skip
        assert httpx.delete(url).json()["faults"] == []


def test_the_endpoint_describes_its_own_scripts() -> None:
    with member() as mine:
        schema = httpx.get(f"{mine.exchange.server.admin_url}/faults/schema").json()
        described = schema["$defs"]["ReplyLost"]
        assert described["properties"]["fault"]["enum"] == ["reply_lost"]
        assert described["description"].startswith("The connection ends instead of an answer")
        assert described["additionalProperties"] is False
