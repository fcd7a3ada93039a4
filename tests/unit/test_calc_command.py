"""`kalshi-arb calc`: the worked examples as they are printed, and one line for whatever cannot be calculated."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kalshi_arb.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = json.loads((ROOT / "tests" / "payloads" / "calc" / "examples.json").read_text())
COMMANDS = [(one["command"], one["says"]) for example in EXAMPLES for one in example["commands"]]


def calc(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["calc", *arguments])


@pytest.mark.parametrize(("command", "says"), COMMANDS)
def test_the_worked_examples_come_out(command: str, says: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("kalshi-arb", "calc")
    result = calc(*arguments)
    assert result.exit_code == 0, result.output
    for line in says:
        assert line in result.output


def test_there_are_five_examples_and_the_readme_shows_no_other_command() -> None:
    assert len(EXAMPLES) == 5
    shown = re.findall(r"^kalshi-arb calc .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(shown) <= {command for command, _ in COMMANDS}


def test_the_answer_for_machines_has_money_in_strings() -> None:
    result = calc("--relation", "implies:A,B", "--leg", "A:no:0.40:10", "--leg", "B:yes:0.50:10", "--json")
    answer = json.loads(result.output)
    assert (answer["answer"], answer["worst_profit"], answer["worst_state"]) == ("lock", "0.656800", "YES: A, B")
    assert answer["rests_on"] == [{"text": "A implies B", "carries": True, "without_it": "-9.343200"}]
    assert [(leg["market"], leg["side"], leg["price"], leg["count"]) for leg in answer["legs"]] == [
        ("A", "no", "0.4000", "10.00"),
        ("B", "yes", "0.5000", "10.00"),
    ]
    assert all(re.fullmatch(r"-?\d+\.\d{6}", state["profit"]) for state in answer["states"])


def test_books_come_from_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "books.json"
    book = {"yes_dollars": [["0.36", "100"], ["0.30", "5"]], "no_dollars": []}
    path.write_text(json.dumps({"A": book, "B": book, "C": book}))
    result = calc("--relation", "exclusive:A,B,C", "--book", str(path), "--json")
    assert json.loads(result.output)["worst_profit"] == "3.161300"


def test_a_book_that_was_read_long_ago_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "books.json"
    path.write_text(json.dumps({"A": {"yes_dollars": [["0.60", "9"]], "captured_at": "2026-01-01T00:00:00Z"}}))
    result = calc("--relation", "exclusive:A,B", "--leg", "A:no::5", "--book", str(path))
    assert result.exit_code == 2
    assert "the book of A is stale" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "there is nothing to calculate"),
        (("--leg", "A:up:0.4:1"), "is not NAME:yes|no:PRICE:COUNT"),
        (("--leg", "A:yes:0.405:1"), "A YES: an order cannot carry the price 0.4050; nearest legal: 0.4000 or 0.4100"),
        (("--leg", "A:no:0.405:1"), "A NO: an order cannot carry the price 0.5950"),
        (("--leg", "A:yes:1.5:1"), "outside 0 to 1 dollar"),
        (("--leg", "A:yes:0.40:0"), "must be at least 0.01 contracts"),
        (("--leg", "A:yes:0.40:0.001"), "finer than 1e-2"),
        (("--leg", "A:yes::5"), "A YES: give its price"),
        (("--leg", "A:yes:0.4:5:tip"), "the fee type 'tip' has no exact fee"),
        (("--leg", "A:yes:0.4:5", "--leg", "A:yes:0.5:5"), "two legs buy the same contract"),
        (("--relation", "likes:A,B", "--leg", "A:yes:0.4:5"), "'likes' is no relation"),
        (("--relation", "implies:A", "--leg", "A:yes:0.4:5"), "needs two markets, not 1"),
        (("--relation", "exclusive:A,A", "--leg", "A:yes:0.4:5"), "a market is named twice"),
        (
            ("--relation", "implies:A,B", "--relation", "exclusive:A,B", "--leg", "A:yes:0.4:5"),
            "the relations contradict themselves",
        ),
        (("--state", "x=A", "--state", "x=B", "--leg", "A:yes:0.4:5"), "'x' is listed twice"),
        (("--state", "?x=A", "--leg", "A:yes:0.4:5"), "none of the states is certain"),
        (
            ("--relation", "exclusive:A,B", "--state", "x=A,B", "--leg", "A:yes:0.4:5"),
            "the states contradict the relation exclusive:A,B: in 'x' it does not hold",
        ),
        (("--state", "x=A:1.2", "--leg", "A:yes:0.4:5"), "outside 0 to 1 dollar"),
        (("--strike", "A=about 9", "--leg", "A:yes:0.4:5"), "the strike 'about 9' cannot be read"),
        (("--strike", "A=> 9", "--leg", "B:yes:0.4:5"), "B has no strike"),
        (("--strike", "A=> 9", "--strike", "B=> 9", "--leg", "A:yes:0.4:5"), "these strikes form no group"),
        (("--strike", "A=> 9", "--relation", "exclusive:A,B"), "the ways to settle come from one source"),
        (
            ("--leg", "A:no::5", "--book", "A:bid:0.60:9", "--book", "A:ask:0.50:9"),
            "the book of A is crossed",
        ),
        (("--leg", "A:yes::5", "--book", "A:bid:0.60:9"), "A YES: that side of its book is empty"),
        (("--leg", "A:no:0.40:50", "--book", "A:bid:0.60:9"), "41.00 of 50.00 are not on its book at 0.4000 or better"),
        (("--leg", "A:no:0.39:5", "--book", "A:bid:0.60:9"), "5.00 of 5.00 are not on its book at 0.3900 or better"),
        (("--leg", "A:no::5", "--book", "B:bid:0.60:9"), "there is a book of B, which no leg"),
        (("--leg", "A:no::5", "--book", "nothing"), "is no file, and no level such as"),
        (("--leg", "A:no::5", "--book", "A:bid:0:9"), "nothing can rest at 0"),
        (("--precision", "0.5", "--leg", "A:no:0.4:5"), "0.5 is no balance precision"),
        (("--request", "tests/payloads/calc/partition_188.json", "--leg", "A:no:0.4:5"), "--request holds everything"),
        (("--exchange", "prod", "--book", "A:bid:0.4:5"), "--exchange reads the markets"),
        (("--relation", "exclusive:" + ",".join("ABCDEFGHIJKLMN"), "--leg", "Z:yes:0.4:5"), None),
        (tuple(x for n in "ABCDEFGHIJKL" for x in ("--leg", f"{n}:yes:0.4:5")), "settle in more than 2000 ways"),
    ],
)
def test_what_cannot_be_judged_is_refused_without_a_figure(
    arguments: tuple[str, ...], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = calc(*arguments)
    if told is None:
        assert result.exit_code == 0, result.output
        return
    assert result.exit_code == 2, result.output
    assert told in result.output
    assert "worst" not in result.output
