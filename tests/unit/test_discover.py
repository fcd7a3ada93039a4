"""Discovery: the listing becomes the accepted set of groups, and what was left out is counted."""

from collections.abc import Iterable, Iterator

import pytest

from kalshi_arb.domain.listing import EventListing
from kalshi_arb.fakes import FakeExchange, ManualClock, MemoryGroupStore, MemoryStatusStore
from kalshi_arb.kalshi.errors import RetryableError
from kalshi_arb.relations.discover import Discovery, DiscoveryReport
from tests.market_samples import CLOSE_MS, NOW_MS, listing, market

LADDER = listing([market("> 1"), market("> 2"), market("9 .. 8")], event="LADDER")
WEATHER = listing([market("< 93"), market("93 .. 94"), market("> 94")], event="WEATHER")
SINGLE = listing([market("> 7")], event="SINGLE")


class Bench:
    """Discovery over a fake exchange."""

    def __init__(self, *listings: EventListing) -> None:
        self.clock = ManualClock(NOW_MS)
        self.exchange = FakeExchange(self.clock)
        for one in listings:
            self.exchange.list_event(one)
        self.groups = MemoryGroupStore()
        self.status = MemoryStatusStore()

    def run(self) -> DiscoveryReport:
        return Discovery(
            market_data=self.exchange, groups=self.groups, status=self.status, clock=self.clock
        ).run()  # fmt: skip


def test_a_run_accepts_groups_and_reports() -> None:
    bench = Bench(LADDER, WEATHER, SINGLE)
    report = bench.run()
    assert report == DiscoveryReport(1, {"ladder": 1, "partition": 1}, {"empty_bracket": 1, "single_market": 1})
    assert {found.group_id for found in bench.groups.all()} == {"LADDER:ladder", "WEATHER:partition"}
    assert bench.status.get("discovery") == {
        "updated_ms": NOW_MS,
        "version": 1,
        "events": 3,
        "markets": 7,
        "combos": 0,
        "groups": {"ladder": 1, "partition": 1},
        "dropped": {"empty_bracket": 1, "single_market": 1},
    }


def test_a_second_run_on_the_same_listing_changes_nothing() -> None:
    bench = Bench(LADDER, WEATHER)
    assert bench.run() == bench.run()


def test_what_is_gone_from_the_listing_is_gone_from_the_set() -> None:
    bench = Bench(LADDER, WEATHER)
    bench.run()
    bench.exchange.listings = [WEATHER]
    assert bench.run().version == 2
    assert [found.group_id for found in bench.groups.all()] == ["WEATHER:partition"]


def test_markets_past_their_close_are_left_out_by_our_clock() -> None:
    bench = Bench(WEATHER)
    bench.clock.advance(CLOSE_MS - NOW_MS)
    assert bench.run().dropped == {"already_closed": 3}


def test_a_repeated_event_counts_once() -> None:
    bench = Bench(LADDER, LADDER)
    assert bench.run().groups == {"ladder": 1}
    assert len(bench.groups.all()) == 1


class BrokenListing(FakeExchange):
    """Stops in the middle of the listing."""

    def open_events(self) -> Iterable[EventListing]:
        def pages() -> Iterator[EventListing]:
            yield WEATHER
            raise RetryableError("page 2 could not be read")

        return pages()


def test_half_a_listing_changes_nothing() -> None:
    bench = Bench(LADDER)
    bench.run()
    bench.exchange = BrokenListing(bench.clock)
    with pytest.raises(RetryableError):
        bench.run()
    assert [found.group_id for found in bench.groups.all()] == ["LADDER:ladder"]
    status = bench.status.get("discovery")
    assert status is not None
    assert status["events"] == 1
