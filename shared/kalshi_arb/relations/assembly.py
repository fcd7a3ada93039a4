"""What every family shares: why a market is left out, and how members and states become a group."""

from collections.abc import Iterable
from enum import Enum, unique

from kalshi_arb.domain.market import Market, MarketStatus
from kalshi_arb.domain.relation import Relation
from kalshi_arb.domain.state_space import Family, Group, State
from kalshi_arb.relations.fingerprints import fingerprint, group_id

SMALLEST_GROUP = 2
# A stored group must fit an item of 400 KB and be judged in milliseconds. The largest listed partition has 188 markets.
LARGEST_GROUP = 300


@unique
class Drop(Enum):
    """Why a market is in no group."""

    NOT_ACTIVE = "not_active"
    ALREADY_CLOSED = "already_closed"
    FEES = "fees_not_computable"
    NO_STRUCTURE = "no_structured_strike"  # custom, structured, functional or no strike type, and no exclusivity flag
    MISSING_STRIKE = "missing_strike"
    EMPTY_BRACKET = "empty_bracket"
    SINGLE = "single_market"
    DUPLICATE = "duplicate_strikes"
    SAME_SUBJECT = "same_subject"  # an exclusive event that lists one subject twice
    CLOSE_TIMES = "different_close_times"
    MIXED = "mixed_strikes"  # thresholds beside brackets, or brackets that overlap
    CONTRADICTION = "ladder_declared_exclusive"
    TOO_LARGE = "too_large"
    COMBO_LEGS = "combo_legs"  # one leg, too many, one market twice, or another combo
    COMBO_LEG_MISSING = "combo_leg_not_listed"
    COMBO_LEG_UNFIT = "combo_leg_not_tradable"


def unfit(market: Market, status: MarketStatus, now_ms: int) -> Drop | None:
    """Why a market cannot be a member of any group; None when it can.

    :param now_ms: UTC milliseconds; a market whose closing time is not after it is closed
    """
    if status in (MarketStatus.INITIALIZED, MarketStatus.INACTIVE):
        return Drop.NOT_ACTIVE
    if status is not MarketStatus.ACTIVE or market.close_ms <= now_ms:
        return Drop.ALREADY_CLOSED
    return None if market.fees.is_tradable() else Drop.FEES


def make_group(
    event_ticker: str,
    subject: str,
    family: Family,
    markets: Iterable[Market],
    states: tuple[State, ...],
    relations: Iterable[Relation],
) -> Group:
    """A group with its id and fingerprint."""
    members = tuple(markets)
    return Group(
        group_id=group_id(event_ticker, family, subject),
        family=family,
        event_ticker=event_ticker,
        markets=members,
        states=states,
        relations=tuple(relations),
        fingerprint=fingerprint(family, members, states),
    )
