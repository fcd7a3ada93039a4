"""Baskets under seeded faults in virtual time: whatever happens, every promise holds, and every run can be seen again.

The long form is ``make chaos``.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.chaos import checks
from infra.chaos.campaign import Failure, Tally, cover, run_all, short
from infra.chaos.halts import Halt, Means
from infra.chaos.plan import Aim, Blow
from infra.chaos.run import Delivery, Result, Run
from infra.chaos.schedules import BASKETS_AT_ONCE, aimed, bases, crowd, named
from infra.exchange.faults import Fault, ReadsLagging
from infra.exchange.lag import ReadSide
from infra.exchange.living import MEMBER
from kalshi_arb import fakes
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.execution import assess, reconcile, waves
from kalshi_arb.execution.assess import Assessor
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.risk import facts

RUNS = 500


def nobody(_: Tally) -> None:
    """Progress is for people."""


@pytest.fixture(scope="module")
def tally() -> Tally:
    tally = run_all(short(RUNS, seed=0), nobody)
    cover(tally, nobody)
    sys.stdout.writelines(line + "\n" for line in ("", *tally.kill_list(), json.dumps(tally.summary(), indent=2)))
    return tally


def test_no_promise_is_broken(tally: Tally) -> None:
    assert tally.runs >= RUNS
    assert not tally.failures, "\n\n".join(failure.report() for failure in tally.failures[:2])


def test_cash_that_goes_from_one_shard_to_another_is_found_as_just_that() -> None:
    """It went after the journal had begun, so the books rightly differ: by the two shards and by nothing else."""
    run = Run(named("50003"))
    lived = run.result()
    assert lived.exchange_struck["cash_missing"] == 1
    assert lived.problems == ()
    told = checks.problems_after_settlement(run._stage, cash_was_moved=False)
    assert [text.partition(":")[0] for text in told] == ["the settlement function finds a difference"]
    run._stage.world.core.accounts[MEMBER].cash[2] += 1
    assert checks.problems_after_settlement(run._stage, cash_was_moved=True)[-1] == told[0]


def test_a_process_dies_at_every_point_at_which_it_can(tally: Tally) -> None:
    assert tally.missed == {}
    functions = {point.partition(":")[0] for point, _ in tally.points}
    assert functions >= {"state machine", "detection", "risk_check", "execute_wave", "assess", "settlement", "sweeper"}


def test_every_end_occurs_often_enough_to_mean_something(tally: Tally) -> None:
    assert all(tally.ends[end] >= 15 for end in ("lock", "flat", "held", "refused")), tally.ends
    assert tally.unwound >= 50
    assert tally.released >= 8


def test_everything_that_can_happen_to_a_call_did(tally: Tally) -> None:
    assert {blow for blow in Blow if not tally.blows[blow.value]} == set()
    assert {kind for kind, times in tally.exchange.items() if times} >= {
        "book_thinned", "cash_missing", "clock_skew", "fills", "http_error", "market_closed", "market_paused",
        "read_lag", "reply_lost",
    }  # fmt: skip


def test_an_undisturbed_basket_takes_few_transitions() -> None:
    (transitions,) = Run(bases()["lock"]).result().transitions
    assert transitions <= 12


@pytest.mark.parametrize(
    ("name", "end"),
    [("lock", "lock"), ("unwind", "flat"), ("held", "held"), ("refused", "refused"), ("released", "flat")],
)
def test_bases_end_as_their_names_say(name: str, end: str) -> None:
    assert Run(bases()[name]).result().ends == (end,)


# The same seed, the same run


@pytest.mark.parametrize("name", ["3", "crowd-1", "unwind@30:kill after"])
def test_a_run_is_the_same_again(name: str) -> None:
    first, again = Run(named(name)).result(), Run(named(name)).result()
    assert first.trace == again.trace
    assert first.ends == again.ends
    assert first.trace != Run(named("4")).result().trace


def test_a_failure_says_how_to_see_it_again() -> None:
    report = Failure("unwind@30:kill after", ("something leaked",), ("line",)).report()
    assert "something leaked" in report
    assert "make chaos ARGS='--only \"unwind@30:kill after\"'" in report
    assert named("unwind@30:kill after").aims == (Aim(30, Blow.KILL_AFTER),)


def test_what_came_into_sight_in_an_aimed_run_can_be_aimed_at_too() -> None:
    twice = named("lock@9:kill before@30:kill after")
    assert twice.aims == (Aim(9, Blow.KILL_BEFORE), Aim(30, Blow.KILL_AFTER))
    assert named(twice.name) == twice


@pytest.mark.parametrize("name", ["", "nothing", "-1", "crowd-x", "lock@", "lock@3", "lock@3:jump"])
def test_a_name_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        named(name)


# Many at once


def test_twenty_baskets_at_once_share_what_there_is() -> None:
    refusals: Counter[str] = Counter()
    for seed in range(1, 9):
        result = Run(crowd(seed)).result()
        assert not result.problems, Failure(result.schedule.name, result.problems, result.trace).report()
        assert len(result.ends) >= BASKETS_AT_ONCE
        refusals.update(reason for end, reason in zip(result.ends, result.reasons, strict=True) if end == "refused")
    assert sum(count for reason, count in refusals.items() if reason.startswith(("max_", "balance"))) > 20


def one_group(*deliveries: Delivery) -> Result:
    """A group whose books hold a bundle, and what reaches detection of it."""
    lock = bases()["lock"]
    return Run(replace(lock, name="one group", deliveries=deliveries)).result()


def test_a_candidate_that_is_delivered_again_and_again_is_one_basket() -> None:
    result = one_group(Delivery(0, 0, (5, 5, 6, 40, 2_000, 130_000)))
    assert result.problems == ()
    assert result.ends == ("lock",)


def test_two_candidates_of_a_group_at_once_are_one_basket() -> None:
    result = one_group(Delivery(0, 0, (5, 9)), Delivery(0, 1, (5,)), Delivery(0, 30, (5, 8)))
    assert result.problems == ()
    assert result.ends == ("lock",)


# Stops


def stopped(base: str, means: Means, at_ms: int) -> Result:
    """A base with purchases stopped for long at a moment of it."""
    schedule = bases()[base]
    halt = Halt(means, at_ms, for_ms=200_000)
    return Run(replace(schedule, name=f"{base} {means} {at_ms}", stops=(halt,))).result()


@pytest.mark.parametrize("means", Means)
def test_after_a_stop_nothing_is_bought_and_unwinds_go_on(means: Means) -> None:
    results = [stopped("resumed", means, 50_000)]
    results += [stopped(base, means, at_ms) for base in ("lock", "unwind") for at_ms in range(0, 400, 25)]
    assert [result.problems for result in results if result.problems] == []
    ends = Counter(end for result in results for end in result.ends)
    assert ends["refused"] > 0
    assert ends["flat"] > 0
    if means is not Means.ABANDON:
        assert sum(result.unwinds_stopped for result in results) > 0


def test_a_stop_that_is_ignored_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (facts, waves, assess):
        monkeypatch.setattr(module, "buying_stopped", lambda *_: None)
    late = replace(bases()["lock"], deliveries=(Delivery(0, 20_000, (5,)),), stops=(Halt(Means.STOP, 0, 200_000),))
    assert noticed(iter([Run(late).result()]), "after the stop")


def test_an_abandonment_that_unwinds_ignore_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (waves, assess):
        monkeypatch.setattr(module, "orders_forbidden", lambda *_: None)
    # Shortly before the sweeper has the basket unwound that died.
    assert noticed(iter([stopped("resumed", Means.ABANDON, 50_000)]), "after the abandon")


# It would be noticed


def noticed(results: Iterator[Result], word: str) -> bool:
    """Whether one of the runs breaks a promise in these words."""
    return any(word in problem for result in results for problem in result.problems)


def test_reservations_that_are_not_given_back_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes.MemoryReservationStore, "release", lambda *_, **__: None)
    assert noticed(iter([Run(bases()["unwind"]).result()]), "reserves")


def test_a_dollar_that_is_reserved_twice_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes.MemoryReservationStore, "returns", lambda *_: {})
    # Few crowds come to it; which of them do changes with every call that is added or left out.
    assert noticed((Run(crowd(seed)).result() for seed in (34, *range(35, 120))), "is not there")


def test_cash_that_is_given_back_before_the_balance_shows_what_was_spent_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behind = [replace(crowd(seed), faults=balance_lagging) for seed in (2, 26, 31, 46, 56)]
    assert not noticed((Run(schedule).result() for schedule in behind), "")
    monkeypatch.setattr(Assessor, "_is_seen", lambda *_: True)
    assert noticed((Run(schedule).result() for schedule in behind), "is not there")


def test_a_repeated_id_taken_for_a_refusal_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = list(aimed(bases()["lock"], (Blow.REPEATED,)))
    assert repeated
    assert not noticed((Run(schedule).result() for schedule in repeated), "")
    monkeypatch.setattr(reconcile, "_REPEATED", ())
    assert noticed((Run(schedule).result() for schedule in repeated), "its row says")


def test_unknown_taken_for_failed_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutionPolicy, "absent_after", lambda *_: 0)
    late = (replace(schedule, faults=lagging) for schedule in aimed(bases()["lock"], (Blow.KILL_AFTER,)))
    assert noticed((Run(schedule).result() for schedule in late), "its row says")


def lagging(*_: Any) -> list[Fault]:
    """Reads that are behind."""
    return [ReadsLagging(ms=4_000, for_ms=600_000)]


def balance_lagging(*_: Any) -> list[Fault]:
    """The balance is behind the fills."""
    return [ReadsLagging(ms=4_000, reads=(ReadSide.BALANCE,), for_ms=600_000)]
