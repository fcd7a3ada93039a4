"""What goes wrong in a run, drawn from its seed or aimed at one point.

Every external call, every edge of a state and every invocation of a function is an occasion. Occasions come in an
order that the seed alone decides, so a fate that was drawn or aimed once is met again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from random import Random

from infra.chaos.machine import Edge
from infra.chaos.worlds import World
from infra.exchange.faults import (
    ORDERS,
    BookThinned,
    CallScope,
    CashMissing,
    ClockSkewed,
    Disorder,
    Fault,
    FillsDisordered,
    HttpError,
    MarketClosed,
    MarketPaused,
    ReadsLagging,
    ReplyLost,
)
from infra.exchange.lag import ReadSide


class Killed(BaseException):
    """The process of an invocation died."""


class ExecutionDied(BaseException):
    """An execution ended without a word."""


@unique
class Blow(StrEnum):
    """What can happen at an occasion."""

    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    KILL_UNDER_WAY = "kill while the request is under way"
    ERROR_BEFORE = "error before"
    ERROR_AFTER = "error after"
    STALL_BEFORE = "stall before"
    STALL_AFTER = "stall after"
    THROTTLED = "throttled"
    SERVICE_ERROR = "service error"
    ANSWER_LOST = "answer lost"
    GOES_ON = "answer lost, the function goes on"
    REPEATED = "answer lost, a proxy repeats the request"


KILLS = {Edge.BEFORE: Blow.KILL_BEFORE, Edge.AFTER: Blow.KILL_AFTER}


@dataclass(frozen=True, slots=True)
class Aim:
    """One blow at the ``occasion``-th occasion of a run, counted from 0."""

    occasion: int
    blow: Blow


@dataclass(frozen=True, slots=True)
class Odds:
    """Chances in thousandths for each occasion, how many blows a run bears, and how slow invocations may be."""

    kill: int = 0
    store_error: int = 0
    stall: int = 0
    lambda_fault: int = 0
    state_kill: int = 0
    most: int = 0
    paces: tuple[int, ...] = (1,)


CALM = Odds()


@dataclass(frozen=True, slots=True)
class Occasion:
    """Where something can happen: the function (or state machine) it happens in, and the call (or state)."""

    function: str
    call: str

    def __str__(self) -> str:
        return f"{self.function}: {self.call}"


@unique
class Kind(StrEnum):
    """What an occasion is."""

    STORE = "store"
    EXCHANGE = "exchange"
    ORDER = "order"
    STATE = "state"
    INVOCATION = "invocation"


class Fates:
    """Decides at each occasion, and keeps what was met and what struck.

    :param aims: strike once each, whatever the odds
    """

    def __init__(self, seed: str, odds: Odds, aims: Sequence[Aim] = ()) -> None:
        self._chance = Random(f"fates-{seed}")  # noqa: S311 - seeded
        self._latency = Random(f"latency-{seed}")  # noqa: S311 - seeded
        self._odds = odds
        self._aims = {aim.occasion: aim.blow for aim in aims}
        self._left = odds.most
        self._is_over = False
        self.met: list[tuple[Occasion, Kind]] = []
        self.struck: Counter[tuple[Occasion, Blow]] = Counter()

    def calm_down(self) -> None:
        """Nothing goes wrong from now on."""
        self._is_over = True

    @property
    def is_over(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self._is_over

    def pace(self) -> int:
        """How many times slower than usual an invocation is."""
        return 1 if self._is_over else self._latency.choice(self._odds.paces)

    def latency_ms(self, pace: int = 1) -> int:
        """How long one way to a store or to the exchange takes."""
        return self._latency.choice((0, 1, 2, 4, 9, 25)) * pace

    def part(self, of: int) -> int:
        """How much of something is done when it fails half-way."""
        return self._latency.randint(0, of)

    def stall_ms(self) -> int:
        """How long a call hangs that hangs."""
        return self._latency.choice((700, 1_600, 4_000, 9_000, 25_000, 70_000))

    def at(self, function: str, call: str, kind: Kind) -> Blow | None:
        """What happens here."""
        if self._is_over:
            return None
        occasion = Occasion(function, call)
        blow = self._aims.get(len(self.met)) or self._drawn(kind)
        self.met.append((occasion, kind))
        if blow is not None:
            self.struck[occasion, blow] += 1
        return blow

    def _drawn(self, kind: Kind) -> Blow | None:
        if self._left <= 0:
            return None
        number = self._chance.randrange(1_000)
        for chance, blows in self._table(kind):
            if number < chance:
                self._left -= 1
                return self._chance.choice(blows)
            number -= chance
        return None

    def _table(self, kind: Kind) -> tuple[tuple[int, tuple[Blow, ...]], ...]:
        odds = self._odds
        kills = (Blow.KILL_BEFORE, Blow.KILL_AFTER)
        stalls = (Blow.STALL_BEFORE, Blow.STALL_AFTER)
        match kind:
            case Kind.STORE:
                errors = (Blow.ERROR_BEFORE, Blow.ERROR_AFTER)
                return (odds.kill, kills), (odds.store_error, errors), (odds.stall, stalls)
            case Kind.EXCHANGE:
                return (odds.kill, kills), (odds.stall, stalls)
            case Kind.ORDER:
                return (odds.kill * 3, (*kills, Blow.KILL_UNDER_WAY)), (odds.stall * 3, (*stalls, Blow.REPEATED))
            case Kind.STATE:
                return ((odds.state_kill, kills),)
            case Kind.INVOCATION:
                faults = (Blow.THROTTLED, Blow.SERVICE_ERROR, Blow.ANSWER_LOST, Blow.GOES_ON)
                return ((odds.lambda_fault, faults),)


def exchange_faults(world: World, chance: Random, most: int) -> list[Fault]:
    """Up to ``most`` things that the exchange does to us in a run."""
    return [_fault(world, chance) for _ in range(chance.randint(0, most))]


def _fault(world: World, chance: Random) -> Fault:
    site = chance.choice(world.sites)
    leg = chance.randrange(len(site.outcomes))
    market, outcome = site.group.markets[leg], site.outcomes[leg]
    skip = chance.choice((0, 0, 1, 1, 2, 3))
    reads = CallScope(methods=("GET",))
    others = [shard for shard in (0, 1, 2) if shard != market.shard]
    lag = chance.choice((300, 1_500, 4_000, 12_000))
    leave = f"{chance.randint(0, 6)}.00"
    side = chance.choice((outcome, outcome, outcome.other, None))
    options: tuple[Fault, ...] = (
        BookThinned(markets=(market.ticker,), outcome=outcome, leave=leave, before=ORDERS, skip=1 + skip),
        BookThinned(markets=(market.ticker,), outcome=outcome, leave=leave, before=ORDERS, skip=skip),
        BookThinned(markets=(market.ticker,), outcome=side, leave=leave, before=ORDERS, skip=skip, count=2),
        BookThinned(markets=(market.ticker,), outcome=outcome, before=ORDERS, skip=1),
        MarketPaused(
            markets=(market.ticker,), before=ORDERS, skip=skip, resume_after_ms=chance.choice((None, 900, 30_000))
        ),
        MarketClosed(markets=(market.ticker,), before=ORDERS, skip=skip),
        MarketClosed(markets=site.group.tickers, before=ORDERS, skip=1),
        CashMissing(shard=market.shard, to=others[0], leave=f"{chance.randint(0, 5)}.00", before=ORDERS, skip=skip),
        ReplyLost(scope=ORDERS, skip=skip, executed=chance.random() < 0.6),
        HttpError(scope=ORDERS, skip=skip, status=chance.choice((500, 502, 503, 504, 408)), executed=True),
        HttpError(scope=ORDERS, skip=skip, status=chance.choice((500, 503, 429)), count=chance.randint(1, 3)),
        HttpError(scope=reads, status=chance.choice((429, 500, 503)), chance=0.3, for_ms=20_000),
        HttpError(scope=reads, status=503, skip=chance.randint(4, 30), for_ms=90_000),
        HttpError(scope=reads, status=429, skip=chance.randint(0, 30), count=chance.randint(1, 8)),
        ReplyLost(scope=reads, chance=0.1, count=5),
        ReadsLagging(ms=lag, for_ms=200_000),
        ReadsLagging(ms=lag, reads=(ReadSide.BALANCE,), for_ms=200_000),
        FillsDisordered(how=Disorder.LATE, ms=lag, for_ms=200_000),
        FillsDisordered(how=Disorder.DUPLICATE, for_ms=200_000),
        FillsDisordered(how=Disorder.OUT_OF_ORDER, for_ms=200_000),
        ClockSkewed(ms=chance.choice((-90_000, 90_000)), skip=chance.randint(0, 30), count=chance.randint(1, 6)),
    )
    return chance.choice(options)
