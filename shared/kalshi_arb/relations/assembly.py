"""What every family shares: why something is refused, and how members and states become a group."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus
from kalshi_arb.domain.relation import Relation
from kalshi_arb.domain.state_space import Basis, Family, Ground, Group, State
from kalshi_arb.relations.fingerprints import fingerprint, group_id

SMALLEST_GROUP = 2
# A group must be judged in milliseconds. The largest event listed in 2026 had 400 markets.
LARGEST_GROUP = 500
FEE_HORIZON_MS = 900_000
"""A fee change that is due before this is refused now: groups live until the next reading, which may fail for a
while."""


@unique
class Reason(Enum):
    """Why markets are in no group, or why less is claimed of a group than a reader might expect."""

    # Markets that no group can hold
    NOT_ACTIVE = "not_active"
    ALREADY_CLOSED = "already_closed"
    FEES = "fees_not_computable"
    FEES_CHANGING = "fees_about_to_change"
    NO_STRUCTURE = "no_structured_strike"  # custom, structured, functional or no strike type, and no exclusivity flag
    UNKNOWN_STRIKE_TYPE = "unknown_strike_type"
    MISSING_STRIKE = "missing_strike"
    MISLABELLED = "mislabelled_strike_type"
    EMPTY_BRACKET = "empty_bracket"
    SINGLE = "single_market"
    TOO_LARGE = "too_large"
    # Markets that do not belong together
    DUPLICATE = "duplicate_strikes"  # one strike twice: two subjects that no structured field tells apart
    SAME_SUBJECT = "same_subject"  # an exclusive event that lists one subject twice
    CLOSE_TIMES = "different_close_times"
    EARLY_CLOSE = "different_early_close"
    SOURCES = "different_sources"
    OBSERVABLES = "different_observables"  # same underlying and instant, but another statistic or unit
    STATEMENTS = "different_statements"
    CROWDED = "too_many_brackets_at_one_value"
    CONTRADICTION = "ladder_declared_exclusive"
    INSTANT = "instant_not_confirmed"  # the text names another time than the field that gives the instant
    DEADLINE = "deadlines_not_comparable"
    COMBO_LEGS = "combo_legs"  # one leg, too many, one market twice, or another combo
    COMBO_LEG_MISSING = "combo_leg_not_listed"
    COMBO_LEG_UNFIT = "combo_leg_not_tradable"
    USER_UNKNOWN = "user_relation_names_unknown_market"
    USER_CONTRADICTED = "user_relation_contradicted"
    USER_STATES = "user_relations_leave_too_many_states"
    # Claims that are not made of a group
    NOT_EXHAUSTIVE = "not_exhaustive"  # the exclusivity flag promises at most one
    GAP = "gap_between_brackets"
    MISSING_TAIL = "missing_tail"
    SLIVER = "value_may_fall_between_brackets"
    ENDS = "bracket_ends_not_stated"
    FAIR_PRICE = "settles_at_a_price"
    EVEN_SPLIT = "tie_pays_one_half"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not accepted, and why in a code and in words.

    With an empty ``group_id`` the markets are left out of every group of this family. Otherwise the group stands, and
    the claim that the words name is not made of it.
    """

    markets: tuple[str, ...]
    family: str
    reason: Reason
    words: str
    event_ticker: str
    group_id: str = ""


@dataclass(frozen=True, slots=True)
class Formed:
    """What a family made of an event's markets."""

    groups: tuple[Group, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def unfit(listed: ListedMarket, now_ms: int) -> Reason | None:
    """Why a market cannot be a member of any group; None when it can.

    :param now_ms: UTC milliseconds; a market whose closing time is not after it is closed
    """
    status = listed.status
    if status is MarketStatus.ACTIVE:
        if listed.market.close_ms <= now_ms:
            return Reason.ALREADY_CLOSED
        if listed.fee_change_ms is not None and listed.fee_change_ms <= now_ms + FEE_HORIZON_MS:
            return Reason.FEES_CHANGING
        return None if listed.market.fees.is_tradable() else Reason.FEES
    if status in (MarketStatus.INITIALIZED, MarketStatus.INACTIVE):
        return Reason.NOT_ACTIVE
    return Reason.ALREADY_CLOSED


UNFIT_WORDS = {
    Reason.NOT_ACTIVE: "it does not trade now (exchange: status)",
    Reason.ALREADY_CLOSED: "it is closed (exchange: status, close_time)",
    Reason.FEES_CHANGING: "it charges something else soon (exchange: fee changes, fee_waiver_expiration_time)",
    Reason.FEES: "its fee cannot be computed exactly (exchange: fee_type)",
}


def tickers_of(markets: Iterable[ListedMarket]) -> tuple[str, ...]:
    """Tickers in the given order."""
    return tuple(one.market.ticker for one in markets)


def common_grounds(listings: Iterable[EventListing], members: Sequence[ListedMarket]) -> tuple[Ground, ...]:
    """What the listing says beside the markets' own fields: flag, sources and early close conditions."""
    grounds = []
    for listing in listings:
        event = listing.event_ticker
        if listing.mutually_exclusive is not None:
            grounds.append(Ground(f"mutually_exclusive of {event}", str(listing.mutually_exclusive).lower()))
        if listing.sources is not None:
            grounds.append(Ground(f"settlement sources of {event}", ", ".join(listing.sources)))
    conditions = {one.early_close or None for one in members}
    if len(conditions) > 1:
        grounds += [
            Ground(f"early close condition of {one.market.ticker}", one.early_close or "none") for one in members
        ]
    elif conditions != {None}:
        grounds.append(Ground("early close condition", next(iter(conditions)) or ""))
    return tuple(grounds)


def edge_notes(group: Group) -> list[Refusal]:
    """What a clause of the rules takes away from every claim of a group: states at a price or at one half."""
    found = []
    for state in group.states:
        if state.basis is Basis.POSSIBLE and state.name.startswith("each "):
            reason = Reason.EVEN_SPLIT if state.highest is None else Reason.FAIR_PRICE
            found.append(
                Refusal(group.tickers, group.family.value, reason, state.name, group.event_ticker, group.group_id)
            )
    return found


def make_group(
    event_ticker: str,
    subject: str,
    family: Family,
    markets: Iterable[Market],
    states: tuple[State, ...],
    relations: Iterable[Relation],
    *,
    certificate: Iterable[str] = (),
    assumptions: Iterable[str] = (),
    absent: Iterable[str] = (),
    grounds: Iterable[Ground] = (),
    state_marks: Sequence[object] | None = None,
    scope: str | None = None,
) -> Group:
    """A group with its id and fingerprint.

    :param state_marks: a short form of the states for the fingerprint, when there is one
    :param scope: what the id begins with, the event by default
    """
    members = tuple(markets)
    rests_on = tuple(grounds)
    assumed = tuple(assumptions)
    return Group(
        group_id=group_id(scope or event_ticker, family, subject),
        family=family,
        event_ticker=event_ticker,
        markets=members,
        states=states,
        relations=tuple(relations),
        fingerprint=fingerprint(family, members, states, (*rests_on, *(Ground("assumption", a) for a in assumed)),
                                state_marks),
        certificate=tuple(certificate),
        assumptions=assumed,
        absent=tuple(sorted(absent)),
        grounds=rests_on,
    )  # fmt: skip
