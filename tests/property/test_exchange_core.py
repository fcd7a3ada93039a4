"""Whatever members do, the exchange conserves contracts and cash, keeps balances positive and books uncrossed."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange.assembly import seeded_ids
from infra.exchange.core import ExchangeCore
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.market import pair_value
from infra.exchange.terms import GridName, NewOrder, SelfTradePrevention, SeriesTerms, TimeInForce
from infra.exchange.testkit import START_MS, TICKERS, still_event
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price

MEMBERS = {"ann": Precision.DIRECT, "bob": Precision.CENT, "eve": Precision.DIRECT}
SHARD = 2
LIFE_MS = 60_000

prices = st.one_of(st.integers(1, 99).map(lambda cents: cents * 100), st.integers(1, 999).map(lambda mills: mills * 10))
counts = st.one_of(st.integers(1, 30).map(lambda whole: whole * 100), st.integers(1, 900))
places = st.tuples(
    st.just("place"),
    st.sampled_from(sorted(MEMBERS)),
    st.builds(
        NewOrder,
        ticker=st.sampled_from(TICKERS),
        outcome=st.sampled_from(Outcome),
        limit=prices.map(Price),
        count=counts.map(Count),
        time_in_force=st.sampled_from(TimeInForce),
        client_order_id=st.one_of(st.none(), st.sampled_from(["a", "b", "c"])),
        self_trade=st.sampled_from(SelfTradePrevention),
        post_only=st.booleans(),
        reduce_only=st.booleans(),
        shard=st.sampled_from([None, None, SHARD, 0]),
    ),
)
cancels = st.tuples(st.just("cancel"), st.sampled_from(sorted(MEMBERS)), st.integers(0, 30))
waits = st.tuples(st.just("wait"), st.integers(0, 5_000), st.none())
results = st.tuples(
    st.just("determine"), st.sampled_from(TICKERS), st.sampled_from([0, int(ONE_DOLLAR), 3_333, 5_000]).map(Price)
)
actions = st.lists(st.one_of(places, places, places, places, cancels, waits, results), max_size=60)


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


@given(
    actions=actions,
    schedule=st.builds(
        FeeSchedule,
        st.sampled_from([FeeType.QUADRATIC, FeeType.WITH_MAKER, FeeType.WITH_COMBO_MAKER]),
        st.sampled_from([0, 5_000, 10_000]),
    ),
)
@settings(max_examples=150, deadline=None)
def test_contracts_and_cash_are_conserved(
    actions: list[tuple[str, object, object]], schedule: FeeSchedule
) -> None:
    core = open_exchange(schedule)
    money = total_money(core)
    now = START_MS
    placed: list[str] = []
    for kind, first, second in actions:
        before = state_of(core)
        try:
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
                now += first
                core.advance(now)
            elif kind == "determine" and core.markets[str(first)].payout is None:
                assert isinstance(second, int)
                core.determine(str(first), Price(second), "1")
        except ExchangeRefusalError:
            assert state_of(core) == before, "a refused request changed something"
        check(core, money)
    core.advance(START_MS + LIFE_MS)
    for market in core.markets.values():
        if market.payout is None:
            core.determine(market.ticker, ONE_DOLLAR, "1")
    core.advance(START_MS + LIFE_MS + 10_000)
    check(core, money)
    assert all(market.status is MarketStatus.FINALIZED for market in core.markets.values())
    assert all(account.available(SHARD) == account.cash[SHARD] for account in core.accounts.values())
    assert sum(sum(account.cash.values()) for account in core.accounts.values()) + core.fees_collected == money


@given(actions=st.lists(places, max_size=40))
@settings(max_examples=60, deadline=None)
def test_an_account_explains_every_cent(actions: list[tuple[str, str, NewOrder]]) -> None:
    core = open_exchange(FeeSchedule(FeeType.WITH_MAKER))
    for _, member, order in actions:
        try:
            core.place(member, order)
        except ExchangeRefusalError:
            continue
    for account in core.accounts.values():
        bought = {outcome: dict.fromkeys(TICKERS, 0) for outcome in Outcome}
        spent = 0
        for fill in account.fills:
            bought[fill.outcome][fill.ticker] += fill.count
            spent += fill.price * fill.count + fill.fee
        pairs = sum(min(bought[Outcome.YES][ticker], bought[Outcome.NO][ticker]) for ticker in TICKERS)
        assert account.cash[SHARD] == account.initial_cash[SHARD] - spent + pair_value(Count(pairs))
        for ticker in TICKERS:
            assert account.position(ticker).count == bought[Outcome.YES][ticker] - bought[Outcome.NO][ticker]
        assert account.fees_paid == sum(fill.fee for fill in account.fills)
        for history in account.orders.values():
            view = history.at(core.now_ms)
            assert view is not None
            fills = [fill for fill in account.fills if fill.order_id == view.order_id]
            assert view.filled == sum(fill.count for fill in fills)
            assert view.taker_fees + view.maker_fees == sum(fill.fee for fill in fills)
