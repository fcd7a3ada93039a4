"""What a group rests on: every change of it changes the fingerprint and is told in words, and nothing else does."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from kalshi_arb import schemas
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.group_record import GroupRecord
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import ComboLeg, Market, Outcome, StrikeType
from kalshi_arb.domain.state_space import Group
from kalshi_arb.relations.catalogue import Catalogue, build_groups
from kalshi_arb.relations.fingerprints import difference
from kalshi_arb.relations.registry import EdgeRule, Entry, Registry
from kalshi_arb.relations.wordings import wording
from tests.combo_samples import combo_listing, combo_market, leg_market
from tests.market_samples import CLOSE_MS, FINE_GRID, listing
from tests.relation_samples import index_event, index_registry, text_of

NOTHING = Registry(())
LADDER = index_event("E", "> 1", "> 2", "> 3", sources=("Ash",))


def group(event: EventListing, registry: Registry = NOTHING) -> Group:
    (found,) = build_groups([event], registry=registry).groups
    return found


def with_market(change: Callable[[Market], Market]) -> EventListing:
    first, *others = LADDER.markets
    return replace(LADDER, markets=(replace(first, market=change(first.market)), *others))


def each(change: Callable[[ListedMarket], ListedMarket]) -> EventListing:
    return replace(LADDER, markets=tuple(map(change, LADDER.markets)))


MARKET_CHANGES: list[tuple[Callable[[Market], Market], str]] = [
    (lambda one: replace(one, floor=Decimal("1.5")), "Floor strike of E > 1 changed from 1 to 1.5."),
    (
        lambda one: replace(one, strike_type=StrikeType.GREATER_OR_EQUAL),
        "Strike type of E > 1 changed from greater to greater_or_equal.",
    ),
    (lambda one: replace(one, rules_fingerprint="f" * 64), "Rules text of E > 1 changed from the one with hash rules"),
    (
        lambda one: replace(one, grid=FINE_GRID),
        "Price grid of E > 1 changed from 0.0000-1.0000/0.0100 to 0.0000-1.0000",
    ),
    (
        lambda one: replace(one, fees=FeeSchedule(FeeType.QUADRATIC, 5_000)),
        "Fees of E > 1 changed from quadratic x1 to quadratic x0.5.",
    ),
    (lambda one: replace(one, series_ticker="OTHER"), "Series of E > 1 changed from SERIES to OTHER."),
]


@pytest.mark.parametrize(("change", "sentence"), MARKET_CHANGES)
def test_a_changed_market_is_told_with_what_it_was(change: Callable[[Market], Market], sentence: str) -> None:
    old, new = group(LADDER), group(with_market(change))
    assert old.fingerprint != new.fingerprint
    (told,) = difference(old, new)
    assert told.startswith(sentence)


def test_what_nothing_rests_on_changes_nothing() -> None:
    new = group(with_market(lambda one: replace(one, title="another", shard=3, floor=Decimal("1.0"))))
    assert difference(group(LADDER), new) == ()


def test_a_moved_close_of_every_market_is_told() -> None:
    later = each(lambda one: replace(one, market=replace(one.market, close_ms=CLOSE_MS + 3_600_000)))
    told = difference(group(LADDER), group(later))
    assert len(told) == 3
    assert told[0].startswith("Closing time of E > 1 changed from 2025-06-15 16:06:40 UTC to 2025-06-15 17:06:40 UTC")


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (replace(LADDER, sources=("Oak",)), "Settlement sources of E changed from Ash to Oak."),
        (replace(LADDER, mutually_exclusive=None), "Mutually_exclusive of E, false, is gone."),
        (
            each(lambda one: replace(one, early_close="It closes early if it happens.")),
            "Early close condition is new: It closes early if it happens..",
        ),
        (replace(LADDER, markets=LADDER.markets[:2]), "E > 3 left the group."),
        (index_event("E", "> 1", "> 2", "> 3", "> 4", sources=("Ash",)), "E > 4 joined the group."),
    ],
)
def test_a_changed_listing_is_told(event: EventListing, sentence: str) -> None:
    old, new = group(LADDER), group(event)
    assert old.fingerprint != new.fingerprint
    assert sentence in difference(old, new)


def test_a_new_registry_entry_is_told() -> None:
    texts = {wording(text_of(one.market)) for one in LADDER.markets}
    clause = Registry([Entry("SERIES", text, "Void pays a price.", clauses=(EdgeRule.FAIR_PRICE,)) for text in texts])
    told = difference(group(LADDER), group(LADDER, clause))
    assert len(told) == 1
    assert told[0].startswith("Registry entry SERIES/")
    again = Registry([Entry("SERIES", text, "Read anew.", clauses=(EdgeRule.FAIR_PRICE,), version=2) for text in texts])
    assert len(difference(group(LADDER, clause), group(LADDER, again))) == 2


def test_a_line_reading_changes_the_fingerprint_even_where_no_state_does() -> None:
    known = index_registry(lattice="0.5")
    assert group(LADDER, known).fingerprint != group(LADDER).fingerprint
    assert group(LADDER, known).fingerprint != group(LADDER, index_registry(lattice="0.25")).fingerprint


def test_changed_legs_of_a_combo_are_told() -> None:
    legs = [listing([leg_market(ticker)], event=f"EV-{ticker}") for ticker in "AB"]

    def built(*sides: str) -> Group:
        (found,) = build_groups([combo_listing(combo_market(*sides)), *legs]).groups
        return found

    old, new = built("yes A", "yes B"), built("yes A", "no B")
    assert difference(old, new) == (
        "Legs of COMBO changed from yes of A, yes of B to yes of A, no of B.",
    )  # fmt: skip
    assert old.markets[0].legs[1] == ComboLeg("EV-B", "B", Outcome.YES)


def test_a_group_that_is_gone_is_told() -> None:
    assert difference(group(LADDER), None) == (
        "E:ladder is not a group any more: its markets do not form it as they are listed now.",
    )


def test_states_alone_may_tell() -> None:
    old = group(LADDER)
    fewer = replace(old, states=old.states[:-1], fingerprint="another")
    assert difference(fewer, old) == ("It can settle in one more way: above 3.",)
    assert difference(old, replace(old, fingerprint="another")) == (
        "The rules that turn its markets into states changed with the program.",
    )


def test_groups_of_every_shape_survive_storage() -> None:
    events = [
        index_event("B", "< 93", "93 .. 94", "> 94", series="B"),
        index_event("T", "> 92", "< 99", series="T"),
    ]
    groups = build_groups(events, registry=index_registry("B", "T")).groups
    assert len(groups) == 3
    for found in groups:
        record = GroupRecord(found, 1, 1, 0, 0)
        assert schemas.decode(schemas.encode(record), GroupRecord) == record
        assert found.certificate
        assert all(sentence.endswith("].") for sentence in found.certificate)


def test_a_change_names_what_it_touched_and_nothing_else() -> None:
    catalogue = Catalogue(registry=index_registry("B", "T", "U"))
    lone = index_event("U", "> 1", "> 2", series="U", close_ms=CLOSE_MS + 1)
    catalogue.load(
        [index_event("B", "> 1", "> 2", series="B"), index_event("T", "> 1", "> 2", series="T"), lone], now_ms=0
    )
    before = {found.group_id: found for found in catalogue.built().groups}
    change = catalogue.replace(index_event("B", "> 1", "> 5", series="B"), now_ms=0)
    touched = {key for key in before if key.startswith(("B:", "joined:"))}
    assert {found.group_id for found in change.changed} == touched
    assert change.gone == ()
    gone = catalogue.remove("B", now_ms=0)
    assert set(gone.gone) == touched
    assert catalogue.remove("B", now_ms=0).gone == ()
    assert catalogue.refusals_near(before["T:ladder"]) == ()
