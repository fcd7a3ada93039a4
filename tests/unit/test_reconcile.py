"""What the exchange says of our orders, in any order, late and twice."""

from dataclasses import replace
from itertools import permutations

import pytest

from kalshi_arb.domain.basket import Basket, BasketOrder, OrderState, Purpose
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, OrderReport
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import book, reported, resolve, unseen
from tests.basket_rows import ordered, trading, yes_book
from tests.basket_world import YES, leg, partition
from tests.cloud_samples import NOW

POLICY = ExecutionPolicy()
LATE = POLICY.absent_after(NOW) + 1


@pytest.fixture
def row() -> Basket:
    legs = [leg(f"EV-{number}", YES, 10, 30) for number in range(3)]
    return trading(partition(), legs, {own.ticker: yes_book(own.ticker, 30) for own in legs})


@pytest.fixture
def unknown(row: Basket) -> Basket:
    return ordered(row, 0, OrderState.UNKNOWN)


def said(basket: Basket, filled: int = 0, rejection: str | None = None, order_id: str | None = "x0") -> OrderReport:
    return OrderReport(basket.orders[-1].request.client_order_id, order_id, Count(filled * 100), rejection)


def listed(
    basket: Basket, *reports: OrderReport, user_data_ms: int = LATE, **positions: int
) -> tuple[BasketOrder, ...]:
    """The orders after the exchange's list; positions are what the account holds beyond the ledger, in contracts."""
    found = {report.client_order_id: report for report in reports}
    absent = unseen(basket, found, user_data_ms, POLICY)
    return resolve(basket, found, absent, {name.replace("_", "-"): Count(n * 100) for name, n in positions.items()})


def fill(trade: str, contracts: int, cents: int = 30, order_id: str = "x0", ticker: str = "EV-0") -> Fill:
    return Fill(trade, order_id, ticker, Outcome.YES, Count(contracts * 100), Price(cents * 100), Cash(100), NOW)


# A repeated client order id


@pytest.mark.parametrize("code", ["order_already_exists", "ORDER_ALREADY_EXISTS", "duplicate_order", "conflict"])
@pytest.mark.parametrize("state", [OrderState.SENT, OrderState.UNKNOWN])
def test_a_repeated_id_says_that_the_first_arrived_and_not_what_became_of_it(
    row: Basket, code: str, state: OrderState
) -> None:
    basket = ordered(row, 0, state)
    order = reported(basket, basket.orders[0], said(basket, rejection=code, order_id=None))
    assert (order.state, order.rejection, order.booked) == (OrderState.UNKNOWN, code, False)


def test_an_order_that_arrived_is_never_concluded_to_be_absent(row: Basket) -> None:
    basket = ordered(row, 0, OrderState.UNKNOWN, rejection="order_already_exists")
    assert unseen(basket, {}, LATE * 2, POLICY) == ()
    (order,) = listed(basket, user_data_ms=LATE * 2)
    assert order.state is OrderState.UNKNOWN


def test_an_order_that_arrived_is_done_once_it_is_listed_and_forgets_the_refusal(row: Basket) -> None:
    basket = ordered(row, 0, OrderState.UNKNOWN, rejection="order_already_exists")
    (whole,) = listed(basket, said(basket, filled=10))
    (nothing,) = listed(basket, said(basket))
    assert (whole.state, whole.filled, whole.rejection) == (OrderState.DONE, 1000, None)
    assert (nothing.state, nothing.filled, nothing.rejection) == (OrderState.DONE, 0, None)


# Absence, and positions as a second witness


def test_absence_needs_reads_past_the_sending_the_time_out_and_the_margin(unknown: Basket) -> None:
    (before,) = listed(unknown, user_data_ms=LATE - 1)
    (after,) = listed(unknown)
    assert (before.state, after.state) == (OrderState.UNKNOWN, OrderState.ABSENT)
    assert after.booked


def test_an_order_that_is_not_listed_but_moved_the_position_stays_unknown(unknown: Basket) -> None:
    (order,) = listed(unknown, EV_0=10)
    assert order.state is OrderState.UNKNOWN
    (order,) = listed(unknown, EV_0=1)
    assert order.state is OrderState.UNKNOWN


def test_a_position_that_is_off_the_other_way_was_not_moved_by_the_order(unknown: Basket) -> None:
    (order,) = listed(unknown, EV_0=-10)
    assert order.state is OrderState.ABSENT
    (order,) = listed(unknown, EV_1=10)
    assert order.state is OrderState.ABSENT


def test_a_sale_of_yes_moves_the_position_down(row: Basket) -> None:
    basket = ordered(ordered(row, 0, OrderState.DONE, 10), 0, OrderState.UNKNOWN, purpose=Purpose.UNWIND, cents=75)
    assert listed(basket, EV_0=-10)[1].state is OrderState.UNKNOWN
    assert listed(basket, EV_0=10)[1].state is OrderState.ABSENT


def test_the_position_does_not_argue_with_the_list(unknown: Basket) -> None:
    (order,) = listed(unknown, said(unknown, filled=4), EV_0=10)
    assert (order.state, order.filled) == (OrderState.DONE, 400)


def test_orders_whose_outcome_is_known_are_left_alone(row: Basket) -> None:
    basket = ordered(ordered(row, 0, OrderState.DONE, 10), 1, OrderState.REJECTED, rejection="market_inactive")
    assert listed(basket) == basket.orders
    assert unseen(basket, {}, LATE, POLICY) == ()


# Answers that cannot be the whole truth


@pytest.mark.parametrize(
    ("filled", "rejection", "order_id"),
    [(11, None, "x0"), (-1, None, "x0"), (4, "market_inactive", "x0"), (4, None, None)],
)
def test_an_answer_that_contradicts_itself_leaves_the_order_unknown(
    row: Basket, filled: int, rejection: str | None, order_id: str | None
) -> None:
    basket = ordered(row, 0, OrderState.SENT)
    order = reported(basket, basket.orders[0], said(basket, filled, rejection, order_id))
    assert (order.state, order.filled, order.rejection) == (OrderState.UNKNOWN, 0, None)


def test_a_refusal_is_final(row: Basket) -> None:
    basket = ordered(row, 0, OrderState.SENT)
    order = reported(basket, basket.orders[0], said(basket, rejection="market_inactive"))
    assert (order.state, order.rejection, order.booked) == (OrderState.REJECTED, "market_inactive", True)


def test_until_fills_are_read_a_fill_costs_its_limit_and_the_highest_fee(row: Basket) -> None:
    basket = ordered(row, 0, OrderState.SENT)
    order = reported(basket, basket.orders[0], said(basket, 10))
    assert (order.state, order.cost, order.booked) == (OrderState.DONE, 3_000 * 1_000, False)
    assert order.fee > 0


# Fills: duplicate, late, out of order


@pytest.fixture
def done(row: Basket) -> Basket:
    """Ten contracts filled, of which no fill has been read yet."""
    basket = ordered(row, 0, OrderState.SENT)
    return replace(basket, orders=(reported(basket, basket.orders[0], said(basket, 10)),))


FILLS = (fill("t1", 4), fill("t2", 5, cents=29), fill("t3", 1, cents=28))


def test_fills_in_any_order_and_twice_book_the_same(done: Basket) -> None:
    booked, entries = book(done, FILLS)
    assert booked[0].booked
    assert booked[0].cost == 100 * 100 * (4 * 30 + 5 * 29 + 28)
    assert booked[0].fee == 300
    assert len({entry.entry_id for entry in entries}) == len(entries) == 3
    for mixed in permutations((*FILLS, FILLS[1])):
        again, rows = book(done, mixed)
        assert again == booked
        assert sorted(rows, key=lambda entry: entry.entry_id) == sorted(entries, key=lambda entry: entry.entry_id)


def test_a_fill_that_comes_late_is_waited_for(done: Basket) -> None:
    assert book(done, FILLS[:2]) == (done.orders, [])
    assert book(done, FILLS)[0][0].booked


def test_fills_of_other_orders_are_not_ours(done: Basket) -> None:
    assert book(done, [*FILLS[:2], fill("t4", 1, order_id="somebody")]) == (done.orders, [])
    assert book(done, [*FILLS[:2], fill("t4", 1, ticker="EV-1")]) == (done.orders, [])


def test_a_booked_order_is_not_booked_again(done: Basket) -> None:
    booked = replace(done, orders=book(done, FILLS)[0])
    assert book(booked, FILLS) == (booked.orders, [])
