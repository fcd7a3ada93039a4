"""Turns the exchange's results and payments into journal entries and settled baskets.

A result is provisional until it is paid: it may be disputed and amended, and every change is recorded. What a basket
settled at is computed from the journal alone: its own purchases, and for each of its contracts what the market paid. A
YES and a NO of one market pay a dollar between them whatever happened, which is the dollar that netting freed, so the
profits of all baskets add up to the change of the account.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketState
from kalshi_arb.domain.errors import ExplanationError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.journal import anchors_due, day_of, unsealed
from kalshi_arb.domain.market import RESULT_STATUSES
from kalshi_arb.domain.money import Cash, Count, complement, dollars, notional
from kalshi_arb.domain.portfolio import (
    EntryKind,
    LedgerEntry,
    Settlement,
    decision_entry,
    effective,
    net_positions,
    result_entry,
    settlement_entry,
)
from kalshi_arb.domain.positions import replay, settled_profits
from kalshi_arb.execution.audit import Auditor
from kalshi_arb.execution.explain import explain, own_fills
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.ports import (
    WATCH_COMPONENT,
    AccountReads,
    Alert,
    AlertKind,
    BasketStore,
    LedgerStore,
    MarketState,
    MarketTerms,
    Notifier,
    ReservationStore,
    StatusStore,
)

JOURNAL = "journal"
"""Status component that says up to which day (counted from 1970) the journal is anchored."""

_ROWS = 1_000
_HELD_STATES = (BasketState.LOCK, BasketState.HELD)
# Settlement times are the exchange's, row times ours.
_READ_MARGIN_MS = 3_600_000
_OVERDUE_MS = 6 * 3_600_000
# After a day is over, writers that are late or whose clocks run behind still get their entries under its anchor.
_ANCHOR_MARGIN_MS = 3_600_000
_CENT = 10_000


@dataclass(frozen=True, slots=True)
class SettleReport:
    """Markets whose payment was booked, and baskets that settled, in this run."""

    settled: int
    baskets: int


class Settler:
    """Runs on a schedule.

    :param precision: the account's balance grid, which a payment is rounded down to
    """

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        account: AccountReads,
        market_data: MarketTerms,
        auditor: Auditor,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
        precision: Precision,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._journal = RunningJournal(ledger, clock)
        self._account = account
        self._market_data = market_data
        self._auditor = auditor
        self._reservations = reservations
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode
        self._precision = precision

    def run(self) -> SettleReport:
        """Book new results and payments, settle what they complete, anchor the days that are over, and compare with
        the exchange.

        :raises ExchangeError: the exchange could not be read; what was booked before stays booked.
        """
        held = self._baskets.in_states(_HELD_STATES, _ROWS)
        # The feed keeps the stored copies of these groups' books fresh, for whoever looks at what is held.
        self._status.put(WATCH_COMPONENT, {"groups": sorted({row.group_id for row in held})})
        booked = self._book(held) if held else 0
        settled = self._settle(held) if held else 0
        self._anchor()
        self._auditor.run()
        self._journal.carry()
        if booked or settled:
            self._status.count("settlement", {"markets": booked, "baskets": settled})
        return SettleReport(booked, settled)

    def _book(self, held: Sequence[Basket]) -> int:
        """Results as they change, and payments once; returns how many payments were new."""
        entries = self._journal.entries()
        positions = net_positions(entries)
        unpaid = sorted({ticker for (_, ticker), one in replay(entries).virtual.items() if one.count})
        states = self._market_data.market_states(unpaid) if unpaid else {}
        now = self._clock.now_ms()
        self._ledger.append(_new_results(entries, states, now))
        since_ms = min(row.created_ms for row in held) - _READ_MARGIN_MS
        ours = {entry.ticker for entry in entries if entry.kind is EntryKind.FILL}
        paid = {entry.ticker for entry in effective(entries) if entry.kind is EntryKind.SETTLEMENT}
        payments = [
            exact_payment(payment, states.get(payment.ticker), positions.get(payment.ticker, Count(0)), self._precision)
            for payment in self._account.settlements(since_ms)
            if payment.ticker in ours and payment.ticker not in paid
        ]
        return self._ledger.append(payments + unlisted_payments(entries, states, now))

    def _settle(self, held: Sequence[Basket]) -> int:
        entries = self._journal.entries()
        profits = settled_profits(entries)
        # A basket that still trades a market may change how its payment is shared.
        busy = {leg.ticker for row in self._baskets.in_states(LIVE_STATES, _ROWS) for leg in row.legs if row.orders}
        settled = 0
        for row in held:
            if row.basket_id not in profits:
                self._watch_overdue(row, entries)
            elif busy.isdisjoint(leg.ticker for leg in row.legs):
                self._finish(row, profits[row.basket_id], entries)
                settled += 1
        return settled

    def _finish(self, row: Basket, profit: Cash, entries: Sequence[LedgerEntry]) -> None:
        """Every step may be repeated, and none can turn out differently: the row is moved last."""
        now = self._clock.now_ms()
        after = replace(row, state=BasketState.SETTLED, settled_profit=profit, updated_ms=now)
        why = explained(after, entries)
        self._ledger.append([decision_entry("settled", row.basket_id, row.certificate.seal, why, now)])
        self._reservations.release(row.basket_id)
        self._notifier.publish(
            Alert(
                alert_id=f"{row.basket_id}-settled",
                kind=AlertKind.SETTLEMENT,
                mode=row.mode,
                title=f"Basket settled: {dollars(profit)}",
                text=f"{row.basket_id} on {row.event_ticker}: {why}.",
                created_ms=now,
            )
        )
        self._baskets.save(after)

    def _watch_overdue(self, row: Basket, entries: Sequence[LedgerEntry]) -> None:
        """A market that pays nothing to the account may never be listed as settled; then a person must look."""
        paid = {entry.ticker: entry.created_ms for entry in effective(entries) if entry.kind is EntryKind.SETTLEMENT}
        first = min((paid[leg.ticker] for leg in row.legs if leg.ticker in paid), default=None)
        now = self._clock.now_ms()
        if first is None or now - first < _OVERDUE_MS:
            return
        open_tickers = ", ".join(leg.ticker for leg in row.legs if leg.ticker not in paid)
        self._notifier.publish(
            Alert(
                alert_id=f"{row.basket_id}-overdue",
                kind=AlertKind.ERROR,
                mode=self._mode,
                title=f"Basket {row.basket_id} is settled in part only",
                text=f"The exchange lists no settlement of {open_tickers}, {(now - first) // 3_600_000} h after the "
                "basket's first.",
                created_ms=now,
            )
        )

    def _anchor(self) -> None:
        """Once a day, since it takes a reading of the whole journal; the state carried forward is made anew from it."""
        now = self._clock.now_ms()
        today = day_of(now - _ANCHOR_MARGIN_MS)
        if (self._status.get(JOURNAL) or {}).get("anchored_before") == today:
            return
        rows, _ = self._ledger.rows()
        records = [(unsealed(row), row.seal) for row in rows]
        self._ledger.append(anchors_due(records, now, _ANCHOR_MARGIN_MS))
        self._journal.renew()
        self._status.put(JOURNAL, {"anchored_before": today})


def exact_payment(payment: Settlement, state: MarketState | None, position: Count, precision: Precision) -> LedgerEntry:
    """The entry of a payment to 1e-6 dollars.

    The listing of payments is in whole cents, cut (Kalshi API documentation, Get Settlements), the market's own result
    is exact. Where they agree on the cents the payment is the result times the net position, rounded down to the
    account's balance grid, and what is lost to that is shown as a fee; otherwise it is booked as it was told.
    """
    payout = None if state is None else state.yes_payout
    if payout is None or payout // 100 != payment.yes_payout // 100:
        return settlement_entry(payment)
    exact = notional(payout if position > 0 else complement(payout), Count(abs(position)))
    paid = Cash(exact // precision * precision)
    if payment.revenue not in (paid, paid // _CENT * _CENT):
        return settlement_entry(payment)
    return settlement_entry(replace(payment, yes_payout=payout, revenue=paid), rounding=Cash(exact - paid))


def unlisted_payments(
    entries: Sequence[LedgerEntry], states: Mapping[str, MarketState], now_ms: int
) -> list[LedgerEntry]:
    """Payments of nothing, for finalized markets of which baskets hold YES and NO that net each other whole: the
    exchange has paid those pairs already and lists no settlement for them."""
    positions = net_positions(entries)
    shared = {ticker for (_, ticker), one in replay(entries).virtual.items() if one.count and ticker not in positions}
    return [
        settlement_entry(Settlement(ticker, state.yes_payout, Cash(0), now_ms), note="no net position was left to pay")
        for ticker, state in sorted(states.items())
        if ticker in shared and state.yes_payout is not None
    ]


def explained(row: Basket, entries: Sequence[LedgerEntry]) -> str:
    """Expected, locked and settled profit of a basket, and every cause of the differences between them."""
    profit, locked = row.settled_profit or Cash(0), row.locked_profit or Cash(0)
    text = f"{dollars(profit)} after settlement, {dollars(locked)} had been the worst case"
    try:
        told = explain(row, own_fills(row.basket_id, entries))
    except ExplanationError as error:
        # What was repaired by hand does not come from the plan: it is said, and the sum is still the journal's.
        return f"{text}; not explained: {error}"
    parts = {item.part: told.total(item.part) for item in told.items}
    causes = ", ".join(f"{part.value} {dollars(amount)}" for part, amount in parts.items()) or "nothing"
    return f"{text}, {dollars(told.expected)} expected; the difference is {causes}"


def _new_results(entries: Sequence[LedgerEntry], states: Mapping[str, MarketState], now_ms: int) -> list[LedgerEntry]:
    """What markets are said to pay where that is not the last thing recorded."""
    last: dict[str, tuple[int, str, int]] = {}
    for entry in entries:
        if entry.kind is EntryKind.RESULT:
            number = int(entry.entry_id.rpartition("-")[2])
            last[entry.ticker] = max((number, entry.note, entry.price), last.get(entry.ticker, (-1, "", 0)))
    new = []
    for ticker, state in sorted(states.items()):
        if state.status not in RESULT_STATUSES or state.result is None:
            continue
        number, status, payout = last.get(ticker, (-1, "", 0))
        if (status, payout) != (state.status.value, state.result):
            new.append(result_entry(ticker, number + 1, state.status.value, state.result, now_ms))
    return new
