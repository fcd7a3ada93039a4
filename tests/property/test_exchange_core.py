"""Whatever members do, the exchange conserves contracts and cash, keeps balances positive and books uncrossed."""

import os
from collections import Counter
from contextlib import suppress
from random import Random
from typing import get_args

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.exchange.account import Account, FillView
from infra.exchange.core import ExchangeCore, SavedCore
from infra.exchange.emissions import GroupChanged, OrderChanged
from infra.exchange.errors import ExchangeRefusalError
from infra.exchange.inputs import Gate, Input
from infra.exchange.living import seeded_ids
from infra.exchange.market import pair_value
from infra.exchange.requests import Request
from infra.exchange.testkit import TICKERS
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Role, charge, trade_fee
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import Cash, Count
from tests.exchange_actions import (
    LIFE_MS,
    MEMBERS,
    SHARD,
    Actor,
    check,
    open_exchange,
    replay,
    shown,
    total_money,
)

FACTOR = int(os.environ.get("KALSHI_ARB_EXCHANGE_EXAMPLES", "1"))
"""How many times as many examples as usual."""


def state_of(core: ExchangeCore) -> object:
    return (
        [(dict(account.cash), dict(account.reserved), dict(account.positions)) for account in core.accounts.values()],
        [sorted(order.order_id for order in market.resting()) for market in core.markets.values()],
    )


def settle_everything(actor: Actor) -> None:
    core, gate = actor.core, actor.gate
    for market in core.markets.values():
        if market.status in (MarketStatus.INITIALIZED, MarketStatus.INACTIVE, MarketStatus.ACTIVE, MarketStatus.CLOSED):
            gate.determine(market.ticker, actor.payout(market.ticker), "1")
        elif market.status is MarketStatus.DISPUTED:
            gate.amend_result(market.ticker, actor.payout(market.ticker), "1")
    gate.advance(core.now_ms + LIFE_MS)


schedules = st.builds(
    FeeSchedule,
    st.sampled_from([FeeType.QUADRATIC, FeeType.WITH_MAKER, FeeType.WITH_COMBO_MAKER]),
    st.sampled_from([0, 5_000, 10_000]),
)


def test_contracts_and_cash_are_conserved() -> None:
    covered: Counter[str] = Counter()

    @given(seed=st.integers(0, 2**32), steps=st.sampled_from([3, 30, 200]), schedule=schedules, exclusive=st.booleans())
    @example(seed=1, steps=400, schedule=FeeSchedule(FeeType.WITH_MAKER), exclusive=True)
    @example(seed=2, steps=400, schedule=FeeSchedule(FeeType.QUADRATIC), exclusive=False)
    @settings(max_examples=120 * FACTOR, deadline=None)
    def run(seed: int, steps: int, schedule: FeeSchedule, exclusive: bool) -> None:
        core = open_exchange(schedule, exclusive=exclusive)
        actor = Actor(core, Gate(core, None), Random(seed))
        core.drain()
        money, books = total_money(core), shown(core)
        for _ in range(steps):
            before = state_of(core)
            try:
                covered[f"did {actor.act()}"] += 1
            except ExchangeRefusalError as refusal:
                covered[refusal.code] += 1
                if core.trading_active:  # otherwise the pause itself was carried out
                    assert state_of(core) == before, "a refused request changed something"
            actor.gate.pause_exchange(paused=False)
            actor.gate.pause_trading(paused=False)
            check(core, money)
            emitted = core.drain()
            replay(emitted, books)
            assert books == shown(core), "the stream shows another book"
            for emission in emitted:
                covered[type(emission).__name__] += 1
                if isinstance(emission, OrderChanged):
                    covered[emission.reason] += 1
                elif isinstance(emission, GroupChanged):
                    covered[f"group {emission.step.value}"] += 1
            covered["returned collateral"] += any(account.covers for account in core.accounts.values())
        settle_everything(actor)
        check(core, money)
        assert all(market.status is MarketStatus.FINALIZED for market in core.markets.values())
        assert all(account.available(SHARD) == account.cash[SHARD] for account in core.accounts.values())
        assert not any(account.covers for account in core.accounts.values())
        covered["fees"] += core.fees_collected > 0
        covered["payments"] += sum(len(account.settlements) for account in core.accounts.values())

    run()
    # A run in which hardly anything happens would prove nothing.
    assert covered["Traded"] > 300
    assert covered["fees"] > 20
    assert covered["payments"] > 100
    assert covered["returned collateral"] > 50
    for word in (
        "SelfTradeCancel", "CloseCancel", "ExpiryCancel", "HaltCancel", "Amend", "Decrease", "group triggered",
        "fill_or_kill_insufficient_resting_volume", "insufficient_balance", "exceeded_order_group_risk_limit",
        "market_inactive", "not_found", "order_already_exists", "did fees", "did terms", "did close", "did transfer",
        "did cash", "did result", "did market",
    ):  # fmt: skip
        assert covered[word] > 10, (word, covered)


def test_a_core_restored_from_its_snapshot_goes_on_as_if_nothing_was() -> None:
    covered: Counter[type] = Counter()

    @given(
        seed=st.integers(0, 2**32), first=st.integers(0, 100), then=st.sampled_from([5, 150]), schedule=schedules,
        exclusive=st.booleans(),
    )  # fmt: skip
    @example(seed=1, first=100, then=1_500, schedule=FeeSchedule(FeeType.WITH_MAKER), exclusive=True)
    @example(seed=2, first=100, then=1_500, schedule=FeeSchedule(FeeType.QUADRATIC), exclusive=False)
    @settings(max_examples=40 * FACTOR, deadline=None)
    def run(seed: int, first: int, then: int, schedule: FeeSchedule, exclusive: bool) -> None:
        ids, kept = Random(3), list[Input]()
        core = open_exchange(schedule, exclusive=exclusive, ids=ids)
        actor = Actor(core, Gate(core, None, kept.append), Random(seed))
        for _ in range(first):
            with suppress(ExchangeRefusalError):
                actor.act()
        saved, ids_then = msgspec.json.encode(core.save()), ids.getstate()
        core.drain()
        kept.clear()
        for _ in range(then):
            with suppress(ExchangeRefusalError):
                actor.act()
        again_ids, again = Random(), list[Input]()
        again_ids.setstate(ids_then)
        twin = ExchangeCore.restore(msgspec.json.decode(saved, type=SavedCore), seeded_ids(again_ids))
        gate = Gate(twin, None, again.append)
        for happened in kept:
            # Through its form on disk.
            gate.repeat(msgspec.json.decode(msgspec.json.encode(happened), type=Input))
        assert again == kept
        assert twin.drain() == core.drain()
        assert msgspec.json.encode(twin.save()) == msgspec.json.encode(core.save())
        covered.update(type(happened.request) for happened in kept)

    run()
    # Without a world nothing steps; the weekly pause has a test of its own.
    missing = {kind.__name__ for kind in get_args(Request)} - {kind.__name__ for kind in covered}
    assert missing <= {"Step", "SetWeeklyPause"}, missing


def test_an_account_explains_every_cent() -> None:
    trades = 0

    @given(seed=st.integers(0, 2**32), steps=st.sampled_from([3, 30, 120]))
    @settings(max_examples=60 * FACTOR, deadline=None)
    def run(seed: int, steps: int) -> None:
        nonlocal trades
        core = open_exchange(FeeSchedule(FeeType.WITH_MAKER), exclusive=False)
        random = Random(seed)
        actor = Actor(core, Gate(core, None), random)
        for _ in range(steps):
            with suppress(ExchangeRefusalError):
                core.place(random.choice(sorted(MEMBERS)), actor.random_order())
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
