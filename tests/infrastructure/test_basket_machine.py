"""The basket's state machine is sound, and really runs: in an interpreter other than the local run's, with functions
that answer as the contract says."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda.models import LambdaFunction

from infra.checks.asl import lint_machine
from infra.checks.basket_machine import BASKET_MACHINE, EXECUTION_INPUT, REACHES

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = json.loads((ROOT / BASKET_MACHINE).read_text())
REGION = "us-east-1"
FUNCTIONS = ("risk_check", "execute_wave", "assess")
START = {"basket_id": "b0123456789abcdef0123", "attempt": 2}
Answer = dict[str, Any] | Exception


class NeverReachedError(Exception):
    """A function was called more often than the test allows."""


def test_the_machine_is_sound() -> None:
    assert lint_machine(DEFINITION, EXECUTION_INPUT, REACHES) == []


def test_only_ids_travel() -> None:
    """Books and legs stay in the basket row: an execution must be repeatable and stay far below the payload limit."""
    for name, state in DEFINITION["States"].items():
        for key in state.get("Parameters", {}).get("Payload", {}):
            assert key in ("basket_id.$", "attempt.$", "wave.$"), name


@pytest.mark.parametrize("error", ["Runtime.ExitError", "Sandbox.Timedout", "States.Timeout", "States.ALL"])
def test_a_wave_that_crashed_is_not_sent_again(error: str) -> None:
    assert all(error not in retry["ErrorEquals"] for retry in DEFINITION["States"]["ExecuteWave"]["Retry"])


@dataclass
class Cloud:
    """The functions' answers by name, in order, and every call that was made."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    machine: str = ""

    def invoke(self, function: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
        """Answers as moto's Lambda does: body, failed, log."""
        name = function.function_name
        self.calls.append((name, event))
        waiting = self.answers.get(name)
        answer = waiting.pop(0) if waiting else NeverReachedError(f"{name} was not expected")
        if isinstance(answer, Exception):
            return json.dumps({"errorType": type(answer).__name__, "errorMessage": str(answer)}), True, ""
        return json.dumps({"basket_id": event["basket_id"], "attempt": event["attempt"], **answer}), False, ""

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def run(self) -> dict[str, Any]:
        """One execution to its end."""
        client = boto3.client("stepfunctions", REGION)
        arn = client.start_execution(
            stateMachineArn=self.machine, name=f"{START['basket_id']}-{START['attempt']}", input=json.dumps(START)
        )["executionArn"]
        for _ in range(1_000):
            execution: dict[str, Any] = client.describe_execution(executionArn=arn)
            if execution["status"] != "RUNNING":
                return execution
            PAUSE(0.02)
        pytest.fail("the execution did not end")


PAUSE = time.sleep


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    found = Cloud()
    monkeypatch.setattr(LambdaFunction, "_invoke_lambda", lambda function, event=None: found.invoke(function, event))
    # Back-off is AWS's business; here it would only cost time.
    monkeypatch.setattr("moto.stepfunctions.parser.asl.component.common.retry.retrier_decl.time", NoTime())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        role = boto3.client("iam", REGION).create_role(RoleName="machine", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        functions = boto3.client("lambda", REGION)
        text = json.dumps(DEFINITION)
        for name in FUNCTIONS:
            arn = functions.create_function(
                FunctionName=name, Runtime="python3.13", Role=role, Handler="handler.handler", Code={"ZipFile": b"x"}
            )["FunctionArn"]
            placeholder = "".join(word.capitalize() for word in name.split("_")) + "FunctionArn"
            assert f"${{{placeholder}}}" in text
            text = text.replace(f"${{{placeholder}}}", arn)
        assert not re.search(r"\$\{", text)
        machine = boto3.client("stepfunctions", REGION).create_state_machine(
            name="basket", definition=text, roleArn=role
        )
        found.machine = machine["stateMachineArn"]
        yield found


class NoTime:
    """Stands in for the module ``time`` where back-off is slept."""

    @staticmethod
    def sleep(_seconds: float) -> None:
        return None


ACCEPTED: Answer = {"accepted": True, "reason": "", "wave": 0}


def assessed(action: str, *, wave: int = 0, wait_seconds: int = 0, state: str = "executing") -> Answer:
    return {"action": action, "wave": wave, "wait_seconds": wait_seconds, "state": state}


def test_a_refused_basket_sends_nothing(cloud: Cloud) -> None:
    cloud.answers = {"risk_check": [{"accepted": False, "reason": "limit", "wave": 0}]}
    execution = cloud.run()
    assert execution["status"] == "SUCCEEDED"
    assert cloud.calls == [("risk_check", START)]
    assert json.loads(execution["output"])["step"]["reason"] == "limit"


def test_one_wave_becomes_a_lock(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 2}],
        "assess": [assessed("end", state="lock")],
    }
    execution = cloud.run()
    assert execution["status"] == "SUCCEEDED"
    assert cloud.calls == [("risk_check", START), ("execute_wave", {**START, "wave": 0}), ("assess", START)]
    assert json.loads(execution["output"])["step"]["state"] == "lock"


def test_a_second_wave_is_the_one_that_assess_names(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 1}, {"wave": 3, "sent": 1}],
        "assess": [assessed("wave", wave=3), assessed("end", state="lock")],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert [event["wave"] for name, event in cloud.calls if name == "execute_wave"] == [0, 3]


def test_an_unknown_order_is_waited_for(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 2}],
        "assess": [assessed("wait", wait_seconds=1), assessed("end", state="held")],
    }
    execution = cloud.run()
    assert execution["status"] == "SUCCEEDED"
    assert cloud.names() == ["risk_check", "execute_wave", "assess", "assess"]
    history = boto3.client("stepfunctions", REGION).get_execution_history(
        executionArn=execution["executionArn"], maxResults=1000
    )
    assert "WaitStateEntered" in {event["type"] for event in history["events"]}


class UnknownOutcomeError(Exception):
    """As raised when an order may or may not have traded."""


def test_a_wave_that_fails_is_assessed_and_never_sent_twice(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [UnknownOutcomeError("the connection dropped")],
        "assess": [assessed("end", state="flat")],
    }
    execution = cloud.run()
    assert execution["status"] == "SUCCEEDED"
    assert cloud.names() == ["risk_check", "execute_wave", "assess"]
    assert json.loads(execution["output"])["error"]["Error"] == "UnknownOutcomeError"


def test_a_failed_second_wave_is_assessed_too(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 1}, UnknownOutcomeError("again")],
        "assess": [assessed("wave", wave=1), assessed("end", state="held")],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.names() == ["risk_check", "execute_wave", "assess", "execute_wave", "assess"]


class StoreError(Exception):
    """As raised when a table does not answer."""


def test_assess_is_tried_again(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 1}],
        "assess": [StoreError("throttled"), StoreError("throttled"), assessed("end", state="lock")],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.names().count("assess") == 3


def test_a_basket_that_cannot_be_assessed_fails_under_that_name(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 1}],
        "assess": [StoreError("gone")] * 10,
    }
    execution = cloud.run()
    assert (execution["status"], execution["error"]) == ("FAILED", "AssessmentFailed")
    assert cloud.names() == ["risk_check", "execute_wave", *["assess"] * 4]


def test_an_answer_nobody_knows_fails_instead_of_ending(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [{"wave": 0, "sent": 1}],
        "assess": [assessed("abandon")],
    }
    assert cloud.run()["error"] == "AssessmentFailed"


def test_a_proof_that_cannot_be_finished_fails_before_anything_is_sent(cloud: Cloud) -> None:
    cloud.answers = {"risk_check": [StoreError("gone")]}
    execution = cloud.run()
    assert (execution["status"], execution["error"]) == ("FAILED", "ProofFailed")
    assert cloud.names() == ["risk_check"]


def lambda_error(name: str) -> Exception:
    """An exception whose class carries the name under which the service reports it."""
    error: Callable[[], Exception] = type(name, (Exception,), {})
    return error()


@pytest.mark.parametrize("name", ["Lambda.TooManyRequestsException", "Lambda.Unknown"])
def test_a_throttled_call_is_repeated_at_every_step(cloud: Cloud, name: str) -> None:
    cloud.answers = {
        "risk_check": [lambda_error(name), ACCEPTED],
        "execute_wave": [lambda_error(name), {"wave": 0, "sent": 1}],
        "assess": [lambda_error(name), assessed("end", state="lock")],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.names() == [name for name in FUNCTIONS for _ in range(2)]


@pytest.mark.parametrize("name", ["Runtime.ExitError", "Sandbox.Timedout"])
def test_a_crashed_step_is_repeated_unless_it_may_have_sent_orders(cloud: Cloud, name: str) -> None:
    cloud.answers = {
        "risk_check": [lambda_error(name), ACCEPTED],
        "execute_wave": [lambda_error(name)],
        "assess": [lambda_error(name), assessed("end", state="lock")],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.names() == ["risk_check", "risk_check", "execute_wave", "assess", "assess"]
