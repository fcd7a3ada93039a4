"""The feed's decisions without sockets: when a group is judged, what is sent, which books are copied."""

from dataclasses import dataclass, field

import pytest

from feed.config import FeedConfig, config_of
from feed.core import FeedCore, Moment
from feed.gate import Gate, Verdict
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.book import BookSnapshot, BookVersion
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.schemas import Candidate, Lifecycle
from kalshi_arb.settings import read_settings
from tests import stream_samples as wire
from tests.market_samples import NO_FEES, group

EASY, HARD = "> 70", "> 72"
LADDER = group(EASY, HARD, fees=NO_FEES)
NOW = 1_750_000_000_000


@dataclass
class Collected:
    """An outlet that keeps everything, with as much room for books as it is given."""

    candidates: list[tuple[Candidate, Moment]] = field(default_factory=list)
    books: list[BookSnapshot] = field(default_factory=list)
    messages: list[Lifecycle] = field(default_factory=list)
    room: int = 1_000

    def candidate(self, candidate: Candidate, received: Moment) -> None:
        self.candidates.append((candidate, received))

    def book(self, book: BookSnapshot) -> bool:
        if len(self.books) >= self.room:
            return False
        self.books.append(book)
        return True

    def lifecycle(self, message: Lifecycle) -> None:
        self.messages.append(message)


class Bench:
    """A core with one ladder, subscribed and quiet: YES of the easier costs 0.60, the harder is bid 0.40."""

    def __init__(self, *groups: Group, config: FeedConfig | None = None) -> None:
        self.out = Collected()
        self.core = FeedCore(
            stream=BookStream(1), outlet=self.out, config=config or FeedConfig(mode="simulated", cooldown_ms=250)
        )
        self.now = NOW
        self.seq = 0
        self.install(*(groups or (LADDER,)))
        self.core.open(self.now)
        self.core.frame(wire.subscribed(), self.moment())
        self.snapshot(EASY, {5_500: 1_000}, {4_000: 1_000})
        self.snapshot(HARD, {4_000: 1_000}, {5_000: 1_000})
        self.core.judge(self.now)

    def install(self, *groups: Group) -> None:
        self.core.install(Screen(groups), groups, self.moment())

    def moment(self) -> Moment:
        return Moment(self.now, self.now * 1_000_000)

    def snapshot(self, ticker: str, yes: wire.Levels, no: wire.Levels) -> None:
        self.seq += 1
        self.core.frame(wire.snapshot(self.seq, ticker, yes, no), self.moment())

    def delta(self, ticker: str, side: str, price: int, change: int, ts_ms: int) -> None:
        self.seq += 1
        self.core.frame(wire.delta(self.seq, ticker, side, price, change, ts_ms), self.moment())

    def lift(self, ts_ms: int, price: int = 6_300, size: int = 100) -> None:
        """Bid up the harder market; above 0.60 that is a candidate while its own ask is gone."""
        self.delta(HARD, "yes", price, size, ts_ms)

    @property
    def sent(self) -> list[Candidate]:
        return [candidate for candidate, _ in self.out.candidates]


def open_bench() -> Bench:
    bench = Bench()
    bench.delta(HARD, "no", 5_000, -1_000, 10)
    return bench


def test_a_group_is_judged_when_the_next_millisecond_begins() -> None:
    bench = open_bench()
    bench.lift(20)
    assert bench.sent == []
    bench.lift(20, size=50)
    assert bench.sent == []
    # The frame of the next millisecond is not part of what the candidate was seen on.
    bench.lift(21, price=6_400)
    (candidate,) = bench.sent
    assert {book.ticker: book.yes_bids[0] for book in candidate.books}[HARD] == (6_300, 150)
    assert candidate.edge == 300_000_000


def test_the_caller_can_end_a_millisecond_that_nothing_follows() -> None:
    bench = open_bench()
    bench.lift(20)
    assert bench.core.has_dirty
    bench.core.judge(bench.now)
    assert not bench.core.has_dirty
    assert len(bench.sent) == 1


def test_a_cross_that_is_gone_within_its_millisecond_was_never_there() -> None:
    bench = open_bench()
    bench.lift(20)
    bench.lift(20, size=-100)
    bench.lift(21, price=3_000)
    assert bench.sent == []


def test_a_candidate_carries_its_group_and_the_arrival_of_its_frame() -> None:
    bench = open_bench()
    bench.now += 7
    bench.lift(20)
    arrived = bench.moment()
    bench.now += 5
    bench.core.judge(bench.now)
    ((candidate, received),) = bench.out.candidates
    assert received == arrived
    assert (candidate.received_ms, candidate.sent_ms) == (arrived.utc_ms, 0)
    assert (candidate.group_id, candidate.fingerprint) == (LADDER.group_id, LADDER.fingerprint)
    assert [book.ticker for book in candidate.books] == list(LADDER.tickers)


def test_a_snapshot_that_changes_sizes_alone_is_judged_where_a_candidate_stands() -> None:
    bench = open_bench()
    bench.lift(20)
    bench.core.judge(bench.now)
    assert len(bench.sent) == 1
    bench.now += 1_000
    bench.snapshot(HARD, {6_300: 700, 4_000: 1_000}, {})
    bench.core.judge(bench.now)
    assert len(bench.sent) == 2
    bench.snapshot(EASY, {5_500: 1_000}, {4_100: 1_000})
    bench.now += 1_000
    bench.core.judge(bench.now)
    bench.delta(HARD, "yes", 6_300, 100, 30)
    assert bench.core.has_dirty


def test_deep_changes_do_not_judge_anything() -> None:
    bench = open_bench()
    bench.core.judge(bench.now)
    bench.delta(HARD, "yes", 100, 500, 20)
    assert not bench.core.has_dirty


def test_a_group_waits_out_its_cooldown_and_is_then_judged_again() -> None:
    bench = open_bench()
    bench.lift(20)
    bench.lift(21, size=50)
    assert len(bench.sent) == 1
    # Same edge, other sizes, too soon.
    bench.core.judge(bench.now)
    assert len(bench.sent) == 1
    assert bench.core.drops["cooldown"] == 1
    bench.now += 249
    bench.core.judge_waiting(bench.moment())
    assert len(bench.sent) == 1
    bench.now += 1
    bench.core.judge_waiting(bench.moment())
    assert len(bench.sent) == 2
    assert {book.ticker: book.yes_bids[0] for book in bench.sent[1].books}[HARD] == (6_300, 150)
    # Waiting on purpose is not latency, but the record keeps when the frame came.
    assert bench.out.candidates[1][1].monotonic_ns == bench.moment().monotonic_ns
    assert bench.sent[1].received_ms == NOW


def test_what_vanishes_during_the_cooldown_is_not_sent() -> None:
    bench = open_bench()
    bench.lift(20)
    bench.lift(21, size=50)
    bench.core.judge(bench.now)
    bench.lift(22, size=-150)
    bench.core.judge(bench.now)
    bench.now += 1_000
    bench.core.judge_waiting(bench.moment())
    assert len(bench.sent) == 1


def test_a_growing_edge_does_not_wait() -> None:
    bench = open_bench()
    bench.lift(20)
    bench.lift(21, price=6_500)
    bench.core.judge(bench.now)
    assert [candidate.edge for candidate in bench.sent] == [300_000_000, 500_000_000]


def test_the_same_books_are_sent_once() -> None:
    bench = open_bench()
    bench.lift(20)
    bench.core.judge(bench.now)
    bench.now += 5_000
    bench.install(LADDER)
    bench.core.judge(bench.now)
    assert len(bench.sent) == 1
    assert bench.core.drops["same_books"] == 1


def test_new_groups_are_judged_on_books_that_are_kept_already() -> None:
    bench = open_bench()
    bench.install(group(EASY, HARD, "> 99", fees=NO_FEES))
    bench.core.judge(bench.now)
    # The third book is not there yet.
    assert bench.sent == []
    bench.lift(20)
    bench.install(LADDER)
    bench.core.judge(bench.now)
    assert len(bench.sent) == 1


@pytest.mark.parametrize("loss", ["gap", "close"])
def test_stale_books_are_never_sent(loss: str) -> None:
    bench = open_bench()
    bench.lift(20)
    if loss == "gap":
        bench.seq += 1
        bench.lift(21)
    else:
        bench.core.close(bench.moment())
    bench.core.judge(bench.now)
    bench.core.judge_waiting(bench.moment())
    assert bench.sent == ([] if loss == "close" else bench.sent[:1])
    assert bench.core.screen.edge(LADDER.group_id) is None


def test_a_gap_is_followed_by_candidates_on_the_new_books() -> None:
    bench = open_bench()
    bench.seq += 1
    bench.lift(21)
    assert bench.sent == []
    bench.snapshot(EASY, {}, {4_000: 1_000})
    bench.core.judge(bench.now)
    assert bench.sent == []
    bench.snapshot(HARD, {6_200: 100}, {})
    bench.core.judge(bench.now)
    (candidate,) = bench.sent
    assert candidate.edge == 200_000_000


def test_lifecycle_messages_are_passed_on() -> None:
    bench = Bench()
    bench.core.frame(
        '{"type":"market_lifecycle_v2","sid":1,"seq":1,"msg":{"market_ticker":"NEW","event_type":"created"}}',
        bench.moment(),
    )
    assert bench.out.messages == [Lifecycle("NEW", "created", NOW)]


def test_a_lifecycle_message_names_the_groups_of_its_market_or_event() -> None:
    bench = Bench()
    event = LADDER.event_ticker
    for kind, name, ticker in (
        ("market_lifecycle_v2", "market_ticker", HARD), ("event_fee_update", "event_ticker", event),
    ):  # fmt: skip
        more = ',"event_type":"metadata_updated"' if name == "market_ticker" else ""
        bench.seq += 1
        bench.core.frame(
            f'{{"type":"{kind}","sid":9,"seq":{bench.seq},"msg":{{"{name}":"{ticker}"{more}}}}}', bench.moment()
        )
    assert [(one.ticker, one.groups) for one in bench.out.messages] == [
        (HARD, (LADDER.group_id,)), (event, (LADDER.group_id,)),
    ]  # fmt: skip


def test_nothing_is_offered_of_a_suspended_group_and_what_stands_is_judged_when_it_resumes() -> None:
    bench = open_bench()
    bench.core.suspend(frozenset({LADDER.group_id}), bench.moment())
    bench.lift(20)
    bench.core.judge(bench.now)
    assert (bench.sent, bench.core.drops["group_suspended"]) == ([], 1)
    bench.core.suspend(frozenset(), bench.moment())
    assert bench.core.has_dirty
    bench.core.judge(bench.now)
    assert len(bench.sent) == 1


def test_lag_is_the_worst_since_it_was_last_looked_at() -> None:
    bench = Bench()
    assert bench.core.worst_lag_ms is None
    bench.delta(EASY, "yes", 100, 1, NOW - 40)
    bench.delta(EASY, "yes", 100, 1, NOW - 10)
    assert bench.core.worst_lag_ms == 40


def test_what_the_exchange_refuses_is_counted() -> None:
    bench = Bench()
    bench.core.frame(b"{", bench.moment())
    bench.core.frame(wire.error(26, 2), bench.moment())
    assert bench.core.drops["malformed_frame"] == 1


# Copies of books


def copied(bench: Bench) -> list[str]:
    bench.out.books.clear()
    bench.core.copy_books(bench.now)
    return sorted(book.ticker for book in bench.out.books)


def test_near_groups_are_copied_often_and_far_ones_seldom() -> None:
    # Forty cents from a candidate, so far away; the short interval does not apply.
    far = Bench(config=FeedConfig(mode="simulated", snapshot_interval_ms=100, sweep_interval_ms=1_000))
    assert copied(far) == [EASY, HARD]
    far.delta(EASY, "yes", 100, 1, 10)
    for wait, expected in ((100, []), (899, []), (1, [EASY])):
        far.now += wait
        assert copied(far) == expected
    # One cent from a candidate.
    near = Bench(config=FeedConfig(mode="simulated", snapshot_interval_ms=100, sweep_interval_ms=1_000))
    near.delta(HARD, "no", 5_000, -1_000, 10)
    near.lift(11, price=5_900)
    near.core.judge(near.now)
    assert copied(near) == [EASY, HARD]
    near.delta(EASY, "yes", 100, 1, 12)
    near.now += 99
    assert copied(near) == []
    near.now += 1
    assert copied(near) == [EASY]
    assert copied(near) == []


def test_watched_groups_are_copied_like_near_ones() -> None:
    bench = Bench(config=FeedConfig(mode="simulated", snapshot_interval_ms=100, sweep_interval_ms=1_000))
    copied(bench)
    bench.delta(EASY, "yes", 100, 1, 10)
    bench.now += 100
    assert copied(bench) == []
    bench.core.watch([LADDER.group_id])
    assert copied(bench) == [EASY]


def test_a_full_way_out_loses_no_copy() -> None:
    bench = Bench()
    bench.out.room = 1
    assert len(copied(bench)) == 1
    bench.out.room = 10
    assert len(copied(bench)) == 1


def test_stale_books_are_not_copied() -> None:
    bench = Bench()
    bench.core.close(bench.moment())
    assert copied(bench) == []


# The gate, the numbers


def test_the_gate_compares_versions_time_and_edge() -> None:
    gate = Gate(100)
    one, two, three = ((BookVersion(1, 1, n),) for n in (1, 2, 3))
    assert gate.due_ms("G") == 0
    assert gate.decide("G", 5, one, 1_000) is Verdict.SEND
    assert gate.due_ms("G") == 1_100
    assert gate.decide("G", 9, one, 5_000) is Verdict.SAME_BOOKS
    assert gate.decide("G", 5, two, 1_099) is Verdict.TOO_SOON
    assert gate.decide("OTHER", 5, two, 1_099) is Verdict.SEND
    assert gate.decide("G", 6, two, 1_099) is Verdict.SEND
    assert gate.decide("G", 6, three, 1_199) is Verdict.SEND
    gate.keep({"OTHER"})
    assert gate.decide("G", 6, three, 1_199) is Verdict.SEND


def test_settings_become_the_feeds_numbers() -> None:
    environment = {"KALSHI_ARB_MODE": "paper", "KALSHI_ARB_REST_URL": "https://x.test", "KALSHI_ARB_BOOK_DEPTH": "7"}
    config = config_of(read_settings(environment))
    assert (config.mode, config.depth, config.snapshot_interval_ms) == ("paper", 7, 2_000)
    slow = read_settings(environment | {"KALSHI_ARB_SNAPSHOT_INTERVAL_MS": "60001"})
    with pytest.raises(SettingsError, match="SNAPSHOT_INTERVAL_MS"):
        config_of(slow)
