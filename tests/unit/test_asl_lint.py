"""The lint of state machines finds each thing that would fail, or be misread, in one of the places they run."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.checks.asl import lint_machine

INPUT = {"id"}
Machine = dict[str, Any]


def task(follows: str, caught: str, result: str) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "${F}", "Payload": {"id.$": "$.id"}},
        "ResultSelector": {"done.$": "$.Payload.done", "seconds.$": "$.Payload.seconds"},
        "ResultPath": result,
        "TimeoutSeconds": 10,
        "Retry": [{"ErrorEquals": ["Lambda.ServiceException"]}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": caught}],
        "Next": follows,
    }


def good() -> Machine:
    """Sends, checks, and waits until the check is content, or says why it will not be."""
    return {
        "StartAt": "Send",
        "States": {
            "Send": task("Check", "Check", "$.sent"),
            "Check": task("IsDone", "Lost", "$.step"),
            "IsDone": {
                "Type": "Choice",
                "Choices": [
                    {"Variable": "$.step.done", "BooleanEquals": True, "Next": "End"},
                    {"And": [{"Variable": "$.step.seconds", "NumericGreaterThan": 0}], "Next": "Pause"},
                ],
                "Default": "Note",
            },
            "Pause": {"Type": "Wait", "SecondsPath": "$.step.seconds", "Next": "Check"},
            "End": {"Type": "Succeed"},
            "Lost": {"Type": "Fail", "Error": "Lost"},
            "Note": {"Type": "Pass", "Result": {"why": "words"}, "ResultPath": "$.note", "Next": "Told"},
            "Told": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.note.why", "StringEquals": "words", "Next": "End"}],
                "Default": "Lost",
            },
        },
    }


def change(*path: Any, to: Any) -> Callable[[Machine], None]:
    def apply(machine: Machine) -> None:
        target: Any = machine
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = to

    return apply


def drop(*path: Any) -> Callable[[Machine], None]:
    def apply(machine: Machine) -> None:
        target: Any = machine
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return apply


def test_a_sound_machine_has_no_problems() -> None:
    assert lint_machine(good(), INPUT) == []


BROKEN = {
    "no such start": (change("StartAt", to="Begin"), "StartAt names Begin"),
    "no such next": (change("States", "Send", "Next", to="Chek"), "Send: leads to Chek"),
    "no such default": (change("States", "IsDone", "Default", to="Nowhere"), "IsDone: leads to Nowhere"),
    "no such choice": (change("States", "IsDone", "Choices", 0, "Next", to="X"), "IsDone: leads to X"),
    "no such catcher": (change("States", "Send", "Catch", 0, "Next", to="X"), "Send: leads to X"),
    "a state nobody enters": (change("States", "Orphan", to={"Type": "Succeed"}), "Orphan: cannot be reached"),
    "a circle without end": (
        change("States", "Pause", "Next", to="Pause"),
        "Pause: no end can be reached",
    ),
    "no time-out": (drop("States", "Check", "TimeoutSeconds"), "Check: a Task needs TimeoutSeconds"),
    "no retry": (change("States", "Check", "Retry", to=[]), "Check: a Task needs Retry"),
    "no catch": (drop("States", "Check", "Catch"), "Check: a Task needs Catch"),
    "some errors not caught": (
        change("States", "Send", "Catch", 0, "ErrorEquals", to=["States.Timeout"]),
        "Send: the last catcher of a Task must match States.ALL",
    ),
    "the error replaces the input": (
        drop("States", "Send", "Catch", 0, "ResultPath"),
        "Send: catcher 0 replaces the whole input",
    ),
    "the result replaces the input": (drop("States", "Send", "ResultPath"), "Send: the result replaces the whole"),
    "States.ALL in company": (
        change("States", "Send", "Retry", 0, "ErrorEquals", to=["States.ALL", "Lambda.Unknown"]),
        "Send: States.ALL must stand alone",
    ),
    "variables": (change("States", "Send", "Assign", to={"x.$": "$.id"}), "Send: Assign is forbidden"),
    "JSONata": (change("QueryLanguage", to="JSONata"), "QueryLanguage at machine level"),
    "JSONata in a state": (change("States", "Send", "Arguments", to={}), "Send: Arguments is forbidden"),
    "machine time-out": (change("TimeoutSeconds", to=60), "TimeoutSeconds at machine level"),
    "input path": (change("States", "Send", "InputPath", to="$.id"), "Send: InputPath is forbidden"),
    "output path": (change("States", "Send", "OutputPath", to="$.sent"), "Send: OutputPath is forbidden"),
    "result writer": (change("States", "Send", "ResultWriter", to={}), "Send: ResultWriter is forbidden"),
    "heartbeat alone": (
        change("States", "Pause", "HeartbeatSeconds", to=5),
        "Pause: HeartbeatSeconds without TimeoutSeconds",
    ),
    "outside the subset": (change("States", "Pause", "Type", to="Parallel"), "Pause: type Parallel is outside"),
    "a choice that may match nothing": (drop("States", "IsDone", "Default"), "IsDone: a Choice without Default"),
    "a choice without choices": (change("States", "IsDone", "Choices", to=[]), "IsDone: a Choice without choices"),
    "no way on": (drop("States", "Pause", "Next"), "Pause: neither Next nor End"),
    "a field no way provides": (
        change("States", "Pause", "SecondsPath", to="$.step.pause"),
        "Pause: reads $.step.pause, which is not there on every way",
    ),
    "a field one way does not provide": (
        change("States", "Check", "Parameters", "Payload", to={"id.$": "$.id", "error.$": "$.error.Cause"}),
        "Check: reads $.error.Cause, which is not there on every way",
    ),
    "a field the input lacks": (
        change("States", "Send", "Parameters", "Payload", to={"wave.$": "$.wave"}),
        "Send: reads $.wave",
    ),
    "an intrinsic": (
        change("States", "Send", "Parameters", "Payload", to={"id.$": "States.UUID()"}),
        "Send: States.UUID() is not a plain path",
    ),
    "a filter on the result": (
        change("States", "Send", "ResultSelector", to={"x.$": "$.Payload[0]"}),
        "Send: $.Payload[0] is not a plain path",
    ),
    "a field inside a negation": (
        change("States", "IsDone", "Choices", 1, to={"Not": {"Variable": "$.gone", "IsNull": True}, "Next": "Pause"}),
        "IsDone: reads $.gone",
    ),
    "a Pass that replaces the input": (
        change("States", "Note", "ResultPath", to="$"),
        "Note: a Pass needs a Result with names and a ResultPath of its own",
    ),
    "a Pass without a result": (drop("States", "Note", "Result"), "Note: a Pass needs a Result with names"),
    "a field that no Pass writes": (
        change("States", "Note", "Result", to={"other": "x"}),
        "Told: reads $.note.why, which is not there on every way",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_is_found(name: str) -> None:
    breaking, expected = BROKEN[name]
    machine = good()
    breaking(machine)
    problems = lint_machine(machine, INPUT)
    assert any(problem.startswith(expected) for problem in problems), problems


def test_an_empty_machine_is_one_problem() -> None:
    assert lint_machine({"StartAt": "A", "States": {}}) == ["the machine has no states"]


@given(st.sampled_from(sorted(good()["States"])))
def test_no_state_can_be_left_out(name: str) -> None:
    machine = copy.deepcopy(good())
    del machine["States"][name]
    assert lint_machine(machine, INPUT)
