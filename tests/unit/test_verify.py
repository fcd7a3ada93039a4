"""The verifier: what it proves, what it refuses, and that a proof never loses money."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.verify import MAX_AGE_MS, replay, verify
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import DepthError, ProofError, UnfitBookError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Market, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import BookReference, Certificate, CheckedState, Grade, Leg, ProvedLeg
from kalshi_arb.domain.state_space import Basis, Group
from tests.market_samples import FINE_GRID, NO_FEES, NOW_MS, STANDARD_FEES, book, books, group

WEATHER = ("< 93", "93 .. 94", "95 .. 96", "> 96")
LADDER = ("> 1", "> 2")


def judge(
    found: Group,
    legs: list[Leg],
    snapshots: dict[str, BookSnapshot],
    *,
    precision: Precision = Precision.DIRECT,
    smallest_fill: int = 100,
    now_ms: int = NOW_MS,
) -> Certificate:
    return verify(found, legs, snapshots, precision=precision, smallest_fill=Count(smallest_fill), now_ms=now_ms)


def yes(ticker: str, contracts: float, cents: float) -> Leg:
    return Leg(ticker, Outcome.YES, Count(round(contracts * 100)), Price(round(cents * 100)))


def no(ticker: str, contracts: float, cents: float) -> Leg:
    return Leg(ticker, Outcome.NO, Count(round(contracts * 100)), Price(round(cents * 100)))


def ladder_books() -> dict[str, BookSnapshot]:
    return books(book("> 1", no=[(60, 10), (58, 10)]), book("> 2", yes=[(50, 10), (47, 10)]))


def test_a_ladder_pair_is_proved_with_every_number_in_place() -> None:
    found = group(*LADDER)
    certificate = judge(found, [yes("> 1", 10, 40), no("> 2", 10, 50)], ladder_books(), now_ms=NOW_MS + 7)
    # Fees: 0.07 x 10 x 0.4 x 0.6 = 0.168 and 0.07 x 10 x 0.5 x 0.5 = 0.175; ten fills may each round up their sixth
    # decimal, which carries each sum over to the next 1e-4 dollars.
    assert certificate == Certificate(
        group_id=found.group_id,
        fingerprint=found.fingerprint,
        grade=Grade.PROVED,
        outlay=Cash(9_343_200),
        fee_bound=Cash(343_200),
        worst_profit=Cash(656_800),
        floor_profit=Cash(656_800),
        worst_state="below 1",
        breaking_state=None,
        states_checked=3,
        smallest_fill=Count(100),
        precision=100,
        books=(
            BookReference("> 1", BookVersion(1, 1, 1), 7, NOW_MS),
            BookReference("> 2", BookVersion(1, 1, 1), 7, NOW_MS),
        ),
        judged_ms=NOW_MS + 7,
        legs=(
            ProvedLeg(yes("> 1", 10, 40), STANDARD_FEES, CENT_GRID, (Level(Price(4_000), Count(1_000)),)),
            ProvedLeg(no("> 2", 10, 50), STANDARD_FEES, CENT_GRID, (Level(Price(5_000), Count(1_000)),)),
        ),
        states=(
            CheckedState("below 1", Basis.CERTAIN, (Price(0), Price(0)), None, 1),
            CheckedState("at 2", Basis.CERTAIN, (ONE_DOLLAR, Price(0)), None, 1),
            CheckedState("above 2", Basis.CERTAIN, (ONE_DOLLAR, ONE_DOLLAR), None, 1),
        ),
        assumptions=(),
        max_age_ms=MAX_AGE_MS,
        seal=certificate.seal,
    )
    assert replay(certificate) == ()


def test_levels_are_walked_and_limits_are_charged_in_full() -> None:
    found = group(*LADDER, fees=NO_FEES)
    certificate = judge(found, [yes("> 1", 15, 42), no("> 2", 15, 53)], ladder_books())
    assert certificate.worst_profit == 15_000_000 - (4_000_000 + 2_100_000) - (5_000_000 + 2_650_000)
    assert certificate.floor_profit == 15_000_000 - 6_300_000 - 7_950_000
    assert certificate.outlay == 14_250_000


def test_a_profit_at_levels_but_not_at_limits_is_refused() -> None:
    found = group(*LADDER, fees=NO_FEES)
    snapshots = books(book("> 1", no=[(60, 10), (50, 1)]), book("> 2", yes=[(50, 11)]))
    certificate = judge(found, [yes("> 1", 11, 50), no("> 2", 11, 50)], snapshots)
    assert certificate.worst_profit > 0
    assert certificate.floor_profit == 0
    assert certificate.grade is Grade.REFUSED


def test_selling_every_bracket_is_proved_and_buying_every_bracket_is_conditional() -> None:
    found = group(*WEATHER)
    dear = books(*(book(ticker, yes=[(30, 10)]) for ticker in WEATHER))
    assert judge(found, [no(ticker, 10, 70) for ticker in WEATHER], dear).grade is Grade.PROVED
    cheap = books(*(book(ticker, no=[(80, 10)]) for ticker in WEATHER))
    certificate = judge(found, [yes(ticker, 10, 20) for ticker in WEATHER], cheap)
    assert certificate.grade is Grade.CONDITIONAL
    assert certificate.breaking_state == certificate.worst_state
    assert "between 94 and 95 (sliver" in certificate.worst_state
    assert certificate.floor_profit == -certificate.outlay


def test_a_bundle_that_loses_in_a_certain_state_is_refused() -> None:
    found = group(*WEATHER)
    cheap = books(*(book(ticker, no=[(80, 10)]) for ticker in WEATHER))
    certificate = judge(found, [yes(ticker, 10, 20) for ticker in WEATHER[1:]], cheap)
    assert certificate.grade is Grade.REFUSED
    assert certificate.breaking_state is None


def test_breaking_even_is_not_a_profit() -> None:
    found = group(*LADDER, fees=NO_FEES)
    snapshots = books(book("> 1", no=[(60, 10)]), book("> 2", yes=[(40, 10)]))
    certificate = judge(found, [yes("> 1", 10, 40), no("> 2", 10, 60)], snapshots)
    assert certificate.floor_profit == 0
    assert certificate.grade is Grade.REFUSED


def test_a_wrong_direction_pair_is_refused() -> None:
    found = group(*LADDER, fees=NO_FEES)
    snapshots = books(book("> 1", yes=[(60, 10)]), book("> 2", no=[(90, 10)]))
    certificate = judge(found, [no("> 1", 10, 40), yes("> 2", 10, 10)], snapshots)
    assert certificate.grade is Grade.REFUSED
    assert certificate.worst_state == "at 2"


def test_a_group_of_possible_states_only_proves_nothing_certain() -> None:
    found = group(*LADDER, fees=NO_FEES)
    possible = replace(found, states=tuple(replace(state, basis=Basis.POSSIBLE) for state in found.states))
    snapshots = books(book("> 1", no=[(60, 10)]), book("> 2", yes=[(10, 10)]))
    assert judge(possible, [yes("> 1", 10, 40), no("> 2", 10, 90)], snapshots).grade is Grade.REFUSED


@pytest.mark.parametrize(
    ("snapshots", "now_ms", "message"),
    [
        ({}, NOW_MS, "no book of > 1"),
        (books(book("> 2"), replace(book("> 2"), ticker="> 1")), NOW_MS + MAX_AGE_MS + 1, "ms old"),
        (ladder_books(), NOW_MS + MAX_AGE_MS + 1, "the book of > 1 is 5001 ms old, more than 5000"),
        (ladder_books(), NOW_MS - MAX_AGE_MS - 1, "5001 ms ahead of the clock"),
        (books(book("> 1", yes=[(40, 1)], no=[(60, 20)]), book("> 2", yes=[(50, 20)])), NOW_MS, "crossed"),
        ({"> 1": book("> 2"), "> 2": book("> 2")}, NOW_MS, "the one of > 2"),
    ],
)
def test_unfit_books_are_refused(snapshots: dict[str, BookSnapshot], now_ms: int, message: str) -> None:
    with pytest.raises(UnfitBookError, match=message):
        judge(group(*LADDER), [yes("> 1", 10, 40), no("> 2", 10, 50)], snapshots, now_ms=now_ms)


def test_impossible_books_are_refused() -> None:
    found = group(*LADDER)
    unsorted_book = replace(book("> 1"), no_bids=(Level(Price(5_000), Count(100)), Level(Price(6_000), Count(100))))
    with pytest.raises(UnfitBookError, match="not in order"):
        judge(found, [yes("> 1", 2, 50)], books(unsorted_book))
    empty_level = replace(book("> 1"), no_bids=(Level(Price(5_000), Count(0)),))
    with pytest.raises(UnfitBookError, match="a level of 0"):
        judge(found, [yes("> 1", 2, 50)], books(empty_level))


@pytest.mark.parametrize(
    ("legs", "message"),
    [
        ([], "without legs"),
        ([yes("> 1", 1, 40), yes("> 1", 1, 42)], "same contract in two legs"),
        ([yes("> 1", 0, 40)], "a count of 0"),
        ([yes("> 1", -1, 40)], "a count of -100"),
        ([yes("> 1", 1, 40.5)], "0.4050 is not on the market's price grid"),
        ([no("> 2", 1, 100)], "price grid"),
    ],
)
def test_bundles_that_cannot_be_orders_are_errors(legs: list[Leg], message: str) -> None:
    with pytest.raises(ProofError, match=message):
        judge(group(*LADDER), legs, ladder_books())


def test_a_stranger_is_no_leg() -> None:
    with pytest.raises(ProofError, match="> 3 is not in group"):
        judge(group(*LADDER), [yes("> 3", 1, 40)], ladder_books() | books(book("> 3", no=[(60, 1)])))


def test_depth_that_is_not_there_is_an_error_that_says_how_much() -> None:
    with pytest.raises(DepthError, match=r"> 1: 2\.50 of 12\.50 yes are not there at 0\.4000 or better"):
        judge(group(*LADDER), [yes("> 1", 12.5, 40)], ladder_books())


def test_fees_that_cannot_be_computed_and_fills_of_nothing_are_errors() -> None:
    found = group(*LADDER)
    strange = replace(found, markets=tuple(replace(one, fees=FeeSchedule(FeeType.FLAT)) for one in found.markets))
    with pytest.raises(ProofError, match="fee type flat"):
        judge(strange, [yes("> 1", 1, 40)], ladder_books())
    with pytest.raises(ProofError, match="smallest fill of 0"):
        judge(found, [yes("> 1", 1, 40)], ladder_books(), smallest_fill=0)


def test_both_outcomes_of_one_market_are_two_legs() -> None:
    # A pair of YES and NO is worth a dollar in every state.
    found = group(*LADDER, fees=NO_FEES)
    snapshots = books(book("> 1", yes=[(40, 5)], no=[(59, 5)]))
    certificate = judge(found, [yes("> 1", 5, 41), no("> 1", 5, 60)], snapshots)
    assert certificate.floor_profit == 5_000_000 - 5_050_000
    assert len(certificate.books) == 1


def test_a_cent_account_needs_a_wider_edge() -> None:
    found = group(*LADDER)
    snapshots = books(book("> 1", no=[(59, 1)]), book("> 2", yes=[(45, 1)]))
    legs = [yes("> 1", 1, 41), no("> 2", 1, 55)]
    direct = judge(found, legs, snapshots)
    cent = judge(found, legs, snapshots, precision=Precision.CENT)
    assert direct.grade is Grade.PROVED
    assert cent.grade is Grade.REFUSED
    assert (direct.precision, cent.precision) == (100, 10_000)


def test_smaller_fills_cost_more() -> None:
    found = group(*LADDER)
    legs = [yes("> 1", 10, 40), no("> 2", 10, 50)]
    large, small = (judge(found, legs, ladder_books(), smallest_fill=size) for size in (1_000, 1))
    assert small.fee_bound > large.fee_bound


# No proof loses money ------------------------------------------------------------------------------------------------


def settles_yes(one: Market, position: float, included: set[tuple[str, str]]) -> bool:
    """Whether a market pays at a place on the line, from its strikes alone."""
    low = float(one.floor) if one.floor is not None else -1e9
    high = float(one.cap) if one.cap is not None else 1e9
    inside = low < position < high
    kind = one.strike_type.value
    at_low = position == low and (kind == "greater_or_equal" or (one.ticker, "low") in included)
    at_high = position == high and (kind == "less_or_equal" or (one.ticker, "high") in included)
    return inside or at_low or at_high


def split(rng: random.Random, count: int, smallest: int, *, is_last: bool) -> list[int]:
    """Fills of one level: none below the smallest size unless the level itself is, or it is the order's last fill."""
    rest = rng.choice([0, 0, 1, rng.randint(1, smallest)]) if is_last else 0
    rest = rest if count - rest >= smallest else 0
    count -= rest
    parts = []
    while count >= 2 * smallest and rng.random() < 0.9:
        part = rng.randint(smallest, min(2 * smallest, count - smallest))
        parts.append(part)
        count -= part
    return [*parts, count, rest] if rest else [*parts, count]


@settings(max_examples=250, deadline=None)
@given(
    st.integers(0, 10**9),
    st.sampled_from([LADDER, ("<= 9", "< 9", "< 5"), WEATHER, ("< 5", ">= 5"), ("<= 0", "0 .. 5", "5 .. 9", "> 9")]),
    st.sampled_from([STANDARD_FEES, NO_FEES, FeeSchedule(FeeType.WITH_MAKER, 12_345)]),
    st.sampled_from(list(Precision)),
    st.sampled_from([1, 37, 100]),
)
def test_a_proof_never_loses_money(
    seed: int, strikes: tuple[str, ...], schedule: FeeSchedule, precision: Precision, smallest: int
) -> None:
    """Random books and bundles; every fill split, the exchange's own fee arithmetic, values drawn from the line."""
    rng = random.Random(seed)
    found = group(*strikes, fees=schedule, grid=FINE_GRID)
    snapshots = {}
    for ticker in found.tickers:
        middle = rng.randint(500, 9_000)
        off_grid = rng.random() < 0.5

        def side(top: int, rough: bool = off_grid) -> tuple[Level, ...]:
            prices = {max(1, top - rng.randint(0, 300)) for _ in range(rng.randint(1, 3))}
            prices = prices if rough else {max(100, price // 100 * 100) for price in prices}
            return tuple(Level(Price(price), Count(rng.randint(1, 3_000))) for price in sorted(prices, reverse=True))

        snapshots[ticker] = BookSnapshot(
            ticker, BookVersion(0, 0, 0), NOW_MS, NOW_MS, side(middle), side(9_900 - middle)
        )
    legs = list(propose(found, snapshots, precision=precision, smallest_fill=Count(smallest)))
    if rng.random() < 0.4 or not legs:
        # Any other bundle must be judged as truthfully.
        legs = []
        for ticker in rng.sample(found.tickers, rng.randint(1, len(found.tickers))):
            outcome = rng.choice(list(Outcome))
            level = rng.choice(snapshots[ticker].asks(outcome))
            legs.append(Leg(ticker, outcome, Count(rng.randint(1, level.size)), level.price))
    certificate = verify(found, legs, snapshots, precision=precision, smallest_fill=Count(smallest), now_ms=NOW_MS)
    at_limit = rng.random() < 0.5
    paid = 0
    for leg in legs:
        fills: list[tuple[Price, Count]] = []
        left = int(leg.count)
        for price, size in snapshots[leg.ticker].asks(leg.outcome):
            taken = min(left, size)
            left -= taken
            if taken:
                # The book may have moved: any level may fill at the limit instead.
                charged = leg.limit if at_limit else price
                fills += [(charged, Count(part)) for part in split(rng, taken, smallest, is_last=not left)]
        paid += sum(price * count for price, count in fills) + order_fee(schedule, fills, precision)
    brackets = [one.ticker for one in found.markets if one.strike_type is StrikeType.BETWEEN]
    ends = [(ticker, end) for ticker in brackets for end in ("low", "high")]
    worst = None
    for _ in range(40):
        position = rng.choice([-5.0, 200.0, rng.uniform(-1, 100), *map(float, range(12)), 93.0, 94.0, 94.5, 95.0, 96.0])
        included = {end for end in ends if rng.random() < 0.5}
        received = 0
        for leg in legs:
            paying = settles_yes(found.markets[found.index(leg.ticker)], position, included)
            if paying == (leg.outcome is Outcome.YES):
                received += ONE_DOLLAR * leg.count
        worst = received - paid if worst is None else min(worst, received - paid)
    assert worst is not None
    assert worst >= (certificate.floor_profit if at_limit else certificate.worst_profit)
    if certificate.grade is Grade.PROVED:
        assert worst > 0
        assert certificate.floor_profit > 0
