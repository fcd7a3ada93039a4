"""A refusal names every reason with its figures: each check refuses what it is for, passes what it is not, and none
hides another."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import SettingsError, StoreError
from kalshi_arb.domain.group_record import SuspensionReason, suspend
from kalshi_arb.domain.market import MarketStatus, Netting
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, Settlement, fill_entry, settlement_entry
from kalshi_arb.domain.state_space import OBSERVED_VALUE, Ground, Group
from kalshi_arb.execution.arming import Terms, new_arming
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.risk.limits import Limits, parse_limits
from kalshi_arb.risk.refusals import Refusal
from tests.basket_world import WIDE_LIMITS, YES, World, leg, partition

DAY_MS = 86_400_000


def proposed(group: Group | None = None, **options: object) -> tuple[World, Basket]:
    """Ten of each outcome of a partition for 90 cents a set."""
    world = World(group or partition(), **options)  # type: ignore[arg-type]
    world.offer_bundle()
    return world, world.propose_bundle()


def findings(world: World, basket: Basket) -> dict[str, str]:
    """What the check finds: text by code; it must refuse and leave nothing behind."""
    answer = world.risk.run(basket.basket_id, 1)
    row = world.row(basket.basket_id)
    assert not answer.accepted
    assert row.state is BasketState.REFUSED
    assert answer.reason == row.reason == row.findings[0].code
    assert basket.basket_id not in world.reservations.held
    return {one.code: one.text for one in row.findings}


def test_one_refusal_lists_all_that_is_wrong() -> None:
    world, basket = proposed(limits={"min_profit": "5.00", "max_open_baskets": 0})
    world.status.put("control", {"stop": True})
    (record,) = world.groups.all()
    world.groups.write([suspend(record, SuspensionReason.CHANGED, "a rule changed", now_ms=0)])
    world.exchange.statuses["EV-1"] = MarketStatus.INACTIVE
    world.exchange.stops_ms = world.clock.now_ms()
    found = findings(world, basket)
    assert list(found) == ["stopped", "group_suspended", "not_tradable", "exchange_closes", "max_open_baskets"]
    assert found["group_suspended"] == "changed: a rule changed"
    assert found["not_tradable"] == "EV-1 is inactive"
    assert "1 is needed, at most 0" in found["max_open_baskets"]
    assert world.status.counters("risk") == {"refused.stopped": 1}, "counted once, by its first reason"


def test_a_refusal_for_profit_says_what_it_gains_in_all_and_for_a_set() -> None:
    world, basket = proposed(limits={"min_profit": "0.60", "min_profit_per_set": "0.06"})
    found = findings(world, basket)
    assert list(found) == ["min_profit", "min_profit_per_set"]
    assert found["min_profit"].startswith("it gains $0.55")
    assert found["min_profit"].endswith("at least $0.60 is asked")
    assert found["min_profit_per_set"].startswith("it gains $0.055")


SOON = Limits().min_time_to_close_s * 1_000


def test_a_market_must_trade_for_longer_than_a_basket_can_take() -> None:
    assert ExecutionPolicy().worst_completion_ms < SOON


def closing(world: World, ms: int) -> None:
    world.exchange.closing_ms["EV-2"] = world.clock.now_ms() + ms


def stopping(world: World, ms: int) -> None:
    world.exchange.stops_ms = world.clock.now_ms() + ms


def paying(world: World, ms: int) -> None:
    markets = tuple(replace(market, paid_by_ms=world.clock.now_ms() + ms) for market in world.group.markets)
    # When a market pays does not tell one group from another, so it has to go first.
    world.groups.hold([])
    world.groups.hold([replace(world.group, markets=markets)])


@pytest.mark.parametrize(
    ("disturb", "code"), [(closing, "closes_soon"), (stopping, "exchange_closes"), (paying, "settles_soon")]
)
def test_there_must_be_time_to_complete_or_to_give_up(disturb: Callable[[World, int], None], code: str) -> None:
    world, basket = proposed()
    disturb(world, SOON)
    assert code in findings(world, basket)
    world, basket = proposed()
    disturb(world, SOON + 1)
    assert world.risk.run(basket.basket_id, 1).accepted


@pytest.mark.parametrize("status", [status for status in MarketStatus if status is not MarketStatus.ACTIVE])
def test_only_an_active_market_is_traded(status: MarketStatus) -> None:
    world, basket = proposed()
    world.exchange.statuses["EV-0"] = status
    assert findings(world, basket) == {"not_tradable": f"EV-0 is {status.value}"}


def test_a_market_that_is_not_listed_is_not_traded(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed()
    read = world.exchange.market_states
    monkeypatch.setattr(
        world.exchange, "market_states", lambda tickers: read([one for one in tickers if one != "EV-0"])
    )
    assert findings(world, basket) == {"not_tradable": "EV-0 is not listed"}


def older(world: World, monkeypatch: pytest.MonkeyPatch, *ages: int) -> None:
    read = world.exchange.orderbooks

    def aged(tickers: list[str]) -> dict[str, BookSnapshot]:
        return {
            ticker: replace(book, alive_ms=book.alive_ms - age)
            for (ticker, book), age in zip(read(tickers).items(), ages, strict=True)
        }

    monkeypatch.setattr(world.exchange, "orderbooks", aged)


def test_books_must_be_young(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed(limits={"max_book_age_ms": 500})
    older(world, monkeypatch, 0, 501, 0)
    assert findings(world, basket) == {"max_book_age_ms": "the book of EV-1 is 501 ms old, at most 500 may be"}
    world, basket = proposed(limits={"max_book_age_ms": 500})
    older(world, monkeypatch, 0, 500, 0)
    assert world.risk.run(basket.basket_id, 1).accepted


def test_books_must_be_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed(limits={"max_book_skew_ms": 50})
    older(world, monkeypatch, 60, 9, 40)
    assert findings(world, basket) == {"max_book_skew_ms": "the books are 51 ms apart, at most 50 may be"}
    world, basket = proposed(limits={"max_book_skew_ms": 50})
    older(world, monkeypatch, 60, 10, 40)
    assert world.risk.run(basket.basket_id, 1).accepted


def test_each_unfit_book_is_named() -> None:
    world, basket = proposed()
    world.exchange.set_book("EV-1", yes_bids=[(4_000, 1_000)], no_bids=[(7_000, 5_000)])
    world.exchange.set_book("EV-2", yes_bids=[(5_000, 1_000)], no_bids=[(7_000, 5_000)])
    world.risk.run(basket.basket_id, 1)
    texts = [one.text for one in world.row(basket.basket_id).findings]
    assert [text.partition(" is crossed")[0] for text in texts] == ["the book of EV-1", "the book of EV-2"]


def test_a_book_from_the_future_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed(limits={"max_book_skew_ms": 600_000})
    older(world, monkeypatch, 0, -60_000, 0)
    assert list(findings(world, basket)) == ["unfit_book"]


def test_a_limit_between_two_ticks_cannot_be_proved() -> None:
    world, basket = proposed()
    legs = (replace(basket.legs[0], limit=Price(3_050)), *basket.legs[1:])
    world.baskets.save(replace(basket, legs=legs))
    found = findings(world, basket)
    assert list(found) == ["unprovable"]
    assert "EV-0" in found["unprovable"]


def test_a_leg_takes_no_larger_a_part_of_what_is_shown_than_it_may() -> None:
    world, basket = proposed(limits={"max_depth_share": "0.25"})
    assert world.risk.run(basket.basket_id, 1).accepted
    # A quarter of the 20, 40 and 60 that are shown: the thinnest leg sizes all.
    assert {own.count for own in world.row(basket.basket_id).legs} == {500}
    world, basket = proposed(limits={"max_depth_share": "0.04"})
    assert findings(world, basket) == {
        "max_depth_share": "EV-0 yes shows 20.00 up to 0.3000, of which 1.00 is more than the share 0.04"
    }


def test_missing_cash_says_where_it_lies_and_how_to_move_it() -> None:
    world = World(partition(shards=(0, 0, 1)), cash={0: Cash(7_000_000), 1: Cash(200_000), 2: Cash(50_000_000)})
    world.offer(*((f"EV-{number}", YES, 30, 20) for number in range(3)))
    basket = world.propose_bundle()
    text = findings(world, basket)["balance"]
    assert text.startswith("cash on shard 1: $0.3")
    assert "at most $0.20 may be" in text
    assert "$50.00 on shard 2 lies idle: move it from shard 2 to shard 1 with " in text


def test_cash_that_is_nowhere_says_so() -> None:
    world, basket = proposed(cash={0: Cash(500_000)})
    assert "no other shard has any to spare" in findings(world, basket)["balance"]


@pytest.mark.parametrize(
    ("limit", "contracts"),
    [
        ("max_share_per_market", 6),
        ("max_share_per_event", 2),
        ("max_share_per_series", 2),
        ("max_share_per_underlying", 2),
    ],
)
def test_locked_cash_is_a_share_of_equity_by_market_event_series_and_underlying(limit: str, contracts: int) -> None:
    group = replace(partition(), grounds=(Ground(OBSERVED_VALUE, "the price at noon"),))
    world, basket = proposed(group, cash={0: Cash(20_000_000)}, limits={limit: "0.1"})
    assert world.risk.run(basket.basket_id, 1).accepted
    assert {own.count for own in world.row(basket.basket_id).legs} == {contracts * 100}
    world, basket = proposed(group, cash={0: Cash(20_000_000)}, limits={limit: "0.001"})
    text = findings(world, basket)[limit]
    assert f"{limit}: 0.001 of an equity of $20.00" in text


def test_groups_that_settle_on_one_value_share_a_limit() -> None:
    """Two events of two series, whose markets observe the same value."""
    noon = (Ground(OBSERVED_VALUE, "the price at noon"),)
    world, basket = proposed(replace(partition(), grounds=noon), cash={0: Cash(100_000_000)})
    first = parse_limits({**WIDE_LIMITS, "max_share_per_underlying": "0.15"})
    world.limits = first
    assert world.risk.run(basket.basket_id, 1).accepted
    assert world.reservations.used()["underlying#the price at noon"] > 9_000_000
    markets = tuple(
        replace(one, ticker=f"X{one.ticker}", event_ticker="XEV", series_ticker="XSERIES")
        for one in world.group.markets
    )
    other = replace(world.group, group_id="other", markets=markets, event_ticker="XEV")
    world.groups.hold([world.group, other])
    world.exchange._markets.update({one.ticker: one for one in markets})
    world.offer(*((one.ticker, YES, 30, 50) for one in markets))
    legs = tuple(replace(own, ticker=f"X{own.ticker}") for own in basket.legs)
    second = replace(basket, basket_id="b2", group_id="other", legs=legs, event_ticker="XEV")
    assert world.baskets.create(second, world.clock.now_ms())
    text = findings(world, second)["max_share_per_underlying"]
    assert "all that settles on the price at noon" in text
    assert "is held already" in text


def test_equity_counts_what_is_locked_so_that_a_share_does_not_shrink_by_being_used() -> None:
    world, basket = proposed(cash={0: Cash(20_000_000)}, limits={"max_share_per_series": "0.5"})
    world.drive(basket.basket_id)
    assert world.row(basket.basket_id).state is BasketState.LOCK
    # Ten sets for nine dollars are held, and eleven lie in cash: a tenth of twenty may be used, not of eleven.
    world.offer(*((f"EV-{number}", YES, 30, 50) for number in range(3)))
    world.clock.advance(10_000)
    again = world.propose(*(leg(f"EV-{number}", YES, 10, 30) for number in range(3)), opportunity_id="opp-2")
    text = findings(world, again)["max_share_per_series"]
    assert "of an equity of $19.5" in text, "the fees are gone"


@pytest.mark.parametrize(("netting", "equity"), [(Netting.ON, "$12.5"), (Netting.OFF, "$19.5")])
def test_equity_counts_collateral_that_came_back_once(netting: Netting, equity: str) -> None:
    world, basket = proposed(cash={0: Cash(20_000_000)}, limits={"max_share_per_series": "0.5"}, netting=netting)
    world.drive(basket.basket_id)
    world.status.put("account", {"returned": "7.000000"})
    world.offer(*((f"EV-{number}", YES, 30, 50) for number in range(3)))
    world.clock.advance(10_000)
    again = world.propose(*(leg(f"EV-{number}", YES, 10, 30) for number in range(3)), opportunity_id="opp-2")
    assert f"of an equity of {equity}" in findings(world, again)["max_share_per_series"]


def test_contracts_are_limited_by_market_and_in_all() -> None:
    world, basket = proposed(limits={"max_contracts_per_market": 7})
    assert world.risk.run(basket.basket_id, 1).accepted
    assert {own.count for own in world.row(basket.basket_id).legs} == {700}
    world, basket = proposed(limits={"max_total_contracts": 12})
    assert world.risk.run(basket.basket_id, 1).accepted
    assert {own.count for own in world.row(basket.basket_id).legs} == {400}
    world, basket = proposed(limits={"max_total_contracts": 2, "max_contracts_per_market": 0})
    found = findings(world, basket)
    assert "3.00 contracts is needed, at most 2.00 contracts may be" in found["max_total_contracts"]
    assert "max_contracts_per_market" in found


def test_cash_that_comes_back_late_is_limited() -> None:
    limits: dict[str, object] = {"max_long_locked": "1.00", "long_lock_days": 30}
    for days, contracts in ((29, 10), (31, 1)):
        world = World(partition(), limits=limits)
        paying(world, days * DAY_MS)
        world.offer(*((f"EV-{number}", YES, 30, 50) for number in range(3)))
        basket = world.propose_bundle()
        assert world.risk.run(basket.basket_id, 1).accepted
        assert {own.count for own in world.row(basket.basket_id).legs} == {contracts * 100}


def test_where_the_listing_does_not_say_cash_comes_back_when_the_market_closes() -> None:
    world, basket = proposed(limits={"max_long_locked": "0.50"})
    assert "later than in 90 days" in findings(world, basket)["max_long_locked"]


def test_write_tokens_are_kept_for_completing_and_unwinding() -> None:
    world, basket = proposed()
    world.risk._write_tokens = 10
    assert "write tokens to complete and to unwind" in findings(world, basket)[Refusal.WRITE_TOKENS]


def lost(cents: int, at_ms: int) -> list[LedgerEntry]:
    """A basket that bought a market for half a dollar each, which then paid nothing."""
    fill = Fill("t1", "o1", "OLD", YES, Count(cents * 2), Price(5_000), Cash(0), at_ms)
    return [fill_entry(fill, "old"), settlement_entry(Settlement("OLD", Price(0), Cash(0), at_ms))]


def test_what_was_lost_today_and_what_may_be_lost_stay_within_the_day() -> None:
    limits: dict[str, object] = {"max_daily_loss": "8.00"}
    world, basket = proposed(limits=limits)
    world.ledger.append(lost(100, world.clock.now_ms()))
    assert world.risk.run(basket.basket_id, 1).accepted
    world, basket = proposed(limits=limits)
    world.ledger.append(lost(300, world.clock.now_ms()))
    assert world.risk.run(basket.basket_id, 1).accepted, "a smaller one"
    assert world.row(basket.basket_id).exposure_bound <= 5_000_000
    world, basket = proposed(limits=limits)
    world.ledger.append(lost(790, world.clock.now_ms()))
    assert findings(world, basket)["max_daily_loss"].startswith("$7.90 is lost since midnight in New York")
    world, basket = proposed(limits=limits)
    world.ledger.append(lost(790, world.clock.now_ms() - 2 * DAY_MS))
    assert world.risk.run(basket.basket_id, 1).accepted, "yesterday's losses are yesterday's"


def arm(world: World) -> None:
    terms = Terms(template="t", limits="l", key_id="k")
    world.status.put("arming", new_arming(terms, hours=1, by="somebody", now_ms=world.clock.now_ms()))


def test_the_first_baskets_with_real_money_are_small() -> None:
    for mode, ended, contracts in (("simulated", 0, 10), ("live", 0, 3), ("live", 1, 3), ("live", 2, 10)):
        world, basket = proposed(mode=mode, limits={"ramp_baskets": 2, "ramp_contracts": 3})
        arm(world)
        world.status.count("execution", {"end.lock": ended, "unknown_orders": 9})
        assert world.risk.run(basket.basket_id, 1).accepted
        assert {own.count for own in world.row(basket.basket_id).legs} == {contracts * 100}, (mode, ended)
    world, basket = proposed(mode="live", limits={"ramp_baskets": 2, "ramp_contracts": 0})
    arm(world)
    assert "0 of the first 2 baskets have traded" in findings(world, basket)["ramp_contracts"]


def break_exchange(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RetryableError("no answer")

    monkeypatch.setattr(world.exchange, name, fail)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        ("balance", "the balance"),
        ("market_fees", "the fees"),
        ("market_states", "the markets"),
        ("closes_ms", "the exchange's schedule"),
        ("orderbooks", "the books"),
    ],
)
def test_a_silent_exchange_is_a_finding_and_hides_no_other(
    read: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, basket = proposed()
    world.status.put("control", {"stop": True})
    break_exchange(world, read, monkeypatch)
    found = findings(world, basket)
    assert found["exchange"] == f"{what} could not be read: no answer"
    assert list(found)[:1] == ["stopped"]


@pytest.mark.parametrize(
    ("port", "method", "what"),
    [("groups", "get", "the group"), ("ledger", "all", "the ledger"), ("status", "get", "the stops")],
)
def test_a_table_that_cannot_be_read_is_a_finding(
    port: str, method: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, basket = proposed()

    def fail(*_: object) -> None:
        raise StoreError("throttled")

    monkeypatch.setattr(getattr(world, port), method, fail)
    assert findings(world, basket)["unreadable"] == f"{what} could not be read: throttled"


def test_limits_that_cannot_be_read_refuse_by_the_name_of_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed()
    world.exchange.statuses["EV-0"] = MarketStatus.CLOSED

    def malformed() -> None:
        parse_limits({"max_share_per_event": "1.5"})

    monkeypatch.setattr(world.risk._reader, "_limits", malformed)
    found = findings(world, basket)
    assert found["unreadable"].startswith("the limits could not be read: limit max_share_per_event must be a share")
    assert "not_tradable" in found
    with pytest.raises(SettingsError):
        malformed()


def test_a_basket_of_more_legs_than_one_transaction_takes_is_refused() -> None:
    size = 100
    world = World(partition(size), cash={0: Cash(1_000_000_000)})
    world.offer(*((f"EV-{number}", YES, 1, 20) for number in range(size - 1)), (f"EV-{size - 1}", YES, 1, 20))
    basket = world.propose(*(leg(f"EV-{number}", YES, 1, 1) for number in range(size)))
    found = findings(world, basket)
    assert found["too_many_legs"] == "100 legs need 108 items, one reservation holds 99"


def test_what_others_hold_is_said_beside_what_else_is_wrong() -> None:
    world, basket = proposed(limits={"max_open_baskets": 1})
    world.reservations.reserve("another", {"open#baskets": 1}, {})
    world.exchange.statuses["EV-0"] = MarketStatus.CLOSED
    found = findings(world, basket)
    assert list(found) == ["not_tradable", "max_open_baskets"]
    assert "1 is needed, 1 is held already, at most 1 may be" in found["max_open_baskets"]


def others_end(world: World, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Another basket gives its cash back while the balance is read, so often; the moments of all readings."""
    balance, moments = world.exchange.balance, []

    def read() -> dict[int, Cash]:
        moments.append(world.clock.now_ms())
        answer: dict[int, Cash] = balance()
        if len(moments) <= times:
            world.reservations.reserve("another", {"cash#0": 5_000_000}, {})
            world.reservations.release("another")
        return answer

    monkeypatch.setattr(world.exchange, "balance", read)
    return moments


def test_cash_that_comes_back_while_the_balance_is_read_has_it_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed()
    moments = others_end(world, monkeypatch, times=3)
    assert world.risk.run(basket.basket_id, 1).accepted
    assert len(moments) == 4
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert all(10 << number <= pause <= 20 << number for number, pause in enumerate(pauses))


def test_a_balance_that_is_never_fresh_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed()
    moments = others_end(world, monkeypatch, times=100)
    assert findings(world, basket) == {
        "balance": "others gave cash back during each of 4 judgements, so no balance was fresh enough"
    }
    assert len(moments) == 4
