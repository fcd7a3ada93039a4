"""The feed as a process of this machine, kept running as the cloud's container service would keep it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from infra.local.children import Child, ChildError, tail
from infra.local.leftovers import ChildRecord
from infra.local.log_driver import LogDriver

# Exit codes by which the feed says that its settings or its key cannot be used.
FEED_REFUSALS = frozenset({2, 3})


class FeedProcess:
    """Started again when it dies, but not when it says that its settings or its key are wrong."""

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str],
        driver: Callable[[IO[str]], LogDriver],
        say: Callable[[str], None],
        children: ChildRecord,
    ) -> None:
        self._log = log
        self._environment = environment
        self._make_driver = driver
        self._say = say
        self._children = children
        self._start()

    def _start(self) -> None:
        self._child = Child("feed", ["-m", "feed"], self._log, self._environment)
        self._children.add(self._child.process.pid)
        self._driver = self._make_driver(self._child.output)
        self._driver.start()

    def keep_running(self) -> None:
        """Start it again if it has died. :raises ChildError: it refuses to run."""
        code = self._child.ended
        if code is None:
            return
        if code in FEED_REFUSALS:
            raise ChildError(f"the feed refuses to run (code {code}): {tail(self._log, 1)}")
        self._say(f"warning: the feed ended with code {code}; starting it again")
        self.stop()
        self._start()

    def stop(self) -> None:
        """End it and hand its last lines over."""
        self._child.end(3)
        self._driver.wait(3)
        self._child.stop(0)
