"""Texts reduced to what can be compared: a wording without names, a statement without strikes, dates and times.

Nothing here proves anything. A wording is a key of the registry; every other function only finds reasons to doubt.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, unique
from functools import lru_cache

from kalshi_arb.domain.market import StrikeType

# Names, dates and numbers begin with a capital or a digit; what is left is the wording that a series' markets share.
_NAMES = re.compile(r"(?:\b[A-Z0-9][\w'\u2019&:/-]*[^\w$]*)+")
# A number's sign belongs to the number.
_SIGNS = re.compile(r"(?<!\S)[-\u2212](?=[$\u20ac]?\d)")
_RUNS = re.compile(r"_(?: _)+")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
# Numbers with what is written onto them (50K, 98.6%, 25bps), but not those of a day, a time or a year.
_NUMBERS = re.compile(
    rf"\b{_MONTH} \d{{1,2}}\b(?:,? \d{{4}}\b)?|\b\d{{1,2}}(?::\d{{2}})? ?[AP]M\b|"
    r"\b(?:in|of|during|before|after|by) (?:19|20)\d\d\b(?![.,]?\d)|"
    r"(?P<number>[$\u20ac]?-?\d+(?:,\d{3})*(?:\.\d+)?(?:[%\u00b0]|\w+)?)"
)
_COMPARISONS = re.compile(
    r"\b(?:strictly |at or )?(?:greater than or equal to|less than or equal to|greater than|more than|higher than|"
    r"less than|lower than|fewer than|at least|at most|no more than|no less than|above|below|over|under|between|"
    r"exactly|equal to)\b|\bor (?:more|above|higher|greater|less|below|lower|fewer|equal)\b",
    re.IGNORECASE,
)
_RANGE = re.compile(r"#\s*(?:-|\u2013|to|and|through)?\s*#")


def wording(text: str) -> str:
    """SHA-256 in hex of a rules text without its names, dates and numbers: one hash for all games of a series that are
    worded alike. What it leaves out cannot hide a clause, because the text itself is always read as well."""
    # Names that a line break parts are one run.
    joined = _RUNS.sub("_", " ".join(filter(None, map(_bare, text.split("\n")))))
    return hashlib.sha256(joined.encode()).hexdigest()


@lru_cache(maxsize=16_384)
def _bare(part: str) -> str:
    return " ".join(_NAMES.sub("_ ", _SIGNS.sub("", part)).split())


def statement(text: str) -> str:
    """A rules text without strikes and comparisons, its names kept: two markets that differ in these alone settle on
    the same thing, as far as the text tells."""
    return "\n".join(_statement(part) for part in text.split("\n"))


@lru_cache(maxsize=16_384)
def _statement(part: str) -> str:
    bare = _NUMBERS.sub(lambda found: "#" if found["number"] else found[0], part)
    bare = _COMPARISONS.sub("<>", bare)
    return " ".join(_RANGE.sub("#", bare).replace("<>", " ").split())


_UP = r"(?:above|more than|greater than|higher than|over|exceeds?)"
_DOWN = r"(?:below|less than|lower than|fewer than|under)"
_BEFORE_STRIKE = re.compile(
    rf"\b(?:(?P<up_equal>{_UP} or equal to|at least|no less than)|(?P<up>{_UP})|"
    rf"(?P<down_equal>{_DOWN} or equal to|at most|no more than)|(?P<down>{_DOWN}))\s+[$\u20ac]?$",
    re.IGNORECASE,
)
_AFTER_STRIKE = re.compile(
    r"[%\u00b0]?\s*(?:[a-z]+\s)?(?:(?P<or_more>or (?:more|above|higher|greater)\b|\+)|"
    r"(?P<or_less>or (?:less|below|lower|fewer)\b))",
    re.IGNORECASE,
)
_LONGEST_COMPARISON = 40
# 5 is not the number in 5,000, 5.5 or 50, but it is in 5.0, and 0.2 is in 0.20.
_MORE_DIGITS = re.compile(r"[.,]?\d*[1-9]|\d|,\d")
_MORE_DECIMALS = re.compile(r"\d*[1-9]")
_ZEROS = re.compile(r"\.0+")
_MORE_ZEROS = re.compile(r"0+")
_SAYS = {
    "up": StrikeType.GREATER,
    "up_equal": StrikeType.GREATER_OR_EQUAL,
    "or_more": StrikeType.GREATER_OR_EQUAL,
    "down": StrikeType.LESS,
    "down_equal": StrikeType.LESS_OR_EQUAL,
    "or_less": StrikeType.LESS_OR_EQUAL,
}
_FLOORS = frozenset({StrikeType.GREATER, StrikeType.GREATER_OR_EQUAL})
_CAPS = frozenset({StrikeType.LESS, StrikeType.LESS_OR_EQUAL})


@unique
class Doubt(Enum):
    """What a text makes of a threshold's strike type."""

    NONE = "none"
    END = "end"  # strict in the one, inclusive in the other: what the strike itself pays is open
    DIRECTION = "direction"  # the text compares the other way round: the type is mislabelled


@lru_cache(maxsize=8_192)
def doubt(text: str, strike_type: StrikeType, strike: Decimal) -> Doubt:
    """Compare what a text says about a threshold's own strike with its strike type. A text that says nothing plain
    about it raises no doubt."""
    plain = f"{strike.normalize():f}"
    written = {plain, f"{strike.normalize():,f}"}
    if plain.startswith("0."):
        written.add(plain[1:])
    said = {kind for number in written for kind in _said(text, number)}
    if not said or strike_type in said:
        return Doubt.NONE
    return Doubt.END if said & (_FLOORS if strike_type in _FLOORS else _CAPS) else Doubt.DIRECTION


def _said(text: str, number: str) -> Iterator[StrikeType]:
    """What the words beside each place where a number stands say of it."""
    has_decimals = "." in number
    more, zeros = (_MORE_DECIMALS, _MORE_ZEROS) if has_decimals else (_MORE_DIGITS, _ZEROS)
    start = text.find(number)
    while start >= 0:
        end = start + len(number)
        before = text[max(0, start - 1) : start]
        alone = not before.isalnum() and before not in {".", ","} and not more.match(text, end)
        written_out = zeros.match(text, end)
        if written_out is not None:
            end = written_out.end()
        if alone:
            found = _BEFORE_STRIKE.search(text, max(0, start - _LONGEST_COMPARISON), start)
            found = found or _AFTER_STRIKE.match(text, end)
            if found is not None:
                yield from (_SAYS[name] for name, words in found.groupdict().items() if words)
        start = text.find(number, end)


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"\b(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? (?P<day>\d{1,2}),? (?P<year>\d{4})\b"
)
_BEFORE = re.compile(r"\b(?:before|by|prior to|no later than|on or before)\s+@", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|without|unless|cannot|fail(?:s|ed)?)\b|n['\u2019]t\b", re.IGNORECASE
)
_ZONES = {"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "UTC": 0}
_MOMENT = re.compile(
    r"\bat (?P<hour>\d{1,2})(?::(?P<minute>\d{2}))? (?P<half>AM|PM) (?P<zone>EDT|EST|CDT|CST|UTC) on "
    r"(?P<date>[A-Z][\w.]* \d{1,2}, \d{4})"
)


def deadline_parts(text: str) -> tuple[str, datetime] | None:
    """A statement with its deadline taken out, and the deadline (a day, UTC): None unless the text has exactly one day
    in it and says that something happens before or by that day. What does *not* happen by a day is no such statement:
    there the later deadline is inside the earlier one."""
    days = {_day(match) for match in _DATE.finditer(text)}
    if len(days) != 1:
        return None
    (day,) = days
    bare = _DATE.sub("@", text)
    said = _BEFORE.search(bare)
    if day is None or said is None or _NEGATION.search(bare[: said.start()].rsplit("\n", 1)[-1]):
        return None
    return bare, day


_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
_UPWARD = re.compile(
    rf"\b(?:{_UP}|at least|no less than)(?: or equal to)?\s+[$\u20ac]?{_NUMBER}|"
    rf"{_NUMBER}[%\u00b0]?\s*(?:(?:[a-z]+\s)?or (?:more|above|higher|greater)\b|\+)",
    re.IGNORECASE,
)
_DOWNWARD = re.compile(
    rf"\b(?:{_DOWN}|at most|no more than)(?: or equal to)?\s+[$\u20ac]?{_NUMBER}|"
    rf"{_NUMBER}[%\u00b0]?\s*(?:[a-z]+\s)?or (?:less|below|lower|fewer)\b",
    re.IGNORECASE,
)


# A text without any of these has no rung, and most have none.
_RUNG_WORDS = (
    *("before", "by ", "prior to", " than ", "least", "most", "above", "below", "over", "under", "exceed", "+"),
    *("or more", "or higher", "or greater", "or less", "or lower", "or fewer"),
)


def rung(text: str) -> str | None:
    """A text with its deadline or its comparison in one direction taken out, None when it has neither. Two different
    texts of one rung pay together: "before May", "before June"; "at least 2", "at least 3"."""
    lowered = text.lower()
    if not any(word in lowered for word in _RUNG_WORDS):
        return None
    bare = _BEFORE.sub("<by>", _DATE.sub("@", text))
    bare = _DOWNWARD.sub("<down>", _UPWARD.sub("<up>", bare))
    return bare if sum(mark in bare for mark in ("<by>", "<up>", "<down>")) == 1 else None


def _day(match: re.Match[str]) -> datetime | None:
    month = _MONTHS.index(match["month"].lower()[:3]) + 1
    try:
        return datetime(int(match["year"]), month, int(match["day"]), tzinfo=UTC)
    except ValueError:
        return None


@lru_cache(maxsize=8_192)
def stated_moments(text: str) -> frozenset[int]:
    """The moments (UTC milliseconds) that a text spells out as "at 9 PM EDT on Jul 9, 2026"."""
    found = set()
    for match in _MOMENT.finditer(text):
        date = _DATE.fullmatch(match["date"])
        day = _day(date) if date else None
        if day is None:
            continue
        hour = int(match["hour"]) % 12 + (12 if match["half"] == "PM" else 0)
        zone = timezone(timedelta(hours=_ZONES[match["zone"]]))
        moment = day.replace(hour=hour, minute=int(match["minute"] or 0), tzinfo=zone)
        found.add(int(moment.timestamp()) * 1000)
    return frozenset(found)
