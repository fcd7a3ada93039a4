"""Tables that outlive the process: accepted changes go to the journal, a table that is created finds its items again.

Every change of an item passes one of two functions of the embedded AWS, whoever asks for it (a request, a workflow, the
sweep of expired items). What one request changes is collected and written as one line before the request is answered.
Filling a table touches nothing but its items: no stream is told, no function runs, no token is spent.

A table is filled in the moment in which it is created, so nothing can see it empty. Its items stay in the journal when
it is deleted, because a deployment that fails rolls its tables back too; they are there again when the table is.
"""

import os
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from infra.local.journal import REMEDY, Change, Journal, JournalError, Tables, apply_changes
from infra.local.seams import Seam

_TABLES = Seam("services.dynamodb", "_tables")
_SET = Seam("services.dynamodb", "_set_item")
_REMOVE = Seam("services.dynamodb", "_remove_item")
_KEY_VALUE = Seam("services.dynamodb", "_extract_key_val")
_ERROR = Seam("services.dynamodb", "error_response_json")
_WRITES = tuple(
    Seam("services.dynamodb", name)
    for name in (
        *("_put_item", "_update_item", "_delete_item", "_batch_write_item", "_transact_write_items"),
        *("_execute_statement", "_batch_execute_statement"),
    )
)
# These swap the items of a whole table, which the journal has no line for. Nothing of ours asks for them.
_WHOLE_TABLE = tuple(
    Seam("services.dynamodb", name)
    for name in (
        *("_execute_transaction", "_restore_table_from_backup", "_restore_table_to_point_in_time", "_import_table"),
    )
)
_NO_SORT_KEY = "__no_sort__"  # where the embedded AWS keeps the items of a table without a sort key

Table = dict[str, Any]


def _key_names(table: Table) -> list[str]:
    return [name for name in (table["pk_name"], table["sk_name"]) if name]


class Recorder:
    """Between the tables in memory and the journal. One lock keeps the lines in the order of the changes."""

    def __init__(self, journal: Journal, found: Tables) -> None:
        """Check the seams that it calls.

        :param found: what the journal held at the start; tables take their items from here
        :raises SeamError: one does not fit
        """
        self._journal = journal
        self._waiting = found
        self._lock = threading.RLock()
        self._collected: list[Change] | None = None
        self._set = _SET.function(["table", "pk_val", "sk_val", "item"])
        self._remove = _REMOVE.function(["table", "pk_val", "sk_val"])
        self._key_value = _KEY_VALUE.function(["attr"])

    def set_item(self, table: Table, pk_val: Any, sk_val: Any, item: dict[str, Any]) -> Any:
        """Store an item and note it."""
        with self._lock:
            old = self._set(table, pk_val, sk_val, item)
            self._note(Change(table["TableArn"], {name: item[name] for name in _key_names(table)}, item))
            return old

    def remove_item(self, table: Table, pk_val: Any, sk_val: Any) -> Any:
        """Remove an item and note it, if there was one."""
        with self._lock:
            old = self._remove(table, pk_val, sk_val)
            if old is not None:
                self._note(Change(table["TableArn"], {name: old[name] for name in _key_names(table)}, None))
            return old

    def as_one(self, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same request, with all it changed on disk as one line before it answers."""

        def run(data: Any) -> Any:
            with self._lock:
                if self._collected is not None:  # one request of another: a batch of statements asks for each
                    return write(data)
                self._collected = []
                try:
                    return write(data)
                finally:
                    changes, self._collected = self._collected, None
                    self._write(changes)

        return run

    def adopt(self, table: Table) -> None:
        """Give a table that is being created the items that the journal has for it.

        :raises JournalError: they have another key than the table
        """
        with self._lock:
            names = _key_names(table)
            items = self._waiting.get(table["TableArn"], {})
            for item in items.values():
                if not item.keys() >= set(names):
                    raise JournalError(
                        f"{table['TableName']}: the journal has items without the key {', '.join(names)}; {REMEDY}"
                    )
            for item in items.values():
                sort = self._key_value(item[table["sk_name"]]) if table["sk_name"] else _NO_SORT_KEY
                self._set(table, self._key_value(item[table["pk_name"]]), sort, item)
            self._waiting.pop(table["TableArn"], None)

    def keep(self, table: Table) -> None:
        """Keep the items of a table that was deleted for the next one of its name."""
        with self._lock:
            names = _key_names(table)
            for items in table["items"].values():
                apply_changes(
                    self._waiting,
                    [Change(table["TableArn"], {name: item[name] for name in names}, item) for item in items.values()],
                )

    def _note(self, change: Change) -> None:
        if self._collected is None:
            self._write([change])
        else:
            self._collected.append(change)

    def _write(self, changes: list[Change]) -> None:
        if not changes:
            return
        try:
            self._journal.append(changes)
        except OSError as error:
            # Memory is ahead of the disk now. Whoever waits for the answer must not get one, nor anybody after.
            sys.stderr.write(f"the journal of the tables cannot be written ({error.strerror}): the cloud ends here\n")
            sys.stderr.flush()
            os._exit(1)


def _durable(tables: Any, recorder: Recorder) -> Any:
    """The store of tables, telling the recorder of each that comes or goes."""
    plain = type(tables)

    def add(self: Any, name: str, table: Table) -> None:
        recorder.adopt(table)
        plain.__setitem__(self, name, table)

    def pop(self: Any, name: str, *default: Any) -> Any:
        table = plain.pop(self, name, *default)
        if table is not None:
            recorder.keep(table)
        return table

    # Same slots, so the store that others may already hold can change its class in place.
    return type("DurableTables", (plain,), {"__slots__": (), "__setitem__": add, "pop": pop})


def _refuse(_data: Any) -> Any:
    return _ERROR.value()(
        "UnknownOperationException",
        "the local cloud's journal cannot keep what replaces a whole table",
        HTTPStatus.BAD_REQUEST,
    )


def apply(journal: Journal) -> None:
    """Read the journal, check every seam and put ours in place.

    :raises JournalError: the journal cannot be used; it was not changed
    :raises SeamError: the embedded AWS has another shape
    """
    tables = _TABLES.value()
    if not callable(getattr(tables, "pop", None)) or type(tables).__dict__.get("__slots__") != ("_data",):
        raise _TABLES.broken("it is not a store by account and region")
    if tables.has_any():
        raise _TABLES.broken("it holds tables before the first is created")
    _ERROR.function(["code", "message", "status", "extra", "message_key", "content_type"])
    originals = [(seam, seam.function(["data"])) for seam in _WRITES]
    for seam in _WHOLE_TABLE:
        seam.function(["data"])
    recorder = Recorder(journal, journal.open())
    for seam, original in originals:
        seam.replace(recorder.as_one(original))
    for seam in _WHOLE_TABLE:
        seam.replace(_refuse)
    _SET.replace(recorder.set_item)
    _REMOVE.replace(recorder.remove_item)
    tables.__class__ = _durable(tables, recorder)
