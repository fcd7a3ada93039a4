"""Our side of the handler host: start it, have it fork, talk to what it forked."""

import array
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from select import POLLHUP, POLLIN, POLLOUT, poll
from typing import Any

from infra.local.errors import LocalCloudError

HOST_SCRIPT = Path(__file__).resolve().parents[1] / "handler_host.py"
END_OF_LOG = b"\x1eend-of-log\n"
_LOG_LIMIT = 1 << 20
_READ = 1 << 16


class HostError(LocalCloudError):
    """The handler host did not answer."""


class HandlerHost:
    """Client of the host process; starts it when it is first needed and again when it died."""

    def __init__(self, folder: Path) -> None:
        """Unpacked code goes below ``folder``."""
        self.folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, order: Mapping[str, Any], descriptors: Iterable[int]) -> "ForkedProcess":
        """Start one execution environment. :raises HostError: the host cannot."""
        answer = self._ask({"op": "fork", **order}, descriptors)
        return ForkedProcess(self, answer["pid"])

    def status(self, pid: int) -> int | None:
        """Exit code, negative signal, or None while it runs."""
        status: int | None = self._ask({"op": "wait", "pid": pid})["status"]
        return status

    def kill(self, pid: int, number: int) -> None:
        """Send a signal."""
        self._ask({"op": "kill", "pid": pid, "signal": number})

    def start(self) -> None:
        """Start the host now, so that the first call does not wait for its imports."""
        with self._lock:
            self._ensure()

    def _ensure(self) -> socket.socket:
        if self._process is not None and self._process.poll() is None and self._control is not None:
            return self._control
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(HOST_SCRIPT)],
                stdin=theirs.fileno(),
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            )
        self._control = ours
        return ours

    def _ask(self, order: Mapping[str, Any], descriptors: Iterable[int] = ()) -> dict[str, Any]:
        with self._lock:
            control = self._ensure()
            try:
                return self._exchange(control, order, list(descriptors))
            except OSError as error:
                control.close()
                self._control = None
                raise HostError(f"the handler host ended: {error}") from error

    @staticmethod
    def _exchange(control: socket.socket, order: Mapping[str, Any], descriptors: list[int]) -> dict[str, Any]:
        line = json.dumps(order).encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = control.sendmsg([line], rights)
        control.sendall(line[sent:])
        data = b""
        while not data.endswith(b"\n"):
            part = control.recv(_READ)
            if not part:
                raise ConnectionError("it closed its socket")
            data += part
        answer: dict[str, Any] = json.loads(data)
        return answer


class ForkedProcess:
    """A grandchild with the part of :class:`subprocess.Popen` that the embedded AWS uses on its workers."""

    def __init__(self, host: HandlerHost, pid: int) -> None:
        """A process that ``host`` forked."""
        self._host = host
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit code, or None while it runs. A process whose host died with it counts as killed."""
        if self.returncode is None:
            try:
                self.returncode = self._host.status(self.pid)
            except HostError:
                self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. :raises subprocess.TimeoutExpired: it did not come."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while True:
            status = self.poll()
            if status is not None:
                return status
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"handler {self.pid}", timeout or 0)
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(HostError):
                self._host.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)


def unpack(archive: bytes, folder: Path) -> Path:
    """The folder that holds this archive's files, unpacked once however many environments use it.

    :raises HostError: an entry would land outside the folder
    """
    target = folder / hashlib.sha256(archive).hexdigest()[:24]
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{target.name}.{os.getpid()}.{threading.get_ident()}"
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for name in opened.namelist():
            if not (part / name).resolve().is_relative_to(part.resolve()):
                raise HostError(f"archive entry {name!r} would land outside its folder")
        opened.extractall(part)
    try:
        part.rename(target)
    except OSError:
        # Another thread was first: its copy is the same.
        shutil.rmtree(part)
    return target


class Pipes:
    """Our three ends of one environment's pipes."""

    def __init__(self, host: HandlerHost, order: Mapping[str, Any]) -> None:
        """Fork it. :raises HostError: the host cannot."""
        request_read, self._requests = os.pipe()
        self._answers, answer_write = os.pipe()
        self._log, log_write = os.pipe()
        self._answer_rest = b""
        self._log_rest = b""
        theirs = (request_read, answer_write, log_write)
        try:
            self.process = host.fork(order, theirs)
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        os.set_blocking(self._requests, False)

    def close(self) -> None:
        """Close our ends; the child's loop ends with its request pipe."""
        for descriptor in (self._requests, self._answers, self._log):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def call(self, request: bytes, deadline: float) -> tuple[bytes | None, str]:
        """Send one request, if any, and read one answer with the log that belongs to it.

        :param deadline: on the monotonic clock
        :returns: the answer's line, or None when the process closed its pipe; and the log
        :raises TimeoutError: no answer in time; its first argument is the log so far
        """
        unsent = memoryview(request)
        answer, log = self._answer_rest, self._log_rest
        self._answer_rest = self._log_rest = b""
        ready = poll()
        ready.register(self._answers, POLLIN)
        ready.register(self._log, POLLIN)
        if unsent:
            ready.register(self._requests, POLLOUT)
        ended = False
        while (b"\n" not in answer or END_OF_LOG not in log) and not ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(text_of(log))
            for descriptor, _ in ready.poll(left * 1000):
                if descriptor == self._requests:
                    unsent = self._send(unsent)
                    if not unsent:
                        ready.unregister(self._requests)
                    continue
                data = os.read(descriptor, _READ)
                if not data:
                    ready.unregister(descriptor)
                    ended = ended or descriptor == self._answers
                elif descriptor == self._answers:
                    answer += data
                else:
                    log = (log + data)[-_LOG_LIMIT:]
        line, found, self._answer_rest = answer.partition(b"\n")
        if not found:
            return None, text_of(log + self._drain())
        text, _, self._log_rest = log.partition(END_OF_LOG)
        return line, text_of(text)

    def _send(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._requests, unsent) :]
        except BrokenPipeError:
            # The process is gone; its answer pipe tells so next.
            return unsent[:0]

    def _drain(self) -> bytes:
        """What a dead process left in its log."""
        left = b""
        ready = poll()
        ready.register(self._log, POLLIN | POLLHUP)
        while ready.poll(0):
            data = os.read(self._log, _READ)
            if not data:
                break
            left += data
        return left


def text_of(log: bytes) -> str:
    """A log as lines, without marks."""
    return log.replace(END_OF_LOG, b"").decode(errors="replace").rstrip("\n")
