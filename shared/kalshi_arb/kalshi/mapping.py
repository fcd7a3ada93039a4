"""What the models of the REST API mean in the domain.

An answer whose parts contradict each other, or that names a thing nobody knows, raises ``WireFormatError``.
"""

import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.collateral import EventCollateral
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import Band, PriceGrid
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import (
    RESULT_STATUSES,
    CollateralReturn,
    ComboLeg,
    Market,
    MarketStatus,
    Outcome,
    StrikeType,
)
from kalshi_arb.domain.money import HUNDREDTH, ONE_CONTRACT, ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, OrderReport, Settlement
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.kalshi.fee_reads import EventFees
from kalshi_arb.kalshi.models.account import BalanceReply, SettlementWire
from kalshi_arb.kalshi.models.market import BookWire, EventWire, LegWire, MarketWire
from kalshi_arb.kalshi.models.orders import FillWire, OrderWire
from kalshi_arb.ports import MarketState

_CASH_PER_CENT = 10_000
_PRICE_PER_CENT = 100


def rules_fingerprint(primary: str, secondary: str) -> str:
    """Hash of the rules text; the separator keeps text from moving between the two parts unseen."""
    return hashlib.sha256(f"{primary}\x00{secondary}".encode()).hexdigest()


def rules_text(wire: MarketWire) -> str | None:
    """Both parts of the rules text, as they are read; None when the market has none."""
    text = f"{wire.rules_primary}\n{wire.rules_secondary or ''}"
    return text if text.strip() else None


_EVENT_FIELDS = frozenset(
    {"mutually_exclusive", "collateral_return_type", "settlement_sources", "strike_date", "last_updated_ts"}
)
_MARKET_FIELDS = frozenset(
    {
        *("early_close_condition", "can_close_early", "expected_expiration_time", "occurrence_datetime"),
        *("strike_type", "rules_secondary"),
    }
)


def to_listing(event: EventWire, fees: EventFees) -> EventListing:
    """Map an event with nested markets.

    :raises WireFormatError: a market that cannot be mapped. The whole event is refused then, because an event with a
        market left out would look like a smaller and different event.
    """
    wires = event.markets or ()
    try:
        markets = tuple(_to_listed(wire, event, fees) for wire in wires)
    except DomainError as error:
        raise WireFormatError(f"event {event.event_ticker}: {error}") from error
    absent = _EVENT_FIELDS - event.model_fields_set
    if wires:
        absent |= _MARKET_FIELDS.difference(*(wire.model_fields_set for wire in wires))
    sources = event.settlement_sources
    return EventListing(
        event_ticker=event.event_ticker,
        series_ticker=event.series_ticker,
        title=event.title,
        mutually_exclusive=event.mutually_exclusive,
        markets=markets,
        sources=None if sources is None else tuple(source.name or "" for source in sources),
        collateral_return=event.collateral_return_type,
        strike_date_ms=event.strike_date,
        updated_ms=event.last_updated_ts,
        absent=absent,
    )


def _to_listed(wire: MarketWire, event: EventWire, fees: EventFees) -> ListedMarket:
    return ListedMarket(
        market=_to_market(wire, event, fees.now(wire.fee_waiver_expiration_time)),
        status=market_status(wire),
        rules=rules_text(wire),
        early_close=wire.early_close_condition,
        can_close_early=wire.can_close_early,
        expected_expiration_ms=wire.expected_expiration_time,
        occurrence_ms=wire.occurrence_datetime,
        strike_text=wire.strike_type,
        fee_change_ms=fees.next_change_ms(wire.fee_waiver_expiration_time),
    )


def _to_market(wire: MarketWire, event: EventWire, fees: FeeSchedule) -> Market:
    if wire.market_type != "binary":
        raise WireFormatError(f"market {wire.ticker} is {wire.market_type}, not binary")
    if wire.event_ticker != event.event_ticker:
        raise WireFormatError(f"market {wire.ticker} of event {wire.event_ticker} is nested in {event.event_ticker}")
    return Market(
        ticker=wire.ticker,
        event_ticker=wire.event_ticker,
        series_ticker=event.series_ticker,
        strike_type=_strike_type(wire.strike_type),
        floor=wire.floor_strike,
        cap=wire.cap_strike,
        subject=_subject(wire.custom_strike),
        title=wire.title or wire.yes_sub_title or wire.ticker,
        grid=PriceGrid(tuple(Band(band.start, band.end, band.step) for band in wire.price_ranges)),
        fees=fees,
        shard=_shard(wire, event),
        close_ms=wire.close_time,
        rules_fingerprint=rules_fingerprint(wire.rules_primary, wire.rules_secondary or ""),
        legs=tuple(_to_leg(leg, wire.ticker) for leg in wire.mve_selected_legs or ()),
        collateral_return=_collateral_return(event.collateral_return_type),
        paid_by_ms=_paid_by_ms(wire),
        count_step=ONE_CONTRACT if wire.fractional_trading_enabled is False else HUNDREDTH,
    )


def _shard(wire: MarketWire, event: EventWire) -> int:
    shard = wire.exchange_index if wire.exchange_index is not None else event.exchange_index
    if shard is None:
        raise WireFormatError(f"market {wire.ticker} names no exchange_index")
    return shard


def to_collateral(event: EventWire) -> EventCollateral:
    """Map what an event with nested markets gives collateral back for.

    :raises WireFormatError: a market that cannot be mapped.
    """
    markets = event.markets or ()
    return EventCollateral(
        event.event_ticker,
        _collateral_return(event.collateral_return_type),
        next((_shard(wire, event) for wire in markets), event.exchange_index or 0),
        {wire.ticker: to_state(wire).yes_payout for wire in markets},
    )


def _collateral_return(text: str | None) -> CollateralReturn:
    """Anything unknown returns nothing, as far as we know."""
    try:
        return CollateralReturn(text or "")
    except ValueError:
        return CollateralReturn.NONE


def _paid_by_ms(wire: MarketWire) -> int | None:
    if wire.expected_expiration_time is None or wire.settlement_timer_seconds is None:
        return None
    return wire.expected_expiration_time + wire.settlement_timer_seconds * 1_000


def market_status(wire: MarketWire) -> MarketStatus:
    """:raises WireFormatError: a status that nobody knows."""
    try:
        return MarketStatus(wire.status)
    except ValueError as error:
        raise WireFormatError(f"market {wire.ticker} has the unknown status {wire.status!r}") from error


def _to_leg(wire: LegWire, combo: str) -> ComboLeg:
    try:
        return ComboLeg(wire.event_ticker, wire.market_ticker, Outcome(wire.side))
    except ValueError as error:
        raise WireFormatError(f"combo {combo} selects the unknown side {wire.side!r}") from error


def is_quoted(wire: MarketWire) -> bool:
    """Whether anything can be bought: a side is there when its size is."""
    return bool(wire.yes_bid_size_fp or wire.yes_ask_size_fp)


def _strike_type(text: str | None) -> StrikeType:
    try:
        return StrikeType(text)
    except ValueError:
        return StrikeType.OTHER


def _subject(custom_strike: dict[str, Any] | None) -> str:
    if not custom_strike:
        return ""
    return json.dumps(custom_strike, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_digits)


def _digits(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    raise TypeError(type(value).__name__)


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


def _to_levels(levels: Iterable[tuple[Price, Count]], ticker: str) -> tuple[Level, ...]:
    side: dict[Price, Count] = {}
    for price, count in levels:
        if not 0 < price < ONE_DOLLAR or count <= 0 or price in side:
            raise WireFormatError(
                f"book of {ticker}: impossible level {price} x {count} (1e-4 dollars, 1e-2 contracts)"
            )
        side[price] = count
    return tuple(Level(price, side[price]) for price in sorted(side, reverse=True))


def to_report(wire: OrderWire) -> OrderReport:
    """Map an order read back; its fill count is final unless it rests. An order without a client order id maps to an
    empty one."""
    return OrderReport(wire.client_order_id or "", wire.order_id, wire.fill_count_fp, None)


def to_fill(wire: FillWire) -> Fill:
    """Map a fill; the price is that of the outcome bought.

    :raises WireFormatError: an outcome that nobody knows, a fill of nothing, two prices that are no complements, or no
        time.
    """
    try:
        outcome = Outcome(wire.outcome_side)
    except ValueError as error:
        raise WireFormatError(f"fill {wire.trade_id}: unknown outcome {wire.outcome_side!r}") from error
    if wire.yes_price_dollars + wire.no_price_dollars != ONE_DOLLAR or wire.count_fp == 0:
        raise WireFormatError(
            f"fill {wire.trade_id}: {wire.count_fp} (1e-2 contracts) at {wire.yes_price_dollars} and "
            f"{wire.no_price_dollars} (1e-4 dollars)"
        )
    created_ms = wire.created_time
    if created_ms is None and wire.ts is not None:
        created_ms = wire.ts * 1000
    if created_ms is None:
        raise WireFormatError(f"fill {wire.trade_id}: it tells no time")
    price = wire.yes_price_dollars if outcome is Outcome.YES else wire.no_price_dollars
    return Fill(
        wire.trade_id, wire.order_id, wire.ticker, outcome, wire.count_fp, price, wire.fee_cost, created_ms,
        wire.exchange_index or 0,
    )  # fmt: skip


def to_settlement(wire: SettlementWire) -> Settlement:
    """Map a settlement; a scalar result takes its payout from ``value``.

    :raises WireFormatError: an unknown result, or a scalar one without a value from 0 to 100 cents, or revenue that
        was taken, not paid.
    """
    if wire.market_result == "yes":
        payout = ONE_DOLLAR
    elif wire.market_result == "no":
        payout = Price(0)
    elif wire.market_result == "scalar" and wire.value is not None and 0 <= wire.value <= 100:
        payout = Price(wire.value * _PRICE_PER_CENT)
    else:
        raise WireFormatError(f"settlement of {wire.ticker}: result {wire.market_result!r}, value {wire.value!r}")
    if wire.revenue < 0:
        raise WireFormatError(f"settlement of {wire.ticker}: revenue {wire.revenue}")
    return Settlement(
        wire.ticker, payout, Cash(wire.revenue * _CASH_PER_CENT), wire.settled_time, wire.exchange_index or 0
    )  # fmt: skip


def to_state(wire: MarketWire) -> MarketState:
    """Map where a market stands; nothing is paid before it is finalized.

    :raises WireFormatError: an unknown status, or a finalized market that names no payout.
    """
    status = market_status(wire)
    payout = wire.settlement_value_dollars
    if payout is None:
        payout = {"yes": ONE_DOLLAR, "no": Price(0)}.get(wire.result)
    if status is not MarketStatus.FINALIZED:
        result = payout if status in RESULT_STATUSES else None
        return MarketState(wire.ticker, wire.event_ticker, status, None, wire.close_time, result)
    if payout is None:
        raise WireFormatError(f"market {wire.ticker} is finalized with result {wire.result!r} and no value")
    return MarketState(wire.ticker, wire.event_ticker, status, payout, wire.close_time, payout)


def to_balances(reply: BalanceReply) -> dict[int, Cash]:
    """Cash by shard.

    :raises WireFormatError: a shard is named twice.
    """
    balances = {shard.exchange_index: shard.balance for shard in reply.balance_breakdown}
    if len(balances) != len(reply.balance_breakdown):
        raise WireFormatError("balance: a shard is named twice")
    return balances
