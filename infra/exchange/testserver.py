"""An exchange behind its real server, for tests whose clients block: it serves from a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.faults import Fault, FaultScript
from infra.exchange.living import MEMBER
from infra.exchange.server import ExchangeServer, ServerConfig
from kalshi_arb.kalshi.signing import Credentials

T = TypeVar("T")

_GENEROUS_S = 20


class ServerInAThread:
    """A server that serves from a thread of its own as long as the block lasts."""

    def __init__(self, server: ExchangeServer) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="exchange")

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait_for(self.server.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait_for(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_GENEROUS_S)


class ServedExchange(ServerInAThread):
    """An exchange behind its real server on loopback, in a thread of its own, for one member with a fresh key.

    :param now_ms: the exchange's time, UTC milliseconds; who signs must go by the same
    """

    def __init__(self, core: ExchangeCore, now_ms: Callable[[], int], config: ServerConfig | None = None) -> None:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.credentials = Credentials("key", pem)
        keys = KeyRing()
        keys.add(self.credentials.key_id, key.public_key(), MEMBER)
        self.core = core
        super().__init__(ExchangeServer(core, keys, config or ServerConfig(), now_ms=now_ms))

    def do(self, change: Callable[[], T]) -> T:
        """Change or look at the exchange in its own thread, and have what happened sent."""

        async def carry_out() -> T:
            self.server.tick()
            result = change()
            self.server.flush()
            return result

        return self._wait_for(carry_out())

    def arm(self, *faults: Fault, seed: int = 0) -> None:
        """Script faults over the admin endpoint."""
        body = msgspec.json.encode(FaultScript(faults, seed))
        httpx.post(f"{self.server.admin_url}/faults", content=body).raise_for_status()

    def struck(self, name: str) -> int:
        """How often faults of this name or kind have struck, from the admin endpoint."""
        strikes: dict[str, int] = httpx.get(f"{self.server.admin_url}/faults").json()["struck"]
        return strikes.get(name, 0)

    def disarm(self) -> None:
        """Clear all faults over the admin endpoint."""
        httpx.delete(f"{self.server.admin_url}/faults").raise_for_status()
