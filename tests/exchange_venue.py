"""A running exchange that stands still, and a member's plain HTTP and WebSocket client for it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect

from infra.exchange.auth import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, KeyRing
from infra.exchange.living import MEMBER
from infra.exchange.server import WS_PATH, ExchangeServer, ServerConfig
from infra.exchange.testkit import TICKERS, ManualTime, still_core

KEY_ID = "key-1"
KEY = Ed25519PrivateKey.generate()
A, B, C = TICKERS
ORDERS = "/portfolio/events/orders"


def public_pem() -> bytes:
    return KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(method: str, path: str, now_ms: int) -> dict[str, str]:
    signature = KEY.sign(f"{now_ms}{method}{path}".encode())
    return {
        KEY_HEADER: KEY_ID,
        TIMESTAMP_HEADER: str(now_ms),
        SIGNATURE_HEADER: base64.b64encode(signature).decode(),
    }


@dataclass
class Venue:
    """A running exchange and a member's client."""

    server: ExchangeServer
    http: httpx.AsyncClient
    now_ms: Callable[[], int]

    async def call(self, method: str, path: str, *, sign: bool = False, **named: Any) -> tuple[int, Any]:
        headers = signed(method, f"/trade-api/v2{path}", self.now_ms()) if sign else {}
        response = await self.http.request(method, self.server.rest_url + path, headers=headers, **named)
        return response.status_code, response.json() if response.content else None

    async def read(self, path: str, *, sign: bool = False, **params: Any) -> Any:
        status, body = await self.call("GET", path, sign=sign, params=params)
        assert status == 200, body
        return body

    async def order(self, **fields: object) -> tuple[int, Any]:
        return await self.call("POST", ORDERS, sign=True, json=order_body(**fields))

    async def admin(self, what: str) -> Any:
        return (await self.http.get(f"{self.server.admin_url}/{what}")).json()

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[ClientConnection]:
        headers = signed("GET", WS_PATH, self.now_ms())
        async with connect(self.server.ws_url, additional_headers=headers, compression=None) as ws:
            yield ws


def order_body(**fields: object) -> dict[str, object]:
    body: dict[str, object] = {
        "ticker": A,
        "side": "bid",
        "count": "4.00",
        "price": "0.4500",
        "time_in_force": "immediate_or_cancel",
        "self_trade_prevention_type": "taker_at_cross",
    }
    return body | fields


def with_still_venue(
    scenario: Callable[[Venue, ManualTime], Coroutine[Any, Any, None]], config: ServerConfig | None = None
) -> None:
    async def main() -> None:
        clock = ManualTime()
        keys = KeyRing()
        keys.add(KEY_ID, KEY.public_key(), MEMBER)
        server = ExchangeServer(still_core(), keys, config or ServerConfig(), now_ms=clock.now_ms)
        await server.start()
        try:
            async with httpx.AsyncClient() as http:
                await scenario(Venue(server, http, clock.now_ms), clock)
        finally:
            await server.stop()

    asyncio.run(main())
