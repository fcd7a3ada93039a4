"""An alert as a message of Slack's incoming webhooks: Block Kit, with a plain line for notifications.

Lengths are those of the Block Kit reference (header 150 characters, section 3,000); the three characters that Slack
reads as control characters are escaped everywhere (Slack documentation, formatting text for app surfaces).
"""

from typing import Any

from kalshi_arb.alert_text import headline_of, line_of, money_of, time_of
from kalshi_arb.ports import Alert

HEADER_LENGTH = 150
SECTION_LENGTH = 3_000
CONTEXT_LENGTH = 2_000
# Slack shows up to 40,000 characters of a message's text; a notification needs no more than its beginning.
FALLBACK_LENGTH = 3_000
_CONTROL = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_CUT = "…"


def escaped(text: str, length: int) -> str:
    """Text in which nothing is a mention, a link or an entity, cut to ``length`` characters as sent.

    A cut never divides an escaped character, and is shown.
    """
    pieces = [_CONTROL.get(character, character) for character in text]
    if sum(map(len, pieces)) <= length:
        return "".join(pieces)
    room = length - len(_CUT)
    kept = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + _CUT


def message_of(alert: Alert) -> dict[str, Any]:
    """The body of one post. The first word of its header and of its plain line is the mode."""
    seconds = alert.created_ms // 1000
    when = f"<!date^{seconds}^{{date_short_pretty}} {{time_secs}}|{time_of(alert.created_ms)}>"
    context = f"*{escaped(alert.mode, 40)}*: {money_of(alert.mode)} | {alert.kind.value} | {when} | "
    return {
        "text": escaped(line_of(alert), FALLBACK_LENGTH),
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": escaped(headline_of(alert), HEADER_LENGTH), "emoji": False},
            },
            {
                "type": "section",
                # A section must not be empty. Verbatim: nothing in it turns into a link, a channel or a person.
                "text": {
                    "type": "mrkdwn",
                    "text": escaped(alert.text.strip() or "(no text)", SECTION_LENGTH),
                    "verbatim": True,
                },
            },
            {
                "type": "context",
                "elements": [
                    {"type": "mrkdwn", "text": context + escaped(alert.alert_id, CONTEXT_LENGTH - len(context))}
                ],
            },
        ],
    }
