"""What the exchange itself keeps us from: filling too much within its window, and trading with a key that may only
read."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.auth import KeyRing
from infra.exchange.living import MEMBER
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.terms import NewOrder
from infra.exchange.terms import TimeInForce as Kind
from infra.exchange.testkit import MAKER, START_MS, still_core
from infra.exchange.testserver import ServedExchange, ServerInAThread
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.portfolio import OrderReport, OrderRequest, TimeInForce
from kalshi_arb.fakes import ManualClock, MemoryStatusStore
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import AuthError, RetryableError
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.order_caps import COMPONENT, TRIGGERED, WINDOW_MS, OrderCaps
from kalshi_arb.kalshi.orders import Orders
from kalshi_arb.kalshi.rate_limit import Use
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading

SHARD = 2


class Desk:
    """One account on a served exchange whose first market offers 100 YES at 40 cents."""

    def __init__(self, served: ServedExchange, client: RestClient, clock: ManualClock) -> None:
        self.clock, self.client, self.served = clock, client, served
        self.status = MemoryStatusStore()
        self.limit = Count(1_000)
        self.orders = Orders(client)
        self.caps = OrderCaps(orders=self.orders, status=self.status, clock=clock, limit=lambda: self.limit)
        self.trading = KalshiTrading(client, caps=self.caps)
        self.ticker = min(served.core.markets)
        offer = NewOrder(self.ticker, Outcome.NO, Price(6_000), Count(10_000), Kind.GOOD_TILL_CANCELED)
        served.do(lambda: served.core.place(MAKER, offer))
        self._sent = 0

    def buy(self, contracts: int, trading: KalshiTrading | None = None, leave_by_ms: int | None = None) -> OrderReport:
        self._sent += 1
        request = OrderRequest(
            f"c-{self._sent}", self.ticker, Outcome.YES, Count(contracts * 100), Price(4_000),
            TimeInForce.IMMEDIATE_OR_CANCEL, SHARD,
        )  # fmt: skip
        (report,) = (trading or self.trading).place([request], leave_by_ms)
        return report


@pytest.fixture
def desk() -> Iterator[Desk]:
    clock = ManualClock(START_MS)
    with ServedExchange(still_core(shard=SHARD), clock.now_ms) as served:
        client = RestClient(base_url=served.server.rest_url, credentials=served.credentials, clock=clock)
        yield Desk(served, client, clock)
        client.close()


def test_purchases_carry_the_group_of_their_shard_which_is_made_once(desk: Desk) -> None:
    assert desk.buy(1).filled == 100
    assert desk.buy(2).filled == 200
    (group,) = desk.orders.groups()
    assert [order.order_group_id for order in desk.orders.orders()] == [group.id] * 2
    assert list(desk.status.get(COMPONENT) or {}) == [str(SHARD)]


def test_above_the_cap_the_exchange_refuses_until_the_window_has_passed(desk: Desk) -> None:
    assert desk.buy(11).filled == 1_100
    assert desk.buy(1).rejection == TRIGGERED
    desk.clock.advance(1_000)
    assert desk.buy(1).rejection == TRIGGERED, "it is not reset early"
    desk.clock.advance(WINDOW_MS)
    assert desk.buy(1).filled == 100


def test_an_unwind_belongs_to_no_group_and_runs_whatever_was_bought(desk: Desk) -> None:
    desk.buy(11)
    assert desk.buy(1).rejection == TRIGGERED
    assert desk.buy(1, KalshiTrading(desk.client, Use.REDUCING)).filled == 100


def test_a_changed_limit_is_told_to_the_group(desk: Desk) -> None:
    desk.buy(1)
    desk.limit = Count(2_000)
    desk.buy(1)
    (group,) = desk.orders.groups()
    assert group.contracts_limit_fp == 2_000


def test_a_group_that_somebody_deleted_is_made_anew(desk: Desk) -> None:
    desk.buy(1)
    (group,) = desk.orders.groups()
    desk.orders.delete_group(group.id, shard=SHARD)
    assert desk.buy(1).rejection == "order_group_not_found"
    assert desk.buy(1).filled == 100


def test_two_processes_end_with_one_group(desk: Desk) -> None:
    class Racing(MemoryStatusStore):
        def swap(self, component: str, before: object, status: object) -> bool:
            return False

    other = OrderCaps(orders=desk.orders, status=Racing(), clock=desk.clock, limit=lambda: desk.limit)
    with pytest.raises(RetryableError):
        other.groups_of({SHARD})
    assert desk.orders.groups() == [], "the one that came too late is gone"


def test_a_purchase_whose_group_came_too_late_does_not_leave_and_the_group_serves_the_next(desk: Desk) -> None:
    """An order that leaves later than the row says could be taken for absent while it is under way."""
    now = desk.clock.now_ms()
    with pytest.raises(RetryableError, match="too late"):
        desk.buy(1, leave_by_ms=now - 1)
    (group,) = desk.orders.groups()
    assert desk.served.core.accounts[MEMBER].orders == {}
    assert desk.buy(1, leave_by_ms=now).filled == 100
    assert [one.id for one in desk.orders.groups()] == [group.id]


def test_the_key_of_the_feed_reads_and_cannot_place_an_order() -> None:
    clock, ring, credentials = ManualClock(START_MS), KeyRing(), {}
    for name, scopes in (("feed", ("read",)), ("execution", ("read", "write::trade"))):
        key = Ed25519PrivateKey.generate()
        ring.add(name, key.public_key(), MEMBER, scopes)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        credentials[name] = Credentials(name, pem)
    core = still_core(shard=SHARD)
    request = OrderRequest(
        "c-1", min(core.markets), Outcome.YES, Count(100), Price(4_000), TimeInForce.IMMEDIATE_OR_CANCEL, SHARD
    )
    with ServerInAThread(ExchangeServer(core, ring, ServerConfig(), now_ms=clock.now_ms)) as served:
        url = served.server.rest_url
        reader, trader = (
            RestClient(base_url=url, credentials=credentials[name], clock=clock) for name in ("feed", "execution")
        )
        assert KalshiTrading(reader).balance()
        assert KalshiMarketData(reader, clock).orderbooks([request.ticker])
        with pytest.raises(AuthError, match="insufficient_scope"):
            KalshiTrading(reader).place([request])
        with pytest.raises(AuthError, match="insufficient_scope"):
            Orders(reader).cancel_all()
        assert KalshiTrading(trader).place([request])[0].rejection is None
        reader.close()
        trader.close()
