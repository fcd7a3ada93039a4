"""The proofs about the basket's machine refuse every machine that breaks one of its promises."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.checks.asl import lint_machine
from infra.checks.asl_flow import Promises
from infra.checks.basket_machine import BASKET_MACHINE, EXECUTION_INPUT, PROMISES

MACHINE: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / BASKET_MACHINE).read_text())
States = dict[str, Any]
Breaking = Callable[[States], object]


def lead(state: str, to: str, *, at: str = "Next") -> Breaking:
    return lambda states: states[state].update({at: to})


def catch(state: str, to: str) -> Breaking:
    return lambda states: states[state]["Catch"][0].update(Next=to)


def without_choice(position: int) -> Breaking:
    return lambda states: states["WhatNext"]["Choices"].pop(position)


def retry(state: str, **changes: Any) -> Breaking:
    return lambda states: states[state]["Retry"][0].update(changes)


def payload(state: str, field: str, value: Any) -> Breaking:
    return lambda states: states[state]["Parameters"]["Payload"].update({field: value})


def guard_last(states: States) -> None:
    """Leaves the loop by the counter only after the choices that stay in it."""
    choices = states["WhatNext"]["Choices"]
    choices.append(choices.pop(2))


def wait_in_a_circle(states: States) -> None:
    states["Again"] = {
        "Type": "Choice",
        "Choices": [{"Variable": "$.step.state", "StringEquals": "executing", "Next": "WaitForExchange"}],
        "Default": "Assess",
    }
    states["WaitForExchange"]["Next"] = "Again"


def count_elsewhere(states: States) -> None:
    """Another task in the loop writes over the counter."""
    states["Unwind"].update(ResultPath="$.step.turns")


BROKEN: dict[str, tuple[Breaking, str]] = {
    "a wave that nobody asks about": (lead("ExecuteWave", "Close"), "ExecuteWave: leads to Close before Assess"),
    "a wave whose death nobody asks about": (
        catch("ExecuteWave", "ProofFailed"),
        "ExecuteWave: leads to ProofFailed before Assess",
    ),
    "an unwind sent twice": (catch("Unwind", "Unwind"), "Unwind: leads to Unwind before Assess"),
    "a wave that ends the execution": (
        lambda states: states["ExecuteWave"].update(End=True),
        "ExecuteWave: ends without Assess",
    ),
    "a success without closing": (
        lambda states: states["WhatNext"]["Choices"][0].update(Next="Ended"),
        "Ended: an execution can end here without passing Close or HandOver",
    ),
    "a refusal without closing": (
        lead("IsAccepted", "Ended", at="Default"),
        "Ended: an execution can end here without passing Close or HandOver",
    ),
    "a failure that nobody takes over": (
        catch("Assess", "HandedOver"),
        "HandedOver: an execution can end here without passing Close or HandOver",
    ),
    "a close whose failure nobody takes over": (
        catch("Close", "HandedOver"),
        "HandedOver: an execution can fail here after Close without passing HandOver",
    ),
    "a basket that goes on after its end": (lead("Close", "ExecuteWave"), "Close: goes on to ExecuteWave"),
    "an attempt that goes on after it gave up": (catch("HandOver", "Assess"), "HandOver: goes on to Assess"),
    "a machine that never closes": (
        lambda states: (
            states["WhatNext"]["Choices"].pop(0),
            states["IsAccepted"].update(Default="ProofFailed"),
            states["CloseFailed"].update(Next="Close"),
        ),
        "HandOver: no way leads from here to Close",
    ),
    "a loop without a guard": (without_choice(2), "ExecuteWave -> Assess -> WhatNext -> ExecuteWave: a loop that no"),
    "a guard that is asked too late": (guard_last, "ExecuteWave -> Assess -> WhatNext -> ExecuteWave: a loop that no"),
    "a guard that leads back": (
        lambda states: states["WhatNext"]["Choices"][2].update(Next="WaitForExchange"),
        "ExecuteWave -> Assess -> WhatNext -> ExecuteWave: a loop that no",
    ),
    "a guard on something else": (
        lambda states: states["WhatNext"]["Choices"][2].update(Variable="$.step.wave"),
        "ExecuteWave -> Assess -> WhatNext -> ExecuteWave: a loop that no",
    ),
    "a guard that holds below the limit": (
        lambda states: states["WhatNext"]["Choices"].__setitem__(
            2, {"Variable": "$.step.turns", "NumericLessThan": 200, "Next": "TurnsUsedUp"}
        ),
        "ExecuteWave -> Assess -> WhatNext -> ExecuteWave: a loop that no",
    ),
    "a wait that never asks": (wait_in_a_circle, "WaitForExchange -> Again -> WaitForExchange: a loop"),
    "a counter that nothing raises": (
        lambda states: states["Assess"]["ResultSelector"].pop("turns.$"),
        "Assess: does not write $.step.turns",
    ),
    "a counter that is written over": (count_elsewhere, "Unwind: writes over $.step.turns inside a loop"),
    "a repetition after anything": (
        retry("Close", ErrorEquals=["States.ALL"]),
        "Close: repeats after States.ALL, which is neither throttling nor transport",
    ),
    "a wave repeated after a crash": (
        retry("ExecuteWave", ErrorEquals=["Runtime.ExitError"]),
        "ExecuteWave: repeats after Runtime.ExitError",
    ),
    "an unwind repeated after a time-out": (
        retry("Unwind", ErrorEquals=["States.Timeout"]),
        "Unwind: repeats after States.Timeout",
    ),
    "a repetition without end": (retry("Assess", MaxAttempts=99_999), "Assess: a Retry needs MaxAttempts from 1 to 5"),
    "a repetition at once": (retry("Assess", IntervalSeconds=0), "Assess: a Retry needs IntervalSeconds"),
    "a task without a time-out": (
        lambda states: states["Close"].pop("TimeoutSeconds"),
        "Close: a Task needs TimeoutSeconds",
    ),
    "books in the payload": (payload("ExecuteWave", "books.$", "$.step"), "ExecuteWave: hands books to a function"),
    "a constant in the payload": (
        payload("HandOver", "gave_up", "x" * 9_000),
        "HandOver: hands gave_up to a function, and not from the execution's own data",
    ),
    "an error that is carried along": (
        lambda states: states["Assess"]["Catch"][0].update(ResultPath="$.error"),
        "Assess: keeps what a task failed with in the data",
    ),
    "a failure that nobody understands": (
        lambda states: states["HandedOver"].pop("Cause"),
        "HandedOver: a failure without Cause",
    ),
}


def problems(breaking: Breaking) -> list[str]:
    machine = copy.deepcopy(MACHINE)
    breaking(machine["States"])
    return lint_machine(machine, EXECUTION_INPUT, PROMISES)


def test_the_machine_keeps_its_promises() -> None:
    assert lint_machine(MACHINE, EXECUTION_INPUT, PROMISES) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_found(name: str) -> None:
    breaking, expected = BROKEN[name]
    found = problems(breaking)
    assert any(problem.startswith(expected) for problem in found), found


@pytest.mark.parametrize("name", PROMISES.named())
def test_a_promise_about_a_state_that_is_gone_is_itself_a_problem(name: str) -> None:
    states = MACHINE["States"]
    gone = Promises(
        orders=tuple(order + "X" if order == name else order for order in PROMISES.orders),
        assesses=PROMISES.assesses + "X" * (name == PROMISES.assesses),
        closes=PROMISES.closes + "X" * (name == PROMISES.closes),
        hands_over=PROMISES.hands_over + "X" * (name == PROMISES.hands_over),
        counter=PROMISES.counter,
        payload=PROMISES.payload,
    )
    assert f"{name}X" not in states
    assert lint_machine(MACHINE, EXECUTION_INPUT, gone) == [f"{name}X does not exist, but promises are about it"]


def test_purchases_and_unwinds_are_sent_by_different_functions() -> None:
    """So that the one can be taken away and the other stays."""
    called = {
        name: state["Parameters"]["FunctionName"]
        for name, state in MACHINE["States"].items()
        if state["Type"] == "Task"
    }
    assert called["ExecuteWave"] == "${ExecuteWaveFunctionArn}"
    assert called["Unwind"] == "${UnwindFunctionArn}"
    for name, function in called.items():
        if name not in ("ExecuteWave", "Unwind"):
            assert function not in (called["ExecuteWave"], called["Unwind"])
