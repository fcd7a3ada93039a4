"""Markets on a line: threshold ladders and bracket partitions of one subject.

LADDER      every market is ``greater``/``greater_or_equal``, or every one is ``less``/``less_or_equal``: nested.
            Markets run from the most to the least inclusive.
PARTITION   brackets and tails of which never two pay, except perhaps at a shared end. Markets run up the line. With
            both tails and no gap the set also covers the line, up to edges; without, it is still "at most one".

``mutually_exclusive`` is not needed for either proof, but a ladder of an event that is declared exclusive contradicts
itself and is dropped.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.ports import EventListing
from kalshi_arb.relations.assembly import LARGEST_GROUP, SMALLEST_GROUP, Drop, make_group
from kalshi_arb.relations.intervals import CAP_TYPES, FLOOR_TYPES, describe, line_states, needed_strikes, strikes_of
from kalshi_arb.relations.rules import rule_states


def _strikes_unfit(market: Market) -> Drop | None:
    """Why a market is no stretch of a line; None when it is."""
    if market.strike_type is StrikeType.OTHER:
        return Drop.NO_STRUCTURE
    strikes = strikes_of(market)
    if strikes is None:
        return Drop.MISSING_STRIKE
    if strikes[-1] < strikes[0] or (market.strike_type is StrikeType.BETWEEN and strikes[0] == strikes[1]):
        return Drop.EMPTY_BRACKET
    return None


def build_lines(listing: EventListing, markets: Sequence[Market]) -> tuple[list[Group], list[Drop]]:
    """One group per subject of an event, and a reason for each market that is in none."""
    drops: list[Drop] = []
    subjects: dict[str, list[Market]] = {}
    for market in markets:
        reason = _strikes_unfit(market)
        if reason is None:
            subjects.setdefault(market.subject, []).append(market)
        else:
            drops.append(reason)
    groups = []
    for subject, members in sorted(subjects.items()):
        built = _build(listing, subject, members)
        if isinstance(built, Group):
            groups.append(built)
        else:
            drops += [built] * len(members)
    return groups, drops


def _build(listing: EventListing, subject: str, markets: Sequence[Market]) -> Group | Drop:
    if len(markets) < SMALLEST_GROUP:
        return Drop.SINGLE
    if len(markets) > LARGEST_GROUP:
        return Drop.TOO_LARGE
    if len({(market.strike_type, strikes_of(market)) for market in markets}) < len(markets):
        # Two markets on the same strike settle on two different things that no structured field tells apart.
        return Drop.DUPLICATE
    if len({market.close_ms for market in markets}) > 1:
        # Contracts of one event that end at different times may observe different values.
        return Drop.CLOSE_TIMES
    types = {market.strike_type for market in markets}
    if types <= FLOOR_TYPES or types <= CAP_TYPES:
        if listing.mutually_exclusive:
            return Drop.CONTRADICTION
        return _ladder(listing, subject, markets)
    return _partition(listing, subject, markets)


def _ladder(listing: EventListing, subject: str, markets: Sequence[Market]) -> Group:
    ordered = sorted(markets, key=_inclusiveness)
    relations = [
        Relation(
            RelationKind.SUBSET,
            (harder.ticker, easier.ticker),
            f"Every value {describe(harder)} is also {describe(easier)}.",
        )
        for easier, harder in pairwise(ordered)
    ]
    states = (*line_states(ordered), *rule_states(ordered, listing.rules))
    return make_group(listing.event_ticker, subject, Family.LADDER, ordered, states, relations)


def _partition(listing: EventListing, subject: str, markets: Sequence[Market]) -> Group | Drop:
    ordered = sorted(markets, key=_position)
    try:
        states = line_states(ordered)
    except ProofError:
        return Drop.MIXED
    winners = [(state.basis, sum(map(bool, state.yes_payouts))) for state in states]
    if any(basis is Basis.CERTAIN and count > 1 for basis, count in winners):
        return Drop.MIXED
    relations = _partition_relations(ordered, states)
    states += rule_states(ordered, listing.rules)
    return make_group(listing.event_ticker, subject, Family.PARTITION, ordered, states, relations)


def _partition_relations(markets: Sequence[Market], states: Sequence[State]) -> list[Relation]:
    """What holds wherever the value falls, edges included: a relation states no exceptions."""
    tickers = tuple(market.ticker for market in markets)
    stretches = f"The {len(markets)} stretches from {describe(markets[0])} to {describe(markets[-1])}"
    winners = {sum(map(bool, state.yes_payouts)) for state in states}
    relations = []
    if winners <= {0, 1}:
        relations.append(
            Relation(RelationKind.EXCLUSIVE, tickers, f"{stretches} share no value, so at most one market pays.")
        )
    if 0 not in winners:
        relations.append(
            Relation(RelationKind.EXHAUSTIVE, tickers, f"{stretches} leave no value out, so at least one market pays.")
        )
    if winners == {1}:
        relations.append(Relation(RelationKind.PARTITION, tickers, f"{stretches} hold every value exactly once."))
    return relations


def _inclusiveness(market: Market) -> tuple[Decimal, bool]:
    """Sort key, most inclusive first: low floors and high caps, at the same strike the one that includes it."""
    if market.strike_type in FLOOR_TYPES:
        return needed_strikes(market)[0], market.strike_type is StrikeType.GREATER
    return -needed_strikes(market)[0], market.strike_type is StrikeType.LESS


def _position(market: Market) -> tuple[int, Decimal]:
    """Sort key up the line: the lower tail, the brackets, the upper tail."""
    if market.strike_type in CAP_TYPES:
        return 0, needed_strikes(market)[0]
    return (2 if market.strike_type in FLOOR_TYPES else 1), needed_strikes(market)[0]
