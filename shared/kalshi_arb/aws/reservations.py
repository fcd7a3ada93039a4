"""Conditional holds on limits: what keeps concurrent baskets from spending the same dollar twice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kalshi_arb.aws.dynamo import Condition, Item, Table, TransactionCancelledError, n, s
from kalshi_arb.domain.errors import ConflictError, OvertakenError, StoreError
from kalshi_arb.domain.reservation_keys import CASH_KEY, CONTRACTS_KEY, MARKET_KEY, MOST_ITEMS, item_of, items_of
from kalshi_arb.ports import Holdings

_ATTEMPTS = 8
_RECORD = "basket#"
_USED, _CONTRACTS, _RETURNS = "used", "contracts", "returns"


class _Held:
    """A basket's record: what it holds under which key, whether some of it was given back, and an optimistic lock."""

    def __init__(self, item: Item | None) -> None:
        self.amounts = {key: int(value["N"]) for key, value in item["held"]["M"].items()} if item else {}
        self.ending = bool(item["ending"]["BOOL"]) if item else False
        self.revision = int(item["revision"]["N"]) if item else 0

    def item(self, basket_id: str, amounts: Mapping[str, int], *, ending: bool) -> Item:
        return {
            "reservation_key": s(_RECORD + basket_id),
            "held": {"M": {key: n(amount) for key, amount in amounts.items()}},
            "ending": {"BOOL": ending},
            "revision": n(self.revision + 1),
        }

    def unchanged(self) -> Condition:
        if self.revision == 0:
            return Condition("attribute_not_exists(#reservation_key)", {})
        return Condition("#revision = :revision", {":revision": n(self.revision)})


class DynamoReservationStore:
    """:class:`kalshi_arb.ports.ReservationStore` on the reservations table: an item per key, but one for both the
    dollars (``used``) and the ``contracts`` of a market, and an item ``basket#<id>`` with what that basket put there.
    Items of cash count in ``returns`` how often some of it was given back.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def reserve(
        self,
        basket_id: str,
        amounts: Mapping[str, int],
        limits: Mapping[str, int],
        returns: Mapping[str, int] | None = None,
        *,
        again: bool = False,
    ) -> tuple[str, ...]:
        """Add all ``amounts`` under their keys in one transaction if none exceeds its limit; see the port.

        :raises StoreError: an amount is negative, or there are more items than a transaction takes.
        :raises OvertakenError: something was given back under a key of ``returns``.
        :raises ConflictError: others kept changing the same items.
        """
        if any(amount < 0 for amount in amounts.values()):
            raise StoreError(f"reserve for {basket_id}: a negative amount")
        if items_of(amounts) > MOST_ITEMS:
            raise StoreError(f"reserve for {basket_id}: {items_of(amounts)} items, at most {MOST_ITEMS}")
        what = f"reserve for {basket_id}"
        for _ in range(_ATTEMPTS):
            held = _Held(self._table.get(_RECORD + basket_id))
            more = {key: amount - held.amounts.get(key, 0) for key, amount in amounts.items()}
            more = {key: amount for key, amount in more.items() if amount > 0 or key not in held.amounts}
            if (held.ending and not again) or not more:
                return ()
            after = {**held.amounts, **{key: amounts[key] for key in more}}
            record = self._table.putting(held.item(basket_id, after, ending=False), held.unchanged())
            by_item = _by_item(more)
            try:
                adding = [self._adding(item, parts, limits, returns or {}) for item, parts in by_item.items()]
                self._table.transact(what, [record, *adding])
            except TransactionCancelledError as cancelled:
                refused = [item for place, item in enumerate(by_item, 1) if cancelled.refused(place)]
                if not cancelled.refused(0) and not refused:
                    raise
                keys = [key for item in refused for key in by_item[item]]
                expected = {key: count for key, count in (returns or {}).items() if key in keys}
                if self.returns(expected) != expected:
                    raise OvertakenError(f"{what}: cash was given back meanwhile") from cancelled
                full = self._full(keys, more, limits)
                if full and not cancelled.refused(0):
                    return full
            else:
                return ()
        raise ConflictError(f"{what}: others kept changing the same items")

    def _full(self, keys: Sequence[str], amounts: Mapping[str, int], limits: Mapping[str, int]) -> tuple[str, ...]:
        """Those of the keys that have no room now: none when it became free meanwhile."""
        used = self.amounts(keys)
        return tuple(key for key in keys if key in limits and used.get(key, 0) + amounts[key] > limits[key])

    def release(self, basket_id: str, prefixes: tuple[str, ...] = ("",)) -> None:
        """Give back what the basket reserved under keys starting with one of these; repeating it changes nothing.

        :raises ConflictError: others kept changing its record.
        """
        for _ in range(_ATTEMPTS):
            held = _Held(self._table.get(_RECORD + basket_id))
            matching = [key for key in held.amounts if key.startswith(prefixes)]
            if not matching and (held.amounts or held.revision == 0):
                return
            rest = {key: amount for key, amount in held.amounts.items() if key not in matching}
            if rest:
                record = self._table.putting(held.item(basket_id, rest, ending=True), held.unchanged())
            else:
                record = self._table.deleting(_RECORD + basket_id, held.unchanged())
            by_item = _by_item({key: held.amounts[key] for key in matching})
            try:
                taking = [self._taking(item, parts) for item, parts in by_item.items()]
                self._table.transact(f"release for {basket_id}", [record, *taking])
            except TransactionCancelledError as cancelled:
                if not cancelled.refused(0):
                    raise
            else:
                return
        raise ConflictError(f"release for {basket_id}: others kept changing its record")

    def amounts(self, keys: Iterable[str]) -> dict[str, int]:
        """What is held under these keys by all baskets together, strongly read, zeros left out."""
        wanted = list(keys)
        found = {item["reservation_key"]["S"]: item for item in self._table.get_many({item_of(key) for key in wanted})}
        amounts = {key: _amount(found.get(item_of(key)), key) for key in wanted}
        return {key: amount for key, amount in amounts.items() if amount}

    def returns(self, keys: Iterable[str]) -> dict[str, int]:
        """How often something was given back under each of these keys of cash, strongly read."""
        wanted = list(keys)
        found = {item["reservation_key"]["S"]: item for item in self._table.get_many(wanted)}
        return {key: int(found[key].get(_RETURNS, n(0))["N"]) if key in found else 0 for key in wanted}

    def used(self) -> dict[str, int]:
        """Amounts by key, zeros left out."""
        return dict(self.holdings().used)

    def holdings(self) -> Holdings:
        """Everything that is held, by key and by basket, in one pass. While others write, the two may differ by what
        they wrote."""
        used: dict[str, int] = {}
        records: dict[str, dict[str, int]] = {}
        for item in self._table.scan():
            name = item["reservation_key"]["S"]
            if name.startswith(_RECORD):
                records[name.removeprefix(_RECORD)] = _Held(item).amounts
                continue
            ticker = name.removeprefix(MARKET_KEY)
            for key in (name, CONTRACTS_KEY + ticker) if name.startswith(MARKET_KEY) else (name,):
                if amount := _amount(item, key):
                    used[key] = amount
        return Holdings(used, records)

    def _adding(
        self, item: str, parts: Mapping[str, int], limits: Mapping[str, int], returns: Mapping[str, int]
    ) -> dict[str, object]:
        values = {f":{_attribute(key)}": n(amount) for key, amount in parts.items()}
        tests, tested = [], {}
        for key, amount in parts.items():
            if key not in limits:
                continue
            name = _attribute(key)
            # What is absent has used nothing, which leaves room unless the amount alone is above the limit.
            absent = f"attribute_not_exists(#{name}) OR " if amount <= limits[key] else ""
            tests.append(f"({absent}#{name} <= :room_{name})")
            tested[f":room_{name}"] = n(limits[key] - amount)
        if item in returns:
            absent = "" if returns[item] else f"attribute_not_exists(#{_RETURNS}) OR "
            tests.append(f"({absent}#{_RETURNS} = :known_{_RETURNS})")
            tested[f":known_{_RETURNS}"] = n(returns[item])
        condition = Condition(" AND ".join(tests), tested) if tests else None
        return self._table.updating(item, _add(parts), condition, values)

    def _taking(self, item: str, parts: Mapping[str, int]) -> dict[str, object]:
        # What was added is there to be taken: less means that somebody else wrote the item, and that must be heard.
        text = " AND ".join(f"#{_attribute(key)} >= :least_{_attribute(key)}" for key in parts)
        enough = Condition(text, {f":least_{_attribute(key)}": n(amount) for key, amount in parts.items()})
        values = {f":{_attribute(key)}": n(-amount) for key, amount in parts.items()}
        add = _add(parts)
        if item.startswith(CASH_KEY):
            add += f", #{_RETURNS} :{_RETURNS}"
            values[f":{_RETURNS}"] = n(1)
        return self._table.updating(item, add, enough, values)


def _attribute(key: str) -> str:
    return _CONTRACTS if key.startswith(CONTRACTS_KEY) else _USED


def _add(parts: Iterable[str]) -> str:
    return "ADD " + ", ".join(f"#{_attribute(key)} :{_attribute(key)}" for key in parts)


def _amount(item: Item | None, key: str) -> int:
    return int(item[_attribute(key)]["N"]) if item and _attribute(key) in item else 0


def _by_item(amounts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The amounts by the item that they are counted in."""
    items: dict[str, dict[str, int]] = defaultdict(dict)
    for key, amount in amounts.items():
        items[item_of(key)][key] = amount
    return dict(items)
