"""An incomplete basket on books that stand still: the ladder ends it in bounded rounds and time, inside the bound."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, OrderState, Purpose
from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.fees import order_fee_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement
from kalshi_arb.execution.exposure import basket_worst_cash, fee_rules, highest_cost
from kalshi_arb.execution.machine import End, Send, decide
from kalshi_arb.execution.policy import ExecutionPolicy
from tests.basket_rows import book, ordered, trading
from tests.basket_world import NO, YES, ladder, leg, partition
from tests.cloud_samples import NOW

POLICY = ExecutionPolicy()
BUNDLES = {
    "buy all": (partition(3), [leg(f"EV-{number}", YES, 10, 30) for number in range(3)]),
    "sell all": (partition(3), [leg(f"EV-{number}", NO, 10, 60) for number in range(3)]),
    "ladder": (ladder(3), [leg("LD-0", YES, 10, 40), leg("LD-2", NO, 10, 55)]),
}


@st.composite
def incomplete(draw):
    """A basket of which something is missing, and books that bid for what it holds and offer nothing of it. A bid of a
    cent or two may be left standing: what a small fill of it brings, its rounding can eat."""
    group, legs = BUNDLES[draw(st.sampled_from(sorted(BUNDLES)))]
    books = {}
    for own in legs:
        best = draw(st.integers(3, 70))
        prices = draw(st.sets(st.integers(3, best), max_size=4))
        bids = [(price, draw(st.integers(1, 12))) for price in sorted(prices)]
        books[own.ticker] = book(own.ticker, yes=bids) if own.outcome is YES else book(own.ticker, no=bids)
    row = trading(group, legs, books)
    first = row.waves[0][0]
    parts = [int(own.count) if place == first else draw(st.integers(0, own.count)) for place, own in enumerate(legs)]
    for place, (own, part) in enumerate(zip(legs, parts, strict=True)):
        row = ordered(row, place, OrderState.DONE, 0)
        cost = own.limit * part
        fee = highest_cost(row.terms[place], Count(part), own.limit, fee_rules(row)) - cost if part else 0
        filled = replace(row.orders[-1], filled=Count(part), cost=Cash(cost), fee=Cash(fee), order_id=f"e{place}")
        row = replace(row, orders=(*row.orders[:-1], filled))
    return row, books


def sell(row: Basket, order: BasketOrder, books: dict[str, BookSnapshot], now_ms: int) -> BasketOrder:
    """The order after it took what the book bids at its limit, with the highest fee; the book is left without it."""
    own = books[order.request.ticker]
    held = row.legs[order.leg].outcome
    left, taken, kept = int(order.request.count), [], []
    for level in own.bids(held):
        part = min(left, int(level.size)) if complement(level.price) <= order.request.limit else 0
        left -= part
        if part:
            taken.append((complement(level.price), Count(part)))
        if level.size > part:
            kept.append(Level(level.price, Count(level.size - part)))
    sides = (tuple(kept), own.no_bids) if held is Outcome.YES else (own.yes_bids, tuple(kept))
    books[own.ticker] = replace(own, yes_bids=sides[0], no_bids=sides[1])
    rules = fee_rules(row)
    fee = order_fee_bound(row.terms[order.leg].fees, taken, rules.precision, rules.smallest_fill)
    cost = Cash(sum(price * part for price, part in taken))
    return replace(
        order, state=OrderState.DONE, filled=Count(order.request.count - left), cost=cost, fee=fee, booked=True,
        sent_ms=now_ms,
    )  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situation=incomplete(), stopped=st.booleans())
def test_on_standing_books_the_ladder_ends_where_the_bound_says(situation, stopped: bool) -> None:
    row, books = situation
    books = dict(books)
    held = basket_worst_cash(row)
    now, rounds = NOW, 0
    for _ in range(60):
        decision = decide(row, books, stopped=stopped, now_ms=now, policy=POLICY)
        if isinstance(decision, End):
            break
        if isinstance(decision, Send):
            rounds += 1
            before = basket_worst_cash(row)
            step = POLICY.unwind_steps[min(len(POLICY.unwind_steps) - 1, rounds - 1 + (now - NOW) // POLICY.step_ms)]
            for order in decision.orders:
                assert order.purpose is Purpose.UNWIND
                best = books[order.request.ticker].asks(order.request.outcome)[0].price
                assert order.request.limit < best + step + 100
            done = [sell(row, order, books, now) for order in decision.orders]
            row = replace(row, orders=(*row.orders, *done), state=decision.state)
            assert basket_worst_cash(row) > before
        else:
            now += 1_000
    assert isinstance(decision, End)
    assert rounds <= POLICY.unwind_rounds
    assert now - NOW <= POLICY.patience_ms + 1_000 * len(POLICY.unwind_steps)
    worst = basket_worst_cash(row)
    assert worst >= held
    assert worst >= -row.exposure_bound
    assert row.bound is not None
    if decision.state is not BasketState.LOCK:
        rounding = 2 * (fee_rules(row).precision + 1)
        assert worst >= -row.bound.loss_unwound - rounds * len(row.legs) * rounding


def test_the_last_step_takes_anything() -> None:
    assert POLICY.unwind_steps[-1] == ONE_DOLLAR
    assert list(POLICY.unwind_steps) == sorted(POLICY.unwind_steps)
    assert len(POLICY.unwind_steps) <= POLICY.unwind_rounds
    assert len(POLICY.unwind_steps) * POLICY.step_ms <= POLICY.patience_ms
    assert all(Price(0) < step for step in POLICY.unwind_steps)
