"""The verifier: what a bundle certainly earns, computed anew from the books and the group's states.

It shares nothing with the search but the domain: its own walk of the books, its own sums, every state, integers only.
Each leg is priced twice: at the levels the books show, and with every contract at the leg's limit, which is the most
that may be paid when the books move before the order arrives. Both carry one fee: the highest that fills of at least
the declared smallest size can cause, at the levels, at the limit, or however else the book may be arranged below it.

The work has two halves. What is seen is collected into a certificate; the figures follow from its content alone, so
that :func:`replay` can compute them again at any later time and say what differs.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.errors import DepthError, KalshiArbError, ProofError, UnfitBookError
from kalshi_arb.domain.fees import Precision, order_cost_bound, order_fee_bound
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, complement, count_to_wire, price_to_wire
from kalshi_arb.domain.opportunity import BookReference, Certificate, CheckedState, Grade, Leg, ProvedLeg
from kalshi_arb.domain.state_space import Basis, Group

MAX_AGE_MS = 5_000
"""Books older than this prove nothing unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class _Figures:
    """What follows from a certificate's content; the fields are the certificate's."""

    grade: Grade
    outlay: Cash
    fee_bound: Cash
    worst_profit: Cash
    floor_profit: Cash
    worst_state: str
    breaking_state: str | None
    states_checked: int


_NOTHING = _Figures(Grade.REFUSED, Cash(0), Cash(0), Cash(0), Cash(0), "", None, 0)


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
    :raises ProofError: no legs, a leg twice, a market outside the group, a count of nothing or off the market's step, a
        limit off the market's grid, or fees that cannot be computed.
    """
    references = _references([leg.ticker for leg in legs], books, now_ms, max_age_ms)
    content = Certificate(
        group_id=group.group_id,
        fingerprint=group.fingerprint,
        **_fields(_NOTHING),
        smallest_fill=smallest_fill,
        precision=int(precision),
        books=references,
        judged_ms=now_ms,
        legs=tuple(_seen(group, leg, books[leg.ticker]) for leg in legs),
        states=_states(group, [reference.ticker for reference in references]),
        assumptions=group.assumptions,
        max_age_ms=max_age_ms,
        seal="",
    )
    whole = replace(content, **_fields(_figures(content)))
    return replace(whole, seal=_seal(whole))


def replay(certificate: Certificate) -> tuple[str, ...]:
    """Compute a certificate again from its own content alone. Empty when every figure is what it says; otherwise what
    differs, one sentence each."""
    return tuple(_differences(certificate))


def _differences(certificate: Certificate) -> Iterator[str]:
    if certificate.seal != _seal(certificate):
        yield "the seal does not fit the content: something was altered"
    tickers = tuple(dict.fromkeys(proved.leg.ticker for proved in certificate.legs))
    if tuple(reference.ticker for reference in certificate.books) != tickers:
        yield "the books are not those of the legs"
    for reference in certificate.books:
        if abs(reference.age_ms) > certificate.max_age_ms:
            yield f"the book of {reference.ticker} is {reference.age_ms} ms old, not within {certificate.max_age_ms}"
    try:
        figures = _figures(certificate)
    except KalshiArbError as error:
        yield f"it cannot be computed: {error}"
        return
    for name, computed in _fields(figures).items():
        stated = getattr(certificate, name)
        if stated != computed:
            yield f"{name} is stated as {_text(stated)}, computed as {_text(computed)}"


def _text(value: object) -> object:
    return value.value if isinstance(value, Grade) else value


def _fields(figures: _Figures) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in _Figures.__dataclass_fields__}


def _seal(certificate: Certificate) -> str:
    """A hash of everything but the seal itself."""
    return hashlib.sha256(msgspec.json.encode(replace(certificate, seal=""))).hexdigest()


# What is seen ------------------------------------------------------------------------------------------------------


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


def _seen(group: Group, leg: Leg, book: BookSnapshot) -> ProvedLeg:
    market = group.markets[group.index(leg.ticker)]
    if leg.count <= 0:
        raise ProofError(f"{leg.ticker}: a count of {leg.count} is none")
    if leg.count % market.count_step:
        problem = "below the smallest order of" if leg.count < market.count_step else "not a multiple of"
        raise ProofError(
            f"{leg.ticker}: {count_to_wire(leg.count)} contracts are {problem} {count_to_wire(market.count_step)}"
        )
    return ProvedLeg(leg, market.fees, market.grid, _walk(leg, book))


def _states(group: Group, tickers: Sequence[str]) -> tuple[CheckedState, ...]:
    """The group's states as these markets see them, equal ones merged."""
    places = [group.index(ticker) for ticker in tickers]
    found: dict[tuple[Basis, tuple[Price, ...], tuple[Price, ...] | None], CheckedState] = {}
    for state in group.states:
        least = tuple(state.yes_payouts[place] for place in places)
        highest = least if state.highest is None else tuple(state.highest[place] for place in places)
        key = state.basis, least, None if highest == least else highest
        known = found.get(key)
        found[key] = CheckedState(state.name, *key, 1) if known is None else replace(known, ways=known.ways + 1)
    return tuple(found.values())


def _walk(leg: Leg, book: BookSnapshot) -> tuple[Level, ...]:
    """The levels a purchase would take: the other side's bids, each at its complement, best first."""
    missing = int(leg.count)
    taken: list[Level] = []
    for bid, size in book.no_bids if leg.outcome is Outcome.YES else book.yes_bids:
        price = complement(bid)
        if missing == 0 or price > leg.limit:
            break
        if taken and price <= taken[-1].price:
            raise UnfitBookError(f"the levels of {leg.ticker} are not in order")
        if size <= 0:
            raise UnfitBookError(f"{leg.ticker} has a level of {size}")
        count = min(missing, size)
        taken.append(Level(price, Count(count)))
        missing -= count
    if missing:
        raise DepthError(
            f"{leg.ticker}: {count_to_wire(Count(missing))} of {count_to_wire(leg.count)} {leg.outcome.value} "
            f"are not there at {price_to_wire(leg.limit)} or better"
        )
    return tuple(taken)


# What follows from it ----------------------------------------------------------------------------------------------


def _figures(content: Certificate) -> _Figures:
    """:raises ProofError: the content is that of no bundle."""
    legs, smallest = content.legs, content.smallest_fill
    if not legs:
        raise ProofError("a bundle without legs")
    if smallest <= 0:
        raise ProofError(f"a smallest fill of {smallest} is none")
    if len({(proved.leg.ticker, proved.leg.outcome) for proved in legs}) < len(legs):
        raise ProofError("a bundle buys the same contract in two legs")
    if content.precision not in tuple(Precision):
        raise ProofError(f"{content.precision} is no balance precision")
    precision = Precision(content.precision)
    fee = sum(_highest_fee(proved, precision, smallest) for proved in legs)
    outlay = sum(proved.leg.limit * proved.leg.count for proved in legs) + fee
    at_levels = sum(price * count for proved in legs for price, count in proved.levels) + fee

    held: dict[str, list[int]] = {}
    for proved in legs:
        held.setdefault(proved.leg.ticker, [0, 0])[proved.leg.outcome is Outcome.NO] += proved.leg.count
    payouts = [(_payout(state, held), state) for state in content.states]
    if not payouts:
        raise ProofError("a group without states")
    lowest, worst = min(payouts, key=lambda item: item[0])
    grade, breaking = Grade.PROVED, None
    if lowest <= outlay:
        certain = min((payout for payout, state in payouts if state.basis is Basis.CERTAIN), default=0)
        grade = Grade.CONDITIONAL if certain > outlay else Grade.REFUSED
        breaking = worst.name if grade is Grade.CONDITIONAL else None
    elif content.assumptions:
        grade = Grade.ASSUMED
    return _Figures(
        grade=grade,
        outlay=Cash(outlay),
        fee_bound=Cash(fee),
        worst_profit=Cash(lowest - at_levels),
        floor_profit=Cash(lowest - outlay),
        worst_state=worst.name,
        breaking_state=breaking,
        states_checked=sum(state.ways for state in content.states),
    )


def _highest_fee(proved: ProvedLeg, precision: Precision, smallest_fill: Count) -> int:
    """The most that one order can be charged above its limit, or at the levels it was seen to take."""
    leg, fees = proved.leg, proved.fees
    if not fees.is_tradable():
        raise ProofError(f"{leg.ticker}: fee type {fees.fee_type.value} has no exact fee")
    # Grids are stated for YES prices, and a purchase of NO is sent as the YES price it sells at.
    if not proved.grid.is_valid(leg.limit if leg.outcome is Outcome.YES else complement(leg.limit)):
        raise ProofError(f"{leg.ticker}: {price_to_wire(leg.limit)} is not on the market's price grid")
    if sum(level.size for level in proved.levels) != leg.count or any(
        level.size <= 0 or not 0 < level.price <= leg.limit for level in proved.levels
    ):
        raise ProofError(f"{leg.ticker}: the levels are not {count_to_wire(leg.count)} at the limit or better")
    # A level smaller than the smallest fill is a fill of its own, which the bound over all books knows nothing of.
    at_limit = [(leg.limit, level.size) for level in proved.levels]
    seen = max(order_fee_bound(fees, fills, precision, smallest_fill) for fills in (proved.levels, at_limit))
    may_round = proved.grid.leaves_steps_of(leg.limit, Price(precision))
    most = order_cost_bound(fees, leg.limit, leg.count, precision, smallest_fill, revenue_may_round=may_round)
    return max(seen, most - leg.limit * leg.count)


def _payout(state: CheckedState, held: Mapping[str, Sequence[int]]) -> int:
    """The least cash the bundle pays in a state, from the YES and NO held of each market.

    Legs on one market settle at one value: where that is a range, the least of both its ends counts for them together.
    """
    most = state.least if state.most is None else state.most
    if not len(held) == len(state.least) == len(most):
        raise ProofError(f"state {state.name} is not one of the legs' markets")
    if state.most is None:
        return sum(
            yes * value + no * (ONE_DOLLAR - value)
            for (yes, no), value in zip(held.values(), state.least, strict=True)
        )  # fmt: skip
    return sum(
        min(yes * value + no * (ONE_DOLLAR - value) for value in ends)
        for (yes, no), *ends in zip(held.values(), state.least, most, strict=True)
    )
