"""The order book: snapshots replace, deltas are signed, asks are complements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.book import Bids, Book, BookSnapshot, BookVersion, Level
from kalshi_arb.domain.errors import BookError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price


def side(*levels: tuple[int, int]) -> Bids:
    made = Bids()
    made.replace([(Price(price), Count(size)) for price, size in levels])
    return made


def listed(one: Bids) -> list[tuple[int, int]]:
    return [(level.price, level.size) for level in one]


def test_levels_run_from_best_to_worst() -> None:
    bids = side((4_000, 5), (4_200, 1), (100, 9))
    assert listed(bids) == [(4_200, 1), (4_000, 5), (100, 9)]
    assert bids.best == (4_200, 1)
    assert len(bids) == 3


def test_an_empty_side_has_no_best() -> None:
    assert Bids().best is None
    assert listed(Bids()) == []


def test_a_snapshot_replaces_and_never_merges() -> None:
    bids = side((4_000, 5))
    bids.replace([(Price(3_000), Count(2))])
    assert listed(bids) == [(3_000, 2)]
    bids.replace([])
    assert bids.best is None


@pytest.mark.parametrize(
    "levels",
    [[(4_000, 0)], [(4_000, -1)], [(4_000, 1), (4_000, 2)], [(0, 1)], [(ONE_DOLLAR, 1)], [(-100, 1)]],
)
def test_an_impossible_snapshot_is_refused_and_changes_nothing(levels: list[tuple[int, int]]) -> None:
    bids = side((3_000, 2))
    with pytest.raises(BookError):
        bids.replace([(Price(price), Count(size)) for price, size in levels])
    assert listed(bids) == [(3_000, 2)]


@pytest.mark.parametrize(
    ("price", "change", "best_changed", "after"),
    [
        (4_100, 3, True, [(4_100, 3), (4_000, 5), (3_900, 7)]),  # a new best
        (3_950, 3, False, [(4_000, 5), (3_950, 3), (3_900, 7)]),  # a new level below
        (4_000, 2, True, [(4_000, 7), (3_900, 7)]),  # the best grows
        (3_900, -2, False, [(4_000, 5), (3_900, 5)]),  # a lower one shrinks
        (4_000, -5, True, [(3_900, 7)]),  # the best is gone
        (3_900, -7, False, [(4_000, 5)]),  # a lower one is gone
        (3_800, 0, False, [(4_000, 5), (3_900, 7)]),  # nothing where nothing was
    ],
)
def test_changes_say_whether_the_best_changed(
    price: int, change: int, best_changed: bool, after: list[tuple[int, int]]
) -> None:
    bids = side((4_000, 5), (3_900, 7))
    assert bids.add(Price(price), change) is best_changed
    assert listed(bids) == after


def test_the_first_level_is_the_best() -> None:
    assert Bids().add(Price(10), 1) is True


@pytest.mark.parametrize(("price", "change"), [(4_000, -6), (3_000, -1), (0, 5), (ONE_DOLLAR, 5)])
def test_an_impossible_change_is_refused(price: int, change: int) -> None:
    bids = side((4_000, 5))
    with pytest.raises(BookError):
        bids.add(Price(price), change)
    assert listed(bids) == [(4_000, 5)]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(-5, 9)), max_size=60))
def test_a_side_is_the_sum_of_its_changes(changes: list[tuple[int, int]]) -> None:
    bids, model = Bids(), dict[int, int]()
    for price, change in changes:
        size = model.get(price, 0) + change
        if size < 0:
            with pytest.raises(BookError):
                bids.add(Price(price), change)
            continue
        before = bids.best
        told = bids.add(Price(price), change)
        assert told or bids.best == before
        model[price] = size
        model = {level: count for level, count in model.items() if count}
    assert listed(bids) == sorted(model.items(), reverse=True)


@pytest.mark.parametrize(
    ("yes", "no", "crossed"), [(4_000, 5_900, False), (4_000, 6_000, True), (4_500, 6_000, True), (None, 6_000, False)]
)
def test_a_book_whose_bids_reach_a_dollar_is_crossed(yes: int | None, no: int | None, crossed: bool) -> None:
    one = Book("T")
    for outcome, price in ((Outcome.YES, yes), (Outcome.NO, no)):
        if price is not None:
            one.side(outcome).add(Price(price), 1)
    assert one.is_crossed() is crossed


def test_a_frozen_book_keeps_the_best_levels_and_does_not_change() -> None:
    one = Book("T")
    one.yes.replace([(Price(price), Count(100)) for price in (4_000, 3_900, 3_800)])
    one.no.replace([(Price(5_500), Count(250))])
    frozen = one.freeze(BookVersion(1, 2, 3), 10, 20, depth=2)
    one.yes.replace([])
    assert frozen == BookSnapshot(
        "T",
        BookVersion(1, 2, 3),
        10,
        20,
        (Level(Price(4_000), Count(100)), Level(Price(3_900), Count(100))),
        (Level(Price(5_500), Count(250)),),
    )
    assert frozen.asks(Outcome.YES) == ((4_500, 250),)
    assert frozen.asks(Outcome.NO) == ((6_000, 100), (6_100, 100))
    assert frozen.bids(Outcome.NO) == ((5_500, 250),)


def test_versions_survive_restarted_sequences() -> None:
    assert BookVersion(1, 2, 1) > BookVersion(1, 1, 900)
    assert BookVersion(2, 1, 1) > BookVersion(1, 9, 900)
