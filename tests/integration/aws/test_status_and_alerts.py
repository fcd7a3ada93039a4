"""Status, counters and alerts in their tables."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from kalshi_arb.aws.records import DynamoAlertStore
from kalshi_arb.aws.status import DynamoStatusStore
from kalshi_arb.domain.errors import SchemaError
from kalshi_arb.ports import AlertDigest, AlertStore, AlertWindow, StatusStore
from tests.cloud_samples import NOW, alert
from tests.moto_cloud import Atomic, table


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
