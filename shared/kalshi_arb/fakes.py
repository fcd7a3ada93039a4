"""In-memory siblings of every port, for tests and tools. They keep the promises of ``ports`` exactly, and nothing else.

:class:`FakeExchange` is a small exchange with exact fees, netting and settlement, and switches for what real ones do
to us: lost answers, refusals, partial fills, late reads. It needs no network and no thread.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, unique

from kalshi_arb.clock import Clock
from kalshi_arb.domain.basket import ENDED_STATES, Basket, BasketState, check_move, lease_mark_ms
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import ConflictError, OvertakenError
from kalshi_arb.domain.fees import FeeSchedule, Precision, charge, trade_fee
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry, RecordChange, accept, end, succeed
from kalshi_arb.domain.journal import Head, Record, Sealed, chain_of, extended, in_order, start_of, unsealed
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import Market, MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.domain.paper import PaperAccount, PaperOrder
from kalshi_arb.domain.portfolio import (
    AccountOrder,
    Fill,
    LedgerEntry,
    OrderReport,
    OrderRequest,
    Settlement,
    TimeInForce,
)
from kalshi_arb.domain.reservation_keys import CASH_KEY
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.errors import RejectedError, RetryableError, UnknownOutcomeError
from kalshi_arb.metrics_names import Metric
from kalshi_arb.ports import Alert, AlertDigest, GroupChanges, Holdings, Lease, ListingChanges, MarketState


class ManualClock:
    """Time that moves only when told to, or by sleeping."""

    def __init__(self, now_ms: int = 1_750_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """UTC milliseconds."""
        return self._now_ms

    def sleep(self, seconds: float) -> None:
        """Advance at once."""
        self.advance(round(seconds * 1000))

    def advance(self, milliseconds: int) -> None:
        """Move forward."""
        self._now_ms += milliseconds


class MemoryBookStore:
    """A ``BookStore``."""

    def __init__(self) -> None:
        self.books: dict[str, BookSnapshot] = {}

    def put(self, book: BookSnapshot) -> bool:
        """Store unless a newer version is there."""
        known = self.books.get(book.ticker)
        if known is not None and known.version > book.version:
            return False
        self.books[book.ticker] = book
        return True

    def get(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """The stored copies."""
        return {ticker: self.books[ticker] for ticker in tickers if ticker in self.books}


class MemoryGroupStore:
    """A ``GroupStore``, filled at first with ``groups`` that are all active."""

    def __init__(self, groups: Sequence[Group] = ()) -> None:
        self._records: dict[str, GroupRecord] = {}
        self._steps: list[frozenset[str]] = []
        self._history: list[HistoryEntry] = []
        self.hold(groups)

    def hold(self, groups: Sequence[Group]) -> None:
        """Make these the accepted groups, all active: a shorthand for tests."""
        wanted = {group.group_id: group for group in groups}
        changes = [end(record, (), now_ms=0) for one, record in self._records.items() if one not in wanted]
        for group in wanted.values():
            record = self._records.get(group.group_id)
            if record is None:
                changes.append(accept(group, read_ms=0, now_ms=0))
            elif record.group != group:
                changes.append(succeed(record, group, (), read_ms=0, now_ms=0))
        self.write(changes)

    def version(self) -> int:
        """Rises with every change."""
        return len(self._steps)

    def changes_since(self, version: int) -> GroupChanges | None:
        """What changed after a version."""
        if not 0 <= version <= len(self._steps):
            return None
        return GroupChanges(len(self._steps), frozenset().union(*self._steps[version:]))

    def all(self) -> list[GroupRecord]:
        """Every accepted group."""
        return list(self._records.values())

    def get(self, group_id: str) -> GroupRecord | None:
        """One group."""
        return self._records.get(group_id)

    def get_many(self, group_ids: Sequence[str]) -> list[GroupRecord]:
        """Those of these that are accepted."""
        return [self._records[group_id] for group_id in group_ids if group_id in self._records]

    def write(self, changes: Sequence[RecordChange]) -> frozenset[str]:
        """Carry out each step whose ``before`` is still what is stored."""
        written = set()
        for change in changes:
            stored = self._records.get(change.group_id)
            if (stored and stored.revision) != (change.before and change.before.revision):
                continue
            if change.after is None:
                del self._records[change.group_id]
            else:
                self._records[change.group_id] = change.after
            self._history.append(change.entry)
            written.add(change.group_id)
        if written:
            self._steps.append(frozenset(written))
        return frozenset(written)

    def history(self, group_id: str, limit: int) -> list[HistoryEntry]:
        """Newest first."""
        return [entry for entry in reversed(self._history) if entry.group_id == group_id][:limit]


class MemoryOpportunityStore:
    """An ``OpportunityStore``."""

    def __init__(self) -> None:
        self._opportunities: dict[str, Opportunity] = {}

    def put(self, opportunity: Opportunity) -> bool:
        """Store once."""
        if opportunity.opportunity_id in self._opportunities:
            return False
        self._opportunities[opportunity.opportunity_id] = opportunity
        return True

    def get(self, opportunity_id: str) -> Opportunity | None:
        """One opportunity."""
        return self._opportunities.get(opportunity_id)

    def recent(self, limit: int) -> list[Opportunity]:
        """Newest first."""
        return sorted(self._opportunities.values(), key=lambda found: -found.found_ms)[:limit]


class MemoryBasketStore:
    """A ``BasketStore``. It also refuses moves between states that the domain forbids."""

    def __init__(self) -> None:
        self._baskets: dict[str, Basket] = {}
        self._leases: dict[str, Lease] = {}

    @property
    def owners(self) -> dict[str, str]:
        """The live basket of each group that has one."""
        return {group_id: lease.owner for group_id, lease in self._leases.items() if lease.owner is not None}

    def create(self, basket: Basket, books_ms: int) -> bool:
        """Store a new row and take its group's lease."""
        lease = self._leases.get(basket.group_id, Lease(basket.group_id, None, 0))
        if basket.basket_id in self._baskets or lease.owner is not None or books_ms <= lease.mark_ms:
            return False
        self._baskets[basket.basket_id] = basket
        self._leases[basket.group_id] = replace(lease, owner=basket.basket_id)
        return True

    def get(self, basket_id: str) -> Basket | None:
        """The row."""
        return self._baskets.get(basket_id)

    def save(self, basket: Basket) -> Basket:
        """Store over the same revision, by an attempt no older than the row's."""
        row = self._baskets.get(basket.basket_id)
        if row is None or row.revision != basket.revision or row.attempt > basket.attempt:
            raise ConflictError(f"basket {basket.basket_id} was changed by another writer")
        if row.state is not basket.state:
            check_move(row.state, basket.state)
        saved = replace(basket, revision=basket.revision + 1)
        self._baskets[basket.basket_id] = saved
        lease = self._leases.get(saved.group_id)
        if saved.state in ENDED_STATES and lease is not None and lease.owner == saved.basket_id:
            self._leases[saved.group_id] = replace(lease, owner=None, mark_ms=max(lease.mark_ms, lease_mark_ms(saved)))
        return saved

    def reopen(self, basket: Basket) -> Basket | None:
        """Store over the same revision and take the group's lease."""
        row = self._baskets.get(basket.basket_id)
        if row is None or row.revision != basket.revision or row.attempt >= basket.attempt:
            raise ConflictError(f"basket {basket.basket_id} was changed by another writer")
        check_move(row.state, basket.state)
        lease = self._leases.get(basket.group_id, Lease(basket.group_id, None, 0))
        if lease.owner is not None:
            return None
        saved = replace(basket, revision=basket.revision + 1)
        self._baskets[basket.basket_id] = saved
        self._leases[basket.group_id] = replace(lease, owner=basket.basket_id)
        return saved

    def leases(self) -> list[Lease]:
        """Every lease."""
        return list(self._leases.values())

    def free_lease(self, lease: Lease) -> bool:
        """Remove it if it is still the same."""
        if self._leases.get(lease.group_id) != lease:
            return False
        del self._leases[lease.group_id]
        return True

    def in_states(self, states: Iterable[BasketState], limit: int) -> list[Basket]:
        """Least recently updated first."""
        wanted = frozenset(states)
        rows = [row for row in self._baskets.values() if row.state in wanted]
        return sorted(rows, key=lambda row: row.updated_ms)[:limit]

    def recent(self, limit: int) -> list[Basket]:
        """Newest first."""
        return sorted(self._baskets.values(), key=lambda row: -row.created_ms)[:limit]


class MemoryLedgerStore:
    """A ``LedgerStore``. A test may change ``kept`` to damage it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or ManualClock()
        self.kept: dict[str, Sealed] = {}
        self.heads: dict[str, Head] = {}
        self.kept_state: str | None = None
        self._read: dict[Sealed, Record] = {}

    def append(self, entries: Sequence[LedgerEntry]) -> int:
        """Add what is not there yet."""
        new = list({entry.entry_id: entry for entry in entries if entry.entry_id not in self.kept}.values())
        for entry in new:
            chain = chain_of(entry)
            rows, head = extended(self.heads.get(chain, start_of(chain)), [entry], self._clock.now_ms())
            self.kept[entry.entry_id] = rows[0]
            self.heads[chain] = head
        return len(new)

    def all(self) -> list[LedgerEntry]:
        """Every entry, by time."""
        return in_order(map(self._opened, self.kept.values()))

    def _opened(self, row: Sealed) -> Record:
        if row not in self._read:
            self._read[row] = unsealed(row)
        return self._read[row]

    def rows(self) -> tuple[list[Sealed], dict[str, Head]]:
        """Everything as it is kept."""
        return list(self.kept.values()), dict(self.heads)

    def since(self, written_ms: int, numbers: Mapping[str, int]) -> list[Sealed]:
        """Of chains that were written to since."""
        moved = {
            head.chain
            for head in self.heads.values()
            if head.written_ms >= written_ms and head.number > numbers.get(head.chain, -1)
        }
        return [
            row
            for row in (self.kept.values() if moved else ())
            if (record := self._opened(row)).chain in moved and record.number > numbers.get(record.chain, -1)
        ]

    def carried(self) -> str | None:
        """What was kept last."""
        return self.kept_state

    def keep(self, text: str) -> None:
        """The last wins."""
        self.kept_state = text


class MemoryReservationStore:
    """A ``ReservationStore``."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, int]] = {}
        self._ending: set[str] = set()
        self._returns: Counter[str] = Counter()

    def reserve(
        self,
        basket_id: str,
        amounts: Mapping[str, int],
        limits: Mapping[str, int],
        returns: Mapping[str, int] | None = None,
        *,
        again: bool = False,
    ) -> tuple[str, ...]:
        """All amounts or none; the keys without room, in the order given."""
        own = self.held.get(basket_id, {})
        if basket_id in self._ending and not again:
            return ()
        more = {key: amount - own.get(key, 0) for key, amount in amounts.items()}
        more = {key: amount for key, amount in more.items() if amount > 0 or key not in own}
        if any(self._returns[key] != count for key, count in (returns or {}).items() if key in more):
            raise OvertakenError(f"reserve for {basket_id}: cash was given back meanwhile")
        used = self.used()
        full = tuple(key for key, amount in more.items() if key in limits and used.get(key, 0) + amount > limits[key])
        if not full:
            self.held[basket_id] = {**own, **{key: own.get(key, 0) + amount for key, amount in more.items()}}
            if more:
                self._ending.discard(basket_id)
        return full

    def release(self, basket_id: str, prefixes: tuple[str, ...] = ("",)) -> None:
        """Give back keys that start with one of these."""
        own = self.held.pop(basket_id, {})
        kept = {key: amount for key, amount in own.items() if not key.startswith(prefixes)}
        self._returns.update(key for key in own if key not in kept and key.startswith(CASH_KEY))
        if not kept:
            self._ending.discard(basket_id)
            return
        self.held[basket_id] = kept
        if kept != own:
            self._ending.add(basket_id)

    def amounts(self, keys: Iterable[str]) -> dict[str, int]:
        """Of these keys."""
        used = self.used()
        return {key: used[key] for key in keys if key in used}

    def returns(self, keys: Iterable[str]) -> dict[str, int]:
        """Of these keys."""
        return {key: self._returns[key] for key in keys}

    def used(self) -> dict[str, int]:
        """Amounts by key, zeros left out."""
        total: Counter[str] = Counter()
        for amounts in self.held.values():
            total.update(amounts)
        return {key: amount for key, amount in total.items() if amount}

    def holdings(self) -> Holdings:
        """By key and by basket."""
        return Holdings(self.used(), {basket_id: dict(amounts) for basket_id, amounts in self.held.items()})


class MemoryStatusStore:
    """A ``StatusStore``. Statuses pass through JSON, as they do on their way to a table."""

    def __init__(self) -> None:
        self._statuses: dict[str, str] = {}
        self._counters: dict[str, Counter[str]] = {}

    def put(self, component: str, status: Mapping[str, object]) -> None:
        """Replace a status."""
        self._statuses[component] = json.dumps(dict(status))

    def get(self, component: str) -> dict[str, object] | None:
        """The last status."""
        text = self._statuses.get(component)
        if text is None:
            return None
        status: dict[str, object] = json.loads(text)
        return status

    def swap(self, component: str, before: Mapping[str, object] | None, status: Mapping[str, object]) -> bool:
        """Replace the status that is still ``before``."""
        known = None if before is None else json.loads(json.dumps(dict(before)))
        if self.get(component) != known:
            return False
        self.put(component, status)
        return True

    def count(self, component: str, changes: Mapping[str, int]) -> None:
        """Add to counters."""
        self._counters.setdefault(component, Counter()).update(changes)

    def counters(self, component: str) -> dict[str, int]:
        """A component's counters."""
        return dict(self._counters.get(component, {}))


class MemoryAlertStore:
    """An ``AlertStore``."""

    def __init__(self) -> None:
        self._alerts: dict[str, Alert] = {}
        self._digest = AlertDigest(0, ())

    def put(self, alert: Alert) -> bool:
        """Store once."""
        if alert.alert_id in self._alerts:
            return False
        self._alerts[alert.alert_id] = alert
        return True

    def forget(self, alert_id: str) -> None:
        """Remove an alert that could not be delivered."""
        self._alerts.pop(alert_id, None)

    def digest(self) -> AlertDigest:
        """What is being held back."""
        return self._digest

    def save_digest(self, digest: AlertDigest) -> bool:
        """Replace the digest of the same revision."""
        if digest.revision != self._digest.revision:
            return False
        self._digest = replace(digest, revision=digest.revision + 1)
        return True

    def recent(self, limit: int) -> list[Alert]:
        """Newest first."""
        return sorted(self._alerts.values(), key=lambda alert: -alert.created_ms)[:limit]


class MemoryPaperStore:
    """A ``PaperStore``."""

    def __init__(self) -> None:
        self.account = PaperAccount()

    def read(self) -> PaperAccount:
        """Everything."""
        return self.account

    def append(self, version: int, orders: Sequence[PaperOrder], settlements: Sequence[Settlement]) -> bool:
        """Add all or nothing."""
        old = self.account
        if version != old.version:
            return False
        self.account = PaperAccount(version + 1, (*old.orders, *orders), (*old.settlements, *settlements))
        return True


@dataclass
class MemoryNotifier:
    """A ``Notifier`` that keeps what was published, repetitions included."""

    published: list[Alert] = field(default_factory=list)

    def publish(self, alert: Alert) -> None:
        """Keep one alert."""
        self.published.append(alert)


@dataclass
class MemoryQueue:
    """A ``Queue``."""

    bodies: list[str] = field(default_factory=list)

    def send(self, body: str) -> None:
        """Keep one message."""
        self.bodies.append(body)


@dataclass
class MemoryWorkflow:
    """A ``Workflow`` that only remembers what was started."""

    started: list[tuple[str, int]] = field(default_factory=list)

    def start(self, basket_id: str, attempt: int) -> bool:
        """Remember a start, once."""
        if (basket_id, attempt) in self.started:
            return False
        self.started.append((basket_id, attempt))
        return True


@dataclass
class MemoryMetrics:
    """A ``Metrics`` that keeps sums and observed values."""

    counted: Counter[Metric] = field(default_factory=Counter)
    detailed: Counter[tuple[Metric, str]] = field(default_factory=Counter)
    observed: dict[Metric, list[int]] = field(default_factory=dict)
    flushes: int = 0

    def count(self, metric: Metric, change: int = 1, detail: str | None = None) -> None:
        """Add to a sum, and to the sum of a detail."""
        self.counted[metric] += change
        if detail is not None:
            self.detailed[metric, detail] += change

    def observe(self, metric: Metric, value: int) -> None:
        """Keep one value."""
        self.observed.setdefault(metric, []).append(value)

    def flush(self) -> None:
        """Only counted: what was noted stays to be looked at."""
        self.flushes += 1


@unique
class Fault(Enum):
    """What happens to one call of :meth:`FakeExchange.place`."""

    NONE = "none"
    LOST_REQUEST = "lost_request"  # nothing executed, outcome unknown to the caller
    LOST_ANSWER = "lost_answer"  # executed, outcome unknown to the caller
    RATE_LIMITED = "rate_limited"  # provably not executed
    REFUSED = "refused"  # the whole batch definitely refused


@dataclass(slots=True)
class _Order:
    request: OrderRequest
    order_id: str
    visible_ms: int
    filled: int = 0
    accumulator: Cash = Cash(0)

    def report(self) -> OrderReport:
        return OrderReport(self.request.client_order_id, self.order_id, Count(self.filled), None)


_ANSWER_MS = 1


class FakeExchange:
    """A ``MarketData`` and ``Trading`` over plain books: IOC and FOK purchases, exact fees, netting, settlement.

    ``smallest_fill`` (1e-2 contracts) splits every level into fills of that size, the dearest way the declared fee
    bound allows. ``read_lag_ms`` delays what the order, fill and position reads show; ``user_data_ms`` says so.
    ``faults`` is consumed one per call of :meth:`place`; ``caps`` limits what the next order on a ticker may fill;
    ``before_place`` runs before each batch is matched and may change books. Its answer takes a millisecond.
    """

    def __init__(
        self,
        clock: ManualClock,
        markets: Sequence[Market] = (),
        *,
        cash: Mapping[int, Cash] | None = None,
        precision: Precision = Precision.DIRECT,
        smallest_fill: Count | None = None,
    ) -> None:
        self._clock = clock
        self._markets = {market.ticker: market for market in markets}
        self._precision = precision
        self._smallest_fill = smallest_fill
        self._cash: Counter[int] = Counter(cash if cash is not None else {0: Cash(1_000_000_000)})
        self._books: dict[str, dict[Outcome, dict[Price, int]]] = {}
        self._sequences: Counter[str] = Counter()
        self._orders: dict[str, _Order] = {}
        self._fills: list[tuple[int, Fill]] = []
        self._positions: Counter[str] = Counter()
        self._settlements: list[Settlement] = []
        self.listings: list[EventListing] = []
        self.combos: list[EventListing] = []
        self.changed_ms: dict[str, int] = {}
        self.event_reads: list[tuple[str, ...]] = []
        self.fees_now: dict[str, FeeSchedule] = {}
        self.statuses: dict[str, MarketStatus] = {}
        self.closing_ms: dict[str, int] = {}
        self.stops_ms: int | None = None
        self.results: dict[str, Price] = {}
        self.read_lag_ms = 0
        self.faults: deque[Fault] = deque()
        self.caps: dict[str, Count] = {}
        self.before_place: Callable[[Sequence[OrderRequest]], None] | None = None
        self.batches: list[tuple[OrderRequest, ...]] = []
        self.duplicates = 0

    # What a test sets

    def list_event(self, listing: EventListing) -> None:
        """Add an event and its markets."""
        self.listings.append(listing)
        self._markets.update({market.ticker: market for market in (listed.market for listed in listing.markets)})

    def change_event(self, listing: EventListing) -> None:
        """List an event differently from now on."""
        self.listings = [one for one in self.listings if one.event_ticker != listing.event_ticker]
        self.list_event(listing)
        self.changed_ms[listing.event_ticker] = self._clock.now_ms()

    def set_book(
        self, ticker: str, yes_bids: Iterable[tuple[int, int]] = (), no_bids: Iterable[tuple[int, int]] = ()
    ) -> None:
        """Replace a market's resting bids: (price in 1e-4 dollars, size in 1e-2 contracts)."""
        sides = {Outcome.YES: yes_bids, Outcome.NO: no_bids}
        self._books[ticker] = {side: {Price(price): size for price, size in bids} for side, bids in sides.items()}
        self._sequences[ticker] += 1

    def offer(self, ticker: str, outcome: Outcome, price: int, size: int) -> None:
        """Let ``size`` of an outcome be bought at ``price``, beside whatever else rests."""
        book = self._books.setdefault(ticker, {Outcome.YES: {}, Outcome.NO: {}})
        bids = book[outcome.other]
        bid = Price(ONE_DOLLAR - price)
        bids[bid] = bids.get(bid, 0) + size
        self._sequences[ticker] += 1

    def settle(self, ticker: str, yes_payout: Price) -> None:
        """Pay a market's net position: ``yes_payout`` to each YES, the rest of the dollar to each NO."""
        position = self._positions.pop(ticker, 0)
        payout = yes_payout if position > 0 else Price(ONE_DOLLAR - yes_payout)
        revenue = notional(payout, Count(abs(position)))
        self._cash[self._markets[ticker].shard] += revenue
        shard = self._markets[ticker].shard
        self._settlements.append(Settlement(ticker, yes_payout, revenue, self._clock.now_ms(), shard))
        self._books.pop(ticker, None)

    # MarketData

    def open_events(self) -> Iterable[EventListing]:
        """Every listed event, without markets that no longer trade."""
        return [
            replace(listing, markets=tuple(row for row in listing.markets if row.status is MarketStatus.ACTIVE))
            for listing in self.listings
        ]

    def combo_events(self) -> Iterable[EventListing]:
        """What the test set."""
        return self.combos

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """Books as they are now."""
        now = self._clock.now_ms()
        answer = {}
        for ticker in tickers:
            if ticker not in self._books:
                continue
            yes, no = (
                tuple(Level(price, Count(size)) for price, size in sorted(bids.items(), reverse=True))
                for bids in (self._books[ticker][Outcome.YES], self._books[ticker][Outcome.NO])
            )
            version = BookVersion(0, 0, self._sequences[ticker])
            answer[ticker] = BookSnapshot(ticker, version, now, now, yes, no)
        return answer

    def events(self, event_tickers: Sequence[str]) -> Iterable[EventListing]:
        """These events with all their markets."""
        self.event_reads += [tuple(event_tickers)]
        return [one for one in (*self.listings, *self.combos) if one.event_ticker in event_tickers]

    def changes_since(self, since_ms: int, fees_until_ms: int) -> ListingChanges:
        """Events that the test changed, and those whose fees change in between."""
        due = {
            listing.event_ticker
            for listing in self.listings
            for listed in listing.markets
            if listed.fee_change_ms is not None and since_ms < listed.fee_change_ms <= fees_until_ms
        }
        changed = {event for event, at_ms in self.changed_ms.items() if at_ms >= since_ms}
        return ListingChanges(frozenset(changed | due), frozenset())

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        """Finalized once settled here, else what the test set, else active."""
        paid = {settlement.ticker: settlement.yes_payout for settlement in self._settlements}
        return {
            ticker: MarketState(
                ticker,
                self._markets[ticker].event_ticker,
                MarketStatus.FINALIZED if ticker in paid else self.statuses.get(ticker, MarketStatus.ACTIVE),
                paid.get(ticker),
                self.closing_ms.get(ticker, self._markets[ticker].close_ms),
                paid.get(ticker, self.results.get(ticker)),
            )
            for ticker in tickers
            if ticker in self._markets
        }

    def closes_ms(self, now_ms: int) -> int | None:
        """What the test set."""
        return None if self.stops_ms is None else max(now_ms, self.stops_ms)

    def market_fees(self, event_ticker: str) -> dict[str, FeeSchedule]:
        """The fees of the event's markets, as they are listed or as the test set them since."""
        return {
            market.ticker: self.fees_now.get(market.ticker, market.fees)
            for market in self._markets.values()
            if market.event_ticker == event_ticker
        }

    # Trading

    def place(
        self,
        orders: Sequence[OrderRequest],
        leave_by_ms: int | None = None,  # noqa: ARG002 - nothing is asked before an order leaves
    ) -> list[OrderReport]:
        """Match one batch, after whatever fault is next."""
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.RATE_LIMITED:
            raise RetryableError("too_many_requests (HTTP 429)")
        if fault is Fault.REFUSED:
            raise RejectedError("invalid_order", "scripted refusal", 400)
        if fault is Fault.LOST_REQUEST:
            raise UnknownOutcomeError("the request was lost")
        self.batches.append(tuple(orders))
        if self.before_place is not None:
            self.before_place(orders)
        reports = [self._match(order) for order in orders]
        self._clock.advance(_ANSWER_MS)
        if fault is Fault.LOST_ANSWER:
            raise UnknownOutcomeError("the answer was lost")
        return reports

    def find_orders(self, tickers: Sequence[str], since_ms: int) -> dict[str, OrderReport]:
        """Visible orders that reached the book, by client order id."""
        wanted = frozenset(tickers)
        limit = self.user_data_ms()
        return {
            order.request.client_order_id: order.report()
            for order in self._orders.values()
            if order.request.ticker in wanted and since_ms <= order.visible_ms <= limit
        }

    def fills(self, tickers: Sequence[str], since_ms: int) -> list[Fill]:
        """Visible fills."""
        wanted = frozenset(tickers)
        limit = self.user_data_ms()
        return [fill for seen_ms, fill in self._fills if fill.ticker in wanted and since_ms <= seen_ms <= limit]

    def account_orders(self, since_ms: int) -> list[AccountOrder]:
        """Visible orders on whatever market."""
        limit = self.user_data_ms()
        return [
            AccountOrder(order.order_id, client_id, order.request.ticker, Count(order.filled), False, order.visible_ms)
            for client_id, order in self._orders.items()
            if since_ms <= order.visible_ms <= limit
        ]

    def account_fills(self, since_ms: int) -> list[Fill]:
        """Visible fills on whatever market."""
        limit = self.user_data_ms()
        return [fill for seen_ms, fill in self._fills if since_ms <= seen_ms <= limit]

    def user_data_ms(self) -> int:
        """Now, less the lag of the reads."""
        return self._clock.now_ms() - self.read_lag_ms

    def balance(self) -> dict[int, Cash]:
        """Cash by shard."""
        return {shard: Cash(amount) for shard, amount in self._cash.items()}

    def positions(self) -> dict[str, Count]:
        """Net positions."""
        return {ticker: Count(position) for ticker, position in self._positions.items() if position}

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Payments since a moment."""
        return [settlement for settlement in self._settlements if settlement.settled_ms >= since_ms]

    # Inside

    def _match(self, request: OrderRequest) -> OrderReport:
        if request.client_order_id in self._orders:
            self.duplicates += 1
            return OrderReport(request.client_order_id, None, Count(0), "order_already_exists")
        market = self._markets.get(request.ticker)
        if market is None or request.ticker not in self._books:
            return OrderReport(request.client_order_id, None, Count(0), "market_not_found")
        wire = request.limit if request.outcome is Outcome.YES else Price(ONE_DOLLAR - request.limit)
        if not market.grid.is_valid(wire) or request.count <= 0:
            return OrderReport(request.client_order_id, None, Count(0), "invalid_order")
        planned = self._sweep(request)
        if request.time_in_force is TimeInForce.FILL_OR_KILL and sum(size for _, size in planned) < request.count:
            code = "fill_or_kill_insufficient_resting_volume"
            return OrderReport(request.client_order_id, None, Count(0), code)
        if self._cash[market.shard] < self._collateral(request, planned):
            return OrderReport(request.client_order_id, None, Count(0), "insufficient_balance")
        order = _Order(request, f"o{len(self._orders) + 1}", self._clock.now_ms())
        self._orders[request.client_order_id] = order
        for price, size in planned:
            self._fill(order, market, price, size)
        return order.report()

    def _sweep(self, request: OrderRequest) -> list[tuple[Price, int]]:
        """The (outcome price, size) pairs that an order would take now, best first."""
        left = min(int(request.count), int(self.caps.pop(request.ticker, request.count)))
        taken = []
        for bid, size in sorted(self._books[request.ticker][request.outcome.other].items(), reverse=True):
            price = Price(ONE_DOLLAR - bid)
            part = min(left, size)
            if price > request.limit or part <= 0:
                break
            taken.append((price, part))
            left -= part
        return taken

    def _collateral(self, request: OrderRequest, planned: Iterable[tuple[Price, int]]) -> int:
        """Cash that opening contracts take; contracts that close a position take none."""
        position = self._positions[request.ticker]
        closing = max(0, -position if request.outcome is Outcome.YES else position)
        needed = 0
        for price, size in planned:
            needed += price * max(0, size - closing)
            closing = max(0, closing - size)
        return needed

    def _fill(self, order: _Order, market: Market, price: Price, size: int) -> None:
        request = order.request
        bids = self._books[request.ticker][request.outcome.other]
        bid = Price(ONE_DOLLAR - price)
        bids[bid] -= size
        if not bids[bid]:
            del bids[bid]
        self._sequences[request.ticker] += 1
        step = self._smallest_fill or size
        pieces = [step] * (size // step) or [size]
        pieces[-1] += size - sum(pieces)
        for piece in pieces:
            self._book_piece(order, market, price, Count(piece))

    def _book_piece(self, order: _Order, market: Market, price: Price, count: Count) -> None:
        request = order.request
        cost = notional(price, count)
        result = charge(Cash(-cost), trade_fee(market.fees, price, count), self._precision, order.accumulator)
        order.accumulator = result.accumulator
        order.filled += count
        before = self._positions[request.ticker]
        change = count if request.outcome is Outcome.YES else -count
        self._positions[request.ticker] = before + change
        netted = min(abs(before), count) if before * change < 0 else 0
        self._cash[market.shard] += result.change + notional(ONE_DOLLAR, Count(netted))
        now = self._clock.now_ms()
        trade_id = f"t{len(self._fills) + 1}"
        fill = Fill(
            trade_id, order.order_id, request.ticker, request.outcome, count, price, result.fee, now, market.shard
        )
        self._fills.append((now, fill))

    def executions(self) -> dict[str, Count]:
        """What every client order id that reached the book filled: the truth, without lag."""
        return {client_id: Count(order.filled) for client_id, order in self._orders.items()}
