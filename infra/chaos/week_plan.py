"""What a simulated week is made of: what befalls the books while a basket is bought, and how markets end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import pairwise
from random import Random

from infra.chaos.worlds import Site
from infra.exchange.faults import ORDERS, BookThinned, Fault, MarketClosed
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import ONE_DOLLAR, Price

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_CENT = 100


@unique
class Misfortune(StrEnum):
    """What happens between a basket's waves."""

    NONE = "nothing"
    GONE = "the other books are gone"
    PART = "a part of the other books is left"
    CLOSED = "the markets close"


@unique
class Lot(StrEnum):
    """How a group's markets come to be paid."""

    PLAIN = "determined"
    DISPUTED = "disputed and confirmed"
    REVERSED = "disputed and amended"
    AMENDED = "amended"
    SCALAR = "scalar"
    VOID = "void"
    EARLY = "closed early"


@dataclass(frozen=True, slots=True)
class WeekPlan:
    """How much happens, and for how long new baskets are looked for.

    :param cash: dollars on each shard
    :param settle_minutes: how often the settlement function runs; every minute while a result waits to be paid
    :param netting: the account gets collateral back across the markets of an event
    """

    seed: int = 1
    days: int = 7
    baskets: int = 200
    cash: int = 5_000
    precision: Precision = Precision.DIRECT
    settle_minutes: int = 10
    netting: bool = False


def faults_of(misfortune: Misfortune, site: Site) -> tuple[Fault, ...]:
    """What the exchange does when the second call with orders arrives."""
    tickers, outcome = site.group.tickers, site.outcomes[0]
    match misfortune:
        case Misfortune.GONE:
            return (BookThinned(markets=tickers, outcome=outcome, before=ORDERS, skip=1),)
        case Misfortune.PART:
            return (BookThinned(markets=tickers, outcome=outcome, leave="3.00", before=ORDERS, skip=1),)
        case Misfortune.CLOSED:
            return (MarketClosed(markets=tickers, before=ORDERS, skip=1),)
        case _:
            return ()


@dataclass(frozen=True, slots=True)
class Markets:
    """Markets that settle together, and every way they can: what a YES of each pays (all or nothing)."""

    tickers: tuple[str, ...]
    states: tuple[tuple[Price, ...], ...]

    @classmethod
    def of_site(cls, site: Site) -> "Markets":
        """Those of one group."""
        return cls(site.group.tickers, tuple(state.yes_payouts for state in site.group.states))

    @classmethod
    def of_ladder(cls, sites: Sequence[Site]) -> "Markets":
        """Those of groups that share the rungs of one ladder, the easiest first."""
        tickers = sorted({ticker for site in sites for ticker in site.group.tickers})
        rungs = range(len(tickers))
        reached = (tuple(Price(ONE_DOLLAR * (rung < top)) for rung in rungs) for top in range(len(tickers) + 1))
        return cls(tuple(tickers), tuple(reached))


def payouts(lot: Lot, markets: Markets, chance: Random) -> dict[str, Price]:
    """What each market's YES pays. A scalar result lies between the states. A void pays what each market was worth by
    itself in whole cents, which is no state of the group: the sum of a partition need not be a dollar."""
    size = len(markets.tickers)
    if lot is Lot.SCALAR:
        cuts = sorted(chance.randrange(ONE_DOLLAR + 1) for _ in markets.states[1:])
        shares = [after - before for before, after in pairwise((0, *cuts, ONE_DOLLAR))]
        paid = [
            sum(share for share, state in zip(shares, markets.states, strict=True) if state[leg]) for leg in range(size)
        ]
    elif lot is Lot.VOID:
        paid = [ONE_DOLLAR // size // _CENT * _CENT] * size
    else:
        paid = list(chance.choice(markets.states))
    return {ticker: Price(pay) for ticker, pay in zip(markets.tickers, paid, strict=True)}


def lots(chance: Random) -> Iterator[Lot]:
    """One after the other without end; of any dozen, each occurs."""
    while True:
        round_of = [*Lot, *(Lot.PLAIN,) * 5]
        chance.shuffle(round_of)
        yield from round_of
