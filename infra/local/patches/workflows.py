"""Step Functions: no pause before the first state, a repeated start that is one start, throttles by their AWS name, and
an explicit deny in the machine's role that keeps a function from being called."""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from infra.local.seams import Seam

_RUN = Seam("services.stepfunctions", "_run_execution")
_TIME = Seam("services.stepfunctions", "time")
_START = Seam("services.stepfunctions", "_start_execution")
_EXECUTIONS = Seam("services.stepfunctions", "_executions")
_RESOLVE = Seam("services.stepfunctions", "_resolve_state_machine_arn")
_ANSWER = Seam("services.stepfunctions", "json_response")
_CALL = Seam("services.stepfunctions", "_call_lambda")
_FAILURE = Seam("services.stepfunctions", "_ExecutionError")
_MACHINES = Seam("services.stepfunctions", "_state_machines")
_POLICIES = Seam("core.iam_evaluator", "_gather_role_policies")
_EVALUATE = Seam("core.iam_evaluator", "evaluate")
_CONTEXT = Seam("core.iam_evaluator", "EvalContext")
_RECORD_FOR = Seam("services.lambda_svc", "_get_func_record_for_ref")
_RECORD_WITH = Seam("services.lambda_svc", "_execution_record_for_config")
_EXECUTE = Seam("services.lambda_svc", "_execute_function_with_config_scope")

_running: ContextVar[str] = ContextVar("running_execution")
"""ARN of the execution whose states this thread walks; the embedded AWS hands it on to the threads of timed tasks."""

START_PAUSE = 0.15  # seconds, the only wait in the function that runs an execution


class _TimeWithoutStartPause:
    """The time module as Step Functions sees it: every wait is real but the one before the first state."""

    def __init__(self, runner: Callable[..., Any]) -> None:
        self._code = runner.__code__

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the caller is the start of an execution."""
        if sys._getframe(1).f_code is not self._code:
            time.sleep(seconds)


def _remove_start_pause() -> None:
    runner = _RUN.function(["exec_arn"])
    if START_PAUSE not in runner.__code__.co_consts or "sleep" not in runner.__code__.co_names:
        raise _RUN.broken(f"it no longer sleeps {START_PAUSE} s at its start")
    if _TIME.value() is not time:
        raise _TIME.broken("it is not the time module")
    _TIME.replace(_TimeWithoutStartPause(runner))


def _idempotent_start(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """StartExecution with the name and the input of a running execution answers with that execution.

    Source: AWS Step Functions API reference, StartExecution ("idempotent for STANDARD workflows").
    """
    lock = threading.Lock()
    executions, resolve, answer = _EXECUTIONS.value(), _RESOLVE.value(), _ANSWER.value()

    def start(data: dict[str, Any]) -> Any:
        with lock:
            machine = resolve(data.get("stateMachineArn", ""))
            if machine is not None and data.get("name"):
                arn = f"{machine.replace(':stateMachine:', ':execution:')}:{data['name']}"
                running = executions.get(arn)
                same = running is not None and running["input"] == data.get("input", "{}")
                if same and running["status"] == "RUNNING":
                    return answer({"executionArn": arn, "startDate": running["startDate"]})
            return original(data)

    return start


def _remember_execution() -> None:
    runner = _RUN.value()

    def run(exec_arn: str) -> Any:
        _running.set(exec_arn)
        return runner(exec_arn)

    _RUN.replace(run)


def _is_denied(function_arn: str) -> bool:
    """Whether a policy of the running machine's role denies calling the function. Read anew for each call.

    Only an explicit deny counts: the embedded AWS lets everything through that no policy forbids.
    """
    machine = _MACHINES.value().get(_EXECUTIONS.value()[_running.get()]["stateMachineArn"])
    role_arn: str = machine["roleArn"]
    account = role_arn.split(":")[4]
    asked = _CONTEXT.value()(
        principal_arn=role_arn,
        principal_type="AssumedRole",
        principal_account=account,
        action="lambda:InvokeFunction",
        resource_arn=function_arn,
        region=function_arn.split(":")[3],
    )
    decision: str = _EVALUATE.value()(asked, _POLICIES.value()(role_arn.rpartition("/")[2], account)).decision
    return decision == "Deny"


def _call_function(reference: Any, event: Any) -> Any:
    """Invoke a function for a task state and raise its failure under the name that Retry and Catch match.

    Names: the exception's class for a handled error, ``Sandbox.Timedout`` and ``Runtime.ExitError`` from the sandbox,
    ``Lambda.TooManyRequestsException`` for a throttle, ``Lambda.AWSLambdaException`` for a refusal by the service, such
    as a missing permission (AWS Step Functions developer guide, "Handling errors").
    """
    failure = _FAILURE.value()
    function, config, name = _RECORD_FOR.value()(reference)
    if not function or not config:
        raise failure("Lambda.ResourceNotFoundException", f"Function not found: {name}")
    if _is_denied(config["FunctionArn"]):
        what = f"lambda:InvokeFunction on resource: {config['FunctionArn']}"
        raise failure("Lambda.AWSLambdaException", f"not authorized to perform: {what} with an explicit deny")
    result = _EXECUTE.value()(_RECORD_WITH.value()(function, config), event)
    body = result.get("body")
    if result.get("throttle"):
        raise failure("Lambda.TooManyRequestsException", json.dumps(body))
    if result.get("error"):
        raise failure(body["errorType"], json.dumps(body))
    return body


def apply() -> None:
    """Check every seam and put ours in place. :raises SeamError: one does not fit."""
    _EXECUTIONS.value()
    _RESOLVE.function(["arn"])
    _ANSWER.value()
    _FAILURE.of_type(type)
    _RECORD_FOR.function(["function_ref"])
    _RECORD_WITH.function(["func", "config"])
    _EXECUTE.function(["func", "event"])
    _CALL.function(["func_ref", "event"])
    _MACHINES.value()
    _POLICIES.function(["role_name", "account_id"])
    _EVALUATE.function(["ctx", "policies", "limits"])
    _CONTEXT.of_type(type)
    start = _START.function(["data"])
    _remove_start_pause()
    _remember_execution()
    _START.replace(_idempotent_start(start))
    _CALL.replace(_call_function)
