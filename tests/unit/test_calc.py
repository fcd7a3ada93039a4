"""The manual calculator: it says what the verifier says, and which statement a gain rests on."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.detection.calc_space import CalcError, CalcRelation, CalcState, least_payout
from kalshi_arb.detection.calc_types import Answer, CalcLeg, CalcRequest, CalcResult
from kalshi_arb.detection.calculator import calculate
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, Role
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Grade, Leg
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis
from tests.market_samples import NOW_MS, group

YES, NO = Outcome.YES, Outcome.NO
PARTITION = CalcRelation(RelationKind.PARTITION, ("A", "B", "C"))
FREE = FeeSchedule(FeeType.QUADRATIC, 0)


def buy(market: str, outcome: Outcome, price: int | None, count: int = 1_000, **more: Any) -> CalcLeg:
    return CalcLeg(market, outcome, Count(count), None if price is None else Price(price), **more)


def bids(name: str, *levels: tuple[int, int], no: tuple[tuple[int, int], ...] = ()) -> BookSnapshot:
    sides = (tuple(Level(Price(price), Count(count)) for price, count in side) for side in (levels, no))
    return BookSnapshot(name, BookVersion(0, 0, 0), NOW_MS, NOW_MS, *sides)


def carried(result: CalcResult) -> list[str]:
    return [one.text for one in result.rests_on if one.carries]


# What carries a gain


def test_buying_a_partition_rests_on_one_of_it_happening() -> None:
    result = calculate(CalcRequest(tuple(buy(name, YES, 3_000) for name in "ABC"), (PARTITION,)))
    assert result.answer is Answer.LOCK
    assert carried(result) == ["at least one of A, B, C is YES"]
    assert len(result.states) == 3


def test_selling_a_partition_rests_on_no_two_of_it_happening() -> None:
    result = calculate(CalcRequest(tuple(buy(name, NO, 6_000) for name in "ABC"), (PARTITION,)))
    assert carried(result) == ["at most one of A, B, C is YES"]


def test_a_chain_rests_on_each_of_its_links() -> None:
    links = tuple(CalcRelation(RelationKind.SUBSET, pair) for pair in (("A", "B"), ("B", "C"), ("C", "D")))
    result = calculate(CalcRequest((buy("A", NO, 4_000), buy("C", YES, 5_000)), links))
    assert carried(result) == ["A implies B", "B implies C"]


def test_a_pair_of_one_market_rests_on_nothing() -> None:
    result = calculate(CalcRequest((buy("A", YES, 4_000), buy("A", NO, 5_000)), (PARTITION,)))
    assert (result.answer, carried(result)) == (Answer.LOCK, [])


def test_a_loss_rests_on_nothing() -> None:
    result = calculate(CalcRequest(tuple(buy(name, YES, 4_000) for name in "ABC"), (PARTITION,)))
    assert (result.answer, carried(result)) == (Answer.LOSS, [])


def test_a_state_that_is_only_possible_makes_it_conditional() -> None:
    states = (
        CalcState("A wins", {"A": ONE_DOLLAR}),
        CalcState("B wins", {"B": ONE_DOLLAR}),
        CalcState("draw", {"A": Price(4_000), "B": Price(4_000)}, Basis.POSSIBLE),
    )
    legs = (buy("A", YES, 4_000), buy("B", YES, 5_000))
    result = calculate(CalcRequest(legs, states=states))
    assert (result.answer, result.breaking_states) == (Answer.CONDITIONAL, ("draw",))
    assert result.worst_state == "draw"
    firm = calculate(CalcRequest(legs, states=states[:2]))
    assert (firm.answer, carried(firm)) == (Answer.LOCK, ["the 2 listed states are all there are"])
    assert [leg.break_even for leg in result.legs] == [leg.break_even for leg in firm.legs]


NAMES = ("A", "B", "C", "D")
RELATIONS = st.lists(
    st.one_of(
        st.permutations(NAMES).map(lambda names: CalcRelation(RelationKind.SUBSET, tuple(names[:2]))),
        st.tuples(
            st.sampled_from((RelationKind.EXCLUSIVE, RelationKind.EXHAUSTIVE, RelationKind.PARTITION)),
            st.permutations(NAMES),
            st.integers(2, 4),
        ).map(lambda made: CalcRelation(made[0], tuple(made[1][: made[2]]))),
    ),
    max_size=3,
)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=4, max_size=4), RELATIONS)
def test_the_least_payout_is_that_of_the_worst_result_left(
    counts: list[tuple[int, int]], relations: list[CalcRelation]
) -> None:
    held = dict(zip(NAMES, counts, strict=True))
    paid = [
        sum(held[name][0] if result else held[name][1] for name, result in row.items())
        for results in product((False, True), repeat=4)
        for row in [dict(zip(NAMES, results, strict=True))]
        if all(one.kind.holds(tuple(row[name] for name in one.members)) for one in relations)
    ]
    if paid:
        assert least_payout(held, relations) == min(paid) * ONE_DOLLAR


# Against the verifier


LADDER = group("> 1", "> 2", "> 3")
PRICES = st.integers(1, 99).map(lambda cents: cents * 100)


@given(
    st.lists(st.tuples(st.sampled_from(LADDER.tickers), st.sampled_from(Outcome)), min_size=1, unique=True),
    st.lists(st.tuples(PRICES, st.integers(1, 30_000)), min_size=6, max_size=6),
)
def test_orders_that_take_are_worth_what_the_verifier_says(
    contracts: list[tuple[str, Outcome]], terms: list[tuple[int, int]]
) -> None:
    pairs = list(zip(contracts, terms, strict=False))
    asked = tuple(buy(name, outcome, price, count) for (name, outcome), (price, count) in pairs)
    books: dict[str, BookSnapshot] = {}
    for one in asked:
        other = next((leg for leg in asked if leg.market == one.market and leg.outcome is one.outcome.other), None)
        if (
            other is not None
            and one.price is not None
            and other.price is not None
            and one.price + other.price <= 10_000
        ):
            return  # both could not be offered on one book
        level = ((int(ONE_DOLLAR - (one.price or 0)), int(one.count)),)
        held = books.get(one.market)
        made = bids(one.market, *(level if one.outcome is NO else ()), no=level if one.outcome is YES else ())
        if held is not None:
            made = replace(made, yes_bids=made.yes_bids or held.yes_bids, no_bids=made.no_bids or held.no_bids)
        books[one.market] = made
    result = calculate(CalcRequest(asked, group=LADDER, now_ms=NOW_MS))
    certificate = verify(
        LADDER,
        [Leg(one.market, one.outcome, one.count, one.price or Price(0)) for one in asked],
        books,
        precision=Precision.DIRECT,
        smallest_fill=Count(100),
        now_ms=NOW_MS,
    )
    assert result.worst_profit == certificate.floor_profit
    assert result.fee_at_most == certificate.fee_bound
    assert (result.answer is Answer.LOCK) is (certificate.grade is Grade.PROVED)
    assert result.fee_at_least <= result.fee <= result.fee_at_most


@given(PRICES, PRICES, st.integers(1, 10_000))
def test_at_the_break_even_price_nothing_is_lost_and_a_tick_above_something_is(a: int, b: int, count: int) -> None:
    relation = (CalcRelation(RelationKind.SUBSET, ("A", "B")),)
    legs = (buy("A", NO, a, count), buy("B", YES, b, count))
    even = calculate(CalcRequest(legs, relation)).legs[0].break_even

    def worst(price: int) -> Cash:
        return calculate(CalcRequest((replace(legs[0], price=Price(price)), legs[1]), relation)).worst_profit

    if even is not None:
        assert worst(even) >= 0
    above = 100 if even is None else even + 100
    if above < ONE_DOLLAR:
        assert worst(above) < 0


# Fees


def test_a_maker_pays_nothing_where_only_takers_do_and_a_leg_may_have_its_own_fee() -> None:
    legs = (buy("A", NO, 4_900, role=Role.MAKER), buy("B", YES, 5_000, fees=FREE))
    result = calculate(CalcRequest(legs, (CalcRelation(RelationKind.SUBSET, ("A", "B")),)))
    assert [leg.fee for leg in result.legs] == [0, 0]
    assert (result.answer, result.worst_profit) == (Answer.LOCK, 100_000)
    dearer = replace(legs[0], fees=FeeSchedule(FeeType.WITH_MAKER))
    fee = calculate(CalcRequest((dearer, legs[1]), (CalcRelation(RelationKind.SUBSET, ("A", "B")),))).legs[0].fee
    assert fee == 43_800  # 0.0175 x 10 x 0.49 x 0.51 = 0.0437325, up to the account's grid


# Books


def test_the_largest_size_ends_where_the_next_level_costs_too_much() -> None:
    books = {"A": bids("A", (6_000, 1_000), (5_000, 5_000)), "B": bids("B", no=((5_000, 9_000),))}
    legs = (buy("A", NO, None, 500), buy("B", YES, None, 500))
    asked = CalcRequest(legs, (CalcRelation(RelationKind.SUBSET, ("A", "B")),), books=books, now_ms=NOW_MS)
    result = calculate(asked)
    assert result.size is not None
    assert (result.size.count, result.size.limited_by) == (1_000, "what lies deeper costs too much")
    assert result.best is not None
    assert result.best.worst_profit == result.size.worst_profit > result.worst_profit
    deep = replace(asked, books=books | {"A": bids("A", (6_000, 9_500))})
    size = calculate(deep).size
    assert size is not None
    assert (size.count, size.limited_by) == (9_000, "the depth of B YES")


def test_a_size_that_never_gains_is_nothing() -> None:
    books = {"A": bids("A", (5_000, 1_000)), "B": bids("B", no=((4_900, 1_000),))}
    legs = (buy("A", NO, None, 500), buy("B", YES, None, 500))
    result = calculate(CalcRequest(legs, (CalcRelation(RelationKind.SUBSET, ("A", "B")),), books=books, now_ms=NOW_MS))
    assert result.size is not None
    assert (result.size.count, result.size.limited_by) == (0, "no size gains in the worst case")
    assert result.best is None


def test_legs_through_several_levels_cost_what_each_level_costs_and_at_worst_the_last_one() -> None:
    books = {"A": bids("A", no=((6_000, 100), (5_000, 100)))}
    result = calculate(CalcRequest((buy("A", YES, None, 200),), (), books=books, now_ms=NOW_MS, fees=FREE))
    assert (result.cost, result.legs[0].limit) == (900_000, 5_000)
    assert min(state.worst_profit for state in result.states) == -1_000_000


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (CalcRequest((buy("A", YES, 100),), books={"A": bids("A")}, now_ms=NOW_MS + 5_001), "the book of A is stale"),
        (CalcRequest((buy("A", YES, 100),), books={"A": bids("A")}, now_ms=NOW_MS - 5_001), "from the future"),
        (CalcRequest((buy("A", YES, None),), books={"A": bids("A")}, now_ms=NOW_MS), "that side of its book is empty"),
        (CalcRequest((buy("> 9", YES, 100),), group=LADDER), "> 9 is not in group"),
        (CalcRequest((buy("A", YES, 100, fees=FeeSchedule(FeeType.FLAT)),)), "has no exact fee"),
        (CalcRequest((buy("A", YES, 100, 0),)), "a size of 0.00 is below the smallest"),
        (CalcRequest(relations=(PARTITION,)), "give legs, or books to look for a bundle on"),
    ],
)
def test_what_cannot_be_judged_is_refused(request_: CalcRequest, told: str) -> None:
    with pytest.raises(ProofError, match=told):
        calculate(request_)


def test_relations_that_leave_a_market_one_result_only_contradict_themselves() -> None:
    relations = (
        CalcRelation(RelationKind.COMPLEMENT, ("A", "B")),
        CalcRelation(RelationKind.PARTITION, ("A", "B", "C")),
    )
    with pytest.raises(CalcError, match="C could only be NO"):
        calculate(CalcRequest((buy("C", YES, 100),), relations))
