"""Dislocations planted in recorded books, traded by the real code on the exchange that holds them: each is explained to
1e-6 dollars, agrees with the exchange's account and stays within its bound.

The small tape is made up; the recordings are read where they are. ``KALSHI_ARB_DISLOCATIONS=n`` plants n baskets there.
"""

import json
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest

from infra.bench.dislocations import Case, DislocationError, Misfortune, cases, check, main, report
from infra.exchange.tape_terms import load_tape
from kalshi_arb.domain.basket import BasketState
from kalshi_arb.domain.money import Cash
from kalshi_arb.execution.explain import Part
from kalshi_arb.kalshi.tape import find_tapes
from kalshi_arb.kalshi.tape_facts import read_described

MADE = str(Path(__file__).resolve().parents[1] / "payloads" / "tapes" / "brackets.jsonl")
RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "books" / "weather"


def planted(tape: str, baskets: int, seed: int = 1) -> list[Case]:
    return list(cases(load_tape([tape]), read_described([tape]), baskets=baskets, seed=seed))


@lru_cache(maxsize=1)
def made() -> list[Case]:
    return planted(MADE, 60)


def reserved(found: list[Case]) -> list[Case]:
    return [case for case in found if case.explained is not None]


def test_every_basket_on_a_small_tape_is_explained_and_within_its_bound() -> None:
    found = reserved(made())
    assert len(found) == 60
    assert {case.group.family.value for case in found} == {"partition", "ladder"}
    assert {case.misfortune for case in found} == set(Misfortune)
    ends = {case.basket.state for case in found if case.basket}
    assert ends == {BasketState.LOCK, BasketState.FLAT, BasketState.HELD}
    assert sum(case.is_partial for case in found) >= 10
    for case in found:
        assert case.basket is not None
        assert case.explained is not None
        assert case.explained.locked == case.basket.locked_profit
        assert case.explained.loss <= case.basket.exposure_bound
        if case.basket.state is BasketState.LOCK:
            assert case.explained.realised >= case.explained.expected > 0


def test_parts_name_what_went_wrong() -> None:
    found = reserved(made())
    unwound = [case.explained for case in found if case.explained and case.explained.total(Part.UNWIND)]
    missing = [case.explained for case in found if case.explained and case.explained.total(Part.MISSING)]
    calm = [case for case in found if case.misfortune is Misfortune.NONE]
    assert unwound
    assert missing
    assert calm
    assert all(case.basket is not None and case.basket.state is BasketState.LOCK for case in calm)


def test_an_account_that_differs_is_noticed() -> None:
    case = next(case for case in made() if case.is_partial)
    with pytest.raises(DislocationError, match="the exchange's account is worth"):
        check(replace(case, ended=replace(case.ended, cash=Cash(case.ended.cash - 1))))


def test_a_loss_beyond_the_bound_is_noticed() -> None:
    case = next(case for case in made() if case.explained and case.explained.loss)
    assert case.explained is not None
    with pytest.raises(DislocationError, match="its bound was"):
        check(replace(case, explained=replace(case.explained, bound=Cash(case.explained.loss - 1))))


def test_the_same_seed_gives_the_same_baskets() -> None:
    first, second = (report([Path(MADE)], 7, planted(MADE, 8, seed=7)) for _ in range(2))
    assert first == second


def test_the_command_writes_table_distribution_and_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "told.json"
    arguments = [MADE, "--baskets", "8", "--seed", "3", "--json", str(told), "--docs", str(tmp_path)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "beyond the bound: 0" in shown
    kept = json.loads(told.read_text())
    assert kept["baskets"] == len(kept["rows"]) == 8
    for row in kept["rows"]:
        assert row["expected"] + sum(row["parts"].values()) == row["realised"]
        assert sum(item["amount"] for item in row["items"]) == sum(row["parts"].values())
    assert kept["without_a_loss"] + sum(kept["losses_by_tenth_of_bound"]) == 8
    assert "item by item" in (tmp_path / "dislocations.md").read_text()
    assert (tmp_path / "dislocations.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([str(Path(MADE).with_name("nowhere.jsonl"))], "no such file or folder"),
        ([str(Path(MADE).with_name("lock.jsonl")), "--baskets", "2"], "could be planted on this tape"),
    ],
)
def test_a_tape_that_cannot_be_used_is_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--baskets", "0", "--baskets must be 1 or more"),
        ("--docs", "nowhere", "--docs nowhere is no folder"),
        ("--json", "nowhere/told.json", "--json nowhere/told.json lies in no folder"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([MADE, option, value])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings at {RECORDED}")
def test_on_the_recordings_every_basket_is_explained_and_within_its_bound() -> None:
    wanted = int(os.environ.get("KALSHI_ARB_DISLOCATIONS", "50"))
    told = report(find_tapes([str(RECORDED)]), 1, planted(str(RECORDED), wanted))
    assert told["baskets"] == wanted
    assert told["partial"] >= min(10, wanted // 5)
    assert told["beyond_bound"] == 0
    assert all(row["expected"] + sum(row["parts"].values()) == row["realised"] for row in told["rows"])
