"""The bound that is stored before anything is sent, against brute force: every fill vector, every wave cut short, every
state, each held and each sold into the books."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import LegTerms
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee_bound
from kalshi_arb.domain.grid import CENT_GRID, FINEST_GRID
from kalshi_arb.domain.market import CollateralReturn, Netting, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, complement
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.execution.exposure import FeeRules, highest_cost, pre_send_bound
from tests.basket_world import market

prices = st.one_of(st.integers(1, 9_999), st.integers(1, 99).map(lambda cents: cents * 100)).map(Price)
payouts = st.one_of(st.sampled_from([0, ONE_DOLLAR]), st.integers(0, ONE_DOLLAR)).map(Price)
ONE_TO_THREE = st.integers(1, 3)
schedules = st.builds(FeeSchedule, st.just(FeeType.QUADRATIC), st.sampled_from([0, 5_000, 10_000]))


def book(leg: Leg, bids: list[tuple[int, int]]) -> BookSnapshot:
    """A book that bids for what the leg holds."""
    levels = tuple(Level(Price(price), Count(size)) for price, size in sorted(bids, reverse=True))
    yes, no = (levels, ()) if leg.outcome is Outcome.YES else ((), levels)
    return BookSnapshot(leg.ticker, BookVersion(1, 1, 1), 0, 0, yes, no)


@st.composite
def plans(draw, most: int = 5, sizes: st.SearchStrategy[int] = ONE_TO_THREE):
    size = draw(sizes)
    grids = st.sampled_from([CENT_GRID, FINEST_GRID])
    markets = tuple(
        replace(market(f"M-{number}", shard=number % 2), fees=draw(schedules), grid=draw(grids))
        for number in range(size)
    )
    rows = draw(st.lists(st.tuples(*[payouts] * size), min_size=1, max_size=3))
    states = tuple(State(str(number), row, Basis.CERTAIN) for number, row in enumerate(rows))
    group = Group("g", Family.PARTITION, "EV", markets, states, (), "print")
    counts = st.integers(1, most).map(Count)
    legs = tuple(Leg(own.ticker, draw(st.sampled_from(Outcome)), draw(counts), draw(prices)) for own in markets)
    levels = st.dictionaries(st.integers(1, 9_998), st.integers(1, most), max_size=3)
    books = {leg.ticker: book(leg, list(draw(levels).items())) for leg in legs if draw(st.integers(0, 9))}
    order = draw(st.permutations(range(size)))
    waves = draw(
        st.sampled_from(
            [(tuple(order),), ((order[0],), tuple(order[1:])), tuple((place,) for place in order)]
            if size > 1
            else [((0,),)]
        )
    )
    return group, legs, waves, books, FeeRules(draw(st.sampled_from(Precision)), Count(draw(st.integers(1, 4))))


def vectors(legs: tuple[Leg, ...], waves: tuple[tuple[int, ...], ...]) -> Iterator[tuple[int, ...]]:
    """Every way the orders can fill: waves up to a cut are sent, and a leg that goes first alone fills whole or is
    killed, after which nothing is sent."""
    seen = set()
    for cut in range(len(waves) + 1):
        sent = [leg for wave in waves[:cut] for leg in wave]
        parts = [range(leg.count + 1) if place in sent else range(1) for place, leg in enumerate(legs)]
        if cut and len(waves[0]) == 1:
            parts[waves[0][0]] = range(legs[waves[0][0]].count, legs[waves[0][0]].count + 1)
        seen |= set(product(*parts))
    yield from sorted(seen)


def bought(terms: LegTerms, leg: Leg, part: int, rules: FeeRules, *, alone: bool) -> int:
    """The most that a part of a leg can cost, in one order or in an entry and a completion."""
    if not part:
        return 0
    splits = range(1 if alone else part)
    return max(
        (highest_cost(terms, Count(first), leg.limit, rules) if first else 0)
        + highest_cost(terms, Count(part - first), leg.limit, rules)
        for first in splits
    )


def sold(terms: LegTerms, bids: tuple[Level, ...], part: int, rules: FeeRules) -> tuple[int, int]:
    """What a sale of as much of a part as the book takes brings after the highest fee, and how much is left."""
    taken = []
    for price, size in bids:
        if part:
            taken.append((complement(price), Count(min(part, size))))
            part -= min(part, size)
    if not taken:
        return 0, part
    cost = sum(price * size for price, size in taken)
    fee = order_fee_bound(terms.fees, taken, rules.precision, rules.smallest_fill)
    return ONE_DOLLAR * sum(size for _, size in taken) - cost - fee, part


def brute_force(group, legs, waves, books, rules) -> tuple[int, int, dict[int, int]]:
    """Worst loss held, worst loss with every incomplete vector sold, and per shard what sales need above what they
    free."""
    terms = [LegTerms(own.grid, own.fees, own.shard) for own in group.markets]
    alone = waves[0] if len(waves[0]) == 1 else ()
    costs = [
        [bought(own, leg, part, rules, alone=place in alone) for part in range(leg.count + 1)]
        for place, (own, leg) in enumerate(zip(terms, legs, strict=True))
    ]
    bids = [books[leg.ticker].bids(leg.outcome) if leg.ticker in books else () for leg in legs]
    sales = [
        [sold(own, levels, part, rules) for part in range(leg.count + 1)]
        for own, leg, levels in zip(terms, legs, bids, strict=True)
    ]
    held = unwound = 0
    for vector in vectors(legs, waves):
        paid = sum(own[part] for own, part in zip(costs, vector, strict=True))
        for state in group.states:
            pays = [state.payout(place, leg.outcome) for place, leg in enumerate(legs)]
            held = max(held, paid - sum(part * pay for part, pay in zip(vector, pays, strict=True)))
            if any(part < leg.count for part, leg in zip(vector, legs, strict=True)):
                back = 0
                for own, part, pay in zip(sales, vector, pays, strict=True):
                    brought, left = own[part]
                    back += brought + left * pay
                unwound = max(unwound, paid - back)
    needs: dict[int, int] = {}
    for own, sale in zip(terms, sales, strict=True):
        needs[own.shard] = needs.get(own.shard, 0) + max(-brought for brought, _ in sale)
    return held, unwound, needs


def order_rounding(rules: FeeRules) -> int:
    """What one more order can add beside its price and model fee: its alignment, a fill, and a step that it keeps."""
    return 2 * (rules.precision + 1)


@settings(max_examples=250, deadline=None)
@given(plan=plans())
def test_the_bound_is_that_of_brute_force_but_for_the_roundings_of_its_orders(plan) -> None:
    group, legs, waves, books, rules = plan
    held, unwound, needs = brute_force(group, legs, waves, books, rules)
    bound = pre_send_bound(group, legs, waves, books, precision=rules.precision, smallest_fill=rules.smallest_fill)
    entries = len(legs) * 2 * order_rounding(rules)
    assert held <= bound.loss <= held + entries
    worst = min(held, unwound)
    assert worst <= bound.loss_unwound <= min(bound.loss, unwound + entries + len(legs) * order_rounding(rules))
    assert dict(bound.unwind_cash) == needs
    assert list(dict(bound.cash)) == sorted(dict(bound.cash)) == list(dict(bound.unwind_cash))


@settings(max_examples=100, deadline=None)
@given(plan=plans(most=240, sizes=st.just(1)), waves=st.sampled_from([((0,),), ((0, 0),)]))
def test_the_worst_part_to_have_bought_and_sold_is_found_without_trying_all(plan, waves) -> None:
    group, legs, _, books, rules = plan
    # A wave that is not of one leg is not fill-or-kill.
    held, unwound, needs = brute_force(group, legs, waves, books, rules)
    bound = pre_send_bound(group, legs, waves, books, precision=rules.precision, smallest_fill=rules.smallest_fill)
    assert min(held, unwound) <= bound.loss_unwound <= unwound + 3 * order_rounding(rules)
    assert dict(bound.unwind_cash) == needs


@settings(max_examples=100, deadline=None)
@given(plan=plans(), netting=st.sampled_from(Netting), returns=st.sampled_from(CollateralReturn))
def test_collateral_that_came_back_has_to_be_there_again(plan, netting: Netting, returns: CollateralReturn) -> None:
    group, legs, waves, books, rules = plan
    group = replace(group, markets=tuple(replace(own, collateral_return=returns) for own in group.markets))
    without, with_it = (
        pre_send_bound(
            group, legs, waves, books, precision=rules.precision, smallest_fill=rules.smallest_fill, netting=one
        )
        for one in (Netting.OFF, netting)
    )
    added = {shard: dict(with_it.unwind_cash)[shard] - need for shard, need in without.unwind_cash}
    for shard, more in added.items():
        counts = [
            leg.count
            for leg, own in zip(legs, group.markets, strict=True)
            if own.shard == shard and leg.outcome is Outcome.NO
        ]
        applies = netting is Netting.ON and returns is CollateralReturn.MECNET and counts
        back = ONE_DOLLAR * (sum(counts) - max(counts)) if applies else 0
        # What the entry itself takes stays reserved.
        assert more == max(0, back - dict(without.cash)[shard])
    assert (with_it.loss, with_it.loss_unwound, with_it.cash) == (without.loss, without.loss_unwound, without.cash)
