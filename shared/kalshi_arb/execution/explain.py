"""What a basket was expected to earn, what it earned, and every reason for the difference, to 1e-6 dollars. Pure.

The expectation is the plan's worst state with every contract at its limit and the highest fees. From there the parts
lead step by step to the cash that the exchange's own fills leave in the worst state, and, once the group is settled,
to the cash that was really left. Nothing is left over: parts that do not add up are an error, never a remainder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from fractions import Fraction
from typing import Protocol

from kalshi_arb.domain.basket import Basket, BasketState, Purpose
from kalshi_arb.domain.errors import ExplanationError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, count_to_wire, dollars, notional, price_to_wire
from kalshi_arb.domain.portfolio import EntryKind, LedgerEntry, effective
from kalshi_arb.execution.exposure import fee_rules, highest_cost, worst_cash


class Bought(Protocol):
    """One execution of one of the basket's orders: a fill, or its entry in the ledger. Units as in ``Fill``.

    A count of nothing corrects the fee that was charged before, and its ``fee`` is the signed change.
    """

    @property
    def ticker(self) -> str:
        """The market."""
        ...

    @property
    def outcome(self) -> Outcome | None:
        """What was bought."""
        ...

    @property
    def count(self) -> Count:
        """How many contracts."""
        ...

    @property
    def price(self) -> Price:
        """The price of that outcome."""
        ...

    @property
    def fee(self) -> Cash:
        """What was really charged."""
        ...


@unique
class Part(Enum):
    """Why cash differs from what was expected, in the order of the explanation."""

    MISSING = "missing"  # whole sets that were planned and are not held: their profit is not earned
    UNHEDGED = "unhedged"  # contracts held beyond whole sets, at limit prices and highest fees, in the worst state
    PRICE = "price"  # fills below the limit
    FEES = "fees"  # charged less than the highest that was reckoned with
    UNWIND = "unwind"  # bought and sold again: a dollar a pair, less both prices and both fees
    SETTLEMENT = "settlement"  # the state that came about, against the worst


@dataclass(frozen=True, slots=True)
class Item:
    """``amount`` (1e-6 dollars, signed) of a part, of one leg or, where ``leg`` is None, of all together; ``why`` gives
    the figures it comes from."""

    part: Part
    leg: int | None
    amount: Cash
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All amounts in 1e-6 dollars. ``expected`` plus all items is ``realised``.

    ``locked`` is the worst-state cash of the fills; ``realised`` the same until settlement says what really was left.
    ``loss`` is what the worst state takes at most, ``bound`` what was allowed before anything was sent.

    :raises ExplanationError: the items do not add up.
    """

    basket_id: str
    expected: Cash
    locked: Cash
    realised: Cash
    bound: Cash
    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        left = self.realised - self.expected - sum(item.amount for item in self.items)
        if left:
            raise ExplanationError(f"basket {self.basket_id}: {dollars(Cash(left))} are not explained")

    @property
    def loss(self) -> Cash:
        """The worst-state loss of the fills, 0 for a gain."""
        return Cash(max(0, -self.locked))

    def total(self, part: Part) -> Cash:
        """All items of one part."""
        return Cash(sum(item.amount for item in self.items if item.part is part))


@dataclass(slots=True)
class _Traded:
    """One direction of one leg: contracts, what they cost, and their fees."""

    count: int = 0
    cost: int = 0
    fee: int = 0
    corrected: int = 0

    def add(self, fill: Bought) -> None:
        if fill.count == 0:
            self.corrected += fill.fee
        self.count += fill.count
        self.cost += notional(fill.price, fill.count)
        self.fee += fill.fee


def explain(basket: Basket, fills: Iterable[Bought]) -> Explanation:
    """Explain a basket that was reserved once, whether it still trades or has ended.

    :param fills: the basket's own, all of them and each once
    :raises ExplanationError: the basket was never reserved, the fills are not those of its orders, or the row states
        another cash than they give.
    """
    if not basket.payouts or not basket.terms:
        raise ExplanationError(f"basket {basket.basket_id} was never reserved: there was nothing to expect")
    entered, unwound = _by_leg(basket, fills)
    locked = _locked(basket, entered, unwound)
    # A flat basket waits for no settlement: what trading left is what there is.
    settled = None if basket.state is BasketState.FLAT else basket.settled_profit
    realised = locked if settled is None else settled
    items = (
        *_of_sizes(basket, entered, unwound),
        *_of_purchases(basket, entered),
        *_of_unwinds(basket, entered, unwound),
        Item(Part.SETTLEMENT, None, Cash(realised - locked), "the state that came about, against the worst"),
    )
    return Explanation(
        basket.basket_id, basket.expected_profit, locked, realised, basket.exposure_bound,
        tuple(item for item in items if item.amount),
    )  # fmt: skip


def own_fills(basket_id: str, entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """What :func:`explain` takes, out of the journal: the basket's fills, and corrections of their fees."""
    return [
        entry
        for entry in effective(entries)
        if entry.basket_id == basket_id and entry.kind in (EntryKind.FILL, EntryKind.FEE)
    ]


def _by_leg(basket: Basket, fills: Iterable[Bought]) -> tuple[list[_Traded], list[_Traded]]:
    """What was bought of each leg, and of its opposite to unwind it."""
    entered = [_Traded() for _ in basket.legs]
    unwound = [_Traded() for _ in basket.legs]
    places = {leg.ticker: place for place, leg in enumerate(basket.legs)}
    for fill in fills:
        place = places.get(fill.ticker)
        if place is None or fill.outcome is None:
            raise ExplanationError(f"basket {basket.basket_id} has no leg on {fill.ticker}")
        (entered if fill.outcome is basket.legs[place].outcome else unwound)[place].add(fill)
    for place, leg in enumerate(basket.legs):
        for traded, unwinding in ((entered, False), (unwound, True)):
            own = sum(
                order.filled
                for order in basket.orders
                if order.leg == place and (order.purpose is Purpose.UNWIND) is unwinding
            )
            if traded[place].count != own:
                raise ExplanationError(
                    f"basket {basket.basket_id}: the orders on {leg.ticker} filled {count_to_wire(Count(own))}, "
                    f"the fills given add up to {count_to_wire(Count(traded[place].count))}"
                )
        if unwound[place].count > entered[place].count:
            raise ExplanationError(f"basket {basket.basket_id} unwound more of {leg.ticker} than it bought")
    return entered, unwound


def _locked(basket: Basket, entered: Sequence[_Traded], unwound: Sequence[_Traded]) -> Cash:
    spent = Cash(sum(one.cost + one.fee for one in (*entered, *unwound)))
    bought, opposite = [one.count for one in entered], [one.count for one in unwound]
    locked = worst_cash(basket.payouts, bought, opposite, spent)
    booked = locked + sum(one.corrected for one in (*entered, *unwound))
    if basket.locked_profit is not None and basket.locked_profit != booked:
        raise ExplanationError(
            f"basket {basket.basket_id}: the row says {dollars(basket.locked_profit)} in the worst state, "
            f"the fills say {dollars(Cash(booked))}"
        )
    return locked


def _of_sizes(basket: Basket, entered: Sequence[_Traded], unwound: Sequence[_Traded]) -> Iterable[Item]:
    """From the plan to what is held in the end, both at limit prices with the highest fees."""
    planned = [int(leg.count) for leg in basket.legs]
    held = [bought.count - sold.count for bought, sold in zip(entered, unwound, strict=True)]
    part, whole = min(zip(held, planned, strict=True), key=lambda share: Fraction(*share))
    sets = [count * part // whole for count in planned]
    at_plan, at_sets, at_held = (_at_limits(basket, counts) for counts in (planned, sets, held))
    kept = Cash(at_plan - basket.expected_profit)
    yield Item(Part.FEES, None, kept, "reckoned with for second orders of a leg, beside the highest fee of the first")
    yield Item(
        Part.MISSING, None, Cash(at_sets - at_plan),
        f"{count_to_wire(Count(part))} of {count_to_wire(Count(whole))} {basket.legs[held.index(part)].ticker} "
        "are in whole sets" if part < whole else "",
    )  # fmt: skip
    beyond = [
        f"{count_to_wire(Count(own - count))} {leg.ticker} {leg.outcome.value}"
        for own, count, leg in zip(held, sets, basket.legs, strict=True)
        if own > count
    ]
    yield Item(Part.UNHEDGED, None, Cash(at_held - at_sets), f"held beyond whole sets: {', '.join(beyond)}")


def _of_purchases(basket: Basket, entered: Sequence[_Traded]) -> Iterable[Item]:
    for place, (leg, own) in enumerate(zip(basket.legs, entered, strict=True)):
        count = Count(own.count)
        bought = f"{count_to_wire(count)} {leg.ticker} {leg.outcome.value}"
        better = Cash(notional(leg.limit, count) - own.cost)
        yield Item(Part.PRICE, place, better, f"{bought} below the limit of {price_to_wire(leg.limit)}")
        most = _highest_fee(basket, place, own.count)
        yield Item(
            Part.FEES,
            place,
            Cash(most - own.fee),
            f"{bought}: fees of {dollars(Cash(own.fee))}, {dollars(most)} for one order at its highest",
        )


def _of_unwinds(basket: Basket, entered: Sequence[_Traded], unwound: Sequence[_Traded]) -> Iterable[Item]:
    """A contract and its opposite pay a dollar in every state, whatever was paid for both."""
    for place, (leg, bought, sold) in enumerate(zip(basket.legs, entered, unwound, strict=True)):
        count = Count(sold.count)
        first_fee = _highest_fee(basket, place, bought.count) - _highest_fee(basket, place, bought.count - sold.count)
        back = notional(Price(ONE_DOLLAR - leg.limit), count) - sold.cost
        yield Item(
            Part.UNWIND, place, Cash(back - sold.fee - first_fee),
            f"{count_to_wire(count)} {leg.ticker} {leg.outcome.value} bought at up to {price_to_wire(leg.limit)} and "
            f"sold again, with fees of up to {dollars(Cash(sold.fee + first_fee))}",
        )  # fmt: skip


def _at_limits(basket: Basket, counts: Sequence[int]) -> int:
    """Worst-state cash of holding these counts, bought at their limits with the highest fees."""
    paid = sum(
        notional(leg.limit, Count(count)) + _highest_fee(basket, place, count)
        for place, (leg, count) in enumerate(zip(basket.legs, counts, strict=True))
    )
    return worst_cash(basket.payouts, counts, [0] * len(counts), Cash(paid))


def _highest_fee(basket: Basket, leg: int, count: int) -> Cash:
    """The highest fee of one order for ``count`` of a leg at its limit."""
    if count == 0:
        return Cash(0)
    limit = basket.legs[leg].limit
    most = highest_cost(basket.terms[leg], Count(count), limit, fee_rules(basket))
    return Cash(most - notional(limit, Count(count)))
