"""The seeded world: repeatable, coherent but for what is injected, constant in size, settled by its strikes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from infra.exchange.catalogue import SHARDS, TEMPLATES, Shape, build_event
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged, LifecycleKind, MarketLifecycle, Traded
from infra.exchange.fair import settles_yes
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.market import MarketState
from infra.exchange.terms import EventTerms, NewOrder, TimeInForce
from infra.exchange.testkit import START_MS
from infra.exchange.universe import Universe, UniverseConfig
from kalshi_arb.domain.fees import Precision, model_fee
from kalshi_arb.domain.market import MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, ONE_DOLLAR, Cash, Count, Price, complement

QUIET = UniverseConfig(mispricing_every_ms=10**9)
BUSY = UniverseConfig(mispricing_every_ms=400, fade_share=0.0, asks_share=0.4)
STEP_MS = 50
_MODEL = 10**14  # 1e-18 dollars in 1e-4 dollars


def open_world(config: UniverseConfig, seed: int = 5) -> tuple[ExchangeCore, Universe]:
    random = Random(seed)
    core = ExchangeCore(START_MS, seeded_ids(Random(random.getrandbits(64))))
    core.open_account(MEMBER, dict.fromkeys(SHARDS, Cash(10_000 * CASH_PER_DOLLAR)), Precision.DIRECT)
    universe = Universe(core, config, random)
    universe.start()
    return core, universe


def run(core: ExchangeCore, universe: Universe, seconds: float) -> Iterator[int]:
    start = core.now_ms
    for ms in range(start + STEP_MS, start + round(seconds * 1_000) + 1, STEP_MS):
        universe.step(ms)
        yield ms


def ask(market: MarketState, outcome: Outcome) -> Price | None:
    best = market.book.side(outcome.other).best
    return None if best is None else complement(best.price)


def cost(market: MarketState, outcome: Outcome) -> float | None:
    """One contract at the best ask with its unrounded fee, 1e-4 dollars."""
    price = ask(market, outcome)
    return None if price is None else price + model_fee(market.fees, price, ONE_CONTRACT) / _MODEL


def gains(core: ExchangeCore, event: EventTerms) -> dict[str, float]:
    """What one set of each contradiction in an event would gain after fees (1e-4 dollars), positive ones only."""
    markets = [core.markets[terms.ticker] for terms in event.markets]
    found: dict[str, float] = {}
    if event.mutually_exclusive:
        no_costs = [price for market in markets if (price := cost(market, Outcome.NO)) is not None]
        # Leaving a bracket out only lowers what the others pay, so the best choice keeps those below a dollar.
        useful = [price for price in no_costs if price < ONE_DOLLAR]
        found["sell all"] = (len(useful) - 1) * ONE_DOLLAR - sum(useful) if useful else -1.0
        yes_costs = [cost(market, Outcome.YES) for market in markets]
        known = [price for price in yes_costs if price is not None]
        if len(known) == len(markets):
            found["buy all"] = ONE_DOLLAR - sum(known)
    for easier in markets:
        for harder in markets:
            if (
                easier.terms.strike_type is StrikeType.GREATER
                and harder.terms.strike_type is StrikeType.GREATER
                and easier.terms.custom_strike == harder.terms.custom_strike
                and easier.terms.floor is not None
                and harder.terms.floor is not None
                and easier.terms.floor < harder.terms.floor
            ):
                yes, no = cost(easier, Outcome.YES), cost(harder, Outcome.NO)
                if yes is not None and no is not None:
                    found[f"{easier.ticker} and {harder.ticker}"] = ONE_DOLLAR - yes - no
    return {name: gain for name, gain in found.items() if gain > 0}


def test_the_same_seed_and_steps_give_the_same_run() -> None:
    histories = []
    for _ in range(2):
        core, universe = open_world(UniverseConfig(mispricing_every_ms=500))
        history = core.drain()
        for _ in run(core, universe, 6):
            history += core.drain()
        histories.append(history)
    assert histories[0] == histories[1]
    other, _ = open_world(UniverseConfig(mispricing_every_ms=500), seed=6)
    first = other.drain()
    assert first != histories[0][: len(first)]


def test_without_mispricings_no_bundle_gains_and_the_crowd_never_trades() -> None:
    core, universe = open_world(QUIET)
    for _ in run(core, universe, 20):
        for event in core.events.values():
            assert gains(core, event) == {}
        for market in core.markets.values():
            assert not market.book.is_crossed()
        assert not any(isinstance(emission, Traded) for emission in core.drain())


def test_strikes_alone_do_not_make_a_ladder_where_an_event_has_two_subjects() -> None:
    core, universe = open_world(QUIET)
    crossings = 0
    for _ in run(core, universe, 5):
        for event in core.events.values():
            subjects = {str(terms.custom_strike) for terms in event.markets}
            if len(subjects) < 2:
                continue
            for easier in event.markets:
                for harder in event.markets:
                    assert easier.floor is not None
                    assert harder.floor is not None
                    yes = cost(core.markets[easier.ticker], Outcome.YES)
                    no = cost(core.markets[harder.ticker], Outcome.NO)
                    if easier.floor < harder.floor and yes and no and yes + no < ONE_DOLLAR:
                        crossings += 1
    assert crossings > 0, "a reader that ignores the subject would not be caught"


def test_injected_mispricings_gain_what_was_asked_for_and_disappear_in_time() -> None:
    core, universe = open_world(BUSY)
    seen: Counter[str] = Counter()
    live_before: dict[str, int] = {}
    for ms in run(core, universe, 30):
        live: dict[str, int] = {}
        for event in core.events.values():
            if not universe.mispricings.is_live(event.ticker):
                assert gains(core, event) == {}, event.ticker
                continue
            best = max(gains(core, event).values())
            assert best >= 200
            live[event.ticker] = live_before.get(event.ticker, ms)
            assert ms - live[event.ticker] <= BUSY.mispricing_life_ms[1] + STEP_MS
            if event.ticker not in live_before:
                kind = "ladder" if not event.mutually_exclusive else min(gains(core, event))
                seen[kind] += 1
        live_before = live
    assert universe.mispricings.counts.injected >= 40
    assert set(seen) >= {"ladder", "sell all", "buy all"}
    counts = universe.mispricings.counts
    assert counts.injected == counts.expired + len(universe.mispricings)
    assert counts.faded == counts.taken == counts.partly == 0


def test_mispricings_are_deep_enough_to_be_worth_taking() -> None:
    core, universe = open_world(BUSY)
    sizes = []
    for _ in run(core, universe, 10):
        for live in universe.mispricings.live():
            for order_id in live.order_ids:
                entry = core.resting(order_id)
                assert entry is not None
                sizes.append(entry[1].remaining)
    assert sizes
    assert min(sizes) >= 20 * ONE_CONTRACT
    assert all(size % ONE_CONTRACT == 0 for size in sizes)


def take_first_leg(core: ExchangeCore, universe: Universe) -> tuple[tuple[str, ...], str]:
    """Buy one contract against the first leg of the first live mispricing; returns its orders and the one hit."""
    for _ in run(core, universe, 10):
        for live in universe.mispricings.live():
            entry = core.resting(live.order_ids[0])
            assert entry is not None
            market, order = entry
            limit = complement(order.price)
            new = NewOrder(market.ticker, order.outcome.other, limit, ONE_CONTRACT, TimeInForce.IMMEDIATE_OR_CANCEL)
            assert core.place(MEMBER, new).filled == ONE_CONTRACT
            return live.order_ids, live.order_ids[0]
    raise AssertionError("no mispricing appeared")


def test_a_skittish_mispricing_pulls_its_other_legs_before_the_next_order() -> None:
    core, universe = open_world(replace(BUSY, fade_share=1.0))
    orders, hit = take_first_leg(core, universe)
    assert core.is_resting(hit)
    assert not any(core.is_resting(order) for order in orders if order != hit)
    for _ in run(core, universe, 10):
        pass
    assert universe.mispricings.counts.faded == 1


def test_a_steady_one_keeps_them() -> None:
    core, universe = open_world(BUSY)
    orders, _ = take_first_leg(core, universe)
    assert all(core.is_resting(order) for order in orders)
    for _ in run(core, universe, 10):
        pass
    assert universe.mispricings.counts.partly == 1


def test_taking_every_leg_of_a_mispricing_gains_at_least_its_edge_a_set() -> None:
    core, universe = open_world(replace(BUSY, mispricing_contracts=(20, 30)))
    member = core.accounts[MEMBER]
    taken: Counter[str] = Counter()
    for _ in run(core, universe, 15):
        for live in universe.mispricings.live():
            if live.event_ticker in taken:
                continue
            taken[live.event_ticker] = 1
            for order_id in live.order_ids:
                entry = core.resting(order_id)
                assert entry is not None
                market, order = entry
                new = NewOrder(
                    market.ticker, order.outcome.other, complement(order.price), Count(20 * ONE_CONTRACT),
                    TimeInForce.FILL_OR_KILL,
                )  # fmt: skip
                core.place(MEMBER, new)
    for _ in run(core, universe, 60):
        pass
    assert len(taken) > 15
    profit = Counter[str]()
    for fill in member.fills:
        profit[core.markets[fill.ticker].event.ticker] -= fill.price * fill.count + fill.fee
    for settlement in member.settlements:
        profit[settlement.event_ticker] += settlement.revenue
    least = 20 * BUSY.mispricing_edge[0] * ONE_CONTRACT
    assert {event: gain for event, gain in profit.items() if gain < least} == {}
    assert universe.mispricings.counts.taken == len(taken)


def test_the_world_keeps_its_size_while_events_come_and_go() -> None:
    core, universe = open_world(replace(QUIET, event_life_ms=(4_000, 8_000), retention_ms=2_000))
    for ms in run(core, universe, 20):
        trading = [
            event for event in core.events.values() if event.markets[0].open_ms <= ms < event.markets[0].close_ms
        ]
        waiting = [event for event in core.events.values() if event.markets[0].open_ms > ms]
        assert len(trading) + len(waiting) == QUIET.events
    assert universe.events_settled > 40
    assert len(core.events) < 2 * QUIET.events, "old events must be forgotten"


def test_flow_keeps_to_its_rate() -> None:
    core, universe = open_world(UniverseConfig())
    core.drain()
    changes = 0
    for _ in run(core, universe, 20):
        changes += sum(isinstance(emission, BookChanged) for emission in core.drain())
    assert 150 * 20 < changes < 280 * 20


def test_markets_settle_by_the_final_value_and_their_strikes() -> None:
    core, universe = open_world(replace(QUIET, event_life_ms=(3_000, 6_000)))
    kinds: Counter[LifecycleKind] = Counter()
    for _ in run(core, universe, 15):
        kinds.update(emission.kind for emission in core.drain() if isinstance(emission, MarketLifecycle))
    finished = [
        event
        for event in core.events.values()
        if all(core.markets[terms.ticker].status is MarketStatus.FINALIZED for terms in event.markets)
    ]
    assert len(finished) > 20
    for event in finished:
        states = [core.markets[terms.ticker] for terms in event.markets]
        for state in states:
            won = settles_yes(state.terms, Decimal(state.expiration_value))
            assert state.payout == (ONE_DOLLAR if won else 0)
        if event.mutually_exclusive:
            assert [state.payout for state in states].count(ONE_DOLLAR) == 1
    assert kinds[LifecycleKind.DETERMINED] >= kinds[LifecycleKind.SETTLED] > 0


@pytest.mark.parametrize(
    ("kind", "floor", "cap", "value", "won"),
    [
        (StrikeType.GREATER, "10", None, "10", False),
        (StrikeType.GREATER, "10", None, "10.01", True),
        (StrikeType.LESS, None, "10", "10", False),
        (StrikeType.LESS, None, "10", "9", True),
        (StrikeType.BETWEEN, "10", "11", "10", True),
        (StrikeType.BETWEEN, "10", "11", "11", True),
        (StrikeType.BETWEEN, "10", "11", "11.5", False),
    ],
)
def test_strikes_are_strict_and_brackets_include_both_ends(
    kind: StrikeType, floor: str | None, cap: str | None, value: str, won: bool
) -> None:
    listing = build_event(TEMPLATES[0], 1, now_ms=0, open_ms=0, close_ms=1_000, timer_s=1, random=Random(1))
    terms = replace(
        listing.terms.markets[0],
        strike_type=kind,
        floor=None if floor is None else Decimal(floor),
        cap=None if cap is None else Decimal(cap),
    )
    assert settles_yes(terms, Decimal(value)) is won


@pytest.mark.parametrize("seed", range(20))
def test_brackets_cover_every_whole_number_once_and_leave_slivers_between(seed: int) -> None:
    for template in TEMPLATES:
        listing = build_event(template, seed, now_ms=0, open_ms=0, close_ms=30_000, timer_s=1, random=Random(seed))
        tickers = [terms.ticker for terms in listing.terms.markets]
        assert len(set(tickers)) == len(tickers)
        if template.shape is not Shape.PARTITION:
            assert not listing.terms.mutually_exclusive
            continue
        for value in range(-20, 120):
            assert sum(settles_yes(terms, Decimal(value)) for terms in listing.terms.markets) == 1
        betweens = [terms for terms in listing.terms.markets if terms.strike_type is StrikeType.BETWEEN]
        assert betweens[0].cap is not None
        sliver = betweens[0].cap + Decimal("0.5")
        assert not any(settles_yes(terms, sliver) for terms in listing.terms.markets)


def test_sizes_are_whole_contracts_and_both_grids_occur() -> None:
    core, _ = open_world(QUIET)
    sizes: list[Count] = []
    prices: list[Price] = []
    for market in core.markets.values():
        for outcome in Outcome:
            for level in market.book.side(outcome):
                sizes.append(level.size)
                prices.append(level.price)
    assert all(size % ONE_CONTRACT == 0 for size in sizes)
    assert any(price % 100 for price in prices)
    assert {market.fees.multiplier for market in core.markets.values()} == {5_000, 10_000}


@pytest.mark.parametrize(
    "change",
    [{"fade_share": 1.5}, {"event_life_ms": (5, 4)}, {"events": 0}, {"mispricing_every_ms": 0}, {"asks_share": -0.1}],
)
def test_a_world_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="universe"):
        UniverseConfig(**change)  # type: ignore[arg-type]
