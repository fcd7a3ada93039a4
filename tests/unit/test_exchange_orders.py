"""Orders after they were placed: expiry, amendment, decrease, cancel-all, order groups."""

import pytest

from infra.exchange.account import OrderStatus, OrderView
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged, GroupChanged, OrderChanged
from infra.exchange.entry import CANCEL_ALL_MS
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.groups import WINDOW_MS, GroupStep
from infra.exchange.life import CLOSE_CANCEL_MS
from infra.exchange.living import MEMBER
from infra.exchange.terms import Amendment, NewOrder, SelfTradePrevention, TimeInForce
from infra.exchange.testkit import CLOSE_MS, MAKER, START_MS, TICKERS, buy, rest, still_core
from kalshi_arb.domain.fees import FeeType
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price

TICKER, OTHER = TICKERS[:2]
GTC, IOC, FOK = TimeInForce.GOOD_TILL_CANCELED, TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.FILL_OR_KILL
YES, NO = Outcome.YES, Outcome.NO
SHARD = 2


def refusal(act: object, *args: object, **named: object) -> tuple[int, str, str]:
    assert callable(act)
    with pytest.raises(ExchangeRefusalError) as caught:
        act(*args, **named)
    return caught.value.status, caught.value.code, caught.value.details


def order(cents: int = 40, contracts: int = 10, **terms: object) -> NewOrder:
    named: dict[str, object] = {"ticker": TICKER, "outcome": YES, "time_in_force": GTC, **terms}
    return NewOrder(limit=Price(cents * 100), count=Count(contracts * 100), **named)  # type: ignore[arg-type]


def amendment(placed: OrderView, cents: int = 40, contracts: int = 10, **terms: object) -> Amendment:
    named: dict[str, object] = {"ticker": placed.ticker, "outcome": placed.outcome, **terms}
    return Amendment(placed.order_id, limit=Price(cents * 100), count=Count(contracts * 100), **named)  # type: ignore[arg-type]


def reasons(core: ExchangeCore) -> list[str]:
    return [emission.reason for emission in core.drain() if isinstance(emission, OrderChanged)]


def queue(core: ExchangeCore, outcome: Outcome = YES) -> list[str]:
    return [resting.order_id for resting in core.markets[TICKER].resting() if resting.outcome is outcome]


def free(core: ExchangeCore) -> int:
    return core.accounts[MEMBER].available(SHARD)


# Expiry


def test_an_order_leaves_the_book_when_it_expires_and_not_before() -> None:
    core = still_core()
    placed = core.place(MEMBER, order(expiration_ms=START_MS + 5_000))
    core.advance(START_MS + 4_999)
    assert core.is_resting(placed.order_id)
    core.drain()
    core.advance(START_MS + 5_000)
    assert not core.is_resting(placed.order_id)
    assert reasons(core) == ["ExpiryCancel"]
    assert free(core) == 1_000_000_000


@pytest.mark.parametrize(
    ("terms", "details"),
    [
        ({"expiration_ms": START_MS}, "expiration_time is past"),
        ({"expiration_ms": START_MS + 1, "time_in_force": IOC}, "expiration_time needs good_till_canceled"),
        ({"expiration_ms": START_MS + 1, "time_in_force": FOK}, "expiration_time needs good_till_canceled"),
    ],
)
def test_an_expiry_must_lie_ahead_and_only_resting_orders_have_one(terms: dict[str, object], details: str) -> None:
    assert refusal(still_core().place, MEMBER, order(**terms)) == (400, "invalid_order", details)


# Amendment


def test_a_smaller_size_keeps_the_place_in_the_queue_and_a_larger_one_loses_it() -> None:
    core = still_core()
    mine = core.place(MEMBER, order())
    other = rest(core, TICKER, YES, 40, 10)
    smaller = core.amend(MEMBER, amendment(mine, contracts=4))
    assert (smaller.remaining, smaller.initial, queue(core)) == (400, 400, [mine.order_id, other.order_id])
    assert free(core) == 1_000_000_000 - 4 * 400_000
    larger = core.amend(MEMBER, amendment(mine, contracts=12))
    assert (larger.remaining, larger.initial, queue(core)) == (1_200, 1_200, [other.order_id, mine.order_id])
    assert free(core) == 1_000_000_000 - 12 * 400_000


def test_only_another_expiry_keeps_the_place_too() -> None:
    core = still_core()
    mine = core.place(MEMBER, order(expiration_ms=START_MS + 1_000))
    other = rest(core, TICKER, YES, 40, 10)
    later = core.amend(MEMBER, amendment(mine, expiration_ms=START_MS + 2_000))
    assert (later.expiration_ms, queue(core)) == (START_MS + 2_000, [mine.order_id, other.order_id])
    core.advance(START_MS + 1_500)
    assert core.is_resting(mine.order_id)
    kept = core.amend(MEMBER, amendment(mine, contracts=9))
    assert kept.expiration_ms == START_MS + 2_000
    assert core.amend(MEMBER, amendment(mine, contracts=9, expiration_ms=None)).expiration_ms is None
    core.advance(START_MS + 3_000)
    assert queue(core) == [mine.order_id, other.order_id]
    past = amendment(mine, contracts=9, expiration_ms=START_MS)
    assert refusal(core.amend, MEMBER, past) == (400, "invalid_order", "expiration_time is past")


def test_another_price_moves_the_order_to_the_end_of_that_level() -> None:
    core = still_core()
    mine = core.place(MEMBER, order())
    other = rest(core, TICKER, YES, 41, 10)
    core.drain()
    core.amend(MEMBER, amendment(mine, cents=41))
    deltas = [(e.price, e.change) for e in core.drain() if isinstance(e, BookChanged)]
    assert deltas == [(4_000, -1_000), (4_100, 1_000)]
    assert queue(core) == [other.order_id, mine.order_id]
    assert core.queue_position(mine.order_id) == 1_000


def test_an_amendment_that_crosses_trades_and_its_fee_goes_on_with_the_orders_accumulator() -> None:
    core = still_core(fee_type=FeeType.WITH_MAKER)
    mine = core.place(MEMBER, order(contracts=10))
    buy(core, TICKER, NO, 60, 3, account=MAKER)
    rest(core, TICKER, NO, 55, 4)
    amended = core.amend(MEMBER, amendment(mine, cents=45, contracts=12))
    assert (amended.filled, amended.remaining, amended.price) == (700, 500, 4_500)
    assert (amended.maker_cost, amended.taker_cost) == (1_200_000, 1_800_000)
    assert core.accounts[MEMBER].fees_paid == amended.maker_fees + amended.taker_fees
    executed = core.amend(MEMBER, amendment(mine, cents=45, contracts=8))
    assert (executed.remaining, executed.status) == (100, OrderStatus.RESTING)


def test_the_count_of_an_amendment_is_the_total_and_must_leave_something() -> None:
    core = still_core()
    mine = core.place(MEMBER, order(contracts=10))
    buy(core, TICKER, NO, 60, 4, account=MAKER)
    assert refusal(core.amend, MEMBER, amendment(mine, contracts=4))[:2] == (400, "INVALID_AMEND_QTY_FOR_ORDER")
    assert core.amend(MEMBER, amendment(mine, contracts=5)).remaining == 100


def test_an_amendment_must_name_the_order_that_it_means() -> None:
    core = still_core()
    mine = core.place(MEMBER, order(client_order_id="a"))
    core.place(MEMBER, order(client_order_id="b"))
    for wrong, code in (
        ({"ticker": OTHER}, "order_ticker_mismatch"),
        ({"outcome": NO}, "order_side_mismatch"),
        ({"client_order_id": "b"}, "order_id_and_client_order_id_mismatch"),
        ({"updated_client_order_id": "b"}, "order_already_exists"),
    ):
        assert refusal(core.amend, MEMBER, amendment(mine, contracts=9, **wrong))[:2] == (409, code)
    assert refusal(core.amend, MAKER, amendment(mine))[:2] == (404, "not_found")
    assert refusal(core.amend, MEMBER, amendment(mine, shard=0))[:2] == (404, "not_found")
    off_grid = Amendment(mine.order_id, TICKER, YES, Price(4_050), Count(1_000))
    assert refusal(core.amend, MEMBER, off_grid) == (400, "invalid_order", "invalid price")
    renamed = core.amend(MEMBER, amendment(mine, client_order_id="a", updated_client_order_id="c"))
    assert renamed.client_order_id == "c"
    assert refusal(core.place, MEMBER, order(client_order_id="c"))[:2] == (409, "order_already_exists")


def test_an_amendment_that_cannot_be_paid_changes_nothing() -> None:
    core = still_core(dollars=10)
    mine = core.place(MEMBER, order(cents=40, contracts=20))
    assert refusal(core.amend, MEMBER, amendment(mine, cents=60, contracts=20))[:2] == (400, "insufficient_balance")
    assert core.is_resting(mine.order_id)
    assert free(core) == 2_000_000
    assert core.amend(MEMBER, amendment(mine, cents=45, contracts=20)).price == 4_500


def test_a_post_only_order_cannot_be_amended_into_a_trade_and_a_placed_one_that_crosses_is_on_record() -> None:
    core = still_core()
    mine = core.place(MEMBER, order(post_only=True))
    rest(core, TICKER, NO, 50, 10)
    assert refusal(core.amend, MEMBER, amendment(mine, cents=50)) == (400, "invalid_order", "post only cross")
    assert core.is_resting(mine.order_id)
    core.drain()
    assert refusal(core.place, MEMBER, order(cents=50, post_only=True)) == (400, "invalid_order", "post only cross")
    assert reasons(core) == ["PostOnlyCrossCancel"]


# Decrease and cancel-all


def test_a_decrease_shrinks_an_order_where_it_stands_and_nothing_left_cancels_it() -> None:
    core = still_core()
    mine = core.place(MEMBER, order())
    other = rest(core, TICKER, YES, 40, 10)
    core.drain()
    named = {"reduce_by": None, "reduce_to": None, "shard": None}
    assert core.decrease(MEMBER, mine.order_id, **{**named, "reduce_by": Count(300)}).remaining == 700  # type: ignore[arg-type]
    assert core.decrease(MEMBER, mine.order_id, **{**named, "reduce_to": Count(200)}).remaining == 200  # type: ignore[arg-type]
    assert queue(core) == [mine.order_id, other.order_id]
    assert reasons(core) == ["Decrease", "Decrease"]
    for wrong in ({"reduce_to": 300}, {"reduce_by": 0}, {"reduce_to": -1}):
        assert refusal(core.decrease, MEMBER, mine.order_id, **{**named, **wrong})[:2] == (400, "invalid_order_size")
    for wrong in ({}, {"reduce_to": 100, "reduce_by": 100}):
        assert refusal(core.decrease, MEMBER, mine.order_id, **{**named, **wrong})[:2] == (400, "bad_request")
    gone = core.decrease(MEMBER, mine.order_id, **{**named, "reduce_by": Count(900)})  # type: ignore[arg-type]
    assert (gone.status, gone.remaining) == (OrderStatus.CANCELED, 0)
    assert free(core) == 1_000_000_000


def test_cancel_all_also_cancels_what_is_placed_in_the_following_minute() -> None:
    core = still_core()
    core.place(MEMBER, order())
    core.place(MEMBER, order(ticker=OTHER))
    theirs = rest(core, TICKER, NO, 50, 10)
    gone = core.cancel_all(MEMBER)
    assert [view.ticker for view in gone] == [TICKER, OTHER]
    assert free(core) == 1_000_000_000
    core.advance(START_MS + CANCEL_ALL_MS - 1)
    for time_in_force in TimeInForce:
        unwind = core.place(MEMBER, order(cents=50, time_in_force=time_in_force))
        assert (unwind.status, unwind.filled, unwind.remaining) == (OrderStatus.CANCELED, 0, 0)
    assert core.is_resting(theirs.order_id)
    core.advance(START_MS + CANCEL_ALL_MS)
    assert core.place(MEMBER, order(cents=50)).filled == 1_000


# Self trades


@pytest.mark.parametrize("mode", list(SelfTradePrevention))
def test_fill_or_kill_that_meets_its_own_account_keeps_what_it_filled(mode: SelfTradePrevention) -> None:
    core = still_core()
    rest(core, TICKER, NO, 50, 3)
    core.place(MEMBER, order(cents=49, contracts=3, outcome=NO))
    taken = core.place(MEMBER, order(cents=52, contracts=9, time_in_force=FOK, self_trade=mode))
    assert (taken.status, taken.filled) == (OrderStatus.CANCELED, 300)


# Order groups


def test_a_group_above_its_limit_within_fifteen_seconds_loses_its_orders_and_takes_no_more() -> None:
    core = still_core()
    group = core.create_group(MEMBER, Count(1_000), SHARD)
    rest(core, TICKER, NO, 60, 6)
    core.place(MEMBER, order(contracts=6, order_group_id=group.group_id))
    waiting = core.place(MEMBER, order(cents=30, order_group_id=group.group_id))
    core.advance(START_MS + WINDOW_MS)
    rest(core, TICKER, NO, 60, 10)
    core.place(MEMBER, order(contracts=10, order_group_id=group.group_id))
    assert core.is_resting(waiting.order_id), "the first fills have left the window"
    rest(core, TICKER, NO, 60, 1)
    core.drain()
    last = core.place(MEMBER, order(contracts=3, order_group_id=group.group_id))
    assert (last.status, last.filled, last.remaining) == (OrderStatus.CANCELED, 100, 0)
    (view,) = core.groups(MEMBER)
    assert (view.is_triggered, view.order_ids) == (True, ())
    assert [e.step for e in core.drain() if isinstance(e, GroupChanged)] == [GroupStep.TRIGGERED]
    late = order(order_group_id=group.group_id)
    assert refusal(core.place, MEMBER, late)[:2] == (400, "exceeded_order_group_risk_limit")
    core.reset_group(MEMBER, group.group_id)
    assert core.place(MEMBER, late).status is OrderStatus.RESTING


def test_a_makers_fills_count_for_its_group_as_well() -> None:
    core = still_core()
    group = core.create_group(MEMBER, Count(500), SHARD)
    mine = [core.place(MEMBER, order(order_group_id=group.group_id)) for _ in range(2)]
    buy(core, TICKER, NO, 60, 5, account=MAKER)
    assert core.groups(MEMBER)[0].order_ids == tuple(view.order_id for view in mine)
    buy(core, TICKER, NO, 60, 1, account=MAKER)
    assert core.groups(MEMBER)[0].is_triggered
    assert queue(core) == []
    assert free(core) == core.accounts[MEMBER].cash[SHARD]


def test_a_group_is_changed_triggered_and_deleted_by_its_owner_alone() -> None:
    core = still_core()
    group = core.create_group(MEMBER, Count(500), SHARD)
    rest(core, TICKER, NO, 60, 4)
    core.place(MEMBER, order(contracts=4, order_group_id=group.group_id))
    assert not core.set_group_limit(MEMBER, group.group_id, Count(400)).is_triggered
    assert core.set_group_limit(MEMBER, group.group_id, Count(300)).is_triggered
    core.reset_group(MEMBER, group.group_id)
    mine = core.place(MEMBER, order(order_group_id=group.group_id))
    assert core.trigger_group(MEMBER, group.group_id).is_triggered
    assert not core.is_resting(mine.order_id)
    core.reset_group(MEMBER, group.group_id)
    mine = core.place(MEMBER, order(order_group_id=group.group_id))
    assert refusal(core.delete_group, MAKER, group.group_id)[:2] == (404, "order_group_not_found")
    core.drain()
    core.delete_group(MEMBER, group.group_id)
    assert not core.is_resting(mine.order_id)
    assert [e.step for e in core.drain() if isinstance(e, GroupChanged)] == [GroupStep.DELETED]
    assert core.groups(MEMBER) == []
    assert refusal(core.place, MEMBER, order(order_group_id=group.group_id))[:2] == (404, "order_group_not_found")


def test_a_group_lives_on_one_shard_and_its_limit_has_bounds() -> None:
    core = still_core()
    elsewhere = core.create_group(MEMBER, Count(100_000_000), 0)
    assert refusal(core.place, MEMBER, order(order_group_id=elsewhere.group_id))[:2] == (404, "order_group_not_found")
    for limit in (0, 99, 100_000_001):
        assert refusal(core.create_group, MEMBER, Count(limit), SHARD)[:2] == (400, "bad_request")
    assert refusal(core.create_group, MEMBER, Count(100), 7)[:2] == (404, "not_found")


def test_a_group_may_be_deleted_between_a_close_and_its_cancels() -> None:
    core = still_core()
    group = core.create_group(MEMBER, Count(100), SHARD)
    core.place(MEMBER, order(order_group_id=group.group_id))
    core.advance(CLOSE_MS)
    core.delete_group(MEMBER, group.group_id)
    core.advance(CLOSE_MS + CLOSE_CANCEL_MS)
    assert free(core) == 1_000_000_000
