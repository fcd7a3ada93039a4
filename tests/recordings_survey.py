"""What the product finds in a recording: its groups, what contradicts itself at the top of their books, its locks."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.screen import Screen
from kalshi_arb.detection.survey import Survey, Top, survey
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import Book, BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Count
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.catalogue import build_groups
from tests.recordings import Moment, moments

ONE_FILL_PER_LEVEL = Count(10**9)
"""A smallest fill larger than every level: the fee bound then counts one fill per level."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A bundle that detection found at a moment, with the verifier's word on it."""

    moment: Moment
    group: Group
    legs: tuple[Leg, ...]
    certificate: Certificate

    @property
    def at(self) -> str:
        """The recorded stamp to the second, without a zone."""
        return self.moment.at[:19]

    @property
    def event(self) -> str:
        return self.group.event_ticker

    @property
    def rows_apart(self) -> int | None:
        """How many books were fetched from the first of the group's to the last; None when one reply held them all."""
        places = [self.moment.places[ticker] for ticker in self.group.tickers if ticker in self.moment.places]
        return max(places) - min(places) if places else None


@dataclass(slots=True)
class Found:
    """Everything that was found in a recording. Contradictions are numbers of groups and moments by kind, and
    ``pairs`` of nested pairs; ``nothing_left`` are candidates without a profit once fees are rounded."""

    events: set[str] = field(default_factory=set)
    families: Counter[Family] = field(default_factory=Counter)
    raw: Counter[str] = field(default_factory=Counter)
    net: Counter[str] = field(default_factory=Counter)
    locks: list[Lock] = field(default_factory=list)
    nothing_left: list[Lock] = field(default_factory=list)

    def of(self, grade: Grade) -> list[Lock]:
        """Locks of one grade, by time and event."""
        return sorted(
            (one for one in self.locks if one.certificate.grade is grade), key=lambda one: (one.at, one.event)
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """Raw bids, asks, nested, nested pairs; net bids, asks, nested."""
        kinds = ("bids_over_1", "asks_under_1", "nested_crossed")
        return (*(self.raw[kind] for kind in (*kinds, "pairs")), *(self.net[kind] for kind in kinds))


def look_into(name: str, *, smallest_fill: Count = ONE_FILL_PER_LEVEL) -> Found:
    """Builder, counting rule, screen, proposal and verifier on every moment of a recording."""
    return look_at(watched(moments(name)), smallest_fill=smallest_fill)


def watched(found: Iterable[Moment]) -> Iterator[tuple[Moment, tuple[Group, ...]]]:
    """Each moment with the groups of its listings, which are built once for as long as a listing stays the same.

    Every recorded book counts, as in the answer key, also one that was fetched after its market's closing time.
    """
    known: dict[int, tuple[Group, ...]] = {}
    kept = []
    for moment in found:
        key = id(moment.listings)
        if key not in known:
            kept.append(moment.listings)
            known[key] = build_groups(moment.listings).groups
        yield moment, known[key]


def look_at(
    found: Iterable[tuple[Moment, tuple[Group, ...]]], *, smallest_fill: Count = ONE_FILL_PER_LEVEL
) -> Found:  # fmt: skip
    """The same on moments whose groups are built already."""
    total = Found()
    screens: dict[int, Screen] = {}
    kept = []
    for moment, groups in found:
        total.events.update(listing.event_ticker for listing in moment.listings)
        for group in groups:
            if id(group) not in screens:
                kept.append(group)
                screens[id(group)] = Screen([group])
            _count(total, group, survey(group, {ticker: top(one) for ticker, one in moment.books.items()}))
            _detect(total, moment, group, screens[id(group)], smallest_fill)
    return total


def top(one: BookSnapshot) -> Top:
    """The best bids of a book."""
    yes, no = one.yes_bids[:1], one.no_bids[:1]
    return Top(yes[0].price if yes else None, no[0].price if no else None)


def _count(total: Found, group: Group, counted: Survey) -> None:
    total.families[group.family] += 1
    for violations, counts in ((counted.raw, total.raw), (counted.net, total.net)):
        counts["bids_over_1"] += violations.bids_over_1
        counts["asks_under_1"] += violations.asks_under_1
        counts["nested_crossed"] += violations.nested_crossed
        counts["pairs"] += violations.nested_pairs


def _detect(total: Found, moment: Moment, group: Group, screen: Screen, smallest_fill: Count) -> None:
    """The way of a candidate: screen, proposal, verifier. The screen must let through whatever would be proposed."""
    for ticker in group.tickers:
        snapshot = moment.books.get(ticker)
        if snapshot is None:
            screen.forget(ticker)
            continue
        live = Book(ticker)
        live.yes.replace(snapshot.yes_bids)
        live.no.replace(snapshot.no_bids)
        screen.update(live)
    edge = screen.edge(group.group_id)
    legs = propose(group, moment.books, precision=Precision.DIRECT, smallest_fill=smallest_fill)
    if not legs:
        return
    assert edge is not None, f"{group.group_id}: the screen does not judge what is proposed"
    assert edge > 0, f"{group.group_id}: the screen holds back what is proposed"
    certificate = verify(
        group, legs, moment.books, precision=Precision.DIRECT, smallest_fill=smallest_fill, now_ms=moment.now_ms
    )
    lock = Lock(moment, group, legs, certificate)
    (total.nothing_left if certificate.grade is Grade.REFUSED else total.locks).append(lock)
