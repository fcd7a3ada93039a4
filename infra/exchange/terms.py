"""What is listed and what may be ordered: series, events, markets and orders before anything happened to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique

from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import Band, PriceGrid
from kalshi_arb.domain.market import Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price


@unique
class TimeInForce(Enum):
    """How long an order stays: everything the order endpoint accepts."""

    GOOD_TILL_CANCELED = "good_till_canceled"
    IMMEDIATE_OR_CANCEL = "immediate_or_cancel"
    FILL_OR_KILL = "fill_or_kill"


@unique
class SelfTradePrevention(Enum):
    """What happens when an order meets one of its own account."""

    TAKER_AT_CROSS = "taker_at_cross"  # the incoming order stops and its rest is cancelled
    MAKER = "maker"  # the resting order is cancelled and matching goes on


@unique
class GridName(Enum):
    """The ``price_level_structure`` names this exchange lists. The ranges are the authority, never the name."""

    LINEAR_CENT = "linear_cent"
    DECI_CENT = "deci_cent"
    TAPERED_DECI_CENT = "tapered_deci_cent"


GRIDS: Mapping[GridName, PriceGrid] = {
    GridName.LINEAR_CENT: PriceGrid((Band(Price(0), ONE_DOLLAR, Price(100)),)),
    GridName.DECI_CENT: PriceGrid((Band(Price(0), ONE_DOLLAR, Price(10)),)),
    GridName.TAPERED_DECI_CENT: PriceGrid(
        (
            Band(Price(0), Price(1_000), Price(10)),
            Band(Price(1_000), Price(9_000), Price(100)),
            Band(Price(9_000), ONE_DOLLAR, Price(10)),
        )
    ),
}


@dataclass(frozen=True, slots=True)
class SeriesTerms:
    """A series: what its events have in common. ``shard`` is ``exchange_index``."""

    ticker: str
    title: str
    category: str
    frequency: str
    fees: FeeSchedule
    shard: int


@dataclass(frozen=True, slots=True)
class MarketTerms:
    """One market as it is listed. Times in UTC milliseconds; strikes in the unit of the underlying."""

    ticker: str
    event_ticker: str
    title: str
    sub_title: str
    strike_type: StrikeType
    floor: Decimal | None
    cap: Decimal | None
    custom_strike: Mapping[str, str] | None
    grid_name: GridName
    open_ms: int
    close_ms: int
    settlement_timer_s: int
    rules: str

    @property
    def grid(self) -> PriceGrid:
        """The legal order prices."""
        return GRIDS[self.grid_name]


@dataclass(frozen=True, slots=True)
class EventTerms:
    """One event with all its markets. ``fees_override`` takes precedence over the series' schedule."""

    ticker: str
    series_ticker: str
    title: str
    sub_title: str
    mutually_exclusive: bool
    markets: tuple[MarketTerms, ...]
    fees_override: FeeSchedule | None = None


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to buy ``count`` of ``outcome`` at ``limit`` (that outcome's price) or better.

    A bid on the exchange's one book is a purchase of YES, an ask a purchase of NO at the complement. ``shard`` None
    routes by ticker.
    """

    ticker: str
    outcome: Outcome
    limit: Price
    count: Count
    time_in_force: TimeInForce
    client_order_id: str | None = None
    self_trade: SelfTradePrevention = SelfTradePrevention.TAKER_AT_CROSS
    post_only: bool = False
    reduce_only: bool = False
    shard: int | None = None
