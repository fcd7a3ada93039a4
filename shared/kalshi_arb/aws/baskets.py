"""Basket rows, the lease of each group, and the two fences around a row: its revision and its attempt."""

from collections.abc import Iterable
from dataclasses import replace

from kalshi_arb.aws.dynamo import Condition, Item, Table, TransactionCancelledError, envelope, n, opened, s
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState
from kalshi_arb.domain.errors import ConflictError


def _lease_key(group_id: str) -> str:
    return f"lease#{group_id}"


def _row(basket: Basket) -> Item:
    return {
        "basket_id": s(basket.basket_id),
        **envelope(basket),
        "state": s(basket.state.value),
        "updated_ms": n(basket.updated_ms),
        "bucket": s("all"),
        "created_ms": n(basket.created_ms),
        "revision": n(basket.revision),
        "attempt": n(basket.attempt),
        "group_id": s(basket.group_id),
    }


class DynamoBasketStore:
    """:class:`kalshi_arb.ports.BasketStore` on the baskets table. A lease is an item ``lease#<group_id>`` beside the
    rows; it carries no index attributes, so no query of rows meets it."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, basket: Basket) -> bool:
        """Store a new basket and take its group's lease in one transaction; False when either is there already."""
        lease: Item = {"basket_id": s(_lease_key(basket.group_id)), "owner": s(basket.basket_id)}
        free = self._table.free()
        try:
            self._table.transact(
                f"create basket {basket.basket_id}",
                [self._table.putting(_row(basket), free), self._table.putting(lease, free)],
            )
        except TransactionCancelledError as cancelled:
            if cancelled.refused(0) or cancelled.refused(1):
                return False
            raise
        return True

    def get(self, basket_id: str) -> Basket | None:
        """The row, strongly read."""
        item = self._table.get(basket_id)
        return None if item is None else opened(item, Basket)

    def save(self, basket: Basket) -> Basket:
        """Store ``basket`` over the row with the same ``revision`` and an attempt no newer; see the port.

        :raises ConflictError: another writer was first or a newer attempt has taken over.
        """
        saved = replace(basket, revision=basket.revision + 1)
        unchanged = Condition(
            "#revision = :revision AND #attempt <= :attempt",
            {":revision": n(basket.revision), ":attempt": n(basket.attempt)},
        )
        # A settled basket gave its lease back when it became a lock or was held.
        if saved.state in ENDED_STATES and saved.state is not BasketState.SETTLED and self._end(saved, unchanged):
            return saved
        stored = self._table.put_or_old(_row(saved), unchanged)
        # The same row as ours: an earlier try of this very write arrived and only its answer was lost.
        if stored is not None and stored != _row(saved):
            raise _conflict(basket)
        return saved

    def _end(self, saved: Basket, unchanged: Condition) -> bool:
        """Write the row and give its lease back; False, with nothing written, when the lease is another basket's."""
        ours = Condition("attribute_not_exists(#basket_id) OR #owner = :owner", {":owner": s(saved.basket_id)})
        try:
            self._table.transact(
                f"end basket {saved.basket_id}",
                [
                    self._table.putting(_row(saved), unchanged),
                    self._table.deleting(_lease_key(saved.group_id), ours),
                ],
            )
        except TransactionCancelledError as cancelled:
            if cancelled.refused(0):
                raise _conflict(saved) from cancelled
            if cancelled.refused(1):
                return False
            raise
        return True

    def in_states(self, states: Iterable[BasketState], limit: int) -> list[Basket]:
        """Rows in these states, least recently updated first."""
        wanted = frozenset(states)
        found: dict[str, Basket] = {}
        # In the order of a basket's life: a row that moves on between two queries is read twice, never missed.
        for state in BasketState:
            if state in wanted:
                for item in self._table.query("by_state", "state", state.value, newest_first=False, limit=limit):
                    row = opened(item, Basket)
                    found[row.basket_id] = row
        rows = sorted(found.values(), key=lambda basket: (basket.updated_ms, basket.basket_id))
        return rows[:limit]

    def recent(self, limit: int) -> list[Basket]:
        """Newest first."""
        items = self._table.query("by_time", "bucket", "all", newest_first=True, limit=limit)
        return [opened(item, Basket) for item in items]


def _conflict(basket: Basket) -> ConflictError:
    return ConflictError(f"basket {basket.basket_id}: the row was changed by another writer or a newer attempt")
