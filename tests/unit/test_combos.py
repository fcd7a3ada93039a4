"""Combos: what they imply about their legs, how they may settle, and which are left out."""

from dataclasses import replace
from itertools import product

import pytest

from kalshi_arb import schemas
from kalshi_arb.detection.judge import Judgement, Verdict, judge
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.listing import ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Price
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.fakes import FakeExchange, ManualClock, MemoryGroupStore, MemoryNotifier, MemoryStatusStore
from kalshi_arb.relations.combos import MOST_LEGS
from kalshi_arb.relations.discover import Discovery
from kalshi_arb.relations.fingerprints import fingerprint
from tests.combo_samples import combo_group, combo_listing, combo_market, formed_combos, leg_market, listed_legs
from tests.market_samples import CLOSE_MS, NOW_MS, book, books, listing


def judged(group: Group, snapshots: dict[str, BookSnapshot]) -> Judgement:
    return judge(
        group, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS, max_age_ms=1_000
    )


def test_a_combo_pays_exactly_when_every_selected_side_comes_true() -> None:
    group = combo_group("yes A", "no B")
    assert (group.family, group.tickers, group.event_ticker) == (Family.COMBO, ("COMBO", "A", "B"), "MULTI")
    certain = {state.yes_payouts for state in group.states if state.basis is Basis.CERTAIN}
    assert certain == {
        (ONE_DOLLAR * (a and not b), ONE_DOLLAR * a, ONE_DOLLAR * b) for a, b in product((False, True), repeat=2)
    }
    assert len({state.name for state in group.states}) == len(group.states)
    assert [(relation.kind, relation.tickers) for relation in group.relations] == [
        (RelationKind.SUBSET, ("COMBO", "A")),
        (RelationKind.DISJOINT, ("COMBO", "B")),
    ]


def test_legs_that_settle_at_a_fraction_multiply() -> None:
    (edge,) = [state for state in combo_group("yes A", "no B", "yes C").states if state.basis is Basis.POSSIBLE]
    assert edge.yes_payouts == (1_250, 5_000, 5_000, 5_000)


def test_a_combo_dearer_than_a_leg_is_sold_against_it() -> None:
    found = judged(
        combo_group("yes A", "no B"),
        books(book("COMBO", yes=[(60, 10)]), book("A", no=[(50, 10)]), book("B", yes=[(10, 10)])),
    )
    assert found.verdict is Verdict.PROVED
    assert [(leg.ticker, leg.outcome, leg.count) for leg in found.legs] == [
        ("COMBO", Outcome.NO, 1_000),
        ("A", Outcome.YES, 1_000),
    ]


def test_a_leg_selected_as_no_is_bought_as_no() -> None:
    found = judged(
        combo_group("yes A", "no B"),
        books(book("COMBO", yes=[(60, 10)]), book("A", no=[(20, 10)]), book("B", yes=[(50, 10)])),
    )
    assert found.verdict is Verdict.PROVED
    assert [(leg.ticker, leg.outcome) for leg in found.legs] == [("COMBO", Outcome.NO), ("B", Outcome.NO)]


def test_the_better_of_two_legs_is_taken() -> None:
    found = judged(
        combo_group("yes A", "yes B"),
        books(book("COMBO", yes=[(60, 10)]), book("A", no=[(45, 10)]), book("B", no=[(55, 10)])),
    )
    assert [leg.ticker for leg in found.legs] == ["COMBO", "B"]


def test_a_combo_cheaper_than_its_legs_together_is_bought_with_their_opposites() -> None:
    # 0.60 + 0.60 - 1 = 0.20 is the least that both together are worth.
    snapshots = books(book("COMBO", no=[(95, 10)]), book("A", yes=[(60, 10)]), book("B", yes=[(60, 10)]))
    found = judged(combo_group("yes A", "yes B"), snapshots)
    assert found.verdict is Verdict.PROVED
    assert [(leg.ticker, leg.outcome) for leg in found.legs] == [
        ("COMBO", Outcome.YES),
        ("A", Outcome.NO),
        ("B", Outcome.NO),
    ]


def test_a_leg_that_may_settle_at_a_price_makes_the_bundle_conditional() -> None:
    snapshots = books(book("COMBO", yes=[(60, 10)]), book("A", no=[(50, 10)]), book("B", yes=[(10, 10)]))
    found = judged(combo_group("yes A", "no B", rules="Not played: a fair price."), snapshots)
    assert found.verdict is Verdict.CONDITIONAL
    assert "searched for words only" in found.text


def test_fairly_priced_combos_are_near_misses() -> None:
    quiet = books(
        book("COMBO", yes=[(20, 10)], no=[(70, 10)]), book("A", yes=[(50, 9)], no=[(45, 9)]), book("B", no=[(50, 9)])
    )
    found = judged(combo_group("yes A", "yes B"), quiet)
    assert found.verdict is Verdict.NO_BUNDLE
    # NO of the combo at 0.80 and YES of B at 0.50, plus fees.
    assert found.edge == -30 * 10**8 - 112_000_000 - 175_000_000


def reasons(combo: Market, legs: dict[str, ListedMarket], now_ms: int = 0) -> dict[str, int]:
    groups, drops = formed_combos(combo_listing(combo), legs, now_ms=now_ms)
    assert groups == []
    return drops


def test_what_is_left_out_and_why() -> None:
    pair = combo_market("yes A", "yes B")
    legs = listed_legs("A", "B")
    assert reasons(combo_market("yes A"), legs) == {"combo_legs": 1}
    assert reasons(combo_market("yes A", "no A"), legs) == {"combo_legs": 1}
    many = [f"L{number}" for number in range(MOST_LEGS + 1)]
    assert reasons(combo_market(*(f"yes {leg}" for leg in many)), listed_legs(*many)) == {"combo_legs": 1}
    assert reasons(pair, listed_legs("A")) == {"combo_leg_not_listed": 1}
    elsewhere = {**legs, "B": replace(legs["B"], market=replace(leg_market("B"), event_ticker="ELSEWHERE"))}
    assert reasons(pair, elsewhere) == {"combo_leg_not_listed": 1}
    nested = {**legs, "B": replace(legs["B"], market=replace(leg_market("B"), legs=pair.legs))}
    assert reasons(pair, nested) == {"combo_legs": 1}
    paused = {**legs, **listed_legs("B", status=MarketStatus.INACTIVE)}
    assert reasons(pair, paused) == {"combo_leg_not_tradable": 1}
    assert reasons(pair, listed_legs("A", "B", fees=FeeSchedule(FeeType.FLAT))) == {"combo_leg_not_tradable": 1}
    assert reasons(pair, legs, now_ms=CLOSE_MS) == {"already_closed": 1}
    assert reasons(replace(pair, fees=FeeSchedule(FeeType.FLAT)), legs) == {"fees_not_computable": 1}


def test_the_largest_combo_is_built() -> None:
    legs = [f"L{number}" for number in range(MOST_LEGS)]
    assert len(combo_group(*(f"yes {leg}" for leg in legs)).states) == 2**MOST_LEGS + 1


def test_combos_of_one_event_are_groups_of_their_own() -> None:
    event = combo_listing(combo_market("yes A", "yes B", ticker="C1"), combo_market("yes A", "no B", ticker="C2"))
    groups, drops = formed_combos(event, listed_legs("A", "B"))
    assert drops == {}
    assert len({group.group_id for group in groups}) == 2
    assert len({group.fingerprint for group in groups}) == 2


@pytest.mark.parametrize("listed", [True, False])
def test_discovery_finds_the_legs_in_the_events_they_belong_to(listed: bool) -> None:
    clock = ManualClock(NOW_MS)
    exchange = FakeExchange(clock)
    exchange.combos = [combo_listing(combo_market("yes A", "no B"))]
    for ticker in ("A", "B") if listed else ("A",):
        exchange.list_event(listing([leg_market(ticker)], event=f"EV-{ticker}"))
    groups, status = MemoryGroupStore(), MemoryStatusStore()
    report = Discovery(
        market_data=exchange, groups=groups, status=status, notifier=MemoryNotifier(), clock=clock, mode="simulated"
    ).run()
    assert report.groups == ({"combo": 1} if listed else {})
    assert report.dropped.get("combo_leg_not_listed", 0) == (0 if listed else 1)
    seen = status.get("discovery")
    assert seen is not None
    assert seen["combos"] == 1


def test_the_fingerprint_holds_the_legs_and_the_range_of_a_state() -> None:
    states = (State("s", (Price(0),), Basis.POSSIBLE),)
    marks = {
        fingerprint(Family.COMBO, [combo_market("yes A")], states),
        fingerprint(Family.COMBO, [combo_market("no A")], states),
        fingerprint(Family.COMBO, [combo_market("yes B")], states),
        fingerprint(Family.COMBO, [combo_market("yes A")], (replace(states[0], highest=(ONE_DOLLAR,)),)),
    }
    assert len(marks) == 4


@pytest.mark.parametrize("highest", [(ONE_DOLLAR,), (Price(0), Price(0), Price(0))])
def test_a_range_is_as_wide_as_its_group_and_the_right_way_round(highest: tuple[Price, ...]) -> None:
    group = combo_group("yes A", "yes B")
    one_each = State("s", (ONE_DOLLAR,) * 3, Basis.CERTAIN, highest=highest)
    with pytest.raises(ProofError, match=r"wrong width|above its most"):
        replace(group, states=(one_each,))


def test_groups_with_ranges_and_combos_survive_storage() -> None:
    group = combo_group("yes A", "no B", rules="a fair price")
    assert any(state.highest for state in group.states)
    record = GroupRecord(group, 1, 1, 0, 0)
    assert schemas.decode(schemas.encode(record), GroupRecord) == record
