"""Tick grids: which prices an order may carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import AmountError, GridError
from kalshi_arb.domain.grid import CENT_GRID, Band, PriceGrid, grid_from_wire, grid_to_wire
from kalshi_arb.domain.money import ONE_DOLLAR, Price

TAPERED = PriceGrid(
    (
        Band(Price(0), Price(1_000), Price(10)),
        Band(Price(1_000), Price(9_000), Price(100)),
        Band(Price(9_000), ONE_DOLLAR, Price(10)),
    )
)
FINEST = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(1)),))
HALVES = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(5_000)),))
NOTHING = PriceGrid((Band(Price(0), ONE_DOLLAR, ONE_DOLLAR),))
grids = st.sampled_from([CENT_GRID, TAPERED, FINEST, HALVES, NOTHING])


@pytest.mark.parametrize("price", [0, ONE_DOLLAR, -100, 20_000])
def test_the_ends_of_the_dollar_are_never_order_prices(price: int) -> None:
    assert not any(grid.is_valid(Price(price)) for grid in (CENT_GRID, TAPERED, FINEST))


def test_steps_change_at_the_borders() -> None:
    legal = [990, 1_000, 1_100, 9_000, 9_010, 9_990]
    assert all(TAPERED.is_valid(Price(price)) for price in legal)
    assert not any(TAPERED.is_valid(Price(price)) for price in (1_010, 8_990, 995, 9_995))


def test_neighbours_cross_borders() -> None:
    assert TAPERED.next_above(Price(1_000)) == 1_100
    assert TAPERED.next_below(Price(1_000)) == 990
    assert TAPERED.next_above(Price(8_950)) == 9_000
    assert TAPERED.next_above(Price(9_990)) is None
    assert TAPERED.next_below(Price(10)) is None


@given(grids, st.integers(-50, 10_050))
def test_snapping_finds_the_nearest_legal_price(grid: PriceGrid, amount: int) -> None:
    legal = [price for price in range(1, ONE_DOLLAR) if grid.is_valid(Price(price))]
    below = [price for price in legal if price <= amount]
    above = [price for price in legal if price >= amount]
    assert grid.at_or_below(Price(amount)) == (below[-1] if below else None)
    assert grid.at_or_above(Price(amount)) == (above[0] if above else None)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([], "at least one"),
        ([(0, 9_000, 100)], "0 to 1 dollar"),
        ([(100, 10_000, 100)], "0 to 1 dollar"),
        ([(0, 5_000, 100), (6_000, 10_000, 100)], "gap"),
        ([(0, 5_000, 100), (4_000, 10_000, 100)], "overlap"),
        ([(0, 10_000, 300)], "does not fit"),
        ([(0, 10_000, 0)], "does not fit"),
        ([(0, 0, 100), (0, 10_000, 100)], "does not fit"),
    ],
)
def test_what_is_no_grid_is_refused(bands: list[tuple[int, int, int]], message: str) -> None:
    with pytest.raises(GridError, match=message):
        PriceGrid(tuple(Band(Price(start), Price(end), Price(step)) for start, end, step in bands))


@given(grids)
def test_grids_survive_the_wire(grid: PriceGrid) -> None:
    assert grid_from_wire(grid_to_wire(grid)) == grid


def test_malformed_ranges_are_refused() -> None:
    with pytest.raises(GridError, match="'step'"):
        grid_from_wire([{"start": "0.0000", "end": "1.0000"}])
    with pytest.raises(AmountError):
        grid_from_wire([{"start": "0", "end": "1", "step": "cent"}])
