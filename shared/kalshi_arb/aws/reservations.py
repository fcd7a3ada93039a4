"""Conditional holds on limits: what keeps concurrent baskets from spending the same dollar twice."""

from collections.abc import Mapping

from kalshi_arb.aws.dynamo import MAX_ACTIONS, Condition, Item, Table, TransactionCancelledError, n, s
from kalshi_arb.domain.errors import ConflictError, StoreError

# One action of every transaction keeps the basket's own record of what it holds.
_KEYS_AT_ONCE = MAX_ACTIONS - 1
_ATTEMPTS = 8
_RECORD = "basket#"


class _Held:
    """A basket's record: what it holds under which key, whether that is all it asked for, and an optimistic lock."""

    def __init__(self, item: Item | None) -> None:
        self.amounts = {key: int(value["N"]) for key, value in item["held"]["M"].items()} if item else {}
        self.complete = bool(item["complete"]["BOOL"]) if item else False
        self.revision = int(item["revision"]["N"]) if item else 0

    def item(self, basket_id: str, amounts: Mapping[str, int], *, complete: bool) -> Item:
        return {
            "reservation_key": s(_RECORD + basket_id),
            "held": {"M": {key: n(amount) for key, amount in amounts.items()}},
            "complete": {"BOOL": complete},
            "revision": n(self.revision + 1),
        }

    def unchanged(self) -> Condition:
        if self.revision == 0:
            return Condition("attribute_not_exists(#reservation_key)", {})
        return Condition("#revision = :revision", {":revision": n(self.revision)})


class DynamoReservationStore:
    """:class:`kalshi_arb.ports.ReservationStore` on the reservations table: an item per key holds ``used``, an item
    ``basket#<id>`` what that basket put there.

    Up to 99 keys are one transaction. More take several, each recorded, and are given back when one has no room.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def reserve(self, basket_id: str, amounts: Mapping[str, int], limits: Mapping[str, int]) -> str | None:
        """Add all ``amounts`` under their keys if none exceeds its limit; see the port. A key without a limit is only
        counted.

        :raises StoreError: an amount is negative.
        """
        if any(amount < 0 for amount in amounts.values()):
            raise StoreError(f"reserve for {basket_id}: a negative amount")
        held = _Held(None)
        for _ in range(_ATTEMPTS):
            if held.complete:
                return None
            missing = [key for key in amounts if key not in held.amounts]
            chunk = missing[:_KEYS_AT_ONCE]
            after = held.amounts | {key: amounts[key] for key in chunk}
            complete = len(chunk) == len(missing)
            actions = [self._table.putting(held.item(basket_id, after, complete=complete), held.unchanged())]
            actions += [self._adding(key, amounts[key], limits.get(key)) for key in chunk]
            try:
                self._table.transact(f"reserve for {basket_id}", actions)
            except TransactionCancelledError as cancelled:
                if not cancelled.refused(0):
                    full = next((key for place, key in enumerate(chunk, 1) if cancelled.refused(place)), None)
                    if full is None:
                        raise
                    if held.amounts:
                        self.release(basket_id)
                    return full
            else:
                if complete:
                    return None
            held = _Held(self._table.get(_RECORD + basket_id))
        raise ConflictError(f"reserve for {basket_id}: others kept changing its record")

    def release(self, basket_id: str, prefix: str = "") -> None:
        """Give back what the basket reserved under keys starting with ``prefix``; repeating it changes nothing."""
        for _ in range(_ATTEMPTS):
            held = _Held(self._table.get(_RECORD + basket_id))
            matching = [key for key in held.amounts if key.startswith(prefix)]
            if not matching and (held.amounts or held.revision == 0):
                return
            chunk = matching[:_KEYS_AT_ONCE]
            rest = {key: amount for key, amount in held.amounts.items() if key not in chunk}
            if rest:
                record = self._table.putting(held.item(basket_id, rest, complete=held.complete), held.unchanged())
            else:
                record = self._table.deleting(_RECORD + basket_id, held.unchanged())
            actions = [record, *(self._taking(key, held.amounts[key]) for key in chunk)]
            try:
                self._table.transact(f"release for {basket_id}", actions)
            except TransactionCancelledError as cancelled:
                if not cancelled.refused(0):
                    raise
            else:
                if len(chunk) == len(matching):
                    return
        raise ConflictError(f"release for {basket_id}: others kept changing its record")

    def used(self) -> dict[str, int]:
        """Amounts by key, zeros left out."""
        return {
            item["reservation_key"]["S"]: int(item["used"]["N"])
            for item in self._table.scan()
            if "used" in item and item["used"]["N"] != "0"
        }

    def _adding(self, key: str, amount: int, limit: int | None) -> dict[str, object]:
        add = "ADD #used :amount"
        if limit is None:
            return self._table.updating(key, add, None, {":amount": n(amount)})
        # An absent item has used nothing, which leaves room unless the amount alone is above the limit.
        text = "attribute_not_exists(#used) OR #used <= :room" if amount <= limit else "#used <= :room"
        room = Condition(text, {":room": n(limit - amount)})
        return self._table.updating(key, add, room, {":amount": n(amount)})

    def _taking(self, key: str, amount: int) -> dict[str, object]:
        # What was added is there to be taken: less means that somebody else wrote the item, and that must be heard.
        enough = Condition("#used >= :amount", {":amount": n(amount)})
        return self._table.updating(key, "ADD #used :change", enough, {":change": n(-amount)})
