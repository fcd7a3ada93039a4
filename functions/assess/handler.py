"""Asks the exchange what became of a basket's orders and decides what comes next."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"basket_id", "attempt"}`` answers ``{"basket_id", "attempt", "action", "wave", "wait_seconds", "state"}``."""
    task = events.parse(event, events.BasketTask)
    with bootstrap.observability("assess").invocation(context, basket_id=task.basket_id) as log:
        decision = bootstrap.assessor().run(task.basket_id, task.attempt)
        answer = {
            "action": decision.action.value,
            "wave": decision.wave,
            "wait_seconds": decision.wait_seconds,
            "state": decision.state.value,
        }
        log.info("basket assessed", extra=answer)
        return {"basket_id": task.basket_id, "attempt": task.attempt, **answer}
