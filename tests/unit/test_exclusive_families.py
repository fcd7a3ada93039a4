"""Exclusive sets and games: what the exchange's flag promises, and what the rules text takes away."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kalshi_arb.detection.judge import Judgement, Verdict, judge
from kalshi_arb.detection.propose import propose
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.market import Market, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.relations.assembly import LARGEST_GROUP
from tests.market_samples import CLOSE_MS, NOW_MS, book, books, formed, listing, market

FAIR = "If the game is not started within two days, the market will resolve to a fair market price."


def named(ticker: str, subject: str = "") -> Market:
    return replace(market("> 1", ticker=ticker, subject=subject), strike_type=StrikeType.OTHER, floor=None)


def exclusive(*tickers: str, rules: Mapping[str, str] | None = None) -> Group:
    event = listing(map(named, tickers), exclusive=True, rules=rules)
    (group,), drops = formed(event)
    assert drops == {}
    return group


def drops_of(*markets: Market | tuple[Market, MarketStatus], flag: bool = True, now_ms: int = 0) -> dict[str, int]:
    groups, drops = formed(listing(markets, exclusive=flag), now_ms=now_ms)
    assert groups == []
    return drops


def judged(group: Group, snapshots: dict[str, BookSnapshot]) -> Judgement:
    return judge(
        group, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=NOW_MS, max_age_ms=1_000
    )


def test_a_list_of_candidates_has_one_winner_at_most() -> None:
    group = exclusive("A", "B", "C", "D")
    assert (group.family, group.group_id) == (Family.EXCLUSIVE, "EVENT:exclusive")
    assert [(state.yes_payouts, state.basis) for state in group.states] == [
        *((tuple(ONE_DOLLAR * (own == winner) for own in range(4)), Basis.CERTAIN) for winner in range(4)),
        ((0, 0, 0, 0), Basis.CERTAIN),
    ]
    assert [(relation.kind, relation.tickers) for relation in group.relations] == [
        (RelationKind.EXCLUSIVE, ("A", "B", "C", "D"))
    ]


def test_buying_a_whole_list_of_candidates_is_never_even_proposed() -> None:
    group = exclusive("A", "B", "C", "D")
    cheap = books(*(book(ticker, no=[(90, 10)]) for ticker in group.tickers))
    assert propose(group, cheap) == ()
    assert judged(group, cheap).verdict is Verdict.NO_BUNDLE


@pytest.mark.parametrize("tickers", [("A", "B"), ("A", "B", "T")])
def test_a_game_without_a_winner_is_possible(tickers: tuple[str, ...]) -> None:
    group = exclusive(*tickers)
    assert group.family is Family.GAME
    possible = [state for state in group.states if state.basis is Basis.POSSIBLE]
    assert [state.yes_payouts for state in possible] == [(0,) * len(tickers)]
    assert len(group.states) == len(tickers) + 1


def test_buying_a_whole_game_is_conditional_on_a_winner() -> None:
    group = exclusive("A", "B")
    found = judged(group, books(book("A", no=[(60, 10)]), book("B", no=[(50, 10)])))
    assert found.verdict is Verdict.CONDITIONAL
    assert {leg.outcome for leg in found.legs} == {Outcome.YES}
    assert "no market pays" in found.text


RICH = books(book("A", yes=[(60, 10)]), book("B", yes=[(50, 10)]))


def test_selling_a_whole_game_is_proved_where_no_text_says_otherwise() -> None:
    assert judged(exclusive("A", "B"), RICH).verdict is Verdict.PROVED
    assert judged(exclusive("A", "B", rules={"A": "If A wins, YES."}), RICH).verdict is Verdict.PROVED


def test_a_fair_price_clause_in_one_market_makes_every_bundle_conditional() -> None:
    group = exclusive("A", "B", rules={"B": FAIR})
    found = judged(group, RICH)
    assert found.verdict is Verdict.CONDITIONAL
    assert found.certificate is not None
    assert found.certificate.breaking_state == (
        "each market settles at a price of its own (rules text of SERIES, searched for words only)"
    )
    # All of it can be lost: both sold contracts may settle at a dollar.
    assert found.certificate.floor_profit == -found.certificate.outlay


def test_a_fair_price_clause_counts_in_large_sets_and_ladders_too() -> None:
    tickers = tuple("ABCDEFGH")
    group = exclusive(*tickers, rules={"H": FAIR})
    rich = books(*(book(ticker, yes=[(30, 10)]) for ticker in tickers))
    assert judged(group, rich).verdict is Verdict.CONDITIONAL
    ladder = listing([market("> 1"), market("> 2")], rules={"> 1": FAIR})
    (rungs,), _ = formed(ladder)
    crossed = books(book("> 1", no=[(70, 10)]), book("> 2", yes=[(60, 10)]))
    assert judged(rungs, crossed).verdict is Verdict.CONDITIONAL


def test_a_tie_that_pays_both_halves_breaks_nothing() -> None:
    group = exclusive("A", "B", rules={"A": "If the game ends in a tie, the market will resolve to $0.50 for each."})
    assert [state.yes_payouts for state in group.states if "one half" in state.name] == [(5_000, 5_000)]
    assert judged(group, RICH).verdict is Verdict.PROVED


def test_halves_among_three_may_be_paid_to_anybody() -> None:
    group = exclusive("A", "B", "C", rules={"A": "All markets will resolve to $0.50."})
    assert [state.highest for state in group.states if state.highest] == [(ONE_DOLLAR,) * 3]


def test_two_that_are_left_of_three_are_no_game() -> None:
    groups, drops = formed(listing([named("A"), named("B"), (named("C"), MarketStatus.FINALIZED)], exclusive=True))
    assert [(group.family, group.tickers) for group in groups] == [(Family.EXCLUSIVE, ("A", "B"))]
    assert drops == {"already_closed": 1}


def test_without_the_flag_nothing_is_claimed() -> None:
    assert drops_of(named("A"), named("B"), flag=False) == {"no_structured_strike": 2}


def test_unstructured_markets_beside_brackets_stay_outside() -> None:
    groups, drops = formed(listing([market("1 .. 2"), market("3 .. 4"), named("other")], exclusive=True))
    assert [(group.family, group.tickers) for group in groups] == [(Family.PARTITION, ("1 .. 2", "3 .. 4"))]
    assert drops == {"no_structured_strike": 1}


def test_one_subject_twice_contradicts_the_flag() -> None:
    assert drops_of(named("A", "a"), named("B", "a"), named("C", "c")) == {"same_subject": 3}


def test_what_cannot_be_a_set_is_counted() -> None:
    assert drops_of(named("A")) == {"single_market": 1}
    assert drops_of((named("A"), MarketStatus.INACTIVE), named("B")) == {"not_active": 1, "single_market": 1}
    assert drops_of(named("A"), named("B"), now_ms=CLOSE_MS) == {"already_closed": 2}
    flat = FeeSchedule(FeeType.FLAT)
    assert drops_of(*(replace(named(ticker), fees=flat) for ticker in "AB")) == {"fees_not_computable": 2}
    count = LARGEST_GROUP + 1
    assert drops_of(*(named(f"M{number:03}") for number in range(count))) == {"too_large": count}


def test_an_event_without_any_market_is_nothing() -> None:
    assert formed(listing([], exclusive=True)) == ([], {})


def test_a_clause_changes_the_fingerprint() -> None:
    assert exclusive("A", "B").fingerprint != exclusive("A", "B", rules={"A": FAIR}).fingerprint
