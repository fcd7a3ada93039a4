"""Settlement: payments booked once, baskets settled to 1e-6 dollars, our books compared with the exchange's."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import Basket, BasketState, OrderState
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.journal import DAY_MS, verify
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_change,
    fill_entry,
    settlement_entry,
    void_entry,
)
from kalshi_arb.domain.positions import settled_profits, with_results
from kalshi_arb.execution.audit import ACCOUNT
from kalshi_arb.execution.explain import explain, own_fills
from kalshi_arb.execution.settle import SettleReport, exact_payment, explained
from kalshi_arb.ports import WATCH_COMPONENT, AlertKind, MarketState
from kalshi_arb.risk.breaker import COMPONENT, Cause, read_trip
from tests.basket_world import NO, YES, World, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer_bundle()
    world.offer(*((f"EV-{number}", NO, 75, 50) for number in range(3)))
    return world


def lock(world: World) -> Basket:
    basket = world.propose_bundle()
    row = world.drive(basket.basket_id)
    assert row.state is BasketState.LOCK
    return row


def errors(world: World) -> list[str]:
    return [alert.text for alert in world.notifier.published if alert.kind is AlertKind.ERROR]


def test_a_lock_settles_at_exactly_what_it_changed_the_balance_by(world: World) -> None:
    row = lock(world)
    world.settle(0, 1, 0)
    assert world.settler.run() == SettleReport(3, 1)
    settled = world.row(row.basket_id)
    assert settled.state is BasketState.SETTLED
    assert settled.settled_profit == sum(world.exchange.balance().values()) - world.opening
    assert (settled.settled_profit or 0) >= (settled.locked_profit or 0)
    assert not world.reservations.held
    world.assert_ledger_is_the_exchange()
    assert not world.exchange.positions()
    assert [a.kind for a in world.notifier.published] == [AlertKind.BASKET, AlertKind.SETTLEMENT]
    assert world.status.counters("settlement") == {"markets": 3, "baskets": 1}


def test_the_books_of_what_is_held_are_watched_until_it_is_paid(world: World) -> None:
    row = lock(world)
    world.settler.run()
    assert world.status.get(WATCH_COMPONENT) == {"groups": [row.group_id]}
    world.settle(0, 1, 0)
    world.settler.run()
    world.settler.run()
    assert world.status.get(WATCH_COMPONENT) == {"groups": []}


def test_running_again_changes_nothing(world: World) -> None:
    lock(world)
    world.settle(1, 0, 0)
    world.settler.run()
    before = (world.ledger.all(), world.baskets.recent(10), len(world.notifier.published))
    assert world.settler.run() == SettleReport(0, 0)
    assert before == (world.ledger.all(), world.baskets.recent(10), len(world.notifier.published))


def test_a_basket_waits_until_its_last_market_is_settled(world: World) -> None:
    row = lock(world)
    world.clock.advance(10_000)
    world.exchange.settle("EV-0", Price(0))
    assert world.settler.run() == SettleReport(1, 0)
    assert world.row(row.basket_id).state is BasketState.LOCK
    world.exchange.settle("EV-1", Price(0))
    world.exchange.settle("EV-2", ONE_DOLLAR)
    assert world.settler.run() == SettleReport(2, 1)


def test_a_market_settled_in_part_only_is_told_to_a_person(world: World) -> None:
    row = lock(world)
    world.exchange.settle("EV-0", Price(0))
    world.settler.run()
    assert not errors(world)
    world.clock.advance(7 * 3_600_000)
    world.settler.run()
    (text,) = errors(world)
    assert "EV-1, EV-2" in text
    assert world.row(row.basket_id).state is BasketState.LOCK


def test_a_death_before_the_row_moves_is_made_good_by_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = lock(world)
    world.settle(0, 0, 1)
    with monkeypatch.context() as patch:

        def die(basket: Basket) -> Basket:
            raise ConflictError("dies here")

        patch.setattr(world.baskets, "save", die)
        with pytest.raises(ConflictError):
            world.settler.run()
    assert world.row(row.basket_id).state is BasketState.LOCK
    world.settler.run()
    assert world.row(row.basket_id).settled_profit == sum(world.exchange.balance().values()) - world.opening
    assert len({alert.alert_id for alert in world.notifier.published}) == 2


def test_a_basket_that_shares_a_market_with_one_still_trading_waits(world: World) -> None:
    row = lock(world)
    world.settle(0, 0, 1)
    other = replace(row, basket_id="bother", group_id="other", state=BasketState.EXECUTING, revision=0)
    assert world.baskets.create(other, world.clock.now_ms())
    assert world.settler.run() == SettleReport(3, 0)


# Results, payments and the journal


def results(world: World, ticker: str) -> list[tuple[str, int]]:
    return [(e.note, e.price) for e in world.ledger.all() if e.kind is EntryKind.RESULT and e.ticker == ticker]


def told(world: World, status: MarketStatus, *payouts: int) -> None:
    for own, payout in zip(world.group.markets, payouts, strict=True):
        world.exchange.statuses[own.ticker] = status
        world.exchange.results[own.ticker] = Price(payout)
    world.clock.advance(1_000)
    world.settler.run()


def test_a_result_is_provisional_until_it_is_paid_and_every_change_of_it_is_recorded(world: World) -> None:
    row = lock(world)
    told(world, MarketStatus.DETERMINED, 0, 10_000, 0)
    told(world, MarketStatus.DETERMINED, 0, 10_000, 0)
    told(world, MarketStatus.DISPUTED, 0, 10_000, 0)
    first = settled_profits(with_results(world.ledger.all()))[row.basket_id]
    told(world, MarketStatus.AMENDED, 5_000, 2_500, 2_500)
    assert settled_profits(with_results(world.ledger.all()))[row.basket_id] == first, "one dollar a set either way"
    assert world.row(row.basket_id).state is BasketState.LOCK
    assert not settled_profits(world.ledger.all())
    for own, payout in zip(world.group.markets, (5_000, 2_500, 2_500), strict=True):
        world.exchange.settle(own.ticker, Price(payout))
    assert world.settler.run() == SettleReport(3, 1)
    assert results(world, "EV-1") == [
        ("determined", 10_000), ("disputed", 10_000), ("amended", 2_500), ("finalized", 2_500),
    ]  # fmt: skip
    assert world.row(row.basket_id).settled_profit == first
    world.assert_ledger_is_the_exchange()


def test_what_a_basket_settled_at_is_recorded_with_every_cause_and_its_certificate(world: World) -> None:
    row = lock(world)
    world.settle(0, 1, 0)
    world.settler.run()
    world.settler.run()
    settled = world.row(row.basket_id)
    (entry,) = (e for e in world.ledger.all() if e.entry_id == f"settled-{row.basket_id}")
    assert entry.reference == row.certificate.seal
    assert entry.note == explained(settled, world.ledger.all())
    assert "the difference is" in entry.note
    (alert,) = (a for a in world.notifier.published if a.kind is AlertKind.SETTLEMENT)
    assert entry.note in alert.text


def test_a_fee_that_was_corrected_is_part_of_the_explanation(world: World) -> None:
    """The row still says what was charged at first; a corrected fee of a fill that was voided counts nowhere."""
    assert world.auditor.run() == []
    row = lock(world)
    locked = row.locked_profit or 0
    seen_ms, fill = world.exchange._fills[0]
    world.exchange._fills[0] = (seen_ms, replace(fill, fee=Cash(fill.fee + 30_000)))
    world.exchange._cash[0] -= 30_000
    world.clock.advance(10_000)
    world.auditor.repair()
    world.settle(0, 1, 0)
    world.settler.run()
    settled = world.row(row.basket_id)
    entries = world.ledger.all()
    note = explained(settled, entries)
    assert "not explained" not in note
    told = explain(settled, own_fills(row.basket_id, entries))
    assert told.locked == locked - 30_000
    assert told.realised == settled.settled_profit == settled_profits(entries)[row.basket_id]
    bought = next(e for e in entries if e.entry_id == f"fill-{fill.trade_id}-{fill.order_id}")
    voided = [*entries, void_entry(bought, world.clock.now_ms(), "not at the exchange")]
    assert not any(e.reference == bought.entry_id for e in own_fills(row.basket_id, voided))
    assert "not explained" in explained(settled, voided)


def test_two_baskets_that_net_each_other_settle_though_the_exchange_pays_nothing(world: World) -> None:
    first = lock(world)
    rows = [entry for entry in world.ledger.all() if entry.kind is EntryKind.FILL]
    for number in range(3):
        fill = Fill(
            f"n{number}", f"on{number}", f"EV-{number}", NO, Count(1_000), Price(7_500), Cash(0), rows[0].created_ms
        )
        world.ledger.append([fill_entry(fill, "other")])
    other = replace(first, basket_id="other", group_id="other", opportunity_id="o2", orders=())
    world.baskets._baskets["other"] = other
    for own in world.group.markets:
        world.exchange._positions[own.ticker] = 0
    world.settle(0, 1, 0)
    assert world.settler.run() == SettleReport(3, 2)
    entries = world.ledger.all()
    assert [e.cash for e in entries if e.kind is EntryKind.SETTLEMENT] == [0, 0, 0]
    profits = settled_profits(entries)
    assert sum(profits.values()) == cash_change(entries)
    assert profits["other"] == -3 * 7_500 * 1_000 + 2 * 10_000 * 1_000
    assert "not explained" in next(e.note for e in entries if e.entry_id == "settled-other")


def finalized(payout: int) -> MarketState:
    return MarketState("T", "E", MarketStatus.FINALIZED, Price(payout), 0, Price(payout))


@pytest.mark.parametrize(
    ("payout", "position", "precision", "listed", "paid", "kept"),
    [
        (10_000, 1_000, Precision.DIRECT, (10_000, 10_000_000), 10_000_000, 0),
        (0, -150, Precision.DIRECT, (0, 1_500_000), 1_500_000, 0),
        # A scalar result finer than a cent: the listing is cut, the account is not.
        (2_555, 300, Precision.DIRECT, (2_500, 760_000), 766_500, 0),
        (2_555, 301, Precision.DIRECT, (2_500, 760_000), 769_000, 55),
        (2_555, 301, Precision.CENT, (2_500, 760_000), 760_000, 9_055),
        # What contradicts the market's own result is booked as it was told.
        (2_655, 301, Precision.DIRECT, (2_500, 760_000), 760_000, 0),
        (2_555, 301, Precision.DIRECT, (2_500, 750_000), 750_000, 0),
    ],
)
def test_a_payment_is_booked_to_the_last_unit(
    payout: int, position: int, precision: Precision, listed: tuple[int, int], paid: int, kept: int
) -> None:
    payment = Settlement("T", Price(listed[0]), Cash(listed[1]), 9, 2)
    entry = exact_payment(payment, finalized(payout), Count(position), precision)
    assert (entry.cash, entry.fee, entry.shard) == (paid, kept, 2)


def test_a_payment_of_a_market_that_is_not_listed_any_more_is_booked_as_told() -> None:
    payment = Settlement("T", Price(2_500), Cash(760_000), 9)
    assert exact_payment(payment, None, Count(301), Precision.DIRECT) == settlement_entry(payment)


def test_a_day_that_is_over_gets_its_anchor(world: World) -> None:
    lock(world)
    world.settler.run()
    assert not [e for e in world.ledger.all() if e.kind is EntryKind.ANCHOR]
    world.clock.advance(2 * DAY_MS)
    world.settler.run()
    world.settler.run()
    (anchor,) = (e for e in world.ledger.all() if e.kind is EntryKind.ANCHOR)
    assert anchor.created_ms < world.clock.now_ms()
    assert verify(*world.ledger.rows()) == []


# The comparison with the exchange


def opening(world: World) -> dict[int, Cash]:
    return {entry.shard: entry.cash for entry in world.ledger.all() if entry.kind is EntryKind.OPENING}


def account(world: World) -> dict[str, object]:
    status = world.status.get(ACCOUNT)
    assert status is not None
    return status


def test_the_account_matches_after_trading_and_after_settlement(world: World) -> None:
    world.settler.run()
    assert opening(world) == {0: 1_000_000_000}
    lock(world)
    world.clock.advance(10_000)
    world.settler.run()
    assert account(world)["matches"] is True
    world.settle(1, 0, 0)
    world.settler.run()
    world.clock.advance(10_000)
    world.settler.run()
    assert account(world)["matches"] is True
    assert opening(world) == {0: 1_000_000_000}
    assert not errors(world)


def test_a_difference_seen_twice_is_an_error_and_told_once(world: World) -> None:
    lock(world)
    world.clock.advance(10_000)
    world.settler.run()
    # Somebody else trades on the account.
    world.exchange._cash[0] -= 1
    world.exchange._positions["EV-0"] -= 100
    world.settler.run()
    assert account(world)["matches"] is False
    assert not errors(world)
    for _ in range(2):
        world.clock.advance(60_000)
        world.settler.run()
    assert world.status.counters("settlement") == {"mismatch": 2}
    told = {
        alert.alert_id: alert.text
        for alert in world.notifier.published
        if alert.kind is AlertKind.ERROR and alert.alert_id.startswith("mismatch")
    }
    (text,) = told.values()
    assert "position EV-0: 9.00 at the exchange, 10.00 in the journal, and no fill says why" in text
    assert "cash shard 0: " in text
    assert "-$0.000001 have no cause" in text
    assert text.endswith("record what the exchange says with `kalshi-arb journal repair`.")
    trip = read_trip(world.status.get(COMPONENT))
    assert trip is not None, "new baskets are stopped"
    assert trip.cause == Cause.DIFFERENCES


def test_what_the_stream_told_is_held_against_the_reads_and_told_when_seen_twice(world: World) -> None:
    lock(world)
    world.clock.advance(10_000)
    # A market that nobody holds any more is history, whatever the stream last said of it.
    told = {"EV-0": "10.00", "OVER": "3.00"}
    world.status.put("feed", {"private": {"positions": told}})
    world.settler.run()
    world.settler.run()
    assert account(world)["stream_suspicion"] == ""
    assert not errors(world)
    world.status.put("feed", {"private": {"positions": told | {"EV-0": "9.00"}}})
    world.settler.run()
    assert not errors(world)
    world.clock.advance(60_000)
    world.settler.run()
    assert errors(world) == ["the stream told EV-0 9.00, reads hold 10.00"]
    assert world.status.counters("settlement") == {"stream_mismatch": 1}
    # The stream is a cross-check: the account still matches.
    assert account(world)["matches"] is True


def compared(world: World) -> bool:
    """Whether the outcome of a comparison is told."""
    return "matches" in (world.status.get(ACCOUNT) or {})


@pytest.mark.parametrize("state", [OrderState.SENT, OrderState.UNKNOWN])
def test_nothing_is_compared_while_an_order_is_open(world: World, state: OrderState) -> None:
    row = lock(world)
    world.clock.advance(10_000)
    busy = replace(
        row, basket_id="bother", group_id="other", state=BasketState.EXECUTING, revision=0,
        orders=(replace(row.orders[0], state=state),),
    )  # fmt: skip
    assert world.baskets.create(busy, world.clock.now_ms())
    world.settler.run()
    assert not compared(world)


def test_nothing_is_compared_right_after_a_movement_or_while_fills_are_not_booked(world: World) -> None:
    row = lock(world)
    world.settler.run()
    assert not compared(world)
    world.clock.advance(10_000)
    unbooked = replace(
        row, basket_id="bother", group_id="other", state=BasketState.EXECUTING, revision=0,
        orders=(replace(row.orders[0], booked=False),),
    )  # fmt: skip
    assert world.baskets.create(unbooked, world.clock.now_ms())
    world.settler.run()
    assert not compared(world)


def test_a_movement_during_the_comparison_voids_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    row = lock(world)
    world.clock.advance(10_000)
    positions = world.exchange.positions

    def moving() -> dict[str, Count]:
        late = Fill("late", "o9", "EV-0", YES, Count(1), Price(1), Cash(0), row.created_ms)
        world.ledger.append([fill_entry(late, row.basket_id)])
        return positions()

    monkeypatch.setattr(world.exchange, "positions", moving)
    world.settler.run()
    assert not compared(world)


# Sharing the account's cash among baskets


def bought(trade: int, basket: str, ticker: str, outcome: Outcome, count: int, price: int) -> LedgerEntry:
    fill = Fill(str(trade), f"o{trade}", ticker, outcome, Count(count), Price(price), Cash(trade), 1_000 + trade)
    return fill_entry(fill, basket)


fills = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["M", "N"]),
        st.sampled_from(Outcome),
        st.integers(1, 2_000),
        st.integers(1, 9_999),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(trades=fills, payouts=st.tuples(*[st.integers(0, 10_000)] * 2), cent=st.booleans())
def test_the_profits_of_all_baskets_add_up_to_the_change_of_the_account(
    trades: list[tuple[str, str, Outcome, int, int]], payouts: tuple[int, int], cent: bool
) -> None:
    entries = [bought(number, *trade) for number, trade in enumerate(trades)]
    for ticker, payout in zip(("M", "N"), payouts, strict=True):
        own = [entry for entry in entries if entry.ticker == ticker]
        if not own:
            continue
        net = sum(entry.count if entry.outcome is YES else -entry.count for entry in own)
        revenue = net * payout if net > 0 else -net * (ONE_DOLLAR - payout)
        if cent:
            revenue = revenue // 10_000 * 10_000
        entries.append(settlement_entry(Settlement(ticker, Price(payout), Cash(revenue), 9_000)))
    profits = settled_profits(entries)
    assert set(profits) == {trade[0] for trade in trades}
    assert sum(profits.values()) == cash_change(entries)


def test_a_basket_that_netted_itself_out_needs_no_settlement() -> None:
    entries = [bought(1, "a", "M", YES, 500, 4_000), bought(2, "a", "M", NO, 500, 5_500)]
    assert settled_profits(entries) == {"a": 5_000_000 - 2_000_000 - 2_750_000 - 3}


def test_two_baskets_on_opposite_sides_each_get_what_their_contracts_paid() -> None:
    entries = [bought(1, "a", "M", YES, 500, 4_000), bought(2, "b", "M", NO, 500, 5_500)]
    assert settled_profits(entries) == {}
    # The exchange paid nothing at settlement: the net position was nought.
    entries.append(settlement_entry(Settlement("M", ONE_DOLLAR, Cash(0), 9_000)))
    assert settled_profits(entries) == {"a": 5_000_000 - 2_000_001, "b": -2_750_002}
    assert entries[-1].kind is EntryKind.SETTLEMENT
