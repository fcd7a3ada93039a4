"""What a person stops and arms over the API: read strictly, refused with what to do, and never over somebody's head."""

from collections.abc import Callable, Mapping

import pytest

from kalshi_arb.execution.control import read_stop, set_stop
from kalshi_arb.fakes import ManualClock, MemoryStatusStore
from kalshi_arb.risk.breaker import COMPONENT as BREAKER
from kalshi_arb.stop_desk import (
    LONGEST_REASON,
    ArmOrder,
    StopDesk,
    StopError,
    StopOrder,
    read_arm_order,
    read_stop_order,
)

NOW = 1_790_000_000_000
LONG = "x" * (LONGEST_REASON + 1)


def test_the_body_of_a_stop_may_be_empty() -> None:
    assert read_stop_order(None) == read_stop_order("") == StopOrder()
    assert read_stop_order('{"by": "ann", "reason": "odd fills"}') == StopOrder("ann", "odd fills")
    assert read_arm_order(None) == ArmOrder()
    assert read_arm_order('{"by": "ann", "reset_breaker": true}') == ArmOrder("ann", reset_breaker=True)


@pytest.mark.parametrize("body", ["[]", "{", '{"by": 1}', '{"why": "typo"}', f'{{"reason": "{LONG}"}}'])
def test_a_stop_that_cannot_be_read_says_what_it_must_be(body: str) -> None:
    with pytest.raises(StopError, match=f"must be empty or .*reason.* at most {LONGEST_REASON}"):
        read_stop_order(body)


@pytest.mark.parametrize("body", ["[]", "{", '{"reset_breaker": "yes"}', '{"reason": "typo"}', f'{{"by": "{LONG}"}}'])
def test_an_arming_that_cannot_be_read_says_what_it_must_be(body: str) -> None:
    with pytest.raises(StopError, match=r"must be empty or .*reset_breaker"):
        read_arm_order(body)


class Between(MemoryStatusStore):
    """Somebody stops again, or the breaker trips again, right before the next conditional write."""

    def __init__(self) -> None:
        super().__init__()
        self.happens: Callable[[], object] | None = None

    def swap(self, component: str, before: Mapping[str, object] | None, status: Mapping[str, object]) -> bool:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().swap(component, before, status)


def desk(status: MemoryStatusStore, mode: str = "paper") -> StopDesk:
    return StopDesk(status=status, clock=ManualClock(NOW), mode=mode)


def trip(status: MemoryStatusStore, text: str) -> None:
    status.put(BREAKER, {"noted": [], "trip": {"cause": "loss", "text": text, "at_ms": NOW}})


def test_a_stop_is_seen_and_taken_back() -> None:
    own = desk(MemoryStatusStore())
    seen = own.stop(StopOrder("ann", "odd fills"))
    assert isinstance(seen["trading"], dict)
    assert seen["trading"]["stop"] == {"by": "ann", "reason": "odd fills", "at_ms": NOW}
    after = own.arm(ArmOrder("ann"))
    assert isinstance(after["trading"], dict)
    assert (after["trading"]["stop"], after["trading"]["stopped"]) == (None, None)


def test_real_money_is_not_armed_over_the_api() -> None:
    status = MemoryStatusStore()
    own = desk(status, "live")
    own.stop(StopOrder("ann", ""))
    with pytest.raises(StopError, match="AWS credentials, not over the API"):
        own.arm(ArmOrder("ann"))
    assert read_stop(status).stopped


def test_a_stop_that_somebody_sets_at_this_moment_stands() -> None:
    status = Between()
    own = desk(status)
    own.stop(StopOrder("ann", "first"))
    status.happens = lambda: set_stop(status, by="bob", reason="second", now_ms=NOW + 1)
    with pytest.raises(StopError, match="stopped trading again at this moment"):
        own.arm(ArmOrder("ann"))
    assert read_stop(status).reason == "second"


def test_a_breaker_that_trips_again_at_this_moment_stays_tripped() -> None:
    status = Between()
    trip(status, "$1.00 lost")
    own = desk(status)
    status.happens = lambda: trip(status, "$2.00 lost")
    with pytest.raises(StopError, match="changed at this moment"):
        own.arm(ArmOrder("ann", reset_breaker=True))
    with pytest.raises(StopError, match=r"\$2.00 lost\): find out why"):
        own.arm(ArmOrder("ann"))
    own.arm(ArmOrder("ann", reset_breaker=True))
    assert own.view()["trading"] == desk(MemoryStatusStore()).view()["trading"]
