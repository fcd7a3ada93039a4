"""Structured logs and metrics of one process. Every log line names the mode; every metric has service and mode,
some a detail besides."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from kalshi_arb.metrics_names import DETAILS, NAMESPACE, Metric


class EmfMetrics:
    """:class:`kalshi_arb.ports.Metrics` as lines of CloudWatch's embedded metric format on standard output.

    Sums are kept as one number, so counting costs a dictionary access; observed values are published one by one, a
    line for each hundred: observe a summary, not every frame.
    """

    def __init__(self, service: str, mode: str) -> None:
        self._emf = EphemeralMetrics(namespace=NAMESPACE, service=service)
        self._emf.set_default_dimensions(mode=mode)
        self._sums: dict[Metric, int] = {}
        self._details: dict[tuple[Metric, str], int] = {}
        self._values: list[tuple[Metric, int]] = []

    def count(self, metric: Metric, change: int = 1, detail: str | None = None) -> None:
        """Add to a sum that is published at the next flush; with a detail also to the sum of that word."""
        self._sums[metric] = self._sums.get(metric, 0) + change
        if detail is not None:
            self._details[metric, detail] = self._details.get((metric, detail), 0) + change

    def observe(self, metric: Metric, value: int) -> None:
        """Note one value of a gauge or a duration."""
        self._values.append((metric, value))

    def flush(self) -> None:
        """Publish what was noted since the last flush; nothing when nothing was."""
        noted, details = [*self._sums.items(), *self._values], self._details
        self._sums, self._details, self._values = {}, {}, []
        if not noted:
            return
        for metric, value in noted:
            self._emf.add_metric(name=metric.value, unit=_unit(metric), value=value)
        self._emf.flush_metrics()
        # A line has one set of dimensions: each detail is a line of its own.
        for (metric, detail), value in details.items():
            self._emf.add_dimension(name=DETAILS[metric], value=detail)
            self._emf.add_metric(name=metric.value, unit=_unit(metric), value=value)
            self._emf.flush_metrics()


def _unit(metric: Metric) -> MetricUnit:
    return MetricUnit.Milliseconds if metric.value.endswith("Ms") else MetricUnit.Count


@dataclass(frozen=True, slots=True)
class Observability:
    """The logger and the metrics of one service."""

    logger: Logger
    metrics: EmfMetrics

    @contextmanager
    def invocation(self, context: object, **ids: str) -> Iterator[Logger]:
        """One invocation of a function: its log lines carry the request and ``ids`` (``opportunity_id``,
        ``basket_id``), an exception is logged and passed on, and metrics are published however it ends."""
        keys = {"request_id": getattr(context, "aws_request_id", None), **ids}
        with self.logger.append_context_keys(**keys):
            try:
                yield self.logger
            except Exception:
                self.logger.exception("the invocation failed")
                raise
            finally:
                self.metrics.flush()


def observe(service: str, mode: str, log_level: str) -> Observability:
    """Build the logger and the metrics of a service: a function's name, or ``feed``."""
    logger = Logger(service=service, level=log_level)
    logger.append_keys(mode=mode)
    # What the library logs looks the same and carries the same keys.
    library = logging.getLogger("kalshi_arb")
    library.handlers = logger.handlers
    library.setLevel(log_level)
    library.propagate = False
    return Observability(logger, EmfMetrics(service, mode))
