"""The HTTP API and the page. Every route but the page lies behind the authorizer."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from kalshi_arb import bootstrap
from kalshi_arb.api import Json, RequestError, read_limit, read_scan
from kalshi_arb.domain.errors import DetectionError, ExchangeError, ProofError, SchemaError, StoreError
from kalshi_arb.relations_view import UnknownGroupError, read_approval
from kalshi_arb.stop_desk import StopError, read_arm_order, read_stop_order

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """An HTTP API request of payload format 2.0 answers a response of the same format."""
    with bootstrap.observability("api").invocation(context):
        answer: dict[str, Any] = _app().resolve(event, context)  # type: ignore[arg-type]  # the runtime's own context
        return answer


@cache
def _app() -> APIGatewayHttpResolver:
    app = APIGatewayHttpResolver()

    def limited(read: Callable[[int], Json]) -> Response[str]:
        return _answer(lambda: read(read_limit(app.current_event.get_query_string_value("limit"))))

    @app.get("/")
    def page() -> Response[str]:
        text, policy = _page()
        headers = {**_HEADERS, "Content-Security-Policy": policy}
        return Response(status_code=200, content_type="text/html; charset=utf-8", body=text, headers=headers)

    @app.get("/health")
    def health() -> Response[str]:
        return _answer(bootstrap.api().health)

    @app.get("/opportunities")
    def opportunities() -> Response[str]:
        return limited(bootstrap.api().opportunities)

    @app.get("/baskets")
    def baskets() -> Response[str]:
        return limited(bootstrap.api().baskets)

    @app.get("/misses")
    def misses() -> Response[str]:
        return _answer(bootstrap.api().misses)

    @app.get("/drops")
    def drops() -> Response[str]:
        return _answer(bootstrap.api().drops)

    @app.post("/scan")
    def scan() -> Response[str]:
        return _answer(lambda: bootstrap.api().scan(read_scan(_body(app))))

    @app.post("/calc")
    def calc() -> Response[str]:
        return _answer(lambda: bootstrap.api().calc(_body(app)))

    @app.get("/relations")
    def relations() -> Response[str]:
        return _answer(bootstrap.relations_desk().list)

    @app.get("/relations/group")
    def relations_group() -> Response[str]:
        return _answer(lambda: bootstrap.relations_desk().show(_group_id(app)))

    @app.get("/relations/history")
    def relations_history() -> Response[str]:
        return _answer(lambda: bootstrap.relations_desk().history(_group_id(app)))

    @app.post("/relations/approve")
    def relations_approve() -> Response[str]:
        return _answer(lambda: bootstrap.relations_desk().approve(read_approval(_body(app))))

    @app.post("/stop")
    def stop() -> Response[str]:
        return _answer(lambda: bootstrap.stop_desk().stop(read_stop_order(_body(app))))

    @app.post("/arm")
    def arm() -> Response[str]:
        return _answer(lambda: bootstrap.stop_desk().arm(read_arm_order(_body(app))))

    @app.not_found
    def unknown(_: Exception) -> Response[str]:
        return _json(404, {"error": "there is no such route"})

    return app


def _group_id(app: APIGatewayHttpResolver) -> str:
    group_id: str | None = app.current_event.get_query_string_value("id")
    if not group_id:
        raise RequestError("the query must name a group: ?id=...")
    return group_id


def _body(app: APIGatewayHttpResolver) -> str | None:
    """The request's body as text. Decoding is strict: a lenient one reads nonsense as an empty body."""
    event = app.current_event
    if not event.is_base64_encoded or event.body is None:
        return event.body
    try:
        return base64.b64decode(event.body, validate=True).decode()
    except ValueError:
        raise RequestError("the body cannot be decoded") from None


def _answer(read: Callable[[], Json]) -> Response[str]:
    """Run one use case and map its errors: the caller's fault, or something behind us that may answer later."""
    try:
        return _json(200, read())
    except UnknownGroupError as error:
        return _json(404, {"error": str(error)})
    except (RequestError, ProofError, StopError) as error:
        return _json(400, {"error": str(error)})
    except DetectionError as error:
        bootstrap.observability("api").logger.exception("detection did not answer")
        return _json(503, {"error": str(error)})
    except (StoreError, SchemaError, ExchangeError) as error:
        bootstrap.observability("api").logger.exception("a request could not be answered")
        return _json(503, {"error": f"{type(error).__name__}: try again; the log of this function says more"})


def _json(status: int, body: Json) -> Response[str]:
    headers = {**_HEADERS, "Content-Security-Policy": _NOTHING}
    return Response(status_code=status, content_type="application/json", body=json.dumps(body), headers=headers)


@cache
def _page() -> tuple[str, str]:
    """The page and a policy that allows exactly its own script and style, by hash, and calls to its own origin."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    script, style = (_hash(re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _hash(blocks: list[str]) -> str:
    return " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'" for block in blocks
    )
