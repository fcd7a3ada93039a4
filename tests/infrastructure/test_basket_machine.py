"""The basket's state machine is sound, and really runs: in an interpreter other than the local run's, with functions
that answer as the contract says."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda.models import LambdaFunction

from infra.checks.basket_machine import BASKET_MACHINE

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = json.loads((ROOT / BASKET_MACHINE).read_text())
REGION = "us-east-1"
FUNCTIONS = ("risk_check", "execute_wave", "unwind", "assess", "close")
START = {"basket_id": "b0123456789abcdef0123", "attempt": 2}
Answer = dict[str, Any] | Exception


class NeverReachedError(Exception):
    """A function was called more often than the test allows."""


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

    def steps(self) -> list[str]:
        """The functions in their order, without the proof at the beginning."""
        assert self.calls[0] == ("risk_check", START)
        return [name for name, _ in self.calls[1:]]

    def handed(self, function: str) -> list[dict[str, Any]]:
        """What a function was handed besides the ids that all are handed."""
        events = [event for name, event in self.calls if name == function]
        assert all(event.items() >= START.items() for event in events)
        return [{key: value for key, value in event.items() if key not in START} for event in events]

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
CLOSED: Answer = {"state": "lock"}


def sent(wave: int) -> Answer:
    return {"wave": wave, "sent": 1}


def assessed(action: str, *, wave: int = 0, wait_seconds: int = 0, turns: int = 1, state: str = "executing") -> Answer:
    return {"action": action, "wave": wave, "wait_seconds": wait_seconds, "turns": turns, "state": state}


def lambda_error(name: str) -> Exception:
    """An exception whose class carries the name under which the service reports it."""
    error: Callable[[], Exception] = type(name, (Exception,), {})
    return error()


def test_a_refused_basket_sends_nothing_and_is_closed(cloud: Cloud) -> None:
    cloud.answers = {"risk_check": [{"accepted": False, "reason": "limit", "wave": 0}], "close": [CLOSED]}
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.steps() == ["close"]
    assert cloud.handed("close") == [{}]


def test_two_waves_become_a_lock(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0), sent(3)],
        "assess": [assessed("wave", wave=3), assessed("close", turns=2)],
        "close": [CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.steps() == ["execute_wave", "assess", "execute_wave", "assess", "close"]
    assert cloud.handed("execute_wave") == [{"wave": 0}, {"wave": 3}]
    assert cloud.handed("assess") == [{"wave": 0}, {"wave": 3}]


def test_an_unwind_takes_its_own_path(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "unwind": [sent(1)],
        "assess": [assessed("unwind", wave=1), assessed("close", turns=2)],
        "close": [CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.steps() == ["execute_wave", "assess", "unwind", "assess", "close"]
    assert cloud.handed("assess") == [{"wave": 0}, {"wave": 1}]


def test_a_resumed_basket_is_assessed_before_anything_is_sent(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [{"accepted": True, "reason": "resumed", "wave": 0}],
        "assess": [assessed("close")],
        "close": [CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.steps() == ["assess", "close"]


def test_an_unknown_order_is_waited_for(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [assessed("wait", wait_seconds=1), assessed("close", turns=2)],
        "close": [CLOSED],
    }
    execution = cloud.run()
    assert execution["status"] == "SUCCEEDED"
    assert cloud.steps() == ["execute_wave", "assess", "assess", "close"]
    history = boto3.client("stepfunctions", REGION).get_execution_history(
        executionArn=execution["executionArn"], maxResults=1000
    )
    assert "WaitStateEntered" in {event["type"] for event in history["events"]}


@pytest.mark.parametrize("name", ["UnknownOutcomeError", "Runtime.ExitError", "Sandbox.Timedout", "Lambda.Unknown"])
@pytest.mark.parametrize(("sends", "action"), [("execute_wave", "wave"), ("unwind", "unwind")])
def test_what_dies_while_it_sends_is_assessed_and_never_sent_twice(
    cloud: Cloud, sends: str, action: str, name: str
) -> None:
    cloud.answers = {
        "risk_check": [{"accepted": True, "reason": "resumed", "wave": 0}],
        sends: [lambda_error(name)],
        "assess": [assessed(action, wave=1), assessed("close", turns=2)],
        "close": [CLOSED],
    }
    execution = cloud.run()
    assert execution["status"] == "SUCCEEDED"
    assert cloud.steps() == ["assess", sends, "assess", "close"]
    assert "error" not in json.loads(execution["output"])


def test_purchases_that_nobody_may_send_leave_unwinding_possible(cloud: Cloud) -> None:
    """A policy that takes the function away is reported by the service as an error of the call."""
    denied = [lambda_error("Lambda.AWSLambdaException") for _ in range(3)]
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0), *denied],
        "assess": [assessed("wave", wave=1), assessed("unwind", wave=2, turns=2), assessed("close", turns=3)],
        "unwind": [sent(2)],
        "close": [CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.steps() == [*["execute_wave", "assess"], *["execute_wave"] * 3, "assess", "unwind", "assess", "close"]


def test_the_turns_bound_the_loop(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [assessed("wave", wave=1, turns=200)],
        "close": [CLOSED],
    }
    execution = cloud.run()
    assert (execution["status"], execution["error"]) == ("FAILED", "HandedOver")
    assert cloud.steps() == ["execute_wave", "assess", "close"]
    assert cloud.handed("close") == [{"gave_up": "turns_used_up"}]


def test_an_end_is_carried_out_whatever_the_turns_say(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [assessed("close", turns=999)],
        "close": [CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"


GAVE_UP: dict[str, tuple[dict[str, list[Answer]], list[str]]] = {
    "proof_failed": ({"risk_check": [ValueError("broken")]}, []),
    "assessment_failed": ({"assess": [ValueError("broken")]}, ["execute_wave", "assess"]),
    "orders_stay_unknown": ({"assess": [assessed("handover")]}, ["execute_wave", "assess"]),
}


@pytest.mark.parametrize("why", GAVE_UP)
def test_an_attempt_that_gives_up_says_why(cloud: Cloud, why: str) -> None:
    answers, steps = GAVE_UP[why]
    cloud.answers = {"risk_check": [ACCEPTED], "execute_wave": [sent(0)], "close": [CLOSED], **answers}
    execution = cloud.run()
    assert (execution["status"], execution["error"]) == ("FAILED", "HandedOver")
    assert cloud.steps() == [*steps, "close"]
    assert cloud.handed("close") == [{"gave_up": why}]


def test_an_answer_nobody_knows_is_handed_over_instead_of_ending(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [assessed("abandon")],
        "close": [CLOSED],
    }
    assert cloud.run()["error"] == "HandedOver"
    assert cloud.handed("close") == [{"gave_up": "assessment_failed"}]


def test_a_close_that_fails_is_handed_over(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [assessed("close")],
        "close": [ValueError("broken"), CLOSED],
    }
    assert cloud.run()["error"] == "HandedOver"
    assert cloud.handed("close") == [{}, {"gave_up": "close_failed"}]


def test_a_row_that_cannot_be_written_fails_under_its_own_name(cloud: Cloud) -> None:
    cloud.answers = {
        "risk_check": [ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [ValueError("broken")],
        "close": [ValueError("gone")],
    }
    assert cloud.run()["error"] == "HandOverFailed"


@pytest.mark.parametrize(
    "name", ["Lambda.TooManyRequestsException", "Lambda.SdkClientException", "Lambda.ServiceException", "StoreError"]
)
def test_throttling_and_transport_are_repeated_at_every_step(cloud: Cloud, name: str) -> None:
    cloud.answers = {
        "risk_check": [lambda_error(name), ACCEPTED],
        "execute_wave": [lambda_error(name), sent(0)],
        "assess": [lambda_error(name), assessed("unwind", wave=1), assessed("close", turns=2)],
        "unwind": [lambda_error(name), sent(1)],
        "close": [lambda_error(name), CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert Counter(cloud.names()) == {**dict.fromkeys(FUNCTIONS, 2), "assess": 3}


@pytest.mark.parametrize("name", ["Runtime.ExitError", "Sandbox.Timedout", "Lambda.Unknown"])
def test_a_crashed_step_that_sends_nothing_is_repeated(cloud: Cloud, name: str) -> None:
    cloud.answers = {
        "risk_check": [lambda_error(name), ACCEPTED],
        "execute_wave": [sent(0)],
        "assess": [lambda_error(name), assessed("close")],
        "close": [lambda_error(name), CLOSED],
    }
    assert cloud.run()["status"] == "SUCCEEDED"
    assert cloud.names() == ["risk_check", "risk_check", "execute_wave", "assess", "assess", "close", "close"]
