"""The breaker: how much may go wrong within its window, who hears of it, and that only a person resets it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import ConflictError
from kalshi_arb.domain.money import Cash
from kalshi_arb.execution.control import buying_stopped
from kalshi_arb.fakes import ManualClock, MemoryNotifier, MemoryStatusStore
from kalshi_arb.risk import breaker
from kalshi_arb.risk.breaker import COMPONENT, Breaker, Cause, read_trip, reset_breaker
from kalshi_arb.risk.limits import Limits

LIMITS = replace(
    Limits(),
    breaker_window_s=600,
    breaker_max_loss=Cash(50_000_000),
    breaker_max_rejects=2,
    breaker_max_unknowns=2,
    breaker_max_stale=2,
    breaker_max_differences=0,
)


class Desk:
    def __init__(self, status: MemoryStatusStore | None = None) -> None:
        self.status = status or MemoryStatusStore()
        self.notifier = MemoryNotifier()
        self.clock = ManualClock()
        self.breaker = self.another()

    def another(self) -> Breaker:
        return Breaker(status=self.status, notifier=self.notifier, clock=self.clock, mode="demo", limits=lambda: LIMITS)

    @property
    def tripped(self) -> bool:
        return read_trip(self.status.get(COMPONENT)) is not None


@pytest.mark.parametrize("cause", [Cause.REJECTS, Cause.UNKNOWNS, Cause.STALE])
def test_it_trips_at_the_first_event_above_the_limit(cause: Cause) -> None:
    desk = Desk()
    assert [desk.breaker.note(cause, f"o{number}") for number in range(2)] == [None, None]
    assert not desk.tripped
    trip = desk.breaker.note(cause, "o2")
    assert trip is not None
    assert (trip.cause, trip.at_ms) == (cause, desk.clock.now_ms())
    assert "3 " in trip.text
    assert "within 600 s, at most 2 allowed; the last was o2" in trip.text
    reason = buying_stopped(desk.status, desk.clock.now_ms(), "demo")
    assert reason == f"breaker: {trip.text}"


def test_losses_are_added_up_in_dollars() -> None:
    desk = Desk()
    assert desk.breaker.note(Cause.LOSS, "b1", 30_000_000) is None
    assert desk.breaker.note(Cause.LOSS, "b2", 20_000_000) is None
    trip = desk.breaker.note(Cause.LOSS, "b3", 1)
    assert trip is not None
    assert trip.text.startswith("$50.000001 lost within 600 s, at most $50.00 allowed")


def test_one_difference_is_enough_by_default() -> None:
    assert Desk().breaker.note(Cause.DIFFERENCES, "r1") is not None


def test_what_lies_before_the_window_is_forgotten() -> None:
    desk = Desk()
    for number in range(10):
        assert desk.breaker.note(Cause.REJECTS, f"o{number}") is None
        desk.clock.advance(300_001)
    assert not desk.tripped


def test_causes_are_counted_apart() -> None:
    desk = Desk()
    for cause in (Cause.REJECTS, Cause.UNKNOWNS, Cause.STALE):
        assert desk.breaker.note(cause, "x1") is None
        assert desk.breaker.note(cause, "x2") is None
    assert not desk.tripped


def test_the_same_event_counts_once_however_often_it_is_told() -> None:
    desk = Desk()
    for _ in range(10):
        assert desk.another().note(Cause.REJECTS, "o1") is None


def test_it_alerts_once_and_stays_tripped() -> None:
    desk = Desk()
    first = desk.breaker.note(Cause.DIFFERENCES, "r1")
    desk.clock.advance(86_400_000)
    assert desk.another().note(Cause.REJECTS, "o1") == first
    assert desk.tripped
    (alert,) = desk.notifier.published
    assert alert.alert_id == f"breaker-{first and first.at_ms}"
    assert "arm --reset-breaker" in alert.text


def test_a_writer_that_died_before_telling_is_made_up_for() -> None:
    desk = Desk()

    def die(_: object) -> None:
        raise RuntimeError("killed")

    desk.notifier.publish = die  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="killed"):
        desk.breaker.note(Cause.DIFFERENCES, "r1")
    assert desk.tripped, "the stop does not wait for the alert"
    del desk.notifier.publish
    desk.another().note(Cause.REJECTS, "o1")
    desk.another().note(Cause.REJECTS, "o2")
    assert len(desk.notifier.published) == 1


def test_a_person_resets_what_they_have_seen_and_nothing_else() -> None:
    desk = Desk()
    trip = desk.breaker.note(Cause.DIFFERENCES, "r1")
    assert trip is not None
    assert not reset_breaker(desk.status, replace(trip, at_ms=trip.at_ms - 1))
    assert reset_breaker(desk.status, trip)
    assert buying_stopped(desk.status, desk.clock.now_ms(), "demo") is None
    assert desk.breaker.note(Cause.REJECTS, "o1") is None
    assert desk.breaker.note(Cause.DIFFERENCES, "r1") is not None, "a new count"


@pytest.mark.parametrize("item", [{}, {"trip": True}, {"trip": "x"}, {"noted": []}])
def test_an_item_that_cannot_be_read_counts_as_tripped(item: Mapping[str, object]) -> None:
    assert read_trip(item) is not None


class Contested(MemoryStatusStore):
    """Another writer is first, as often as is asked for."""

    def __init__(self, others: list[str]) -> None:
        super().__init__()
        self.others = others
        self.busy = False

    def swap(self, component: str, before: Mapping[str, object] | None, status: Mapping[str, object]) -> bool:
        if self.others and not self.busy:
            self.busy = True
            Breaker(
                status=self, notifier=MemoryNotifier(), clock=ManualClock(), mode="demo", limits=lambda: LIMITS
            ).note(Cause.UNKNOWNS, self.others.pop())
            self.busy = False
        return super().swap(component, before, status)


def test_writers_at_the_same_moment_lose_no_event() -> None:
    desk = Desk(Contested(["theirs-1", "theirs-2"]))
    assert desk.breaker.note(Cause.UNKNOWNS, "mine") is not None
    assert desk.tripped


def test_a_writer_that_is_never_first_says_so() -> None:
    class Lost(MemoryStatusStore):
        def swap(self, *_: object) -> bool:
            return False

    with pytest.raises(ConflictError, match="o1"):
        Desk(Lost()).breaker.note(Cause.REJECTS, "o1")


def test_an_event_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="-5"):
        Desk().breaker.note(Cause.LOSS, "b1", -5)


def test_it_trips_rather_than_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 40
    monkeypatch.setattr(breaker, "MOST_NOTED", most)
    desk = Desk()
    for number in range(most):
        assert desk.breaker.note(Cause.LOSS, f"b{number}") is None
    assert desk.breaker.note(Cause.LOSS, "one more") is not None


@given(st.lists(st.tuples(st.sampled_from(sorted(Cause)), st.integers(0, 20), st.integers(0, 400)), max_size=60))
def test_it_is_tripped_exactly_when_some_window_held_too_much(steps: list[tuple[Cause, int, int]]) -> None:
    desk = Desk()
    seen: list[tuple[Cause, int, int]] = []
    expected = False
    allowed = {cause: int(getattr(LIMITS, f"breaker_max_{cause}")) for cause in Cause}
    for cause, number, seconds in steps:
        desk.clock.advance(seconds * 1000)
        now = desk.clock.now_ms()
        desk.breaker.note(cause, str(number))
        seen = [one for one in seen if one[2] > now - 600_000]
        if not expected and not any(one[:2] == (cause, number) for one in seen):
            seen.append((cause, number, now))
            expected = sum(one[0] is cause for one in seen) > allowed[cause]
        assert desk.tripped == expected
