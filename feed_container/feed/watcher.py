"""Follows the accepted groups from a thread of its own: tables are slow, and building a screen takes a moment."""

import logging
import threading
from collections.abc import Callable, Sequence

from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.state_space import Group
from kalshi_arb.ports import WATCH_COMPONENT, GroupStore, StatusStore
from kalshi_arb.relations.mirror import GroupMirror

logger = logging.getLogger(__name__)


class GroupWatcher:
    """Polls the groups' version and reads what changed.

    A suspension changes no screen: it is handed on by itself, because it is urgent and a screen takes long to build.

    :param on_groups: called in this thread with a new screen and its groups, suspended ones too
    :param on_suspended: called in this thread with the ids of all suspended groups when they changed
    :param on_watch: called in this thread with the ids of watched groups when they changed
    :param on_crash: called when the thread ended by a defect
    """

    def __init__(
        self,
        *,
        groups: GroupStore,
        status: StatusStore,
        poll_s: float,
        on_groups: Callable[[Screen, Sequence[Group]], None],
        on_suspended: Callable[[frozenset[str]], None],
        on_watch: Callable[[frozenset[str]], None],
        on_crash: Callable[[str], None],
    ) -> None:
        self.errors = 0
        self._mirror = GroupMirror(groups)
        self._status = status
        self._poll_s = poll_s
        self._on_groups = on_groups
        self._on_suspended = on_suspended
        self._on_watch = on_watch
        self._on_crash = on_crash
        self._installed: dict[str, str] = {}
        self._suspended: frozenset[str] = frozenset()
        self._watched: frozenset[str] = frozenset()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed-groups", daemon=True)

    def start(self) -> None:
        """Start polling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; does not wait for a read that is under way."""
        self._ending.set()

    def _run(self) -> None:
        clean = False
        try:
            while not self._ending.is_set():
                self._look()
                self._ending.wait(self._poll_s)
            clean = True
        finally:
            if not clean:
                self._on_crash("groups")

    def _look(self) -> None:
        try:
            if self._mirror.refresh():
                self._take()
            watched = _group_ids(self._status.get(WATCH_COMPONENT))
            if watched != self._watched:
                self._on_watch(watched)
                self._watched = watched
        except KalshiArbError as error:
            self.errors += 1
            logger.warning("groups cannot be read: %s", error)

    def _take(self) -> None:
        records = self._mirror.records
        suspended = frozenset(one for one, record in records.items() if record.suspension is not None)
        if suspended != self._suspended:
            self._on_suspended(suspended)
            self._suspended = suspended
        accepted = {one: record.group.fingerprint for one, record in records.items()}
        if accepted != self._installed:
            groups = [record.group for record in records.values()]
            self._on_groups(Screen(groups), groups)
            self._installed = accepted


def _group_ids(item: dict[str, object] | None) -> frozenset[str]:
    ids = item.get("groups") if item is not None else None
    return frozenset(one for one in ids if isinstance(one, str)) if isinstance(ids, list) else frozenset()
