"""The control item that people set: the stop, and for live trading the arming."""

from dataclasses import dataclass

from kalshi_arb.ports import StatusStore

COMPONENT = "control"


@dataclass(frozen=True, slots=True)
class Control:
    """``stopped`` refuses new purchases and lets unwinds run; ``armed`` is needed before real money moves."""

    stopped: bool
    armed: bool


def read_control(status: StatusStore) -> Control:
    """What people set. Anything but an explicit false counts as a stop, only an explicit true arms."""
    item = status.get(COMPONENT) or {}
    return Control(stopped=item.get("stop", False) is not False, armed=item.get("armed") is True)
