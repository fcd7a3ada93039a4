"""What a calculation by hand rests on: the ways its markets can settle, from relations, states, strikes or a listing.

The ways are those that discovery would find: relations are enumerated as the user's own, strikes as an event of the
exchange. What is given must not contradict itself; nothing is read into it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.relations.assembly import make_group
from kalshi_arb.relations.catalogue import build_groups
from kalshi_arb.relations.user import (
    MOST_STATES,
    PAIR_KINDS,
    UserRelation,
    UserRelationError,
    UserRelations,
    solutions,
)

_EVENT = "CALC"
_MOST_NAMED = 8
_FAR_MS = 253_402_214_400_000  # the end of the year 9999: a market typed in by hand does not close
_STRIKE_SIGNS = {
    ">=": StrikeType.GREATER_OR_EQUAL,
    "<=": StrikeType.LESS_OR_EQUAL,
    ">": StrikeType.GREATER,
    "<": StrikeType.LESS,
}


class CalcError(ProofError):
    """A calculation that is refused: what is wrong with what was given. No figure comes of it."""


@dataclass(frozen=True, slots=True)
class CalcRelation:
    """A statement about some markets; the first of a subset implies the second."""

    kind: RelationKind
    members: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.kind.value}:{','.join(self.members)}"


@dataclass(frozen=True, slots=True)
class CalcState:
    """One way to settle: what one YES of each market pays (1e-4 dollars), 0 where none is named."""

    name: str
    yes_payouts: Mapping[str, Price]
    basis: Basis = Basis.CERTAIN


@dataclass(frozen=True, slots=True)
class Claim:
    """The smallest statements that a relation is made of, each of which may carry a result alone."""

    text: str
    relation: CalcRelation


@dataclass(frozen=True, slots=True)
class Terms:
    """What the markets charge and which prices they take, by name; ``fees`` and ``grid`` for all others."""

    fees: FeeSchedule
    grid: PriceGrid
    market_fees: Mapping[str, FeeSchedule]

    def market(self, name: str, kind: StrikeType, floor: Decimal | None, cap: Decimal | None) -> Market:
        """A market typed in by hand."""
        return Market(
            ticker=name, event_ticker=_EVENT, series_ticker=_EVENT, strike_type=kind, floor=floor, cap=cap, subject="",
            title=name, grid=self.grid, fees=self.market_fees.get(name, self.fees), shard=0, close_ms=_FAR_MS,
            rules_fingerprint="",
        )  # fmt: skip


def from_relations(names: Sequence[str], relations: Sequence[CalcRelation], terms: Terms) -> Group:
    """Every combination of results that violates no relation. Markets that no relation names settle as they like.

    :raises CalcError: relations that are none, contradict themselves or each other, or leave too many ways to settle
    """
    for relation in relations:
        _check(relation)
    user = UserRelations(
        "relations",
        tuple(UserRelation(one.kind, one.members, one.text, number) for number, one in enumerate(relations, start=1)),
    )
    try:
        user.check()
    except UserRelationError as error:
        raise CalcError(f"the relations contradict themselves: {error.cause}") from error
    rows = solutions(names, user.relations)
    if rows is None:
        raise CalcError(
            f"{len(names)} markets can settle in more than {MOST_STATES} ways: say more about them, or list the states"
        )
    states = tuple(
        State(_row_name(names, row), tuple(ONE_DOLLAR if one else Price(0) for one in row), Basis.CERTAIN)
        for row in rows
    )
    return _group(names, states, relations, terms)


def from_states(
    names: Sequence[str], given: Sequence[CalcState], relations: Sequence[CalcRelation], terms: Terms
) -> Group:
    """The listed states and no others.

    :raises CalcError: two states of one name, payouts outside 0 to 1 dollar, no certain state, or a state that one of
        the relations rules out
    """
    for relation in relations:
        _check(relation)
    states = []
    for number, one in enumerate(given):
        if any(other.name == one.name for other in given[:number]):
            raise CalcError(f"the states contradict themselves: {one.name!r} is listed twice")
        if any(not 0 <= payout <= ONE_DOLLAR for payout in one.yes_payouts.values()):
            raise CalcError(f"state {one.name!r} pays less than 0 or more than a dollar")
        state = State(one.name, tuple(one.yes_payouts.get(name, Price(0)) for name in names), one.basis)
        for relation in relations:
            _check_state(state, names, relation)
        states.append(state)
    if not any(state.basis is Basis.CERTAIN for state in states):
        raise CalcError("none of the states is certain: one at least must be")
    return _group(names, tuple(states), relations, terms)


def from_strikes(names: Sequence[str], strikes: Mapping[str, str], terms: Terms) -> Group:
    """The markets as one event of thresholds and brackets on one line: ``"> 93"``, ``"<= 5"``, ``"93 .. 94"``.

    :raises CalcError: a strike that cannot be read, a market without one, or strikes that form no group
    """
    missing = [name for name in names if name not in strikes]
    if missing:
        raise CalcError(f"{', '.join(missing)} has no strike: give one for every market, or relations for all")
    markets = [terms.market(name, *_strike(name, text)) for name, text in strikes.items()]
    listed = tuple(ListedMarket(market, MarketStatus.ACTIVE) for market in markets)
    listing = EventListing(
        _EVENT, _EVENT, _EVENT, None, listed, absent=frozenset({"mutually_exclusive", "rules_primary"})
    )  # fmt: skip
    built = build_groups([listing])
    for group in built.groups:
        if set(names) <= set(group.tickers):
            return group
    why = "; ".join(dict.fromkeys(one.words for one in built.refusals)) or "they are not comparable"
    raise CalcError(f"these strikes form no group: {why}")


def claims(relations: Iterable[CalcRelation]) -> list[Claim]:
    """The relations taken apart: a partition says that at most one market pays, and that at least one does."""
    found = []
    for relation in relations:
        members = _listed(relation.members)
        at_most = Claim(f"at most one of {members} is YES", CalcRelation(RelationKind.EXCLUSIVE, relation.members))
        at_least = Claim(f"at least one of {members} is YES", CalcRelation(RelationKind.EXHAUSTIVE, relation.members))
        match relation.kind:
            case RelationKind.SUBSET:
                found.append(_implies(*relation.members))
            case RelationKind.EQUAL:
                found += [_implies(*relation.members), _implies(*reversed(relation.members))]
            case RelationKind.DISJOINT | RelationKind.EXCLUSIVE:
                found.append(at_most)
            case RelationKind.EXHAUSTIVE:
                found.append(at_least)
            case RelationKind.COMPLEMENT | RelationKind.PARTITION:
                found += [at_most, at_least]
    return found


Held = Mapping[str, tuple[int, int]]
"""Contracts (1e-2) held of YES and of NO of each market."""


def least_payout(held: Held, left: Sequence[CalcRelation]) -> int | None:
    """The least that contracts pay when nothing but these statements is known, 1e-6 dollars; None when the ways to
    settle are too many to look at."""
    names = list(dict.fromkeys((*held, *(name for one in left for name in one.members))))
    yes = {name: held.get(name, (0, 0))[0] for name in names}
    no = {name: held.get(name, (0, 0))[1] for name in names}
    free = sum(min(yes[name], no[name]) for name in names)
    if not left:
        return free * ONE_DOLLAR
    if len(left) == 1 and left[0].kind is RelationKind.EXHAUSTIVE:
        # All but the cheapest exception settle as they like.
        dearer = min(max(0, yes[name] - no[name]) for name in left[0].members)
        return (free + dearer) * ONE_DOLLAR
    if len(left) == 1 and left[0].kind is RelationKind.EXCLUSIVE:
        members = set(left[0].members)
        others = sum(min(yes[name], no[name]) for name in names if name not in members)
        one = min(0, *(yes[name] - no[name] for name in members))
        return (others + sum(no[name] for name in members) + one) * ONE_DOLLAR
    rows = solutions(names, [UserRelation(one.kind, one.members, "", 0) for one in left])
    if rows is None:
        return None
    return min(
        sum(yes[name] if result else no[name] for name, result in zip(names, row, strict=True)) for row in rows
    ) * ONE_DOLLAR  # fmt: skip


def held_of(contracts: Iterable[tuple[str, bool, Count]]) -> dict[str, tuple[int, int]]:
    """Contracts by market, from (market, whether YES, count)."""
    found: dict[str, tuple[int, int]] = {}
    for name, is_yes, count in contracts:
        yes, no = found.get(name, (0, 0))
        found[name] = (yes + count, no) if is_yes else (yes, no + count)
    return found


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{len(names)} markets ({names[0]} to {names[-1]})"


def _implies(inner: str, outer: str) -> Claim:
    return Claim(f"{inner} implies {outer}", CalcRelation(RelationKind.SUBSET, (inner, outer)))


def _check(relation: CalcRelation) -> None:
    needed = "two markets" if relation.kind in PAIR_KINDS else "at least two markets"
    count = len(relation.members)
    if count < 2 or (relation.kind in PAIR_KINDS and count != 2):
        raise CalcError(f"{relation.text}: {relation.kind.value} needs {needed}, not {count}")
    if len(set(relation.members)) < count:
        raise CalcError(f"{relation.text}: a market is named twice")


def _check_state(state: State, names: Sequence[str], relation: CalcRelation) -> None:
    paid = {name: payout for name, payout in zip(names, state.yes_payouts, strict=True) if name in relation.members}
    if any(payout not in (0, ONE_DOLLAR) for payout in paid.values()):
        return  # a settlement at a price is no result
    if not relation.kind.holds(tuple(bool(paid[name]) for name in relation.members)):
        raise CalcError(f"the states contradict the relation {relation.text}: in {state.name!r} it does not hold")


def _row_name(names: Sequence[str], row: Sequence[bool]) -> str:
    paid = [name for name, result in zip(names, row, strict=True) if result]
    return f"YES: {', '.join(paid) or 'none'}"


def _group(names: Sequence[str], states: tuple[State, ...], relations: Iterable[CalcRelation], terms: Terms) -> Group:
    return make_group(
        _EVENT,
        "",
        Family.USER,
        (terms.market(name, StrikeType.OTHER, None, None) for name in names),
        states,
        [Relation(one.kind, one.members, one.text) for one in relations],
    )


def _strike(name: str, text: str) -> tuple[StrikeType, Decimal | None, Decimal | None]:
    bare = text.replace(" ", "")
    try:
        for sign, kind in _STRIKE_SIGNS.items():
            if bare.startswith(sign):
                value = _number(bare.removeprefix(sign))
                return (kind, value, None) if sign.startswith(">") else (kind, None, value)
        low, dots, high = bare.partition("..")
        if dots:
            return StrikeType.BETWEEN, _number(low), _number(high)
    except InvalidOperation:
        pass
    raise CalcError(f'{name}: the strike {text!r} cannot be read; write "> 93", ">= 93", "< 93", "<= 93" or "93 .. 94"')


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise InvalidOperation
    return number
