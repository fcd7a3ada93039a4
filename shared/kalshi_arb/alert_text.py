"""Alerts in words: one line for logs, a short letter for e-mail. The mode comes first, always: nobody may take a
simulation for the real thing."""

from datetime import UTC, datetime

from kalshi_arb.ports import Alert

_MONEY = {
    "simulated": "embedded exchange, no real money",
    "demo": "Kalshi's demo exchange, no real money",
    "paper": "real books, fills of our own assumption, no real money",
    "live": "REAL MONEY",
}


def one_line(text: str) -> str:
    """Text without line breaks and repeated spaces."""
    return " ".join(text.split())


def headline_of(alert: Alert) -> str:
    """What it is about: mode, kind, title."""
    return one_line(f"{alert.mode} {alert.kind.value}: {alert.title}")


def line_of(alert: Alert) -> str:
    """The whole alert as one line."""
    return one_line(f"{headline_of(alert)}: {alert.text}")


def money_of(mode: str) -> str:
    """What a mode means for somebody's money."""
    return _MONEY.get(mode, "unknown mode")


def time_of(created_ms: int) -> str:
    """A moment (UTC milliseconds) to the second."""
    return f"{datetime.fromtimestamp(created_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def letter_of(alert: Alert) -> str:
    """The text of an e-mail: headline, text, and on lines of their own the mode, the time and the id."""
    return "\n".join(
        (
            headline_of(alert),
            "",
            alert.text.strip(),
            "",
            f"Mode: {alert.mode} ({money_of(alert.mode)})",
            f"Time: {time_of(alert.created_ms)}",
            f"Alert: {alert.alert_id}",
        )
    )
