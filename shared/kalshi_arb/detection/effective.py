"""Fee-adjusted prices for searching: what one contract costs with its linear fee, in 1e-10 dollars.

The linear fee is a lower bound of the real one (rounding only adds), so a search on these prices misses nothing;
whether a bundle really gains is the verifier's question.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, Role
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price

ONE = 10**10
"""One dollar in 1e-10 dollars."""
_PER_PRICE = ONE // ONE_DOLLAR


class Offer(NamedTuple):
    """``size`` contracts (1e-2) obtainable at ``cost`` each (1e-10 dollars, linear fee included)."""

    cost: int
    size: Count


class Costs(dict[int, int]):
    """Price (1e-4 dollars) plus linear taker fee of one contract in 1e-10 dollars, the fee rounded down, by price.

    It rises with the price as long as the multiplier is below 14, so the best price stays the best after fees.
    """

    def __init__(self, coefficient: int) -> None:
        super().__init__()
        self._coefficient = coefficient

    def __missing__(self, price: int) -> int:
        # k * multiplier is in 1e-8 and both prices in 1e-4: the product is in 1e-16 dollars.
        cost = self[price] = price * _PER_PRICE + self._coefficient * price * (ONE_DOLLAR - price) // 10**6
        return cost


_costs_of = cache(Costs)


def costs_of(schedule: FeeSchedule) -> Costs:
    """The costs under a schedule, computed once for each price. :raises ProofError: the schedule is not tradable."""
    return _costs_of(schedule.coefficient(Role.TAKER))


def effective_cost(schedule: FeeSchedule, price: Price) -> int:
    """One entry of :class:`Costs`. :raises ProofError: the schedule is not tradable."""
    return costs_of(schedule)[price]


def is_crossed(book: BookSnapshot) -> bool:
    """Whether the best bids of both sides reach a dollar together: stale or half-updated data."""
    return bool(book.yes_bids and book.no_bids) and book.yes_bids[0].price + book.no_bids[0].price >= ONE_DOLLAR


def offers(market: Market, books: Mapping[str, BookSnapshot], outcome: Outcome) -> list[Offer]:
    """What can be bought of one outcome, cheapest first. Nothing from a book that is missing or crossed."""
    book = books.get(market.ticker)
    if book is None or is_crossed(book):
        return []
    table = costs_of(market.fees)
    return [Offer(table[price], size) for price, size in book.asks(outcome)]
