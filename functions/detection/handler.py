"""Proves candidates and starts baskets; sweeps on a schedule; on a direct call, scans or calculates without trading."""

from dataclasses import asdict
from typing import Any

from kalshi_arb import bootstrap, events
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.schemas import Candidate, decode


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A batch of candidates answers ``{"batchItemFailures": [..]}``; a schedule ``{"groups", "of", "screened",
    "outcomes"}``; ``{"scan": {"event_ticker"?}}`` what the scan found; ``{"calc": text}`` what was calculated."""
    with bootstrap.observability("detection").invocation(context) as log:
        if events.is_queue_event(event):
            return _candidates(event, log)
        if events.is_scheduled(event):
            report = asdict(bootstrap.group_round().run())
            log.info("groups swept", extra=report)
            return report
        # Only a person's call needs the calculator and the read models.
        if events.is_calculation(event):
            from kalshi_arb.calc_view import answer

            return answer(events.parse(event, events.CalcTask).calc, bootstrap.clock().now_ms())
        from kalshi_arb.scan_view import scan_view

        task = events.parse(event, events.ScanTask)
        return scan_view(bootstrap.scanner().scan(task.scan.event_ticker))


def _candidates(event: dict[str, Any], log: Any) -> dict[str, Any]:
    """Judge together what came together."""
    batch = events.Batch(event, lambda body: decode(body, Candidate), log)
    results = bootstrap.detector().handle_all([candidate for _, candidate in batch.messages])
    for (message_id, candidate), result in zip(batch.messages, results, strict=True):
        if isinstance(result, KalshiArbError):
            batch.fail(message_id, result)
        else:
            log.info("candidate judged", extra={"group_id": candidate.group_id, **asdict(result)})
    return dict(batch.answer())
