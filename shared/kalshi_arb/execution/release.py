"""Hold or release: whether selling what a basket holds now beats waiting for its settlement. Pure, exact integers.

Selling is priced at the books' own bids after the highest fees; holding at the worst state's payout, discounted by the
cost of capital until the day it should be paid. A market without a date discounts nothing, so nothing is released for
its sake. Where the exchange gave collateral back across an event's markets it is in hand already: selling has to put it
back, settling pays that much less, and only what is still locked earns by being free sooner. Cash in 1e-6 dollars.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from kalshi_arb.domain.basket import Basket
from kalshi_arb.domain.book import BookSnapshot, Level
from kalshi_arb.domain.fees import order_fee_bound
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import ONE_CONTRACT, Cash, Count, ceil_div, complement, count_to_wire, dollars, notional
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import fee_rules, returned_collateral, worst_cash

YEAR_MS = 365 * 86_400_000
MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Terms:
    """What holding costs: ``yearly`` is the cost of capital in millionths a year, simple interest. ``paid_ms`` (UTC
    milliseconds) is when the last market should have paid, None where a listing does not say or the group is gone."""

    now_ms: int
    yearly: int
    paid_ms: int | None

    def factor(self) -> Fraction:
        """What a dollar that settlement pays is worth now."""
        wait_ms = 0 if self.paid_ms is None else max(0, self.paid_ms - self.now_ms)
        return Fraction(YEAR_MS * MILLION, YEAR_MS * MILLION + self.yearly * wait_ms)


@dataclass(frozen=True, slots=True)
class Release:
    """Selling ``counts`` (by leg, 1e-2 contracts) now. ``proceeds`` is what that brings at least, after ``fees`` and
    less collateral that has to be put back; ``payout`` what the same contracts add to the worst settlement, and
    ``present`` what that is worth now, rounded up. ``paid_ms`` as in ``Terms``."""

    basket_id: str
    counts: tuple[Count, ...]
    proceeds: Cash
    fees: Cash
    payout: Cash
    present: Cash
    paid_ms: int | None

    @property
    def advantage(self) -> Cash:
        """How much better than holding."""
        return Cash(self.proceeds - self.present)


def best_release(
    basket: Basket, group: Group | None, books: Mapping[str, BookSnapshot], netting: Netting, terms: Terms
) -> Release | None:
    """The sale of an equal share of every leg that gains most against holding; None where none gains anything.

    :param group: the basket's, as it is accepted now; None when it is not
    :param books: as just read; a market without one takes no sale
    """
    held = tuple(basket.leg_position(leg) for leg in range(len(basket.legs)))
    best: Release | None = None
    for share in _shares(basket, held, books):
        found = priced(basket, group, books, netting, terms, _at_share(held, share))
        if found is not None and found.advantage > (0 if best is None else best.advantage):
            best = found
    return best


def told(release: Release, basket: Basket, yearly: int) -> str:
    """A proposal in words."""
    sold = ", ".join(
        f"{count_to_wire(count)} {leg.ticker} {leg.outcome.value}"
        for count, leg in zip(release.counts, basket.legs, strict=True)
        if count
    )
    return (
        f"selling {sold} now brings at least {dollars(release.proceeds)} after {dollars(release.fees)} fees; held it "
        f"pays at least {dollars(release.payout)}, worth {dollars(release.present)} now at "
        f"{dollars(Cash(yearly * 100)).removeprefix('$')} % a year: {dollars(release.advantage)} better"
    )


def priced(
    basket: Basket,
    group: Group | None,
    books: Mapping[str, BookSnapshot],
    netting: Netting,
    terms: Terms,
    counts: tuple[Count, ...],
) -> Release | None:
    """The sale of just these counts, whatever it gains; None where there are none, or the books do not bid for all.

    Parameters as in :func:`best_release`.
    """
    if not any(counts):
        return None
    held = tuple(basket.leg_position(leg) for leg in range(len(basket.legs)))
    brought, fees = 0, 0
    for leg, count in enumerate(counts):
        taken = _taken(_bids(basket, leg, books), count)
        if sum(level.size for level in taken) < count:
            return None
        brought += sum(notional(level.price, level.size) for level in taken)
        fees += _fee(basket, leg, taken)
    rest = tuple(Count(own - count) for own, count in zip(held, counts, strict=True))
    back_all, back_rest = _returned(basket, group, held, netting), _returned(basket, group, rest, netting)
    locked_all, locked_rest = _worst(basket, held) - back_all, _worst(basket, rest) - back_rest
    factor = terms.factor()
    present = _up(locked_all * factor) - int(locked_rest * factor // 1)
    return Release(
        basket.basket_id, counts, Cash(brought - fees - (back_all - back_rest)), Cash(fees),
        Cash(locked_all - locked_rest), Cash(present), terms.paid_ms,
    )  # fmt: skip


def _shares(basket: Basket, held: Sequence[Count], books: Mapping[str, BookSnapshot]) -> list[Fraction]:
    """Shares at which some leg's sale reaches the end of a level, as far as the bids go for every leg."""
    shares, most = {Fraction(1)}, Fraction(1)
    for leg, count in enumerate(held):
        depth = 0
        for level in _bids(basket, leg, books):
            depth += level.size
            if 0 < depth < count:
                shares.add(Fraction(depth, count))
        if count:
            most = min(most, Fraction(depth, count))
    return sorted(min(share, most) for share in shares if share <= most) or [most]


def _at_share(held: Iterable[Count], share: Fraction) -> tuple[Count, ...]:
    """A share of every leg, in whole contracts where the leg is whole."""
    counts = []
    for count in held:
        unit = ONE_CONTRACT if count % ONE_CONTRACT == 0 else 1
        counts.append(Count(int(count * share // unit) * unit))
    return tuple(counts)


def _bids(basket: Basket, leg: int, books: Mapping[str, BookSnapshot]) -> tuple[Level, ...]:
    book = books.get(basket.legs[leg].ticker)
    return () if book is None else book.bids(basket.legs[leg].outcome)


def _taken(bids: Iterable[Level], count: int) -> list[Level]:
    taken = []
    for level in bids:
        if count <= 0:
            break
        taken.append(Level(level.price, Count(min(count, level.size))))
        count -= level.size
    return taken


def _fee(basket: Basket, leg: int, taken: Sequence[Level]) -> int:
    """The highest fee of one order that sells this: a purchase of the other outcome."""
    if not taken:
        return 0
    rules = fee_rules(basket)
    bought = [(complement(level.price), level.size) for level in taken]
    return order_fee_bound(basket.terms[leg].fees, bought, rules.precision, rules.smallest_fill)


def _worst(basket: Basket, counts: Sequence[Count]) -> int:
    return worst_cash(basket.payouts, counts, [0] * len(counts), Cash(0))


def _returned(basket: Basket, group: Group | None, counts: Sequence[Count], netting: Netting) -> int:
    if group is None or netting is Netting.OFF:
        return 0
    legs: list[Leg] = [replace(leg, count=count) for leg, count in zip(basket.legs, counts, strict=True) if count]
    return sum(returned_collateral(group, legs, netting).values())


def _up(amount: Fraction) -> int:
    return ceil_div(amount.numerator, amount.denominator)
