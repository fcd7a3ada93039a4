"""Where a local run tells the other commands how to reach it: ``.local/run.json``, readable by its owner alone."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from kalshi_arb.domain.errors import SettingsError

STATE_FOLDER = Path(".local")
LOCK_FILE = "lock"
"""In the folder; held by a run as long as it lives, however it ends."""


@dataclass(frozen=True, slots=True)
class RunState:
    """A running local system. ``api_url`` ends with a slash; ``api_token`` opens it."""

    pid: int
    mode: str
    exchange_url: str
    api_url: str
    api_token: str
    started_ms: int

    @property
    def page_url(self) -> str:
        """The page with its token in the fragment, which browsers never send to a server."""
        return f"{self.api_url}#token={self.api_token}"


def write_run_state(folder: Path, state: RunState) -> None:
    """Publish the state atomically with owner-only access."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "run.json"
    draft = folder / "run.json.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(state), file)
    draft.replace(target)


def clear_run_state(folder: Path) -> None:
    """Forget the state of a run that has ended."""
    (folder / "run.json").unlink(missing_ok=True)


def read_run_state(folder: Path) -> RunState | None:
    """The state of the run that is alive now, or None.

    :raises SettingsError: the file is there but is not ours.
    """
    path = folder / "run.json"
    try:
        state = RunState(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} is not a run's state: remove it and start the run again") from error
    # The process id alone may belong to a stranger by now.
    return state if is_alive(state.pid) and _is_locked(folder / LOCK_FILE) else None


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_alive(pid: int) -> bool:
    """Whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
