"""The latency bench tells what it measured, and calls an estimate an estimate."""

import json

import pytest
from click.testing import CliRunner

from infra.bench.latency import DOLLARS_PER_TRANSITION, estimate, in_the_cloud, main, percentile, summary
from infra.bench.latency_cloud import Start
from infra.bench.latency_code import CodeRun, Measured

MEASURED = Measured(
    detection_ms=1.0, to_first_order_ms=2.0, whole_ms=3.0, transitions=10, transitions_to_first_order=3,
    tasks_to_first_order=2, calls={"table": 10, "exchange": 5, "workflow": 1},
)  # fmt: skip


def test_a_basket_of_two_waves_becomes_a_lock_in_few_steps() -> None:
    measured = CodeRun().measure()
    assert 0 < measured.detection_ms < measured.to_first_order_ms < measured.whole_ms
    assert 1 + measured.transitions <= 12
    assert (measured.transitions_to_first_order, measured.tasks_to_first_order) == (3, 2)
    assert measured.calls["workflow"] == 1
    assert measured.calls["table"] > 0
    assert measured.calls["exchange"] > 0


def test_every_run_asks_for_the_same() -> None:
    first, second = (CodeRun().measure() for _ in range(2))
    assert first.calls == second.calls


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.99, 4), (0.25, 1), (0.26, 2), (1.0, 4)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert percentile([4, 1, 3, 2], share) == expected


def test_nothing_measured_is_said_to_be_nothing() -> None:
    assert summary([]) == {"n": 0}


def test_the_estimate_says_what_it_is_made_of_and_what_it_leaves_out() -> None:
    found = estimate(MEASURED, 2.0)
    assert "estimate" in found["note"]
    assert found["warm_ms"] == [12, 92]
    assert found["cold_ms"] == [312, 3092]
    assert found["comes_on_top"]["exchange_calls_before_the_first_order"] == 5
    assert found["comes_on_top"]["transitions_before_the_first_order"] == 3
    assert found["dollars_of_transitions"] == pytest.approx(11 * DOLLARS_PER_TRANSITION)


def test_the_first_basket_of_a_start_is_cold_and_the_others_are_warm() -> None:
    found = in_the_cloud([Start((900, 100, 110), (10, 10)), Start((800, 120), (10,))])
    assert (found["cold"]["n"], found["cold"]["p99_ms"]) == (2, 900)
    assert (found["warm"]["n"], found["warm"]["p99_ms"]) == (3, 120)
    assert (found["transitions_of_two_wave_locks"], found["two_wave_locks"]) == ([10], 3)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(*, as_json: bool) -> None:
    arguments = ["--code-only", "--baskets", "3", "--starts", "1", *(["--json"] if as_json else [])]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    if not as_json:
        assert "an estimate" in result.output
        return
    report = json.loads(result.output)
    assert report["code_path"]["warm"]["to_first_order"]["n"] == 3
    assert report["code_path"]["cold"]["to_first_order"]["n"] == 1
    assert report["steps"]["transitions"] == 10
    assert "local_cloud" not in report


@pytest.mark.parametrize("arguments", [["--baskets", "0"], ["--starts", "0"], ["--baskets", "many"]])
def test_bad_input_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.output
