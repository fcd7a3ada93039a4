"""What befalls a market and the exchange: pauses, moved closes, disputes, changed terms and fees, the weekly hours."""

from decimal import Decimal

import pytest

from infra.exchange.account import OrderStatus
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import EventFeeUpdated, LifecycleKind, MarketLifecycle, OrderChanged
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.hours import Pause, pause_at_or_after
from infra.exchange.life import CLOSE_CANCEL_MS
from infra.exchange.living import MEMBER
from infra.exchange.terms import GRIDS, Amendment, GridName, NewOrder, TimeInForce
from infra.exchange.testkit import CLOSE_MS, EVENT, MAKER, START_MS, TICKERS, buy, rest, still_core, still_event
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price

TICKER, OTHER = TICKERS[:2]
GTC = TimeInForce.GOOD_TILL_CANCELED
YES, NO = Outcome.YES, Outcome.NO
SHARD = 2
HOUR = 3_600_000


def refused(act: object, *args: object, **named: object) -> str:
    assert callable(act)
    with pytest.raises(ExchangeRefusalError) as caught:
        act(*args, **named)
    return caught.value.code


def order(price: int = 4_000, *, ticker: str = TICKER, on_pause: bool = False) -> NewOrder:
    return NewOrder(ticker, YES, Price(price), Count(1_000), GTC, cancel_on_pause=on_pause)


def told(core: ExchangeCore) -> list[str]:
    """Lifecycle messages and the reasons of a member's order changes, in order."""
    words = []
    for emission in core.drain():
        if isinstance(emission, MarketLifecycle):
            words.append(emission.kind.value)
        elif isinstance(emission, OrderChanged):
            words.append(emission.reason)
    return words


def free(core: ExchangeCore) -> int:
    return core.accounts[MEMBER].available(SHARD)


# Pauses


def test_in_a_trading_pause_orders_can_only_be_cancelled_and_stay_unless_they_asked_otherwise() -> None:
    core = still_core()
    stays, goes = core.place(MEMBER, order()), core.place(MEMBER, order(on_pause=True))
    core.drain()
    core.pause_trading(paused=True)
    assert told(core) == ["HaltCancel"]
    assert (core.is_resting(stays.order_id), core.is_resting(goes.order_id)) == (True, False)
    change = Amendment(stays.order_id, TICKER, YES, Price(4_000), Count(500))
    assert refused(core.place, MEMBER, order()) == "trading_paused"
    assert refused(core.amend, MEMBER, change) == "trading_paused"
    assert not core.is_open(TICKER)
    core.decrease(MEMBER, stays.order_id, reduce_by=Count(100), reduce_to=None, shard=None)
    core.cancel(MEMBER, stays.order_id)
    core.pause_trading(paused=False)
    assert core.place(MEMBER, order()).status is OrderStatus.RESTING


def test_in_an_exchange_pause_not_even_a_cancel_is_taken() -> None:
    core = still_core()
    mine = core.place(MEMBER, order())
    core.pause_exchange(paused=True)
    assert refused(core.place, MEMBER, order()) == "exchange_paused"
    assert refused(core.cancel, MEMBER, mine.order_id) == "exchange_paused"
    assert refused(core.cancel_all, MEMBER) == "exchange_paused"
    assert refused(core.transfer, MEMBER, Cash(1), 0, SHARD) == "exchange_paused"
    core.pause_exchange(paused=False)
    core.cancel(MEMBER, mine.order_id)


def test_a_deactivated_market_keeps_its_orders_until_it_is_activated_again() -> None:
    core = still_core()
    mine, goes = core.place(MEMBER, order()), core.place(MEMBER, order(on_pause=True))
    core.place(MEMBER, order(ticker=OTHER, on_pause=True))
    core.drain()
    core.deactivate(TICKER)
    assert told(core) == ["deactivated", "HaltCancel"]
    assert core.markets[TICKER].status is MarketStatus.INACTIVE
    assert (core.is_resting(mine.order_id), core.is_resting(goes.order_id)) == (True, False)
    assert refused(core.place, MEMBER, order()) == "market_inactive"
    core.activate(TICKER)
    assert told(core) == ["HaltCancel", "activated"]
    assert len(core.markets[OTHER].resting()) == 1
    assert refused(core.activate, TICKER) == "invalid_market_status"
    assert refused(core.deactivate, "KXNONE") == "market_not_found"


def test_a_deactivated_market_closes_at_its_time_all_the_same() -> None:
    core = still_core()
    core.deactivate(TICKER)
    core.advance(CLOSE_MS)
    assert core.markets[TICKER].status is MarketStatus.CLOSED


# Closing times


def test_a_market_can_close_early_and_open_again() -> None:
    core = still_core()
    core.place(MEMBER, order())
    core.drain()
    core.close_market(TICKER)
    assert (told(core), core.markets[TICKER].terms.close_ms) == (["close_date_updated"], START_MS)
    core.move_close(TICKER, START_MS + 1_000)
    assert told(core) == ["close_date_updated", "CloseCancel", "activated"]
    assert core.events[EVENT].markets[0].close_ms == START_MS + 1_000
    core.place(MEMBER, order())
    core.advance(START_MS + 1_000 + CLOSE_CANCEL_MS)
    assert core.markets[TICKER].status is MarketStatus.CLOSED
    assert free(core) == 1_000_000_000


def test_a_close_that_was_put_off_does_not_happen_at_the_old_time() -> None:
    core = still_core()
    core.move_close(TICKER, CLOSE_MS + 1_000)
    core.advance(CLOSE_MS)
    assert core.markets[TICKER].status is MarketStatus.ACTIVE
    assert core.markets[OTHER].status is MarketStatus.CLOSED
    core.advance(CLOSE_MS + 1_000)
    assert core.markets[TICKER].status is MarketStatus.CLOSED
    assert refused(core.close_market, TICKER) == "invalid_market_status"
    assert refused(core.move_close, TICKER, START_MS - 1) == "bad_request"


# Results


def test_nothing_is_paid_while_a_result_is_disputed_and_an_amended_one_starts_the_timer_again() -> None:
    core = still_core(multiplier=0)
    rest(core, TICKER, NO, 60, 10)
    buy(core, TICKER, YES, 40, 10)
    before = free(core)
    core.advance(CLOSE_MS)
    core.determine(TICKER, ONE_DOLLAR, "12")
    core.dispute(TICKER)
    core.advance(CLOSE_MS + HOUR)
    assert (core.markets[TICKER].status, free(core)) == (MarketStatus.DISPUTED, before)
    assert refused(core.determine, TICKER, Price(0), "9") == "invalid_market_status"
    core.drain()
    core.amend_result(TICKER, Price(2_500), "11")
    assert (core.markets[TICKER].status, told(core)) == (MarketStatus.AMENDED, ["determined"])
    core.advance(CLOSE_MS + HOUR + 500)
    core.amend_result(TICKER, Price(5_000), "11.5")
    core.advance(CLOSE_MS + HOUR + 1_000)
    assert (core.markets[TICKER].status, free(core)) == (MarketStatus.AMENDED, before)
    core.advance(CLOSE_MS + HOUR + 1_500)
    assert (core.markets[TICKER].status, free(core)) == (MarketStatus.FINALIZED, before + 5_000_000)
    for act in (core.dispute, core.close_market):
        assert refused(act, TICKER) == "invalid_market_status"
    assert refused(core.amend_result, TICKER, Price(0), "1") == "invalid_market_status"


def test_a_result_before_the_close_closes_the_market_and_cancels_what_rested() -> None:
    core = still_core()
    core.place(MEMBER, order())
    core.drain()
    core.determine(TICKER, Price(0), "1")
    assert told(core) == ["CloseCancel", "determined"]
    assert refused(core.determine, OTHER, Price(10_001), "1") == "bad_request"
    assert core.markets[OTHER].status is MarketStatus.ACTIVE


# Terms


def test_changed_strikes_and_rules_are_in_the_terms_and_only_strikes_are_announced() -> None:
    core = still_core()
    core.change_strike(TICKER, Decimal("10.5"), None)
    core.change_rules(TICKER, "Yes if it is so.")
    terms = core.markets[TICKER].terms
    assert (terms.floor, terms.cap, terms.rules) == (Decimal("10.5"), None, "Yes if it is so.")
    assert core.events[EVENT].markets[0] == terms
    assert core.markets[OTHER].event is core.events[EVENT]
    assert told(core) == [LifecycleKind.METADATA_UPDATED.value]


def test_a_changed_grid_keeps_what_is_on_it_and_cancels_the_rest() -> None:
    core = still_core(event=lambda: still_event(grid=GridName.DECI_CENT))
    kept, gone = core.place(MEMBER, order(4_000)), core.place(MEMBER, order(4_010))
    core.drain()
    core.change_grid(TICKER, GridName.LINEAR_CENT)
    assert told(core) == ["HaltCancel", "price_level_structure_updated"]
    assert (core.is_resting(kept.order_id), core.is_resting(gone.order_id)) == (True, False)
    assert refused(core.place, MEMBER, order(4_010)) == "invalid_order"


def test_every_documented_grid_holds_the_whole_cents_and_has_the_steps_of_its_bands() -> None:
    names = [
        "linear_cent",
        "deci_cent",
        "tapered_deci_cent",
        "center_whole_edge_half_cent",
        "center_whole_edge_quint_cent",
        "center_half_edge_half_cent",
        "center_half_edge_quint_cent",
        "center_half_edge_deci_cent",
        "center_quint_edge_quint_cent",
        "center_quint_edge_deci_cent",
        "center_centi_edge_centi_cent",
        "center_deci_edge_centi_cent",
    ]
    assert {name.value for name in GRIDS} == set(names)
    steps = {"whole": 100, "half": 50, "quint": 20, "deci": 10, "centi": 1}
    for name, grid in GRIDS.items():
        assert all(grid.is_valid(Price(cents * 100)) for cents in range(1, 100))
        words = name.value.split("_")
        if words[0] != "center":
            continue
        edge = 100 if name is GridName.CENTER_DECI_EDGE_CENTI_CENT else 1_000
        assert grid.next_above(Price(5_000)) == 5_000 + steps[words[1]]
        assert grid.next_above(Price(0)) == steps[words[3]]
        assert grid.next_below(Price(edge)) == edge - steps[words[3]]
        assert grid.next_above(Price(edge)) == edge + steps[words[1]]
        assert grid.next_above(Price(10_000 - edge)) == 10_000 - edge + steps[words[3]]


# Fees


def test_a_scheduled_fee_holds_from_its_moment_on_for_the_fills_after_it() -> None:
    core = still_core(multiplier=10_000)
    rest(core, TICKER, NO, 50, 300)
    core.change_fees("KXSTILL", FeeSchedule(FeeType.QUADRATIC, 5_000), START_MS + 1_000)
    core.advance(START_MS + 999)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 1_750_000
    core.advance(START_MS + 1_000)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 875_000
    assert core.series["KXSTILL"].fees.multiplier == 5_000
    assert not any(isinstance(emission, EventFeeUpdated) for emission in core.drain())


def test_an_events_override_comes_first_and_is_announced_when_set_and_when_cleared() -> None:
    core = still_core(multiplier=10_000)
    rest(core, TICKER, NO, 50, 300)
    free_of_charge = FeeSchedule(FeeType.QUADRATIC, 0)
    core.change_fees(EVENT, free_of_charge, 0)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 0
    core.change_fees("KXSTILL", FeeSchedule(FeeType.QUADRATIC, 20_000), START_MS)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 0
    core.change_fees(EVENT, None, START_MS)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 3_500_000
    updates = [emission.override for emission in core.drain() if isinstance(emission, EventFeeUpdated)]
    assert updates == [free_of_charge, None]
    assert refused(core.change_fees, "KXSTILL", None, START_MS) == "bad_request"
    assert refused(core.change_fees, EVENT, FeeSchedule(FeeType.FLAT), START_MS) == "bad_request"
    assert refused(core.change_fees, "KXNONE", free_of_charge, START_MS) == "not_found"


def test_a_waived_market_charges_nothing_until_its_waiver_ends() -> None:
    core = still_core(event=lambda: still_event(waiver_ms=START_MS + 1_000))
    rest(core, TICKER, NO, 50, 300)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 0
    core.advance(START_MS + 1_000)
    assert buy(core, TICKER, YES, 50, 100).taker_fees == 1_750_000


def test_what_rests_reserves_for_the_fees_that_hold_and_leaves_when_there_is_no_cash_for_them() -> None:
    core = still_core(dollars=5, multiplier=0, fee_type=FeeType.WITH_MAKER)
    first, second = core.place(MEMBER, order(2_000)), core.place(MEMBER, order(2_900))
    assert free(core) == 100_000
    core.change_fees("KXSTILL", FeeSchedule(FeeType.WITH_MAKER), START_MS)
    assert core.is_resting(first.order_id)
    assert core.is_resting(second.order_id)
    held = sum(
        core.markets[TICKER].reservation(resting, resting.remaining) for resting in core.markets[TICKER].resting()
    )
    assert core.accounts[MEMBER].reserved[SHARD] == held
    assert free(core) == 5_000_000 - held >= 0
    core.move_cash(MEMBER, SHARD, Cash(-free(core)))
    core.change_fees("KXSTILL", FeeSchedule(FeeType.WITH_MAKER, 100_000), START_MS)
    assert "MarginCancel" in told(core)
    assert free(core) >= 0


# Cash


def test_cash_moves_between_shards_once_per_transfer_id() -> None:
    core = still_core(dollars=10)
    core.transfer(MEMBER, Cash(4_000_000), 0, SHARD, "t")
    assert core.accounts[MEMBER].cash == {0: 6_000_000, SHARD: 14_000_000}
    assert refused(core.transfer, MEMBER, Cash(4_000_000), 0, SHARD, "t") == "transfer_already_exists"
    assert refused(core.transfer, MEMBER, Cash(6_000_001), 0, SHARD) == "insufficient_balance"
    for amount, source, destination in ((0, 0, SHARD), (-5, 0, SHARD), (5, 0, 0)):
        assert refused(core.transfer, MEMBER, Cash(amount), source, destination) == "bad_request"
    assert refused(core.transfer, MEMBER, Cash(5), 0, 9) == "not_found"


def test_cash_that_orders_reserve_can_neither_be_transferred_nor_paid_out() -> None:
    core = still_core(dollars=10)
    core.place(MEMBER, order())
    assert refused(core.transfer, MEMBER, Cash(6_000_001), SHARD, 0) == "insufficient_balance"
    assert refused(core.move_cash, MEMBER, SHARD, Cash(-6_000_001)) == "insufficient_balance"
    core.move_cash(MEMBER, SHARD, Cash(-6_000_000))
    assert free(core) == 0
    assert core.accounts[MEMBER].deposits == {0: 0, SHARD: -6_000_000}


# Hours: 5 November 2026 and 16 July 2026 are Thursdays, in winter time and in summer time


@pytest.mark.parametrize(
    ("ms", "begins"),
    [
        (1_793_840_000_000, 1_793_865_600_000),  # 2026-11-05 08:00 UTC is 03:00 in New York
        (1_793_865_600_000, 1_793_865_600_000),
        (1_793_865_600_000 + 2 * HOUR - 1, 1_793_865_600_000),
        (1_793_865_600_000 + 2 * HOUR, 1_793_865_600_000 + 7 * 24 * HOUR),
        (1_784_160_000_000, 1_784_185_200_000),  # 2026-07-16 07:00 UTC
        (1_793_260_800_000 - HOUR, 1_793_257_200_000),  # 2026-10-29 07:00 UTC: three days before the clocks change
    ],
)
def test_the_weekly_pause_is_at_three_in_new_york_in_summer_and_in_winter(ms: int, begins: int) -> None:
    assert pause_at_or_after(ms) == Pause(begins, begins + 2 * HOUR)


def test_the_weekly_pause_comes_every_week_until_it_is_switched_off() -> None:
    pause = pause_at_or_after(START_MS)
    core = still_core(event=lambda: still_event(close_ms=pause.ends_ms + 30 * 24 * HOUR))
    core.set_weekly_pause(enabled=True)
    assert core.trades_until(pause.begins_ms - 1)
    assert not core.trades_until(pause.begins_ms)
    core.place(MEMBER, order(on_pause=True))
    core.drain()
    for _ in range(3):
        core.advance(pause.begins_ms - 1)
        assert core.trading_active
        core.advance(pause.begins_ms)
        assert refused(core.place, MEMBER, order()) == "trading_paused"
        core.advance(pause.ends_ms)
        assert core.trading_active
        pause = pause_at_or_after(pause.ends_ms)
    assert told(core) == ["HaltCancel"]
    core.advance(pause.begins_ms + 1)
    core.set_weekly_pause(enabled=False)
    assert core.place(MAKER, order()).status is OrderStatus.RESTING
    core.set_weekly_pause(enabled=True)
    assert not core.trading_active
    core.set_weekly_pause(enabled=False)
    core.advance(pause.ends_ms + 8 * 24 * HOUR)
    assert core.trading_active
