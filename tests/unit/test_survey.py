"""Counting contradictions at the top of the books, before and after linear fees."""

from collections.abc import Mapping

import pytest

from kalshi_arb.detection.survey import Survey, Top, Violations, survey
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.money import Price
from tests.market_samples import group

NOTHING = Violations()
BRACKETS = ("< 10", "10 .. 14", "> 14")


def top(yes: int | None, no: int | None) -> Top:
    """Best bids in cents."""
    return Top(None if yes is None else Price(yes * 100), None if no is None else Price(no * 100))


def counted(*strikes: str, tops: Mapping[str, Top], multiplier: int = 10_000) -> Survey:
    return survey(group(*strikes, fees=FeeSchedule(FeeType.QUADRATIC, multiplier)), tops)


def test_a_harder_strike_bid_above_an_easier_ones_ask_is_crossed() -> None:
    # 0.40 paid for the easier one, 0.44 got for the harder one; fees of 0.0168 and 0.017248 leave something.
    found = counted("> 1", "> 2", tops={"> 1": top(30, 60), "> 2": top(44, 50)})
    assert found == Survey(Violations(nested_pairs=1), Violations(nested_pairs=1))
    assert found.raw.nested_crossed


def test_fees_eat_a_small_crossing() -> None:
    tops = {"> 1": top(30, 60), "> 2": top(43, 50)}
    assert counted("> 1", "> 2", tops=tops) == Survey(Violations(nested_pairs=1), NOTHING)
    assert counted("> 1", "> 2", tops=tops, multiplier=5_000).net.nested_crossed


def test_the_same_price_is_no_crossing() -> None:
    assert counted("> 1", "> 2", tops={"> 1": top(30, 60), "> 2": top(40, 50)}) == Survey(NOTHING, NOTHING)


def test_every_pair_of_a_ladder_counts_and_only_downwards() -> None:
    tops = {"> 1": top(None, 60), "> 2": top(45, 60), "> 3": top(46, 50)}
    assert counted("> 1", "> 2", "> 3", tops=tops).raw.nested_pairs == 3
    # The easier one bid above the harder one's ask is as it should be.
    assert counted("> 1", "> 2", tops={"> 1": top(80, 10), "> 2": top(20, 70)}).raw == NOTHING


def test_brackets_bid_above_a_dollar_count_without_the_empty_ones() -> None:
    tops = {"< 10": top(55, None), "10 .. 14": top(None, None), "> 14": top(46, 30)}
    assert counted(*BRACKETS, tops=tops) == Survey(Violations(bids_over_1=True), NOTHING)
    assert counted(*BRACKETS, tops={"< 10": top(55, None), "> 14": top(45, None)}).raw == NOTHING
    wide = {"< 10": top(60, None), "> 14": top(46, None)}
    assert counted(*BRACKETS, tops=wide).net == Violations(bids_over_1=True)


def test_brackets_asked_below_a_dollar_need_an_ask_each() -> None:
    # 0.30 + 0.30 + 0.38; the fees are 0.0147 twice and 0.016492.
    tops = {"< 10": top(None, 70), "10 .. 14": top(None, 70), "> 14": top(None, 62)}
    assert counted(*BRACKETS, tops=tops) == Survey(Violations(asks_under_1=True), NOTHING)
    assert counted(*BRACKETS, tops={**tops, "> 14": top(None, 72)}).net == Violations(asks_under_1=True)
    assert counted(*BRACKETS, tops={name: one for name, one in tops.items() if name != "10 .. 14"}).raw == NOTHING


def test_brackets_that_leave_a_gap_are_never_too_cheap_together() -> None:
    tops = {"< 10": top(None, 80), "> 14": top(None, 80)}
    assert counted("< 10", "> 14", tops=tops).raw == NOTHING


@pytest.mark.parametrize("strikes", [("> 1", "> 2"), BRACKETS])
def test_empty_books_contradict_nothing(strikes: tuple[str, ...]) -> None:
    assert counted(*strikes, tops={}) == Survey(NOTHING, NOTHING)
