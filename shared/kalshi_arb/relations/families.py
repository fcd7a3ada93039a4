"""The rules that turn an event's markets into groups.

Only structured fields count: strike types and strikes, the subject, the exclusivity flag. Nothing is read out of
tickers or titles. Per event and subject there is at most one group:

LADDER      every market is ``greater``/``greater_or_equal``, or every one is ``less``/``less_or_equal``: nested.
            Markets run from the most to the least inclusive.
PARTITION   brackets and tails of which never two pay, except perhaps at a shared end. Markets run up the line. With
            both tails and no gap the set also covers the line, up to edges; without, it is still "at most one".

``mutually_exclusive`` is not needed for either proof, but a ladder of an event that is declared exclusive contradicts
itself and is dropped. Whatever is left out is counted by market and reason.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import Enum, unique
from itertools import pairwise

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.ports import EventListing
from kalshi_arb.relations.fingerprints import fingerprint, group_id
from kalshi_arb.relations.intervals import CAP_TYPES, FLOOR_TYPES, describe, line_states, needed_strikes, strikes_of

SMALLEST_GROUP = 2
# A stored group must fit an item of 400 KB and be judged in milliseconds. The largest listed partition has 188 markets.
LARGEST_GROUP = 300


@unique
class Drop(Enum):
    """Why a market is in no group."""

    NOT_ACTIVE = "not_active"
    ALREADY_CLOSED = "already_closed"
    FEES = "fees_not_computable"
    NO_STRUCTURE = "no_structured_strike"  # custom, structured, functional or no strike type
    MISSING_STRIKE = "missing_strike"
    EMPTY_BRACKET = "empty_bracket"
    SINGLE = "single_market"
    DUPLICATE = "duplicate_strikes"
    CLOSE_TIMES = "different_close_times"
    MIXED = "mixed_strikes"  # thresholds beside brackets, or brackets that overlap
    CONTRADICTION = "ladder_declared_exclusive"
    TOO_LARGE = "too_large"


def build_groups(listing: EventListing, *, now_ms: int = 0) -> tuple[list[Group], dict[str, int]]:
    """Every group of one event, and how many markets were left out by reason.

    :param now_ms: UTC milliseconds; a market whose closing time is not after it is dropped
    """
    drops: Counter[Drop] = Counter()
    subjects: dict[str, list[Market]] = {}
    for market, status in listing.markets:
        reason = _unfit(market, status, now_ms)
        if reason is None:
            subjects.setdefault(market.subject, []).append(market)
        else:
            drops[reason] += 1
    groups = []
    for subject, markets in sorted(subjects.items()):
        built = _build(listing, subject, markets)
        if isinstance(built, Group):
            groups.append(built)
        else:
            drops[built] += len(markets)
    return groups, {reason.value: count for reason, count in drops.items()}


def _unfit(market: Market, status: MarketStatus, now_ms: int) -> Drop | None:
    if status in (MarketStatus.INITIALIZED, MarketStatus.INACTIVE):
        return Drop.NOT_ACTIVE
    if status is not MarketStatus.ACTIVE or market.close_ms <= now_ms:
        return Drop.ALREADY_CLOSED
    if market.strike_type is StrikeType.OTHER:
        return Drop.NO_STRUCTURE
    strikes = strikes_of(market)
    if strikes is None:
        return Drop.MISSING_STRIKE
    if strikes[-1] < strikes[0] or (market.strike_type is StrikeType.BETWEEN and strikes[0] == strikes[1]):
        return Drop.EMPTY_BRACKET
    if not market.fees.is_tradable():
        return Drop.FEES
    return None


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
    return _group(listing, subject, Family.LADDER, ordered, line_states(ordered), relations)


def _partition(listing: EventListing, subject: str, markets: Sequence[Market]) -> Group | Drop:
    ordered = sorted(markets, key=_position)
    try:
        states = line_states(ordered)
    except ProofError:
        return Drop.MIXED
    winners = [(state.basis, sum(map(bool, state.yes_payouts))) for state in states]
    if any(basis is Basis.CERTAIN and count > 1 for basis, count in winners):
        return Drop.MIXED
    return _group(listing, subject, Family.PARTITION, ordered, states, _partition_relations(ordered, states))


def _partition_relations(markets: Sequence[Market], states: Sequence[State]) -> list[Relation]:
    """What holds in every state, edges included: a relation states no exceptions."""
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


def _group(
    listing: EventListing,
    subject: str,
    family: Family,
    markets: Iterable[Market],
    states: tuple[State, ...],
    relations: Iterable[Relation],
) -> Group:
    members = tuple(markets)
    return Group(
        group_id=group_id(listing.event_ticker, family, subject),
        family=family,
        event_ticker=listing.event_ticker,
        markets=members,
        states=states,
        relations=tuple(relations),
        fingerprint=fingerprint(family, members, states),
    )


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
