"""Two days of a simulated week: what every basket made is explained, and all of it together is the account's cash.

The long form, seven days and 200 baskets, is ``make week``.
"""

import json
from pathlib import Path

import pytest

from infra.chaos import week
from infra.chaos.week import Week
from infra.chaos.week_books import WeekBooks, summary, text_of
from infra.chaos.week_plan import Lot, WeekPlan
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import cash_from_wire
from kalshi_arb.execution.explain import Part

BASKETS = 40


@pytest.fixture(scope="module")
def books() -> WeekBooks:
    lived = Week(WeekPlan(seed=1, days=2, baskets=BASKETS, settle_minutes=40, netting=True))
    assert lived.live() == []
    assert lived.most_returned > 10_000_000, "dollars that came back and were no difference"
    return lived.books()


def test_every_difference_is_explained_and_the_parts_are_the_change_of_cash(books: WeekBooks) -> None:
    assert books.problems == ()
    assert len(books.lines) >= BASKETS
    for line in books.lines:
        told = line.explained
        assert told.expected + sum(told.total(part) for part in Part) == told.realised == line.row.settled_profit
    assert books.expected + sum(books.part(part) for part in Part) == books.realised == books.change


def test_markets_ended_in_every_way(books: WeekBooks) -> None:
    assert {line.lot for line in books.lines if line.row.state is BasketState.SETTLED} == set(Lot)
    assert all(books.results[status] for status in ("determined", "disputed", "amended", "finalized"))
    assert any(line.row.state is BasketState.FLAT for line in books.lines)
    assert all(books.part(part) for part in Part)
    assert books.shared_markets > 0


def test_what_was_found_before_fees_changed_is_refused_and_bought_when_found_again(books: WeekBooks) -> None:
    assert books.refused["fees_changed"] == 2
    multipliers = {terms.fees.multiplier for line in books.lines for terms in line.row.terms}
    assert multipliers >= {14_000, 2_500}


def test_nothing_differed_from_the_exchange_at_any_quiet_moment(books: WeekBooks) -> None:
    assert books.comparisons > 100
    assert books.quiet_moments > 100
    assert books.alerts["error"] == 0
    assert books.anchors >= 2


def test_the_summary_is_for_machines_and_the_text_for_people(books: WeekBooks) -> None:
    told = json.loads(json.dumps(summary(books)))
    assert sum(cash_from_wire(line["settled"]) for line in told["lines"]) == cash_from_wire(told["change_of_cash"])
    text = text_of(books)
    assert "the parts leave $0.00" in text
    assert "every result is explained" in text


def test_an_account_that_keeps_cents_balances_too() -> None:
    lived = Week(WeekPlan(seed=2, days=1, baskets=4, precision=Precision.CENT, settle_minutes=60))
    assert lived.live() == []
    assert lived.books().problems == ()


def test_the_command_prints_the_summary_and_writes_every_basket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "week.json"
    assert week.main(["--days", "1", "--baskets", "2", "--seed", "3", "--json", str(target)]) == 0
    assert json.loads(target.read_text())["problems"] == []
    assert "comparisons with the exchange" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--baskets", "0"], "at least one basket"),
        (["--days", "15"], "invalid choice"),
        (["--json", "/nowhere/at/all.json"], "there is no folder /nowhere/at"),
    ],
)
def test_bad_input_is_one_line(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        week.main(argv)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
