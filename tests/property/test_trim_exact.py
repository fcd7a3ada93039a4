"""The exact-fee step against brute force on small bundles: whole contracts, hundredths, and both in one group.

``KALSHI_ARB_TRIM`` sets the number of groups (400 by default). A failing assertion names the seed.
"""

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import pytest

from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import HUNDREDTH, ONE_CONTRACT, Count, Price
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Basis, Group
from tests.market_samples import NOW_MS, book, books, group

GROUPS = int(os.environ.get("KALSHI_ARB_TRIM", "400"))
FAMILIES = (
    ("> 1", "> 2"), ("> 1", "> 2", "> 3"), ("< 1", ">= 1"), ("< 1", "1 .. 2", "> 2"), ("> 1", "1 .. 3", "< 3"),
)  # fmt: skip
MULTIPLIERS = (0, 2_500, 5_000, 10_000, 13_001)
_MOST_COUNTS = 3_000


class Case(NamedTuple):
    """A group with small books, and the account it is bought on."""

    group: Group
    books: dict[str, BookSnapshot]
    precision: Precision
    smallest_fill: Count

    def judged(self, legs: Sequence[Leg]) -> Certificate:
        return verify(
            self.group, legs, self.books, precision=self.precision, smallest_fill=self.smallest_fill, now_ms=NOW_MS
        )

    def worth(self, certificate: Certificate) -> int:
        """The objective where the limits leave a profit: the profit at the levels, with the fee of the seen levels."""
        fee = sum(
            order_fee_bound(proved.fees, proved.levels, self.precision, self.smallest_fill)
            for proved in certificate.legs
        )
        return certificate.worst_profit + certificate.fee_bound - fee


def case(seed: int) -> Case:
    rng = random.Random(seed)
    found = group(*rng.choice(FAMILIES), fees=FeeSchedule(FeeType.QUADRATIC, rng.choice(MULTIPLIERS)))
    # A group without edges: whether a bundle also holds in them is another question than its quantities.
    found = replace(found, states=tuple(state for state in found.states if state.basis is Basis.CERTAIN))
    unit = rng.choice([1.0, 0.5, 0.01])
    steps = [ONE_CONTRACT, HUNDREDTH] if unit == 0.5 else [HUNDREDTH]
    markets = tuple(replace(one, count_step=rng.choice(steps)) for one in found.markets)

    def side(best: int) -> list[tuple[float, float]]:
        return [(best - 2 * place, rng.randint(1, 5) * unit) for place in range(rng.randint(1, 2))]

    made = []
    for ticker in found.tickers:
        middle = rng.randint(10, 85)
        made.append(book(ticker, yes=side(middle), no=side(100 - middle - rng.randint(1, 2))))
    fewest = rng.choice([HUNDREDTH, ONE_CONTRACT])
    return Case(replace(found, markets=markets), books(*made), rng.choice(list(Precision)), fewest)


def bought(one: Case, counts: Mapping[tuple[str, Outcome], int]) -> list[Leg]:
    """Orders for these counts, each with the worst level it needs for its limit."""
    legs = []
    for (ticker, outcome), count in counts.items():
        left = count
        for price, size in one.books[ticker].asks(outcome) if count else ():
            left -= size
            if left <= 0:
                legs.append(Leg(ticker, outcome, Count(count), Price(price)))
                break
    return legs


def rivals(one: Case, legs: Sequence[Leg]) -> list[list[Leg]]:
    """Every other size of these legs, whole contracts where one of the markets or every book is whole."""
    asks = {(leg.ticker, leg.outcome): one.books[leg.ticker].asks(leg.outcome) for leg in legs}
    whole = any(market.count_step == ONE_CONTRACT for market in one.group.markets)
    whole |= all(level.size % ONE_CONTRACT == 0 for levels in asks.values() for level in levels)
    step = ONE_CONTRACT if whole else HUNDREDTH
    ranges = [range(0, sum(size for _, size in levels) + 1, step) for levels in asks.values()]
    sizes = 1
    for every in ranges:
        sizes *= len(every)
    if sizes > _MOST_COUNTS:
        return []
    return [found for counts in product(*ranges) if (found := bought(one, dict(zip(asks, counts, strict=True))))]


def test_the_sizes_are_the_best_and_the_verifier_accepts_them() -> None:
    told: Counter[str] = Counter()
    for seed in range(GROUPS):
        one = case(seed)
        legs = propose(one.group, one.books, precision=one.precision, smallest_fill=one.smallest_fill)
        if not legs:
            continue
        certificate = one.judged(legs)
        steps = {market.ticker: market.count_step for market in one.group.markets}
        assert not any(leg.count % steps[leg.ticker] for leg in legs), f"seed {seed}"
        told["mixed"] += len({steps[leg.ticker] for leg in legs}) > 1
        told["hundredths"] += any(leg.count % ONE_CONTRACT for leg in legs)
        others = [one.judged(rival) for rival in rivals(one, legs)]
        best = max((one.worth(other) for other in others if other.floor_profit > 0), default=0)
        if certificate.floor_profit > 0:
            assert certificate.grade is Grade.PROVED
            told["proved"] += 1
            told["compared"] += bool(others)
            assert one.worth(certificate) >= best, f"seed {seed}: {one.worth(certificate)} of {best}"
        else:
            assert not best, f"seed {seed}: {best} was missed"
            told["refused"] += bool(others)
    assert min(told[name] for name in ("proved", "compared", "refused", "mixed", "hundredths")) > GROUPS // 50, told


@pytest.mark.parametrize(("count", "problem"), [(50, "below the smallest order of 1.00"), (150, "not a multiple of")])
def test_a_size_that_the_market_does_not_trade_is_refused(count: int, problem: str) -> None:
    found = group("> 1", "> 2")
    found = replace(found, markets=tuple(replace(one, count_step=ONE_CONTRACT) for one in found.markets))
    snapshots = books(*(book(ticker, yes=[(60, 5)], no=[(38, 5)]) for ticker in found.tickers))
    leg = Leg(found.tickers[0], Outcome.YES, Count(count), Price(6_200))
    with pytest.raises(ProofError, match=f"{count / 100:.2f} contracts are {problem}"):
        verify(found, [leg], snapshots, precision=Precision.DIRECT, smallest_fill=HUNDREDTH, now_ms=NOW_MS)
