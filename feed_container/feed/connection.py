"""The socket behind a narrow seam, so that another client library can take its place.

No compression is offered: the exchange's frames are small and inflating them costs more than the bytes.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.kalshi.answers import read_error
from kalshi_arb.kalshi.errors import AuthError
from kalshi_arb.kalshi.signing import Signer

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 0.5
LARGEST_FRAME = 64 * 2**20
# Frames read ahead. A slow reader loses its subscription at the exchange, so there is room for a burst.
FRAMES_AHEAD = 4096


class ConnectionLostError(ExchangeError):
    """The connection did not come about, was closed, or has gone silent: connect again."""


class Connection(Protocol):
    """One open connection."""

    async def receive(self) -> bytes:
        """The next frame. :raises ConnectionLostError: there will be none."""
        ...

    async def send(self, text: str) -> None:
        """Send one command. :raises ConnectionLostError: it cannot be sent."""
        ...

    async def ping(self) -> None:
        """Return when the peer has answered. :raises ConnectionLostError: it cannot any more."""
        ...

    async def close(self) -> None:
        """Close; never raises."""
        ...


class Connector(Protocol):
    """Opens connections."""

    async def open(self) -> Connection:
        """Open one, signed.

        :raises AuthError: the exchange refuses the key.
        :raises ConnectionLostError: it cannot be reached or answers with something else.
        """
        ...


class SignedConnector:
    """Opens connections to the exchange's stream with a freshly signed handshake each time."""

    def __init__(self, url: str, signer: Signer, clock: Clock) -> None:
        self._url = url
        self._path = urlsplit(url).path
        self._signer = signer
        self._clock = clock

    async def open(self) -> Connection:
        """As the protocol says."""
        headers = self._signer.headers(self._clock.now_ms(), "GET", self._path)
        try:
            socket = await connect(
                self._url,
                additional_headers=headers,
                compression=None,
                # Proxy variables of the machine must not decide where the stream comes from.
                proxy=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                # The feed pings by itself, since the time of each answer tells the age of its books.
                ping_interval=None,
                max_size=LARGEST_FRAME,
                max_queue=FRAMES_AHEAD,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            code, message = read_error(bytes(error.response.body or b""))
            text = f"the exchange refused the stream: {message or code}"
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise AuthError(code, text, status) from error
            raise ConnectionLostError(f"{text} (HTTP {status})") from error
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            raise ConnectionLostError(f"cannot open the stream: {type(error).__name__}: {error}") from error
        return _WebSocket(socket)


class _WebSocket:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def receive(self) -> bytes:
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def ping(self) -> None:
        try:
            answered = await self._socket.ping()
            await answered
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def close(self) -> None:
        await self._socket.close()


def _lost(error: ConnectionClosed) -> ConnectionLostError:
    return ConnectionLostError(f"the stream was closed: {error}")


class Backoff:
    """Waiting times between attempts to connect: longer each time up to a limit, spread so that many feeds do not
    return at once.

    :param jitter: numbers from 0 to 1
    """

    def __init__(self, first_s: float, longest_s: float, jitter: Callable[[], float]) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._attempt = 0

    def next_s(self) -> float:
        """Seconds to wait now, between the first and the current limit."""
        limit: float = min(self._longest_s, self._first_s * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 32)
        return self._first_s + (limit - self._first_s) * self._jitter()

    def reset(self) -> None:
        """The connection worked: start over."""
        self._attempt = 0
