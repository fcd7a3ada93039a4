"""A bundle is cut to the limits in its own proportions, in whole contracts where it has them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.risk.sizing import largest_that_fits


def bundle(*counts: int) -> tuple[Leg, ...]:
    return tuple(Leg(f"M{n}", Outcome.NO, Count(count), Price(5000)) for n, count in enumerate(counts))


def counts(legs: tuple[Leg, ...]) -> tuple[int, ...]:
    return tuple(leg.count for leg in legs)


def at_most(total: int):  # type: ignore[no-untyped-def]  # a one-line predicate
    return lambda legs: sum(leg.count for leg in legs) <= total


def test_a_bundle_that_fits_is_left_alone() -> None:
    assert counts(largest_that_fits(bundle(700, 700), at_most(1400))) == (700, 700)


def test_equal_legs_shrink_to_the_last_whole_contract_that_fits() -> None:
    assert counts(largest_that_fits(bundle(9600, 9600, 9600), at_most(10_000))) == (3300, 3300, 3300)


def test_unequal_legs_keep_their_proportion() -> None:
    assert counts(largest_that_fits(bundle(6000, 4000, 2000), at_most(1300))) == (600, 400, 200)


def test_fractions_shrink_in_hundredths() -> None:
    assert counts(largest_that_fits(bundle(196, 196), at_most(11))) == (5, 5)


def test_counts_without_a_common_part_are_rounded_down_to_whole_contracts() -> None:
    assert counts(largest_that_fits(bundle(14_100, 13_800, 12_200), at_most(10_000))) == (3500, 3400, 3000)


def test_a_bundle_that_would_lose_a_leg_is_refused() -> None:
    assert largest_that_fits(bundle(9_900, 100), at_most(5_000)) == ()
    assert largest_that_fits(bundle(100, 100), at_most(199)) == ()


def test_a_copy_that_lost_a_leg_is_never_asked_about() -> None:
    def limit(legs: tuple[Leg, ...]) -> bool:
        assert all(leg.count for leg in legs)
        return sum(leg.count for leg in legs) <= 2_600

    assert counts(largest_that_fits(bundle(30_100, 1_300), limit)) == (2_500, 100)
    assert largest_that_fits(bundle(30_100, 100), limit) == ()


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(1, 60),
    st.sampled_from([1, 100]),
    st.integers(0, 9000),
)
def test_what_comes_out_fits_and_is_no_lopsided_copy(shape: list[int], size: int, unit: int, limit: int) -> None:
    legs = bundle(*(part * size * unit for part in shape))
    found = counts(largest_that_fits(legs, at_most(limit)))
    assert sum(found) <= limit
    step = 100 if all(leg.count % 100 == 0 for leg in legs) else 1
    if found:
        share = max(have / leg.count for have, leg in zip(found, legs, strict=True))
        assert all(leg.count * share - have < step for have, leg in zip(found, legs, strict=True))
    smallest = [
        part * size * unit // step // math.gcd(*(p * size * unit // step for p in shape)) * step for part in shape
    ]
    if sum(smallest) <= limit:
        # Some exact copy fits, so the answer is exact, and one more part would not fit.
        assert len({have * legs[0].count - found[0] * leg.count for have, leg in zip(found, legs, strict=True)}) == 1
        assert found == counts(legs) or sum(found) + sum(smallest) > limit
