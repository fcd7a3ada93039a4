"""The reviewed registry: what rules texts say that structured fields cannot, read by a person sentence by sentence.

The key is the series and the hash of the text's wording (``rules.wording``), which leaves names, dates and numbers out:
one entry holds for all events of a series that are worded alike, and a text whose wording changes is unreviewed again.
Names are part of what a reading rests on, so an entry lists the phrases that the text must hold literally; without one
of them the entry does not apply.

An entry may add states (``clauses``), which only lowers. It may also raise: a line reading lets markets of different
events be joined, and with a stated lattice or stated ends takes edge states away. What an entry does not state stays
unknown and is read cautiously.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, unique
from functools import lru_cache

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import StrikeType
from kalshi_arb.domain.state_space import Ground
from kalshi_arb.relations.wordings import wording


@unique
class EdgeRule(Enum):
    """A clause that lets markets settle at something other than YES or NO."""

    FAIR_PRICE = "fair_price"  # not played, or a player who never plays: each market at a price of its own
    EVEN_SPLIT = "even_split"  # a tie, or no match at all, pays each side one half


@unique
class Instant(Enum):
    """The structured field that gives the moment at which a value is observed, by its wire name."""

    CLOSE = "close_time"
    EXPECTED_EXPIRATION = "expected_expiration_time"
    OCCURRENCE = "occurrence_datetime"
    STRIKE_DATE = "strike_date"

    def read(self, listing: EventListing, listed: ListedMarket) -> int | None:
        """The moment in UTC milliseconds, None when the field is not there."""
        match self:
            case Instant.CLOSE:
                return listed.market.close_ms
            case Instant.EXPECTED_EXPIRATION:
                return listed.expected_expiration_ms
            case Instant.OCCURRENCE:
                return listed.occurrence_ms
            case Instant.STRIKE_DATE:
                return listing.strike_date_ms


@dataclass(frozen=True, slots=True)
class LineReading:
    """A wording that settles on one observed value, and what it says about that value.

    ``strike_types`` are those whose comparison the wording spells out; a market of another type is mislabelled.
    ``lattice`` is the step that the text says the value is rounded to, None when it says nothing. ``ends_included``
    only where the text says that a bracket pays at both of its ends.
    """

    underlying: str
    source: str
    statistic: str
    unit: str
    instant: Instant
    strike_types: frozenset[StrikeType]
    lattice: Decimal | None = None
    ends_included: bool = False


@dataclass(frozen=True, slots=True)
class DeadlineReading:
    """A wording that pays when a statement comes true by a date, the date being the given field."""

    instant: Instant = Instant.CLOSE


@dataclass(frozen=True, slots=True)
class Entry:
    """One reviewed wording. ``reason`` tells in our own words which sentences say so; ``version`` rises when the same
    wording is read anew."""

    series: str
    wording: str
    reason: str
    phrases: tuple[str, ...] = ()
    clauses: tuple[EdgeRule, ...] = ()
    line: LineReading | None = None
    deadline: DeadlineReading | None = None
    version: int = 1

    @property
    def name(self) -> str:
        """What a certificate or an alert calls it."""
        return f"registry entry {self.series}/{self.wording[:8]} version {self.version}"

    @property
    def ground(self) -> Ground:
        """The entry as something that a proof rests on: its reason, and a mark of all that it reads."""
        line = self.line
        parts = [
            *self.phrases,
            *(clause.value for clause in self.clauses),
            "" if self.deadline is None else self.deadline.instant.value,
        ]
        if line is not None:
            parts += [line.underlying, line.source, line.statistic, line.unit, line.instant.value, str(line.lattice),
                      str(line.ends_included), *sorted(kind.value for kind in line.strike_types)]  # fmt: skip
        mark = hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:8]
        return Ground(self.name, f"{self.reason} (reading {mark})")


@dataclass(frozen=True, slots=True)
class Observable:
    """One published value: markets of any event or series that settle on it belong on one line."""

    underlying: str
    source: str
    statistic: str
    unit: str
    instant_ms: int


class Registry:
    """Entries by series and wording.

    :raises ValueError: two entries for one wording of a series.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}
        for entry in entries:
            known = self._entries.setdefault(entry.series, {})
            if entry.wording in known:
                raise ValueError(f"two entries for {entry.series} and wording {entry.wording}")
            known[entry.wording] = entry
        # A text is asked for several times while its event is built.
        self._found = lru_cache(maxsize=8_192)(self._find)

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._entries.values())

    def find(self, series: str, text: str | None) -> Entry | None:
        """The entry that holds for a rules text, None when its wording is unknown or a phrase is missing."""
        return self._found(series, text) if text and series in self._entries else None

    def _find(self, series: str, text: str) -> Entry | None:
        entry = self._entries[series].get(wording(text))
        if entry is None or any(phrase not in text for phrase in entry.phrases):
            return None
        return entry
