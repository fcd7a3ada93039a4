"""What is listed and what may be ordered: series, events, markets and orders before anything happened to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from typing import Final

from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import Band, PriceGrid
from kalshi_arb.domain.market import ComboLeg, Outcome, StrikeType
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
    """The ``price_level_structure`` names (Kalshi API documentation, market object and price levels).

    The ranges are the authority, never the name. ``banded_centi_cent`` of the stream's enum is left out: its bands are
    not documented.
    """

    LINEAR_CENT = "linear_cent"
    DECI_CENT = "deci_cent"
    TAPERED_DECI_CENT = "tapered_deci_cent"
    CENTER_WHOLE_EDGE_HALF_CENT = "center_whole_edge_half_cent"
    CENTER_WHOLE_EDGE_QUINT_CENT = "center_whole_edge_quint_cent"
    CENTER_HALF_EDGE_HALF_CENT = "center_half_edge_half_cent"
    CENTER_HALF_EDGE_QUINT_CENT = "center_half_edge_quint_cent"
    CENTER_HALF_EDGE_DECI_CENT = "center_half_edge_deci_cent"
    CENTER_QUINT_EDGE_QUINT_CENT = "center_quint_edge_quint_cent"
    CENTER_QUINT_EDGE_DECI_CENT = "center_quint_edge_deci_cent"
    CENTER_CENTI_EDGE_CENTI_CENT = "center_centi_edge_centi_cent"
    CENTER_DECI_EDGE_CENTI_CENT = "center_deci_edge_centi_cent"


_CENT, _HALF, _QUINT, _DECI, _CENTI = Price(100), Price(50), Price(20), Price(10), Price(1)
_DIME = Price(1_000)


def _even(step: Price) -> PriceGrid:
    return PriceGrid((Band(Price(0), ONE_DOLLAR, step),))


def _edged(centre: Price, edge: Price, width: Price = _DIME) -> PriceGrid:
    """Steps of ``edge`` within ``width`` of both ends and of ``centre`` between."""
    upper = Price(ONE_DOLLAR - width)
    return PriceGrid((Band(Price(0), width, edge), Band(width, upper, centre), Band(upper, ONE_DOLLAR, edge)))


GRIDS: Mapping[GridName, PriceGrid] = {
    GridName.LINEAR_CENT: _even(_CENT),
    GridName.DECI_CENT: _even(_DECI),
    GridName.TAPERED_DECI_CENT: _edged(_CENT, _DECI),
    GridName.CENTER_WHOLE_EDGE_HALF_CENT: _edged(_CENT, _HALF),
    GridName.CENTER_WHOLE_EDGE_QUINT_CENT: _edged(_CENT, _QUINT),
    GridName.CENTER_HALF_EDGE_HALF_CENT: _even(_HALF),
    GridName.CENTER_HALF_EDGE_QUINT_CENT: _edged(_HALF, _QUINT),
    GridName.CENTER_HALF_EDGE_DECI_CENT: _edged(_HALF, _DECI),
    GridName.CENTER_QUINT_EDGE_QUINT_CENT: _even(_QUINT),
    GridName.CENTER_QUINT_EDGE_DECI_CENT: _edged(_QUINT, _DECI),
    GridName.CENTER_CENTI_EDGE_CENTI_CENT: _even(_CENTI),
    GridName.CENTER_DECI_EDGE_CENTI_CENT: _edged(_DECI, _CENTI, width=_CENT),
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
    """One market as it is listed. Times in UTC milliseconds; strikes in the unit of the underlying.

    Until ``fee_waiver_until_ms`` it charges nothing. ``strike_word`` is what it is listed as when that is none of the
    structured types (``strike_type`` is OTHER then). ``legs`` are what a combo selects. ``early_close`` is the
    condition under which it closes before its time, empty for one that does not.
    """

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
    fee_waiver_until_ms: int | None = None
    strike_word: str | None = None
    legs: tuple[ComboLeg, ...] = ()
    early_close: str = ""

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

    @property
    def is_combo(self) -> bool:
        """Whether its markets are combos, which the exchange lists apart from all others."""
        return any(market.legs for market in self.markets)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to buy ``count`` of ``outcome`` at ``limit`` (that outcome's price) or better.

    A bid on the exchange's one book is a purchase of YES, an ask a purchase of NO at the complement. ``shard`` None
    routes by ticker. What rests of a good-till-cancelled order leaves the book at ``expiration_ms`` (UTC milliseconds;
    None never); ``cancel_on_pause`` takes it off when trading is paused for any reason.
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
    expiration_ms: int | None = None
    order_group_id: str | None = None
    cancel_on_pause: bool = False


@unique
class Keep(Enum):
    """Says of a field of an amendment that it stays as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class Amendment:
    """New terms for a resting order.

    ``count`` is the total: what was filled already and what is to remain. ``ticker`` and ``outcome`` must be the
    order's own, and so must ``client_order_id`` when it is given. ``expiration_ms`` None clears the expiry.
    """

    order_id: str
    ticker: str
    outcome: Outcome
    limit: Price
    count: Count
    client_order_id: str | None = None
    updated_client_order_id: str | None = None
    expiration_ms: int | Keep | None = KEEP
    shard: int | None = None
