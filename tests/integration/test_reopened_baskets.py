"""An ended basket that lives again takes its group's lease and may reserve again: the tables as DynamoDB plays them,
and what stands in for them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from moto import mock_aws

from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.clients import new_client, new_session
from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.reservations import DynamoReservationStore
from kalshi_arb.domain.basket import Basket, BasketState, Releasing
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.reservation_keys import UNTIL_END
from kalshi_arb.fakes import MemoryBasketStore, MemoryReservationStore
from kalshi_arb.ports import BasketStore, ReservationStore
from tests.cloud_samples import NOW, basket, with_order

LATER = NOW + 10**6


def _table(client: Any, name: str, key: str, **indexes: str) -> Table:
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": "S"},
            *({"AttributeName": one, "AttributeType": "S"} for one in indexes),
            *({"AttributeName": one, "AttributeType": "N"} for one in indexes.values()),
        ],
        BillingMode="PAY_PER_REQUEST",
        **(
            {
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": f"by_{first}",
                        "KeySchema": [
                            {"AttributeName": first, "KeyType": "HASH"},
                            {"AttributeName": second, "KeyType": "RANGE"},
                        ],
                        "Projection": {"ProjectionType": "ALL"},
                    }
                    for first, second in indexes.items()
                ]
            }
            if indexes
            else {}
        ),
    )
    return Table(client, name, key, sleep=lambda _: None)


@pytest.fixture(params=["tables", "memory"])
def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    if request.param == "memory":
        yield MemoryBasketStore(), MemoryReservationStore()
        return
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        client = new_client(new_session("us-east-1"), "dynamodb")
        yield (
            DynamoBasketStore(_table(client, "baskets", "basket_id", state="updated_ms")),
            DynamoReservationStore(_table(client, "reservations", "reservation_key")),
        )


@pytest.fixture
def baskets(stores: tuple[BasketStore, ReservationStore]) -> BasketStore:
    return stores[0]


@pytest.fixture
def reservations(stores: tuple[BasketStore, ReservationStore]) -> ReservationStore:
    return stores[1]


def locked(baskets: BasketStore) -> Basket:
    """A basket that has ended as a lock, as it is stored."""
    row = with_order(basket())
    assert baskets.create(row, NOW)
    for state in (BasketState.RESERVED, BasketState.EXECUTING, BasketState.LOCK):
        row = baskets.save(replace(row, state=state))
    return row


def alive(row: Basket) -> Basket:
    release = Releasing(1, (Count(100),) * len(row.legs), 1, NOW, ((0, Cash(5)),), Cash(3), 50_000, None)
    return replace(row, state=BasketState.UNWINDING, attempt=row.attempt + 1, release=release)


def owner(baskets: BasketStore) -> str | None:
    (lease,) = baskets.leases()
    return lease.owner


def test_it_takes_the_lease_and_gives_it_back_when_it_ends_again(baskets: BasketStore) -> None:
    row = locked(baskets)
    assert owner(baskets) is None
    live = baskets.reopen(alive(row))
    assert live == replace(alive(row), revision=row.revision + 1)
    assert baskets.get(row.basket_id) == live
    assert owner(baskets) == row.basket_id
    assert not baskets.create(basket("b2"), LATER), "one live basket in a group"
    assert live is not None
    baskets.save(replace(live, state=BasketState.FLAT))
    assert owner(baskets) is None
    assert baskets.create(basket("b2"), LATER)


def test_while_the_group_has_a_live_basket_it_stays_what_it_is(baskets: BasketStore) -> None:
    row = locked(baskets)
    assert baskets.create(basket("b2"), LATER)
    assert baskets.reopen(alive(row)) is None
    assert baskets.get(row.basket_id) == row
    assert owner(baskets) == "b2"


def test_a_row_that_was_changed_meanwhile_is_not_reopened(baskets: BasketStore) -> None:
    row = locked(baskets)
    with pytest.raises(ConflictError):
        baskets.reopen(replace(alive(row), revision=row.revision - 1))
    with pytest.raises(ConflictError):
        baskets.reopen(replace(alive(row), attempt=row.attempt))
    live = baskets.reopen(alive(row))
    with pytest.raises(ConflictError):
        baskets.reopen(alive(row))
    with pytest.raises(ConflictError):
        baskets.save(replace(row, state=BasketState.SETTLED))
    assert baskets.get(row.basket_id) == live


def test_what_was_given_back_is_taken_again_only_by_one_that_lives_again(reservations: ReservationStore) -> None:
    wanted = {"cash#0": 70, "open#baskets": 1, "market#M": 90}
    limits = {"cash#0": 100}
    assert reservations.reserve("b1", wanted, limits) == ()
    reservations.release("b1", UNTIL_END)
    assert reservations.used() == {"market#M": 90}
    again = {"cash#0": 60, "open#baskets": 1}
    assert reservations.reserve("b1", again, limits) == ()
    assert reservations.used() == {"market#M": 90}, "it has given something back"
    assert reservations.reserve("b1", {"cash#0": 101}, limits, again=True) == ("cash#0",)
    for _ in range(2):
        assert reservations.reserve("b1", again, limits, again=True) == ()
        assert reservations.used() == {"market#M": 90, **again}
    reservations.release("b1", UNTIL_END)
    assert reservations.used() == {"market#M": 90}
    reservations.release("b1")
    assert reservations.used() == {}
