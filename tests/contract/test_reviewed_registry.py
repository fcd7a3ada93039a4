"""The registry against the recorded rules texts: every entry is met by a text, and every reading by its fields."""

import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Family
from kalshi_arb.relations.assembly import Reason
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.reviewed import REVIEWED

REST = Path(__file__).resolve().parents[3] / "shared" / "data" / "rest"
ABSENT = frozenset({"early_close_condition", "can_close_early"})
TYPES = {kind.value: kind for kind in StrikeType if kind is not StrikeType.OTHER}


def read(path: Path) -> Any:
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not on this machine")
    with gzip.open(path, "rt") as text:
        return json.load(text)


def text_of(wire: dict[str, Any]) -> str:
    return f"{wire['rules_primary']}\n{wire.get('rules_secondary') or ''}"


def recorded() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every recorded market with rules text, and its series."""
    for event in read(REST / "events_sports_nested.json.gz"):
        yield from ((event["series_ticker"], wire) for wire in event["markets"])
    combos = read(REST / "combo_priced_markets.json.gz")
    wires = [*read(REST / "markets_settled.json.gz")["markets"], *combos["legs"].values()]
    for path in sorted((REST / "markets").glob("*.gz")):
        wires += read(path).values()
    yield from ((wire["event_ticker"].partition("-")[0], wire) for wire in wires)


def listed(wire: dict[str, Any], series: str) -> ListedMarket:
    def strike(name: str) -> Decimal | None:
        return None if wire.get(name) is None else Decimal(str(wire[name]))

    close_ms = round(datetime.fromisoformat(wire["close_time"]).timestamp()) * 1000
    market = Market(
        wire["ticker"], wire["event_ticker"], series, TYPES.get(wire["strike_type"], StrikeType.OTHER),
        strike("floor_strike"), strike("cap_strike"), "", wire["title"], CENT_GRID, FeeSchedule(FeeType.QUADRATIC), 0,
        close_ms, "",
    )  # fmt: skip
    return ListedMarket(market, MarketStatus.ACTIVE, text_of(wire), strike_text=wire["strike_type"])


def brackets() -> list[EventListing]:
    events = []
    for path in sorted((REST / "markets").glob("*.gz")):
        wires = list(read(path).values())
        event = wires[0]["event_ticker"]
        series = event.partition("-")[0]
        rows = tuple(listed(wire, series) for wire in wires)
        events.append(
            EventListing(
                event, series, event, None, rows, absent=frozenset({"early_close_condition", "can_close_early"})
            )
        )
    return events


def test_every_recorded_text_of_a_reviewed_series_is_reviewed_and_no_entry_is_idle() -> None:
    met = set()
    for series, wire in recorded():
        entry = REVIEWED.find(series, text_of(wire))
        if entry is not None:
            assert entry.series == series
            assert entry.reason
            met.add(entry.name)
    assert len(met) == len(REVIEWED)


def test_recorded_crypto_brackets_are_read_with_their_source_and_instant() -> None:
    events = brackets()
    built = build_groups(events)
    assert len(events) == 20
    assert [group.family for group in built.groups] == [Family.PARTITION] * 20
    for group in built.groups:
        (observed,) = [ground.value for ground in group.grounds if ground.what == "observed value"]
        assert "CF Benchmarks" in observed
        assert f"instant_ms={group.markets[0].close_ms}" in observed


def test_no_reviewed_text_makes_recorded_crypto_brackets_exhaustive() -> None:
    """The average of sixty prices is not said to be rounded: 52,299.995 lies in no bracket."""
    built = build_groups(brackets())
    assert {refusal.reason for refusal in built.refusals} == {Reason.SLIVER, Reason.ENDS}
    for group in built.groups:
        assert [relation.kind for relation in group.relations] == [RelationKind.EXCLUSIVE]
        assert len(group.edge_states) == 1
