"""Orders on the embedded exchange: priority, prices, fees, netting, refusals, closing and settlement."""

import pytest

from infra.exchange.account import OrderStatus, OrderView
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged, BookReplaced, Filled, LifecycleKind, MarketLifecycle, OrderChanged
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.life import CLOSE_CANCEL_MS
from infra.exchange.living import MEMBER, split_cash
from infra.exchange.terms import GridName, NewOrder, SelfTradePrevention, TimeInForce
from infra.exchange.testkit import CLOSE_MS, MAKER, START_MS, TICKERS, buy, rest, still_core, still_event
from kalshi_arb.domain.fees import FeeType, Precision, order_fee
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price

TICKER = TICKERS[0]
GTC, IOC, FOK = TimeInForce.GOOD_TILL_CANCELED, TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.FILL_OR_KILL
YES, NO = Outcome.YES, Outcome.NO


def refusal(core: ExchangeCore, *args: object, **named: object) -> tuple[int, str, str]:
    with pytest.raises(ExchangeRefusalError) as caught:
        buy(core, *args, **named)  # type: ignore[arg-type]
    return caught.value.status, caught.value.code, caught.value.details


def cash(core: ExchangeCore, account: str = MEMBER) -> int:
    return core.accounts[account].cash[2]


def test_the_best_price_trades_first_and_the_oldest_order_within_it() -> None:
    core = still_core()
    worse = rest(core, TICKER, NO, 40, 5)
    first = rest(core, TICKER, NO, 45, 5)
    second = rest(core, TICKER, NO, 45, 5)
    taken = buy(core, TICKER, YES, 60, 12)
    assert taken.status is OrderStatus.EXECUTED
    makers = core.accounts[MAKER]
    by_order = {fill.order_id: (fill.price, fill.count) for fill in makers.fills}
    assert by_order == {first.order_id: (4500, 500), second.order_id: (4500, 500), worse.order_id: (4000, 200)}
    assert [fill.order_id for fill in makers.fills] == [first.order_id, second.order_id, worse.order_id]


def test_a_taker_pays_the_resting_price_and_not_its_limit() -> None:
    core = still_core()
    rest(core, TICKER, NO, 45, 10)
    taken = buy(core, TICKER, YES, 99, 10)
    assert taken.taker_cost == 5_500_000
    assert [fill.price for fill in core.accounts[MEMBER].fills] == [5500]


def test_the_fee_of_an_order_is_the_domain_fee_of_its_fills() -> None:
    core = still_core(multiplier=5_000, event=lambda: still_event(grid=GridName.DECI_CENT))
    fills = []
    for cents, contracts in ((45, 3), (44, 7), (40, 90)):
        rest(core, TICKER, NO, cents, contracts)
        fills.append((Price(10_000 - cents * 100), Count(contracts * 100)))
    before = cash(core)
    taken = buy(core, TICKER, YES, 60, 100)
    schedule = core.markets[TICKER].fees
    expected = order_fee(schedule, fills, Precision.DIRECT)
    assert taken.taker_fees == expected
    assert before - cash(core) == sum(price * count for price, count in fills) + expected


def test_the_accumulator_carries_over_the_fills_of_one_order() -> None:
    core = still_core(event=lambda: still_event(grid=GridName.DECI_CENT))
    for _ in range(3):
        core.place(MAKER, NewOrder(TICKER, NO, Price(9_450), Count(100), GTC))
    core.place(MEMBER, NewOrder(TICKER, YES, Price(550), Count(300), IOC))
    # The exchange's own example: three fills of one contract at 0.055 by a direct member.
    assert [fill.fee for fill in core.accounts[MEMBER].fills] == [3_700, 3_600, 3_700]


def test_a_maker_pays_only_where_the_series_charges_makers() -> None:
    free, charged = still_core(), still_core(fee_type=FeeType.WITH_MAKER)
    for core in (free, charged):
        rest(core, TICKER, NO, 50, 100)
        buy(core, TICKER, YES, 50, 100)
    assert free.accounts[MAKER].fees_paid == 0
    assert charged.accounts[MAKER].fees_paid == 437_500


def test_buying_the_other_outcome_closes_pairs_and_frees_a_dollar_each() -> None:
    core = still_core(multiplier=0)
    rest(core, TICKER, NO, 60, 10)
    buy(core, TICKER, YES, 40, 10)
    assert cash(core) == 996_000_000
    rest(core, TICKER, YES, 38, 4)
    buy(core, TICKER, NO, 62, 4)
    assert core.accounts[MEMBER].position(TICKER).count == 600
    assert cash(core) == 996_000_000 - 4 * 620_000 + 4 * 1_000_000
    position = core.accounts[MEMBER].position(TICKER)
    assert (position.cost, position.realized) == (2_400_000, -80_000)


def test_a_purchase_larger_than_the_opposite_holding_turns_the_position() -> None:
    core = still_core(multiplier=0)
    rest(core, TICKER, NO, 60, 10)
    buy(core, TICKER, YES, 40, 10)
    rest(core, TICKER, YES, 40, 25)
    buy(core, TICKER, NO, 60, 25)
    position = core.accounts[MEMBER].position(TICKER)
    assert (position.count, position.cost, position.realized) == (-1_500, 9_000_000, 0)
    # The maker turned as well: what was open is what one of both holds now.
    assert core.markets[TICKER].open_interest == 1_500


def test_fill_or_kill_that_finds_too_little_is_refused_without_a_trace() -> None:
    core = still_core()
    rest(core, TICKER, NO, 50, 10)
    core.drain()
    assert refusal(core, TICKER, YES, 50, 11, FOK, client_order_id="k")[:2] == (
        409,
        "fill_or_kill_insufficient_resting_volume",
    )
    assert core.drain() == []
    assert cash(core) == 1_000_000_000
    assert buy(core, TICKER, YES, 50, 10, FOK, client_order_id="k").filled == 1_000


def test_immediate_or_cancel_without_volume_is_an_order_that_filled_nothing() -> None:
    core = still_core()
    order = buy(core, TICKER, YES, 50, 10)
    assert (order.status, order.filled, order.remaining) == (OrderStatus.CANCELED, 0, 0)
    assert len(core.accounts[MEMBER].orders) == 1


def test_a_client_order_id_is_good_for_one_order() -> None:
    core = still_core()
    rest(core, TICKER, NO, 50, 10)
    buy(core, TICKER, YES, 50, 1, client_order_id="once")
    assert refusal(core, TICKER, YES, 50, 1, client_order_id="once")[:2] == (409, "order_already_exists")
    member = core.accounts[MEMBER]
    assert member.position(TICKER).count == 100
    assert (member.duplicate_attempts, member.orders_by_client_id, member.attempts_by_client_id) == (
        1,
        {"once": 1},
        {"once": 2},
    )


def test_an_order_draws_only_on_the_cash_of_its_own_shard() -> None:
    core = still_core(dollars=10)
    rest(core, TICKER, NO, 50, 100)
    assert refusal(core, TICKER, YES, 50, 20) == (400, "insufficient_balance", "on exchange_index 2")
    assert core.accounts[MEMBER].cash == {0: 10_000_000, 2: 10_000_000}
    assert buy(core, TICKER, YES, 50, 19).filled == 1_900


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (NewOrder("KXNONE-1", YES, Price(5_000), Count(100), IOC), (404, "market_not_found", "")),
        (NewOrder(TICKER, YES, Price(5_000), Count(100), IOC, shard=0), (404, "market_not_found", "")),
        (NewOrder(TICKER, YES, Price(5_050), Count(100), IOC), (400, "invalid_order", "invalid price")),
        (NewOrder(TICKER, YES, Price(0), Count(100), IOC), (400, "invalid_order", "invalid price")),
        (NewOrder(TICKER, NO, ONE_DOLLAR, Count(100), IOC), (400, "invalid_order", "invalid price")),
        (NewOrder(TICKER, YES, Price(5_000), Count(0), IOC), (400, "invalid_order_size", "")),
        (
            NewOrder(TICKER, YES, Price(5_000), Count(100), IOC, client_order_id="x" * 65),
            (400, "invalid_order", "client_order_id is too long"),
        ),
        (
            NewOrder(TICKER, YES, Price(5_000), Count(100), GTC, reduce_only=True),
            (400, "invalid_order", "reduce only needs immediate_or_cancel"),
        ),
    ],
)
def test_orders_that_the_exchange_does_not_accept(order: NewOrder, expected: tuple[int, str, str]) -> None:
    core = still_core()
    with pytest.raises(ExchangeRefusalError) as caught:
        core.place(MEMBER, order)
    assert (caught.value.status, caught.value.code, caught.value.details) == expected


def test_post_only_refuses_to_cross_and_rests_otherwise() -> None:
    core = still_core()
    rest(core, TICKER, NO, 50, 10)
    crossing = NewOrder(TICKER, YES, Price(5_000), Count(100), GTC, post_only=True)
    with pytest.raises(ExchangeRefusalError, match="post only cross"):
        core.place(MEMBER, crossing)
    resting = core.place(MEMBER, NewOrder(TICKER, YES, Price(4_900), Count(100), GTC, post_only=True))
    assert resting.status is OrderStatus.RESTING


def test_reduce_only_never_opens_a_position() -> None:
    core = still_core()
    rest(core, TICKER, NO, 50, 5)
    buy(core, TICKER, YES, 50, 5)
    rest(core, TICKER, YES, 45, 50)
    reducing = NewOrder(TICKER, NO, Price(5_500), Count(2_000), IOC, reduce_only=True)
    assert core.place(MEMBER, reducing).filled == 500
    assert core.accounts[MEMBER].position(TICKER).count == 0
    nothing = core.place(MEMBER, reducing)
    assert (nothing.status, nothing.filled) == (OrderStatus.CANCELED, 0)


def own_orders(prevention: SelfTradePrevention, time_in_force: TimeInForce) -> tuple[ExchangeCore, OrderView]:
    core = still_core()
    rest(core, TICKER, NO, 50, 3)
    core.place(MEMBER, NewOrder(TICKER, NO, Price(4_900), Count(300), GTC))
    rest(core, TICKER, NO, 48, 3)
    order = NewOrder(TICKER, YES, Price(5_200), Count(900), time_in_force, self_trade=prevention)
    return core, core.place(MEMBER, order)


@pytest.mark.parametrize("time_in_force", [IOC, GTC, FOK])
def test_an_order_that_meets_its_own_account_stops_there(time_in_force: TimeInForce) -> None:
    core, order = own_orders(SelfTradePrevention.TAKER_AT_CROSS, time_in_force)
    assert (order.status, order.filled, order.remaining) == (OrderStatus.CANCELED, 300, 0)
    assert [level.price for level in core.markets[TICKER].book.no] == [4_900, 4_800]


def test_or_removes_its_own_resting_order_and_goes_on() -> None:
    core, order = own_orders(SelfTradePrevention.MAKER, IOC)
    assert order.filled == 600
    assert not core.markets[TICKER].resting()
    reasons = [emission.reason for emission in core.drain() if isinstance(emission, OrderChanged)]
    assert "SelfTradeCancel" in reasons


def test_a_maker_who_can_no_longer_pay_leaves_the_book_instead_of_trading() -> None:
    core = still_core(dollars=5, fee_type=FeeType.WITH_MAKER, precision=Precision.CENT,
                      event=lambda: still_event(grid=GridName.DECI_CENT))  # fmt: skip
    core.place(MEMBER, NewOrder(TICKER, YES, Price(10), Count(460_000), GTC))
    # Every tiny fill is rounded up to a cent, for which the account did not reserve.
    for _ in range(60):
        core.place(MAKER, NewOrder(TICKER, NO, Price(9_990), Count(1), IOC))
    assert core.accounts[MEMBER].available(2) >= 0
    reasons = [emission.reason for emission in core.drain() if isinstance(emission, OrderChanged)]
    assert "MarginCancel" in reasons
    assert not core.markets[TICKER].resting()


def test_a_resting_order_trades_with_the_last_cent_it_reserved() -> None:
    core = still_core(dollars=5, multiplier=0)
    order = buy(core, TICKER, YES, 50, 10, GTC)
    assert core.accounts[MEMBER].available(2) == 0
    assert buy(core, TICKER, NO, 50, 10, account=MAKER).filled == 1_000
    assert not core.is_resting(order.order_id)
    assert cash(core) == 0


def test_what_an_order_frees_by_closing_may_back_its_resting_rest() -> None:
    core = still_core(dollars=6, multiplier=0)
    rest(core, TICKER, YES, 40, 10)
    buy(core, TICKER, NO, 60, 10)
    assert cash(core) == 0
    rest(core, TICKER, NO, 50, 8)
    order = buy(core, TICKER, YES, 50, 10, GTC)
    assert (order.filled, order.remaining, order.status) == (800, 200, OrderStatus.RESTING)
    assert core.accounts[MEMBER].available(2) == 3_000_000
    assert refusal(core, TICKERS[1], YES, 50, 7)[1] == "insufficient_balance"


def test_cancelling_gives_the_reserved_cash_back_and_needs_the_right_shard() -> None:
    core = still_core()
    order = buy(core, TICKER, YES, 40, 10, GTC)
    assert core.accounts[MEMBER].available(2) == 996_000_000
    for account, shard in ((MAKER, None), (MEMBER, 0)):
        with pytest.raises(ExchangeRefusalError, match="not_found"):
            core.cancel(account, order.order_id, shard)
    view, reduced = core.cancel(MEMBER, order.order_id, 2)
    assert (view.status, reduced) == (OrderStatus.CANCELED, 1_000)
    assert core.accounts[MEMBER].available(2) == 1_000_000_000
    with pytest.raises(ExchangeRefusalError, match="not_found"):
        core.cancel(MEMBER, order.order_id)


def test_own_placements_and_cancels_name_their_order_in_the_delta() -> None:
    core = still_core()
    order = buy(core, TICKER, YES, 40, 10, GTC, client_order_id="mine")
    core.cancel(MEMBER, order.order_id)
    deltas = [emission for emission in core.drain() if isinstance(emission, BookChanged)]
    assert [(delta.change, delta.client_order_id) for delta in deltas] == [(1_000, "mine"), (-1_000, "mine")]


def test_a_market_opens_and_closes_silently_and_its_orders_are_cancelled_at_the_close() -> None:
    core = still_core(event=lambda: still_event(open_ms=START_MS + 1_000))
    assert core.markets[TICKER].status is MarketStatus.INITIALIZED
    assert refusal(core, TICKER, YES, 50, 1)[1] == "market_inactive"
    core.advance(START_MS + 1_000)
    assert core.markets[TICKER].status is MarketStatus.ACTIVE
    order = buy(core, TICKER, YES, 50, 1, GTC)
    core.drain()
    core.advance(CLOSE_MS)
    emissions = core.drain()
    assert sum(isinstance(emission, BookReplaced) for emission in emissions) == len(TICKERS)
    assert len(emissions) == len(TICKERS), "nothing else is said at the close"
    assert refusal(core, TICKER, YES, 50, 1)[1] == "market_inactive"
    with pytest.raises(ExchangeRefusalError, match="market_inactive"):
        core.cancel(MEMBER, order.order_id)
    assert core.accounts[MEMBER].available(2) < 1_000_000_000
    core.advance(CLOSE_MS + CLOSE_CANCEL_MS)
    emissions = core.drain()
    assert [e.reason for e in emissions if isinstance(e, OrderChanged)] == ["CloseCancel"]
    assert len(emissions) == 1
    with pytest.raises(ExchangeRefusalError, match="not_found"):
        core.cancel(MEMBER, order.order_id)
    assert core.accounts[MEMBER].available(2) == 1_000_000_000


@pytest.mark.parametrize(
    ("payout", "member_gets", "maker_gets"), [(ONE_DOLLAR, 10, 0), (Price(0), 0, 10), (Price(5_000), 5, 5)]
)
def test_settlement_pays_yes_its_payout_and_no_the_complement(payout: Price, member_gets: int, maker_gets: int) -> None:
    core = still_core(multiplier=0)
    rest(core, TICKER, NO, 60, 10)
    buy(core, TICKER, YES, 40, 10)
    before = cash(core), cash(core, MAKER)
    core.advance(CLOSE_MS)
    core.drain()
    core.determine(TICKER, payout, "12")
    core.advance(CLOSE_MS + 999)
    assert cash(core) == before[0], "nothing is paid before the settlement timer has run"
    core.advance(CLOSE_MS + 1_000)
    assert cash(core) == before[0] + member_gets * 1_000_000
    assert cash(core, MAKER) == before[1] + maker_gets * 1_000_000
    (settlement,) = core.accounts[MEMBER].settlements
    assert (settlement.revenue, settlement.position, settlement.cost) == (member_gets * 1_000_000, 1_000, 4_000_000)
    kinds = [emission.kind for emission in core.drain() if isinstance(emission, MarketLifecycle)]
    assert kinds == [LifecycleKind.DETERMINED, LifecycleKind.SETTLED]
    with pytest.raises(ExchangeRefusalError, match="finalized already"):
        core.determine(TICKER, payout, "12")


def test_a_scalar_payout_below_the_balance_grid_is_cut_and_shown_as_a_fee() -> None:
    core = still_core(multiplier=0, precision=Precision.CENT)
    rest(core, TICKER, NO, 60, 1)
    buy(core, TICKER, YES, 40, 1)
    core.determine(TICKER, Price(3_333), "12")
    core.advance(START_MS + 1_000)
    assert core.accounts[MEMBER].settled_revenue == 330_000
    assert core.accounts[MEMBER].fees_paid == 3_300


def test_fills_report_the_position_they_leave() -> None:
    core = still_core()
    rest(core, TICKER, NO, 60, 10)
    core.drain()
    buy(core, TICKER, YES, 40, 7, client_order_id="c")
    fills = {e.account_id: e for e in core.drain() if isinstance(e, Filled)}
    assert fills[MEMBER].post_position == 700
    assert fills[MEMBER].client_order_id == "c"
    assert fills[MAKER].post_position == -700
    assert fills[MEMBER].fill.trade_id == fills[MAKER].fill.trade_id


def test_observers_hear_of_a_trade_before_the_next_order() -> None:
    core = still_core()
    first = rest(core, TICKER, NO, 50, 5)
    other = rest(core, TICKERS[1], NO, 50, 5)

    def pull(_: object) -> None:
        if core.is_resting(other.order_id):
            core.cancel(MAKER, other.order_id)

    core.observe(pull)
    assert buy(core, TICKER, YES, 50, 1).filled == 100
    assert core.is_resting(first.order_id)
    assert buy(core, TICKERS[1], YES, 50, 1).filled == 0


def test_cash_is_split_to_the_balance_grid_without_losing_any() -> None:
    assert split_cash(Cash(10_000_000_300), (0, 2, 3)) == {0: 3_333_333_500, 2: 3_333_333_400, 3: 3_333_333_400}
