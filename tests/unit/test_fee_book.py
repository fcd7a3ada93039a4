"""Which fee schedule held when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import FeeError
from kalshi_arb.domain.fee_book import FeeBook, FeeChange
from kalshi_arb.domain.fees import FeeSchedule, FeeType

FULL = FeeSchedule(FeeType.QUADRATIC)
HALF = FeeSchedule(FeeType.QUADRATIC, 5_000)
FREE = FeeSchedule(FeeType.QUADRATIC, 0)
MAKER = FeeSchedule(FeeType.WITH_MAKER)


def book(**terms: object) -> FeeBook:
    return FeeBook(**({"series": {"S": FULL}} | terms))  # type: ignore[arg-type]


def test_a_series_schedule_holds_for_its_events() -> None:
    assert book().schedule("S", "E", 0) == FULL
    assert book().next_change_ms("S", "E", 0) is None


def test_a_series_nobody_named_is_not_tradable() -> None:
    assert not book().schedule("OTHER", "E", 0).is_tradable()


def test_an_override_comes_before_the_series() -> None:
    own = book(event_overrides={"E": MAKER})
    assert own.schedule("S", "E", 0) == MAKER
    assert own.schedule("S", "F", 0) == FULL
    assert own.schedule("OTHER", "E", 0) == MAKER


def test_scheduled_changes_hold_from_their_moment() -> None:
    own = book(series_changes={"S": (FeeChange(100, HALF), FeeChange(200, MAKER))})
    assert [own.schedule("S", "E", at) for at in (99, 100, 199, 200, 10**12)] == [FULL, HALF, HALF, MAKER, MAKER]
    assert [own.next_change_ms("S", "E", at) for at in (0, 99, 100, 199, 200)] == [100, 100, 200, 200, None]


def test_an_override_can_come_and_go() -> None:
    own = book(
        series_changes={"S": (FeeChange(150, HALF),)},
        event_changes={"E": (FeeChange(100, MAKER), FeeChange(200, None))},
    )
    assert [own.schedule("S", "E", at) for at in (99, 100, 150, 200)] == [FULL, MAKER, MAKER, HALF]
    # The series changes at 150, but this event does not notice.
    assert [own.next_change_ms("S", "E", at) for at in (0, 100, 200)] == [100, 200, None]


def test_a_change_to_the_same_schedule_is_none() -> None:
    assert book(series_changes={"S": (FeeChange(100, FULL),)}).next_change_ms("S", "E", 0) is None


def test_a_waived_market_is_free_until_its_moment() -> None:
    own = book(series_changes={"S": (FeeChange(300, HALF),)})
    assert [own.schedule("S", "E", at, waiver_until_ms=200) for at in (199, 200, 300)] == [FREE, FULL, HALF]
    assert own.next_change_ms("S", "E", 0, waiver_until_ms=200) == 200
    assert own.next_change_ms("S", "E", 200, waiver_until_ms=200) == 300
    # A longer waiver hides the change of the series and ends in what that changed to.
    assert own.next_change_ms("S", "E", 0, waiver_until_ms=400) == 400


def test_a_waiver_does_not_make_a_flat_fee_computable() -> None:
    flat = book(series={"S": FeeSchedule(FeeType.FLAT)})
    assert not flat.schedule("S", "E", 0, waiver_until_ms=10).is_tradable()


@pytest.mark.parametrize("kind", ["series_changes", "event_changes"])
def test_changes_come_in_the_order_of_their_moments(kind: str) -> None:
    for moments in ((200, 100), (100, 100)):
        with pytest.raises(FeeError, match="order"):
            book(**{kind: {"S": tuple(FeeChange(moment, HALF) for moment in moments)}})


def test_a_series_always_has_a_schedule() -> None:
    with pytest.raises(FeeError, match="no fee schedule"):
        book(series_changes={"S": (FeeChange(100, None),)})


moments = st.lists(st.integers(0, 50), unique=True, max_size=5).map(sorted)
schedules = st.sampled_from([FULL, HALF, MAKER])


@given(st.data(), moments, moments, st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 50))
def test_nothing_changes_before_the_next_change(
    data: st.DataObject, of_series: list[int], of_event: list[int], waiver: int | None, at: int
) -> None:
    own = book(
        series_changes={"S": tuple(FeeChange(moment, data.draw(schedules)) for moment in of_series)},
        event_changes={
            "E": tuple(FeeChange(moment, data.draw(st.one_of(st.none(), schedules))) for moment in of_event)
        },
    )
    seen = [own.schedule("S", "E", moment, waiver_until_ms=waiver) for moment in range(60)]
    following = own.next_change_ms("S", "E", at, waiver_until_ms=waiver)
    until = 60 if following is None else following
    assert set(seen[at:until]) == {seen[at]}
    if following is not None:
        assert seen[following] != seen[at]
