"""Trading fees, exact: the current rounding regime of the exchange's fee page (Kalshi API documentation, fee rounding).

Per fill, with revenue negative for a buyer:

1. ``trade_fee`` = model fee rounded up to 1e-6 dollars
2. ``aligned`` = revenue - trade_fee rounded down to the account's balance precision
3. ``rounding_fee`` = (revenue - trade_fee) - aligned, added to the order's accumulator
4. ``rebate`` = whole multiples of the precision out of the accumulator, no more than leaves the net fee >= 0
5. net fee = trade_fee + rounding_fee - rebate; the balance moves by aligned + rebate

The model fee is ``k * multiplier * C * P * (1 - P)`` dollars, the same for both outcomes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum, unique

from kalshi_arb.domain.errors import AmountError, ProofError
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, ceil_div, notional, scale_decimal

MULTIPLIER_DECIMALS = 4
# k (1e-4) x multiplier (1e-4) x count (1e-2) x price (1e-4) x complement (1e-4) is 1e-18 dollars; cash is 1e-6.
_MODEL_PER_CASH = 10**12


@unique
class FeeType(Enum):
    """A series' ``fee_type``. Anything the exchange may add later is UNKNOWN, and unknown or flat is not tradable."""

    QUADRATIC = "quadratic"
    WITH_MAKER = "quadratic_with_maker_fees"
    WITH_COMBO_MAKER = "quadratic_with_combo_maker_fees"
    FLAT = "flat"
    UNKNOWN = "unknown"


@unique
class Role(Enum):
    """Which side of a trade an order was on."""

    TAKER = "taker"
    MAKER = "maker"


@unique
class Precision(IntEnum):
    """The balance grid of an account in 1e-6 dollars: 1e-4 dollars for direct members, a cent through brokers."""

    DIRECT = 100
    CENT = 10_000


_COEFFICIENT = {  # 1e-4
    (FeeType.QUADRATIC, Role.TAKER): 700,
    (FeeType.QUADRATIC, Role.MAKER): 0,
    (FeeType.WITH_MAKER, Role.TAKER): 700,
    (FeeType.WITH_MAKER, Role.MAKER): 175,
    (FeeType.WITH_COMBO_MAKER, Role.TAKER): 700,
    (FeeType.WITH_COMBO_MAKER, Role.MAKER): 350,
}


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """What one market charges: the series' type and multiplier, or the event's override of both.

    ``multiplier`` in 1e-4 (10000 is x1, 5000 is x0.5).
    """

    fee_type: FeeType
    multiplier: int = 10**MULTIPLIER_DECIMALS

    def is_tradable(self) -> bool:
        """Whether the fee of an order can be computed at all."""
        return (self.fee_type, Role.TAKER) in _COEFFICIENT and self.multiplier >= 0

    def coefficient(self, role: Role) -> int:
        """``k * multiplier`` in 1e-8. :raises ProofError: the schedule is not tradable."""
        if not self.is_tradable():
            raise ProofError(f"no exact fee for type {self.fee_type.value}")
        return _COEFFICIENT[self.fee_type, role] * self.multiplier


def schedule_from_wire(fee_type: str, multiplier: object) -> FeeSchedule:
    """Read ``fee_type`` and ``fee_multiplier`` of a series or an event override.

    :raises AmountError: a multiplier that is negative or finer than 1e-4.
    """
    try:
        kind = FeeType(fee_type)
    except ValueError:
        kind = FeeType.UNKNOWN
    scaled = scale_decimal(multiplier, MULTIPLIER_DECIMALS)
    if scaled < 0:
        raise AmountError(f"negative fee multiplier {multiplier}")
    return FeeSchedule(kind, scaled)


def model_fee(schedule: FeeSchedule, price: Price, count: Count, role: Role = Role.TAKER) -> int:
    """The unrounded fee in 1e-18 dollars: a lower bound of what any sequence of fills costs."""
    return schedule.coefficient(role) * count * price * (ONE_DOLLAR - price)


def trade_fee(schedule: FeeSchedule, price: Price, count: Count, role: Role = Role.TAKER) -> Cash:
    """Step 1: the model fee of one fill rounded up to 1e-6 dollars."""
    return Cash(ceil_div(model_fee(schedule, price, count, role), _MODEL_PER_CASH))


@dataclass(frozen=True, slots=True)
class FillFee:
    """What one fill did: its net ``fee``, the ``change`` of the balance, and the order's ``accumulator`` after it."""

    fee: Cash
    change: Cash
    accumulator: Cash


def charge(revenue: Cash, raw_fee: Cash, precision: Precision, accumulator: Cash = Cash(0)) -> FillFee:
    """Steps 2 to 5 for one fill.

    :param revenue: what the fill itself moves, negative for a buyer
    :param raw_fee: the fill's trade fee
    :param accumulator: what earlier fills of the same order left in it
    """
    exact = revenue - raw_fee
    aligned = exact // precision * precision
    rounding = exact - aligned
    carried = accumulator + rounding
    rebate = min(carried, raw_fee + rounding) // precision * precision
    return FillFee(Cash(raw_fee + rounding - rebate), Cash(aligned + rebate), Cash(carried - rebate))


def order_fee(
    schedule: FeeSchedule, fills: Iterable[tuple[Price, Count]], precision: Precision, role: Role = Role.TAKER
) -> Cash:
    """The fee of one buying order as a function of its fill sequence (outcome price, count), accumulator included."""
    total, accumulator = 0, Cash(0)
    for price, count in fills:
        revenue = Cash(-notional(price, count))
        result = charge(revenue, trade_fee(schedule, price, count, role), precision, accumulator)
        total += result.fee
        accumulator = result.accumulator
    return Cash(total)


def order_fee_bound(
    schedule: FeeSchedule, levels: Iterable[tuple[Price, Count]], precision: Precision, smallest_fill: Count
) -> Cash:
    """The most that buying ``levels`` with one order can cost in fees, however each level splits into fills.

    A level may hold many resting orders, which the feed does not show, so each level is taken to split into fills of
    ``smallest_fill`` (declared, and recorded in the certificate). Every fill can round its trade fee up by less than
    1e-6 dollars. What stays in the accumulator is below one ``precision`` as long as each fill can give back what an
    earlier one left: its trade fee reaches one precision, or its revenue is on the balance grid and so its fee is a
    multiple of the precision. A level where neither holds may keep a rounding for every fill. When every revenue is on
    the balance grid, so is the order's fee. Without a model fee nothing is rounded but the revenue.
    """
    model, rounded, kept, on_grid = 0, 0, 0, True
    for price, count in levels:
        level_model = model_fee(schedule, price, count)
        # A level splits into at most this many fills; a level below the smallest fill is one.
        level_fills = max(1, count // smallest_fill)
        if level_model:
            model += level_model
            rounded += level_fills
        if price % precision:
            on_grid = False
            if trade_fee(schedule, price, min(count, smallest_fill)) < precision:
                kept += level_fills * precision
    # The sum of the fills' trade fees: of n numbers rounded up, n - 1 can each gain almost 1e-6 dollars on their sum.
    charged = ceil_div(model, _MODEL_PER_CASH) + max(0, rounded - 1)
    if on_grid:
        return Cash(ceil_div(charged, precision) * precision)
    return Cash(charged + precision - 1 + kept)
