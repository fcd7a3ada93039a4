"""The states of a group against direct evaluation of the strikes on sampled values."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis, Family
from kalshi_arb.relations.intervals import line_states
from tests.market_samples import formed, listing, market

HALF = Decimal("0.5")
ENDS = [(low, high) for low in (False, True) for high in (False, True)]

thresholds = st.builds("{} {}".format, st.sampled_from([">", ">=", "<", "<="]), st.integers(0, 8))
brackets = st.tuples(st.integers(0, 8), st.integers(1, 3)).map(lambda pair: f"{pair[0]} .. {pair[0] + pair[1]}")
strikes = st.lists(st.one_of(thresholds, brackets), min_size=1, max_size=5, unique=True)


def pays(one: Market, value: Decimal, ends: Mapping[str, tuple[bool, bool]]) -> bool:
    """Whether a market pays at a value when its bracket includes its low and high end as ``ends`` says."""
    floor, cap = one.floor, one.cap
    match one.strike_type:
        case StrikeType.GREATER:
            return floor is not None and value > floor
        case StrikeType.GREATER_OR_EQUAL:
            return floor is not None and value >= floor
        case StrikeType.LESS:
            return cap is not None and value < cap
        case StrikeType.LESS_OR_EQUAL:
            return cap is not None and value <= cap
        case _:
            assert floor is not None
            assert cap is not None
            low, high = ends[one.ticker]
            return floor < value < cap or (low and value == floor) or (high and value == cap)


def outcomes(markets: list[Market]) -> set[tuple[int, ...]]:
    """Every payout vector over a grid finer than the strikes and every reading of the brackets' ends."""
    values = [Decimal(step) * HALF for step in range(-2, 26)]
    found = set()
    for readings in product(ENDS, repeat=len(markets)):
        ends = {one.ticker: reading for one, reading in zip(markets, readings, strict=True)}
        for value in values:
            found.add(tuple(int(ONE_DOLLAR) if pays(one, value, ends) else 0 for one in markets))
    return found


@settings(max_examples=60, deadline=None)
@given(strikes.filter(lambda drawn: sum(".." in strike for strike in drawn) <= 3))
def test_states_are_exactly_what_some_value_and_reading_can_do(drawn: list[str]) -> None:
    markets = [market(strike) for strike in drawn]
    states = line_states(markets)
    assert {state.yes_payouts for state in states} == outcomes(markets)
    assert len({state.yes_payouts for state in states}) == len(states)
    assert len({state.name for state in states}) == len(states)


@settings(max_examples=100, deadline=None)
@given(strikes)
def test_what_display_values_do_under_every_reading_is_certain(drawn: list[str]) -> None:
    """A whole value on which all readings agree can be observed, so its state cannot be a mere possibility."""
    markets = [market(strike) for strike in drawn]
    certain = {state.yes_payouts for state in line_states(markets) if state.basis is Basis.CERTAIN}
    inside = {one.ticker: (False, False) for one in markets}
    outside = {one.ticker: (True, True) for one in markets}
    for value in map(Decimal, range(-1, 13)):
        low = tuple(int(ONE_DOLLAR) if pays(one, value, inside) else 0 for one in markets)
        high = tuple(int(ONE_DOLLAR) if pays(one, value, outside) else 0 for one in markets)
        if low == high:
            assert low in certain


@settings(max_examples=200, deadline=None)
@given(strikes)
def test_families_keep_what_they_promise(drawn: list[str]) -> None:
    groups, drops = formed(listing(map(market, drawn)))
    assert sum(len(found.markets) for found in groups) + sum(drops.values()) == len(drawn)
    for found in groups:
        for state in found.states:
            if found.family is Family.LADDER:
                assert list(state.yes_payouts) == sorted(state.yes_payouts, reverse=True)
            elif found.family is Family.PARTITION and state.basis is Basis.CERTAIN:
                assert sum(state.yes_payouts) <= ONE_DOLLAR
