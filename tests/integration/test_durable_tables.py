"""Tables of the embedded AWS outlive its process: killed at any write, it comes back with all that was answered."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.cloud import EmbeddedCloud
from infra.local.endpoint import local_client
from infra.local.errors import StartError

TABLE = "things"


@contextmanager
def cloud(folder: Path) -> Iterator[tuple[EmbeddedCloud, Any]]:
    """A cloud on this folder's journal, and its tables."""
    with EmbeddedCloud(
        state_dir=folder / "state", log_file=folder / "cloud.log", journal=folder / "journal"
    ) as running:
        client = local_client("dynamodb", running.url)
        try:
            yield running, client
        finally:
            client.close()


def create(client: Any, name: str = TABLE, sort: bool = False) -> None:
    keys = [("id", "HASH", "S"), *([("at", "RANGE", "N")] if sort else [])]
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind, _ in keys],
        AttributeDefinitions=[
            *({"AttributeName": key, "AttributeType": kind} for key, _, kind in keys),
            {"AttributeName": "state", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_state",
                "KeySchema": [{"AttributeName": "state", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


def kill(running: EmbeddedCloud) -> None:
    os.kill(running.pid, signal.SIGKILL)
    running.stop()


def s(text: str) -> dict[str, str]:
    return {"S": text}


def n(number: int) -> dict[str, str]:
    return {"N": str(number)}


def items(client: Any, name: str = TABLE) -> dict[str, dict[str, Any]]:
    pages = client.get_paginator("scan").paginate(TableName=name)
    return {item["id"]["S"]: item for page in pages for item in page["Items"]}


def test_after_a_kill_every_kind_of_write_is_there_and_refused_ones_are_not(tmp_path: Path) -> None:
    with cloud(tmp_path) as (running, client):
        create(client)
        create(client, "sorted", sort=True)
        client.put_item(TableName=TABLE, Item={"id": s("put"), "state": s("open"), "data": {"B": b"\x00\xff"}})
        client.put_item(TableName=TABLE, Item={"id": s("gone")})
        client.delete_item(TableName=TABLE, Key={"id": s("gone")})
        for _ in range(3):
            client.update_item(
                TableName=TABLE,
                Key={"id": s("count")},
                UpdateExpression="ADD #n :one",
                ExpressionAttributeNames={"#n": "n"},
                ExpressionAttributeValues={":one": n(1)},
            )
        with pytest.raises(client.exceptions.ConditionalCheckFailedException):
            client.put_item(TableName=TABLE, Item={"id": s("put")}, ConditionExpression="attribute_not_exists(id)")
        client.batch_write_item(
            RequestItems={"sorted": [{"PutRequest": {"Item": {"id": s("b"), "at": n(k)}}} for k in (10, 9)]}
        )
        client.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": TABLE, "Item": {"id": s("both"), "state": s("open")}}},
                {"Delete": {"TableName": "sorted", "Key": {"id": s("b"), "at": n(9)}}},
            ]
        )
        with pytest.raises(client.exceptions.TransactionCanceledException):
            client.transact_write_items(
                TransactItems=[
                    {"Put": {"TableName": TABLE, "Item": {"id": s("neither")}}},
                    {
                        "Put": {
                            "TableName": TABLE,
                            "Item": {"id": s("put")},
                            "ConditionExpression": "attribute_not_exists(id)",
                        }
                    },
                ]
            )
        client.execute_statement(Statement=f"INSERT INTO \"{TABLE}\" VALUE {{'id': 'partiql'}}")
        before = items(client)
        kill(running)
    lines = sum(path.read_bytes().count(b"\n") - 1 for path in (tmp_path / "journal").glob("tail-*"))
    assert lines == 9  # put, put, delete, three updates, a batch, a transaction, a statement
    with cloud(tmp_path) as (running, client):
        create(client)
        create(client, "sorted", sort=True)
        assert items(client) == before
        assert set(before) == {"put", "count", "both", "partiql"}
        assert before["count"]["n"] == n(3)
        answer = client.query(
            TableName=TABLE,
            IndexName="by_state",
            KeyConditionExpression="#s = :open",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":open": s("open")},
        )
        assert {item["id"]["S"] for item in answer["Items"]} == {"put", "both"}
        assert client.scan(TableName="sorted")["Items"] == [{"id": s("b"), "at": n(10)}]
        assert client.describe_table(TableName=TABLE)["Table"]["ItemCount"] == 4


def test_filling_a_table_tells_no_stream(tmp_path: Path) -> None:
    for life in range(2):
        with cloud(tmp_path) as (running, client):
            create(client)
            streams = local_client("dynamodbstreams", running.url)
            arn = client.describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
            shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
            start = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
            if life == 0:
                client.put_item(TableName=TABLE, Item={"id": s("a")})
            records = streams.get_records(ShardIterator=start["ShardIterator"])["Records"]
            streams.close()
            assert len(records) == (1 if life == 0 else 0)
            assert set(items(client)) == {"a"}
            kill(running)


def test_a_killed_writer_finds_all_that_was_answered_and_no_half_transaction(tmp_path: Path) -> None:
    answered: list[int] = [0] * 4

    def write(client: Any, worker: int) -> None:
        while True:
            number = answered[worker] + 1
            try:
                client.transact_write_items(
                    TransactItems=[
                        {"Put": {"TableName": TABLE, "Item": {"id": s(f"{side}{worker}"), "n": n(number)}}}
                        for side in "ab"
                    ]
                )
            except (BotoCoreError, ClientError):
                return
            answered[worker] = number

    for _ in range(2):
        with cloud(tmp_path) as (running, client):
            create(client)
            found = {name: int(item["n"]["N"]) for name, item in items(client).items()}
            for worker, number in enumerate(answered):
                assert found.get(f"a{worker}", 0) == found.get(f"b{worker}", 0) >= number
                answered[worker] = found.get(f"a{worker}", 0)
            with ThreadPoolExecutor(4) as pool:
                writers = [pool.submit(write, client, worker) for worker in range(4)]
                threading.Event().wait(0.5)
                kill(running)
            for writer in writers:
                writer.result()
    assert min(answered) > 5


def test_a_deployment_that_is_rolled_back_does_not_cost_the_items(tmp_path: Path) -> None:
    with cloud(tmp_path) as (_, client):
        create(client)
        client.put_item(TableName=TABLE, Item={"id": s("a")})
        client.delete_table(TableName=TABLE)
        create(client)
        assert set(items(client)) == {"a"}


def test_what_replaces_a_whole_table_is_refused(tmp_path: Path) -> None:
    with cloud(tmp_path) as (_, client):
        create(client)
        with pytest.raises(ClientError, match="whole table"):
            client.execute_transaction(
                TransactStatements=[{"Statement": f"INSERT INTO \"{TABLE}\" VALUE {{'id': 'x'}}"}]
            )
        assert items(client) == {}


def test_a_table_with_another_key_is_refused_and_its_items_are_kept(tmp_path: Path) -> None:
    with cloud(tmp_path) as (_, client):
        create(client)
        client.put_item(TableName=TABLE, Item={"id": s("a")})
    with cloud(tmp_path) as (_, client), pytest.raises(ClientError):
        create(client, sort=True)
    with cloud(tmp_path) as (_, client):
        create(client)
        assert set(items(client)) == {"a"}


def test_a_damaged_journal_stops_the_start_with_one_line_and_is_left_alone(tmp_path: Path) -> None:
    with cloud(tmp_path) as (_, client):
        create(client)
        for name in "abc":
            client.put_item(TableName=TABLE, Item={"id": s(name)})
    tail = next((tmp_path / "journal").glob("tail-*"))
    spoilt = tail.read_bytes().replace(b'"S":"b"', b'"S":"x"')
    tail.write_bytes(spoilt)
    with pytest.raises(StartError, match=r"line 3: damaged .*--fresh$") as raised, cloud(tmp_path):
        pass
    assert "Traceback" not in str(raised.value)
    assert tail.read_bytes() == spoilt
    assert len(list((tmp_path / "journal").glob("*.journal"))) == 1


FULL_DISK = """
import os, sys
from pathlib import Path
from infra.local.journal import Change, Journal
from infra.local.patches.durable import Recorder
recorder = Recorder(Journal(Path(sys.argv[1])), {})
def fail(changes): raise OSError(28, "No space left on device")
recorder._journal.append = fail
table = {"TableArn": "t", "pk_name": "id", "sk_name": None, "items": {}, "ItemCount": 0}
recorder.as_one(lambda data: recorder.set_item(table, "a", "__no_sort__", {"id": {"S": "a"}}))({})
print("answered")
"""


def test_a_write_that_cannot_be_kept_is_never_answered(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "answered" not in done.stdout
