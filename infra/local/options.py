"""Settings of the embedded AWS that are ours, handed to its process in environment variables of one prefix."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PREFIX = "LOCAL_CLOUD_"


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """Bounds and rhythms. Times in seconds."""

    workers_per_function: int = 2
    workers_total: int = 16
    slot_wait: float = 10.0  # how long a call waits for a free environment before it is throttled
    depth_interval: float = 30.0  # between two measurements of the queues
    alarm_interval: float = 5.0  # between two evaluations of all alarms
    trim_interval: float = 15.0
    metric_age: float = 1_800.0  # older metric points are dropped
    points_per_metric: int = 20_000
    executions_with_history: int = 300  # finished executions whose events are kept
    executions: int = 20_000  # finished executions whose name is still refused
    log_streams: int = 200  # in one log group

    def to_environment(self) -> dict[str, str]:
        """As variables for the child."""
        return {PREFIX + field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "EmulatorOptions":
        """Read back what :meth:`to_environment` wrote; what is missing keeps its default."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            text = environ.get(PREFIX + field.name.upper())
            if text is not None:
                given[field.name] = int(text) if field.type is int else float(text)
        return cls(**given)
