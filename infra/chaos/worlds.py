"""Markets to be unlucky on: events of several series and shards, the groups on them, and books with a bundle in them.

Every world has a member with cash on each shard and a rich maker whose resting orders are the books. A group's books
are mispriced by construction, so that detection finds a bundle of all its legs, and offer a way back at a loss.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from random import Random

from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.terms import EventTerms, GridName, MarketTerms, NewOrder, SeriesTerms, TimeInForce
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import CollateralReturn, Market, Outcome, StrikeType
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, ONE_DOLLAR, Cash, Count, Price, complement
from kalshi_arb.domain.state_space import Basis, Family, Group, State

START_MS = 1_795_000_000_000
MAKER = "maker"
SHARDS = (0, 1, 2)
_OPEN_FOR_MS = 12 * 3_600_000
_TIMER_S = 60
_RULES = "Yes if it is so."
_CENT = 100


@unique
class Shape(StrEnum):
    """What kind of bundle a group holds."""

    PARTITION = "partition"  # exactly one pays: YES of all
    EXCLUSIVE = "exclusive"  # at most one pays: NO of all
    LADDER = "ladder"  # YES of the easier, NO of the harder
    MIRROR = "mirror"  # the same statement in two events on two shards: YES here, NO there
    WIDE = "wide"  # a partition of more legs than a batch takes


@dataclass(frozen=True, slots=True)
class Site:
    """A group, and which outcome of each of its markets the bundle buys."""

    group: Group
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """What a world is made of.

    :param shapes: a group each, all on markets of their own
    :param shared: so many groups more, each on two neighbours or more of one ladder
    :param cash: dollars of the member on each shard
    :param start_ms: the exchange's first moment, UTC milliseconds
    :param netting: the member gets collateral back, and at most one market pays of the events that can say so
    """

    seed: int
    shapes: tuple[Shape, ...]
    shared: int = 0
    cash: int = 400
    precision: Precision = Precision.DIRECT
    depth: tuple[int, int] = (8, 30)
    start_ms: int = START_MS
    netting: bool = False


class World:
    """A core with all of it listed."""

    def __init__(self, plan: WorldPlan) -> None:
        self.plan = plan
        self._chance = Random(f"world-{plan.seed}")  # noqa: S311 - seeded
        self.core = ExchangeCore(plan.start_ms, seeded_ids(Random(f"ids-{plan.seed}")))  # noqa: S311 - seeded
        dollars = Cash(plan.cash * CASH_PER_DOLLAR)
        self.core.open_account(MEMBER, dict.fromkeys(SHARDS, dollars), plan.precision)
        self.core.set_netting(MEMBER, enabled=plan.netting)
        self.core.open_account(
            MAKER, dict.fromkeys(SHARDS, Cash(10**7 * CASH_PER_DOLLAR)), Precision.DIRECT, is_crowd=True
        )
        self.opening = Cash(len(SHARDS) * dollars)
        self.sites = [self._site(shape, number) for number, shape in enumerate(plan.shapes)]
        if plan.shared:
            self.sites += self._shared_ladder(plan.shared)
        self.core.drain()

    def list_site(self, shape: Shape) -> Site:
        """List one group more, from now on."""
        site = self._site(shape, len(self.sites))
        self.sites.append(site)
        return site

    def list_ladder(self, event: str, groups: int) -> list[Site]:
        """List so many groups on neighbours of one ladder more, from now on."""
        sites = self._shared_ladder(groups, event)
        self.sites += sites
        return sites

    @property
    def groups(self) -> list[Group]:
        """Every group."""
        return [site.group for site in self.sites]

    def rest(self, ticker: str, outcome: Outcome, price: int, contracts: int) -> None:
        """Let the maker offer to buy contracts of an outcome, so that the other one can be bought."""
        kind = TimeInForce.GOOD_TILL_CANCELED
        self.core.place(MAKER, NewOrder(ticker, outcome, Price(price), Count(contracts * ONE_CONTRACT), kind))

    def offer(self, ticker: str, outcome: Outcome, price: int, contracts: int) -> None:
        """Let contracts of an outcome be bought at a price (1e-4 dollars)."""
        self.rest(ticker, outcome.other, int(complement(Price(price))), contracts)

    # Groups

    def _site(self, shape: Shape, number: int) -> Site:
        chance = self._chance
        match shape:
            case Shape.PARTITION | Shape.WIDE | Shape.EXCLUSIVE:
                size = chance.randint(9, 11) if shape is Shape.WIDE else chance.randint(2, 4)
                markets = self._event(f"KXC{number}", size, chance.choice(SHARDS), exclusive=self.plan.netting)
                winners = tuple(_one_hot(size))
                outcome = Outcome.YES
                if shape is Shape.EXCLUSIVE:
                    winners, outcome = (*winners, (0,) * size), Outcome.NO
                family = Family.EXCLUSIVE if shape is Shape.EXCLUSIVE else Family.PARTITION
                site = _made(f"g{number}", family, markets, winners, (outcome,) * size)
            case Shape.LADDER:
                markets = self._event(f"KXC{number}", 2, chance.choice(SHARDS))
                site = _made(f"g{number}", Family.LADDER, markets, _rungs(2), (Outcome.YES, Outcome.NO))
            case Shape.MIRROR:
                here, there = chance.sample(SHARDS, 2)
                markets = (*self._event(f"KXC{number}A", 1, here), *self._event(f"KXC{number}B", 1, there))
                site = _made(f"g{number}", Family.LINE, markets, ((0, 0), (1, 1)), (Outcome.YES, Outcome.NO))
        self._fill_books(site)
        return site

    def _shared_ladder(self, groups: int, event: str = "KXSHARED") -> list[Site]:
        """Groups of two and three rungs of one ladder whose harder rungs cost more, so that each pair is a find."""
        size = 2
        while _neighbours(size) < groups:
            size += 1
        markets = self._event(event, size, self._chance.choice(SHARDS))
        low, step = 20, 50 // size
        for rung, market in enumerate(markets):
            ask = (low + step * rung) * _CENT
            self._two_sided(market.ticker, Outcome.YES, ask, gap=2)
        sites = []
        for first in range(size):
            for second in range(first + 1, size):
                pair = (markets[first], markets[second])
                name = f"{event}-{first}-{second}"
                sites.append(_made(name, Family.LADDER, pair, _rungs(2), (Outcome.YES, Outcome.NO)))
        return sites[:groups]

    def _event(self, event: str, size: int, shard: int, *, exclusive: bool = False) -> tuple[Market, ...]:
        chance = self._chance
        fees = FeeSchedule(FeeType.QUADRATIC, chance.choice((10_000, 5_000)))
        grid = chance.choice((GridName.LINEAR_CENT, GridName.LINEAR_CENT, GridName.DECI_CENT))
        series, open_ms = f"{event}S", self.core.now_ms
        close_ms = open_ms + _OPEN_FOR_MS
        self.core.add_series(SeriesTerms(series, event, "Chaos", "once", fees, shard))
        terms = tuple(
            MarketTerms(
                f"{event}-{number}", event, f"{number}?", f"{number}", StrikeType.OTHER, None, None, None, grid,
                open_ms, close_ms, _TIMER_S, _RULES,
            )
            for number in range(size)
        )  # fmt: skip
        self.core.list_event(EventTerms(event, series, event, "", mutually_exclusive=exclusive, markets=terms))
        return tuple(
            Market(
                own.ticker, event, series, StrikeType.OTHER, None, None, own.ticker, own.title, own.grid, fees, shard,
                close_ms, "rules", paid_by_ms=close_ms + _TIMER_S * 1000,
                collateral_return=CollateralReturn.MECNET if exclusive else CollateralReturn.NONE,
            )
            for own in terms
        )  # fmt: skip

    # Books

    def _fill_books(self, site: Site) -> None:
        """Asks that together cost less than the bundle pays, by more than the fees take."""
        chance, size = self._chance, len(site.outcomes)
        legs = range(size)
        least = min(
            sum(state.payout(leg, outcome) for leg, outcome in enumerate(site.outcomes)) for state in site.group.states
        )
        margin = chance.randint(4, 8) * _CENT + size * 2 * _CENT
        left, asks = (least - margin) // _CENT, []
        for leg in legs:
            fair = left // (size - leg)
            spread = max(1, fair // 4)
            ask = left if leg == size - 1 else fair + chance.randint(-spread, spread)
            asks.append(max(2, min(96, ask)))
            left -= asks[-1]
        for market, outcome, ask in zip(site.group.markets, site.outcomes, asks, strict=True):
            self._two_sided(market.ticker, outcome, ask * _CENT, gap=chance.randint(1, 5))

    def _two_sided(self, ticker: str, outcome: Outcome, ask: int, gap: int) -> None:
        """The outcome at ``ask`` and somewhat above, the other one ``gap`` cents above the complement."""
        chance = self._chance
        self.offer(ticker, outcome, ask, chance.randint(*self.plan.depth))
        for above in (1, 3):
            if ask + above * _CENT < ONE_DOLLAR - _CENT:
                self.offer(ticker, outcome, ask + above * _CENT, chance.randint(5, 20))
        back = ONE_DOLLAR - ask + gap * _CENT
        for above in (0, 2):
            if back + above * _CENT < ONE_DOLLAR:
                self.offer(ticker, outcome.other, back + above * _CENT, chance.randint(*self.plan.depth) * 2)


def payouts(group: Group, chance: Random) -> Iterator[tuple[str, Price]]:
    """One of the ways the group can settle: ticker and payout of a YES."""
    state = chance.choice(group.states)
    yield from zip(group.tickers, state.yes_payouts, strict=True)


def _one_hot(size: int) -> Iterator[tuple[int, ...]]:
    return (tuple(int(number == winner) for number in range(size)) for winner in range(size))


def _rungs(size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(number < reached) for number in range(size)) for reached in range(size + 1))


def _neighbours(size: int) -> int:
    return size * (size - 1) // 2


def _made(
    group_id: str,
    family: Family,
    markets: Sequence[Market],
    pays: Sequence[Sequence[int]],
    outcomes: tuple[Outcome, ...],
) -> Site:
    states = tuple(
        State(f"state {number}", tuple(Price(pay * ONE_DOLLAR) for pay in row), Basis.CERTAIN)
        for number, row in enumerate(pays)
    )
    group = Group(group_id, family, markets[0].event_ticker, tuple(markets), states, (), f"print-{group_id}")
    return Site(group, outcomes)
