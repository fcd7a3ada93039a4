"""The comparison itself: the same groups for everybody, equal answers before any time, ratios that are written down."""

import json

import pytest

from infra.bench import detect
from infra.bench.detect import PEERS, SUBJECTS, DifferentAnswersError, Subject, compare, instances, main
from infra.bench.detect_worlds import MAKERS, Case

SMALL = tuple(subject._replace(markets=12) for subject in SUBJECTS)


def test_the_groups_are_the_same_for_the_same_seed_and_hold_arbitrages() -> None:
    for name, make in MAKERS.items():
        assert make(12, 7, 5) == make(12, 7, 5), name
        assert make(12, 8, 5) != make(12, 7, 5), name
    for subject in SMALL:
        assert all(detect.ours(*case) > 0 for case in instances(subject, 3, 1))


@pytest.mark.parametrize("subject", SMALL, ids=lambda subject: subject.name)
def test_every_peer_finds_what_the_solver_finds(subject: Subject) -> None:
    contenders = {name: PEERS[name] for name in (*subject.targets, *subject.others)}
    assert compare(subject, instances(subject, 3, 1), contenders) == 3


def test_another_answer_stops_the_comparison() -> None:
    subject = SMALL[0]
    with pytest.raises(DifferentAnswersError, match="wrong finds"):
        compare(subject, instances(subject, 1, 1), {"wrong": lambda *_: 1e6})


def test_groups_without_an_arbitrage_prove_nothing() -> None:
    group, _ = instances(SMALL[0], 1, 1)[0]
    with pytest.raises(DifferentAnswersError, match="nothing to find"):
        compare(SMALL[0], [Case(group, {})], {"same": lambda *_: 0.0})


def test_the_report_holds_ratios_targets_and_arbitrages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detect, "SUBJECTS", SMALL[:1])
    assert main(["--json", "--instances", "1", "--runs", "1"]) == 0
    row = json.loads(capsys.readouterr().out)["solvers"]["ladder_30"]
    assert row["arbitrages"] > 0
    assert row["answers_equal"] is True
    assert row["ratios"].keys() == {"pulp_cbc", "highspy_pruned", "highspy_dense"}
    assert row["targets"] == {"pulp_cbc": 1_000, "highspy_pruned": 5}


def test_the_ladder_sweep_is_far_ahead_of_a_general_program() -> None:
    """With slack for a busy machine: the targets themselves are checked by the command."""
    row = detect.measure(SUBJECTS[0], 1, 1, 1)
    assert row["ratios"]["pulp_cbc"] >= 200
