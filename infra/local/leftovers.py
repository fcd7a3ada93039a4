"""Children of a run that was killed: known by process id and time of birth, gone before the next run starts.

Each child ends by itself when its runner is gone, but in its own time. Two exchanges on one state, or a handler that
still sends an order, must never meet the next run.
"""

import contextlib
import json
from pathlib import Path

import psutil

from infra.local.errors import StateError

_GONE_SECONDS = 10.0


class ChildRecord:
    """The file in which a run writes down whom it started."""

    def __init__(self, folder: Path) -> None:
        """Describe it; nothing is touched."""
        self._file = folder / "children.jsonl"

    def add(self, pid: int) -> None:
        """Remember a child that was just started."""
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            born = psutil.Process(pid).create_time()
            with self._file.open("a") as file:
                file.write(json.dumps({"pid": pid, "born": born}) + "\n")

    def end_all(self) -> int:
        """End what earlier runs left behind, wait until it is gone, and forget it.

        :returns: how many children were still there
        :raises StateError: one of them does not go
        """
        found = self._alive()
        everyone = list(found)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                everyone += process.children(recursive=True)
        for process in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(everyone, timeout=_GONE_SECONDS)
        if alive:
            pids = ", ".join(str(process.pid) for process in alive)
            raise StateError(f"processes {pids} of an earlier run cannot be ended: end them and start again")
        self._file.unlink(missing_ok=True)
        return len(found)

    def _alive(self) -> list[psutil.Process]:
        try:
            lines = self._file.read_text().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, psutil.NoSuchProcess):  # half a line: its run was killed writing it
                entry = json.loads(line)
                process = psutil.Process(entry["pid"])
                if process.create_time() == entry["born"] and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found
