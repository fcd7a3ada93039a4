"""Turns what use cases count and save into metrics, so that no use case has to know that metrics exist."""

from collections.abc import Iterable, Mapping

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.metrics_names import Metric
from kalshi_arb.ports import BasketStore, Lease, Metrics, StatusStore

# Component, then the counter's name or the part before its first full stop. What follows it is the metric's detail.
_COUNTERS = {
    ("detection", "opportunity"): Metric.OPPORTUNITIES,
    ("detection", "near_miss"): Metric.NEAR_MISSES,
    ("detection", "drop"): Metric.DROPPED,
    ("risk", "refused"): Metric.DROPPED,
    ("execution", "end"): Metric.BASKETS_ENDED,
    ("execution", "unknown_orders"): Metric.UNKNOWN_ORDERS,
}


class MeteredStatusStore:
    """A ``StatusStore`` whose counters are metrics too."""

    def __init__(self, inner: StatusStore, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    def put(self, component: str, status: Mapping[str, object]) -> None:
        """Replace a component's status."""
        self._inner.put(component, status)

    def get(self, component: str) -> dict[str, object] | None:
        """A component's last status."""
        return self._inner.get(component)

    def swap(self, component: str, before: Mapping[str, object] | None, status: Mapping[str, object]) -> bool:
        """As the port says."""
        return self._inner.swap(component, before, status)

    def count(self, component: str, changes: Mapping[str, int]) -> None:
        """Add to a component's counters, and to the metrics that some of them are."""
        self._inner.count(component, changes)
        for name, change in changes.items():
            head, _, detail = name.partition(".")
            metric = _COUNTERS.get((component, head))
            if metric is not None:
                self._metrics.count(metric, change, detail or None)
            if (component, head) == ("risk", "refused"):
                # A refusal is an end too: the one of a basket for which nothing was ever sent.
                self._metrics.count(Metric.BASKETS_ENDED, change, BasketState.REFUSED.value)

    def counters(self, component: str) -> dict[str, int]:
        """A component's counters."""
        return self._inner.counters(component)


class MeteredBasketStore:
    """A ``BasketStore`` that publishes the profit of every basket that becomes a lock."""

    def __init__(self, inner: BasketStore, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    def create(self, basket: Basket, books_ms: int) -> bool:
        """As the port says."""
        return self._inner.create(basket, books_ms)

    def get(self, basket_id: str) -> Basket | None:
        """As the port says."""
        return self._inner.get(basket_id)

    def save(self, basket: Basket) -> Basket:
        """As the port says; a lock is saved once, but for one of which an early sale sold nothing: that was counted."""
        saved = self._inner.save(basket)
        if saved.state is BasketState.LOCK and saved.release is None and saved.locked_profit is not None:
            self._metrics.count(Metric.LOCKED_PROFIT_MICRODOLLARS, saved.locked_profit)
        return saved

    def reopen(self, basket: Basket) -> Basket | None:
        """As the port says."""
        return self._inner.reopen(basket)

    def in_states(self, states: Iterable[BasketState], limit: int) -> list[Basket]:
        """As the port says."""
        return self._inner.in_states(states, limit)

    def recent(self, limit: int) -> list[Basket]:
        """As the port says."""
        return self._inner.recent(limit)

    def leases(self) -> list[Lease]:
        """As the port says."""
        return self._inner.leases()

    def free_lease(self, lease: Lease) -> bool:
        """As the port says."""
        return self._inner.free_lease(lease)
