"""The exchange's REST API without a socket: a request of the client is carried out by the server's own routes.

Everything of the server takes part, its fault scripts included; only the network is left out. A connection that a fault
ends is told to the client as the network would tell it.
"""

import asyncio
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

import httpx
from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from infra.exchange.server import ExchangeServer

_BODY_LIMIT = 2**20
_CALLER = ("127.0.0.1", 1)


class _Connection:
    """What the server sees of a caller: an address, and a connection that it may abort."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        """End the connection without an answer."""
        self.aborted = True

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The caller's address; nothing else is known."""
        return _CALLER if name == "peername" else default


class InProcess(httpx.BaseTransport):
    """Carries requests to one server. Calls must not overlap; they may come from different threads."""

    def __init__(self, server: ExchangeServer) -> None:
        self._app = server.application()
        self._app.freeze()
        self._loop = asyncio.new_event_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Have one request carried out.

        :raises httpx.RemoteProtocolError: the connection was ended before an answer
        """
        connection = _Connection()
        response = self._loop.run_until_complete(self._answer(request, connection))
        if connection.aborted:
            raise httpx.RemoteProtocolError("the connection ended without an answer")
        return httpx.Response(response.status, headers=list(response.headers.items()), content=_body(response))

    def close(self) -> None:
        """End the loop that the routes run in."""
        self._loop.close()

    async def _answer(self, request: httpx.Request, connection: _Connection) -> web.Response:
        path = request.url.raw_path.decode()
        message = RawRequestMessage(
            request.method, path, HttpVersion11, _headers(request), tuple(request.headers.raw), False, None, False,
            False, URL(path, encoded=True),
        )  # fmt: skip
        protocol = SimpleNamespace(transport=connection, ssl_context=None, peername=_CALLER, sockname=None)
        body = StreamReader(BaseProtocol(self._loop), _BODY_LIMIT, loop=self._loop)
        body.feed_data(request.content)
        body.feed_eof()
        nothing = cast(Any, None)
        own = web.Request(message, body, cast(Any, protocol), nothing, nothing, self._loop, client_max_size=_BODY_LIMIT)
        response = await self._app._handle(own)
        await self._app.on_response_prepare.send(own, response)
        if not isinstance(response, web.Response):
            raise TypeError(f"{request.method} {request.url.path} is answered by no plain response")
        return response


def _headers(request: httpx.Request) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(request.headers.multi_items()))


def _body(response: web.Response) -> bytes:
    body = response.body
    if isinstance(body, bytes):
        return body
    if body is None or response.status == HTTPStatus.NO_CONTENT:
        return b""
    raise TypeError("an answer whose body is a stream")
