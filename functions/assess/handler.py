"""Asks the exchange what became of a basket's orders and decides what comes next."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"basket_id", "attempt", "wave"}``, the wave being the last that was handed out, answers
    ``{"basket_id", "attempt", "action", "wave", "wait_seconds", "turns", "state"}``."""
    task = events.parse(event, events.WaveTask)
    with bootstrap.observability("assess").invocation(context, basket_id=task.basket_id) as log:
        decision = bootstrap.assessor().run(task.basket_id, task.attempt, task.wave)
        answer = {
            "action": decision.action.value,
            "wave": decision.wave,
            "wait_seconds": decision.wait_seconds,
            "turns": decision.turns,
            "state": decision.state.value,
        }
        log.info("basket assessed", extra=answer)
        return {"basket_id": task.basket_id, "attempt": task.attempt, **answer}
