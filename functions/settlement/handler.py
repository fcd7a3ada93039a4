"""Books what the exchange paid for settled markets and closes the baskets that held them."""

from typing import Any

from kalshi_arb import bootstrap


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - any event is a schedule
    """Answers ``{"settled", "baskets"}``."""
    with bootstrap.observability("settlement").invocation(context) as log:
        report = bootstrap.settler().run()
        answer = {"settled": report.settled, "baskets": report.baskets}
        log.info("settlement ran", extra=answer)
        return answer
