"""Bad input to a search: refused with the reason, never a number."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kalshi_arb.detection.judge import Judgement, Verdict, judge
from kalshi_arb.detection.scan import ScanCounts, Tally
from kalshi_arb.detection.verify import MAX_AGE_MS
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import HUNDREDTH, ONE_CONTRACT
from kalshi_arb.domain.state_space import Group
from tests.market_samples import NOW_MS, book, books, group

LADDER = ("> 1", "> 2")
EASY, HARD = book("> 1", no=[(60, 10)]), book("> 2", yes=[(50, 10)])


def judged(found: Group, snapshots: Mapping[str, BookSnapshot], now_ms: int = NOW_MS) -> Judgement:
    return judge(
        found, snapshots, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=now_ms, max_age_ms=MAX_AGE_MS
    )


def counted(found: Group, snapshots: Mapping[str, BookSnapshot], now_ms: int) -> ScanCounts:
    tally = Tally(precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT)
    tally.judge(found, snapshots, now_ms)
    report = tally.report(now_ms)
    assert report.found == ()
    return report.counts


def test_the_same_books_without_a_fault_hold_a_bundle() -> None:
    assert judged(group(*LADDER), books(EASY, HARD)).verdict is Verdict.PROVED


CROSSED = book("> 1", yes=[(40, 1)], no=[(60, 20)])
OFF_GRID = book("> 1", no=[(60.5, 10)])


@pytest.mark.parametrize(
    ("snapshots", "now_ms", "verdict", "told"),
    [
        (books(CROSSED, HARD), NOW_MS, Verdict.UNFIT_BOOKS, "the book of > 1 is crossed"),
        (books(EASY, HARD), NOW_MS + MAX_AGE_MS + 1, Verdict.UNFIT_BOOKS, "the book of > 1 is 5001 ms old"),
        (books(EASY, replace(HARD, alive_ms=NOW_MS - MAX_AGE_MS - 1)), NOW_MS, Verdict.UNFIT_BOOKS, "> 2 is 5001 ms"),
        (books(EASY, book("> 2")), NOW_MS, Verdict.NO_BUNDLE, "a side is missing"),
        (books(EASY), NOW_MS, Verdict.NO_BUNDLE, "a side is missing"),
        (books(OFF_GRID, HARD), NOW_MS, Verdict.NOT_PROVED, "0.3950 is not on the market's price grid"),
    ],
    ids=["crossed book", "stale books", "stale leg", "empty side", "missing book", "price off grid"],
)
def test_a_fault_is_named_and_nothing_is_found(
    snapshots: dict[str, BookSnapshot], now_ms: int, verdict: Verdict, told: str
) -> None:
    found = group(*LADDER)
    judgement = judged(found, snapshots, now_ms)
    assert (judgement.verdict, judgement.legs, judgement.certificate, judgement.edge) == (verdict, (), None, None)
    assert told in judgement.text
    assert counted(found, snapshots, now_ms).dropped == {verdict.value: 1}


def test_less_than_the_smallest_order_is_no_bundle() -> None:
    """Half a contract is there, and one of the two markets trades whole ones."""
    found = group(*LADDER)
    halves = books(book("> 1", no=[(60, 0.5)]), book("> 2", yes=[(50, 0.5)]))
    assert judged(found, halves).verdict is Verdict.PROVED
    steps = (HUNDREDTH, ONE_CONTRACT)
    markets = tuple(replace(one, count_step=step) for one, step in zip(found.markets, steps, strict=True))
    judgement = judged(replace(found, markets=markets), halves)
    assert (judgement.verdict, judgement.legs, judgement.certificate) == (Verdict.NO_BUNDLE, (), None)


def test_a_market_of_whole_contracts_beside_one_of_hundredths_makes_a_legal_bundle() -> None:
    found = group(*LADDER)
    snapshots = books(book("> 1", no=[(60, 7.53)]), book("> 2", yes=[(50, 4.2), (49, 8.15)]))
    fine = judged(found, snapshots)
    assert any(leg.count % ONE_CONTRACT for leg in fine.legs)
    for coarse in (0, 1):
        markets = [*found.markets]
        markets[coarse] = replace(markets[coarse], count_step=ONE_CONTRACT)
        judgement = judged(replace(found, markets=tuple(markets)), snapshots)
        assert judgement.verdict is Verdict.PROVED
        assert [leg.count for leg in judgement.legs] == [700, 700]


def test_states_that_contradict_themselves_make_no_group() -> None:
    found = group(*LADDER)
    with pytest.raises(ProofError, match="no states"):
        replace(found, states=())
