"""One order group on each shard, as a cap that the exchange keeps for us: when more contracts than its limit fill
within 15 seconds, it refuses our purchases until the group is reset (Kalshi API documentation, order groups).

The ids are kept in a status item, so that every process puts its orders into the same groups.
"""

from collections.abc import Callable, Collection, Mapping

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ExchangeError, StoreError
from kalshi_arb.domain.money import Count
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.kalshi.orders import Orders
from kalshi_arb.ports import StatusStore

COMPONENT = "order_groups"
WINDOW_MS = 15_000
TRIGGERED = "exceeded_order_group_risk_limit"
GONE = "order_group_not_found"
_LEAST, _MOST = Count(100), Count(1_000_000 * 100)


class OrderCaps:
    """The groups of one account.

    :param limit: contracts (1e-2) that may fill on a shard within the window, as they are now
    """

    def __init__(self, *, orders: Orders, status: StatusStore, clock: Clock, limit: Callable[[], Count]) -> None:
        self._orders = orders
        self._status = status
        self._clock = clock
        self._limit = limit

    def groups_of(self, shards: Collection[int], leave_by_ms: int | None = None) -> dict[int, str]:
        """The groups that purchases on these shards belong to, each made at the first one. A changed limit is told to
        it, and one that was triggered is reset once its window has passed.

        :param leave_by_ms: when the orders must have left (UTC milliseconds): groups that are had later serve the next
        :raises RetryableError: they cannot be told, or not in time; no order may be placed without them
        """
        groups = {shard: self._told(shard) for shard in sorted(shards)}
        if leave_by_ms is not None and self._clock.now_ms() > leave_by_ms:
            raise RetryableError("the order groups came too late for these orders")
        return groups

    def _told(self, shard: int) -> str:
        try:
            return self._group_of(shard)
        except (ExchangeError, StoreError) as error:
            raise RetryableError(f"the order group of shard {shard}: {error}") from error

    def note_refusal(self, shard: int, code: str) -> None:
        """What a refusal of an order says about its group. :raises StoreError: it cannot be kept."""
        item = self._status.get(COMPONENT) or {}
        known = _entry(item, shard)
        if known is None:
            return
        if code == GONE:
            self._status.swap(COMPONENT, item, {name: one for name, one in item.items() if name != str(shard)})
        elif code == TRIGGERED and known.get("triggered_ms") is None:
            entry = {**known, "triggered_ms": self._clock.now_ms()}
            self._status.swap(COMPONENT, item, {**item, str(shard): entry})

    def _group_of(self, shard: int) -> str:
        limit = Count(min(max(self._limit(), _LEAST), _MOST))
        item = self._status.get(COMPONENT)
        known = _entry(item or {}, shard)
        if known is None:
            return self._made(item, shard, limit)
        group_id, triggered = str(known["id"]), known.get("triggered_ms")
        changed = dict(known)
        if known.get("limit") != limit:
            self._orders.limit_group(group_id, limit, shard=shard)
            changed["limit"] = limit
        if isinstance(triggered, int) and self._clock.now_ms() - triggered > WINDOW_MS:
            self._orders.reset_group(group_id, shard=shard)
            changed["triggered_ms"] = None
        if changed != known:
            # Lost to another writer: what it wrote is as true, or is put right by the next order.
            self._status.swap(COMPONENT, item, {**(item or {}), str(shard): changed})
        return group_id

    def _made(self, item: Mapping[str, object] | None, shard: int, limit: Count) -> str:
        group_id = self._orders.create_group(limit, shard=shard).order_group_id
        entry = {"id": group_id, "limit": limit, "triggered_ms": None}
        if self._status.swap(COMPONENT, item, {**(item or {}), str(shard): entry}):
            return group_id
        self._orders.delete_group(group_id, shard=shard)
        raise RetryableError("another process made the group at this moment")


def _entry(item: Mapping[str, object], shard: int) -> Mapping[str, object] | None:
    known = item.get(str(shard))
    return known if isinstance(known, dict) and isinstance(known.get("id"), str) else None
