"""The on-demand scan: everything is judged, nothing is traded or stored."""

from kalshi_arb.detection.scan import Scanner
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.state_space import Group
from kalshi_arb.fakes import FakeExchange, ManualClock, MemoryGroupStore
from tests.market_samples import group

LADDER = group("> 1", "> 2", event="LADDER")
WEATHER = group("< 93", "93 .. 94", "95 .. 96", "> 96", event="WEATHER")
SPLIT = group("< 5", ">= 5", event="SPLIT")


def scanner(exchange: FakeExchange, clock: ManualClock, *groups: Group) -> Scanner:
    return Scanner(
        market_data=exchange,
        groups=MemoryGroupStore(groups),
        clock=clock,
        precision=Precision.DIRECT,
        smallest_fill=Count(100),
    )


def exchange_with(clock: ManualClock, *groups: Group) -> FakeExchange:
    return FakeExchange(clock, [one for found in groups for one in found.markets])


def test_a_scan_sorts_finds_and_misses() -> None:
    clock = ManualClock()
    exchange = exchange_with(clock, LADDER, WEATHER, SPLIT)
    exchange.offer("> 1", Outcome.YES, 4_000, 1_000)
    exchange.offer("> 2", Outcome.NO, 5_000, 1_000)
    for ticker in WEATHER.tickers:
        exchange.offer(ticker, Outcome.YES, 2_000, 1_000)
    exchange.offer("< 5", Outcome.NO, 5_000, 1_000)
    exchange.offer(">= 5", Outcome.NO, 5_000, 1_000)
    report = scanner(exchange, clock, WEATHER, SPLIT, LADDER).scan(None)
    assert [(found.event_ticker, found.certificate.grade) for found in report.opportunities] == [
        ("LADDER", Grade.PROVED),
        ("WEATHER", Grade.CONDITIONAL),
    ]
    assert [(one.event_ticker, one.edge) for one in report.misses] == [("SPLIT", -2 * 7 * 5_000 * 5_000)]
    assert report.counts == {"groups": 3, "books": 8, "proved": 1, "conditional": 1, "no_bundle": 1}
    assert report.scanned_ms == clock.now_ms()
    assert exchange.batches == []


def test_one_event_alone_can_be_scanned() -> None:
    clock = ManualClock()
    exchange = exchange_with(clock, LADDER, WEATHER)
    assert scanner(exchange, clock, LADDER, WEATHER).scan("WEATHER").counts["groups"] == 1
    empty = scanner(exchange, clock, LADDER, WEATHER).scan("NOWHERE")
    assert (empty.opportunities, empty.misses, empty.counts) == ((), (), {"groups": 0, "books": 0})


def test_empty_books_are_judged_but_are_no_near_miss() -> None:
    clock = ManualClock()
    report = scanner(exchange_with(clock, LADDER), clock, LADDER).scan(None)
    assert report.misses == ()
    assert report.counts["no_bundle"] == 1
