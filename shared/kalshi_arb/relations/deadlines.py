"""Deadlines: the same statement by different dates. What happened by the earlier date happened by the later one.

Precondition: markets without strikes of an event that is not declared exclusive, which close at different times, whose
rules texts are the same but for one day each, with the days in the order of the closing times, and which say that
something happens by or before that day.

That the texts make the same statement from the same beginning is free reading, which proves nothing: the group stands
on that assumption and a person must approve it, unless the registry holds a reviewed entry for the wording of each of
its texts. Without texts nothing is claimed.

DEADLINE    markets run from the latest deadline, the most inclusive, to the earliest.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, State
from kalshi_arb.relations.assembly import (
    LARGEST_GROUP,
    SMALLEST_GROUP,
    Formed,
    Reason,
    Refusal,
    common_grounds,
    edge_notes,
    make_group,
    tickers_of,
)
from kalshi_arb.relations.registry import Registry
from kalshi_arb.relations.rules import rule_states
from kalshi_arb.relations.wordings import deadline_parts


def may_be_deadlines(members: Sequence[ListedMarket]) -> bool:
    """Whether markets without strikes look like deadlines at all: several, and closing at different times."""
    return len(members) >= SMALLEST_GROUP and len({one.market.close_ms for one in members}) > 1


def build_deadlines(listing: EventListing, members: Sequence[ListedMarket], registry: Registry) -> Formed:
    """The ladder of an event's deadlines. ``members`` carry no strikes."""
    event = listing.event_ticker

    def refused(words: str) -> Formed:
        return Formed(
            refusals=(Refusal(tickers_of(members), Family.DEADLINE.value, Reason.DEADLINE, words, event),)
        )  # fmt: skip

    if len(members) > LARGEST_GROUP:
        return refused(f"{len(members)} markets, more than {LARGEST_GROUP}")
    if "early_close_condition" not in listing.absent and len({one.early_close or None for one in members}) > 1:
        return refused("their early close conditions differ, so they need not be determined alike")
    if any(not one.rules for one in members):
        return refused("they close at different times, but their rules texts are not known")
    read = [deadline_parts(one.rules or "") for one in members]
    days: list[datetime] = []
    statements = set()
    for parts in read:
        if parts is None:
            return refused("a rules text does not say that something happens by or before one single day")
        statements.add(parts[0])
        days.append(parts[1])
    if len(statements) > 1:
        return refused("their rules texts differ in more than the day, so they need not make the same statement")
    order = sorted(range(len(members)), key=lambda index: -members[index].market.close_ms)
    if any(
        days[earlier] >= days[later] or members[earlier].market.close_ms == members[later].market.close_ms
        for later, earlier in pairwise(order)
    ):
        return refused("the days in their rules texts are not in the order of their closing times")
    ordered = [members[index] for index in order]
    entries = [registry.find(one.market.series_ticker, one.rules) for one in ordered]
    reviewed = [entry for entry in entries if entry is not None and entry.deadline is not None]
    assumptions = []
    sources = [f"{entry.reason.rstrip('.')} [{entry.name}]." for entry in dict.fromkeys(reviewed)]
    if len(reviewed) < len(ordered):
        assumptions.append(
            f"The {len(ordered)} markets of {event} make the same statement from the same beginning and differ in the "
            "day alone: nobody has reviewed their rules texts."
        )
    edges = rule_states(ordered, registry)
    group = make_group(
        event,
        "",
        Family.DEADLINE,
        (one.market for one in ordered),
        (*_states(tickers_of(ordered)), *edges.states),
        [
            Relation(
                RelationKind.SUBSET,
                (earlier.market.ticker, later.market.ticker),
                f"What happens by the deadline of {earlier.market.ticker} happens by that of {later.market.ticker}.",
            )
            for later, earlier in pairwise(ordered)
        ],
        certificate=(
            f"The markets of {event} close one after the other [exchange: close_time].",
            "Their rules texts are the same but for one day each, in the same order [rules text, compared].",
            *sources,
            *edges.sentences,
        ),
        assumptions=assumptions,
        absent=listing.absent,
        grounds=(
            *common_grounds([listing], ordered),
            *(entry.ground for entry in dict.fromkeys(reviewed)),
            *(ground for ground in edges.grounds if all(ground.what != entry.name for entry in reviewed)),
        ),
    )
    return Formed((group,), tuple(edge_notes(group)))


def _states(tickers: Sequence[str]) -> list[State]:
    """It never happens, or it happens between two deadlines: every later one pays."""
    states = []
    for paid in range(len(tickers) + 1):
        if paid == 0:
            name = f"not by the deadline of {tickers[0]}"
        elif paid < len(tickers):
            name = f"by the deadline of {tickers[paid - 1]} and not by that of {tickers[paid]}"
        else:
            name = f"by the deadline of {tickers[-1]}"
        payouts = (ONE_DOLLAR,) * paid + (Price(0),) * (len(tickers) - paid)
        states.append(State(name, payouts, Basis.CERTAIN))
    return states
