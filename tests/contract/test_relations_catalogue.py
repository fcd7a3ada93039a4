"""Every open event of a day against what the product accepts, as far as identifiers can tell.

The index has strike types, statuses, fees and exclusivity flags, and no strikes, subjects, texts or closing times. The
product's own builder reads it with stand-in strikes, one after another in the order less, between, greater: so a line
is accepted here as if its event held one subject with distinct strikes, which is the most that the real listing gives.
What the builder refuses here it refuses with real strikes too. The tables in ``infra/docs/relations-on-recordings.md``
are computed here.
"""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kalshi_arb.domain.state_space import Family
from kalshi_arb.relations.assembly import Reason
from kalshi_arb.relations.catalogue import build_groups
from tests.recordings import Json, listings, recorded

DOCUMENT = Path(__file__).resolve().parents[2] / "infra" / "docs" / "relations-on-recordings.md"

Row = Mapping[str, str]

_CAPS, _FLOORS = {"less", "less_or_equal"}, {"greater", "greater_or_equal"}
_COMPARED = _CAPS | _FLOORS | {"between"}


@dataclass(frozen=True, slots=True)
class Index:
    """The catalogue with what the builder made of it, by event."""

    events: Mapping[str, Row]
    markets: Mapping[str, list[Row]]
    families: Mapping[str, frozenset[Family]]
    grouped: Mapping[str, int]
    refused: Mapping[str, frozenset[Reason]]
    counts: Mapping[str, int]

    def answer(self, event: str) -> str:
        """The families of an event's groups, or why it has none."""
        if event not in self.events:
            return "not in the index"
        found = self.families.get(event)
        if found:
            return " and ".join(sorted(family.value for family in found))
        # A market that does not trade says nothing about the others.
        reasons = self.refused[event] - {Reason.ALREADY_CLOSED, Reason.NOT_ACTIVE} or self.refused[event]
        return f"none: {' and '.join(sorted(reason.value for reason in reasons))}"


def read(name: str) -> list[Row]:
    path = recorded(f"catalogue/{name}")
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def index() -> Index:
    events = {row["event_ticker"]: row for row in read("events_index.csv.gz")}
    markets: dict[str, list[Row]] = defaultdict(list)
    for row in read("markets_index.csv.gz"):
        markets[row["event_ticker"]].append(row)
    series = {
        row["series_ticker"]: {
            "ticker": row["series_ticker"],
            "fee_type": row["fee_type"],
            "fee_multiplier": float(row["fee_multiplier"]),
        }
        for row in events.values()
    }
    built = build_groups(listings([listed(row, markets[event]) for event, row in events.items()], [*series.values()]))
    families: dict[str, set[Family]] = defaultdict(set)
    grouped: Counter[str] = Counter()
    refused: dict[str, set[Reason]] = defaultdict(set)
    for group in built.groups:
        families[group.event_ticker].add(group.family)
        grouped[group.event_ticker] += len(group.markets)
    for refusal in built.refusals:
        if not refusal.group_id:
            refused[refusal.event_ticker].add(refusal.reason)
    return Index(
        events,
        markets,
        {event: frozenset(found) for event, found in families.items()},
        grouped,
        {event: frozenset(found) for event, found in refused.items()},
        built.counts,
    )


def listed(event: Row, markets: Iterable[Row]) -> Json:
    """An event in the exchange's words, with stand-in strikes."""

    def rank(row: Row) -> tuple[int, str]:
        kind = row["strike_type"]
        return (0 if kind in _CAPS else 1 if kind == "between" else 2), row["ticker"]

    rows: list[Json] = []
    for place, row in enumerate(sorted(markets, key=rank)):
        kind = row["strike_type"]
        strikes: Json = {}
        if kind in _FLOORS or kind == "between":
            strikes["floor_strike"] = place
        if kind in _CAPS or kind == "between":
            strikes["cap_strike"] = place + 0.99 * (kind == "between")
        rows.append({
            "ticker": row["ticker"], "event_ticker": event["event_ticker"], "strike_type": kind or None,
            "status": row["status"], "can_close_early": row["can_close_early"] == "1", **strikes,
        })  # fmt: skip
    return {
        "event_ticker": event["event_ticker"],
        "series_ticker": event["series_ticker"],
        "mutually_exclusive": event["mutually_exclusive"] == "1",
        "collateral_return_type": event["collateral_return_type"],
        "markets": rows,
    }


def sort_of(markets: Iterable[Row]) -> str:
    """What an event's strike types say."""
    kinds = {row["strike_type"] for row in markets}
    if not kinds & _COMPARED:
        return "no comparison"
    if not kinds <= _COMPARED:
        return "comparisons and others"
    if "between" in kinds:
        return "brackets"
    return "thresholds of one direction" if kinds <= _FLOORS or kinds <= _CAPS else "thresholds of both directions"


def coverage_lines(index: Index) -> list[str]:
    """What every event gets, by strike types and flag."""
    counted: Counter[tuple[str, str, str]] = Counter()
    sizes: Counter[tuple[str, str, str]] = Counter()
    for event, row in index.events.items():
        flag = "exclusive" if row["mutually_exclusive"] == "1" else "not exclusive"
        key = (sort_of(index.markets[event]), flag, index.answer(event))
        counted[key] += 1
        sizes[key] += len(index.markets[event])
    return [f"| {' | '.join(key)} | {counted[key]:,} | {sizes[key]:,} |" for key in sorted(counted)]


def comparison_lines(index: Index) -> list[str]:
    """The other catalogue's relations inside one event, and what that event gets here."""
    counted = Counter(
        (row["family"], index.answer(row["members"].partition(" | ")[0]))
        for row in read("relations.csv")
        if row["family"] in INSIDE_ONE_EVENT
    )
    return [f"| {family} | {answer} | {number:,} |" for (family, answer), number in sorted(counted.items())]


INSIDE_ONE_EVENT = ("L-deadline", "L-threshold", "P1-mutex", "P2-exhaustive")
ACROSS_EVENTS = {"C-combination": 6, "D-duplicate": 29, "S-semantic": 1, "X-margin-winner": 425}


def test_every_event_and_market_is_accounted_for(index: Index) -> None:
    assert (len(index.events), sum(map(len, index.markets.values()))) == (9_410, 72_482)
    assert all(index.families.get(event) or index.refused.get(event) for event in index.events)
    assert sum(index.grouped.values()) + sum(index.counts.values()) == 72_482


def test_the_coverage_is_the_one_that_is_written_down(index: Index) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [line for line in coverage_lines(index) if line not in text] == []
    by_family = Counter(family for found in index.families.values() for family in found)
    assert all(f"{number:,} {family.value}" in text for family, number in by_family.items())


def test_no_exclusive_event_of_thresholds_is_taken_for_a_ladder(index: Index) -> None:
    flagged = [event for event, row in index.events.items() if row["mutually_exclusive"] == "1"]
    assert not any(Family.LADDER in index.families.get(event, ()) for event in flagged)


def test_without_the_flag_nothing_is_exclusive(index: Index) -> None:
    free = [event for event, row in index.events.items() if row["mutually_exclusive"] == "0"]
    assert not any({Family.EXCLUSIVE, Family.GAME} & index.families.get(event, frozenset()) for event in free)


def test_the_other_catalogue_is_compared_as_written_down(index: Index) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [line for line in comparison_lines(index) if line not in text] == []
    across = Counter(row["family"] for row in read("relations.csv") if row["family"] not in INSIDE_ONE_EVENT)
    assert across == ACROSS_EVENTS
    assert all(f"| {family} | {number:,} |" in text for family, number in ACROSS_EVENTS.items())


def test_every_exclusive_set_of_the_other_catalogue_is_accepted(index: Index) -> None:
    """Selling all of a set needs the flag alone, or the strikes of a partition."""
    sets = [row["members"].partition(" | ")[0] for row in read("relations.csv") if row["family"] == "P1-mutex"]
    fit = {Family.EXCLUSIVE, Family.GAME, Family.PARTITION}
    assert all(index.families[event] & fit for event in sets)
    assert len(sets) == 2_221


def test_every_family_of_the_other_catalogue_is_answered() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    families = read("families.csv")
    assert len(families) == 42
    assert [row["name"] for row in families if f"`{row['name']}`" not in text] == []
