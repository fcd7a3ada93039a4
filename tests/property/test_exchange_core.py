"""Whatever members do, the exchange conserves contracts and cash, keeps balances positive and books uncrossed."""

from collections import Counter
from contextlib import suppress
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange.account import Account, FillView
from infra.exchange.assembly import seeded_ids
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import OrderChanged
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import pair_value
from infra.exchange.terms import GridName, NewOrder, SelfTradePrevention, SeriesTerms, TimeInForce
from infra.exchange.testkit import START_MS, TICKERS, still_event
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, Role, charge, trade_fee
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price

MEMBERS = {"ann": Precision.DIRECT, "bob": Precision.CENT, "eve": Precision.DIRECT}
SHARD = 2
LIFE_MS = 60_000
MARKETS = TICKERS[:2]

rarely = st.sampled_from([False] * 9 + [True])
prices = st.one_of(
    st.integers(30, 70).map(lambda cents: cents * 100),
    st.integers(1, 999).map(lambda mills: mills * 10),
)
counts = st.one_of(st.integers(1, 10).map(lambda whole: whole * 100), st.integers(1, 900))
places = st.tuples(
    st.just("place"),
    st.sampled_from(sorted(MEMBERS)),
    st.builds(
        NewOrder,
        ticker=st.sampled_from(MARKETS),
        outcome=st.sampled_from(Outcome),
        limit=prices.map(Price),
        count=counts.map(Count),
        time_in_force=st.sampled_from([TimeInForce.GOOD_TILL_CANCELED, *TimeInForce]),
        client_order_id=st.sampled_from([None] * 8 + ["a", "b"]),
        self_trade=st.sampled_from(SelfTradePrevention),
        post_only=rarely,
        reduce_only=rarely,
        shard=st.sampled_from([None] * 8 + [SHARD, 0]),
    ),
)
cancels = st.tuples(st.just("cancel"), st.sampled_from(sorted(MEMBERS)), st.integers(0, 30))
waits = st.tuples(st.just("wait"), st.integers(0, 5_000), st.none())
results = st.tuples(
    st.just("determine"), st.sampled_from(MARKETS), st.sampled_from([0, int(ONE_DOLLAR), 3_333, 5_000]).map(Price)
)
actions = st.lists(st.one_of(*[places] * 12, cancels, cancels, waits, results), min_size=15, max_size=60)


def open_exchange(schedule: FeeSchedule) -> ExchangeCore:
    core = ExchangeCore(START_MS, seeded_ids(Random(3)))
    core.add_series(SeriesTerms("KXSTILL", "Still", "Tests", "once", schedule, SHARD))
    for member, precision in MEMBERS.items():
        core.open_account(member, {SHARD: Cash(20_000_000), 0: Cash(5_000_000)}, precision)
    core.list_event(still_event(grid=GridName.DECI_CENT, close_ms=START_MS + LIFE_MS))
    return core


def total_money(core: ExchangeCore) -> int:
    cash = sum(sum(account.cash.values()) for account in core.accounts.values())
    collateral = sum(pair_value(market.open_interest) for market in core.markets.values())
    return cash + collateral + core.fees_collected


def check(core: ExchangeCore, money: int) -> None:
    assert total_money(core) == money
    for account in core.accounts.values():
        for shard in account.cash:
            assert account.reserved[shard] >= 0
            assert account.available(shard) >= 0
        assert account.cash[0] == 5_000_000, "an order drew on another shard's cash"
    assert core.fees_collected == sum(account.fees_paid for account in core.accounts.values())
    for market in core.markets.values():
        held = [account.position(market.ticker).count for account in core.accounts.values()]
        assert sum(held) == 0
        assert sum(count for count in held if count > 0) == market.open_interest
        assert not market.book.is_crossed()
        resting = market.resting()
        assert (market.status is MarketStatus.ACTIVE) or not resting
        for outcome in Outcome:
            on_book = sum(level.size for level in market.book.side(outcome))
            assert on_book == sum(order.remaining for order in resting if order.outcome is outcome)
        for account in core.accounts.values():
            orders = [order for order in resting if order.account is account]
            assert all(order.remaining > 0 for order in orders)
    for account in core.accounts.values():
        owned = sum(
            market.reservation(order, order.remaining)
            for market in core.markets.values()
            for order in market.resting()
            if order.account is account
        )
        assert account.reserved[SHARD] == owned


def state_of(core: ExchangeCore) -> object:
    return (
        [(dict(account.cash), dict(account.reserved), dict(account.positions)) for account in core.accounts.values()],
        [sorted(order.order_id for order in market.resting()) for market in core.markets.values()],
    )


schedules = st.builds(
    FeeSchedule,
    st.sampled_from([FeeType.QUADRATIC, FeeType.WITH_MAKER, FeeType.WITH_COMBO_MAKER]),
    st.sampled_from([0, 5_000, 10_000]),
)


def act(core: ExchangeCore, action: tuple[str, object, object], placed: list[str]) -> None:
    kind, first, second = action
    if kind == "place":
        assert isinstance(second, NewOrder)
        view = core.place(str(first), second)
        placed.append(view.order_id)
        assert view.filled + view.remaining <= second.count
        if second.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
            assert view.remaining == 0
    elif kind == "cancel" and placed:
        assert isinstance(second, int)
        core.cancel(str(first), placed[second % len(placed)])
    elif kind == "wait":
        assert isinstance(first, int)
        core.advance(core.now_ms + first)
    elif kind == "determine" and core.markets[str(first)].payout is None:
        assert isinstance(second, int)
        core.determine(str(first), Price(second), "1")


def test_contracts_and_cash_are_conserved() -> None:
    covered: Counter[str] = Counter()

    @given(actions=actions, schedule=schedules)
    @settings(max_examples=120, deadline=None)
    def run(actions: list[tuple[str, object, object]], schedule: FeeSchedule) -> None:
        core = open_exchange(schedule)
        money = total_money(core)
        placed: list[str] = []
        for action in actions:
            before = state_of(core)
            try:
                act(core, action, placed)
            except ExchangeRefusalError as refusal:
                covered[refusal.code] += 1
                assert state_of(core) == before, "a refused request changed something"
            check(core, money)
        core.advance(START_MS + LIFE_MS)
        for market in core.markets.values():
            if market.payout is None:
                core.determine(market.ticker, ONE_DOLLAR, "1")
        core.advance(START_MS + 10 * LIFE_MS)
        check(core, money)
        assert all(market.status is MarketStatus.FINALIZED for market in core.markets.values())
        assert all(account.available(SHARD) == account.cash[SHARD] for account in core.accounts.values())
        assert sum(sum(account.cash.values()) for account in core.accounts.values()) + core.fees_collected == money
        for emission in core.drain():
            covered[type(emission).__name__] += 1
            if isinstance(emission, OrderChanged):
                covered[emission.reason] += 1
        covered["fees"] += core.fees_collected > 0
        covered["payments"] += sum(len(account.settlements) for account in core.accounts.values())

    run()
    # A run in which hardly anything happens would prove nothing.
    assert covered["Traded"] > 300
    assert covered["fees"] > 20
    assert covered["payments"] > 100
    for reason in (
        "SelfTradeCancel",
        "CloseCancel",
        "fill_or_kill_insufficient_resting_volume",
        "insufficient_balance",
    ):
        assert covered[reason] > 10, reason


def test_an_account_explains_every_cent() -> None:
    trades = 0

    @given(orders=st.lists(places, min_size=10, max_size=40))
    @settings(max_examples=60, deadline=None)
    def run(orders: list[tuple[str, str, NewOrder]]) -> None:
        nonlocal trades
        core = open_exchange(FeeSchedule(FeeType.WITH_MAKER))
        for _, member, order in orders:
            with suppress(ExchangeRefusalError):
                core.place(member, order)
        for account in core.accounts.values():
            trades += len(account.fills)
            explain(core, account)

    run()
    assert trades > 200


def explain(core: ExchangeCore, account: Account) -> None:
    bought = {outcome: dict.fromkeys(TICKERS, 0) for outcome in Outcome}
    spent = 0
    by_order: dict[str, list[FillView]] = {}
    for fill in account.fills:
        bought[fill.outcome][fill.ticker] += fill.count
        spent += fill.price * fill.count + fill.fee
        by_order.setdefault(fill.order_id, []).append(fill)
    pairs = sum(min(bought[Outcome.YES][ticker], bought[Outcome.NO][ticker]) for ticker in TICKERS)
    assert account.cash[SHARD] == account.initial_cash[SHARD] - spent + pair_value(Count(pairs))
    for ticker in TICKERS:
        assert account.position(ticker).count == bought[Outcome.YES][ticker] - bought[Outcome.NO][ticker]
    assert account.fees_paid == sum(fill.fee for fill in account.fills)
    for history in account.orders.values():
        view = history.at(core.now_ms)
        assert view is not None
        fills = by_order.get(view.order_id, [])
        assert view.filled == sum(fill.count for fill in fills)
        assert [fill.fee for fill in fills] == exact_fees(core, account, fills)


def exact_fees(core: ExchangeCore, account: Account, fills: list[FillView]) -> list[Cash]:
    """The order's fees from its fills alone, with the accumulator carried from one to the next."""
    fees, accumulator = [], Cash(0)
    for fill in fills:
        raw = trade_fee(
            core.markets[fill.ticker].fees, fill.price, fill.count, Role.TAKER if fill.is_taker else Role.MAKER
        )
        charged = charge(Cash(-fill.price * fill.count), raw, account.precision, accumulator)
        fees.append(charged.fee)
        accumulator = charged.accumulator
    return fees
