"""Finds baskets whose execution died and starts the next attempt."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Any schedule, or ``{"drivers_ended_ms"}``, answers ``{"resumed", "abandoned"}``."""
    task = events.parse(event, events.SweepTask)
    with bootstrap.observability("sweeper").invocation(context) as log:
        report = bootstrap.sweeper().run(task.drivers_ended_ms)
        answer = {"resumed": report.resumed, "abandoned": report.abandoned}
        log.info("sweeper ran", extra=answer)
        return answer
