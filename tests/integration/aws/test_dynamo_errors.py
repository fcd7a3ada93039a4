"""What AWS raises becomes an error of ours, and what passes is tried again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.books import DynamoBookStore
from kalshi_arb.aws.clients import new_client, new_session
from kalshi_arb.aws.dynamo import Condition, Table, TransactionCancelledError, n, s
from kalshi_arb.aws.notify import SnsNotifier
from kalshi_arb.aws.queues import SqsQueue
from kalshi_arb.aws.records import DynamoAlertStore
from kalshi_arb.aws.reservations import DynamoReservationStore
from kalshi_arb.aws.status import DynamoStatusStore
from kalshi_arb.aws.workflow import StepFunctionsWorkflow
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.errors import ConflictError, StoreError
from tests.cloud_samples import NOW, alert, basket, book, entry
from tests.moto_cloud import REGION, Broken, group_store, journal, new_group, refused, table


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
        lambda: group_store(client).write([new_group("g1")]),
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
