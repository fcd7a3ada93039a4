"""The seams to the outside: one protocol for each system that is not ours to trust."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, Protocol

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.collateral import EventCollateral
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry, RecordChange
from kalshi_arb.domain.journal import Head, Sealed
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.domain.paper import PaperAccount, PaperOrder
from kalshi_arb.domain.portfolio import AccountOrder, Fill, LedgerEntry, OrderReport, OrderRequest, Settlement
from kalshi_arb.metrics_names import Metric


class MarketData(Protocol):
    """Public reads of the exchange. All raise an ``ExchangeError`` when it cannot answer."""

    def open_events(self) -> Iterable[EventListing]:
        """Every open event with its markets, combos left out."""
        ...

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """Uncached books, read now. A ticker the exchange does not know is missing from the answer."""
        ...

    def market_fees(self, event_ticker: str) -> Mapping[str, FeeSchedule]:
        """What each of the event's markets charges now."""
        ...


@dataclass(frozen=True, slots=True)
class MarketState:
    """Where a market stands. ``yes_payout`` (1e-4 dollars) is what one YES paid, None before it is finalized;
    ``result`` is the same from determination on, while it may still be disputed and amended. ``close_ms`` is when it
    stops trading (UTC milliseconds), which may still be moved."""

    ticker: str
    event_ticker: str
    status: MarketStatus
    yes_payout: Price | None
    close_ms: int
    result: Price | None = None


class Venue(MarketData, Protocol):
    """What is read of the exchange before a basket may trade. All raise an ``ExchangeError`` when it cannot answer."""

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        """Where these markets stand, at most some seconds old. One that is not known is missing."""
        ...

    def closes_ms(self, now_ms: int) -> int | None:
        """When the exchange next stops trading by its own schedule, at most some minutes old; ``now_ms`` itself while
        it is closed, None when nothing is announced for the coming week. Both UTC milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class ListingChanges:
    """Events and series whose listing changed: read them again."""

    event_tickers: frozenset[str]
    series_tickers: frozenset[str]


class Listings(Venue, Protocol):
    """What discovery reads: market data that lists combos too, and tells what changed."""

    def combo_events(self) -> Iterable[EventListing]:
        """Events of quoted combos, the newest first and never all: users make them without end."""
        ...

    def events(self, event_tickers: Sequence[str]) -> Iterable[EventListing]:
        """These events as they are listed now, combos too, whatever their status. One that cannot be read or is not
        listed any more is missing."""
        ...

    def changes_since(self, since_ms: int, fees_until_ms: int) -> ListingChanges:
        """What changed after a moment, fees that change between it and ``fees_until_ms`` included (UTC milliseconds).
        It may name too much, never too little."""
        ...


class MarketTerms(Protocol):
    """What paper trading reads of the exchange. All raise an ``ExchangeError`` when it cannot answer."""

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """Uncached books, read now."""
        ...

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        """Where these markets stand, at most some seconds old. One that is not known is missing."""
        ...

    def market_fees(self, event_ticker: str) -> Mapping[str, FeeSchedule]:
        """What each of the event's markets charges now."""
        ...


class PaperStore(Protocol):
    """The paper account's own records. Written once, never changed."""

    def read(self) -> PaperAccount:
        """Everything, strongly read."""
        ...

    def append(self, version: int, orders: Sequence[PaperOrder], settlements: Sequence[Settlement]) -> bool:
        """Add all of these if the account is still at this version and none is there; else nothing, and False."""
        ...


class Trading(Protocol):
    """Authenticated calls. Writes raise ``UnknownOutcomeError`` when the order may or may not have traded."""

    def place(self, orders: Sequence[OrderRequest], leave_by_ms: int | None = None) -> list[OrderReport]:
        """Send one batch, at most the tier's limit; one report per order, in order. What had to be asked first and took
        until after ``leave_by_ms`` (UTC milliseconds) keeps it from being sent."""
        ...

    def find_orders(self, tickers: Sequence[str], since_ms: int) -> dict[str, OrderReport]:
        """Our orders on these markets by client order id."""
        ...

    def fills(self, tickers: Sequence[str], since_ms: int) -> list[Fill]:
        """Our fills on these markets."""
        ...

    def user_data_ms(self) -> int:
        """How far the exchange's read side has caught up with writes (UTC milliseconds)."""
        ...

    def balance(self) -> dict[int, Cash]:
        """Cash by shard."""
        ...

    def positions(self) -> dict[str, Count]:
        """Signed net positions, + YES and - NO, zeros left out."""
        ...

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Payments of settled positions."""
        ...


class AccountReads(Protocol):
    """Everything that the exchange says of the account, whoever traded, older data included. Reads trail writes."""

    def account_orders(self, since_ms: int) -> list[AccountOrder]:
        """All orders since then."""
        ...

    def account_fills(self, since_ms: int) -> list[Fill]:
        """All fills since then, oldest first."""
        ...

    def user_data_ms(self) -> int:
        """How far the exchange's read side has caught up with writes (UTC milliseconds)."""
        ...

    def balance(self) -> dict[int, Cash]:
        """Cash by shard."""
        ...

    def positions(self) -> dict[str, Count]:
        """Signed net positions, + YES and - NO, zeros left out."""
        ...

    def settlements(self, since_ms: int) -> list[Settlement]:
        """Payments of settled positions."""
        ...


class CollateralReads(Protocol):
    """What events give collateral back for. Raises an ``ExchangeError`` when the exchange cannot answer."""

    def collateral(self, tickers: Sequence[str]) -> dict[str, EventCollateral]:
        """The events of these markets, by market, at most some seconds old. A market that is not listed any more is
        missing."""
        ...


class BookStore(Protocol):
    """Coalesced copies of books, for people and for late joiners; never what an order rests on."""

    def put(self, book: BookSnapshot) -> bool:
        """Store unless a newer version is there; False when it was."""
        ...

    def get(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """The stored copies."""
        ...


@dataclass(frozen=True, slots=True)
class GroupChanges:
    """What changed up to ``version``: ids of groups that are new, different or gone."""

    version: int
    group_ids: frozenset[str]


class GroupStore(Protocol):
    """Accepted groups with their standing and history. ``version`` rises with every change, so that readers poll one
    small item."""

    def version(self) -> int:
        """The current version, 0 before the first group."""
        ...

    def changes_since(self, version: int) -> GroupChanges | None:
        """What changed after a version; None when that is too long ago to tell, and everything must be read."""
        ...

    def all(self) -> list[GroupRecord]:
        """Every accepted group, suspended ones too."""
        ...

    def get(self, group_id: str) -> GroupRecord | None:
        """One group, strongly read, or None when it is not accepted (any more)."""
        ...

    def get_many(self, group_ids: Sequence[str]) -> list[GroupRecord]:
        """Those of these that are accepted, strongly read, in no order."""
        ...

    def write(self, changes: Sequence[RecordChange]) -> frozenset[str]:
        """Carry out each step whose ``before`` is still what is stored, with its history, and let the version rise
        with it. At most one step for each group.

        :returns: ids of the groups that were written; of the others somebody else was first
        """
        ...

    def history(self, group_id: str, limit: int) -> list[HistoryEntry]:
        """What happened to a group, newest first; groups that are gone have one too, for a limited time."""
        ...


class OpportunityStore(Protocol):
    """Found opportunities, kept for a limited time."""

    def put(self, opportunity: Opportunity) -> bool:
        """Store once; False when it was there."""
        ...

    def get(self, opportunity_id: str) -> Opportunity | None:
        """One opportunity."""
        ...

    def recent(self, limit: int) -> list[Opportunity]:
        """Newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The one-live-basket lease of a group: ``owner`` is the live basket, None when it is free. Books must be known up
    to a moment after ``mark_ms`` (UTC milliseconds) for the next basket: until then they may be from before the orders
    of the last one."""

    group_id: str
    owner: str | None
    mark_ms: int


class BasketStore(Protocol):
    """Basket rows and the one-live-basket-per-group lease."""

    def create(self, basket: Basket, books_ms: int) -> bool:
        """Store a new basket and take its group's lease in one transaction. False, with nothing stored, when the
        basket is there already, when the group has a live one, or when the books are not from after the lease's mark.

        :param books_ms: up to which moment every book that the basket rests on is known (UTC milliseconds)
        """
        ...

    def get(self, basket_id: str) -> Basket | None:
        """The row, strongly read."""
        ...

    def save(self, basket: Basket) -> Basket:
        """Store ``basket`` over the row with the same ``revision`` and an attempt no newer; returns it with the next
        revision. Ending a basket releases its group's lease in the same transaction, and marks it when the basket sent
        orders.

        The attempt forbids nothing to a writer that saves the row it read with that attempt or a newer one, as all do:
        an attempt that was taken over from has an old revision too. It is there for one that does not.

        :raises ConflictError: another writer was first or a newer attempt has taken over.
        """
        ...

    def reopen(self, basket: Basket) -> Basket | None:
        """Store an ended basket that lives again over the row with the same ``revision``, by a newer attempt, and take
        its group's lease in one transaction; returns it with the next revision. None, with nothing stored, when the
        group has a live basket.

        :raises ConflictError: another writer was first.
        """
        ...

    def in_states(self, states: Iterable[BasketState], limit: int) -> list[Basket]:
        """Rows in these states, least recently updated first."""
        ...

    def recent(self, limit: int) -> list[Basket]:
        """Newest first."""
        ...

    def leases(self) -> list[Lease]:
        """Every lease that is taken or marked; what changed in the last second may be missing or out of date."""
        ...

    def free_lease(self, lease: Lease) -> bool:
        """Remove a lease that is still exactly this one; False when it is not."""
        ...


class LedgerStore(Protocol):
    """The journal (:mod:`kalshi_arb.domain.journal`): append-only decisions and cash movements, chained by hashes."""

    def append(self, entries: Sequence[LedgerEntry]) -> int:
        """Add entries that are not there yet to the ends of their chains; returns how many were new. Repeating it, or
        two writers at once, changes nothing.

        :raises ConflictError: other writers kept being first; entries of one chain are there up to some entry.
        """
        ...

    def all(self) -> list[LedgerEntry]:
        """Every entry, by time.

        :raises JournalError: an entry is not what was written.
        """
        ...

    def rows(self) -> tuple[list[Sealed], dict[str, Head]]:
        """Everything as it is kept, and the heads by chain. While somebody writes, the two may be of different
        moments."""
        ...

    def since(self, written_ms: int, numbers: Mapping[str, int]) -> list[Sealed]:
        """Of every chain that was written to at ``written_ms`` (UTC milliseconds) or later: its records beyond the
        number given for it, all of them where none is given. Strongly read: what was appended before is there."""
        ...

    def carried(self) -> str | None:
        """What was kept last of the state carried forward (:mod:`kalshi_arb.domain.carried`), whole, or None."""
        ...

    def keep(self, text: str) -> None:
        """Keep this state in place of the one before. It is a copy of what the entries say, so the last writer wins."""
        ...


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is held: ``used`` sums it up by key, ``records`` says by basket what each put there. Without writers at work
    the one is the sum of the other."""

    used: Mapping[str, int]
    records: Mapping[str, Mapping[str, int]]


class ReservationStore(Protocol):
    """Conditional holds on limits: what keeps concurrent baskets from spending the same dollar twice. The keys are
    those of :mod:`kalshi_arb.domain.reservation_keys`."""

    def reserve(
        self,
        basket_id: str,
        amounts: Mapping[str, int],
        limits: Mapping[str, int],
        returns: Mapping[str, int] | None = None,
        *,
        again: bool = False,
    ) -> tuple[str, ...]:
        """Hold all ``amounts`` under their keys in one transaction if none exceeds its limit; a key without a limit is
        only counted.

        A basket that holds something already takes only what it holds less of, and nothing at all once it has given
        some of it back. So repeating it changes nothing. Returns the keys that had no room; then nothing was taken.

        :param again: the basket lives again, so it may take although it has given something back
        :param returns: how often something must have been given back under these keys, no more and no less, where
            the basket takes some of them
        :raises OvertakenError: something was given back under one of them meanwhile; nothing was taken.
        """
        ...

    def returns(self, keys: Iterable[str]) -> dict[str, int]:
        """How often cash was given back under each of these keys, strongly read.

        A limit that was read elsewhere, a shard's balance, is only as good as what is held beside it: a basket that
        ends in between has spent of the balance that was read and holds nothing any more. So its readers ask this
        first, then for the limit, and reserve on the condition that it is still the same.
        """
        ...

    def release(self, basket_id: str, prefixes: tuple[str, ...] = ("",)) -> None:
        """Give back what the basket reserved under keys starting with one of these, in one transaction; repeating it
        changes nothing."""
        ...

    def amounts(self, keys: Iterable[str]) -> dict[str, int]:
        """What all baskets together hold under these keys, strongly read, zeros left out."""
        ...

    def used(self) -> dict[str, int]:
        """Amounts by key."""
        ...

    def holdings(self) -> Holdings:
        """Everything that is held, by key and by basket, in one pass over it."""
        ...


WATCH_COMPONENT = "watch"
"""Status item ``{"groups": [ids]}``: groups whose books the feed keeps copied, because something is held in them."""


class StatusStore(Protocol):
    """Health, near misses and counters of each component, and the control items that people set."""

    def put(self, component: str, status: Mapping[str, object]) -> None:
        """Replace a component's status."""
        ...

    def get(self, component: str) -> dict[str, object] | None:
        """A component's last status, strongly read."""
        ...

    def swap(self, component: str, before: Mapping[str, object] | None, status: Mapping[str, object]) -> bool:
        """Replace a component's status if it is still ``before`` (None: there is none yet); False when it is not."""
        ...

    def count(self, component: str, changes: Mapping[str, int]) -> None:
        """Add to a component's counters atomically."""
        ...

    def counters(self, component: str) -> dict[str, int]:
        """A component's counters."""
        ...


@unique
class AlertKind(Enum):
    """What a person is told about."""

    OPPORTUNITY = "opportunity"
    BASKET = "basket"
    SETTLEMENT = "settlement"
    RELATION = "relation"  # a group is not what it was
    REPORT = "report"  # what a day earned
    ERROR = "error"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Alert:
    """One line for a person. ``alert_id`` is derived from what it is about, so a repetition is recognised."""

    alert_id: str
    kind: AlertKind
    mode: str
    title: str
    text: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class AlertWindow:
    """A minute in which alerts of one kind are counted instead of told: ``held`` so far, the newest is ``last``."""

    group: str
    until_ms: int
    held: int
    last: Alert


@dataclass(frozen=True, slots=True)
class AlertDigest:
    """The open windows. ``revision`` rises with every change, so that two writers notice each other."""

    revision: int
    windows: tuple[AlertWindow, ...]


class Notifier(Protocol):
    """Publishes alerts to everybody subscribed."""

    def publish(self, alert: Alert) -> None:
        """Hand over one alert."""
        ...


class AlertStore(Protocol):
    """Alerts that were delivered."""

    def put(self, alert: Alert) -> bool:
        """Store once; False when it was there."""
        ...

    def forget(self, alert_id: str) -> None:
        """Remove an alert that could not be delivered, so that its repetition is not taken for a duplicate."""
        ...

    def digest(self) -> AlertDigest:
        """What is being held back, strongly read; revision 0 without windows at first."""
        ...

    def save_digest(self, digest: AlertDigest) -> bool:
        """Replace the digest of the same revision by this one under the next; False when another writer was first."""
        ...

    def recent(self, limit: int) -> list[Alert]:
        """Newest first."""
        ...


class Queue(Protocol):
    """A queue of versioned messages."""

    def send(self, body: str) -> None:
        """Send one message."""
        ...


class Workflow(Protocol):
    """Starts a basket's state machine."""

    def start(self, basket_id: str, attempt: int) -> bool:
        """Start an execution named after basket and attempt; False when it exists already."""
        ...


class Detection(Protocol):
    """The function that searches and calculates, for processes that do not carry the solvers."""

    def ask(self, task: Mapping[str, object]) -> dict[str, Any]:
        """Its answer to a direct call.

        :raises DetectionError: it ended without an answer, or not in time.
        :raises StoreError: it could not be called.
        """
        ...


class Metrics(Protocol):
    """Numbers for dashboards and alarms. Cheap to add to; nothing leaves before ``flush``."""

    def count(self, metric: Metric, change: int = 1, detail: str | None = None) -> None:
        """Add to a sum that is published at the next flush; with a ``detail`` (a word for the metric's dimension in
        ``DETAILS``) also to the sum of that word."""
        ...

    def observe(self, metric: Metric, value: int) -> None:
        """Note one value of a gauge or a duration."""
        ...

    def flush(self) -> None:
        """Publish what was noted since the last flush; nothing when nothing was."""
        ...
