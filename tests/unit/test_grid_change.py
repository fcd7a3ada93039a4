"""A market's grid becomes coarser while a basket lives: its unwind finds a legal price and is not stuck."""

from dataclasses import replace

from kalshi_arb.domain.basket import Basket, BasketState, OrderState, Purpose
from kalshi_arb.domain.grid import CENT_GRID, FINEST_GRID, PriceGrid
from kalshi_arb.domain.market import Outcome
from tests.basket_world import World, partition


def change_grid(world: World, ticker: str, grid: PriceGrid) -> None:
    markets = world.exchange._markets
    markets[ticker] = replace(markets[ticker], grid=grid)


def after_a_change(*bids: tuple[int, int]) -> tuple[World, Basket]:
    """A first leg is bought on the finest grid, the others fade, and the grid is whole cents from then on. What is bid
    was placed before (1e-4 dollars, contracts)."""
    group = partition()
    world = World(replace(group, markets=tuple(replace(own, grid=FINEST_GRID) for own in group.markets)))
    world.offer_bundle()
    basket = world.propose_bundle()

    def fade(orders: object) -> None:
        if len(world.exchange.batches) == 2:
            world.exchange.set_book("EV-0", yes_bids=[(price, contracts * 100) for price, contracts in bids])
            for ticker in ("EV-1", "EV-2"):
                world.exchange.set_book(ticker)
            for own in group.markets:
                change_grid(world, own.ticker, CENT_GRID)

    world.exchange.before_place = fade
    return world, world.drive(basket.basket_id)


def test_a_whole_cent_reaches_bids_off_the_new_grid() -> None:
    world, row = after_a_change((2_855, 6), (2_845, 10))
    assert row.state is BasketState.FLAT
    sales = [order for order in row.orders if order.purpose is Purpose.UNWIND]
    assert sum(order.filled for order in sales) == 1_000
    assert all(order.state is OrderState.DONE and order.request.limit % 100 == 0 for order in sales)
    world.assert_ended_well(row.basket_id)


def test_a_refused_price_is_followed_by_a_legal_one() -> None:
    # What half a cent is bid for needs 99.5 cents of the other outcome, which the new grid does not have.
    world, row = after_a_change((100, 4), (50, 20))
    sales = [order for order in row.orders if order.purpose is Purpose.UNWIND]
    refused = [order for order in sales if order.state is OrderState.REJECTED]
    assert {order.request.outcome for order in sales} == {Outcome.NO}
    assert refused
    assert all(order.request.limit % 100 for order in refused)
    assert sum(order.filled for order in sales) == 400
    assert row.state is BasketState.HELD
    world.assert_ended_well(row.basket_id)
