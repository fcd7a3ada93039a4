"""Combos and settlements at a price against a linear program and against sampled settlements."""

import random
from collections.abc import Sequence
from fractions import Fraction
from math import prod

import pulp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.detection.effective import ONE, effective_cost
from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.screen import Screen
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import Book, BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price
from kalshi_arb.domain.opportunity import Grade, Leg
from kalshi_arb.domain.state_space import Basis, Group, State
from tests.combo_samples import combo_group
from tests.edges import best_edge
from tests.market_samples import NO_FEES, NOW_MS, STANDARD_FEES, book, books

SIDES = st.lists(st.sampled_from(["yes", "no"]), min_size=2, max_size=4)
FEES = st.sampled_from([NO_FEES, STANDARD_FEES, FeeSchedule(FeeType.QUADRATIC, 5_000)])
SEEDS = st.integers(0, 10**9)


def combo_of(sides: Sequence[str], fees: FeeSchedule) -> Group:
    return combo_group(*(f"{side} L{number}" for number, side in enumerate(sides)), fees=fees)


def random_books(seed: int, group: Group) -> dict[str, BookSnapshot]:
    """Uncrossed books; the combo's price wanders from far too cheap to far too dear, and sides may be empty."""
    rng = random.Random(seed)
    made = []
    for ticker in group.tickers:
        bid = rng.randint(1, 97)
        ask = rng.randint(bid + 1, min(98, bid + 6))
        yes = [(bid, rng.randint(1, 20))] if rng.random() < 0.9 else []
        no = [(100 - ask, rng.randint(1, 20))] if rng.random() < 0.9 else []
        made.append(book(ticker, yes=yes, no=no))
    return books(*made)


def best_gain(group: Group, snapshots: dict[str, BookSnapshot]) -> float:
    """The most one set can gain in its worst certain state, linear fees: any counts of any contracts (CBC)."""
    problem = pulp.LpProblem("gain", pulp.LpMaximize)
    gain = problem.add_variable("gain")
    held = []
    for index, market in enumerate(group.markets):
        for outcome in Outcome:
            for level in snapshots[market.ticker].asks(outcome):
                cost = effective_cost(market.fees, level.price) / ONE
                held.append((index, outcome, cost, problem.add_variable(f"x_{index}_{outcome.value}", 0, 1)))
    for state in group.states:
        if state.basis is Basis.CERTAIN:
            problem += gain <= pulp.lpSum(
                amount * (state.payout(index, outcome) / ONE_DOLLAR - cost) for index, outcome, cost, amount in held
            )
    problem += gain
    problem.solve(pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False))
    assert pulp.LpStatus[problem.status] == "Optimal"
    return float(pulp.value(gain))


def screened(group: Group, snapshots: dict[str, BookSnapshot]) -> int | None:
    screen = Screen([group])
    for snapshot in snapshots.values():
        live = Book(snapshot.ticker)
        live.yes.replace(snapshot.yes_bids)
        live.no.replace(snapshot.no_bids)
        screen.update(live)
    return screen.edge(group.group_id)


@settings(max_examples=120, deadline=None)
@given(SIDES, FEES, SEEDS)
def test_a_combo_without_an_edge_in_a_covering_set_has_no_gain_at_all(
    sides: list[str], fees: FeeSchedule, seed: int
) -> None:
    group = combo_of(sides, fees)
    snapshots = random_books(seed, group)
    gain = best_gain(group, snapshots)
    edge = best_edge(group, snapshots)
    assert (gain > 1e-7) == (edge is not None and edge > 10)
    # The screen and the exact method see the same edge, but for fees cut at 1e-10 dollars.
    seen = screened(group, snapshots)
    assert (seen is None) == (edge is None)
    if seen is not None and edge is not None:
        assert abs(seen - edge) <= len(group.markets)


@settings(max_examples=120, deadline=None)
@given(SIDES, FEES, SEEDS)
def test_what_is_proposed_for_a_combo_holds_in_every_settlement(sides: list[str], fees: FeeSchedule, seed: int) -> None:
    group = combo_of(sides, fees)
    snapshots = random_books(seed, group)
    legs = propose(group, snapshots)
    edge = best_edge(group, snapshots)
    assert bool(legs) == (edge is not None and edge > 0)
    if not legs:
        return
    certificate = verify(group, legs, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS)
    assert certificate.grade in (Grade.PROVED, Grade.REFUSED)
    # Legs that settle at any fraction, the combo at their product: never below the certificate's worst state.
    rng = random.Random(seed)
    for _ in range(20):
        values = [Fraction(rng.randint(0, 20), 20) for _ in sides]
        worths = [prod(values), *(v if side == "yes" else 1 - v for v, side in zip(values, sides, strict=True))]
        paid = sum(
            leg.count * ONE_DOLLAR * (worth if leg.outcome is Outcome.YES else 1 - worth)
            for leg in legs
            for worth in [worths[group.index(leg.ticker)]]
        )
        assert paid - certificate.outlay >= certificate.floor_profit


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Outcome), st.integers(1, 9)), min_size=1, max_size=6),
    SEEDS,
)
def test_a_settlement_at_any_prices_pays_at_least_what_the_verifier_says(
    wanted: list[tuple[int, Outcome, int]], seed: int
) -> None:
    """One state for all of them, and it is reached: the least lies where each market is at an end of its range."""
    markets = combo_group("yes A", "yes B").markets
    rng = random.Random(seed)
    least = tuple(Price(rng.randint(0, 5_000)) for _ in markets)
    most = tuple(Price(rng.randint(low, int(ONE_DOLLAR))) for low in least)
    state = State("any", least, Basis.CERTAIN, highest=most)
    group = Group("g", combo_group("yes A", "yes B").family, "E", markets, (state,), (), "print")
    counts: dict[tuple[int, Outcome], int] = {}
    for index, outcome, count in wanted:
        counts[index, outcome] = counts.get((index, outcome), 0) + count
    legs = [
        Leg(markets[index].ticker, outcome, Count(count * 100), Price(5_100))
        for (index, outcome), count in counts.items()
    ]
    snapshots = books(*(book(market.ticker, yes=[(49, 1_000)], no=[(49, 1_000)]) for market in markets))
    certificate = verify(group, legs, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS)
    promised = certificate.floor_profit + certificate.outlay

    def paid(values: Sequence[int]) -> int:
        return sum(
            leg.count * (value if leg.outcome is Outcome.YES else ONE_DOLLAR - value)
            for leg in legs
            for value in [values[group.index(leg.ticker)]]
        )

    ends = [
        min((low, high), key=lambda value, i=i: paid([value if j == i else 0 for j in range(len(markets))]))
        for i, (low, high) in enumerate(zip(least, most, strict=True))
    ]
    assert paid(ends) == promised
    for _ in range(20):
        assert paid([rng.randint(low, high) for low, high in zip(least, most, strict=True)]) >= promised


@pytest.mark.parametrize("outcome", Outcome)
def test_a_range_from_nothing_to_a_dollar_promises_neither_outcome_anything(outcome: Outcome) -> None:
    state = State("any", (Price(0),), Basis.POSSIBLE, highest=(ONE_DOLLAR,))
    assert state.payout(0, outcome) == 0
