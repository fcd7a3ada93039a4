"""The whole account over HTTP: live data, and what has moved to the historical endpoints."""

import asyncio

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.past import LIVE_WINDOW_MS
from infra.exchange.testkit import ManualTime, rest
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi.account import KalshiAccount
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.signing import Credentials
from tests.exchange_venue import KEY, KEY_ID, A, Venue, with_still_venue

PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_orders_and_fills_are_there_once_before_and_after_they_become_history() -> None:
    async def scenario(venue: Venue, clock: ManualTime) -> None:
        began = clock.ms
        rest(venue.server.core, A, Outcome.NO, 55, 10)
        for name in ("b1-0-0", "by-hand"):
            clock.ms += 1_000
            status, body = await venue.order(client_order_id=name, count="2.00")
            assert status == 201, body
        told = await asyncio.to_thread(read, venue, clock.ms, began)
        assert [order[0] for order in told] == ["b1-0-0", "by-hand"]
        clock.ms += LIVE_WINDOW_MS // 2
        assert await asyncio.to_thread(read, venue, clock.ms, began) == told, "half of the window is live"
        clock.ms = began + LIVE_WINDOW_MS + 1_500
        assert await asyncio.to_thread(read, venue, clock.ms, began) == told, "one is history, one is live"
        clock.ms += 10_000
        assert await asyncio.to_thread(read, venue, clock.ms, began) == told, "both are history"
        assert await asyncio.to_thread(read, venue, clock.ms, began + 1_500) == told[1:]

    with_still_venue(scenario)


def read(venue: Venue, now_ms: int, since_ms: int) -> list[tuple[str, Count, Price]]:
    """Client order id, filled and price of every order with its one fill."""
    client = RestClient(base_url=venue.server.rest_url, credentials=Credentials(KEY_ID, PEM), clock=ManualClock(now_ms))
    try:
        account = KalshiAccount(client)
        orders, fills = account.account_orders(since_ms), account.account_fills(since_ms)
    finally:
        client.close()
    assert [fill.order_id for fill in fills] == [order.order_id for order in orders]
    assert all(not order.is_resting and fill.shard == 2 for order, fill in zip(orders, fills, strict=True))
    return [(order.client_order_id, order.filled, fill.price) for order, fill in zip(orders, fills, strict=True)]
