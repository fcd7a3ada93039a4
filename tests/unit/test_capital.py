"""Capital: what must be there, what comes back at once, what is locked until when, what it earns. And the order."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kalshi_arb.detection.capital import DAY_MS, YEAR_MS, capital
from kalshi_arb.detection.rank import quality, rank
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import CollateralReturn, Netting, Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Capital, Leg, Opportunity, Quality
from kalshi_arb.domain.state_space import Group
from tests.cloud_samples import opportunity
from tests.market_samples import NO_FEES, NOW_MS, book, books, group

WEATHER = ("< 93", "93 .. 94", "95 .. 96", "> 96")


def sold(found: Group, cents: float, *contracts: float) -> tuple[list[Leg], dict[str, BookSnapshot]]:
    """NO of each market, and the books to buy it from."""
    legs = [
        Leg(ticker, Outcome.NO, Count(round(size * 100)), Price(round(cents * 100)))
        for ticker, size in zip(found.tickers, contracts, strict=False)
    ]
    return legs, books(*(book(leg.ticker, yes=[(100 - cents, leg.count / 100)]) for leg in legs))


def of(
    found: Group, legs: Sequence[Leg], snapshots: dict[str, BookSnapshot], netting: Netting = Netting.OFF
) -> Capital:
    certificate = verify(found, legs, snapshots, precision=Precision.DIRECT, smallest_fill=Count(100), now_ms=NOW_MS)
    return capital(found, legs, snapshots, certificate, netting=netting)


def mecnet(found: Group, kind: CollateralReturn = CollateralReturn.MECNET) -> Group:
    return replace(found, markets=tuple(replace(one, collateral_return=kind) for one in found.markets))


def test_without_netting_everything_is_locked() -> None:
    found = mecnet(group(*WEATHER, fees=NO_FEES))
    legs, snapshots = sold(found, 70, 10, 10, 10, 10)
    own = of(found, legs, snapshots)
    assert own.outlay == own.locked == 28_000_000
    assert own.returned_at_once == own.unwind_need == 0
    # What a second order for a leg can round up: 102 millionths each, and one fill more of each.
    assert 28_000_000 <= own.peak == own.per_shard[0] <= 28_000_000 + 4 * 202


def test_with_netting_all_but_the_largest_no_comes_back_at_once() -> None:
    """NO of A at 0.60 and NO of B at 0.70 cost 1.30, of which a dollar comes back: the documentation's own example."""
    found = mecnet(group(*WEATHER, fees=NO_FEES))
    legs = [Leg("< 93", Outcome.NO, Count(100), Price(6_000)), Leg("93 .. 94", Outcome.NO, Count(100), Price(7_000))]
    snapshots = books(book("< 93", yes=[(40, 1)]), book("93 .. 94", yes=[(30, 1)]))
    own = of(found, legs, snapshots, Netting.ON)
    assert (own.outlay, own.returned_at_once, own.locked, own.unwind_need) == (1_300_000, 1_000_000, 300_000, 1_000_000)
    # Both are paid before anything comes back.
    assert own.peak >= 1_300_000


@pytest.mark.parametrize(
    ("kind", "netting"),
    [
        (CollateralReturn.MECNET, Netting.OFF),
        (CollateralReturn.DIRECNET, Netting.ON),
        (CollateralReturn.NONE, Netting.ON),
    ],
)
def test_nothing_is_counted_on_that_is_not_documented_or_not_switched_on(
    kind: CollateralReturn, netting: Netting
) -> None:
    found = mecnet(group(*WEATHER, fees=NO_FEES), kind)
    assert of(found, *sold(found, 70, 5, 5), netting).returned_at_once == 0


def test_netting_counts_event_by_event_and_unequal_counts() -> None:
    found = mecnet(group(*WEATHER, fees=NO_FEES))
    legs, snapshots = sold(found, 70, 10, 4, 3)
    assert of(found, legs, snapshots, Netting.ON).returned_at_once == 7_000_000
    elsewhere = replace(found.markets[2], event_ticker="OTHER")
    apart = replace(found, markets=(*found.markets[:2], elsewhere, found.markets[3]))
    assert of(apart, legs, snapshots, Netting.ON).returned_at_once == 4_000_000


def test_a_pair_of_one_market_is_a_dollar_whatever_the_account_nets() -> None:
    found = group("> 1", "> 2", fees=NO_FEES)
    legs = [Leg("> 1", Outcome.YES, Count(500), Price(4_100)), Leg("> 1", Outcome.NO, Count(300), Price(6_000))]
    own = of(found, legs, books(book("> 1", yes=[(40, 5)], no=[(59, 5)])))
    assert own.returned_at_once == 3_000_000
    assert own.unwind_need == 0
    assert own.locked == 2_050_000 + 1_800_000 - 3_000_000


def test_what_a_wave_returns_lowers_the_peak_of_the_next() -> None:
    found = mecnet(group(*(f"{low} .. {low}.5" for low in range(1, 13)), "< 1", "> 12.5", fees=NO_FEES))
    legs, snapshots = sold(found, 90, *[1.0] * len(found.tickers))
    alone, together = (of(found, legs, snapshots, netting) for netting in Netting)
    # One leg, then eight, then five: when the last five are paid, eight dollars have come back.
    assert alone.peak == alone.per_shard[0] >= 12_600_000
    assert 8_100_000 <= together.peak <= 8_100_000 + 9 * 202
    assert together.per_shard == alone.per_shard


def test_cash_is_told_shard_by_shard() -> None:
    found = group(*WEATHER, fees=NO_FEES)
    spread = replace(found, markets=tuple(replace(one, shard=place % 2) for place, one in enumerate(found.markets)))
    legs, snapshots = sold(spread, 70, 10, 20, 30)
    own = of(spread, legs, snapshots)
    assert list(own.per_shard) == [0, 1]
    assert own.per_shard[0] > 28_000_000 > own.per_shard[1] > 14_000_000
    assert sum(own.per_shard.values()) == own.peak


def test_the_return_is_that_of_the_time_until_the_last_payment() -> None:
    found = group("> 1", "> 2", fees=NO_FEES)
    legs = [Leg("> 1", Outcome.YES, Count(1_000), Price(4_000)), Leg("> 2", Outcome.NO, Count(1_000), Price(4_000))]
    snapshots = books(book("> 1", no=[(60, 10)]), book("> 2", yes=[(60, 10)]))
    paid = [NOW_MS + DAY_MS, NOW_MS + 2 * DAY_MS]
    timed = replace(
        found, markets=tuple(replace(one, paid_by_ms=at) for one, at in zip(found.markets, paid, strict=True))
    )
    own = of(timed, legs, snapshots)
    assert own.locked_until_ms == NOW_MS + 2 * DAY_MS
    assert (own.locked, own.return_ppm) == (8_000_000, 250_000)
    assert own.annual_ppm == 250_000 * YEAR_MS // (2 * DAY_MS)
    # Two dollars on eight for two days: 12.5 cents for each dollar-day.
    assert own.profit_per_dollar_day == 125_000
    unknown = replace(timed, markets=(timed.markets[0], replace(timed.markets[1], paid_by_ms=None)))
    untimed = of(unknown, legs, snapshots)
    assert (untimed.locked_until_ms, untimed.annual_ppm, untimed.profit_per_dollar_day) == (None, None, None)
    assert untimed.return_ppm == 250_000


def test_what_locks_nothing_has_no_return_on_it() -> None:
    found = mecnet(group(*WEATHER, fees=NO_FEES))
    own = of(found, *sold(found, 70, 10, 10, 10, 10), Netting.ON)
    assert (own.locked, own.returned_at_once) == (0, 30_000_000)
    assert (own.return_ppm, own.annual_ppm, own.profit_per_dollar_day) == (None, None, None)


# Rank -----------------------------------------------------------------------------------------------------------------


def test_quality_is_the_largest_share_of_depth_and_the_oldest_and_farthest_book() -> None:
    legs = [Leg("> 1", Outcome.YES, Count(500), Price(4_200)), Leg("> 2", Outcome.NO, Count(500), Price(5_000))]
    snapshots = books(book("> 1", no=[(60, 10), (58, 10), (50, 100)], alive_ms=NOW_MS - 40), book("> 2", yes=[(50, 8)]))
    assert quality(legs, snapshots, NOW_MS + 5) == Quality(depth_ppm=625_000, age_ms=45, skew_ms=40)


def found(name: str, profit: int, rate: int | None, shape: Quality, locked: int = 1) -> Opportunity:
    tied = Capital({0: Cash(1)}, Cash(1), Cash(0), Cash(locked), Cash(0), Cash(1), None, None, None, rate)
    one = opportunity(name)
    return replace(one, certificate=replace(one.certificate, floor_profit=Cash(profit)), capital=tied, quality=shape)


def test_the_order_is_profit_then_rate_then_depth_then_age_then_skew() -> None:
    usual = Quality(500_000, 10, 5)
    expected = [
        found("a", 9, 1, usual),
        found("b", 5, None, usual, locked=0),
        found("c", 5, 7, usual),
        found("d", 5, 6, replace(usual, depth_ppm=400_000)),
        found("e", 5, 6, replace(usual, age_ms=9)),
        found("f", 5, 6, replace(usual, skew_ms=4)),
        found("g", 5, 6, usual),
        found("h", 5, 6, usual),
        found("i", 5, None, usual),
    ]
    assert rank(reversed(expected)) == expected
