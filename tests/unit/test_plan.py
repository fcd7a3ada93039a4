"""How an opportunity becomes a basket and its legs become waves."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState, OrderState, Purpose, client_order_id
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import TransitionError
from kalshi_arb.domain.fees import trade_fee
from kalshi_arb.domain.grid import CENT_GRID, Band, PriceGrid
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.portfolio import TimeInForce
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import leg_terms
from kalshi_arb.execution.plan import (
    BATCH_ORDERS,
    UNDELIVERED,
    WITHDRAWN,
    chance_to_fail,
    entry_orders,
    exit_cost,
    moved,
    plan_waves,
    propose_basket,
    withdraw,
    write_tokens,
)
from kalshi_arb.execution.policy import ExecutionPolicy
from tests.basket_rows import book, ordered, trading, yes_book
from tests.basket_world import NO, QUADRATIC, YES, leg, partition
from tests.cloud_samples import NOW, opportunity

TENTHS = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(10)),))


def test_a_proposal_reserves_and_plans_nothing() -> None:
    found = opportunity("opp")
    basket = propose_basket(found, "ladder", "simulated", NOW)
    assert basket.basket_id == "b" + hashlib.sha256(b"opp").hexdigest()[:20]
    assert (basket.state, basket.attempt, basket.revision) == (BasketState.PROPOSED, 1, 0)
    assert (basket.waves, basket.orders, basket.reserved, basket.bound) == ((), (), 0, None)
    assert basket.family == "ladder"
    assert basket.expected_profit == found.certificate.floor_profit


# Which leg goes first: the sum over the others of their chance to fail times what is regretted then


def waves_of(
    legs: Sequence[Leg], books: Sequence[BookSnapshot], group: Group | None = None
) -> tuple[tuple[int, ...], ...]:
    own = group or partition(len(legs))
    return plan_waves(legs, {book.ticker: book for book in books}, leg_terms(own, legs))


def legs_of(size: int, contracts: int = 10, cents: int = 30) -> list[Leg]:
    return [leg(f"EV-{number}", YES, contracts, cents) for number in range(size)]


def test_the_leg_with_least_depth_for_its_need_goes_first_and_alone() -> None:
    # 1.5 times, 1.2 times and 3 times what is needed.
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", NO, 10, 60), leg("EV-2", YES, 10, 30)]
    books = [
        yes_book("EV-0", 30, 15, (28, 50)),
        book("EV-1", yes=((40, 12),), no=((58, 50),)),
        yes_book("EV-2", 30, 30, (28, 50)),
    ]
    assert waves_of(legs, books) == ((1,), (0, 2))


def test_depth_above_the_limit_does_not_count() -> None:
    deep = book("EV-0", yes=((28, 50),), no=((70, 12), (69, 500)))
    books = [deep, yes_book("EV-1", 30, 15, (28, 50)), yes_book("EV-2", 30, 30, (28, 50))]
    assert waves_of(legs_of(3), books)[0] == (0,)


def test_of_equal_depths_the_one_on_fewer_levels_goes_first() -> None:
    split = book("EV-0", yes=((28, 50),), no=((71, 10), (70, 10)))
    assert waves_of(legs_of(2), [split, yes_book("EV-1", 29, 20, (28, 50))]) == ((1,), (0,))


def test_of_equal_depths_the_one_with_the_wider_spread_goes_first() -> None:
    # Getting out costs the same of both: what is bid is the same, and one has a lone order far above it.
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30)]
    books = [yes_book("EV-0", 28, 20, (27, 50)), yes_book("EV-1", 30, 20, (27, 50))]
    assert waves_of(legs, books) == ((1,), (0,))


def test_a_spread_counts_in_ticks() -> None:
    cents, tenths = partition(2).markets
    group = replace(partition(2), markets=(cents, replace(tenths, grid=TENTHS)))
    assert waves_of(legs_of(2), [yes_book(f"EV-{n}", 30, 20, (28, 50)) for n in range(2)], group) == ((1,), (0,))


def test_a_leg_is_risked_last_that_is_dear_to_be_left_with() -> None:
    # Both are as likely to fail; whoever is bought second is regretted by nobody.
    books = [yes_book("EV-0", 30, 20, (28, 50)), yes_book("EV-1", 30, 20, (28, 2))]
    assert waves_of(legs_of(2), books) == ((0,), (1,))


def test_the_first_leg_leaves_the_least_expected_regret() -> None:
    chance = random.Random(7)
    for _ in range(300):
        size = chance.randint(1, 9)
        legs = legs_of(size)
        books = [
            yes_book(own.ticker, 30, chance.randint(10, 60), (chance.randint(1, 29), chance.randint(1, 30)))
            for own in legs
        ]
        terms = leg_terms(partition(size), legs)
        fails = [chance_to_fail(own, one, CENT_GRID) for own, one in zip(legs, books, strict=True)]
        exits = [exit_cost(own, one, QUADRATIC) for own, one in zip(legs, books, strict=True)]

        def regret(first: int, fails: list[int] = fails, exits: list[Cash] = exits) -> int:
            return sum(fails[other] * (sum(exits) - exits[other]) for other in range(len(exits)) if other != first)

        waves = plan_waves(legs, {one.ticker: one for one in books}, terms)
        assert regret(waves[0][0]) == min(regret(place) for place in range(size))
        assert sorted(sum(waves, ())) == list(range(size))
        assert len(waves) == (1 if size == 1 else 2)


def test_a_batch_never_exceeds_what_the_lowest_tier_takes() -> None:
    legs = legs_of(24, cents=4)
    waves = waves_of(legs, [yes_book(own.ticker, 4, 20 + place, (3, 50)) for place, own in enumerate(legs)])
    assert [len(wave) for wave in waves] == [1, BATCH_ORDERS, BATCH_ORDERS, 24 - 1 - 2 * BATCH_ORDERS]
    # The thinner a leg the earlier, and all cost the same to get out of.
    assert sum(waves, ()) == tuple(range(24))


def test_nothing_makes_no_waves() -> None:
    assert plan_waves([], {}, []) == ()


# The model's parts


def test_a_leg_that_the_book_cannot_fill_fails_for_certain() -> None:
    assert chance_to_fail(leg("EV-0", YES, 10, 30), yes_book("EV-0", 30, 9), CENT_GRID) == 1_000_000
    assert chance_to_fail(leg("EV-0", YES, 10, 30), book("EV-0"), CENT_GRID) == 1_000_000


def test_the_chance_to_fail_as_written() -> None:
    own = leg("EV-0", YES, 10, 30)
    # Two ticks of spread, nothing to spare: 2 / 3. With twice what it needs, on one level: 2 / 4; on two: 2 / 5.
    assert chance_to_fail(own, yes_book("EV-0", 30, 10, (28, 5)), CENT_GRID) == 666_666
    assert chance_to_fail(own, yes_book("EV-0", 30, 20, (28, 5)), CENT_GRID) == 500_000
    assert chance_to_fail(own, book("EV-0", yes=((27, 5),), no=((71, 10), (70, 10))), CENT_GRID) == 400_000
    # Nobody bids: every tick below the ask is spread.
    assert chance_to_fail(own, yes_book("EV-0", 30, 10), CENT_GRID) == 30 * 1_000_000 // 31
    # A NO is judged on its own side of the grid.
    no = leg("EV-0", NO, 10, 60)
    assert chance_to_fail(no, book("EV-0", yes=((40, 10),), no=((58, 5),)), CENT_GRID) == 666_666
    # A book without a spread still has one tick to lose.
    assert chance_to_fail(own, yes_book("EV-0", 30, 10, (30, 5)), CENT_GRID) == 500_000


def test_getting_out_costs_the_spread_both_fees_and_what_nobody_bids_for() -> None:
    own = leg("EV-0", YES, 10, 30)
    fees = trade_fee(QUADRATIC, Price(3000), Count(1000)) + trade_fee(QUADRATIC, Price(2800), Count(1000))
    assert exit_cost(own, yes_book("EV-0", 30, 20, (28, 10)), QUADRATIC) == 200 * 1000 + fees
    half = trade_fee(QUADRATIC, Price(3000), Count(1000)) + trade_fee(QUADRATIC, Price(2800), Count(500))
    assert exit_cost(own, yes_book("EV-0", 30, 20, (28, 5)), QUADRATIC) == 200 * 500 + 3000 * 500 + half
    # Somebody bids more than the limit: there is nothing to regret, but the order needs a figure.
    assert exit_cost(own, yes_book("EV-0", 30, 20, (60, 10)), QUADRATIC) == 1


# Write-rate tokens


@pytest.mark.parametrize(
    ("waves", "rounds", "tokens"),
    [
        ((), 5, 0),
        (((0,),), 5, 10),
        # Two legs go together, three may have to be sold together.
        (((0,), (1, 2)), 5, 30),
        (((0,), (1, 2)), 0, 20),
        # No batch is larger than the lowest tier takes.
        (((0,), tuple(range(1, 9)), tuple(range(9, 12))), 5, 80),
    ],
)
def test_the_tokens_of_the_largest_batch_that_a_basket_can_need(
    waves: tuple[tuple[int, ...], ...], rounds: int, tokens: int
) -> None:
    assert write_tokens(waves, ExecutionPolicy(unwind_rounds=rounds)) == tokens


# Orders


@pytest.fixture
def row() -> Basket:
    legs = legs_of(3)
    books = {own.ticker: yes_book(own.ticker, 30, 20 + place) for place, own in enumerate(legs)}
    return trading(partition(), legs, books)


def test_client_order_ids_are_derived_so_that_the_same_order_is_recognised(row: Basket) -> None:
    (first,) = entry_orders(row, row.waves[0], NOW)
    assert first.request.client_order_id == client_order_id(row.basket_id, 0, 0) == f"{row.basket_id}-0-0"
    assert (first.wave, first.purpose, first.state, first.planned_ms) == (0, Purpose.ENTER, OrderState.PLANNED, NOW)
    assert first.request.time_in_force is TimeInForce.FILL_OR_KILL
    later = entry_orders(replace(row, orders=(first,)), (1, 2), NOW)
    assert [order.request.client_order_id[-4:] for order in later] == ["-1-0", "-2-0"]
    assert {order.wave for order in later} == {1}
    assert {order.request.time_in_force for order in later} == {TimeInForce.IMMEDIATE_OR_CANCEL}
    assert [(order.request.count, order.request.limit) for order in later] == [(1000, 3000)] * 2


def test_a_withdrawn_plan_never_reached_the_exchange(row: Basket) -> None:
    (order,) = withdraw(ordered(row, 0, OrderState.PLANNED), -1).orders
    assert (order.state, order.rejection, order.booked) == (OrderState.ABSENT, WITHDRAWN, True)
    with pytest.raises(TransitionError):
        moved(order, OrderState.SENT)


def test_a_purchase_that_was_handed_out_and_not_taken_says_so(row: Basket) -> None:
    (order,) = withdraw(ordered(row, 0, OrderState.PLANNED), 0).orders
    assert (order.state, order.rejection) == (OrderState.ABSENT, UNDELIVERED)
    held = ordered(row, 0, OrderState.DONE, 10)
    bought, sale = withdraw(ordered(held, 0, OrderState.PLANNED, purpose=Purpose.UNWIND, cents=75), 1).orders
    assert (bought, sale.rejection) == (held.orders[0], WITHDRAWN)
