"""First step of a basket: prove again on books read now, check limits, reserve, plan."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """``{"basket_id", "attempt"}`` answers ``{"basket_id", "attempt", "accepted", "reason", "wave"}``."""
    task = events.parse(event, events.BasketTask)
    with bootstrap.observability("risk_check").invocation(context, basket_id=task.basket_id) as log:
        decision = bootstrap.risk_check().run(task.basket_id, task.attempt)
        answer = {"accepted": decision.accepted, "reason": decision.reason, "wave": decision.wave}
        log.info("risk checked", extra=answer)
        return {"basket_id": task.basket_id, "attempt": task.attempt, **answer}
