"""The exchange's token budget, kept by ourselves so that a call that would be refused is not sent.

Reads and writes draw on buckets that refill continuously. Every call costs tokens, 10 unless listed; a batch costs its
items together and must fit the bucket whole. A single write on shard 1 or higher draws on that shard's own bucket, on
shard 0 on the unscoped one; one that the exchange routes itself is charged to every bucket; a batch always draws on the
unscoped bucket (Kalshi API documentation, rate limits and tiers).

The exchange counts per account, or per address without a key, and our processes do not know each other: each is given
a fixed share of both buckets. Writes keep a part of theirs back that only cancels and unwinds may spend, because giving
up a position must not wait for opening one. Nothing here reads a clock or sleeps: times are handed in, in milliseconds.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from types import MappingProxyType

SHARDS = 4
"""Kalshi's shards are 0 to 3; a call that is routed by the exchange is charged to each."""
UNSCOPED = 0
"""The bucket of shard 0, of every batch and of whatever names no shard."""
DEFAULT_COST = 10

_MILLI = 1_000
_FULL = 1_000  # permille
_LEAST = 250
_RECOVERY_MS = 30_000
_RECOVERED = 125  # permille for each interval without a refusal


@dataclass(frozen=True, slots=True)
class Bucket:
    """``rate`` tokens a second, at most ``capacity`` tokens."""

    rate: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The two kinds of bucket of an account."""

    read: Bucket
    write: Bucket


@unique
class Tier(Enum):
    """An account's usage tier. Capacity is three seconds of Basic and Advanced reads and of writes above Basic, one
    second of everything else."""

    BASIC = "basic"
    ADVANCED = "advanced"
    EXPERT = "expert"
    PREMIER = "premier"
    PARAGON = "paragon"
    PRIME = "prime"
    PRESTIGE = "prestige"

    @property
    def limits(self) -> Limits:
        """Its buckets."""
        return _LIMITS[self]


_LIMITS = {
    Tier.BASIC: Limits(Bucket(200, 600), Bucket(100, 100)),
    Tier.ADVANCED: Limits(Bucket(300, 900), Bucket(300, 900)),
    Tier.EXPERT: Limits(Bucket(600, 600), Bucket(600, 1_800)),
    Tier.PREMIER: Limits(Bucket(1_200, 1_200), Bucket(1_200, 3_600)),
    Tier.PARAGON: Limits(Bucket(2_400, 2_400), Bucket(2_400, 7_200)),
    Tier.PRIME: Limits(Bucket(4_800, 4_800), Bucket(4_800, 14_400)),
    Tier.PRESTIGE: Limits(Bucket(12_000, 12_000), Bucket(9_600, 28_800)),
}


@dataclass(frozen=True, slots=True)
class Share:
    """Percent of the account's buckets that one process may spend, and the percent of its writes that are kept back
    for cancels and unwinds."""

    read: int
    write: int
    kept_back: int = 0


WHOLE = Share(100, 100)
"""For a process that has the account, or the address, to itself."""


@unique
class Caller(Enum):
    """Who calls."""

    DISCOVERY = "discovery"
    SCAN = "scan"
    RISK = "risk"
    EXECUTION = "execution"
    ASSESSMENT = "assessment"
    SETTLEMENT = "settlement"

    @property
    def share(self) -> Share:
        """Its part; the parts of all add up to the whole."""
        return _SHARES[self]


_SHARES = {
    Caller.DISCOVERY: Share(20, 0),
    Caller.SCAN: Share(15, 0),
    Caller.RISK: Share(30, 0),
    # Only execution writes. What it reads, it reads on paper.
    Caller.EXECUTION: Share(10, 100, 20),
    Caller.ASSESSMENT: Share(15, 0),
    Caller.SETTLEMENT: Share(10, 0),
}


@unique
class Use(Enum):
    """What a write is for."""

    OPENING = "opening"
    REDUCING = "reducing"  # cancels and unwinds: may spend what is kept back


def cost_key(method: str, path: str) -> tuple[str, str]:
    """An endpoint's name, whatever its parameters are called and whether its root is named."""
    parts = path.partition("?")[0].removeprefix("/trade-api/v2").strip("/").split("/")
    return method.upper(), "/".join("{}" if part[:1] in ("{", ":", "<") else part for part in parts)


@dataclass(frozen=True, slots=True)
class Costs:
    """Tokens by endpoint, for each item of a batch."""

    default: int
    listed: Mapping[tuple[str, str], int]

    def of(self, method: str, path: str, items: int = 1) -> int:
        """What a call costs."""
        return self.listed.get(cost_key(method, path), self.default) * items


KNOWN_COSTS = Costs(
    DEFAULT_COST,
    MappingProxyType(
        {
            cost_key("DELETE", "portfolio/events/orders/{order_id}"): 2,
            cost_key("DELETE", "portfolio/events/orders/batched"): 2,
            cost_key("DELETE", "portfolio/events/orders"): 2,
        }
    ),
)
"""What the documentation lists; ``GET /account/endpoint_costs`` has the account's own."""


class TokenBucket:
    """One bucket; amounts inside are thousandths of a token, so that a millisecond's refill is a whole number.

    After :meth:`refused` it is empty and refills slower for a while: somebody else spends from it, too.
    """

    def __init__(self, bucket: Bucket, now_ms: int) -> None:
        self._rate = bucket.rate
        self._capacity = bucket.capacity * _MILLI
        self._level = self._capacity
        self._updated_ms = now_ms
        self._permille = _FULL
        self._learned_ms = now_ms

    def wait_ms(self, cost: int, now_ms: int, kept_back: int = 0) -> int | None:
        """How long until ``cost`` tokens can be spent with ``kept_back`` left; None when they never can."""
        self._refill(now_ms)
        needed = (cost + kept_back) * _MILLI
        if needed <= self._level:
            return 0
        rate = self._rate * self._permille // _FULL
        if needed > self._capacity or rate == 0:
            return None
        return -((self._level - needed) // rate)

    def spend(self, cost: int, now_ms: int) -> None:
        """Take tokens that :meth:`wait_ms` said are there."""
        self._refill(now_ms)
        self._level -= cost * _MILLI

    def refused(self, now_ms: int) -> None:
        """The exchange refused a call that this bucket covered."""
        self._refill(now_ms)
        self._level = min(self._level, 0)
        self._permille = max(_LEAST, self._permille * 3 // 4)
        self._learned_ms = now_ms

    def tokens(self, now_ms: int) -> int:
        """What is in it."""
        self._refill(now_ms)
        return self._level // _MILLI

    def _refill(self, now_ms: int) -> None:
        # A clock that was set back refills nothing, and the bucket goes on from there instead of waiting for it.
        passed = max(0, now_ms - self._updated_ms)
        self._learned_ms = min(self._learned_ms, now_ms)
        self._updated_ms = now_ms
        self._level = min(self._capacity, self._level + passed * (self._rate * self._permille // _FULL))
        quiet = (now_ms - self._learned_ms) // _RECOVERY_MS
        if quiet > 0 and self._permille < _FULL:
            self._permille = min(_FULL, self._permille + quiet * _RECOVERED)
            self._learned_ms += quiet * _RECOVERY_MS


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call draws: ``tokens`` from the read bucket, or from the write buckets of ``shards``."""

    tokens: int
    shards: tuple[int, ...] = ()
    use: Use = Use.OPENING

    @property
    def is_write(self) -> bool:
        """Whether it draws on write buckets."""
        return bool(self.shards)


def write_shards(shard: int | None, *, batch: bool = False) -> tuple[int, ...]:
    """The write buckets of a call on ``shard``; None or negative is left to the exchange to route."""
    if batch:
        return (UNSCOPED,)
    if shard is None or shard < 0:
        return tuple(range(SHARDS))
    return (shard,)


class Budget:
    """A process's share of an account's buckets. Safe in several threads."""

    def __init__(self, limits: Limits, share: Share, now_ms: int, costs: Costs = KNOWN_COSTS) -> None:
        self.costs = costs
        self._lock = threading.Lock()
        self._write = _part(limits.write, share.write)
        self._kept_back = self._write.capacity * share.kept_back // 100
        self._reads = TokenBucket(_part(limits.read, share.read), now_ms)
        self._writes = {shard: TokenBucket(self._write, now_ms) for shard in range(SHARDS)}

    @property
    def opening_tokens(self) -> int:
        """The most that one write which opens something can cost."""
        return self._write.capacity - self._kept_back

    def take(self, charge: Charge, now_ms: int) -> int | None:
        """Spend and return 0, or spend nothing and return how long to wait; None when it will never fit.

        A call that draws on several buckets takes from all or from none.
        """
        with self._lock:
            kept_back = self._kept_back if charge.is_write and charge.use is Use.OPENING else 0
            buckets = list(self._buckets(charge, now_ms))
            waits = [bucket.wait_ms(charge.tokens, now_ms, kept_back) for bucket in buckets]
            longest = 0
            for wait in waits:
                if wait is None:
                    return None
                longest = max(longest, wait)
            if longest == 0:
                for bucket in buckets:
                    bucket.spend(charge.tokens, now_ms)
            return longest

    def refused(self, charge: Charge, now_ms: int) -> None:
        """The exchange answered this call with 429."""
        with self._lock:
            for bucket in self._buckets(charge, now_ms):
                bucket.refused(now_ms)

    def _buckets(self, charge: Charge, now_ms: int) -> Iterable[TokenBucket]:
        if not charge.is_write:
            return (self._reads,)
        for shard in charge.shards:
            # A shard that is younger than this list.
            self._writes.setdefault(shard, TokenBucket(self._write, now_ms))
        return [self._writes[shard] for shard in charge.shards]


def _part(bucket: Bucket, percent: int) -> Bucket:
    return Bucket(bucket.rate * percent // 100, bucket.capacity * percent // 100)
