"""The feed's loop: keeps a connection, lets the core work, and starts and ends everything around it."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from feed.config import FeedConfig
from feed.connection import Backoff, Connection, ConnectionLostError, Connector
from feed.core import FeedCore, Moment
from feed.health import MetricsSource, Status, status_of, write_health_file
from feed.publisher import Ports, Publisher
from feed.watcher import GroupWatcher
from feed.workers import Worker
from kalshi_arb.clock import Clock
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.errors import AuthError
from kalshi_arb.kalshi.stream import BookStream
from kalshi_arb.ports import GroupStore, Metrics, StatusStore
from kalshi_arb.schemas import Look

logger = logging.getLogger(__name__)

EPOCH_COMPONENT = "feed-epoch"
# What the whole process may take to end is 2 s: closing the socket takes up to half a second of it.
DRAIN_S = 1.0


class FeedCrashError(KalshiArbError):
    """A part of the feed ended by a defect; its traceback is in the log. The process must start anew."""


def next_epoch(status: StatusStore) -> int:
    """The number of this writer, higher than every earlier one's. :raises StoreError: it cannot be taken."""
    status.count(EPOCH_COMPONENT, {"epoch": 1})
    return status.counters(EPOCH_COMPONENT)["epoch"]


class FeedService:
    """One feed process.

    :param epoch: from :func:`next_epoch`
    :param jitter: numbers from 0 to 1 that spread reconnects
    """

    def __init__(
        self,
        *,
        config: FeedConfig,
        connector: Connector,
        groups: GroupStore,
        ports: Ports,
        metrics: Metrics,
        clock: Clock,
        epoch: int,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._connector = connector
        self._clock = clock
        self._epoch = epoch
        self._reconnects = 0
        self._ever_connected = False
        self._heard = 0.0
        self._metrics = MetricsSource(metrics)
        self._backoff = Backoff(config.first_backoff_s, config.longest_backoff_s, jitter)
        self._publisher = Publisher(ports, clock, on_crash=self._crash_from_thread)
        stream = BookStream(epoch, private=config.private)
        self.core = FeedCore(stream=stream, outlet=self._publisher, config=config)
        self._watcher = GroupWatcher(
            groups=groups,
            status=ports.status,
            poll_s=config.poll_s,
            on_groups=self._groups_from_thread,
            on_suspended=self._suspended_from_thread,
            on_watch=self._watch_from_thread,
            on_crash=self._crash_from_thread,
        )
        self._file = self._file_worker(config.health_file)
        self._loop: asyncio.AbstractEventLoop
        self._crashed: asyncio.Future[None]
        self._commands: asyncio.Event
        self._judge_timer: asyncio.TimerHandle | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then end within two seconds.

        :raises AuthError: the exchange refused the key at the first connection.
        :raises FeedCrashError: a part ended by a defect.
        """
        self._loop = asyncio.get_running_loop()
        self._crashed = self._loop.create_future()
        self._commands = asyncio.Event()
        self._publisher.start()
        if self._file is not None:
            self._file.start()
        self._watcher.start()
        try:
            await _first_of(
                self._keep_connected(), self._beat(), self._report(), self._remind(),
                _waiting(stop.wait()), _waiting(self._crashed),
            )  # fmt: skip
        finally:
            self._watcher.stop()
            self._publisher.status(self._status())
            self._metrics.note(self.core)
            self._metrics.flush()
            # In a thread, so that timers and the closing socket are not held up.
            await asyncio.to_thread(self._drain)

    def _drain(self) -> None:
        if self._file is not None:
            self._file.stop(time.monotonic())
        self._publisher.stop(DRAIN_S)

    # Connection

    async def _keep_connected(self) -> None:
        while True:
            try:
                connection = await self._connector.open()
            except ConnectionLostError as error:
                await self._pause(error)
                continue
            except AuthError as error:
                if not self._ever_connected:
                    raise
                await self._pause(error)
                continue
            self._ever_connected = True
            self.core.open(self._clock.now_ms())
            self._heard = self._loop.time()
            self._commands.set()
            began = self._loop.time()
            try:
                await _first_of(self._read(connection), self._write(connection), self._keep_alive(connection))
            except ConnectionLostError as error:
                lost = error
            finally:
                self._cancel_judgement()
                self.core.close(self._now())
                await connection.close()
            self._reconnects += 1
            if self._loop.time() - began > self._config.heartbeat_s:
                self._backoff.reset()
            await self._pause(lost)

    async def _pause(self, reason: KalshiArbError) -> None:
        seconds = self._backoff.next_s()
        logger.warning("%s; connecting again in %.1f s", reason, seconds)
        await asyncio.sleep(seconds)

    async def _read(self, connection: Connection) -> None:
        core, stream, clock = self.core, self.core.stream, self._clock
        while True:
            data = await connection.receive()
            core.frame(data, Moment(clock.now_ms(), time.monotonic_ns()))
            self._heard = self._loop.time()
            if core.has_dirty and self._judge_timer is None:
                self._judge_soon()
            if stream.has_commands:
                self._commands.set()
            if core.reconnect_reason is not None:
                raise ConnectionLostError(core.reconnect_reason)

    async def _write(self, connection: Connection) -> None:
        # A task of its own: a command that cannot leave must not keep frames from being read.
        while True:
            await self._commands.wait()
            self._commands.clear()
            for text in self.core.stream.take_commands():
                await connection.send(text)

    async def _keep_alive(self, connection: Connection) -> None:
        while True:
            asked_ms = self._clock.now_ms()
            try:
                async with asyncio.timeout(self._config.heartbeat_s):
                    await connection.ping()
            except TimeoutError:
                silence = self._loop.time() - self._heard
                if silence >= self._config.heartbeat_s:
                    raise ConnectionLostError(f"the stream has been silent for {silence:.0f} s") from None
            else:
                self._heard = self._loop.time()
                # Everything sent before the answer has been read: the reader only waits when nothing is left.
                self.core.stream.alive(asked_ms)
            await asyncio.sleep(self._config.ping_every_s)

    # Timers

    def _judge_soon(self) -> None:
        if self._judge_timer is None:
            self._judge_timer = self._loop.call_later(self._config.judge_delay_s, self._judge)

    def _judge(self) -> None:
        self._judge_timer = None
        self.core.judge(self._clock.now_ms())

    def _cancel_judgement(self) -> None:
        if self._judge_timer is not None:
            self._judge_timer.cancel()
            self._judge_timer = None

    async def _beat(self) -> None:
        ticked_ms = 0
        while True:
            now = self._now()
            self.core.judge_waiting(now)
            self.core.copy_books(now.utc_ms)
            if now.utc_ms - ticked_ms >= self._config.status_s * 1000:
                ticked_ms = now.utc_ms
                self.core.tick(now)
            if self.core.stream.has_commands:
                self._commands.set()
            await asyncio.sleep(self._config.beat_s)

    async def _report(self) -> None:
        flushed = self._loop.time()
        while True:
            status = self._status()
            self._publisher.status(status)
            if self._file is not None:
                self._file.offer(status)
            self._metrics.note(self.core)
            if self._loop.time() - flushed >= self._config.metrics_s:
                flushed = self._loop.time()
                self._metrics.flush()
            await asyncio.sleep(self._config.status_s)

    async def _remind(self) -> None:
        while True:
            await asyncio.sleep(self._config.look_s)
            self._publisher.look(Look(self._clock.now_ms()))

    def _status(self) -> Status:
        drops = self.core.drops + Counter(self._publisher.drops())
        drops["groups_unreadable"] = self._watcher.errors
        return status_of(
            self.core,
            now_ms=self._clock.now_ms(),
            epoch=self._epoch,
            mode=self._config.mode,
            reconnects=self._reconnects,
            drops=drops,
            latency_ms=self._publisher.latency_ms(),
            misses=self._config.misses_shown,
        )

    def _now(self) -> Moment:
        return Moment(self._clock.now_ms(), time.monotonic_ns())

    def _file_worker(self, path: str | None) -> Worker[Status] | None:
        if path is None:
            return None
        target = Path(path)
        return Worker(
            "health-file",
            lambda status: write_health_file(target, status),
            capacity=1,
            on_crash=self._crash_from_thread,
        )

    # Calls from threads

    def _groups_from_thread(self, screen: Screen, groups: Sequence[Group]) -> None:
        self._call(lambda: self._install(screen, groups))

    def _install(self, screen: Screen, groups: Sequence[Group]) -> None:
        self.core.install(screen, groups, self._now())
        self._judge_soon()
        self._commands.set()
        logger.info("%d groups", len(groups))

    def _suspended_from_thread(self, group_ids: frozenset[str]) -> None:
        self._call(lambda: self._suspend(group_ids))

    def _suspend(self, group_ids: frozenset[str]) -> None:
        self.core.suspend(group_ids, self._now())
        if self.core.has_dirty:
            self._judge_soon()

    def _watch_from_thread(self, group_ids: frozenset[str]) -> None:
        self._call(lambda: self.core.watch(group_ids))

    def _crash_from_thread(self, name: str) -> None:
        self._call(lambda: self._crash(name))

    def _crash(self, name: str) -> None:
        if not self._crashed.done():
            self._crashed.set_exception(FeedCrashError(f"the thread {name} of the feed ended by a defect"))

    def _call(self, function: Callable[[], None]) -> None:
        # The loop may be closed already when a thread has its last word.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)


async def _waiting(awaitable: Awaitable[Any]) -> None:
    await awaitable


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends; the others are cancelled and waited for. Raises what the first raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
