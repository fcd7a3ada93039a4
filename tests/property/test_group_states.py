"""The states of every family against brute force over what can be observed, and what is claimed against the states."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise, product

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.detection.solvers.plans import plan_of
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.relation import RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group
from kalshi_arb.relations.catalogue import Catalogue, build_groups
from kalshi_arb.relations.user import PAIR_KINDS, UserRelation, components, solutions
from tests.market_samples import formed, listing, market
from tests.relation_samples import index_event, index_registry

thresholds = st.builds("{} {}".format, st.sampled_from([">", ">=", "<", "<="]), st.integers(0, 8))
brackets = st.tuples(st.integers(0, 8), st.integers(1, 3)).map(lambda pair: f"{pair[0]} .. {pair[0] + pair[1]}")
mixed = st.lists(st.one_of(thresholds, brackets), min_size=2, max_size=5, unique=True)
few_brackets = mixed.filter(lambda drawn: sum(".." in strike for strike in drawn) <= 2)

HALVES = [Decimal(step) / 2 for step in range(-2, 26)]
WHOLE = [Decimal(step) for step in range(-1, 13)]
READINGS = [(low, high) for low in (False, True) for high in (False, True)]


def pays(one: Market, value: Decimal, ends: tuple[bool, bool]) -> bool:
    """Whether a market pays at a value, when a bracket includes its low and high end as ``ends`` says."""
    floor, cap = one.floor or Decimal(0), one.cap or Decimal(0)
    match one.strike_type:
        case StrikeType.GREATER:
            return value > floor
        case StrikeType.GREATER_OR_EQUAL:
            return value >= floor
        case StrikeType.LESS:
            return value < cap
        case StrikeType.LESS_OR_EQUAL:
            return value <= cap
        case _:
            return floor < value < cap or (ends[0] and value == floor) or (ends[1] and value == cap)


def observed(markets: Sequence[Market], values: Sequence[Decimal]) -> Iterator[tuple[int, ...]]:
    """Every payout vector over values and, bracket by bracket, readings of their ends."""
    for value in values:
        options = [
            {pays(one, value, ends) for ends in (READINGS if one.strike_type is StrikeType.BETWEEN else READINGS[:1])}
            for one in markets
        ]
        for results in product(*options):
            yield tuple(int(ONE_DOLLAR) if result else 0 for result in results)


def certain_rows(group: Group) -> list[tuple[int, ...]]:
    """The payouts of every certain state."""
    return [state.yes_payouts for state in group.states if state.basis is Basis.CERTAIN]


def rows(group: Group) -> set[tuple[int, ...]]:
    return {state.yes_payouts for state in group.states if state.highest is None}


@settings(max_examples=100, deadline=None)
@given(few_brackets)
def test_a_group_on_a_line_settles_in_every_observable_way_and_no_other(drawn: list[str]) -> None:
    groups, _ = formed(listing(map(market, drawn)))
    for group in groups:
        assert group.family in (Family.LADDER, Family.PARTITION, Family.LINE)
        assert rows(group) == set(observed(group.markets, HALVES))
        assert len({state.name for state in group.states}) == len(group.states)


@settings(max_examples=100, deadline=None)
@given(mixed)
def test_a_reviewed_lattice_and_ends_leave_the_lattice_values_alone(drawn: list[str]) -> None:
    known = index_registry(lattice="1", ends_included=True)
    for group in build_groups([index_event("E", *drawn)], registry=known).groups:
        expected = {
            tuple(int(ONE_DOLLAR) if pays(one, value, (True, True)) else 0 for one in group.markets) for value in WHOLE
        }
        assert rows(group) == expected
        assert group.edge_states == ()


@settings(max_examples=100, deadline=None)
@given(few_brackets, mixed.filter(lambda drawn: not any(".." in strike for strike in drawn)))
def test_joining_events_adds_no_state_to_any_of_them(one: list[str], other: list[str]) -> None:
    events = [index_event("E1", *one), index_event("E2", *other, series="OTHER")]
    built = build_groups(events, registry=index_registry("SERIES", "OTHER"))
    alone = [group for group in built.groups if len(group.event_tickers) == 1]
    joined = [group for group in built.groups if len(group.event_tickers) > 1]
    assert len(joined) == (len(alone) == 2)
    for whole in joined:
        assert rows(whole) == set(observed(whole.markets, HALVES))
        for part in alone:
            places = [whole.index(ticker) for ticker in part.tickers]
            assert {tuple(row[place] for place in places) for row in rows(whole)} <= rows(part)
            certain = {tuple(row[place] for place in places) for row in certain_rows(whole)}
            assert certain >= set(certain_rows(part))


@settings(max_examples=150, deadline=None)
@given(mixed, mixed)
def test_every_relation_holds_wherever_the_value_falls(one: list[str], other: list[str]) -> None:
    events = [index_event("E1", *one), index_event("E2", *other, series="OTHER")]
    for group in build_groups(events, registry=index_registry("SERIES", "OTHER")).groups:
        for relation in group.relations:
            places = [group.index(ticker) for ticker in relation.tickers]
            for row in rows(group):
                assert relation.kind.holds(tuple(bool(row[place]) for place in places)), relation


@settings(max_examples=150, deadline=None)
@given(mixed, mixed)
def test_the_structure_that_is_solved_is_that_of_the_certain_states(one: list[str], other: list[str]) -> None:
    events = [index_event("E1", *one), index_event("E2", *other, series="OTHER")]
    for group in build_groups(events, registry=index_registry("SERIES", "OTHER")).groups:
        plan = plan_of(group, every_state=False)
        assert not plan.is_general, "every line has a structure"
        for row in certain_rows(group):

            def pays(contract: int, row: tuple[int, ...] = row) -> int:
                return ONE_DOLLAR - row[contract >> 1] if contract & 1 else row[contract >> 1]

            assert all(pays(contract) == ONE_DOLLAR for contract in plan.sure)
            if plan.pair:
                assert sum(map(pays, plan.pair)) >= ONE_DOLLAR
            for easier, harder in pairwise(plan.rungs):
                assert max(map(pays, harder)) <= min(map(pays, easier))
            assert all(len(set(map(pays, rung))) == 1 for rung in plan.rungs)
            if plan.exclusive:
                assert sum(map(pays, plan.exclusive)) <= ONE_DOLLAR
                assert sum(map(pays, plan.exclusive)) == ONE_DOLLAR or not plan.covering


@settings(max_examples=60, deadline=None)
@given(st.lists(mixed, min_size=1, max_size=3), mixed)
def test_a_change_followed_leads_where_building_anew_does(before: list[list[str]], after: list[str]) -> None:
    known = index_registry("S0", "S1", "S2")
    events = [index_event(f"E{n}", *strikes, series=f"S{n}") for n, strikes in enumerate(before)]
    followed = Catalogue(registry=known)
    followed.load(events, now_ms=0)
    old = {group.group_id: group.fingerprint for group in followed.built().groups}
    events[0] = index_event("E0", *after, series="S0")
    change = followed.replace(events[0], now_ms=0)
    anew = build_groups(events, registry=known)
    assert followed.built().groups == anew.groups
    assert set(followed.built().refusals) == set(anew.refusals)
    new = {group.group_id: group.fingerprint for group in anew.groups}
    assert {group.group_id for group in change.changed} == {key for key in new if old.get(key) != new[key]}
    assert set(change.gone) == old.keys() - new.keys()


NAMES = "ABCDE"
relations = st.builds(
    lambda kind, members: UserRelation(kind, tuple(members[:2] if kind in PAIR_KINDS else members), "so", 1),
    st.sampled_from(RelationKind),
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(relations, min_size=1, max_size=5))
def test_the_users_relations_leave_exactly_the_results_that_violate_none(drawn: list[UserRelation]) -> None:
    for component in components(drawn):
        found = solutions(component.tickers, component.relations)
        expected = {
            row
            for row in product((False, True), repeat=len(component.tickers))
            if all(
                one.kind.holds(tuple(row[component.tickers.index(member)] for member in one.members))
                for one in component.relations
            )
        }
        assert found is not None
        assert set(found) == expected
        assert len(found) == len(expected)


@given(st.lists(relations, min_size=1, max_size=5))
def test_no_market_is_in_two_groups_of_the_users_relations(drawn: list[UserRelation]) -> None:
    found = components(drawn)
    tickers = [ticker for component in found for ticker in component.tickers]
    assert len(set(tickers)) == len(tickers)
    assert sum(len(component.relations) for component in found) == len(drawn)


@given(st.integers(2, 6))
def test_certain_states_of_a_group_are_never_lost_to_a_basis(count: int) -> None:
    groups, _ = formed(listing(market(f"> {number}") for number in range(count)))
    assert {state.basis for state in groups[0].states} == {Basis.CERTAIN}
    assert len(groups[0].states) == count + 1
