"""The REST client against the embedded exchange: real HTTP, real signatures, every call of both ports."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.testserver import ServerInAThread
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision, order_fee
from kalshi_arb.domain.market import Market, MarketStatus, Outcome
from kalshi_arb.domain.money import Cash, Count, Price, notional
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.errors import AuthError, RetryableError
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading

CASH = Cash(10_000_000_000)


class Exchange:
    """An exchange in a thread of its own, and clients for it. Its books stand still, so that orders meet what was
    read."""

    def __init__(self, pem: str, url: str) -> None:
        self.url = url
        self.clock = SystemClock()
        self.client = RestClient(base_url=url, credentials=Credentials("key", pem), clock=self.clock)
        self.data = KalshiMarketData(self.client, self.clock)
        self.trading = KalshiTrading(self.client)

    def tradable(self) -> tuple[Market, BookSnapshot]:
        """A market of the last event to close that offers YES."""
        listings = list(self.data.open_events())
        markets = [one.market for listing in listings for one in listing.markets if one.status is MarketStatus.ACTIVE]
        books = self.data.orderbooks([market.ticker for market in markets])
        offered = [market for market in markets if books[market.ticker].no_bids]
        best = max(offered, key=lambda market: market.close_ms)
        return best, books[best.ticker]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    world = UniverseConfig(events=4, deltas_per_second=1, event_life_ms=(600_000, 900_000))
    options = ExchangeOptions(3, "key", key.public_key(), CASH, universe=world)
    with ServerInAThread(create_exchange(options, SystemClock().now_ms)) as served:
        made = Exchange(pem, served.server.rest_url)
        yield made
        made.client.close()


def order(market: Market, name: str, outcome: Outcome, price: Price, count: Count, kind: TimeInForce) -> OrderRequest:
    return OrderRequest(name, market.ticker, outcome, count, price, kind, market.shard)


def test_an_order_from_listing_to_position(exchange: Exchange) -> None:
    market, book = exchange.tradable()
    assert sum(exchange.trading.balance().values()) == CASH
    before = exchange.trading.balance()[market.shard]
    price, size = book.asks(Outcome.YES)[0]
    began = exchange.clock.now_ms()
    wanted = order(market, "c-1", Outcome.YES, price, Count(min(size, 150)), TimeInForce.IMMEDIATE_OR_CANCEL)
    (report,) = exchange.trading.place([wanted])
    assert (report.filled, report.rejection) == (wanted.count, None)
    # The same id again: not placed, and the caller is told to ask.
    (again,) = exchange.trading.place([wanted])
    assert again.rejection == "order_already_exists"
    assert exchange.trading.find_orders([market.ticker], began)["c-1"] == replace(report, rejection=None)
    fills = exchange.trading.fills([market.ticker], began)
    assert sum(fill.count for fill in fills) == wanted.count
    assert {(fill.outcome, fill.order_id) for fill in fills} == {(Outcome.YES, report.order_id)}
    fee = order_fee(market.fees, [(fill.price, fill.count) for fill in fills], Precision.DIRECT)
    assert sum(fill.fee for fill in fills) == fee
    assert exchange.trading.positions() == {market.ticker: wanted.count}
    cost = sum(notional(fill.price, fill.count) for fill in fills)
    assert exchange.trading.balance()[market.shard] == before - cost - fee
    assert exchange.trading.user_data_ms() >= fills[-1].created_ms
    assert exchange.trading.settlements(began) == []


def test_a_batch_in_which_one_order_is_killed(exchange: Exchange) -> None:
    market, book = exchange.tradable()
    price, _ = book.asks(Outcome.YES)[0]
    everything = Count(sum(level.size for level in book.asks(Outcome.YES)) + 100)
    no_price, no_size = book.asks(Outcome.NO)[0]
    killed, bought = exchange.trading.place(
        [
            order(market, "k-1", Outcome.YES, price, everything, TimeInForce.FILL_OR_KILL),
            order(market, "k-2", Outcome.NO, no_price, Count(min(no_size, 100)), TimeInForce.FILL_OR_KILL),
        ]
    )
    assert (killed.filled, killed.rejection) == (0, "fill_or_kill_insufficient_resting_volume")
    assert (bought.filled, bought.rejection) == (min(no_size, 100), None)
    (fill,) = [fill for fill in exchange.trading.fills([market.ticker], 0) if fill.order_id == bought.order_id]
    assert (fill.outcome, fill.price) == (Outcome.NO, no_price)
    single = order(market, "k-3", Outcome.YES, price, everything, TimeInForce.FILL_OR_KILL)
    assert exchange.trading.place([single])[0].rejection == "fill_or_kill_insufficient_resting_volume"


def test_a_price_off_the_grid_is_refused_for_certain(exchange: Exchange) -> None:
    market, _ = exchange.tradable()
    (report,) = exchange.trading.place(
        [order(market, "g-1", Outcome.YES, Price(1), Count(100), TimeInForce.IMMEDIATE_OR_CANCEL)]
    )
    assert report.filled == 0
    assert (report.rejection is None) == market.grid.is_valid(Price(1))


def test_another_key_is_refused(exchange: Exchange) -> None:
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    stranger = Exchange(pem, exchange.url)
    with pytest.raises(AuthError, match="INCORRECT_API_KEY_SIGNATURE"):
        stranger.trading.balance()
    stranger.client.close()


def test_nobody_there_means_nothing_was_sent() -> None:
    class Hurried(SystemClock):
        def sleep(self, seconds: float) -> None:
            return None

    client = RestClient(base_url="http://127.0.0.1:1/trade-api/v2", credentials=None, clock=Hurried())
    with pytest.raises(RetryableError, match="ConnectError"):
        KalshiMarketData(client, Hurried()).orderbooks(["A"])
    client.close()


def test_tls_brings_http2() -> None:
    client = RestClient(base_url="https://exchange.test/trade-api/v2", credentials=None, clock=SystemClock())
    client.close()


def test_an_exchange_without_combos_answers_with_none(exchange: Exchange) -> None:
    assert list(exchange.data.combo_events()) == []


def test_what_changed_is_told_and_events_are_read_by_name(exchange: Exchange) -> None:
    listings = {one.event_ticker: one for one in exchange.data.open_events()}
    names = sorted(listings)[:3]
    read = {one.event_ticker: one for one in exchange.data.events([*names, "KXNOWHERE-1"])}
    assert sorted(read) == names
    assert {one.market.ticker for one in read[names[0]].markets} >= {
        one.market.ticker for one in listings[names[0]].markets
    }
    now_ms = exchange.clock.now_ms()
    everything = exchange.data.changes_since(now_ms - 86_400_000, now_ms)
    assert set(names) <= everything.event_tickers
    series = {listings[name].series_ticker for name in names}
    assert series <= everything.series_tickers
    later = exchange.data.changes_since(now_ms + 3_600_000, now_ms + 3_600_000)
    assert (later.event_tickers, later.series_tickers) == (frozenset(), frozenset())
    assert list(exchange.data.events([])) == []
