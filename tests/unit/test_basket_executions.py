"""The deployed state machine over the real use cases: how many transitions a basket takes, how little data travels, and
that it comes to an end whatever one of its functions does."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.chaos.machine import Edge, Interpreter, Outcome, TaskError
from infra.checks.basket_machine import BASKET_MACHINE
from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.domain.money import Count
from kalshi_arb.execution.assess import Action, Assessment
from tests.basket_world import NO, YES, World, leg, partition

MACHINE: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / BASKET_MACHINE).read_text())
MOST_TRANSITIONS = 12
"""For a lock of two waves; the start of an execution counts as one more (AWS Step Functions pricing)."""
MOST_BYTES = 8_192

Json = dict[str, Any]


@dataclass
class Executions:
    """Runs executions, and lets a function fail as a test says: by name, with the error it is called by."""

    world: World
    failing: Callable[[str, int], str | None] = lambda _function, _call: None
    states: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    longest: int = 0

    def run(self, basket_id: str, attempt: int = 1) -> Outcome:
        """One execution."""
        machine = Interpreter(MACHINE, invoke=self._invoke, wait=self._wait, note=self._note)
        return machine.run({"basket_id": basket_id, "attempt": attempt})

    def drive(self, basket_id: str, rounds: int = 20) -> Basket:
        """Executions and sweeps until nothing is started any more."""
        self.run(basket_id)
        for _ in range(rounds):
            self.world.clock.advance(21_000)
            begun = len(self.world.workflow.started)
            self.world.sweeper.run()
            for name, attempt in self.world.workflow.started[begun:]:
                self.run(name, attempt)
        return self.world.row(basket_id)

    def _wait(self, seconds: float) -> None:
        self.world.clock.advance(round(seconds * 1000))

    def _note(self, state: str, edge: Edge, data: Json) -> None:
        if edge is Edge.BEFORE:
            self.states.append(state)
        self._measure(data)

    def _measure(self, data: Any) -> None:
        self.longest = max(self.longest, len(json.dumps(data)))

    def _invoke(self, function: str, payload: Json, _timeout: int) -> Json:
        self._measure(payload)
        name = function.removeprefix("${").removesuffix("FunctionArn}")
        self.calls[name] = self.calls.get(name, 0) + 1
        error = self.failing(name, self.calls[name])
        if error is not None:
            raise TaskError(error, "x" * 30_000)
        try:
            answer = self._answer(name, payload["basket_id"], payload["attempt"], payload)
        except KalshiArbError as raised:
            raise TaskError(type(raised).__name__, str(raised)) from raised
        self._measure(answer)
        return {"basket_id": payload["basket_id"], "attempt": payload["attempt"], **answer}

    def _answer(self, name: str, basket_id: str, attempt: int, payload: Json) -> Json:
        world = self.world
        if name == "RiskCheck":
            risk = world.risk.run(basket_id, attempt)
            return {"accepted": risk.accepted, "reason": risk.reason, "wave": risk.wave}
        if name in ("ExecuteWave", "Unwind"):
            sender = world.executor if name == "ExecuteWave" else world.unwinder
            return {"wave": payload["wave"], "sent": sender.run(basket_id, attempt, payload["wave"])}
        if name == "Assess":
            found: Assessment = world.assessor.run(basket_id, attempt, payload["wave"])
            return {
                "action": found.action.value, "wave": found.wave, "wait_seconds": found.wait_seconds,
                "turns": found.turns, "state": found.state.value,
            }  # fmt: skip
        return {"state": world.closer.run(basket_id, attempt, payload.get("gave_up", "")).value}


def lock_of(legs: int) -> tuple[Executions, str]:
    """A partition whose every market is offered; with more than nine legs it takes more than two waves."""
    world = World(partition(legs, event="KX" + "LONGEST" * 6))
    event = world.group.event_ticker
    each = 90 // legs
    world.offer(*((f"{event}-{number}", YES, each, 20) for number in range(legs)))
    basket = world.propose(*(leg(f"{event}-{number}", YES, 2, each) for number in range(legs)))
    return Executions(world), basket.basket_id


def test_a_lock_of_two_waves_takes_few_transitions() -> None:
    executions, basket_id = lock_of(3)
    outcome = executions.run(basket_id)
    row = executions.world.row(basket_id)
    assert (row.state, len({order.wave for order in row.orders})) == (BasketState.LOCK, 2)
    assert executions.states == [
        "ProveAndReserve", "IsAccepted", "ExecuteWave", "Assess", "WhatNext", "ExecuteWave", "Assess", "WhatNext",
        "Close", "Ended",
    ]  # fmt: skip
    assert 1 + outcome.transitions <= MOST_TRANSITIONS


def test_only_two_tasks_stand_before_the_first_order() -> None:
    executions, basket_id = lock_of(3)
    seen: list[str] = []
    executions.world.exchange.before_place = lambda _orders: seen.extend(executions.states)
    executions.run(basket_id)
    assert [name for name in seen[: seen.index("ExecuteWave") + 1] if MACHINE["States"][name]["Type"] == "Task"] == [
        "ProveAndReserve",
        "ExecuteWave",
    ]


@pytest.mark.parametrize("legs", [2, 9, 30])
def test_what_travels_is_short_however_large_the_basket(legs: int) -> None:
    executions, basket_id = lock_of(legs)
    executions.run(basket_id)
    assert executions.world.row(basket_id).state is BasketState.LOCK
    assert executions.longest < 400


@pytest.mark.parametrize("name", ["RiskCheck", "ExecuteWave", "Assess", "Close"])
def test_what_travels_stays_short_when_a_function_fails_with_many_words(name: str) -> None:
    executions, basket_id = lock_of(9)
    executions.failing = lambda function, _call: "SomeError" if function == name else None
    executions.run(basket_id)
    assert executions.longest < MOST_BYTES


def test_the_longest_ids_that_a_function_takes_leave_room() -> None:
    executions, _ = lock_of(2)
    outcome = executions.run("b" * 64, 2**31)
    assert (outcome.status, outcome.state) == ("FAILED", "HandOverFailed")
    assert executions.longest < 400


@pytest.mark.parametrize(
    ("error", "tries"),
    [("Lambda.AWSLambdaException", 3), ("Lambda.TooManyRequestsException", 3), ("States.Timeout", 1), ("Died", 1)],
)
def test_purchases_that_are_taken_away_at_the_start_are_refused(error: str, tries: int) -> None:
    executions, basket_id = lock_of(3)
    executions.failing = lambda function, _call: error if function == "ExecuteWave" else None
    assert executions.run(basket_id).status == "SUCCEEDED"
    row = executions.world.row(basket_id)
    assert (row.state, row.reason) == (BasketState.REFUSED, "undelivered")
    assert executions.calls["ExecuteWave"] == tries
    executions.world.assert_ended_well(basket_id)


@pytest.mark.parametrize("way_out", [True, False])
def test_purchases_that_are_taken_away_in_the_middle_leave_unwinding_possible(*, way_out: bool) -> None:
    """For good: nothing goes in circles, and the unwind is sent by a function that nobody took away."""
    executions, basket_id = lock_of(3)
    world = executions.world
    if way_out:
        world.offer(*((own.ticker, NO, 71, 20) for own in world.group.markets))
    executions.failing = lambda function, call: (
        "Lambda.AWSLambdaException" if function == "ExecuteWave" and call > 1 else None
    )
    assert executions.run(basket_id).status == "SUCCEEDED"
    row = world.row(basket_id)
    assert row.state is (BasketState.FLAT if way_out else BasketState.HELD)
    assert executions.states.count("ExecuteWave") == 2
    assert executions.states.count("Unwind") == int(way_out)
    assert row.turns < 20
    world.assert_ended_well(basket_id)


def test_unwinds_that_are_taken_away_end_in_holding_and_telling() -> None:
    executions, basket_id = lock_of(3)
    world = executions.world
    world.offer(*((own.ticker, NO, 71, 20) for own in world.group.markets))
    executions.failing = lambda function, call: (
        "Lambda.AWSLambdaException" if function == "Unwind" or (function == "ExecuteWave" and call > 1) else None
    )
    assert executions.run(basket_id).status == "SUCCEEDED"
    assert world.row(basket_id).state is BasketState.HELD
    assert executions.states.count("Unwind") <= world.policy.unwind_rounds
    assert [alert.alert_id for alert in world.notifier.published] == [f"{basket_id}-end"]


@pytest.mark.parametrize("name", ["RiskCheck", "Assess", "Close"])
def test_what_fails_for_a_while_is_handed_over_and_finished_by_the_next_attempt(name: str) -> None:
    executions, basket_id = lock_of(3)
    executions.failing = lambda function, call: "SchemaError" if function == name and call == 1 else None
    row = executions.drive(basket_id)
    assert (row.state, row.attempt) == (BasketState.LOCK, 2)
    assert executions.states[: executions.states.index("HandedOver")].count("HandOver") == 1
    executions.world.assert_ended_well(basket_id)


def test_a_resumed_basket_counts_its_turns_from_the_beginning() -> None:
    executions, basket_id = lock_of(3)
    world = executions.world
    executions.failing = lambda function, call: "SchemaError" if function == "Assess" and call == 2 else None
    executions.run(basket_id)
    assert world.row(basket_id).turns == 1
    assert executions.drive(basket_id).turns <= 2


def test_an_exchange_that_never_answers_uses_up_no_execution() -> None:
    """The attempt is handed over before its turns are used up, each of the following at once."""
    executions, basket_id = lock_of(3)
    world = executions.world
    world.exchange.read_lag_ms = 10**9
    assert executions.run(basket_id).status == "FAILED"
    assert executions.states[-3:] == ["OrdersStayUnknown", "HandOver", "HandedOver"]
    assert world.row(basket_id).turns < 60
    assert world.row(basket_id).reason == "orders_stay_unknown"
    world.exchange.read_lag_ms = 0
    assert executions.drive(basket_id).state in (BasketState.LOCK, BasketState.FLAT, BasketState.HELD)
    world.assert_ended_well(basket_id)


def test_an_assessment_that_always_waits_is_stopped_by_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    executions, basket_id = lock_of(3)
    world = executions.world
    turns = iter(range(1, 10_000))
    monkeypatch.setattr(
        world.assessor,
        "run",
        lambda *_: Assessment(Action.WAIT, BasketState.EXECUTING, next(turns), wait_seconds=1),
    )
    outcome = executions.run(basket_id)
    assert executions.states[-3:] == ["TurnsUsedUp", "HandOver", "HandedOver"]
    assert executions.calls["Assess"] == 200
    assert outcome.transitions < 25_000 // 12


def test_a_fade_is_completed_or_given_up_within_few_transitions() -> None:
    executions, basket_id = lock_of(3)
    world = executions.world
    event = world.group.event_ticker
    world.exchange.caps[f"{event}-2"] = Count(0)
    world.offer((f"{event}-0", NO, 71, 20), (f"{event}-1", NO, 71, 20))
    outcome = executions.run(basket_id)
    world.assert_ended_well(basket_id)
    assert world.row(basket_id).state in (BasketState.FLAT, BasketState.HELD)
    assert outcome.transitions <= 25
