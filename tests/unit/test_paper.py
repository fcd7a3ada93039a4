"""Paper fills: never more than is visible, never worse than the limit, each level once, cash to the last unit."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import StoreError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, order_fee
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional
from kalshi_arb.domain.paper import (
    INVALID,
    KILLED,
    LATENCY_MS,
    MEMORY_MS,
    NO_CASH,
    NO_FEES,
    PaperAccount,
    PaperOrder,
    Seen,
    match,
)
from kalshi_arb.domain.portfolio import (
    OrderRequest,
    Settlement,
    TimeInForce,
    cash_change,
    fill_entry,
    net_positions,
    settlement_entry,
)
from kalshi_arb.fakes import FakeExchange, ManualClock, MemoryPaperStore
from kalshi_arb.kalshi.errors import RetryableError, UnknownOutcomeError
from kalshi_arb.paper import NOT_ACTIVE, PLACE_LIMIT_MS, PaperTrading
from kalshi_arb.ports import MarketState
from tests.cloud_samples import market

FOK, IOC = TimeInForce.FILL_OR_KILL, TimeInForce.IMMEDIATE_OR_CANCEL
FEES = FeeSchedule(FeeType.QUADRATIC)
OPENING = {0: Cash(100_000_000)}
NOW = 1_750_000_000_000
TICKER = "KXTEST-26-T50"
EMPTY = PaperAccount()


def book(*asks: tuple[int, int], bids: Sequence[tuple[int, int]] = ()) -> BookSnapshot:
    """A book that offers YES at these prices."""
    no_bids = tuple(Level(Price(ONE_DOLLAR - price), Count(size)) for price, size in sorted(asks))
    yes_bids = tuple(Level(Price(price), Count(size)) for price, size in sorted(bids, reverse=True))
    return BookSnapshot(TICKER, BookVersion(0, 0, 1), NOW, NOW, yes_bids, no_bids)


def still(*asks: tuple[int, int], bids: Sequence[tuple[int, int]] = ()) -> Seen:
    """A book that did not change while the order was under way."""
    return Seen(book(*asks, bids=bids), book(*asks, bids=bids))


def order(name: str = "c1", count: int = 1_000, limit: int = 5_000, kind: TimeInForce = IOC) -> OrderRequest:
    return OrderRequest(name, TICKER, Outcome.YES, Count(count), Price(limit), kind, 0)


def filled(
    request: OrderRequest, shown: BookSnapshot | None, account: PaperAccount = EMPTY, now_ms: int = NOW
) -> PaperOrder:
    result = match(request, Seen(shown, shown), FEES, Precision.DIRECT, account, OPENING, now_ms)
    assert isinstance(result, PaperOrder), result
    return result


def after(*orders: PaperOrder) -> PaperAccount:
    return PaperAccount(len(orders), orders)


def test_an_order_takes_the_best_levels_first_each_at_its_own_price() -> None:
    result = filled(order(), book((4_800, 300), (4_900, 500), (5_100, 900)))
    assert [(fill.price, fill.count) for fill in result.fills] == [(4_800, 300), (4_900, 500)]
    assert result.filled == 800


def test_fill_or_kill_is_all_or_nothing() -> None:
    both = book((4_800, 300), (4_900, 500))
    shown = Seen(both, both)
    assert match(order(kind=FOK), shown, FEES, Precision.DIRECT, PaperAccount(), OPENING, NOW) == KILLED
    assert filled(order(count=800, kind=FOK), both).filled == 800


@pytest.mark.parametrize("shown", [None, book(), book((4_000, 500), bids=[(6_000, 500)])])
def test_no_depth_is_no_fill(shown: BookSnapshot | None) -> None:
    assert filled(order(), shown).fills == ()


def test_what_was_taken_stays_taken_until_the_level_shows_more() -> None:
    first = filled(order(count=300), book((4_800, 500)))
    again = [filled(order("c2"), book((4_800, size)), after(first), NOW + 1).filled for size in (500, 400, 200, 501)]
    assert again == [200, 100, 0, 501]
    assert filled(order("c2"), book((4_700, 500)), after(first), NOW + 1).filled == 500, "another level"


def test_what_was_taken_is_remembered_for_ten_minutes() -> None:
    first = filled(order(count=300), book((4_800, 500)))
    late = [filled(order("c2"), book((4_800, 500)), after(first), NOW + MEMORY_MS + d).filled for d in (-1, 0)]
    assert late == [200, 500]


def test_no_more_is_spent_than_is_there() -> None:
    dear = order(count=100_000)
    shown = still((4_800, 100_000))
    assert match(dear, shown, FEES, Precision.DIRECT, PaperAccount(), {0: Cash(480_000_000)}, NOW) == NO_CASH
    other = replace(order(), shard=7)
    assert match(other, still((4_800, 100)), FEES, Precision.DIRECT, PaperAccount(), OPENING, NOW) == NO_CASH


def test_an_order_that_closes_a_position_needs_no_cash_of_its_own() -> None:
    bought = filled(order(count=100, limit=4_800), book((4_800, 100)))
    poor = {0: Cash(sum(notional(f.price, f.count) + f.fee for f in bought.fills))}
    unwind = OrderRequest("u", TICKER, Outcome.NO, Count(100), Price(6_000), FOK, 0)
    result = match(unwind, still(bids=[(4_500, 100)]), FEES, Precision.DIRECT, after(bought), poor, NOW)
    assert isinstance(result, PaperOrder)
    assert after(bought, result).positions() == {}


@pytest.mark.parametrize(
    ("request_", "fees", "code"),
    [
        (order(count=0), FEES, INVALID),
        (order(limit=ONE_DOLLAR), FEES, INVALID),
        (order(), FeeSchedule(FeeType.FLAT), NO_FEES),
    ],
)
def test_what_cannot_be_priced_is_refused(request_: OrderRequest, fees: FeeSchedule, code: str) -> None:
    assert match(request_, still((4_800, 500)), fees, Precision.DIRECT, PaperAccount(), OPENING, NOW) == code


levels = st.dictionaries(st.integers(1, 9_999), st.integers(1, 5_000), max_size=6)
purchases = st.tuples(
    st.sampled_from(Outcome), st.integers(1, 6_000), st.integers(1, 9_999), st.sampled_from(TimeInForce), levels
)


@given(st.lists(purchases, max_size=8), st.sampled_from(Precision), st.integers(0, ONE_DOLLAR))
def test_cash_fees_and_positions_are_conserved(
    trades: list[tuple[Outcome, int, int, TimeInForce, dict[int, int]]], precision: Precision, payout: int
) -> None:
    account, entries = PaperAccount(), []
    for number, (outcome, count, limit, kind, bids) in enumerate(trades):
        resting = tuple(Level(Price(price), Count(size)) for price, size in sorted(bids.items(), reverse=True))
        yes, no = ((), resting) if outcome is Outcome.YES else (resting, ())
        shown = BookSnapshot(TICKER, BookVersion(0, 0, number), NOW, NOW, yes, no)
        request = OrderRequest(f"c{number}", TICKER, outcome, Count(count), Price(limit), kind, 0)
        result = match(request, Seen(shown, shown), FEES, precision, account, OPENING, NOW + number)
        if isinstance(result, str):
            assert result in (KILLED, NO_CASH)
            continue
        visible = {level.price: level.size for level in shown.asks(outcome)}
        assert result.filled == count if kind is FOK else result.filled <= count
        assert all(fill.price <= limit and 0 < fill.count <= visible[fill.price] for fill in result.fills)
        assert [fill.price for fill in result.fills] == sorted({fill.price for fill in result.fills})
        pieces = [(fill.price, fill.count) for fill in result.fills]
        assert sum(fill.fee for fill in result.fills) == order_fee(FEES, pieces, precision)
        account = replace(account, orders=(*account.orders, result))
        entries += [fill_entry(fill, "b") for fill in result.fills]
    assert account.cash(OPENING)[0] == OPENING[0] + cash_change(entries)
    assert account.cash(OPENING)[0] >= 0
    assert account.positions() == net_positions(entries)
    paid = account.payment(TICKER, Price(payout), precision, NOW)
    if account.positions():
        account = replace(account, settlements=(paid,))
        entries.append(settlement_entry(paid))
        assert account.positions() == {}
        assert account.cash(OPENING)[0] == OPENING[0] + cash_change(entries)


@given(levels, st.lists(st.tuples(st.integers(1, 4_000), st.integers(1, 9_999)), max_size=8))
def test_a_level_that_does_not_change_is_sold_once(asks: dict[int, int], wanted: list[tuple[int, int]]) -> None:
    account = PaperAccount()
    for number, (count, limit) in enumerate(wanted):
        request = order(f"c{number}", count, limit)
        rich = {0: Cash(10**12)}
        result = match(request, still(*asks.items()), FEES, Precision.DIRECT, account, rich, NOW + number)
        assert isinstance(result, PaperOrder)
        account = replace(account, orders=(*account.orders, result))
    for price, size in asks.items():
        assert sum(f.count for o in account.orders for f in o.fills if f.price == price) <= size


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.exchange = FakeExchange(self.clock, [market(TICKER, 50)])
        self.exchange.offer(TICKER, Outcome.YES, 4_800, 500)
        self.store = MemoryPaperStore()
        self.trading = self.another()

    def another(self) -> PaperTrading:
        return PaperTrading(
            market=self.exchange, store=self.store, clock=self.clock, opening_cash=Cash(10_000_000),
            precision=Precision.DIRECT,
        )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World()


def test_a_placed_order_is_found_with_its_fills_at_once(world: World) -> None:
    (report,) = world.trading.place([order(count=200, kind=FOK)])
    assert (report.filled, report.rejection) == (200, None)
    assert world.trading.find_orders([TICKER], world.clock.now_ms()) == {"c1": report}
    assert world.trading.find_orders([TICKER], world.clock.now_ms() + 1) == {}
    (fill,) = world.trading.fills([TICKER], 0)
    assert (fill.order_id, fill.count, fill.price) == (report.order_id, 200, 4_800)
    assert world.trading.fills(["other"], 0) == []
    assert world.trading.positions() == {TICKER: 200}
    assert world.trading.balance()[0] == 10_000_000 - 960_000 - fill.fee
    assert world.trading.fees_paid() == fill.fee > 0
    assert world.trading.user_data_ms() == world.clock.now_ms()
    assert world.exchange.executions() == {}, "nothing reaches the exchange"
    assert world.trading.place([]) == []


def test_the_orders_of_one_batch_share_the_depth(world: World) -> None:
    reports = world.trading.place([order("a", 400), order("b", 400), order("a", 400), order("c", 400, kind=FOK)])
    assert [(r.filled, r.rejection) for r in reports] == [
        (400, None), (100, None), (0, "order_already_exists"), (0, KILLED),
    ]  # fmt: skip
    assert world.store.account.version == 1


def test_a_repeated_order_is_refused_as_the_exchange_does(world: World) -> None:
    world.trading.place([order(count=100)])
    (again,) = world.another().place([order(count=100)])
    assert again.rejection == "order_already_exists"
    assert world.trading.positions() == {TICKER: 100}


def test_a_market_that_does_not_trade_fills_nothing(world: World) -> None:
    (unknown,) = world.trading.place([replace(order(), ticker="NOWHERE")])
    assert unknown.rejection == NOT_ACTIVE
    paused = MarketState(TICKER, "KXTEST-26", MarketStatus.INACTIVE, None, 0)
    world.exchange.market_states = lambda *_: {TICKER: paused}  # type: ignore[method-assign]
    world.exchange.fee_schedule = lambda *_: FEES  # type: ignore[method-assign]
    (refused,) = world.trading.place([order()])
    assert refused.rejection == NOT_ACTIVE


def test_a_finalized_market_pays_once(world: World) -> None:
    world.trading.place([order(count=200)])
    assert world.trading.settlements(0) == []
    before = world.trading.balance()[0]
    world.exchange.settle(TICKER, ONE_DOLLAR)
    paid = world.trading.settlements(0)
    assert paid == [Settlement(TICKER, ONE_DOLLAR, Cash(2_000_000), world.clock.now_ms())]
    assert world.trading.settlements(0) == paid
    assert world.trading.settlements(world.clock.now_ms() + 1) == []
    assert world.trading.positions() == {}
    assert world.trading.balance()[0] == before + 2_000_000
    assert world.trading.place([order("late")])[0].rejection == NOT_ACTIVE


def test_two_at_once_do_not_take_the_same_depth(world: World) -> None:
    other, read = world.another(), world.exchange.orderbooks
    reads = 0

    def race(tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        nonlocal reads
        reads += 1
        if reads == 2:  # after our account was read, before our order is written
            other.place([order("theirs", 400)])
        return read(tickers)

    world.exchange.orderbooks = race  # type: ignore[method-assign]
    (ours,) = world.trading.place([order("ours", 400)])
    assert ours.filled == 100
    assert world.trading.positions() == {TICKER: 500}


def on_the_way(world: World, happens: Callable[[], None]) -> None:
    """Something happens while the next order is under way."""
    sleep = world.clock.sleep

    def passing(seconds: float) -> None:
        world.clock.sleep = sleep  # type: ignore[method-assign]
        happens()
        sleep(seconds)

    world.clock.sleep = passing  # type: ignore[method-assign]


def offered(world: World, *asks: tuple[int, int]) -> Callable[[], None]:
    return lambda: world.exchange.set_book(TICKER, no_bids=[(ONE_DOLLAR - price, size) for price, size in asks])


@pytest.mark.parametrize(
    ("after", "fills"),
    [
        ([(4_800, 500)], [(4_800, 500)]),
        ([], []),  # gone
        ([(4_900, 500)], []),  # moved away: what stands there now came too late for us
        ([(4_700, 500), (4_800, 500)], [(4_800, 500)]),  # a better price came on the way, for others
        ([(4_800, 900)], [(4_800, 500)]),  # what was added is for others
        ([(4_800, 400)], [(4_800, 300)]),  # a hundred were taken on the way, and a hundred more are before us
        ([(4_800, 250)], []),
    ],
)
def test_an_order_meets_a_later_book_behind_those_who_were_first(
    world: World, after: list[tuple[int, int]], fills: list[tuple[int, int]]
) -> None:
    on_the_way(world, offered(world, *after))
    (report,) = world.trading.place([order(count=2_000)])
    assert [(fill.price, fill.count) for fill in world.trading.fills([TICKER], 0)] == fills
    assert report.filled == sum(count for _, count in fills)


def test_a_fill_or_kill_dies_with_the_level_that_fades(world: World) -> None:
    on_the_way(world, offered(world, (4_800, 499)))
    assert world.trading.place([order(count=500, kind=FOK)])[0].rejection == KILLED
    assert world.store.account.orders == ()


def test_an_order_is_as_late_as_it_is_assumed_to_be(world: World) -> None:
    sent_ms = world.clock.now_ms()
    world.trading.place([order()])
    assert world.trading.fills([TICKER], 0)[0].created_ms == sent_ms + LATENCY_MS


def test_a_later_wave_meets_the_books_of_its_own_moment(world: World) -> None:
    assert world.trading.place([order("first", 100)])[0].filled == 100
    offered(world)()
    assert world.trading.place([order("second", 100)])[0].filled == 0


def test_no_leg_is_filled_because_another_one_was(world: World) -> None:
    other = "KXTEST-26-T60"
    world.exchange = FakeExchange(world.clock, [market(TICKER, 50), market(other, 60)])
    world.exchange.offer(TICKER, Outcome.YES, 4_800, 500)
    world.exchange.offer(other, Outcome.YES, 4_800, 500)
    read = world.exchange.orderbooks
    asked: list[list[str]] = []

    def one_by_one(tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        asked.append(list(tickers))
        books = read(tickers)
        if len(asked) > 1:  # every book is gone as soon as one order has met one
            world.exchange.set_book(other)
        return books

    world.exchange.orderbooks = one_by_one  # type: ignore[method-assign]
    both = [order("a", 100), replace(order("b", 100), ticker=other)]
    assert [report.filled for report in world.another().place(both)] == [100, 0]
    assert asked == [[TICKER, other], [TICKER], [other]]


@given(levels, levels, st.integers(1, 9_000), st.integers(1, 9_999), st.sampled_from(Outcome))
def test_no_fill_is_better_than_what_the_later_book_carries(
    before: dict[int, int], after: dict[int, int], count: int, limit: int, outcome: Outcome
) -> None:
    def shown(bids: dict[int, int]) -> BookSnapshot:
        resting = tuple(Level(Price(price), Count(size)) for price, size in sorted(bids.items(), reverse=True))
        yes, no = ((), resting) if outcome is Outcome.YES else (resting, ())
        return BookSnapshot(TICKER, BookVersion(0, 0, 1), NOW, NOW, yes, no)

    sent, met = shown(before), shown(after)
    request = OrderRequest("c", TICKER, outcome, Count(count), Price(limit), IOC, 0)
    rich = {0: Cash(10**12)}
    result = match(request, Seen(sent, met), FEES, Precision.DIRECT, EMPTY, rich, NOW)
    assert isinstance(result, PaperOrder)
    sizes = [{level.price: level.size for level in one.asks(outcome)} for one in (sent, met)]
    assert all(fill.count <= min(own.get(fill.price, 0) for own in sizes) for fill in result.fills)
    # The same number of contracts, taken at once from the later book, would not have cost more.
    left, least = int(result.filled), 0
    for level in met.asks(outcome):
        part = min(left, level.size)
        least += notional(level.price, Count(part))
        left -= part
    assert left == 0
    assert sum(notional(fill.price, fill.count) for fill in result.fills) >= least
    assert all(fill.price <= limit for fill in result.fills)


def test_endless_collisions_place_nothing(world: World) -> None:
    world.store.append = lambda *_: False  # type: ignore[method-assign]
    with pytest.raises(RetryableError, match="others kept trading"):
        world.trading.place([order()])


def test_a_slow_placement_writes_nothing(world: World) -> None:
    read = world.exchange.orderbooks

    def slow(tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        world.clock.advance(PLACE_LIMIT_MS + 1)
        return read(tickers)

    world.exchange.orderbooks = slow  # type: ignore[method-assign]
    with pytest.raises(RetryableError, match="too long"):
        world.trading.place([order()])
    assert world.store.account.orders == ()


def test_a_failed_read_placed_nothing_and_a_failed_write_may_have(world: World) -> None:
    def broken(*_: object) -> bool:
        raise StoreError("no answer")

    append = world.store.append
    world.store.append = broken  # type: ignore[method-assign]
    with pytest.raises(UnknownOutcomeError, match="may or may not"):
        world.trading.place([order()])
    world.store.append = append  # type: ignore[method-assign]
    world.store.read = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(RetryableError, match="nothing was placed"):
        world.trading.place([order()])
