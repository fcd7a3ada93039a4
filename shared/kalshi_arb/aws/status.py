"""Health, near misses and counters of each component, and the control items that people set."""

from collections.abc import Mapping

import msgspec

from kalshi_arb.aws.dynamo import Condition, Item, Table, n, s
from kalshi_arb.domain.errors import SchemaError

_VERSION = 1
# Counter names share their item with its other attributes, so they carry a mark of their own.
_COUNTER = "n."
_COUNTERS_AT_ONCE = 50

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, object])


class DynamoStatusStore:
    """:class:`kalshi_arb.ports.StatusStore` on the status table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, component: str, status: Mapping[str, object]) -> None:
        """Replace a component's status."""
        self._table.put(_item(component, status))

    def get(self, component: str) -> dict[str, object] | None:
        """A component's last status, strongly read. :raises SchemaError: the item holds something else."""
        item = self._table.get(component)
        return None if item is None else _status(component, item)

    def swap(self, component: str, before: Mapping[str, object] | None, status: Mapping[str, object]) -> bool:
        """Replace a component's status if it is still ``before``; False when it is not.

        :raises SchemaError: the item holds something else.
        """
        item = self._table.get(component)
        if item is None:
            return before is None and self._table.put_once(_item(component, status))
        if before is None or _status(component, item) != _decoder.decode(_encoder.encode(dict(before))):
            return False
        # The text as it is stored: what a person wrote by hand is not laid out as this class does it.
        return self._table.put(_item(component, status), Condition("#body = :before", {":before": item["body"]}))

    def count(self, component: str, changes: Mapping[str, int]) -> None:
        """Add to a component's counters atomically."""
        steps = [(name, change) for name, change in changes.items() if change]
        for start in range(0, len(steps), _COUNTERS_AT_ONCE):
            chunk = steps[start : start + _COUNTERS_AT_ONCE]
            self._table.add(f"counters#{component}", {_COUNTER + name: change for name, change in chunk})

    def counters(self, component: str) -> dict[str, int]:
        """A component's counters."""
        item = self._table.get(f"counters#{component}") or {}
        return {
            name.removeprefix(_COUNTER): int(value["N"]) for name, value in item.items() if name.startswith(_COUNTER)
        }


def _item(component: str, status: Mapping[str, object]) -> Item:
    body = _encoder.encode(dict(status)).decode()
    return {"component": s(component), "v": n(_VERSION), "kind": s("status"), "body": s(body)}


def _status(component: str, item: Item) -> dict[str, object]:
    try:
        if item["kind"]["S"] != "status" or item["v"]["N"] != str(_VERSION):
            raise SchemaError(f"{component}: expected status v{_VERSION}")
        return _decoder.decode(item["body"]["S"])
    except (KeyError, msgspec.DecodeError) as error:
        raise SchemaError(f"{component}: cannot read a status: {error}") from error
