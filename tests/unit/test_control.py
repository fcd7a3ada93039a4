"""What keeps the system from buying, and what an arming is bound to."""

from dataclasses import replace

import pytest

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.execution.arming import HOUR_MS, LONGEST_MS, Terms, arming_fault, hash_of, new_arming
from kalshi_arb.execution.control import (
    Stop,
    buying_stopped,
    lift_stop,
    orders_forbidden,
    read_stop,
    set_stop,
)
from kalshi_arb.fakes import MemoryStatusStore

NOW = 1_780_000_000_000
TERMS = Terms(template=hash_of("template"), limits=hash_of("{}"), key_id="key-1")


def code(reason: str | None) -> str | None:
    return None if reason is None else reason.partition(":")[0]


def test_a_stack_without_items_may_buy() -> None:
    assert buying_stopped(MemoryStatusStore(), NOW, "simulated") is None


@pytest.mark.parametrize("mode", ["simulated", "demo", "paper", "live"])
def test_a_stop_stops_in_every_mode_and_says_who_and_why(mode: str) -> None:
    status = MemoryStatusStore()
    set_stop(status, by="ann", reason="strange fills", now_ms=NOW)
    assert buying_stopped(status, NOW, mode) == "stopped: by ann, strange fills"


@pytest.mark.parametrize("value", [True, "yes", 1, 0, None, {}])
def test_anything_but_an_explicit_false_is_a_stop(value: object) -> None:
    status = MemoryStatusStore()
    status.put("control", {"stop": value})
    assert code(buying_stopped(status, NOW, "paper")) == "stopped"


def test_a_stop_is_lifted_by_whoever_has_seen_it() -> None:
    status = MemoryStatusStore()
    seen = set_stop(status, by="ann", reason="", now_ms=NOW)
    assert lift_stop(status, by="ann", now_ms=NOW + 1, seen=seen)
    assert read_stop(status) == Stop(by="ann", at_ms=NOW + 1)
    assert buying_stopped(status, NOW, "demo") is None


def test_a_stop_that_was_set_meanwhile_is_not_lifted() -> None:
    status = MemoryStatusStore()
    seen = set_stop(status, by="ann", reason="", now_ms=NOW)
    set_stop(status, by="an alarm", reason="the feed is silent", now_ms=NOW + 5)
    assert not lift_stop(status, by="ann", now_ms=NOW + 6, seen=seen)
    assert read_stop(status).by == "an alarm"


def test_a_stop_that_lands_while_another_is_lifted_stands() -> None:
    class Racing(MemoryStatusStore):
        def swap(self, component: str, before: object, status: object) -> bool:
            self.put("control", {"stop": True, "by": "an alarm"})
            return super().swap(component, before, status)  # type: ignore[arg-type]  # any item, where the base asks for one of its own

    status = Racing()
    seen = set_stop(status, by="ann", reason="", now_ms=NOW)
    assert not lift_stop(status, by="ann", now_ms=NOW, seen=seen)
    assert read_stop(status).by == "an alarm"


def test_after_a_cancel_all_no_order_at_all_may_leave_for_its_minute() -> None:
    status = MemoryStatusStore()
    set_stop(status, by="ann", reason="", now_ms=NOW, no_orders_until_ms=NOW + 60_000)
    assert code(orders_forbidden(status, NOW + 59_999)) == "abandoned"
    assert code(buying_stopped(status, NOW + 59_999, "demo")) == "abandoned"
    assert orders_forbidden(status, NOW + 60_000) is None
    assert code(buying_stopped(status, NOW + 60_000, "demo")) == "stopped", "the stop itself stays"


def test_neither_a_second_stop_nor_lifting_it_shortens_that_minute() -> None:
    status = MemoryStatusStore()
    set_stop(status, by="ann", reason="", now_ms=NOW, no_orders_until_ms=NOW + 60_000)
    seen = set_stop(status, by="an alarm", reason="", now_ms=NOW + 1)
    assert lift_stop(status, by="ann", now_ms=NOW + 2, seen=seen)
    assert code(orders_forbidden(status, NOW + 3)) == "abandoned"


def test_a_tripped_breaker_stops_with_its_figures() -> None:
    status = MemoryStatusStore()
    status.put("breaker", {"noted": [], "trip": {"cause": "rejects", "text": "11 orders refused", "at_ms": 5}})
    assert buying_stopped(status, NOW, "simulated") == "breaker: 11 orders refused"


def test_only_real_money_needs_an_arming() -> None:
    status = MemoryStatusStore()
    assert [code(buying_stopped(status, NOW, mode)) for mode in ("simulated", "demo", "paper")] == [None] * 3
    assert buying_stopped(status, NOW, "live") == "not_armed: nobody has armed this stack"
    status.put("arming", new_arming(TERMS, hours=1, by="ann", now_ms=NOW))
    assert buying_stopped(status, NOW, "live", TERMS) is None
    assert buying_stopped(status, NOW + HOUR_MS, "live", TERMS) == "not_armed: the arming is over"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"template": "x"}, "the deployed template"),
        ({"limits": "x"}, "the limits"),
        ({"key_id": "x"}, "the trading key"),
    ],
)
def test_whatever_changes_after_the_arming_disarms_and_is_named(changed: dict[str, str], named: str) -> None:
    item = new_arming(TERMS, hours=24, by="ann", now_ms=NOW)
    assert arming_fault(item, NOW + 1, TERMS) is None
    assert arming_fault(item, NOW + 1, replace(TERMS, **changed)) == f"{named} changed since it was armed"


@pytest.mark.parametrize(
    "damage",
    [
        {"until_ms": NOW + LONGEST_MS + 1},
        {"until_ms": NOW},
        {"until_ms": "tomorrow"},
        {"until_ms": None},
        {"armed_ms": True},
        {"armed_ms": NOW + 10},
    ],
)
def test_an_arming_that_cannot_be_right_does_not_arm(damage: dict[str, object]) -> None:
    item = {**new_arming(TERMS, hours=1, by="ann", now_ms=NOW), **damage}
    assert arming_fault(item, NOW + 1, TERMS) is not None
    assert arming_fault(item, NOW + 1, None) is not None


@pytest.mark.parametrize("hours", [0, -1, 25, 10**9])
def test_an_absurd_duration_is_refused_by_name(hours: int) -> None:
    with pytest.raises(SettingsError, match=r"^hours must be a whole number from 1 to 24"):
        new_arming(TERMS, hours=hours, by="ann", now_ms=NOW)


@pytest.mark.parametrize(("field", "named"), [("template", "template"), ("limits", "limits"), ("key_id", "key")])
def test_nothing_is_armed_for_what_cannot_be_told(field: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        new_arming(replace(TERMS, **{field: ""}), hours=1, by="ann", now_ms=NOW)
