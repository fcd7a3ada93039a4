"""Last step of an attempt at a basket: record, release, notify, end the row; or note that the attempt gave up."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"basket_id", "attempt"}`` or ``{"basket_id", "attempt", "gave_up"}`` answers
    ``{"basket_id", "attempt", "state"}``."""
    task = events.parse(event, events.CloseTask)
    with bootstrap.observability("close").invocation(context, basket_id=task.basket_id) as log:
        state = bootstrap.closer().run(task.basket_id, task.attempt, task.gave_up)
        log.info("attempt closed", extra={"state": state.value, "gave_up": task.gave_up})
        return {"basket_id": task.basket_id, "attempt": task.attempt, "state": state.value}
