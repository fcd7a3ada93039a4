"""Turns the exchange's settlements into ledger entries and settled baskets, and compares our books with the exchange's.

What a basket settled at is computed from the ledger alone: its own purchases, and for each of its contracts what the
market paid. A YES and a NO of one market pay a dollar between them whatever happened, which is the dollar that netting
freed, so the profits of all baskets add up to the change of the account.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketState, OrderState
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import (
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_from_wire,
    cash_to_wire,
    count_from_wire,
    count_to_wire,
    dollars,
)
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, cash_change, net_positions, settlement_entry
from kalshi_arb.execution.reconcile import is_unbooked
from kalshi_arb.ports import (
    WATCH_COMPONENT,
    Alert,
    AlertKind,
    BasketStore,
    LedgerStore,
    Notifier,
    ReservationStore,
    StatusStore,
    Trading,
)

FEED = "feed"
"""Component whose status holds what the private channels told."""

_ROWS = 1_000
_HELD_STATES = (BasketState.LOCK, BasketState.HELD)
# Settlement times are the exchange's, row times ours.
_READ_MARGIN_MS = 3_600_000
# Position and balance reads trail fills and payments by about a second.
_READ_LAG_MS = 5_000
_OVERDUE_MS = 6 * 3_600_000
ACCOUNT = "account"
"""Status component of the last comparison; its ``opening`` is the cash (dollars) that the ledger starts from."""


@dataclass(frozen=True, slots=True)
class SettleReport:
    """Markets whose payment was booked, and baskets that settled, in this run."""

    settled: int
    baskets: int


@dataclass
class _Market:
    """One market over the whole ledger."""

    yes: int = 0
    no: int = 0
    payout: Price | None = None
    revenue: Cash = Cash(0)
    settled_ms: int = 0
    holders: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def residue(self) -> int:
        """What the exchange paid beyond payout times net position (1e-6 dollars): the rounding of a cent account."""
        if self.payout is None:
            return 0
        net = self.yes - self.no
        payout = self.payout if net > 0 else ONE_DOLLAR - self.payout
        return self.revenue - payout * abs(net)

    def heir(self) -> str | None:
        """The basket whose profit takes the residue: the first that really held this market."""
        return next((basket_id for basket_id, (yes, no) in self.holders.items() if yes != no), None)


def settled_profits(entries: Iterable[LedgerEntry]) -> dict[str, Cash]:
    """Exact cash of every basket of which nothing is open any more, over the ledger's fills and settlements.

    Over all baskets these add up to ``cash_change`` of the ledger, once every market is settled.
    """
    rows = list(entries)
    markets = _markets(rows)
    profits: dict[str, int] = defaultdict(int)
    open_baskets: set[str] = set()
    for entry in rows:
        if entry.kind is EntryKind.FILL:
            profits[entry.basket_id] += entry.cash
    for market in markets.values():
        for basket_id, (yes, no) in market.holders.items():
            if market.payout is None and yes != no:
                open_baskets.add(basket_id)
                continue
            # A basket that netted itself out is paid alike whatever the market's payout.
            payout = market.payout or Price(0)
            profits[basket_id] += payout * yes + (ONE_DOLLAR - payout) * no
        heir = market.heir()
        if heir is not None:
            profits[heir] += market.residue()
    return {basket_id: Cash(profit) for basket_id, profit in profits.items() if basket_id not in open_baskets}


class Settler:
    """Runs on a schedule."""

    def __init__(
        self,
        *,
        baskets: BasketStore,
        ledger: LedgerStore,
        trading: Trading,
        reservations: ReservationStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
    ) -> None:
        self._baskets = baskets
        self._ledger = ledger
        self._trading = trading
        self._reservations = reservations
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode

    def run(self) -> SettleReport:
        """Book new settlements, settle what they complete, compare with the exchange.

        :raises ExchangeError: the exchange could not be read; what was booked before stays booked.
        """
        held = self._baskets.in_states(_HELD_STATES, _ROWS)
        # The feed keeps the stored copies of these groups' books fresh, for whoever looks at what is held.
        self._status.put(WATCH_COMPONENT, {"groups": sorted({row.group_id for row in held})})
        booked = self._book_settlements(held) if held else 0
        settled = self._settle(held) if held else 0
        self._compare()
        if booked or settled:
            self._status.count("settlement", {"markets": booked, "baskets": settled})
        return SettleReport(booked, settled)

    def _book_settlements(self, held: list[Basket]) -> int:
        since_ms = min(row.created_ms for row in held) - _READ_MARGIN_MS
        ours = {entry.ticker for entry in self._ledger.all()}
        payments = [payment for payment in self._trading.settlements(since_ms) if payment.ticker in ours]
        return self._ledger.append([settlement_entry(payment) for payment in payments]) if payments else 0

    def _settle(self, held: list[Basket]) -> int:
        entries = self._ledger.all()
        profits = settled_profits(entries)
        markets = _markets(entries)
        # A basket that still trades a market may change how its payment is shared.
        busy = {leg.ticker for row in self._baskets.in_states(LIVE_STATES, _ROWS) for leg in row.legs if row.orders}
        settled = 0
        for row in held:
            if row.basket_id not in profits:
                self._watch_overdue(row, markets)
            elif busy.isdisjoint(leg.ticker for leg in row.legs):
                self._finish(row, profits[row.basket_id])
                settled += 1
        return settled

    def _finish(self, row: Basket, profit: Cash) -> None:
        """Every step may be repeated, and none can turn out differently: the row is moved last."""
        now = self._clock.now_ms()
        self._reservations.release(row.basket_id)
        self._notifier.publish(
            Alert(
                alert_id=f"{row.basket_id}-settled",
                kind=AlertKind.SETTLEMENT,
                mode=row.mode,
                title=f"Basket settled: {dollars(profit)}",
                text=f"{row.basket_id} on {row.event_ticker}: {dollars(profit)} after settlement, "
                f"{dollars(row.locked_profit or Cash(0))} had been the worst case.",
                created_ms=now,
            )
        )
        self._baskets.save(replace(row, state=BasketState.SETTLED, settled_profit=profit, updated_ms=now))

    def _watch_overdue(self, row: Basket, markets: Mapping[str, _Market]) -> None:
        """A market that pays nothing to the account may never be listed as settled; then a person must look."""
        own = [markets[leg.ticker] for leg in row.legs if leg.ticker in markets]
        first = min((market.settled_ms for market in own if market.payout is not None), default=None)
        now = self._clock.now_ms()
        if first is None or now - first < _OVERDUE_MS:
            return
        open_tickers = ", ".join(leg.ticker for leg in row.legs if markets[leg.ticker].payout is None)
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

    # Our books against the exchange's

    def _compare(self) -> None:
        """Record whether cash and positions agree; only at a moment when nothing moves.

        A difference counts, and is told, when two runs in a row see the same one: a single one can be a read between
        two movements.
        """
        before = self._quiet_mark()
        if before is None:
            return
        balance = Cash(sum(self._trading.balance().values()))
        positions = self._trading.positions()
        told = _told(self._status.get(FEED))
        if self._quiet_mark() != before:
            return
        entries = self._ledger.all()
        own_cash, own_positions = cash_change(entries), net_positions(entries)
        last = self._status.get(ACCOUNT) or {}
        opening = cash_from_wire(last["opening"]) if "opening" in last else Cash(balance - own_cash)
        problem = _difference(Cash(opening + own_cash), balance, own_positions, positions)
        contradiction = _contradiction(told, positions, own_positions)
        self._status.put(
            ACCOUNT,
            {
                "opening": cash_to_wire(opening),
                "balance": cash_to_wire(balance),
                "ledger": cash_to_wire(own_cash),
                "matches": not problem,
                "suspicion": problem,
                "stream_suspicion": contradiction,
                "checked_ms": self._clock.now_ms(),
            },
        )
        if problem and last.get("suspicion") == problem:
            self._tell("mismatch", "The ledger does not match the exchange", problem)
        if contradiction and last.get("stream_suspicion") == contradiction:
            self._tell("stream_mismatch", "The stream and the reads of the exchange differ", contradiction)

    def _tell(self, counter: str, title: str, problem: str) -> None:
        self._status.count("settlement", {counter: 1})
        self._notifier.publish(
            Alert(
                alert_id=f"{counter.replace('_', '-')}-{hashlib.sha256(problem.encode()).hexdigest()[:16]}",
                kind=AlertKind.ERROR,
                mode=self._mode,
                title=title,
                text=problem,
                created_ms=self._clock.now_ms(),
            )
        )

    def _quiet_mark(self) -> tuple[object, ...] | None:
        """A mark of the present state of our books, or None while something is under way."""
        live = self._baskets.in_states(LIVE_STATES, _ROWS)
        for row in live:
            if any(order.state in (OrderState.SENT, OrderState.UNKNOWN) or is_unbooked(order) for order in row.orders):
                return None
        entries = self._ledger.all()
        last_ms = max((entry.created_ms for entry in entries), default=0)
        if self._trading.user_data_ms() < last_ms + _READ_LAG_MS:
            return None
        return (len(entries), *((row.basket_id, row.revision) for row in live))


def _markets(entries: Iterable[LedgerEntry]) -> dict[str, _Market]:
    markets: dict[str, _Market] = defaultdict(_Market)
    for entry in entries:
        market = markets[entry.ticker]
        if entry.kind is EntryKind.SETTLEMENT:
            market.payout, market.revenue, market.settled_ms = entry.price, entry.cash, entry.created_ms
        elif entry.outcome is Outcome.YES:
            market.yes += entry.count
            market.holders[entry.basket_id][0] += entry.count
        else:
            market.no += entry.count
            market.holders[entry.basket_id][1] += entry.count
    return markets


def _difference(own_cash: Cash, cash: Cash, own_positions: Mapping[str, Count], positions: Mapping[str, Count]) -> str:
    """In words, what differs; empty when nothing does."""
    problems = []
    if own_cash != cash:
        problems.append(f"cash is {dollars(cash)} at the exchange and {dollars(own_cash)} by the ledger")
    for ticker in sorted(set(own_positions) | set(positions)):
        ours, theirs = own_positions.get(ticker, Count(0)), positions.get(ticker, Count(0))
        if ours != theirs:
            problems.append(f"{ticker} is {count_to_wire(theirs)} there and {count_to_wire(ours)} here")
    return "; ".join(problems)


def _told(feed: Mapping[str, object] | None) -> dict[str, Count]:
    """Positions that the private channels told the feed, the last word for each market."""
    private = feed.get("private") if feed is not None else None
    positions = private.get("positions") if isinstance(private, dict) else None
    return (
        {ticker: count_from_wire(count) for ticker, count in positions.items()} if isinstance(positions, dict) else {}
    )


def _contradiction(told: Mapping[str, Count], held: Mapping[str, Count], own: Mapping[str, Count]) -> str:
    """In words, where the stream told another position than the reads hold; empty when nowhere.

    The stream is a cross-check only: what it did not tell proves nothing, and the last word on a market that neither
    the exchange nor the ledger holds is history.
    """
    return "; ".join(
        f"the stream told {ticker} {count_to_wire(count)}, reads hold {count_to_wire(held.get(ticker, Count(0)))}"
        for ticker, count in sorted(told.items())
        if (ticker in held or ticker in own) and count != held.get(ticker, 0)
    )
