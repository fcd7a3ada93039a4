"""The bodies of WebSocket messages (Kalshi API documentation, AsyncAPI): what stands under ``msg``."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from infra.exchange import wire
from infra.exchange.account import Account
from infra.exchange.emissions import (
    BookChanged,
    BookReplaced,
    EventFeeUpdated,
    Filled,
    GroupChanged,
    LifecycleKind,
    MarketLifecycle,
    OrderChanged,
    Traded,
)
from infra.exchange.groups import GroupStep
from infra.exchange.market import MarketState
from infra.exchange.terms import EventTerms, SeriesTerms
from infra.exchange.wire import Json
from kalshi_arb.domain.book import Level
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS
from kalshi_arb.domain.grid import grid_to_wire
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import (
    CASH_PER_DOLLAR,
    Cash,
    Count,
    Price,
    cash_to_wire,
    complement,
    count_to_wire,
    notional,
    price_to_wire,
)


def _shown(outcome: Outcome, price: Price, *, use_yes_price: bool) -> Price:
    return complement(price) if outcome is Outcome.NO and use_yes_price else price


def _yes(outcome: Outcome, price: Price) -> Price:
    return price if outcome is Outcome.YES else complement(price)


def snapshot(market: MarketState, *, use_yes_price: bool) -> Json:
    """A whole book. An empty side has no key; NO levels are NO prices unless ``use_yes_price``."""
    sides = {outcome: tuple(market.book.side(outcome)) for outcome in Outcome}
    return _book(market, sides, use_yes_price=use_yes_price)


def replaced(change: BookReplaced, market: MarketState, *, use_yes_price: bool) -> Json:
    """A whole book as it was at the moment of the change."""
    return _book(market, {Outcome.YES: change.yes, Outcome.NO: change.no}, use_yes_price=use_yes_price)


def _book(market: MarketState, sides: Mapping[Outcome, Sequence[Level]], *, use_yes_price: bool) -> Json:
    message: Json = {"market_ticker": market.ticker, "market_id": market.market_id}
    for outcome, levels in sides.items():
        if levels:
            message[f"{outcome.value}_dollars_fp"] = [
                [price_to_wire(_shown(outcome, level.price, use_yes_price=use_yes_price)), count_to_wire(level.size)]
                for level in reversed(levels)
            ]
    return message


def delta(change: BookChanged, market: MarketState, *, use_yes_price: bool, own: bool) -> Json:
    """A signed change of one level; ``own`` names the member's order that caused it."""
    message: Json = {
        "market_ticker": change.ticker,
        "market_id": market.market_id,
        "price_dollars": price_to_wire(_shown(change.outcome, change.price, use_yes_price=use_yes_price)),
        "delta_fp": count_to_wire(Count(change.change)),
        "side": change.outcome.value,
        "ts_ms": change.ms,
        "ts": wire.iso(change.ms),
    }
    if own:
        message["client_order_id"] = change.client_order_id
        message["subaccount"] = 0
    return message


def trade(traded: Traded) -> Json:
    """A public trade."""
    return {
        "trade_id": traded.trade_id,
        "market_ticker": traded.ticker,
        "yes_price_dollars": price_to_wire(traded.yes_price),
        "no_price_dollars": price_to_wire(complement(traded.yes_price)),
        "count_fp": count_to_wire(traded.count),
        "taker_side": traded.taker.value,
        "taker_outcome_side": traded.taker.value,
        "taker_book_side": wire.book_side(traded.taker),
        "is_block_trade": False,
        "ts": traded.ms // 1_000,
        "ts_ms": traded.ms,
    }


def fill(filled: Filled) -> Json:
    """One of the member's own fills. Its trade id is the public trade's."""
    row = filled.fill
    return {
        "trade_id": row.trade_id,
        "order_id": row.order_id,
        "client_order_id": filled.client_order_id,
        "market_ticker": row.ticker,
        "exchange_index": row.shard,
        "is_taker": row.is_taker,
        **wire.direction_json(row.outcome),
        "purchased_side": row.outcome.value,
        "yes_price_dollars": price_to_wire(_yes(row.outcome, row.price)),
        "count_fp": count_to_wire(row.count),
        "fee_cost": cash_to_wire(row.fee),
        "post_position_fp": count_to_wire(filled.post_position),
        "ts": row.ms // 1_000,
        "ts_ms": row.ms,
        "subaccount": 0,
    }


def user_order(changed: OrderChanged) -> Json:
    """One of the member's own orders after a change. The market's key is ``ticker`` here."""
    order = changed.order
    message: Json = {
        "order_id": order.order_id,
        "user_id": changed.account_id,
        "ticker": order.ticker,
        "exchange_index": order.shard,
        "status": order.status.value,
        "side": order.outcome.value,
        "is_yes": order.outcome is Outcome.YES,
        "outcome_side": order.outcome.value,
        "book_side": wire.book_side(order.outcome),
        "yes_price_dollars": price_to_wire(_yes(order.outcome, order.price)),
        "initial_count_fp": count_to_wire(order.initial),
        "remaining_count_fp": count_to_wire(order.remaining),
        "fill_count_fp": count_to_wire(order.filled),
        "taker_fill_cost_dollars": cash_to_wire(order.taker_cost),
        "maker_fill_cost_dollars": cash_to_wire(order.maker_cost),
        "taker_fees_dollars": cash_to_wire(order.taker_fees),
        "maker_fees_dollars": cash_to_wire(order.maker_fees),
        "client_order_id": order.client_order_id,
        "self_trade_prevention_type": order.self_trade.value,
        "created_ts_ms": order.created_ms,
        "created_time": wire.iso(order.created_ms),
        "last_updated_ts_ms": order.updated_ms,
        "subaccount_number": 0,
    }
    if order.expiration_ms is not None:
        message["expiration_ts_ms"] = order.expiration_ms
    if order.order_group_id is not None:
        message["order_group_id"] = order.order_group_id
    if changed.reason:
        message["last_update_reason"] = changed.reason
    return message


def market_position(account: Account, ticker: str) -> Json:
    """What the member holds of a market now. The fees of the open contracts are all that the position has cost."""
    position = account.position(ticker)
    volume = sum(fill.count for fill in account.fills if fill.ticker == ticker)
    return {
        "user_id": account.account_id,
        "market_ticker": ticker,
        "position_fp": count_to_wire(position.count),
        "position_cost_dollars": wire.amount(position.cost),
        "realized_pnl_dollars": wire.amount(position.realized),
        "fees_paid_dollars": wire.amount(position.fees),
        "position_fee_cost_dollars": wire.amount(position.fees if position.count else Cash(0)),
        "volume_fp": count_to_wire(Count(volume)),
        "subaccount": 0,
    }


def lifecycle(emission: MarketLifecycle, market: MarketState) -> Json:
    """A step in a market's life; times are Unix seconds."""
    terms = market.terms
    message: Json = {
        "market_ticker": terms.ticker,
        "event_type": emission.kind.value,
        "exchange_index": market.series.shard,
    }
    match emission.kind:
        case LifecycleKind.CREATED:
            message |= _created(market)
        case LifecycleKind.ACTIVATED:
            message["is_deactivated"] = False
        case LifecycleKind.DEACTIVATED:
            message["is_deactivated"] = True
        case LifecycleKind.CLOSE_DATE_UPDATED:
            message["close_ts"] = terms.close_ms // 1_000
        case LifecycleKind.DETERMINED:
            message["determination_ts"] = emission.ms // 1_000
            message["result"] = wire.result(market)
            message["settlement_value"] = price_to_wire(market.payout or Price(0))
        case LifecycleKind.SETTLED:
            message["settled_ts"] = emission.ms // 1_000
        case LifecycleKind.PRICE_LEVEL_STRUCTURE_UPDATED:
            message |= _grid(market)
        case LifecycleKind.METADATA_UPDATED:
            message |= {**wire.strikes_json(terms), "yes_sub_title": terms.sub_title}
    return message


def _grid(market: MarketState) -> Json:
    terms = market.terms
    return {"price_level_structure": terms.grid_name.value, "price_ranges": grid_to_wire(terms.grid)}


def _created(market: MarketState) -> Json:
    terms = market.terms
    return {
        "open_ts": terms.open_ms // 1_000,
        "close_ts": terms.close_ms // 1_000,
        **_grid(market),
        "additional_metadata": {
            "name": terms.sub_title,
            "title": terms.title,
            "yes_sub_title": terms.sub_title,
            "no_sub_title": terms.sub_title,
            "rules_primary": terms.rules,
            "rules_secondary": "",
            "can_close_early": False,
            "event_ticker": terms.event_ticker,
            "expected_expiration_ts": terms.close_ms // 1_000,
            **wire.strikes_json(terms),
        },
    }


def event_listed(event: EventTerms, series: SeriesTerms) -> Json:
    """A new event."""
    return {
        "event_ticker": event.ticker,
        "series_ticker": event.series_ticker,
        "exchange_index": series.shard,
        "title": event.title,
        "subtitle": event.sub_title,
        "collateral_return_type": wire.collateral_return(event),
        "strike_date": event.markets[0].close_ms // 1_000,
    }


def event_fee_update(emission: EventFeeUpdated) -> Json:
    """An event's own fees; null is what its series charges."""
    override = emission.override
    multiplier = None if override is None else wire.number(Decimal(override.multiplier).scaleb(-MULTIPLIER_DECIMALS))
    return {
        "event_ticker": emission.event_ticker,
        "fee_type_override": None if override is None else override.fee_type.value,
        "fee_multiplier_override": multiplier,
    }


def order_group_update(emission: GroupChanged) -> Json:
    """A step in the life of one of the member's order groups."""
    message: Json = {
        "event_type": emission.step.value,
        "order_group_id": emission.group_id,
        "ts_ms": emission.ms,
    }
    if emission.step in (GroupStep.CREATED, GroupStep.LIMIT_UPDATED):
        message["contracts_limit_fp"] = count_to_wire(emission.limit)
    return message


def ticker_figures(market: MarketState) -> Json:
    """What a ticker message shows, without its times."""
    price = market.last_price or Price(0)
    return {
        "market_id": market.market_id,
        "market_ticker": market.ticker,
        "price_dollars": price_to_wire(price),
        **wire.quotes_json(market),
        "last_trade_size_fp": count_to_wire(market.last_size),
        "volume_fp": count_to_wire(market.volume),
        "open_interest_fp": count_to_wire(market.open_interest),
        "dollar_volume": notional(price, market.volume) // CASH_PER_DOLLAR,
        "dollar_open_interest": notional(price, market.open_interest) // CASH_PER_DOLLAR,
    }
