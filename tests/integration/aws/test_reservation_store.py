"""Reservations in their table: every key or none, never past a limit, whoever races."""

import threading
from typing import Any

import pytest

from kalshi_arb.aws.reservations import DynamoReservationStore
from kalshi_arb.domain.errors import OvertakenError, StoreError
from kalshi_arb.ports import ReservationStore
from tests.moto_cloud import Atomic, table


@pytest.fixture
def reservations(dynamo: Any) -> ReservationStore:
    return DynamoReservationStore(table(dynamo, "reservations"))


def test_a_reservation_takes_every_key_or_none(reservations: ReservationStore) -> None:
    limits = {"market#A": 100, "cash#0": 150}
    assert reservations.reserve("b1", {"market#A": 60, "cash#0": 100}, limits) == ()
    assert reservations.reserve("b2", {"market#A": 40, "cash#0": 60}, limits) == ("cash#0",)
    assert reservations.used() == {"market#A": 60, "cash#0": 100}
    assert reservations.reserve("b3", {"market#A": 41, "cash#0": 1}, limits) == ("market#A",)
    assert reservations.reserve("b4", {"market#A": 40, "cash#0": 50}, limits) == ()
    assert reservations.used() == {"market#A": 100, "cash#0": 150}


def test_every_key_without_room_is_named(reservations: ReservationStore) -> None:
    limits = {"market#A": 10, "contracts#A": 10, "cash#0": 10, "open#baskets": 1}
    reservations.reserve("b1", {"market#A": 5, "contracts#A": 10, "cash#0": 5, "open#baskets": 1}, limits)
    wanted = {"market#A": 5, "contracts#A": 1, "cash#0": 6, "open#baskets": 1}
    assert reservations.reserve("b2", wanted, limits) == ("contracts#A", "cash#0", "open#baskets")
    assert reservations.amounts([*wanted, "cash#1"]) == {
        "market#A": 5, "contracts#A": 10, "cash#0": 5, "open#baskets": 1,
    }  # fmt: skip


def test_dollars_and_contracts_of_a_market_are_one_item(reservations: ReservationStore, dynamo: Any) -> None:
    reservations.reserve("b1", {"market#A": 5, "contracts#A": 7}, {"market#A": 5, "contracts#A": 7})
    assert dynamo.scan(TableName="reservations")["Count"] == 2, "the market's and the basket's own"
    assert reservations.used() == {"market#A": 5, "contracts#A": 7}
    reservations.release("b1", ("contracts#",))
    assert reservations.used() == {"market#A": 5}


def test_an_amount_above_its_limit_has_no_room_even_when_nothing_is_used(reservations: ReservationStore) -> None:
    assert reservations.reserve("b1", {"cash#0": 101}, {"cash#0": 100}) == ("cash#0",)
    assert reservations.used() == {}


def test_reserving_again_changes_nothing_and_more_adds_the_difference(reservations: ReservationStore) -> None:
    for _ in range(3):
        assert reservations.reserve("b1", {"cash#0": 60}, {"cash#0": 100}) == ()
    assert reservations.used() == {"cash#0": 60}
    assert reservations.reserve("b1", {"cash#0": 40}, {"cash#0": 100}) == (), "what it holds is enough"
    assert reservations.reserve("b1", {"cash#0": 90, "cash#1": 1}, {"cash#0": 100}) == ()
    assert reservations.used() == {"cash#0": 90, "cash#1": 1}
    assert reservations.reserve("b1", {"cash#0": 101}, {"cash#0": 100}) == ("cash#0",)
    reservations.release("b1")
    assert reservations.used() == {}


def test_release_by_prefix_and_again(reservations: ReservationStore) -> None:
    limits = {"market#A": 100, "market#B": 100, "cash#0": 100}
    reservations.reserve("b1", {"market#A": 10, "market#B": 20, "cash#0": 30, "open#baskets": 1}, limits)
    reservations.reserve("b2", {"market#A": 5}, limits)
    for _ in range(2):
        reservations.release("b1", ("cash#", "open#"))
        assert reservations.used() == {"market#A": 15, "market#B": 20}
    assert reservations.reserve("b1", {"market#A": 10, "cash#0": 30}, limits) == (), "it gives back by now"
    assert reservations.used() == {"market#A": 15, "market#B": 20}
    for _ in range(2):
        reservations.release("b1")
        assert reservations.used() == {"market#A": 5}
    reservations.release("never reserved")


def test_a_reservation_is_one_transaction_or_none_at_all(reservations: ReservationStore) -> None:
    amounts = {f"{kind}#{number:03d}": 1 for number in range(99) for kind in ("market", "contracts")}
    assert reservations.reserve("b1", amounts, dict.fromkeys(amounts, 1)) == ()
    assert reservations.used() == amounts
    reservations.release("b1")
    assert reservations.used() == {}
    with pytest.raises(StoreError, match="100 items, at most 99"):
        reservations.reserve("b1", {f"market#{number}": 1 for number in range(100)}, {})
    assert reservations.used() == {}


def test_room_that_became_free_in_between_is_taken(dynamo: Any) -> None:
    class FreedMeanwhile:
        freed = False

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamo, name)

        def batch_get_item(self, **arguments: Any) -> Any:
            if not self.freed:
                self.freed = True
                DynamoReservationStore(table(dynamo, "reservations")).release("b1")
            return dynamo.batch_get_item(**arguments)

    DynamoReservationStore(table(dynamo, "reservations")).reserve("b1", {"open#baskets": 1}, {})
    store = DynamoReservationStore(table(FreedMeanwhile(), "reservations"))
    assert store.reserve("b2", {"open#baskets": 1}, {"open#baskets": 1}) == ()
    assert store.used() == {"open#baskets": 1}


def test_everything_that_is_held_adds_up_by_basket(reservations: ReservationStore) -> None:
    reservations.reserve("b1", {"market#A": 5, "contracts#A": 7, "cash#0": 2}, {})
    reservations.reserve("b2", {"market#A": 1, "cash#0": 3}, {})
    held = reservations.holdings()
    assert held.used == {"market#A": 6, "contracts#A": 7, "cash#0": 5}
    assert held.records == {"b1": {"market#A": 5, "contracts#A": 7, "cash#0": 2}, "b2": {"market#A": 1, "cash#0": 3}}


def test_racing_baskets_never_pass_the_limit(dynamo: Any, restless: None) -> None:
    answers: list[tuple[str, ...]] = []
    client = Atomic(dynamo)

    def reserve(number: int) -> None:
        store = DynamoReservationStore(table(client, "reservations"))
        answers.append(store.reserve(f"b{number}", {"cash#0": 10, f"market#{number}": 1}, limits))

    limits = {"cash#0": 35, **{f"market#{number}": 1 for number in range(8)}}
    threads = [threading.Thread(target=reserve, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(()) == 3
    assert answers.count(("cash#0",)) == 5
    used = DynamoReservationStore(table(dynamo, "reservations")).used()
    assert used.pop("cash#0") == 30
    assert len(used) == 3, "a refused basket holds no market"


def test_cash_that_was_given_back_meanwhile_overtakes_a_reservation(reservations: ReservationStore) -> None:
    keys = ["cash#0", "cash#1"]
    assert reservations.returns(keys) == {"cash#0": 0, "cash#1": 0}
    reservations.reserve("b1", {"cash#0": 30, "market#A": 1}, {}, reservations.returns(keys))
    before = reservations.returns(keys)
    assert before == {"cash#0": 0, "cash#1": 0}, "taking is no return"
    for _ in range(2):
        reservations.release("b1", ("cash#",))
    assert reservations.returns(keys) == {"cash#0": 1, "cash#1": 0}
    with pytest.raises(OvertakenError):
        reservations.reserve("b2", {"cash#0": 5, "market#A": 1}, {"cash#0": 100}, before)
    assert reservations.used() == {"market#A": 1}
    assert reservations.reserve("b2", {"cash#1": 5}, {"cash#1": 9}, before) == (), "another shard's"
    assert reservations.reserve("b3", {"cash#0": 5}, {"cash#0": 9}, reservations.returns(keys)) == ()
    reservations.release("b3")
    assert reservations.returns(keys) == {"cash#0": 2, "cash#1": 0}
    assert reservations.reserve("b2", {"cash#1": 5}, {"cash#1": 9}, {"cash#1": 7}) == (), "it takes nothing more"
    assert reservations.reserve("b4", {"cash#0": 9}, {"cash#0": 8}, {"cash#0": 2}) == ("cash#0",)


def test_a_key_without_a_limit_is_only_counted(reservations: ReservationStore) -> None:
    assert reservations.reserve("b1", {"count": 7}, {}) == ()
    assert reservations.reserve("b2", {"count": 7, "cash#0": 5}, {"cash#0": 4}) == ("cash#0",)
    assert reservations.used() == {"count": 7}


def test_a_limit_of_nothing_and_a_negative_amount(reservations: ReservationStore) -> None:
    assert reservations.reserve("b1", {"cash#0": 1}, {"cash#0": 0}) == ("cash#0",)
    assert reservations.reserve("b2", {"cash#0": 0}, {"cash#0": 0}) == ()
    assert reservations.used() == {}
    with pytest.raises(StoreError, match="negative"):
        reservations.reserve("b3", {"cash#0": -1}, {"cash#0": 1})
