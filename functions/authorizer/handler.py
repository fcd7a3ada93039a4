"""Lets requests through that carry the API's token. Anything unclear is a no."""

from typing import Any

from kalshi_arb import bootstrap, events


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A REQUEST authorizer event of payload format 2.0 answers ``{"isAuthorized"}``."""
    with bootstrap.observability("authorizer").invocation(context) as log:
        allowed = events.is_authorized(events.bearer_token(event), bootstrap.api_token())
        if not allowed:
            log.warning("a request without the right token was refused")
        return {"isAuthorized": allowed}
