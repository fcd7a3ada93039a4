"""What the screen's parts say of one group on given books, asked from cold."""

from collections.abc import Mapping
from dataclasses import dataclass

from kalshi_arb.detection.effective import is_crossed
from kalshi_arb.detection.prices import Prices, TopBundle
from kalshi_arb.detection.pricing_vector import certain_rows, keeper
from kalshi_arb.detection.quotes import Quote
from kalshi_arb.detection.screen import Screen
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Group


@dataclass(frozen=True, slots=True)
class Pricing:
    """What each market's YES is worth under one mixture of the certain states (1e-10 dollars, in the group's order,
    cut down), each between its bid and its ask with fees; and the bundle that comes nearest to a gain, if any can be
    formed."""

    prices: tuple[int, ...]
    nearest: TopBundle | None


def best_edge(group: Group, books: Mapping[str, BookSnapshot]) -> int | None:
    """The edge of the best bundle at the best prices after linear fees; missing and crossed books quote nothing.
    Positive means that there is a gain before rounding, None that too many sides are missing to form a bundle."""
    screen = Screen([group])
    for ticker in group.tickers:
        screen.take(ticker, *_tops(books.get(ticker)))
    return screen.edge(group.group_id)


def coherent(group: Group, books: Mapping[str, BookSnapshot]) -> Pricing | None:
    """A coherent vector inside every fee-adjusted quote: nothing on the group can gain in every certain state.

    None when there is none; ``most_violated`` then names a bundle. Missing and crossed books quote nothing, nor do
    markets without an exact fee.
    """
    kept = _quoted(group, books)
    return Pricing(tuple(kept.low), kept.nearest()) if kept.settle() else None


def most_violated(group: Group, books: Mapping[str, BookSnapshot]) -> TopBundle | None:
    """A bundle that gains at the best prices with linear fees, None when there is none."""
    kept = _quoted(group, books)
    return None if kept.settle() else kept.breach()


def _quoted(group: Group, books: Mapping[str, BookSnapshot]) -> Prices:
    kept = keeper(certain_rows(group))
    for place, market in enumerate(group.markets):
        kept.take(place, *_quote(market, books.get(market.ticker)))
    return kept


def _quote(market: Market, book: BookSnapshot | None) -> tuple[int, int]:
    quote = Quote(market)
    quote.take(*_tops(book))
    return quote.bid, quote.ask


def _tops(book: BookSnapshot | None) -> tuple[int, int]:
    if book is None or is_crossed(book):
        return 0, ONE_DOLLAR
    bid = book.yes_bids[0].price if book.yes_bids else 0
    return bid, ONE_DOLLAR - book.no_bids[0].price if book.no_bids else ONE_DOLLAR
