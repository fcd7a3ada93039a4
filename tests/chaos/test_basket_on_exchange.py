"""A basket on the embedded exchange over real HTTP, with the exchange's own faults under it.

Whatever the exchange does in the middle of a basket, the basket ends, nothing is executed twice, and the ledger is the
exchange's account.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from infra.exchange.core import ExchangeCore
from infra.exchange.faults import (
    ORDERS,
    BookThinned,
    CashMissing,
    Disorder,
    Fault,
    FillsDisordered,
    HttpError,
    MarketClosed,
    MarketPaused,
    ReadsLagging,
    ReplyLost,
)
from infra.exchange.living import MEMBER
from infra.exchange.terms import EventTerms, NewOrder, TimeInForce
from infra.exchange.testkit import MAKER, START_MS, still_core, still_event
from infra.exchange.testserver import ServedExchange
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price, complement
from kalshi_arb.domain.portfolio import OrderReport, OrderRequest
from kalshi_arb.fakes import ManualClock
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.trading import KalshiTrading
from tests.basket_world import NO, YES, World, leg, partition

SHARD = 2
GROUP = partition(shards=(SHARD, SHARD, SHARD))
TICKERS = tuple(market.ticker for market in GROUP.markets)
LOCK, FLAT, HELD, REFUSED = BasketState.LOCK, BasketState.FLAT, BasketState.HELD, BasketState.REFUSED


class OnExchange:
    """Both ports on a served exchange, and what the world's promises are checked against."""

    def __init__(self, served: ServedExchange, client: RestClient, clock: ManualClock) -> None:
        trading, data = KalshiTrading(client), KalshiMarketData(client, clock)
        self._served = served
        self._place = trading.place
        self.batches: list[tuple[OrderRequest, ...]] = []
        self.find_orders, self.fills, self.user_data_ms = trading.find_orders, trading.fills, trading.user_data_ms
        self.balance, self.positions, self.settlements = trading.balance, trading.positions, trading.settlements
        self.orderbooks, self.market_states, self.market_fees = data.orderbooks, data.market_states, data.market_fees
        self.closes_ms = data.closes_ms

    def place(self, orders: Sequence[OrderRequest], leave_by_ms: int | None = None) -> list[OrderReport]:
        """Remember what was sent."""
        self.batches.append(tuple(orders))
        return self._place(orders)

    def offer(self, ticker: str, outcome: Outcome, price: int, size: int) -> None:
        """Let contracts be bought: a maker rests the other outcome."""
        limit, kind = complement(Price(price)), TimeInForce.GOOD_TILL_CANCELED
        order = NewOrder(ticker, outcome.other, limit, Count(size), kind)
        self._served.do(lambda: self._served.core.place(MAKER, order))

    @property
    def duplicates(self) -> int:
        """Attempts to use a client order id again."""
        return self._served.core.accounts[MEMBER].duplicate_attempts

    def executions(self) -> dict[str, Count]:
        """Contracts filled by client order id."""
        orders = [history.values[-1] for history in self._served.core.accounts[MEMBER].orders.values()]
        return {order.client_order_id: order.filled for order in orders}


@dataclass
class Scene:
    """A world whose exchange is served, with a basket on it."""

    world: World
    served: ServedExchange
    basket_id: str


def event() -> EventTerms:
    still = still_event(TICKERS)
    markets = tuple(replace(terms, event_ticker=GROUP.event_ticker) for terms in still.markets)
    return replace(still, ticker=GROUP.event_ticker, markets=markets)


def new_core() -> ExchangeCore:
    return still_core(shard=SHARD, event=event)


@contextmanager
def scene(*faults: Fault) -> Iterator[Scene]:
    """All of a partition for 90 cents, with bids to sell back to."""
    clock = ManualClock(START_MS)
    with ServedExchange(new_core(), clock.now_ms) as served:
        client = RestClient(base_url=served.server.rest_url, credentials=served.credentials, clock=clock)
        try:
            world = World(GROUP, clock=clock, exchange=OnExchange(served, client, clock))
            world.offer_bundle()
            world.offer(("EV-0", NO, 75, 50), ("EV-1", NO, 75, 50), ("EV-2", NO, 75, 50))
            basket = world.propose(leg("EV-0", YES, 10, 30), leg("EV-1", YES, 10, 30), leg("EV-2", YES, 10, 30))
            if faults:
                served.arm(*faults)
            yield Scene(world, served, basket.basket_id)
        finally:
            client.close()


def test_without_a_fault_it_is_a_lock() -> None:
    with scene() as made:
        assert made.world.drive(made.basket_id).state is LOCK
        made.world.assert_ended_well(made.basket_id)


FAULTS: tuple[tuple[str, tuple[Fault, ...], set[BasketState]], ...] = (
    ("the answer to the first batch is lost", (ReplyLost(scope=ORDERS),), {LOCK}),
    ("the answer to a later batch is lost", (ReplyLost(scope=ORDERS, skip=1),), {LOCK}),
    ("a batch is lost on its way", (ReplyLost(scope=ORDERS, skip=1, executed=False),), {LOCK, FLAT}),
    ("503 after a batch was carried out", (HttpError(status=503, scope=ORDERS, skip=1, executed=True),), {LOCK}),
    ("500 before a batch was carried out", (HttpError(status=500, scope=ORDERS, skip=1),), {LOCK, FLAT}),
    ("a storm of 429", (HttpError(status=429, for_ms=2_000, skip=5),), {LOCK, FLAT, REFUSED}),
    ("a market closes", (MarketClosed(markets=("EV-2",), before=ORDERS, skip=1),), {FLAT}),
    ("every market closes", (MarketClosed(markets=TICKERS, before=ORDERS, skip=1),), {HELD}),
    (
        "a market pauses for a while",
        (MarketPaused(markets=("EV-1",), resume_after_ms=60_000, before=ORDERS, skip=1),),
        {FLAT},
    ),
    ("cash is missing on the shard", (CashMissing(shard=SHARD, to=0, before=ORDERS, skip=1),), {FLAT}),
    (
        "a book shrinks: three sets stay and the rest is sold again",
        (BookThinned(markets=("EV-2",), outcome=YES, leave="3.00", before=ORDERS, skip=1),),
        {HELD},
    ),
    ("reads lag", (ReadsLagging(ms=1_500, for_ms=600_000),), {LOCK}),
    ("fills are late", (FillsDisordered(how=Disorder.LATE, ms=1_500, for_ms=600_000),), {LOCK}),
    ("fills come twice", (FillsDisordered(how=Disorder.DUPLICATE, for_ms=600_000),), {LOCK}),
    (
        "answers are lost and reads lag",
        (ReplyLost(scope=ORDERS, count=2), ReadsLagging(ms=900, for_ms=600_000)),
        {LOCK, FLAT},
    ),
)


@pytest.mark.parametrize(("faults", "ends"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_a_basket_ends_well_whatever_the_exchange_does_to_it(faults: tuple[Fault, ...], ends: set[BasketState]) -> None:
    with scene(*faults) as made:
        row = made.world.drive(made.basket_id)
        assert all(made.served.struck(fault.label) > 0 for fault in faults)
        made.served.disarm()
        made.world.clock.advance(5_000)
        assert row.state in ends
        assert row.locked_profit is not None or row.state is not HELD  # what is held has a known worst case
        made.world.assert_ended_well(made.basket_id)
        placed = made.served.core.accounts[MEMBER].orders_by_client_id
        assert set(placed.values()) <= {1}
