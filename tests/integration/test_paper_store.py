"""The paper account in DynamoDB as moto plays it: whole or nothing, once, and never on an old view."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from kalshi_arb.aws.clients import new_client, new_session
from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.paper import DynamoPaperStore
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.fakes import FakeExchange, ManualClock
from kalshi_arb.kalshi.errors import RetryableError, UnknownOutcomeError
from kalshi_arb.paper import PaperTrading
from tests.cloud_samples import market

TICKER = "KXTEST-26-T50"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        dynamo = new_client(new_session("us-east-1"), "dynamodb")
        dynamo.create_table(
            TableName="paper",
            KeySchema=[{"AttributeName": "paper_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "paper_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield dynamo


class Gate:
    """Lets one request at a time through, and breaks a write before or after it took place."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self.breaks: str | None = None

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                if name != "transact_write_items" or self.breaks is None:
                    return getattr(self._client, name)(**arguments)
                when, self.breaks = self.breaks, None
                if when == "after":
                    getattr(self._client, name)(**arguments)
                raise EndpointConnectionError(endpoint_url="https://dynamodb")

        return call


def exchange() -> FakeExchange:
    made = FakeExchange(ManualClock(), [market(TICKER, 50)])
    made.offer(TICKER, Outcome.YES, 4_800, 1_000)
    return made


def trading(client: Any, market_data: FakeExchange) -> PaperTrading:
    return PaperTrading(
        market=market_data,
        store=DynamoPaperStore(Table(client, "paper", "paper_id", sleep=lambda _: None)),
        clock=ManualClock(),
        opening_cash=Cash(10_000_000),
        precision=Precision.DIRECT,
    )


def order(name: str, count: int = 300) -> OrderRequest:
    kind = TimeInForce.IMMEDIATE_OR_CANCEL
    return OrderRequest(name, TICKER, Outcome.YES, Count(count), Price(5_000), kind, 0)


def test_what_one_process_placed_another_reads(client: Any) -> None:
    market_data = exchange()
    reports = trading(client, market_data).place([order("a"), order("b")])
    other = trading(client, market_data)
    assert other.find_orders([TICKER], 0) == {report.client_order_id: report for report in reports}
    assert len(other.fills([TICKER], 0)) == 2
    assert other.positions() == {TICKER: 600}
    assert other.place([order("a")])[0].rejection == "order_already_exists"
    market_data.settle(TICKER, ONE_DOLLAR)
    (paid,) = other.settlements(0)
    assert paid.revenue == 6_000_000
    assert trading(client, market_data).settlements(0) == [paid]
    assert other.positions() == {}


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 2)])
def test_a_crash_in_the_write_leaves_all_or_nothing(client: Any, when: str, orders: int) -> None:
    gate, market_data = Gate(client), exchange()
    broken = trading(gate, market_data)
    gate.breaks = when
    with pytest.raises(UnknownOutcomeError):
        broken.place([order("a"), order("b")])
    assert len(broken.find_orders([TICKER], 0)) == orders
    again = broken.place([order("a"), order("b")])
    assert all((report.rejection is None) is (orders == 0) for report in again)
    assert broken.positions() == {TICKER: 600}, "bought once, whatever happened"


def test_placements_at_once_take_every_contract_once(client: Any) -> None:
    gate, market_data = Gate(client), exchange()
    filled: dict[str, int] = {}

    def place(name: str) -> None:
        mine = trading(gate, market_data)
        while name not in filled:
            try:
                (report,) = mine.place([order(name)])
            except RetryableError:
                continue
            filled[name] = report.filled

    threads = [threading.Thread(target=place, args=(f"c{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(filled.values()) == [0, 100, 300, 300, 300]
    account = DynamoPaperStore(Table(client, "paper", "paper_id")).read()
    assert (account.version, len(account.orders)) == (5, 5)
    assert account.positions() == {TICKER: 1_000}
