"""The allocator's choices in small, and the claims it chooses between."""

import pulp
import pytest

from kalshi_arb.detection.allocate import Allocation, Claim, Method, allocate, book_levels, claim, level_key
from kalshi_arb.detection.judge import judge, opportunity
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from tests.market_samples import NOW_MS, book, books, group


def one(name: str, profit: int, **needs: int) -> Claim:
    return Claim(name, f"group of {name}", Cash(profit), needs)


def test_what_fits_together_is_taken_whole_best_first() -> None:
    plan = allocate([one("a", 1, cash=5), one("b", 2, cash=5)], {"cash": 10}, seconds=1)
    assert plan == Allocation(("b", "a"), Cash(3), Method.ALL)


def test_two_small_ones_beat_a_large_one() -> None:
    claims = [one("large", 10, cash=10), one("b", 6, cash=5), one("c", 6, cash=5)]
    assert allocate(claims, {"cash": 10}, seconds=5) == Allocation(("b", "c"), Cash(12), Method.EXACT)


def test_what_is_not_known_limits_nothing_and_what_earns_nothing_is_left() -> None:
    claims = [one("a", 1, cash=5), one("b", 0), one("c", -1)]
    assert allocate(claims, {}, seconds=1) == Allocation(("a",), Cash(1), Method.ALL)


def test_a_group_has_one_basket() -> None:
    claims = [Claim("a", "same", Cash(3), {}), Claim("b", "same", Cash(4), {})]
    assert allocate(claims, {}, seconds=5) == Allocation(("b",), Cash(4), Method.EXACT)


def test_without_time_the_plan_is_greedy_and_says_so() -> None:
    claims = [one("large", 10, cash=10), one("b", 6, cash=5), one("c", 6, cash=5)]
    plan = allocate(claims, {"cash": 10}, seconds=0)
    assert plan.method is Method.GREEDY
    assert plan.profit == 12


@pytest.mark.parametrize("status", [pulp.LpSolutionIntegerFeasible, pulp.LpSolutionNoSolutionFound])
def test_a_solver_that_did_not_finish_gives_no_plan(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    def solve(problem: pulp.LpProblem, _solver: object) -> int:
        problem.sol_status = status
        for variable in problem.variables():
            variable.varValue = 1.0
        return status

    monkeypatch.setattr(pulp.LpProblem, "solve", solve)
    plan = allocate([one("a", 3, cash=6), one("b", 2, cash=6)], {"cash": 10}, seconds=5)
    assert plan == Allocation(("a",), Cash(3), Method.GREEDY)


def test_an_answer_that_does_not_add_up_is_asked_again_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pulp.LpProblem.solve
    asked: list[pulp.LpProblem] = []

    def careless(problem: pulp.LpProblem, solver: object) -> int:
        asked.append(problem)
        if len(asked) > 1:
            return int(honest(problem, solver))
        problem.sol_status, problem.solutionTime = pulp.LpSolutionOptimal, 0.0
        for variable in problem.variables():
            variable.varValue = 1.0
        return 1

    monkeypatch.setattr(pulp.LpProblem, "solve", careless)
    plan = allocate([one("a", 3, cash=6), one("b", 2, cash=6)], {"cash": 10}, seconds=5)
    assert plan == Allocation(("a",), Cash(3), Method.EXACT)
    assert len(asked) == 2


def test_a_solver_that_dies_or_never_adds_up_gives_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(problem: pulp.LpProblem, _solver: object) -> int:
        problem.sol_status, problem.solutionTime = pulp.LpSolutionOptimal, 3.0
        for variable in problem.variables():
            variable.varValue = 1.0
        return 1

    def dead(_problem: pulp.LpProblem, _solver: object) -> int:
        raise pulp.PulpSolverError("no such file")

    for solve in (wrong, dead):
        monkeypatch.setattr(pulp.LpProblem, "solve", solve)
        plan = allocate([one("a", 3, cash=6), one("b", 2, cash=6)], {"cash": 10}, seconds=5)
        assert plan == Allocation(("a",), Cash(3), Method.GREEDY)


def test_a_claim_asks_for_what_the_reservation_will_hold() -> None:
    found = group("> 1", "> 2")
    snapshots = books(book("> 1", no=[(60, 10)]), book("> 2", yes=[(50, 10)]))
    judgement = judge(
        found, snapshots, precision=Precision.DIRECT, smallest_fill=Count(100), now_ms=NOW_MS, max_age_ms=1_000
    )
    assert judgement.certificate is not None
    lock = opportunity(found, snapshots, judgement, judgement.certificate, found_ms=NOW_MS, candidate_ms=NOW_MS)
    asked = claim(lock, found)
    assert asked.profit == 656_800
    outlay = asked.needs["outlay#all"]
    # The certificate's outlay, and what completing each leg with a second order can add.
    assert judgement.certificate.outlay < outlay <= judgement.certificate.outlay + 2 * 102
    assert asked.needs == {
        "open#baskets": 1,
        "tokens": 20,
        "cash#0": outlay,
        "outlay#all": outlay,
        "event#EVENT": outlay,
        "market#> 1": asked.needs["market#> 1"],
        "market#> 2": outlay - asked.needs["market#> 1"],
        level_key("> 1", Outcome.YES, Price(4_000)): 1_000,
        level_key("> 2", Outcome.NO, Price(5_000)): 1_000,
    }
    assert book_levels([("> 1", Outcome.YES, snapshots["> 1"].asks(Outcome.YES))]) == {"level#> 1#yes#4000": 1_000}
