"""Basket rows, the lease of each group, and the two fences around a row: its revision and its attempt."""

from collections.abc import Iterable
from dataclasses import replace

from kalshi_arb.aws.dynamo import Condition, Item, Table, TransactionCancelledError, envelope, n, opened, s
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState, lease_mark_ms
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.ports import Lease

_LEASE = "lease#"
# What leases carry in the index of states, where no basket's state meets it.
_LEASED = "lease"
_MOST_LEASES = 10_000


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
    rows; in the index of states it stands under a word that is no state."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, basket: Basket, books_ms: int) -> bool:
        """Store a new basket and take its group's lease in one transaction; see the port."""
        free = Condition(
            "attribute_not_exists(#owner) AND (attribute_not_exists(#mark_ms) OR #mark_ms < :books)",
            {":books": n(books_ms)},
        )
        leased = self._leasing(basket, basket.created_ms, free)
        try:
            self._table.transact(
                f"create basket {basket.basket_id}", [self._table.putting(_row(basket), self._table.free()), leased]
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
        """Write the row and give its lease back; False, with nothing written, when the lease is not this basket's."""
        mark = lease_mark_ms(saved)
        ours = Condition("#owner = :owner", {":owner": s(saved.basket_id)})
        # Marks only rise: every end is later than the one before it, so the last one written is the highest.
        marked = ("SET #mark_ms = :mark ", {":mark": n(mark)}) if mark else ("SET #updated_ms = :now ", {})
        now = {} if mark else {":now": n(saved.updated_ms)}
        try:
            self._table.transact(
                f"end basket {saved.basket_id}",
                [
                    self._table.putting(_row(saved), unchanged),
                    self._table.updating(
                        _LEASE + saved.group_id, marked[0] + "REMOVE #owner", ours, {**marked[1], **now}
                    ),
                ],
            )
        except TransactionCancelledError as cancelled:
            if cancelled.refused(0):
                raise _conflict(saved) from cancelled
            if cancelled.refused(1):
                return False
            raise
        return True

    def reopen(self, basket: Basket) -> Basket | None:
        """Store an ended basket that lives again and take its group's lease in one transaction; see the port.

        :raises ConflictError: another writer was first.
        """
        saved = replace(basket, revision=basket.revision + 1)
        unchanged = Condition(
            "#revision = :revision AND #attempt < :attempt",
            {":revision": n(basket.revision), ":attempt": n(basket.attempt)},
        )
        try:
            self._table.transact(
                f"reopen basket {saved.basket_id}",
                [
                    self._table.putting(_row(saved), unchanged),
                    self._leasing(saved, saved.updated_ms, Condition("attribute_not_exists(#owner)", {})),
                ],
            )
        except TransactionCancelledError as cancelled:
            if cancelled.refused(0):
                raise _conflict(basket) from cancelled
            if cancelled.refused(1):
                return None
            raise
        return saved

    def _leasing(self, basket: Basket, now_ms: int, free: Condition) -> dict[str, object]:
        """The part of a transaction that takes the group's lease."""
        return self._table.updating(
            _LEASE + basket.group_id,
            "SET #owner = :owner, #state = :state, #updated_ms = :now, #mark_ms = if_not_exists(#mark_ms, :zero)",
            free,
            {
                ":owner": s(basket.basket_id),
                ":state": s(_LEASED),
                ":now": n(now_ms),
                ":zero": n(0),
            },
        )

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

    def leases(self) -> list[Lease]:
        """Every lease that is taken or marked, as the index knows them: what changed in the last second may be
        missing or out of date."""
        items = self._table.query("by_state", "state", _LEASED, newest_first=False, limit=_MOST_LEASES)
        return [
            Lease(
                item["basket_id"]["S"].removeprefix(_LEASE),
                item["owner"]["S"] if "owner" in item else None,
                int(item["mark_ms"]["N"]),
            )
            for item in items
        ]

    def free_lease(self, lease: Lease) -> bool:
        """Remove a lease that is still exactly this one; False when it is not."""
        owner = "attribute_not_exists(#owner)" if lease.owner is None else "#owner = :owner"
        values = {":mark": n(lease.mark_ms)}
        if lease.owner is not None:
            values[":owner"] = s(lease.owner)
        same = Condition(f"{owner} AND #mark_ms = :mark", values)
        try:
            self._table.transact(
                f"free the lease of {lease.group_id}", [self._table.deleting(_LEASE + lease.group_id, same)]
            )
        except TransactionCancelledError as cancelled:
            if cancelled.refused(0):
                return False
            raise
        return True


def _conflict(basket: Basket) -> ConflictError:
    return ConflictError(f"basket {basket.basket_id}: the row was changed by another writer or a newer attempt")
