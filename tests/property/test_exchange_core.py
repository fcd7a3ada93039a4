"""Whatever members do, the exchange conserves contracts and cash, keeps balances positive and books uncrossed."""

from collections import Counter
from contextlib import suppress
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange.account import Account, FillView
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import OrderChanged
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.living import seeded_ids
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


def random_order(random: Random) -> NewOrder:
    cents = random.choice([random.randint(35, 65) * 100, random.randint(1, 999) * 10])
    return NewOrder(
        ticker=random.choice(MARKETS),
        outcome=random.choice(list(Outcome)),
        limit=Price(cents),
        count=Count(random.choice([random.randint(1, 8) * 100, random.randint(1, 900), 3_000])),
        time_in_force=random.choice([TimeInForce.GOOD_TILL_CANCELED, *TimeInForce]),
        client_order_id=random.choice([None] * 12 + ["a", "b", "c"]),
        self_trade=random.choice(list(SelfTradePrevention)),
        post_only=random.random() < 0.05,
        reduce_only=random.random() < 0.05,
        shard=random.choice([None] * 12 + [SHARD, 0]),
    )


def act(core: ExchangeCore, random: Random, placed: list[str]) -> None:
    """One random thing that a member, time or a result may do."""
    member = random.choice(sorted(MEMBERS))
    kind = random.choices(["place", "cancel", "wait", "determine"], [80, 10, 9, 1])[0]
    if kind == "place":
        new = random_order(random)
        view = core.place(member, new)
        placed.append(view.order_id)
        assert view.filled + view.remaining <= new.count
        if new.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
            assert view.remaining == 0
    elif kind == "cancel" and placed:
        core.cancel(member, random.choice(placed))
    elif kind == "wait":
        core.advance(core.now_ms + random.randint(0, 1_000))
    elif kind == "determine":
        ticker = random.choice(MARKETS)
        if core.markets[ticker].payout is None:
            core.determine(ticker, Price(random.choice([0, int(ONE_DOLLAR), 3_333, 5_000])), "1")


def open_exchange(schedule: FeeSchedule) -> ExchangeCore:
    core = ExchangeCore(START_MS, seeded_ids(Random(3)))
    core.add_series(SeriesTerms("KXSTILL", "Still", "Tests", "once", schedule, SHARD))
    for member, precision in MEMBERS.items():
        core.open_account(member, {SHARD: Cash(60_000_000), 0: Cash(5_000_000)}, precision)
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


def test_contracts_and_cash_are_conserved() -> None:
    covered: Counter[str] = Counter()

    @given(seed=st.integers(0, 2**32), steps=st.sampled_from([3, 30, 200]), schedule=schedules)
    @settings(max_examples=120, deadline=None)
    def run(seed: int, steps: int, schedule: FeeSchedule) -> None:
        core, random = open_exchange(schedule), Random(seed)
        money = total_money(core)
        placed: list[str] = []
        for _ in range(steps):
            before = state_of(core)
            try:
                act(core, random, placed)
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

    @given(seed=st.integers(0, 2**32), steps=st.sampled_from([3, 30, 120]))
    @settings(max_examples=60, deadline=None)
    def run(seed: int, steps: int) -> None:
        nonlocal trades
        core, random = open_exchange(FeeSchedule(FeeType.WITH_MAKER)), Random(seed)
        for _ in range(steps):
            with suppress(ExchangeRefusalError):
                core.place(random.choice(sorted(MEMBERS)), random_order(random))
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
