"""What an account holds."""

from kalshi_arb.kalshi.wire import PageModel, WireCash, WireCost, WireCount, WireModel, WireSize, WireTime


class ShardCashWire(WireModel):
    """Cash on one shard."""

    exchange_index: int
    balance: WireCash


class BalanceReply(WireModel):
    """``GET /portfolio/balance``. Only the breakdown is exact and says where the cash is: an order draws on its own
    shard alone. ``balance`` and ``portfolio_value`` are whole cents, cut."""

    balance_breakdown: list[ShardCashWire]
    balance_dollars: WireCash | None = None
    balance: int | None = None
    portfolio_value: int | None = None
    updated_ts: int | None = None


class PositionWire(WireModel):
    """A signed net position, + YES and - NO."""

    ticker: str
    position_fp: WireCount
    market_exposure_dollars: WireCash | None = None
    total_traded_dollars: WireCost | None = None
    realized_pnl_dollars: WireCash | None = None
    fees_paid_dollars: WireCash | None = None
    last_updated_ts: WireTime | None = None
    exchange_index: int | None = None


class EventPositionWire(WireModel):
    """The positions of one event together."""

    event_ticker: str
    total_cost_dollars: WireCash | None = None
    total_cost_shares_fp: WireSize | None = None
    event_exposure_dollars: WireCash | None = None
    realized_pnl_dollars: WireCash | None = None
    fees_paid_dollars: WireCash | None = None


class PositionsReply(PageModel):
    """One page of ``GET /portfolio/positions`` or ``GET /historical/positions``."""

    market_positions: list[PositionWire]
    event_positions: list[EventPositionWire] | None = None


class SettlementWire(WireModel):
    """A paid settlement. ``revenue`` and ``value`` (payout of one YES) are whole cents; ``fee_cost`` repeats the
    position's trading fees and is no charge of its own."""

    ticker: str
    market_result: str
    revenue: int
    settled_time: WireTime
    value: int | None = None
    event_ticker: str | None = None
    yes_count_fp: WireSize | None = None
    no_count_fp: WireSize | None = None
    yes_total_cost_dollars: WireCash | None = None
    no_total_cost_dollars: WireCash | None = None
    fee_cost: WireCash | None = None
    exchange_index: int | None = None


class SettlementsReply(PageModel):
    """One page of ``GET /portfolio/settlements``."""

    settlements: list[SettlementWire]


class RestingValueReply(WireModel):
    """``GET /portfolio/summary/total_resting_order_value``, whole cents."""

    total_resting_order_value: int
    resting_order_value_breakdown: list[ShardCashWire] | None = None
