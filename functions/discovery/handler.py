"""Finds the groups that are accepted now: on a schedule, on lifecycle messages, or when called."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Any event runs discovery once and answers ``{"version", "groups", "dropped"}``. A batch of lifecycle messages,
    however many, runs it once too and answers which messages could not be read."""
    with bootstrap.observability("discovery").invocation(context) as log:
        unread = _unread(event, context) if events.is_queue_event(event) else None
        report = bootstrap.discovery().run()
        answer = {"version": report.version, "groups": report.groups, "dropped": report.dropped}
        log.info("discovery ran", extra=answer)
        return answer if unread is None else unread


def _unread(event: dict[str, Any], context: object) -> dict[str, Any]:
    # Only a queue's batch needs these, and a schedule is the common caller.
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

    from kalshi_arb.schemas import Lifecycle, decode

    def read(record: SQSRecord) -> None:
        decode(record.body, Lifecycle)

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    answer: dict[str, Any] = dict(process_partial_response(event, read, processor, context))  # type: ignore[arg-type]  # the runtime's own context
    return answer
