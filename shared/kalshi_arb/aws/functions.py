"""Calls a function of the stack by its name, and waits for its answer."""

import json
from collections.abc import Mapping
from typing import Any

from kalshi_arb.aws.clients import Client, translated
from kalshi_arb.domain.errors import StoreError


def call_function(client: Client, name: str, event: Mapping[str, object]) -> dict[str, Any]:
    """What the function returned.

    :raises StoreError: it could not be called, or ended in an error.
    """
    with translated(f"call {name}"):
        reply = client.invoke(FunctionName=name, InvocationType="RequestResponse", Payload=json.dumps(event).encode())
        payload = json.loads(reply["Payload"].read())
    if "FunctionError" in reply or not isinstance(payload, dict):
        message = payload.get("errorMessage", "") if isinstance(payload, dict) else payload
        raise StoreError(f"{name} ended in an error: {message}")
    return payload
