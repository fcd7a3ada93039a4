"""Whatever is heard of an order, in whatever order and however often, the row ends as the exchange has it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.basket import OPEN_ORDER_STATES, Basket, OrderState
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import Fill, OrderReport
from kalshi_arb.execution.policy import ExecutionPolicy
from kalshi_arb.execution.reconcile import book, reported, resolve, unseen
from tests.basket_rows import ordered, trading, yes_book
from tests.basket_world import YES, leg, partition
from tests.cloud_samples import NOW

POLICY = ExecutionPolicy()
LEGS = [leg(f"EV-{number}", YES, 10, 30) for number in range(3)]
EMPTY = trading(partition(), LEGS, {own.ticker: yes_book(own.ticker, 30) for own in LEGS})


@st.composite
def histories(draw):
    """What became of an order, and what is heard of it: answers, lists and fills, late, twice and mixed up."""
    arrived = draw(st.booleans())
    sizes = draw(st.lists(st.integers(1, 250), max_size=4)) if arrived else []
    # Executed while the request was under way, which is at most its time-out.
    at_ms = NOW + draw(st.integers(0, POLICY.write_timeout_ms))
    prices = st.integers(2500, 3000).map(Price)
    fills = [
        Fill(f"t{number}", "x0", "EV-0", Outcome.YES, Count(size), draw(prices), Cash(number), at_ms)
        for number, size in enumerate(sizes)
    ]
    heard = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["answer", "repeated", "list", "fills"]),
                st.integers(0, 20_000),
                st.randoms(use_true_random=False),
            ),
            max_size=12,
        )
    )
    return arrived, at_ms, fills, heard


@settings(max_examples=500, deadline=None)
@given(history=histories())
def test_the_row_ends_as_the_exchange_has_it(history) -> None:
    arrived, at_ms, fills, heard = history
    total = Count(sum(fill.count for fill in fills))
    row: Basket = ordered(EMPTY, 0, OrderState.SENT)
    name = row.orders[0].request.client_order_id
    truth = OrderReport(name, "x0", total, None)
    entries: dict[str, int] = {}

    def listed(user_data_ms: int) -> None:
        """A list that shows what was done up to that time, and the position of that time beside it."""
        nonlocal row
        found = {name: truth} if arrived and at_ms <= user_data_ms else {}
        absent = unseen(row, found, user_data_ms, POLICY)
        row = replace(row, orders=resolve(row, found, absent, {"EV-0": total if found else Count(0)}))

    def booked(some: list[Fill]) -> None:
        nonlocal row
        orders, new = book(row, some)
        row = replace(row, orders=orders)
        for entry in new:
            entries[entry.entry_id] = entries.get(entry.entry_id, 0) + 1

    for kind, lag_ms, chance in heard:
        order = row.orders[0]
        before = order
        if kind == "answer" and order.state in OPEN_ORDER_STATES:
            row = replace(row, orders=(reported(row, order, truth if arrived and chance.random() < 0.5 else None),))
        elif kind == "repeated" and order.state in OPEN_ORDER_STATES and arrived:
            answer = OrderReport(name, None, Count(0), "order_already_exists")
            row = replace(row, orders=(reported(row, order, answer),))
        elif kind == "list":
            listed(NOW + lag_ms)
        elif kind == "fills":
            some = [fill for fill in fills if chance.random() < 0.7]
            mixed = some * chance.randint(1, 2)
            chance.shuffle(mixed)
            booked(mixed)
        after = row.orders[0]
        # What is known once stays known, and nothing is concluded that is not so.
        if before.state not in OPEN_ORDER_STATES:
            assert (after.state, after.filled) == (before.state, before.filled)
        assert after.state is not OrderState.ABSENT or not arrived
        assert after.state is not OrderState.DONE or after.filled == total
        assert not after.booked or after.state is not OrderState.DONE or after.cost <= LEGS[0].limit * total

    listed(POLICY.absent_after(NOW) + 1)
    booked(fills)
    (order,) = row.orders
    assert order.state is (OrderState.DONE if arrived else OrderState.ABSENT)
    assert order.booked
    assert order.filled == total
    assert order.cost == sum(fill.price * fill.count for fill in fills)
    assert order.fee == sum(fill.fee for fill in fills)
    assert entries == {f"fill-{fill.trade_id}-x0": 1 for fill in fills}
    booked(fills)
    assert row.orders == (order,)
