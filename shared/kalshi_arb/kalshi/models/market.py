"""Series, events, markets, books, fee changes, and the exchange's own state."""

from typing import Any

from kalshi_arb.kalshi.wire import (
    PageModel,
    WireCost,
    WireLevel,
    WireModel,
    WireNumber,
    WirePrice,
    WireSize,
    WireTime,
)


class SourceWire(WireModel):
    """Where a result comes from."""

    name: str | None = None
    url: str | None = None


class SeriesWire(WireModel):
    """A series. Its fees are what its markets charge unless their event says otherwise."""

    ticker: str
    fee_type: str
    fee_multiplier: WireNumber
    title: str = ""
    frequency: str = ""
    category: str = ""
    categories: list[str] | None = None
    tags: list[str] | None = None
    settlement_sources: list[SourceWire] | None = None
    contract_url: str | None = None
    contract_terms_url: str | None = None
    product_metadata: dict[str, Any] | None = None
    additional_prohibitions: list[str] | None = None
    volume_fp: WireSize | None = None
    last_updated_ts: WireTime | None = None
    exchange_index: int | None = None


class SeriesReply(WireModel):
    """``GET /series/{ticker}``."""

    series: SeriesWire


class SeriesListReply(WireModel):
    """``GET /series``: every series in one reply, not paginated."""

    series: list[SeriesWire] | None


class SeriesFeeChangeWire(WireModel):
    """From ``scheduled_ts`` on a series charges this."""

    id: str
    series_ticker: str
    fee_type: str
    fee_multiplier: WireNumber
    scheduled_ts: WireTime


class SeriesFeeChangesReply(WireModel):
    """``GET /series/fee_changes``."""

    series_fee_change_arr: list[SeriesFeeChangeWire] | None


class EventFeeChangeWire(WireModel):
    """From ``scheduled_ts`` on an event charges this; both fields null end its override."""

    id: str
    event_ticker: str
    fee_type_override: str | None
    fee_multiplier_override: WireNumber | None
    scheduled_ts: WireTime
    series_ticker: str | None = None


class EventFeeChangesReply(PageModel):
    """One page of ``GET /events/fee_changes``."""

    event_fee_changes: list[EventFeeChangeWire] | None


class PriceRangeWire(WireModel):
    """One band of a market's tick grid."""

    start: WirePrice
    end: WirePrice
    step: WirePrice


class LegWire(WireModel):
    """A leg of a combo."""

    event_ticker: str
    market_ticker: str
    side: str
    yes_settlement_value_dollars: WireCost | None = None


class MarketWire(WireModel):
    """A market. Strikes are the exact digits of the number. Quotes may be 15 seconds old, and a side exists only if its
    size is positive; ``yes_ask_size_fp`` is the size of the best NO bid. ``fractional_trading_enabled`` is no longer
    sent since every market trades hundredths of a contract (Kalshi API changelog, 2026-07-09)."""

    ticker: str
    event_ticker: str
    status: str
    close_time: WireTime
    price_ranges: list[PriceRangeWire]
    rules_primary: str
    rules_secondary: str | None = None
    market_type: str = "binary"
    title: str | None = None
    subtitle: str | None = None
    yes_sub_title: str | None = None
    no_sub_title: str | None = None
    created_time: WireTime | None = None
    updated_time: WireTime | None = None
    open_time: WireTime | None = None
    expiration_time: WireTime | None = None
    expected_expiration_time: WireTime | None = None
    latest_expiration_time: WireTime | None = None
    occurrence_datetime: WireTime | None = None
    settlement_timer_seconds: int | None = None
    settlement_ts: WireTime | None = None
    settlement_value_dollars: WirePrice | None = None
    settlement_bounds_type: str | None = None
    settlement_floor_dollars: WireCost | None = None
    result: str = ""
    expiration_value: str | None = None
    can_close_early: bool | None = None
    early_close_condition: str | None = None
    strike_type: str | None = None
    floor_strike: WireNumber | None = None
    cap_strike: WireNumber | None = None
    functional_strike: str | None = None
    custom_strike: dict[str, Any] | None = None
    exchange_index: int | None = None
    fractional_trading_enabled: bool | None = None
    fee_waiver_expiration_time: WireTime | None = None
    mve_collection_ticker: str | None = None
    mve_selected_legs: list[LegWire] | None = None
    is_provisional: bool | None = None
    primary_participant_key: str | None = None
    price_level_structure: str | None = None
    notional_value_dollars: WireCost | None = None
    yes_bid_dollars: WirePrice | None = None
    yes_ask_dollars: WirePrice | None = None
    no_bid_dollars: WirePrice | None = None
    no_ask_dollars: WirePrice | None = None
    yes_bid_size_fp: WireSize | None = None
    yes_ask_size_fp: WireSize | None = None
    last_price_dollars: WireCost | None = None
    previous_price_dollars: WireCost | None = None
    previous_yes_bid_dollars: WireCost | None = None
    previous_yes_ask_dollars: WireCost | None = None
    volume_fp: WireSize | None = None
    volume_24h_fp: WireSize | None = None
    open_interest_fp: WireSize | None = None


class MarketReply(WireModel):
    """``GET /markets/{ticker}``."""

    market: MarketWire


class MarketsReply(PageModel):
    """One page of ``GET /markets`` or ``GET /historical/markets``, newest first."""

    markets: list[MarketWire]


class EventWire(WireModel):
    """An event, with its markets when they were asked for."""

    event_ticker: str
    series_ticker: str
    mutually_exclusive: bool | None = None
    title: str = ""
    sub_title: str | None = None
    collateral_return_type: str | None = None
    category: str | None = None
    strike_date: WireTime | None = None
    strike_period: str | None = None
    markets: list[MarketWire] | None = None
    product_metadata: dict[str, Any] | None = None
    settlement_sources: list[SourceWire] | None = None
    last_updated_ts: WireTime | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: WireNumber | None = None
    exchange_index: int | None = None


class EventsReply(PageModel):
    """One page of ``GET /events`` or ``GET /events/multivariate``. Items stay as they came, so that one odd event does
    not cost the whole page."""

    ignored = frozenset({"milestones"})

    events: list[dict[str, Any]]


class EventReply(WireModel):
    """``GET /events/{ticker}``. ``markets`` beside the event is the older place of its markets."""

    ignored = frozenset({"markets"})

    event: dict[str, Any]


class MarketImageWire(WireModel):
    """How a market is shown."""

    market_ticker: str
    image_url: str | None = None
    color_code: str | None = None


class EventMetadataReply(WireModel):
    """``GET /events/{ticker}/metadata``."""

    market_details: list[MarketImageWire] | None = None
    settlement_sources: list[SourceWire] | None = None
    image_url: str | None = None
    featured_image_url: str | None = None
    competition: str | None = None
    competition_scope: str | None = None


class LevelsWire(WireModel):
    """Resting bids of both outcomes, ascending, as (price, contracts); an empty side is ``[]``."""

    yes_dollars: list[WireLevel]
    no_dollars: list[WireLevel]


class OrderbookReply(WireModel):
    """``GET /markets/{ticker}/orderbook``. An unknown ticker has an empty book."""

    orderbook_fp: LevelsWire


class BookWire(WireModel):
    """One book of ``GET /markets/orderbooks``."""

    ticker: str
    orderbook_fp: LevelsWire


class OrderbooksReply(WireModel):
    """``GET /markets/orderbooks``."""

    orderbooks: list[BookWire]


class ShardStatusWire(WireModel):
    """The state of one shard."""

    exchange_index: int
    exchange_active: bool
    trading_active: bool
    description: str = ""
    intra_exchange_transfers_active: bool | None = None


class ExchangeStatusReply(WireModel):
    """``GET /exchange/status``."""

    exchange_active: bool
    trading_active: bool
    intra_exchange_transfers_active: bool | None = None
    exchange_estimated_resume_time: WireTime | None = None
    exchange_index_statuses: list[ShardStatusWire] | None = None


class HoursWire(WireModel):
    """A session, Eastern Time, ``HH:MM``."""

    open_time: str
    close_time: str


class WeekWire(WireModel):
    """Trading hours of a week, valid from ``start_time`` to ``end_time``."""

    start_time: WireTime
    end_time: WireTime
    monday: list[HoursWire]
    tuesday: list[HoursWire]
    wednesday: list[HoursWire]
    thursday: list[HoursWire]
    friday: list[HoursWire]
    saturday: list[HoursWire]
    sunday: list[HoursWire]


class MaintenanceWire(WireModel):
    """A window in which the exchange is down."""

    start_datetime: WireTime
    end_datetime: WireTime


class ScheduleWire(WireModel):
    """When the exchange is open."""

    standard_hours: list[WeekWire]
    maintenance_windows: list[MaintenanceWire]


class ScheduleReply(WireModel):
    """``GET /exchange/schedule``."""

    schedule: ScheduleWire


class UserDataReply(WireModel):
    """``GET /exchange/user_data_timestamp``: how far orders, fills, positions and balance have caught up."""

    as_of_time: WireTime
