"""Reading rules text: it finds clauses in any clothing, adds states and never takes one away."""

from decimal import Decimal

import pytest

from kalshi_arb.domain.listing import ListedMarket
from kalshi_arb.domain.market import MarketStatus, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis, State
from kalshi_arb.relations.registry import EdgeRule, Entry, Registry
from kalshi_arb.relations.reviewed import REVIEWED
from kalshi_arb.relations.rules import read_clauses, rule_states
from kalshi_arb.relations.wordings import Doubt, deadline_parts, doubt, stated_moments, statement, wording
from tests.market_samples import market

NOTHING = Registry(())


def states(*texts: str | None, registry: Registry = NOTHING) -> tuple[State, ...]:
    members = [
        ListedMarket(market(f"> {number}"), MarketStatus.ACTIVE, text) for number, text in enumerate(texts, start=1)
    ]
    return rule_states(members, registry).states


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
        ("the market will resolve to 50/50 for both teams", {EdgeRule.EVEN_SPLIT}),
        ("if no ball is played the market is voided", {EdgeRule.FAIR_PRICE}),
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


def test_a_line_break_between_names_is_no_wording() -> None:
    assert wording("it refers to Ash.\nBo Quarry owns it") == wording("it refers to Ash. Bo Quarry owns it")


def test_a_market_without_text_or_with_silent_text_adds_nothing() -> None:
    assert states(None, None) == ()
    assert states("If it rains, the market resolves to Yes.", None) == ()


def test_one_clause_is_one_state_however_many_markets_carry_it() -> None:
    (state,) = states("a fair price", "a fair price")
    assert (state.yes_payouts, state.highest, state.basis) == ((0, 0), (ONE_DOLLAR,) * 2, Basis.POSSIBLE)


def test_a_reviewed_wording_names_the_review_and_still_reads_the_text() -> None:
    text = "A clause of odd words."
    known = Registry([Entry("SERIES", wording(text), "It says so.", clauses=(EdgeRule.FAIR_PRICE,))])
    (state,) = states(text, text, registry=known)
    assert state.name == "each market settles at a price of its own (rules text of SERIES, read in full)"
    # The same wording with another amount: the review does not know it, the reading does.
    halves = "It resolves to $0.50."
    others = "It resolves to $0.40."
    assert wording(halves) == wording(others)
    known = Registry([Entry("SERIES", wording(halves), "It says so.", clauses=(EdgeRule.EVEN_SPLIT,))])
    assert [state.highest for state in states(halves, halves, registry=known)] == [None]
    assert [state.highest for state in states(others, others, registry=known)] == [None, (ONE_DOLLAR,) * 2]


def test_a_review_of_one_series_says_nothing_about_another() -> None:
    text = "A clause of odd words."
    known = Registry([Entry("OTHER", wording(text), "It says so.", clauses=(EdgeRule.FAIR_PRICE,))])
    assert states(text, text, registry=known) == ()


def test_an_entry_needs_its_phrases_because_the_wording_leaves_names_out() -> None:
    text = "If the average of the Ash Index is above 5, then the market resolves to Yes."
    known = Registry([Entry("SERIES", wording(text), "It says so.", phrases=("Ash Index",))])
    assert known.find("SERIES", text) is not None
    assert known.find("SERIES", text.replace("Ash", "Oak")) is None
    assert known.find("SERIES", text.replace("average", "middle")) is None
    assert known.find("OTHER", text) is None
    assert known.find("SERIES", None) is None


def test_two_entries_for_one_wording_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two entries"):
        Registry([Entry("SERIES", "w", "one"), Entry("SERIES", "w", "two")])


def test_the_registry_states_a_reason_for_every_entry() -> None:
    assert len(REVIEWED) > 20


def test_a_statement_keeps_names_and_leaves_strikes_and_comparisons_out() -> None:
    above = "If the high in Ash is above 98\u00b0 on Jul 4, 2026, it resolves to Yes."
    assert statement(above) == statement(above.replace("above 98\u00b0", "between 93-94\u00b0"))
    assert statement(above) == statement(above.replace("above 98\u00b0", "less than or equal to $5,000.50"))
    assert statement(above) != statement(above.replace("high", "low"))
    assert statement(above) != statement(above.replace("Ash", "Oak"))
    assert statement(above) != statement(above.replace("Jul", "Aug"))
    assert statement(above) != statement(above.replace("Jul 4", "Jul 5"))
    assert statement(above) != statement(above.replace("2026", "2027"))
    assert statement("above 50K at 9 PM in 2026") == statement("above 75K at 9 PM in 2026")
    assert statement("above 50K at 9 PM in 2026") != statement("above 50K at 10 PM in 2026")
    assert statement("above 50K at 9 PM in 2026") != statement("above 50K at 9 PM in 2027")
    assert statement("is between 2010-2029.99") == statement("is between 2030-2049.99")


@pytest.mark.parametrize(
    ("text", "kind", "strike", "found"),
    [
        ("is above $5.00 at noon", StrikeType.GREATER, "5", Doubt.NONE),
        ("is above 5,000 at noon", StrikeType.GREATER, "5", Doubt.NONE),
        ("is above 15 at noon", StrikeType.LESS, "5", Doubt.NONE),
        ("is above 0.5 at noon", StrikeType.LESS, "5", Doubt.NONE),
        ("98 or above", StrikeType.GREATER, "97", Doubt.NONE),
        ("scores 5+ points", StrikeType.GREATER_OR_EQUAL, "5", Doubt.NONE),
        ("says nothing of it", StrikeType.GREATER, "5", Doubt.NONE),
        ("is at least 5", StrikeType.GREATER, "5", Doubt.END),
        ("5 or more goals", StrikeType.GREATER, "5", Doubt.END),
        ("is less than or equal to 5%", StrikeType.LESS, "5", Doubt.END),
        ("is above 5", StrikeType.GREATER_OR_EQUAL, "5", Doubt.END),
        ("is below 5.", StrikeType.GREATER, "5", Doubt.DIRECTION),
        ("is more than 70,799.99", StrikeType.LESS, "70799.99", Doubt.DIRECTION),
        ("is at least 5 goals", StrikeType.LESS_OR_EQUAL, "5", Doubt.DIRECTION),
    ],
)
def test_a_text_that_compares_otherwise_raises_a_doubt(text: str, kind: StrikeType, strike: str, found: Doubt) -> None:
    assert doubt(text, kind, Decimal(strike)) is found


def test_a_deadline_is_one_day_before_or_by_which_something_happens() -> None:
    parts = deadline_parts("If Ash resigns before Jan 1, 2027, then the market resolves to Yes.")
    assert parts is not None
    assert (parts[0], parts[1].isoformat()) == (
        "If Ash resigns before @, then the market resolves to Yes.", "2027-01-01T00:00:00+00:00",
    )  # fmt: skip
    assert deadline_parts("If Ash resigns between Jan 1, 2026 and before Jan 1, 2027, it resolves to Yes.") is None
    assert deadline_parts("If Ash resigns on Jan 1, 2027, it resolves to Yes.") is None
    assert deadline_parts("If Ash resigns before Feb 30, 2027, it resolves to Yes.") is None


def test_a_stated_moment_is_read_with_its_zone() -> None:
    assert stated_moments("is above 5 at 9 PM EDT on Jul 9, 2026, then") == {1_783_645_200_000}
    assert stated_moments("at 12:30 AM EST on Dec 1, 2026") == {1_796_103_000_000}
    assert stated_moments("at 9 PM on Jul 9, 2026") == frozenset()
