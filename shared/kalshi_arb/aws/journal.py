"""The journal on a table: one item for each entry under the entry's own id, and one for the head of each chain.

Entries and the head move in one transaction that holds only while the head is where it was read, so that of two writers
one is first and the other reads again. An entry that is there already is not written twice.
"""

import random
import time
from collections.abc import Callable, Sequence

from kalshi_arb.aws.dynamo import MAX_ACTIONS, Condition, Item, Table, TransactionCancelledError, n, s
from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ConflictError, SchemaError
from kalshi_arb.domain.journal import (
    Head,
    Sealed,
    chain_of,
    extended,
    in_order,
    opened,
    start_of,
    unsealed,
)
from kalshi_arb.domain.portfolio import LedgerEntry

_HEAD = "head#"
_ATTEMPTS = 12
_LOST = frozenset({"None", "ConditionalCheckFailed", "TransactionConflict"})


class DynamoLedgerStore:
    """:class:`kalshi_arb.ports.LedgerStore` on the ledger table; nothing but heads is ever changed, nothing removed."""

    def __init__(self, table: Table, clock: Clock, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = table
        self._clock = clock
        self._sleep = sleep

    def append(self, entries: Sequence[LedgerEntry]) -> int:
        """Add entries that are not there yet to the ends of their chains; returns how many were new.

        :raises ConflictError: other writers kept being first.
        """
        chains: dict[str, dict[str, LedgerEntry]] = {}
        for entry in entries:
            chains.setdefault(chain_of(entry), {}).setdefault(entry.entry_id, entry)
        most = MAX_ACTIONS - 1
        return sum(
            self._append(chain, rows[start : start + most])
            for chain, by_id in chains.items()
            for rows in [list(by_id.values())]
            for start in range(0, len(rows), most)
        )

    def _append(self, chain: str, entries: Sequence[LedgerEntry]) -> int:
        """Entries of one chain, as many as one transaction takes."""
        key = _HEAD + chain
        for attempt in range(_ATTEMPTS):
            found = {
                item["entry_id"]["S"]: item for item in self._table.get_many([key, *(row.entry_id for row in entries)])
            }
            new = [entry for entry in entries if entry.entry_id not in found]
            if not new:
                return 0
            before = _head(found[key]) if key in found else start_of(chain)
            rows, after = extended(before, new, self._clock.now_ms())
            unmoved = Condition("#seal = :before", {":before": s(before.seal)}) if key in found else self._table.free()
            actions = [self._table.putting(row_item(row), self._table.free()) for row in rows]
            actions.append(self._table.putting(head_item(after), unmoved))
            try:
                self._table.transact(f"append to the journal of {chain}", actions)
            except TransactionCancelledError as cancelled:
                if not set(cancelled.reasons) <= _LOST:
                    raise
            else:
                return len(rows)
            # Jitter, so that writers do not meet again.
            self._sleep(0.01 * 2 ** min(attempt, 5) * random.random())  # noqa: S311 - no secret
        raise ConflictError(f"the journal of {chain} was changed by other writers {_ATTEMPTS} times in a row")

    def all(self) -> list[LedgerEntry]:
        """Every entry, by time. A scan, because only the table itself can be read strongly and a comparison with the
        exchange must not miss the newest entry.

        :raises JournalError: an entry is not what was written.
        """
        return in_order(unsealed(row) for row in self.rows()[0])

    def rows(self) -> tuple[list[Sealed], dict[str, Head]]:
        """Everything as it is kept, and the heads by chain."""
        rows, heads = [], {}
        for item in self._table.scan():
            if item["entry_id"]["S"].startswith(_HEAD):
                head = _head(item)
                heads[head.chain] = head
            else:
                rows.append(_row(item))
        return rows, heads


def row_item(row: Sealed) -> Item:
    """The item of an entry."""
    created_ms = opened(row.text).entry.created_ms
    return {
        "entry_id": s(row.key),
        "body": s(row.text),
        "seal": s(row.seal),
        "bucket": s("all"),
        "created_ms": n(created_ms),
    }


def _row(item: Item) -> Sealed:
    try:
        return Sealed(item["entry_id"]["S"], item["body"]["S"], item["seal"]["S"])
    except KeyError as missing:
        raise SchemaError(f"journal item {item['entry_id']['S']} without {missing}") from missing


def head_item(head: Head) -> Item:
    """The item of a chain's head."""
    return {
        "entry_id": s(_HEAD + head.chain),
        "chain": s(head.chain),
        "number": n(head.number),
        "seal": s(head.seal),
        "written_ms": n(head.written_ms),
    }


def _head(item: Item) -> Head:
    try:
        return Head(item["chain"]["S"], int(item["number"]["N"]), item["seal"]["S"], int(item["written_ms"]["N"]))
    except (KeyError, ValueError) as error:
        raise SchemaError(f"journal item {item['entry_id']['S']} is no head of a chain: {error}") from error
