"""Asks the detection function, and waits for what it answers."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from botocore.exceptions import ReadTimeoutError

from kalshi_arb.aws.clients import Client, translated
from kalshi_arb.domain.errors import DetectionError, StoreError

_TOO_LONG = "detection ran out of time: ask for one event, or for less"


class LambdaDetection:
    """:class:`kalshi_arb.ports.Detection` on a Lambda function, by a synchronous call that is never repeated."""

    def __init__(self, client: Client, function: str) -> None:
        self._client = client
        self._function = function

    def ask(self, task: Mapping[str, object]) -> dict[str, Any]:
        """The function's answer to a direct call.

        :raises DetectionError: it ended without an answer, or not in time.
        :raises StoreError: it could not be called.
        """
        try:
            with translated(f"call {self._function}"):
                reply = self._client.invoke(
                    FunctionName=self._function, InvocationType="RequestResponse", Payload=json.dumps(task).encode()
                )
                payload = reply["Payload"].read()
        except StoreError as error:
            if isinstance(error.__cause__, ReadTimeoutError):
                raise DetectionError(_TOO_LONG) from error
            raise
        try:
            answer = msgspec.json.decode(payload, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise DetectionError("detection answered something that is no answer; its log says more") from error
        if "FunctionError" not in reply:
            return answer
        # Lambda's own words for a function that it had to end (Lambda developer guide, "Lambda function timeouts").
        if "Task timed out" in str(answer.get("errorMessage")):
            raise DetectionError(_TOO_LONG)
        raise DetectionError(f"detection ended in {answer.get('errorType', 'an error')}; its log says more")
