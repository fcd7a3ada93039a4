"""Discovery: owns the groups. Reads what the exchange lists, builds groups, and keeps the accepted set true.

- a **sweep** reads everything: at first, and once a day
- a **look** reads what changed since the last one: rules texts change without a message of the stream
- an **announcement** of the stream suspends the groups it concerns before anything is read, and then reads their events

Everything here can be repeated and can run twice at once: each step on a group names what it starts from, and a reading
never overrules a later one.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ExchangeError, StoreError
from kalshi_arb.domain.group_record import GroupRecord, RecordChange, SuspensionReason, suspend
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.ports import GroupStore, Listings, Notifier, StatusStore
from kalshi_arb.relations.assembly import FEE_HORIZON_MS, Refusal
from kalshi_arb.relations.catalogue import Catalogue
from kalshi_arb.relations.changes import alerts_of, plan, problem_alert, steps, suspensions
from kalshi_arb.relations.mirror import GroupMirror
from kalshi_arb.relations.user import NO_USER_RELATIONS, UserRelations
from kalshi_arb.relations.user_kept import KeptUserRelations
from kalshi_arb.schemas import Lifecycle

logger = logging.getLogger(__name__)

COMPONENT = "discovery"
# Two items, because a sweep and a look may be under way at once.
SWEEPS = "discovery-sweeps"
LOOKS = "discovery-looks"
SWEEP_EVERY_MS = 24 * 3_600_000
# A sweep that takes longer than this has died.
SWEEP_PATIENCE_MS = 300_000
# Combos are made without end and read one by one, so they are read at a slower pace than everything else.
COMBOS_EVERY_MS = 300_000
# Two reminders may come at once, from the feed and from the schedule.
LOOK_EVERY_MS = 15_000
# What the exchange's clock and ours may differ, and how long a change may take to show in its lists.
OVERLAP_MS = 15_000
_SERVED_KEPT = 10_000
_SUSPENSION_TRIES = 6
_JOINS = 4
_NEARBY_SHOWN = 20
_OF_THE_SWEEP = ("events", "markets", "combos", "dropped")
# A new market takes nothing from what holds of the others.
_HARMLESS = frozenset({"created"})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``done`` of what ``stage`` counts."""

    stage: str
    done: int


@dataclass(frozen=True, slots=True)
class DiscoveryReport:
    """What a run saw: the version after it, accepted groups by family, markets left out by reason (of the last sweep),
    events read, and what became of groups by kind of step."""

    version: int
    groups: dict[str, int]
    dropped: dict[str, int]
    events: int
    changes: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one reading of the exchange built, and which kept groups it says everything about."""

    catalogue: Catalogue
    listings: tuple[EventListing, ...]
    built: Mapping[str, Group]
    records: Mapping[str, GroupRecord]
    read_ms: int


class Discovery:
    """The use cases of discovery.

    :param user: the user's relations, read anew for each sweep; patterns may be in them
    :param progress: is told how far a reading is
    """

    def __init__(
        self,
        *,
        market_data: Listings,
        groups: GroupStore,
        status: StatusStore,
        notifier: Notifier,
        clock: Clock,
        mode: str,
        user: Callable[[], UserRelations] = lambda: NO_USER_RELATIONS,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._market_data = market_data
        self._groups = groups
        self._status = status
        self._notifier = notifier
        self._clock = clock
        self._mode = mode
        self._user_relations = KeptUserRelations(user, status)
        self._progress = progress
        self._mirror = GroupMirror(groups)
        self._served: dict[str, int] = {}

    # Use cases

    def run(self) -> DiscoveryReport:
        """A sweep if one is due, else a look. For a schedule.

        :raises ExchangeError: the listing could not be read to its end; nothing was accepted from it, and the next run
            reads it again.
        :raises StoreError: the groups or the status could not be read or written.
        """
        now_ms = self._clock.now_ms()
        cursor = self._cursor(SWEEPS)
        due = now_ms - cursor.get("swept_ms", 0) >= SWEEP_EVERY_MS or not self._user_relations.is_current()
        if due and now_ms - cursor.get("sweeping_ms", 0) >= SWEEP_PATIENCE_MS:
            return self.sweep()
        return self.look()

    def sweep(self) -> DiscoveryReport:
        """Read everything. Errors as :meth:`run`."""
        read_ms = self._clock.now_ms()
        self._move_cursor(SWEEPS, sweeping_ms=read_ms)
        try:
            report = self._sweep(read_ms)
        except ExchangeError:
            self._move_cursor(SWEEPS, sweeping_ms=0)
            raise
        # What changed while pages were read is read again by the next look.
        self._move_cursor(LOOKS, combos_ms=read_ms, looked_ms=read_ms)
        self._move_cursor(SWEEPS, sweeping_ms=0, swept_ms=read_ms)
        return report

    def look(self) -> DiscoveryReport:
        """Read what changed since the last look, what is suspended, and what has ended. Does nothing so soon after
        another one. Errors as :meth:`run`."""
        read_ms = self._clock.now_ms()
        cursor = self._cursor(LOOKS)
        looked_ms = cursor.get("looked_ms")
        if looked_ms is None or read_ms - looked_ms < LOOK_EVERY_MS:
            # Before the first sweep there is nothing to compare with.
            return self._report({}, 0, None)
        self._mirror.refresh()
        found = self._market_data.changes_since(looked_ms - OVERLAP_MS, read_ms + FEE_HORIZON_MS)
        with_combos = read_ms - cursor.get("combos_ms", 0) >= COMBOS_EVERY_MS
        events = set(found.event_tickers)
        for record in self._mirror.records.values():
            markets = record.group.markets
            if record.suspension is not None:
                events.update(record.group.event_tickers)
            else:
                events.update(
                    market.event_ticker
                    for market in markets
                    if market.close_ms <= read_ms or market.series_ticker in found.series_tickers
                )
        reading = self._read(events, read_ms, with_combos=with_combos)
        counts = self._settle(reading)
        self._move_cursor(LOOKS, looked_ms=read_ms, **({"combos_ms": read_ms} if with_combos else {}))
        return self._report(counts, len(reading.listings), None)

    def heard(self, messages: Sequence[Lifecycle], *, reminded: bool) -> None:
        """What came from the feed: messages of the stream first, then a look if it reminded.

        An exchange that cannot be read costs nothing but time: the next look starts where this one would have.

        :raises StoreError: as :meth:`announced` and :meth:`look`
        """
        if messages:
            self.announced(messages)
        if reminded:
            try:
                self.look()
            except ExchangeError as error:
                logger.warning("the exchange cannot be read now, the next look will: %s", error)

    def announced(self, messages: Sequence[Lifecycle]) -> DiscoveryReport:
        """Messages of the stream: suspend what they concern, then read each event once.

        When the exchange cannot be read now the groups stay suspended, and the next look reads them.

        :raises StoreError: a group could not be suspended; the messages may be handed in again.
        """
        counts: Counter[str] = Counter()
        telling = [message for message in messages if message.event_type not in _HARMLESS]
        concerned = sorted({group_id for message in telling for group_id in message.groups})
        records = {record.group_id: record for record in self._groups.get_many(concerned)}
        for _ in range(_SUSPENSION_TRIES):
            stops = self._stops(telling, records)
            if not stops:
                break
            counts.update(self._write(stops))
            records = {record.group_id: record for record in self._groups.get_many(concerned)}
        else:
            raise StoreError("groups change faster than they can be suspended; the messages are handed in again")
        # From here on only the exchange is waited for: whoever trades knows already.
        self._mirror.refresh()
        try:
            events = self._events_of(messages, records)
            if not events:
                return self._report(counts, 0, None)
            read_ms = self._clock.now_ms()
            reading = self._read(events, read_ms)
        except ExchangeError as error:
            logger.warning("announced changes are left to the next look: %s", error)
            return self._report(counts, 0, None)
        self._served.update(dict.fromkeys(events, read_ms))
        if len(self._served) > _SERVED_KEPT:
            self._served = dict.fromkeys(events, read_ms)
        counts.update(self._settle(reading))
        return self._report(counts, len(reading.listings), None)

    # Announcements

    def _stops(self, messages: Iterable[Lifecycle], records: Mapping[str, GroupRecord]) -> list[RecordChange]:
        now_ms = self._clock.now_ms()
        found: dict[str, RecordChange] = {}
        for message in messages:
            for group_id in message.groups:
                record = records.get(group_id)
                if record is None or group_id in found:
                    continue
                if record.suspension is not None and record.suspension.since_ms >= message.received_ms:
                    continue
                words = f"The exchange announced {message.event_type.replace('_', ' ')} of {message.ticker}."
                found[group_id] = suspend(record, SuspensionReason.ANNOUNCED, words, now_ms=now_ms)
        return list(found.values())

    def _events_of(self, messages: Iterable[Lifecycle], records: Mapping[str, GroupRecord]) -> set[str]:
        """Events that these messages are about and that nobody here has read since they came."""
        own = {
            market.ticker: market.event_ticker
            for record in (*records.values(), *self._mirror.records.values())
            for market in record.group.markets
        }
        listed = set(own.values())
        unknown: dict[str, int] = {}
        found: dict[str, int] = {}
        for message in messages:
            event = message.ticker if message.ticker in listed else own.get(message.ticker)
            target, key = (unknown, message.ticker) if event is None else (found, event)
            target[key] = max(message.received_ms, target.get(key, 0))
        for ticker, state in self._market_data.market_states(sorted(unknown)).items() if unknown else ():
            at_ms = unknown.pop(ticker)
            found[state.event_ticker] = max(at_ms, found.get(state.event_ticker, 0))
        # What is no market is taken for an event; one that is neither is not listed.
        found |= unknown
        return {event for event, at_ms in found.items() if self._served.get(event, -1) < at_ms}

    # Reading

    def _sweep(self, read_ms: int) -> DiscoveryReport:
        self._mirror.refresh()
        listings: list[EventListing] = []
        markets = 0
        for listing in self._market_data.combo_events():
            listings.append(listing)
            self._progress(Progress("combo events", len(listings)))
        combos = len(listings)
        for listing in self._market_data.open_events():
            listings.append(listing)
            markets += len(listing.markets)
            self._progress(Progress("markets", markets))
        tickers = [listed.market.ticker for listing in listings for listed in listing.markets]
        user, problem = self._user_relations.resolve(tickers)
        if problem is not None:
            self._notifier.publish(problem_alert(problem, self._mode, self._clock.now_ms()))
        catalogue = Catalogue(user=user)
        catalogue.load(listings, now_ms=read_ms)
        built = catalogue.built()
        reading = _Reading(
            catalogue,
            tuple(listings),
            {group.group_id: group for group in built.groups},
            dict(self._mirror.records),
            read_ms,
        )
        counts = self._settle(reading)
        sizes = {
            "events": len(listings) - combos,
            "markets": markets,
            "combos": sum(len(listing.markets) for listing in listings[:combos]),
            "dropped": dict(built.counts),
        }
        return self._report(counts, len(listings), sizes)

    def _read(self, events: set[str], read_ms: int, *, with_combos: bool = False) -> _Reading:
        """Read events and whatever is joined with them, and build only that."""
        records = self._mirror.touching(events)
        combos: list[EventListing] = []
        if with_combos:
            combos = list(self._market_data.combo_events())
            kept = self._mirror.records.items()
            records |= {one: record for one, record in kept if record.group.family is Family.COMBO}
        listings = {one.event_ticker: one for one in combos}
        asked = set(listings)
        wanted = set(events)
        wanted |= {leg.event_ticker for one in combos for listed in one.markets for leg in listed.market.legs}
        for _ in range(_JOINS):
            wanted |= {event for record in records.values() for event in record.group.event_tickers}
            found = self._market_data.events(sorted(wanted - asked))
            listings |= {listing.event_ticker: listing for listing in found}
            asked |= wanted
            catalogue = Catalogue(user=self._user_relations.of(records.values()))
            catalogue.load(listings.values(), now_ms=read_ms)
            built = {
                group.group_id: group
                for group in catalogue.built().groups
                if events.intersection(group.event_tickers) or (with_combos and group.family is Family.COMBO)
            }
            # An event that is new to a line is joined with all that is on it already.
            joined = {one: self._mirror.records[one] for one in built if one in self._mirror.records}
            if joined.keys() <= records.keys():
                break
            records |= joined
        return _Reading(catalogue, tuple(listings.values()), built, records, read_ms)

    # Keeping

    def _settle(self, reading: _Reading) -> dict[str, int]:
        """Bring the accepted groups to what was read. Returns how many steps of each kind were written."""
        now_ms = self._clock.now_ms()
        listed = {one.market.ticker: one for listing in reading.listings for one in listing.markets}
        refused = _refused(reading.catalogue)
        decided = plan(reading.records, reading.built, listed, refused, read_ms=reading.read_ms, now_ms=now_ms)
        counts: Counter[str] = Counter()
        stops = suspensions(decided.differences, now_ms=now_ms)
        counts.update(self._write(stops))
        for alert in alerts_of(decided.differences, self._mode, now_ms):
            self._notifier.publish(alert)
        records = dict(reading.records) | {one.group_id: one.after for one in stops if one.after is not None}
        near = _near(reading.catalogue)
        counts.update(self._write(steps(decided, records, near, read_ms=reading.read_ms, now_ms=now_ms)))
        return dict(counts)

    def _write(self, changes: Sequence[RecordChange]) -> Counter[str]:
        """Carry out what is still possible; what somebody else changed first is left to the next look."""
        if not changes:
            return Counter()
        written = self._groups.write(changes)
        for change in changes:
            done = "" if change.group_id in written else " (another writer was first)"
            logger.info("group %s: %s%s %s", change.group_id, change.entry.kind.value, done, change.entry.words)
        return Counter(change.entry.kind.value for change in changes if change.group_id in written)

    # Status

    def _cursor(self, name: str) -> dict[str, int]:
        kept = self._status.get(name) or {}
        return {name: value for name, value in kept.items() if isinstance(value, int)}

    def _move_cursor(self, name: str, **moments: int) -> None:
        self._status.put(name, {**self._cursor(name), **moments})

    def _report(
        self, counts: Mapping[str, int], events: int, sizes: Mapping[str, object] | None
    ) -> DiscoveryReport:  # fmt: skip
        """The outcome, kept as the component's status."""
        self._mirror.refresh()
        families = Counter(record.group.family.value for record in self._mirror.records.values())
        suspended = sum(record.suspension is not None for record in self._mirror.records.values())
        kept = self._status.get(COMPONENT) or {}
        shown: dict[str, object] = {name: kept[name] for name in _OF_THE_SWEEP if name in kept}
        shown |= dict(sizes or {})
        dropped = shown.get("dropped", {})
        report = DiscoveryReport(
            self._groups.version(),
            dict(sorted(families.items())),
            dropped if isinstance(dropped, dict) else {},
            events,
            dict(sorted(counts.items())),
        )
        now_ms = self._clock.now_ms()
        status = {"updated_ms": now_ms, "version": report.version, "groups": report.groups, "suspended": suspended}
        self._status.put(COMPONENT, {**shown, **status})
        logger.info("discovery: %s", report)
        return report


def _near(catalogue: Catalogue) -> Callable[[Group], tuple[str, ...]]:
    def words(group: Group) -> tuple[str, ...]:
        return tuple(map(refusal_text, catalogue.refusals_near(group)[:_NEARBY_SHOWN]))

    return words


def _refused(catalogue: Catalogue) -> Callable[[Group], tuple[str, ...]]:
    def words(group: Group) -> tuple[str, ...]:
        refusals = [one for one in catalogue.refusals_near(group) if not one.group_id]
        return tuple(f"Refused: {refusal_text(one)}." for one in refusals if set(one.markets) & set(group.tickers))

    return words


def refusal_text(refusal: Refusal) -> str:
    """A refusal as one line."""
    shown = ", ".join(refusal.markets[:4]) + (f" and {len(refusal.markets) - 4} more" if refusal.markets[4:] else "")
    return f"{refusal.family}, {refusal.reason.value}: {refusal.words} ({shown})"
