"""What a state machine that places orders promises, proved on its graph: no execution is needed.

Ways are counted as the service takes them: Next, Default, every choice and every catcher. Whether a task fails, and
what a choice reads, is left open, so what holds here holds for every execution. An attempt that is handed over goes on
in another execution; that is one more way, from the state that hands over to the start.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

State = Mapping[str, Any]
States = Mapping[str, State]

TRANSPORT_ERRORS = frozenset(
    {
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
        "StoreError",
    }
)
"""Throttling and transport: of the call of a function, and of a store that it uses."""
CRASHES = frozenset({"Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout"})
"""The function's process ended in the middle: repeated only where nothing is ever sent."""
MOST_REPEATS = 5
_GUARD = "NumericGreaterThanEquals"
_TERMINAL = frozenset({"Succeed", "Fail"})


@dataclass(frozen=True, slots=True)
class Promises:
    """The states that carry the promises, by name.

    :param orders: tasks that send orders
    :param assesses: the task that must follow each of them
    :param closes: the task that records and releases; the only way to success
    :param hands_over: the task that leaves the rest to the next execution; the only other way to an end
    :param counter: path of a number that ``assesses`` raises each time, within one execution
    :param payload: what may be handed to a function
    """

    orders: tuple[str, ...]
    assesses: str
    closes: str
    hands_over: str
    counter: str
    payload: frozenset[str]

    def named(self) -> tuple[str, ...]:
        """Every state that is named here."""
        return (*self.orders, self.assesses, self.closes, self.hands_over)


def broken_promises(start: str, states: States, promises: Promises) -> Iterator[str]:
    """Everything promised that the graph does not keep, one line each. All targets exist."""
    absent = [name for name in promises.named() if name not in states]
    yield from (f"{name} does not exist, but promises are about it" for name in absent)
    if absent:
        return
    yield from _orders_are_assessed(states, promises)
    yield from _ends_are_closed(start, states, promises)
    yield from _loops_are_bounded(states, promises)
    for name, state in states.items():
        if state.get("Type") == "Task":
            yield from (f"{name}: {problem}" for problem in _repeats(state, sends=name in promises.orders))
            yield from (f"{name}: {problem}" for problem in _payload(state, promises.payload))
        if state.get("Type") == "Fail":
            yield from (f"{name}: a failure without {field}" for field in ("Error", "Cause") if not state.get(field))


def targets(state: State) -> Iterator[str]:
    """Names of the states that may follow: Next, Default, every choice and every catcher."""
    for holder in (state, *state.get("Choices", ()), *state.get("Catch", ())):
        if "Next" in holder:
            yield holder["Next"]
    if "Default" in state:
        yield state["Default"]


def is_end(state: State) -> bool:
    """Whether an execution ends here."""
    return state.get("Type") in _TERMINAL or state.get("End") is True


def closure(states: States, begin: Iterable[str], without: Collection[str] = ()) -> set[str]:
    """All states reachable from ``begin``, which are included, on ways that do not enter ``without``."""
    seen: set[str] = set()
    waiting = [name for name in begin if name not in without]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += [target for target in targets(states[name]) if target not in without]
    return seen


def _orders_are_assessed(states: States, promises: Promises) -> Iterator[str]:
    """Once orders may have been sent, nothing else happens before they were asked for."""
    for name in promises.orders:
        if is_end(states[name]):
            yield f"{name}: ends without {promises.assesses}"
        for target in dict.fromkeys(targets(states[name])):
            if target != promises.assesses:
                yield f"{name}: leads to {target} before {promises.assesses}"


def _ends_are_closed(start: str, states: States, promises: Promises) -> Iterator[str]:
    """Success comes after closing only, failure after handing over only, and both can be reached where they must be."""
    closes, hands_over = promises.closes, promises.hands_over
    for name in sorted(closure(states, [start], without=(closes, hands_over))):
        if is_end(states[name]):
            yield f"{name}: an execution can end here without passing {closes} or {hands_over}"
    for name in sorted(closure(states, targets(states[closes]), without=(hands_over,))):
        if states[name].get("Type") == "Fail":
            yield f"{name}: an execution can fail here after {closes} without passing {hands_over}"
        if not is_end(states[name]) and states[name].get("Type") != "Pass":
            yield f"{closes}: goes on to {name}, though the basket is over"
    for name in sorted(closure(states, targets(states[hands_over]))):
        if states[name].get("Type") != "Fail":
            yield f"{hands_over}: goes on to {name}, though the attempt has given up"
    # What is handed over begins again at the start: every order must find its way to the close from there, too.
    resumed = {**states, hands_over: {"Type": "Pass", "Next": start}}
    for name in (*promises.orders, hands_over):
        if closes not in closure(resumed, [name]):
            yield f"{name}: no way leads from here to {closes}"
    for name in sorted(closure(resumed, [start])):
        if closes not in closure(resumed, [name]) and not is_end(states[name]):
            yield f"{name}: no way leads from here to {closes}"


def _loops_are_bounded(states: States, promises: Promises) -> Iterator[str]:
    """Every cycle passes through the task that raises the counter and through a choice that it makes leave."""
    guards = {name for name in states if _is_guard(name, states, promises.counter)}
    if not _raises(states[promises.assesses], promises.counter):
        yield f"{promises.assesses}: does not write {promises.counter}"
    for name, state in states.items():
        if name != promises.assesses and _writes(state, promises.counter) and name in _on_cycles(states):
            yield f"{name}: writes over {promises.counter} inside a loop"
    for cycle in _cycles(states, without=guards):
        yield f"{' -> '.join(cycle)}: a loop that no guard on {promises.counter} leaves"
    for cycle in _cycles(states, without={promises.assesses}):
        yield f"{' -> '.join(cycle)}: a loop in which nothing raises {promises.counter}"


def _is_guard(name: str, states: States, counter: str) -> bool:
    """A choice that, once the counter has reached a number, goes where it can never be reached again; and whatever it
    looks at before does so, too."""
    for choice in states[name].get("Choices", ()):
        if name in closure(states, [choice["Next"]]):
            return False
        limit = choice.get(_GUARD)
        if choice.get("Variable") == counter and isinstance(limit, int) and not isinstance(limit, bool):
            return True
    return False


def _raises(state: State, counter: str) -> bool:
    place, _, field = counter.rpartition(".")
    return state.get("ResultPath") == place and f"{field}.$" in state.get("ResultSelector", {})


def _writes(state: State, counter: str) -> bool:
    path = state.get("ResultPath")
    return path is not None and (counter == path or counter.startswith(f"{path}."))


def _on_cycles(states: States) -> set[str]:
    return {name for name in states if name in closure(states, targets(states[name]))}


def _cycles(states: States, without: Collection[str]) -> Iterator[tuple[str, ...]]:
    """For each set of states that reach each other without passing ``without``, one cycle through its first."""
    told: set[str] = set()
    for name in states:
        if name in without or name in told:
            continue
        way = _way_back(name, states, without)
        if way:
            told |= {other for other in states if name in closure(states, [other], without)}
            yield way


def _way_back(name: str, states: States, without: Collection[str]) -> tuple[str, ...]:
    waiting: list[tuple[str, ...]] = [(name,)]
    seen: set[str] = set()
    while waiting:
        way = waiting.pop(0)
        for target in targets(states[way[-1]]):
            if target == name:
                return (*way, name)
            if target not in seen and target not in without:
                seen.add(target)
                waiting.append((*way, target))
    return ()


def _repeats(state: State, *, sends: bool) -> Iterator[str]:
    allowed = TRANSPORT_ERRORS if sends else TRANSPORT_ERRORS | CRASHES
    for retrier in state.get("Retry", ()):
        for error in retrier.get("ErrorEquals", ()):
            if error not in allowed:
                yield f"repeats after {error}, which is neither throttling nor transport"
        most = retrier.get("MaxAttempts")
        if not isinstance(most, int) or not 1 <= most <= MOST_REPEATS:
            yield f"a Retry needs MaxAttempts from 1 to {MOST_REPEATS}"
        if not retrier.get("IntervalSeconds"):
            yield "a Retry needs IntervalSeconds"


def _payload(state: State, allowed: frozenset[str]) -> Iterator[str]:
    payload = state.get("Parameters", {}).get("Payload", {})
    for field, value in payload.items():
        name = field.removesuffix(".$")
        if name not in allowed:
            yield f"hands {name} to a function: only {', '.join(sorted(allowed))} may travel"
        if not field.endswith(".$") or not isinstance(value, str):
            yield f"hands {name} to a function, and not from the execution's own data"
    for catcher in state.get("Catch", ()):
        if catcher.get("ResultPath", "$") is not None:
            yield "keeps what a task failed with in the data, which may be long: its history has it"
