"""Schedules by name: a few undisturbed ones to aim at, and as many drawn from a seed as anybody wants.

A name is all it takes to run one again: ``unwind`` is a base, ``unwind@40:kill after`` the same with one blow at its
40th occasion, ``17`` the random one of seed 17 and ``crowd-17`` twenty baskets at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from random import Random

from infra.chaos.halts import Halt, Means
from infra.chaos.plan import CALM, Aim, Blow, Kind, Occasion, Odds
from infra.chaos.releases import Bidding
from infra.chaos.run import Delivery, Run, Schedule, random_faults
from infra.chaos.worlds import Shape, World, WorldPlan
from infra.exchange.faults import ORDERS, BookThinned, CallScope, Fault, MarketClosed
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.fees import Precision

CROWD = "crowd-"
BASKETS_AT_ONCE = 20
_NETTED = 0.4
"""In this share of the runs the account gets collateral back."""
_REPETITIONS = 3
"""What a run does again and again is aimed at so often."""
_BOOKS = CallScope(methods=("GET",), paths=("/markets/orderbooks",))
LIMITS: Mapping[str, object] = {
    "max_outlay_per_basket": "200.00",
    "max_exposure_per_market": "300.00",
    "max_exposure_per_event": "600.00",
    "max_share_per_market": "0.6",
    "max_share_per_event": "0.9",
    "max_share_per_series": "0.9",
    "max_share_per_underlying": "0.9",
    "max_open_outlay": "900.00",
    "max_open_baskets": 30,
    "max_loss_per_basket": "200.00",
    "min_profit": "0.01",
}
UNBROKEN: Mapping[str, object] = {
    "breaker_max_rejects": 1_000,
    "breaker_max_unknowns": 1_000,
    "breaker_max_loss": "10000.00",
    "max_daily_loss": "10000.00",
}
"""With these the breaker lets everything through: without it, and with it, a run sees other things."""
_BLOWS: Mapping[Kind, tuple[Blow, ...]] = {
    Kind.STORE: (Blow.KILL_BEFORE, Blow.KILL_AFTER, Blow.ERROR_BEFORE, Blow.ERROR_AFTER),
    Kind.EXCHANGE: (Blow.KILL_BEFORE, Blow.KILL_AFTER),
    Kind.ORDER: (Blow.KILL_BEFORE, Blow.KILL_AFTER, Blow.KILL_UNDER_WAY, Blow.REPEATED),
    Kind.STATE: (Blow.KILL_BEFORE, Blow.KILL_AFTER),
    Kind.INVOCATION: (Blow.THROTTLED, Blow.SERVICE_ERROR, Blow.ANSWER_LOST, Blow.GOES_ON),
}


def _none(_: World, __: Random) -> list[Fault]:
    return []


def _fades(world: World, _: Random) -> list[Fault]:
    """Every book but the first leg's is gone when the second wave comes."""
    tickers = world.sites[0].group.tickers
    outcome = world.sites[0].outcomes[0]
    return [BookThinned(markets=tickers, outcome=outcome, before=ORDERS, skip=1)]


def _partly(world: World, _: Random) -> list[Fault]:
    """Some of what the second wave wants is left."""
    site = world.sites[0]
    return [BookThinned(markets=site.group.tickers, outcome=site.outcomes[0], leave="3.00", before=ORDERS, skip=1)]


def _closes(world: World, _: Random) -> list[Fault]:
    """Every market closes between the waves."""
    return [MarketClosed(markets=world.sites[0].group.tickers, before=ORDERS, skip=1)]


def _gone(world: World, _: Random) -> list[Fault]:
    """The bundle is gone when it is to be proved again."""
    return [BookThinned(markets=world.sites[0].group.tickers, before=_BOOKS)]


def _base(name: str, seed: int, faults: Callable[[World, Random], list[Fault]], *aims: Aim) -> Schedule:
    plan = WorldPlan(seed, (Shape.PARTITION,), cash=900)
    return Schedule(name, plan, (Delivery(0, 0, (5,)),), CALM, faults, dict(LIMITS), aims=aims)


@cache
def bases() -> Mapping[str, Schedule]:
    """Runs in which nothing goes wrong but what their names say."""
    plain = (
        _base("lock", 4, _none),
        _base("unwind", 4, _fades),
        _base("part", 4, _partly),
        _base("held", 4, _closes),
        _base("refused", 4, _gone),
        replace(
            _base("released", 4, _none), biddings=(Bidding(140_000, (150_000,), 4, (60, 60)),),
            limits={**LIMITS, "auto_release": True},
        ),
    )  # fmt: skip
    died = _first(plain[1], Kind.STATE, "ExecuteWave after")
    return {base.name: base for base in (*plain, _base("resumed", 4, _fades, Aim(died, Blow.KILL_AFTER)))}


def _first(base: Schedule, kind: Kind, call: str) -> int:
    met = Run(base).result().met
    return next(number for number, (occasion, own) in enumerate(met) if own is kind and occasion.call == call)


def aimed(base: Schedule, blows: Iterable[Blow] = tuple(Blow)) -> Iterator[Schedule]:
    """The base with each blow at each of its occasions, one at a time."""
    wanted = frozenset(blows)
    seen: Counter[Occasion] = Counter()
    for number, (occasion, kind) in enumerate(Run(base).result().met):
        seen[occasion] += 1
        if seen[occasion] > _REPETITIONS:
            continue
        for blow in (one for one in _BLOWS[kind] if one in wanted):
            yield at(base, number, blow)


def at(base: Schedule, occasion: int, blow: Blow) -> Schedule:
    """A schedule with one blow more."""
    return replace(base, name=f"{base.name}@{occasion}:{blow.value}", aims=(*base.aims, Aim(occasion, blow)))


def drawn(seed: int) -> Schedule:
    """A schedule as chance has it."""
    chance = Random(f"schedule-{seed}")  # noqa: S311 - seeded
    size = chance.choice((1, 1, 1, 2, 3))
    shapes = tuple(chance.choices(tuple(Shape), weights=(5, 3, 4, 4, 1), k=size))
    plan = WorldPlan(
        seed, shapes, cash=chance.choice((8, 60, 400)), precision=chance.choice((Precision.DIRECT, Precision.CENT)),
        depth=chance.choice(((8, 30), (2, 12), (20, 60))),
        netting=Random(f"netting-{seed}").random() < _NETTED,  # noqa: S311 - seeded
    )  # fmt: skip
    kill = chance.choice((0, 8, 25, 70))
    odds = Odds(
        kill=kill, store_error=chance.choice((0, 0, 10, 30)), stall=chance.choice((0, 0, 5, 15)),
        lambda_fault=chance.choice((0, 20, 80, 250)), state_kill=kill, most=chance.choice((1, 3, 8, 25, 80)),
        paces=chance.choice(((1,), (1, 1, 1, 20), (1, 20, 100, 400))),
    )  # fmt: skip
    deliveries = tuple(_deliveries(chance, range(size)))
    ahead_ms = chance.choice((0, 0, 0, -1_500, 1_500, 2_500))
    limits = {**LIMITS, **(UNBROKEN if chance.random() < 0.7 else {}), "auto_release": True}
    return Schedule(
        str(seed), plan, deliveries, odds, random_faults(chance.choice((1, 2, 4))), limits, ahead_ms,
        basic=chance.random() < 0.3, stops=tuple(_stops(chance)), biddings=tuple(_biddings(seed)),
    )  # fmt: skip


def crowd(seed: int) -> Schedule:
    """Twenty baskets at once on the markets of one ladder, with less cash and room than they want."""
    chance = Random(f"crowd-{seed}")  # noqa: S311 - seeded
    plan = WorldPlan(
        seed, (), shared=BASKETS_AT_ONCE, cash=chance.choice((30, 120, 400)),
        precision=chance.choice((Precision.DIRECT, Precision.CENT)), depth=chance.choice(((4, 15), (15, 40))),
    )  # fmt: skip
    limits = {**LIMITS, **UNBROKEN, "max_open_baskets": chance.choice((6, 30)), "max_exposure_per_market": "40.00"}
    limits["max_exposure_per_event"] = chance.choice(("120.00", "600.00"))
    kill = chance.choice((0, 4))
    odds = Odds(
        kill=kill, store_error=chance.choice((0, 5)), lambda_fault=10, state_kill=kill, most=20, paces=(1, 1, 40)
    )
    deliveries = tuple(_deliveries(chance, range(BASKETS_AT_ONCE)))
    return Schedule(
        f"{CROWD}{seed}", plan, deliveries, odds, random_faults(2), limits, chance.choice((0, 1_500)),
    )  # fmt: skip


def _stops(chance: Random) -> Iterator[Halt]:
    """In one run of three purchases are stopped for a while."""
    if chance.random() < 0.34:
        at_ms, for_ms = chance.choice((0, 150, 250, 400, 2_000, 20_000)), chance.choice((300, 5_000, 100_000))
        yield Halt(chance.choice(tuple(Means)), at_ms, for_ms)


def _biddings(seed: int) -> Iterator[Bidding]:
    """In three runs of five what is held can be sold for more than it pays, while things go wrong or when none does."""
    chance = Random(f"biddings-{seed}")  # noqa: S311 - seeded
    if chance.random() < 0.4:
        return
    depth = chance.choice(((60, 90), (1, 12), (1, 60)))
    for at_ms in chance.choice(((140_000,), (140_000, 420_000), (420_000,))):
        reviews = chance.choice(((10_000,), (10_000, 10_040), (10_000, 70_000), (5_000, 30_000, 150_000)))
        gone = chance.choice((None, None, 10_300, 10_600, 11_000))
        yield Bidding(at_ms, tuple(at_ms + after for after in reviews), chance.choice((2, 4, 8)), depth, gone)


def _deliveries(chance: Random, sites: Iterable[int]) -> Iterator[Delivery]:
    """One candidate for each group, for some of them a second one, and some delivered twice."""
    for site in sites:
        made_ms = chance.choice((0, 0, 0, 40))
        again = chance.choice(((), (), (0,), (30,), (900,), (130_000,)))
        first = chance.choice((5, 20))
        yield Delivery(site, made_ms, (first, *(first + later for later in again)))
        if chance.random() < 0.35:
            later = made_ms + chance.choice((1, 60, 350, 1_500, 20_000, 90_000))
            yield Delivery(site, later, (chance.choice((5, 300, 4_000)),))


def named(name: str) -> Schedule:
    """The schedule of that name. :raises SettingsError: there is none."""
    base, *aims = name.split("@")
    schedule = _unaimed(base)
    for aim in aims:
        occasion, _, word = aim.partition(":")
        if not occasion.isdecimal() or word not in list(Blow):
            raise SettingsError(f"{aim!r} aims at nothing: give a number, a colon and one of {', '.join(Blow)}")
        schedule = at(schedule, int(occasion), Blow(word))
    return schedule


def _unaimed(name: str) -> Schedule:
    if name in bases():
        return bases()[name]
    if name.startswith(CROWD) and name.removeprefix(CROWD).isdecimal():
        return crowd(int(name.removeprefix(CROWD)))
    if name.isdecimal():
        return drawn(int(name))
    raise SettingsError(f"there is no schedule {name!r}: give a seed, {CROWD}SEED or one of {', '.join(bases())}")
