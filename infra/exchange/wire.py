"""The core's facts in the exchange's REST and WebSocket shapes (Kalshi API documentation, OpenAPI 3.34)."""

import zlib
from datetime import UTC, datetime
from decimal import Decimal

from infra.exchange.core import ExchangeCore
from infra.exchange.market import MarketState
from infra.exchange.terms import EventTerms, MarketTerms, SeriesTerms
from kalshi_arb.domain.book import Bids
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule
from kalshi_arb.domain.grid import grid_to_wire
from kalshi_arb.domain.market import MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import (
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_to_wire,
    complement,
    count_to_wire,
    price_to_wire,
    print_decimal,
)

Json = dict[str, object]

_MICROS_PER_CENT = 10_000
_ZERO_PRICE = price_to_wire(Price(0))
_ZERO_COUNT = count_to_wire(Count(0))
_EXPIRY_SLACK_MS = 3_600_000


def iso(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return f"{datetime.fromtimestamp(ms // 1_000, tz=UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"


def amount(cash: Cash) -> str:
    """A dollar amount with four decimals, or six when four would lose something."""
    return print_decimal(cash // 100, 4) if cash % 100 == 0 else cash_to_wire(cash)


def number(value: Decimal) -> int | float:
    """A strike as the JSON number it is on the wire."""
    return int(value) if value == value.to_integral_value() else float(value)


def book_side(outcome: Outcome) -> str:
    """`bid` for what positions for YES, `ask` for NO."""
    return "bid" if outcome is Outcome.YES else "ask"


def result(market: MarketState) -> str:
    """`yes`, `no`, `scalar`, or nothing before determination."""
    if market.payout is None:
        return ""
    return {0: "no", int(ONE_DOLLAR): "yes"}.get(market.payout, "scalar")


def collateral_return(event: EventTerms) -> str:
    """`MECNET` exactly when at most one market can resolve YES."""
    return "MECNET" if event.mutually_exclusive else ""


def _sentinel(market: MarketState) -> Price:
    # Markets differ in what they show for a quote that is not there, and nothing tells which do what.
    return ONE_DOLLAR if zlib.crc32(market.ticker.encode()) % 2 else Price(0)


def quotes_json(market: MarketState) -> Json:
    """Best quotes. Where a side is empty its price is 0 or 1 dollar, and only the size of 0 says so."""
    yes, no = market.book.yes.best, market.book.no.best
    nothing = _sentinel(market)
    return {
        "yes_bid_dollars": price_to_wire(yes.price if yes else nothing),
        "yes_ask_dollars": price_to_wire(complement(no.price) if no else nothing),
        "yes_bid_size_fp": count_to_wire(yes.size) if yes else _ZERO_COUNT,
        "yes_ask_size_fp": count_to_wire(no.size) if no else _ZERO_COUNT,
    }


def strikes_json(terms: MarketTerms) -> Json:
    """The strike fields that a market has."""
    fields: Json = {}
    if terms.strike_type is not StrikeType.OTHER:
        fields["strike_type"] = terms.strike_type.value
    elif terms.strike_word is not None:
        fields["strike_type"] = terms.strike_word
    if terms.floor is not None:
        fields["floor_strike"] = number(terms.floor)
    if terms.cap is not None:
        fields["cap_strike"] = number(terms.cap)
    if terms.custom_strike is not None:
        fields["custom_strike"] = dict(terms.custom_strike)
    return fields


def market_json(market: MarketState) -> Json:
    """A Market object."""
    terms, quotes = market.terms, quotes_json(market)
    yes, no = market.book.yes.best, market.book.no.best
    fields: Json = {
        "ticker": terms.ticker,
        "event_ticker": terms.event_ticker,
        "market_type": "binary",
        "title": terms.title,
        "yes_sub_title": terms.sub_title,
        "no_sub_title": terms.sub_title,
        "created_time": iso(market.created_ms),
        "updated_time": iso(market.updated_ms),
        "open_time": iso(terms.open_ms),
        "close_time": iso(terms.close_ms),
        "expected_expiration_time": iso(terms.close_ms),
        "latest_expiration_time": iso(terms.close_ms + _EXPIRY_SLACK_MS),
        "settlement_timer_seconds": terms.settlement_timer_s,
        "status": market.status.value,
        "notional_value_dollars": price_to_wire(ONE_DOLLAR),
        **quotes,
        "no_bid_dollars": price_to_wire(no.price if no else _sentinel(market)),
        "no_ask_dollars": price_to_wire(complement(yes.price) if yes else _sentinel(market)),
        "last_price_dollars": price_to_wire(market.last_price or Price(0)),
        "previous_yes_bid_dollars": _ZERO_PRICE,
        "previous_yes_ask_dollars": _ZERO_PRICE,
        "previous_price_dollars": _ZERO_PRICE,
        "volume_fp": count_to_wire(market.volume),
        "volume_24h_fp": count_to_wire(market.volume),
        "open_interest_fp": count_to_wire(market.open_interest),
        "result": result(market),
        "can_close_early": bool(terms.early_close),
        "expiration_value": market.expiration_value,
        "rules_primary": terms.rules,
        "rules_secondary": "",
        "price_level_structure": terms.grid_name.value,
        "price_ranges": grid_to_wire(terms.grid),
        "settlement_bounds_type": "default",
        "exchange_index": market.series.shard,
        **strikes_json(terms),
    }
    if terms.fee_waiver_until_ms is not None:
        fields["fee_waiver_expiration_time"] = iso(terms.fee_waiver_until_ms)
    if terms.early_close:
        fields["early_close_condition"] = terms.early_close
    if terms.legs:
        fields["mve_collection_ticker"] = market.series.ticker
        fields["mve_selected_legs"] = [
            {"event_ticker": leg.event_ticker, "market_ticker": leg.ticker, "side": leg.outcome.value}
            for leg in terms.legs
        ]
    if market.payout is not None:
        fields["settlement_value_dollars"] = price_to_wire(market.payout)
    if market.settled_ms is not None:
        fields["settlement_ts"] = iso(market.settled_ms)
    return fields


def fees_json(schedule: FeeSchedule) -> Json:
    """What a series charges."""
    multiplier = number(Decimal(schedule.multiplier).scaleb(-MULTIPLIER_DECIMALS))
    return {"fee_type": schedule.fee_type.value, "fee_multiplier": multiplier}


def override_json(schedule: FeeSchedule | None) -> Json:
    """What an event charges in place of its series; null when nothing."""
    fields = dict.fromkeys(("fee_type", "fee_multiplier")) if schedule is None else fees_json(schedule)
    return {f"{name}_override": value for name, value in fields.items()}


def event_json(core: ExchangeCore, event: EventTerms, *, nested: bool) -> Json:
    """An EventData object; ``nested`` puts the markets inside."""
    fields: Json = {
        "event_ticker": event.ticker,
        "series_ticker": event.series_ticker,
        "title": event.title,
        "sub_title": event.sub_title,
        "collateral_return_type": collateral_return(event),
        "mutually_exclusive": event.mutually_exclusive,
        "category": core.series[event.series_ticker].category,
        "strike_date": iso(event.markets[0].close_ms),
        "settlement_sources": [],
        "last_updated_ts": iso(core.markets[event.markets[0].ticker].created_ms),
        "exchange_index": core.series[event.series_ticker].shard,
    }
    if event.fees_override is not None:
        fields |= override_json(event.fees_override)
    if nested:
        fields["markets"] = [market_json(core.markets[terms.ticker]) for terms in event.markets]
    return fields


def series_json(series: SeriesTerms, listed_ms: int, volume: Count | None = None) -> Json:
    """A Series object, with its volume when asked for."""
    fields: Json = {
        "ticker": series.ticker,
        "title": series.title,
        "frequency": series.frequency,
        "category": series.category,
        "categories": [series.category],
        "tags": [],
        "settlement_sources": [],
        "contract_url": "",
        "contract_terms_url": "",
        **fees_json(series.fees),
        "additional_prohibitions": [],
        "last_updated_ts": iso(listed_ms),
        "exchange_index": series.shard,
    }
    if volume is not None:
        fields["volume_fp"] = count_to_wire(volume)
    return fields


def levels_json(side: Bids, depth: int = 0) -> list[list[str]]:
    """The best ``depth`` levels (0 is all) as REST gives them: ascending, best last."""
    levels = list(side)[: depth or None]
    return [[price_to_wire(level.price), count_to_wire(level.size)] for level in reversed(levels)]


def orderbook_json(market: MarketState | None, depth: int = 0) -> Json:
    """Both sides' bids; an unknown market has an empty book."""
    if market is None:
        return {"yes_dollars": [], "no_dollars": []}
    return {
        "yes_dollars": levels_json(market.book.yes, depth),
        "no_dollars": levels_json(market.book.no, depth),
    }


def direction_json(outcome: Outcome) -> Json:
    """Direction in the current and in the deprecated words: everything is a purchase."""
    return {"outcome_side": outcome.value, "book_side": book_side(outcome), "side": outcome.value, "action": "buy"}


STATUS_FILTERS = {
    "unopened": (MarketStatus.INITIALIZED,),
    "open": (MarketStatus.ACTIVE,),
    "paused": (MarketStatus.INACTIVE,),
    "closed": (MarketStatus.CLOSED, MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED),
    "settled": (MarketStatus.FINALIZED,),
}
"""The words of the ``status`` filter, which are not the values of the ``status`` field."""
