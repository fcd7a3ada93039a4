"""Lets one token in."""

from typing import Any


def handler(event: Any, context: Any) -> dict[str, bool]:
    """Answer in the simple form."""
    return {"isAuthorized": event["headers"].get("authorization") == "Bearer right"}
