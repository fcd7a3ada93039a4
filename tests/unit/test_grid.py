"""Tick grids: which prices an order may carry."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import AmountError, GridError
from kalshi_arb.domain.grid import (
    CENT_GRID,
    FINEST_GRID,
    Band,
    PriceGrid,
    grid_from_wire,
    grid_to_wire,
)
from kalshi_arb.domain.money import ONE_DOLLAR, Price


def banded(edge: int, center: int, width: int = 1_000) -> PriceGrid:
    """Steps of ``edge`` up to ``width`` from both ends, of ``center`` between."""
    bounds = (0, width, ONE_DOLLAR - width, ONE_DOLLAR)
    steps = (edge, center, edge)
    return PriceGrid(
        tuple(
            Band(Price(low), Price(high), Price(step))
            for low, high, step in zip(bounds[:-1], bounds[1:], steps, strict=True)
        )
    )


# Steps and edges of every documented structure, with the number of prices an order may carry on it.
STRUCTURES = {
    "linear_cent": (banded(100, 100), 99),
    "deci_cent": (banded(10, 10), 999),
    "tapered_deci_cent": (banded(10, 100), 279),
    "center_whole_edge_half_cent": (banded(50, 100), 119),
    "center_whole_edge_quint_cent": (banded(20, 100), 179),
    "center_half_edge_half_cent": (banded(50, 50), 199),
    "center_half_edge_quint_cent": (banded(20, 50), 259),
    "center_half_edge_deci_cent": (banded(10, 50), 359),
    "center_quint_edge_quint_cent": (banded(20, 20), 499),
    "center_quint_edge_deci_cent": (banded(10, 20), 599),
    "center_centi_edge_centi_cent": (banded(1, 1), 9_999),
    "center_deci_edge_centi_cent": (banded(1, 10, width=100), 1_179),
}
TAPERED = STRUCTURES["tapered_deci_cent"][0]
FINEST = FINEST_GRID
HALVES = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(5_000)),))
NOTHING = PriceGrid((Band(Price(0), ONE_DOLLAR, ONE_DOLLAR),))
grids = st.sampled_from([CENT_GRID, HALVES, NOTHING, *(grid for grid, _ in STRUCTURES.values())])


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


@cache
def legal_prices(grid: PriceGrid) -> list[int]:
    return [price for price in range(1, ONE_DOLLAR) if grid.is_valid(Price(price))]


@given(grids, st.integers(-50, 10_050))
def test_snapping_finds_the_nearest_legal_price(grid: PriceGrid, amount: int) -> None:
    legal = legal_prices(grid)
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


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_named_structure_holds_the_whole_cents(name: str) -> None:
    grid, size = STRUCTURES[name]
    legal = [price for price in range(ONE_DOLLAR + 1) if grid.is_valid(Price(price))]
    assert len(legal) == size
    assert set(range(100, ONE_DOLLAR, 100)) <= set(legal)
    # A grid in YES prices is the same in NO prices.
    assert legal == sorted(ONE_DOLLAR - price for price in legal)


def test_a_name_says_nothing_that_the_ranges_do_not() -> None:
    one_band = PriceGrid((Band(Price(0), ONE_DOLLAR, Price(100)),))
    three = STRUCTURES["linear_cent"][0]
    assert one_band != three
    assert [price for price in range(10_001) if one_band.is_valid(Price(price))] == [
        price for price in range(10_001) if three.is_valid(Price(price))
    ]


@given(grids, st.integers(-50, 10_050))
def test_snapping_never_leaves_the_grid(grid: PriceGrid, amount: int) -> None:
    snapped = [grid.at_or_below(Price(amount)), grid.at_or_above(Price(amount))]
    snapped += [grid.next_below(Price(amount)), grid.next_above(Price(amount))]
    assert all(price is None or grid.is_valid(price) for price in snapped)


def test_an_illegal_price_is_refused_with_its_neighbours() -> None:
    assert TAPERED.require(Price(990)) == 990
    with pytest.raises(GridError, match=r"0\.4550; nearest legal: 0\.4500 or 0\.4600"):
        TAPERED.require(Price(4_550))
    with pytest.raises(GridError, match=r"1\.0000; nearest legal: 0\.9990$"):
        TAPERED.require(ONE_DOLLAR)
    with pytest.raises(GridError, match="none"):
        NOTHING.require(Price(5_000))


def test_whole_cents_are_on_every_grid_so_a_change_of_grid_leaves_them_legal() -> None:
    for grid, _ in STRUCTURES.values():
        assert all(grid.is_valid(Price(cents * 100)) for cents in range(1, 100))


def test_a_grid_knows_whether_it_keeps_to_whole_steps() -> None:
    assert CENT_GRID.is_on_steps_of(Price(100))
    assert TAPERED.is_on_steps_of(Price(10))
    assert not TAPERED.is_on_steps_of(Price(100))
