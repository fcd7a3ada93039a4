"""Proves candidates and starts baskets; on a direct call, scans without trading."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from kalshi_arb import bootstrap, events
from kalshi_arb.schemas import Candidate, decode


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A batch of candidates answers ``{"batchItemFailures": [..]}``; ``{"scan": {"event_ticker"?}}`` answers what the
    scan found."""
    with bootstrap.observability("detection").invocation(context) as log:
        if not events.is_queue_event(event):
            # Only a person's call needs the read models.
            from kalshi_arb.api import scan_view

            task = events.parse(event, events.ScanTask)
            return scan_view(bootstrap.scanner().scan(task.scan.event_ticker), {})
        detector = bootstrap.detector()

        def judge(record: SQSRecord) -> None:
            candidate = decode(record.body, Candidate)
            handled = detector.handle(candidate)
            log.info("candidate judged", extra={"group_id": candidate.group_id, **asdict(handled)})

        processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        return dict(process_partial_response(event, judge, processor, context))  # type: ignore[arg-type]  # the runtime's own context
