"""The quantities that are proposed: no other quantity of the same legs earns more, none loses at its limits, and none
beats an independent linear program over the states (CBC)."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pulp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.detection.effective import ONE, effective_cost, is_crossed
from kalshi_arb.detection.propose import covers, propose
from kalshi_arb.detection.solvers import solve
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import DepthError, ProofError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, model_fee, order_fee_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Basis, Group
from tests.edges import best_edge
from tests.market_samples import NO_FEES, NOW_MS, STANDARD_FEES, book, books, group

LADDERS = [("> 1", "> 2"), ("> 1", "> 2", "> 3"), ("<= 9", "< 9", "< 7", "< 5"), tuple(f">= {n}" for n in range(6))]
PARTITIONS = [
    ("< 93", "93 .. 94", "95 .. 96", "> 96"),
    ("< 50", ">= 50"),
    ("0 .. 1", "3 .. 4", "6 .. 7"),
    ("< 0", "0 .. 1.99", "2 .. 3.99", "4 .. 5.99", ">= 6"),
]


def random_books(seed: int, found: Group, *, whole: bool) -> dict[str, BookSnapshot]:
    """Uncrossed books of up to three levels a side around a random price, sometimes with an empty side."""
    rng = random.Random(seed)
    made = []
    # Low prices make buying all of a partition worth while, high ones selling all.
    highest = rng.choice([94, 50, 25])
    for ticker in found.tickers:
        middle = rng.randint(6, highest)
        spread = rng.randint(0, 2)

        def side(top: int, most: int) -> list[tuple[float, float]]:
            count = rng.randint(0 if rng.random() < 0.2 else 1, 3)
            prices = rng.sample(range(max(1, top - 5), top + 1), min(count, top, 6))
            size = (lambda: rng.randint(1, most)) if whole else (lambda: rng.randint(1, most * 100) / 100)
            return [(price, size()) for price in prices]

        made.append(book(ticker, yes=side(middle, 30), no=side(99 - middle - spread, 30)))
    return books(*made)


def program(found: Group, snapshots: dict[str, BookSnapshot], bases: set[Basis]) -> float:
    """The best worst-state gain in dollars over all positions."""
    problem = pulp.LpProblem("worst_state", pulp.LpMaximize)
    gain = problem.add_variable("gain")
    cost: list[pulp.LpAffineExpression] = []
    held: dict[tuple[int, Outcome], list[pulp.LpVariable]] = {}
    for index, market in enumerate(found.markets):
        for outcome in Outcome:
            for level, (price, size) in enumerate(snapshots[market.ticker].asks(outcome)):
                amount = problem.add_variable(f"x_{index}_{outcome.value}_{level}", 0, size / ONE_CONTRACT)
                cost.append(amount * (effective_cost(market.fees, price) / ONE))
                held.setdefault((index, outcome), []).append(amount)
    for state in found.states:
        if state.basis in bases:
            paid = [
                amount * (state.payout(index, outcome) / ONE_DOLLAR)
                for (index, outcome), amounts in held.items()
                for amount in amounts
            ]
            problem += gain <= pulp.lpSum(paid) - pulp.lpSum(cost)
    problem += gain
    problem.solve(pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False))
    assert pulp.LpStatus[problem.status] == "Optimal"
    return float(pulp.value(gain))


fees = st.sampled_from([NO_FEES, STANDARD_FEES, FeeSchedule(FeeType.QUADRATIC, 5_000)])
seeds = st.integers(0, 10**9)


def judged(found: Group, legs: Sequence[Leg], snapshots: dict[str, BookSnapshot], fewest: Count) -> Certificate:
    return verify(found, legs, snapshots, precision=Precision.DIRECT, smallest_fill=fewest, now_ms=NOW_MS)


def at_levels(found: Group, certificate: Certificate, fewest: Count) -> int:
    """The profit with the fee that the seen levels can cause at most; the certificate's own fee may be higher."""
    fee = sum(
        order_fee_bound(proved.fees, proved.levels, Precision.DIRECT, fewest) for proved in certificate.legs
    )  # fmt: skip
    return certificate.worst_profit + certificate.fee_bound - fee


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(LADDERS + PARTITIONS), fees, seeds, st.booleans(), st.sampled_from([1, 100, 10**9]))
def test_no_other_quantity_of_the_same_legs_earns_more(
    strikes: Sequence[str], schedule: FeeSchedule, seed: int, whole: bool, fewest: int
) -> None:
    """Against random counts of all legs together, priced at the levels of the books with the highest fee there."""
    found = group(*strikes, fees=schedule)
    snapshots = random_books(seed, found, whole=whole)
    legs = propose(found, snapshots, smallest_fill=Count(fewest))
    if not legs:
        return
    certificate = judged(found, legs, snapshots, Count(fewest))
    if whole:
        assert all(leg.count % ONE_CONTRACT == 0 for leg in legs)
    if certificate.floor_profit <= 0 or len({leg.count for leg in legs}) > 1:
        return
    rng = random.Random(seed)
    step = int(ONE_CONTRACT) if whole else 1
    depth = min(sum(level.size for level in snapshots[leg.ticker].asks(leg.outcome)) for leg in legs)
    for _ in range(30):
        count = rng.randint(1, depth // step) * step
        other = []
        for leg in legs:
            left = count
            for price, size in snapshots[leg.ticker].asks(leg.outcome):
                left -= size
                if left <= 0:
                    other.append(Leg(leg.ticker, leg.outcome, Count(count), price))
                    break
        rival = judged(found, other, snapshots, Count(fewest))
        if rival.grade is certificate.grade:
            assert at_levels(found, rival, Count(fewest)) <= at_levels(found, certificate, Count(fewest))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LADDERS + PARTITIONS), fees, seeds, st.booleans())
def test_what_is_proposed_can_be_judged_and_never_beats_the_sweep(
    strikes: Sequence[str], schedule: FeeSchedule, seed: int, whole: bool
) -> None:
    found = group(*strikes, fees=schedule)
    snapshots = random_books(seed, found, whole=whole)
    legs = propose(found, snapshots)
    edge = best_edge(found, snapshots)
    assert bool(legs) == (edge is not None and edge > 0)
    if not legs:
        return
    assert [found.index(leg.ticker) for leg in legs] == sorted(found.index(leg.ticker) for leg in legs)
    certificate = judged(found, legs, snapshots, ONE_CONTRACT)
    bound = program(found, snapshots, {Basis.CERTAIN})
    if certificate.grade is Grade.PROVED:
        assert 0 < certificate.floor_profit <= certificate.worst_profit <= bound * 1e6 + 1e-3


def ask_book(ticker: str, price: float, size: float) -> BookSnapshot:
    """YES can be bought at ``price`` cents."""
    return book(ticker, no=[(100 - price, size)])


def bid_book(ticker: str, price: float, size: float) -> BookSnapshot:
    """YES can be sold (NO be bought) at ``price`` cents."""
    return book(ticker, yes=[(price, size)])


def test_three_bids_of_which_no_two_suffice_earn_eight_dollars_on_a_hundred_lots() -> None:
    found = group("< 1", "1 .. 2", "> 2", fees=NO_FEES)
    snapshots = books(*(bid_book(ticker, 36, 100) for ticker in found.tickers))
    bundle = solve(found, snapshots)
    assert bundle is not None
    assert bundle.linear_profit == 8 * ONE
    legs = propose(found, snapshots)
    assert legs == tuple(Leg(ticker, Outcome.NO, Count(10_000), Price(6_400)) for ticker in found.tickers)
    certificate = judged(found, legs, snapshots, ONE_CONTRACT)
    assert certificate.grade is Grade.PROVED
    assert certificate.floor_profit == 8_000_000
    for left_out in found.tickers:
        pair = [leg for leg in legs if leg.ticker != left_out]
        assert judged(found, pair, snapshots, ONE_CONTRACT).grade is Grade.REFUSED


def test_a_ladder_reaches_over_an_empty_middle_strike() -> None:
    found = group("> 1", "> 2", "> 3", fees=NO_FEES)
    snapshots = books(ask_book("> 1", 40, 50), book("> 2"), bid_book("> 3", 45, 30))
    legs = propose(found, snapshots)
    assert legs == (
        Leg("> 1", Outcome.YES, Count(3_000), Price(4_000)),
        Leg("> 3", Outcome.NO, Count(3_000), Price(5_500)),
    )
    assert judged(found, legs, snapshots, ONE_CONTRACT).floor_profit == 1_500_000


def test_shared_depth_is_not_counted_twice() -> None:
    # Both asks want the one bid of the hardest strike: the cheaper one gets it.
    found = group("> 1", "> 2", "> 3", fees=NO_FEES)
    snapshots = books(ask_book("> 1", 40, 10), ask_book("> 2", 42, 10), bid_book("> 3", 50, 10))
    assert propose(found, snapshots) == (
        Leg("> 1", Outcome.YES, Count(1_000), Price(4_000)),
        Leg("> 3", Outcome.NO, Count(1_000), Price(5_000)),
    )


def test_a_leg_that_costs_more_than_it_brings_is_left_out() -> None:
    # At 0.01 contract each a bid of one cent earns no more than the rounding of its fee.
    found = group("< 1", "1 .. 2", "> 2")
    snapshots = books(bid_book("< 1", 60, 0.01), bid_book("1 .. 2", 60, 0.01), bid_book("> 2", 1, 0.01))
    assert {leg.ticker for leg in propose(found, snapshots)} == {"< 1", "1 .. 2"}


def test_a_leg_that_runs_out_keeps_its_own_count() -> None:
    found = group("< 1", "1 .. 2", "> 2", fees=NO_FEES)
    snapshots = books(bid_book("< 1", 60, 10), bid_book("1 .. 2", 60, 10), bid_book("> 2", 30, 4))
    assert {leg.ticker: leg.count for leg in propose(found, snapshots)} == {
        "< 1": 1_000,
        "1 .. 2": 1_000,
        "> 2": 400,
    }


def test_a_last_level_that_gains_is_taken_as_long_as_the_limit_leaves_a_profit() -> None:
    # Ten more at 41 cents bring ninety cents, also if all hundred and ten should come to cost 41.
    found = group("> 1", "> 2", fees=NO_FEES)
    snapshots = books(book("> 1", no=[(60, 100), (59, 10)]), bid_book("> 2", 50, 200))
    legs = propose(found, snapshots)
    assert legs[0] == Leg("> 1", Outcome.YES, Count(11_000), Price(4_100))
    certificate = judged(found, legs, snapshots, ONE_CONTRACT)
    assert (certificate.worst_profit, certificate.floor_profit) == (10_900_000, 9_900_000)


def test_buying_a_whole_partition_is_proposed_and_stays_conditional() -> None:
    found = group("< 93", "93 .. 94", "95 .. 96", "> 96")
    snapshots = books(*(ask_book(ticker, 20, 10) for ticker in found.tickers))
    legs = propose(found, snapshots)
    assert {leg.outcome for leg in legs} == {Outcome.YES}
    certificate = judged(found, legs, snapshots, ONE_CONTRACT)
    assert certificate.grade is Grade.CONDITIONAL
    assert certificate.breaking_state is not None
    assert certificate.breaking_state.startswith("between 94 and 95 (sliver")


def test_a_partition_with_a_true_gap_is_never_bought() -> None:
    found = group("< 93", "93 .. 94", "97 .. 98", "> 98")
    snapshots = books(*(ask_book(ticker, 5, 10) for ticker in found.tickers))
    assert propose(found, snapshots) == ()
    assert not covers(found)


def test_shared_ends_never_give_a_wrong_proof() -> None:
    # At 10 both brackets may pay, which costs a dollar more than any bid brought.
    found = group("<= 0", "0 .. 10", "10 .. 20", "> 20")
    snapshots = books(*(bid_book(ticker, 30, 10) for ticker in found.tickers))
    legs = propose(found, snapshots)
    certificate = judged(found, legs, snapshots, ONE_CONTRACT)
    assert certificate.grade is Grade.CONDITIONAL
    assert certificate.breaking_state is not None
    assert "at 0, counted into 0 to 10" in certificate.breaking_state


def test_crossed_and_missing_books_offer_nothing() -> None:
    found = group("> 1", "> 2", fees=NO_FEES)
    crossed = book("> 1", yes=[(60, 10)], no=[(60, 10)])
    assert is_crossed(crossed)
    assert propose(found, books(crossed, bid_book("> 2", 90, 10))) == ()
    assert propose(found, books(bid_book("> 2", 90, 10))) == ()
    assert best_edge(found, {}) is None
    assert best_edge(group("< 1", ">= 1"), {}) is None


def test_an_unpriceable_market_is_an_error_not_a_guess() -> None:
    found = group("> 1", "> 2")
    flat = FeeSchedule(FeeType.FLAT)
    strange = replace(found, markets=tuple(replace(one, fees=flat) for one in found.markets))
    with pytest.raises(ProofError, match="flat"):
        propose(strange, books(ask_book("> 1", 40, 1), bid_book("> 2", 60, 1)))


def test_a_thin_edge_is_sized_below_the_level_end() -> None:
    # All 8.45 would pay one more rounding step than the last hundredths of a contract bring.
    found = group("> 1", "> 2")
    snapshots = books(ask_book("> 1", 92, 8.45), bid_book("> 2", 93, 8.45))
    legs = propose(found, snapshots, smallest_fill=Count(10**9))
    best = judged(found, legs, snapshots, Count(10**9)).floor_profit
    every = [
        judged(
            found,
            [Leg("> 1", Outcome.YES, Count(n), Price(9_200)), Leg("> 2", Outcome.NO, Count(n), Price(700))],
            snapshots,
            Count(10**9),
        ).floor_profit
        for n in range(1, 846)
    ]
    assert best == max(every) > every[-1]


def test_deep_books_with_many_level_ends_stay_cheap_to_judge() -> None:
    found = group("< 1", *(f"{n} .. {n}.9" for n in range(1, 40)), ">= 40", fees=NO_FEES)
    deep = [
        book(ticker, yes=[(cents, 1 + (place * 7 + cents) % 13 + place / 100) for cents in range(1, 31)])
        for place, ticker in enumerate(found.tickers)
    ]
    legs = propose(found, books(*deep))
    assert judged(found, legs, books(*deep), ONE_CONTRACT).grade is Grade.PROVED


@pytest.mark.parametrize("strikes", [("> 1", "> 2"), ("0 .. 1", "3 .. 4")])
def test_a_purchase_that_costs_more_than_a_dollar_is_never_worth_it(strikes: tuple[str, str]) -> None:
    # Twenty times the usual fee: NO at 90 cents costs 1.026 dollars.
    found = group(*strikes, fees=FeeSchedule(FeeType.QUADRATIC, 200_000))
    assert propose(found, books(*(book(ticker, yes=[(10, 10)], no=[(89, 10)]) for ticker in strikes))) == ()


@given(st.integers(1, 9_999), st.integers(0, 100_000))
def test_effective_costs_never_exceed_the_real_fee(price: int, multiplier: int) -> None:
    schedule = FeeSchedule(FeeType.QUADRATIC, multiplier)
    exact = price * 10**14 + model_fee(schedule, Price(price), ONE_CONTRACT)
    cost = effective_cost(schedule, Price(price))
    assert cost * 10**8 <= exact < (cost + 1) * 10**8
    if price > 1:
        assert effective_cost(schedule, Price(price - 1)) < cost


def test_verify_refuses_what_the_sweep_would_take_beyond_the_depth() -> None:
    found = group("> 1", "> 2", fees=NO_FEES)
    snapshots = books(ask_book("> 1", 40, 10), bid_book("> 2", 50, 10))
    with pytest.raises(DepthError):
        judged(found, [Leg("> 1", Outcome.YES, Count(1_001), Price(4_000))], snapshots, ONE_CONTRACT)
