"""Paper trading over recorded books: an order is sent in one pass and meets the next one, and nothing is ever filled
that the tape does not carry there, at that price and in that size, or better than the tape would have filled it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from infra.bench.dislocation_tape import snapshots
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, Cash, Count, Price, notional
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.fakes import ManualClock, MemoryPaperStore
from kalshi_arb.kalshi.tape import TapePass, find_tapes, read_recording
from kalshi_arb.paper import PaperTrading
from kalshi_arb.ports import MarketState

MADE = Path(__file__).resolve().parents[1] / "payloads" / "tapes" / "brackets.jsonl"
BOOKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "books"
ORDERS = 150
FAR_MS = 10**14


class TapeMarket:
    """The books of one pass, then those of the next, ``moves_ms`` after the first order is sent."""

    def __init__(self, clock: ManualClock, passes: Sequence[Mapping[str, BookSnapshot]], moves_ms: int) -> None:
        self._clock = clock
        self._moves_ms = clock.now_ms() + moves_ms
        self.passes = passes

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        books = self.passes[self._clock.now_ms() >= self._moves_ms]
        return {ticker: books[ticker] for ticker in tickers if ticker in books}

    def market_states(self, tickers: Sequence[str]) -> dict[str, MarketState]:
        return {ticker: MarketState(ticker, "EV", MarketStatus.ACTIVE, None, FAR_MS) for ticker in tickers}

    def market_fees(self, event_ticker: str) -> dict[str, FeeSchedule]:
        return dict.fromkeys(self.passes[0], FeeSchedule(FeeType.QUADRATIC))


def requests(books: Mapping[str, BookSnapshot], chance: Random) -> Iterator[list[OrderRequest]]:
    """Batches at, above and below the best price, of all sizes."""
    tickers = sorted(books)
    for number in range(ORDERS):
        batch = []
        for leg in range(chance.randint(1, 4)):
            ticker, outcome = chance.choice(tickers), chance.choice(tuple(Outcome))
            asks = books[ticker].asks(outcome)
            best = asks[0].price if asks else 5_000
            limit = Price(min(9_900, max(100, best + chance.choice((-100, 0, 0, 200, 1_000)))))
            count = Count(chance.choice((1, 5, 40, 1_000)) * ONE_CONTRACT)
            kind = chance.choice(tuple(TimeInForce))
            batch.append(OrderRequest(f"c{number}-{leg}", ticker, outcome, count, limit, kind, 0))
        yield batch


def trade(first: TapePass, second: TapePass, seed: int) -> int:
    """Orders sent just before the tape moves on; returns how many contracts were filled."""
    now_ms = ManualClock().now_ms()
    books = [snapshots({row.ticker: dict(row.levels) for row in one.rows}, now_ms) for one in (first, second)]
    filled = 0
    rich = Cash(10**7 * CASH_PER_DOLLAR)
    for batch in requests(books[0], Random(seed)):
        # Every batch on an account of its own: what is asked here is what the tape carries, not what is left of it.
        clock = ManualClock()
        market = TapeMarket(clock, books, 100)
        store = MemoryPaperStore()
        trading = PaperTrading(market=market, store=store, clock=clock, opening_cash=rich, precision=Precision.DIRECT)
        trading.place(batch)
        taken: Counter[tuple[str, Outcome, Price]] = Counter()
        for order in store.account.orders:
            request = order.request
            shown = [one.get(request.ticker) for one in market.passes]
            assert all(shown) or not order.fills
            for fill in order.fills:
                taken[fill.ticker, fill.outcome, fill.price] += fill.count
                assert fill.price <= request.limit
            met = shown[1].asks(request.outcome) if shown[1] else ()
            left, least = int(order.filled), 0
            for level in met:
                part = min(left, level.size)
                least, left = least + notional(level.price, Count(part)), left - part
            assert left == 0
            assert sum(notional(fill.price, fill.count) for fill in order.fills) >= least
        for (ticker, outcome, price), count in taken.items():
            for one in market.passes:
                assert count <= {level.price: level.size for level in one[ticker].asks(outcome)}.get(price, 0)
        filled += sum(taken.values())
    return filled


def test_on_a_small_tape_no_fill_is_better_than_the_tape() -> None:
    first, second = read_recording([MADE]).passes
    assert trade(first, second, 1) > 0
    # On a tape that stands still everything shown can be had.
    assert trade(first, first, 1) > trade(first, second, 1)


@pytest.mark.skipif(not BOOKS.is_dir(), reason=f"no recordings at {BOOKS}")
@pytest.mark.parametrize("kind", ["weather", "mixed"])
def test_on_the_recordings_no_fill_is_better_than_the_tape(kind: str) -> None:
    filled = 0
    for file in find_tapes([str(BOOKS / kind)])[:3]:
        passes = read_recording([file]).passes
        filled += sum(trade(*pair, seed) for seed, pair in enumerate(list(pairwise(passes))[:2]))
    assert filled > 0
