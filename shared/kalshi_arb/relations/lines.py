"""Markets on a line: thresholds and brackets of one subject of one event, or of one observed value across events.

LADDER      thresholds of one direction: nested. Markets run from the most to the least inclusive.
PARTITION   brackets and tails of which never two pay, except perhaps at a shared end. Markets run up the line. With
            both tails and no gap the set also covers the line, up to edges; without, it is still "at most one".
LINE        anything else on one line: thresholds of both directions, brackets that overlap, thresholds beside brackets.
            Markets run up the line: thresholds by strike, brackets by their lower end.

Precondition: strike types and strikes of one event and subject (``custom_strike``), one closing time, one early close
condition, and rules texts that differ in strikes and comparisons alone. ``mutually_exclusive`` is not needed for any
proof; an event that is declared exclusive and whose markets certainly pay together contradicts itself and is refused.

The observed value is any real number unless a reviewed text states the step that it is rounded to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.relation import Relation
from kalshi_arb.domain.state_space import OBSERVED_VALUE, Basis, Family, Ground, Group
from kalshi_arb.relations.assembly import (
    LARGEST_GROUP,
    Formed,
    Reason,
    Refusal,
    common_grounds,
    edge_notes,
    make_group,
    tickers_of,
)
from kalshi_arb.relations.fingerprints import group_id, utc
from kalshi_arb.relations.intervals import (
    Cell,
    cell_states,
    is_cap,
    is_floor,
    line_cells,
    print_strike,
)
from kalshi_arb.relations.line_claims import (
    inclusiveness,
    ladder_relations,
    line_relations,
    partition_notes,
    partition_relations,
    position,
)
from kalshi_arb.relations.line_parts import LinePart, RefusedError, line_part, same_early_close, strike_flaw
from kalshi_arb.relations.registry import Observable, Registry
from kalshi_arb.relations.rules import rule_states

FAMILY = "line"
_JOINED = "joined"
_LARGEST_JOIN = 2 * LARGEST_GROUP


@dataclass(frozen=True, slots=True)
class Lines:
    """What an event's markets form among themselves, and the parts that other events may be joined with."""

    outcome: Formed
    parts: tuple[LinePart, ...]


def build_lines(listing: EventListing, members: Sequence[ListedMarket], registry: Registry) -> Lines:
    """One group per subject of an event, and a refusal for each market that is in none."""
    refusals: list[Refusal] = []
    subjects: dict[str, list[ListedMarket]] = {}

    def refuse(markets: Sequence[ListedMarket], reason: Reason, words: str) -> None:
        refusals.append(Refusal(tickers_of(markets), FAMILY, reason, words, listing.event_ticker))

    for member in members:
        flaw = strike_flaw(member, registry)
        if flaw is None:
            subjects.setdefault(member.market.subject, []).append(member)
        else:
            refuse([member], *flaw)
    groups: list[Group] = []
    parts: list[LinePart] = []
    for subject, own in sorted(subjects.items()):
        try:
            part = line_part(listing, subject, own, registry)
            group, notes = _build(part, registry)
        except RefusedError as refusal:
            refuse(own, refusal.reason, refusal.words)
            continue
        groups.append(group)
        refusals += notes
        if not part.is_confirmed:
            words = "their texts name another instant than the field that gives it, so no other event is joined"
            refusals.append(
                Refusal(group.tickers, FAMILY, Reason.INSTANT, words, listing.event_ticker, group.group_id)
            )  # fmt: skip
        parts.append(part)
    return Lines(Formed(tuple(groups), tuple(refusals)), tuple(parts))


def _build(part: LinePart, registry: Registry) -> tuple[Group, list[Refusal]]:
    (listing,) = part.listings
    markets = [one.market for one in part.members]
    if all(map(is_floor, markets)) or all(map(is_cap, markets)):
        if listing.mutually_exclusive:
            raise RefusedError(
                Reason.CONTRADICTION, "the exchange declares the event exclusive, but thresholds of one direction nest"
            )
        ladder = part.ordered(inclusiveness)
        relations = ladder_relations(ladder.members, ladder.open_ends)
        group = _group(ladder, registry, Family.LADDER, _cells(ladder), relations, listing.event_ticker)
        return group, edge_notes(group)
    stretch = part.ordered(position)
    cells = _cells(stretch)
    if not any(cell.basis is Basis.CERTAIN and cell.payers.bit_count() > 1 for cell in cells):
        markets = [one.market for one in stretch.members]
        relations = partition_relations(markets, cells)
        group = _group(stretch, registry, Family.PARTITION, cells, relations, listing.event_ticker)
        notes = [
            Refusal(note.tickers, Family.PARTITION.value, note.reason, note.words, listing.event_ticker, group.group_id)
            for note in partition_notes(markets, cells)
        ]
        return group, notes + edge_notes(group)
    if listing.mutually_exclusive:
        raise RefusedError(
            Reason.CONTRADICTION, "the exchange declares the event exclusive, but its strikes let two markets pay"
        )
    relations = line_relations(stretch.members, stretch.open_ends, cells)
    group = _group(stretch, registry, Family.LINE, cells, relations, listing.event_ticker)
    return group, edge_notes(group)


def join_lines(parts: Sequence[LinePart], registry: Registry) -> Formed:
    """One group of the parts of several events and series that settle on the same published value.

    Each of ``parts`` has the same observable, which only the registry gives. What their events say about sources and
    early closing must agree as well.
    """
    events = sorted(listing.event_ticker for part in parts for listing in part.listings)
    members = tuple(one for part in parts for one in part.members)
    lattices = {part.lattice for part in parts}
    whole = LinePart(
        listings=tuple(listing for part in parts for listing in part.listings),
        subject="",
        members=members,
        open_ends=tuple(is_open for part in parts for is_open in part.open_ends),
        lattice=next(iter(lattices)) if len(lattices) == 1 else None,
        observable=parts[0].observable,
        entries=tuple(dict.fromkeys(entry for part in parts for entry in part.entries)),
    ).ordered(position)
    try:
        _may_be_joined(whole)
        cells = _cells(whole)
    except RefusedError as refusal:
        # The markets stand in the groups of their own events: it is the wider claim that is refused.
        claim = joined_id(parts[0].observable)
        words = f"{' and '.join(events)} are not joined: {refusal.words}"
        return Formed(refusals=(Refusal(tickers_of(members), FAMILY, refusal.reason, words, events[0], claim),))
    relations = line_relations(whole.members, whole.open_ends, cells)
    return Formed((_group(whole, registry, Family.LINE, cells, relations, events[0]),))


def _may_be_joined(part: LinePart) -> None:
    if len(part.members) > _LARGEST_JOIN:
        raise RefusedError(Reason.TOO_LARGE, f"{len(part.members)} markets, more than {_LARGEST_JOIN}")
    sources = {listing.sources for listing in part.listings if listing.sources is not None}
    if len(sources) > 1:
        raise RefusedError(Reason.SOURCES, "they name different settlement sources")
    same_early_close(part.members, part.absent)


def joined_id(observable: Observable | None) -> str:
    """The id of the group that joins every event on one published value."""
    return group_id(_JOINED, Family.LINE, repr(observable))


def _cells(part: LinePart) -> tuple[Cell, ...]:
    try:
        markets = [one.market for one in part.members]
        return line_cells(markets, lattice=part.lattice, open_ends=part.open_ends)
    except ProofError as error:
        raise RefusedError(Reason.CROWDED, str(error)) from error


def _group(
    part: LinePart,
    registry: Registry,
    family: Family,
    cells: Sequence[Cell],
    relations: Sequence[Relation],
    event_ticker: str,
) -> Group:
    edges = rule_states(part.members, registry)
    members = part.members
    grounds = [
        *common_grounds(part.listings, members),
        *(entry.ground for entry in part.entries),
        *(ground for ground in edges.grounds if all(ground.what != entry.name for entry in part.entries)),
    ]
    if part.observable is not None:
        grounds.append(Ground(OBSERVED_VALUE, str(part.observable)))
    marks: list[object] = [[cell.name, cell.basis.value, f"{cell.payers:x}"] for cell in cells]
    marks += [[state.name, state.basis.value] for state in edges.states]
    return make_group(
        event_ticker,
        repr(part.observable) if len(part.listings) > 1 else part.subject,
        family,
        (one.market for one in members),
        (*cell_states(cells, len(members)), *edges.states),
        relations,
        certificate=(*_certificate(part, family, cells), *edges.sentences),
        absent=part.absent,
        grounds=grounds,
        state_marks=marks,
        scope=_JOINED if len(part.listings) > 1 else event_ticker,
    )


def _certificate(part: LinePart, family: Family, cells: Sequence[Cell]) -> list[str]:
    events = ", ".join(listing.event_ticker for listing in part.listings)
    members = part.members
    found = [f"Each of the {len(members)} markets compares a value with its strikes [exchange: strike_type, strikes]."]
    if len(part.listings) > 1 and part.observable is not None:
        found.append(
            f"The markets of {events} settle on the same value: {part.observable} "
            f"[{', '.join(entry.name for entry in part.entries)}]."
        )
    else:
        subject = f", subject {part.subject}" if part.subject else ""
        found.append(f"They belong to one event, {events}{subject} [exchange: event_ticker, custom_strike].")
        if all(one.rules for one in members):
            found.append("Their rules texts differ in strikes and comparisons alone [rules text, compared].")
        else:
            found.append("Their rules texts are not known and were not compared [absent].")
    if len({one.market.close_ms for one in members}) == 1:
        found.append(f"All close at {utc(members[0].market.close_ms)} [exchange: close_time].")
    else:
        # Only events that are joined get here: the registry says which field gives the one instant.
        found.append("They close at different times and observe the value at the same instant [registry].")
    if "early_close_condition" in part.absent:
        found.append("The input does not say when they close early [absent].")
    elif members[0].early_close:
        found.append(
            "They share one early close condition, and a market that is determined early is determined by what it "
            "compares [exchange: early_close_condition]."
        )
    reasons: dict[str, list[str]] = {}
    for entry in part.entries:
        if entry.line is not None:
            reasons.setdefault(entry.reason, []).append(entry.name)
    found += [f"{reason.rstrip('.')} [{', '.join(names)}]." for reason, names in reasons.items()]
    if part.lattice is not None:
        found.append(f"The value is rounded to {print_strike(part.lattice)}: no other value is a state [registry].")
    certain = sum(cell.basis is Basis.CERTAIN for cell in cells)
    found.append(
        f"The strikes cut the line into points and intervals; by who pays there, {len(cells)} of them differ, "
        f"{certain} certain and {len(cells) - certain} possible [computed]."
    )
    if family is Family.PARTITION:
        found.append("No certain value makes two of them pay [computed].")
    return found
