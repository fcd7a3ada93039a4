"""What happened, as data: the core appends these and the server turns them into messages."""

from dataclasses import dataclass
from enum import Enum, unique

from infra.exchange.account import FillView, OrderView
from infra.exchange.groups import GroupStep
from kalshi_arb.domain.book import Level
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price


@unique
class LifecycleKind(Enum):
    """Lifecycle messages of a market. Opening and closing at their times are silent and have none."""

    CREATED = "created"
    ACTIVATED = "activated"
    DEACTIVATED = "deactivated"
    CLOSE_DATE_UPDATED = "close_date_updated"
    DETERMINED = "determined"
    SETTLED = "settled"
    PRICE_LEVEL_STRUCTURE_UPDATED = "price_level_structure_updated"
    METADATA_UPDATED = "metadata_updated"


@dataclass(frozen=True, slots=True)
class BookChanged:
    """A level of one side changed by ``change`` contracts; ``price`` is that side's own outcome's price.

    ``account_id`` and ``client_order_id`` are set only when placing or cancelling a user's order caused it.
    """

    ticker: str
    outcome: Outcome
    price: Price
    change: int
    ms: int
    account_id: str | None = None
    client_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class BookReplaced:
    """A book is something else now, which the stream shows as a snapshot: nothing when the market closed.

    Levels run from best to worst; each side in its own outcome's prices.
    """

    ticker: str
    yes: tuple[Level, ...]
    no: tuple[Level, ...]
    ms: int


@dataclass(frozen=True, slots=True)
class Traded:
    """A public trade. ``yes_price`` is what a YES cost; ``taker`` the outcome the incoming order bought."""

    trade_id: str
    ticker: str
    yes_price: Price
    count: Count
    taker: Outcome
    maker_order_id: str
    taker_account_id: str
    ms: int


@dataclass(frozen=True, slots=True)
class Filled:
    """One account's side of a trade; ``post_position`` is the signed position after it."""

    account_id: str
    client_order_id: str
    fill: FillView
    post_position: Count


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """A user's order was placed, changed, traded or cancelled.

    ``reason`` is the exchange's word; "" for a placement, a cancel by the owner and what an order group cancels, for
    which the exchange has none.
    """

    account_id: str
    order: OrderView
    reason: str


@dataclass(frozen=True, slots=True)
class MarketLifecycle:
    """A lifecycle message of a market; what it shows beside is what the market says when it is sent.

    An amended result is announced as ``determined`` once more; a dispute is not announced.
    """

    ticker: str
    kind: LifecycleKind
    ms: int


@dataclass(frozen=True, slots=True)
class EventListed:
    """A new event; its markets' ``created`` messages follow."""

    event_ticker: str
    ms: int


@dataclass(frozen=True, slots=True)
class EventFeeUpdated:
    """An event's fee override is another one from now on; None was cleared."""

    event_ticker: str
    override: FeeSchedule | None
    ms: int


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """Something happened to a member's order group. ``limit`` in 1e-2 contracts."""

    account_id: str
    group_id: str
    step: GroupStep
    limit: Count
    ms: int


Emission = (
    BookChanged
    | BookReplaced
    | Traded
    | Filled
    | OrderChanged
    | MarketLifecycle
    | EventListed
    | EventFeeUpdated
    | GroupChanged
)
