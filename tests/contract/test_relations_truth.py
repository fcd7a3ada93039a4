"""Groups against recorded settlements: what really happened is a state, and contradicts no relation.

Listings are read as they were while the event traded. Three questions are asked of a settlement:

- is the outcome a certain state of the group, not merely an edge that the rules might bring
- does every relation hold
- does the state space, asked for the published value, answer with the outcome: two thresholds at that value are added
  to the event, and where both pay the value is exactly there
"""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import MarketStatus, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.relations.catalogue import build_groups
from tests.recordings import (
    Settled,
    document,
    in_series,
    listings,
    moments,
    open_crypto,
    open_macro,
    recorded,
    settled_crypto,
    settled_macro,
)

TARGET = Decimal("0.98")
"""The share of settled events with recorded strikes that must get a group."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What settlements say of the groups: ``contradictions`` name each wrong one."""

    settled: int
    listed: int
    grouped: int
    legs: int
    relations: int
    contradictions: tuple[str, ...]

    @property
    def share(self) -> Decimal:
        return Decimal(self.grouped) / self.listed

    def told(self) -> str:
        """The figures in one line."""
        return (
            f"{self.settled} settled, {self.listed} with strikes, {self.grouped} grouped ({self.share:.1%}), "
            f"{self.legs} legs, {self.relations} relations, {len(self.contradictions)} contradictions"
        )


def show(verdict: Verdict) -> None:
    """The figures for whoever runs the test with ``-s``."""
    sys.stdout.write(f"\n{verdict.told()}\n")


def judged(settled: Iterable[Settled], known: dict[str, EventListing]) -> Verdict:
    """Every settlement against the groups of its own event."""
    total = listed = grouped = legs = relations = 0
    wrong: list[str] = []
    for one in settled:
        total += 1
        if one.event_ticker not in known:
            continue
        listed += 1
        groups = build_groups([known[one.event_ticker]]).groups
        grouped += bool(groups)
        for group in groups:
            legs += len(group.markets)
            relations += len(group.relations)
            wrong += contradictions(group, one)
    return Verdict(total, listed, grouped, legs, relations, tuple(wrong))


def contradictions(group: Group, settled: Settled) -> list[str]:
    """What in a group the settlement contradicts."""
    results = [settled.results[ticker] for ticker in group.tickers]
    outcome = tuple(ONE_DOLLAR * result for result in results)
    certain = {state.yes_payouts for state in group.states if state.basis is Basis.CERTAIN and state.highest is None}
    found = [] if outcome in certain else [f"{group.group_id}: the outcome is no certain state"]
    return found + [
        f"{group.group_id}: {relation.kind.value} of {relation.tickers} does not hold"
        for relation in group.relations
        if not relation.kind.holds(tuple(settled.results[ticker] for ticker in relation.tickers))
    ]


def at_value(listing: EventListing, value: Decimal) -> dict[str, bool]:
    """What the state space of an event says of each market if the observed value is ``value``."""
    first = listing.markets[0]

    def threshold(name: str, kind: StrikeType, floor: Decimal | None, cap: Decimal | None) -> ListedMarket:
        market = replace(first.market, ticker=name, strike_type=kind, floor=floor, cap=cap)
        return replace(first, market=market, strike_text=kind.value)

    low = threshold("at least the value", StrikeType.GREATER_OR_EQUAL, value, None)
    high = threshold("at most the value", StrikeType.LESS_OR_EQUAL, None, value)
    (group,) = build_groups([replace(listing, markets=(*listing.markets, low, high))]).groups
    places = [group.index(one.market.ticker) for one in (low, high)]
    here = [state for state in group.states if all(state.yes_payouts[place] == ONE_DOLLAR for place in places)]
    (state,) = here
    return {
        ticker: bool(state.yes_payouts[place])
        for place, ticker in enumerate(group.tickers)
        if place not in places
    }  # fmt: skip


def published(text: str) -> Decimal:
    """``57,000`` and ``3.5%`` are values as they were published."""
    return Decimal(text.replace(",", "").removesuffix("%"))


@pytest.fixture(scope="module")
def crypto() -> dict[str, Settled]:
    recorded("quotes/crypto_hourly")
    return settled_crypto()


@pytest.fixture(scope="module")
def brackets() -> dict[str, EventListing]:
    recorded("quotes/crypto_hourly")
    return open_crypto()


def test_every_settled_bracket_event_has_a_group_that_its_settlement_agrees_with(
    crypto: dict[str, Settled], brackets: dict[str, EventListing]
) -> None:
    verdict = judged(crypto.values(), brackets)
    show(verdict)
    assert verdict.contradictions == ()
    assert (verdict.settled, verdict.listed, verdict.legs) == (308, 250, 37_825)
    assert verdict.share >= TARGET
    assert verdict.grouped == 250


def test_the_published_value_names_the_bracket_that_paid(
    crypto: dict[str, Settled], brackets: dict[str, EventListing]
) -> None:
    known = [one for event, one in crypto.items() if event in brackets]
    for one in known:
        assert at_value(brackets[one.event_ticker], published(one.value)) == one.results
    assert len(known) == 250


def test_settled_bracket_events_whose_texts_were_recorded_agree_as_well(crypto: dict[str, Settled]) -> None:
    """The reviewed wordings are applied here. These replies name no series; the settlements of the same events do."""
    worded = {
        one.event_ticker: in_series(one, crypto[one.event_ticker].series_ticker)
        for moment in moments("rest/markets")
        for one in moment.listings
        if one.event_ticker in crypto
    }
    verdict = judged((crypto[event] for event in worded), worded)
    show(verdict)
    assert verdict.contradictions == ()
    assert (verdict.settled, verdict.listed, verdict.grouped, verdict.legs) == (2, 2, 2, 263)
    for listing in worded.values():
        (group,) = build_groups([listing]).groups
        assert any("registry entry" in sentence for sentence in group.certificate)


def test_every_settled_ladder_of_published_values_agrees() -> None:
    recorded("quotes/econ_prints")
    settled, ladders = settled_macro(), open_macro()
    verdict = judged(settled.values(), ladders)
    show(verdict)
    assert verdict.contradictions == ()
    assert (verdict.settled, verdict.listed, verdict.grouped, verdict.legs) == (7, 3, 3, 41)
    for event in settled.keys() & ladders.keys():
        assert at_value(ladders[event], published(settled[event].value)) == settled[event].results


def test_every_finalized_game_agrees() -> None:
    """The markets were recorded without their event, so the flag that all games of these series carry is added."""
    reply = document("rest/markets_settled.json.gz")
    read = {one.event_ticker: one for one in listings(reply["markets"])}
    assert build_groups(read.values()).groups == ()  # settled markets are in no group, and nobody says "exclusive"
    open_games = {
        event: replace(
            one,
            mutually_exclusive=True,
            markets=tuple(replace(listed, status=MarketStatus.ACTIVE) for listed in one.markets),
        )
        for event, one in read.items()
    }
    results: dict[str, dict[str, bool]] = {}
    for wire in reply["markets"]:
        if wire["result"]:
            results.setdefault(wire["event_ticker"], {})[wire["ticker"]] = wire["result"] == "yes"
    verdict = judged((Settled(event, "", found, "") for event, found in results.items()), open_games)
    show(verdict)
    assert verdict.contradictions == ()
    assert (verdict.settled, verdict.listed, verdict.grouped, verdict.legs) == (21, 21, 21, 42)
    assert all(build_groups([open_games[event]]).groups[0].family is Family.GAME for event in results)


def test_a_quarter_hour_market_pays_where_its_strike_says_and_is_in_no_group() -> None:
    """One market an event: nothing to relate. The listing carries the strike type that the series has."""
    with recorded("ws/settlement_labels.csv").open() as text:
        labels = list(csv.DictReader(text))
    (any_event,) = listings(
        {"event_ticker": "EVENT", "markets": [{"ticker": "MARKET", "strike_type": "greater_or_equal"}]}
    )
    (any_market,) = any_event.markets
    for label in labels:
        market = replace(any_market.market, ticker=label["market_ticker"], floor=Decimal(label["strike"]))
        listing = replace(any_event, markets=(replace(any_market, market=market),))
        assert build_groups([listing]).groups == ()
        paid = at_value(listing, Decimal(label["settlement_price"]))
        assert paid == {label["market_ticker"]: label["binary_result"] == "yes"}
    assert len(labels) == 198


def test_a_wrong_settlement_would_be_seen(crypto: dict[str, Settled], brackets: dict[str, EventListing]) -> None:
    """Two winners contradict the relation and the states; no winner is an edge that must not count as agreement."""
    event = next(event for event in crypto if event in brackets)
    one = crypto[event]
    loser = next(ticker for ticker, paid in one.results.items() if not paid)
    nobody = dict.fromkeys(one.results, False)
    (group,) = build_groups([brackets[event]]).groups
    assert contradictions(group, one) == []
    assert contradictions(group, replace(one, results={**one.results, loser: True})) != []
    assert contradictions(group, replace(one, results=nobody)) == [f"{group.group_id}: the outcome is no certain state"]
