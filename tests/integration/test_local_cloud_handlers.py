"""Functions in the embedded AWS behave like functions in Lambda: names of errors, life of processes, environment."""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.config import Config

from infra.local.endpoint import ACCOUNT, local_session
from tests.integration.local_cloud_support import RESERVED, WORKER, Deployed, deployed, wait_for

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="process names are read from the Linux kernel")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    os.environ["KALSHI_ARB_NOT_FOR_HANDLERS"] = "secret of the person"
    try:
        with deployed(tmp_path_factory.mktemp("cloud")) as running:
            yield running
    finally:
        del os.environ["KALSHI_ARB_NOT_FOR_HANDLERS"]


def test_the_answer_carries_the_context_lambda_documents(stack: Deployed) -> None:
    answer = stack.call({})
    assert not answer.failed
    assert answer.payload["greeting"] == "from the layer"
    assert answer.payload["arn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{WORKER}"
    assert answer.payload["log_group"] == f"/aws/lambda/{WORKER}"
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.payload["request_id"])
    assert 0 < answer.payload["remaining"] <= 3000


def test_an_exception_is_reported_by_its_class_name_with_a_trace_of_user_code_only(stack: Deployed) -> None:
    answer = stack.call({"do": "fail", "why": "429 from the exchange"})
    assert answer.failed
    assert answer.payload["errorMessage"] == "429 from the exchange"
    assert answer.error_type == "RateLimitedError"
    trace = "".join(answer.payload["stackTrace"])
    assert "raise RateLimitedError" in trace
    assert "handler_host" not in trace
    assert "RateLimitedError: 429 from the exchange" in answer.log


def test_the_process_survives_an_exception(stack: Deployed) -> None:
    before = stack.call({}).payload
    stack.call({"do": "fail"})
    after = stack.call({}).payload
    assert after["pid"] == before["pid"]
    assert after["calls"] == before["calls"] + 2


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"do": "exit", "code": 3}, "exit status 3"),
        ({"do": "exit", "code": 0}, "without providing a reason"),
        ({"do": "sys_exit", "code": 4}, "exit status 4"),
    ],
)
def test_a_process_that_ends_in_a_call_is_an_exit_error_and_the_next_call_starts_another(
    stack: Deployed, event: dict[str, object], told: str
) -> None:
    answer = stack.call(event)
    assert answer.error_type == "Runtime.ExitError"
    assert told in answer.payload["errorMessage"]
    assert stack.call({}).payload["calls"] == 1


@LINUX_ONLY
def test_a_handler_killed_in_the_middle_of_a_call_is_an_exit_error(stack: Deployed, tmp_path: Path) -> None:
    pid = stack.call({}).payload["pid"]
    assert [item.pid for item in stack.cloud.handlers() if WORKER.endswith(item.title)] == [pid]
    answers = []
    sign = tmp_path / "in the middle"
    event = {"do": "sleep", "seconds": 2.5, "sign": str(sign)}
    caller = threading.Thread(target=lambda: answers.append(stack.call(event)))
    caller.start()
    wait_for(sign.exists)
    os.kill(pid, signal.SIGKILL)
    caller.join()
    assert answers[0].error_type == "Runtime.ExitError"
    assert "signal: kill" in answers[0].payload["errorMessage"]
    assert not stack.call({}).failed


def test_a_call_over_its_time_is_ended_and_named(stack: Deployed) -> None:
    answer = stack.call({"do": "sleep", "seconds": 30})
    assert answer.error_type == "Sandbox.Timedout"
    assert "Task timed out after 3.00 seconds" in answer.payload["errorMessage"]


def test_an_answer_that_is_not_json_is_a_marshal_error(stack: Deployed) -> None:
    answer = stack.call({"do": "object"})
    assert answer.failed
    assert answer.error_type == "Runtime.MarshalError"


def test_the_log_holds_what_the_call_printed_and_what_loading_printed_once(stack: Deployed) -> None:
    stack.call({"do": "exit", "code": 0})
    first = stack.call({"do": "log"}).log.splitlines()
    second = stack.call({"do": "log"}).log.splitlines()
    assert first[0].startswith("START RequestId")
    assert first[1:5] == ["handler loaded", "one", "two", "three without an end"]
    assert second[1:4] == ["one", "two", "three without an end"]
    assert "handler loaded" not in second


def test_the_environment_is_lambdas_and_the_functions_own_and_nothing_else(stack: Deployed) -> None:
    found = stack.call({"do": "environment"}).payload
    environment = found["environment"]
    own = {name for name in environment if not name.startswith(("AWS_", "_", "LAMBDA_"))}
    assert own == {"PATH", "LANG", "TZ", "TMPDIR", "OWN_SETTING"}
    assert environment["_HANDLER"] == "handler.handler"
    assert environment["AWS_LAMBDA_LOG_GROUP_NAME"] == f"/aws/lambda/{WORKER}"
    assert environment["AWS_ENDPOINT_URL"] == stack.cloud.url
    assert "STATE_DIR" not in environment
    assert environment["AWS_CONFIG_FILE"] == os.devnull
    assert found["folder"] == environment["LAMBDA_TASK_ROOT"]


def test_a_handler_cannot_see_the_projects_own_files(stack: Deployed) -> None:
    path = stack.call({"do": "environment"}).payload["path"]
    root = str(Path(__file__).resolve().parents[2])
    outside = [entry for entry in path if entry.startswith(root) and "site-packages" not in entry]
    assert outside == []


def test_concurrent_calls_have_processes_of_their_own_up_to_the_cap_and_wait_or_are_throttled_beyond(
    stack: Deployed,
) -> None:
    impatient = local_session().client(
        "lambda", endpoint_url=stack.cloud.url, config=Config(proxies={}, retries={"total_max_attempts": 1})
    )
    answers = []

    def call() -> None:
        try:
            answer = impatient.invoke(FunctionName=WORKER, Payload=b'{"do": "sleep", "seconds": 1}')
        except impatient.exceptions.TooManyRequestsException:
            answers.append("throttled")
        else:
            answers.append(json.loads(answer["Payload"].read())["pid"])

    callers = [threading.Thread(target=call) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    impatient.close()
    assert answers.count("throttled") == 3
    assert len(set(answers) - {"throttled"}) == 2


def test_reserved_concurrency_of_the_template_is_kept(stack: Deployed) -> None:
    found = stack.client("lambda").get_function_concurrency(FunctionName=RESERVED)
    assert found["ReservedConcurrentExecutions"] == 1
