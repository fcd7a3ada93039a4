"""Which of several opportunities to start when they cannot all be had: advice for the reservation, which alone decides.

Every opportunity claims what its execution will need, under the reservation's own keys: cash by shard, exposure by
market and event, open baskets and outlay, besides rate tokens and contracts at the levels of a book. A plan takes each
claim whole or not at all, at most one of a group, and never more of a resource than is free. The greatest guaranteed
profit is a small integer program (CBC); when its time is spent a greedy plan takes its place and says so. Whatever the
solver answers is added up again in integers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.opportunity import Opportunity
from kalshi_arb.domain.reservation_keys import (
    ALL_OPEN,
    ALL_OUTLAY,
    CASH_KEY,
    EVENT_KEY,
    MARKET_KEY,
    OPEN_KEY,
    OUTLAY_KEY,
    prefix_of,
)
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import FeeRules, highest_cost, leg_terms, split_overhead
from kalshi_arb.risk.limits import Limits

TOKENS_KEY = "tokens"
LEVEL_KEY = "level#"
ORDER_TOKENS = 10
"""Write tokens of one order (Kalshi API documentation, rate limits)."""


@unique
class Method(StrEnum):
    """How a plan was found. GREEDY may leave profit behind; the others do not."""

    ALL = "all"  # everything fits
    EXACT = "exact"
    GREEDY = "greedy"  # the time was spent, or the solver failed


@dataclass(frozen=True, slots=True)
class Claim:
    """What one opportunity earns for certain (1e-6 dollars) and needs, by resource key, in the resource's unit."""

    opportunity_id: str
    group_id: str
    profit: Cash
    needs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Allocation:
    """``chosen`` are ids of opportunities, the most profitable first."""

    chosen: tuple[str, ...]
    profit: Cash
    method: Method


def level_key(ticker: str, outcome: Outcome, price: Price) -> str:
    """The key of what can be bought of an outcome at one price."""
    return f"{LEVEL_KEY}{ticker}#{outcome.value}#{price}"


def claim(found: Opportunity, group: Group) -> Claim:
    """What the reservation will hold for an opportunity, the tokens of its orders, and the levels it was proved on.

    :raises ProofError: a leg is not in the group.
    """
    certificate = found.certificate
    rules = FeeRules(Precision(certificate.precision), certificate.smallest_fill)
    needs: Counter[str] = Counter({ALL_OPEN: 1, TOKENS_KEY: ORDER_TOKENS * len(found.legs)})
    for own, leg in zip(leg_terms(group, found.legs), found.legs, strict=True):
        amount = highest_cost(own, leg.count, leg.limit, rules) + split_overhead(own, leg.limit, rules)
        for key in (
            f"{CASH_KEY}{own.shard}",
            ALL_OUTLAY,
            MARKET_KEY + leg.ticker,
            EVENT_KEY + found.event_ticker,
        ):
            needs[key] += amount
    for proved in certificate.legs:
        for price, size in proved.levels:
            needs[level_key(proved.leg.ticker, proved.leg.outcome, price)] += size
    return Claim(found.opportunity_id, found.group_id, certificate.floor_profit, dict(needs))


def book_levels(legs: Iterable[tuple[str, Outcome, Iterable[tuple[Price, Count]]]]) -> dict[str, int]:
    """What is free at the levels of books, each given as ticker, outcome and what can be bought of it."""
    return {level_key(ticker, outcome, price): size for ticker, outcome, asks in legs for price, size in asks}


def room(claims: Iterable[Claim], limits: Limits, used: Mapping[str, int], tokens: int) -> dict[str, int]:
    """What the operator's limits and the reservations leave of what is claimed, and the tokens for new orders. Cash is
    not among it: the balance is read by the risk check alone."""
    most = {
        MARKET_KEY: limits.max_exposure_per_market,
        EVENT_KEY: limits.max_exposure_per_event,
        OPEN_KEY: limits.max_open_baskets,
        OUTLAY_KEY: limits.max_open_outlay,
    }
    keys = {key for one in claims for key in one.needs}
    free = {key: max(0, most[prefix] - used.get(key, 0)) for key in keys if (prefix := prefix_of(key)) in most}
    return {**free, TOKENS_KEY: tokens}


def allocate(claims: Sequence[Claim], free: Mapping[str, int], *, seconds: float) -> Allocation:
    """Choose the claims with the greatest profit together.

    :param free: what is free of each resource; one that is not named is not known and so limits nothing
    :param seconds: the most that the solver may take; nothing for a greedy plan at once
    """
    known = _worth(claims)
    if _fits(known, free):
        return _plan(known, Method.ALL)
    best = _greedy(known, free)
    exact = _exact(known, free, seconds) if seconds > 0 else None
    return _plan(best, Method.GREEDY) if exact is None else _plan(exact, Method.EXACT)


def _worth(claims: Iterable[Claim]) -> list[Claim]:
    """Claims that earn something, each once, the most profitable first."""
    once = {one.opportunity_id: one for one in claims if one.profit > 0}
    return sorted(once.values(), key=lambda one: (-one.profit, one.opportunity_id))


def _plan(chosen: Sequence[Claim], method: Method) -> Allocation:
    return Allocation(
        tuple(one.opportunity_id for one in chosen), Cash(sum(one.profit for one in chosen)), method
    )  # fmt: skip


def _fits(chosen: Sequence[Claim], free: Mapping[str, int]) -> bool:
    """Whether these can be had together."""
    needed: Counter[str] = Counter()
    for one in chosen:
        needed.update(one.needs)
    return len({one.group_id for one in chosen}) == len(chosen) and all(
        amount <= free[key] for key, amount in needed.items() if key in free
    )


def _greedy(claims: Sequence[Claim], free: Mapping[str, int]) -> list[Claim]:
    """The better of two passes: by profit, and by profit for the scarcest thing it needs."""

    def scarcity(one: Claim) -> float:
        shares = [amount / free[key] for key, amount in one.needs.items() if free.get(key, 0) > 0 and amount]
        return max(shares, default=1e-9)

    plans = []
    for order in (claims, sorted(claims, key=lambda one: (-one.profit / scarcity(one), one.opportunity_id))):
        chosen: list[Claim] = []
        for one in order:
            if _fits([*chosen, one], free):
                chosen.append(one)
        plans.append(_worth(chosen))
    return max(plans, key=lambda plan: sum(one.profit for one in plan))


def _exact(claims: Sequence[Claim], free: Mapping[str, int], seconds: float) -> list[Claim] | None:
    """The best plan, or None when it could not be proved to be the best in time."""
    # Loaded only when there is something to choose between: importing it takes longer than most judgements.
    import pulp

    problem = pulp.LpProblem("allocation", pulp.LpMaximize)
    take: list[Any] = [problem.add_variable(f"take{number}", cat="Binary") for number in range(len(claims))]
    problem += pulp.lpSum(one.profit * var for one, var in zip(claims, take, strict=True))
    for key, available in free.items():
        needed = [(one.needs.get(key, 0), var) for one, var in zip(claims, take, strict=True)]
        total = sum(amount for amount, _ in needed)
        if total <= available:
            continue
        # In shares of the most that could be asked for, so that no constraint's tolerance depends on its unit.
        problem += pulp.lpSum(amount / total * var for amount, var in needed if amount) <= available / total
    by_group: dict[str, list[Any]] = {}
    for one, var in zip(claims, take, strict=True):
        by_group.setdefault(one.group_id, []).append(var)
    for same in by_group.values():
        if len(same) > 1:
            problem += pulp.lpSum(same) <= 1
    left = seconds
    while left > 0:
        # Profits are whole millionths, so half of one is no gap. No thread is asked for: with even one of its own, CBC
        # now and then never returns from a dozen choices.
        solver = pulp.COIN_CMD(path=pulp.PULP_CBC_CMD.pulp_cbc_path, msg=False, timeLimit=left, gapRel=0, gapAbs=0.5)
        try:
            problem.solve(solver)
        except pulp.PulpSolverError:
            return None
        if problem.sol_status != pulp.LpSolutionOptimal:
            return None
        chosen = [place for place, var in enumerate(take) if (var.value() or 0) > 0.5]
        short = _short(claims, chosen, free)
        if not short:
            plan = [claims[place] for place in chosen]
            return plan if _fits(plan, free) else None
        # The solver's tolerance let through a few millionths too much: these cannot be had together, exactly.
        problem += pulp.lpSum(take[place] for place in short) <= len(short) - 1
        left -= problem.solutionTime
    return None


def _short(claims: Sequence[Claim], chosen: Sequence[int], free: Mapping[str, int]) -> list[int]:
    """Of the chosen claims those that together ask for more of one resource than is free; empty when all fit."""
    for key, available in free.items():
        asking = [place for place in chosen if claims[place].needs.get(key, 0) > 0]
        if sum(claims[place].needs[key] for place in asking) > available:
            return asking
    return []
