"""The screen lets every group through that holds a gain: checked against a linear program over the states."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kalshi_arb.detection.screen import EDGE_PER_DOLLAR, Screen
from kalshi_arb.detection.solvers.highs import INFINITY, Program, maximise
from kalshi_arb.domain.book import Book
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, model_fee, order_fee
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from tests.market_samples import market

ONE = Fraction(1)
# Coarse prices make violations frequent; odd ones exercise the fee.
PRICE = st.sampled_from([100, 500, 1_500, 2_500, 3_333, 4_900, 5_000, 5_100, 7_500, 9_000, 9_900])
SIDE = st.none() | PRICE
FEES = st.sampled_from(
    [FeeSchedule(FeeType.QUADRATIC, m) for m in (0, 5_000, 10_000, 20_000)] + [FeeSchedule(FeeType.UNKNOWN)]
)


def make_group(
    columns: Sequence[Sequence[int]], fees: Sequence[FeeSchedule], possible: Sequence[Sequence[int]] = ()
) -> Group:
    """A group from each market's YES payouts over the certain states, in dollars."""
    markets = tuple(replace(market("> 1", ticker=f"M{i}"), fees=fee) for i, fee in enumerate(fees))
    rows = list(zip(*columns, strict=True))
    states = [State(f"s{n}", tuple(Price(ONE_DOLLAR * x) for x in row), Basis.CERTAIN) for n, row in enumerate(rows)]
    states += [
        State(f"p{n}", tuple(Price(ONE_DOLLAR * x) for x in row), Basis.POSSIBLE) for n, row in enumerate(possible)
    ]
    return Group("G", Family.LADDER, "EVENT", markets, tuple(states), (), "print")


def make_book(ticker: str, yes: int | None, no: int | None) -> Book:
    book = Book(ticker)
    book.yes.replace([(Price(yes), ONE_CONTRACT)] if yes else [])
    book.no.replace([(Price(no), ONE_CONTRACT)] if no else [])
    return book


def true_gain(group: Group, quotes: Sequence[tuple[int, int]], *, with_possible: bool = False) -> Fraction:
    """The most that up to one contract of each leg gains in its worst state, fees unrounded, by a linear program over
    the states. The solution is priced again in exact fractions, so that no floating point decides.

    :param quotes: best bids of YES and of NO by market, 1e-4 dollars, 0 on an empty side
    """
    legs = []
    for index, (member, quote) in enumerate(zip(group.markets, quotes, strict=True)):
        if member.fees.is_tradable():
            for outcome, bid in zip(Outcome, reversed(quote), strict=True):
                if bid:
                    price = Price(ONE_DOLLAR - bid)
                    fee = Fraction(model_fee(member.fees, price, ONE_CONTRACT), 10**18)
                    legs.append((index, outcome, Fraction(price, ONE_DOLLAR) + fee))
    if not legs:
        return Fraction(0)
    states = [state for state in group.states if with_possible or state.basis is Basis.CERTAIN] or list(group.states)
    payouts = [[Fraction(state.payout(i, outcome), ONE_DOLLAR) - cost for i, outcome, cost in legs] for state in states]
    last = len(legs)
    found = maximise(
        Program(
            gains=[0.0] * last + [1.0],
            lowest=[0.0] * last + [-1_000.0],
            highest=[1.0] * last + [1_000.0],
            rows=[(range(last + 1), [*map(float, row), -1.0]) for row in payouts],
            row_lowest=[0.0] * len(payouts),
            row_highest=[INFINITY] * len(payouts),
        )
    )
    counts = [Fraction(x).limit_denominator(1_000) for x in found.columns[:last]]
    return min(sum((x * gain for x, gain in zip(counts, row, strict=True)), start=Fraction(0)) for row in payouts)


def screened(group: Group, books: Sequence[Book]) -> int | None:
    screen = Screen([group])
    for book in books:
        screen.update(book)
    return screen.edge("G")


@st.composite
def chains(draw: st.DrawFn) -> list[list[int]]:
    """Nested markets over their states, in any order: equals, certainties and impossibilities included."""
    states = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(0, states), min_size=1, max_size=4))
    return [[int(state < size) for state in range(states)] for size in sizes]


@st.composite
def disjoint_sets(draw: st.DrawFn) -> list[list[int]]:
    """At most one market pays in each state."""
    width = draw(st.integers(1, 4))
    winners = draw(st.lists(st.integers(-1, width - 1), min_size=1, max_size=5))
    return [[int(winner == index) for winner in winners] for index in range(width)]


@st.composite
def conjunctions(draw: st.DrawFn) -> list[list[int]]:
    """A combo and its independent legs, each with a side of its own, in any order."""
    sides = draw(st.lists(st.integers(0, 1), min_size=2, max_size=3))
    results = list(product((0, 1), repeat=len(sides)))
    legs = [[row[place] for row in results] for place in range(len(sides))]
    combo = [int(row == tuple(sides)) for row in results]
    return draw(st.permutations([combo, *legs]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Group, list[Book]]:
    columns = draw(chains() | disjoint_sets() | conjunctions())
    width = len(columns)
    possible = draw(st.lists(st.lists(st.integers(0, 1), min_size=width, max_size=width), max_size=1))
    fees = draw(st.lists(FEES, min_size=width, max_size=width))
    books = []
    for index in range(width):
        yes, no = draw(SIDE), draw(SIDE)
        if yes and no and yes + no >= ONE_DOLLAR:
            # Crossed books are an artefact of a moment and are not judged.
            no = None
        books.append(make_book(f"M{index}", yes, no))
    return make_group(columns, fees, possible), books


def sides_of(book: Book) -> tuple[int, int]:
    return book.yes.top, book.no.top


@settings(max_examples=120, deadline=None)
@given(cases())
def test_no_gain_escapes_the_screen_and_no_edge_is_invented(case: tuple[Group, list[Book]]) -> None:
    group, books = case
    edge = screened(group, books)
    quotes = [sides_of(book) for book in books]
    certain = true_gain(group, quotes)
    # Cutting the fee to 1e-10 dollars can lift an edge by that much for each leg.
    slack = Fraction(2 * len(books), EDGE_PER_DOLLAR)
    if certain > slack:
        assert edge is not None
        assert edge > 0
    if edge is not None and Fraction(edge, EDGE_PER_DOLLAR) > slack:
        assert certain > 0
    # A gain in every state is one in every certain state: proved bundles never escape.
    if true_gain(group, quotes, with_possible=True) > slack:
        assert edge is not None
        assert edge > 0


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_keeping_up_equals_starting_over(case: tuple[Group, list[Book]], data: st.DataObject) -> None:
    group, books = case
    screen = Screen([group])
    current: dict[str, Book | None] = {}
    for _ in range(data.draw(st.integers(1, 12))):
        index = data.draw(st.integers(0, len(books) - 1))
        ticker = f"M{index}"
        if data.draw(st.integers(0, 4)) == 0:
            screen.forget(ticker)
            current[ticker] = None
        else:
            book = make_book(ticker, data.draw(SIDE), data.draw(SIDE))
            screen.update(book)
            current[ticker] = book
        fresh = Screen([group])
        for known in current.values():
            if known is not None:
                fresh.update(known)
        assert screen.edge("G") == fresh.edge("G")
        assert (screen.gain("G") > 0) == (fresh.gain("G") > 0)
        # Of the many vectors that fit, a kept one need not be the one a new screen starts with.
        assert [one.legs for one in screen.nearest(5)] == [one.legs for one in fresh.nearest(5)]


@given(FEES, PRICE, st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_the_screens_fee_never_exceeds_what_any_fills_cost(fees: FeeSchedule, price: int, fills: list[int]) -> None:
    assume(fees.is_tradable())
    book = make_book("M0", None, ONE_DOLLAR - price)
    group = make_group([[1, 1]], [fees])
    edge = screened(group, [book])
    assert edge is not None
    per_contract = EDGE_PER_DOLLAR - price * (EDGE_PER_DOLLAR // ONE_DOLLAR) - edge
    charged = order_fee(fees, [(Price(price), Count(count)) for count in fills], Precision.DIRECT)
    # 1e-10 dollars a contract x 1e-2 contracts against 1e-6 dollars.
    assert per_contract * sum(fills) <= charged * 10**6


@pytest.mark.parametrize("crossed", [(5_000, 5_000), (9_000, 2_000)])
def test_brute_force_agrees_that_a_crossed_book_alone_would_look_like_a_gain(crossed: tuple[int, int]) -> None:
    group = make_group([[1, 0]], [FeeSchedule(FeeType.QUADRATIC, 0)])
    books = [make_book("M0", *crossed)]
    assert screened(group, books) is None


def test_every_small_ladder_of_two_is_judged_like_the_pair_it_is() -> None:
    group = make_group([[1, 1, 0], [1, 0, 0]], [FeeSchedule(FeeType.QUADRATIC)] * 2)
    for ask, bid in product((3_000, 5_000, 5_400, 7_000), repeat=2):
        books = [make_book("M0", None, ONE_DOLLAR - ask), make_book("M1", bid, None)]
        fee = sum(Fraction(7 * p * (ONE_DOLLAR - p), EDGE_PER_DOLLAR) for p in (ask, bid))
        expected = Fraction(bid - ask, ONE_DOLLAR) - fee
        assert screened(group, books) == expected * EDGE_PER_DOLLAR
