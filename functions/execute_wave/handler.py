"""Sends the planned purchases of one wave."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"basket_id", "attempt", "wave"}`` answers ``{"basket_id", "attempt", "wave", "sent"}``."""
    task = events.parse(event, events.WaveTask)
    with bootstrap.observability("execute_wave").invocation(context, basket_id=task.basket_id) as log:
        sent = bootstrap.wave_executor().run(task.basket_id, task.attempt, task.wave)
        answer = {"wave": task.wave, "sent": sent}
        log.info("wave executed", extra=answer)
        return {"basket_id": task.basket_id, "attempt": task.attempt, **answer}
