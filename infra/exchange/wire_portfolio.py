"""What a member has and did, in the exchange's REST shapes (Kalshi API documentation, OpenAPI 3.34)."""

from collections.abc import Iterable, Sequence

from infra.exchange import wire
from infra.exchange.account import Account, FillView, OrderView, Position, SettlementView, TransferView
from infra.exchange.core import ExchangeCore
from infra.exchange.groups import GroupView
from infra.exchange.market import MarketState
from infra.exchange.orders import Order
from kalshi_arb.domain.market import Outcome
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
)

_MICROS_PER_CENT = 10_000
EVENT_CONTRACT = "event_contract"
"""The only kind of exchange instance here."""


def _prices(outcome: Outcome, price: Price) -> wire.Json:
    yes = price if outcome is Outcome.YES else complement(price)
    return {"yes_price_dollars": price_to_wire(yes), "no_price_dollars": price_to_wire(complement(yes))}


def order_json(order: OrderView, account_id: str) -> wire.Json:
    """An Order object."""
    return {
        "order_id": order.order_id,
        "user_id": account_id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        **wire.direction_json(order.outcome),
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
        "expiration_time": None if order.expiration_ms is None else wire.iso(order.expiration_ms),
        "created_time": wire.iso(order.created_ms),
        "last_update_time": wire.iso(order.updated_ms),
        "self_trade_prevention_type": order.self_trade.value,
        "order_group_id": order.order_group_id,
        "cancel_order_on_pause": order.cancel_on_pause,
        "subaccount_number": 0,
        "exchange_index": order.shard,
    }


def ack_json(order: OrderView, ms: int) -> wire.Json:
    """The flat answer to a placed order. Averages are there only when something filled."""
    fields: wire.Json = {
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
        fields["average_fill_price"] = wire.amount(Cash(own if order.outcome is Outcome.YES else dollar - own))
        fields["average_fee_paid"] = wire.amount(Cash(fee))
    return fields


def fill_json(fill: FillView) -> wire.Json:
    """A Fill object. It has no client order id: join on the order id."""
    return {
        "fill_id": fill.trade_id,
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "ticker": fill.ticker,
        "market_ticker": fill.ticker,
        **wire.direction_json(fill.outcome),
        "count_fp": count_to_wire(fill.count),
        **_prices(fill.outcome, fill.price),
        "is_taker": fill.is_taker,
        "fee_cost": cash_to_wire(fill.fee),
        "created_time": wire.iso(fill.ms),
        "ts": fill.ms // 1_000,
        "subaccount_number": 0,
        "exchange_index": fill.shard,
    }


def position_json(ticker: str, position: Position, shard: int) -> wire.Json:
    """A MarketPosition object."""
    return {
        "ticker": ticker,
        "position_fp": count_to_wire(position.count),
        "market_exposure_dollars": cash_to_wire(position.cost),
        "total_traded_dollars": cash_to_wire(position.traded),
        "realized_pnl_dollars": cash_to_wire(position.realized),
        "fees_paid_dollars": cash_to_wire(position.fees),
        "last_updated_ts": wire.iso(position.updated_ms),
        "exchange_index": shard,
    }


def event_position_json(event_ticker: str, positions: Iterable[Position]) -> wire.Json:
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


def settlement_json(settlement: SettlementView) -> wire.Json:
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
        "settled_time": wire.iso(settlement.ms),
        "fee_cost": cash_to_wire(settlement.fees),
        "exchange_index": settlement.shard,
    }


def balance_json(core: ExchangeCore, account: Account, as_of_ms: int, shard: int | None) -> wire.Json:
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
        "balance_dollars": wire.amount(total),
        "portfolio_value": value // _MICROS_PER_CENT,
        "updated_ts": as_of_ms // 1_000,
        "balance_breakdown": [
            {"exchange_index": index, "balance": wire.amount(cash)} for index, cash in sorted(chosen.items())
        ],
    }


def queue_position(market: MarketState, order: Order) -> str:
    """The contracts that trade before an order at its price."""
    ahead = 0
    for other in market.resting():
        if other is order:
            return count_to_wire(Count(ahead))
        if (other.outcome, other.price) == (order.outcome, order.price):
            ahead += other.remaining
    raise ValueError(f"{order.order_id} is not on the book of {market.ticker}")


def resting_value_json(orders: Sequence[OrderView], shards: Sequence[int]) -> wire.Json:
    """What resting orders would cost, by shard and in whole cents in total."""
    by_shard = dict.fromkeys(shards, Cash(0))
    for order in orders:
        by_shard[order.shard] = Cash(by_shard.get(order.shard, 0) + notional(order.price, order.remaining))
    return {
        "total_resting_order_value": sum(by_shard.values()) // _MICROS_PER_CENT,
        "resting_order_value_breakdown": [
            {"exchange_index": shard, "balance": wire.amount(value)} for shard, value in by_shard.items()
        ],
    }


def transfer_json(transfer: TransferView) -> wire.Json:
    """Cash that moved between shards."""
    return {
        "transfer_id": transfer.transfer_id,
        "source": EVENT_CONTRACT,
        "destination": EVENT_CONTRACT,
        "source_exchange_shard": transfer.source_shard,
        "destination_exchange_shard": transfer.destination_shard,
        "amount": wire.amount(transfer.amount),
        "status": "complete",
        "created_ts": transfer.ms // 1_000,
    }


def group_json(group: GroupView) -> wire.Json:
    """One order group by itself. It cancels by itself until it has done so."""
    return {
        "is_auto_cancel_enabled": not group.is_triggered,
        "contracts_limit_fp": count_to_wire(group.limit),
        "orders": list(group.order_ids),
        "exchange_index": group.shard,
    }


def listed_group_json(group: GroupView) -> wire.Json:
    """One order group among others."""
    return {
        "id": group.group_id,
        "contracts_limit_fp": count_to_wire(group.limit),
        "is_auto_cancel_enabled": not group.is_triggered,
        "exchange_index": group.shard,
    }
