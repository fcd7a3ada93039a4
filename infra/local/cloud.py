"""The embedded AWS as a child process: started on loopback, watched, ended with everything it started."""

import contextlib
import http.client
import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.emulator import JOURNAL_VARIABLE
from infra.local.endpoint import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY, cloud_environment
from infra.local.errors import EndpointError, StartError
from infra.local.options import EmulatorOptions

__all__ = ["EmbeddedCloud", "HandlerProcess", "cloud_environment"]

LOOPBACK = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_STOP_SECONDS = 6.0
_ORPHAN_SECONDS = 0.3
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class HandlerProcess:
    """One execution environment of a function. The title is the end of the function's name (Linux only)."""

    pid: int
    title: str


def usable_port(wanted: int) -> int:
    """A port of the loopback interface that nothing uses at this moment: the one wanted, or any for 0.

    :raises StartError: the one wanted is taken
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            raise StartError(f"{LOOPBACK}:{wanted} cannot be used ({error.strerror}): choose another port") from error
        port: int = probe.getsockname()[1]
        return port


def open_sockets(process: psutil.Process) -> list[tuple[str, int]]:
    """Address and port of every listening socket of a process and its descendants."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                for connection in member.net_connections(kind="inet"):
                    bound_udp = connection.type == socket.SOCK_DGRAM and not connection.raddr
                    if connection.status == psutil.CONN_LISTEN or bound_udp:
                        found.append((connection.laddr.ip, connection.laddr.port))
    return found


def _runs(process: psutil.Process) -> bool:
    """Whether it still does anything: an ended process that nobody has waited for yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end_all(processes: Sequence[psutil.Process]) -> None:
    """Give these a moment to end by themselves, then kill what is left."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in processes:
        if _runs(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class EmbeddedCloud:
    """One embedded AWS. Not started by the constructor; a context manager that starts and stops it."""

    def __init__(
        self,
        *,
        state_dir: Path,
        log_file: Path,
        port: int = 0,
        concurrency: int = 32,
        options: EmulatorOptions | None = None,
        journal: Path | None = None,
    ) -> None:
        """Describe it.

        :param state_dir: everything it writes goes below this folder
        :param journal: where tables are kept over the end of the process; without it they end with it
        :param port: 0 picks a free one
        :param concurrency: calls of functions in flight, over all functions, before one is throttled
        """
        self.state_dir = state_dir.resolve()
        self.log_file = log_file
        self.port = port
        self._concurrency = concurrency
        self._options = options or EmulatorOptions()
        self._journal = journal
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "EmbeddedCloud":
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where boto3 reaches it. :raises StartError: it was not started."""
        if not self.port:
            raise StartError("the embedded AWS has no address before it is started")
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the emulator's process. :raises StartError: it was not started."""
        if self._process is None:
            raise StartError("the embedded AWS was not started")
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers.

        :raises StartError: it ended, or did not answer in time; the message carries the end of its log
        :raises EndpointError: it, or a child of it, listens where other machines could reach it; it is stopped then
        """
        if self.is_alive():
            raise StartError("the embedded AWS is already started")
        self.port = usable_port(self.port)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            # Its standard input is a pipe that nothing is ever written to: it closes when this process ends, however
            # that happens, and the emulator ends itself then.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.emulator"],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
            self.check_sockets()
        except BaseException:
            self.stop()
            raise

    def check_sockets(self) -> None:
        """:raises EndpointError: a listening socket of the process tree is not loopback, or ours is not there."""
        found = open_sockets(psutil.Process(self.pid))
        outside = [f"{address}:{port}" for address, port in found if not ipaddress.ip_address(address).is_loopback]
        if outside:
            raise EndpointError(f"the embedded AWS listens on {', '.join(outside)}, which is not loopback: stopped")
        if (LOOPBACK, self.port) not in found:
            raise EndpointError(f"something else answers on {LOOPBACK}:{self.port}: choose another port")

    def handlers(self) -> list[HandlerProcess]:
        """The execution environments that run now."""
        if not self.is_alive():
            return []
        found = []
        for host in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in host.children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        found.append(HandlerProcess(process.pid, process.name()))
        return found

    def stop(self) -> None:
        """End it: asked first, made to after a grace period, and nothing it started outlives it. Safe to repeat."""
        process, self._process = self._process, None
        if process is None:
            return
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(process.pid).children(recursive=True)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdin is not None:
            process.stdin.close()
        _end_all(started)

    def _environment(self) -> dict[str, str]:
        """All the emulator gets: nothing of the person's own accounts, proxies or settings."""
        folder = self.state_dir
        journal = {} if self._journal is None else {JOURNAL_VARIABLE: str(self._journal.resolve())}
        temporary = folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "TMPDIR": str(temporary),
            "PYTHONUNBUFFERED": "1",
            "BIND_HOST": LOOPBACK,
            "GATEWAY_PORT": str(self.port),
            # Part of every queue address it hands out.
            "MINISTACK_HOST": LOOPBACK,
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "STATE_DIR": str(folder),
            "S3_DATA_DIR": str(folder / "s3"),
            "PERSIST_STATE": "0",
            "LOG_LEVEL": "WARNING",
            # Listeners that ignore BIND_HOST.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "LAMBDA_ACCOUNT_CONCURRENCY": str(self._concurrency),
            "LAMBDA_WARM_TTL_SECONDS": "60",
            # A socket that does not exist: the docker daemon of this machine is none of its business.
            "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **self._options.to_environment(),
            **journal,
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_alive():
                raise StartError(f"the embedded AWS ended while it started: {self._log_tail()}")
            if self._answers():
                return
            time.sleep(0.02)
        raise StartError(f"the embedded AWS did not answer within {_START_SECONDS:.0f} s: {self._log_tail()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            written = self.log_file.read_bytes()[self._log_start :].decode(errors="replace")
            return " | ".join(written.splitlines()[-_TAIL_LINES:])
        return "no log"
