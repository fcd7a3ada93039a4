"""Sends the planned unwinds of one wave. It buys nothing, so it goes on when purchases are forbidden."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"basket_id", "attempt", "wave"}`` answers ``{"basket_id", "attempt", "wave", "sent"}``."""
    task = events.parse(event, events.WaveTask)
    with bootstrap.observability("unwind").invocation(context, basket_id=task.basket_id) as log:
        sent = bootstrap.unwinder().run(task.basket_id, task.attempt, task.wave)
        answer = {"wave": task.wave, "sent": sent}
        log.info("unwind executed", extra=answer)
        return {"basket_id": task.basket_id, "attempt": task.attempt, **answer}
