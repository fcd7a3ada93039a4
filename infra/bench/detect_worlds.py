"""Groups with deep books for `infra.bench.detect`: the same for the same seed, some prices out of line."""

import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.intervals import line_states

_CENT = 100
_FEES = FeeSchedule(FeeType.QUADRATIC)


class Case(NamedTuple):
    """A group with its books."""

    group: Group
    books: dict[str, BookSnapshot]


def ladder(n: int, seed: int, levels: int) -> Case:
    """``n`` thresholds of one direction."""
    markets = [_market(number, StrikeType.GREATER, floor=number) for number in range(n)]
    return _case(Family.LADDER, markets, seed, levels)


def partition(n: int, seed: int, levels: int) -> Case:
    """``n`` stretches that cover the line: brackets and both tails. Their ends are known to be included."""
    markets = [_market(0, StrikeType.LESS, cap=0)]
    markets += [
        _market(number, StrikeType.BETWEEN, floor=2 * number - 2, cap=2 * number - 1) for number in range(1, n - 1)
    ]
    markets.append(_market(n - 1, StrikeType.GREATER, floor=2 * n - 5))
    return _case(Family.PARTITION, markets, seed, levels)


def line(n: int, seed: int, levels: int) -> Case:
    """``n`` markets, every other one a threshold, the others brackets between neighbouring ones."""
    markets = []
    for number in range(n):
        low = number - number % 2
        if number % 2:
            markets.append(_market(number, StrikeType.BETWEEN, floor=low, cap=low + 1))
        else:
            markets.append(_market(number, StrikeType.GREATER_OR_EQUAL, floor=low))
    return _case(Family.LINE, markets, seed, levels)


MAKERS: Mapping[str, Callable[[int, int, int], Case]] = {"ladder": ladder, "partition": partition, "line": line}


def _market(number: int, kind: StrikeType, *, floor: int | None = None, cap: int | None = None) -> Market:
    return Market(
        ticker=f"M{number}",
        event_ticker="EVENT",
        series_ticker="SERIES",
        strike_type=kind,
        floor=None if floor is None else Decimal(floor),
        cap=None if cap is None else Decimal(cap),
        subject="",
        title="",
        grid=CENT_GRID,
        fees=_FEES,
        shard=0,
        close_ms=1,
        rules_fingerprint="",
    )


def _case(family: Family, markets: Sequence[Market], seed: int, levels: int) -> Case:
    """Books around coherent prices; about one market in ten is four to nine cents away from its own."""
    rng = random.Random(seed)  # noqa: S311  # a seeded load, not a secret
    states = line_states(markets, lattice=Decimal(1), open_ends=[False] * len(markets))
    weights = [rng.random() for _ in states]
    total = sum(weights)
    books = {}
    for place, market in enumerate(markets):
        fair = sum(weight * state.yes_payouts[place] for weight, state in zip(weights, states, strict=True)) / total
        cents = round(fair / _CENT)
        if rng.random() < 0.1:
            cents += rng.choice([-1, 1]) * rng.randint(4, 9)
        bid, ask = max(1, cents - 1), min(99, max(2, cents + 1))
        if bid >= ask:
            bid = ask - 1
        books[market.ticker] = BookSnapshot(
            market.ticker,
            BookVersion(1, 1, 1),
            0,
            0,
            tuple(_level(rng, price) for price in range(bid, max(0, bid - levels), -1)),
            tuple(_level(rng, 100 - price) for price in range(ask, min(100, ask + levels))),
        )
    return Case(Group(family.value, family, "EVENT", tuple(markets), states, (), "bench"), books)


def _level(rng: random.Random, cents: int) -> Level:
    price = Price(cents * _CENT)
    return Level(price, Count(rng.randint(1, 50_000)))
