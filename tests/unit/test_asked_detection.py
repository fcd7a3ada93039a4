"""Asking the detection function: its answer comes through, its errors in words, and nothing is asked twice."""

import io
import json
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from kalshi_arb.aws.clients import new_client
from kalshi_arb.aws.detection import LambdaDetection
from kalshi_arb.domain.errors import DetectionError, StoreError
from kalshi_arb.ports import Detection


class Function:
    """As much of boto3's Lambda client as is used."""

    def __init__(self, payload: bytes = b"{}", *, failed: bool = False, fails: Exception | None = None) -> None:
        self.reply: dict[str, Any] = {"Payload": io.BytesIO(payload)}
        if failed:
            self.reply["FunctionError"] = "Unhandled"
        self.fails = fails
        self.calls: list[Mapping[str, Any]] = []

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(arguments)
        if self.fails is not None:
            raise self.fails
        return self.reply


def asked(function: Function) -> dict[str, Any]:
    detection: Detection = LambdaDetection(function, "kalshi-arb-paper-detection")
    return detection.ask({"scan": {"event_ticker": "KXA-26"}})


def test_the_answer_comes_through_as_it_is() -> None:
    function = Function(b'{"opportunities": [], "counts": {"groups": 2}}')
    assert asked(function) == {"opportunities": [], "counts": {"groups": 2}}
    (call,) = function.calls
    assert call["FunctionName"] == "kalshi-arb-paper-detection"
    assert call["InvocationType"] == "RequestResponse"
    assert json.loads(call["Payload"]) == {"scan": {"event_ticker": "KXA-26"}}


@pytest.mark.parametrize(
    "function",
    [
        Function(b'{"errorMessage": "2026-11-22T18:00:00Z r-1 Task timed out after 20.00 seconds"}', failed=True),
        Function(
            b'{"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 20.0 seconds"}', failed=True
        ),
        Function(fails=ReadTimeoutError(endpoint_url="http://127.0.0.1:9")),
    ],
)
def test_an_answer_that_is_late_says_what_to_do(function: Function) -> None:
    with pytest.raises(DetectionError, match="ran out of time: ask for one event, or for less"):
        asked(function)
    assert len(function.calls) == 1


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (Function(b'{"errorType": "RetryableError", "errorMessage": "10.0.0.7"}', failed=True), "ended in RetryableE"),
        (Function(b"{}", failed=True), "ended in an error"),
        (Function(b"[1]"), "no answer"),
        (Function(b"nonsense", failed=True), "no answer"),
    ],
)
def test_a_failure_names_its_kind_and_hides_its_details(function: Function, told: str) -> None:
    with pytest.raises(DetectionError, match=told) as caught:
        asked(function)
    assert "10.0.0.7" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "Rate exceeded"}}, "Invoke"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
    ],
)
def test_a_function_that_cannot_be_called_is_a_store_that_refused(error: Exception) -> None:
    with pytest.raises(StoreError, match="kalshi-arb-paper-detection"):
        asked(Function(fails=error))


def test_a_call_is_waited_for_longer_than_a_table_and_never_repeated() -> None:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    calls, table = (new_client(session, service).meta.config for service in ("lambda", "dynamodb"))
    assert calls.retries["total_max_attempts"] == 1
    assert table.read_timeout < 20 < calls.read_timeout < 29, "longer than detection may take, shorter than the API"
