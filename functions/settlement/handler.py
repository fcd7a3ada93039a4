"""Books what the exchange paid for settled markets and closes the baskets that held them; repairs the journal.

Tells each day that is over, and proposes what had better be sold early.
"""

from typing import Any

from kalshi_arb import bootstrap

REPAIR = "repair"


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers ``{"settled", "baskets", "told", "proposals"}`` to a schedule, ``{"differences", "recorded"}`` to the
    command of a person."""
    with bootstrap.observability("settlement").invocation(context) as log:
        if event.get("command") == REPAIR:
            found = bootstrap.auditor().repair()
            lines = None if found is None else [str(one) for one in found]
            recorded = sum(len(one.repair) for one in found or ())
            log.info("journal repaired", extra={"differences": lines, "recorded": recorded})
            return {"differences": lines, "recorded": recorded}
        # The digest needs no exchange, so it comes before what may fail with one.
        told = bootstrap.digest().run()
        report = bootstrap.settler().run()
        proposals = bootstrap.held_review().run()
        answer = {"settled": report.settled, "baskets": report.baskets, "told": told, "proposals": proposals}
        log.info("settlement ran", extra=answer)
        return answer
