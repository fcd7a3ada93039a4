"""Lines: what is refused and why, how events are joined on one published value, and what a certificate says."""

from dataclasses import replace
from decimal import Decimal

import pytest

from kalshi_arb.detection.judge import Judgement, Verdict, judge
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_CONTRACT
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.relations.assembly import Reason, Refusal
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.registry import Registry
from tests.market_samples import CLOSE_MS, NO_FEES, NOW_MS, book, books, formed, listing, market
from tests.relation_samples import TEXT, index_entry, index_event, index_registry, told

NOTHING = Registry(())


def refusals(*events: EventListing, registry: Registry = NOTHING) -> list[Refusal]:
    return list(build_groups(events, registry=registry).refusals)


def reasons(*events: EventListing, registry: Registry = NOTHING) -> set[Reason]:
    return {refusal.reason for refusal in refusals(*events, registry=registry)}


def only(*events: EventListing, registry: Registry = NOTHING) -> Group:
    (group,) = build_groups(events, registry=registry).groups
    return group


def joined(*events: EventListing, registry: Registry) -> Group:
    (group,) = [group for group in build_groups(events, registry=registry).groups if len(group.event_tickers) > 1]
    return group


def judged(group: Group, snapshots: dict[str, BookSnapshot]) -> Judgement:
    return judge(
        group, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS, max_age_ms=1_000
    )


# What one event's markets must share


def test_a_missing_middle_bracket_is_named() -> None:
    found = refusals(index_event("E", "< 93", "93 .. 94", "97 .. 98", "> 98"))
    (gap,) = [one for one in found if one.reason is Reason.GAP]
    assert (gap.markets, gap.group_id) == (("E 93 .. 94", "E 97 .. 98"), "E:partition")
    assert gap.words == "a value between 94 and 97 pays no market"


def test_missing_tails_are_named() -> None:
    assert reasons(index_event("E", "93 .. 94", "95 .. 96")) == {Reason.MISSING_TAIL, Reason.SLIVER}


def test_a_value_that_is_averaged_may_fall_between_two_brackets() -> None:
    event = index_event("E", "< 52200", "52200 .. 52299.99", "52300 .. 52399.99", "> 52399.99")
    assert reasons(event) == {Reason.SLIVER, Reason.ENDS}
    # No entry of the registry says that the average is rounded, so the review changes nothing here.
    reviewed = refusals(event, registry=index_registry())
    assert {one.reason for one in reviewed} == {Reason.SLIVER, Reason.ENDS}
    group = only(event, registry=index_registry())
    assert [relation.kind for relation in group.relations] == [RelationKind.EXCLUSIVE]


def test_a_stated_lattice_and_stated_ends_make_the_set_a_partition() -> None:
    event = index_event("E", "< 52200", "52200 .. 52299.99", "52300 .. 52399.99", "> 52399.99")
    known = index_registry(lattice="0.01", ends_included=True)
    group = only(event, registry=known)
    assert reasons(event, registry=known) == set()
    assert RelationKind.PARTITION in {relation.kind for relation in group.relations}
    assert group.edge_states == ()
    assert any("rounded to 0.01" in sentence for sentence in group.certificate)
    cheap = books(*(book(ticker, no=[(80, 10)]) for ticker in group.tickers))
    assert judged(group, cheap).verdict is Verdict.PROVED
    assert judged(only(event), cheap).verdict is Verdict.CONDITIONAL


def test_selling_every_bracket_is_proved_where_buying_them_is_not() -> None:
    group = only(index_event("E", "< 93", "93 .. 94", "95 .. 96", "> 96"))
    assert judged(group, books(*(book(ticker, yes=[(40, 10)]) for ticker in group.tickers))).verdict is Verdict.PROVED
    bought = judged(group, books(*(book(ticker, no=[(80, 10)]) for ticker in group.tickers)))
    assert bought.verdict is Verdict.CONDITIONAL
    assert "between 94 and 95" in bought.text


def test_two_teams_whose_strikes_do_not_repeat_are_told_apart_by_their_texts() -> None:
    template = "If {team} wins by {{}} points, then the market resolves to Yes."
    rows = [
        told(market("> 1.5", ticker="A2"), template.format(team="Ash")),
        told(market("> 3.5", ticker="B4"), template.format(team="Oak")),
    ]
    assert reasons(listing(rows)) == {Reason.STATEMENTS}
    assert reasons(listing([replace(row, rules=None) for row in rows])) == set()


def test_two_teams_whose_strikes_repeat_are_refused_without_any_text() -> None:
    rows = [market("> 1.5", ticker="A2"), market("> 1.5", ticker="B2"), market("> 3.5", ticker="A4")]
    assert reasons(listing(rows)) == {Reason.DUPLICATE}


def test_two_teams_that_the_subject_tells_apart_are_two_ladders() -> None:
    rows = [market(f"> {points}.5", ticker=f"{team}{points}", subject=team) for team in "AB" for points in (1, 3)]
    groups, left = formed(listing(rows))
    assert {group.tickers for group in groups} == {("A1", "A3"), ("B1", "B3")}
    assert left == {}


def test_mixed_early_close_conditions_are_refused_and_absent_ones_are_absent() -> None:
    rows = [
        replace(told(market("> 1")), early_close="It closes when the event occurs."),
        replace(told(market("> 2")), early_close="It closes when a winner is declared."),
    ]
    assert reasons(listing(rows)) == {Reason.EARLY_CLOSE}
    assert reasons(listing([rows[0], replace(rows[1], early_close=None)])) == {Reason.EARLY_CLOSE}
    strikes = [replace(row, early_close=f"It closes early when the value is above {n}.") for n, row in enumerate(rows)]
    assert reasons(listing(strikes)) == set()
    bare = replace(
        listing([replace(row, early_close=None) for row in rows]), absent=frozenset({"early_close_condition"})
    )
    group = only(bare)
    assert group.absent == ("early_close_condition",)
    assert any("does not say when they close early [absent]" in sentence for sentence in group.certificate)


def test_a_moved_close_time_is_refused() -> None:
    rows = [market("> 1"), market("> 2", close_ms=CLOSE_MS + 1)]
    assert reasons(listing(rows)) == {Reason.CLOSE_TIMES}


@pytest.mark.parametrize(
    ("strike", "text", "reason"),
    [
        ("> 5", TEXT.format("below 5"), Reason.MISLABELLED),
        ("<= 5", TEXT.format("at least 5"), Reason.MISLABELLED),
    ],
)
def test_a_text_that_compares_the_other_way_shows_a_mislabelled_type(strike: str, text: str, reason: Reason) -> None:
    odd = ListedMarket(market(strike), MarketStatus.ACTIVE, text)
    found = refusals(listing([odd, told(market("> 1")), told(market("> 2"))]))
    assert [(one.reason, one.markets) for one in found if not one.group_id] == [(reason, (strike,))]


def test_a_threshold_with_two_strikes_is_mislabelled() -> None:
    odd = replace(market("> 1"), cap=Decimal(5))
    assert reasons(listing([odd, market("> 2"), market("> 3")])) == {Reason.MISLABELLED}


def test_a_strike_type_that_nobody_knows_is_refused_as_such() -> None:
    odd = replace(told(market("> 1")), market=replace(market("> 1"), strike_type=StrikeType.OTHER))
    rows = [replace(odd, strike_text="greatest"), told(market("> 2")), told(market("> 3"))]
    assert reasons(listing(rows)) == {Reason.UNKNOWN_STRIKE_TYPE}
    assert reasons(listing([replace(odd, strike_text="custom"), *rows[1:]])) == {Reason.NO_STRUCTURE}


def test_a_text_that_includes_the_strike_of_a_strict_type_leaves_the_strike_open() -> None:
    rows = [
        ListedMarket(market("> 5"), MarketStatus.ACTIVE, TEXT.format("at least 5")),
        told(market("< 5")),
    ]
    group = only(listing(rows))
    possible = {state.yes_payouts for state in group.states if state.basis is Basis.POSSIBLE}
    assert len(group.states) == 3
    assert possible == {(0, 0)}
    assert group.relations == () or all(relation.kind is RelationKind.EXCLUSIVE for relation in group.relations)


def test_thresholds_of_both_directions_are_one_line_and_their_chain_is_searched() -> None:
    rows = [market("> 5", fees=NO_FEES), market("< 8", fees=NO_FEES), market("< 5", fees=NO_FEES)]
    group = only(listing(rows))
    assert group.family is Family.LINE
    kinds = {(relation.kind, relation.tickers) for relation in group.relations}
    assert kinds == {
        (RelationKind.SUBSET, ("< 5", "< 8")),
        (RelationKind.DISJOINT, ("< 5", "> 5")),
    }
    # Every value is above 5 or below 8: both YES together pay a dollar at least.
    found = judged(group, books(book("> 5", no=[(60, 10)]), book("< 8", no=[(55, 10)]), book("< 5")))
    assert found.verdict is Verdict.PROVED
    assert [(leg.ticker, leg.outcome) for leg in found.legs] == [("< 8", Outcome.YES), ("> 5", Outcome.YES)]


# Events joined on one published value


def test_thresholds_and_brackets_of_one_value_are_joined_across_series() -> None:
    events = [
        index_event("B", "< 93", "93 .. 94", "95 .. 96", "> 96", series="BRACKETS"),
        index_event("T", "> 92.99", "> 94.99", series="TAILS"),
    ]
    known = index_registry("BRACKETS", "TAILS")
    whole = joined(*events, registry=known)
    assert whole.family is Family.LINE
    assert whole.group_id.startswith("joined:line:")
    assert set(whole.event_tickers) == {"B", "T"}
    assert len(build_groups(events, registry=known).groups) == 3
    said = {(one.kind, one.tickers) for one in whole.relations}
    assert (RelationKind.SUBSET, ("B 93 .. 94", "T > 92.99")) in said
    assert (RelationKind.SUBSET, ("T > 94.99", "T > 92.99")) in said
    assert any("settle on the same value" in sentence for sentence in whole.certificate)
    # Without the registry nothing joins them, whatever their texts and titles say.
    assert len(build_groups(events).groups) == 2


def test_one_strike_in_two_series_is_equality() -> None:
    events = [index_event("A", "> 1", "> 2", series="A"), index_event("B", "> 2", "> 3", series="B")]
    whole = joined(*events, registry=index_registry("A", "B"))
    assert (RelationKind.EQUAL, ("B > 2", "A > 2")) in {(one.kind, one.tickers) for one in whole.relations}
    dear, cheap = book("A > 2", yes=[(60, 10)]), book("B > 2", no=[(50, 10)])
    for snapshots in (books(dear, cheap), books(replace(cheap, ticker="A > 2"), replace(dear, ticker="B > 2"))):
        found = judged(whole, snapshots)
        assert found.verdict is Verdict.PROVED
        assert len(found.legs) == 2


def test_complements_of_two_series_are_found() -> None:
    events = [index_event("A", ">= 1", ">= 2", series="A"), index_event("B", "< 2", "< 3", series="B")]
    whole = joined(*events, registry=index_registry("A", "B"))
    assert (RelationKind.COMPLEMENT, ("B < 2", "A >= 2")) in {(one.kind, one.tickers) for one in whole.relations}


def test_a_sibling_series_with_another_source_is_not_joined() -> None:
    other = TEXT.replace("Ash Index", "Oak Index")
    events = [
        index_event("A", "> 1", "> 2", series="A"),
        index_event("B", "> 1", "> 2", series="B", template=other),
    ]
    kinds = tuple(StrikeType)[:1]
    known = Registry(
        [index_entry("A", kind) for kind in kinds]
        + [index_entry("B", kind, template=other, source="Oak Index") for kind in kinds]
    )
    built = build_groups(events, registry=known)
    assert [group.event_tickers for group in built.groups] == [("A",), ("B",)]
    apart = [one for one in built.refusals if one.reason is Reason.SOURCES]
    assert len(apart) == 2
    assert "not joined with B" in apart[0].words
    # They stand in the groups of their own events, so they are not counted as left out.
    assert built.counts == {}


def test_events_that_name_different_sources_are_not_joined() -> None:
    events = [
        index_event("A", "> 1", "> 2", series="A", sources=("Ash",)),
        index_event("B", "> 1", "> 2", series="B", sources=("Oak",)),
    ]
    found = refusals(*events, registry=index_registry("A", "B"))
    assert [one.reason for one in found] == [Reason.SOURCES]


def test_another_instant_is_another_value() -> None:
    events = [
        index_event("A", "> 1", "> 2", series="A"),
        index_event("B", "> 1", "> 2", series="B", close_ms=CLOSE_MS + 1),
    ]
    assert all(
        len(group.event_tickers) == 1 for group in build_groups(events, registry=index_registry("A", "B")).groups
    )


def test_a_text_that_names_another_time_than_the_closing_time_is_not_joined() -> None:
    timed = "If the Ash Index is {} at 9 PM EDT on Jul 9, 2026, then the market resolves to Yes."
    stated = 1_783_645_200_000
    known = index_registry("A", "B", template=timed)

    def count(close_ms: int) -> int:
        events = [
            index_event(name, "> 1", "> 2", series=name, template=timed, close_ms=close_ms) for name in ("A", "B")
        ]
        return sum(len(group.event_tickers) > 1 for group in build_groups(events, registry=known).groups)

    assert count(stated) == 1
    assert count(stated + 60_000) == 0
    moved = index_event("A", "> 1", "> 2", series="A", template=timed, close_ms=stated + 60_000)
    (refusal,) = refusals(moved, registry=known)
    assert (refusal.reason, refusal.group_id) == (Reason.INSTANT, "A:ladder")


def test_a_reviewed_wording_of_another_comparison_shows_a_mislabelled_type() -> None:
    event = index_event("E", "> 1", "> 2", "< 9")
    known = Registry([index_entry("SERIES", StrikeType.GREATER)])
    # "below 9" under a type that claims to be greater: the entry for "above" does not know the wording, the text does.
    wrong = replace(event.markets[2], market=replace(market("> 9", ticker="odd"), rules_fingerprint="x"))
    assert reasons(replace(event, markets=(*event.markets[:2], wrong)), registry=known) == {Reason.MISLABELLED}
