"""A thin hold on DynamoDB: items, conditions, paging, batches and transactions, for the stores beside this module.

Every attribute in an expression is written ``#name`` and every value ``:name``, so reserved words need no list.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from kalshi_arb import schemas
from kalshi_arb.aws.clients import Client, error_code, translated
from kalshi_arb.domain.errors import SchemaError, StoreError

T = TypeVar("T")
Item = dict[str, dict[str, Any]]

MAX_ACTIONS = 100
"""Actions in one transaction (DynamoDB API reference, TransactWriteItems)."""
_BATCH_READ = 100
_ATTEMPTS = 6
# Baskets that start together meet on the same few items: a transaction is tried for some seconds.
_TRANSACTIONS = 8
_PASSING_REASONS = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_NAME = re.compile(r"#(\w+)")


def s(value: str) -> dict[str, str]:
    """A string attribute."""
    return {"S": value}


def n(value: int) -> dict[str, str]:
    """A number attribute."""
    return {"N": str(value)}


def envelope(value: object) -> Item:
    """The attributes that every stored domain value has: version, kind, body."""
    body = schemas.encode(value)
    kind = body.split('"kind":"', 1)[1].split('"', 1)[0]
    return {"v": n(schemas.version_of(type(value))), "kind": s(kind), "body": s(body)}


def opened(item: Item, body: type[T]) -> T:
    """The domain value of an item. :raises SchemaError: the item holds something else."""
    try:
        text = item["body"]["S"]
    except KeyError as missing:
        raise SchemaError(f"stored item without {missing}") from missing
    return schemas.decode(text, body)


def names(*expressions: str | None) -> dict[str, str]:
    """``ExpressionAttributeNames`` for every ``#name`` in the expressions."""
    return {f"#{name}": name for text in expressions if text for name in _NAME.findall(text)}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition expression with its values."""

    text: str
    values: Mapping[str, dict[str, Any]]

    def arguments(self) -> dict[str, Any]:
        """As the API takes them."""
        arguments: dict[str, Any] = {
            "ConditionExpression": self.text,
            "ExpressionAttributeNames": names(self.text),
        }
        if self.values:
            arguments["ExpressionAttributeValues"] = dict(self.values)
        return arguments


class TransactionCancelledError(StoreError):
    """A transaction did nothing. ``reasons`` holds one code for each action, ``"None"`` where it was not the cause."""

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__(f"{what}: transaction cancelled ({', '.join(reasons)})")
        self.reasons = tuple(reasons)

    def refused(self, position: int) -> bool:
        """Whether the action at ``position`` failed its condition."""
        return self.reasons[position] == "ConditionalCheckFailed"


Key = str | tuple[str, str]
"""A string key, or the two of a table that has a sort key."""


class Table:
    """One table with a string key, or two. Reads are strongly consistent unless they go through a global index.

    :param sort: the sort key of a table that has one
    :param sleep: waits for so many seconds
    :param jitter: a number from 0 to 1, drawn for every pause, so that writers who met do not meet again
    """

    def __init__(
        self,
        client: Client,
        name: str,
        key: str,
        *,
        sort: str = "",
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._jitter = jitter
        self.name = name
        self.key = key
        self.sort = sort

    def _of(self, key: Key) -> Item:
        return {self.key: s(key)} if isinstance(key, str) else {self.key: s(key[0]), self.sort: s(key[1])}

    def get(self, key: str) -> Item | None:
        """One item, strongly read."""
        with translated(f"read from {self.name}"):
            answer = self._client.get_item(TableName=self.name, Key={self.key: s(key)}, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def get_many(self, keys: Iterable[Key]) -> list[Item]:
        """The items that exist, in no order, strongly read."""
        wanted = list(dict.fromkeys(keys))
        found: list[Item] = []
        for start in range(0, len(wanted), _BATCH_READ):
            chunk = wanted[start : start + _BATCH_READ]
            pending: dict[str, Any] = {self.name: {"Keys": [self._of(key) for key in chunk], "ConsistentRead": True}}
            for attempt in range(_ATTEMPTS):
                with translated(f"read from {self.name}"):
                    answer = self._client.batch_get_item(RequestItems=pending)
                found += answer["Responses"].get(self.name, [])
                pending = answer.get("UnprocessedKeys") or {}
                if not pending:
                    break
                self._pause(attempt)
            else:
                raise StoreError(f"read from {self.name}: throttled, keys left unread")
        return found

    def put(self, item: Item, condition: Condition | None = None) -> bool:
        """Write one item; False when the condition does not hold."""
        return self.put_or_old(item, condition) is None

    def put_or_old(self, item: Item, condition: Condition | None) -> Item | None:
        """Write one item; None when written, else the item that stood against the condition (empty when none did)."""
        arguments = {} if condition is None else condition.arguments()
        with translated(f"write to {self.name}"):
            try:
                self._client.put_item(
                    TableName=self.name, Item=item, ReturnValuesOnConditionCheckFailure="ALL_OLD", **arguments
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return dict(error.response.get("Item") or {})
                raise
        return None

    def put_once(self, item: Item) -> bool:
        """Write one item if its key is free; False when it is taken."""
        return self.put(item, self.free())

    def free(self) -> Condition:
        """Holds while nothing is stored under the key."""
        return Condition(f"attribute_not_exists(#{self.key})", {})

    def update(self, key: str, expression: str, values: Mapping[str, dict[str, Any]]) -> Item:
        """Update one item unconditionally; returns the new values of what changed."""
        with translated(f"write to {self.name}"):
            answer = self._client.update_item(
                TableName=self.name,
                Key={self.key: s(key)},
                UpdateExpression=expression,
                ExpressionAttributeNames=names(expression),
                ExpressionAttributeValues=dict(values),
                ReturnValues="UPDATED_NEW",
            )
        item: Item = answer.get("Attributes", {})
        return item

    def add(self, key: str, changes: Mapping[str, int]) -> None:
        """Add to number attributes of one item, atomically; missing ones count as 0. Any character may be in a name."""
        steps = list(enumerate(changes.items()))
        with translated(f"write to {self.name}"):
            self._client.update_item(
                TableName=self.name,
                Key={self.key: s(key)},
                UpdateExpression="ADD " + ", ".join(f"#a{place} :a{place}" for place, _ in steps),
                ExpressionAttributeNames={f"#a{place}": name for place, (name, _) in steps},
                ExpressionAttributeValues={f":a{place}": n(change) for place, (_, change) in steps},
            )

    def delete(self, key: str) -> None:
        """Remove one item; nothing happens when it is not there."""
        with translated(f"delete in {self.name}"):
            self._client.delete_item(TableName=self.name, Key={self.key: s(key)})

    def scan(self, attributes: Sequence[str] = ()) -> Iterator[Item]:
        """Every item, all pages, strongly read; only ``attributes`` of each when given."""
        arguments: dict[str, Any] = {"TableName": self.name, "ConsistentRead": True}
        if attributes:
            projection = ", ".join(f"#{name}" for name in attributes)
            arguments |= {"ProjectionExpression": projection, "ExpressionAttributeNames": names(projection)}
        yield from self._pages("scan", arguments)

    def partition(self, value: str, above: Item | None = None, *, index: str = "") -> Iterator[Item]:
        """The items of one partition in the order of their sort key, all pages, strongly read.

        :param above: the sort key's name and the value that it must exceed
        :param index: a local index to read them through
        """
        text, values = f"#{self.key} = :partition", {":partition": s(value)}
        for name, least in (above or {}).items():
            text, values = f"{text} AND #{name} > :above", values | {":above": least}
        arguments: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": text,
            "ExpressionAttributeNames": names(text),
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        yield from self._pages("query", arguments | ({"IndexName": index} if index else {}))

    def query(self, index: str, key: str, value: str, *, newest_first: bool, limit: int) -> Iterator[Item]:
        """At most ``limit`` items of an index whose partition key ``key`` is ``value``, over all its pages."""
        text = f"#{key} = :value"
        arguments = {
            "TableName": self.name,
            "IndexName": index,
            "KeyConditionExpression": text,
            "ExpressionAttributeNames": names(text),
            "ExpressionAttributeValues": {":value": s(value)},
            "ScanIndexForward": not newest_first,
        }
        yield from self._pages("query", arguments, limit)

    def transact(self, what: str, actions: Sequence[dict[str, Any]]) -> None:
        """Run up to ``MAX_ACTIONS`` writes as one. Passing collisions are tried again.

        :raises TransactionCancelledError: a condition did not hold, or collisions went on.
        """
        for attempt in range(_TRANSACTIONS):
            try:
                with translated(what):
                    self._transact_once(what, actions)
            except TransactionCancelledError as cancelled:
                causes = {reason for reason in cancelled.reasons if reason != "None"}
                if not causes <= _PASSING_REASONS or attempt == _TRANSACTIONS - 1:
                    raise
                self._pause(attempt)
            else:
                return

    def _transact_once(self, what: str, actions: Sequence[dict[str, Any]]) -> None:
        try:
            # botocore adds a request token, so its own repetitions after a lost answer count once.
            self._client.transact_write_items(TransactItems=list(actions))
        except ClientError as error:
            if error_code(error) != "TransactionCanceledException":
                raise
            reasons = [str(reason.get("Code", "None")) for reason in error.response.get("CancellationReasons", [])]
            raise TransactionCancelledError(what, reasons or ["Unknown"] * len(actions)) from error

    def putting(self, item: Item, condition: Condition | None) -> dict[str, Any]:
        """A put, conditional or not, as one action of a transaction."""
        return {"Put": {"TableName": self.name, "Item": item, **({} if condition is None else condition.arguments())}}

    def deleting(self, key: str, condition: Condition) -> dict[str, Any]:
        """A conditional delete as one action of a transaction."""
        return {"Delete": {"TableName": self.name, "Key": {self.key: s(key)}, **condition.arguments()}}

    def updating(
        self, key: str, expression: str, condition: Condition | None, values: Mapping[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """An update as one action of a transaction; ``values`` are those of ``expression``."""
        text, tested = ("", {}) if condition is None else (condition.text, condition.values)
        update: dict[str, Any] = {
            "TableName": self.name,
            "Key": {self.key: s(key)},
            "UpdateExpression": expression,
            "ExpressionAttributeNames": names(expression, text),
            "ExpressionAttributeValues": {**tested, **values},
        }
        if text:
            update["ConditionExpression"] = text
        return {"Update": update}

    def _pages(self, operation: str, arguments: dict[str, Any], limit: int | None = None) -> Iterator[Item]:
        """All pages, asking for no more items than are still wanted."""
        wanted = limit
        while wanted is None or wanted > 0:
            page = arguments if wanted is None else arguments | {"Limit": wanted}
            with translated(f"{operation} of {self.name}"):
                answer = getattr(self._client, operation)(**page)
            items = answer["Items"]
            yield from items
            if wanted is not None:
                wanted -= len(items)
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            arguments = arguments | {"ExclusiveStartKey": last}

    def _pause(self, attempt: int) -> None:
        """Exponential back-off from 20 ms, between half and the whole of it."""
        self._sleep(0.02 * 2**attempt * (0.5 + self._jitter() / 2))
