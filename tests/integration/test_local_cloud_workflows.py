"""State machines in the embedded AWS: errors by name, a start that can be repeated, no pause."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.patches.workflows import _TimeWithoutStartPause
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


def test_only_the_pause_before_the_first_state_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)

    def runner() -> None:
        shim.sleep(0.15)

    def wait_state() -> None:
        shim.sleep(0.15)

    shim = _TimeWithoutStartPause(runner)
    runner()
    assert waited == []
    wait_state()
    assert waited == [0.15]
    assert shim.monotonic is time.monotonic


def test_an_execution_runs_through_its_states(stack: Deployed) -> None:
    arn = start(stack, {}, "plain")
    assert output(stack, arn)["greeting"] == "from the layer"
    assert [event["type"] for event in history(stack, arn)[:2]] == ["ExecutionStarted", "TaskStateEntered"]


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


def test_a_throttled_task_is_caught_by_its_aws_name(stack: Deployed, tmp_path: Path) -> None:
    sign = tmp_path / "the only environment is busy"
    event = {"do": "sleep", "seconds": 2, "sign": str(sign)}
    busy = threading.Thread(target=lambda: stack.call(event, RESERVED))
    busy.start()
    try:
        wait_for(sign.exists)
        found = output(stack, start(stack, {}, "throttled"))
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


def test_an_explicit_deny_stops_the_calls_of_an_execution_that_runs_already(stack: Deployed) -> None:
    """The process of the function is warm and has just been called: the next call does not reach it."""
    iam, machines = stack.client("iam"), stack.client("stepfunctions")
    machine = machines.describe_state_machine(stateMachineArn=stack.report.outputs["Machine"])
    role = machine["roleArn"].rpartition("/")[2]
    function = stack.client("lambda").get_function(FunctionName=RESERVED)["Configuration"]["FunctionArn"]
    statement = {"Effect": "Deny", "Action": ["lambda:InvokeFunction"], "Resource": function}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    policy = iam.create_policy(PolicyName="no-calls", PolicyDocument=document)["Policy"]["Arn"]
    stack.call({"do": "exit", "code": 0}, RESERVED)
    arn = start(stack, {"do": "fail_first", "times": 1}, "denied-in-the-middle")
    wait_for(lambda: any(event["type"] == "TaskFailed" for event in history(stack, arn)))
    iam.attach_role_policy(RoleName=role, PolicyArn=policy)
    try:
        assert end(stack, arn)["status"] == "FAILED"
        errors = [e["taskFailedEventDetails"]["error"] for e in history(stack, arn) if e["type"] == "TaskFailed"]
        assert errors == ["ExchangeError", "Lambda.AWSLambdaException"]
    finally:
        iam.detach_role_policy(RoleName=role, PolicyArn=policy)
    assert output(stack, start(stack, {}, "allowed-again"))["greeting"] == "from the layer"
