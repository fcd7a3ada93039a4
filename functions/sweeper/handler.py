"""Finds baskets whose execution died and starts the next attempt."""

from typing import Any

from kalshi_arb import bootstrap


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - any event is a schedule
    """Answers ``{"resumed", "abandoned"}``."""
    with bootstrap.observability("sweeper").invocation(context) as log:
        report = bootstrap.sweeper().run()
        answer = {"resumed": report.resumed, "abandoned": report.abandoned}
        log.info("sweeper ran", extra=answer)
        return answer
