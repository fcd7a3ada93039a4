"""Each adapter against DynamoDB, SQS, SNS, Step Functions, Secrets Manager and SSM as moto plays them, conditions and
transactions included."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from kalshi_arb import schemas
from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.books import DynamoBookStore
from kalshi_arb.aws.clients import new_client, new_session
from kalshi_arb.aws.dynamo import Condition, Table, TransactionCancelledError, n, s
from kalshi_arb.aws.groups import DynamoGroupStore
from kalshi_arb.aws.journal import DynamoLedgerStore
from kalshi_arb.aws.notify import SnsNotifier
from kalshi_arb.aws.queues import SqsQueue
from kalshi_arb.aws.records import DynamoAlertStore, DynamoOpportunityStore
from kalshi_arb.aws.reservations import DynamoReservationStore
from kalshi_arb.aws.secrets import Vault
from kalshi_arb.aws.status import DynamoStatusStore
from kalshi_arb.aws.workflow import StepFunctionsWorkflow
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketState, lease_mark_ms
from kalshi_arb.domain.errors import ConflictError, OvertakenError, SchemaError, SettingsError, StoreError
from kalshi_arb.domain.group_record import (
    GroupRecord,
    HistoryKind,
    RecordChange,
    Suspension,
    SuspensionReason,
    accept,
    end,
    succeed,
    suspend,
)
from kalshi_arb.domain.journal import JournalError, verify
from kalshi_arb.domain.money import Cash
from kalshi_arb.fakes import ManualClock
from kalshi_arb.ports import (
    Alert,
    AlertDigest,
    AlertStore,
    AlertWindow,
    BasketStore,
    BookStore,
    GroupChanges,
    GroupStore,
    Lease,
    LedgerStore,
    Notifier,
    OpportunityStore,
    Queue,
    ReservationStore,
    StatusStore,
    Workflow,
)
from tests.cloud_samples import NOW, alert, basket, book, entry, group, large_group, opportunity, with_order

REGION = "us-east-1"
KEYS = {
    "books": "ticker",
    "groups": "group_id",
    "group_history": "entry_id",
    "opportunities": "opportunity_id",
    "baskets": "basket_id",
    "ledger": "entry_id",
    "reservations": "reservation_key",
    "status": "component",
    "alerts": "alert_id",
}
INDEXES = {
    "group_history": {"by_group": ("group_id", "at_ms")},
    "opportunities": {"by_time": ("bucket", "found_ms")},
    "baskets": {"by_time": ("bucket", "created_ms"), "by_state": ("state", "updated_ms")},
    "ledger": {"by_time": ("bucket", "created_ms")},
    "alerts": {"by_time": ("bucket", "created_ms")},
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield new_session(REGION)


@pytest.fixture
def dynamo(cloud: boto3.Session) -> Any:
    client = new_client(cloud, "dynamodb")
    for name, key in KEYS.items():
        indexes = INDEXES.get(name, {})
        attributes = {key: "S"}
        for partition, sort in indexes.values():
            attributes |= {partition: "S", sort: "N"}
        arguments: dict[str, Any] = {}
        if indexes:
            arguments["GlobalSecondaryIndexes"] = [
                {
                    "IndexName": index,
                    "KeySchema": [
                        {"AttributeName": partition, "KeyType": "HASH"},
                        {"AttributeName": sort, "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
                for index, (partition, sort) in indexes.items()
            ]
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": a, "AttributeType": t} for a, t in attributes.items()],
            BillingMode="PAY_PER_REQUEST",
            **arguments,
        )
    return client


def table(client: Any, name: str) -> Table:
    return Table(client, name, KEYS[name], sleep=lambda _: None)


def journal(client: Any) -> DynamoLedgerStore:
    return DynamoLedgerStore(table(client, "ledger"), ManualClock(NOW), sleep=lambda _: None)


@pytest.fixture
def baskets(dynamo: Any) -> BasketStore:
    return DynamoBasketStore(table(dynamo, "baskets"))


@pytest.fixture
def reservations(dynamo: Any) -> ReservationStore:
    return DynamoReservationStore(table(dynamo, "reservations"))


class Broken:
    """A client whose every call fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def call(**_: object) -> None:
            self.calls += 1
            raise self.error

        return call


class Atomic:
    """Runs one request at a time, as DynamoDB does for one item: moto reads and writes in separate steps, so that two
    threads lose updates there that they cannot lose in DynamoDB. Between requests threads still interleave."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._client, name)(**arguments)

        return call


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change places as often as the interpreter allows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def refused(code: str, **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, **more}, "Operation")


# Baskets


def test_a_basket_is_created_once_and_read_back_whole(baskets: BasketStore) -> None:
    row = with_order(basket())
    assert baskets.create(row, NOW)
    assert baskets.get("b1") == row
    assert not baskets.create(row, NOW)
    assert baskets.get("b2") is None


def test_one_live_basket_per_group(baskets: BasketStore) -> None:
    assert baskets.create(basket("b1"), NOW)
    assert not baskets.create(basket("b2"), NOW)
    assert baskets.get("b2") is None
    assert baskets.create(basket("b3", group_id="another"), NOW)


def test_a_save_needs_the_revision_that_was_read(baskets: BasketStore) -> None:
    baskets.create(basket(), NOW)
    first = baskets.save(replace(basket(), reason="first"))
    assert first.revision == 2
    with pytest.raises(ConflictError, match="b1"):
        baskets.save(replace(basket(), reason="second"))
    stored = baskets.get("b1")
    assert stored == first
    assert stored is not None
    assert stored.reason == "first"


def test_an_older_attempt_may_not_write(baskets: BasketStore) -> None:
    baskets.create(basket(), NOW)
    taken_over = baskets.save(replace(basket(), attempt=2))
    with pytest.raises(ConflictError):
        baskets.save(replace(taken_over, attempt=1))
    assert baskets.save(replace(taken_over, reason="go on")).revision == 3


def test_a_row_that_is_not_there_cannot_be_saved(baskets: BasketStore) -> None:
    with pytest.raises(ConflictError):
        baskets.save(basket())


def test_a_save_whose_answer_was_lost_counts_once(baskets: BasketStore, dynamo: Any) -> None:
    """The client repeats a write after a lost answer; the row that stands in its way is then its own."""
    baskets.create(basket(), NOW)

    class Twice:
        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def put_item(self, **arguments: Any) -> Any:
            dynamo.put_item(**arguments)
            return dynamo.put_item(**arguments)

    saved = DynamoBasketStore(table(Twice(), "baskets")).save(replace(basket(), reason="once"))
    assert saved.revision == 2
    assert baskets.get("b1") == saved


@pytest.mark.parametrize("end", [BasketState.LOCK, BasketState.FLAT, BasketState.HELD, BasketState.REFUSED])
def test_ending_a_basket_frees_its_group(baskets: BasketStore, end: BasketState) -> None:
    baskets.create(basket("b1"), NOW)
    baskets.save(replace(basket("b1"), state=end))
    assert baskets.create(basket("b2"), NOW)


@pytest.mark.parametrize("state", [state for state in BasketState if state in LIVE_STATES])
def test_a_basket_that_goes_on_keeps_its_group(baskets: BasketStore, state: BasketState) -> None:
    baskets.create(basket("b1"), NOW)
    baskets.save(replace(basket("b1"), state=state))
    assert not baskets.create(basket("b2"), NOW)


@pytest.mark.parametrize("later", [BasketState.LOCK, BasketState.SETTLED])
def test_writing_an_ended_basket_again_leaves_its_successors_lease_alone(
    baskets: BasketStore, later: BasketState
) -> None:
    baskets.create(basket("b1"), NOW)
    ended = baskets.save(replace(basket("b1"), state=BasketState.LOCK))
    assert baskets.create(basket("b2"), NOW)
    saved = baskets.save(replace(ended, state=later, settled_profit=Cash(1)))
    assert baskets.get("b1") == saved
    assert not baskets.create(basket("b3"), NOW)


def test_a_lost_race_to_end_a_basket_changes_nothing(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    baskets.save(replace(basket("b1"), reason="newer"))
    with pytest.raises(ConflictError):
        baskets.save(replace(basket("b1"), state=BasketState.REFUSED))
    stored = baskets.get("b1")
    assert stored is not None
    assert stored.state is BasketState.PROPOSED
    assert not baskets.create(basket("b2"), NOW)


def test_after_orders_the_next_basket_rests_on_books_from_after_them(baskets: BasketStore) -> None:
    assert baskets.create(basket("b1"), NOW)
    ended = replace(basket("b1"), state=BasketState.FLAT, first_order_ms=NOW + 5, updated_ms=NOW + 70)
    mark = lease_mark_ms(ended)
    assert mark > NOW + 70
    baskets.save(ended)
    assert baskets.leases() == [Lease("ladder-KXTEST-26", None, mark)]
    assert not baskets.create(basket("b2"), mark), "known up to the mark, not beyond it"
    assert baskets.get("b2") is None
    assert baskets.create(basket("b2"), mark + 1)
    assert baskets.leases() == [Lease("ladder-KXTEST-26", "b2", mark)]


def test_a_basket_that_sent_nothing_leaves_the_mark_of_the_one_before(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    ended = replace(basket("b1"), state=BasketState.FLAT, first_order_ms=NOW, updated_ms=NOW)
    baskets.save(ended)
    later = lease_mark_ms(ended) + 1
    assert baskets.create(basket("b2"), later)
    baskets.save(replace(basket("b2"), state=BasketState.REFUSED))
    assert not baskets.create(basket("b3"), later - 1)
    assert baskets.create(basket("b4"), later)


def test_a_lease_is_removed_only_as_it_was_seen(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    (lease,) = baskets.leases()
    assert lease == Lease("ladder-KXTEST-26", "b1", 0)
    assert not baskets.free_lease(replace(lease, owner=None))
    assert not baskets.free_lease(replace(lease, mark_ms=5))
    assert baskets.free_lease(lease)
    assert not baskets.free_lease(lease)
    assert baskets.leases() == []
    assert baskets.create(basket("b2"), NOW)


def test_leases_are_no_baskets(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    assert [row.basket_id for row in baskets.in_states(BasketState, 10)] == ["b1"]
    assert [row.basket_id for row in baskets.recent(10)] == ["b1"]


def test_baskets_by_state_come_least_recently_updated_first(baskets: BasketStore) -> None:
    for number, state in enumerate([BasketState.EXECUTING, BasketState.PROPOSED, BasketState.EXECUTING]):
        row = basket(f"b{number}", group_id=f"g{number}")
        baskets.create(row, NOW)
        baskets.save(replace(row, state=state, updated_ms=NOW + 100 - number))
    live = [BasketState.EXECUTING, BasketState.PROPOSED]
    assert [row.basket_id for row in baskets.in_states(live, 10)] == ["b2", "b1", "b0"]
    assert [row.basket_id for row in baskets.in_states(live, 2)] == ["b2", "b1"]
    assert [row.basket_id for row in baskets.in_states([BasketState.PROPOSED], 10)] == ["b1"]
    assert baskets.in_states([], 10) == []


def test_a_basket_that_moves_on_while_states_are_read_is_there_once(dynamo: Any) -> None:
    saved: list[Basket] = []

    class Moving:
        """After each query the basket is a step further."""

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def query(self, **arguments: Any) -> Any:
            answer = dynamo.query(**arguments)
            path = [BasketState.RESERVED, BasketState.EXECUTING, BasketState.UNWINDING]
            if len(saved) < len(path):
                row = saved[-1] if saved else basket("b1")
                saved.append(DynamoBasketStore(table(dynamo, "baskets")).save(replace(row, state=path[len(saved)])))
            return answer

    store = DynamoBasketStore(table(Moving(), "baskets"))
    assert store.create(basket("b1"), NOW)
    assert [(row.basket_id, row.state) for row in store.in_states(LIVE_STATES, 10)] == [("b1", BasketState.UNWINDING)]


def test_queries_go_on_over_page_borders(dynamo: Any) -> None:
    class SmallPages:
        """Answers two items a page, whatever was asked."""

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def query(self, **arguments: Any) -> Any:
            return dynamo.query(**arguments | {"Limit": min(2, arguments.get("Limit", 2))})

        def scan(self, **arguments: Any) -> Any:
            return dynamo.scan(**arguments | {"Limit": 2})

    store = DynamoBasketStore(table(SmallPages(), "baskets"))
    for number in range(7):
        assert store.create(basket(f"b{number}", group_id=f"g{number}", created_ms=NOW + number), NOW)
    assert [row.basket_id for row in store.recent(5)] == ["b6", "b5", "b4", "b3", "b2"]
    assert len(store.in_states([BasketState.PROPOSED], 100)) == 7
    ledger = journal(SmallPages())
    ledger.append([entry(f"e{number}") for number in range(5)])
    assert len(ledger.all()) == 5


def test_a_stored_row_of_another_kind_is_refused(baskets: BasketStore, dynamo: Any) -> None:
    dynamo.put_item(TableName="baskets", Item={"basket_id": s("b1"), "body": s(schemas.encode(alert()))})
    with pytest.raises(SchemaError, match="basket"):
        baskets.get("b1")


# Reservations


def test_a_reservation_takes_every_key_or_none(reservations: ReservationStore) -> None:
    limits = {"market#A": 100, "cash#0": 150}
    assert reservations.reserve("b1", {"market#A": 60, "cash#0": 100}, limits) == ()
    assert reservations.reserve("b2", {"market#A": 40, "cash#0": 60}, limits) == ("cash#0",)
    assert reservations.used() == {"market#A": 60, "cash#0": 100}
    assert reservations.reserve("b3", {"market#A": 41, "cash#0": 1}, limits) == ("market#A",)
    assert reservations.reserve("b4", {"market#A": 40, "cash#0": 50}, limits) == ()
    assert reservations.used() == {"market#A": 100, "cash#0": 150}


def test_every_key_without_room_is_named(reservations: ReservationStore) -> None:
    limits = {"market#A": 10, "contracts#A": 10, "cash#0": 10, "open#baskets": 1}
    reservations.reserve("b1", {"market#A": 5, "contracts#A": 10, "cash#0": 5, "open#baskets": 1}, limits)
    wanted = {"market#A": 5, "contracts#A": 1, "cash#0": 6, "open#baskets": 1}
    assert reservations.reserve("b2", wanted, limits) == ("contracts#A", "cash#0", "open#baskets")
    assert reservations.amounts([*wanted, "cash#1"]) == {
        "market#A": 5, "contracts#A": 10, "cash#0": 5, "open#baskets": 1,
    }  # fmt: skip


def test_dollars_and_contracts_of_a_market_are_one_item(reservations: ReservationStore, dynamo: Any) -> None:
    reservations.reserve("b1", {"market#A": 5, "contracts#A": 7}, {"market#A": 5, "contracts#A": 7})
    assert dynamo.scan(TableName="reservations")["Count"] == 2, "the market's and the basket's own"
    assert reservations.used() == {"market#A": 5, "contracts#A": 7}
    reservations.release("b1", ("contracts#",))
    assert reservations.used() == {"market#A": 5}


def test_an_amount_above_its_limit_has_no_room_even_when_nothing_is_used(reservations: ReservationStore) -> None:
    assert reservations.reserve("b1", {"cash#0": 101}, {"cash#0": 100}) == ("cash#0",)
    assert reservations.used() == {}


def test_reserving_again_changes_nothing_and_more_adds_the_difference(reservations: ReservationStore) -> None:
    for _ in range(3):
        assert reservations.reserve("b1", {"cash#0": 60}, {"cash#0": 100}) == ()
    assert reservations.used() == {"cash#0": 60}
    assert reservations.reserve("b1", {"cash#0": 40}, {"cash#0": 100}) == (), "what it holds is enough"
    assert reservations.reserve("b1", {"cash#0": 90, "cash#1": 1}, {"cash#0": 100}) == ()
    assert reservations.used() == {"cash#0": 90, "cash#1": 1}
    assert reservations.reserve("b1", {"cash#0": 101}, {"cash#0": 100}) == ("cash#0",)
    reservations.release("b1")
    assert reservations.used() == {}


def test_release_by_prefix_and_again(reservations: ReservationStore) -> None:
    limits = {"market#A": 100, "market#B": 100, "cash#0": 100}
    reservations.reserve("b1", {"market#A": 10, "market#B": 20, "cash#0": 30, "open#baskets": 1}, limits)
    reservations.reserve("b2", {"market#A": 5}, limits)
    for _ in range(2):
        reservations.release("b1", ("cash#", "open#"))
        assert reservations.used() == {"market#A": 15, "market#B": 20}
    assert reservations.reserve("b1", {"market#A": 10, "cash#0": 30}, limits) == (), "it gives back by now"
    assert reservations.used() == {"market#A": 15, "market#B": 20}
    for _ in range(2):
        reservations.release("b1")
        assert reservations.used() == {"market#A": 5}
    reservations.release("never reserved")


def test_a_reservation_is_one_transaction_or_none_at_all(reservations: ReservationStore) -> None:
    amounts = {f"{kind}#{number:03d}": 1 for number in range(99) for kind in ("market", "contracts")}
    assert reservations.reserve("b1", amounts, dict.fromkeys(amounts, 1)) == ()
    assert reservations.used() == amounts
    reservations.release("b1")
    assert reservations.used() == {}
    with pytest.raises(StoreError, match="100 items, at most 99"):
        reservations.reserve("b1", {f"market#{number}": 1 for number in range(100)}, {})
    assert reservations.used() == {}


def test_room_that_became_free_in_between_is_taken(dynamo: Any) -> None:
    class FreedMeanwhile:
        freed = False

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def batch_get_item(self, **arguments: Any) -> Any:
            if not self.freed:
                self.freed = True
                DynamoReservationStore(table(dynamo, "reservations")).release("b1")
            return dynamo.batch_get_item(**arguments)

    DynamoReservationStore(table(dynamo, "reservations")).reserve("b1", {"open#baskets": 1}, {})
    store = DynamoReservationStore(table(FreedMeanwhile(), "reservations"))
    assert store.reserve("b2", {"open#baskets": 1}, {"open#baskets": 1}) == ()
    assert store.used() == {"open#baskets": 1}


def test_everything_that_is_held_adds_up_by_basket(reservations: ReservationStore) -> None:
    reservations.reserve("b1", {"market#A": 5, "contracts#A": 7, "cash#0": 2}, {})
    reservations.reserve("b2", {"market#A": 1, "cash#0": 3}, {})
    held = reservations.holdings()
    assert held.used == {"market#A": 6, "contracts#A": 7, "cash#0": 5}
    assert held.records == {"b1": {"market#A": 5, "contracts#A": 7, "cash#0": 2}, "b2": {"market#A": 1, "cash#0": 3}}


def test_racing_baskets_never_pass_the_limit(dynamo: Any, restless: None) -> None:
    answers: list[tuple[str, ...]] = []
    client = Atomic(dynamo)

    def reserve(number: int) -> None:
        store = DynamoReservationStore(table(client, "reservations"))
        answers.append(store.reserve(f"b{number}", {"cash#0": 10, f"market#{number}": 1}, limits))

    limits = {"cash#0": 35, **{f"market#{number}": 1 for number in range(8)}}
    threads = [threading.Thread(target=reserve, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(()) == 3
    assert answers.count(("cash#0",)) == 5
    used = DynamoReservationStore(table(dynamo, "reservations")).used()
    assert used.pop("cash#0") == 30
    assert len(used) == 3, "a refused basket holds no market"


def test_cash_that_was_given_back_meanwhile_overtakes_a_reservation(reservations: ReservationStore) -> None:
    keys = ["cash#0", "cash#1"]
    assert reservations.returns(keys) == {"cash#0": 0, "cash#1": 0}
    reservations.reserve("b1", {"cash#0": 30, "market#A": 1}, {}, reservations.returns(keys))
    before = reservations.returns(keys)
    assert before == {"cash#0": 0, "cash#1": 0}, "taking is no return"
    for _ in range(2):
        reservations.release("b1", ("cash#",))
    assert reservations.returns(keys) == {"cash#0": 1, "cash#1": 0}
    with pytest.raises(OvertakenError):
        reservations.reserve("b2", {"cash#0": 5, "market#A": 1}, {"cash#0": 100}, before)
    assert reservations.used() == {"market#A": 1}
    assert reservations.reserve("b2", {"cash#1": 5}, {"cash#1": 9}, before) == (), "another shard's"
    assert reservations.reserve("b3", {"cash#0": 5}, {"cash#0": 9}, reservations.returns(keys)) == ()
    reservations.release("b3")
    assert reservations.returns(keys) == {"cash#0": 2, "cash#1": 0}
    assert reservations.reserve("b2", {"cash#1": 5}, {"cash#1": 9}, {"cash#1": 7}) == (), "it takes nothing more"
    assert reservations.reserve("b4", {"cash#0": 9}, {"cash#0": 8}, {"cash#0": 2}) == ("cash#0",)


def test_a_key_without_a_limit_is_only_counted(reservations: ReservationStore) -> None:
    assert reservations.reserve("b1", {"count": 7}, {}) == ()
    assert reservations.reserve("b2", {"count": 7, "cash#0": 5}, {"cash#0": 4}) == ("cash#0",)
    assert reservations.used() == {"count": 7}


def test_a_limit_of_nothing_and_a_negative_amount(reservations: ReservationStore) -> None:
    assert reservations.reserve("b1", {"cash#0": 1}, {"cash#0": 0}) == ("cash#0",)
    assert reservations.reserve("b2", {"cash#0": 0}, {"cash#0": 0}) == ()
    assert reservations.used() == {}
    with pytest.raises(StoreError, match="negative"):
        reservations.reserve("b3", {"cash#0": -1}, {"cash#0": 1})


# Groups


def group_store(client: Any) -> DynamoGroupStore:
    return DynamoGroupStore(table(client, "groups"), table(client, "group_history"))


@pytest.fixture
def groups(dynamo: Any) -> GroupStore:
    return group_store(dynamo)


def new(group_id: str, fingerprint: str = "f1") -> RecordChange:
    return accept(group(group_id, fingerprint), read_ms=NOW, now_ms=NOW)


def stored(store: GroupStore, group_id: str) -> GroupRecord:
    record = store.get(group_id)
    assert record is not None
    return record


def test_groups_and_their_versions(groups: GroupStore) -> None:
    assert (groups.version(), groups.all(), groups.get("g1")) == (0, [], None)
    assert groups.write([new("g1"), new("g2")]) == {"g1", "g2"}
    assert [record.group for record in groups.all()] == [group("g1"), group("g2")]
    assert (groups.version(), groups.write([])) == (1, frozenset())
    changed = succeed(stored(groups, "g2"), group("g2", "f2"), ("a strike changed",), read_ms=NOW, now_ms=NOW + 1)
    assert groups.write([changed]) == {"g2"}
    assert stored(groups, "g2") == changed.after
    assert groups.write([end(stored(groups, "g2"), ("closed",), now_ms=NOW + 2)]) == {"g2"}
    assert (groups.version(), groups.get("g2")) == (3, None)
    assert [record.group_id for record in groups.get_many(["g1", "g2", "g3"])] == ["g1"]
    assert [(line.kind, line.words) for line in groups.history("g2", 9)] == [
        (HistoryKind.GONE, ("closed",)), (HistoryKind.REPLACED, ("a strike changed",)), (HistoryKind.ACCEPTED, ()),
    ]  # fmt: skip


def test_readers_are_told_what_changed_or_to_read_everything(groups: GroupStore, dynamo: Any) -> None:
    assert groups.changes_since(0) == GroupChanges(0, frozenset())
    groups.write([new("g1"), new("g2")])
    groups.write([suspend(stored(groups, "g1"), SuspensionReason.CHANGED, "why", now_ms=NOW)])
    assert groups.changes_since(0) == GroupChanges(2, frozenset({"g1", "g2"}))
    assert groups.changes_since(1) == GroupChanges(2, frozenset({"g1"}))
    assert groups.changes_since(2) == GroupChanges(2, frozenset())
    assert groups.changes_since(3) is None, "the tables were made anew"
    dynamo.delete_item(TableName="group_history", Key={"entry_id": s("#change#1")})
    assert groups.changes_since(0) is None, "too long ago"


def test_the_version_item_is_no_group(groups: GroupStore) -> None:
    groups.write([new("g1")])
    assert groups.get("#version") is None
    assert groups.get_many(["#version"]) == []


def test_of_two_writers_the_second_is_late_and_the_others_of_its_batch_are_written(groups: GroupStore) -> None:
    groups.write([new("g1"), new("g2")])
    first, second = stored(groups, "g1"), stored(groups, "g1")
    assert groups.write([suspend(first, SuspensionReason.CHANGED, "first", now_ms=NOW)]) == {"g1"}
    late = suspend(second, SuspensionReason.CHANGED, "second", now_ms=NOW)
    assert groups.write([late, suspend(stored(groups, "g2"), SuspensionReason.CHANGED, "x", now_ms=NOW)]) == {"g2"}
    assert stored(groups, "g1").suspension == Suspension(SuspensionReason.CHANGED, "first", NOW)
    assert groups.write([new("g1", "f9")]) == frozenset(), "it is there already"


def test_writers_at_once_lose_nothing(groups: GroupStore, dynamo: Any) -> None:
    """Another writer takes the version between our reading it and our writing."""

    class Interrupted:
        left = 3

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **arguments: Any) -> Any:
            if self.left:
                self.left -= 1
                group_store(dynamo).write([new(f"other{self.left}")])
            return dynamo.transact_write_items(**arguments)

    assert group_store(Interrupted()).write([new("g1")]) == {"g1"}
    assert groups.version() == 4
    assert groups.changes_since(3) == GroupChanges(4, frozenset({"g1"}))


def test_a_write_that_dies_leaves_nothing(groups: GroupStore, dynamo: Any) -> None:
    class Dies:
        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **_: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")

    with pytest.raises(StoreError):
        group_store(Dies()).write([new("g1")])
    assert (groups.version(), groups.all()) == (0, [])


def test_many_groups_and_very_large_ones(groups: GroupStore) -> None:
    wanted = [group(f"g{number:03d}") for number in range(60)] + [large_group("h", 300)]
    changes = [accept(one, read_ms=NOW, now_ms=NOW) for one in wanted]
    assert len(schemas.encode(changes[-1].after)) > 200_000
    assert groups.write(changes) == {one.group_id for one in wanted}
    assert [record.group for record in groups.all()] == wanted
    assert stored(groups, "h").group == wanted[-1]
    assert groups.version() > 1, "several transactions, each a version"


def test_what_an_older_program_left_is_not_there_and_is_overwritten(groups: GroupStore, dynamo: Any) -> None:
    old = {"group_id": s("g1"), "v": {"N": "2"}, "kind": s("group"), "body": s("{}"), "fingerprint": s("f")}
    dynamo.put_item(TableName="groups", Item=old)
    assert (groups.get("g1"), groups.all(), groups.get_many(["g1"])) == (None, [], [])
    assert groups.write([new("g1")]) == {"g1"}
    assert stored(groups, "g1").group == group("g1")


def test_a_packed_group_that_is_damaged_is_refused(groups: GroupStore, dynamo: Any) -> None:
    item = {"group_id": s("g"), "packed": {"B": b"no"}, "v": {"N": "1"}, "kind": s("group_record")}
    dynamo.put_item(TableName="groups", Item=item)
    with pytest.raises(SchemaError):
        groups.get("g")


# Books, records, status


def test_only_a_newer_book_replaces_a_book(dynamo: Any) -> None:
    store: BookStore = DynamoBookStore(table(dynamo, "books"))
    stored = book("A", (2, 5, 10))
    assert store.put(stored)
    for older in [(2, 5, 9), (2, 4, 99), (1, 99, 99)]:
        assert not store.put(book("A", older))
    assert store.get(["A"]) == {"A": stored}
    for newer in [(2, 5, 10), (2, 5, 11), (2, 6, 1), (3, 0, 0)]:
        assert store.put(book("A", newer))
    assert store.get(["A"])["A"].version == (3, 0, 0)


def test_many_books_are_read_at_once_and_unknown_ones_left_out(dynamo: Any) -> None:
    store = DynamoBookStore(table(dynamo, "books"))
    tickers = [f"M{number}" for number in range(120)]
    for ticker in tickers:
        store.put(book(ticker))
    assert store.get([*tickers, "unknown", "M0"]).keys() == set(tickers)
    assert store.get([]) == {}


def test_throttled_reads_and_writes_are_finished(dynamo: Any) -> None:
    class Throttled:
        """Leaves something undone in every first answer."""

        def __init__(self) -> None:
            self.left = {"batch_get_item": 2}

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def batch_get_item(self, RequestItems: Any) -> Any:  # noqa: N803 - the API's own name
            if self.left["batch_get_item"]:
                self.left["batch_get_item"] -= 1
                return {"Responses": {}, "UnprocessedKeys": RequestItems}
            return dynamo.batch_get_item(RequestItems=RequestItems)

    client = Throttled()
    DynamoBookStore(table(dynamo, "books")).put(book("A"))
    assert DynamoBookStore(table(client, "books")).get(["A"]) == {"A": book("A")}
    client.left = {"batch_get_item": 99}
    with pytest.raises(StoreError, match="unread"):
        DynamoBookStore(table(client, "books")).get(["A"])


def test_opportunities_are_stored_once_and_come_newest_first(dynamo: Any) -> None:
    store: OpportunityStore = DynamoOpportunityStore(table(dynamo, "opportunities"))
    assert store.put(opportunity("o1", NOW))
    assert store.put(opportunity("o2", NOW + 1))
    assert not store.put(opportunity("o1", NOW + 9))
    assert store.get("o1") == opportunity("o1", NOW)
    assert store.get("o9") is None
    assert [found.opportunity_id for found in store.recent(5)] == ["o2", "o1"]
    assert [found.opportunity_id for found in store.recent(1)] == ["o2"]
    item = dynamo.get_item(TableName="opportunities", Key={"opportunity_id": s("o1")})["Item"]
    assert int(item["expires_at"]["N"]) > NOW // 1000
    assert (item["v"]["N"], item["kind"]["S"]) == ("2", "opportunity")


def test_a_cash_movement_is_booked_once(dynamo: Any) -> None:
    store: LedgerStore = journal(dynamo)
    assert store.append([entry("e2", NOW + 5), entry("e1", NOW)]) == 2
    assert store.append([entry("e1", NOW), entry("e3", NOW + 3)]) == 1
    assert [row.entry_id for row in store.all()] == ["e1", "e3", "e2"]
    assert store.append([]) == 0
    assert verify(*store.rows()) == []


def test_a_chain_longer_than_a_transaction_is_whole(dynamo: Any) -> None:
    store = journal(dynamo)
    assert store.append([entry(f"e{number}", NOW + number) for number in range(150)]) == 150
    assert store.append([entry(f"e{number}", NOW + number) for number in range(150)]) == 0
    assert len(store.all()) == 150
    assert verify(*store.rows()) == []


def test_of_two_writers_at_one_chain_both_get_their_entries_in_once(dynamo: Any) -> None:
    class Raced:
        """Another writer is first between the read of the chain's head and the write, three times."""

        left = 3

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **arguments: Any) -> Any:
            if self.left:
                self.left -= 1
                journal(dynamo).append([entry(f"other{self.left}"), entry("both")])
            return dynamo.transact_write_items(**arguments)

    store = journal(Raced())
    assert store.append([entry("own"), entry("both")]) == 1
    assert {row.entry_id for row in store.all()} == {"own", "both", "other0", "other1", "other2"}
    assert verify(*store.rows()) == []


def test_a_writer_that_never_gets_in_says_so(dynamo: Any) -> None:
    class Beaten:
        number = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **arguments: Any) -> Any:
            self.number += 1
            journal(dynamo).append([entry(f"other{self.number}")])
            return dynamo.transact_write_items(**arguments)

    with pytest.raises(ConflictError, match="12 times in a row"):
        journal(Beaten()).append([entry("own")])
    assert "own" not in {row.entry_id for row in journal(dynamo).all()}


def test_a_damaged_journal_gives_no_entries(dynamo: Any) -> None:
    store = journal(dynamo)
    store.append([entry("e1"), entry("e2")])
    item = dynamo.get_item(TableName="ledger", Key={"entry_id": s("e1")})["Item"]
    dynamo.put_item(TableName="ledger", Item=item | {"body": s(item["body"]["S"].replace("448000", "448001"))})
    with pytest.raises(JournalError, match="entry e1 is not what was written"):
        store.all()
    assert [str(damage) for damage in verify(*store.rows())] == [
        "basket:b1 record 0: its text is not the one that was sealed"
    ]


def test_alerts_are_stored_once_unless_forgotten(dynamo: Any) -> None:
    store: AlertStore = DynamoAlertStore(table(dynamo, "alerts"))
    assert store.put(alert("a1"))
    assert not store.put(alert("a1"))
    store.forget("a1")
    assert store.put(alert("a1"))
    store.put(alert("a2", NOW + 1))
    assert store.recent(10) == [alert("a2", NOW + 1), alert("a1")]


def test_the_digest_of_alerts_has_one_writer_at_a_time(dynamo: Any) -> None:
    store: AlertStore = DynamoAlertStore(table(dynamo, "alerts"))
    empty = store.digest()
    assert empty == AlertDigest(0, ())
    first = replace(empty, windows=(AlertWindow("kind", NOW, 2, alert()),))
    assert store.save_digest(first)
    assert not store.save_digest(first), "another writer was first"
    assert store.digest() == replace(first, revision=1)
    assert store.save_digest(AlertDigest(1, ()))
    assert not store.save_digest(AlertDigest(1, ()))
    assert not store.save_digest(AlertDigest(3, ()))
    assert store.digest() == AlertDigest(2, ())
    assert store.recent(10) == [], "it is no alert"


def test_status_and_counters(dynamo: Any) -> None:
    store: StatusStore = DynamoStatusStore(table(dynamo, "status"))
    assert store.get("feed") is None
    store.put("feed", {"connected": True, "latency_ms": {"p50": 3}, "misses": [{"group": "g"}]})
    assert store.get("feed") == {"connected": True, "latency_ms": {"p50": 3}, "misses": [{"group": "g"}]}
    assert store.counters("detection") == {}
    store.count("detection", {"candidates": 2, "drop.no longer there": 1, "component": 5, "v": 1})
    store.count("detection", {"candidates": 3, "nothing": 0})
    store.count("detection", {})
    assert store.counters("detection") == {"candidates": 5, "drop.no longer there": 1, "component": 5, "v": 1}
    many = {f"reason {number}": 1 for number in range(120)}
    store.count("many", many)
    assert store.counters("many") == many


def test_a_counter_item_is_no_status(dynamo: Any) -> None:
    store = DynamoStatusStore(table(dynamo, "status"))
    store.count("feed", {"frames": 1})
    with pytest.raises(SchemaError):
        store.get("counters#feed")


def test_concurrent_counting_loses_nothing(dynamo: Any, restless: None) -> None:
    client = Atomic(dynamo)

    def count() -> None:
        store = DynamoStatusStore(table(client, "status"))
        for _ in range(10):
            store.count("detection", {"candidates": 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert DynamoStatusStore(table(dynamo, "status")).counters("detection") == {"candidates": 40}


# Queue, workflow, topic, secrets


def test_a_message_goes_through_the_queue(cloud: boto3.Session) -> None:
    client = new_client(cloud, "sqs")
    url = client.create_queue(QueueName="candidates")["QueueUrl"]
    queue: Queue = SqsQueue(client, url)
    queue.send("hello")
    assert [m["Body"] for m in client.receive_message(QueueUrl=url)["Messages"]] == ["hello"]
    with pytest.raises(StoreError, match="send to absent"):
        SqsQueue(client, url.replace("candidates", "absent")).send("hello")


def test_an_execution_is_started_once(cloud: boto3.Session) -> None:
    client = new_client(cloud, "stepfunctions")
    arn = client.create_state_machine(
        name="basket",
        definition=json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/basket",
    )["stateMachineArn"]
    workflow: Workflow = StepFunctionsWorkflow(client, arn)
    assert workflow.start("b1", 1)
    assert workflow.start("b1", 1), "repeated with the same input while it runs: the same execution"
    running = client.list_executions(stateMachineArn=arn)["executions"]
    assert [execution["name"] for execution in running] == ["b1-1"]
    client.stop_execution(executionArn=running[0]["executionArn"])
    assert not workflow.start("b1", 1), "ended: the name is spent"
    assert workflow.start("b1", 2)
    executions = client.list_executions(stateMachineArn=arn)["executions"]
    assert {execution["name"] for execution in executions} == {"b1-1", "b1-2"}
    described = client.describe_execution(executionArn=executions[0]["executionArn"])
    assert json.loads(described["input"]).keys() == {"basket_id", "attempt"}
    with pytest.raises(StoreError, match="b3-1"):
        StepFunctionsWorkflow(client, arn + "absent").start("b3", 1)


def test_an_alert_reaches_a_subscriber_whole(cloud: boto3.Session) -> None:
    sns, sqs = new_client(cloud, "sns"), new_client(cloud, "sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    url = sqs.create_queue(QueueName="sink")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    notifier: Notifier = SnsNotifier(sns, topic)
    sent = replace(alert(), title="caf\u00e9\nlocked " + "x" * 200)
    notifier.publish(sent)
    message = json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert schemas.decode(message["Message"], Alert) == sent
    assert message["Subject"].startswith("simulated basket: caf locked x")
    assert len(message["Subject"]) <= 100
    assert message["MessageAttributes"]["mode"]["Value"] == "simulated"


def test_people_get_a_letter_and_programs_the_alert() -> None:
    class Client:
        published: dict[str, Any]

        def publish(self, **arguments: Any) -> None:
            self.published = arguments

    client = Client()
    SnsNotifier(client, "arn").publish(alert())
    assert client.published["MessageStructure"] == "json"
    bodies = json.loads(client.published["Message"])
    assert bodies.keys() == {"default", "email"}
    assert schemas.decode(bodies["default"], Alert) == alert()
    assert bodies["email"].startswith("simulated basket: basket b1 locked\n\nat least $2.90\n")
    assert "{" not in bodies["email"]


class StillClock:
    now = NOW

    def now_ms(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


def test_secrets_and_parameters_are_kept_for_a_while(cloud: boto3.Session) -> None:
    secrets, parameters = new_client(cloud, "secretsmanager"), new_client(cloud, "ssm")
    secrets.create_secret(Name="token", SecretString='{"token": "one"}')
    parameters.put_parameter(Name="limits", Value='{"total": 5}', Type="String")
    clock = StillClock()
    vault = Vault(secrets=lambda: secrets, parameters=lambda: parameters, clock=clock, keep_ms=1_000)
    assert vault.secret("token") == {"token": "one"}
    assert vault.parameter("limits") == {"total": 5}
    secrets.put_secret_value(SecretId="token", SecretString='{"token": "two"}')
    assert vault.secret("token") == {"token": "one"}
    clock.now += 1_000
    assert vault.secret("token") == {"token": "two"}
    with pytest.raises(StoreError, match="absent"):
        vault.secret("absent")


@pytest.mark.parametrize("text", ["not json: hunter2", '["hunter2"]', "null"])
def test_a_malformed_secret_is_never_repeated(cloud: boto3.Session, text: str) -> None:
    secrets = new_client(cloud, "secretsmanager")
    secrets.create_secret(Name="key", SecretString=text)
    vault = Vault(secrets=lambda: secrets, parameters=lambda: None, clock=StillClock())
    with pytest.raises(SettingsError) as caught:
        vault.secret("key")
    assert "secret key must be a JSON object" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


# Errors


@pytest.mark.parametrize(
    "error",
    [
        refused("AccessDeniedException"),
        refused("ProvisionedThroughputExceededException"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
)
def test_whatever_aws_raises_becomes_a_store_error(error: Exception) -> None:
    client = Broken(error)
    calls: list[Callable[[], object]] = [
        lambda: DynamoBasketStore(table(client, "baskets")).create(basket(), NOW),
        lambda: DynamoBasketStore(table(client, "baskets")).save(basket()),
        lambda: DynamoBasketStore(table(client, "baskets")).get("b1"),
        lambda: DynamoBasketStore(table(client, "baskets")).recent(1),
        lambda: DynamoBookStore(table(client, "books")).put(book()),
        lambda: DynamoBookStore(table(client, "books")).get(["A"]),
        lambda: group_store(client).write([new("g1")]),
        lambda: journal(client).append([entry("e")]),
        lambda: DynamoAlertStore(table(client, "alerts")).forget("a"),
        lambda: DynamoReservationStore(table(client, "reservations")).reserve("b", {"k": 1}, {"k": 1}),
        lambda: DynamoReservationStore(table(client, "reservations")).release("b"),
        lambda: DynamoStatusStore(table(client, "status")).count("feed", {"frames": 1}),
        lambda: SqsQueue(client, "http://queue/q").send("x"),
        lambda: SnsNotifier(client, "arn").publish(alert()),
        lambda: StepFunctionsWorkflow(client, "arn").start("b", 1),
    ]
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        assert not isinstance(caught.value, ConflictError)
        assert caught.value.__cause__ is error
    assert client.calls == len(calls)


def test_a_passing_collision_is_tried_again(dynamo: Any) -> None:
    class Colliding:
        left = 2

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def transact_write_items(self, **arguments: Any) -> Any:
            if self.left:
                self.left -= 1
                raise refused(
                    "TransactionCanceledException",
                    CancellationReasons=[{"Code": "None"}, {"Code": "TransactionConflict"}],
                )
            return dynamo.transact_write_items(**arguments)

    client = Colliding()
    assert DynamoBasketStore(table(client, "baskets")).create(basket(), NOW)
    client.left = 99
    with pytest.raises(StoreError, match="TransactionConflict"):
        DynamoBasketStore(table(client, "baskets")).create(basket("b2", group_id="g2"), NOW)
    with pytest.raises(StoreError, match="TransactionConflict"):
        DynamoBasketStore(table(client, "baskets")).save(replace(basket(), state=BasketState.FLAT))


def test_pauses_grow_and_are_drawn(dynamo: Any) -> None:
    class AlwaysColliding:
        def transact_write_items(self, **arguments: Any) -> Any:
            raise refused("TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}] * 2)

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

    slept: list[float] = []
    drawn = iter([0.0, 1.0] * 4)
    own = Table(
        AlwaysColliding(), "reservations", "reservation_key", sleep=slept.append, jitter=lambda: next(drawn)
    )  # fmt: skip
    with pytest.raises(StoreError, match="TransactionConflict"):
        DynamoReservationStore(own).reserve("b1", {"cash#0": 1}, {})
    assert [round(seconds, 3) for seconds in slept] == [0.01, 0.04, 0.04, 0.16, 0.16, 0.64, 0.64]


def test_reserved_words_need_no_care(dynamo: Any) -> None:
    """``status``, ``values`` and ``ttl`` are words that DynamoDB refuses in expressions unless they are aliased."""
    store = table(dynamo, "status")
    item = {"component": s("x"), "status": n(1), "values": n(2), "ttl": n(3)}
    assert store.put(item, Condition("attribute_not_exists(#status)", {}))
    assert not store.put(item, Condition("#status = :a AND #values = :b AND #ttl > :b", {":a": n(1), ":b": n(9)}))
    assert [found["ttl"] for found in store.scan(("ttl", "values"))] == [n(3)]


def test_a_cancellation_without_reasons_is_still_an_error() -> None:
    client = Broken(refused("TransactionCanceledException"))
    with pytest.raises(TransactionCancelledError, match="Unknown"):
        DynamoBasketStore(table(client, "baskets")).create(basket(), NOW)


def test_no_credentials_are_asked_from_instance_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = new_session(REGION)._session.get_component("credential_provider").providers
    methods = [provider.METHOD for provider in providers]
    assert "iam-role" not in methods
    assert {"env", "container-role"} <= set(methods)
    session: Any = boto3.Session("k", "s", region_name=REGION)
    config = new_client(session, "dynamodb").meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries["mode"] == "standard"


def test_a_basket_survives_its_way_through_the_table_in_every_field(baskets: BasketStore) -> None:
    row: Basket = replace(
        with_order(basket()), locked_profit=Cash(-1), settled_profit=Cash(2), reason="\u00e9", first_order_ms=NOW
    )
    baskets.create(row, NOW)
    assert baskets.get("b1") == row
