"""Baskets in their table: one writer at a time, one live basket a group, rows that come back whole."""

from dataclasses import replace
from typing import Any

import pytest

from kalshi_arb import schemas
from kalshi_arb.aws.baskets import DynamoBasketStore
from kalshi_arb.aws.dynamo import s
from kalshi_arb.domain.basket import LIVE_STATES, Basket, BasketState, lease_mark_ms
from kalshi_arb.domain.errors import ConflictError, SchemaError
from kalshi_arb.domain.money import Cash
from kalshi_arb.ports import BasketStore, Lease
from tests.cloud_samples import NOW, alert, basket, entry, with_order
from tests.moto_cloud import journal, table


@pytest.fixture
def baskets(dynamo: Any) -> BasketStore:
    return DynamoBasketStore(table(dynamo, "baskets"))


def test_a_basket_is_created_once_and_read_back_whole(baskets: BasketStore) -> None:
    row = with_order(basket())
    assert baskets.create(row, NOW)
    assert baskets.get("b1") == row
    assert not baskets.create(row, NOW)
    assert baskets.get("b2") is None


def test_one_live_basket_per_group(baskets: BasketStore) -> None:
    assert baskets.create(basket("b1"), NOW)
    assert not baskets.create(basket("b2"), NOW)
    assert baskets.get("b2") is None
    assert baskets.create(basket("b3", group_id="another"), NOW)


def test_a_save_needs_the_revision_that_was_read(baskets: BasketStore) -> None:
    baskets.create(basket(), NOW)
    first = baskets.save(replace(basket(), reason="first"))
    assert first.revision == 2
    with pytest.raises(ConflictError, match="b1"):
        baskets.save(replace(basket(), reason="second"))
    stored = baskets.get("b1")
    assert stored == first
    assert stored is not None
    assert stored.reason == "first"


def test_an_older_attempt_may_not_write(baskets: BasketStore) -> None:
    baskets.create(basket(), NOW)
    taken_over = baskets.save(replace(basket(), attempt=2))
    with pytest.raises(ConflictError):
        baskets.save(replace(taken_over, attempt=1))
    assert baskets.save(replace(taken_over, reason="go on")).revision == 3


def test_a_row_that_is_not_there_cannot_be_saved(baskets: BasketStore) -> None:
    with pytest.raises(ConflictError):
        baskets.save(basket())


def test_a_save_whose_answer_was_lost_counts_once(baskets: BasketStore, dynamo: Any) -> None:
    """The client repeats a write after a lost answer; the row that stands in its way is then its own."""
    baskets.create(basket(), NOW)

    class Twice:
        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def put_item(self, **arguments: Any) -> Any:
            dynamo.put_item(**arguments)
            return dynamo.put_item(**arguments)

    saved = DynamoBasketStore(table(Twice(), "baskets")).save(replace(basket(), reason="once"))
    assert saved.revision == 2
    assert baskets.get("b1") == saved


@pytest.mark.parametrize("end", [BasketState.LOCK, BasketState.FLAT, BasketState.HELD, BasketState.REFUSED])
def test_ending_a_basket_frees_its_group(baskets: BasketStore, end: BasketState) -> None:
    baskets.create(basket("b1"), NOW)
    baskets.save(replace(basket("b1"), state=end))
    assert baskets.create(basket("b2"), NOW)


@pytest.mark.parametrize("state", [state for state in BasketState if state in LIVE_STATES])
def test_a_basket_that_goes_on_keeps_its_group(baskets: BasketStore, state: BasketState) -> None:
    baskets.create(basket("b1"), NOW)
    baskets.save(replace(basket("b1"), state=state))
    assert not baskets.create(basket("b2"), NOW)


@pytest.mark.parametrize("later", [BasketState.LOCK, BasketState.SETTLED])
def test_writing_an_ended_basket_again_leaves_its_successors_lease_alone(
    baskets: BasketStore, later: BasketState
) -> None:
    baskets.create(basket("b1"), NOW)
    ended = baskets.save(replace(basket("b1"), state=BasketState.LOCK))
    assert baskets.create(basket("b2"), NOW)
    saved = baskets.save(replace(ended, state=later, settled_profit=Cash(1)))
    assert baskets.get("b1") == saved
    assert not baskets.create(basket("b3"), NOW)


def test_a_lost_race_to_end_a_basket_changes_nothing(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    baskets.save(replace(basket("b1"), reason="newer"))
    with pytest.raises(ConflictError):
        baskets.save(replace(basket("b1"), state=BasketState.REFUSED))
    stored = baskets.get("b1")
    assert stored is not None
    assert stored.state is BasketState.PROPOSED
    assert not baskets.create(basket("b2"), NOW)


def test_after_orders_the_next_basket_rests_on_books_from_after_them(baskets: BasketStore) -> None:
    assert baskets.create(basket("b1"), NOW)
    ended = replace(basket("b1"), state=BasketState.FLAT, first_order_ms=NOW + 5, updated_ms=NOW + 70)
    mark = lease_mark_ms(ended)
    assert mark > NOW + 70
    baskets.save(ended)
    assert baskets.leases() == [Lease("ladder-KXTEST-26", None, mark)]
    assert not baskets.create(basket("b2"), mark), "known up to the mark, not beyond it"
    assert baskets.get("b2") is None
    assert baskets.create(basket("b2"), mark + 1)
    assert baskets.leases() == [Lease("ladder-KXTEST-26", "b2", mark)]


def test_a_basket_that_sent_nothing_leaves_the_mark_of_the_one_before(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    ended = replace(basket("b1"), state=BasketState.FLAT, first_order_ms=NOW, updated_ms=NOW)
    baskets.save(ended)
    later = lease_mark_ms(ended) + 1
    assert baskets.create(basket("b2"), later)
    baskets.save(replace(basket("b2"), state=BasketState.REFUSED))
    assert not baskets.create(basket("b3"), later - 1)
    assert baskets.create(basket("b4"), later)


def test_a_lease_is_removed_only_as_it_was_seen(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    (lease,) = baskets.leases()
    assert lease == Lease("ladder-KXTEST-26", "b1", 0)
    assert not baskets.free_lease(replace(lease, owner=None))
    assert not baskets.free_lease(replace(lease, mark_ms=5))
    assert baskets.free_lease(lease)
    assert not baskets.free_lease(lease)
    assert baskets.leases() == []
    assert baskets.create(basket("b2"), NOW)


def test_leases_are_no_baskets(baskets: BasketStore) -> None:
    baskets.create(basket("b1"), NOW)
    assert [row.basket_id for row in baskets.in_states(BasketState, 10)] == ["b1"]
    assert [row.basket_id for row in baskets.recent(10)] == ["b1"]


def test_baskets_by_state_come_least_recently_updated_first(baskets: BasketStore) -> None:
    for number, state in enumerate([BasketState.EXECUTING, BasketState.PROPOSED, BasketState.EXECUTING]):
        row = basket(f"b{number}", group_id=f"g{number}")
        baskets.create(row, NOW)
        baskets.save(replace(row, state=state, updated_ms=NOW + 100 - number))
    live = [BasketState.EXECUTING, BasketState.PROPOSED]
    assert [row.basket_id for row in baskets.in_states(live, 10)] == ["b2", "b1", "b0"]
    assert [row.basket_id for row in baskets.in_states(live, 2)] == ["b2", "b1"]
    assert [row.basket_id for row in baskets.in_states([BasketState.PROPOSED], 10)] == ["b1"]
    assert baskets.in_states([], 10) == []


def test_a_basket_that_moves_on_while_states_are_read_is_there_once(dynamo: Any) -> None:
    saved: list[Basket] = []

    class Moving:
        """After each query the basket is a step further."""

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def query(self, **arguments: Any) -> Any:
            answer = dynamo.query(**arguments)
            path = [BasketState.RESERVED, BasketState.EXECUTING, BasketState.UNWINDING]
            if len(saved) < len(path):
                row = saved[-1] if saved else basket("b1")
                saved.append(DynamoBasketStore(table(dynamo, "baskets")).save(replace(row, state=path[len(saved)])))
            return answer

    store = DynamoBasketStore(table(Moving(), "baskets"))
    assert store.create(basket("b1"), NOW)
    assert [(row.basket_id, row.state) for row in store.in_states(LIVE_STATES, 10)] == [("b1", BasketState.UNWINDING)]


def test_queries_go_on_over_page_borders(dynamo: Any) -> None:
    class SmallPages:
        """Answers two items a page, whatever was asked."""

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def query(self, **arguments: Any) -> Any:
            return dynamo.query(**arguments | {"Limit": min(2, arguments.get("Limit", 2))})

        def scan(self, **arguments: Any) -> Any:
            return dynamo.scan(**arguments | {"Limit": 2})

    store = DynamoBasketStore(table(SmallPages(), "baskets"))
    for number in range(7):
        assert store.create(basket(f"b{number}", group_id=f"g{number}", created_ms=NOW + number), NOW)
    assert [row.basket_id for row in store.recent(5)] == ["b6", "b5", "b4", "b3", "b2"]
    assert len(store.in_states([BasketState.PROPOSED], 100)) == 7
    ledger = journal(SmallPages())
    ledger.append([entry(f"e{number}") for number in range(5)])
    assert len(ledger.all()) == 5


def test_a_stored_row_of_another_kind_is_refused(baskets: BasketStore, dynamo: Any) -> None:
    dynamo.put_item(TableName="baskets", Item={"basket_id": s("b1"), "body": s(schemas.encode(alert()))})
    with pytest.raises(SchemaError, match="basket"):
        baskets.get("b1")


def test_a_basket_survives_its_way_through_the_table_in_every_field(baskets: BasketStore) -> None:
    row: Basket = replace(
        with_order(basket()), locked_profit=Cash(-1), settled_profit=Cash(2), reason="\u00e9", first_order_ms=NOW
    )
    baskets.create(row, NOW)
    assert baskets.get("b1") == row
