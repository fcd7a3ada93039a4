"""Every call of the client against the embedded exchange: real HTTP, real signatures, no field that is not known."""

import uuid
from collections.abc import Iterator

import pytest

from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.side import BookSide
from kalshi_arb.kalshi.errors import RejectedError
from kalshi_arb.kalshi.models.market import MarketWire
from kalshi_arb.kalshi.models.orders import CanceledWire, PlacedWire
from kalshi_arb.kalshi.rate_limit import KNOWN_COSTS
from kalshi_arb.kalshi.requests import Amendment, Lifetime, NewOrder, OrderRef
from tests.live_exchange import LiveExchange, live_exchange

LOW = Price(100)


@pytest.fixture(scope="module")
def exchange() -> Iterator[LiveExchange]:
    with live_exchange() as running:
        running.trade()
        yield running


@pytest.fixture
def market(exchange: LiveExchange) -> MarketWire:
    """A market in which a bid of one cent rests."""
    for wire in exchange.kalshi.markets.markets(status="open"):
        book = exchange.kalshi.markets.orderbook(wire.ticker)
        if all(price < 9_900 for price, _ in book.no_dollars):
            return wire
    raise AssertionError("every market offers YES at a cent")


def resting(exchange: LiveExchange, market: MarketWire, count: int = 1_000, **options: object) -> OrderRef:
    order = NewOrder(
        market.ticker, BookSide.BID, Count(count), LOW, client_order_id=str(uuid.uuid4()),
        shard=market.exchange_index, post_only=True, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    placed = exchange.kalshi.orders.create(order)
    assert (placed.fill_count, placed.remaining_count) == (0, count)
    return OrderRef(placed.order_id, ticker=market.ticker, shard=market.exchange_index)


def test_the_state_of_the_exchange(exchange: LiveExchange) -> None:
    markets = exchange.kalshi.markets
    assert markets.status().exchange_active
    assert markets.schedule().standard_hours[0].thursday
    assert abs(markets.user_data_ms() - exchange.clock.now_ms()) < 60_000
    offset = exchange.kalshi.client.clock_offset
    assert offset is not None
    assert abs(offset.offset_ms) <= offset.error_ms + 1


def test_series_events_and_markets(exchange: LiveExchange) -> None:
    markets = exchange.kalshi.markets
    series = markets.all_series()
    assert markets.series(series[0].ticker) == series[0]
    events = list(markets.events(status="open", with_nested_markets=True))
    assert events
    (first,) = markets.events(tickers=[events[0].event_ticker])
    assert first.event_ticker == events[0].event_ticker
    event = markets.event(events[0].event_ticker, with_nested_markets=True)
    assert event.markets
    assert markets.market(event.markets[0].ticker).event_ticker == event.event_ticker
    assert markets.event_metadata(event.event_ticker).settlement_sources is not None
    assert list(markets.combo_events()) == []
    assert list(markets.markets(event_ticker=event.event_ticker))
    assert markets.series_fee_changes(show_historical=True) == []
    assert list(markets.event_fee_changes()) == []


def test_books_trades_and_candles(exchange: LiveExchange) -> None:
    markets = exchange.kalshi.markets
    traded = next(iter(exchange.kalshi.portfolio.fills()))
    one = markets.market(traded.ticker)
    event = markets.event(one.event_ticker)
    (book,) = markets.orderbooks([traded.ticker])
    assert len(markets.orderbook(traded.ticker, depth=1).yes_dollars) <= 1
    assert book.ticker == traded.ticker
    activity = exchange.kalshi.activity
    assert traded.trade_id in {trade.trade_id for trade in activity.trades(ticker=traded.ticker)}
    now_s = exchange.clock.now_ms() // 1_000
    span = {"start_ts": now_s - 3_600, "end_ts": now_s + 60, "period_minutes": 1}
    candles = activity.candles(event.series_ticker, traded.ticker, **span)
    assert sum(candle.volume_fp for candle in candles) >= traded.count_fp
    assert activity.many_candles([traded.ticker], **span)[traded.ticker] == candles
    assert traded.ticker in activity.event_candles(event.series_ticker, event.event_ticker, **span).market_tickers


def test_the_life_of_a_resting_order(exchange: LiveExchange, market: MarketWire) -> None:
    orders = exchange.kalshi.orders
    ref = resting(exchange, market)
    assert orders.order(ref.order_id).remaining_count_fp == 1_000
    assert ref.order_id in {order.order_id for order in orders.orders(ticker=market.ticker, status="resting")}
    assert orders.queue_position(ref.order_id) >= 0
    assert ref.order_id in {row.order_id for row in orders.queue_positions(tickers=[market.ticker])}
    assert orders.decrease(ref, reduce_by=Count(250)).remaining_count == 750
    assert orders.decrease(ref, reduce_to=Count(500)).remaining_count == 500
    change = Amendment(market.ticker, BookSide.BID, Count(800), LOW, shard=market.exchange_index)
    assert orders.amend(ref.order_id, change).remaining_count == 800
    assert exchange.kalshi.portfolio.resting_value().total_resting_order_value >= 8
    assert orders.cancel(ref).reduced_by == 800
    with pytest.raises(RejectedError) as gone:
        orders.cancel(ref)
    assert gone.value.status == 404


def test_batches_and_the_end_of_everything(exchange: LiveExchange, market: MarketWire) -> None:
    orders = exchange.kalshi.orders
    good = NewOrder(market.ticker, BookSide.BID, Count(100), LOW, post_only=True, shard=market.exchange_index)
    killed = NewOrder(market.ticker, BookSide.BID, Count(100), LOW, Lifetime.FILL_OR_KILL, shard=market.exchange_index)
    first, second = orders.create_batch([good, killed])
    assert isinstance(first, PlacedWire)
    assert isinstance(second, RejectedError)
    assert second.code == "fill_or_kill_insufficient_resting_volume"
    refs = [OrderRef(first.order_id, market.ticker, market.exchange_index), OrderRef("nobody", shard=0)]
    cancelled, unknown = orders.cancel_batch(refs)
    assert isinstance(cancelled, CanceledWire)
    assert cancelled.reduced_by == 100
    assert isinstance(unknown, RejectedError)


def test_order_groups(exchange: LiveExchange, market: MarketWire) -> None:
    orders = exchange.kalshi.orders
    shard = market.exchange_index or 0
    group = orders.create_group(Count(10_000), shard=shard).order_group_id
    ref = resting(exchange, market, group_id=group)
    assert group in {row.id for row in orders.groups()}
    orders.limit_group(group, Count(20_000), shard=shard)
    shown = orders.group(group)
    assert (shown.contracts_limit_fp, shown.orders) == (20_000, [ref.order_id])
    orders.trigger_group(group, shard=shard)
    assert orders.order(ref.order_id).status == "canceled"
    orders.reset_group(group, shard=shard)
    orders.delete_group(group, shard=shard)
    with pytest.raises(RejectedError):
        orders.group(group)


def test_the_account(exchange: LiveExchange) -> None:
    own = exchange.kalshi.portfolio
    balance = own.balance()
    assert balance.balance_dollars == sum(row.balance for row in balance.balance_breakdown)
    assert len(own.balance(shard=1).balance_breakdown) == 1
    fills = list(own.fills())
    assert list(own.fills(order_id=fills[0].order_id))
    (page,) = own.position_pages(count_filter="position")
    assert {row.ticker for row in page.market_positions} <= {fill.ticker for fill in fills}
    assert page.event_positions
    assert list(own.settlements()) == []
    member = exchange.kalshi.membership
    assert member.limits().write.refill_rate > 0
    assert [key.api_key_id for key in member.api_keys().api_keys] == ["key"]


def test_what_an_order_cost_is_what_its_fills_say(exchange: LiveExchange) -> None:
    fills = list(exchange.kalshi.portfolio.fills())
    for order in exchange.kalshi.orders.orders(status="executed"):
        own = [fill for fill in fills if fill.order_id == order.order_id]
        assert sum(fill.fee_cost for fill in own) == order.taker_fees_dollars
        assert sum(fill.count_fp for fill in own) == order.fill_count_fp


def test_cash_moves_between_shards_and_back(exchange: LiveExchange) -> None:
    own = exchange.kalshi.membership

    def cash() -> dict[int, Cash]:
        return {row.exchange_index: row.balance for row in exchange.kalshi.portfolio.balance().balance_breakdown}

    before, name = cash(), str(uuid.uuid4())
    moved = own.transfer(Cash(1_230_000), source_shard=0, target_shard=1, transfer_id=name)
    assert cash() == {**before, 0: before[0] - 1_230_000, 1: before[1] + 1_230_000}
    assert own.one_transfer(moved).amount == 1_230_000
    assert moved in {transfer.transfer_id for transfer in own.transfers()}
    own.transfer(Cash(1_230_000), source_shard=1, target_shard=0)
    assert cash() == before


def test_netting_is_switched(exchange: LiveExchange) -> None:
    own = exchange.kalshi.membership
    was = own.netting()[0].enabled
    own.set_netting(0, enabled=not was)
    assert all(row.enabled is not was for row in own.netting())
    own.set_netting(0, enabled=was)


def test_the_costs_that_are_known_are_the_costs_of_the_exchange(exchange: LiveExchange) -> None:
    costs = exchange.kalshi.membership.endpoint_costs()
    assert costs.default == KNOWN_COSTS.default
    for endpoint, cost in KNOWN_COSTS.listed.items():
        assert costs.listed[endpoint] == cost


def test_history_before_anything_is_old(exchange: LiveExchange) -> None:
    history = exchange.kalshi.history
    assert history.cutoff().trades_created_ts <= exchange.clock.now_ms()
    assert list(history.markets()) == []
    assert list(history.trades()) == []
    assert list(history.fills()) == []
    assert list(history.orders()) == []
    assert list(history.positions()) == []


@pytest.mark.parametrize("ticker", ["KXNOBODY-1", "../markets"])
def test_an_unknown_ticker_is_one_line(exchange: LiveExchange, ticker: str) -> None:
    with pytest.raises(RejectedError) as refused:
        exchange.kalshi.markets.market(ticker)
    assert refused.value.status == 404
    assert "\n" not in str(refused.value)


def test_a_price_off_the_grid_is_one_line(exchange: LiveExchange, market: MarketWire) -> None:
    with pytest.raises(RejectedError) as refused:
        exchange.kalshi.orders.create(
            NewOrder(market.ticker, BookSide.BID, Count(100), Price(5_001), shard=market.exchange_index)
        )
    assert refused.value.status == 400
    assert "\n" not in str(refused.value)


def test_nothing_the_exchange_sent_is_unknown_here(exchange: LiveExchange) -> None:
    listed = [one for event in exchange.data.open_events() for one in event.markets]
    assert any(one.status is MarketStatus.ACTIVE for one in listed)
    assert exchange.kalshi.client.unknown.counts() == {}


def test_cancelling_everything_cancels_everything(exchange: LiveExchange, market: MarketWire) -> None:
    orders = exchange.kalshi.orders
    refs = [resting(exchange, market) for _ in range(2)]
    orders.cancel_all()
    assert {orders.order(ref.order_id).status for ref in refs} == {"canceled"}
