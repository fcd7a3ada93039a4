"""Reservations against a model: no key ever holds more than its limit, a refusal takes nothing, and what was given back
is gone. The same for both stores, one after the other and at the same time."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.reservations import DynamoReservationStore
from kalshi_arb.domain.reservation_keys import UNTIL_END, UNTIL_SETTLED
from kalshi_arb.fakes import MemoryReservationStore
from kalshi_arb.ports import ReservationStore

KEYS = ("market#A", "contracts#A", "market#B", "contracts#B", "event#E", "cash#0", "open#baskets", "tokens#write")
LIMITS = {"market#A": 9, "contracts#A": 7, "market#B": 5, "event#E": 12, "cash#0": 10, "open#baskets": 2}
BASKETS = ("b1", "b2", "b3", "b4")

amounts = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 8), min_size=1, max_size=5)
steps = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from(BASKETS), amounts),
    st.tuples(st.just("release"), st.sampled_from(BASKETS), st.sampled_from([("",), UNTIL_END, UNTIL_SETTLED])),
)
scripts = st.lists(steps, max_size=14)


class OneAtATime:
    """A client that serves one request at a time, as DynamoDB does for one item; between requests threads change."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            with self._lock:
                return getattr(self._client, name)(**arguments)

        return call


@pytest.fixture(scope="module")
def tables() -> Iterator[Callable[[], ReservationStore]]:
    """Makes empty stores on the real adapter."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        client = OneAtATime(boto3.session.Session(region_name="us-east-1").client("dynamodb"))
        made = 0

        def new() -> ReservationStore:
            nonlocal made
            made += 1
            client.create_table(
                TableName=f"t{made}",
                KeySchema=[{"AttributeName": "reservation_key", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "reservation_key", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
            return DynamoReservationStore(Table(client, f"t{made}", "reservation_key", sleep=lambda _: None))

        yield new


class Model:
    """What must be held after each step."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, int]] = {}
        self.ending: set[str] = set()

    def used(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for own in self.held.values():
            total.update(own)
        return total

    def reserve(self, basket: str, wanted: dict[str, int]) -> set[str]:
        own = self.held.get(basket, {})
        if basket in self.ending:
            return set()
        used = self.used()
        more = {key: amount - own.get(key, 0) for key, amount in wanted.items() if amount > own.get(key, -1)}
        full = {key for key, amount in more.items() if key in LIMITS and used[key] + amount > LIMITS[key]}
        if not full and more:
            self.held[basket] = {**own, **{key: own.get(key, 0) + amount for key, amount in more.items()}}
        return full

    def release(self, basket: str, prefixes: tuple[str, ...]) -> None:
        own = self.held.pop(basket, {})
        kept = {key: amount for key, amount in own.items() if not key.startswith(prefixes)}
        if kept:
            self.held[basket] = kept
        if kept and kept != own:
            self.ending.add(basket)
        if not kept:
            self.ending.discard(basket)


def follow(store: ReservationStore, script: list[tuple[str, str, Any]]) -> None:
    model, returned = Model(), 0
    for action, basket, what in script:
        if action == "reserve":
            returns = store.returns(["cash#0"])
            assert set(store.reserve(basket, what, LIMITS, returns)) == model.reserve(basket, what)
        else:
            returned += any(key.startswith(what) and key == "cash#0" for key in model.held.get(basket, {}))
            store.release(basket, what)
            model.release(basket, what)
        assert store.returns(["cash#0"]) == {"cash#0": returned}
        used = {key: amount for key, amount in model.used().items() if amount}
        assert store.used() == store.holdings().used == store.amounts(KEYS) == used
        assert {name: dict(own) for name, own in store.holdings().records.items()} == model.held
        assert all(used.get(key, 0) <= limit for key, limit in LIMITS.items())


@given(scripts)
def test_the_store_in_memory_does_what_the_model_says(script: list[tuple[str, str, Any]]) -> None:
    follow(MemoryReservationStore(), script)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts)
def test_the_table_does_what_the_model_says(
    tables: Callable[[], ReservationStore], script: list[tuple[str, str, Any]]
) -> None:
    follow(tables(), script)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts=st.lists(scripts, min_size=3, max_size=3))
def test_at_the_same_time_no_limit_is_passed_and_nothing_leaks(
    tables: Callable[[], ReservationStore], scripts: list[list[tuple[str, str, Any]]]
) -> None:
    store = tables()
    failures: list[BaseException] = []

    def work(script: list[tuple[str, str, Any]]) -> None:
        try:
            for action, basket, what in script:
                if action == "reserve":
                    store.reserve(basket, what, LIMITS)
                else:
                    store.release(basket, what)
                used = store.amounts(KEYS)
                assert all(used.get(key, 0) <= limit for key, limit in LIMITS.items())
        except BaseException as failure:  # noqa: BLE001 - handed to the test
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(script,)) for script in scripts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    held = store.holdings()
    total: Counter[str] = Counter()
    for own in held.records.values():
        total.update(own)
    assert dict(held.used) == {key: amount for key, amount in total.items() if amount}
    for basket in BASKETS:
        store.release(basket)
    assert store.holdings().used == {}
    assert store.holdings().records == {}
