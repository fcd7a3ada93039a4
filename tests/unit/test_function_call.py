"""A function of the stack is called by its name; an error of its own is one line."""

import io
import json
from typing import Any

import pytest

from kalshi_arb.aws.functions import call_function
from kalshi_arb.domain.errors import StoreError


class Lambda:
    def __init__(self, payload: object, **more: str) -> None:
        self.payload, self.more = payload, more
        self.calls: list[dict[str, Any]] = []

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.calls.append(call)
        return {"Payload": io.BytesIO(json.dumps(self.payload).encode()), **self.more}


def test_the_answer_is_the_functions() -> None:
    client = Lambda({"recorded": 2})
    assert call_function(client, "settlement", {"command": "repair"}) == {"recorded": 2}
    (call,) = client.calls
    assert (call["FunctionName"], json.loads(call["Payload"])) == ("settlement", {"command": "repair"})


@pytest.mark.parametrize(
    ("payload", "more", "text"),
    [
        ({"errorMessage": "read from baskets: no answer"}, {"FunctionError": "Unhandled"}, "read from baskets: no"),
        ("odd", {}, "settlement ended in an error: odd"),
    ],
)
def test_an_error_of_the_function_is_told(payload: object, more: dict[str, str], text: str) -> None:
    with pytest.raises(StoreError, match=text):
        call_function(Lambda(payload, **more), "settlement", {})
