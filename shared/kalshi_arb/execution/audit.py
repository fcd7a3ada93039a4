"""Holds our books against the exchange's account: orders, fills, payments, cash by shard, positions and fees.

On schedule, and soon after each basket. Only at a moment when nothing of ours moves, and a difference counts only when
every run in a row finds the same one for longer than reads trail: a single one can be a read between two movements, and
two runs may be under way at once. Then it stops new baskets through the breaker and tells a person. It is repaired by
recording what the exchange says, as entries of the journal that everybody can see.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, OPEN_ORDER_STATES
from kalshi_arb.domain.collateral import EventCollateral, no_tickers, returned_by_shard
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash, Count, cash_to_wire, count_from_wire, count_to_wire
from kalshi_arb.domain.portfolio import (
    AccountOrder,
    EntryKind,
    LedgerEntry,
    cash_by_shard,
    cash_entry,
    net_positions,
    opening_position,
)
from kalshi_arb.execution.difference_lines import difference_lines
from kalshi_arb.execution.differences import Difference, DifferenceKind, KnownOrder, Told, differences, noted
from kalshi_arb.execution.reconcile import is_unbooked
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.ports import (
    AccountReads,
    Alert,
    AlertKind,
    BasketStore,
    CollateralReads,
    LedgerStore,
    Notifier,
    StatusStore,
)
from kalshi_arb.risk.breaker import Breaker, Cause

ACCOUNT = "account"
"""Status component of the last comparison."""
RETURNED = "returned"
"""Field of it: collateral that has come back and is in both sums (dollars); only where netting is on."""
FEED = "feed"
"""Component whose status holds what the private channels told."""
OPENED = "opened"
"""The entry that says that everything the account held when the journal began is recorded."""
WINDOW_MS = 48 * 3_600_000
"""How far back single orders and fills are compared on schedule; what is older shows in cash and positions."""

LONGEST_SILENCE_MS = 15 * 60_000
"""After this long without a comparison a person is told."""

_ROWS = 1_000
# Position and balance reads trail fills and payments by about a second.
_READ_LAG_MS = 5_000
_MOST_TOLD = 10


@dataclass(frozen=True, slots=True)
class _Reading:
    """What both sides say at one quiet moment."""

    entries: list[LedgerEntry]
    told: Told
    found: list[Difference]


class Auditor:
    """Runs on a schedule, and when a person repairs.

    :param window_ms: see ``WINDOW_MS``
    :param collateral: what events give back; None where nothing ever comes back, since netting is off
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        account: AccountReads,
        status: StatusStore,
        notifier: Notifier,
        breaker: Breaker,
        clock: Clock,
        mode: str,
        window_ms: int = WINDOW_MS,
        collateral: CollateralReads | None = None,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._journal = RunningJournal(ledger, clock)
        self._account = account
        self._status = status
        self._notifier = notifier
        self._breaker = breaker
        self._clock = clock
        self._mode = mode
        self._window_ms = window_ms
        self._collateral = collateral

    def run(self, *, payments_booked: bool = True) -> list[Difference] | None:
        """Compare and record the outcome; None when something moved, so that nothing could be compared.

        :param payments_booked: False where nobody has just looked for payments to book: one that is not in the journal
            yet is then such a movement
        :raises ExchangeError: the exchange could not be read; nothing is concluded.
        """
        began_ms = self._clock.now_ms()
        stream = _stream_positions(self._status.get(FEED))
        reading = self._read(self._window_ms)
        last = self._status.get(ACCOUNT) or {}
        if reading is None:
            self._watch_silence(last)
            return None
        if not payments_booked and any(one.kind is DifferenceKind.SETTLEMENT for one in reading.found):
            return None
        problem = "; ".join(map(str, reading.found))
        contradiction = _contradiction(stream, reading.told.positions, net_positions(reading.entries))
        now = self._clock.now_ms()
        suspected_ms = _since(last, "suspicion_id", _name(problem), now)
        stream_suspected_ms = _since(last, "stream_suspicion", contradiction, now)
        events = reading.told.collateral
        returned = sum(returned_by_shard(reading.entries, events or {}).values())
        self._status.put(
            ACCOUNT,
            {
                "balance": cash_to_wire(Cash(sum(reading.told.cash.values()))),
                "ledger": cash_to_wire(Cash(sum(cash_by_shard(reading.entries).values()) + returned)),
                **({} if events is None else {RETURNED: cash_to_wire(Cash(returned))}),
                "matches": not problem,
                "suspicion": _shortly(reading.found),
                "suspicion_id": _name(problem),
                "suspicion_id_ms": suspected_ms,
                "stream_suspicion": contradiction,
                "stream_suspicion_ms": stream_suspected_ms,
                "checked_ms": now,
            },
        )
        # What was first seen then may have been a movement under way; what is read from now on is not.
        settled_ms = began_ms - _READ_LAG_MS
        if problem and suspected_ms <= settled_ms:
            self._breaker.note(Cause.DIFFERENCES, _name(problem))
            self._tell("mismatch", "The journal does not match the exchange", problem, _listed(reading.found))
        if contradiction and stream_suspected_ms <= settled_ms:
            self._tell(
                "stream_mismatch", "The stream and the reads of the exchange differ", contradiction, contradiction
            )
        return reading.found

    def repair(self) -> list[Difference] | None:
        """Record what the exchange says wherever it differs, looking back to the journal's beginning; returns what was
        found, None when something moved. What has no repair stays and is found again.

        :raises ExchangeError: the exchange could not be read; nothing was recorded.
        """
        reading = self._read(None)
        if reading is None:
            return None
        self._ledger.append([entry for difference in reading.found for entry in difference.repair])
        self._journal.renew()
        return reading.found

    # Reading

    def _entries(self, window_ms: int | None) -> list[LedgerEntry]:
        """What a comparison that looks back so far has to know; all of it, where it looks back to the beginning."""
        return self._ledger.all() if window_ms is None else self._journal.entries()

    def _read(self, window_ms: int | None) -> _Reading | None:
        entries = self._entries(window_ms)
        before = self._quiet_mark(entries)
        if before is None:
            return None
        cash, positions = self._account.balance(), self._account.positions()
        events = self._events(entries, positions)
        if not any(entry.entry_id == OPENED for entry in entries):
            # What the journal begins with is never compared again: nothing may have moved while it was read.
            if self._quiet_mark(self._entries(window_ms)) != before:
                return None
            entries = self._opened(entries, cash, positions, events or {})
        opened_ms = next(entry.created_ms for entry in entries if entry.entry_id == OPENED)
        since_ms = opened_ms if window_ms is None else max(opened_ms, self._clock.now_ms() - window_ms)
        told = Told(
            since_ms,
            self._account.account_orders(since_ms),
            self._account.account_fills(since_ms),
            self._account.settlements(since_ms),
            cash,
            positions,
            events,
        )
        found = differences(entries, told, self._own_orders(told.orders), self._clock.now_ms())
        return None if self._quiet_mark(self._entries(window_ms)) != before else _Reading(entries, told, found)

    def _events(
        self, entries: list[LedgerEntry], positions: Mapping[str, Count]
    ) -> Mapping[str, EventCollateral] | None:
        """The events of every market of which either side holds NO; None where nothing ever comes back."""
        if self._collateral is None:
            return None
        tickers = sorted({*no_tickers(net_positions(entries)), *no_tickers(positions)})
        return self._collateral.collateral(tickers) if tickers else {}

    def _opened(
        self,
        entries: list[LedgerEntry],
        cash: Mapping[int, Cash],
        positions: Mapping[str, Count],
        events: Mapping[str, EventCollateral],
    ) -> list[LedgerEntry]:
        """The journal, which at the first comparison gets what the account held beside what we know ourselves. One
        that got a part of it gets the rest."""
        now = self._clock.now_ms()
        ours = [entry for entry in entries if entry.kind is not EntryKind.OPENING]
        held = net_positions(ours)
        found = [
            opening_position(ticker, Count(positions.get(ticker, 0) - held.get(ticker, 0)), now)
            for ticker in sorted(positions.keys() | held.keys())
            if positions.get(ticker, 0) != held.get(ticker, 0)
        ]
        own, back = cash_by_shard([*ours, *found]), returned_by_shard([*ours, *found], events)
        self._ledger.append(
            [
                cash_entry(
                    EntryKind.OPENING, f"opening-cash-{shard}", shard,
                    Cash(amount - own.get(shard, 0) - back.get(shard, 0)), now, "cash when the journal began",
                )
                for shard, amount in sorted(cash.items())
            ]
            + found
        )  # fmt: skip
        # Only when all of it is there.
        self._ledger.append([noted(OPENED, "", now, "the journal began with what the account held")])
        return self._journal.entries()

    def _own_orders(self, orders: Iterable[AccountOrder]) -> dict[str, KnownOrder]:
        """Those of these orders that a basket's row holds, by client order id."""
        wanted = {order.client_order_id for order in orders}
        known: dict[str, KnownOrder] = {}
        for basket_id in sorted({client_id.rsplit("-", 2)[0] for client_id in wanted if client_id}):
            row = self._baskets.get(basket_id)
            for order in () if row is None else row.orders:
                if row is not None and order.request.client_order_id in wanted and order.leg < len(row.terms):
                    known[order.request.client_order_id] = KnownOrder(
                        basket_id, row.terms[order.leg].fees, Precision(row.certificate.precision)
                    )
        return known

    def _quiet_mark(self, entries: Sequence[LedgerEntry]) -> tuple[object, ...] | None:
        """A mark of the present state of our books, or None while something is under way."""
        live = self._baskets.in_states(LIVE_STATES, _ROWS)
        for row in live:
            if any(order.state in OPEN_ORDER_STATES or is_unbooked(order) for order in row.orders):
                return None
        moved = [entry for entry in entries if entry.kind in (EntryKind.FILL, EntryKind.SETTLEMENT)]
        last_ms = max((entry.created_ms for entry in moved), default=0)
        if self._account.user_data_ms() < last_ms + _READ_LAG_MS:
            return None
        return (frozenset(entry.entry_id for entry in moved), *((row.basket_id, row.revision) for row in live))

    # Telling

    def _watch_silence(self, last: Mapping[str, object]) -> None:
        """Baskets that follow each other without a pause must not keep the books from being compared unseen. The next
        comparison begins a new account, without the moment from which something moved."""
        now, since_ms = self._clock.now_ms(), last.get("moving_since_ms")
        if not isinstance(since_ms, int):
            self._status.put(ACCOUNT, {**last, "moving_since_ms": now})
        elif (silent_ms := now - since_ms) > LONGEST_SILENCE_MS:
            text = (
                f"For {silent_ms // 60_000} minutes orders or reads of the exchange never came to rest, so the journal "
                "could not be compared. See `kalshi-arb status`; `kalshi-arb stop` makes it quiet."
            )
            self._tell("uncompared", "The journal has not been compared with the exchange", str(since_ms), text)

    def _tell(self, counter: str, title: str, problem: str, text: str) -> None:
        self._status.count("settlement", {counter: 1})
        self._notifier.publish(
            Alert(
                alert_id=f"{counter.replace('_', '-')}-{_name(problem)}",
                kind=AlertKind.ERROR,
                mode=self._mode,
                title=title,
                text=text,
                created_ms=self._clock.now_ms(),
            )
        )


def _name(problem: str) -> str:
    return hashlib.sha256(problem.encode()).hexdigest()[:16]


def _since(last: Mapping[str, object], key: str, found: str, now_ms: int) -> int:
    """Since when every run has found this (UTC milliseconds): now, unless the last one did."""
    since_ms = last.get(f"{key}_ms")
    return since_ms if last.get(key) == found and isinstance(since_ms, int) else now_ms


def _shortly(found: Sequence[Difference]) -> str:
    """The differences for a person, as many as can be read."""
    told = difference_lines(found)
    more = [f"and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    return "; ".join(told[:_MOST_TOLD] + more)


def _listed(found: Sequence[Difference]) -> str:
    """The differences for a person, with what to do."""
    lost = [difference for difference in found if not difference.repair]
    todo = (
        "Nothing new is bought. Find out why, then record what the exchange says with `kalshi-arb journal repair`"
        + (f"; {len(lost)} of them need a person first" if lost else "")
        + "."
    )
    return f"{_shortly(found)}. {todo}"


def _stream_positions(feed: Mapping[str, object] | None) -> dict[str, Count]:
    """Positions that the private channels told the feed, the last word for each market."""
    private = feed.get("private") if feed is not None else None
    positions = private.get("positions") if isinstance(private, dict) else None
    return (
        {ticker: count_from_wire(count) for ticker, count in positions.items()} if isinstance(positions, dict) else {}
    )


def _contradiction(stream: Mapping[str, Count], held: Mapping[str, Count], own: Mapping[str, Count]) -> str:
    """In words, where the stream told another position than the reads hold; empty when nowhere.

    The stream is a cross-check only: what it did not tell proves nothing, and the last word on a market that neither
    the exchange nor the journal holds is history.
    """
    return "; ".join(
        f"the stream told {ticker} {count_to_wire(count)}, reads hold {count_to_wire(held.get(ticker, Count(0)))}"
        for ticker, count in sorted(stream.items())
        if (ticker in held or ticker in own) and count != held.get(ticker, 0)
    )
