"""Books and opportunities in their tables."""

from typing import Any

import pytest

from kalshi_arb.aws.books import DynamoBookStore
from kalshi_arb.aws.dynamo import s
from kalshi_arb.aws.records import DynamoOpportunityStore
from kalshi_arb.domain.errors import StoreError
from kalshi_arb.ports import BookStore, OpportunityStore
from tests.cloud_samples import NOW, book, opportunity
from tests.moto_cloud import table


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
