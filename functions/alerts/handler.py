"""Delivers alerts to people."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """An SNS event answers ``{"delivered"}``. What fails is raised, so that the topic tries again; what was delivered
    before it is recognised then."""
    notified = events.parse(event, events.NotificationEvent)
    with bootstrap.observability("alerts").invocation(context):
        delivery = bootstrap.alert_delivery()
        return {"delivered": sum(delivery.deliver(record.Sns.Message) for record in notified.Records)}
