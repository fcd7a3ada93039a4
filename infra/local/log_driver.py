"""Carries a process's output into a log group, as ECS's ``awslogs`` driver does for a container.

The embedded AWS runs no container: the feed is a child of the runner, and without this its log group stays empty and
the metrics it prints are seen by nobody. It also keeps the child's output pipe from filling up.
"""

import queue
import threading
import time
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.endpoint import local_client

_BATCH_SECONDS = 1.0
_BATCH_LINES = 500
_WAITING_LINES = 10_000  # more than this is dropped, the oldest first: a log must not stop what it describes


class LogDriver:
    """One stream of one log group, fed from one pipe until that pipe closes."""

    def __init__(self, url: str, group: str, stream: str, source: IO[str]) -> None:
        """Describe it; the group must exist.

        :param url: of the embedded AWS
        :raises EndpointError: the address is not loopback
        """
        self._client: Any = local_client("logs", url)
        self._group = group
        self._stream = stream
        self._source = source
        self._lines: queue.Queue[tuple[int, str] | None] = queue.Queue(_WAITING_LINES)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._send)]
        self.dropped = 0

    def start(self) -> None:
        """Create the stream and begin. :raises botocore.exceptions.ClientError: there is no such group."""
        self._client.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> None:
        """After the process has ended: wait until its last lines are sent."""
        for thread in self._threads:
            thread.join(seconds)
        self._client.close()

    def _read(self) -> None:
        for line in self._source:
            self._put((time.time_ns() // 1_000_000, line.rstrip("\n")))
        self._put(None)

    def _put(self, item: tuple[int, str] | None) -> None:
        while True:
            try:
                self._lines.put_nowait(item)
            except queue.Full:
                self._lines.get_nowait()
                self.dropped += 1
            else:
                return

    def _send(self) -> None:
        while True:
            batch, more = self._batch()
            if batch:
                try:
                    self._client.put_log_events(
                        logGroupName=self._group,
                        logStreamName=self._stream,
                        logEvents=[{"timestamp": moment, "message": line} for moment, line in batch],
                    )
                except (ClientError, BotoCoreError):
                    # The cloud is going down or was restarted: the log is lost, its writer must not be.
                    self.dropped += len(batch)
            if not more:
                return

    def _batch(self) -> tuple[list[tuple[int, str]], bool]:
        """The lines of about a second, and whether more can come."""
        batch: list[tuple[int, str]] = []
        deadline = time.monotonic() + _BATCH_SECONDS
        while len(batch) < _BATCH_LINES:
            try:
                item = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return batch, False
            if item[1]:
                batch.append(item)
        return batch, True
