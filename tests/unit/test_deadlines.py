"""Deadline ladders: what makes them, what they assume, and why most "by a date" events are refused."""

from dataclasses import replace

import pytest

from kalshi_arb.detection.judge import Judgement, Verdict, judge
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.approvals import approved
from kalshi_arb.relations.assembly import Reason, Refusal
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.registry import DeadlineReading, Entry, Registry
from kalshi_arb.relations.wordings import wording
from tests.market_samples import CLOSE_MS, NOW_MS, book, books, listing, market

TEXT = "If Ash resigns before {}, then the market resolves to Yes."
DAYS = {"JAN": "Jan 1, 2027", "FEB": "Feb 1, 2027", "MAR": "Mar 1, 2027"}
NOTHING = Registry(())


def by(ticker: str, close_ms: int, text: str | None) -> ListedMarket:
    bare = replace(market("> 1", ticker=ticker, close_ms=close_ms), strike_type=StrikeType.OTHER, floor=None)
    return ListedMarket(bare, MarketStatus.ACTIVE, text, strike_text="custom")


def event(template: str = TEXT, **days: str) -> EventListing:
    rows = [
        by(ticker, CLOSE_MS + number, template.format(day))
        for number, (ticker, day) in enumerate((days or DAYS).items())
    ]
    return listing(rows)


def only(*events: EventListing, registry: Registry = NOTHING) -> Group:
    (group,) = build_groups(events, registry=registry).groups
    return group


def refused(*rows: ListedMarket) -> Refusal:
    built = build_groups([listing(rows)], registry=NOTHING)
    assert built.groups == ()
    (refusal,) = built.refusals
    assert refusal.reason is Reason.DEADLINE
    return refusal


def judged(group: Group) -> Judgement:
    snapshots = books(book("JAN", yes=[(60, 10)]), book("FEB"), book("MAR", no=[(60, 10)]))
    return judge(
        group, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS, max_age_ms=1_000
    )


def test_an_earlier_deadline_is_inside_a_later_one() -> None:
    group = only(event())
    assert (group.family, group.tickers) == (Family.DEADLINE, ("MAR", "FEB", "JAN"))
    assert [(relation.kind, relation.tickers) for relation in group.relations] == [
        (RelationKind.SUBSET, ("FEB", "MAR")),
        (RelationKind.SUBSET, ("JAN", "FEB")),
    ]
    one = ONE_DOLLAR
    # The day it happens on, or never: brute force over the four of them.
    assert {state.yes_payouts for state in group.states} == {(0, 0, 0), (one, 0, 0), (one, one, 0), (one, one, one)}


def test_without_a_review_the_same_statement_is_an_assumption_and_the_bundle_is_assumed() -> None:
    group = only(event())
    assert len(group.assumptions) == 1
    found = judged(group)
    assert found.verdict is Verdict.NOT_APPROVED
    assert found.certificate is not None
    assert found.certificate.grade is Grade.ASSUMED
    assert "nobody has approved" in found.text
    assert [(leg.ticker, leg.outcome) for leg in found.legs] == [("MAR", Outcome.YES), ("JAN", Outcome.NO)]


def test_a_person_who_approves_makes_it_proved_under_the_same_fingerprint() -> None:
    group = only(event())
    agreed = approved(group, group.assumptions, "read by me on Monday")
    assert agreed.fingerprint == group.fingerprint
    assert agreed.assumptions == ()
    assert "read by me on Monday" in agreed.certificate[-1]
    assert judged(agreed).verdict is Verdict.PROVED


def test_a_reviewed_wording_needs_no_approval() -> None:
    known = Registry([Entry("SERIES", wording(TEXT.format("Jan 1, 2027")), "Read.", deadline=DeadlineReading())])
    group = only(event(), registry=known)
    assert group.assumptions == ()
    assert judged(group).verdict is Verdict.PROVED


def test_the_screen_watches_deadlines() -> None:
    group = only(event())
    assert Screen([group]).group(group.group_id) is group


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((by("A", 1, None), by("B", 2, TEXT.format("Feb 1, 2027"))), "not known"),
        ((by("A", 1, "It rains on Jan 1, 2027."), by("B", 2, "It rains on Feb 1, 2027.")), "by or before"),
        ((by("A", 1, TEXT.format("Jan 1, 2027")), by("B", 2, TEXT.replace("Ash", "Oak").format("Feb 1, 2027"))),
         "more than the day"),
        ((by("A", 1, TEXT.format("Mar 1, 2027")), by("B", 2, TEXT.format("Feb 1, 2027"))), "order of their closing"),
        ((by("A", 1, TEXT.format("Jan 1, 2027") + " After Dec 1, 2026."), by("B", 2, TEXT.format("Feb 1, 2027"))),
         "one single day"),
    ],
)  # fmt: skip
def test_by_a_date_is_refused_where_the_texts_do_not_make_one_statement(
    rows: tuple[ListedMarket, ...], words: str
) -> None:
    moved = [replace(row, market=replace(row.market, close_ms=CLOSE_MS + row.market.close_ms)) for row in rows]
    assert words in refused(*moved).words


def test_different_early_close_conditions_make_no_ladder() -> None:
    first, *others = event().markets
    assert (
        "early close conditions differ"
        in refused(replace(first, early_close="It closes once it happens."), *others).words
    )


def test_two_markets_that_close_together_are_no_deadlines() -> None:
    rows = [by("A", CLOSE_MS, TEXT.format("Jan 1, 2027")), by("B", CLOSE_MS, TEXT.format("Feb 1, 2027"))]
    assert {one.reason for one in build_groups([listing(rows)], registry=NOTHING).refusals} == {Reason.NO_STRUCTURE}


def test_dates_that_are_declared_exclusive_contradict_the_flag() -> None:
    built = build_groups([replace(event(), mutually_exclusive=True)], registry=NOTHING)
    assert built.groups == ()
    assert [refusal.reason for refusal in built.refusals] == [Reason.CONTRADICTION]
