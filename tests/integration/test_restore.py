"""Restored from a backup: the tables of one moment on an account that went on, on the exchange's own core.

What a person does is in infra/RUNBOOK.md, "Restore from a backup"; that an empty journal begins with what the account
holds is shown by test_an_account_with_history_begins_with_what_it_holds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from moto import mock_aws

from infra.chaos.transport import InProcess
from infra.checks.template import Template
from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.terms import EventTerms, NewOrder, TimeInForce
from infra.exchange.testkit import CLOSE_MS, MAKER, START_MS, still_core, still_event
from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.clients import new_client, new_session
from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.journal import DynamoLedgerStore
from kalshi_arb.aws.reservations import DynamoReservationStore
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.journal import verify
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, complement
from kalshi_arb.domain.portfolio import OrderReport, OrderRequest, cash_by_shard, net_positions
from kalshi_arb.domain.positions import replay
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.control import set_stop
from kalshi_arb.execution.differences import Difference
from kalshi_arb.fakes import ManualClock, MemoryStatusStore
from kalshi_arb.journal_view import names_of
from kalshi_arb.kalshi.account import KalshiAccount
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.reports.figures import Report, report
from kalshi_arb.reports.period import Period, day_of
from kalshi_arb.risk.breaker import COMPONENT as BREAKER
from kalshi_arb.risk.breaker import Cause, read_trip
from tests.basket_world import YES, World, leg, partition

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
TABLES = {"ledger": "LedgerTable", "baskets": "BasketsTable", "reservations": "ReservationsTable"}
SHARD = 2
EVENTS = ("EA", "EB", "EC", "ED")


def group_of(event: str) -> Group:
    return partition(2, group_id=f"partition-{event}", event=event, shards=(SHARD,) * 2)


def event_of(name: str) -> EventTerms:
    still = still_event(tuple(market.ticker for market in group_of(name).markets), close_ms=CLOSE_MS + 10**8)
    markets = tuple(replace(terms, event_ticker=name) for terms in still.markets)
    return replace(still, ticker=name, markets=markets)


class Account:
    """The exchange's core behind its own routes, and every port of one member's account."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        self.core: ExchangeCore = still_core(dollars=900, shard=SHARD, event=lambda: event_of(EVENTS[0]))
        for name in EVENTS[1:]:
            self.core.list_event(event_of(name))
        key, keys = Ed25519PrivateKey.generate(), KeyRing()
        keys.add("key", key.public_key(), MEMBER)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        server = ExchangeServer(self.core, keys, ServerConfig(), now_ms=self.clock.now_ms)
        self.client = RestClient(
            base_url="http://exchange.invalid/trade-api/v2", credentials=Credentials("key", pem), clock=self.clock,
            transport=InProcess(server),
        )  # fmt: skip
        account, trading, data = KalshiAccount(self.client), KalshiTrading(self.client), KalshiMarketData(
            self.client, self.clock
        )  # fmt: skip
        self._place = trading.place
        self.batches: list[tuple[OrderRequest, ...]] = []
        self.find_orders, self.fills, self.user_data_ms = trading.find_orders, trading.fills, trading.user_data_ms
        self.balance, self.positions, self.settlements = account.balance, account.positions, account.settlements
        self.account_orders, self.account_fills = account.account_orders, account.account_fills
        self.orderbooks, self.market_states, self.market_fees = data.orderbooks, data.market_states, data.market_fees
        self.closes_ms = data.closes_ms

    def place(self, orders: Sequence[OrderRequest], leave_by_ms: int | None = None) -> list[OrderReport]:
        """Remember what was sent."""
        self.batches.append(tuple(orders))
        return self._place(orders, leave_by_ms)

    def offer(self, ticker: str, outcome: Outcome, price: int, size: int) -> None:
        """Let contracts be bought: a maker rests the other outcome."""
        limit, kind = complement(Price(price)), TimeInForce.GOOD_TILL_CANCELED
        self.core.place(MAKER, NewOrder(ticker, outcome.other, limit, Count(size), kind))

    def determine(self, event: str, winner: int) -> None:
        """Pay an event's markets, and wait until they are paid."""
        for number, market in enumerate(group_of(event).markets):
            self.core.determine(market.ticker, Price(ONE_DOLLAR if number == winner else 0), "1")
        self.clock.advance(10_000)
        self.core.advance(self.clock.now_ms())

    def held(self) -> dict[str, Count]:
        return {ticker: row.count for ticker, row in self.core.accounts[MEMBER].positions.items() if row.count}


@dataclass
class Backup:
    """What the backups of one moment are called."""

    arns: dict[str, str]


class Tables:
    """The stack's tables as its template defines them, with the adapters on them. What people and the system set to
    stop trading is not restored, so the status stays as it is."""

    def __init__(self, client: Any, clock: ManualClock) -> None:
        self._client = client
        self._clock = clock
        self.status = MemoryStatusStore()
        resources = Template.read(TEMPLATE).body["Resources"]
        for name, logical in TABLES.items():
            own = resources[logical]["Properties"]
            schema = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes")
            client.create_table(
                TableName=name, BillingMode="PAY_PER_REQUEST", **{part: own[part] for part in schema if part in own}
            )

    def _table(self, name: str, key: str, sort: str = "") -> Table:
        return Table(self._client, name, key, sort=sort, sleep=lambda _: None)

    @property
    def baskets(self) -> DynamoBasketStore:
        return DynamoBasketStore(self._table("baskets", "basket_id"))

    @property
    def ledger(self) -> DynamoLedgerStore:
        return DynamoLedgerStore(self._table("ledger", "chain", "place"), self._clock, sleep=lambda _: None)

    @property
    def reservations(self) -> DynamoReservationStore:
        return DynamoReservationStore(self._table("reservations", "reservation_key"))

    def back_up(self) -> Backup:
        """All that is restored, of this moment."""
        made = {name: self._client.create_backup(TableName=name, BackupName=f"{name}-then") for name in TABLES}
        return Backup({name: answer["BackupDetails"]["BackupArn"] for name, answer in made.items()})

    def restore(self, backup: Backup) -> None:
        """Under the old names: a restored table is a new one, so the old one goes first."""
        for name, arn in backup.arns.items():
            self._client.delete_table(TableName=name)
            self._client.restore_table_from_backup(TargetTableName=name, BackupArn=arn)


class Trader:
    """A stack that trades on an account, and goes on from other tables after a restore."""

    def __init__(self, account: Account, tables: Tables) -> None:
        self.account = account
        self.tables = tables
        self.world = self.restarted()

    def restarted(self) -> World:
        """New processes: nothing is remembered but what the tables hold."""
        self.world = World(group_of(EVENTS[0]), clock=self.account.clock, exchange=self.account, tables=self.tables)
        self.world.groups.hold([group_of(event) for event in EVENTS])
        return self.world

    def propose(self, event: str, number: int = 0) -> str:
        """Ten of each outcome for 90 cents."""
        self.world.group = group_of(event)
        self.world.offer(*((f"{event}-{place}", YES, 45, 20) for place in range(2)))
        legs = [leg(f"{event}-{place}", YES, 10, 45) for place in range(2)]
        return self.world.propose(*legs, opportunity_id=f"{event}-{number}").basket_id

    def lock(self, event: str, number: int = 0) -> str:
        basket_id = self.propose(event, number)
        assert self.world.drive(basket_id).state is BasketState.LOCK
        return basket_id

    def look(self) -> list[Difference]:
        """One comparison, when everything is quiet."""
        self.account.clock.advance(10_000)
        found = self.world.auditor.run()
        assert found is not None
        return found

    def trip(self) -> str | None:
        trip = read_trip(self.world.status.get(BREAKER))
        return None if trip is None else trip.cause

    def told(self) -> Report:
        rows = self.world.baskets.recent(1_000)
        now = self.account.clock.now_ms()
        period = Period(day_of(START_MS), day_of(now))
        entries = self.world.ledger.all()
        return report(entries, rows, names_of(rows), period, mode="simulated", now_ms=START_MS + 10**7)

    def agrees(self) -> None:
        """Cash and positions are the exchange's, to 1e-6 dollars, and the journal is whole."""
        entries = self.world.ledger.all()
        cash = {shard: amount for shard, amount in cash_by_shard(entries).items() if amount}
        assert cash == {shard: amount for shard, amount in self.account.core.accounts[MEMBER].cash.items() if amount}
        assert net_positions(entries) == self.account.held()
        books = replay(entries)
        assert sum(row.fees for row in books.net.values()) == self.account.core.accounts[MEMBER].fees_paid
        assert verify(*self.world.ledger.rows()) == []


@contextmanager
def _account() -> Iterator[Account]:
    account = Account()
    try:
        yield account
    finally:
        account.client.close()


@pytest.fixture
def trader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trader]:
    """A lock that has settled, a refusal, and a lock that is held."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws(), _account() as account:
        session: boto3.Session = new_session("us-east-1")
        made = Trader(account, Tables(new_client(session, "dynamodb"), account.clock))
        made.world.settler.run()
        made.lock("EA")
        account.clock.advance(10_000)
        account.determine("EA", 1)
        assert made.world.settler.run().baskets == 1
        made.world.status.put("control", {"stop": True})
        assert made.world.drive(made.propose("EB")).state is BasketState.REFUSED
        made.world.status.put("control", {"stop": False})
        made.lock("EB", 1)
        account.clock.advance(10_000)
        made.world.settler.run()
        assert made.look() == []
        yield made


def test_restored_at_once_and_after_more_had_happened(trader: Trader) -> None:
    _restored_at_once(trader)
    _restored_late(trader)


def _restored_at_once(trader: Trader) -> None:
    """Everything is as it was."""
    entries, before = trader.world.ledger.all(), trader.told()
    rows, holdings = trader.world.baskets.recent(1_000), trader.world.reservations.holdings()
    trader.tables.restore(trader.tables.back_up())
    trader.restarted()
    assert trader.world.ledger.all() == entries
    assert trader.world.baskets.recent(1_000) == rows
    assert trader.world.reservations.holdings() == holdings
    after = trader.told()
    assert after == before
    assert after.refused == (("stopped", 1),)
    assert {line.end for line in after.baskets} == {"settled", "lock"}
    trader.agrees()
    assert trader.look() == []
    assert trader.world.auditor.repair() == []


def _restored_late(trader: Trader) -> None:
    """What happened since the backup is named, stops new baskets, and is recorded; what was live comes to its end."""
    account = trader.account
    live = trader.propose("EC")
    assert trader.world.risk.run(live, 1).accepted
    backup = trader.tables.back_up()
    # Since then: the live basket became a lock, another one was made, and the markets of both paid.
    assert trader.world.drive(live).state is BasketState.LOCK
    lost = trader.lock("ED")
    account.clock.advance(10_000)
    account.determine("EC", 1)
    account.determine("ED", 0)
    assert trader.world.settler.run().baskets == 2
    trader.agrees()
    was = trader.world.row(live)
    lost_fills = [fill for fill in account.account_fills(START_MS) if fill.ticker.startswith("ED-")]
    sent, executed = len(account.batches), dict(account.core.accounts[MEMBER].orders_by_client_id)

    set_stop(trader.world.status, by="ann", reason="restoring", now_ms=account.clock.now_ms())
    trader.tables.restore(backup)
    trader.restarted()
    assert trader.world.row(live).state is BasketState.RESERVED
    assert trader.world.baskets.get(lost) is None
    assert verify(*trader.world.ledger.rows()) == []

    # The basket that was live is brought up to what it did, to its true end; nothing is sent for it again.
    account.clock.advance(30_000)
    trader.world.sweeper.run()
    ((resumed, attempt),) = trader.world.workflow.started
    assert resumed == live
    trader.world.execute(live, attempt)
    row = trader.world.row(live)
    assert (row.state, row.reason) == (BasketState.LOCK, "every leg complete")
    assert len(account.batches) == sent
    assert account.core.accounts[MEMBER].orders_by_client_id == executed
    assert account.core.accounts[MEMBER].duplicate_attempts == 0

    # What is missing is named: the other basket's orders and fills, and every payment.
    found = trader.look()
    assert sorted((one.kind.value, one.subject) for one in found) == sorted(
        [
            *(("foreign order", fill.order_id) for fill in lost_fills),
            *(("missing fill", f"fill-{fill.trade_id}-{fill.order_id}") for fill in lost_fills),
            *(("settlement", market.ticker) for event in ("EC", "ED") for market in group_of(event).markets),
        ]
    )
    assert trader.trip() is None
    assert [str(one) for one in trader.look()] == [str(one) for one in found]
    assert trader.trip() == Cause.DIFFERENCES
    trader.world.status.put("control", {"stop": False})
    stopped = trader.world.drive(trader.propose("EB", 2))
    assert (stopped.state, stopped.reason) == (BasketState.REFUSED, "breaker")

    # Recorded as the exchange says it, once, as entries that say so.
    before = trader.world.ledger.all()
    account.clock.advance(10_000)
    repaired = trader.world.auditor.repair()
    assert repaired is not None
    assert [str(one) for one in repaired] == [str(one) for one in found]
    added = [entry for entry in trader.world.ledger.all() if entry not in before]
    assert all(entry.note for entry in added)
    assert {entry.basket_id for entry in added} == {""}, "the row that would say whose they were is lost"
    trader.agrees()
    assert trader.look() == []
    assert trader.world.settler.run().baskets == 1
    settled = trader.world.row(live)
    assert (settled.state, settled.settled_profit) == (BasketState.SETTLED, was.settled_profit)
    trader.agrees()
    assert trader.world.auditor.repair() == []
    assert {line.basket_id: line.unexplained for line in trader.told().baskets if not line.problem}
