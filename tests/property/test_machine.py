"""The decision of what to do next, over random holdings and books: safe, bounded, and never a step too many."""

import random
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import (
    ENDED_STATES,
    Basket,
    BasketOrder,
    BasketState,
    OrderState,
    Purpose,
    client_order_id,
)
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import order_fee_bound
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.execution.exposure import Purchase, basket_worst_cash, fee_rules, highest_cost, holdings, worst_cash
from kalshi_arb.execution.machine import End, Send, Wait, decide
from kalshi_arb.execution.plan import BATCH_ORDERS
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.unwind import Step, is_safe
from tests.basket_world import NO, YES, World, ladder, leg, partition

POLICY = ExecutionPolicy()
LAST_STEP = ExecutionPolicy(unwind_steps=(ONE_DOLLAR,))
WORLDS: dict[str, tuple[World, Basket]] = {}


def reserved(kind: str) -> tuple[World, Basket]:
    """A basket that passed the risk check; the same one every time."""
    if kind not in WORLDS:
        if kind == "partition":
            world = World(partition(4))
            world.offer(*((f"EV-{number}", YES, 22, 20 + number) for number in range(4)))
            basket = world.propose(*(leg(f"EV-{number}", YES, 10, 22) for number in range(4)))
        elif kind == "sell all":
            world = World(partition(3))
            world.offer(*((f"EV-{number}", NO, 60, 20 + number) for number in range(3)))
            basket = world.propose(*(leg(f"EV-{number}", NO, 10, 60) for number in range(3)))
        else:
            world = World(ladder(4))
            world.offer(("LD-0", YES, 40, 30), ("LD-1", YES, 45, 30), ("LD-2", NO, 40, 14), ("LD-3", NO, 45, 30))
            basket = world.propose(
                leg("LD-0", YES, 12, 40), leg("LD-1", YES, 8, 45), leg("LD-2", NO, 13, 40), leg("LD-3", NO, 7, 45)
            )
        assert world.risk.run(basket.basket_id, 1).accepted
        WORLDS[kind] = world, world.row(basket.basket_id)
    return WORLDS[kind]


def filled(basket: Basket, index: int, part: int, wave: int, now_ms: int) -> BasketOrder:
    """An accounted order that bought a part of a leg at its limit."""
    own = basket.legs[index]
    request = OrderRequest(
        client_order_id(basket.basket_id, index, 0), own.ticker, own.outcome, own.count, own.limit,
        TimeInForce.IMMEDIATE_OR_CANCEL, 0,
    )  # fmt: skip
    cost = Cash(own.limit * part)
    most = highest_cost(basket.terms[index], Count(part), own.limit, fee_rules(basket)) if part else 0
    fee = Cash(most - cost) if part else Cash(0)
    return BasketOrder(
        request, index, wave, Purpose.ENTER, OrderState.DONE, now_ms, f"o{index}", Count(part), cost, fee, True
    )


@st.composite
def situations(draw):
    world, basket = reserved(draw(st.sampled_from(["partition", "sell all", "ladder"])))
    first, now = basket.waves[0][0], world.clock.now_ms()
    whole = draw(st.booleans())
    unit = 100 if whole else 1
    orders = []
    for index, own in enumerate(basket.legs):
        part = own.count if index == first else draw(st.integers(0, own.count // unit)) * unit
        orders.append(filled(basket, index, int(part), 0 if index == first else 1, now))
    for own in world.group.markets:
        bid = draw(st.integers(1, 98))
        sides = [
            [(bid * 100 - 100 * step, draw(st.integers(1, 15)) * 100) for step in range(min(bid, 3))],
            [((99 - bid) * 100 - 100 * step, draw(st.integers(1, 15)) * 100) for step in range(min(99 - bid, 3))],
        ]
        world.exchange.set_book(own.ticker, *(side if draw(st.integers(0, 4)) else [] for side in sides))
    books = world.exchange.orderbooks([own.ticker for own in world.group.markets])
    row = replace(basket, state=BasketState.EXECUTING, orders=tuple(orders))
    return row, books, now, draw(st.booleans())


def after(basket: Basket, orders: tuple[BasketOrder, ...], parts: list[int]) -> Cash:
    """Worst-state cash once the orders filled these parts at their limits with the highest fees."""
    done = []
    for order, part in zip(orders, parts, strict=True):
        cost = order.request.limit * part
        most = highest_cost(basket.terms[order.leg], Count(part), order.request.limit, fee_rules(basket)) if part else 0
        done.append(replace(order, state=OrderState.DONE, filled=Count(part), cost=Cash(cost), fee=Cash(most - cost)))
    return basket_worst_cash(replace(basket, orders=(*basket.orders, *done)))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=situations(), seed=st.integers(0, 2**32))
def test_no_partial_fill_of_a_decided_step_breaks_the_bound(situation, seed: int) -> None:
    basket, books, now, stopped = situation
    decision = decide(basket, books, stopped=stopped, now_ms=now, policy=POLICY)
    if not isinstance(decision, Send):
        return
    chance = random.Random(seed)
    floor = min(-basket.exposure_bound, basket_worst_cash(basket))
    vectors = [[chance.randint(0, order.request.count) for order in decision.orders] for _ in range(20)]
    vectors += [[int(chance.random() < 0.5) * order.request.count for order in decision.orders] for _ in range(20)]
    for parts in vectors:
        assert after(basket, decision.orders, parts) >= floor


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=situations())
def test_a_step_buys_no_more_than_is_missing_and_sells_no_more_than_is_held(situation) -> None:
    basket, books, now, stopped = situation
    decision = decide(basket, books, stopped=stopped, now_ms=now, policy=POLICY)
    complete = all(basket.leg_position(index) == own.count for index, own in enumerate(basket.legs))
    if isinstance(decision, End):
        assert (decision.state is BasketState.LOCK) is complete
        assert decision.state is not BasketState.FLAT
        return
    assert not complete
    if isinstance(decision, Wait):
        assert basket_worst_cash(basket) < 0
        return
    assert 1 <= len(decision.orders) <= BATCH_ORDERS
    known = {order.request.client_order_id for order in basket.orders}
    assert len(known | {order.request.client_order_id for order in decision.orders}) == len(known) + len(
        decision.orders
    )
    for order in decision.orders:
        own, position = basket.legs[order.leg], basket.leg_position(order.leg)
        assert order.wave == basket.next_wave()
        assert order.request.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL
        if order.purpose is Purpose.UNWIND:
            assert decision.state is BasketState.UNWINDING
            assert order.request.outcome is own.outcome.other
            assert order.request.count <= position
        else:
            assert not stopped
            assert decision.state is BasketState.EXECUTING
            assert order.purpose is Purpose.COMPLETE
            assert (order.request.outcome, order.request.limit) == (own.outcome, own.limit)
            assert order.request.count <= own.count - position


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=situations())
def test_an_unwind_that_fills_leaves_more_than_holding(situation) -> None:
    basket, books, now, _ = situation
    decision = decide(basket, books, stopped=True, now_ms=now, policy=POLICY)
    if isinstance(decision, Send):
        # The books' own prices are no dearer than the limits, so only fee roundings may separate the two.
        whole = [int(order.request.count) for order in decision.orders]
        dearest = after(basket, decision.orders, whole)
        slack = sum(
            (order.request.limit - level.price) * level.size
            for order in decision.orders
            for level in books[order.request.ticker].asks(order.request.outcome)
            if level.price < order.request.limit
        )
        assert dearest + slack + 2 * len(decision.orders) * fee_rules(basket).precision > basket_worst_cash(basket)


def sale(basket: Basket, books: dict[str, BookSnapshot], index: int, count: int) -> Step | None:
    """Selling so much of a leg on the present book, or as much as it takes."""
    own = basket.legs[index]
    taken: list[tuple[Price, Count]] = []
    for level in books[own.ticker].asks(own.outcome.other):
        part = min(level.size, count - sum(size for _, size in taken))
        if part > 0:
            taken.append((level.price, Count(part)))
    if not taken:
        return None
    sold = Count(sum(size for _, size in taken))
    rules = fee_rules(basket)
    cost = sum(price * size for price, size in taken)
    cost += order_fee_bound(basket.terms[index].fees, taken, rules.precision, rules.smallest_fill)
    return Step(Purchase(index, True, sold, taken[-1][0]), Cash(cost))


def worst_with(basket: Basket, steps: list[Step]) -> Cash:
    """Worst-state cash once these sales filled."""
    bought, opposite = holdings(basket)
    for step in steps:
        opposite[step.purchase.leg] += step.purchase.count
    return worst_cash(basket.payouts, bought, opposite, Cash(basket.spent() + sum(step.cost for step in steps)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=situations())
def test_no_plain_way_out_is_better_than_the_decided_one(situation) -> None:
    """Plain ways: all legs down to the share of one of them, rounded either way, or one leg sold whole. On the last
    step of the ladder, that is, where nothing is kept for a better price."""
    basket, books, now, _ = situation
    held = [int(basket.leg_position(index)) for index in range(len(basket.legs))]
    wholes = [100 if part % 100 == 0 else 1 for part in held]
    plans = [[sale(basket, books, index, part)] for index, part in enumerate(held) if part]
    for part, leg_of_share in zip(held, basket.legs, strict=True):
        for up in (False, True):
            plan = []
            for index, own in enumerate(basket.legs):
                exact = Fraction(own.count * part, leg_of_share.count) / wholes[index]
                target = (ceil(exact) if up else floor(exact)) * wholes[index]
                if held[index] > target:
                    plan.append(sale(basket, books, index, held[index] - target))
            plans.append(plan)
    best = basket_worst_cash(basket)
    for plan in plans:
        steps = [step for step in plan if step is not None]
        if steps and is_safe(basket, steps):
            best = max(best, worst_with(basket, steps))
    decision = decide(basket, books, stopped=True, now_ms=now, policy=LAST_STEP)
    decided = basket_worst_cash(basket)
    if isinstance(decision, Send):
        sales = [sale(basket, books, order.leg, order.request.count) for order in decision.orders]
        decided = worst_with(basket, [step for step in sales if step is not None])
    assert decided >= best


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(["partition", "ladder"]), seed=st.integers(0, 2**32), stops=st.booleans())
def test_whatever_the_books_do_the_basket_ends_inside_its_bound(kind: str, seed: int, stops: bool) -> None:
    chance = random.Random(seed)
    world = World(partition(4) if kind == "partition" else ladder(4))
    tickers = [own.ticker for own in world.group.markets]
    if kind == "partition":
        legs = [leg(ticker, YES, 10, 22) for ticker in tickers]
    else:
        legs = [leg("LD-0", YES, 12, 40), leg("LD-1", YES, 8, 45), leg("LD-2", NO, 13, 40), leg("LD-3", NO, 7, 45)]
    for own in legs:
        world.exchange.offer(own.ticker, own.outcome, own.limit, 3_000)
    basket = world.propose(*legs)

    def shuffle(orders: object) -> None:
        for ticker in tickers:
            if chance.random() < 0.5:
                bid = chance.randint(2, 97)
                world.exchange.set_book(
                    ticker,
                    [(bid * 100, chance.randint(1, 2_000))] if chance.random() < 0.8 else [],
                    [((99 - bid) * 100, chance.randint(1, 2_000))] if chance.random() < 0.8 else [],
                )
            if chance.random() < 0.3:
                world.exchange.caps[ticker] = Count(chance.randint(0, 1_500))
        if stops:
            world.status.put("control", {"stop": chance.random() < 0.5})

    world.exchange.before_place = shuffle
    row = world.drive(basket.basket_id)
    assert row.state in ENDED_STATES
    world.assert_ended_well(basket.basket_id)
    assert len(row.orders) <= 60
