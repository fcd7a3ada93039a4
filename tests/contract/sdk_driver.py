"""Drives Kalshi's own client, told what to call line by line; runs in that client's environment, not the project's.

Every line on standard input is a JSON object: ``{"connect": {"host", "key_id", "private_key"}}``, or ``{"call": name,
"arguments": {...}, "now_ms": time}`` with the client's name of the operation and the time by which it signs. Every line
on standard output is what came of it: the answer as it was on the wire, the model that read it, and where the two do
not say the same.
"""

import importlib
import inspect
import json
import pkgutil
import sys
from datetime import datetime
from types import ModuleType
from typing import Any

# The client is not installed where the project is checked, so nothing is known of its types there.
sdk: Any = importlib.import_module("kalshi_python_sync")
api: ModuleType = importlib.import_module("kalshi_python_sync.api")
signing: Any = importlib.import_module("kalshi_python_sync.auth")
_VARIANTS = ("_with_http_info", "_without_preload_content")


def operations() -> list[str]:
    """Every operation the client has."""
    names = []
    for found in pkgutil.iter_modules(api.__path__):
        module = importlib.import_module(f"{api.__name__}.{found.name}")
        for name, member in vars(module).items():
            if inspect.isclass(member) and name.endswith("Api") and member.__module__ == module.__name__:
                names += [call for call in vars(member) if not call.startswith("_") and not call.endswith(_VARIANTS)]
    return sorted(names)


def same_moment(left: object, right: object) -> bool:
    """Whether two strings write the same moment."""
    if not (isinstance(left, str) and isinstance(right, str)):
        return False
    try:
        return datetime.fromisoformat(left) == datetime.fromisoformat(right)
    except ValueError:
        return False


def differences(wire: Any, read: Any, path: str = "") -> list[str]:
    """What the answer says that the model does not, or says otherwise."""
    if isinstance(wire, dict) and isinstance(read, dict):
        return [
            difference
            for key, value in wire.items()
            for difference in (
                differences(value, read[key], f"{path}.{key}") if key in read else [f"{path}.{key} is unknown"]
            )
        ]
    if isinstance(wire, list) and isinstance(read, list) and len(wire) == len(read):
        return [
            difference
            for index, (left, right) in enumerate(zip(wire, read, strict=True))
            for difference in differences(left, right, f"{path}[{index}]")
        ]
    return [] if wire == read or same_moment(wire, read) else [f"{path}: {wire!r} was read as {read!r}"]


class SetTime:
    """Stands for the ``time`` module where the client signs, so that it goes by the exchange's clock."""

    def __init__(self) -> None:
        self.now_ms = 0

    def time(self) -> float:
        """Unix seconds."""
        return self.now_ms / 1_000


class Driver:
    """One client, with the last answer as it was on the wire."""

    def __init__(self, host: str, key_id: str, private_key: str) -> None:
        configuration = sdk.Configuration(host=host)
        configuration.api_key_id = key_id
        configuration.private_key_pem = private_key
        self.client: Any = sdk.KalshiClient(configuration)
        self.status = 0
        self.wire: Any = None
        original = self.client.rest_client.request

        def request(*positional: Any, **named: Any) -> Any:
            response = original(*positional, **named)
            self.status, body = response.status, response.read()
            self.wire = json.loads(body) if body else None
            return response

        self.client.rest_client.request = request

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call an operation, and say what came of it."""
        self.status, self.wire = 0, None
        try:
            answer = getattr(self.client, name)(**arguments)
        except sdk.ApiException as refusal:
            return {"refused": type(refusal).__name__, "status": refusal.status, "wire": self.wire}
        except Exception as error:  # noqa: BLE001 - whatever the client makes of the answer is the result
            return {"failed": f"{type(error).__name__}: {error}", "status": self.status, "wire": self.wire}
        read = answer.model_dump(mode="json", by_alias=True) if hasattr(answer, "model_dump") else answer
        return {
            "model": type(answer).__name__,
            "status": self.status,
            "wire": self.wire,
            "differences": differences(self.wire, read),
        }


def main() -> None:
    """Answer line by line until standard input ends."""
    driver: Driver | None = None
    clock = signing.time = SetTime()
    for line in sys.stdin:
        told = json.loads(line)
        if "connect" in told:
            driver = Driver(**told["connect"])
            result: dict[str, Any] = {"version": sdk.__version__, "operations": operations()}
        elif driver is None:
            result = {"failed": "not connected"}
        else:
            clock.now_ms = told["now_ms"]
            result = driver.call(told["call"], told["arguments"])
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
