"""A function that does what its event asks, for the tests of the embedded AWS."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from local_cloud_library import greeting

CALLS = {"count": 0}
sys.stdout.write("handler loaded\n")


class ExchangeError(Exception):
    """Named like the errors that state machines retry on."""


class RateLimitedError(ExchangeError):
    """Catches match the name of the class, not of its base."""


def handler(event: Any, context: Any) -> Any:
    """Obey the event."""
    CALLS["count"] += 1
    if "requestContext" in event:
        return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(summary(event))}
    if "Records" in event:
        raise RateLimitedError("no batch is good enough")
    return do(event, context)


def do(event: dict[str, Any], context: Any) -> Any:
    """One word, one behaviour."""
    action = event.get("do")
    if action == "fail":
        raise RateLimitedError(event.get("why", "asked to"))
    if action == "fail_first" and CALLS["count"] <= event["times"]:
        raise ExchangeError("not yet")
    if action == "exit":
        os._exit(event["code"])
    if action == "sys_exit":
        sys.exit(event["code"])
    if action == "sleep":
        if "sign" in event:
            Path(event["sign"]).touch()
        time.sleep(event["seconds"])
    if action == "object":
        return object()  # nothing that JSON knows
    if action == "log":
        sys.stdout.write("one\n")
        sys.stderr.write("two\n")
        os.write(1, b"three without an end")
    if action == "metric":
        sys.stdout.write(json.dumps(metric(event["name"], event["value"])) + "\n")
    if action == "environment":
        return {"environment": dict(os.environ), "path": sys.path, "folder": str(Path.cwd())}
    return {
        "pid": os.getpid(),
        "calls": CALLS["count"],
        "greeting": greeting(),
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "remaining": context.get_remaining_time_in_millis(),
        "log_group": context.log_group_name,
    }


def metric(name: str, value: float) -> dict[str, Any]:
    """A line in CloudWatch's embedded metric format."""
    return {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": "LocalCloud", "Dimensions": [["service"]], "Metrics": [{"Name": name, "Unit": "Count"}]}
            ],
        },
        "service": "worker",
        name: [value, value],
    }


def summary(event: dict[str, Any]) -> dict[str, Any]:
    """What an HTTP request looked like."""
    return {
        "route": event["routeKey"],
        "path": event["rawPath"],
        "parameters": event.get("pathParameters"),
        "query": event.get("queryStringParameters"),
        "version": event["version"],
    }
