"""The on-demand scan: everything is judged, nothing is traded or stored."""

import pytest

from kalshi_arb.detection.scan import ScanCounts, Scanner
from kalshi_arb.domain.errors import SolverError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.state_space import Group
from kalshi_arb.fakes import FakeExchange, ManualClock, MemoryGroupStore
from kalshi_arb.scan_view import machine_view, scan_view
from tests.market_samples import group

LADDER = group("> 1", "> 2", event="LADDER")
WEATHER = group("< 93", "93 .. 94", "95 .. 96", "> 96", event="WEATHER")
SPLIT = group("< 5", ">= 5", event="SPLIT")


def scanner(exchange: FakeExchange, clock: ManualClock, *groups: Group, min_profit: Cash = Cash(0)) -> Scanner:
    return Scanner(
        market_data=exchange,
        groups=MemoryGroupStore(groups),
        clock=clock,
        precision=Precision.DIRECT,
        smallest_fill=Count(100),
        min_profit=min_profit,
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
    told: list[tuple[int, int]] = []
    report = scanner(exchange, clock, WEATHER, SPLIT, LADDER).scan(None, lambda *done: told.append(done))
    assert [(one.opportunity.event_ticker, one.opportunity.certificate.grade) for one in report.found] == [
        ("LADDER", Grade.PROVED),
        ("WEATHER", Grade.CONDITIONAL),
    ]
    assert [(one.event_ticker, one.edge) for one in report.misses] == [("SPLIT", -2 * 7 * 5_000 * 5_000)]
    assert report.counts == ScanCounts(3, 2, 2, 1, {"conditional": 1, "no_bundle": 1})
    assert report.scanned_ms == clock.now_ms()
    assert told == [(0, 3), (1, 3), (2, 3)]
    assert exchange.batches == []


def test_the_fees_of_the_legs_add_up_to_the_fee_of_the_bundle() -> None:
    clock = ManualClock()
    exchange = exchange_with(clock, LADDER)
    exchange.offer("> 1", Outcome.YES, 4_000, 1_050)
    exchange.offer("> 2", Outcome.NO, 5_000, 1_000)
    (found,) = scanner(exchange, clock, LADDER).scan(None).found
    assert found.group == LADDER
    assert len(found.leg_fees) == 2
    assert sum(found.leg_fees) == found.opportunity.certificate.fee_bound


def test_a_gain_below_the_minimum_is_dropped_for_that_reason() -> None:
    clock = ManualClock()
    exchange = exchange_with(clock, LADDER)
    exchange.offer("> 1", Outcome.YES, 4_000, 1_000)
    exchange.offer("> 2", Outcome.NO, 5_000, 1_000)
    (found,) = scanner(exchange, clock, LADDER).scan(None).found
    gain = found.opportunity.certificate.floor_profit
    kept = scanner(exchange, clock, LADDER, min_profit=gain).scan(None)
    assert (len(kept.found), kept.counts.proved) == (1, 1)
    dropped = scanner(exchange, clock, LADDER, min_profit=Cash(gain + 1)).scan(None)
    assert (dropped.found, dropped.misses) == ((), ())
    assert dropped.counts == ScanCounts(1, 1, 1, 0, {"below_min_profit": 1})


def test_one_event_alone_can_be_scanned() -> None:
    clock = ManualClock()
    exchange = exchange_with(clock, LADDER, WEATHER)
    assert scanner(exchange, clock, LADDER, WEATHER).scan("WEATHER").counts.groups == 1
    empty = scanner(exchange, clock, LADDER, WEATHER).scan("NOWHERE")
    assert (empty.found, empty.misses, empty.counts) == ((), (), ScanCounts(0, 0, 0, 0, {}))


def test_empty_books_are_judged_but_are_no_near_miss() -> None:
    clock = ManualClock()
    report = scanner(exchange_with(clock, LADDER), clock, LADDER).scan(None)
    assert report.misses == ()
    assert report.counts.dropped == {"no_bundle": 1}


def test_what_a_machine_is_promised_is_all_it_gets() -> None:
    clock = ManualClock()
    exchange = exchange_with(clock, LADDER, SPLIT)
    exchange.offer("> 1", Outcome.YES, 4_000, 1_000)
    exchange.offer("> 2", Outcome.NO, 5_000, 1_000)
    exchange.offer("< 5", Outcome.NO, 5_000, 1_000)
    exchange.offer(">= 5", Outcome.NO, 5_000, 1_000)
    view = machine_view(scan_view(scanner(exchange, clock, LADDER, SPLIT).scan(None)))
    assert set(view) == {"opportunities", "near_misses", "counts"}
    assert view["counts"] == {"groups": 2, "screened": 1, "solved": 1, "proved": 1, "dropped": {"no_bundle": 1}}
    (one,) = view["opportunities"]
    assert set(one) == {
        "id", "group", "grade", "legs", "cost", "fees", "worst_profit", "worst_state", "capital", "skew_ms",
    }  # fmt: skip
    # 10 YES at .40 and 10 NO at .50: fees are 0.07 x 10 x (.24 + .25), and for each a step of the grid that may stay.
    assert one["legs"] == [
        {"ticker": "> 1", "side": "yes", "price": "0.4000", "count": "10.00", "fee": "0.168100"},
        {"ticker": "> 2", "side": "no", "price": "0.5000", "count": "10.00", "fee": "0.175100"},
    ]
    assert (one["cost"], one["fees"], one["worst_profit"]) == ("9.000000", "0.343200", "0.656800")
    assert (one["capital"], one["skew_ms"], one["grade"]) == ("9.343200", 0, "proved")
    (miss,) = view["near_misses"]
    assert (miss["event"], miss["edge"]) == ("SPLIT", "-0.0350000000")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(SolverError("no optimum"), "solver_failed"), (ModuleNotFoundError(name="highspy"), "solver_not_installed")],
)
def test_a_search_that_fails_leaves_its_group_unjudged_and_says_so(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("kalshi_arb.detection.scan.judge", fail)
    clock = ManualClock()
    report = scanner(exchange_with(clock, LADDER), clock, LADDER).scan(None)
    assert (report.found, report.misses) == ((), ())
    assert report.counts == ScanCounts(1, 0, 0, 0, {reason: 1})


def test_any_other_missing_module_is_no_matter_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name="kalshi_arb.gone")

    monkeypatch.setattr("kalshi_arb.detection.scan.judge", fail)
    clock = ManualClock()
    with pytest.raises(ModuleNotFoundError):
        scanner(exchange_with(clock, LADDER), clock, LADDER).scan(None)
