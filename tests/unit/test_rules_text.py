"""Reading rules text: it finds clauses in any clothing, adds states and never takes one away."""

import pytest

from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis
from kalshi_arb.relations.reviewed import REVIEWED, EdgeRule
from kalshi_arb.relations.rules import read_clauses, rule_states, wording
from tests.market_samples import market

PAIR = [market("> 1"), market("> 2")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the market will resolve to a fair price in accordance with the rules", {EdgeRule.FAIR_PRICE}),
        ("will resolve to the a Fair\nMarket price.", {EdgeRule.FAIR_PRICE}),
        ("settled at its fair value", {EdgeRule.FAIR_PRICE}),
        ("resolves at the last traded price", {EdgeRule.FAIR_PRICE}),
        ("resolves at the last-traded market price", {EdgeRule.FAIR_PRICE}),
        ("all markets will resolve to $0.25 each", {EdgeRule.FAIR_PRICE}),
        ("the market will resolve to $0.50 for each team", {EdgeRule.EVEN_SPLIT}),
        ("all markets settle to $.5", {EdgeRule.EVEN_SPLIT}),
        ("a tie will resolve to $0.50 for each team, a game not played to a fair price",
         {EdgeRule.FAIR_PRICE, EdgeRule.EVEN_SPLIT}),
        ("If the price of the coin is above $0.50 at noon, then the market resolves to Yes.", set()),
        ("If the county fair takes place, the market resolves to Yes.", set()),
        ("the last market day of the year", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_clauses_are_found_by_their_words(text: str, found: set[EdgeRule]) -> None:
    assert read_clauses(text) == found


def test_names_dates_and_numbers_are_no_wording() -> None:
    one = "If Ash wins the Ash vs Bo Quarry game originally scheduled for Aug 9, 2026 at 8:20 PM, it resolves to Yes."
    other = (
        "If St. Elm wins the St. Elm vs Oak game originally scheduled for Sep 19, 2031 at 1:05 AM, it resolves to Yes."
    )
    assert wording(one) == wording(other)
    assert wording(one) != wording(one.replace("wins", "loses"))


def test_a_market_without_text_or_with_silent_text_adds_nothing() -> None:
    assert rule_states(PAIR, {}) == ()
    assert rule_states(PAIR, {"> 1": "If it rains, the market resolves to Yes.", "elsewhere": "a fair price"}) == ()


def test_one_clause_is_one_state_however_many_markets_carry_it() -> None:
    (state,) = rule_states(PAIR, {one.ticker: "a fair price" for one in PAIR})
    assert (state.yes_payouts, state.highest, state.basis) == ((0, 0), (ONE_DOLLAR,) * 2, Basis.POSSIBLE)


def test_a_reviewed_wording_names_the_review_and_still_reads_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "A clause of odd words."
    monkeypatch.setitem(REVIEWED, ("SERIES", wording(text)), (EdgeRule.FAIR_PRICE,))  # type: ignore[misc, arg-type]
    (state,) = rule_states(PAIR, {"> 1": text})
    assert state.name == "each market settles at a price of its own (rules text of SERIES, read in full)"
    # The same wording with another amount: the review does not know it, the reading does.
    halves = "It resolves to $0.50."
    others = "It resolves to $0.40."
    assert wording(halves) == wording(others)
    monkeypatch.setitem(REVIEWED, ("SERIES", wording(halves)), (EdgeRule.EVEN_SPLIT,))  # type: ignore[misc, arg-type]
    assert [state.highest for state in rule_states(PAIR, {"> 1": halves})] == [None]
    assert [state.highest for state in rule_states(PAIR, {"> 1": others})] == [None, (ONE_DOLLAR,) * 2]


def test_a_review_of_one_series_says_nothing_about_another(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "A clause of odd words."
    monkeypatch.setitem(REVIEWED, ("OTHER", wording(text)), (EdgeRule.FAIR_PRICE,))  # type: ignore[misc, arg-type]
    assert rule_states(PAIR, {"> 1": text}) == ()
