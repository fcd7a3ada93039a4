"""Delivers alerts to people."""

from typing import Any

from kalshi_arb import bootstrap, events
from kalshi_arb.alerts import Outcome


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """An SNS event, or the schedule that sends summaries; both answer ``{"delivered"}``. What fails is raised, so that
    the topic tries again; what was delivered before it is recognised then."""
    with bootstrap.observability("alerts").invocation(context):
        delivery = bootstrap.alert_delivery()
        if events.is_scheduled(event):
            return {"delivered": delivery.flush()}
        notified = events.parse(event, events.NotificationEvent)
        outcomes = [delivery.deliver(record.Sns.Message) for record in notified.Records]
        return {"delivered": outcomes.count(Outcome.DELIVERED)}
