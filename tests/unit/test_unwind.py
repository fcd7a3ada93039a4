"""The ladder on which an incomplete basket is sold: from good prices to worse, and never where holding is better."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState, OrderState, Purpose
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.grid import CENT_GRID, FINEST_GRID
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price
from kalshi_arb.execution.exposure import basket_worst_cash
from kalshi_arb.execution.machine import Decision, End, Send, Wait, decide
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.unwind import unwinds
from tests.basket_rows import book, ordered, trading, yes_book
from tests.basket_world import NO, YES, leg, partition
from tests.cloud_samples import NOW

POLICY = ExecutionPolicy(unwind_steps=(Price(100), Price(500), ONE_DOLLAR))


def half_hedged(*bids: tuple[int, int]) -> tuple[Basket, dict[str, BookSnapshot]]:
    """Ten of the first leg bought at 30 cents, nothing to be had of the others, and bids for what is held."""
    legs = [leg(f"EV-{number}", YES, 10, 30) for number in range(3)]
    row = trading(partition(), legs, {own.ticker: yes_book(own.ticker, 30, 20, (29, 50)) for own in legs})
    row = ordered(row, 0, OrderState.DONE, 10)
    row = ordered(ordered(row, 1, OrderState.DONE, 0), 2, OrderState.DONE, 0)
    row = ordered(
        ordered(row, 1, OrderState.DONE, 0, purpose=Purpose.COMPLETE), 2, OrderState.DONE, 0, purpose=Purpose.COMPLETE
    )
    return row, {"EV-0": book("EV-0", yes=bids), "EV-1": book("EV-1"), "EV-2": book("EV-2")}


def decided(row: Basket, books: dict[str, BookSnapshot], after_ms: int = 0) -> Decision:
    return decide(row, books, stopped=False, now_ms=NOW + after_ms, policy=POLICY)


def sent(decision: Decision) -> tuple[int, int]:
    """The one sale's size in contracts, and its limit in cents."""
    assert isinstance(decision, Send)
    assert decision.state is BasketState.UNWINDING
    (order,) = decision.orders
    assert order.purpose is Purpose.UNWIND
    return order.request.count // 100, order.request.limit // 100


LADDER = ((28, 3), (27, 2), (24, 2), (3, 1))


def test_the_first_step_takes_what_is_bid_near_the_best() -> None:
    row, books = half_hedged(*LADDER)
    assert sent(decided(row, books)) == (5, 73)


def test_every_round_goes_one_step_on_from_the_best_of_the_moment() -> None:
    row, books = half_hedged(*LADDER)
    row = ordered(row, 0, OrderState.DONE, 5, purpose=Purpose.UNWIND, cents=73, count=5)
    row = replace(row, state=BasketState.UNWINDING)
    books["EV-0"] = book("EV-0", yes=((24, 2), (20, 1), (18, 5)))
    assert sent(decided(row, books)) == (3, 80)
    row = ordered(row, 0, OrderState.DONE, 3, purpose=Purpose.UNWIND, cents=80, count=3)
    books["EV-0"] = book("EV-0", yes=((18, 1), (3, 5)))
    assert sent(decided(row, books)) == (2, 97)


def test_time_goes_down_the_ladder_too() -> None:
    row, books = half_hedged(*LADDER)
    assert sent(decided(row, books, POLICY.step_ms)) == (7, 76)
    assert sent(decided(row, books, 2 * POLICY.step_ms)) == (8, 97)


def test_a_sale_that_found_nobody_is_tried_again_only_a_step_later() -> None:
    row, books = half_hedged(*LADDER)
    row = replace(
        ordered(row, 0, OrderState.REJECTED, purpose=Purpose.UNWIND, cents=73, rejection="market_inactive"),
        state=BasketState.UNWINDING,
    )
    assert isinstance(decided(row, books), Wait)
    assert sent(decided(row, books, POLICY.step_ms)) == (8, 97)


def test_no_step_sells_where_holding_is_better() -> None:
    # A bid of one cent does not bring what a sale of it costs.
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30), leg("EV-2", YES, 10, 30)]
    row = trading(partition(), legs, {own.ticker: yes_book(own.ticker, 30, 20, (29, 50)) for own in legs})
    for place in range(2):
        row = ordered(row, place, OrderState.DONE, 10)
    row = ordered(ordered(row, 2, OrderState.DONE, 0), 2, OrderState.DONE, 0, purpose=Purpose.COMPLETE)
    books = {own.ticker: book(own.ticker) for own in legs}
    books["EV-0"] = BookSnapshot("EV-0", BookVersion(1, 1, 1), NOW, NOW, (Level(Price(1), Count(1000)),), ())
    for step in POLICY.unwind_steps:
        assert all(way.worst < basket_worst_cash(row) for way in unwinds(row, books, step))
    assert isinstance(decided(row, books), Wait)
    assert isinstance(decided(row, books, POLICY.patience_ms), End)


def test_what_is_worth_it_only_further_down_is_waited_for() -> None:
    # Of two NO one pays whatever happens: selling one of them alone loses that, selling both is better than holding.
    legs = [leg(f"EV-{number}", NO, 10, 60) for number in range(3)]
    row = trading(partition(), legs, {own.ticker: book(own.ticker) for own in legs})
    for place in range(2):
        row = ordered(row, place, OrderState.DONE, 10)
    row = ordered(ordered(row, 2, OrderState.DONE, 0), 2, OrderState.DONE, 0, purpose=Purpose.COMPLETE)
    books = {
        "EV-0": book("EV-0", no=((66, 10),)),
        "EV-1": book("EV-1", no=((66, 1), (62, 9))),
        "EV-2": book("EV-2"),
    }
    waiting = decided(row, books)
    assert isinstance(waiting, Wait)
    assert "further down the ladder" in waiting.reason
    further = decided(row, books, POLICY.step_ms)
    assert isinstance(further, Send)
    assert {(order.request.ticker, order.request.count, order.request.limit) for order in further.orders} == {
        ("EV-0", 1000, 3400),
        ("EV-1", 1000, 3800),
    }


def test_rounds_and_patience_are_bounded() -> None:
    row, books = half_hedged(*LADDER)
    row = replace(row, state=BasketState.UNWINDING)
    for _ in range(POLICY.unwind_rounds):
        row = ordered(row, 0, OrderState.REJECTED, purpose=Purpose.UNWIND, cents=73, rejection="market_inactive")
    decision = decided(row, books, POLICY.patience_ms)
    assert isinstance(decision, End)
    assert decision.state is BasketState.HELD


# Limits that are legal on every grid


def fine(bid: int, *, grid: bool = True) -> tuple[Basket, dict[str, BookSnapshot]]:
    """A held leg whose best bid is off the whole cents (1e-4 dollars), on a grid that has such prices."""
    row, books = half_hedged()
    if grid:
        row = replace(row, terms=tuple(replace(own, grid=FINEST_GRID) for own in row.terms))
    levels = (Level(Price(bid), Count(1000)),)
    books["EV-0"] = BookSnapshot("EV-0", BookVersion(1, 1, 1), NOW, NOW, levels, ())
    return row, books


def limit_of(row: Basket, books: dict[str, BookSnapshot]) -> Price:
    decision = decided(row, books, 3 * POLICY.step_ms)
    assert isinstance(decision, Send)
    return decision.orders[0].request.limit


def refused(row: Basket) -> Basket:
    return replace(
        ordered(row, 0, OrderState.REJECTED, purpose=Purpose.UNWIND, cents=73, rejection="invalid_order"),
        state=BasketState.UNWINDING,
    )


def test_a_sale_is_limited_at_a_whole_cent_which_is_on_every_grid() -> None:
    row, books = fine(2_855)
    assert limit_of(row, books) == 7_200
    assert CENT_GRID.is_valid(limit_of(row, books))


def test_after_a_refusal_the_price_that_the_known_grid_has_is_tried() -> None:
    row, books = fine(2_855)
    assert limit_of(refused(row), books) == 7_145
    assert limit_of(refused(refused(row)), books) == 7_200


def test_on_a_cent_grid_there_is_one_limit() -> None:
    row, books = fine(2_800, grid=False)
    assert limit_of(row, books) == limit_of(refused(row), books) == 7_200


def test_at_the_edge_of_a_dollar_the_fine_price_comes_first_and_then_99_cents() -> None:
    row, books = fine(60)
    assert limit_of(row, books) == 9_940
    levels = (Level(Price(100), Count(300)), Level(Price(60), Count(1000)))
    books["EV-0"] = BookSnapshot("EV-0", BookVersion(1, 1, 1), NOW, NOW, levels, ())
    decision = decided(refused(row), books, 3 * POLICY.step_ms)
    assert isinstance(decision, Send)
    assert [(order.request.limit, order.request.count) for order in decision.orders] == [(9_900, 300)]


def test_what_no_legal_limit_reaches_is_not_sold() -> None:
    row, books = fine(60)
    assert isinstance(decided(refused(row), books, POLICY.patience_ms), End)
    # On a cent grid nothing above 99 cents is legal to begin with.
    row, books = fine(60, grid=False)
    assert isinstance(decided(row, books, POLICY.patience_ms), End)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_sale_of_either_outcome_finds_the_price_on_its_own_side(outcome: Outcome) -> None:
    legs = [leg("EV-0", outcome, 10, 30 if outcome is YES else 60), leg("EV-1", NO, 10, 60), leg("EV-2", NO, 10, 60)]
    row = trading(partition(), legs, {own.ticker: book(own.ticker) for own in legs})
    row = ordered(row, 0, OrderState.DONE, 10)
    books = {own.ticker: book(own.ticker) for own in legs}
    bids = ((28, 10),)
    books["EV-0"] = book("EV-0", yes=bids) if outcome is YES else book("EV-0", no=bids)
    decision = decide(row, books, stopped=True, now_ms=NOW, policy=POLICY)
    assert isinstance(decision, Send)
    (order,) = decision.orders
    assert (order.request.outcome, order.request.limit) == (outcome.other, 7_200)
