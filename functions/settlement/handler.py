"""Books what the exchange paid for settled markets and closes the baskets that held them; repairs the journal.

Tells each day that is over, and proposes what had better be sold early, or has it sold where the limits say so. After
baskets, only holds the journal against the exchange.
"""

from typing import Any

from kalshi_arb import bootstrap, events

REPAIR = "repair"


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers ``{"settled", "baskets", "told", "proposals"}`` to a schedule, ``{"differences", "found", "recorded"}``
    to the command of a person, and to a batch of audit requests which of them could not be read."""
    with bootstrap.observability("settlement").invocation(context) as log:
        if events.is_queue_event(event):
            return _audit(event, log)
        if event.get("command") == REPAIR:
            # Only a person's command needs words.
            from kalshi_arb.journal_view import repair_view

            answer = repair_view(bootstrap.auditor().repair())
            log.info("journal repaired", extra=answer)
            return answer
        # The digest needs no exchange, so it comes before what may fail with one.
        told = bootstrap.digest().run()
        report = bootstrap.settler().run()
        proposals = bootstrap.held_review().run()
        answer = {"settled": report.settled, "baskets": report.baskets, "told": told, "proposals": proposals}
        log.info("settlement ran", extra=answer)
        return answer


def _audit(event: dict[str, Any], log: Any) -> dict[str, Any]:
    """One audit for the whole batch. Where something moves it compares nothing, and the schedule does it."""
    # Only a queue's batch needs these, and a schedule is the common caller.
    from kalshi_arb.schemas import AuditRequest, decode

    batch = events.Batch(event, lambda body: decode(body, AuditRequest), log)
    baskets = sorted({request.basket_id for _, request in batch.messages})
    if baskets:
        found = bootstrap.auditor().run(payments_booked=False)
        log.info("audited", extra={"after": baskets, "differences": None if found is None else len(found)})
    return dict(batch.answer())
