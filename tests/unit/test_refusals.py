"""A refused basket is a decision too: the journal keeps it with its certificate and every reason, once, whoever refuses
it and wherever the process that did so died."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from kalshi_arb.cli import journal as commands
from kalshi_arb.cli.main import cli
from kalshi_arb.domain.basket import Basket, BasketState, Finding
from kalshi_arb.domain.journal import verify
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, refusal_code
from kalshi_arb.execution.ending import NOTE_LENGTH, Ending, decided
from kalshi_arb.execution.machine import BUYING
from tests.basket_world import Killed, World, partition


def proposed() -> tuple[World, Basket]:
    """Ten of each outcome of a partition for 90 cents a set."""
    world = World(partition())
    world.offer_bundle()
    return world, world.propose_bundle()


def refusals(world: World) -> list[LedgerEntry]:
    return [entry for entry in world.ledger.all() if refusal_code(entry) is not None]


def ending(world: World) -> Ending:
    return Ending(
        baskets=world.baskets, ledger=world.ledger, reservations=world.reservations, status=world.status,
        notifier=world.notifier, clock=world.clock,
    )  # fmt: skip


def stopped_and_poor(world: World) -> None:
    world.status.put("control", {"stop": True, "by": "ann", "reason": "lunch"})
    world.limits = replace(world.limits, min_profit=Cash(50_000_000))


def test_the_risk_check_leaves_every_reason_and_the_certificate() -> None:
    world, basket = proposed()
    stopped_and_poor(world)
    assert not world.risk.run(basket.basket_id, 1).accepted
    row = world.row(basket.basket_id)
    assert [found.code for found in row.findings] == ["stopped", "min_profit"]
    (told,) = world.ledger.all()
    assert (told.entry_id, told.kind, told.basket_id) == (
        f"refused-{basket.basket_id}", EntryKind.DECISION, basket.basket_id
    )  # fmt: skip
    assert told.reference == row.certificate.seal != ""
    assert told.note == "; ".join(f"{found.code}: {found.text}" for found in row.findings)
    assert "stopped: by ann, lunch; min_profit: " in told.note
    assert told.created_ms == row.updated_ms
    assert refusal_code(told) == "stopped"
    assert verify(*world.ledger.rows()) == []


def test_a_proposal_that_nobody_took_up_says_for_how_long() -> None:
    world, basket = proposed()
    world.clock.advance(31_000)
    world.sweeper.run()
    (told,) = refusals(world)
    assert told.note == "expired: nothing drove it for 31 s, so what was proved is too old"
    assert told.reference == basket.certificate.seal


def stop(world: World, basket_id: str) -> None:
    world.status.put("control", {"stop": True, "by": "ann"})
    world.assess(basket_id, 1, -1)


def lose_the_first_wave(world: World, basket_id: str) -> None:
    world.assess(basket_id, 1, 0)


def be_late(world: World, basket_id: str) -> None:
    world.clock.advance(60_000)
    world.assess(basket_id, 1, -1)


@pytest.mark.parametrize(
    ("accident", "note"),
    [
        (stop, "stopped: by ann"),
        (lose_the_first_wave, "undelivered: whoever was to send its first orders could not be called"),
        (be_late, "expired: its first orders were not sent while their plan was fresh"),
    ],
)
def test_a_basket_that_was_accepted_and_never_sent_says_why(accident: Callable[[World, str], None], note: str) -> None:
    world, basket = proposed()
    assert world.risk.run(basket.basket_id, 1).accepted
    accident(world, basket.basket_id)
    assert not refusals(world), "decided, and not carried out yet"
    assert world.closer.run(basket.basket_id, 1) is BasketState.REFUSED
    (told,) = refusals(world)
    assert told.note.startswith(note)
    row = world.row(basket.basket_id)
    assert told.reference == row.certificate.seal != basket.certificate.seal, "the one that it was reserved on"
    assert refusal_code(told) == row.reason


def test_killed_at_every_call_of_the_refusal_it_is_told_once() -> None:
    """Recorded before anything is given back: whoever finishes it finds the decision, or makes it again."""
    died = 0
    for position in range(1, 60):
        for after in (False, True):
            world, basket = proposed()
            stopped_and_poor(world)
            world.switch.kill_at, world.switch.after = position, after
            try:
                world.risk.run(basket.basket_id, 1)
            except Killed:
                died += 1
                if not refusals(world):
                    assert world.row(basket.basket_id).state is BasketState.PROPOSED
                    assert world.baskets.owners
            else:
                assert died >= 20
                return
            world.switch.kill_at = None
            assert world.drive(basket.basket_id).state is BasketState.REFUSED
            (told,) = refusals(world)
            assert {entry.basket_id for entry in world.ledger.all()} == {basket.basket_id}
            assert told.note.startswith("stopped: by ann, lunch; min_profit: ")
            world.assert_ended_well(basket.basket_id)
    raise AssertionError("it never got through")


def test_what_is_carried_out_again_adds_nothing() -> None:
    world, basket = proposed()
    row = decided(world.row(basket.basket_id), BasketState.REFUSED, "stopped", None, world.clock.now_ms())
    saved = world.baskets.save(replace(row, findings=(Finding("stopped", "by ann"),)))
    kept = world.baskets.save
    world.baskets.save = lambda row: row  # type: ignore[method-assign]  # it dies before the row's end is stored
    ending(world).carry_out(saved)
    first = world.ledger.all()
    world.baskets.save = kept  # type: ignore[method-assign]
    world.clock.advance(60_000)
    assert ending(world).carry_out(saved).state is BasketState.REFUSED
    assert world.ledger.all() == first


@pytest.mark.parametrize("number", [1, 2, 5, 40])
def test_a_note_is_bounded_and_counts_what_it_leaves_out(number: int) -> None:
    world, basket = proposed()
    findings = [Finding(f"code_{place}", "x" * 300) for place in range(number)]
    ending(world).refuse(basket, findings)
    (told,) = refusals(world)
    named = told.note.count("code_")
    assert named == min(number, 3)
    if number == named:
        assert "more" not in told.note
    else:
        assert told.note.endswith(f"; and {number - named} more")
    assert len(told.note) <= NOTE_LENGTH + 20
    assert refusal_code(told) == "code_0"


def test_one_endless_finding_is_cut_and_says_by_how_much() -> None:
    world, basket = proposed()
    ending(world).refuse(basket, [Finding("exchange", "y" * 5_000), Finding("depth", "none")])
    (told,) = refusals(world)
    left = 5_000 + len("exchange: ") - NOTE_LENGTH
    assert told.note.endswith(f"y and {left} characters more; and 1 more")
    assert refusal_code(told) == "exchange"


def test_a_basket_that_traded_has_no_refusal() -> None:
    world, basket = proposed()
    assert world.drive(basket.basket_id).state is BasketState.LOCK
    assert not refusals(world)
    decisions = [entry.entry_id for entry in world.ledger.all() if entry.kind is EntryKind.DECISION]
    assert sorted(decisions) == [f"accepted-{basket.basket_id}", f"end-{basket.basket_id}"]
    assert any(order.purpose in BUYING for order in world.row(basket.basket_id).orders)


def test_the_journal_tells_a_person_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world, basket = proposed()
    stopped_and_poor(world)
    world.risk.run(basket.basket_id, 1)
    stack = SimpleNamespace(ledger=world.ledger)
    monkeypatch.setattr(commands, "stack_of", lambda *_: stack)
    shown = CliRunner().invoke(cli, ["journal", "show", basket.basket_id])
    assert shown.exit_code == 0
    (line,) = shown.output.splitlines()
    assert "decision" in line
    assert "stopped: by ann, lunch; min_profit: " in line
    assert f"[{basket.certificate.seal}]" in line
