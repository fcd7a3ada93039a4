# ruff: noqa: T201 - an example shows what it read
"""The client on its own, as README shows it: read a book, rest an order far below it, take it away again."""

import os

from kalshi_arb.domain.money import Count, Price
from kalshi_arb.domain.side import BookSide
from kalshi_arb.kalshi.hosts import HOSTS, Exchange
from kalshi_arb.kalshi.requests import NewOrder, OrderRef
from kalshi_arb.kalshi.rest import Kalshi
from kalshi_arb.kalshi.signing import credentials_from_environment


def run(rest_url: str = HOSTS[Exchange.DEMO].rest_url) -> None:
    with Kalshi(rest_url, credentials_from_environment(os.environ)) as kalshi:
        market = next(kalshi.markets.markets(status="open"))
        print(market.ticker, kalshi.markets.orderbook(market.ticker, depth=3).yes_dollars)
        order = NewOrder(market.ticker, BookSide.BID, Count(100), Price(100), post_only=True)  # 1 contract, $0.01
        placed = kalshi.orders.create(order)
        print("resting", placed.remaining_count, "filled", placed.fill_count)
        print("cash by shard", kalshi.portfolio.balance().balance_breakdown)
        kalshi.orders.cancel(OrderRef(placed.order_id, ticker=market.ticker))


if __name__ == "__main__":
    run()
