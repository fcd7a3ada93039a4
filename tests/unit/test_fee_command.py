"""`kalshi-arb fee`: the figure, the bounds, the words, and one line for what cannot be used."""

import json
from typing import Any

import pytest

from kalshi_arb.cli.main import main

Captured = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["kalshi-arb", "fee", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Any:
    def ask(*arguments: str) -> dict[str, Any]:
        assert run(monkeypatch, *arguments, "--json") == 0
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    return ask


def test_a_hundred_contracts_at_43_cents(answer: Any) -> None:
    view = answer(
        *("--price", "0.43", "--count", "100", "--side", "bid", "--role", "taker", "--fee-type", "quadratic"),
        *("--multiplier", "1", "--precision", "0.0001"),
    )
    assert view["fee"] == view["fee_at_least"] == view["model_fee"] == "1.7157"
    assert view["fee_at_most"] == "1.7158"
    assert (view["cost"], view["balance_change"], view["smallest_fill"]) == ("43.00", "-44.7157", "1.00")


def test_fills_share_the_accumulator_of_their_order(answer: Any) -> None:
    view = answer("--fills", "0.055:1,0.055:1,0.055:1")
    assert [fill["fee"] for fill in view["fills"]] == ["0.0037", "0.0036", "0.0037"]
    assert [fill["balance_change"] for fill in view["fills"]] == ["-0.0587", "-0.0586", "-0.0587"]
    assert view["fee"] == "0.011"
    broker = answer("--fills", ",".join(["0.43:10"] * 10), "--precision", "0.01")
    assert broker["fee"] == answer("--price", "0.43", "--count", "100", "--precision", "0.01")["fee"] == "1.72"


def test_the_date_decides_the_rounding_rule(answer: Any) -> None:
    then = answer("--price", "0.0130", "--count", "71.94", "--at", "2026-08-15")
    now = answer("--price", "0.0130", "--count", "71.94", "--at", "2026-10-08T00:00Z")
    today = answer("--price", "0.0130", "--count", "71.94")
    assert (then["fee"], then["regime"]) == ("0.06478", "centicent")
    assert (now["fee"], now["regime"]) == (today["fee"], today["regime"]) == ("0.06468", "six_decimals")


def test_an_ask_buys_the_other_outcome(answer: Any) -> None:
    bid, ask = (answer("--price", "0.30", "--count", "10", "--side", side) for side in ("bid", "ask"))
    assert (bid["cost"], ask["cost"]) == ("3.00", "7.00")
    assert bid["fee"] == ask["fee"] == "0.147"


def test_a_maker_pays_where_the_series_says_so(answer: Any) -> None:
    maker = ("--price", "0.50", "--count", "100", "--role", "maker")
    assert answer(*maker)["fee"] == "0.00"
    assert answer(*maker, "--fee-type", "quadratic_with_maker_fees")["fee"] == "0.4375"
    assert answer(*maker, "--fee-type", "quadratic_with_combo_maker_fees", "--multiplier", "0.5")["fee"] == "0.4375"


def test_the_upper_bound_rests_on_the_smallest_fill(answer: Any) -> None:
    order = ("--price", "0.055", "--count", "100", "--precision", "0.01")
    bounds = [answer(*order, "--smallest-fill", size)["fee_at_most"] for size in ("100", "10", "1", "0.01")]
    assert bounds[0] == answer(*order)["fee"] == "0.37"
    assert [float(bound) for bound in bounds] == sorted(map(float, bounds))
    assert float(bounds[-1]) > 90


def test_people_read_every_rounding(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert run(monkeypatch, "--fills", "0.055:1,0.055:2", "--precision", "0.01") == 0
    said = capsys.readouterr().out
    for words in (
        "buys YES for $0.165",
        "0.07 x count x price x (1 - price) = $0.01091475",
        "fee up to $0.000001, its balance change down to $0.01",
        "trade fee $0.003639 + rounding $0.001361 - rebate $0.00 = $0.005; balance -0.06, carried $0.001361",
        "fill 2    2.00 at 0.0550",
        "no fill but the last is below 1.00 contracts",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--price", "0.43001", "--count", "1"), "--price: 0.43001 is finer than 1e-4"),
        (("--price", "1", "--count", "1"), "--price: an order cannot carry the price 1.0000; nearest legal: 0.9999"),
        (("--price", "43", "--count", "1"), "--price: price 43 is outside 0 to 1 dollar"),
        (("--price", "forty", "--count", "1"), "--price: not a plain decimal: 'forty'"),
        (("--price", "0.4", "--count", "0"), "--count is 0, and must be at least 0.01"),
        (("--price", "0.4", "--count", "0.005"), "--count: 0.005 is finer than 1e-2"),
        (("--price", "0.4"), "give --price and --count, or --fills"),
        (("--price", "0.4", "--count", "1", "--fills", "0.4:1"), "not both"),
        (("--fills", "0.4"), "--fills: '0.4' is not PRICE:COUNT"),
        (("--fills", "0.4:1,0.4:x"), "--fills: not a plain decimal: 'x'"),
        (("--price", "0.4", "--count", "1", "--side", "buy"), "--side is 'buy', and must be one of bid, ask"),
        (("--price", "0.4", "--count", "1", "--role", "x"), "--role is 'x', and must be one of taker, maker"),
        (("--price", "0.4", "--count", "1", "--fee-type", "flat"), "--fee-type is 'flat', which has no exact fee"),
        (("--price", "0.4", "--count", "1", "--fee-type", "new"), "--fee-type is 'new', which has no exact fee"),
        (("--price", "0.4", "--count", "1", "--multiplier", "-1"), "--multiplier: negative"),
        (("--price", "0.4", "--count", "1", "--precision", "0.001"), "--precision: 0.001 is no balance precision"),
        (("--price", "0.4", "--count", "1", "--smallest-fill", "0"), "--smallest-fill is 0"),
        (("--price", "0.4", "--count", "1", "--at", "soon"), "--at is 'soon'"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, arguments: tuple[str, ...], says: str
) -> None:
    assert run(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert says in printed.err
    assert len(printed.err.splitlines()) == 1
