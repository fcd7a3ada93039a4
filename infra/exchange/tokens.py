"""Rate limits: continuous token buckets per member, for reads and for writes (Kalshi API documentation, rate limits).

Pure: time is handed in. Levels are kept in thousandths of a token, so that a bucket fills exactly by its rate for
every millisecond. There is no penalty for asking too much: the next call passes as soon as the bucket covers it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, unique

DEFAULT_COST = 10
"""Tokens of a call that is in no table."""

UNSCOPED = 0
"""The write bucket of shard 0, of batches and of everything that names no shard."""

_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Limit:
    """A bucket's size and how fast it fills: tokens, and tokens a second."""

    refill_rate: int
    bucket_capacity: int


@unique
class Tier(Enum):
    """Usage tiers, with their read and write tokens a second."""

    BASIC = ("basic", 200, 100)
    ADVANCED = ("advanced", 300, 300)
    EXPERT = ("expert", 600, 600)
    PREMIER = ("premier", 1_200, 1_200)
    PARAGON = ("paragon", 2_400, 2_400)
    PRIME = ("prime", 4_800, 4_800)
    PRESTIGE = ("prestige", 12_000, 9_600)

    def __init__(self, word: str, reads: int, writes: int) -> None:
        self.word = word
        self._reads = reads
        self._writes = writes

    @property
    def read(self) -> Limit:
        """Reads: three seconds of budget in the two lowest tiers, one second above them."""
        return Limit(self._reads, self._reads * (3 if self in (Tier.BASIC, Tier.ADVANCED) else 1))

    @property
    def write(self) -> Limit:
        """Writes: one second of budget in the lowest tier, three seconds above it."""
        return Limit(self._writes, self._writes * (1 if self is Tier.BASIC else 3))


def tier_named(word: str) -> Tier:
    """The tier of that name. :raises ValueError: there is none."""
    for tier in Tier:
        if tier.word == word:
            return tier
    raise ValueError(f"unknown tier {word}; choose one of {', '.join(tier.word for tier in Tier)}")


class Bucket:
    """One bucket, full at ``now_ms``."""

    def __init__(self, limit: Limit, now_ms: int) -> None:
        self._limit = limit
        self._level = limit.bucket_capacity * _MILLI
        self._filled_ms = now_ms

    def covers(self, cost: int, now_ms: int) -> bool:
        """Whether ``cost`` tokens are there. Time that runs backwards fills nothing."""
        passed = max(0, now_ms - self._filled_ms)
        self._level = min(self._limit.bucket_capacity * _MILLI, self._level + self._limit.refill_rate * passed)
        self._filled_ms = max(self._filled_ms, now_ms)
        return self._level >= cost * _MILLI

    def take(self, cost: int) -> None:
        """Take tokens that are there."""
        self._level -= cost * _MILLI


class Budget:
    """What one member may still ask: one bucket for reads, and for writes one per shard, each of the full size."""

    def __init__(self, tier: Tier, now_ms: int) -> None:
        self.tier = tier
        self._began_ms = now_ms
        self._read = Bucket(tier.read, now_ms)
        self._write: dict[int, Bucket] = {}

    def spend_read(self, cost: int, now_ms: int) -> bool:
        """Pay for a read; false when the bucket does not cover it, and then nothing is taken."""
        return _spend((self._read,), cost, now_ms)

    def spend_write(self, cost: int, shards: Iterable[int], now_ms: int) -> bool:
        """Pay for a write from the bucket of every shard given, or from none of them."""
        return _spend([self._write_bucket(shard) for shard in shards], cost, now_ms)

    def _write_bucket(self, shard: int) -> Bucket:
        bucket = self._write.get(shard)
        if bucket is None:
            bucket = self._write[shard] = Bucket(self.tier.write, self._began_ms)
        return bucket


def _spend(buckets: Sequence[Bucket], cost: int, now_ms: int) -> bool:
    if not all(bucket.covers(cost, now_ms) for bucket in buckets):
        return False
    for bucket in buckets:
        bucket.take(cost)
    return True


class Budgets:
    """The budgets of all members, and of everyone who asks without a key: by address, as the lowest tier's.

    ``refused`` counts the calls that could not pay.

    :param tier: every member's tier at first
    """

    def __init__(self, tier: Tier) -> None:
        self.refused = 0
        self._tier = tier
        self._members: dict[str, Budget] = {}
        self._anonymous: dict[str, Budget] = {}

    def of_member(self, account_id: str, now_ms: int) -> Budget:
        """A member's budget."""
        budget = self._members.get(account_id)
        if budget is None:
            budget = self._members[account_id] = Budget(self._tier, now_ms)
        return budget

    def of_address(self, address: str, now_ms: int) -> Budget:
        """The budget of an address that shows no key."""
        budget = self._anonymous.get(address)
        if budget is None:
            budget = self._anonymous[address] = Budget(Tier.BASIC, now_ms)
        return budget

    def upgrade(self, account_id: str, tier: Tier, now_ms: int) -> bool:
        """Raise a member to ``tier``, with full buckets; false when it is there or above already."""
        reached = self.of_member(account_id, now_ms).tier
        if reached.read.refill_rate >= tier.read.refill_rate:
            return False
        self._members[account_id] = Budget(tier, now_ms)
        return True
