"""The worst that a basket's orders can do."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import Precision, order_fee_bound
from kalshi_arb.domain.market import CollateralReturn, Netting
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.execution.exposure import (
    FeeRules,
    Purchase,
    highest_cost,
    leg_payouts,
    leg_terms,
    pre_send_bound,
    returned_collateral,
    worst_cash,
    worst_loss,
    worst_of_any_fill,
)
from tests.basket_rows import book
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


# Before anything is sent


def before_sending(group, legs, waves, books, netting=Netting.OFF):
    return pre_send_bound(
        group, legs, waves, books, precision=Precision.DIRECT, smallest_fill=Count(100), netting=netting
    )


def test_selling_what_was_bought_costs_the_spread_and_both_fees() -> None:
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    bids = {"EV-0": 28, "EV-1": 19, "EV-2": 37}
    books = {ticker: book(ticker, yes=((cents, 50),)) for ticker, cents in bids.items()}
    bound = before_sending(partition(), legs, ((0,), (1, 2)), books)
    assert bound.loss == loss(partition(), legs, ((0,), (1, 2)), 2)
    # All of it but a hundredth of a contract is bought and sold again.
    sold = sum(cost(100 - cents, 10) for cents in bids.values()) - 3 * 10_000_000
    bought = cost(30, 10) + cost(20, 10) + cost(40, 10)
    assert bought + sold - 10_000 <= bound.loss_unwound <= bought + sold + 9 * (2 * Precision.DIRECT + 2)


def test_without_a_bid_selling_saves_nothing() -> None:
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    for books in ({}, {own.ticker: book(own.ticker) for own in legs}):
        bound = before_sending(partition(), legs, ((0,), (1, 2)), books)
        assert bound.loss_unwound == bound.loss > 0


def test_one_leg_alone_fills_whole_or_not_at_all_so_there_is_nothing_to_sell() -> None:
    bound = before_sending(partition(), [leg("EV-0", YES, 10, 30)], ((0,),), {})
    assert bound.loss_unwound == 0


def test_cash_counts_on_the_shard_of_each_leg() -> None:
    group = partition(shards=(0, 2, 2))
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    cash = dict(before_sending(group, legs, ((0,), (1, 2)), {}).cash)
    extra = 2 * Precision.DIRECT + 2
    assert cost(30, 10) <= cash[0] <= cost(30, 10) + extra
    assert cost(20, 10) + cost(40, 10) <= cash[2] <= cost(20, 10) + cost(40, 10) + 2 * extra


def test_a_sale_needs_cash_only_where_its_fee_is_above_what_it_brings() -> None:
    legs = [leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 20), leg("EV-2", YES, 10, 40)]
    cents = {own.ticker: book(own.ticker, yes=((20, 50),)) for own in legs}
    assert dict(before_sending(partition(), legs, ((0,), (1, 2)), cents).unwind_cash) == {0: 0}
    # A bid of half a cent, in a cent account: every fill may keep a rounding of up to a cent, more than it brings.
    half = BookSnapshot("EV-0", BookVersion(1, 1, 1), 0, 0, (Level(Price(50), Count(5000)),), ())
    bound = pre_send_bound(
        partition(), legs[:1], ((0,),), {"EV-0": half}, precision=Precision.CENT, smallest_fill=Count(100)
    )
    assert 0 < dict(bound.unwind_cash)[0] < 10 * Precision.CENT


def test_collateral_comes_back_for_no_contracts_of_which_at_most_one_pays_nothing() -> None:
    group = partition()
    netted = replace(
        group, markets=tuple(replace(own, collateral_return=CollateralReturn.MECNET) for own in group.markets)
    )
    legs = [leg("EV-0", NO, 10, 60), leg("EV-1", NO, 6, 60), leg("EV-2", YES, 10, 60)]
    assert returned_collateral(netted, legs, Netting.ON) == {0: 6_000_000}
    assert returned_collateral(netted, [*legs, leg("EV-1", YES, 6, 40)], Netting.ON) == {0: 0}
    assert returned_collateral(netted, legs, Netting.OFF) == {}
    assert returned_collateral(group, legs, Netting.ON) == {}
    # What the entry takes stays reserved, so only what is above it is needed on top.
    cheap = [leg(f"EV-{number}", NO, 10, 40) for number in range(3)]
    bound = before_sending(netted, cheap, ((0,), (1, 2)), {}, Netting.ON)
    assert dict(bound.unwind_cash)[0] == 20_000_000 - dict(bound.cash)[0] > 0


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
