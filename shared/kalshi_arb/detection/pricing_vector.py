"""The probability vector that prices a group: the certificate that no bundle on it can gain, or how far from one it is.

Which method keeps the vector follows from the group's certain states, never from tickers or the family's name: a
measure on the cells of a line where every market pays on one stretch of the states, the two facets of a combo, and a
mixture of the states found by the simplex method for everything else. Leaving out possible states can only let more
through, never less; where no state is certain, the possible ones count. Fees are linear, which bounds every real fee
from below.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kalshi_arb.detection.combo_prices import ComboPrices, conjunction
from kalshi_arb.detection.effective import is_crossed
from kalshi_arb.detection.line_prices import LinePrices, stretches
from kalshi_arb.detection.prices import Prices, TopBundle
from kalshi_arb.detection.quotes import Quote
from kalshi_arb.detection.state_prices import StatePrices
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis, Group, State


@dataclass(frozen=True, slots=True)
class Pricing:
    """What each market's YES is worth under one mixture of the certain states (1e-10 dollars, in the group's order,
    cut down), each between its bid and its ask with fees; and the bundle that comes nearest to a gain, if any can be
    formed."""

    prices: tuple[int, ...]
    nearest: TopBundle | None


def certain_rows(group: Group) -> tuple[tuple[int, ...], ...]:
    """What YES of each market pays (1e-4 dollars) in every state that a gain must survive for certain.

    States with fractional payouts and ranges are left out as long as any other is there: fewer states can only let
    more through. A range that is all there is counts by its two ends.
    """
    for states in (
        [state for state in group.states if state.basis is Basis.CERTAIN and _is_plain(state)],
        [state for state in group.states if state.basis is Basis.CERTAIN],
        list(group.states),
    ):
        if states:
            return tuple(
                row for state in states for row in dict.fromkeys((state.yes_payouts, state.highest or ())) if row
            )
    raise AssertionError("a group has states")


def _is_plain(state: State) -> bool:
    return state.highest is None and all(payout in (0, ONE_DOLLAR) for payout in state.yes_payouts)


def keeper(rows: tuple[tuple[int, ...], ...]) -> Prices:
    """What keeps a vector for markets with these payouts (1e-4 dollars) by state."""
    if any(payout not in (0, ONE_DOLLAR) for row in rows for payout in row):
        return StatePrices(rows, ONE_DOLLAR)
    columns = [[bool(payout) for payout in column] for column in zip(*rows, strict=True)]
    parts = stretches(columns)
    if parts is not None:
        return LinePrices(len(rows), parts)
    shape = conjunction(columns)
    if shape is not None:
        return ComboPrices(shape)
    return StatePrices([tuple(map(int, row)) for row in zip(*columns, strict=True)])


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
    if book is not None and not is_crossed(book):
        bid = book.yes_bids[0].price if book.yes_bids else 0
        quote.take(bid, ONE_DOLLAR - book.no_bids[0].price if book.no_bids else ONE_DOLLAR)
    return quote.bid, quote.ask
