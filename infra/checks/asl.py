"""Lint for state machines in the Amazon States Language, stricter than the service's own validation.

It accepts only the subset that AWS, the emulator of the local run and the interpreter of the tests read alike: JSONPath
without variables, flat state machines, no heartbeat without a time-out, no reliance on a machine-level time-out, and
no path to a field that may be absent (AWS fails there, an emulator may answer null).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from infra.checks.asl_flow import Promises, State, broken_promises, closure, is_end, targets

_ALLOWED_TYPES = frozenset({"Task", "Choice", "Wait", "Pass", "Succeed", "Fail"})
_NEEDED_BY_TASK = ("TimeoutSeconds", "Retry", "Catch")
_FORBIDDEN_FIELDS = {
    "Assign": "variables are not read alike everywhere",
    "ResultWriter": "nothing is written outside AWS",
    "Arguments": "it belongs to JSONata",
    "Output": "it belongs to JSONata",
    "QueryLanguage": "JSONPath is the only query language here",
    "InputPath": "pick fields in Parameters, where an absent one is noticed",
    "OutputPath": "place results with ResultPath, so that ids are never replaced",
    "TimeoutSecondsPath": "a time-out is a number in the file",
    "HeartbeatSecondsPath": "a heartbeat is a number in the file",
}
_FORBIDDEN_AT_TOP = {
    "TimeoutSeconds": "a machine-level time-out is ignored outside AWS; bound every task instead",
    "QueryLanguage": "JSONPath is the only query language here",
}
_PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_OUTER_COMPARISONS = ("And", "Or")
_CATCH_FIELDS = ("Error", "Cause")


def lint_machine(
    machine: Mapping[str, Any], execution_input: Collection[str] = (), promises: Promises | None = None
) -> list[str]:
    """Everything wrong with a state machine, one line each; empty when nothing is.

    ``execution_input`` names the fields that every execution is started with, ``promises`` what its graph must keep.
    """
    states = machine.get("States")
    if not isinstance(states, Mapping) or not states:
        return ["the machine has no states"]
    problems = [f"{field} at machine level: {why}" for field, why in _FORBIDDEN_AT_TOP.items() if field in machine]
    for name, state in states.items():
        problems += [f"{name}: {problem}" for problem in _lint_state(state)]
    broken = [*_missing_targets(machine, states)]
    problems += broken
    if broken:
        return problems  # everything below walks along the targets
    start = machine["StartAt"]
    reachable = closure(states, [start])
    problems += [f"{name}: cannot be reached from {start}" for name in states if name not in reachable]
    problems += [
        f"{name}: no end can be reached from here"
        for name in states
        if not any(is_end(states[other]) for other in closure(states, [name]))
    ]
    if promises is not None:
        problems += broken_promises(start, states, promises)
    problems += _lint_paths(start, states, frozenset(execution_input))
    return problems


def _lint_state(state: State) -> Iterator[str]:
    kind = state.get("Type")
    if kind not in _ALLOWED_TYPES:
        yield f"type {kind} is outside the subset ({', '.join(sorted(_ALLOWED_TYPES))})"
        return
    for field, why in _FORBIDDEN_FIELDS.items():
        if field in state:
            yield f"{field} is forbidden: {why}"
    if "HeartbeatSeconds" in state and "TimeoutSeconds" not in state:
        yield "HeartbeatSeconds without TimeoutSeconds never ends the wait outside AWS"
    if kind == "Task":
        yield from _lint_task(state)
    if kind == "Pass" and (not isinstance(state.get("Result"), Mapping) or state.get("ResultPath", "$") in ("$", None)):
        yield "a Pass needs a Result with names and a ResultPath of its own"
    if kind == "Choice":
        if not state.get("Choices"):
            yield "a Choice without choices"
        if "Default" not in state:
            yield "a Choice without Default fails on any value nobody thought of"
    elif not is_end(state) and "Next" not in state:
        yield "neither Next nor End"


def _lint_task(state: State) -> Iterator[str]:
    for field in _NEEDED_BY_TASK:
        if not state.get(field):
            yield f"a Task needs {field}"
    catchers = state.get("Catch") or [{}]
    if "States.ALL" not in catchers[-1].get("ErrorEquals", ()):
        yield "the last catcher of a Task must match States.ALL"
    for position, catcher in enumerate(catchers):
        if "ResultPath" not in catcher:
            yield f"catcher {position} replaces the whole input with the error: give it a ResultPath"
    if state.get("ResultPath", "$") == "$":
        yield "the result replaces the whole input: give the Task a ResultPath of its own"
    for holder in (*state.get("Retry", ()), *catchers):
        names = holder.get("ErrorEquals", ())
        if "States.ALL" in names and len(names) > 1:
            yield "States.ALL must stand alone"


def _missing_targets(machine: Mapping[str, Any], states: Mapping[str, State]) -> Iterator[str]:
    start = machine.get("StartAt")
    if start not in states:
        yield f"StartAt names {start}, which does not exist"
    for name, state in states.items():
        for target in targets(state):
            if target not in states:
                yield f"{name}: leads to {target}, which does not exist"


def _lint_paths(start: str, states: Mapping[str, State], execution_input: frozenset[str]) -> Iterator[str]:
    """Every path that is read must be there on every way that leads to the state."""
    known: dict[str, frozenset[str]] = {start: execution_input}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        for target, fields in _after(states[name], known[name]):
            merged = fields if target not in known else known[target] & fields
            if known.get(target) != merged:
                known[target] = merged
                waiting.append(target)
    for name in states:
        for path in _reads(states[name]):
            if not _PATH.match(path):
                yield f"{name}: {path} is not a plain path of fields"
            elif name in known and not _is_known(path, known[name]):
                yield f"{name}: reads {path}, which is not there on every way to it"
        for path in _selected(states[name]):
            if not _PATH.match(path):
                yield f"{name}: {path} is not a plain path of fields"


def _is_known(path: str, fields: frozenset[str]) -> bool:
    return path == "$" or path.removeprefix("$.") in fields


def _after(state: State, before: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each following state with the fields that are there when it is entered this way."""
    result = before
    if state.get("Type") == "Task":
        selected = [key.removesuffix(".$") for key in state.get("ResultSelector", {})]
        result = _written(before, state.get("ResultPath"), selected)
    if state.get("Type") == "Pass":
        result = _written(before, state.get("ResultPath"), state.get("Result", {}))
    for target in targets({**state, "Catch": ()}):
        yield target, result
    for catcher in state.get("Catch", ()):
        yield catcher["Next"], _written(before, catcher.get("ResultPath"), _CATCH_FIELDS)


def _written(before: frozenset[str], result_path: str | None, below: Iterable[str]) -> frozenset[str]:
    if result_path is None:
        return before
    place = result_path.removeprefix("$.")
    kept = {field for field in before if field != place and not field.startswith(place + ".")}
    return frozenset({*kept, place, *(f"{place}.{field}" for field in below)})


def _reads(state: State) -> Iterator[str]:
    """Paths into the state's input."""
    yield from _template_paths(state.get("Parameters", {}))
    for field in ("SecondsPath", "TimestampPath"):
        if field in state:
            yield state[field]
    for choice in state.get("Choices", ()):
        yield from _choice_paths(choice)


def _selected(state: State) -> Iterator[str]:
    """Paths into a task's raw result; the function's own contract says that they are there."""
    yield from _template_paths(state.get("ResultSelector", {}))


def _template_paths(template: object) -> Iterator[str]:
    if isinstance(template, Mapping):
        for key, value in template.items():
            if key.endswith(".$"):
                yield value
            else:
                yield from _template_paths(value)


def _choice_paths(choice: Mapping[str, Any]) -> Iterator[str]:
    for field, value in choice.items():
        if field == "Variable" or field.endswith("Path"):
            yield value
        elif field in _OUTER_COMPARISONS:
            for inner in value:
                yield from _choice_paths(inner)
        elif field == "Not":
            yield from _choice_paths(value)
