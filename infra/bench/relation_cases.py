"""Cases for the relations: a payload of the exchange, and what must come of it.

One JSON file each, in ``tests/payloads/relations``:

- ``trap``: what goes wrong where this is got wrong; ``now``: the moment of the reading
- ``series``, ``events``: wire objects as ``GET /series`` and ``GET /events?with_nested_markets=true`` serve them;
  ``after``: events as they are listed later, taken in one by one
- ``reviewed``: entries of the reviewed registry that the case assumes, none by default; ``relations``: the text of a
  ``relations.yaml``
- ``expect``: every group with its relations, its possible states and who pays there, and sentences that its certificate
  must have; every refusal; every event that cannot be read; the line that a wrong ``relations.yaml`` ends with; what
  changed and what is gone after ``after``; and ``bundles``, each judged on given books

The path is the real one: the client's models, its mapping, the catalogue, the verifier.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import Outcome, StrikeType
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, count_from_wire, price_from_wire
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Group, State
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.kalshi.fee_reads import FeeReads
from kalshi_arb.kalshi.mapping import to_book, to_listing
from kalshi_arb.kalshi.models.market import BookWire, EventWire, SeriesFeeChangeWire, SeriesWire
from kalshi_arb.kalshi.wire import convert, parse_json, time_ms
from kalshi_arb.relations.approvals import approved
from kalshi_arb.relations.assembly import Refusal
from kalshi_arb.relations.catalogue import Catalogue, Change
from kalshi_arb.relations.fingerprints import difference
from kalshi_arb.relations.registry import DeadlineReading, EdgeRule, Entry, Instant, LineReading, Registry
from kalshi_arb.relations.user import NO_USER_RELATIONS, UserRelationError
from kalshi_arb.relations.user_file import parse_relations
from kalshi_arb.relations.wordings import wording

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "payloads" / "relations"
USER_FILE = "relations.yaml"

Json = dict[str, Any]
_PAIRS = frozenset({RelationKind.SUBSET, RelationKind.DISJOINT, RelationKind.COMPLEMENT, RelationKind.EQUAL})


@dataclass(frozen=True, slots=True)
class Case:
    """One file, as it was read."""

    name: str
    content: Json

    @property
    def expected(self) -> Json:
        """What must come of it."""
        found: Json = self.content["expect"]
        return found


@dataclass(slots=True)
class Found:
    """What came of a case: the groups by id, and everything in the words of ``expect``."""

    groups: dict[str, Group] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    user_error: str | None = None
    changes: list[Json] = field(default_factory=list)


def read_cases(folder: Path = FOLDER) -> list[Case]:
    """Every case, by name. Numbers keep their digits, as in the client."""
    return [
        Case(path.stem, parse_json(path.read_bytes(), path.name))
        for path in sorted(folder.glob("*.json"))
    ]  # fmt: skip


def run(case: Case) -> Found:
    """Read the payload as the client does and build everything.

    :raises DomainError: the case itself is malformed.
    """
    found = Found()
    content = case.content
    now_ms = time_ms(content["now"])
    listings = _listings(content, content["events"], now_ms, found)
    user = NO_USER_RELATIONS
    try:
        if "relations" in content:
            tickers = [one.market.ticker for listing in listings for one in listing.markets]
            user = parse_relations(content["relations"], USER_FILE).resolved(tickers)
    except UserRelationError as error:
        found.user_error = str(error)
        return found
    catalogue = Catalogue(registry=Registry(map(_entry, content.get("reviewed", ()))), user=user)
    catalogue.load(listings, now_ms=now_ms)
    before = {group.group_id: group for group in catalogue.built().groups}
    for listing in _listings(content, content.get("after", ()), now_ms, found):
        change = catalogue.replace(listing, now_ms=now_ms)
        found.changes.append(_change_json(listing.event_ticker, change, before))
        before = {group.group_id: group for group in catalogue.built().groups}
    built = catalogue.built()
    found.groups = before
    found.refusals = built.refusals
    return found


def _listings(content: Json, events: Iterable[Json], now_ms: int, found: Found) -> list[EventListing]:
    series = {raw["ticker"]: convert(raw, SeriesWire, f"series {raw['ticker']}") for raw in content["series"]}
    changes = [convert(raw, SeriesFeeChangeWire, "fee change") for raw in content.get("series_fee_changes", ())]
    fees = FeeReads(changes, (), now_ms)
    listings = []
    for raw in events:
        try:
            event = convert(raw, EventWire, f"event {raw['event_ticker']}")
            listings.append(to_listing(event, fees.of(event, series[event.series_ticker])))
        except WireFormatError as error:
            found.unreadable[raw["event_ticker"]] = str(error)
    return listings


def _entry(raw: Json) -> Entry:
    line = raw.get("line")
    deadline = raw.get("deadline")
    return Entry(
        series=raw["series"],
        wording=wording(raw["text"]),
        reason=raw["reason"],
        phrases=tuple(raw.get("phrases", ())),
        clauses=tuple(map(EdgeRule, raw.get("clauses", ()))),
        line=None if line is None else _line(line),
        deadline=None if deadline is None else DeadlineReading(Instant(deadline)),
    )


def _line(raw: Json) -> LineReading:
    return LineReading(
        underlying=raw["underlying"],
        source=raw["source"],
        statistic=raw["statistic"],
        unit=raw["unit"],
        instant=Instant(raw["instant"]),
        strike_types=frozenset(map(StrikeType, raw["strike_types"])),
        lattice=None if raw.get("lattice") is None else Decimal(raw["lattice"]),
        ends_included=raw.get("ends_included", False),
    )


# In the words of ``expect``


def group_json(group: Group) -> Json:
    """A group as a case expects it."""
    found: Json = {
        "id": group.group_id,
        "family": group.family.value,
        "markets": list(group.tickers),
        "relations": [_relation_json(relation) for relation in group.relations],
        "states": len(group.states),
        "edge_states": [
            {"name": state.name, "pays": _pays(state, group.tickers)}
            for state in group.states
            if state.basis is Basis.POSSIBLE
        ],
    }
    if group.assumptions:
        found["assumptions"] = len(group.assumptions)
    if group.absent:
        found["absent"] = list(group.absent)
    return found


def _relation_json(relation: Relation) -> Json:
    kind = relation.kind.value
    if relation.kind in _PAIRS:
        return {"kind": kind, "a": relation.tickers[0], "b": relation.tickers[1]}
    return {"kind": kind, "members": list(relation.tickers)}


def _pays(state: State, tickers: Iterable[str]) -> list[str]:
    """Who pays: ``TICKER`` a whole dollar, ``TICKER at 0.5`` less, ``TICKER at 0 to 1`` a price that nobody knows."""
    highest = state.yes_payouts if state.highest is None else state.highest
    found = []
    for ticker, least, most in zip(tickers, state.yes_payouts, highest, strict=True):
        if least != most:
            found.append(f"{ticker} at {_dollars(least)} to {_dollars(most)}")
        elif least:
            found.append(ticker if least == ONE_DOLLAR else f"{ticker} at {_dollars(least)}")
    return found


def _dollars(price: int) -> str:
    return f"{Decimal(price) / ONE_DOLLAR:f}"


def refusal_json(refusal: Refusal) -> Json:
    """A refusal as a case expects it; ``of`` is the group that stands without the claim."""
    found: Json = {"reason": refusal.reason.value, "family": refusal.family, "markets": list(refusal.markets)}
    if refusal.group_id:
        found["of"] = refusal.group_id
    return found


def _change_json(event: str, change: Change, before: Mapping[str, Group]) -> Json:
    return {
        "event": event,
        "changed": {
            group.group_id: list(difference(before[group.group_id], group)) if group.group_id in before else ["New."]
            for group in change.changed
        },
        "gone": list(change.gone),
    }


def sorted_json(items: Iterable[Json]) -> list[Json]:
    """In an order that does not depend on who lists first."""
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True, default=str))


def judge_bundle(group: Group, bundle: Json, now_ms: int) -> Json:
    """The verifier's word on a bundle: its grade and the state that breaks it, or why it cannot be judged at all."""
    if "approved" in bundle:
        group = approved(group, group.assumptions, bundle["approved"])
    legs = [
        Leg(raw["ticker"], Outcome(raw["side"]), count_from_wire(raw["count"]), price_from_wire(raw["limit"]))
        for raw in bundle["legs"]
    ]
    try:
        wires = [convert(raw, BookWire, "orderbooks") for raw in bundle["orderbooks"]]
        books = {wire.ticker: to_book(wire, now_ms) for wire in wires}
        certificate = verify(
            group, legs, books, precision=Precision.DIRECT, smallest_fill=ONE_CONTRACT, now_ms=now_ms
        )  # fmt: skip
    except (DomainError, WireFormatError) as error:
        return {"error": str(error)}
    found: Json = {"grade": certificate.grade.value}
    if certificate.breaking_state is not None:
        found["breaking_state"] = certificate.breaking_state
    return found
