"""The feed's way out: candidates, copies of books, lifecycle messages, status. Slow stores never hold up the socket."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from feed.core import Moment
from feed.workers import Worker
from kalshi_arb.clock import Clock
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.ports import BookStore, Queue, StatusStore
from kalshi_arb.schemas import Candidate, Lifecycle, Look, encode

CANDIDATES_WAITING = 64
BOOKS_WAITING = 512
LIFECYCLE_WAITING = 4096
LATENCIES_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Ports:
    """The stores and queues that the feed writes to."""

    candidates: Queue
    lifecycle: Queue
    books: BookStore
    status: StatusStore


class Publisher:
    """Implements ``feed.core.Outlet`` with one thread for each kind of thing.

    :param on_crash: called from a thread that ended by a defect, with its name
    """

    def __init__(
        self,
        ports: Ports,
        clock: Clock,
        *,
        on_crash: Callable[[str], None],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._ports = ports
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._latencies: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self._candidates: Worker[tuple[Candidate, Moment]] = Worker(
            "candidates", self._send_candidate, capacity=CANDIDATES_WAITING, on_crash=on_crash
        )
        self._books: Worker[BookSnapshot] = Worker("books", self._put_book, capacity=BOOKS_WAITING, on_crash=on_crash)
        self._lifecycle: Worker[Lifecycle | Look] = Worker(
            "lifecycle", self._send_lifecycle, capacity=LIFECYCLE_WAITING, on_crash=on_crash
        )
        self._status: Worker[Mapping[str, object]] = Worker("status", self._put_status, capacity=1, on_crash=on_crash)
        self._workers = (self._candidates, self._lifecycle, self._status, self._books)

    def start(self) -> None:
        """Start the threads."""
        for worker in self._workers:
            worker.start()

    def stop(self, seconds: float) -> None:
        """Send what is waiting for at most ``seconds``, the rest is dropped and counted."""
        deadline = time.monotonic() + seconds
        for worker in self._workers:
            worker.stop(deadline)

    def candidate(self, candidate: Candidate, received: Moment) -> None:
        """Queue a candidate; when many wait, the oldest is dropped, because its books are."""
        self._candidates.offer((candidate, received))

    def book(self, book: BookSnapshot) -> bool:
        """Queue a copy of a book unless the queue is full."""
        if self._books.is_full():
            return False
        self._books.offer(book)
        return True

    def lifecycle(self, message: Lifecycle) -> None:
        """Queue a lifecycle message."""
        self._lifecycle.offer(message)

    def look(self, message: Look) -> None:
        """Queue a reminder behind the lifecycle messages."""
        self._lifecycle.offer(message)

    def status(self, status: Mapping[str, object]) -> None:
        """Queue the feed's status; only the newest waits."""
        self._status.offer(status)

    def drops(self) -> dict[str, int]:
        """What was dropped or refused on the way out, by reason; a status that a newer one replaced is not counted."""
        counts = {f"{worker.name}_queue_full": worker.dropped for worker in self._workers if worker is not self._status}
        counts |= {f"{worker.name}_refused": worker.errors for worker in self._workers}
        return {reason: count for reason, count in counts.items() if count}

    def latency_ms(self) -> dict[str, float | None]:
        """From a frame's arrival to its candidate's send call, over the last few thousand candidates."""
        ordered = sorted(self._latencies.copy())
        return {name: _quantile(ordered, share) for name, share in (("p50", 0.50), ("p99", 0.99))}

    def _send_candidate(self, item: tuple[Candidate, Moment]) -> None:
        candidate, received = item
        body = encode(replace(candidate, sent_ms=self._clock.now_ms()))
        self._latencies.append(self._monotonic_ns() - received.monotonic_ns)
        self._ports.candidates.send(body)

    def _put_book(self, book: BookSnapshot) -> None:
        self._ports.books.put(book)

    def _send_lifecycle(self, message: Lifecycle | Look) -> None:
        self._ports.lifecycle.send(encode(message))

    def _put_status(self, status: Mapping[str, object]) -> None:
        self._ports.status.put("feed", status)


def _quantile(ordered: list[int], share: float) -> float | None:
    if not ordered:
        return None
    nanoseconds = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return round(nanoseconds / 1e6, 3)
