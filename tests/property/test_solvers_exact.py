"""The exact solvers of every family against an independent program over the states, on random groups.

2,000 groups by default; ``KALSHI_ARB_EXACT`` sets another number. A failing assertion names the seed, and
``tests.solver_worlds.world(seed)`` builds the same group and books again.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

import pytest

from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.solvers import Bundle, Method, solve
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision, order_fee, order_fee_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, Count, Price
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Group
from tests.market_samples import NOW_MS, book, books, group
from tests.solver_oracle import best_gains, counts_of, gain, levels_of, payouts
from tests.solver_worlds import KINDS, World, combo, implications, random_books, world

GROUPS = int(os.environ.get("KALSHI_ARB_EXACT", "2000"))
FIRST_SEED = 0
_TOGETHER = 20
_TO_THE_DOLLAR = 100
"""1e-10 dollars in the oracle's 1e-12."""
ONE_FILL_PER_LEVEL = Count(10**9)


def seeds() -> Iterator[range]:
    """Seeds in the batches that one program of the oracle holds."""
    last = FIRST_SEED + GROUPS
    for first in range(FIRST_SEED, last, _TOGETHER):
        yield range(first, min(first + _TOGETHER, last))


def value_of(bundle: Bundle | None) -> int:
    return 0 if bundle is None else bundle.linear_profit * _TO_THE_DOLLAR


@pytest.mark.parametrize("every_state", [False, True], ids=["certain", "every_state"])
def test_the_solvers_find_the_optimum_of_the_oracle(every_state: bool) -> None:
    """To 1e-10 dollars; what the solver states is also what its legs earn when they are priced again."""
    kinds: Counter[str] = Counter()
    methods: Counter[Method] = Counter()
    thin = 0
    for batch in seeds():
        worlds = [world(seed) for seed in batch]
        oracle = best_gains([(one.group, one.books) for one in worlds], every_state=every_state)
        for seed, one, best in zip(batch, worlds, oracle, strict=True):
            where = f"seed {seed}, {one.kind}"
            bundle = solve(one.group, one.books, every_state=every_state)
            assert abs(value_of(bundle) - best) < _TO_THE_DOLLAR, where
            if bundle is None:
                continue
            kinds[one.kind] += 1
            methods[bundle.method] += 1
            counts = counts_of(one.group, bundle.legs)
            assert gain(one.group, one.books, counts, every_state=every_state) // 100 == bundle.linear_profit, where
            thin += best < 10**8 * max(counts.values())
    print(f"seeds {FIRST_SEED} to {FIRST_SEED + GROUPS - 1}: {kinds.total()} with arbitrage, {thin} below a cent")  # noqa: T201
    print(dict(kinds), dict(methods))  # noqa: T201
    if GROUPS >= 2_000:
        assert kinds.keys() == KINDS.keys()
        assert methods.keys() == set(Method)
        assert kinds.total() >= 0.4 * GROUPS or every_state
        assert thin >= 0.2 * kinds.total()


def test_whole_contracts_over_fractional_depth_are_the_optimum_too() -> None:
    found = 0
    for batch in list(seeds())[: max(1, GROUPS // _TOGETHER // 8)]:
        worlds = [world(seed) for seed in batch]
        oracle = whole_gains(worlds)
        for seed, one, best in zip(batch, worlds, oracle, strict=True):
            bundle = solve(one.group, one.books, step=ONE_CONTRACT)
            assert abs(value_of(bundle) - best) < _TO_THE_DOLLAR, f"seed {seed}, {one.kind}"
            if bundle is not None:
                found += 1
                assert all(leg.count % ONE_CONTRACT == 0 for leg in bundle.legs)
    assert found or GROUPS < 100


def whole_gains(worlds: Sequence[World]) -> list[int]:
    return best_gains([(one.group, one.books) for one in worlds], step=int(ONE_CONTRACT))


class Exact:
    """What legs earn to the last digit when each level is one fill, in dollars of 1e-6."""

    def __init__(self, one: World, legs: Sequence[Leg], *, every_state: bool) -> None:
        self.fills = 0
        self.on_balance_grid = True
        bound = charged = spent = 0
        for leg in legs:
            schedule = one.group.markets[one.group.index(leg.ticker)].fees
            fills = []
            left = int(leg.count)
            for price, size in levels_of(one.books[leg.ticker], leg.outcome):
                used = min(left, size)
                left -= used
                if used:
                    fills.append((Price(price), Count(used)))
            charged += order_fee(schedule, fills, Precision.DIRECT)
            bound += order_fee_bound(schedule, fills, Precision.DIRECT, ONE_FILL_PER_LEVEL)
            spent += sum(price * count for price, count in fills)
            self.fills += len(fills)
            self.on_balance_grid &= all(price % Precision.DIRECT == 0 for price, _ in fills)
        counts = counts_of(one.group, legs)
        rows = payouts(one.group, every_state=every_state)
        worst = min(sum(row[key] * count for key, count in counts.items()) for row in rows)
        self.charged = worst - spent - charged
        self.bounded = worst - spent - bound


def judged(one: World, legs: Sequence[Leg]) -> Certificate:
    return verify(
        one.group, legs, one.books, precision=Precision.DIRECT, smallest_fill=ONE_FILL_PER_LEVEL, now_ms=NOW_MS
    )


def test_what_is_proposed_earns_the_linear_optimum_but_for_the_rounding() -> None:
    """Within one step of the balance for each order; prices off the balance grid may keep one for each fill. Only where
    the verifier refuses the whole optimum, because it could lose at its limits, less of it is taken. No bundle that the
    verifier accepts loses in any state."""
    grades: Counter[Grade] = Counter()
    compared = 0
    for batch in seeds():
        for seed in batch:
            one = world(seed)
            legs = propose(one.group, one.books, smallest_fill=ONE_FILL_PER_LEVEL)
            linear = solve(one.group, one.books)
            where = f"seed {seed}, {one.kind}"
            assert bool(legs) == (linear is not None), where
            if linear is None:
                continue
            certificate = judged(one, legs)
            grades[certificate.grade] += 1
            every_state = certificate.grade is Grade.PROVED
            if every_state:
                linear = solve(one.group, one.books, every_state=True)
                assert linear is not None, where
            exact = Exact(one, legs, every_state=every_state)
            whole = Exact(one, linear.legs, every_state=every_state)
            orders = len(linear.legs) if whole.on_balance_grid else whole.fills
            if judged(one, linear.legs).floor_profit > 0:
                compared += 1
                assert exact.charged >= linear.linear_profit / 10_000 - orders * Precision.DIRECT, where
            assert exact.bounded <= linear.linear_profit / 10_000, where
            if certificate.grade is Grade.REFUSED:
                assert exact.bounded <= 2 * orders * Precision.DIRECT, where
            else:
                assert exact.bounded > 0, where
                assert certificate.worst_profit <= exact.bounded, where
    assert grades[Grade.PROVED] or GROUPS < 100
    assert compared >= 0.9 * (grades[Grade.PROVED] + grades[Grade.ASSUMED]), "the comparison is the rule"


def small_worlds() -> Iterator[tuple[Group, dict[str, BookSnapshot]]]:
    """Two or three markets with a few hundredths of a contract on one level of each side."""
    for number in range(60):
        strikes = [("> 1", "> 2"), ("< 1", ">= 1"), ("< 1", "1 .. 2", "> 2"), ("> 1", "1 .. 3", "< 3")][number % 4]
        found = group(*strikes)
        made = []
        for place, ticker in enumerate(found.tickers):
            middle = 20 + (number * 7 + place * (13 + number % 5)) % 60
            sizes = [0.01 * (1 + (number + place + side) % 4) for side in range(2)]
            made.append(book(ticker, yes=[(middle, sizes[0])], no=[(100 - middle - 2, sizes[1])]))
        yield found, books(*made)


def test_brute_force_over_every_count_finds_nothing_better() -> None:
    gains = 0
    for found, snapshots in small_worlds():
        keys = [(place, outcome) for place in range(len(found.markets)) for outcome in Outcome]
        most = [sum(size for _, size in levels_of(snapshots[found.tickers[place]], side)) for place, side in keys]
        rows = payouts(found, every_state=False)
        unit = [gain(found, snapshots, {key: 1}, every_state=False) for key in keys]
        floor = [min(row[key] for row in rows) * 10**6 for key in keys]
        best = 0
        for counts in product(*(range(count + 1) for count in most)):
            paid = min(sum(row[key] * count for key, count in zip(keys, counts, strict=True)) for row in rows)
            spent = sum((low - one) * count for low, one, count in zip(floor, unit, counts, strict=True))
            best = max(best, paid * 10**6 - spent)
        assert value_of(solve(found, snapshots)) == best // 100 * 100
        gains += best > 0
    assert gains > 5


def test_a_sure_contract_is_counted_once_beside_any_structure() -> None:
    """A market that no state pays, in a group that only the program over the states can solve."""
    one = world(362)
    bundle = solve(one.group, one.books)
    (best,) = best_gains([(one.group, one.books)])
    assert value_of(bundle) == best // 100 * 100 > 0


@pytest.mark.parametrize("kind", [implications, combo])
def test_the_answer_does_not_depend_on_the_order_of_the_markets(kind: object) -> None:
    import random
    from dataclasses import replace

    for seed in range(40):
        rng = random.Random(seed)
        made = kind(rng)  # type: ignore[operator]
        snapshots = random_books(rng, made, levels=3)
        turned = replace(
            made,
            markets=made.markets[::-1],
            states=tuple(replace(state, yes_payouts=state.yes_payouts[::-1]) for state in made.states[::-1]),
        )
        assert value_of(solve(made, snapshots)) == value_of(solve(turned, snapshots))
