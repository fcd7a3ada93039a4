"""Rate limits: the tiers' table, buckets that fill with time, and what a refused call leaves untouched."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.exchange.testkit import START_MS
from infra.exchange.tokens import DEFAULT_COST, UNSCOPED, Budget, Budgets, Tier, tier_named
from kalshi_arb.kalshi import rate_limit


@pytest.mark.parametrize(
    ("word", "reads", "read_size", "writes", "write_size"),
    [
        ("basic", 200, 600, 100, 100),
        ("advanced", 300, 900, 300, 900),
        ("expert", 600, 600, 600, 1_800),
        ("premier", 1_200, 1_200, 1_200, 3_600),
        ("paragon", 2_400, 2_400, 2_400, 7_200),
        ("prime", 4_800, 4_800, 4_800, 14_400),
        ("prestige", 12_000, 12_000, 9_600, 28_800),
    ],
)
def test_every_tier_has_its_rates_and_bursts(
    word: str, reads: int, read_size: int, writes: int, write_size: int
) -> None:
    tier = tier_named(word)
    assert (tier.read.refill_rate, tier.read.bucket_capacity) == (reads, read_size)
    assert (tier.write.refill_rate, tier.write.bucket_capacity) == (writes, write_size)


def test_the_client_budgets_by_the_very_limits_that_the_exchange_sets() -> None:
    assert {tier.value for tier in rate_limit.Tier} == {tier.word for tier in Tier}
    for tier in rate_limit.Tier:
        theirs = tier_named(tier.value)
        for ours, limit in ((tier.limits.read, theirs.read), (tier.limits.write, theirs.write)):
            assert (ours.rate, ours.capacity) == (limit.refill_rate, limit.bucket_capacity)


def test_an_unknown_tier_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown tier gold; choose one of basic, advanced"):
        tier_named("gold")


def test_the_lowest_tier_reads_sixty_times_at_once_and_then_twenty_times_a_second() -> None:
    budget = Budget(Tier.BASIC, START_MS)
    assert [budget.spend_read(DEFAULT_COST, START_MS) for _ in range(61)] == [True] * 60 + [False]
    assert not budget.spend_read(DEFAULT_COST, START_MS + 49)
    assert budget.spend_read(DEFAULT_COST, START_MS + 50)
    assert [budget.spend_read(DEFAULT_COST, START_MS + 1_050) for _ in range(21)] == [True] * 20 + [False]


def test_reads_and_writes_and_the_shards_writes_are_paid_apart() -> None:
    budget = Budget(Tier.BASIC, START_MS)
    assert budget.spend_write(100, (2,), START_MS)
    assert not budget.spend_write(2, (2,), START_MS)
    assert budget.spend_write(100, (3,), START_MS)
    assert budget.spend_write(100, (UNSCOPED,), START_MS)
    assert budget.spend_read(600, START_MS)


def test_a_call_that_one_shard_cannot_pay_takes_nothing_from_the_others() -> None:
    budget = Budget(Tier.BASIC, START_MS)
    assert budget.spend_write(95, (2,), START_MS)
    assert not budget.spend_write(10, (0, 2, 3), START_MS)
    assert budget.spend_write(100, (0,), START_MS)
    assert budget.spend_write(100, (3,), START_MS)
    assert budget.spend_write(5, (2,), START_MS)


def test_a_batch_larger_than_the_bucket_is_never_paid_however_long_one_waits() -> None:
    budget = Budget(Tier.BASIC, START_MS)
    assert not budget.spend_write(11 * DEFAULT_COST, (UNSCOPED,), START_MS + 3_600_000)
    assert budget.spend_write(10 * DEFAULT_COST, (UNSCOPED,), START_MS + 3_600_000)


def test_everyone_has_a_budget_and_who_shows_no_key_that_of_the_lowest_tier_by_address() -> None:
    budgets = Budgets(Tier.PREMIER)
    assert budgets.of_member("ann", START_MS).spend_read(1_200, START_MS)
    assert not budgets.of_member("ann", START_MS).spend_read(1, START_MS)
    assert budgets.of_member("bob", START_MS).spend_read(1_200, START_MS)
    assert not budgets.of_address("127.0.0.1", START_MS).spend_read(601, START_MS)
    assert budgets.of_address("127.0.0.1", START_MS).spend_read(600, START_MS)
    assert budgets.of_address("::1", START_MS).spend_read(600, START_MS)


def test_an_upgrade_brings_full_buckets_and_is_had_once() -> None:
    budgets = Budgets(Tier.BASIC)
    assert budgets.of_member("ann", START_MS).spend_read(600, START_MS)
    assert budgets.upgrade("ann", Tier.ADVANCED, START_MS)
    assert budgets.of_member("ann", START_MS).spend_read(900, START_MS)
    assert not budgets.upgrade("ann", Tier.ADVANCED, START_MS)
    assert not Budgets(Tier.PRIME).upgrade("ann", Tier.ADVANCED, START_MS)


calls = st.lists(st.tuples(st.integers(-50, 2_000), st.integers(1, 150)), max_size=60)


@given(calls)
def test_a_bucket_never_gives_more_than_its_burst_and_what_flowed_in_since(sequence: list[tuple[int, int]]) -> None:
    budget, limit = Budget(Tier.BASIC, START_MS), Tier.BASIC.write
    now_ms = latest_ms = START_MS
    level = Fraction(limit.bucket_capacity)
    for passed, cost in sequence:
        now_ms += passed
        if now_ms > latest_ms:
            flowed = Fraction(limit.refill_rate * (now_ms - latest_ms), 1_000)
            level, latest_ms = min(Fraction(limit.bucket_capacity), level + flowed), now_ms
        assert budget.spend_write(cost, (UNSCOPED,), now_ms) == (cost <= level)
        if cost <= level:
            level -= cost
