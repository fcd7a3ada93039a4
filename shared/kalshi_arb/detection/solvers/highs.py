"""The one way to the HiGHS solver: one thread setting for the whole process, and an optimum or an error.

HiGHS has one scheduler of threads in a process; a solve whose setting differs from the first one's fails with an
objective of zero, which must never be read as an answer. Every solve therefore starts from a new instance with the same
setting, and any status but an optimum raises.
"""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from kalshi_arb.domain.errors import SolverError

if TYPE_CHECKING:
    import highspy

_THREADS = 1


class Program(NamedTuple):
    """Maximise ``gains`` over columns between their bounds, rows between theirs; rows are sparse (columns, values).

    ``whole`` are the columns that must be whole numbers. Bounds of ``INFINITY`` are none.
    """

    gains: Sequence[float]
    lowest: Sequence[float]
    highest: Sequence[float]
    rows: Sequence[tuple[Sequence[int], Sequence[float]]]
    row_lowest: Sequence[float]
    row_highest: Sequence[float]
    whole: Sequence[int] = ()


class Optimum(NamedTuple):
    """The best columns and what they gain."""

    columns: list[float]
    gain: float


INFINITY = float("inf")


def new_solver() -> "highspy.Highs":
    """A quiet solver with the process's thread setting and no tolerance for less than the best."""
    import highspy

    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor is not annotated
    for name, value in (
        ("output_flag", False),
        ("threads", _THREADS),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 0.0),
        ("primal_feasibility_tolerance", 1e-9),
        ("dual_feasibility_tolerance", 1e-9),
        ("mip_feasibility_tolerance", 1e-9),
    ):
        _ok(solver.setOptionValue(name, value), f"the option {name}")
    return solver


def maximise(program: Program) -> Optimum:
    """The optimum of a program.

    :raises SolverError: it has none, or the solver did not find it.
    """
    import highspy
    import numpy as np

    columns = len(program.gains)
    starts = [0]
    for indices, _ in program.rows:
        starts.append(starts[-1] + len(indices))
    model = highspy.HighsLp()
    model.num_col_ = columns
    model.num_row_ = len(program.rows)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = np.array(program.gains, dtype=np.float64)
    model.col_lower_ = np.array(program.lowest, dtype=np.float64)
    model.col_upper_ = np.array(program.highest, dtype=np.float64)
    model.row_lower_ = np.array(program.row_lowest, dtype=np.float64)
    model.row_upper_ = np.array(program.row_highest, dtype=np.float64)
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.array(starts, dtype=np.int32)
    model.a_matrix_.index_ = np.array([index for indices, _ in program.rows for index in indices], dtype=np.int32)
    model.a_matrix_.value_ = np.array([value for _, values in program.rows for value in values], dtype=np.float64)
    if program.whole:
        kinds = [highspy.HighsVarType.kContinuous] * columns
        for column in program.whole:
            kinds[column] = highspy.HighsVarType.kInteger
        model.integrality_ = kinds
    solver = new_solver()
    _ok(solver.passModel(model), "the model")
    _ok(solver.run(), "the run")
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise SolverError(f"the solver ended without an optimum: {solver.modelStatusToString(status)}")
    gain = float(solver.getInfo().objective_function_value)
    if not isfinite(gain):
        raise SolverError(f"the solver's optimum is {gain}")
    return Optimum(list(solver.getSolution().col_value), gain)


def _ok(status: object, what: str) -> None:
    import highspy

    if status != highspy.HighsStatus.kOk:
        raise SolverError(f"the solver refused {what}: {status}")
