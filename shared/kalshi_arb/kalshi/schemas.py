"""Wire models of the REST API and their mapping to the domain.

Unknown fields are ignored, since the exchange adds fields at any time. A field we need that is missing or malformed
raises ``WireFormatError``: an API change must be an error, never a silent zero. Amounts are decimal strings; bare
numbers have been seen and are read too.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.fees import FeeSchedule, schedule_from_wire
from kalshi_arb.domain.grid import grid_from_wire
from kalshi_arb.domain.market import ComboLeg, Market, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import (
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_from_wire,
    complement,
    count_from_wire,
    count_to_wire,
    price_from_wire,
    price_to_wire,
)
from kalshi_arb.domain.portfolio import Fill, OrderReport, OrderRequest, Settlement
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.ports import EventListing, MarketState

T = TypeVar("T")
Amount = str | int | float

_CASH_PER_CENT = 10_000
_PRICE_PER_CENT = 100


class SeriesWire(msgspec.Struct):
    """A series: what its markets charge unless their event says otherwise."""

    ticker: str
    fee_type: str
    fee_multiplier: Decimal


class SeriesReply(msgspec.Struct):
    """``GET /series/{ticker}``."""

    series: SeriesWire


class SeriesListReply(msgspec.Struct):
    """``GET /series``: every series in one reply, not paginated."""

    series: list[SeriesWire] | None = None


class LegWire(msgspec.Struct):
    """A leg of a combo."""

    event_ticker: str
    market_ticker: str
    side: str


class MarketWire(msgspec.Struct):
    """A market, as nested in an event. Strikes are read from the exact text of the number."""

    ticker: str
    event_ticker: str
    status: str
    close_time: str
    price_ranges: list[dict[str, Amount]]
    rules_primary: str
    market_type: str = "binary"
    title: str | None = None
    yes_sub_title: str | None = None
    rules_secondary: str | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    custom_strike: Any = None
    exchange_index: int | None = None
    mve_selected_legs: list[LegWire] | None = None


class EventWire(msgspec.Struct):
    """An event with its nested markets."""

    event_ticker: str
    series_ticker: str
    mutually_exclusive: bool
    title: str = ""
    markets: list[MarketWire] | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    exchange_index: int | None = None


class EventsReply(msgspec.Struct):
    """One page of ``GET /events``. Items stay raw so that one odd event does not cost the whole page."""

    events: list[msgspec.Raw]
    cursor: str | None = None


class EventReply(msgspec.Struct):
    """``GET /events/{ticker}``."""

    event: msgspec.Raw


class QuoteWire(msgspec.Struct):
    """What tells whether a market of a listing is quoted: a side is there when its size is."""

    event_ticker: str
    yes_bid_size_fp: Amount = 0
    yes_ask_size_fp: Amount = 0


class QuotesReply(msgspec.Struct):
    """One page of ``GET /markets``, newest first."""

    markets: list[QuoteWire]


class StateWire(msgspec.Struct):
    """Where a market of a listing stands. ``settlement_value_dollars`` is the payout of one YES."""

    ticker: str
    event_ticker: str
    status: str
    result: str = ""
    settlement_value_dollars: Amount | None = None


class StatesReply(msgspec.Struct):
    """``GET /markets`` with tickers: never more than one page."""

    markets: list[StateWire]


class BookLevels(msgspec.Struct):
    """Resting bids of both outcomes, ascending, an empty side is ``[]``."""

    yes_dollars: list[tuple[Amount, Amount]]
    no_dollars: list[tuple[Amount, Amount]]


class BookWire(msgspec.Struct):
    """One book of ``GET /markets/orderbooks``."""

    ticker: str
    orderbook_fp: BookLevels


class BooksReply(msgspec.Struct):
    """``GET /markets/orderbooks``."""

    orderbooks: list[BookWire]


class ErrorWire(msgspec.Struct):
    """An error object, alone or in a batch item."""

    code: str = "unknown_error"


class PlacedWire(msgspec.Struct):
    """The answer to one created order; in a batch it may carry an error instead."""

    order_id: str | None = None
    client_order_id: str | None = None
    fill_count: Amount | None = None
    error: ErrorWire | None = None


class BatchReply(msgspec.Struct):
    """``POST /portfolio/events/orders/batched``."""

    orders: list[PlacedWire]


class OrderWire(msgspec.Struct):
    """An order of ours."""

    order_id: str
    ticker: str
    status: str
    fill_count_fp: Amount
    client_order_id: str | None = None


class OrdersReply(msgspec.Struct):
    """One page of ``GET /portfolio/orders``."""

    orders: list[OrderWire]
    cursor: str | None = None


class FillWire(msgspec.Struct):
    """A fill of ours. It carries no client order id."""

    trade_id: str
    order_id: str
    ticker: str
    outcome_side: str
    count_fp: Amount
    yes_price_dollars: Amount
    no_price_dollars: Amount
    fee_cost: Amount
    created_time: str


class FillsReply(msgspec.Struct):
    """One page of ``GET /portfolio/fills``."""

    fills: list[FillWire]
    cursor: str | None = None


class PositionWire(msgspec.Struct):
    """A signed net position."""

    ticker: str
    position_fp: Amount


class PositionsReply(msgspec.Struct):
    """One page of ``GET /portfolio/positions``."""

    market_positions: list[PositionWire]
    cursor: str | None = None


class SettlementWire(msgspec.Struct):
    """A paid settlement. ``revenue`` and ``value`` (payout of one YES) are whole cents."""

    ticker: str
    market_result: str
    revenue: int
    settled_time: str
    value: int | None = None


class SettlementsReply(msgspec.Struct):
    """One page of ``GET /portfolio/settlements``."""

    settlements: list[SettlementWire]
    cursor: str | None = None


class ShardBalance(msgspec.Struct):
    """Cash on one shard, in dollars."""

    exchange_index: int
    balance: Amount


class BalanceReply(msgspec.Struct):
    """``GET /portfolio/balance``: only the breakdown counts, an order draws on its own shard alone."""

    balance_breakdown: list[ShardBalance]


class UserDataReply(msgspec.Struct):
    """``GET /exchange/user_data_timestamp``."""

    as_of_time: str


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def read(content: bytes | msgspec.Raw, shape: type[T], what: str) -> T:
    """Decode an answer into its wire model.

    :raises WireFormatError: not JSON, or a needed field is missing or of another type.
    """
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.json.Decoder(shape)
    try:
        result: T = decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireFormatError(f"{what}: {error}") from error
    return result


def time_ms(text: str) -> int:
    """UTC milliseconds of an RFC 3339 time.

    :raises WireFormatError: not one, or without an offset.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WireFormatError(f"not a time: {text!r}") from error
    if moment.tzinfo is None:
        raise WireFormatError(f"a time without an offset: {text!r}")
    # Whole seconds and microseconds apart: a float of today's epoch cannot hold milliseconds exactly.
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def fee_schedule(event: EventWire, series: SeriesWire) -> FeeSchedule:
    """The event's override when both of its fields are set, else the series' schedule.

    :raises AmountError: a multiplier that is no amount.
    """
    if event.fee_type_override is not None and event.fee_multiplier_override is not None:
        return schedule_from_wire(event.fee_type_override, f"{event.fee_multiplier_override:f}")
    return schedule_from_wire(series.fee_type, f"{series.fee_multiplier:f}")


def rules_fingerprint(primary: str, secondary: str) -> str:
    """Hash of the rules text; the separator keeps text from moving between the two parts unseen."""
    return hashlib.sha256(f"{primary}\x00{secondary}".encode()).hexdigest()


def rules_text(wire: MarketWire) -> str:
    """Both parts of the rules text, as they are read."""
    return f"{wire.rules_primary}\n{wire.rules_secondary or ''}"


def to_listing(event: EventWire, series: SeriesWire) -> EventListing:
    """Map an event with nested markets.

    :raises WireFormatError: a market that cannot be mapped. The whole event is refused then, because an event with a
        market left out would look like a smaller and different event.
    """
    try:
        fees = fee_schedule(event, series)
        markets = tuple(_to_market(market, event, fees) for market in event.markets or ())
    except DomainError as error:
        raise WireFormatError(f"event {event.event_ticker}: {error}") from error
    rules = {market.ticker: rules_text(market) for market in event.markets or ()}
    return EventListing(event.event_ticker, event.series_ticker, event.title, event.mutually_exclusive, markets, rules)


def _to_market(wire: MarketWire, event: EventWire, fees: FeeSchedule) -> tuple[Market, MarketStatus]:
    if wire.market_type != "binary":
        raise WireFormatError(f"market {wire.ticker} is {wire.market_type}, not binary")
    if wire.event_ticker != event.event_ticker:
        raise WireFormatError(f"market {wire.ticker} of event {wire.event_ticker} is nested in {event.event_ticker}")
    try:
        status = MarketStatus(wire.status)
    except ValueError as error:
        raise WireFormatError(f"market {wire.ticker} has the unknown status {wire.status!r}") from error
    shard = wire.exchange_index if wire.exchange_index is not None else event.exchange_index
    if shard is None:
        raise WireFormatError(f"market {wire.ticker} names no exchange_index")
    market = Market(
        ticker=wire.ticker,
        event_ticker=wire.event_ticker,
        series_ticker=event.series_ticker,
        strike_type=_strike_type(wire.strike_type),
        floor=wire.floor_strike,
        cap=wire.cap_strike,
        subject=_subject(wire.custom_strike),
        title=wire.title or wire.yes_sub_title or wire.ticker,
        grid=grid_from_wire(wire.price_ranges),
        fees=fees,
        shard=shard,
        close_ms=time_ms(wire.close_time),
        rules_fingerprint=rules_fingerprint(wire.rules_primary, wire.rules_secondary or ""),
        legs=tuple(_to_leg(leg, wire.ticker) for leg in wire.mve_selected_legs or ()),
    )
    return market, status


def _to_leg(wire: LegWire, combo: str) -> ComboLeg:
    try:
        return ComboLeg(wire.event_ticker, wire.market_ticker, Outcome(wire.side))
    except ValueError as error:
        raise WireFormatError(f"combo {combo} selects the unknown side {wire.side!r}") from error


def is_quoted(wire: QuoteWire) -> bool:
    """Whether anything can be bought.

    :raises WireFormatError: a size that is no count of contracts.
    """
    try:
        return any(count_from_wire(size) > 0 for size in (wire.yes_bid_size_fp, wire.yes_ask_size_fp))
    except DomainError as error:
        raise WireFormatError(f"quote in {wire.event_ticker}: {error}") from error


def _strike_type(text: str | None) -> StrikeType:
    try:
        return StrikeType(text)
    except ValueError:
        return StrikeType.OTHER


def _subject(custom_strike: object) -> str:
    if not custom_strike:
        return ""
    return json.dumps(custom_strike, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_book(wire: BookWire, received_ms: int) -> BookSnapshot:
    """Map a REST book. It has no place in the stream's order, so its version is (0, 0, 0).

    :raises WireFormatError: a level that cannot rest on a book.
    """
    levels = wire.orderbook_fp
    return BookSnapshot(
        wire.ticker,
        BookVersion(0, 0, 0),
        received_ms,
        received_ms,
        _to_levels(levels.yes_dollars, wire.ticker),
        _to_levels(levels.no_dollars, wire.ticker),
    )


def _to_levels(levels: Iterable[tuple[Amount, Amount]], ticker: str) -> tuple[Level, ...]:
    side: dict[Price, Count] = {}
    for price_text, count_text in levels:
        try:
            price, count = price_from_wire(price_text), count_from_wire(count_text)
        except DomainError as error:
            raise WireFormatError(f"book of {ticker}: {error}") from error
        if not 0 < price < ONE_DOLLAR or count <= 0 or price in side:
            raise WireFormatError(f"book of {ticker}: impossible level {price_text} x {count_text}")
        side[price] = count
    return tuple(Level(price, side[price]) for price in sorted(side, reverse=True))


def order_to_wire(order: OrderRequest) -> dict[str, object]:
    """The body of a created order: one book in YES terms, so buying NO at q is an ask at 1 - q."""
    buys_yes = order.outcome is Outcome.YES
    return {
        "ticker": order.ticker,
        "client_order_id": order.client_order_id,
        "side": "bid" if buys_yes else "ask",
        "count": count_to_wire(order.count),
        "price": price_to_wire(order.limit if buys_yes else complement(order.limit)),
        "time_in_force": order.time_in_force.value,
        "self_trade_prevention_type": "taker_at_cross",
        "exchange_index": order.shard,
    }


def to_report(wire: OrderWire) -> OrderReport:
    """Map an order read back; its fill count is final unless it rests. An order without a client order id maps to an
    empty one.

    :raises WireFormatError: a fill count that is no count.
    """
    return OrderReport(wire.client_order_id or "", wire.order_id, filled_count(wire.fill_count_fp), None)


def filled_count(amount: Amount) -> Count:
    """:raises WireFormatError: not a count of contracts."""
    try:
        count = count_from_wire(amount)
    except DomainError as error:
        raise WireFormatError(f"fill count: {error}") from error
    if count < 0:
        raise WireFormatError(f"fill count {amount} is negative")
    return count


def to_fill(wire: FillWire) -> Fill:
    """Map a fill; the price is that of the outcome bought.

    :raises WireFormatError: an amount, an outcome or a time that cannot be read.
    """
    try:
        outcome = Outcome(wire.outcome_side)
        price = price_from_wire(wire.yes_price_dollars if outcome is Outcome.YES else wire.no_price_dollars)
        count, fee = count_from_wire(wire.count_fp), cash_from_wire(wire.fee_cost)
    except (DomainError, ValueError) as error:
        raise WireFormatError(f"fill {wire.trade_id}: {error}") from error
    return Fill(wire.trade_id, wire.order_id, wire.ticker, outcome, count, price, fee, time_ms(wire.created_time))


def to_position(wire: PositionWire) -> Count:
    """:raises WireFormatError: not a count of contracts."""
    try:
        return count_from_wire(wire.position_fp)
    except DomainError as error:
        raise WireFormatError(f"position of {wire.ticker}: {error}") from error


def to_settlement(wire: SettlementWire) -> Settlement:
    """Map a settlement; a scalar result takes its payout from ``value``.

    :raises WireFormatError: an unknown result, or a scalar one without a value.
    """
    if wire.market_result == "yes":
        payout = ONE_DOLLAR
    elif wire.market_result == "no":
        payout = Price(0)
    elif wire.market_result == "scalar" and wire.value is not None:
        payout = Price(wire.value * _PRICE_PER_CENT)
    else:
        raise WireFormatError(f"settlement of {wire.ticker}: result {wire.market_result!r}, value {wire.value!r}")
    return Settlement(wire.ticker, payout, Cash(wire.revenue * _CASH_PER_CENT), time_ms(wire.settled_time))


def to_state(wire: StateWire) -> MarketState:
    """Map where a market stands; nothing is paid before it is finalized.

    :raises WireFormatError: an unknown status, or a finalized market that names no payout.
    """
    try:
        status = MarketStatus(wire.status)
        payout = None if wire.settlement_value_dollars is None else price_from_wire(wire.settlement_value_dollars)
    except (ValueError, DomainError) as error:
        raise WireFormatError(f"market {wire.ticker}: {error}") from error
    if status is not MarketStatus.FINALIZED:
        return MarketState(wire.ticker, wire.event_ticker, status, None)
    if payout is None:
        payout = {"yes": ONE_DOLLAR, "no": Price(0)}.get(wire.result)
    if payout is None:
        raise WireFormatError(f"market {wire.ticker} is finalized with result {wire.result!r} and no value")
    return MarketState(wire.ticker, wire.event_ticker, status, payout)


def to_balances(reply: BalanceReply) -> dict[int, Cash]:
    """Cash by shard.

    :raises WireFormatError: an amount that cannot be read.
    """
    try:
        return {shard.exchange_index: cash_from_wire(shard.balance) for shard in reply.balance_breakdown}
    except DomainError as error:
        raise WireFormatError(f"balance: {error}") from error
