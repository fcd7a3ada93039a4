"""Keeps the accepted groups true: on a schedule, when the feed reminds, on lifecycle messages, or when called."""

from dataclasses import asdict
from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A batch of the feed's messages suspends what they concern, reads it again, and answers which messages could not
    be read. Any other event runs discovery once and answers
    ``{"version", "groups", "dropped", "events", "changes"}``."""
    with bootstrap.observability("discovery").invocation(context) as log:
        if events.is_queue_event(event):
            return _messages(event, log)
        answer = asdict(bootstrap.discovery().run())
        log.info("discovery ran", extra=answer)
        return answer


def _messages(event: dict[str, Any], log: Any) -> dict[str, Any]:
    # Only a queue's batch needs these, and a schedule is a common caller.
    from kalshi_arb.schemas import Lifecycle, Look, decode, is_a

    def read(body: str) -> Lifecycle | Look:
        return decode(body, Look) if is_a(body, Look) else decode(body, Lifecycle)

    batch = events.Batch(event, read, log)
    messages = [message for _, message in batch.messages]
    announced = [message for message in messages if isinstance(message, Lifecycle)]
    # Together, because many messages about one event are one reading.
    bootstrap.discovery().heard(announced, reminded=len(announced) < len(messages))
    return dict(batch.answer())
