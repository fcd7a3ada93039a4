"""Everything a basket is judged on, read once: what people set, what is stored, what the exchange says now.

A fact that cannot be read is None, and why it could not is a finding. So one silence does not hide what else is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import Basket, Finding
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ExchangeError, KalshiArbError
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import Cash, cash_from_wire
from kalshi_arb.domain.positions import replay
from kalshi_arb.domain.reservation_keys import CASH_KEY
from kalshi_arb.execution.arming import Terms
from kalshi_arb.execution.audit import ACCOUNT, RETURNED
from kalshi_arb.execution.control import buying_stopped
from kalshi_arb.execution.running import RunningJournal
from kalshi_arb.ports import GroupStore, LedgerStore, MarketState, ReservationStore, StatusStore, Trading, Venue
from kalshi_arb.risk.account import daily_loss, locked_cost
from kalshi_arb.risk.limits import Limits
from kalshi_arb.risk.refusals import Refusal, finding
from kalshi_arb.settings import Mode

T = TypeVar("T")

EXECUTION = "execution"
"""Component whose counters tell how many baskets have traded."""


@dataclass(frozen=True, slots=True)
class Closure:
    """When the exchange next stops trading by its schedule (UTC milliseconds); None when nothing is announced."""

    closes_ms: int | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why nothing may be bought, as :func:`kalshi_arb.execution.control.buying_stopped` says; None when it may."""

    reason: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """What baskets that ended today have lost, what the contracts that are held have cost, and how much of that came
    back across the markets of an event (1e-6 dollars)."""

    lost_today: Cash
    locked: Cash
    returned: Cash


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one moment; None for what could not be read, said in ``missing``.

    ``record`` is a sequence of the group's record or of nothing, since a group that is gone is a fact too. ``traded``
    counts baskets that have traded real money, None where none is at stake; ``fees`` and ``states`` are by ticker,
    ``balance`` is cash by shard, and ``returns`` by reservation key how often cash had been given back on the group's
    shards before that was read.
    """

    now_ms: int
    stop: Stop | None
    limits: Limits | None
    record: Sequence[GroupRecord] | None
    held: Held | None
    traded: int | None
    fees: Mapping[str, FeeSchedule] | None
    states: Mapping[str, MarketState] | None
    closure: Closure | None
    returns: Mapping[str, int] | None
    balance: Mapping[int, Cash] | None
    books: Mapping[str, BookSnapshot] | None
    missing: tuple[Finding, ...]


class FactReader:
    """Reads the facts about a basket.

    :param limits: reads the operator's limits
    :param terms: what is deployed, for which an arming must have been made; None where nothing needs one
    :param netting: whether the account gets collateral back across the markets of an event
    """

    def __init__(
        self,
        *,
        groups: GroupStore,
        ledger: LedgerStore,
        market_data: Venue,
        trading: Trading,
        reservations: ReservationStore,
        status: StatusStore,
        clock: Clock,
        mode: str,
        limits: Callable[[], Limits],
        terms: Callable[[], Terms | None],
        netting: Netting,
    ) -> None:
        self._groups = groups
        self._journal = RunningJournal(ledger, clock)
        self._market_data = market_data
        self._trading = trading
        self._reservations = reservations
        self._status = status
        self._clock = clock
        self._mode = mode
        self._limits = limits
        self._terms = terms
        self._netting = netting

    def read(self, row: Basket) -> Facts:
        """The facts about a basket; the exchange's books last, since they change fastest."""
        missing: list[Finding] = []

        def known(what: str, read: Callable[[], T]) -> T | None:
            try:
                return read()
            except KalshiArbError as error:
                code = Refusal.EXCHANGE if isinstance(error, ExchangeError) else Refusal.UNREADABLE
                missing.append(finding(code, f"{what} could not be read: {error}"))
                return None

        tickers = list(dict.fromkeys(leg.ticker for leg in row.legs))
        record = known("the group", lambda: self._record(row))
        events = _events(record, tickers)
        return Facts(
            stop=known("the stops", self._stop),
            limits=known("the limits", self._limits),
            record=record,
            held=known("the ledger", self._held),
            traded=known("the count of baskets", self._traded) if self._mode == Mode.LIVE.value else None,
            fees=known("the fees", lambda: self._fees(events)),
            states=known("the markets", lambda: self._market_data.market_states(tickers)),
            closure=known("the exchange's schedule", self._closure),
            # Before the balance: whoever gives cash back after this is noticed when it is reserved.
            returns=known("the reservations", lambda: self._returns(record)),
            balance=known("the balance", lambda: self._trading.balance()),
            books=known("the books", lambda: self._market_data.orderbooks(tickers)),
            missing=tuple(missing),
            now_ms=self._clock.now_ms(),
        )

    def _stop(self) -> Stop:
        return Stop(buying_stopped(self._status, self._clock.now_ms(), self._mode, self._terms()))

    def _record(self, row: Basket) -> Sequence[GroupRecord]:
        record = self._groups.get(row.group_id)
        return () if record is None else (record,)

    def _held(self) -> Held:
        books = replay(self._journal.entries())
        return Held(daily_loss(books, self._clock.now_ms()), locked_cost(books), self._returned())

    def _returned(self) -> Cash:
        """As the last comparison of the books found it, which every basket's end asks for: which events the account's
        other contracts are of is known to the exchange alone, and a judgement must not wait for that."""
        if self._netting is Netting.OFF:
            return Cash(0)
        return cash_from_wire(str((self._status.get(ACCOUNT) or {}).get(RETURNED, "0")))

    def _traded(self) -> int:
        counters = self._status.counters(EXECUTION)
        return sum(count for name, count in counters.items() if name.startswith("end."))

    def _fees(self, events: Sequence[str]) -> dict[str, FeeSchedule]:
        return {ticker: fees for event in events for ticker, fees in self._market_data.market_fees(event).items()}

    def _returns(self, record: Sequence[GroupRecord] | None) -> dict[str, int]:
        return self._reservations.returns(
            sorted({f"{CASH_KEY}{market.shard}" for one in record or () for market in one.group.markets})
        )

    def _closure(self) -> Closure:
        return Closure(self._market_data.closes_ms(self._clock.now_ms()))


def _events(record: Sequence[GroupRecord] | None, tickers: Sequence[str]) -> list[str]:
    """The events of those markets that the group knows."""
    return sorted({m.event_ticker for one in record or () for m in one.group.markets if m.ticker in tickers})
