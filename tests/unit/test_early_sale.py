"""Selling early what is held, where the operator's limits ask for it: it acts on a proposal that still stands, never
below the bound, and whatever keeps it from acting is said and leaves the basket what it is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from kalshi_arb.domain.basket import Basket, BasketState, Purpose
from kalshi_arb.domain.errors import ConflictError, ExchangeError
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import CollateralReturn, MarketStatus, Netting
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import EntryKind
from kalshi_arb.execution.assess import Action
from kalshi_arb.execution.control import lift_stop, read_stop, set_stop
from kalshi_arb.execution.early_sale import MOST_RELEASES, QUIET_MS
from kalshi_arb.execution.explain import Part, explain, own_fills
from kalshi_arb.execution.review import RELEASE, proposals_of
from kalshi_arb.fakes import Fault
from kalshi_arb.journal_view import names_of
from kalshi_arb.reports.figures import BasketLine, report
from kalshi_arb.reports.period import Period, day_of
from kalshi_arb.risk.check import RESUMED
from tests.basket_world import NO, YES, World, leg, partition

LOCK, HELD, FLAT, UNWINDING = BasketState.LOCK, BasketState.HELD, BasketState.FLAT, BasketState.UNWINDING


def locked(
    contracts: int = 10, *, rest_s: int = 130, cash: int | None = None, **limits: object
) -> tuple[World, Basket]:
    """A lock on two markets of which one pays, bought for 40 and 45 cents, at rest for a while."""
    world = World(
        partition(2), limits={"auto_release": True, **limits}, cash=None if cash is None else {0: Cash(cash * 10**6)}
    )
    world.offer(("EV-0", YES, 40, 10), ("EV-1", YES, 45, 10))
    row = world.propose(leg("EV-0", YES, 10, 40), leg("EV-1", YES, 10, 45))
    row = world.drive(row.basket_id)
    assert row.state is LOCK
    world.clock.advance(rest_s * 1_000)
    return world, row


def bid(world: World, first: int, second: int, contracts: int = 50) -> None:
    """Let both legs be sold, in cents."""
    world.exchange.set_book("EV-0", [(first * 100, contracts * 100)])
    world.exchange.set_book("EV-1", [(second * 100, contracts * 100)])


def released(world: World, basket_id: str) -> Basket:
    """The basket after one review and whatever it started."""
    started = len(world.workflow.started)
    world.review.run()
    for name, attempt in world.workflow.started[started:]:
        world.execute(name, attempt)
    row = world.row(basket_id)
    if row.state in (LOCK, HELD, FLAT):
        world.assert_ended_well(basket_id)
    return row


def said(world: World) -> str:
    """The one proposal."""
    (text,) = proposals_of(world.status.get(RELEASE))
    return text


def test_nothing_is_sold_unless_the_limits_ask_for_it() -> None:
    world, row = locked(auto_release=False)
    bid(world, 55, 55)
    assert world.review.run() == 1
    assert (world.row(row.basket_id).state, world.workflow.started) == (LOCK, [])
    assert "Nothing is sold unless you sell it." in world.notifier.published[-1].text


def test_a_lock_that_sells_for_more_than_it_pays_is_sold_whole() -> None:
    world, row = locked()
    before = sum(world.exchange.balance().values())
    bid(world, 55, 55)
    ended = released(world, row.basket_id)
    assert (ended.state, ended.reason, ended.attempt) == (FLAT, "released", 2)
    gained = sum(world.exchange.balance().values()) - before
    assert ended.release is not None
    assert gained > 10_000_000 + ended.release.least, "more than ten sets pay"
    assert ended.settled_profit == sum(world.exchange.balance().values()) - world.opening
    told = {alert.alert_id: alert for alert in world.notifier.published}
    assert "It is being sold, priced again before anything is sent." in told[f"{row.basket_id}-release-1"].text
    assert told[f"{row.basket_id}-end"].title.startswith("Basket ended: lock")
    assert told[f"{row.basket_id}-end-1"].title.startswith("Early sale ended: flat")
    assert not world.reservations.held
    # Its markets settle, and nothing is paid or counted twice.
    world.settle(1, 0)
    assert world.settler.run().baskets == 0
    assert sum(world.exchange.balance().values()) - world.opening == ended.settled_profit


def test_the_journal_tells_both_ends_and_the_figures_add_up() -> None:
    world, row = locked()
    bid(world, 55, 55)
    ended = released(world, row.basket_id)
    entries = world.ledger.all()
    notes = {entry.entry_id: entry.note for entry in entries if entry.kind is EntryKind.DECISION}
    assert notes[f"end-{row.basket_id}"] == "lock: every leg complete"
    assert notes[f"release-1-{row.basket_id}"] == "to sell early: 10.00 EV-0 yes, 10.00 EV-1 yes"
    assert notes[f"end-1-{row.basket_id}"] == "flat: released"
    assert len(notes) == 4
    explained = explain(ended, own_fills(row.basket_id, entries))
    assert explained.realised == ended.settled_profit
    assert explained.total(Part.UNWIND) > 0
    assert world.status.counters("execution")["end.lock"] == 1
    assert world.status.counters("execution")["released.flat"] == 1
    assert "end.flat" not in world.status.counters("execution"), "no basket more has traded"


def test_a_report_says_what_it_was_on_each_day() -> None:
    """A lock on the day it was bought, flat on the day it was sold, and no figure of the first day changes."""
    world, row = locked(rest_s=30 * 3_600)
    assert world.auditor.run() is not None
    bought = day_of(row.updated_ms)

    def told(day: date) -> BasketLine:
        rows, period = [world.row(row.basket_id)], Period(day, day)
        made = report(world.ledger.all(), rows, names_of(rows), period, mode="simulated", now_ms=world.clock.now_ms())
        (line,) = made.baskets
        assert line.problem == ""
        return line

    before = told(bought)
    bid(world, 55, 55)
    ended = released(world, row.basket_id)
    assert told(bought) == before
    assert before.end == "lock"
    after = told(day_of(ended.updated_ms))
    assert (after.end, after.locked) == ("flat", ended.locked_profit)


def test_a_part_is_sold_where_only_a_part_gains_and_the_rest_settles() -> None:
    world, row = locked()
    world.exchange.set_book("EV-0", [(5_500, 400), (1_000, 5_000)])
    world.exchange.set_book("EV-1", [(5_500, 400), (1_000, 5_000)])
    ended = released(world, row.basket_id)
    assert (ended.state, [ended.leg_position(one) for one in (0, 1)]) == (HELD, [600, 600])
    assert ended.locked_profit is not None
    assert ended.locked_profit > 0
    world.settle(0, 1)
    assert world.settler.run().baskets == 1
    settled = world.row(row.basket_id)
    assert settled.state is BasketState.SETTLED
    assert settled.settled_profit == ended.locked_profit
    assert not world.reservations.held


def test_what_was_sold_in_part_may_be_sold_again_after_a_while() -> None:
    world, row = locked()
    world.exchange.set_book("EV-0", [(5_500, 400)])
    world.exchange.set_book("EV-1", [(5_500, 400)])
    released(world, row.basket_id)
    bid(world, 55, 55)
    assert released(world, row.basket_id).state is HELD
    assert "it ended less than 120 s ago" in said(world)
    world.clock.advance(QUIET_MS)
    ended = released(world, row.basket_id)
    assert ended.release is not None
    assert (ended.state, ended.release.number, ended.release.counts) == (FLAT, 2, (600, 600))


def test_when_the_bids_are_gone_it_stays_the_lock_it_was() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    assert world.row(row.basket_id).state is UNWINDING
    bid(world, 50, 50)
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert (ended.state, ended.reason) == (LOCK, "not released: selling does not beat holding any more")
    assert ended.locked_profit == row.locked_profit
    assert not any(order.purpose is Purpose.UNWIND for order in ended.orders)
    world.assert_ended_well(row.basket_id)
    world.settle(1, 0)
    assert world.settler.run().baskets == 1


def test_a_lock_of_which_nothing_sold_is_the_lock_it_was() -> None:
    """Its markets close while it is sold."""
    world, row = locked()
    bid(world, 55, 55)
    world.exchange.before_place = lambda _: [world.exchange.set_book(ticker) for ticker in ("EV-0", "EV-1")]
    ended = released(world, row.basket_id)
    assert (ended.state, ended.locked_profit) == (LOCK, row.locked_profit)
    assert ended.reason.startswith("every leg complete")
    assert sum(order.purpose is Purpose.UNWIND for order in ended.orders) == 2


def test_what_one_leg_sells_alone_is_followed_by_the_other_within_the_bound() -> None:
    world, row = locked()
    bid(world, 55, 55)
    waves = 0

    def fade(_: object) -> None:
        """The second leg finds no bid at first, then a worse one."""
        nonlocal waves
        waves += 1
        world.exchange.caps["EV-1"] = Count(0 if waves == 1 else 10_000)
        if waves == 1:
            world.exchange.set_book("EV-1", [(3_000, 5_000)])

    world.exchange.before_place = fade
    ended = released(world, row.basket_id)
    assert (ended.state, waves) == (FLAT, 2)
    assert ended.locked_profit is not None
    assert -ended.exposure_bound <= ended.locked_profit < 0


def test_a_basket_that_is_live_is_not_settled_meanwhile() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    world.settle(1, 0)
    assert world.settler.run().baskets == 0
    for ticker in ("EV-0", "EV-1"):
        world.exchange.set_book(ticker)
    world.execute(row.basket_id, 2)
    assert world.row(row.basket_id).state is LOCK
    assert world.settler.run().baskets == 1


@pytest.mark.parametrize("stop", ["stopped", "breaker"])
def test_a_stop_keeps_an_early_sale_from_starting(stop: str) -> None:
    world, row = locked(breaker_max_loss="0.00")
    bid(world, 55, 55)
    if stop == "stopped":
        set_stop(world.status, by="me", reason="look", now_ms=world.clock.now_ms())
    else:
        world.status.put("breaker", {"tripped": True, "text": "it lost"})
    ended = released(world, row.basket_id)
    assert ended.state is LOCK
    assert f"It is not sold: {stop}: " in said(world)
    if stop == "stopped":
        lift_stop(world.status, by="me", now_ms=world.clock.now_ms(), seen=read_stop(world.status))
        assert released(world, row.basket_id).state is FLAT


def test_a_stop_after_the_start_and_before_the_first_order_ends_it() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    set_stop(world.status, by="me", reason="look", now_ms=world.clock.now_ms())
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert (ended.state, ended.reason) == (LOCK, "not released: a stop came first")
    world.assert_ended_well(row.basket_id)


def test_a_stop_after_its_first_orders_were_planned_keeps_them_back() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    assert world.risk.run(row.basket_id, 2).reason == RESUMED
    handed_out = world.assessor.run(row.basket_id, 2, 0)
    assert handed_out.action is Action.UNWIND
    set_stop(world.status, by="me", reason="look", now_ms=world.clock.now_ms())
    assert world.unwinder.run(row.basket_id, 2, handed_out.wave) == 0
    for wave in (0, handed_out.wave):
        assert world.assessor.run(row.basket_id, 2, wave).action is Action.CLOSE
    assert world.closer.run(row.basket_id, 2) is LOCK
    world.assert_ended_well(row.basket_id)


def test_a_stop_while_it_sells_does_not_leave_it_half_sold() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.exchange.caps["EV-1"] = Count(400)

    def stopped(_: object) -> None:
        world.exchange.caps.pop("EV-1", None) if len(world.exchange.batches) > 3 else None
        set_stop(world.status, by="me", reason="look", now_ms=world.clock.now_ms())

    world.exchange.before_place = stopped
    ended = released(world, row.basket_id)
    assert ended.state is FLAT
    assert ended.leg_position(0) == ended.leg_position(1) == 0


def test_cash_that_is_not_there_keeps_it_from_starting() -> None:
    world, row = locked(cash=12)
    bid(world, 55, 55)
    assert released(world, row.basket_id).state is LOCK
    assert "It is not sold: cash on shard 0: $" in said(world)
    assert not any(key.startswith("cash#") for key in world.reservations.used())


def test_cash_that_another_took_meanwhile_ends_it_as_what_it_was() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    have = sum(world.exchange.balance().values())
    assert world.reservations.reserve("other", {"cash#0": have}, {}) == ()
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert ended.state is LOCK
    assert ended.reason.startswith("not released: cash on shard 0: ")
    world.reservations.release("other")
    world.assert_ended_well(row.basket_id)


@pytest.mark.parametrize(("what", "words"), [("overtaken", "others kept giving cash back"), ("silent", "no answer")])
def test_room_that_cannot_be_told_ends_it_as_what_it_was(
    what: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    with monkeypatch.context() as patched:
        if what == "overtaken":
            patched.setattr(world.reservations, "returns", lambda keys: dict.fromkeys(keys, 99))
        else:
            patched.setattr(world.exchange, "balance", silent)
        assert not world.risk.run(row.basket_id, 2).accepted
    assert world.closer.run(row.basket_id, 2) is LOCK
    assert words in world.row(row.basket_id).reason
    world.assert_ended_well(row.basket_id)


def test_worse_bids_than_cash_was_held_for_end_it_as_what_it_was() -> None:
    world, row = locked()
    bid(world, 60, 60)
    world.review.run()
    bid(world, 57, 57)
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert (ended.state, ended.reason) == (LOCK, "not released: it takes more cash than was held for it")
    world.assert_ended_well(row.basket_id)


def test_what_is_driven_only_after_a_minute_is_given_up() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    world.clock.advance(61_000)
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert (ended.state, ended.reason) == (LOCK, "not released: nothing could be sent within 60 s")
    world.assert_ended_well(row.basket_id)


def test_a_review_that_another_overtook_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, row = locked()
    bid(world, 55, 55)

    def overtaken(_: Basket) -> None:
        raise ConflictError("somebody was first")

    monkeypatch.setattr(world.baskets, "reopen", overtaken)
    assert world.review.run() == 1
    assert "It is not sold: its row was changed meanwhile" in said(world)
    assert world.row(row.basket_id) == row


def test_bids_that_went_after_the_proposal_start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, row = locked()
    bid(world, 55, 55)
    read, readings = world.exchange.orderbooks, 0

    def fading(tickers: Sequence[str]) -> Any:
        nonlocal readings
        readings += 1
        if readings == 2:
            bid(world, 50, 50)
        return read(tickers)

    monkeypatch.setattr(world.exchange, "orderbooks", fading)
    assert world.review.run() == 1
    assert "It is not sold: selling does not beat holding any more" in said(world)
    assert world.row(row.basket_id) == row


def test_the_group_has_one_live_basket() -> None:
    world, row = locked()
    bid(world, 55, 55)
    lease = world.baskets.leases()[0]
    other = replace(row, basket_id="other", state=BasketState.PROPOSED)
    assert world.baskets.create(other, lease.mark_ms + 10**6)
    assert world.review.run() == 1
    assert world.row(row.basket_id).state is LOCK
    assert "its group has a live basket" in said(world)


def test_while_it_is_sold_nothing_is_bought_in_its_group() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    other = replace(row, basket_id="other", state=BasketState.PROPOSED)
    assert not world.baskets.create(other, world.clock.now_ms() + 10**6)
    world.execute(row.basket_id, 2)
    assert world.baskets.create(other, world.clock.now_ms() + 10**6)


def test_a_row_that_changed_meanwhile_is_left_alone() -> None:
    world, row = locked()
    with pytest.raises(ConflictError):
        world.baskets.reopen(replace(row, state=UNWINDING, attempt=2, revision=row.revision - 1))
    with pytest.raises(ConflictError):
        world.baskets.reopen(replace(row, state=UNWINDING))


def silent(*_: object) -> None:
    """An exchange that does not answer."""
    raise ExchangeError("no answer")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("paused", "EV-0 is inactive"),
        ("closes", "EV-0 closes in 60 s"),
        ("exchange", "the exchange stops trading in 30 s"),
        ("fees", "EV-1 charges"),
        ("group", "its group is not accepted as it was proved on"),
        ("mode", "it is a basket of mode live"),
        ("unreadable", "the exchange could not be read"),
    ],
)
def test_what_is_in_the_way_is_said(what: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world, row = locked()
    bid(world, 55, 55)
    now = world.clock.now_ms()
    match what:
        case "paused":
            world.exchange.statuses["EV-0"] = MarketStatus.INACTIVE
        case "closes":
            world.exchange.closing_ms["EV-0"] = now + 60_000
        case "exchange":
            world.exchange.stops_ms = now + 30_000
        case "fees":
            world.exchange.fees_now["EV-1"] = FeeSchedule(FeeType.QUADRATIC, 20_000)
        case "group":
            world.groups.hold([])
        case "mode":
            world.baskets.save(replace(row, mode="live"))
        case "unreadable":
            monkeypatch.setattr(world.exchange, "market_fees", silent)
    assert world.review.run() == 1
    assert world.row(row.basket_id).state is LOCK
    assert f"It is not sold: {words}" in said(world)
    assert not world.workflow.started


def test_a_sale_that_could_break_its_bound_by_filling_in_part_is_not_made() -> None:
    world, row = locked()
    world.baskets.save(replace(row, exposure_bound=Cash(0)))
    bid(world, 55, 55)
    assert released(world, row.basket_id).state is LOCK
    assert "no sale of it stays within its bound if only a part fills" in said(world)


def test_where_not_all_may_leave_at_once_the_leg_that_is_safest_alone_leaves_first() -> None:
    world, row = locked()
    # Having sold 40 cents' worth and keeping 45 loses less than the other way round: the bound is set in between.
    bid(world, 60, 50)
    world.baskets.save(replace(row, exposure_bound=Cash(3_400_000)))
    ended = released(world, row.basket_id)
    assert ended.state is FLAT
    sold = [(order.wave, order.leg) for order in ended.release_orders()]
    assert len({wave for wave, _ in sold}) == 2
    assert len(sold) == 2


def test_it_is_given_up_after_some_failures() -> None:
    world, row = locked()
    for number in range(1, MOST_RELEASES + 1):
        bid(world, 55, 55)
        world.exchange.before_place = lambda _: [world.exchange.set_book(ticker) for ticker in ("EV-0", "EV-1")]
        ended = released(world, row.basket_id)
        assert ended.release is not None
        assert (ended.state, ended.release.number) == (LOCK, number)
        world.clock.advance(QUIET_MS)
    bid(world, 55, 55)
    assert released(world, row.basket_id).attempt == MOST_RELEASES + 1
    assert "5 early sales of it have been tried" in said(world)


def test_a_row_that_nobody_drives_is_found_and_sold() -> None:
    """The process dies between the row and its execution."""
    world, row = locked()
    bid(world, 55, 55)
    world.switch.calls, world.switch.chooser = 0, lambda: "before" if world.switch.method == "start" else ""
    with pytest.raises(Exception, match="before call"):
        world.review.run()
    world.switch.chooser = None
    assert world.row(row.basket_id).state is UNWINDING
    world.clock.advance(21_000)
    world.sweeper.run()
    (started,) = world.workflow.started
    assert started == (row.basket_id, 3)
    world.execute(*started)
    assert world.row(row.basket_id).state is FLAT
    world.assert_ended_well(row.basket_id)


def test_a_sale_that_cannot_leave_for_a_minute_is_given_up() -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    world.exchange.faults.extend([Fault.RATE_LIMITED] * 500)
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert (ended.state, ended.reason) == (LOCK, "40 waves did not bring it to an end")
    assert not any(order.filled for order in ended.release_orders())
    world.assert_ended_well(row.basket_id)


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.LOST_REQUEST, Fault.REFUSED])
def test_lost_answers_are_asked_for(fault: Fault) -> None:
    world, row = locked()
    bid(world, 55, 55)
    world.exchange.faults.append(fault)
    ended = released(world, row.basket_id)
    assert ended.state is (FLAT if fault is Fault.LOST_ANSWER else LOCK)


def test_a_held_basket_is_sold_early_too() -> None:
    world = World(partition(2), limits={"auto_release": True})
    world.offer(("EV-0", YES, 40, 10), ("EV-1", YES, 45, 10))
    row = world.propose(leg("EV-0", YES, 10, 40), leg("EV-1", YES, 10, 45))
    world.exchange.caps["EV-1"] = Count(0)
    sent = 0

    def gone(_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            world.exchange.set_book("EV-0")
            world.exchange.set_book("EV-1")

    world.exchange.before_place = gone
    ended = world.drive(row.basket_id)
    world.exchange.before_place = None
    world.exchange.caps.clear()
    assert ended.state is HELD
    lost = ended.locked_profit
    world.clock.advance(QUIET_MS)
    # One leg is held alone: in the worst state it pays nothing, so every bid beats holding.
    world.exchange.set_book("EV-0", [(3_000, 5_000)])
    world.exchange.set_book("EV-1", [(3_000, 5_000)])
    after = released(world, row.basket_id)
    assert after.state is FLAT
    assert after.locked_profit is not None
    assert lost is not None
    assert after.locked_profit > lost


def test_collateral_that_came_back_is_not_put_back_by_itself() -> None:
    plain = partition(3)
    markets = tuple(replace(one, collateral_return=CollateralReturn.MECNET) for one in plain.markets)
    world = World(replace(plain, markets=markets), limits={"auto_release": True}, netting=Netting.ON)
    tickers = [f"EV-{number}" for number in range(3)]
    world.offer(*((ticker, NO, 60, 10) for ticker in tickers))
    row = world.drive(world.propose(*(leg(ticker, NO, 10, 60) for ticker in tickers)).basket_id)
    assert row.state is LOCK
    world.clock.advance(QUIET_MS)
    for ticker in tickers:
        world.exchange.set_book(ticker, [], [(9_700, 5_000)])
    assert world.review.run() == 1
    assert "It is not sold: collateral for it may have come back" in said(world)
    assert world.row(row.basket_id).state is LOCK


def test_prices_of_the_books_are_priced_again() -> None:
    """What the review reads and what the first wave finds are two moments: the second decides."""
    world, row = locked()
    bid(world, 55, 55)
    world.review.run()
    bid(world, 58, 52)
    world.execute(row.basket_id, 2)
    ended = world.row(row.basket_id)
    assert ended.state is FLAT
    assert {order.request.limit for order in ended.release_orders()} == {Price(4_200), Price(4_800)}
