"""DynamoDB as moto plays it with every table of ours, and clients of it that fail or take turns."""

import threading
from typing import Any

from botocore.exceptions import ClientError

from kalshi_arb.aws.dynamo import Table
from kalshi_arb.aws.groups import DynamoGroupStore
from kalshi_arb.aws.journal import DynamoLedgerStore
from kalshi_arb.domain.group_record import RecordChange, accept
from kalshi_arb.fakes import ManualClock
from tests.cloud_samples import NOW, create_ledger_table, group

REGION = "us-east-1"

KEYS = {
    "books": "ticker",
    "groups": "group_id",
    "group_history": "entry_id",
    "opportunities": "opportunity_id",
    "baskets": "basket_id",
    "reservations": "reservation_key",
    "status": "component",
    "alerts": "alert_id",
}

INDEXES = {
    "group_history": {"by_group": ("group_id", "at_ms")},
    "opportunities": {"by_time": ("bucket", "found_ms")},
    "baskets": {"by_time": ("bucket", "created_ms"), "by_state": ("state", "updated_ms")},
    "alerts": {"by_time": ("bucket", "created_ms")},
}


def create_tables(client: Any) -> None:
    """Every table of ours, empty."""
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
    create_ledger_table(client)


def table(client: Any, name: str) -> Table:
    return Table(client, name, KEYS[name], sleep=lambda _: None)


def table_of_ledger(client: Any) -> Table:
    return Table(client, "ledger", "chain", sort="place", sleep=lambda _: None)


def journal(client: Any) -> DynamoLedgerStore:
    return DynamoLedgerStore(table_of_ledger(client), ManualClock(NOW), sleep=lambda _: None)


def group_store(client: Any) -> DynamoGroupStore:
    return DynamoGroupStore(table(client, "groups"), table(client, "group_history"))


def new_group(group_id: str, fingerprint: str = "f1") -> RecordChange:
    return accept(group(group_id, fingerprint), read_ms=NOW, now_ms=NOW)


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


def refused(code: str, **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, **more}, "Operation")
