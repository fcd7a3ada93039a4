"""The peers of `infra.bench.detect`: the same question as a linear program, built anew from the same books each time.

Each answers with the gain in the worst certain state in dollars, linear fees. The fees are those of the solvers' own
table, so that only formulation and solver differ:

- ``pulp_cbc``: one row for each state with the payout less the cost of every level, in PuLP, solved by CBC
- ``highspy_dense``: the same rows straight into HiGHS
- ``highspy_pruned``: the least that HiGHS can be given. Levels that no best bundle can use are left out first, costs go
  into the objective, and each state is one row that holds what changes from the state before it: one entry a level.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kalshi_arb.detection.effective import ONE, offers
from kalshi_arb.detection.solvers.highs import INFINITY, Program, maximise
from kalshi_arb.detection.solvers.plans import plan_of
from kalshi_arb.detection.solvers.sides import Sides
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count
from kalshi_arb.domain.state_space import Basis, Group


class _Level(NamedTuple):
    place: int
    outcome: Outcome
    cost: float
    size: float


def _levels(group: Group, books: Mapping[str, BookSnapshot]) -> Iterator[_Level]:
    for place, market in enumerate(group.markets):
        for outcome in Outcome:
            for cost, size in offers(market, books, outcome):
                yield _Level(place, outcome, cost / ONE, size / ONE_CONTRACT)


def pulp_cbc(group: Group, books: Mapping[str, BookSnapshot]) -> float:
    """PuLP with its bundled CBC."""
    import pulp

    problem = pulp.LpProblem("bundle", pulp.LpMaximize)
    gain = problem.add_variable("gain")
    held = [
        (level, problem.add_variable(f"x{number}", 0, level.size))
        for number, level in enumerate(_levels(group, books))
    ]  # fmt: skip
    problem += gain
    for state in group.states:
        if state.basis is Basis.CERTAIN:
            row = [
                (amount, state.payout(level.place, level.outcome) / ONE_DOLLAR - level.cost) for level, amount in held
            ]
            problem += pulp.LpAffineExpression([(gain, -1.0), *row]) >= 0
    problem.solve(pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False))
    if pulp.LpStatus[problem.status] != "Optimal":
        raise RuntimeError(f"CBC: {pulp.LpStatus[problem.status]}")
    return float(pulp.value(gain))


def highspy_dense(group: Group, books: Mapping[str, BookSnapshot]) -> float:
    """The same rows in HiGHS."""
    levels = list(_levels(group, books))
    rows = []
    for state in group.states:
        if state.basis is Basis.CERTAIN:
            values = [state.payout(level.place, level.outcome) / ONE_DOLLAR - level.cost for level in levels]
            rows.append((range(len(levels) + 1), [-1.0, *values]))
    program = Program(
        gains=[1.0] + [0.0] * len(levels),
        lowest=[-INFINITY] + [0.0] * len(levels),
        highest=[INFINITY, *(level.size for level in levels)],
        rows=rows,
        row_lowest=[0.0] * len(rows),
        row_highest=[INFINITY] * len(rows),
    )
    return maximise(program).gain


def highspy_pruned(group: Group, books: Mapping[str, BookSnapshot]) -> float:
    """The smallest program of a ladder, whose markets stand from the easiest to the hardest. Prices are looked up where
    they are needed, as the solvers do."""
    plan = plan_of(group, every_state=False)
    sides = Sides(plan.tickers, plan.costs, books, Count(1))
    tops = sides.tops
    count = len(plan.tickers)
    dearest = [0] * (count + 1)
    for place in range(count - 1, -1, -1):
        dearest[place] = max(dearest[place + 1], ONE - tops[2 * place + 1])
    cheapest = ONE
    gains: list[float] = []
    highest: list[float] = []
    rows: list[tuple[list[int], list[float]]] = []
    balances: list[int] = []
    for place in range(count):
        columns: list[int] = []
        signs: list[float] = []
        for contract, below, sign in ((2 * place, dearest[place + 1], 1.0), (2 * place + 1, ONE - cheapest, -1.0)):
            for cost, size in sides.offers(contract, below) if tops[contract] < below else ():
                columns.append(len(gains))
                signs.append(sign)
                gains.append((-cost if sign > 0 else ONE - cost) / ONE)
                highest.append(size / ONE_CONTRACT)
        cheapest = min(cheapest, tops[2 * place])
        if columns:
            # What YES covers so far and NO has not used: one row where it changes, linked to the row before.
            if balances:
                columns.append(balances[-1])
                signs.append(1.0)
            balances.append(len(gains))
            columns.append(balances[-1])
            signs.append(-1.0)
            gains.append(0.0)
            highest.append(INFINITY)
            rows.append((columns, signs))
    if not rows:
        return 0.0
    nothing = [0.0] * len(rows)
    return maximise(Program(gains, [0.0] * len(gains), highest, rows, nothing, nothing)).gain
