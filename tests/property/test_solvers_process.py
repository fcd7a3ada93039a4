"""Solvers in one process: HiGHS beside CBC in both orders, one thread setting, never an answer without an optimum."""

import subprocess
import sys
from pathlib import Path

import pulp
import pytest

from kalshi_arb.detection.solvers import Method, solve
from kalshi_arb.detection.solvers.highs import INFINITY, Program, maximise, new_solver
from kalshi_arb.domain.errors import ProofError, SolverError
from tests.solver_oracle import best_gains
from tests.solver_worlds import World, world

ROOT = Path(__file__).resolve().parents[2]
HANDLED = "functions.detection.handler"


def general_worlds(count: int) -> list[World]:
    """Worlds with a bundle that only the program over the states finds."""
    found = []
    for seed in range(10**6):
        one = world(seed)
        bundle = solve(one.group, one.books)
        if bundle is not None and bundle.method is Method.STATES:
            found.append(one)
            if len(found) == count:
                return found
    raise AssertionError("none")


def knapsack() -> float:
    """A program as an allocator writes it: whole bundles under a budget."""
    problem = pulp.LpProblem("allocation", pulp.LpMaximize)
    taken = [problem.add_variable(f"t{number}", 0, 1, cat=pulp.LpInteger) for number in range(12)]
    problem += pulp.lpSum((3 + number % 5) * one for number, one in enumerate(taken))
    problem += pulp.lpSum((2 + number % 3) * one for number, one in enumerate(taken)) <= 17
    problem.solve(pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False))
    assert pulp.LpStatus[problem.status] == "Optimal"
    return float(pulp.value(problem.objective))


@pytest.mark.parametrize("first", ["solver", "allocator"])
def test_solver_and_allocator_agree_with_themselves_in_either_order(first: str) -> None:
    worlds = general_worlds(3)
    steps = [lambda: [solve(one.group, one.books) for one in worlds], knapsack]
    if first == "allocator":
        steps.reverse()
    answers = [step() for step in (*steps, *steps)]
    assert answers[:2] == answers[2:]
    bundles = answers[0] if first == "solver" else answers[1]
    assert isinstance(bundles, list)
    best = best_gains([(one.group, one.books) for one in worlds])
    assert [bundle.linear_profit for bundle in bundles] == [gain // 100 for gain in best]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Program([1.0], [0.0], [INFINITY], [], [], []), "without an optimum"),
        (Program([1.0], [0.0], [5.0], [([0], [1.0])], [6.0], [INFINITY]), "without an optimum: Infeasible"),
        (Program([1.0], [4.0], [3.0], [], [], []), "without an optimum|refused"),
        (Program([float("nan")], [0.0], [1.0], [], [], []), "refused|optimum"),
        (Program([1.0], [0.0], [1.0], [([3], [1.0])], [0.0], [1.0]), "refused the model"),
    ],
    ids=["unbounded", "infeasible", "bounds crossed", "no number", "no such column"],
)
def test_any_end_but_an_optimum_is_an_error(broken: Program, said: str) -> None:
    with pytest.raises(SolverError, match=said):
        maximise(broken)
    assert maximise(Program([1.0], [0.0], [5.0], [], [], [])).gain == 5.0


def test_a_solver_error_is_never_mistaken_for_a_refusal() -> None:
    assert not issubclass(SolverError, ProofError)


def test_an_objective_that_the_counts_contradict_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from kalshi_arb.detection.solvers import states

    (one,) = general_worlds(1)

    def lying(program: Program) -> object:
        found = maximise(program)
        return found._replace(gain=found.gain * 1.5)

    monkeypatch.setattr(states, "maximise", lying)
    with pytest.raises(SolverError, match="counts are worth"):
        solve(one.group, one.books)


def test_another_thread_setting_in_the_process_is_an_error_and_no_answer() -> None:
    """A solve with four threads first: what follows with one either works or raises, and never answers zero."""
    code = (
        "import highspy\n"
        "from kalshi_arb.detection.solvers.highs import Program, maximise\n"
        "from kalshi_arb.domain.errors import SolverError\n"
        "other = highspy.Highs(); other.setOptionValue('output_flag', False); other.setOptionValue('threads', 4)\n"
        "other.setOptionValue('parallel', 'on'); other.addVar(0.0, 1.0); other.run()\n"
        "try:\n"
        "    print('answer', maximise(Program([1.0], [0.0], [5.0], [], [], [])).gain)\n"
        "except SolverError as error:\n"
        "    print('error', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith(("answer 5.0", "error"))


def test_the_factory_gives_every_solver_the_same_thread_setting() -> None:
    assert {new_solver().getOptionValue("threads")[1] for _ in range(3)} == {1}


def test_the_detection_handler_imports_no_solver() -> None:
    code = (
        f"import sys, {HANDLED}\n"
        "print([name for name in ('highspy', 'numpy', 'pulp', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
