"""Detection of candidates: what starts a basket, what is dropped and why, and what repetitions do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from kalshi_arb.detection.allocate import Claim
from kalshi_arb.detection.detect import Detector, Handled, Origin
from kalshi_arb.detection.verify import replay
from kalshi_arb.domain.basket import BasketState, lease_mark_ms
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.errors import StoreError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.group_record import SuspensionReason, approve, succeed, suspend
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.state_space import Group
from kalshi_arb.fakes import (
    ManualClock,
    MemoryBasketStore,
    MemoryGroupStore,
    MemoryNotifier,
    MemoryOpportunityStore,
    MemoryStatusStore,
    MemoryWorkflow,
)
from kalshi_arb.ports import AlertKind
from kalshi_arb.schemas import Candidate
from tests.market_samples import NOW_MS, book, group

LADDER = group("> 1", "> 2", event="LADDER")
WEATHER = group("< 93", "93 .. 94", "95 .. 96", "> 96", event="WEATHER")


@dataclass
class FlakyWorkflow(MemoryWorkflow):
    """Fails as often as told."""

    failures: int = 0

    def start(self, basket_id: str, attempt: int) -> bool:
        if self.failures:
            self.failures -= 1
            raise StoreError("the workflow service did not answer")
        return super().start(basket_id, attempt)


@dataclass
class FlakyNotifier(MemoryNotifier):
    """Fails as often as told."""

    failures: int = 0

    def publish(self, alert: object) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the topic did not answer")
        super().publish(alert)  # type: ignore[arg-type]


@dataclass
class Bench:
    """A detector over memory."""

    groups: MemoryGroupStore = field(default_factory=lambda: MemoryGroupStore([LADDER, WEATHER]))
    opportunities: MemoryOpportunityStore = field(default_factory=MemoryOpportunityStore)
    baskets: MemoryBasketStore = field(default_factory=MemoryBasketStore)
    workflow: FlakyWorkflow = field(default_factory=FlakyWorkflow)
    status: MemoryStatusStore = field(default_factory=MemoryStatusStore)
    notifier: FlakyNotifier = field(default_factory=FlakyNotifier)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS))
    free: Mapping[str, int] | Exception = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def detector(self) -> Detector:
        return Detector(
            groups=self.groups,
            opportunities=self.opportunities,
            baskets=self.baskets,
            workflow=self.workflow,
            status=self.status,
            notifier=self.notifier,
            clock=self.clock,
            mode="simulated",
            precision=Precision.DIRECT,
            smallest_fill=Count(100),
            max_book_age_ms=2_000,
            netting=Netting.OFF,
            free=self.ask_free,
        )

    def ask_free(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        self.asked.append([one.opportunity_id for one in claims])
        if isinstance(self.free, Exception):
            raise self.free
        return self.free

    def counters(self) -> dict[str, int]:
        return self.status.counters("detection")


def candidate(found: Group, *snapshots: BookSnapshot) -> Candidate:
    return Candidate(found.group_id, found.fingerprint, snapshots, 1, NOW_MS - 3, NOW_MS - 1)


def lock(seq: int = 1, size: float = 10, alive_ms: int = NOW_MS) -> Candidate:
    """YES of the easier strike for 40 cents, NO of the harder for 50."""
    return candidate(
        LADDER,
        book("> 1", no=[(60, size)], seq=seq, alive_ms=alive_ms),
        book("> 2", yes=[(50, size)], seq=seq, alive_ms=alive_ms),
    )


def test_a_proved_candidate_starts_a_basket_and_tells_people() -> None:
    bench = Bench()
    assert bench.detector().handle(lock()).outcome == "started"
    (found,) = bench.opportunities.recent(10)
    assert found.certificate.grade is Grade.PROVED
    assert (found.group_id, found.event_ticker, found.found_ms, found.candidate_ms) == (
        LADDER.group_id, "LADDER", NOW_MS, NOW_MS - 1,
    )  # fmt: skip
    (basket,) = bench.baskets.recent(10)
    assert basket.state is BasketState.PROPOSED
    assert basket.opportunity_id == found.opportunity_id
    assert basket.mode == "simulated"
    assert bench.workflow.started == [(basket.basket_id, 1)]
    (alert,) = bench.notifier.published
    assert alert.kind is AlertKind.OPPORTUNITY
    assert alert.mode == "simulated"
    assert alert.text == (
        f"2 legs for at most $9.3432 gain at least $0.6568 in each of 3 settlements. "
        f"Basket {basket.basket_id} was started."
    )
    assert bench.counters() == {"candidates": 1, "opportunity.proved": 1, "started": 1}


def test_a_suspended_group_is_refused_and_so_is_one_that_changed() -> None:
    bench = Bench()
    record = bench.groups.get(LADDER.group_id)
    assert record is not None
    stop = suspend(record, SuspensionReason.ANNOUNCED, "a strike changed", now_ms=NOW_MS)
    bench.groups.write([stop])
    assert bench.detector().handle(lock()).outcome == "group_suspended"
    assert stop.after is not None
    after = replace(LADDER, fingerprint="other")
    bench.groups.write([succeed(stop.after, after, ("a strike changed",), read_ms=NOW_MS, now_ms=NOW_MS)])
    assert bench.detector().handle(lock()).outcome == "fingerprint_changed"
    assert bench.counters() == {"candidates": 2, "drop.group_suspended": 1, "drop.fingerprint_changed": 1}
    assert bench.opportunities.recent(9) == []


def test_what_rests_on_an_assumption_starts_nothing_before_a_person_has_approved_it() -> None:
    assumed = replace(LADDER, assumptions=("the rules say so",))
    bench = Bench(groups=MemoryGroupStore([assumed]))
    assert bench.detector().handle(lock()).outcome == "not_approved"
    (found,) = bench.opportunities.recent(9)
    assert found.certificate.grade is Grade.ASSUMED
    record = bench.groups.get(LADDER.group_id)
    assert record is not None
    bench.groups.write([approve(record, "read the rules", now_ms=NOW_MS)])
    assert bench.detector().handle(lock(seq=2)).outcome == "started"


def test_the_same_candidate_twice_starts_once() -> None:
    bench = Bench()
    detector = bench.detector()
    assert [detector.handle(lock()).outcome, detector.handle(lock()).outcome] == ["started", "duplicate"]
    # Another process has no memory of the first.
    assert bench.detector().handle(lock()).outcome == "duplicate"
    assert len(bench.workflow.started) == len(bench.baskets.recent(10)) == len(bench.opportunities.recent(10)) == 1
    assert len({alert.alert_id for alert in bench.notifier.published}) == 1
    assert bench.counters() == {"candidates": 3, "opportunity.proved": 1, "started": 1, "drop.duplicate": 2}


def test_a_failed_start_is_made_up_for_by_the_next_delivery() -> None:
    bench = Bench(workflow=FlakyWorkflow(failures=1))
    with pytest.raises(StoreError):
        bench.detector().handle(lock())
    (basket,) = bench.baskets.recent(10)
    assert basket.state is BasketState.PROPOSED
    assert bench.workflow.started == []
    assert bench.notifier.published == []
    assert bench.detector().handle(lock()).outcome == "started"
    assert bench.workflow.started == [(basket.basket_id, 1)]


def test_a_lost_alert_is_made_up_for_by_the_next_delivery() -> None:
    bench = Bench(notifier=FlakyNotifier(failures=1))
    with pytest.raises(StoreError):
        bench.detector().handle(lock())
    assert len(bench.workflow.started) == 1
    assert bench.detector().handle(lock()).outcome == "duplicate"
    assert len(bench.notifier.published) == 1


@pytest.mark.parametrize("change", [{"state": BasketState.REFUSED}, {"attempt": 2}])
def test_a_basket_that_went_on_is_never_started_again(change: dict[str, object]) -> None:
    bench = Bench()
    bench.detector().handle(lock())
    (basket,) = bench.baskets.recent(10)
    bench.baskets.save(replace(basket, **change))  # type: ignore[arg-type]
    bench.workflow.started.clear()
    assert bench.detector().handle(lock()).outcome == "duplicate"
    assert bench.workflow.started == []


def test_a_group_with_a_live_basket_is_busy_until_it_ends() -> None:
    bench = Bench()
    detector = bench.detector()
    assert detector.handle(lock(seq=1)).outcome == "started"
    assert detector.handle(lock(seq=2)).outcome == "group_busy"
    (basket,) = bench.baskets.recent(10)
    bench.baskets.save(replace(basket, state=BasketState.REFUSED))
    assert detector.handle(lock(seq=3)).outcome == "started"
    assert bench.counters()["opportunity.proved"] == 3


def test_what_is_older_than_what_was_seen_is_dropped() -> None:
    bench = Bench()
    detector = bench.detector()
    detector.handle(lock(seq=5))
    assert detector.handle(lock(seq=4)).outcome == "older_than_seen"
    mixed = replace(lock(seq=6), books=(lock(seq=6).books[0], lock(seq=4).books[1]))
    assert detector.handle(mixed).outcome == "older_than_seen"


def test_a_new_subscription_is_newer_though_its_sequence_restarts() -> None:
    bench = Bench()
    detector = bench.detector()
    detector.handle(lock(seq=500))
    again = lock(seq=1)
    renewed = replace(
        again, books=tuple(replace(one, version=one.version._replace(generation=2)) for one in again.books)
    )
    assert detector.handle(renewed).outcome == "group_busy"


def test_groups_that_are_gone_or_changed_are_dropped() -> None:
    bench = Bench()
    detector = bench.detector()
    assert detector.handle(replace(lock(), group_id="GONE:ladder")).outcome == "unknown_group"
    assert detector.handle(replace(lock(), fingerprint="before the rules changed")).outcome == "fingerprint_changed"
    assert bench.counters() == {"candidates": 2, "drop.unknown_group": 1, "drop.fingerprint_changed": 1}


def test_old_books_are_dropped_and_not_remembered() -> None:
    bench = Bench()
    detector = bench.detector()
    assert detector.handle(lock(seq=9, alive_ms=NOW_MS - 2_001)).outcome == "stale_books"
    assert detector.handle(lock(seq=1)).outcome == "started"


def test_no_edge_is_a_near_miss_with_its_distance() -> None:
    bench = Bench()
    near = candidate(LADDER, book("> 1", no=[(55, 10)]), book("> 2", yes=[(45, 10)]))
    assert bench.detector().handle(near).outcome == "no_bundle"
    status = bench.status.get("detection")
    assert status is not None
    assert status["misses"] == [
        {
            "group_id": LADDER.group_id,
            "event_ticker": "LADDER",
            # Both fees are 0.07 x 0.45 x 0.55.
            "edge": -2 * 7 * 4_500 * 5_500,
            "text": "buy YES > 1 at 0.4500 and buy NO > 2 at 0.5500: -0.0346500000 dollars a set after fees",
            "legs": ["buy YES > 1 at 0.4500", "buy NO > 2 at 0.5500"],
            "prices": [["> 1", "0.4673250000"], ["> 2", "0.4526750000"]],
        }
    ]


def test_a_side_that_is_missing_is_no_near_miss() -> None:
    bench = Bench()
    assert bench.detector().handle(candidate(LADDER, book("> 1", no=[(55, 10)]))).outcome == "no_bundle"
    assert bench.status.get("detection") is None


def test_misses_are_sorted_and_leave_when_their_group_is_proved() -> None:
    bench = Bench()
    detector = bench.detector()
    detector.handle(candidate(LADDER, book("> 1", no=[(55, 10)]), book("> 2", yes=[(45, 10)])))
    detector.handle(candidate(WEATHER, *(book(ticker, yes=[(24, 10)]) for ticker in WEATHER.tickers)))
    status = bench.status.get("detection")
    assert status is not None
    misses = status["misses"]
    assert isinstance(misses, list)
    assert [one["event_ticker"] for one in misses] == ["LADDER", "WEATHER"]
    detector.handle(lock(seq=2))
    detector.handle(candidate(WEATHER, *(book(ticker, yes=[(23, 10)], seq=3) for ticker in WEATHER.tickers)))
    status = bench.status.get("detection")
    assert status is not None
    misses = status["misses"]
    assert isinstance(misses, list)
    assert [one["event_ticker"] for one in misses] == ["WEATHER"]


def test_an_edge_that_rounding_eats_is_refused_and_says_so() -> None:
    bench = Bench()
    # 0.01 contract at 92 against 93: an edge of 0.0003 a contract and two roundings of 0.0001.
    thin = candidate(LADDER, book("> 1", no=[(8, 0.01)]), book("> 2", yes=[(93, 0.01)]))
    assert bench.detector().handle(thin).outcome == "fee_rounding"
    assert bench.counters() == {
        "candidates": 1,
        "near_miss": 1,
        "opportunity.refused": 1,
        "drop.fee_rounding": 1,
    }
    status = bench.status.get("detection")
    assert status is not None
    assert "an edge before rounding, -$0.0001" in str(status["misses"])
    assert bench.opportunities.recent(1) == []


def test_a_conditional_bundle_is_kept_but_not_traded() -> None:
    bench = Bench()
    cheap = candidate(WEATHER, *(book(ticker, no=[(80, 10)]) for ticker in WEATHER.tickers))
    detector = bench.detector()
    assert [detector.handle(cheap).outcome, detector.handle(cheap).outcome] == ["conditional", "conditional"]
    (found,) = bench.opportunities.recent(10)
    assert found.certificate.grade is Grade.CONDITIONAL
    assert bench.workflow.started == []
    assert bench.baskets.recent(10) == []
    assert bench.counters() == {
        "candidates": 2,
        "near_miss": 2,
        "opportunity.conditional": 1,
        "drop.conditional": 2,
    }


def test_books_that_cannot_be_true_prove_nothing() -> None:
    bench = Bench()
    negative = lock()
    broken = replace(negative.books[0], no_bids=(negative.books[0].no_bids[0]._replace(size=Count(-5)),))
    assert bench.detector().handle(replace(negative, books=(broken, negative.books[1]))).outcome == "no_bundle"
    future = lock(alive_ms=NOW_MS + 60_000)
    assert bench.detector().handle(future).outcome == "unfit_books"


def test_a_market_that_became_unpriceable_is_not_proved() -> None:
    strange = replace(LADDER, markets=tuple(replace(one, fees=FeeSchedule(FeeType.UNKNOWN)) for one in LADDER.markets))
    bench = Bench(groups=MemoryGroupStore([strange]))
    assert bench.detector().handle(lock()).outcome == "not_proved"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalshi_arb.detection.detect._REMEMBERED_GROUPS", 1)
    bench = Bench()
    detector = bench.detector()
    detector.handle(candidate(LADDER, book("> 1", no=[(55, 10)], seq=5), book("> 2", yes=[(45, 10)], seq=5)))
    detector.handle(candidate(WEATHER, *(book(ticker, yes=[(24, 10)]) for ticker in WEATHER.tickers)))
    status = bench.status.get("detection")
    assert status is not None
    assert "LADDER" not in str(status["misses"])
    # The ladder's books were forgotten, so an older candidate is judged again: safe, because ids are what protects.
    assert detector.handle(lock(seq=4)).outcome == "started"


def test_ids_follow_from_what_was_found_on_which_books() -> None:
    def run(prepare: Callable[[], Candidate]) -> str:
        bench = Bench()
        bench.detector().handle(prepare())
        return bench.opportunities.recent(1)[0].opportunity_id

    assert run(lock) == run(lock)
    assert len({run(lock), run(lambda: lock(seq=2)), run(lambda: lock(size=11))}) == 3


# What came together --------------------------------------------------------------------------------------------------


def two_groups() -> tuple[Bench, list[Candidate]]:
    """A small lock and a large one that came in one batch."""
    bench = Bench(groups=MemoryGroupStore([LADDER, WEATHER]))
    dear = candidate(WEATHER, *(book(ticker, yes=[(40, 5)]) for ticker in WEATHER.tickers))
    return bench, [lock(size=1), dear]


def test_the_best_of_a_batch_starts_first_and_every_answer_is_at_its_place() -> None:
    bench, batch = two_groups()
    results = bench.detector().handle_all(batch)
    assert [isinstance(one, Handled) and one.outcome for one in results] == ["started", "started"]
    small, large = results
    assert isinstance(small, Handled)
    assert isinstance(large, Handled)
    assert [basket_id for basket_id, _ in bench.workflow.started] == [large.basket_id, small.basket_id]
    assert len(bench.asked) == 1
    assert bench.counters() == {"candidates": 2, "opportunity.proved": 2, "started": 2}


def test_what_the_allocator_passes_over_comes_last_and_is_left_to_the_reservation() -> None:
    bench, batch = two_groups()
    bench.free = {"open#baskets": 1, "event#WEATHER": 0}
    small, large = bench.detector().handle_all(batch)
    assert isinstance(small, Handled)
    assert isinstance(large, Handled)
    assert [basket_id for basket_id, _ in bench.workflow.started] == [small.basket_id, large.basket_id]
    assert bench.counters()["passed_over"] == 1


def test_without_advice_the_best_starts_first() -> None:
    bench, batch = two_groups()
    bench.free = StoreError("the limits cannot be read")
    assert [getattr(one, "outcome", None) for one in bench.detector().handle_all(batch)] == ["started", "started"]
    assert "passed_over" not in bench.counters()


def test_one_find_asks_nobody() -> None:
    bench = Bench()
    bench.detector().handle(lock())
    assert bench.asked == []


def test_an_error_stays_with_its_candidate() -> None:
    bench, batch = two_groups()
    bench.workflow = FlakyWorkflow(failures=1)
    small, large = bench.detector().handle_all(batch)
    assert isinstance(large, StoreError)
    assert isinstance(small, Handled)
    assert small.outcome == "started"
    assert bench.counters() == {"candidates": 1, "opportunity.proved": 2, "started": 1}


def test_the_same_candidate_twice_in_a_batch_starts_once() -> None:
    bench = Bench()
    results = bench.detector().handle_all([lock(), lock()])
    assert [getattr(one, "outcome", None) for one in results] == ["started", "duplicate"]
    assert len(bench.workflow.started) == 1
    assert bench.detector().handle_all([]) == []


def test_books_that_were_read_are_as_new_as_the_reading() -> None:
    bench = Bench()
    detector = bench.detector()
    assert detector.handle(candidate(LADDER, book("> 1", no=[(55, 10)], seq=9), book("> 2"))).outcome == "no_bundle"
    read = replace(lock(), books=tuple(replace(one, version=BookVersion(0, 0, NOW_MS)) for one in lock().books))
    (result,) = detector.handle_all([read], Origin.READ)
    assert isinstance(result, Handled)
    assert result.outcome == "started"
    # What was read tells nothing about the stream's order.
    assert detector.handle(lock(seq=8)).outcome == "older_than_seen"


def test_what_is_stored_can_be_replayed_and_says_what_it_ties_up() -> None:
    bench = Bench()
    bench.detector().handle(lock())
    (found,) = bench.opportunities.recent(1)
    assert replay(found.certificate) == ()
    assert found.capital is not None
    assert found.capital.locked == found.certificate.outlay
    assert found.quality is not None
    assert found.quality.depth_ppm == 1_000_000


def test_deliveries_and_candidates_of_one_group_at_the_same_time_make_one_live_basket() -> None:
    """Several processes, each with a detector of its own; after the end the first books from after it start another."""
    bench = Bench()
    candidates = [lock(), lock(), lock(seq=2), lock(seq=3)]
    outcomes = [bench.detector().handle(one).outcome for one in candidates]
    assert outcomes == ["started", "duplicate", "group_busy", "group_busy"]
    (basket,) = bench.baskets.recent(10)
    assert bench.baskets.owners == {LADDER.group_id: basket.basket_id}
    assert len(bench.workflow.started) == 1
    row = bench.baskets.save(replace(basket, state=BasketState.RESERVED))
    row = bench.baskets.save(replace(row, state=BasketState.EXECUTING, first_order_ms=NOW_MS))
    ended = bench.baskets.save(replace(row, state=BasketState.FLAT, updated_ms=NOW_MS + 100))
    mark = lease_mark_ms(ended)
    bench.clock.advance(mark + 1 - NOW_MS)
    # One book is from before the feed can have seen the basket's own orders.
    early = candidate(
        LADDER, book("> 1", no=[(60, 10)], seq=4, alive_ms=mark + 1), book("> 2", yes=[(50, 10)], seq=4, alive_ms=mark)
    )
    assert bench.detector().handle(early).outcome == "group_busy"
    assert bench.detector().handle(lock(seq=5, alive_ms=mark + 1)).outcome == "started"
    assert len(bench.baskets.recent(10)) == 2
