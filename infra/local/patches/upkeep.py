"""Bounded memory for long runs, and the timer behind queue metrics and alarms.

The embedded AWS keeps every event, log line and metric point for ever. What is trimmed here is only what no part of
the project reads back: old history, never state.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from infra.local.options import EmulatorOptions
from infra.local.patches import metrics
from infra.local.seams import Seam

logger = logging.getLogger("local_cloud.upkeep")

_EXECUTIONS = Seam("services.stepfunctions", "_executions")
_METRICS = Seam("services.cloudwatch", "_metrics")
_LOG_GROUPS = Seam("services.cloudwatch_logs", "_log_groups")
_EVENTS = Seam("services.eventbridge", "_events_log")


def trim_executions(executions: Any, with_history: int, in_all: int) -> None:
    """Drop the events of all but the latest finished executions, and the oldest executions altogether."""
    finished = [(key, execution) for key, execution in executions.all_items() if execution["status"] != "RUNNING"]
    finished.sort(key=lambda pair: pair[1]["stopDate"] or "", reverse=True)
    for _, execution in finished[with_history:]:
        if len(execution["events"]) > 2:
            execution["events"] = [execution["events"][0], execution["events"][-1]]
    for key, _ in finished[in_all:]:
        executions.pop_scoped(*key, None)


def trim_metrics(series: Any, oldest: float, points: int) -> None:
    """Drop points from before ``oldest`` (seconds since the epoch), and all but the latest of one series."""
    for key, kept in series.all_items():
        while kept and (len(kept) > points or kept[0]["Timestamp"] < oldest):
            del kept[: max(len(kept) - points, _leading(kept, oldest), 1)]
        if not kept:
            series.pop_scoped(*key, None)


def _leading(points: list[dict[str, Any]], oldest: float) -> int:
    """How many points at the start are too old."""
    for index, point in enumerate(points):
        if point["Timestamp"] >= oldest:
            return index
    return len(points)


def trim_logs(groups: Any, streams: int) -> None:
    """Keep the latest streams of each group: every invocation opens one."""
    for _, group in groups.all_items():
        surplus = len(group["streams"]) - streams
        if surplus > 0:
            for name in list(group["streams"])[:surplus]:
                group["streams"].pop(name, None)


def trim_events(events: Any) -> None:
    """Forget the bus's own log of events: nothing reads it."""
    for _, entries in events.all_items():
        entries.clear()


class Upkeep:
    """The timer. One thread; each duty has its own interval, and one that fails does not stop the others."""

    def __init__(self, options: EmulatorOptions) -> None:
        """Check every seam. :raises SeamError: one does not fit."""
        executions, series, groups, events = (seam.value() for seam in (_EXECUTIONS, _METRICS, _LOG_GROUPS, _EVENTS))
        for seam in (_EXECUTIONS, _METRICS, _LOG_GROUPS, _EVENTS):
            if not hasattr(seam.value(), "all_items") or not hasattr(seam.value(), "pop_scoped"):
                raise seam.broken("it is not a store by account and region")

        def trim() -> None:
            trim_executions(executions, options.executions_with_history, options.executions)
            trim_metrics(series, time.time() - options.metric_age, options.points_per_metric)
            trim_logs(groups, options.log_streams)
            trim_events(events)

        self._duties: list[tuple[float, Callable[[], None]]] = [
            (options.depth_interval, lambda: metrics.publish_queue_depths(time.time())),
            (options.alarm_interval, metrics.evaluate_alarms),
            (options.trim_interval, trim),
        ]

    def start(self) -> None:
        """Begin, on a daemon thread."""
        for interval, duty in self._duties:
            threading.Thread(target=self._repeat, args=(interval, duty), name="upkeep", daemon=True).start()

    @staticmethod
    def _repeat(interval: float, duty: Callable[[], None]) -> None:
        while True:
            time.sleep(interval)
            with contextlib.suppress(RuntimeError):  # a store grew under our hands: the next round sees it
                try:
                    duty()
                except (KeyError, ValueError, TypeError):
                    logger.exception("upkeep failed, and is tried again in %s s", interval)
