"""The paper account: one item for every accepted order with its fills, one for every payment, one version item."""

from collections.abc import Sequence

from kalshi_arb.aws.dynamo import Condition, Item, Table, TransactionCancelledError, envelope, n, opened, s
from kalshi_arb.domain.paper import PaperAccount, PaperOrder
from kalshi_arb.domain.portfolio import Settlement
from kalshi_arb.ports import PaperStore

_VERSION = "account"
_ORDER = "order#"
_SETTLEMENT = "settlement#"


class DynamoPaperStore(PaperStore):
    """:class:`kalshi_arb.ports.PaperStore` on the paper table.

    Every read scans the table: an order is about a kilobyte and a page a megabyte, so beyond some ten thousand orders
    placements take seconds and are refused for their time. Begin a new table then.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self) -> PaperAccount:
        """Everything, strongly read. The version first: whatever is written after it makes it stale."""
        item = self._table.get(_VERSION)
        orders: list[PaperOrder] = []
        settlements: list[Settlement] = []
        for row in self._table.scan():
            key = row[self._table.key]["S"]
            if key.startswith(_ORDER):
                orders.append(opened(row, PaperOrder))
            elif key.startswith(_SETTLEMENT):
                settlements.append(opened(row, Settlement))
        orders.sort(key=lambda order: (order.created_ms, order.order_id))
        return PaperAccount(int(item["version"]["N"]) if item else 0, tuple(orders), tuple(settlements))

    def append(self, version: int, orders: Sequence[PaperOrder], settlements: Sequence[Settlement]) -> bool:
        """One transaction; see the port."""
        fresh = (
            Condition("attribute_not_exists(#version)", {})
            if version == 0
            else Condition("#version = :version", {":version": n(version)})
        )
        rows: list[Item] = [self._item(_ORDER + order.request.client_order_id, order) for order in orders]
        rows += [self._item(_SETTLEMENT + payment.ticker, payment) for payment in settlements]
        mark: Item = {self._table.key: s(_VERSION), "version": n(version + 1)}
        actions = [self._table.putting(mark, fresh)]
        actions += [self._table.putting(row, self._table.free()) for row in rows]
        try:
            self._table.transact("write to the paper account", actions)
        except TransactionCancelledError:
            # A condition, or collisions that went on: either way nothing was written.
            return False
        return True

    def _item(self, key: str, value: PaperOrder | Settlement) -> Item:
        return {self._table.key: s(key), **envelope(value)}
