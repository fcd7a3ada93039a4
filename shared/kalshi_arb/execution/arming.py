"""The arming of a live stack: for a limited time, and only for what was deployed when a person armed it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from kalshi_arb.domain.errors import SettingsError

COMPONENT = "arming"
HOUR_MS = 3_600_000
LONGEST_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Terms:
    """What an arming is made for: the hash of the deployed template with its parameters, the hash of the limits' text,
    and the id of the key that orders are signed with."""

    template: str
    limits: str
    key_id: str


_NAMES = {"template": "the deployed template", "limits": "the limits", "key_id": "the trading key"}


def hash_of(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_arming(terms: Terms, *, hours: int, by: str, now_ms: int) -> dict[str, object]:
    """The item that arms for these terms.

    :raises SettingsError: the time is not between one hour and a day, or a term is empty; the message names it
    """
    if not 1 <= hours <= LONGEST_MS // HOUR_MS:
        raise SettingsError(f"hours must be a whole number from 1 to {LONGEST_MS // HOUR_MS}, not {hours}")
    for field, value in asdict(terms).items():
        if not value:
            raise SettingsError(f"{_NAMES[field]} cannot be told: nothing to arm for")
    return {**asdict(terms), "by": by, "armed_ms": now_ms, "until_ms": now_ms + hours * HOUR_MS}


def arming_fault(item: Mapping[str, object] | None, now_ms: int, terms: Terms | None) -> str | None:
    """Why the arming does not hold now, None when it does. Without ``terms`` only its time is looked at.

    Whatever is missing from the item, or malformed in it, disarms.
    """
    if not item:
        return "nobody has armed this stack"
    armed, until = _time(item.get("armed_ms")), _time(item.get("until_ms"))
    if armed is None or until is None or not 0 < until - armed <= LONGEST_MS:
        return "the arming cannot be read: its times must be at most 24 hours apart"
    if not armed <= now_ms < until:
        return "the arming is over" if now_ms >= until else "the arming has not begun"
    for field in fields(Terms) if terms is not None else ():
        if item.get(field.name) != getattr(terms, field.name):
            return f"{_NAMES[field.name]} changed since it was armed"
    return None


def _time(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
