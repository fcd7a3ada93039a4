"""The feed's threads, its way out, its group watcher, its connector's waiting times and its start."""

import asyncio
import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import feed.__main__ as feed_main
from feed.config import FeedConfig
from feed.connection import Backoff
from feed.core import FeedCore, Moment
from feed.health import MetricsSource, status_of, write_health_file
from feed.publisher import CANDIDATES_WAITING, Ports, Publisher
from feed.service import FeedCrashError
from feed.watcher import GroupWatcher
from feed.workers import Worker
from kalshi_arb import bootstrap
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.errors import SettingsError, StoreError
from kalshi_arb.domain.group_record import GroupRecord, SuspensionReason, resume, suspend
from kalshi_arb.domain.state_space import Group
from kalshi_arb.fakes import (
    ManualClock,
    MemoryBookStore,
    MemoryGroupStore,
    MemoryMetrics,
    MemoryQueue,
    MemoryStatusStore,
)
from kalshi_arb.kalshi.errors import AuthError
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.metrics_names import Metric
from kalshi_arb.schemas import Candidate, Lifecycle, decode
from tests.market_samples import book, group

PATIENCE_S = 10.0


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def no_crash(name: str) -> None:
    pytest.fail(f"{name} crashed")


# Workers


def test_a_worker_handles_everything_in_order_before_it_stops() -> None:
    done: list[int] = []
    worker = Worker("test", done.append, capacity=100, on_crash=no_crash)
    for number in range(50):
        worker.offer(number)
    worker.start()
    worker.stop(time.monotonic() + PATIENCE_S)
    assert done == list(range(50))
    assert (worker.dropped, worker.errors) == (0, 0)


def test_a_full_worker_drops_its_oldest_and_counts_it() -> None:
    done: list[int] = []
    worker = Worker("test", done.append, capacity=2, on_crash=no_crash)
    for number in range(5):
        assert worker.is_full() == (number >= 2)
        worker.offer(number)
    worker.start()
    worker.stop(time.monotonic() + PATIENCE_S)
    assert done == [3, 4]
    assert worker.dropped == 3


def test_a_worker_that_hangs_is_left_behind_and_its_queue_counted() -> None:
    release = threading.Event()
    started = threading.Event()

    def hang(_: int) -> None:
        started.set()
        release.wait(PATIENCE_S)

    worker = Worker("test", hang, capacity=10, on_crash=no_crash)
    worker.start()
    for number in range(3):
        worker.offer(number)
    assert started.wait(PATIENCE_S)
    worker.stop(time.monotonic())
    assert worker.dropped == 2
    release.set()


def test_a_refusal_costs_one_item() -> None:
    done: list[int] = []

    def refuse_odd(number: int) -> None:
        if number % 2:
            raise StoreError("odd")
        done.append(number)

    worker = Worker("test", refuse_odd, capacity=10, on_crash=no_crash)
    worker.start()
    for number in range(4):
        worker.offer(number)
    worker.stop(time.monotonic() + PATIENCE_S)
    assert (done, worker.errors) == ([0, 2], 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_is_reported_by_name() -> None:
    crashed: list[str] = []
    worker: Worker[int] = Worker(
        "test", lambda number: divmod(1, number) and None, capacity=10, on_crash=crashed.append
    )
    worker.start()
    worker.offer(0)
    worker.stop(time.monotonic() + PATIENCE_S)
    assert crashed == ["test"]


# The way out


class Ticking:
    """Nanoseconds that move by a millisecond at each look."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


def ports() -> Ports:
    return Ports(MemoryQueue(), MemoryQueue(), MemoryBookStore(), MemoryStatusStore())


def candidate(number: int = 0) -> Candidate:
    return Candidate(f"G{number}", "print", (book("A", [(40, 1)]),), 5, 100, 0)


def test_everything_reaches_its_own_place() -> None:
    out, clock = ports(), ManualClock()
    publisher = Publisher(out, clock, on_crash=no_crash, monotonic_ns=Ticking())
    publisher.start()
    publisher.candidate(candidate(), Moment(100, 0))
    publisher.lifecycle(Lifecycle("A", "created", 5))
    assert publisher.book(book("A", [(40, 1)]))
    publisher.status({"connected": True})
    publisher.stop(PATIENCE_S)
    assert isinstance(out.candidates, MemoryQueue)
    assert isinstance(out.lifecycle, MemoryQueue)
    sent = decode(out.candidates.bodies[0], Candidate)
    assert (sent.group_id, sent.sent_ms) == ("G0", clock.now_ms())
    assert decode(out.lifecycle.bodies[0], Lifecycle) == Lifecycle("A", "created", 5)
    assert out.books.get(["A"]).keys() == {"A"}
    assert out.status.get("feed") == {"connected": True}
    assert publisher.drops() == {}


def test_latency_runs_from_the_frame_to_the_sending() -> None:
    publisher = Publisher(ports(), ManualClock(), on_crash=no_crash, monotonic_ns=Ticking())
    assert publisher.latency_ms() == {"p50": None, "p99": None}
    publisher.start()
    for number in range(50):
        publisher.candidate(candidate(number), Moment(0, 0))
    publisher.stop(PATIENCE_S)
    assert publisher.latency_ms() == {"p50": 26.0, "p99": 50.0}


def test_too_many_candidates_cost_the_oldest_and_too_many_books_none() -> None:
    publisher = Publisher(ports(), ManualClock(), on_crash=no_crash)
    for number in range(CANDIDATES_WAITING + 3):
        publisher.candidate(candidate(number), Moment(0, 0))
    taken = 0
    while publisher.book(book("A", [(40, 1)], seq=taken)):
        taken += 1
    assert publisher.drops() == {"candidates_queue_full": 3}


# Groups


def watcher_of(
    groups: MemoryGroupStore,
    status: MemoryStatusStore,
    seen: list[Sequence[Group]],
    watched: list[frozenset[str]],
    suspended: list[frozenset[str]] | None = None,
) -> GroupWatcher:
    def take(screen: Screen, found: Sequence[Group]) -> None:
        assert [screen.group(one.group_id) for one in found] == list(found)
        seen.append(found)

    return GroupWatcher(
        groups=groups, status=status, poll_s=0.001, on_groups=take, on_watch=watched.append, on_crash=no_crash,
        on_suspended=([] if suspended is None else suspended).append,
    )  # fmt: skip


def test_all_groups_are_read_once_and_later_only_those_that_changed() -> None:
    class Counting(MemoryGroupStore):
        reads = 0

        def all(self) -> list[GroupRecord]:
            self.reads += 1
            return super().all()

    groups, status = Counting(), MemoryStatusStore()
    seen: list[Sequence[Group]] = []
    watched: list[frozenset[str]] = []
    watcher = watcher_of(groups, status, seen, watched)
    watcher.start()
    groups.hold([group("> 1", "> 2")])
    eventually(lambda: len(seen) == 1)
    status.put("watch", {"groups": ["G", 5]})
    eventually(lambda: watched == [frozenset({"G"})])
    groups.hold([])
    eventually(lambda: len(seen) == 2)
    watcher.stop()
    assert (groups.reads, watcher.errors) == (1, 0)


def test_a_suspension_is_handed_on_without_a_new_screen() -> None:
    groups = MemoryGroupStore([group("> 1", "> 2")])
    (record,) = groups.all()
    seen: list[Sequence[Group]] = []
    suspended: list[frozenset[str]] = []
    watcher = watcher_of(groups, MemoryStatusStore(), seen, [], suspended)
    watcher.start()
    eventually(lambda: len(seen) == 1)
    stop = suspend(record, SuspensionReason.ANNOUNCED, "a strike changed", now_ms=5)
    groups.write([stop])
    eventually(lambda: suspended == [frozenset({record.group_id})])
    assert stop.after is not None
    groups.write([resume(stop.after, read_ms=9, now_ms=9)])
    eventually(lambda: suspended[1:] == [frozenset()])
    watcher.stop()
    assert len(seen) == 1


def test_a_group_store_that_refuses_is_asked_again() -> None:
    class Flaky(MemoryGroupStore):
        refusals = 3

        def version(self) -> int:
            if self.refusals:
                self.refusals -= 1
                raise StoreError("throttled")
            return super().version()

    seen: list[Sequence[Group]] = []
    watcher = watcher_of(Flaky([group("> 1", "> 2")]), MemoryStatusStore(), seen, [])
    watcher.start()
    eventually(lambda: len(seen) == 1)
    watcher.stop()
    assert watcher.errors == 3


# Waiting times


def test_waiting_grows_from_the_first_to_the_longest_and_is_spread() -> None:
    longest, shortest = Backoff(1, 60, lambda: 1.0), Backoff(1, 60, lambda: 0.0)
    assert [longest.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [shortest.next_s() for _ in range(8)] == [1] * 8
    longest.reset()
    assert longest.next_s() == 1


# Health


class Silent:
    """An outlet that nothing reaches."""

    def candidate(self, candidate: Candidate, received: Moment) -> None:
        pytest.fail("no candidate expected")

    def book(self, book: object) -> bool:
        return True

    def lifecycle(self, message: Lifecycle) -> None:
        pytest.fail("no message expected")


def test_a_status_names_what_people_and_alarms_look_at() -> None:
    core = FeedCore(stream=BookStream(1), outlet=Silent(), config=FeedConfig(mode="simulated"))
    status = status_of(
        core, now_ms=5, epoch=2, mode="simulated", reconnects=1, drops={"b": 2, "a": 1, "none": 0},
        latency_ms={"p50": 1.5, "p99": None}, misses=3,
    )  # fmt: skip
    assert status == {
        "updated_ms": 5, "mode": "simulated", "epoch": 2, "connected": False, "frames": 0, "books": 0,
        "stale_books": 0, "gaps": 0, "resyncs": 0, "reconnects": 1, "candidates": 0, "groups": 0,
        "latency_ms": {"p50": 1.5, "p99": None}, "misses": [], "drops": {"a": 1, "b": 2},
        "private": {
            "heard_ms": 0, "fills": 0, "orders": 0, "differences": 0, "unmatched_orders": 0, "positions": {},
        },
    }  # fmt: skip


def test_metrics_are_what_happened_since_the_last_look() -> None:
    core = FeedCore(stream=BookStream(1), outlet=Silent(), config=FeedConfig(mode="simulated"))
    metrics = MemoryMetrics()
    source = MetricsSource(metrics)
    for _ in range(2):
        core.frame(b"{", Moment(1, 1))
        core.worst_lag_ms = 7
        source.note(core)
    source.note(core)
    assert metrics.counted[Metric.FRAMES] == 2
    assert metrics.observed == {Metric.STALE_BOOKS: [0, 0, 0], Metric.FEED_LAG_MS: [7, 7]}
    source.flush()
    assert metrics.flushes == 1


def test_the_health_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "health"
    for number in range(3):
        write_health_file(path, {"frames": number})
        assert json.loads(path.read_text()) == {"frames": number}
    assert [file.name for file in tmp_path.iterdir()] == ["health"]


# The start


KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ENVIRONMENT = {
    "KALSHI_ARB_MODE": "simulated",
    "KALSHI_ARB_REST_URL": "http://127.0.0.1:1/trade-api/v2",
    "KALSHI_ARB_WS_URL": "ws://127.0.0.1:1/trade-api/ws/v2",
}


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A bootstrap that hands out stores in memory, and no settings in the environment yet."""
    parts = SimpleNamespace(key=KEY)
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, made in (
        ("candidates_queue", MemoryQueue()), ("lifecycle_queue", MemoryQueue()), ("book_store", MemoryBookStore()),
        ("status_store", MemoryStatusStore()), ("group_store", MemoryGroupStore()),
    ):  # fmt: skip
        monkeypatch.setattr(bootstrap, name, lambda _settings, made=made: made)
    monkeypatch.setattr(bootstrap, "read_key", lambda _settings: Credentials("id", parts.key))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    return parts


def start(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]) -> int:
    for name, value in (ENVIRONMENT | changes).items():
        monkeypatch.setenv(name, value)
    return feed_main.main()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"KALSHI_ARB_MODE": "real"}, "KALSHI_ARB_MODE"),
        ({"KALSHI_ARB_BOOK_DEPT": "5"}, "KALSHI_ARB_BOOK_DEPT"),
        ({"KALSHI_ARB_BOOK_DEPTH": "many"}, "KALSHI_ARB_BOOK_DEPTH"),
        ({"KALSHI_ARB_SNAPSHOT_INTERVAL_MS": "90000"}, "SNAPSHOT_INTERVAL_MS"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line_and_code_2(
    composed: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    says: str,
) -> None:
    assert start(monkeypatch, changes) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("feed: ")
    assert says in line


def test_a_missing_stream_address_is_named(
    composed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {k: v for k, v in ENVIRONMENT.items() if "WS" not in k})
    assert feed_main.main() == 2
    assert "KALSHI_ARB_WS_URL is not set" in capsys.readouterr().err


def test_a_key_that_is_none_is_one_line_and_code_2(
    composed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    composed.key = "hunter2"
    assert start(monkeypatch, {}) == 2
    line = capsys.readouterr().err
    assert "PEM" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthError("authentication_error", "bad signature", 401), 3),
        (SettingsError("late"), 2),
        (FeedCrashError("a thread"), 1),
        (StoreError("no table"), 1),
        (None, 0),
    ],
)
def test_every_end_has_its_code(
    composed: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    code: int,
) -> None:
    async def end(*_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(feed_main, "serve", end)
    assert start(monkeypatch, {}) == code
    assert capsys.readouterr().err.count("\n") == (error is not None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_feed_to_stop(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    stopped = []

    class Service:
        async def run(self, stop: asyncio.Event) -> None:
            for _ in range(2):
                os.kill(os.getpid(), number)
            await asyncio.wait_for(stop.wait(), PATIENCE_S)
            stopped.append(number)

    monkeypatch.setattr(feed_main, "read_settings", lambda _environment: None)
    monkeypatch.setattr(feed_main, "build", lambda _settings: Service())
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(feed_main, "LAST_MOMENT_S", 3_600)
    assert feed_main.main() == 0
    assert stopped == [number]
