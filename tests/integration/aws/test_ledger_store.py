"""The chained journal in its table: booked once, in order, whoever else writes."""

import random
from dataclasses import replace
from typing import Any

import pytest

from kalshi_arb.aws.dynamo import s
from kalshi_arb.aws.journal import DynamoLedgerStore
from kalshi_arb.domain.carried import CLOSED_AFTER_MS
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.journal import JournalError, verify
from kalshi_arb.domain.portfolio import cash_by_shard, decision_entry
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.fakes import ManualClock
from kalshi_arb.ports import LedgerStore
from tests.cloud_samples import NOW, entry
from tests.moto_cloud import journal, table_of_ledger


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


def test_one_id_is_in_one_chain_only(dynamo: Any) -> None:
    store = journal(dynamo)
    assert store.append([entry("e1")]) == 1
    assert store.append([replace(entry("e1"), basket_id="b2"), replace(entry("e2"), basket_id="b2")]) == 1
    assert [(row.entry_id, row.basket_id) for row in store.all()] == [("e1", "b1"), ("e2", "b2")]


def test_records_since_a_moment_beyond_those_known(dynamo: Any) -> None:
    def at(ms: int) -> DynamoLedgerStore:
        return DynamoLedgerStore(table_of_ledger(dynamo), ManualClock(ms), sleep=lambda _: None)

    at(NOW).append([entry("e1"), entry("e2")])
    at(NOW + 1).append([replace(entry("e3"), basket_id="b2")])
    at(NOW + 2).append([entry("e4")])

    def found(ms: int, numbers: dict[str, int]) -> set[str]:
        return {row.key for row in journal(dynamo).since(ms, numbers)}

    assert found(NOW, {}) == {"e1", "e2", "e3", "e4"}
    assert found(NOW + 2, {}) == {"e1", "e2", "e4"}, "the whole chain, since nothing of it is known"
    assert found(NOW + 1, {"basket:b1": 1}) == {"e3", "e4"}
    assert found(NOW, {"basket:b1": 2, "basket:b2": 0}) == set()
    assert found(NOW + 3, {}) == set()


def test_the_state_carried_forward_comes_back_whole_or_not_at_all(dynamo: Any) -> None:
    store = journal(dynamo)
    assert store.carried() is None
    large = random.Random(1).randbytes(600_000).hex()
    store.keep(large)
    assert store.carried() == large
    parts = dynamo.query(
        TableName="ledger", KeyConditionExpression="#c = :c", ExpressionAttributeNames={"#c": "chain"},
        ExpressionAttributeValues={":c": s("#carried")},
    )["Items"]  # fmt: skip
    assert len(parts) == 2, "an item may have 400 KB"
    store.keep("small")
    assert store.carried() == "small", "what is left of a larger one does not count"
    assert store.rows() == ([], {})
    store.keep(large)
    dynamo.put_item(TableName="ledger", Item=parts[1] | {"of": s("another writing")})
    assert store.carried() is None


def test_the_running_journal_reads_little_where_the_whole_is_long(dynamo: Any) -> None:
    class Counted:
        """Counts the bytes that are read."""

        read = 0

        def __getattr__(self, name: str) -> Any:
            call = getattr(dynamo, name)
            if name not in ("scan", "query"):
                return call

            def counted(**arguments: Any) -> Any:
                answer = call(**arguments)
                self.read += len(str(answer["Items"]))
                return answer

            return counted

    clock, client = ManualClock(NOW), Counted()
    store = DynamoLedgerStore(table_of_ledger(client), clock, sleep=lambda _: None)
    for number in range(60):
        flat = replace(entry(f"e{number}"), basket_id=f"b{number}", ticker=f"T{number}")
        end = decision_entry("end", flat.basket_id, "seal", "", NOW)
        store.append([flat, replace(flat, entry_id=f"x{number}", outcome=flat.outcome and flat.outcome.other), end])
    clock.advance(CLOSED_AFTER_MS + 1)
    running = RunningJournal(store, clock)
    running.renew()
    store.append([replace(entry("new"), basket_id="b-new", ticker="NEW")])
    client.read = 0
    now = running.entries()
    little, client.read = client.read, 0
    whole = store.all()
    assert [row.entry_id for row in now] == ["carried-0", "new"]
    assert cash_by_shard(now) == cash_by_shard(whole)
    assert little * 20 < client.read


def test_a_damaged_journal_gives_no_entries(dynamo: Any) -> None:
    store = journal(dynamo)
    store.append([entry("e1"), entry("e2")])
    item = dynamo.get_item(TableName="ledger", Key={"chain": s("basket:b1"), "place": s("0000000000")})["Item"]
    dynamo.put_item(TableName="ledger", Item=item | {"body": s(item["body"]["S"].replace("448000", "448001"))})
    with pytest.raises(JournalError, match="entry e1 is not what was written"):
        store.all()
    assert [str(damage) for damage in verify(*store.rows())] == [
        "basket:b1 record 0: its text is not the one that was sealed"
    ]
