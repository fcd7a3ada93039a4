"""The seeded world: repeatable, coherent but for what is injected, constant in size, settled by its strikes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from infra.exchange.catalogue import SHARDS, TEMPLATES, Listing, Shape, Span, Template
from infra.exchange.contests import build_combo, build_contest
from infra.exchange.core import ExchangeCore
from infra.exchange.emissions import BookChanged, LifecycleKind, MarketLifecycle, Traded
from infra.exchange.fair import settles_yes
from infra.exchange.ladders import build_line
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
    if event.mutually_exclusive and len(markets) > 1:
        no_costs = [price for market in markets if (price := cost(market, Outcome.NO)) is not None]
        # Leaving a bracket out only lowers what the others pay, so the best choice keeps those below a dollar.
        useful = [price for price in no_costs if price < ONE_DOLLAR]
        found["sell all"] = (len(useful) - 1) * ONE_DOLLAR - sum(useful) if useful else -1.0
        yes_costs = [cost(market, Outcome.YES) for market in markets]
        known = [price for price in yes_costs if price is not None]
        # A field of candidates need not hold the winner.
        if len(known) == len(markets) and not event.series_ticker.endswith("CUP"):
            found["buy all"] = ONE_DOLLAR - sum(known)
    for easier in markets:
        for harder in markets:
            if (
                easier.terms.strike_type is harder.terms.strike_type
                and easier.terms.strike_type in (StrikeType.GREATER, StrikeType.GREATER_OR_EQUAL)
                and easier.terms.custom_strike == harder.terms.custom_strike
                and easier.terms.floor is not None
                and harder.terms.floor is not None
                and easier.terms.floor < harder.terms.floor
            ):
                yes, no = cost(easier, Outcome.YES), cost(harder, Outcome.NO)
                if yes is not None and no is not None:
                    found[f"{easier.ticker} and {harder.ticker}"] = ONE_DOLLAR - yes - no
            if event.series_ticker.endswith("BY") and easier.terms.close_ms > harder.terms.close_ms:
                yes, no = cost(easier, Outcome.YES), cost(harder, Outcome.NO)
                if yes is not None and no is not None:
                    found[f"{easier.ticker} and the earlier {harder.ticker}"] = ONE_DOLLAR - yes - no
    for combo in markets if event.is_combo else ():
        for leg in combo.terms.legs:
            other = core.markets.get(leg.ticker)
            side = None if other is None else cost(other, leg.outcome)
            no = cost(combo, Outcome.NO)
            if side is not None and no is not None:
                found[f"{combo.ticker} and its leg {leg.ticker}"] = ONE_DOLLAR - side - no
        needed = [cost(combo, Outcome.YES)]
        for leg in combo.terms.legs:
            other = core.markets.get(leg.ticker)
            needed.append(None if other is None else cost(other, leg.outcome.other))
        prices = [price for price in needed if price is not None]
        if len(prices) == len(needed):
            found[f"{combo.ticker} and the other sides of its legs"] = ONE_DOLLAR - sum(prices)
    return {name: gain for name, gain in found.items() if gain > 0}


def build(template: Template, number: int = 1, seed: int = 1, life_ms: int = 30_000) -> Listing:
    span = Span(START_MS, START_MS, START_MS + life_ms, 1)
    if template.shape is Shape.COMBO:
        game = next(template for template in TEMPLATES if template.shape is Shape.GAME)
        games = [build_contest(game, number, span, Random(seed)) for number in (1, 2, 3)]
        return build_combo(template, number, span, games, Random(seed))
    make = build_contest if template.shape in (Shape.GAME, Shape.FIELD, Shape.DEADLINES) else build_line
    return make(template, number, span, Random(seed))


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
                    if easier.floor is None or harder.floor is None:
                        continue
                    yes = cost(core.markets[easier.ticker], Outcome.YES)
                    no = cost(core.markets[harder.ticker], Outcome.NO)
                    if easier.floor < harder.floor and yes and no and yes + no < ONE_DOLLAR:
                        crossings += 1
    assert crossings > 0, "a reader that ignores the subject would not be caught"


def test_injected_mispricings_gain_what_was_asked_for_and_disappear_in_time() -> None:
    core, universe = open_world(BUSY)
    seen: Counter[str] = Counter()
    live_before: dict[tuple[str, ...], int] = {}
    for ms in run(core, universe, 30):
        live: dict[tuple[str, ...], int] = {}
        for event in core.events.values():
            if not universe.mispricings.is_live(event.ticker):
                assert gains(core, event) == {}, event.ticker
                continue
            best = max(gains(core, event).values())
            assert best >= 200
            (order_ids,) = [each.order_ids for each in universe.mispricings.live() if each.event_ticker == event.ticker]
            live[order_ids] = live_before.get(order_ids, ms)
            assert ms - live[order_ids] <= BUSY.mispricing_life_ms[1] + STEP_MS
            if order_ids not in live_before:
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
    for _ in run(core, universe, 20):
        statuses = [{core.markets[terms.ticker].status for terms in event.markets} for event in core.events.values()]
        alive = [found for found in statuses if found & {MarketStatus.INITIALIZED, MarketStatus.ACTIVE}]
        assert len(alive) == QUIET.events
    assert universe.events_settled > 40
    assert len(core.events) < 2 * QUIET.events, "old events must be forgotten"


@pytest.mark.parametrize(("rate", "seconds"), [(200, 60), (2_000, 15)])
def test_flow_keeps_to_its_rate(rate: int, seconds: int) -> None:
    lasting = replace(QUIET, deltas_per_second=rate, event_life_ms=(10**7, 10**7))
    core, universe = open_world(lasting)
    core.drain()
    changes = 0
    for _ in run(core, universe, seconds):
        changes += sum(isinstance(emission, BookChanged) for emission in core.drain())
    assert rate * seconds / 2 < changes < 2 * rate * seconds


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
    assert {event.series_ticker for event in finished} > {"KXSIMGAME", "KXSIMCUP", "KXSIMBY"}
    for event in finished:
        if event.markets[0].floor is None and event.markets[0].cap is None:
            continue  # names and dates have tests of their own
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
    listing = build(TEMPLATES[0])
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
        listing = build(template, seed, seed)
        tickers = [terms.ticker for terms in listing.terms.markets]
        assert len(set(tickers)) == len(tickers)
        if template.shape is not Shape.PARTITION:
            continue
        for value in [*range(-20, 120), *range(60_000, 64_000, 37)]:
            assert sum(settles_yes(terms, Decimal(value)) for terms in listing.terms.markets) == 1
        betweens = [terms for terms in listing.terms.markets if terms.strike_type is StrikeType.BETWEEN]
        assert betweens[0].cap is not None
        sliver = betweens[0].cap + template.step / 2
        assert not any(settles_yes(terms, sliver) for terms in listing.terms.markets)


@pytest.mark.parametrize(
    "change",
    [{"fade_share": 1.5}, {"event_life_ms": (5, 4)}, {"events": 0}, {"mispricing_every_ms": 0}, {"asks_share": -0.1}],
)
def test_a_world_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="universe"):
        UniverseConfig(**change)  # type: ignore[arg-type]


def first_trading(core: ExchangeCore, series: str) -> EventTerms:
    for event in core.events.values():
        if event.series_ticker == series and core.markets[event.markets[0].ticker].status is MarketStatus.ACTIVE:
            return event
    raise AssertionError(f"no event of {series} is trading")


def test_a_market_paused_by_hand_is_quoted_again_when_it_goes_on() -> None:
    core, universe = open_world(replace(QUIET, event_life_ms=(10**6, 10**6)))
    ticker = first_trading(core, "KXSIMTEMP").markets[2].ticker
    core.deactivate(ticker)
    for _ in run(core, universe, 5):
        assert not core.markets[ticker].book.is_crossed()
    core.activate(ticker)
    assert not list(core.markets[ticker].book.no)
    for _ in run(core, universe, 20):
        pass
    assert len(list(core.markets[ticker].book.no)) > 1


def test_a_market_closed_and_determined_by_hand_is_let_go() -> None:
    core, universe = open_world(QUIET)
    game = first_trading(core, "KXSIMGAME")
    ladder = first_trading(core, "KXSIMINDEX")
    combos = {terms.ticker for event in core.events.values() for terms in event.markets if terms.legs}
    core.close_market(ladder.markets[0].ticker)
    for terms in game.markets:
        core.determine(terms.ticker, Price(4_200), "by hand")
    for _ in run(core, universe, 60):
        pass
    for terms in (*game.markets, *ladder.markets):
        assert core.markets[terms.ticker].status is MarketStatus.FINALIZED
    assert core.markets[game.markets[0].ticker].payout == 4_200
    assert combos
    assert all(core.markets[ticker].status is MarketStatus.FINALIZED for ticker in combos)
