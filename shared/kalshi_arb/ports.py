"""The seams to the outside: one protocol for each system that is not ours to trust."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Protocol

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.group_record import GroupRecord, HistoryEntry, RecordChange
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.domain.paper import PaperAccount, PaperOrder
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, OrderReport, OrderRequest, Settlement
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
    """Where a market stands. ``yes_payout`` (1e-4 dollars) is what one YES paid, None before it is finalized."""

    ticker: str
    event_ticker: str
    status: MarketStatus
    yes_payout: Price | None


@dataclass(frozen=True, slots=True)
class ListingChanges:
    """Events and series whose listing changed: read them again."""

    event_tickers: frozenset[str]
    series_tickers: frozenset[str]


class Listings(MarketData, Protocol):
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

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        """Where these markets stand, at most some seconds old. One that is not known is missing."""
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

    def place(self, orders: Sequence[OrderRequest]) -> list[OrderReport]:
        """Send one batch, at most the tier's limit; one report per order, in order."""
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


class BasketStore(Protocol):
    """Basket rows and the one-live-basket-per-group lease."""

    def create(self, basket: Basket) -> bool:
        """Store a new basket and take its group's lease in one transaction; False when either is there already."""
        ...

    def get(self, basket_id: str) -> Basket | None:
        """The row, strongly read."""
        ...

    def save(self, basket: Basket) -> Basket:
        """Store ``basket`` over the row with the same ``revision`` and an attempt no newer; returns it with the next
        revision. Ending a basket releases its group's lease in the same transaction.

        :raises ConflictError: another writer was first or a newer attempt has taken over.
        """
        ...

    def in_states(self, states: Iterable[BasketState], limit: int) -> list[Basket]:
        """Rows in these states, least recently updated first."""
        ...

    def recent(self, limit: int) -> list[Basket]:
        """Newest first."""
        ...


class LedgerStore(Protocol):
    """Append-only cash movements."""

    def append(self, entries: Sequence[LedgerEntry]) -> int:
        """Store entries that are not there yet; returns how many were new."""
        ...

    def all(self) -> list[LedgerEntry]:
        """Every entry, by time."""
        ...


class ReservationStore(Protocol):
    """Conditional holds on limits: what keeps concurrent baskets from spending the same dollar twice."""

    def reserve(self, basket_id: str, amounts: Mapping[str, int], limits: Mapping[str, int]) -> str | None:
        """Add all ``amounts`` under their keys in one transaction if none exceeds its limit.

        Repeating it for the same basket changes nothing. Returns None, or the key that had no room.
        """
        ...

    def release(self, basket_id: str, prefix: str = "") -> None:
        """Give back what the basket reserved under keys starting with ``prefix``; repeating it changes nothing."""
        ...

    def used(self) -> dict[str, int]:
        """Amounts by key."""
        ...


WATCH_COMPONENT = "watch"
"""Status item ``{"groups": [ids]}``: groups whose books the feed keeps copied, because something is held in them."""


class StatusStore(Protocol):
    """Health, near misses and counters of each component, and the control items that people set."""

    def put(self, component: str, status: Mapping[str, object]) -> None:
        """Replace a component's status."""
        ...

    def get(self, component: str) -> dict[str, object] | None:
        """A component's last status."""
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
