"""The worst that a basket's orders can do."""

import pytest

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import Precision, order_fee_bound
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.execution.exposure import (
    FeeRules,
    Purchase,
    highest_cost,
    leg_payouts,
    leg_terms,
    worst_cash,
    worst_loss,
    worst_of_any_fill,
)
from tests.basket_world import NO, QUADRATIC, YES, ladder, leg, partition

DIRECT = FeeRules(Precision.DIRECT, Count(100))


def loss(group, legs, waves, orders_per_leg=1) -> int:
    return worst_loss(
        group, legs, waves, precision=Precision.DIRECT, smallest_fill=Count(100), orders_per_leg=orders_per_leg
    )


def cost(cents: int, contracts: int) -> int:
    price, count = Price(cents * 100), Count(contracts * 100)
    return price * count + order_fee_bound(QUADRATIC, [(price, count)], Precision.DIRECT, Count(100))


def test_the_worst_case_of_buying_a_partition_is_that_only_the_winner_is_missing() -> None:
    group = partition()
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    # The first leg fills whole or nothing does, so the worst is: it and one more lose, and the winner did not fill.
    expected = cost(30, 10) + cost(40, 10)
    assert expected <= loss(group, legs, ((0,), (1, 2))) <= expected + 3 * Precision.DIRECT


def test_a_wave_of_several_legs_may_fill_in_any_part() -> None:
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    # The dearest two lose, the cheapest one wins unbought.
    expected = cost(30, 10) + cost(40, 10)
    assert expected <= loss(partition(), legs, ((0, 1, 2),)) <= expected + 3 * Precision.DIRECT


def test_a_completion_may_round_its_fee_once_more() -> None:
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    once, twice = (loss(partition(), legs, ((0,), (1, 2)), orders) for orders in (1, 2))
    assert once < twice <= once + 2 * (2 * Precision.DIRECT + 2)


def test_a_first_leg_that_cannot_lose_leaves_only_the_others() -> None:
    group = ladder()
    legs = [leg("LD-0", YES, 5, 10), leg("LD-2", NO, 5, 20)]
    # When the first threshold is missed the NO pays as soon as it filled; unfilled, the YES alone is lost.
    assert cost(10, 5) <= loss(group, legs, ((0,), (1,))) <= cost(10, 5) + Precision.DIRECT


def test_nothing_can_be_lost_on_legs_that_always_pay() -> None:
    group = ladder(1)
    always = group.states[-1:]
    sure = type(group)(group.group_id, group.family, "LD", group.markets, always, (), group.fingerprint)
    assert loss(sure, [leg("LD-0", YES, 5, 90)], ((0,),)) == 0


def test_a_leg_outside_the_group_cannot_be_judged() -> None:
    with pytest.raises(ProofError):
        loss(partition(), [leg("OTHER", YES, 1, 50)], ((0,),))


def test_equal_states_are_counted_once() -> None:
    group = ladder(6)
    legs = [leg("LD-1", YES, 1, 50), leg("LD-4", NO, 1, 40)]
    assert set(leg_payouts(group, legs)) == {(0, 10_000), (10_000, 10_000), (10_000, 0)}
    assert len(leg_payouts(group, legs)) == 3


def test_both_outcomes_of_a_market_pay_a_dollar_whatever_happens() -> None:
    group = partition()
    payouts = leg_payouts(group, [leg("EV-0", YES, 1, 50)])
    assert worst_cash(payouts, [300], [300], Cash(2_500_000)) == 3_000_000 - 2_500_000
    assert worst_cash(payouts, [300], [100], Cash(0)) == 1_000_000


def test_the_highest_cost_is_the_limit_with_the_highest_fee() -> None:
    (terms,) = leg_terms(partition(), [leg("EV-0", YES, 10, 40)])
    assert highest_cost(terms, Count(1000), Price(4000), DIRECT) == cost(40, 10)


def test_below_the_limit_a_cent_account_can_be_charged_more_than_at_it() -> None:
    (terms,) = leg_terms(partition(), [leg("EV-0", YES, 100, 18)])
    rules = FeeRules(Precision.CENT, Count(100))
    # From 0.1724 down, the fee of one contract is below a cent, so each fill may keep a rounding.
    at_limit = 1750 * 10_000 + order_fee_bound(QUADRATIC, [(Price(1750), Count(10_000))], Precision.CENT, Count(100))
    assert highest_cost(terms, Count(10_000), Price(1750), rules) > at_limit


def test_an_order_under_way_counts_at_its_worst_part() -> None:
    group = partition()
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30)]
    payouts, terms = leg_payouts(group, legs), leg_terms(group, legs)
    held = worst_cash(payouts, [1000, 0], [0, 0], Cash(3_000_000))
    buying = worst_of_any_fill(
        payouts, terms, [1000, 0], [0, 0], Cash(3_000_000), [Purchase(1, False, Count(1000), Price(3000))], DIRECT
    )
    assert held - cost(30, 10) - Precision.DIRECT <= buying <= held - cost(30, 10)
    selling = worst_of_any_fill(
        payouts, terms, [1000, 0], [0, 0], Cash(3_000_000), [Purchase(0, True, Count(1000), Price(8000))], DIRECT
    )
    # Sold in any part it is no worse than held, for the worst state of holding pays nothing.
    assert selling == held


def test_a_basket_needs_states() -> None:
    with pytest.raises(ValueError, match="without states"):
        worst_of_any_fill((), (), (), (), Cash(0), (), DIRECT)
