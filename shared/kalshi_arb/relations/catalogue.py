"""Every listed event with the groups it forms, alone and with others: built whole, or one changed event at a time.

A group of one event depends on that event alone. Three kinds reach further, and a change is followed to them:

- the line of one published value, joined from every event whose registry entries name that value
- a combo, whose legs are markets of other events
- the user's relations, which may name any market

Pure: no clock, no I/O. The caller gives the time, because a market past its closing time is in no group.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import StrikeType
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.assembly import UNFIT_WORDS, Formed, Reason, Refusal, tickers_of, unfit
from kalshi_arb.relations.combos import build_combo
from kalshi_arb.relations.deadlines import build_deadlines, may_be_deadlines
from kalshi_arb.relations.exclusive import build_exclusive
from kalshi_arb.relations.line_parts import LinePart
from kalshi_arb.relations.lines import FAMILY as LINE_FAMILY
from kalshi_arb.relations.lines import build_lines, join_lines, joined_id
from kalshi_arb.relations.registry import Observable, Registry
from kalshi_arb.relations.reviewed import REVIEWED
from kalshi_arb.relations.user import (
    NO_USER_RELATIONS,
    Component,
    UserRelations,
    build_user,
    components,
    contradicted,
)


@dataclass(frozen=True, slots=True)
class Built:
    """Everything that was accepted and refused.

    ``counts`` holds, by reason, how many markets are left out of the groups of their own event (a combo or the user's
    relations count once for each market they leave out).
    """

    groups: tuple[Group, ...]
    refusals: tuple[Refusal, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What one event's new listing did: groups that are new or whose fingerprint changed, and ids that are gone.

    ``refusals`` are all that now concern the event, alone and with others.
    """

    changed: tuple[Group, ...]
    gone: tuple[str, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _Event:
    listing: EventListing
    outcome: Formed
    parts: tuple[LinePart, ...]
    combos: tuple[ListedMarket, ...]


# What is built from several events, by a key of its own: the observed value, the combo's ticker, the user's component.
_Key = tuple[str, object]


class Catalogue:
    """The listing as it is known, and every group of it.

    ``user`` must be resolved: no patterns in it (:meth:`kalshi_arb.relations.user.UserRelations.resolved`).
    """

    def __init__(self, *, registry: Registry = REVIEWED, user: UserRelations = NO_USER_RELATIONS) -> None:
        self._registry = registry
        self._user_file = user.file
        self._components = components(user.relations)
        self._events: dict[str, _Event] = {}
        self._markets: dict[str, ListedMarket] = {}
        self._observed: dict[Observable, set[str]] = {}
        self._moments: dict[tuple[str, int], set[Observable]] = {}
        self._combos: dict[str, tuple[str, ListedMarket]] = {}
        self._selecting: dict[str, set[str]] = {}
        self._named: dict[str, list[int]] = {}
        for number, component in enumerate(self._components):
            for ticker in component.tickers:
                self._named.setdefault(ticker, []).append(number)
        self._wide: dict[_Key, Formed] = {}

    def load(self, listings: Iterable[EventListing], *, now_ms: int) -> None:
        """Take in many events at once. Of an event that is listed twice the later reading counts.

        :param now_ms: UTC milliseconds
        """
        for listing in listings:
            self._forget(listing.event_ticker)
            self._take(listing, now_ms)
        for observable in self._observed:
            self._join(observable)
        for combo in self._combos:
            self._build_combo(combo, now_ms)
        for number in range(len(self._components)):
            self._build_user(number, now_ms)

    def replace(self, listing: EventListing, *, now_ms: int) -> Change:
        """Take in one event as it is listed now, and rebuild what it is part of.

        :param now_ms: UTC milliseconds
        """
        return self._change(listing.event_ticker, listing, now_ms)

    def remove(self, event_ticker: str, *, now_ms: int) -> Change:
        """Drop an event that is not listed any more."""
        return self._change(event_ticker, None, now_ms)

    def built(self) -> Built:
        """All groups, by id, all refusals and the counts."""
        outcomes = [*(event.outcome for event in self._events.values()), *self._wide.values()]
        groups = {group.group_id: group for outcome in outcomes for group in outcome.groups}
        refusals = tuple(refusal for outcome in outcomes for refusal in outcome.refusals)
        counts: Counter[str] = Counter()
        for refusal in refusals:
            if not refusal.group_id:
                counts[refusal.reason.value] += len(refusal.markets)
        return Built(tuple(groups[key] for key in sorted(groups)), refusals, dict(sorted(counts.items())))

    def refusals_near(self, group: Group) -> tuple[Refusal, ...]:
        """What was refused of the group's events and markets."""
        tickers = set(group.tickers)
        events = [self._events[event] for event in group.event_tickers if event in self._events]
        near = [refusal for event in events for refusal in event.outcome.refusals]
        near += [
            refusal
            for outcome in self._wide.values()
            for refusal in outcome.refusals
            if tickers.intersection(refusal.markets)
        ]
        return tuple(near)

    def _change(self, event_ticker: str, listing: EventListing | None, now_ms: int) -> Change:
        touched = self._touched(event_ticker)
        before = self._groups(event_ticker, touched)
        self._forget(event_ticker)
        if listing is not None:
            self._take(listing, now_ms)
            touched |= self._touched(event_ticker)
            before |= {group.group_id: group for key in touched for group in self._wide_outcome(key).groups}
        for kind, key in touched:
            if isinstance(key, Observable):
                self._join(key)
            elif kind == _COMBO:
                self._build_combo(str(key), now_ms)
            elif isinstance(key, int):
                self._build_user(key, now_ms)
        after = self._groups(event_ticker, touched)
        event = self._events.get(event_ticker)
        outcomes = [*([event.outcome] if event is not None else []), *(self._wide_outcome(key) for key in touched)]
        return Change(
            changed=tuple(
                group
                for name, group in sorted(after.items())
                if name not in before or before[name].fingerprint != group.fingerprint
            ),
            gone=tuple(sorted(before.keys() - after.keys())),
            refusals=tuple(refusal for outcome in outcomes for refusal in outcome.refusals),
        )

    def _wide_outcome(self, key: _Key) -> Formed:
        return self._wide.get(key, Formed())

    def _groups(self, event_ticker: str, touched: set[_Key]) -> dict[str, Group]:
        event = self._events.get(event_ticker)
        own = event.outcome.groups if event is not None else ()
        wide = (group for key in touched for group in self._wide_outcome(key).groups)
        return {group.group_id: group for group in (*own, *wide)}

    def _touched(self, event_ticker: str) -> set[_Key]:
        """The keys of everything wider that an event takes part in as it is known."""
        event = self._events.get(event_ticker)
        if event is None:
            return set()
        keys: set[_Key] = set()
        for part in event.parts:
            if part.observable is not None:
                moment = part.observable.underlying, part.observable.instant_ms
                keys |= {(LINE_FAMILY, other) for other in self._moments.get(moment, ())}
        for listed in event.listing.markets:
            ticker = listed.market.ticker
            keys |= {(_COMBO, combo) for combo in self._selecting.get(ticker, ())}
            keys |= {(_USER, number) for number in self._named.get(ticker, ())}
        keys |= {(_COMBO, combo.market.ticker) for combo in event.combos}
        return keys

    def _forget(self, event_ticker: str) -> None:
        event = self._events.pop(event_ticker, None)
        if event is None:
            return
        for listed in event.listing.markets:
            self._markets.pop(listed.market.ticker, None)
        for part in event.parts:
            if part.observable is not None:
                self._observed[part.observable].discard(event_ticker)
        for combo in event.combos:
            self._combos.pop(combo.market.ticker, None)
            self._wide.pop((_COMBO, combo.market.ticker), None)
            for leg in combo.market.legs:
                self._selecting[leg.ticker].discard(combo.market.ticker)

    def _take(self, listing: EventListing, now_ms: int) -> None:
        event = _event(listing, self._registry, now_ms)
        self._events[listing.event_ticker] = event
        for listed in listing.markets:
            self._markets[listed.market.ticker] = listed
        for part in event.parts:
            if part.observable is not None:
                self._observed.setdefault(part.observable, set()).add(listing.event_ticker)
                moment = part.observable.underlying, part.observable.instant_ms
                self._moments.setdefault(moment, set()).add(part.observable)
        for combo in event.combos:
            self._combos[combo.market.ticker] = listing.event_ticker, combo
            for leg in combo.market.legs:
                self._selecting.setdefault(leg.ticker, set()).add(combo.market.ticker)

    def _join(self, observable: Observable) -> None:
        key = (LINE_FAMILY, observable)
        parts = [
            part
            for event in sorted(self._observed[observable])
            for part in self._events[event].parts
            if part.observable == observable
        ]
        outcome = join_lines(parts, self._registry) if len(parts) > 1 else Formed()
        siblings = self._moments[observable.underlying, observable.instant_ms] - {observable}
        apart = [self._apart(parts, observable, sibling) for sibling in siblings if parts and self._observed[sibling]]
        outcome = Formed(outcome.groups, (*outcome.refusals, *apart))
        if outcome == Formed():
            self._wide.pop(key, None)
        else:
            self._wide[key] = outcome

    def _apart(self, parts: Iterable[LinePart], own: Observable, sibling: Observable) -> Refusal:
        """Two values of one thing at one moment that are not the same value."""
        reason = Reason.SOURCES if own.source != sibling.source else Reason.OBSERVABLES
        members = [one for part in parts for one in part.members]
        events = ", ".join(sorted(self._observed[sibling]))
        words = (
            f"not joined with {events}: these settle on {own.source}, {own.statistic}, in {own.unit}; those on "
            f"{sibling.source}, {sibling.statistic}, in {sibling.unit}"
        )
        first = min(self._observed[own])
        return Refusal(tickers_of(members), LINE_FAMILY, reason, words, first, joined_id(own))

    def _build_combo(self, ticker: str, now_ms: int) -> None:
        found = self._combos.get(ticker)
        if found is None:
            self._wide.pop((_COMBO, ticker), None)
            return
        event, combo = found
        legs = {leg.ticker: self._markets[leg.ticker] for leg in combo.market.legs if leg.ticker in self._markets}
        self._wide[_COMBO, ticker] = build_combo(self._events[event].listing, combo, legs, self._registry, now_ms)

    def _build_user(self, number: int, now_ms: int) -> None:
        component = self._components[number]
        listings = {
            self._markets[ticker].market.event_ticker: self._events[self._markets[ticker].market.event_ticker].listing
            for ticker in component.tickers
            if ticker in self._markets
        }
        against = self._contradiction(component)
        self._wide[_USER, number] = against or build_user(
            component, self._user_file, self._markets, listings, self._registry, now_ms
        )

    def _contradiction(self, component: Component) -> Formed | None:
        """What the exchange's own structure says against the user's relations."""
        events = {self._markets[ticker].market.event_ticker for ticker in component.tickers if ticker in self._markets}
        groups = [group for event in sorted(events) for group in self._events[event].outcome.groups]
        for relation in component.relations:
            for group in groups:
                why = contradicted(relation, group)
                if why is not None:
                    words = f"{why} ({self._user_file}, line {relation.line})"
                    family = Family.USER.value
                    refusal = Refusal(component.tickers, family, Reason.USER_CONTRADICTED, words, group.event_ticker)
                    return Formed(refusals=(refusal,))
        return None


_COMBO = Family.COMBO.value
_USER = Family.USER.value


def _event(listing: EventListing, registry: Registry, now_ms: int) -> _Event:
    """What an event's markets form among themselves."""
    refusals: list[Refusal] = []
    members: list[ListedMarket] = []
    combos: list[ListedMarket] = []
    for listed in listing.markets:
        flaw = unfit(listed, now_ms)
        if flaw is not None:
            family = _COMBO if listed.market.legs else "market"
            refusals.append(
                Refusal((listed.market.ticker,), family, flaw, UNFIT_WORDS[flaw], listing.event_ticker)
            )  # fmt: skip
        elif listed.market.legs:
            combos.append(listed)
        else:
            members.append(listed)
    groups: tuple[Group, ...] = ()
    parts: tuple[LinePart, ...] = ()
    if listing.mutually_exclusive and _unstructured([one for one in listing.markets if not one.market.legs]):
        if members:
            outcome = build_exclusive(listing, members, registry)
            groups, refusals = outcome.groups, [*refusals, *outcome.refusals]
    else:
        dated = [one for one in members if one.market.strike_type is StrikeType.OTHER]
        if not listing.mutually_exclusive and may_be_deadlines(dated):
            outcome = build_deadlines(listing, dated, registry)
            groups, refusals = outcome.groups, [*refusals, *outcome.refusals]
            members = [one for one in members if one.market.strike_type is not StrikeType.OTHER]
        lines = build_lines(listing, members, registry)
        groups, parts = (*groups, *lines.outcome.groups), lines.parts
        refusals += lines.outcome.refusals
    return _Event(listing, Formed(groups, tuple(refusals)), parts, tuple(combos))


def _unstructured(markets: Iterable[ListedMarket]) -> bool:
    kinds = {one.market.strike_type for one in markets}
    return kinds == {StrikeType.OTHER}


def build_groups(
    listings: Iterable[EventListing],
    *,
    registry: Registry = REVIEWED,
    user: UserRelations = NO_USER_RELATIONS,
    now_ms: int = 0,
) -> Built:
    """Every group that events form, alone and with each other.

    :param user: the user's relations, patterns resolved
    :param now_ms: UTC milliseconds; a market whose closing time is not after it is left out
    """
    catalogue = Catalogue(registry=registry, user=user)
    catalogue.load(listings, now_ms=now_ms)
    return catalogue.built()
