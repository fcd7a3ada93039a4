"""What the feed says about itself: a status for people and other components, a file for the container's health check,
numbers for alarms."""

import json
from collections.abc import Mapping
from pathlib import Path

from feed.core import FeedCore
from kalshi_arb.detection.screen import EDGE_DECIMALS
from kalshi_arb.domain.money import print_decimal
from kalshi_arb.metrics_names import Metric
from kalshi_arb.ports import Metrics

Status = dict[str, object]


def status_of(
    core: FeedCore,
    *,
    now_ms: int,
    epoch: int,
    mode: str,
    reconnects: int,
    drops: Mapping[str, int],
    latency_ms: Mapping[str, float | None],
    misses: int,
) -> Status:
    """The feed's status; counters count from the start of this process. Edges are in 1e-10 dollars."""
    books, stale = core.stream.totals()
    counts = core.stream.counts
    return {
        "updated_ms": now_ms,
        "mode": mode,
        "epoch": epoch,
        "connected": core.connected,
        "frames": counts.frames,
        "books": books,
        "stale_books": stale,
        "gaps": counts.gaps,
        "resyncs": counts.resyncs,
        "reconnects": reconnects,
        "candidates": core.candidates,
        "groups": core.groups,
        "latency_ms": dict(latency_ms),
        "private": core.private.summary(now_ms),
        "misses": [
            {
                "group_id": miss.group_id,
                "event_ticker": miss.event_ticker,
                "edge": miss.edge,
                "edge_dollars": print_decimal(miss.edge, EDGE_DECIMALS),
                "text": miss.text,
                "legs": miss.legs,
                "prices": miss.prices,
            }
            for miss in core.screen.nearest(misses)
        ],
        "drops": {reason: count for reason, count in sorted(drops.items()) if count},
    }


def write_health_file(path: Path, status: Status) -> None:
    """Replace the file in one step, so that no reader ever sees half of it. :raises OSError: it cannot be written."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(json.dumps(status), encoding="utf-8")
    temporary.replace(path)


class MetricsSource:
    """Turns the growing counts of the feed into what happened since the last look."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._frames = self._gaps = self._candidates = 0

    def note(self, core: FeedCore) -> None:
        """Note the counts since the last call and the gauges now."""
        counts = core.stream.counts
        _, stale = core.stream.totals()
        # Zero counts are published too: an alarm on silence needs a number.
        self._metrics.count(Metric.FRAMES, counts.frames - self._frames)
        self._metrics.count(Metric.FEED_GAPS, counts.gaps - self._gaps)
        self._metrics.count(Metric.CANDIDATES, core.candidates - self._candidates)
        self._metrics.observe(Metric.STALE_BOOKS, stale)
        if core.worst_lag_ms is not None:
            self._metrics.observe(Metric.FEED_LAG_MS, core.worst_lag_ms)
        self._frames, self._gaps, self._candidates = counts.frames, counts.gaps, core.candidates
        core.worst_lag_ms = None

    def flush(self) -> None:
        """Publish."""
        self._metrics.flush()
