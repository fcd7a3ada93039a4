"""The allocator: nothing is planned twice, and what it plans is as good as trying every choice.

2,000 random sets with ``KALSHI_ARB_PROOFS=full``, a few dozen otherwise.
"""

import os
import random
from collections import Counter
from itertools import combinations

import pytest

from kalshi_arb.detection.allocate import Allocation, Claim, Method, allocate
from kalshi_arb.domain.money import Cash

FULL = os.environ.get("KALSHI_ARB_PROOFS") == "full"
SETS = 2_000 if FULL else 40
SMALL_SETS = 500 if FULL else 40


def claims(rng: random.Random, number: int) -> tuple[list[Claim], dict[str, int]]:
    """Opportunities that share shards, levels, tokens and groups, and what is free: scarce more often than not."""
    levels = [f"level#M{market}#yes#{price}" for market in range(4) for price in (4_000, 4_100)]
    keys = ["cash#0", "cash#1", "tokens", "open#baskets", "outlay#all", "event#E1", "event#E2", *levels]
    made = []
    for one in range(number):
        needs = {key: rng.randint(1, 50_000_000) for key in rng.sample(keys, rng.randint(1, 6))}
        needs["tokens"] = 10 * rng.randint(2, 6)
        needs["open#baskets"] = 1
        made.append(Claim(f"o{one}", f"g{rng.randrange(number)}", Cash(rng.randint(-1_000, 3_000_000)), needs))
    share = rng.choice([5, 20, 50, 90])
    free = {key: sum(one.needs.get(key, 0) for one in made) * share // 100 for key in keys if rng.random() < 0.9}
    return made, free


def check(plan: Allocation, made: list[Claim], free: dict[str, int]) -> None:
    """No resource and no group is taken twice, and the profit is that of what was chosen."""
    chosen = [one for one in made if one.opportunity_id in plan.chosen]
    assert len(chosen) == len(plan.chosen) == len(set(plan.chosen))
    assert len({one.group_id for one in chosen}) == len(chosen)
    needed: Counter[str] = Counter()
    for one in chosen:
        needed.update(one.needs)
    assert all(amount <= free[key] for key, amount in needed.items() if key in free)
    assert plan.profit == sum(one.profit for one in chosen)
    assert all(one.profit > 0 for one in chosen)


@pytest.mark.parametrize("seconds", [0, 10])
def test_no_level_dollar_or_token_is_planned_twice(seconds: int) -> None:
    rng = random.Random(6)
    methods: Counter[Method] = Counter()
    for _ in range(SETS):
        made, free = claims(rng, rng.randint(1, 30))
        plan = allocate(made, free, seconds=seconds)
        check(plan, made, free)
        methods[plan.method] += 1
    assert methods[Method.GREEDY if seconds == 0 else Method.EXACT] > SETS // 2, methods
    assert not methods[Method.EXACT if seconds == 0 else Method.GREEDY], methods


def best_of_all(made: list[Claim], free: dict[str, int]) -> int:
    """The greatest profit over every choice, however many opportunities it takes."""
    best = 0
    for size in range(1, len(made) + 1):
        for chosen in combinations(made, size):
            if len({one.group_id for one in chosen}) < size:
                continue
            needed: Counter[str] = Counter()
            for one in chosen:
                needed.update(one.needs)
            if all(amount <= free[key] for key, amount in needed.items() if key in free):
                best = max(best, sum(one.profit for one in chosen))
    return best


def test_on_small_sets_it_is_as_good_as_trying_every_choice() -> None:
    rng = random.Random(7)
    greedy = exact = most = 0
    for _ in range(SMALL_SETS):
        made, free = claims(rng, rng.randint(2, 8))
        best = best_of_all(made, free)
        plan = allocate(made, free, seconds=10)
        assert plan.profit * 100 >= best * 99
        assert plan.profit <= best
        exact += plan.profit
        greedy += allocate(made, free, seconds=0).profit
        most += best
    assert exact == most
    assert most * 80 // 100 <= greedy <= most
