"""The core's facts in the exchange's REST and WebSocket shapes (Kalshi API documentation, OpenAPI 3.32)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from infra.exchange.account import Account, FillView, OrderView, Position, SettlementView
from infra.exchange.core import ExchangeCore
from infra.exchange.market import MarketState
from infra.exchange.terms import EventTerms, MarketTerms, SeriesTerms
from kalshi_arb.domain.book import BookSide
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS
from kalshi_arb.domain.grid import grid_to_wire
from kalshi_arb.domain.market import MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import (
    ONE_CONTRACT,
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_to_wire,
    complement,
    count_to_wire,
    notional,
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


def quotes_json(market: MarketState) -> Json:
    """Best quotes; an empty side is 0 or 1 dollar with size 0."""
    yes, no = market.book.yes.best, market.book.no.best
    yes_bid = yes.price if yes else Price(0)
    no_bid = no.price if no else Price(0)
    return {
        "yes_bid_dollars": price_to_wire(yes_bid),
        "yes_ask_dollars": price_to_wire(complement(no_bid)),
        "yes_bid_size_fp": count_to_wire(yes.size) if yes else _ZERO_COUNT,
        "yes_ask_size_fp": count_to_wire(no.size) if no else _ZERO_COUNT,
    }


def strikes_json(terms: MarketTerms) -> Json:
    """The strike fields that a market has."""
    fields: Json = {}
    if terms.strike_type is not StrikeType.OTHER:
        fields["strike_type"] = terms.strike_type.value
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
        "no_bid_dollars": price_to_wire(no.price if no else Price(0)),
        "no_ask_dollars": price_to_wire(complement(yes.price if yes else Price(0))),
        "last_price_dollars": price_to_wire(market.last_price or Price(0)),
        "previous_yes_bid_dollars": _ZERO_PRICE,
        "previous_yes_ask_dollars": _ZERO_PRICE,
        "previous_price_dollars": _ZERO_PRICE,
        "volume_fp": count_to_wire(market.volume),
        "volume_24h_fp": count_to_wire(market.volume),
        "open_interest_fp": count_to_wire(market.open_interest),
        "result": result(market),
        "can_close_early": False,
        "expiration_value": market.expiration_value,
        "rules_primary": terms.rules,
        "rules_secondary": "",
        "price_level_structure": terms.grid_name.value,
        "price_ranges": grid_to_wire(terms.grid),
        "settlement_bounds_type": "default",
        "exchange_index": market.series.shard,
        **strikes_json(terms),
    }
    if market.payout is not None:
        fields["settlement_value_dollars"] = price_to_wire(market.payout)
    if market.settled_ms is not None:
        fields["settlement_ts"] = iso(market.settled_ms)
    return fields


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
        fields["fee_type_override"] = event.fees_override.fee_type.value
        fields["fee_multiplier_override"] = event.fees_override.multiplier / 10**MULTIPLIER_DECIMALS
    if nested:
        fields["markets"] = [market_json(core.markets[terms.ticker]) for terms in event.markets]
    return fields


def series_json(series: SeriesTerms, listed_ms: int) -> Json:
    """A Series object."""
    return {
        "ticker": series.ticker,
        "title": series.title,
        "frequency": series.frequency,
        "category": series.category,
        "categories": [series.category],
        "tags": [],
        "settlement_sources": [],
        "contract_url": "",
        "contract_terms_url": "",
        "fee_type": series.fees.fee_type.value,
        "fee_multiplier": series.fees.multiplier / 10**MULTIPLIER_DECIMALS,
        "additional_prohibitions": [],
        "last_updated_ts": iso(listed_ms),
        "exchange_index": series.shard,
    }


def levels_json(side: BookSide, depth: int = 0) -> list[list[str]]:
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


def _prices(outcome: Outcome, price: Price) -> Json:
    yes = price if outcome is Outcome.YES else complement(price)
    return {"yes_price_dollars": price_to_wire(yes), "no_price_dollars": price_to_wire(complement(yes))}


def direction_json(outcome: Outcome) -> Json:
    """Direction in the current and in the deprecated words: everything is a purchase."""
    return {"outcome_side": outcome.value, "book_side": book_side(outcome), "side": outcome.value, "action": "buy"}


def order_json(order: OrderView, account_id: str) -> Json:
    """An Order object."""
    return {
        "order_id": order.order_id,
        "user_id": account_id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        **direction_json(order.outcome),
        "type": "limit",
        "status": order.status.value,
        **_prices(order.outcome, order.price),
        "initial_count_fp": count_to_wire(order.initial),
        "fill_count_fp": count_to_wire(order.filled),
        "remaining_count_fp": count_to_wire(order.remaining),
        "taker_fill_cost_dollars": cash_to_wire(order.taker_cost),
        "maker_fill_cost_dollars": cash_to_wire(order.maker_cost),
        "taker_fees_dollars": cash_to_wire(order.taker_fees),
        "maker_fees_dollars": cash_to_wire(order.maker_fees),
        "expiration_time": None,
        "created_time": iso(order.created_ms),
        "last_update_time": iso(order.updated_ms),
        "self_trade_prevention_type": order.self_trade.value,
        "order_group_id": None,
        "cancel_order_on_pause": False,
        "subaccount_number": 0,
        "exchange_index": order.shard,
    }


def ack_json(order: OrderView, ms: int) -> Json:
    """The flat answer to a placed order. Averages are there only when something filled."""
    fields: Json = {
        "order_id": order.order_id,
        "fill_count": count_to_wire(order.filled),
        "remaining_count": count_to_wire(order.remaining),
        "ts_ms": ms,
    }
    if order.client_order_id:
        fields["client_order_id"] = order.client_order_id
    if order.filled:
        own = (order.taker_cost + order.maker_cost) * ONE_CONTRACT // order.filled
        dollar = notional(ONE_DOLLAR, ONE_CONTRACT)
        fee = (order.taker_fees + order.maker_fees) * ONE_CONTRACT // order.filled
        fields["average_fill_price"] = amount(Cash(own if order.outcome is Outcome.YES else dollar - own))
        fields["average_fee_paid"] = amount(Cash(fee))
    return fields


def fill_json(fill: FillView) -> Json:
    """A Fill object. It has no client order id: join on the order id."""
    return {
        "fill_id": fill.trade_id,
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "ticker": fill.ticker,
        "market_ticker": fill.ticker,
        **direction_json(fill.outcome),
        "count_fp": count_to_wire(fill.count),
        **_prices(fill.outcome, fill.price),
        "is_taker": fill.is_taker,
        "fee_cost": cash_to_wire(fill.fee),
        "created_time": iso(fill.ms),
        "ts": fill.ms // 1_000,
        "subaccount_number": 0,
        "exchange_index": fill.shard,
    }


def position_json(ticker: str, position: Position, shard: int) -> Json:
    """A MarketPosition object."""
    return {
        "ticker": ticker,
        "position_fp": count_to_wire(position.count),
        "market_exposure_dollars": cash_to_wire(position.cost),
        "total_traded_dollars": cash_to_wire(position.traded),
        "realized_pnl_dollars": cash_to_wire(position.realized),
        "fees_paid_dollars": cash_to_wire(position.fees),
        "last_updated_ts": iso(position.updated_ms),
        "exchange_index": shard,
    }


def event_position_json(event_ticker: str, positions: Iterable[Position]) -> Json:
    """An EventPosition object over the event's markets."""
    rows = list(positions)
    return {
        "event_ticker": event_ticker,
        "total_cost_dollars": cash_to_wire(Cash(sum(row.traded for row in rows))),
        "total_cost_shares_fp": count_to_wire(Count(sum(abs(row.count) for row in rows))),
        "event_exposure_dollars": cash_to_wire(Cash(sum(row.cost for row in rows))),
        "realized_pnl_dollars": cash_to_wire(Cash(sum(row.realized for row in rows))),
        "fees_paid_dollars": cash_to_wire(Cash(sum(row.fees for row in rows))),
    }


def settlement_json(settlement: SettlementView) -> Json:
    """A Settlement object. ``revenue`` and ``value`` are whole cents; ``fee_cost`` repeats the position's fees."""
    yes, no = max(0, settlement.position), max(0, -settlement.position)
    named = {0: "no", int(ONE_DOLLAR): "yes"}.get(settlement.yes_payout, "scalar")
    return {
        "ticker": settlement.ticker,
        "event_ticker": settlement.event_ticker,
        "market_result": named,
        "yes_count_fp": count_to_wire(Count(yes)),
        "yes_total_cost_dollars": cash_to_wire(settlement.cost if yes else Cash(0)),
        "no_count_fp": count_to_wire(Count(no)),
        "no_total_cost_dollars": cash_to_wire(settlement.cost if no else Cash(0)),
        "revenue": settlement.revenue // _MICROS_PER_CENT,
        "value": settlement.yes_payout // 100,
        "settled_time": iso(settlement.ms),
        "fee_cost": cash_to_wire(settlement.fees),
        "exchange_index": settlement.shard,
    }


def balance_json(core: ExchangeCore, account: Account, as_of_ms: int, shard: int | None) -> Json:
    """The available cash by shard and in total, as of ``as_of_ms``. ``balance`` cuts off what is below a cent."""
    shards = account.balance_history.at(as_of_ms) or account.initial_cash
    chosen = {index: cash for index, cash in shards.items() if shard is None or index == shard}
    total = Cash(sum(chosen.values()))
    value = Cash(0)
    for ticker, position in account.positions.items():
        market = core.markets.get(ticker)
        if market is None or market.series.shard not in chosen or position.count == 0:
            continue
        outcome = Outcome.YES if position.count > 0 else Outcome.NO
        best = market.book.side(outcome).best
        value = Cash(value + notional(best.price if best else Price(0), position.held(outcome)))
    return {
        "balance": total // _MICROS_PER_CENT,
        "balance_dollars": amount(total),
        "portfolio_value": value // _MICROS_PER_CENT,
        "updated_ts": as_of_ms // 1_000,
        "balance_breakdown": [
            {"exchange_index": index, "balance": amount(cash)} for index, cash in sorted(chosen.items())
        ],
    }


STATUS_FILTERS = {
    "unopened": (MarketStatus.INITIALIZED,),
    "open": (MarketStatus.ACTIVE,),
    "paused": (MarketStatus.INACTIVE,),
    "closed": (MarketStatus.CLOSED, MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED),
    "settled": (MarketStatus.FINALIZED,),
}
"""The words of the ``status`` filter, which are not the values of the ``status`` field."""
