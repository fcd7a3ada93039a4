"""Which markets of an event may be read on one line together: what each must have, and what all must share.

Every check lowers: markets that fail it are refused with the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.relations.assembly import LARGEST_GROUP, SMALLEST_GROUP, Reason
from kalshi_arb.relations.intervals import is_floor, print_strike, strikes_of
from kalshi_arb.relations.registry import Entry, LineReading, Observable, Registry
from kalshi_arb.relations.wordings import Doubt, doubt, stated_moments, statement

_NO_DIGITS = str.maketrans("", "", "0123456789")
# Types that carry no structure by design; any other text that is not known here is an unknown type.
_UNSTRUCTURED = frozenset({"custom", "structured", "functional"})


@dataclass(frozen=True, slots=True)
class LinePart:
    """Markets that settle on one value, of one event and subject or of several, and what the registry says about it.

    ``open_ends`` tells per member whether it is open what it pays at its own strikes. ``lattice`` is the step that the
    value is known to be rounded to. ``is_confirmed`` is false when a reviewed text names another instant than the field
    that should give it.
    """

    listings: tuple[EventListing, ...]
    subject: str
    members: tuple[ListedMarket, ...]
    open_ends: tuple[bool, ...]
    lattice: Decimal | None
    observable: Observable | None
    entries: tuple[Entry, ...]
    is_confirmed: bool = True

    @property
    def absent(self) -> frozenset[str]:
        """Fields that an event's payload lacks."""
        return frozenset().union(*(listing.absent for listing in self.listings))

    def ordered(self, key: Callable[[Market], tuple[object, ...]]) -> "LinePart":
        """The same with its members in the order of ``key``, then of their tickers."""

        def rank(index: int) -> tuple[object, ...]:
            market = self.members[index].market
            return (*key(market), market.ticker)

        order = sorted(range(len(self.members)), key=rank)
        return replace(
            self,
            members=tuple(self.members[index] for index in order),
            open_ends=tuple(self.open_ends[index] for index in order),
        )


class RefusedError(Exception):
    """A subject's markets form no group."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


def strike_flaw(member: ListedMarket, registry: Registry) -> tuple[Reason, str] | None:
    """Why a market is no stretch of a line; None when it is."""
    market, said = member.market, member.strike_text
    if market.strike_type is StrikeType.OTHER:
        if said is None or said in _UNSTRUCTURED:
            return Reason.NO_STRUCTURE, f"strike type {said or 'not given'} says nothing about a line"
        return Reason.UNKNOWN_STRIKE_TYPE, f"strike type {said!r} is not one that is known here"
    strikes = strikes_of(market)
    if strikes is None:
        return Reason.MISSING_STRIKE, f"strike type {market.strike_type.value} without the strike it needs"
    spare = market.cap if is_floor(market) else market.floor
    if market.strike_type is not StrikeType.BETWEEN and spare is not None and spare != strikes[0]:
        return Reason.MISLABELLED, (
            f"strike type {market.strike_type.value} with two strikes, {market.floor} and {market.cap}"
        )
    if strikes[-1] < strikes[0] or (market.strike_type is StrikeType.BETWEEN and strikes[0] == strikes[1]):
        return Reason.EMPTY_BRACKET, f"a bracket from {strikes[0]} to {strikes[-1]} holds no interval"
    entry = registry.find(market.series_ticker, member.rules)
    if entry is not None and entry.line is not None and market.strike_type not in entry.line.strike_types:
        return Reason.MISLABELLED, (
            f"strike type {market.strike_type.value}, but the reviewed wording compares otherwise ({entry.name})"
        )
    if _doubt(member) is Doubt.DIRECTION:
        return Reason.MISLABELLED, (
            f"strike type {market.strike_type.value}, but the rules text compares {print_strike(strikes[0])} the other "
            "way round"
        )
    return None


def _doubt(member: ListedMarket) -> Doubt:
    market = member.market
    strikes = strikes_of(market)
    if not member.rules or strikes is None or market.strike_type is StrikeType.BETWEEN:
        return Doubt.NONE
    return doubt(member.rules, market.strike_type, strikes[0])


def line_part(listing: EventListing, subject: str, members: Sequence[ListedMarket], registry: Registry) -> LinePart:
    """Check what must be the same for all of a subject's markets.

    :raises RefusedError: it is not.
    """
    if len(members) < SMALLEST_GROUP:
        raise RefusedError(Reason.SINGLE, "one market of its subject says nothing about another")
    if len(members) > LARGEST_GROUP:
        raise RefusedError(Reason.TOO_LARGE, f"{len(members)} markets, more than {LARGEST_GROUP}")
    if len({(one.market.strike_type, strikes_of(one.market)) for one in members}) < len(members):
        # Two markets on the same strike settle on two different things that no structured field tells apart.
        raise RefusedError(Reason.DUPLICATE, "one strike twice: the event holds subjects that no field tells apart")
    if len({one.market.close_ms for one in members}) > 1:
        # Contracts of one event that end at different times may observe different values.
        raise RefusedError(Reason.CLOSE_TIMES, "they close at different times, so they may observe different values")
    same_early_close(members, listing.absent)
    # Texts that differ in digits alone make one statement, and most of an event's do.
    known = {one.rules.translate(_NO_DIGITS): one.rules for one in members if one.rules}
    if len({statement(text) for text in known.values()}) > 1:
        raise RefusedError(Reason.STATEMENTS, "their rules texts differ in more than strikes and comparisons")
    entries = [registry.find(one.market.series_ticker, one.rules) for one in members]
    readings = [entry.line if entry is not None else None for entry in entries]
    observables = {
        None if reading is None else _observable(listing, one, reading, subject)
        for one, reading in zip(members, readings, strict=True)
    }
    if len(observables - {None}) > 1:
        raise RefusedError(Reason.OBSERVABLES, "the reviewed texts of the event's markets settle on different values")
    agreed = len(observables) == 1
    lattices = {None if reading is None else reading.lattice for reading in readings}
    return LinePart(
        listings=(listing,),
        subject=subject,
        members=tuple(members),
        open_ends=tuple(map(_is_open, members, readings)),
        lattice=next(iter(lattices)) if agreed and len(lattices) == 1 else None,
        observable=next(iter(observables)) if agreed else None,
        entries=tuple(dict.fromkeys(entry for entry in entries if entry is not None)),
        is_confirmed=None not in observables or None in readings,
    )


def same_early_close(members: Sequence[ListedMarket], absent: frozenset[str]) -> None:
    if "early_close_condition" not in absent:
        conditions = {statement(one.early_close) if one.early_close else None for one in members}
        if len(conditions) > 1:
            raise RefusedError(
                Reason.EARLY_CLOSE, "their early close conditions differ, so they may be determined weeks apart"
            )
    if "can_close_early" not in absent and len({one.can_close_early for one in members}) > 1:
        raise RefusedError(Reason.EARLY_CLOSE, "some of them can close early and some cannot")


def _is_open(member: ListedMarket, reading: LineReading | None) -> bool:
    if member.market.strike_type is StrikeType.BETWEEN:
        return reading is None or not reading.ends_included
    return _doubt(member) is Doubt.END


def _observable(
    listing: EventListing, member: ListedMarket, reading: LineReading, subject: str
) -> Observable | None:  # fmt: skip
    """The published value that a market settles on, None when its instant is not confirmed."""
    instant = reading.instant.read(listing, member)
    stated = stated_moments(member.rules or "")
    if instant is None or (stated and stated != {instant}):
        return None
    underlying = f"{reading.underlying} {subject}" if subject else reading.underlying
    return Observable(underlying, reading.source, reading.statistic, reading.unit, instant)
