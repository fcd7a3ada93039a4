"""Our own share of the rate limit: what a call costs, which buckets pay, what is kept back, what a refusal teaches."""

import pytest

from kalshi_arb.execution.plan import BATCH_ORDERS
from kalshi_arb.kalshi.rate_limit import (
    DEFAULT_COST,
    KNOWN_COSTS,
    SHARDS,
    WHOLE,
    Budget,
    Caller,
    Charge,
    Costs,
    Limits,
    Share,
    Tier,
    Use,
    cost_key,
    write_shards,
)
from kalshi_arb.kalshi.rate_limit import Bucket as Size

LIMITS = Limits(read=Size(200, 600), write=Size(100, 100))


def budget(share: Share = WHOLE, limits: Limits = LIMITS) -> Budget:
    return Budget(limits, share, 0)


def read(tokens: int) -> Charge:
    return Charge(tokens)


def order(tokens: int, shard: int | None = 0, use: Use = Use.OPENING) -> Charge:
    return Charge(tokens, write_shards(shard), use)


@pytest.mark.parametrize(
    ("tier", "reads", "writes"),
    [
        (Tier.BASIC, (200, 600), (100, 100)),
        (Tier.ADVANCED, (300, 900), (300, 900)),
        (Tier.EXPERT, (600, 600), (600, 1_800)),
        (Tier.PRESTIGE, (12_000, 12_000), (9_600, 28_800)),
    ],
)
def test_tiers(tier: Tier, reads: tuple[int, int], writes: tuple[int, int]) -> None:
    assert (tier.limits.read, tier.limits.write) == (Size(*reads), Size(*writes))


def test_what_calls_cost() -> None:
    assert KNOWN_COSTS.of("POST", "portfolio/events/orders") == DEFAULT_COST
    assert KNOWN_COSTS.of("POST", "portfolio/events/orders/batched", 8) == 80
    assert KNOWN_COSTS.of("DELETE", "portfolio/events/orders/{order_id}") == 2
    assert KNOWN_COSTS.of("DELETE", "portfolio/events/orders/batched", 5) == 10
    assert KNOWN_COSTS.of("DELETE", "portfolio/events/orders") == 2
    assert KNOWN_COSTS.of("GET", "markets") == DEFAULT_COST


def test_an_endpoint_is_the_same_whatever_its_parameters_are_called() -> None:
    listed = Costs(10, {cost_key("get", "/trade-api/v2/communications/quotes/{quote_id}"): 2})
    assert listed.of("GET", "communications/quotes/{id}") == listed.of("GET", "/communications/quotes/:x") == 2


def test_a_bucket_lets_its_burst_pass_and_then_its_rate() -> None:
    own = budget()
    assert [own.take(read(200), 0) for _ in range(3)] == [0, 0, 0]
    assert own.take(read(10), 0) == 50
    assert own.take(read(10), 49) == 1
    assert own.take(read(10), 50) == 0


def test_waiting_spends_nothing() -> None:
    own = budget()
    own.take(order(100), 0)
    assert [own.take(order(100), 0) for _ in range(5)] == [1_000] * 5
    assert own.take(order(100), 1_000) == 0


def test_what_is_larger_than_the_bucket_never_fits() -> None:
    assert budget().take(read(601), 0) is None
    assert budget(Share(0, 100)).take(read(10), 0) is None


def test_reads_and_writes_do_not_touch_each_other() -> None:
    own = budget()
    own.take(read(600), 0)
    assert own.take(order(100), 0) == 0


def test_shards_have_buckets_of_their_own_and_a_batch_draws_on_the_unscoped_one() -> None:
    own = budget()
    for shard in range(SHARDS):
        assert own.take(order(100, shard), 0) == 0
    own = budget()
    assert write_shards(3, batch=True) == (0,)
    assert own.take(Charge(100, write_shards(3, batch=True)), 0) == 0
    assert own.take(order(10, 0), 0) == 100
    assert own.take(order(10, 3), 0) == 0


def test_a_call_that_the_exchange_routes_takes_from_every_bucket_or_from_none() -> None:
    own = budget()
    own.take(order(95, 2), 0)
    assert write_shards(None) == write_shards(-1) == tuple(range(SHARDS))
    assert own.take(order(10, None), 0) == 50
    assert own.take(order(100, 1), 0) == 0, "the refused call took nothing from the other shards"


def test_a_shard_nobody_listed_has_a_bucket_too() -> None:
    own = budget()
    assert own.take(order(100, 9), 0) == 0
    assert own.take(order(100, 9), 0) == 1_000


def test_only_cancels_and_unwinds_spend_what_is_kept_back() -> None:
    own = budget(Share(0, 100, 20))
    assert own.opening_tokens == 80
    assert own.take(order(90), 0) is None
    assert own.take(order(80), 0) == 0
    assert own.take(order(10), 0) == 100
    assert own.take(order(20, use=Use.REDUCING), 0) == 0
    assert own.take(order(2, use=Use.REDUCING), 0) == 20


def test_a_refusal_empties_the_bucket_and_slows_it_for_a_while() -> None:
    own = budget()
    own.refused(order(10), 0)
    assert own.take(order(60), 0) == 800, "three quarters of the rate"
    assert own.take(order(60), 800) == 0
    for _ in range(20):
        own.refused(order(10), 800)
    assert own.take(order(50), 800) == 2_000, "never below a quarter"
    assert own.take(order(100), 1_000_000) == 0
    assert own.take(order(100), 1_000_000) == 1_000, "the whole rate again"


def test_a_clock_that_was_set_back_refills_nothing_and_stalls_nothing() -> None:
    own = budget()
    own.take(order(100), 3_600_000)
    own.refused(order(10), 3_600_000)
    assert own.take(order(3), 0) == 40
    assert own.take(order(3), 40) == 0
    assert own.take(order(100), 30_000) == 0, "the whole rate again"


def test_the_shares_add_up_to_no_more_than_the_whole() -> None:
    assert sum(caller.share.read for caller in Caller) <= 100
    assert sum(caller.share.write for caller in Caller) <= 100
    assert [caller for caller in Caller if caller.share.kept_back] == [Caller.EXECUTION]


def test_a_planned_batch_fits_what_execution_may_spend_in_the_lowest_tier() -> None:
    own = budget(Caller.EXECUTION.share, Tier.BASIC.limits)
    tokens = KNOWN_COSTS.of("POST", "portfolio/events/orders/batched", BATCH_ORDERS)
    assert tokens <= own.opening_tokens
    assert own.take(Charge(tokens, write_shards(None, batch=True)), 0) == 0
