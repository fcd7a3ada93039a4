"""What recorded rules texts and combo legs do to the groups of recorded listings."""

from collections.abc import Iterator
from dataclasses import replace

from kalshi_arb.detection.propose import propose
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Price
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.kalshi.mapping import rules_text
from kalshi_arb.kalshi.models.market import MarketWire
from kalshi_arb.kalshi.wire import convert
from kalshi_arb.relations.reviewed import REVIEWED
from kalshi_arb.relations.rules import read_clauses, rule_states
from tests.edges import best_edge
from tests.market_samples import formed, market
from tests.recordings import ASSUMED, Moment, book, document, moments
from tests.recordings_survey import Lock, look_at, watched

NESTED = "rest/events_sports_nested"


def games() -> Iterator[tuple[EventListing, Moment, Group]]:
    for moment, groups in watched(moments(NESTED)):
        (listing,) = moment.listings
        yield from ((listing, moment, group) for group in groups if group.family is Family.GAME)


def test_every_listed_game_may_settle_at_a_price_by_its_reviewed_rules() -> None:
    for listing, _, group in games():
        edges = [state for state in group.states if state.highest is not None]
        assert [state.name for state in edges] == [
            f"each market settles at a price of its own (rules text of {listing.series_ticker}, read in full)"
        ]


def test_selling_a_whole_listed_game_is_conditional_and_names_its_rules() -> None:
    """Bids far above a dollar: without the text it would be proved, as it is on the tapes."""
    checked = 0
    for listing, moment, group in games():
        rich = {ticker: book(ticker, [(Price(9_000), ASSUMED)], []) for ticker in group.tickers}
        bare = tuple(replace(listed, rules=None) for listed in listing.markets)
        (silent,), _ = formed(replace(listing, markets=bare))
        with_text, without = (the_lock(replace(moment, books=rich), one) for one in (group, silent))
        assert (with_text.certificate.grade, without.certificate.grade) == (Grade.CONDITIONAL, Grade.PROVED)
        assert "read in full" in (with_text.certificate.breaking_state or "")
        checked += 1
    assert checked == 15


def the_lock(moment: Moment, group: Group) -> Lock:
    (lock,) = look_at([(moment, (group,))]).locks
    return lock


def test_no_recorded_combo_is_priced_against_its_legs() -> None:
    ((moment, groups),) = watched(moments("rest/combo_priced_markets"))
    combos = [group for group in groups if group.family is Family.COMBO]
    assert len(combos) == 12
    for group in combos:
        assert sum(state.basis is Basis.CERTAIN for state in group.states) == 2 ** (len(group.markets) - 1)
        # Every combo has a YES ask, so how near it is can be told.
        edge = best_edge(group, moment.books)
        assert edge is not None
        assert edge < 0
        assert propose(group, moment.books) == ()


def test_the_recorded_texts_are_all_reviewed_or_silent() -> None:
    """What the free reading finds in the recordings, the registry knows: so its hashes are those of the wire's text."""
    texts = [(event["series_ticker"], wire) for event in document(f"{NESTED}.json.gz") for wire in event["markets"]]
    legs = document("rest/combo_priced_markets.json.gz")["legs"].values()
    texts += [(wire["event_ticker"].partition("-")[0], wire) for wire in legs]  # these name no series
    names: set[str] = set()
    for series, wire in texts:
        text = rules_text(convert(wire, MarketWire, wire["ticker"]))
        one = replace(market("> 1", ticker=wire["ticker"]), series_ticker=series)
        states = rule_states([ListedMarket(one, MarketStatus.ACTIVE, text)] * 2, REVIEWED).states
        assert bool(states) is bool(read_clauses(text))
        names |= {state.name for state in states}
    assert len(names) == 13
    assert all("read in full" in name for name in names)
