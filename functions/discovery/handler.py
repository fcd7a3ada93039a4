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
            return _messages(event, context)
        answer = asdict(bootstrap.discovery().run())
        log.info("discovery ran", extra=answer)
        return answer


def _messages(event: dict[str, Any], context: object) -> dict[str, Any]:
    # Only a queue's batch needs these, and a schedule is a common caller.
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

    from kalshi_arb.schemas import Lifecycle, Look, decode, is_a

    announced: list[Lifecycle] = []
    looks: list[Look] = []

    def read(record: SQSRecord) -> None:
        if is_a(record.body, Look):
            looks.append(decode(record.body, Look))
        else:
            announced.append(decode(record.body, Lifecycle))

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    answer: dict[str, Any] = dict(process_partial_response(event, read, processor, context))  # type: ignore[arg-type]  # the runtime's own context
    # Together, because many messages about one event are one reading.
    bootstrap.discovery().heard(announced, reminded=bool(looks))
    return answer
