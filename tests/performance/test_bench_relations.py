"""The bench itself: worlds and universe are the same for the same seed, nothing untrue is accepted, and a builder that
believes too much is caught. The universe is measured in a short form: structure and ratios, no seconds."""

import json
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from infra.bench import relation_score, relations
from infra.bench.relation_cases import Case, read_cases
from infra.bench.relation_worlds import FAMILIES, worlds
from infra.bench.relations import ScaleError, accuracy, scale
from infra.bench.universe_of_listings import FEWEST, Universe
from kalshi_arb.relations import exclusive, line_parts, rules
from kalshi_arb.relations.wordings import Doubt

EVENTS, MARKETS, CHANGES = 400, 3_000, 40
EACH = 40


@pytest.fixture(scope="module")
def short_scale() -> dict[str, Any]:
    return scale(EVENTS, MARKETS, CHANGES)


def test_worlds_are_the_same_for_the_same_seed() -> None:
    assert list(worlds(1, 3)) == list(worlds(1, 3))
    assert list(worlds(1, 3)) != list(worlds(2, 3))
    assert Counter(world.family for world in worlds(1, 3)) == dict.fromkeys(FAMILIES, 3)


def test_every_kind_of_trap_comes_up() -> None:
    odd = {(world.family, world.trap) for world in worlds(1, 120)}
    assert {trap for family, trap in odd if family == "ladder"} >= {"mislabelled", "station", "close", "flag", "price"}
    assert {trap for family, trap in odd if family == "line"} >= {"source", "statistic", "named", "instant"}
    assert {trap for family, trap in odd if family == "game"} >= {"nested", "dates", "subject", "tie", "no flag"}
    assert {trap for family, trap in odd if family == "deadline"} >= {"negated", "in", "statement", "order"}


def test_nothing_untrue_is_accepted_and_what_is_plain_is_found() -> None:
    found = accuracy(EACH, 1)
    assert found["untrue"] == []
    assert found["differences"] == []
    assert found["precision_is_1"]
    assert found["worlds"] == EACH * len(FAMILIES)
    for family, row in found["families"].items():
        assert row["precision"] == 1.0, family
        assert row["by_trap"]["plain"]["recall_with_approval"] > 0.5, family
        assert row["true"] == row["accepted"] + row["assumed"] + row["conditional"] + row["refused"]
    assert found["families"]["ladder"]["by_trap"]["plain"]["recall"] > 0.95
    assert found["families"]["deadline"]["by_trap"]["reviewed"]["recall"] == 1.0


BLIND = {
    "the words that nest are not read": (exclusive, "_nested", lambda *_: False, "game"),
    "a text against its type is not read": (line_parts, "doubt", lambda *_: Doubt.NONE, "ladder"),
    "texts are not compared": (line_parts, "statement", lambda *_: "the same", "ladder"),
    "no clause is read": (rules, "read_clauses", lambda *_: frozenset(), "combo"),
}


@pytest.mark.parametrize("name", BLIND)
def test_a_builder_that_believes_too_much_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, blind, family = BLIND[name]
    rules._sources.cache_clear()
    monkeypatch.setattr(module, function, blind)
    found = accuracy(EACH, 1)
    rules._sources.cache_clear()
    assert not found["precision_is_1"]
    row = found["families"][family]
    assert row["false"] + row["missing_states"] > 0
    assert row["precision"] < 1 or row["missing_states"] > 0
    assert found["untrue"]


def altered(case: Case, change: Any) -> Case:
    content = json.loads(json.dumps(case.content, default=float))
    change(content["expect"])
    return replace(case, content=content)


def test_a_case_that_comes_out_otherwise_is_a_difference() -> None:
    (case,) = [one for one in read_cases() if one.name == "ladder_of_thresholds"]
    right, none = relation_score.score_cases([case])
    assert none == []
    assert right["ladder"].too_much == right["ladder"].too_little == 0
    beyond, words = relation_score.score_cases([altered(case, lambda expect: expect["groups"][0]["relations"].pop())])
    assert (beyond["ladder"].too_much, beyond["ladder"].too_little) == (1, 0)
    assert "is claimed" in words[0]
    graded, words = relation_score.score_cases(
        [altered(case, lambda expect: expect["bundles"][0].update(grade="conditional"))]
    )
    assert graded["ladder"].too_much == 1
    assert words == ["ladder_of_thresholds, the easier bought, the harder sold: proved, not conditional"]


def test_the_universe_has_the_numbers_that_were_asked_for_and_is_the_same_for_the_same_seed() -> None:
    events = list(Universe(EVENTS, MARKETS, 5).walk())
    assert len(events) == len({event["event_ticker"] for event in events}) == EVENTS
    tickers = [market["ticker"] for event in events for market in event["markets"]]
    assert len(tickers) == len(set(tickers)) == MARKETS
    assert events == list(Universe(EVENTS, MARKETS, 5).walk())
    assert events != list(Universe(EVENTS, MARKETS, 6).walk())
    kinds = Counter(event["event_ticker"].rstrip("0123456789-") for event in events)
    assert len(kinds) == 12
    assert min(kinds.values()) >= 2


def test_discovery_of_a_small_universe_forms_every_family_and_a_change_costs_a_fraction(
    short_scale: dict[str, Any],
) -> None:
    assert (short_scale["events"], short_scale["markets"]) == (EVENTS, MARKETS)
    assert set(short_scale["families"]) == {"combo", "deadline", "exclusive", "game", "ladder", "line", "partition"}
    # Only markets of words stay outside, and one of several players' last rungs.
    outside = MARKETS - short_scale["markets_in_groups"]
    assert outside == sum(short_scale["left_out"].values())
    assert set(short_scale["left_out"]) <= {"no_structured_strike", "single_market"}
    change = short_scale["change_ms"]
    assert change["events"] == CHANGES
    assert change["changed_groups"] > 0
    # One event of four hundred costs far less than all of them.
    assert change["median"] / 1000 < short_scale["seconds"]["build"] / 20
    # The peak grows with what is listed, not with what it could combine to: a few kilobytes a market.
    assert short_scale["memory_mb"]["peak"] - short_scale["memory_mb"]["before"] < 100
    assert set(short_scale["targets"]) == set(relations.TARGETS)


def test_the_command_prints_both_forms_and_its_exit_code_follows_what_was_found(
    short_scale: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(relations, "scale", lambda *_: short_scale)
    monkeypatch.setattr(sys, "argv", ["bench", "--json", "--worlds", "5"])
    assert relations.main() == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["worlds"] == 5 * len(FAMILIES)
    missed = {**short_scale, "targets": {"peak_memory_mb": {"measured": 2000, "target": 1024.0, "met": False}}}
    monkeypatch.setattr(relations, "scale", lambda *_: missed)
    monkeypatch.setattr(sys, "argv", ["bench", "--check", "--worlds", "5"])
    assert relations.main() == 1
    assert "MISSED: 2000 of at most 1024 megabytes" in capsys.readouterr().out
    monkeypatch.setattr(exclusive, "_nested", lambda *_: False)
    monkeypatch.setattr(relations, "scale", lambda *_: short_scale)
    monkeypatch.setattr(sys, "argv", ["bench", "--worlds", "40"])
    assert relations.main() == 1
    assert "UNTRUE: " in capsys.readouterr().out


def test_a_measurement_that_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    with pytest.raises(ScaleError):
        scale(FEWEST - 1, MARKETS, CHANGES)
    monkeypatch.setattr(sys, "argv", ["bench", "--worlds", "1", "--markets", "7"])
    assert relations.main() == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert "error: the measurement of scale ended with exit code 2" in told.err


@pytest.mark.parametrize("arguments", [["--worlds", "0"], ["--seed", "x"]])
def test_wrong_numbers_are_wrong_use(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        relations.main()
    assert ended.value.code == 2
