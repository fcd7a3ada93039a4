"""The embedded exchange behind real sockets for tests that need its answers: in a thread of its own, on a free port."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.server import ServerConfig
from infra.exchange.testserver import ServerInAThread
from infra.exchange.tokens import tier_named
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.rest import Kalshi
from kalshi_arb.kalshi.signing import Credentials, Signer
from kalshi_arb.kalshi.trading import KalshiTrading

KEY_ID = "key"
_KEY = Ed25519PrivateKey.generate()
PEM = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
CASH = Cash(10_000_000_000)
WORLD = UniverseConfig(events=4, deltas_per_second=1, event_life_ms=(600_000, 900_000))


class LiveExchange:
    """A running exchange and a client for it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = SystemClock()
        self.kalshi = Kalshi(url, Credentials(KEY_ID, PEM), clock=self.clock)
        self.data = KalshiMarketData(self.kalshi.client, self.clock)
        self.trading = KalshiTrading(self.kalshi.client)

    def trade(self) -> None:
        """Buy a little of everything that is offered."""
        listed = [one for event in self.data.open_events() for one in event.markets]
        markets = [one.market for one in listed if one.status is MarketStatus.ACTIVE]
        books = self.data.orderbooks([market.ticker for market in markets])
        for number, market in enumerate(markets[:12]):
            outcome = Outcome.YES if number % 2 else Outcome.NO
            asks = books[market.ticker].asks(outcome)
            if asks:
                kind = TimeInForce.IMMEDIATE_OR_CANCEL
                order = OrderRequest(
                    f"live-{number}", market.ticker, outcome, Count(50), asks[0].price, kind, market.shard
                )
                self.trading.place([order])

    def body(self, path: str) -> bytes:
        """One answer as it comes, signed."""
        tickers = [wire.ticker for wire in self.kalshi.markets.markets(status="open")][:20]
        query: list[tuple[str, str]] = {
            "/markets/orderbooks": [("tickers", ticker) for ticker in tickers],
            "/events": [("with_nested_markets", "true"), ("limit", "2")],
            "/markets": [("limit", "10")],
        }.get(path, [])
        full = f"{httpx.URL(self.url).path}{path}"
        headers = Signer(Credentials(KEY_ID, PEM)).headers(self.clock.now_ms(), "GET", full)
        answer = httpx.get(f"{self.url}{path}", params=query, headers=headers, trust_env=False)
        answer.raise_for_status()
        return answer.content


@contextmanager
def live_exchange(world: UniverseConfig = WORLD, tier: str = "prestige") -> Iterator[LiveExchange]:
    """Run one for the time of the block; ``tier`` is the usage tier of its member."""
    options = ExchangeOptions(
        3, KEY_ID, _KEY.public_key(), CASH, universe=world, server=ServerConfig(tier=tier_named(tier))
    )
    with ServerInAThread(create_exchange(options, SystemClock().now_ms)) as served:
        exchange = LiveExchange(served.server.rest_url)
        yield exchange
        exchange.kalshi.client.close()
