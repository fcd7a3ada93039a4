"""An interpreter of the Amazon States Language for the subset that :mod:`infra.checks.asl` accepts, and Pass.

It knows nothing of time or Lambda: both are handed in. It ends where the service would end an execution.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any

from kalshi_arb.domain.errors import KalshiArbError

Json = dict[str, Any]
MOST_TRANSITIONS = 20_000
"""The service ends an execution whose history has 25,000 events."""


class TaskError(Exception):
    """A task failed under the name that Retry and Catch match."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name
        self.cause = cause


class MachineError(KalshiArbError):
    """The file asks for something that the service would not do, or that this interpreter does not know."""


@unique
class Edge(Enum):
    """Where in a state something happens."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended: SUCCEEDED or FAILED, in which state, with which data."""

    status: str
    state: str
    data: Json
    transitions: int


Invoke = Callable[[str, Json, int], Any]
"""Function name of the file, payload and time-out in seconds; the answer, or :class:`TaskError`."""


class Interpreter:
    """Runs executions of one state machine.

    :param wait: lets seconds pass
    :param note: told before a state is entered and after it was left, with the data at that moment
    """

    def __init__(
        self,
        machine: Mapping[str, Any],
        *,
        invoke: Invoke,
        wait: Callable[[float], None],
        note: Callable[[str, Edge, Json], None],
    ) -> None:
        self._machine = machine
        self._invoke = invoke
        self._wait = wait
        self._note = note

    def run(self, data: Json) -> Outcome:
        """One execution. :raises MachineError: the file cannot be carried out."""
        name = str(self._machine["StartAt"])
        for transition in range(1, MOST_TRANSITIONS + 1):
            state = self._machine["States"][name]
            self._note(name, Edge.BEFORE, data)
            following, data = self._step(name, state, data)
            self._note(name, Edge.AFTER, data)
            if state["Type"] in ("Succeed", "Fail"):
                return Outcome("SUCCEEDED" if state["Type"] == "Succeed" else "FAILED", name, data, transition)
            if following is None:
                return Outcome("SUCCEEDED", name, data, transition)
            name = following
        return Outcome("FAILED", name, data, MOST_TRANSITIONS)

    def _step(self, name: str, state: Mapping[str, Any], data: Json) -> tuple[str | None, Json]:
        following = None if state.get("End") else state.get("Next")
        match state["Type"]:
            case "Task":
                return self._task(name, state, data)
            case "Choice":
                return _chosen(name, state, data), data
            case "Wait":
                self._wait(_read(data, state["SecondsPath"]) if "SecondsPath" in state else state["Seconds"])
                return following, data
            case "Pass":
                result = state["Result"] if "Result" in state else _filled(state.get("Parameters", data), data)
                return following, _placed(data, state.get("ResultPath", "$"), result)
            case "Succeed" | "Fail":
                return None, data
            case kind:
                raise MachineError(f"{name}: states of type {kind} are not known here")

    def _task(self, name: str, state: Mapping[str, Any], data: Json) -> tuple[str | None, Json]:
        tried = [0] * len(state.get("Retry", ()))
        while True:
            try:
                answer = self._call(name, state, data)
            except TaskError as error:
                retrier = _matching(state.get("Retry", ()), error.name)
                if retrier is not None:
                    rule = state["Retry"][retrier]
                    if tried[retrier] < rule.get("MaxAttempts", 3):
                        seconds = rule.get("IntervalSeconds", 1) * rule.get("BackoffRate", 2) ** tried[retrier]
                        tried[retrier] += 1
                        self._wait(min(seconds, rule.get("MaxDelaySeconds", seconds)))
                        continue
                catcher = _matching(state.get("Catch", ()), error.name)
                if catcher is None:
                    raise MachineError(f"{name}: nothing catches {error}") from error
                rule = state["Catch"][catcher]
                told = {"Error": error.name, "Cause": error.cause}
                return rule["Next"], _placed(data, rule.get("ResultPath", "$"), told)
            result = _filled(state["ResultSelector"], answer) if "ResultSelector" in state else answer
            return (None if state.get("End") else state["Next"]), _placed(data, state.get("ResultPath", "$"), result)

    def _call(self, name: str, state: Mapping[str, Any], data: Json) -> Json:
        if state["Resource"] != "arn:aws:states:::lambda:invoke":
            raise MachineError(f"{name}: {state['Resource']} is not known here")
        parameters = _filled(state["Parameters"], data)
        # Whatever passes between a state and a function passes as text.
        payload = json.loads(json.dumps(parameters["Payload"]))
        answer = self._invoke(parameters["FunctionName"], payload, state["TimeoutSeconds"])
        return {"StatusCode": 200, "Payload": json.loads(json.dumps(answer))}


def _matching(rules: Any, error: str) -> int | None:
    for number, rule in enumerate(rules):
        names = rule["ErrorEquals"]
        # States.TaskFailed stands for every error but a time-out.
        if error in names or "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout"):
            return number
    return None


def _chosen(name: str, state: Mapping[str, Any], data: Json) -> str:
    for choice in state["Choices"]:
        if _holds(name, choice, data):
            return str(choice["Next"])
    if "Default" not in state:
        raise MachineError(f"{name}: no choice holds and there is no Default")
    return str(state["Default"])


def _holds(name: str, rule: Mapping[str, Any], data: Json) -> bool:
    if "And" in rule:
        return all(_holds(name, part, data) for part in rule["And"])
    if "Or" in rule:
        return any(_holds(name, part, data) for part in rule["Or"])
    if "Not" in rule:
        return not _holds(name, rule["Not"], data)
    value = _read(data, rule["Variable"])
    (operator, wanted), *more = [(key, given) for key, given in rule.items() if key not in ("Variable", "Next")]
    if more:
        raise MachineError(f"{name}: a choice with several comparisons")
    if operator.endswith("Path"):
        operator, wanted = operator.removesuffix("Path"), _read(data, wanted)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match operator:
        case "BooleanEquals":
            return isinstance(value, bool) and value == wanted
        case "StringEquals":
            return isinstance(value, str) and value == wanted
        case "NumericEquals":
            return number and value == wanted
        case "NumericLessThan":
            return number and value < wanted
        case "NumericLessThanEquals":
            return number and value <= wanted
        case "NumericGreaterThan":
            return number and value > wanted
        case "NumericGreaterThanEquals":
            return number and value >= wanted
    raise MachineError(f"{name}: the comparison {operator} is not known here")


def _read(data: Any, path: str) -> Any:
    if path == "$":
        return data
    if not path.startswith("$."):
        raise MachineError(f"{path} is no plain path")
    value = data
    for part in path.removeprefix("$.").split("."):
        if not isinstance(value, dict) or part not in value:
            raise MachineError(f"{path} is not there in {json.dumps(data)}")
        value = value[part]
    return value


def _filled(template: Any, data: Any) -> Any:
    if isinstance(template, dict):
        return {
            key.removesuffix(".$"): _read(data, value) if key.endswith(".$") else _filled(value, data)
            for key, value in template.items()
        }
    if isinstance(template, list):
        return [_filled(item, data) for item in template]
    return template


def _placed(data: Json, path: str | None, result: Any) -> Json:
    """The data with a result at its place; a path of null drops it."""
    if path is None:
        return data
    if path == "$":
        return copy.deepcopy(result) if isinstance(result, dict) else {"value": result}
    parts = path.removeprefix("$.").split(".")
    placed = copy.deepcopy(data)
    place = placed
    for part in parts[:-1]:
        place = place.setdefault(part, {})
    place[parts[-1]] = result
    return placed
