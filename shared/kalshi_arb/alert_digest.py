"""Keeps a storm of errors from becoming a flood of messages: pure decisions, no I/O.

Opportunities, basket ends, settlements and changed groups are told one by one, each once. Errors and alarms of one kind
open a window of a minute: the first is told at once, the others are counted, and when the minute is over one summary
tells them.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from kalshi_arb.alert_text import one_line
from kalshi_arb.ports import Alert, AlertDigest, AlertKind, AlertWindow

WINDOW_MS = 60_000
_GROUPED = frozenset({AlertKind.ERROR, AlertKind.ALARM})
_NAMES = re.compile(r"\S*\d\S*")
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do: ``tell`` says whether the alert itself goes out or is only counted, ``due`` holds the windows that
    are over with their summaries. ``digest`` is to be saved before anything is sent."""

    digest: AlertDigest
    tell: bool
    due: tuple[tuple[AlertWindow, Alert], ...]


def group_of(alert: Alert) -> str | None:
    """The kind of a repeatable alert, None for one that is always told.

    Names with a digit in them (baskets, attempts, markets) are what differs between two errors of one kind. An alarm
    and its state are a kind of their own.
    """
    if alert.kind not in _GROUPED:
        return None
    title = alert.title if alert.kind is AlertKind.ALARM else _NAMES.sub("*", alert.title)
    return f"{alert.mode} {alert.kind.value}: {one_line(title)}"


def admit(digest: AlertDigest, alert: Alert, now_ms: int) -> Admission:
    """Decide about one alert, and find the summaries that are due."""
    due = flush(digest, now_ms)
    group = group_of(alert)
    if group is None:
        return replace(due, tell=True)
    windows = {window.group: window for window in due.digest.windows}
    window = windows.get(group)
    if window is None:
        windows[group] = AlertWindow(group, now_ms + WINDOW_MS, 0, _short(alert))
    else:
        windows[group] = replace(window, held=window.held + 1, last=_short(alert))
    return Admission(_with(due.digest, windows.values()), tell=window is None, due=due.due)


def flush(digest: AlertDigest, now_ms: int) -> Admission:
    """The summaries of every window that is over. One that held something back opens anew, so that a lasting storm is
    one message a minute; the others are forgotten."""
    kept: list[AlertWindow] = []
    due: list[tuple[AlertWindow, Alert]] = []
    for window in digest.windows:
        if now_ms < window.until_ms:
            kept.append(window)
        elif window.held:
            due.append((window, summary_of(window, now_ms)))
            kept.append(replace(window, until_ms=now_ms + WINDOW_MS, held=0))
    return Admission(_with(digest, kept), tell=False, due=tuple(due))


def reopened(digest: AlertDigest, group: str, now_ms: int) -> AlertDigest:
    """The digest after the first alert of a window could not be sent: its next try is told at once, together with
    what was held back meanwhile."""
    windows = (
        replace(window, until_ms=now_ms) if window.group == group else window
        for window in digest.windows
        if window.group != group or window.held
    )
    return _with(digest, windows)


def restored(digest: AlertDigest, window: AlertWindow) -> AlertDigest:
    """The digest after a window's summary could not be sent: what it counted is counted again, and is due."""
    others = [kept for kept in digest.windows if kept.group != window.group]
    again = [kept for kept in digest.windows if kept.group == window.group]
    held = window.held + sum(kept.held for kept in again)
    return _with(digest, [*others, replace(window, held=held, last=(again or [window])[0].last)])


def summary_of(window: AlertWindow, now_ms: int) -> Alert:
    """One message for what a window held back."""
    digest = hashlib.sha256(f"{window.group} {window.until_ms} {window.held}".encode()).hexdigest()[:20]
    kind = window.group.partition(": ")[2]
    text = one_line(f"{window.last.title}: {window.last.text}")
    return replace(
        window.last,
        alert_id=f"summary-{digest}",
        title=f"{window.held} more within a minute: {kind}",
        text=f"The newest: {text} The page lists every one of them.",
        created_ms=now_ms,
    )


def _short(alert: Alert) -> Alert:
    """Every window lies in one item of the store, which must stay small."""
    return replace(alert, title=alert.title[:_SHOWN], text=alert.text[:_SHOWN])


def _with(digest: AlertDigest, windows: Iterable[AlertWindow]) -> AlertDigest:
    return replace(digest, windows=tuple(windows))
