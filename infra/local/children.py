"""Child processes of the local run: started from argument lists, logged to files, gone when the runner is gone."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from kalshi_arb.domain.errors import KalshiArbError

_PR_SET_PDEATHSIG = 1
_MINIMAL = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


class ChildError(KalshiArbError):
    """A child process did not start or ended before it should."""


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, however that happens (Linux; elsewhere a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What a child needs of ours, and nothing that belongs to the person's own accounts."""
    return {name: os.environ[name] for name in _MINIMAL if name in os.environ} | dict(extra)


def tail(log: Path, lines: int = 5) -> str:
    """The end of a child's log, for an error message."""
    with contextlib.suppress(OSError):
        return " | ".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


class Child:
    """One child process with its log file."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Start it. Its standard output can be read from :attr:`process`; its standard error goes to ``log``."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                env=clean_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Its own group: Ctrl-C reaches the runner alone, which then ends the children in order.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def ended(self) -> int | None:
        """The exit code once it has ended, else None."""
        return self.process.poll()

    @property
    def output(self) -> IO[str]:
        """Its standard output. Somebody must read it to the end, or a full pipe stops the child."""
        if self.process.stdout is None:
            raise ChildError(f"{self.name} has no standard output")
        return self.process.stdout

    def first_line(self) -> str:
        """Wait for the first line on its standard output. :raises ChildError: it ended without one."""
        line = self.output.readline()
        if not line:
            code = self.process.wait()
            raise ChildError(f"{self.name} ended with code {code}: {tail(self.log, 1)}")
        return line

    def end(self, seconds: float) -> None:
        """Ask it to end, then make it; what it still has to say can be read afterwards."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self, seconds: float) -> None:
        """End it and close its output."""
        self.end(seconds)
        self.output.close()
