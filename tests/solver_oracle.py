"""An independent answer: a program over all states, written with PuLP and solved by CBC, its integers priced exactly.

It knows nothing of families and takes nothing from the solvers: its own costs, every level of every contract a whole
number of hundredths, one row for each state. Amounts in 1e-12 dollars.
"""

from collections.abc import Mapping, Sequence

import pulp

from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Group

DOLLAR = 10**10
"""A dollar for a hundredth of a contract."""


def unit_cost(market: Market, price: int) -> int:
    """A hundredth of a contract at a price with its fee of 0.07 x multiplier x P x (1 - P), cut at 1e-10 dollars a
    contract."""
    return price * 10**6 + 700 * market.fees.multiplier * price * (10_000 - price) // 10**6


def levels_of(book: BookSnapshot | None, outcome: Outcome) -> list[tuple[int, int]]:
    """What can be bought: price and size, cheapest first; nothing on a crossed book."""
    if book is None:
        return []
    yes, no = book.yes_bids, book.no_bids
    if yes and no and yes[0].price + no[0].price >= 10_000:
        return []
    return [(10_000 - level.price, level.size) for level in (no if outcome is Outcome.YES else yes)]


def payouts(group: Group, *, every_state: bool) -> list[dict[tuple[int, Outcome], int]]:
    """What each contract pays at least, state by state (1e-4 dollars)."""
    found = []
    for state in group.states:
        if every_state or state.basis is Basis.CERTAIN:
            most = state.highest or state.yes_payouts
            row: dict[tuple[int, Outcome], int] = {}
            for place, (low, high) in enumerate(zip(state.yes_payouts, most, strict=True)):
                row[place, Outcome.YES] = low
                row[place, Outcome.NO] = 10_000 - high
            found.append(row)
    return found


def gain(
    group: Group, books: Mapping[str, BookSnapshot], counts: Mapping[tuple[int, Outcome], int], *, every_state: bool
) -> int:
    """What these counts gain in the worst state, linear fees, cheapest levels first."""
    spent = 0
    for (place, outcome), count in counts.items():
        left = count
        market = group.markets[place]
        for price, size in levels_of(books.get(market.ticker), outcome):
            used = min(left, size)
            spent += used * unit_cost(market, price)
            left -= used
        assert left == 0, "more than there is"
    rows = payouts(group, every_state=every_state)
    return min(sum(row[key] * count for key, count in counts.items()) for row in rows) * 10**6 - spent


def counts_of(group: Group, legs: Sequence[Leg]) -> dict[tuple[int, Outcome], int]:
    """Legs by market and outcome."""
    return {(group.index(leg.ticker), leg.outcome): int(leg.count) for leg in legs}


def best_gains(
    cases: Sequence[tuple[Group, Mapping[str, BookSnapshot]]], *, every_state: bool = False, step: int = 1
) -> list[int]:
    """The optimum of each case, all in one program: they share nothing, so that each part of it is one optimum."""
    problem = pulp.LpProblem("states", pulp.LpMaximize)
    objective: list[tuple[pulp.LpVariable, float]] = []
    bought: list[dict[tuple[int, Outcome], pulp.LpVariable]] = []
    for number, (group, books) in enumerate(cases):
        worst = problem.add_variable(f"w{number}")
        objective.append((worst, step * DOLLAR / 1_000))
        held: dict[tuple[int, Outcome], pulp.LpVariable] = {}
        for place, market in enumerate(group.markets):
            for outcome in Outcome:
                levels = levels_of(books.get(market.ticker), outcome)
                if not levels:
                    continue
                name = f"{number}_{place}{outcome.value}"
                most = sum(size for _, size in levels) // step
                total = held[place, outcome] = problem.add_variable(f"t{name}", 0, most, cat=pulp.LpInteger)
                parts = []
                for level, (price, size) in enumerate(levels):
                    part = problem.add_variable(f"x{name}_{level}", 0, size / step)
                    objective.append((part, -step * unit_cost(market, price) / 1_000))
                    parts.append((part, -1.0))
                problem += pulp.LpAffineExpression([(total, 1.0), *parts]) == 0
        for row in payouts(group, every_state=every_state):
            paid = [(amount, row[key] / 10_000) for key, amount in held.items() if row[key]]
            problem += pulp.LpAffineExpression([(worst, -1.0), *paid]) >= 0
        bought.append(held)
    problem += pulp.LpAffineExpression(objective)
    problem.solve(pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False, gapAbs=0, gapRel=0))
    assert pulp.LpStatus[problem.status] == "Optimal"
    return [
        gain(
            group,
            books,
            {key: step * round(pulp.value(amount)) for key, amount in held.items()},
            every_state=every_state,
        )
        for (group, books), held in zip(cases, bought, strict=True)
    ]
