"""`kalshi-arb book`: one market's order book, read now with public reads alone. Nothing is traded."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import click

from kalshi_arb.cli.exchange_choice import EMBEDDED, check_choice, rest_url
from kalshi_arb.cli.options import exchange_option, folder_option, url_option
from kalshi_arb.clock import Clock, SystemClock
from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Count, Price, count_to_wire, price_to_wire
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.ports import MarketState

SHOWN_LEVELS = 10
_TICKER = re.compile(r"[A-Z0-9][A-Z0-9._-]*")


def check_ticker(ticker: str) -> str:
    """:raises click.UsageError: no market can have this ticker."""
    if not _TICKER.fullmatch(ticker):
        raise click.UsageError(
            f"{ticker!r} is no market ticker: those are capitals, digits, dots and dashes, such as KXHIGHNY-26NOV22-T60"
        )
    return ticker


def read_book(url: str, ticker: str, clock: Clock) -> tuple[BookSnapshot, MarketState, int]:
    """The book, its market, and how many milliseconds at most the book is old.

    The exchange answers an unknown ticker with an empty book, so the market is asked for too.

    :raises ExchangeError: the exchange does not answer.
    :raises click.ClickException: it has no such market.
    """
    client = RestClient(base_url=url, credentials=None, clock=clock)
    try:
        market_data = KalshiMarketData(client, clock)
        state = market_data.market_states([ticker]).get(ticker)
        if state is None:
            raise click.ClickException(f"{url} knows no market {ticker}")
        asked_ms = clock.now_ms()
        book = market_data.orderbooks([ticker]).get(ticker)
        if book is None:
            raise click.ClickException(f"{url} gives no book of {ticker}, though it lists the market")
        return book, state, clock.now_ms() - asked_ms
    finally:
        client.close()


def book_view(book: BookSnapshot, state: MarketState, age_ms: int) -> dict[str, Any]:
    """A book for machines: prices in dollars of YES, sizes in contracts, best first, with what lies up to each level.

    A bid is a resting bid for YES; an ask is a resting bid for NO at the complement.
    """
    bids, asks = book.bids(Outcome.YES), book.asks(Outcome.YES)
    spread = asks[0].price - bids[0].price if bids and asks else None
    return {
        "ticker": book.ticker,
        "event_ticker": state.event_ticker,
        "status": state.status.value,
        "read_ms": book.alive_ms,
        "age_ms": age_ms,
        "best_bid": price_to_wire(bids[0].price) if bids else None,
        "best_ask": price_to_wire(asks[0].price) if asks else None,
        "spread": None if spread is None else _signed(spread),
        "crossed": spread is not None and spread <= 0,
        "bids": _levels(bids),
        "asks": _levels(asks),
    }


def _signed(price: int) -> str:
    return ("-" if price < 0 else "") + price_to_wire(Price(abs(price)))


def _levels(levels: Sequence[Level]) -> list[dict[str, str]]:
    totals = accumulate(level.size for level in levels)
    return [
        {
            "price": price_to_wire(level.price),
            "size": count_to_wire(level.size),
            "cumulative": count_to_wire(Count(total)),
        }
        for level, total in zip(levels, totals, strict=True)
    ]


def as_text(view: dict[str, Any], shown: int) -> list[str]:
    """A book for people: asks above, bids below, the best of both next to the spread."""
    read = datetime.fromtimestamp(view["read_ms"] / 1000, UTC)
    lines = [
        f"market    {view['ticker']} ({view['status']}), event {view['event_ticker']}",
        f"exchange  {view['exchange']}",
        f"read      {read:%Y-%m-%d %H:%M:%S} UTC, at most {view['age_ms'] / 1000:.2f} s old then; nothing was traded",
        "",
        f"{'':>6}{'YES price':>10}{'contracts':>14}{'in all':>14}",
    ]
    asks, bids = view["asks"], view["bids"]
    lines += _hidden(asks, shown, "above")
    lines += [_row("ask", level) for level in reversed(asks[:shown])]
    if not asks:
        lines.append("   ask  nobody sells YES")
    spread = "" if view["spread"] is None else f" spread {view['spread']}{' (crossed)' if view['crossed'] else ''} "
    lines.append(f"{spread:-^44}")
    lines += [_row("bid", level) for level in bids[:shown]]
    if not bids:
        lines.append("   bid  nobody buys YES")
    return lines + _hidden(bids, shown, "below")


def _row(side: str, level: dict[str, str]) -> str:
    return f"{side:>6}{level['price']:>10}{level['size']:>14}{level['cumulative']:>14}"


def _hidden(levels: Sequence[dict[str, str]], shown: int, where: str) -> list[str]:
    rest = len(levels) - shown
    return [f"        {rest} more {where}, {levels[-1]['cumulative']} contracts in all"] if rest > 0 else []


@click.command()
@click.argument("ticker")
@exchange_option
@url_option
@click.option(
    "--depth", type=click.IntRange(min=1), default=SHOWN_LEVELS, show_default=True, help="Levels a side to show."
)
@folder_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, with every level.")
def book(ticker: str, exchange: str | None, url: str | None, depth: int, folder: Path, as_json: bool) -> None:
    """Show the order book of the market TICKER, read now and without a key. Nothing is traded.

    \b
    Examples:
      kalshi-arb book KXHIGHNY-26NOV22-T60                    the local run's exchange
      kalshi-arb book KXHIGHNY-26NOV22-T60 --exchange prod    Kalshi
      kalshi-arb book KXHIGHNY-26NOV22-T60 --exchange demo --json
    """
    check_choice(exchange, url)
    check_ticker(ticker)
    address = rest_url(exchange, url, folder)
    try:
        snapshot, state, age_ms = read_book(address, ticker, SystemClock())
    except ExchangeError as error:
        raise click.ClickException(f"{address} does not answer a public read: {error}") from error
    name = address if url else f"{exchange or EMBEDDED} ({address})"
    view = {"exchange": name, **book_view(snapshot, state, age_ms)}
    click.echo(json.dumps(view) if as_json else "\n".join(as_text(view, depth)))
