"""Streams of book changes for every family: at every step the screen knows of every gain that a linear program finds.

The prices wander about a true mixture of the states, with shocks that make gains; books are taken away, come back, and
cross themselves. A group is judged only when the screen says that it must be, as the feed does. KALSHI_ARB_PROOFS=full
takes twenty times as many steps.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest

from kalshi_arb.detection.combo_prices import ComboPrices
from kalshi_arb.detection.judges import PricedJudge, ShapeJudge, judge_for
from kalshi_arb.detection.line_prices import LinePrices
from kalshi_arb.detection.prices import Prices, TopBundle
from kalshi_arb.detection.pricing_vector import certain_rows, keeper
from kalshi_arb.detection.quotes import Quote
from kalshi_arb.detection.screen import EDGE_PER_DOLLAR, Screen, near_miss
from kalshi_arb.detection.state_prices import StatePrices
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from tests.edges import coherent, most_violated
from tests.market_samples import book, group, market
from tests.property.test_screen_property import true_gain

FACTOR = 20 if os.environ.get("KALSHI_ARB_PROOFS") == "full" else 1
STEPS = 150
SEEDS = range(12)
Rows = list[tuple[int, ...]]


def nested(rng: random.Random) -> Rows:
    width = rng.randint(2, 6)
    return [tuple(int(place < paying) for place in range(width)) for paying in range(width + 1)]


def exclusive(rng: random.Random) -> Rows:
    width = rng.randint(2, 6)
    none = [(0,) * width] if rng.random() < 0.5 else []
    return none + [tuple(int(place == winner) for place in range(width)) for winner in range(width)]


def line(rng: random.Random) -> Rows:
    """Thresholds of both directions and brackets over common cut points."""
    cells = rng.randint(3, 7)
    columns = []
    for _ in range(rng.randint(3, 8)):
        low, high = sorted(rng.sample(range(cells + 1), 2))
        low, high = rng.choice([(low, high), (0, high), (low, cells)])
        columns.append([int(low <= cell < high) for cell in range(cells)])
    return list(zip(*columns, strict=True))


def combo(rng: random.Random) -> Rows:
    sides = [rng.randint(0, 1) for _ in range(rng.randint(2, 3))]
    return [(int(list(row) == sides), *row) for row in product((0, 1), repeat=len(sides))]


def user(rng: random.Random) -> Rows:
    """Any list of states at all."""
    width = rng.randint(2, 5)
    return [tuple(rng.randint(0, 1) for _ in range(width)) for _ in range(rng.randint(2, 9))]


FAMILIES: dict[str, Callable[[random.Random], Rows]] = {
    "nested": nested, "exclusive": exclusive, "line": line, "combo": combo, "user": user,
}  # fmt: skip


def group_of(rows: Rows, rng: random.Random, extra: Sequence[State] = ()) -> Group:
    """A group with these certain states, its markets in any order, and mixed fees."""
    order = list(range(len(rows[0])))
    rng.shuffle(order)
    states = [
        State(f"s{n}", tuple(Price(ONE_DOLLAR * row[i]) for i in order), Basis.CERTAIN) for n, row in enumerate(rows)
    ]
    markets = tuple(
        replace(
            market("> 1", ticker=f"M{i}", fees=FeeSchedule(FeeType.QUADRATIC, rng.choice((0, 0, 5_000, 10_000))))
        )
        for i in order
    )  # fmt: skip
    return Group("G", Family.USER, "EVENT", markets, (*states, *extra), (), "print")


class Stream:
    """A group and its wandering best prices: bids of YES and NO by market, 1e-4 dollars, 0 on an empty side."""

    def __init__(self, one: Group, rng: random.Random) -> None:
        self.group = one
        self._rng = rng
        self._known: set[int] = set()
        rows = certain_rows(one)
        weights = [rng.random() ** 3 for _ in rows]
        total = sum(weights)
        self._fair = [
            sum(w * row[i] for w, row in zip(weights, rows, strict=True)) / total for i in range(len(one.markets))
        ]
        self.quotes = [(0, 0)] * len(one.markets)

    @property
    def is_fit(self) -> bool:
        """Whether every book is there and none crossed."""
        return len(self._known) == len(self.quotes) and all(yes + no < ONE_DOLLAR for yes, no in self.quotes)

    def step(self, screen: Screen) -> tuple[Sequence[str], int]:
        """One change; what the screen wants judged, and the market that changed."""
        rng = self._rng
        place = rng.randrange(len(self.quotes))
        ticker = self.group.markets[place].ticker
        unknown = [here for here in range(len(self.quotes)) if here not in self._known]
        if unknown:
            place = rng.choice(unknown)
            ticker = self.group.markets[place].ticker
        elif rng.random() < 0.04:
            self._known.discard(place)
            screen.forget(ticker)
            return (), place
        middle = round((self._fair[place] + rng.gauss(0, 800 if rng.random() < 0.3 else 60)) / 100)
        bid, ask = middle - rng.randint(0, 2), middle + rng.randint(1, 3)
        if rng.random() < 0.02:
            bid, ask = ask, bid
        yes = bid * 100 if 0 < bid < 100 and rng.random() < 0.93 else 0
        no = ONE_DOLLAR - ask * 100 if 0 < ask < 100 and rng.random() < 0.93 else 0
        self.quotes[place] = (yes, no)
        self._known.add(place)
        return screen.take(ticker, yes, ONE_DOLLAR - no), place

    def books(self) -> dict[str, BookSnapshot]:
        """The books as they stand, one contract a side."""
        return {
            member.ticker: book(member.ticker, [(yes / 100, 1)] if yes else [], [(no / 100, 1)] if no else [])
            for member, (yes, no) in zip(self.group.markets, self.quotes, strict=True)
        }


def edge_of(one: Group, quotes: Sequence[tuple[int, int]], bundle: TopBundle) -> Fraction:
    """What a set gains in the worst certain state, in 1e-10 dollars, with the screen's fees."""
    legs = []
    for place, count in bundle.counts:
        quote = Quote(one.markets[place])
        yes, no = quotes[place]
        quote.take(yes, ONE_DOLLAR - no)
        legs.append((place, Fraction(count, bundle.scale), quote.ask if count > 0 else quote.bid))
    worst = min(sum(count * row[place] for place, count, _ in legs) for row in certain_rows(one))
    return worst * (EDGE_PER_DOLLAR // ONE_DOLLAR) - sum(count * price for _, count, price in legs)


def follow(stream: Stream, steps: int) -> tuple[int, int]:
    """Follow a stream as the feed does. Returns how many steps were judged by the program and how many held a gain.

    Zero gains are missed, and no group is let through without one.
    """
    screen = Screen([stream.group])
    standing = False
    judged = gains = 0
    slack = Fraction(2 * len(stream.quotes), EDGE_PER_DOLLAR)
    for _ in range(steps):
        if stream.step(screen)[0]:
            standing = screen.gain("G") > 0
        if not stream.is_fit:
            assert screen.gain("G") == 0
            continue
        gain = true_gain(stream.group, stream.quotes)
        judged += 1
        gains += gain > 0
        where = (stream.group, stream.quotes)
        assert (screen.gain("G") > 0) is standing, where
        if gain > 0:
            assert standing, where
        if standing:
            assert gain > -slack, where
            bundle = most_violated(stream.group, stream.books())
            assert bundle is not None, where
            assert edge_of(stream.group, stream.quotes, bundle) > 0, where
    return judged, gains


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gain_is_missed_and_none_invented_in_any_family(family: str) -> None:
    judged = gains = 0
    for seed in range(len(SEEDS) * FACTOR):
        rng = random.Random(f"{family} {seed}")
        one, other = follow(Stream(group_of(FAMILIES[family](rng), rng), rng), STEPS)
        judged, gains = judged + one, gains + other
    print(f"{family}: seeds 0 to {len(SEEDS) * FACTOR - 1}, {judged} books judged, {gains} with a gain")  # noqa: T201
    assert judged > 100
    assert gains > judged // 20


def test_a_range_and_a_split_are_left_out_while_certain_states_are_there() -> None:
    """They can only take gains away, so leaving them out lets more through: a gain in every state is never missed."""
    rng = random.Random(5)
    judged = proved = 0
    for _ in range(6):
        rows = exclusive(rng)
        width = len(rows[0])
        anything = State("any", (Price(0),) * width, Basis.POSSIBLE, highest=(ONE_DOLLAR,) * width)
        half = State("half", (Price(5_000),) * width, Basis.POSSIBLE)
        stream = Stream(group_of(rows, rng, (rng.choice([anything, half]),)), rng)
        screen = Screen([stream.group])
        for _ in range(40):
            stream.step(screen)
            if stream.is_fit:
                judged += 1
                if true_gain(stream.group, stream.quotes, with_possible=True) > 0:
                    proved += 1
                    assert screen.gain("G") > 0
    assert 0 < proved < judged


@pytest.mark.parametrize(
    ("family", "kind"), [("nested", LinePrices), ("line", LinePrices), ("combo", ComboPrices), ("user", StatePrices)]
)
def test_the_certificate_is_a_mixture_of_the_states_inside_every_quote(family: str, kind: type[Prices]) -> None:
    priced = refused = 0
    kinds = set()
    for seed in range(8):
        rng = random.Random(f"certificate {family} {seed}")
        stream = Stream(group_of(FAMILIES[family](rng), rng), rng)
        one = stream.group
        kinds.add(type(keeper(certain_rows(one))))
        screen = Screen([one])
        for _ in range(25):
            stream.step(screen)
            if not stream.is_fit:
                continue
            pricing = coherent(one, stream.books())
            if pricing is None:
                refused += 1
                assert true_gain(one, stream.quotes) > -Fraction(1, 10**9)
                continue
            priced += 1
            for member, price, (yes, no) in zip(one.markets, pricing.prices, stream.quotes, strict=True):
                quote = Quote(member)
                quote.take(yes, ONE_DOLLAR - no)
                assert quote.bid <= price <= quote.ask
            # A mixture gives nothing to whoever trades at its own prices (one part in 1e-10 is cut off each).
            free = group_of_prices(one)
            at_prices = [(price, price) for price in pricing.prices]
            assert worst_at(free, at_prices) <= len(at_prices)
    assert priced > 20
    assert refused > 2
    assert kind in kinds


def group_of_prices(one: Group) -> Group:
    """The same without fees."""
    return replace(one, markets=tuple(replace(m, fees=FeeSchedule(FeeType.QUADRATIC, 0)) for m in one.markets))


def worst_at(one: Group, quotes: Sequence[tuple[int, int]]) -> int:
    """The gain that a second method finds at these prices, in 1e-10 dollars."""
    prices = StatePrices([tuple(payout // ONE_DOLLAR for payout in row) for row in certain_rows(one)])
    for place, (bid, ask) in enumerate(quotes):
        prices.take(place, bid, ask)
    return 0 if prices.settle() else prices.breach().edge


@pytest.mark.parametrize("family", FAMILIES)
def test_a_near_miss_lacks_exactly_what_it_says(family: str) -> None:
    told = 0
    for seed in range(6):
        rng = random.Random(f"near {family} {seed}")
        stream = Stream(group_of(FAMILIES[family](rng), rng), rng)
        screen = Screen([stream.group])
        for _ in range(25):
            stream.step(screen)
            if not stream.is_fit:
                continue
            pricing = coherent(stream.group, stream.books())
            miss = near_miss(stream.group, stream.books())
            assert (miss is None) or pricing is not None
            if pricing is None or pricing.nearest is None or miss is None:
                continue
            told += 1
            lack = edge_of(stream.group, stream.quotes, pricing.nearest)
            assert abs(lack - pricing.nearest.edge) < 1
            assert pricing.nearest.edge <= 0
            assert miss.legs
            assert [ticker for ticker, _ in miss.prices] == list(stream.group.tickers)
            assert screen.is_near("G", miss.edge - 1)
    assert told > 20


@pytest.mark.parametrize(
    ("strikes", "shape"),
    [
        (("> 10", "> 20", "> 30"), ShapeJudge),
        (("< 10", "10 .. 20", "> 20"), ShapeJudge),
        (("> 10", "> 20", "10 .. 20"), LinePrices),
        (("> 10", "< 10", "> 20", "5 .. 30", "12 .. 15", ">= 40"), LinePrices),
    ],
)
def test_groups_of_a_line_are_judged_as_what_their_states_are(strikes: Sequence[str], shape: type) -> None:
    one = group(*strikes)
    judge = judge_for(one, [Quote(member) for member in one.markets])
    assert type(judge.prices if isinstance(judge, PricedJudge) else judge) is shape
