"""What discovery claims of markets against what is true of them: precision and recall, family by family.

Everything that can be traded on is one of two claims about sides of markets: together they pay *at most* a dollar, or
*at least* one. "A inside B" is that A and NO of B pay at most a dollar together. A claim is

- accepted, when it holds in every state of a group that assumes nothing
- assumed, when it does in a group that a person must approve first
- conditional, when it holds in every certain state only: a bundle on it is never proved
- refused otherwise

A claim that is accepted or assumed and not true costs the account (precision). One that is true and not accepted costs
an opportunity (recall). Markets that can only settle one way are left out: everything is true of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum, unique
from itertools import combinations
from typing import Any

from infra.bench.relation_cases import Case, Found, group_json, judge_bundle, refusal_json, run
from infra.bench.relation_draft import DOLLAR, Row, World
from kalshi_arb.domain.opportunity import Grade
from kalshi_arb.domain.state_space import Basis, Group
from kalshi_arb.kalshi.wire import time_ms

Sides = tuple[tuple[int, bool], ...]
"""Places of markets, and whether YES or NO of each is meant."""
_PAIR = 2
_SHOWN = 5


@unique
class Standing(IntEnum):
    """How firmly discovery stands behind a claim."""

    REFUSED = 0
    CONDITIONAL = 1
    ASSUMED = 2
    ACCEPTED = 3


@dataclass(slots=True)
class Score:
    """Counts of one family. ``true`` claims are accepted, assumed, conditional or refused; ``false`` ones were accepted
    or assumed and are not true; ``missing_states`` are ways to settle that a group does not list."""

    worlds: int = 0
    true: int = 0
    accepted: int = 0
    assumed: int = 0
    conditional: int = 0
    refused: int = 0
    false: int = 0
    missing_states: int = 0

    def add(self, standing: Standing) -> None:
        """Count a claim that is true."""
        self.true += 1
        name = standing.name.lower()
        setattr(self, name, getattr(self, name) + 1)

    def as_json(self) -> dict[str, Any]:
        """The counts and what they come to."""
        right = self.accepted + self.assumed
        return {
            **asdict(self),
            "precision": 1.0 if right == self.false == 0 else round(right / (right + self.false), 6),
            "recall": round(self.accepted / self.true, 4) if self.true else None,
            "recall_with_approval": round(right / self.true, 4) if self.true else None,
        }

    def __add__(self, other: "Score") -> "Score":
        mine, theirs = asdict(self), asdict(other)
        return Score(**{name: mine[name] + theirs[name] for name in mine})


def score_worlds(worlds: Iterable[World]) -> tuple[dict[tuple[str, str], Score], list[str]]:
    """The score of every family and trap, and the first lies that were believed, in words."""
    scores: dict[tuple[str, str], Score] = {}
    lies: list[str] = []
    for number, world in enumerate(worlds):
        score = scores.setdefault((world.family, world.trap), Score())
        score.worlds += 1
        found = run(Case(f"{world.family} {number}", world.content))
        for words in _score(world, found, score):
            if len(lies) < _SHOWN:
                lies.append(f"{world.family} world {number}: {words}")
    return scores, lies


def _score(world: World, found: Found, score: Score) -> Iterator[str]:
    """Count one world; yields what is claimed and not true."""
    place = {ticker: number for number, ticker in enumerate(world.tickers)}
    groups = [_Ways(group, place) for group in found.groups.values()]
    for group in groups:
        missing = sum(not group.allows(row) for row in world.truth)
        if missing:
            score.missing_states += missing
            yield f"{group.name} does not list {missing} ways to settle"
    alive = [len({row[number] for row in world.truth}) > 1 for number in range(len(place))]
    sets = (tuple((place[ticker], side) for ticker, side in members) for members in world.sets)
    for sides in (*_pairs(len(place)), *(members for members in sets if len(members) > _PAIR)):
        if not all(alive[number] for number, _ in sides):
            continue
        least, most = _extremes([(row, row) for row in world.truth], sides)
        for at_most, true in ((True, most <= DOLLAR), (False, least >= DOLLAR)):
            standing = max((group.standing(sides, at_most=at_most) for group in groups), default=Standing.REFUSED)
            if true:
                score.add(standing)
            elif standing >= Standing.ASSUMED:
                score.false += 1
                said = " and ".join(f"{'YES' if side else 'NO'} of {world.tickers[number]}" for number, side in sides)
                bound = "most" if at_most else "least"
                yield f"{said} pay at {bound} a dollar together, it is claimed ({standing.name.lower()})"


def _pairs(count: int) -> Iterator[Sides]:
    """Both sides of each pair: disjoint or covering, and the one inside the other or the other inside it."""
    for one, other in combinations(range(count), 2):
        yield (one, True), (other, True)
        # At most a dollar: one inside the other. At least a dollar: the other inside the one.
        yield (one, True), (other, False)


def _extremes(rows: Iterable[tuple[Sequence[int], Sequence[int]]], sides: Sides) -> tuple[int, int]:
    """The least and the most that sides pay together over rows of least and most YES values."""
    least: int | None = None
    most: int | None = None
    for lows, highs in rows:
        low = sum(lows[number] if side else DOLLAR - highs[number] for number, side in sides)
        high = sum(highs[number] if side else DOLLAR - lows[number] for number, side in sides)
        least = low if least is None else min(least, low)
        most = high if most is None else max(most, high)
    return least or 0, DOLLAR * len(sides) if most is None else most


class _Ways:
    """A group's states over the markets of a world."""

    def __init__(self, group: Group, place: dict[str, int]) -> None:
        self.name = group.group_id
        self._places = {place[ticker]: index for index, ticker in enumerate(group.tickers)}
        self._is_assumed = bool(group.assumptions)
        pairs = [(state.yes_payouts, state.highest or state.yes_payouts, state.basis) for state in group.states]
        self._all = [(low, high) for low, high, _ in pairs]
        self._certain = [(low, high) for low, high, basis in pairs if basis is Basis.CERTAIN]

    def allows(self, row: Row) -> bool:
        """Whether a way to settle is among the states."""
        values = [(index, row[number]) for number, index in self._places.items()]
        return any(all(low[index] <= value <= high[index] for index, value in values) for low, high in self._all)

    def standing(self, sides: Sides, *, at_most: bool) -> Standing:
        """What this group makes of a claim."""
        if any(number not in self._places for number, _ in sides):
            return Standing.REFUSED
        own = tuple((self._places[number], side) for number, side in sides)
        if self._holds(self._all, own, at_most=at_most):
            return Standing.ASSUMED if self._is_assumed else Standing.ACCEPTED
        return Standing.CONDITIONAL if self._holds(self._certain, own, at_most=at_most) else Standing.REFUSED

    def _holds(self, states: Sequence[tuple[Row, Row]], sides: Sides, *, at_most: bool) -> bool:
        least, most = _extremes(states, sides)
        return most <= DOLLAR if at_most else least >= DOLLAR


# The hand-written cases


@dataclass(slots=True)
class CaseScore:
    """Relations and bundles of one family: as expected, claimed beyond it, or short of it."""

    right: int = 0
    too_much: int = 0
    too_little: int = 0

    def as_json(self) -> dict[str, Any]:
        """The counts and what they come to."""
        claimed, wanted = self.right + self.too_much, self.right + self.too_little
        return {
            **asdict(self),
            "precision": round(self.right / claimed, 6) if claimed else 1.0,
            "recall": round(self.right / wanted, 6) if wanted else 1.0,
        }


_FIRMNESS = {Grade.REFUSED.value: 0, Grade.CONDITIONAL.value: 1, Grade.ASSUMED.value: 2, Grade.PROVED.value: 3}


def score_cases(cases: Iterable[Case]) -> tuple[dict[str, CaseScore], list[str]]:
    """Every family's score over cases, and what differs, in words."""
    scores: dict[str, CaseScore] = {}
    differences: list[str] = []
    for case in cases:
        found = run(case)
        expected = {one["id"]: one for one in case.expected["groups"]}
        actual = {group_id: group_json(group) for group_id, group in found.groups.items()}
        for group_id in dict.fromkeys((*expected, *actual)):
            wanted, got = expected.get(group_id, {}), actual.get(group_id, {})
            score = scores.setdefault(wanted.get("family") or got["family"], CaseScore())
            score.right += sum(one in got.get("relations", ()) for one in wanted.get("relations", ()))
            short = [one for one in wanted.get("relations", ()) if one not in got.get("relations", ())]
            beyond = [one for one in got.get("relations", ()) if one not in wanted.get("relations", ())]
            score.too_little += len(short)
            score.too_much += len(beyond)
            differences += [f"{case.name}, {group_id}: {one} is missing" for one in short]
            differences += [f"{case.name}, {group_id}: {one} is claimed" for one in beyond]
        refusals = [refusal_json(refusal) for refusal in found.refusals]
        differences += [f"{case.name}: not refused: {one}" for one in case.expected["refused"] if one not in refusals]
        for bundle in case.expected.get("bundles", ()):
            group = found.groups.get(bundle["group"])
            family = expected[bundle["group"]]["family"]
            grade = None if group is None else judge_bundle(group, bundle, time_ms(case.content["now"])).get("grade")
            gap = _FIRMNESS.get(grade or "", -1) - _FIRMNESS.get(bundle.get("grade", ""), -1)
            score = scores.setdefault(family, CaseScore())
            score.right += gap == 0
            score.too_much += gap > 0
            score.too_little += gap < 0
            if gap:
                differences.append(
                    f"{case.name}, {bundle['name']}: {grade}, not {bundle.get('grade', 'refused whole')}"
                )
    return scores, differences
