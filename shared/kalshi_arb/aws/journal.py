"""The journal on a table. Its partitions, in the order of ``place``:

* a chain's entries by their numbers
* ``#heads``: the end of each chain under the chain's name; a local index gives them by the time of their last entry
* ``#id:<entry>``: that an entry of this id is there, in whatever chain
* ``#carried``: the state carried forward, compressed, in as many items as its size needs

Entries, their ids and the head move in one transaction that holds only while the head is where it was read and the ids
are free, so that of two writers one is first and the other reads again, and nothing is written twice.
"""

import hashlib
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

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

_HEADS, _ID, _CARRIED = "#heads", "#id:", "#carried"
BY_TIME = "by_time"
"""The local index of heads by the time of their last entry."""
_PART_BYTES = 350_000
"""Of the 400 KB that an item may have (DynamoDB API reference, limits)."""
_ATTEMPTS = 12
_READS = 4
_LOST = frozenset({"None", "ConditionalCheckFailed", "TransactionConflict"})


class DynamoLedgerStore:
    """:class:`kalshi_arb.ports.LedgerStore` on the ledger table; only heads and what is carried forward are ever
    changed, nothing is removed."""

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
        most = (MAX_ACTIONS - 1) // 2
        return sum(
            self._append(chain, rows[start : start + most])
            for chain, by_id in chains.items()
            for rows in [list(by_id.values())]
            for start in range(0, len(rows), most)
        )

    def _append(self, chain: str, entries: Sequence[LedgerEntry]) -> int:
        """Entries of one chain, as many as one transaction takes."""
        for attempt in range(_ATTEMPTS):
            keys = [(_HEADS, chain), *(_id_key(entry.entry_id) for entry in entries)]
            found = {(item["chain"]["S"], item["place"]["S"]): item for item in self._table.get_many(keys)}
            new = [entry for entry in entries if _id_key(entry.entry_id) not in found]
            if not new:
                return 0
            known = found.get((_HEADS, chain))
            before = start_of(chain) if known is None else _head(known)
            rows, after = extended(before, new, self._clock.now_ms())
            unmoved = self._table.free() if known is None else Condition("#seal = :before", {":before": s(before.seal)})
            actions = [self._table.putting(item, self._table.free()) for row in rows for item in row_items(row)]
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
        """Every entry, by time, from a scan.

        :raises JournalError: an entry is not what was written.
        """
        return in_order(unsealed(row) for row in self.rows()[0])

    def rows(self) -> tuple[list[Sealed], dict[str, Head]]:
        """Everything as it is kept, and the heads by chain."""
        rows, heads = [], {}
        for item in self._table.scan():
            if item["chain"]["S"] == _HEADS:
                head = _head(item)
                heads[head.chain] = head
            elif not item["chain"]["S"].startswith("#"):
                rows.append(_row(item))
        return rows, heads

    def since(self, written_ms: int, numbers: Mapping[str, int]) -> list[Sealed]:
        """Records beyond these numbers of every chain that was written to since."""
        rows: list[Sealed] = []
        for item in self._table.partition(_HEADS, {"written_ms": n(written_ms - 1)}, index=BY_TIME):
            head = _head(item)
            known = numbers.get(head.chain, -1)
            if head.number > known:
                beyond = {"place": s(_place(known))} if known >= 0 else None
                rows += map(_row, self._table.partition(head.chain, beyond))
        return rows

    def carried(self) -> str | None:
        """What was kept last."""
        for _ in range(_READS):
            parts = list(self._table.partition(_CARRIED))
            if not parts:
                return None
            text = _joined(parts)
            if text is not None:
                return text
            # Read while it was written.
            self._sleep(0.05)
        return None

    def keep(self, text: str) -> None:
        """Keep this in place of what was kept before. Of a large state some parts are new before others: whoever reads
        it then reads it again, and the whole journal in the end."""
        body = zlib.compress(text.encode())
        parts = [body[start : start + _PART_BYTES] for start in range(0, len(body), _PART_BYTES)]
        of_all = {"chain": s(_CARRIED), "of": s(hashlib.sha256(body).hexdigest()), "parts": n(len(parts))}
        for number, part in enumerate(parts):
            self._table.put({**of_all, "place": s(_place(number)), "body": {"B": part}})


def _joined(parts: Sequence[Item]) -> str | None:
    """The text of these items; None when they are not all of one writing."""
    count = int(parts[0]["parts"]["N"])
    own = parts[:count]
    if len(own) < count or len({part["of"]["S"] for part in own}) > 1:
        return None
    return zlib.decompress(b"".join(bytes(part["body"]["B"]) for part in own)).decode()


def _place(number: int) -> str:
    """A number so that texts have its order."""
    return f"{number:010d}"


def _id_key(entry_id: str) -> tuple[str, str]:
    return f"{_ID}{entry_id}", "-"


def row_items(row: Sealed) -> Iterator[Item]:
    """The items of an entry: the record in its place, and its id."""
    record = opened(row.text)
    yield {
        "chain": s(record.chain),
        "place": s(_place(record.number)),
        "entry_id": s(row.key),
        "body": s(row.text),
        "seal": s(row.seal),
    }
    chain, place = _id_key(row.key)
    yield {"chain": s(chain), "place": s(place)}


def _row(item: Mapping[str, Any]) -> Sealed:
    try:
        return Sealed(item["entry_id"]["S"], item["body"]["S"], item["seal"]["S"])
    except KeyError as missing:
        place = f"{item['chain']['S']} {item['place']['S']}"
        raise SchemaError(f"journal item {place} without {missing}") from missing


def head_item(head: Head) -> Item:
    """The item of a chain's head."""
    return {
        "chain": s(_HEADS),
        "place": s(head.chain),
        "number": n(head.number),
        "seal": s(head.seal),
        "written_ms": n(head.written_ms),
    }


def _head(item: Mapping[str, Any]) -> Head:
    try:
        return Head(item["place"]["S"], int(item["number"]["N"]), item["seal"]["S"], int(item["written_ms"]["N"]))
    except (KeyError, ValueError) as error:
        raise SchemaError(f"journal item {item['place']['S']} is no head of a chain: {error}") from error
