"""The registry against the recorded rules texts: every entry is met by a text, and every reading by its fields."""

from collections.abc import Iterator
from functools import cache

from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Family
from kalshi_arb.relations.assembly import Reason
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.reviewed import REVIEWED
from tests.recordings import document, in_series, listings, moments


def recorded_texts() -> Iterator[tuple[str, str]]:
    """The rules text of every recorded market, and its series."""
    found = [one for moment in moments("rest/events_sports_nested") for one in moment.listings]
    replies = (document("rest/combo_priced_markets.json.gz")["legs"], document("rest/markets_settled.json.gz"))
    found += [with_series(one) for reply in replies for one in listings(reply)]
    for listing in (*found, *brackets()):
        yield from ((listing.series_ticker, one.rules or "") for one in listing.markets)


def with_series(listing: EventListing) -> EventListing:
    """These replies name no series."""
    return in_series(listing, listing.event_ticker.partition("-")[0])


@cache
def brackets() -> tuple[EventListing, ...]:
    return tuple(with_series(one) for moment in moments("rest/markets") for one in moment.listings)


def test_every_recorded_text_of_a_reviewed_series_is_reviewed_and_no_entry_is_idle() -> None:
    met = set()
    for series, text in recorded_texts():
        entry = REVIEWED.find(series, text)
        if entry is not None:
            assert entry.series == series
            assert entry.reason
            met.add(entry.name)
    assert len(met) == len(REVIEWED)


def test_recorded_crypto_brackets_are_read_with_their_source_and_instant() -> None:
    events = brackets()
    built = build_groups(events)
    assert len(events) == 20
    assert [group.family for group in built.groups] == [Family.PARTITION] * 20
    for group in built.groups:
        (observed,) = [ground.value for ground in group.grounds if ground.what == "observed value"]
        assert "CF Benchmarks" in observed
        assert f"instant_ms={group.markets[0].close_ms}" in observed


def test_no_reviewed_text_makes_recorded_crypto_brackets_exhaustive() -> None:
    """The average of sixty prices is not said to be rounded: 52,299.995 lies in no bracket."""
    built = build_groups(brackets())
    assert {refusal.reason for refusal in built.refusals} == {Reason.SLIVER, Reason.ENDS}
    for group in built.groups:
        assert [relation.kind for relation in group.relations] == [RelationKind.EXCLUSIVE]
        assert len(group.edge_states) == 1
