"""Health, near misses and counters of each component, and the control items that people set."""

from collections.abc import Mapping

import msgspec

from kalshi_arb.aws.dynamo import Item, Table, n, s
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
        body = _encoder.encode(dict(status)).decode()
        item: Item = {"component": s(component), "v": n(_VERSION), "kind": s("status"), "body": s(body)}
        self._table.put(item)

    def get(self, component: str) -> dict[str, object] | None:
        """A component's last status. :raises SchemaError: the item holds something else."""
        item = self._table.get(component)
        if item is None:
            return None
        try:
            if item["kind"]["S"] != "status" or item["v"]["N"] != str(_VERSION):
                raise SchemaError(f"{component}: expected status v{_VERSION}")
            return _decoder.decode(item["body"]["S"])
        except (KeyError, msgspec.DecodeError) as error:
            raise SchemaError(f"{component}: cannot read a status: {error}") from error

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
