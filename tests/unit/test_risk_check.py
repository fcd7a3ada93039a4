"""The last gate before money moves: what it refuses, what it reserves, and that asking twice changes nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState, OrderState
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.group_record import SuspensionReason, suspend
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.portfolio import TimeInForce
from kalshi_arb.domain.state_space import Basis, State
from kalshi_arb.execution.arming import Terms, new_arming
from kalshi_arb.execution.plan import write_tokens
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.risk.check import RiskAnswer
from kalshi_arb.risk.refusals import Refusal
from tests.basket_world import NO, YES, World, leg, partition


def proposed(opportunity_id: str = "opp-1", **options: object) -> tuple[World, Basket]:
    """Ten of each outcome of a partition for 90 cents a set."""
    world = World(partition(), **options)  # type: ignore[arg-type]
    world.offer_bundle()
    legs = [leg(f"EV-{number}", YES, 10, 30) for number in range(3)]
    return world, world.propose(*legs, opportunity_id=opportunity_id)


def refusal(world: World, basket: Basket) -> str:
    """Run the check, which must refuse and leave nothing behind."""
    answer = world.risk.run(basket.basket_id, 1)
    row = world.row(basket.basket_id)
    assert not answer.accepted
    assert (row.state, row.reason) == (BasketState.REFUSED, answer.reason)
    assert not world.reservations.held
    assert not world.baskets.owners
    assert world.status.counters("risk") == {f"refused.{answer.reason}": 1}
    assert not world.exchange.batches
    return answer.reason


def test_an_accepted_basket_is_proved_again_reserved_and_planned() -> None:
    world, basket = proposed()
    world.clock.advance(3_000)
    assert world.risk.run(basket.basket_id, 1) == RiskAnswer(True, "", 0)
    row = world.row(basket.basket_id)
    assert row.state is BasketState.RESERVED
    assert row.certificate.judged_ms == world.clock.now_ms()
    # Each of the two legs that may be completed later can round its fee up once more: 2 x 0.000102 dollars.
    assert row.expected_profit == row.certificate.floor_profit - 204 > 0
    assert row.waves == ((0,), (1, 2))
    (order,) = row.orders
    assert (order.state, order.request.time_in_force) == (OrderState.PLANNED, TimeInForce.FILL_OR_KILL)
    assert order.request.count == Count(1000)
    # 3 x 10 contracts at 30 cents, and their fees.
    assert 9_000_000 < row.reserved < 9_600_000
    assert row.certificate.outlay <= row.reserved
    # The winner unbought: two of the three legs lost.
    assert 6_000_000 < row.exposure_bound < row.reserved
    held = world.reservations.held[row.basket_id]
    markets = {f"{kind}#EV-{number}" for kind in ("market", "contracts") for number in range(3)}
    assert set(held) == markets | {
        "event#EV", "series#SERIES", "long#locked", "total#contracts", "cash#0", "outlay#all", "open#baskets",
        "tokens#write",
    }  # fmt: skip
    assert held["open#baskets"] == 1
    assert held["event#EV"] == held["series#SERIES"] == held["long#locked"] == held["outlay#all"] == row.reserved
    assert row.bound is not None
    assert held["cash#0"] == dict(row.bound.cash)[0] + dict(row.bound.unwind_cash)[0] >= row.reserved
    assert [held[f"contracts#EV-{number}"] for number in range(3)] == [1_000] * 3
    assert held["total#contracts"] == 3_000
    assert held["tokens#write"] == write_tokens(row.waves, world.policy)
    assert sum(held[f"market#EV-{number}"] for number in range(3)) == row.reserved
    assert world.status.counters("risk") == {"accepted": 1}


def test_asking_twice_accepts_twice_and_reserves_once() -> None:
    world, basket = proposed()
    first = world.risk.run(basket.basket_id, 1)
    held = world.reservations.held[basket.basket_id]
    assert world.risk.run(basket.basket_id, 1) == first
    assert world.reservations.held == {basket.basket_id: held}
    assert world.status.counters("risk") == {"accepted": 1}
    assert len(world.row(basket.basket_id).orders) == 1


def test_a_reserved_basket_whose_books_moved_is_refused_after_all() -> None:
    world, basket = proposed()
    assert world.risk.run(basket.basket_id, 1).accepted
    world.exchange.set_book("EV-2")
    assert world.risk.run(basket.basket_id, 1).reason == "depth"
    assert world.row(basket.basket_id).state is BasketState.REFUSED
    assert not world.reservations.held


def stop(world: World) -> None:
    world.status.put("control", {"stop": True})


def stop_in_words(world: World) -> None:
    world.status.put("control", {"stop": "yes"})


def forget_group(world: World) -> None:
    world.groups.hold([])


def change_group(world: World) -> None:
    world.groups.hold([replace(world.group, fingerprint="other")])


def suspend_group(world: World) -> None:
    (record,) = world.groups.all()
    world.groups.write([suspend(record, SuspensionReason.CHANGED, "a rule changed", now_ms=0)])


def unapprove_group(world: World) -> None:
    world.groups.hold([replace(world.group, assumptions=("the rules say so",))])


def thin_out(world: World) -> None:
    world.exchange.set_book("EV-1", no_bids=[(7000, 99)])


def raise_prices(world: World) -> None:
    world.exchange.set_book("EV-1", no_bids=[(6500, 5000)])


def change_fees(world: World) -> None:
    world.exchange.fees_now["EV-1"] = FeeSchedule(FeeType.QUADRATIC, 20_000)


def forget_book(world: World) -> None:
    world.exchange.settle("EV-1", 0)  # type: ignore[arg-type]


def cross_book(world: World) -> None:
    world.exchange.set_book("EV-1", yes_bids=[(4000, 1000)], no_bids=[(7000, 5000)])


@pytest.mark.parametrize(
    ("disturb", "reason"),
    [
        (stop, Refusal.STOPPED),
        (stop_in_words, Refusal.STOPPED),
        (forget_group, Refusal.GROUP_GONE),
        (change_group, Refusal.FINGERPRINT_CHANGED),
        (suspend_group, Refusal.GROUP_SUSPENDED),
        (unapprove_group, Refusal.NOT_APPROVED),
        (change_fees, Refusal.FEES_CHANGED),
        (thin_out, Refusal.DEPTH),
        (raise_prices, Refusal.DEPTH),
        (forget_book, Refusal.NOT_TRADABLE),
        (cross_book, Refusal.UNFIT_BOOK),
    ],
)
def test_what_changed_since_detection_refuses(disturb: Callable[[World], None], reason: Refusal) -> None:
    world, basket = proposed()
    disturb(world)
    assert refusal(world, basket) == reason


def test_an_account_whose_fees_rest_on_nothing_declared_may_look_but_not_trade() -> None:
    world, basket = proposed(may_trade_on_its_fees=False)
    assert refusal(world, basket) == Refusal.SMALLEST_FILL_NOT_DECLARED


def test_a_stop_that_is_lifted_lets_trade_again() -> None:
    world, basket = proposed()
    world.status.put("control", {"stop": False})
    assert world.risk.run(basket.basket_id, 1).accepted


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("max_outlay_per_basket", "0.90", Refusal.MAX_OUTLAY_PER_BASKET),
        ("max_exposure_per_market", "0.30", Refusal.MAX_EXPOSURE_PER_MARKET),
        ("max_exposure_per_event", "0.90", Refusal.MAX_EXPOSURE_PER_EVENT),
        ("max_open_outlay", "0.90", Refusal.MAX_OPEN_OUTLAY),
        ("max_open_baskets", 0, Refusal.MAX_OPEN_BASKETS),
        ("max_loss_per_basket", "0.60", Refusal.MAX_LOSS_PER_BASKET),
        ("min_profit", "1.00", Refusal.MIN_PROFIT),
    ],
)
def test_each_limit_refuses_by_its_name_what_no_smaller_size_would_fit(
    limit: str, value: object, reason: Refusal
) -> None:
    world, basket = proposed(limits={limit: value})
    assert refusal(world, basket) == reason == limit


@pytest.mark.parametrize(
    ("limit", "value", "contracts"),
    [
        ("max_outlay_per_basket", "4.80", 5),
        ("max_exposure_per_market", "1.00", 3),
        ("max_exposure_per_event", "2.00", 2),
        ("max_open_outlay", "8.70", 9),
        ("max_loss_per_basket", "2.00", 3),
    ],
)
def test_a_basket_is_cut_to_the_largest_size_inside_a_limit_and_proved_at_it(
    limit: str, value: str, contracts: int
) -> None:
    world, basket = proposed(limits={limit: value})
    assert world.risk.run(basket.basket_id, 1).accepted
    row = world.row(basket.basket_id)
    assert {leg.count for leg in row.legs} == {contracts * 100}
    assert row.orders[0].request.count == contracts * 100
    assert row.certificate.floor_profit - 204 == row.expected_profit > 0
    one_more, other = proposed(limits={limit: value})
    larger = other.legs[0].count // 10 * (contracts + 1)
    legs = tuple(replace(leg, count=Count(larger)) for leg in other.legs)
    one_more.baskets.save(replace(other, legs=legs))
    assert one_more.risk.run(other.basket_id, 1).accepted
    assert {leg.count for leg in one_more.row(other.basket_id).legs} == {contracts * 100}


def test_a_basket_is_cut_to_the_depth_that_is_left() -> None:
    world, basket = proposed()
    world.exchange.set_book("EV-1", no_bids=[(7000, 450)])
    assert world.risk.run(basket.basket_id, 1).accepted
    assert {leg.count for leg in world.row(basket.basket_id).legs} == {400}


def test_the_first_trade_of_an_empty_account_passes_limits_it_is_inside_of() -> None:
    world, basket = proposed(
        limits={
            "max_outlay_per_basket": "9.60",
            "max_exposure_per_market": "3.20",
            "max_exposure_per_event": "9.60",
            "max_open_outlay": "9.60",
            "max_open_baskets": 1,
        }
    )
    assert world.risk.run(basket.basket_id, 1).accepted


def test_two_baskets_cannot_spend_the_same_dollar() -> None:
    world, basket = proposed(cash={0: Cash(15_000_000)})
    other = replace(basket, basket_id="bother", group_id="elsewhere")
    assert world.baskets.create(other, world.clock.now_ms())
    world.groups.hold([world.group, replace(world.group, group_id="elsewhere")])
    assert world.risk.run(basket.basket_id, 1).accepted
    assert not world.risk.run("bother", 1).accepted
    assert Refusal.BALANCE in {one.code for one in world.row("bother").findings}
    assert set(world.reservations.held) == {basket.basket_id}


def test_cash_counts_on_the_shard_of_each_leg() -> None:
    rich = {0: Cash(7_000_000), 1: Cash(300_000)}
    for cash, accepted in ((rich, False), ({0: Cash(7_000_000), 1: Cash(4_000_000)}, True)):
        world = World(partition(shards=(0, 0, 1)), cash=cash)
        world.offer(*((f"EV-{number}", YES, 30, 20) for number in range(3)))
        basket = world.propose_bundle()
        answer = world.risk.run(basket.basket_id, 1)
        assert answer.accepted is accepted
        assert accepted or answer.reason == Refusal.BALANCE


def test_a_basket_of_another_mode_never_trades_here() -> None:
    world, basket = proposed()
    world.baskets.save(replace(basket, mode="live"))
    assert refusal(world, basket) == Refusal.MODE


@pytest.mark.parametrize("armed", [False, True])
def test_real_money_needs_an_arming(armed: bool) -> None:
    world, basket = proposed(mode="live")
    if armed:
        terms = Terms(template="t", limits="l", key_id="k")
        world.status.put("arming", new_arming(terms, hours=1, by="somebody", now_ms=world.clock.now_ms()))
    answer = world.risk.run(basket.basket_id, 1)
    assert (answer.accepted, answer.reason) == (armed, "" if armed else Refusal.NOT_ARMED)


def test_only_a_proved_bundle_trades_unattended() -> None:
    world, basket = proposed()
    sliver = State("between two brackets", (0, 0, 0), Basis.POSSIBLE)  # type: ignore[arg-type]
    world.groups.hold([replace(world.group, states=(*world.group.states, sliver))])
    assert refusal(world, basket) == Refusal.NOT_PROVED


def test_a_leg_outside_the_group_is_unprovable() -> None:
    world, basket = proposed()
    world.offer(("X", YES, 30, 50))
    world.baskets.save(replace(basket, legs=(*basket.legs, leg("X", YES, 10, 30))))
    assert refusal(world, basket) == Refusal.UNPROVABLE


def test_two_legs_in_one_market_are_refused() -> None:
    world, basket = proposed()
    world.baskets.save(replace(basket, legs=(*basket.legs, leg("EV-0", NO, 10, 60))))
    assert refusal(world, basket) == Refusal.SAME_MARKET_TWICE


def test_an_exchange_that_cannot_be_read_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed()

    def fail(tickers: object) -> None:
        raise RetryableError("no answer")

    monkeypatch.setattr(world.exchange, "orderbooks", fail)
    assert refusal(world, basket) == Refusal.EXCHANGE


def test_an_unknown_basket_and_an_old_attempt_are_not_accepted() -> None:
    world, basket = proposed()
    assert world.risk.run("nobody", 1) == RiskAnswer(False, "unknown_basket", 0)
    world.baskets.save(replace(basket, attempt=2))
    assert world.risk.run(basket.basket_id, 1) == RiskAnswer(False, "superseded", 0)
    assert world.row(basket.basket_id).state is BasketState.PROPOSED


def test_a_basket_that_trades_already_goes_on_with_a_wave_that_sends_nothing() -> None:
    world, basket = proposed()
    world.risk.run(basket.basket_id, 1)
    assert world.executor.run(basket.basket_id, 1, 0) == 1
    before = world.row(basket.basket_id)
    answer = world.risk.run(basket.basket_id, 1)
    assert (answer.accepted, answer.reason) == (True, "resumed")
    assert world.executor.run(basket.basket_id, 1, answer.wave) == 0
    assert world.row(basket.basket_id) == before
    assert len(world.exchange.batches) == 1


def test_a_lock_is_not_accepted_again_and_keeps_its_hold_on_markets() -> None:
    world, basket = proposed()
    world.drive(basket.basket_id)
    held = dict(world.reservations.held[basket.basket_id])
    assert world.risk.run(basket.basket_id, 1) == RiskAnswer(False, "lock", 0)
    assert world.reservations.held[basket.basket_id] == held


def test_a_decided_end_is_left_to_be_closed_whatever_the_books_say_now() -> None:
    world, basket = proposed()
    world.risk.run(basket.basket_id, 1)
    row = world.row(basket.basket_id)
    world.baskets.save(replace(row, ending=BasketState.REFUSED, reason="stopped"))
    assert world.risk.run(basket.basket_id, 1) == RiskAnswer(False, "stopped", 0)
    assert world.closer.run(basket.basket_id, 1) is BasketState.REFUSED
    assert not world.reservations.held


def test_a_writer_that_is_always_first_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    world, basket = proposed()

    def lose(row: Basket) -> Basket:
        raise ConflictError("another writer was first")

    monkeypatch.setattr(world.baskets, "save", lose)
    with pytest.raises(ConflictError):
        world.risk.run(basket.basket_id, 1)
