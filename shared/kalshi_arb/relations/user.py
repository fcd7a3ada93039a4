"""Relations that the user wrote down: what no field and no reviewed text says, on the user's own word.

Each relation is an assumption of its group: a person must approve it, bound to the fingerprint, before a bundle on the
group can be proved, because the markets' rules may change after the relation was written. Markets that relations tie
together, directly or through others, form one group, whose states are every combination of results that violates none
of them.

This module reads no file; ``user_file`` does.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Ground, Group, State
from kalshi_arb.relations.assembly import (
    UNFIT_WORDS,
    Formed,
    Reason,
    Refusal,
    common_grounds,
    edge_notes,
    make_group,
    unfit,
)
from kalshi_arb.relations.registry import Registry
from kalshi_arb.relations.rules import rule_states

MOST_STATES = 2_000
_MOST_STEPS = 100_000
PAIR_KINDS = frozenset({RelationKind.SUBSET, RelationKind.DISJOINT, RelationKind.COMPLEMENT, RelationKind.EQUAL})
_AT_MOST_ONE = frozenset(
    {RelationKind.DISJOINT, RelationKind.COMPLEMENT, RelationKind.EXCLUSIVE, RelationKind.PARTITION}
)  # fmt: skip
_AT_LEAST_ONE = frozenset({RelationKind.COMPLEMENT, RelationKind.EXHAUSTIVE, RelationKind.PARTITION})


class UserRelationError(DomainError):
    """The user's relations cannot be used: one line that names file, line and cause."""

    def __init__(self, file: str, line: int, cause: str) -> None:
        super().__init__(f"{file}, line {line}: {cause}")
        self.file = file
        self.line = line
        self.cause = cause


@dataclass(frozen=True, slots=True)
class UserRelation:
    """One relation as it was written. ``members`` are tickers or patterns (``*``, ``?``, ``[...]``); of a subset the
    first implies the second. ``line`` is where it stands in the file."""

    kind: RelationKind
    members: tuple[str, ...]
    reason: str
    line: int


@dataclass(frozen=True, slots=True)
class UserRelations:
    """Everything that the user wrote down, and in which file."""

    file: str
    relations: tuple[UserRelation, ...]

    def resolved(self, tickers: Collection[str]) -> "UserRelations":
        """The same with every pattern replaced by the tickers it fits, in their order.

        :raises UserRelationError: a ticker that is not among ``tickers``, a pattern that fits none, a relation of two
            markets that came to another number, or relations that contradict each other.
        """
        known = sorted(tickers)
        found = UserRelations(self.file, tuple(self._resolve(relation, known) for relation in self.relations))
        found.check()
        return found

    def _resolve(self, relation: UserRelation, known: Sequence[str]) -> UserRelation:
        everything = set(known)
        members: list[str] = []
        for member in relation.members:
            if not is_pattern(member):
                if member not in everything:
                    raise UserRelationError(self.file, relation.line, f"no market {member} is listed")
                members.append(member)
                continue
            fits = [ticker for ticker in known if fnmatchcase(ticker, member)]
            if not fits:
                raise UserRelationError(self.file, relation.line, f"no listed market fits the pattern {member}")
            members += fits
        unique = tuple(dict.fromkeys(members))
        if len(unique) < 2 or (relation.kind in PAIR_KINDS and len(unique) != 2):
            needed = "two markets" if relation.kind in PAIR_KINDS else "at least two markets"
            raise UserRelationError(
                self.file, relation.line, f"{relation.kind.value} needs {needed}, and its members are {len(unique)}"
            )
        return replace(relation, members=unique)

    def check(self) -> None:
        """Look for contradictions among the relations without patterns.

        :raises UserRelationError: a cycle of subsets, or a market that could never settle YES or never NO.
        """
        literal = [relation for relation in self.relations if not any(map(is_pattern, relation.members))]
        implied = _closure(literal)
        for relation in literal:
            if relation.kind is RelationKind.SUBSET:
                inner, outer = relation.members
                if inner in implied[outer] and not _is_said_equal(literal, inner, outer):
                    raise UserRelationError(
                        self.file, relation.line,
                        f"{inner} inside {outer} closes a cycle with line {implied[outer][inner]}: "
                        "markets that imply each other are equal",
                    )  # fmt: skip
        for relation in literal:
            if relation.kind in _AT_MOST_ONE:
                self._check_disjoint(relation, implied)
        for component in components(literal):
            self._check_states(component)

    def _check_disjoint(self, relation: UserRelation, implied: Mapping[str, Mapping[str, int]]) -> None:
        members = set(relation.members)
        for ticker, outer in implied.items():
            inside = [name for name in outer if name in members]
            if len(inside) > 1:
                one, other = inside[:2]
                line = max(outer[one], outer[other], relation.line)
                first = min(other_line for other_line in (outer[one], outer[other], relation.line) if other_line)
                what = (
                    f"{ticker} is inside {other if one == ticker else one} and disjoint from it"
                    if ticker in (one, other)
                    else f"{ticker} is inside both {one} and {other}, which are disjoint"
                )
                raise UserRelationError(self.file, line, f"{what} (see line {first})")

    def _check_states(self, component: "Component") -> None:
        rows = solutions(component.tickers, component.relations)
        if rows is None:
            return
        last = max(relation.line for relation in component.relations)
        if not rows:
            raise UserRelationError(self.file, last, f"no result of {', '.join(component.tickers)} satisfies all of it")
        for place, ticker in enumerate(component.tickers):
            results = {row[place] for row in rows}
            if len(results) == 1:
                word = "YES" if results == {True} else "NO"
                cause = f"together with the lines before, {ticker} could only be {word}"
                raise UserRelationError(self.file, last, cause)


NO_USER_RELATIONS = UserRelations("", ())


def is_pattern(member: str) -> bool:
    """Whether a member stands for every ticker that fits it."""
    return any(sign in member for sign in "*?[")


def _is_said_equal(relations: Iterable[UserRelation], one: str, other: str) -> bool:
    return any(relation.kind is RelationKind.EQUAL and set(relation.members) == {one, other} for relation in relations)


def _closure(relations: Iterable[UserRelation]) -> dict[str, dict[str, int]]:
    """Per ticker everything that it implies, itself included, with the line that says so last (0 for itself)."""
    direct: dict[str, dict[str, int]] = {}
    for relation in relations:
        for member in relation.members:
            direct.setdefault(member, {})
        if relation.kind in (RelationKind.SUBSET, RelationKind.EQUAL):
            inner, outer = relation.members
            direct[inner].setdefault(outer, relation.line)
            if relation.kind is RelationKind.EQUAL:
                direct[outer].setdefault(inner, relation.line)
    found: dict[str, dict[str, int]] = {}
    for start in direct:
        reached = {start: 0}
        queue = [start]
        while queue:
            here = queue.pop()
            for there, line in direct[here].items():
                if there not in reached:
                    reached[there] = max(line, reached[here])
                    queue.append(there)
        found[start] = reached
    return found


@dataclass(frozen=True, slots=True)
class Component:
    """Tickers that relations tie together, and those relations."""

    tickers: tuple[str, ...]
    relations: tuple[UserRelation, ...]


def components(relations: Iterable[UserRelation]) -> list[Component]:
    """Split relations so that no ticker is in two parts."""
    parts: list[tuple[dict[str, None], list[UserRelation]]] = []
    for relation in relations:
        tickers = dict.fromkeys(relation.members)
        own = [relation]
        apart = []
        for part in parts:
            if part[0].keys() & tickers.keys():
                tickers = part[0] | tickers
                own = part[1] + own
            else:
                apart.append(part)
        parts = [*apart, (tickers, own)]
    return [Component(tuple(sorted(tickers)), tuple(own)) for tickers, own in parts]


def solutions(tickers: Sequence[str], relations: Sequence[UserRelation]) -> list[tuple[bool, ...]] | None:
    """Every combination of results that violates no relation, None when there are more than can be judged."""
    place = {ticker: number for number, ticker in enumerate(tickers)}
    # A relation is looked at when a member has got its result: each time for "at most one", else when all have.
    due: list[list[Callable[[Sequence[bool]], bool]]] = [[] for _ in tickers]
    for relation in relations:
        places = tuple(place[member] for member in relation.members)
        due[max(places)].append(_holds(relation.kind, places))
        if relation.kind in _AT_MOST_ONE:
            for reached in sorted(places)[1:-1]:
                due[reached].append(_at_most_one(tuple(own for own in places if own <= reached)))
    rows: list[tuple[bool, ...]] = []
    stack: list[tuple[bool, ...]] = [()]
    steps = 0
    while stack:
        steps += 1
        row = stack.pop()
        if row and not all(holds(row) for holds in due[len(row) - 1]):
            continue
        if len(row) == len(tickers):
            rows.append(row)
        else:
            stack += [(*row, False), (*row, True)]
        if len(rows) > MOST_STATES or steps > _MOST_STEPS:
            return None
    return rows


def _holds(kind: RelationKind, places: Sequence[int]) -> Callable[[Sequence[bool]], bool]:
    return lambda row: kind.holds(tuple(row[place] for place in places))


def _at_most_one(places: Sequence[int]) -> Callable[[Sequence[bool]], bool]:
    return lambda row: sum(row[place] for place in places) <= 1


def build_user(
    component: Component,
    file: str,
    markets: Mapping[str, ListedMarket],
    listings: Mapping[str, EventListing],
    registry: Registry,
    now_ms: int,
) -> Formed:
    """The group of markets that relations tie together.

    :param markets: by ticker, as far as they are listed
    :param listings: by event ticker, those that the markets belong to
    """
    lines = ", ".join(str(relation.line) for relation in component.relations)

    def refused(reason: Reason, words: str) -> Formed:
        words = f"{words} ({file}, line {lines})"
        return Formed(refusals=(Refusal(component.tickers, Family.USER.value, reason, words, ""),))

    members = []
    for ticker in component.tickers:
        member = markets.get(ticker)
        if member is None:
            return refused(Reason.USER_UNKNOWN, f"no market {ticker} is listed")
        flaw = unfit(member, now_ms)
        if flaw is not None:
            return refused(flaw, f"{ticker}: {UNFIT_WORDS[flaw]}")
        members.append(member)
    rows = solutions(component.tickers, component.relations)
    if rows is None:
        return refused(Reason.USER_STATES, f"{len(members)} markets can settle in more than {MOST_STATES} ways")
    edges = rule_states(members, registry)
    own = [listings[event] for event in dict.fromkeys(one.market.event_ticker for one in members)]
    said = [(f"{one.kind.value} of {', '.join(one.members)}", one) for one in component.relations]
    group = make_group(
        own[0].event_ticker,
        "\n".join(component.tickers),
        Family.USER,
        (one.market for one in members),
        (*_states(component.tickers, rows), *edges.states),
        [Relation(one.kind, one.members, f"{one.reason} ({file}, line {one.line})") for one in component.relations],
        certificate=(
            f"The {len(rows)} states are every combination of results that violates none of the user's relations "
            "[computed].",
            *edges.sentences,
        ),
        assumptions=[f"{name}: {one.reason} [{file}]" for name, one in said],
        absent=frozenset().union(*(listing.absent for listing in own)),
        grounds=(
            *common_grounds(own, members),
            *(Ground(f"user relation {name}", one.reason) for name, one in said),
            *edges.grounds,
        ),
        scope=Family.USER.value,
    )
    return Formed((group,), tuple(edge_notes(group)))


def contradicted(relation: UserRelation, group: Group) -> str | None:
    """Why a relation cannot be true of a group that holds all of its members: a market of it could never pay. None when
    it can."""
    if any(member not in group.tickers for member in relation.members):
        return None
    places = [group.index(member) for member in relation.members]
    rows = [
        tuple(bool(state.yes_payouts[place]) for place in places) for state in group.states if state.highest is None
    ]
    left = [row for row in rows if relation.kind.holds(row)]
    for number, member in enumerate(relation.members):
        if any(row[number] for row in rows) and not any(row[number] for row in left):
            return f"{member} could never pay, against group {group.group_id}"
    return None


def _states(tickers: Sequence[str], rows: Sequence[tuple[bool, ...]]) -> list[State]:
    states = []
    for row in rows:
        paid = [ticker for ticker, result in zip(tickers, row, strict=True) if result]
        payouts = tuple(ONE_DOLLAR if result else Price(0) for result in row)
        states.append(State(f"YES: {', '.join(paid) or 'none'}", payouts, Basis.CERTAIN))
    return states
