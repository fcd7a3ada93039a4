"""The account of a run: what came in, what was found, what became of it, and whether the books balance."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.local.venue import Venue
from kalshi_arb.alert_text import money_of
from kalshi_arb.api import FEED_SILENT_MS
from kalshi_arb.domain.basket import ENDED_STATES, LIVE_STATES, Basket, BasketState
from kalshi_arb.domain.money import Cash, cash_to_wire, dollars
from kalshi_arb.domain.paper import ASSUMPTION
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_change, effective, net_positions
from kalshi_arb.ports import AlertStore, BasketStore, GroupStore, LedgerStore, StatusStore
from kalshi_arb.settings import Mode

EVERY_ROW = 100_000


def percentile(sorted_values: Sequence[int], share: float) -> int | None:
    """The value below which ``share`` of the sorted values lie (nearest rank), or None for none."""
    if not sorted_values:
        return None
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def ended_as(basket: Basket) -> BasketState:
    """How a basket ended, also when it has settled since: a lock holds every leg at the planned count."""
    if basket.state is not BasketState.SETTLED:
        return basket.state
    complete = all(basket.leg_position(leg) == planned.count for leg, planned in enumerate(basket.legs))
    return BasketState.LOCK if complete else BasketState.HELD


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The ledger beside the exchange's own account; differences are ledger minus exchange."""

    cash_difference: Cash
    fee_difference: Cash
    positions_differ: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Cash, fees and positions agree to the last unit."""
        return self.cash_difference == 0 and self.fee_difference == 0 and not self.positions_differ

    def as_json(self) -> dict[str, Any]:
        """Dollars with six places, and the markets whose positions differ."""
        return {
            "cash": cash_to_wire(self.cash_difference),
            "fees": cash_to_wire(self.fee_difference),
            "positions": list(self.positions_differ),
        }


def reconcile(entries: Sequence[LedgerEntry], exchange: Mapping[str, Any]) -> Reconciliation:
    """Compare the ledger with what the exchange says of the account since the state began."""
    cash = cash_change(entries) - (sum(exchange["cash"].values()) - sum(exchange["initial_cash"].values()))
    fees = sum(entry.fee for entry in effective(entries)) - exchange["fees_paid"]
    ours: dict[str, int] = dict(net_positions(entry for entry in entries if entry.kind is not EntryKind.OPENING))
    theirs = {ticker: count for ticker, count in exchange["positions"].items() if count}
    differ = tuple(sorted(t for t in ours.keys() | theirs.keys() if ours.get(t, 0) != theirs.get(t, 0)))
    return Reconciliation(Cash(cash), Cash(fees), differ)


@dataclass(slots=True)
class Account:
    """One reading of the whole system. Cash in 1e-6 dollars, latencies in milliseconds.

    ``feed`` is what the feed that runs now says of itself; the rest counts over the whole life of the state.
    """

    seconds: float
    mode: str
    exchange: str
    feed: dict[str, Any] = field(default_factory=dict)
    feed_age_ms: int = 0  # since it said so
    candidates: int = 0
    groups: dict[str, int] = field(default_factory=dict)
    opportunities: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    live: int = 0
    expected: Cash = Cash(0)
    locked: Cash = Cash(0)
    settled: Cash = Cash(0)
    first_order_ms: list[int] = field(default_factory=list)
    alerts: int = 0
    feed_stopped: bool = False
    reconciliation: Reconciliation | None = None

    @property
    def feed_state(self) -> str:
        """The feed's connection in words."""
        if self.feed_stopped:
            return "stopped"
        if self.feed_age_ms > FEED_SILENT_MS:
            return f"SILENT for {self.feed_age_ms // 1000} s"
        return "connected" if self.feed.get("connected") else "NOT CONNECTED"


class AccountReader:
    """Reads an :class:`Account` from the system's own tables and the exchange."""

    def __init__(
        self,
        *,
        status: StatusStore,
        baskets: BasketStore,
        groups: GroupStore,
        ledger: LedgerStore,
        alerts: AlertStore,
        venue: Venue,
    ) -> None:
        self._status = status
        self._baskets = baskets
        self._groups = groups
        self._ledger = ledger
        self._alerts = alerts
        self._venue = venue

    def live_baskets(self) -> int:
        """Baskets that somebody must still drive."""
        return len(self._baskets.in_states(LIVE_STATES, EVERY_ROW))

    def reconcile(self) -> Reconciliation:
        """Compare the ledger with the exchange now."""
        entries = self._ledger.all()
        return reconcile(entries, self._venue.account(entries))

    def read(self, seconds: float) -> Account:
        """One reading; ``seconds`` is how long the system has been running."""
        counters = self._status.counters("detection")
        account = Account(
            seconds,
            mode=self._venue.mode.value,
            exchange=self._venue.name,
            feed=self._status.get("feed") or {},
            groups=dict(Counter(record.group.family.value for record in self._groups.all())),
            opportunities={
                name.removeprefix("opportunity."): count
                for name, count in sorted(counters.items())
                if name.startswith("opportunity.")
            },
            candidates=counters.get("candidates", 0),
            alerts=len(self._alerts.recent(EVERY_ROW)),
        )
        if "updated_ms" in account.feed:
            account.feed_age_ms = time.time_ns() // 1_000_000 - account.feed["updated_ms"]
        ended = self._baskets.in_states(ENDED_STATES, EVERY_ROW)
        account.live = self.live_baskets()
        account.ends = dict(Counter(ended_as(basket).value for basket in ended))
        account.ends["settled"] = sum(basket.state is BasketState.SETTLED for basket in ended)
        account.refused = dict(Counter(b.reason for b in ended if b.state is BasketState.REFUSED))
        for basket in ended:
            if ended_as(basket) is BasketState.LOCK:
                account.expected = Cash(account.expected + basket.expected_profit)
                account.locked = Cash(account.locked + (basket.locked_profit or 0))
            account.settled = Cash(account.settled + (basket.settled_profit or 0))
            if basket.first_order_ms is not None:
                account.first_order_ms.append(basket.first_order_ms - basket.candidate_ms)
        account.first_order_ms.sort()
        return account


def as_json(account: Account, aws_resources: Mapping[str, Any]) -> dict[str, Any]:
    """The one object that ``run --json`` ends with."""
    feed = account.feed
    return {
        "mode": account.mode,
        "exchange": account.exchange,
        **({"assumption": ASSUMPTION} if account.mode == Mode.PAPER.value else {}),
        "seconds": round(account.seconds),
        "frames": feed.get("frames", 0),
        "books": feed.get("books", 0),
        "groups": account.groups,
        "candidates": account.candidates,
        "opportunities": account.opportunities,
        "baskets": {
            "lock": account.ends.get("lock", 0),
            "flat": account.ends.get("flat", 0),
            "held": account.ends.get("held", 0),
            "settled": account.ends.get("settled", 0),
            "refused": account.refused,
        },
        "expected_profit": cash_to_wire(account.expected),
        "locked_profit": cash_to_wire(account.locked),
        "settled_profit": cash_to_wire(account.settled),
        "ledger_matches_exchange": account.reconciliation is not None and account.reconciliation.matches,
        "ledger_minus_exchange": None if account.reconciliation is None else account.reconciliation.as_json(),
        "aws_resources": dict(aws_resources),
        "alerts": account.alerts,
        "latency_ms": {
            "frame_to_candidate": feed.get("latency_ms") or {"p50": None, "p99": None},
            "candidate_to_first_order": {
                "p50": percentile(account.first_order_ms, 0.50),
                "p99": percentile(account.first_order_ms, 0.99),
            },
        },
    }


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def as_text(account: Account, page_url: str) -> list[str]:
    """The account for a person: one fact a line."""
    feed = account.feed
    minutes, seconds = divmod(int(account.seconds), 60)
    lag = (feed.get("latency_ms") or {}).get("p50")
    lines = [
        f"{f'{account.mode.upper()}, {money_of(account.mode)}':<67}{minutes:02d}:{seconds:02d}",
        f"page        {page_url}",
        f"feed        {account.feed_state}, {feed.get('frames', 0):,} frames, {feed.get('books', 0)} books, "
        f"frame to candidate {lag} ms (p50)",
        f"groups      {_counts(account.groups)}",
        f"candidates  {account.candidates}",
        f"proofs      {_counts(account.opportunities)}",
        f"baskets     {account.live} live; "
        + ", ".join(f"{name} {account.ends.get(name, 0)}" for name in ("lock", "flat", "held", "settled"))
        + f"; refused: {_counts(account.refused)}",
        f"profit      expected {dollars(account.expected)}, locked {dollars(account.locked)}, "
        f"settled {dollars(account.settled)}",
    ]
    lines += [f"near miss   {miss['text']}" for miss in (feed.get("misses") or [])[:3]]
    return lines
