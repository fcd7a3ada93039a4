"""State machines in the embedded AWS: errors by name, a start that can be repeated, no pause."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.integration.local_cloud_support import RESERVED, Deployed, deployed, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def start(stack: Deployed, event: dict[str, Any], name: str) -> str:
    answer = stack.client("stepfunctions").start_execution(
        stateMachineArn=stack.report.outputs["Machine"], name=name, input=json.dumps(event)
    )
    return str(answer["executionArn"])


def end(stack: Deployed, arn: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = stack.client("stepfunctions").describe_execution(executionArn=arn)
        return found if found["status"] != "RUNNING" else None

    found: dict[str, Any] = wait_for(ended)
    return found


def output(stack: Deployed, arn: str) -> Any:
    found = end(stack, arn)
    assert found["status"] == "SUCCEEDED", found
    return json.loads(found["output"])


def history(stack: Deployed, arn: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.client("stepfunctions").get_execution_history(executionArn=arn)["events"]
    return found


def test_the_first_state_is_entered_at_once(stack: Deployed) -> None:
    delays = []
    for number in range(3):
        arn = start(stack, {}, f"at-once-{number}")
        end(stack, arn)
        events = history(stack, arn)
        moments = [datetime.fromisoformat(str(event["timestamp"])) for event in events[:2]]
        delays.append((moments[1] - moments[0]).total_seconds())
        assert [event["type"] for event in events[:2]] == ["ExecutionStarted", "TaskStateEntered"]
    assert min(delays) < 0.15  # the pause that was there; the quickest of three is free of the machine's load


def test_retry_matches_the_class_name_of_the_handlers_exception(stack: Deployed) -> None:
    stack.call({"do": "exit", "code": 0}, RESERVED)
    arn = start(stack, {"do": "fail_first", "times": 1}, "retry-by-class")
    assert output(stack, arn)["calls"] == 2
    failed = [event for event in history(stack, arn) if event["type"] == "TaskFailed"]
    assert [event["taskFailedEventDetails"]["error"] for event in failed] == ["ExchangeError"]


def test_catch_matches_the_class_name_and_not_its_base(stack: Deployed) -> None:
    arn = start(stack, {"do": "fail"}, "catch-by-class")
    assert output(stack, arn) == {"end": "caught", "error": "RateLimitedError"}


def test_a_process_that_dies_in_a_task_is_caught_by_its_aws_name(stack: Deployed) -> None:
    arn = start(stack, {"do": "exit", "code": 9}, "dies")
    assert output(stack, arn) == {"end": "died", "error": "Runtime.ExitError"}


def test_a_throttled_task_is_caught_by_its_aws_name(stack: Deployed) -> None:
    busy = threading.Thread(target=lambda: stack.call({"do": "sleep", "seconds": 2}, RESERVED))
    busy.start()
    try:
        for attempt in range(100):
            found = output(stack, start(stack, {}, f"throttled-{attempt}"))
            if "end" in found:
                break
        assert found == {"end": "throttled", "error": "Lambda.TooManyRequestsException"}
    finally:
        busy.join()


def test_starting_the_running_execution_again_with_the_same_input_is_the_same_execution(stack: Deployed) -> None:
    machine = stack.client("stepfunctions")
    waiting = machine.create_state_machine(
        name="waits",
        definition=json.dumps({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}),
        roleArn="arn:aws:iam::000000000000:role/any",
    )["stateMachineArn"]
    first = machine.start_execution(stateMachineArn=waiting, name="b1-1", input='{"attempt": 1}')
    second = machine.start_execution(stateMachineArn=waiting, name="b1-1", input='{"attempt": 1}')
    assert second["executionArn"] == first["executionArn"]
    assert second["startDate"] == first["startDate"]
    with pytest.raises(machine.exceptions.ExecutionAlreadyExists):
        machine.start_execution(stateMachineArn=waiting, name="b1-1", input='{"attempt": 2}')
    machine.stop_execution(executionArn=first["executionArn"])
    with pytest.raises(machine.exceptions.ExecutionAlreadyExists):
        machine.start_execution(stateMachineArn=waiting, name="b1-1", input='{"attempt": 1}')


def test_simultaneous_starts_are_one_execution(stack: Deployed) -> None:
    arns: list[str] = []
    starters = [
        threading.Thread(target=lambda: arns.append(start(stack, {"do": "sleep", "seconds": 1}, "raced")))
        for _ in range(4)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(arns) == 4
    assert len(set(arns)) == 1
    assert sum(event["type"] == "ExecutionStarted" for event in history(stack, arns[0])) == 1
    end(stack, arns[0])
