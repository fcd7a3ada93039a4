"""Answers that are served again for a while, as by the delivery network before the exchange.

``/markets`` and ``/series/{ticker}`` come from such a cache and may be 15 seconds old; books never do.
"""

from functools import wraps
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from infra.exchange.rest_desk import Call, Handler

_MOST = 1_000


class ReplyCache:
    """Answers by address and query.

    :param life_ms: how long an answer is served again; 0 for never
    """

    def __init__(self, life_ms: int) -> None:
        self.life_ms = life_ms
        self._bodies: dict[str, tuple[int, bytes]] = {}

    def find(self, address: str, now_ms: int) -> bytes | None:
        """An answer that is still good."""
        until_ms, body = self._bodies.get(address, (0, b""))
        return body if now_ms < until_ms else None

    def put(self, address: str, body: bytes, now_ms: int) -> None:
        """Serve an answer from now on; the oldest makes room."""
        self._bodies.pop(address, None)
        if len(self._bodies) >= _MOST:
            del self._bodies[next(iter(self._bodies))]
        self._bodies[address] = (now_ms + self.life_ms, body)


def cached(handler: "Handler") -> "Handler":
    """Serve a handler's good answers from the exchange's cache, if it has one."""

    @wraps(handler)
    async def serve(call: "Call") -> web.Response:
        cache, now_ms, address = call.desk.cache, call.desk.core.now_ms, call.request.path_qs
        if not cache.life_ms:
            return await handler(call)
        body = cache.find(address, now_ms)
        if body is None:
            fresh = await handler(call)
            body = bytes(fresh.body) if isinstance(fresh.body, bytes) else b""
            cache.put(address, body, now_ms)
        headers = {"Cache-Control": f"public, max-age={cache.life_ms // 1_000}"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    return serve
