"""What kinds of events the exchange lists, what they look like to a reader, and how they end."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from infra.exchange.catalogue import LISTING_ORDER, SHARDS, TEMPLATES, Listing, Shape, Span, Template
from infra.exchange.contests import build_combo, build_contest
from infra.exchange.core import ExchangeCore
from infra.exchange.fair import Occurrence, Product, Race, Underlying
from infra.exchange.ladders import build_line
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.mispricing import kinds_for
from infra.exchange.terms import EventTerms, GridName, MarketTerms
from infra.exchange.testkit import START_MS
from infra.exchange.universe import Universe, UniverseConfig
from infra.exchange.wire import event_json, market_json
from kalshi_arb.domain.fees import FeeType, Precision
from kalshi_arb.domain.market import MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_CONTRACT, ONE_DOLLAR, Cash, Price

LIFE_MS = 20_000
SPAN = Span(START_MS, START_MS, START_MS + LIFE_MS, 1)
BY_SHAPE = {template.shape: template for template in TEMPLATES}


def build(template: Template, number: int, random: Random) -> Listing:
    names = (Shape.GAME, Shape.FIELD, Shape.DEADLINES)
    return (build_contest if template.shape in names else build_line)(template, number, SPAN, random)


def combo(random: Random) -> tuple[Listing, list[Listing]]:
    games = [build(BY_SHAPE[Shape.GAME], number, random) for number in (1, 2, 3)]
    return build_combo(BY_SHAPE[Shape.COMBO], 1, SPAN, games, random), games


def conclude(listing: Listing, random: Random) -> dict[str, Price]:
    for value in listing.hidden.values():
        value.conclude(random)
    return {terms.ticker: listing.hidden[terms.ticker].ruling(terms).payout for terms in listing.terms.markets}


def test_every_template_is_listed_and_lines_make_up_most() -> None:
    assert set(LISTING_ORDER) == set(TEMPLATES)
    lines = [template for template in LISTING_ORDER if kinds_for(template.shape)]
    assert len(lines) > 2 * len(LISTING_ORDER) / 3
    assert {template.series.shard for template in TEMPLATES} == set(SHARDS)


def test_all_kinds_of_fees_and_grids_are_there() -> None:
    fees = {(template.series.fees.fee_type, template.series.fees.multiplier) for template in TEMPLATES}
    assert fees >= {
        (FeeType.QUADRATIC, 10_000),
        (FeeType.QUADRATIC, 5_000),
        (FeeType.QUADRATIC, 0),
        (FeeType.WITH_MAKER, 10_000),
        (FeeType.WITH_MAKER, 5_000),
        (FeeType.WITH_COMBO_MAKER, 10_000),
    }
    assert any(template.override for template in TEMPLATES)
    assert {template.grid for template in TEMPLATES} >= {
        GridName.LINEAR_CENT,
        GridName.DECI_CENT,
        GridName.TAPERED_DECI_CENT,
        GridName.CENTER_WHOLE_EDGE_HALF_CENT,
        GridName.CENTER_HALF_EDGE_DECI_CENT,
        GridName.CENTER_DECI_EDGE_CENTI_CENT,
    }


def test_a_waived_event_charges_nothing_for_the_first_half_of_its_life() -> None:
    template = next(template for template in TEMPLATES if template.waived)
    waived, charged = build(template, 3, Random(1)), build(template, 4, Random(1))
    assert {terms.fee_waiver_until_ms for terms in waived.terms.markets} == {START_MS + LIFE_MS // 2}
    assert {terms.fee_waiver_until_ms for terms in charged.terms.markets} == {None}


@pytest.mark.parametrize("seed", range(10))
def test_deadlines_are_nested_and_settle_so(seed: int) -> None:
    random = Random(seed)
    listing = build(BY_SHAPE[Shape.DEADLINES], 7, random)
    markets = listing.terms.markets
    assert not listing.terms.mutually_exclusive
    assert [terms.close_ms for terms in markets] == sorted({terms.close_ms for terms in markets})
    for terms in markets:
        assert (terms.strike_type, terms.strike_word, terms.custom_strike) == (StrikeType.OTHER, "custom", {})
        assert terms.early_close
        assert terms.rules.count("before") == 1
    assert len({terms.rules for terms in markets}) == len(markets)
    fair = [listing.hidden[terms.ticker].probability(terms) for terms in markets]
    assert fair == sorted(fair)
    paid = list(conclude(listing, random).values())
    assert paid == sorted(paid)
    assert set(paid) <= {Price(0), ONE_DOLLAR}


def test_something_that_happened_decides_every_later_deadline_and_no_earlier_one() -> None:
    listing = build(BY_SHAPE[Shape.DEADLINES], 7, Random(1))
    value = listing.hidden[listing.terms.markets[0].ticker]
    assert isinstance(value, Occurrence)
    value.happened_ms = START_MS + LIFE_MS // 2
    assert [value.ruling(terms).payout for terms in listing.terms.markets] == [0, *[ONE_DOLLAR] * 3]


def test_games_pay_one_side_or_split_or_settle_at_a_fair_price_each() -> None:
    random = Random(3)
    endings: Counter[str] = Counter()
    for number in range(400):
        template = TEMPLATES[5 if number % 2 else 9]
        listing = build(template, number, random)
        assert listing.terms.mutually_exclusive
        assert {terms.strike_word for terms in listing.terms.markets} == {"structured"}
        assert len({str(terms.custom_strike) for terms in listing.terms.markets}) == len(listing.terms.markets)
        assert all("fair market price" in terms.rules for terms in listing.terms.markets)
        paid = list(conclude(listing, random).values())
        if sorted(paid) == [0] * (len(paid) - 1) + [ONE_DOLLAR]:
            endings[f"one of {len(paid)}"] += 1
        elif set(paid) == {ONE_DOLLAR // 2}:
            endings["split"] += 1
            assert "resolves to $0.50" in listing.terms.markets[0].rules
        else:
            endings["fair"] += 1
            assert all(0 <= payout <= ONE_DOLLAR and payout % 100 == 0 for payout in paid)
    assert endings["one of 2"] > 150
    assert endings["one of 3"] > 150
    assert endings["split"] > 0
    assert endings["fair"] > 0


def test_a_field_of_candidates_need_not_hold_the_winner() -> None:
    random = Random(4)
    winners: Counter[int] = Counter()
    for number in range(200):
        listing = build(BY_SHAPE[Shape.FIELD], number, random)
        fair = sum(listing.hidden[terms.ticker].probability(terms) for terms in listing.terms.markets)
        assert 0 < fair < 1
        assert listing.terms.mutually_exclusive
        winners[list(conclude(listing, random).values()).count(ONE_DOLLAR)] += 1
    assert set(winners) == {0, 1}
    assert min(winners.values()) > 10


@pytest.mark.parametrize("seed", range(10))
def test_a_combo_pays_the_product_of_what_its_legs_paid(seed: int) -> None:
    random = Random(seed)
    listing, games = combo(random)
    (terms,) = listing.terms.markets
    assert listing.terms.is_combo
    assert 2 <= len(terms.legs) <= 3
    assert len({leg.event_ticker for leg in terms.legs}) == len(terms.legs)
    value = listing.hidden[terms.ticker]
    assert isinstance(value, Product)
    worth = value.probability(terms)
    for leg in terms.legs:
        own = value.values[leg.ticker]
        assert worth <= (own if leg.outcome is Outcome.YES else 1 - own)
    paid = {ticker: payout for game in games for ticker, payout in conclude(game, random).items()}
    expected = Decimal(1)
    for leg in terms.legs:
        value.rulings[leg.ticker] = paid[leg.ticker]
        own_paid = paid[leg.ticker] if leg.outcome is Outcome.YES else ONE_DOLLAR - paid[leg.ticker]
        expected *= Decimal(own_paid) / ONE_DOLLAR
    assert value.ruling(terms).payout == int(expected * ONE_DOLLAR)


def test_now_and_then_a_ladder_has_one_market_of_another_type_that_still_settles_by_its_strike() -> None:
    random = Random(5)
    template = TEMPLATES[1]
    words: Counter[str | None] = Counter()
    for number in range(600):
        odd = [
            terms for terms in build(template, number, random).terms.markets if terms.strike_type is StrikeType.OTHER
        ]
        words.update(terms.strike_word for terms in odd)
        assert len(odd) <= 1
        assert all(terms.floor is not None for terms in odd)
    assert 5 <= sum(words.values()) <= 60
    assert len(words) > 2
    value = Underlying(10.0, 1.0, Decimal(1), SPAN.close_ms, SPAN.now_ms)
    greater = build(template, 1, random).terms.markets[0]
    odd_one = replace(greater, strike_type=StrikeType.OTHER, strike_word="custom")
    assert value.probability(odd_one) == value.probability(greater)
    assert value.ruling(odd_one) == value.ruling(greater)


@pytest.fixture(scope="module")
def lived() -> ExchangeCore:
    """An exchange on which events of every kind came and went."""
    random = Random(9)
    core = ExchangeCore(START_MS, seeded_ids(Random(1)))
    core.open_account(MEMBER, dict.fromkeys(SHARDS, Cash(10_000 * CASH_PER_DOLLAR)), Precision.DIRECT)
    world = Universe(core, UniverseConfig(event_life_ms=(3_000, 8_000), mispricing_every_ms=500), random)
    world.start()
    for ms in range(START_MS, START_MS + 40_000, 50):
        world.step(ms)
        core.drain()
    return core


def finished(core: ExchangeCore) -> Iterator[EventTerms]:
    for event in core.events.values():
        if all(core.markets[terms.ticker].status is MarketStatus.FINALIZED for terms in event.markets):
            yield event


def test_events_of_every_kind_come_to_their_end(lived: ExchangeCore) -> None:
    ended = Counter(event.series_ticker for event in finished(lived))
    assert set(ended) == {template.series.ticker for template in TEMPLATES}
    names = {lived.markets[terms.ticker].payout for event in finished(lived) for terms in event.markets}
    assert {Price(0), ONE_DOLLAR} <= names


def test_a_combo_settles_at_the_product_of_its_legs_on_the_exchange(lived: ExchangeCore) -> None:
    seen = 0
    for event in finished(lived):
        for terms in event.markets:
            paid = [lived.markets[leg.ticker].payout for leg in terms.legs]
            if not terms.legs or None in paid:
                continue
            worth = Decimal(1)
            for leg, payout in zip(terms.legs, paid, strict=True):
                assert payout is not None
                worth *= Decimal(payout if leg.outcome is Outcome.YES else ONE_DOLLAR - payout) / ONE_DOLLAR
            assert lived.markets[terms.ticker].payout == int(worth * ONE_DOLLAR)
            seen += 1
    assert seen > 3


def test_an_approval_closes_its_later_deadlines_early(lived: ExchangeCore) -> None:
    early = 0
    for event in finished(lived):
        if not event.series_ticker.endswith("BY"):
            continue
        states = [lived.markets[terms.ticker] for terms in event.markets]
        paid = [state.payout or 0 for state in states]
        assert paid == sorted(paid)
        early += sum(
            state.payout == ONE_DOLLAR and (state.determined_ms or 0) < state.terms.close_ms for state in states
        )
    assert early > 0


def test_books_carry_fractions_and_prices_between_cents(lived: ExchangeCore) -> None:
    levels = [level for market in lived.markets.values() for outcome in Outcome for level in market.book.side(outcome)]
    assert 0.02 < sum(bool(level.size % ONE_CONTRACT) for level in levels) / len(levels) < 0.5
    assert any(level.price % 100 for level in levels)
    assert any(level.price % 100 == 50 for level in levels)


def wire_of(core: ExchangeCore, terms: MarketTerms) -> dict[str, object]:
    return market_json(core.markets[terms.ticker])


def test_the_wire_shows_what_the_rules_of_each_kind_need(lived: ExchangeCore) -> None:
    seen: set[str] = set()
    for event in lived.events.values():
        terms = event.markets[0]
        shown = wire_of(lived, terms)
        if event.is_combo:
            legs = shown["mve_selected_legs"]
            assert isinstance(legs, list)
            assert {leg["side"] for leg in legs} <= {"yes", "no"}
            assert shown["price_level_structure"] == "center_deci_edge_centi_cent"
            seen.add("combo")
        elif terms.early_close:
            assert shown["strike_type"] == "custom"
            assert shown["custom_strike"] == {}
            assert shown["can_close_early"] is True
            seen.add("deadline")
        elif event.series_ticker == "KXSIMGAME":
            assert shown["strike_type"] == "structured"
            assert event_json(lived, event, nested=False)["mutually_exclusive"] is True
            seen.add("game")
    assert seen == {"combo", "deadline", "game"}


def test_a_race_that_is_over_keeps_its_winner() -> None:
    random = Random(2)
    listing = build(BY_SHAPE[Shape.GAME], 1, random)
    first = conclude(listing, random)
    assert conclude(listing, random) == first
    assert all(isinstance(value, Race) for value in listing.hidden.values())
