"""Whatever is asked for and whenever, no more is spent than the exchange's own buckets would cover."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.kalshi.rate_limit import Bucket, Budget, Charge, Limits, Share, Use, write_shards

LIMITS = Limits(Bucket(200, 600), Bucket(100, 300))
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3_000),  # milliseconds since the step before
        st.integers(1, 400),  # tokens
        st.sampled_from(["read", "write", "reduce", "refused"]),
        st.sampled_from([None, -1, 0, 1, 2, 3]),
        st.booleans(),  # batch
    ),
    max_size=60,
)


class Reference:
    """The exchange's bucket in exact fractions of a token and of a second."""

    def __init__(self, bucket: Bucket, percent: int) -> None:
        self.rate = Fraction(bucket.rate * percent, 100)
        self.capacity = Fraction(bucket.capacity * percent, 100)
        self.level, self.at_ms = self.capacity, 0

    def spend(self, tokens: int, now_ms: int) -> bool:
        self.level = min(self.capacity, self.level + self.rate * Fraction(now_ms - self.at_ms, 1000))
        self.at_ms = now_ms
        self.level -= tokens
        return self.level >= 0


@given(STEPS, st.integers(1, 100), st.integers(0, 100), st.integers(0, 90))
def test_never_more_is_spent_than_the_rule_allows(
    steps: list[tuple[int, int, str, int | None, bool]], read: int, write: int, kept_back: int
) -> None:
    own = Budget(LIMITS, Share(read, write, kept_back), 0)
    reads = Reference(LIMITS.read, read)
    writes = {shard: Reference(LIMITS.write, write) for shard in range(4)}
    now = 0
    for passed, tokens, what, shard, batch in steps:
        now += passed
        if what == "read":
            charge = Charge(tokens)
        else:
            charge = Charge(tokens, write_shards(shard, batch=batch), Use.REDUCING if what == "reduce" else Use.OPENING)
        if what == "refused":
            own.refused(charge, now)
            continue
        if own.take(charge, now) == 0:
            paying = [writes[each] for each in charge.shards] or [reads]
            assert all(bucket.spend(tokens, now) for bucket in paying)


@given(STEPS, st.integers(1, 100))
def test_what_it_says_to_wait_is_enough_and_not_too_long(
    steps: list[tuple[int, int, str, int | None, bool]], percent: int
) -> None:
    own = Budget(LIMITS, Share(percent, percent), 0)
    now = 0
    for passed, tokens, what, shard, batch in steps:
        now += passed
        charge = Charge(tokens) if what == "read" else Charge(tokens, write_shards(shard, batch=batch))
        wait = own.take(charge, now)
        if wait:
            assert own.take(charge, now + wait - 1) == 1
            now += wait
            assert own.take(charge, now) == 0


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 60)), max_size=200), st.integers(1, 5_000))
def test_any_window_holds_at_most_a_burst_and_its_refill(calls: list[tuple[int, int]], window_ms: int) -> None:
    own, now, spent = Budget(LIMITS, Share(100, 100), 0), 0, []
    for passed, tokens in calls:
        now += passed
        if own.take(Charge(tokens), now) == 0:
            spent.append((now, tokens))
    for start, _ in spent:
        inside = sum(tokens for at_ms, tokens in spent if start <= at_ms < start + window_ms)
        assert inside * 1000 <= LIMITS.read.capacity * 1000 + LIMITS.read.rate * window_ms
