"""Certificates: what is stored computes to the same figures again, and no altered number or word goes unnoticed."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.detection.verify import replay, verify
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import SchemaError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg, Opportunity
from kalshi_arb.schemas import decode, encode
from tests.cloud_samples import CAPITAL, QUALITY
from tests.market_samples import FINE_GRID, NO_FEES, NOW_MS, STANDARD_FEES, book, books, group

STRIKES = [("> 1", "> 2"), ("< 93", "93 .. 94", "95 .. 96", "> 96"), ("<= 9", "< 9", "< 5"), ("< 5", ">= 5")]
schedules = st.sampled_from([STANDARD_FEES, NO_FEES, FeeSchedule(FeeType.WITH_MAKER, 12_345)])


def certified(
    seed: int, strikes: tuple[str, ...], schedule: FeeSchedule, precision: Precision, smallest: int
) -> Certificate:
    """The certificate of a random bundle on random books, whatever its grade."""
    rng = random.Random(seed)
    fine = rng.random() < 0.5
    found = group(*strikes, fees=schedule, grid=FINE_GRID if fine else CENT_GRID)
    snapshots, legs = {}, []
    for ticker in rng.sample(found.tickers, rng.randint(1, len(found.tickers))):
        step = 1 if fine else 100
        prices = sorted({rng.randrange(step, 5_000, step) for _ in range(rng.randint(1, 4))}, reverse=True)
        levels = tuple(Level(Price(price), Count(rng.randint(1, 700))) for price in prices)
        outcome = rng.choice(list(Outcome))
        sides = (levels, ()) if outcome is Outcome.NO else ((), levels)
        alive_ms = NOW_MS - rng.randint(0, 4_000)
        snapshots[ticker] = BookSnapshot(ticker, BookVersion(3, rng.randint(1, 9), seed), NOW_MS, alive_ms, *sides)
        asks = snapshots[ticker].asks(outcome)
        deepest = rng.randrange(len(asks))
        count = rng.randint(1, sum(level.size for level in asks[: deepest + 1]))
        legs.append(Leg(ticker, outcome, Count(count), asks[deepest].price))
    if rng.random() < 0.3:
        found = replace(found, assumptions=("it is as the rules say",))
    return verify(found, legs, snapshots, precision=precision, smallest_fill=Count(smallest), now_ms=NOW_MS)


certificates = st.builds(
    certified,
    st.integers(0, 10**9),
    st.sampled_from(STRIKES),
    schedules,
    st.sampled_from(list(Precision)),
    st.sampled_from([1, 37, 100]),
)


def opportunity(certificate: Certificate) -> Opportunity:
    legs = tuple(proved.leg for proved in certificate.legs)
    return Opportunity("o1", certificate.group_id, "EVENT", legs, certificate, NOW_MS, NOW_MS, CAPITAL, QUALITY)


@settings(max_examples=150, deadline=None)
@given(certificates)
def test_a_stored_certificate_computes_to_the_same_figures(certificate: Certificate) -> None:
    assert replay(certificate) == ()
    assert replay(decode(encode(opportunity(certificate)), Opportunity).certificate) == ()


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every number and word of a JSON value, and where it stands."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    elif node is not None:
        yield path, node


def changed(envelope: dict[str, Any], path: tuple[Any, ...], value: object) -> str:
    copy = json.loads(json.dumps(envelope))
    node = copy["body"]["certificate"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return json.dumps(copy)


@settings(max_examples=25, deadline=None)
@given(certificates, st.sampled_from([-1, 1, 10_000]))
def test_no_altered_number_or_word_goes_unnoticed(certificate: Certificate, change: int) -> None:
    envelope = json.loads(encode(opportunity(certificate)))
    places = list(leaves(envelope["body"]["certificate"]))
    assert len(places) > 30
    for path, value in places:
        other = value + change if isinstance(value, int) else f"{value}x"
        try:
            altered = decode(changed(envelope, path, other), Opportunity).certificate
        except SchemaError:
            continue
        assert replay(altered), f"{path}: {value} became {other}"


def locked() -> Certificate:
    found = group("> 1", "> 2")
    legs = [
        Leg("> 1", Outcome.YES, Count(1_000), Price(4_000)),
        Leg("> 2", Outcome.NO, Count(1_000), Price(5_000)),
    ]
    snapshots = books(book("> 1", no=[(60, 10)]), book("> 2", yes=[(50, 10)]))
    return verify(found, legs, snapshots, precision=Precision.DIRECT, smallest_fill=Count(100), now_ms=NOW_MS)


def test_what_differs_is_named() -> None:
    certificate = locked()
    assert replay(replace(certificate, floor_profit=Cash(1), grade=Grade.ASSUMED)) == (
        "the seal does not fit the content: something was altered",
        "grade is stated as assumed, computed as proved",
        "floor_profit is stated as 1, computed as 656800",
    )
    (first, second) = certificate.legs
    dearer = replace(certificate, legs=(replace(first, levels=(Level(Price(4_100), Count(1_000)),)), second))
    assert replay(dearer)[1:] == ("it cannot be computed: > 1: the levels are not 10.00 at the limit or better",)
    stale = replace(certificate, books=(replace(certificate.books[0], age_ms=5_001), certificate.books[1]))
    assert replay(stale)[1:] == ("the book of > 1 is 5001 ms old, not within 5000",)
    assert replay(replace(certificate, books=certificate.books[:1]))[1:] == ("the books are not those of the legs",)
    assert replay(replace(certificate, states=()))[1:] == ("it cannot be computed: a group without states",)
    odd = replace(certificate, states=(replace(certificate.states[0], least=(Price(0),)),))
    assert replay(odd)[1:] == ("it cannot be computed: state below 1 is not one of the legs' markets",)
    assert replay(replace(certificate, precision=7))[1:] == ("it cannot be computed: 7 is no balance precision",)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 10**9),
    schedules,
    st.sampled_from(list(Precision)),
    st.sampled_from([1, 37, 100]),
    st.integers(1, 9_999),
    st.booleans(),
)
def test_however_the_book_is_rearranged_the_outlay_holds(
    seed: int, schedule: FeeSchedule, precision: Precision, smallest: int, limit: int, fine: bool
) -> None:
    """The levels that were seen are gone when the order arrives; others stand at its limit or below."""
    rng = random.Random(seed)
    grid = FINE_GRID if fine else CENT_GRID
    price = grid.at_or_above(Price(limit)) or Price(9_900)
    found = group("> 1", "> 2", fees=schedule, grid=grid)
    sizes = [rng.randint(1, 3 * smallest) for _ in range(rng.randint(1, 6))]
    count = Count(sum(sizes))
    levels = tuple(Level(Price(10_000 - price), count) for _ in range(1))
    snapshot = BookSnapshot("> 1", BookVersion(1, 1, 1), NOW_MS, NOW_MS, (), levels)
    leg = Leg("> 1", Outcome.YES, count, price)
    certificate = verify(
        found, [leg], books(snapshot), precision=precision, smallest_fill=Count(smallest), now_ms=NOW_MS
    )
    for _ in range(20):
        left, fills = int(count), []
        while left:
            size = left if left <= smallest else rng.randint(smallest, left)
            below = grid.at_or_below(Price(max(1, price - rng.choice([0, 0, 1, rng.randint(0, 300)])))) or price
            fills.append((below, Count(size)))
            left -= size
        # The best prices fill first; the last fill may be the smallest.
        paid = sum(each * size for each, size in fills) + order_fee(schedule, fills, precision)
        assert paid <= certificate.outlay, fills


@pytest.mark.parametrize(("sizes", "fills"), [((199, 199), (100, 100, 100, 98))])
def test_more_fills_than_the_displayed_levels_can_make_are_bounded(
    sizes: tuple[int, ...], fills: tuple[int, ...]
) -> None:
    """Two levels of 1.99 are three fills at most; the same contracts in one level of 3.98 are four."""
    schedule = FeeSchedule(FeeType.QUADRATIC, 12_345)
    found = group("> 1", "> 2", fees=schedule, grid=FINE_GRID)
    asks = [Price(4_567), Price(4_568)]
    bids = tuple(Level(Price(10_000 - ask), Count(size)) for ask, size in zip(asks, sizes, strict=True))
    snapshot = BookSnapshot("> 1", BookVersion(1, 1, 1), NOW_MS, NOW_MS, (), bids)
    leg = Leg("> 1", Outcome.YES, Count(sum(sizes)), asks[-1])
    certificate = verify(
        found, [leg], books(snapshot), precision=Precision.CENT, smallest_fill=Count(100), now_ms=NOW_MS
    )
    rearranged = [(asks[-1], Count(size)) for size in fills]
    paid = sum(price * size for price, size in rearranged) + order_fee(schedule, rearranged, Precision.CENT)
    assert paid <= certificate.outlay
