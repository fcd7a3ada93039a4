"""Threads that do the slow work: each has a bounded queue, and a full one drops its oldest item and counts it."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from kalshi_arb.domain.errors import KalshiArbError

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Worker(Generic[T]):
    """Handles items in order, one at a time.

    A store that refuses (``KalshiArbError``) costs the item, which is counted in ``errors``. Anything else is a defect:
    it ends the thread with its traceback and is reported through ``on_crash``.

    :param capacity: most items waiting; the newest are kept
    """

    def __init__(
        self, name: str, handle: Callable[[T], None], *, capacity: int, on_crash: Callable[[str], None]
    ) -> None:
        self.name = name
        self.dropped = 0
        self.errors = 0
        self._handle = handle
        self._capacity = capacity
        self._on_crash = on_crash
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ending = False
        # A daemon, so that a store that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"feed-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, item: T) -> None:
        """Hand over an item without waiting."""
        with self._changed:
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify()

    def is_full(self) -> bool:
        """Whether the next item would cost an older one."""
        return len(self._items) >= self._capacity

    def stop(self, deadline: float) -> None:
        """Let the queue run empty until ``deadline`` (``time.monotonic``), then drop and count what is left."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self.dropped += len(self._items)
            self._items.clear()

    def _run(self) -> None:
        clean = False
        try:
            while (item := self._next()) is not None:
                self._work(item[0])
            clean = True
        finally:
            if not clean:
                self._on_crash(self.name)

    def _next(self) -> tuple[T] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ending)
            return (self._items.popleft(),) if self._items else None

    def _work(self, item: T) -> None:
        try:
            self._handle(item)
        except KalshiArbError as error:
            self.errors += 1
            logger.warning("%s: %s", self.name, error)
