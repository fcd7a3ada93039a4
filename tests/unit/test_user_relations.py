"""The user's own relations: read strictly, refused with file, line and cause, and never proved without approval."""

from dataclasses import replace

import pytest

from kalshi_arb.detection.judge import Judgement, Verdict, judge
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.approvals import approved
from kalshi_arb.relations.assembly import Reason
from kalshi_arb.relations.catalogue import Built, Catalogue, build_groups
from kalshi_arb.relations.user import UserRelationError
from kalshi_arb.relations.user_file import parse_relations
from tests.combo_samples import leg_market
from tests.market_samples import NOW_MS, book, books, listing, market

FILE = "relations.yaml"


def written(*relations: str) -> str:
    """A file of relations as ``"subset A B"``, one a line from the second line on."""
    rows = [
        f"  - {{kind: {kind}, members: [{', '.join(members)}], reason: I know it}}"
        for kind, *members in (text.split() for text in relations)
    ]
    return "\n".join(["relations:", *rows])


def events(*tickers: str) -> list[EventListing]:
    return [listing([leg_market(ticker)], event=f"EV-{ticker}") for ticker in tickers]


def built(*relations: str, tickers: str = "ABCD") -> Built:
    user = parse_relations(written(*relations), FILE).resolved(tickers)
    return build_groups(events(*tickers), user=user)


def only(*relations: str) -> Group:
    (group,) = built(*relations).groups
    return group


def rows(group: Group) -> set[str]:
    return {
        "".join(ticker for ticker, pays in zip(group.tickers, state.yes_payouts, strict=True) if pays)
        for state in group.states
    }


def judged(group: Group, snapshots: dict[str, BookSnapshot]) -> Judgement:
    return judge(
        group, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS, max_age_ms=1_000
    )


@pytest.mark.parametrize(
    ("relation", "results"),
    [
        ("subset A B", {"", "B", "AB"}),
        ("disjoint A B", {"", "A", "B"}),
        ("complement A B", {"A", "B"}),
        ("equal A B", {"", "AB"}),
        ("exclusive A B C", {"", "A", "B", "C"}),
        ("exhaustive A B", {"A", "B", "AB"}),
        ("partition A B C", {"A", "B", "C"}),
    ],
)
def test_a_relation_leaves_the_results_that_it_allows(relation: str, results: set[str]) -> None:
    group = only(relation)
    assert group.family is Family.USER
    assert rows(group) == results
    assert group.relations[0].kind is RelationKind(relation.split()[0])
    assert group.relations[0].reason == "I know it (relations.yaml, line 2)"


def test_relations_that_share_a_market_are_one_group() -> None:
    assert rows(only("subset A B", "disjoint B C")) == {"", "B", "AB", "C"}
    assert len(built("subset A B", "subset C D").groups) == 2


def test_a_pattern_stands_for_every_market_that_fits() -> None:
    user = parse_relations("relations:\n- kind: partition\n  members: ['K-*']\n  reason: all of them\n", FILE)
    resolved = user.resolved(["K-1", "K-2", "K-3", "L-1"])
    assert resolved.relations[0].members == ("K-1", "K-2", "K-3")


def test_a_bundle_on_the_users_word_is_assumed_until_a_person_approves() -> None:
    group = only("subset A B")
    snapshots = books(book("A", yes=[(60, 10)]), book("B", no=[(50, 10)]))
    found = judged(group, snapshots)
    assert found.verdict is Verdict.NOT_APPROVED
    assert [(leg.ticker, leg.outcome) for leg in found.legs] == [("A", Outcome.NO), ("B", Outcome.YES)]
    agreed = approved(group, group.assumptions, "checked")
    assert judged(agreed, snapshots).verdict is Verdict.PROVED


@pytest.mark.parametrize(
    ("relation", "snapshots"),
    [
        ("complement A B", books(book("A", no=[(60, 10)]), book("B", no=[(60, 10)]))),
        ("complement A B", books(book("A", yes=[(60, 10)]), book("B", yes=[(60, 10)]))),
        ("equal A B", books(book("A", yes=[(60, 10)]), book("B", no=[(60, 10)]))),
        ("equal A B", books(book("A", no=[(60, 10)]), book("B", yes=[(60, 10)]))),
        ("exclusive A B C", books(*(book(ticker, yes=[(40, 10)]) for ticker in "ABC"))),
        ("partition A B C", books(*(book(ticker, no=[(80, 10)]) for ticker in "ABC"))),
    ],
)
def test_what_the_user_says_is_searched_from_both_sides(relation: str, snapshots: dict[str, BookSnapshot]) -> None:
    assert judged(only(relation), snapshots).verdict is Verdict.NOT_APPROVED


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("relations: [", 1, "not YAML"),
        ("relations:\n  - {kind: subset\n  - x", 3, "not YAML"),
        ("- a", 1, "the file must be a mapping"),
        ("relation: []", 1, "unknown field relation"),
        ("relations: 5", 1, "must be a list"),
        ("relations:\n- {kind: subset, members: [A, B]}", 2, "the field reason is missing"),
        ("relations:\n- {kind: subset, members: [A, B], reason: x, why: y}", 2, "unknown field why"),
        ("relations:\n- kind: under\n  members: [A, B]\n  reason: x", 2, "kind must be one of subset"),
        ("relations:\n- kind: subset\n  members: [A]\n  reason: x", 3, "subset needs two members, not 1"),
        ("relations:\n- kind: subset\n  members: [A, B, C]\n  reason: x", 3, "subset needs two members, not 3"),
        ("relations:\n- kind: exclusive\n  members: [A, A]\n  reason: x", 3, "listed twice"),
        ("relations:\n- kind: exclusive\n  members: [A, [B]]\n  reason: x", 3, "a member must be a text"),
        ("relations:\n- kind: exclusive\n  members: A\n  reason: x", 3, "members must be a list"),
        ("relations:\n- kind: exclusive\n  kind: subset\n  members: [A, B]\n  reason: x", 3, "stands there twice"),
        (written("subset A B", "subset B C", "subset C A"), 2, "closes a cycle"),
        (written("subset A B", "disjoint A B"), 3, "A is inside B and disjoint from it (see line 2)"),
        (written("subset A B", "subset A C", "exclusive B C"), 4, "A is inside both B and C, which are disjoint"),
        (written("complement A B", "complement B C", "disjoint A C"), 4, "could only be"),
        (written("partition A B", "partition B C", "partition A C"), 4, "no result of A, B, C satisfies"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_with_file_line_and_cause(text: str, line: int, cause: str) -> None:
    with pytest.raises(UserRelationError) as caught:
        parse_relations(text, FILE)
    assert str(caught.value).startswith(f"{FILE}, line {line}: ")
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("relation", "cause"),
    [
        ("subset A X", "no market X is listed"),
        ("exclusive A 'X*'", "no listed market fits the pattern X*"),
        ("subset A '*'", "subset needs two markets, and its members are 3"),
        ("exclusive A '[A]'", "exclusive needs at least two markets"),
    ],
)
def test_markets_that_are_not_there_are_named(relation: str, cause: str) -> None:
    with pytest.raises(UserRelationError, match=r"relations.yaml, line 2: ") as caught:
        parse_relations(written(relation), FILE).resolved("ABC")
    assert cause in caught.value.cause


def test_patterns_may_bring_a_contradiction() -> None:
    user = parse_relations(written("subset A B", "exclusive '?'"), FILE)
    with pytest.raises(UserRelationError, match="A is inside B and disjoint from it"):
        user.resolved("AB")


def test_an_empty_file_says_nothing() -> None:
    assert parse_relations("", FILE).relations == ()
    assert parse_relations("relations: []", FILE).relations == ()


def test_a_market_that_left_the_listing_takes_its_relations_along() -> None:
    user = parse_relations(written("subset A B"), FILE).resolved("AB")
    catalogue = Catalogue(user=user)
    catalogue.load(events("A", "B"), now_ms=0)
    (group,) = catalogue.built().groups
    change = catalogue.remove("EV-A", now_ms=0)
    assert change.gone == (group.group_id,)
    assert [refusal.reason for refusal in change.refusals] == [Reason.USER_UNKNOWN]
    closed = listing([(leg_market("A"), MarketStatus.CLOSED)], event="EV-A")
    assert {one.reason for one in catalogue.replace(closed, now_ms=0).refusals} == {Reason.ALREADY_CLOSED}
    (again,) = catalogue.replace(events("A")[0], now_ms=0).changed
    assert again.fingerprint == group.fingerprint


def test_a_relation_against_the_strikes_is_refused() -> None:
    user = parse_relations(written("disjoint T1 T2"), FILE).resolved(["T1", "T2"])
    ladder = listing([market("> 1", ticker="T1"), market("> 2", ticker="T2")])
    found = build_groups([ladder], user=user)
    assert [group.family for group in found.groups] == [Family.LADDER]
    (refusal,) = found.refusals
    assert refusal.reason is Reason.USER_CONTRADICTED
    assert "T2 could never pay, against group EVENT:ladder (relations.yaml, line 2)" in refusal.words


def test_a_list_that_the_user_completes_is_covered() -> None:
    user = parse_relations(written("partition A B C"), FILE).resolved("ABC")
    members = [replace(leg_market(ticker), event_ticker="EVENT") for ticker in "ABC"]
    found = build_groups([listing(members, exclusive=True)], user=user)
    families = {group.family: group for group in found.groups}
    assert families.keys() == {Family.GAME, Family.USER}
    assert {sum(state.yes_payouts) for state in families[Family.USER].states} == {ONE_DOLLAR}
