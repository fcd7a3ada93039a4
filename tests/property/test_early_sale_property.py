"""Early sales of random locks into random books, filled in random parts at their worst: never below the bound, and
worth at least what was proposed when everything fills.

``KALSHI_ARB_BOOKS_EXAMPLES`` sets the number of examples.
"""

import os
import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import Basket, BasketOrder, BasketState, OrderState, Purpose, Releasing, check_move
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import Precision, order_fee
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, notional
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.execution.exposure import basket_worst_cash, fee_rules, highest_cost
from kalshi_arb.execution.machine import End, Send, Wait, decide
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.release import Terms, best_release
from kalshi_arb.execution.unwind import is_safe, outlay, sales
from tests.basket_world import NO, YES, World, ladder, leg, partition

POLICY = ExecutionPolicy()
EXAMPLES = int(os.environ.get("KALSHI_ARB_BOOKS_EXAMPLES", "60"))
_KNOWN: dict[str, Basket] = {}


def entered(kind: str) -> Basket:
    """A basket of a kind that has bought everything at its limits with the highest fees: a lock."""
    if kind not in _KNOWN:
        if kind == "pair":
            world = World(partition(2))
            legs = [leg("EV-0", YES, 10, 40), leg("EV-1", YES, 10, 45)]
        elif kind == "sell all":
            world = World(partition(3))
            legs = [leg(f"EV-{number}", NO, 10, 60) for number in range(3)]
        else:
            world = World(ladder(3))
            legs = [leg("LD-0", YES, 12, 40), leg("LD-2", NO, 12, 45)]
        world.offer(*((own.ticker, own.outcome, own.limit // 100, 30) for own in legs))
        basket = world.propose(*legs)
        assert world.risk.run(basket.basket_id, 1).accepted
        row = replace(world.row(basket.basket_id), orders=())
        for place, own in enumerate(row.legs):
            bought = OrderRequest(
                f"{row.basket_id}-{place}-0", own.ticker, own.outcome, own.count, own.limit,
                TimeInForce.IMMEDIATE_OR_CANCEL, row.terms[place].shard,
            )  # fmt: skip
            order = BasketOrder(bought, place, place, Purpose.ENTER, planned_ms=0)
            row = replace(row, orders=(*row.orders, at_worst(row, order, int(own.count), 0)))
        worst = basket_worst_cash(row)
        assert worst > 0
        _KNOWN[kind] = replace(row, state=BasketState.LOCK, locked_profit=worst)
    return _KNOWN[kind]


def at_worst(row: Basket, order: BasketOrder, part: int, now_ms: int) -> BasketOrder:
    """The order with a part of it filled at its limit and the highest fee."""
    limit, count = order.request.limit, Count(part)
    cost = notional(limit, count)
    fee = Cash(highest_cost(row.terms[order.leg], count, limit, fee_rules(row)) - cost) if part else Cash(0)
    return replace(
        order, state=OrderState.DONE, sent_ms=now_ms, order_id=order.request.client_order_id, filled=count, cost=cost,
        fee=fee, booked=True,
    )  # fmt: skip


def book_of(row: Basket, place: int, bids: list[tuple[int, int]]) -> BookSnapshot:
    """Bids for a leg, in cents and contracts."""
    own = row.legs[place]
    levels = tuple(Level(Price(cents * 100), Count(size * 100)) for cents, size in sorted(bids, reverse=True))
    yes, no = (levels, ()) if own.outcome is YES else ((), levels)
    return BookSnapshot(own.ticker, BookVersion(1, 1, 1), 0, 0, yes, no)


def some_of(chance: random.Random, order: BasketOrder) -> int:
    """How much of an order fills."""
    count = int(order.request.count)
    return chance.choice((0, chance.randint(0, count), count))


LADDERS = st.lists(
    st.tuples(st.integers(30, 80), st.integers(1, 14)), min_size=1, max_size=3, unique_by=lambda one: one[0]
)


@st.composite
def releases(draw):
    """A lock that lives again to be sold as was best, with its books and a seed for what happens to it."""
    row = entered(draw(st.sampled_from(["pair", "sell all", "ladder"])))
    bids = [draw(LADDERS) for _ in row.legs]
    books = {own.ticker: book_of(row, place, bids[place]) for place, own in enumerate(row.legs)}
    terms = Terms(0, draw(st.sampled_from([0, 50_000, 1_000_000])), draw(st.sampled_from([None, 10**10])))
    found = best_release(row, None, books, Netting.OFF, terms)
    if found is None:
        return None
    bound = Cash(draw(st.integers(row.exposure_bound // 2, 2 * row.exposure_bound)))
    wave = sales(row, books, found.counts)
    release = Releasing(
        1, found.counts, row.next_wave(), 0, tuple(outlay(row, wave).items()), Cash(1), terms.yearly, terms.paid_ms
    )
    live = replace(
        row, state=BasketState.UNWINDING, attempt=2, locked_profit=None, exposure_bound=bound, release=release
    )
    return live, books, found, draw(st.integers(0, 2**20))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(releases())
def test_the_first_wave_is_safe_however_it_fills_and_brings_what_was_proposed_when_it_fills_whole(case) -> None:
    if case is None:
        return
    row, books, found, seed = case
    decision = decide(row, books, stopped=False, now_ms=0, policy=POLICY)
    if isinstance(decision, End):
        assert decision.state is BasketState.LOCK
        wave = sales(row, books, found.counts)
        assert not is_safe(row, wave)
        assert not any(is_safe(row, (step,)) for step in wave)
        return
    assert isinstance(decision, Send)
    assert all(order.purpose is Purpose.UNWIND for order in decision.orders)
    chance = random.Random(seed)
    for _ in range(12):
        parts = [some_of(chance, order) for order in decision.orders]
        filled = tuple(at_worst(row, order, part, 0) for order, part in zip(decision.orders, parts, strict=True))
        assert basket_worst_cash(replace(row, orders=row.orders + filled)) >= -row.exposure_bound
    if [order.request.count for order in decision.orders] != [count for count in found.counts if count]:
        assert len(decision.orders) == 1, "one leg alone, because both at once are not safe"
        return
    gained = 0
    for order in decision.orders:
        bids = books[order.request.ticker].bids(row.legs[order.leg].outcome)
        fills, left = [], int(order.request.count)
        for level in bids:
            if left and complement(level.price) <= order.request.limit:
                part = Count(min(left, level.size))
                fills.append((complement(level.price), part))
                left -= part
        assert not left
        cost = sum(notional(price, part) for price, part in fills)
        fee = order_fee(row.terms[order.leg].fees, fills, Precision(row.certificate.precision))
        gained += notional(ONE_DOLLAR, order.request.count) - cost - fee
    assert gained >= found.proceeds


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(releases())
def test_whatever_fills_and_however_the_books_move_it_ends_within_the_bound(case) -> None:
    if case is None:
        return
    row, books, _, seed = case
    chance, now, sent = random.Random(seed), 0, 0
    for _ in range(150):
        decision = decide(row, books, stopped=chance.random() < 0.1, now_ms=now, policy=POLICY)
        if isinstance(decision, End):
            check_move(row.state, decision.state)
            worst, held = basket_worst_cash(row), [row.leg_position(place) for place in range(len(row.legs))]
            assert worst >= -row.exposure_bound
            whole = all(count == own.count for count, own in zip(held, row.legs, strict=True))
            assert (decision.state is BasketState.LOCK) == whole
            assert (decision.state is BasketState.FLAT) == (not any(held))
            assert decision.reason
            return
        if isinstance(decision, Wait):
            now += decision.seconds * 1_000
        else:
            assert isinstance(decision, Send)
            assert decision.state is BasketState.UNWINDING
            sent += 1
            after = [at_worst(row, order, some_of(chance, order), now) for order in decision.orders]
            row = replace(row, orders=(*row.orders, *after))
            assert all(row.leg_position(place) >= 0 for place in range(len(row.legs)))
            now += 300
        if chance.random() < 0.4:
            place = chance.randrange(len(row.legs))
            levels = [(chance.randint(2, 97), chance.randint(1, 14))] if chance.random() < 0.8 else []
            books = {**books, row.legs[place].ticker: book_of(row, place, levels)}
    raise AssertionError(f"it does not end after {sent} waves: {row}")
