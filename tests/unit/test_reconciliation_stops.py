"""From a difference to the next basket: found, named, refused, repaired, reset by a person, bought again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kalshi_arb.domain.basket import Basket, BasketState
from kalshi_arb.domain.journal import verify
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import EntryKind, OrderRequest, TimeInForce, cash_by_shard, net_positions
from kalshi_arb.domain.positions import replay
from kalshi_arb.fakes import MemoryLedgerStore
from kalshi_arb.ports import AlertKind
from kalshi_arb.stop_desk import ArmOrder, StopDesk, StopError
from tests.basket_world import NO, YES, World, leg, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    assert world.auditor.run() == []
    buy(world, "opp-1")
    return world


def buy(world: World, opportunity_id: str) -> Basket:
    """Ten sets of YES of all three, driven to the end; what the exchange shows is up to date afterwards."""
    world.clock.advance(10_000)
    world.offer_bundle()
    world.offer(*((f"EV-{number}", NO, 75, 50) for number in range(3)))
    proposed = world.propose(*(leg(f"EV-{number}", YES, 10, 30) for number in range(3)), opportunity_id=opportunity_id)
    row = world.drive(proposed.basket_id)
    world.clock.advance(10_000)
    return row


def missing_fill(world: World) -> None:
    """The journal loses one: a new one is kept without it."""
    kept = [entry for entry in world.ledger.all() if entry.kind is not EntryKind.FILL or entry.ticker != "EV-1"]
    again = MemoryLedgerStore(world.clock)
    again.append(kept)
    world.ledger.kept, world.ledger.heads = again.kept, again.heads


def doubled_fill(world: World) -> None:
    first = next(entry for entry in world.ledger.all() if entry.kind is EntryKind.FILL)
    world.ledger.append([replace(first, entry_id="fill-again-o1")])


def foreign_order(world: World) -> None:
    world.offer(("EV-0", YES, 20, 5))
    request = OrderRequest("by-hand", "EV-0", YES, Count(500), Price(2_000), TimeInForce.FILL_OR_KILL, 0)
    world.exchange.place([request])


def cash_by_hand(world: World) -> None:
    world.exchange._cash[0] += 25_000_000


def dearer_fee(world: World) -> None:
    seen_ms, fill = world.exchange._fills[0]
    world.exchange._fills[0] = (seen_ms, replace(fill, fee=Cash(fill.fee + 100)))
    world.exchange._cash[0] -= 100


def lost_contracts(world: World) -> None:
    world.exchange._positions["EV-2"] -= 100


INJECTED: dict[str, tuple[Callable[[World], None], str]] = {
    "a missing fill": (missing_fill, "10 fills, 10.00 EV-1 yes at 0.3000, fees $0.147, of basket "),
    "a doubled fill": (doubled_fill, "unknown fill fill-again-o1: "),
    "a foreign order": (foreign_order, "nobody here placed it; missing fill"),
    "cash moved by hand": (cash_by_hand, "in the journal: $25.00 have no cause."),
    "a fee off by 1e-4 dollars": (dearer_fee, "$0.0148 charged by the exchange, $0.0147 in the journal"),
    "contracts gone without a fill": (lost_contracts, "position EV-2: 19.00 at the exchange, 20.00 in the journal"),
}


@pytest.mark.parametrize("what", INJECTED)
def test_new_baskets_are_refused_until_it_is_repaired_and_a_person_has_reset_the_breaker(
    world: World, what: str
) -> None:
    inject, words = INJECTED[what]
    assert world.auditor.run() == []
    inject(world)
    world.clock.advance(10_000)
    assert world.auditor.run()
    assert buy(world, "opp-2").state is BasketState.LOCK, "one look may be a read between two movements"
    assert world.auditor.run()
    world.clock.advance(60_000)
    assert world.auditor.run()

    (alert,) = {
        a.alert_id: a for a in world.notifier.published if a.kind is AlertKind.ERROR and "mismatch" in a.alert_id
    }.values()
    print(f"\n{what}\n  {alert.title}\n  {alert.text}")  # noqa: T201 - shown by pytest -s
    assert alert.title == "The journal does not match the exchange"
    assert words in alert.text
    assert alert.text.endswith("record what the exchange says with `kalshi-arb journal repair`.")
    refused = buy(world, "opp-3")
    assert (refused.state, refused.reason) == (BasketState.REFUSED, "breaker")
    assert "reconciliations with a difference" in refused.findings[0].text

    assert world.auditor.repair()
    assert world.auditor.run() == []
    assert buy(world, "opp-4").state is BasketState.REFUSED, "repaired is not reset"
    desk = StopDesk(status=world.status, clock=world.clock, mode=world.mode)
    with pytest.raises(StopError, match="find out why"):
        desk.arm(ArmOrder(by="a person"))
    desk.arm(ArmOrder(by="a person", reset_breaker=True))
    assert buy(world, "opp-5").state is BasketState.LOCK
    assert world.auditor.run() == []
    entries = world.ledger.all()
    assert cash_by_shard(entries) == world.exchange.balance()
    assert net_positions(entries) == {t: count for t, count in world.exchange.positions().items() if count}
    assert verify(*world.ledger.rows()) == []


def test_a_backup_older_than_the_account_is_made_whole_from_the_exchange(world: World) -> None:
    """The table is restored as it was before a basket was bought and another one paid: what is missing is recorded from
    the exchange, under the baskets that it belongs to, and everything is as if nothing had been lost."""
    kept, heads, state = dict(world.ledger.kept), dict(world.ledger.heads), world.ledger.kept_state
    second = buy(world, "opp-2")
    world.settle(0, 1, 0)
    world.clock.advance(10_000)
    world.settler.run()
    assert world.auditor.run() == []
    whole, profit = replay(world.ledger.all()), world.row(second.basket_id).settled_profit

    world.ledger.kept, world.ledger.heads, world.ledger.kept_state = kept, heads, state
    found = world.auditor.run()
    assert found is not None
    assert sorted({one.kind.value for one in found}) == ["missing fill", "settlement"]
    assert list(map(str, world.auditor.repair() or ())) == list(map(str, found))
    assert world.auditor.run() == []
    entries = world.ledger.all()
    assert cash_by_shard(entries) == world.exchange.balance()
    assert net_positions(entries) == {t: count for t, count in world.exchange.positions().items() if count}
    again = replay(entries)
    assert again.profit(second.basket_id) == profit == whole.profit(second.basket_id)
    assert (again.net, again.virtual) == (whole.net, whole.virtual)
    missing = [entry for entry in entries if entry.entry_id not in kept]
    assert all(entry.note for entry in missing), "what was recorded says so"
    assert verify(*world.ledger.rows()) == []


def test_an_empty_table_and_an_account_with_history_buy_and_settle_as_usual(world: World) -> None:
    """Everything before is in the opening: the first comparison finds nothing, and the next basket is booked whole."""
    world.ledger.kept, world.ledger.heads = {}, {}
    world.baskets._baskets.clear()
    assert world.auditor.run() == []
    opening = [entry for entry in world.ledger.all() if entry.kind is EntryKind.OPENING]
    assert {entry.ticker for entry in opening} == {"", "EV-0", "EV-1", "EV-2"}
    assert buy(world, "opp-2").state is BasketState.LOCK
    assert world.auditor.run() == []
    world.settle(0, 1, 0)
    world.clock.advance(10_000)
    world.settler.run()
    assert world.auditor.run() == []
    assert cash_by_shard(world.ledger.all()) == world.exchange.balance()
