"""Settlement: payments booked once, baskets settled to 1e-6 dollars, our books compared with the exchange's."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import Basket, BasketState, OrderState
from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.portfolio import (
    EntryKind,
    Fill,
    LedgerEntry,
    Settlement,
    cash_change,
    fill_entry,
    settlement_entry,
)
from kalshi_arb.execution.settle import ACCOUNT, SettleReport, settled_profits
from kalshi_arb.ports import WATCH_COMPONENT, AlertKind
from tests.basket_world import NO, YES, World, leg, partition


@pytest.fixture
def world() -> World:
    world = World(partition())
    world.offer(("EV-0", YES, 30, 20), ("EV-1", YES, 30, 40), ("EV-2", YES, 30, 60))
    world.offer(*((f"EV-{number}", NO, 75, 50) for number in range(3)))
    return world


def lock(world: World) -> Basket:
    basket = world.propose(*(leg(f"EV-{number}", YES, 10, 30) for number in range(3)))
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
    assert settled.settled_profit >= (settled.locked_profit or 0)
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
    assert world.baskets.create(other)
    assert world.settler.run() == SettleReport(3, 0)


# The comparison with the exchange


def account(world: World) -> dict[str, object]:
    status = world.status.get(ACCOUNT)
    assert status is not None
    return status


def test_the_account_matches_after_trading_and_after_settlement(world: World) -> None:
    world.settler.run()
    assert account(world)["opening"] == "1000.000000"
    lock(world)
    world.clock.advance(10_000)
    world.settler.run()
    assert account(world)["matches"] is True
    world.settle(1, 0, 0)
    world.settler.run()
    world.clock.advance(10_000)
    world.settler.run()
    assert account(world)["matches"] is True
    assert account(world)["opening"] == "1000.000000"
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
    world.settler.run()
    world.settler.run()
    assert world.status.counters("settlement") == {"mismatch": 2}
    told = {alert.alert_id: alert.text for alert in world.notifier.published if alert.kind is AlertKind.ERROR}
    (text,) = told.values()
    assert "EV-0 is 9.00 there and 10.00 here" in text
    assert "cash is" in text


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
    world.settler.run()
    assert errors(world) == ["the stream told EV-0 9.00, reads hold 10.00"]
    assert world.status.counters("settlement") == {"stream_mismatch": 1}
    # The stream is a cross-check: the account still matches.
    assert account(world)["matches"] is True


@pytest.mark.parametrize("state", [OrderState.SENT, OrderState.UNKNOWN])
def test_nothing_is_compared_while_an_order_is_open(world: World, state: OrderState) -> None:
    row = lock(world)
    world.clock.advance(10_000)
    busy = replace(
        row, basket_id="bother", group_id="other", state=BasketState.EXECUTING, revision=0,
        orders=(replace(row.orders[0], state=state),),
    )  # fmt: skip
    assert world.baskets.create(busy)
    world.settler.run()
    assert world.status.get(ACCOUNT) is None


def test_nothing_is_compared_right_after_a_movement_or_while_fills_are_not_booked(world: World) -> None:
    row = lock(world)
    world.settler.run()
    assert world.status.get(ACCOUNT) is None
    world.clock.advance(10_000)
    unbooked = replace(
        row, basket_id="bother", group_id="other", state=BasketState.EXECUTING, revision=0,
        orders=(replace(row.orders[0], booked=False),),
    )  # fmt: skip
    assert world.baskets.create(unbooked)
    world.settler.run()
    assert world.status.get(ACCOUNT) is None


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
    assert world.status.get(ACCOUNT) is None


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
