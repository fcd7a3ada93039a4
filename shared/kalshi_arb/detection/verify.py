"""The verifier: what a bundle certainly earns, computed anew from the books and the group's states.

It shares nothing with the search but the domain: its own walk of the books, its own sums, every state, integers only.
Each leg is priced twice: at the levels the books show, and with every contract at the leg's limit, which is the most
that may be paid when the books move before the order arrives. Both carry one fee: the highest that fills of at least
the declared smallest size can cause, at the levels or at the limit, whichever is dearer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import DepthError, ProofError, UnfitBookError
from kalshi_arb.domain.fees import Precision, order_fee_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, count_to_wire, price_to_wire
from kalshi_arb.domain.opportunity import BookReference, Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Basis, Group, State

MAX_AGE_MS = 5_000
"""Books older than this prove nothing unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class _Priced:
    """One leg: its place in the group, its cost without fees, and the highest fee. Cash in 1e-6 dollars."""

    index: int
    leg: Leg
    at_levels: int
    at_limit: int
    fee: int


def verify(
    group: Group,
    legs: Sequence[Leg],
    books: Mapping[str, BookSnapshot],
    *,
    precision: Precision,
    smallest_fill: Count,
    now_ms: int,
    max_age_ms: int = MAX_AGE_MS,
) -> Certificate:
    """Judge a bundle and return its certificate, whatever the grade.

    PROVED: a profit in every state. ASSUMED: the same on a group that rests on something nobody has approved yet.
    CONDITIONAL: a profit in every certain state, none in a possible one, which
    ``breaking_state`` names. REFUSED: no profit in some certain state. Profit is judged with every contract at its
    limit. ``worst_state`` is the worst of all states, edges included; ``outlay`` is the most cash the bundle can take:
    limits and highest fees.

    :param smallest_fill: 1e-2 contracts; fills are taken to be no smaller (the last one of an order may be)
    :param max_age_ms: the oldest a book may be, counted from when its subscription was last known alive
    :raises UnfitBookError: a leg's book is missing, crossed, too old or from the future.
    :raises DepthError: a leg's whole count is not there at its limit or better.
    :raises ProofError: no legs, a leg twice, a market outside the group, a count of nothing, a limit off the market's
        grid, or fees that cannot be computed.
    """
    if not legs:
        raise ProofError("a bundle without legs")
    if smallest_fill <= 0:
        raise ProofError(f"a smallest fill of {smallest_fill} is none")
    if len({(leg.ticker, leg.outcome) for leg in legs}) < len(legs):
        raise ProofError("a bundle buys the same contract in two legs")
    references = _references([leg.ticker for leg in legs], books, now_ms, max_age_ms)
    priced = [_price(group, leg, books[leg.ticker], precision, smallest_fill) for leg in legs]
    fee = sum(item.fee for item in priced)
    outlay = sum(item.at_limit for item in priced) + fee

    payouts = [(_payout(state, priced), state) for state in group.states]
    lowest, worst = min(payouts, key=lambda item: item[0])
    breaking: State | None = None
    grade = Grade.PROVED
    if lowest <= outlay:
        certain = min((payout for payout, state in payouts if state.basis is Basis.CERTAIN), default=0)
        grade = Grade.CONDITIONAL if certain > outlay else Grade.REFUSED
        breaking = worst if grade is Grade.CONDITIONAL else None
    elif group.assumptions:
        grade = Grade.ASSUMED
    return Certificate(
        group_id=group.group_id,
        fingerprint=group.fingerprint,
        grade=grade,
        outlay=Cash(outlay),
        fee_bound=Cash(fee),
        worst_profit=Cash(lowest - sum(item.at_levels for item in priced) - fee),
        floor_profit=Cash(lowest - outlay),
        worst_state=worst.name,
        breaking_state=None if breaking is None else breaking.name,
        states_checked=len(payouts),
        smallest_fill=smallest_fill,
        precision=int(precision),
        books=references,
        judged_ms=now_ms,
    )


def _references(
    tickers: Sequence[str], books: Mapping[str, BookSnapshot], now_ms: int, max_age_ms: int
) -> tuple[BookReference, ...]:
    references = []
    for ticker in dict.fromkeys(tickers):
        book = books.get(ticker)
        if book is None:
            raise UnfitBookError(f"no book of {ticker}")
        if book.ticker != ticker:
            raise UnfitBookError(f"the book given for {ticker} is the one of {book.ticker}")
        age_ms = now_ms - book.alive_ms
        if age_ms > max_age_ms:
            raise UnfitBookError(f"the book of {ticker} is {age_ms} ms old, more than {max_age_ms}")
        if age_ms < -max_age_ms:
            raise UnfitBookError(f"the book of {ticker} is {-age_ms} ms ahead of the clock")
        if book.yes_bids and book.no_bids and book.yes_bids[0].price + book.no_bids[0].price >= ONE_DOLLAR:
            raise UnfitBookError(f"the book of {ticker} is crossed")
        references.append(BookReference(ticker, book.version, age_ms, book.exchange_ms))
    return tuple(references)


def _price(group: Group, leg: Leg, book: BookSnapshot, precision: Precision, smallest_fill: Count) -> _Priced:
    index = group.index(leg.ticker)
    market = group.markets[index]
    if leg.count <= 0:
        raise ProofError(f"{leg.ticker}: a count of {leg.count} is none")
    if not market.fees.is_tradable():
        raise ProofError(f"{leg.ticker}: fee type {market.fees.fee_type.value} has no exact fee")
    # Grids are stated for YES prices, and a purchase of NO is sent as the YES price it sells at.
    wire_price = leg.limit if leg.outcome is Outcome.YES else Price(ONE_DOLLAR - leg.limit)
    if not market.grid.is_valid(wire_price):
        raise ProofError(f"{leg.ticker}: {price_to_wire(leg.limit)} is not on the market's price grid")
    fills = _walk(leg, book)
    at_limit = [(leg.limit, count) for _, count in fills]
    return _Priced(
        index=index,
        leg=leg,
        at_levels=sum(price * count for price, count in fills),
        at_limit=leg.limit * leg.count,
        fee=max(order_fee_bound(market.fees, priced, precision, smallest_fill) for priced in (fills, at_limit)),
    )


def _walk(leg: Leg, book: BookSnapshot) -> list[tuple[Price, Count]]:
    """The levels a purchase would take: the other side's bids, each at its complement, best first."""
    missing = int(leg.count)
    taken: list[tuple[Price, Count]] = []
    for bid, size in book.no_bids if leg.outcome is Outcome.YES else book.yes_bids:
        price = Price(ONE_DOLLAR - bid)
        if missing == 0 or price > leg.limit:
            break
        if taken and price <= taken[-1][0]:
            raise UnfitBookError(f"the levels of {leg.ticker} are not in order")
        if size <= 0:
            raise UnfitBookError(f"{leg.ticker} has a level of {size}")
        count = min(missing, size)
        taken.append((price, Count(count)))
        missing -= count
    if missing:
        raise DepthError(
            f"{leg.ticker}: {count_to_wire(Count(missing))} of {count_to_wire(leg.count)} {leg.outcome.value} "
            f"are not there at {price_to_wire(leg.limit)} or better"
        )
    return taken


def _payout(state: State, priced: Sequence[_Priced]) -> int:
    """The least cash the bundle pays in a state.

    Legs on one market settle at one value: where that is a range, the least of both its ends counts for them together.
    """
    highest = state.yes_payouts if state.highest is None else state.highest
    total = 0
    for index in dict.fromkeys(item.index for item in priced):
        yes = sum(item.leg.count for item in priced if item.index == index and item.leg.outcome is Outcome.YES)
        no = sum(item.leg.count for item in priced if item.index == index and item.leg.outcome is Outcome.NO)
        total += min(yes * value + no * (ONE_DOLLAR - value) for value in (state.yes_payouts[index], highest[index]))
    return total
