"""Trading fees, exact.

The model fee is ``k * multiplier * C * P * (1 - P)`` dollars, the same for both outcomes (Kalshi fee schedule). What a
fill is charged for it follows from rounding (Kalshi API documentation, "Fee Rounding"), with signed revenue, negative
for a buyer:

1. ``trade_fee`` = model fee rounded up to the regime's fee unit
2. ``aligned`` = revenue - trade_fee rounded down to the account's balance precision
3. ``rounding_fee`` = (revenue - trade_fee) - aligned, added to the order's accumulator
4. ``rebate`` = whole rebate units out of the accumulator, no more than leaves the net fee >= 0
5. net fee = trade_fee + rounding_fee - rebate; the balance moves by aligned + rebate

The accumulator belongs to the order and carries on from its taker fills to its later maker fills.

**Both sides of the book.** Everything here is a purchase: a bid buys YES at its price, an ask buys NO at the
complement, also where it closes YES held. The exchange may see the latter as a sale with positive revenue, and proceeds
round differently from a cost of the same size. The two views agree to the last digit nevertheless: selling ``C`` at
``p`` brings ``p * C``, buying the other outcome costs ``(1 - p) * C``, and the difference, one dollar a contract, is
paid back by netting. A dollar times a count in hundredths is a whole number of cents, which lies on every balance grid,
so rounding down commutes with it and leaves the same rounding fee, accumulator and net fee.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, unique
from functools import lru_cache

from kalshi_arb.domain.errors import AmountError, FeeError, ProofError
from kalshi_arb.domain.money import (
    CASH_PER_DOLLAR,
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_from_wire,
    ceil_div,
    notional,
    scale_decimal,
)

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


@unique
class RoundingRegime(Enum):
    """Which text of the exchange's fee rounding page holds.

    CENTICENT: trade fees are rounded up to $0.0001, and rebates are whole cents once the accumulator exceeds one (the
    page as of 2026-08-22; real fills of August 2026 follow it). SIX_DECIMALS: trade fees are rounded up to $0.000001,
    and rebates are whole steps of the account's balance precision (the page as of 2026-10-08, current).
    """

    CENTICENT = "centicent"
    SIX_DECIMALS = "six_decimals"

    @property
    def fee_unit(self) -> Cash:
        """What a trade fee is rounded up to."""
        return Cash(100 if self is RoundingRegime.CENTICENT else 1)

    def rebate_step(self, precision: Precision) -> Cash:
        """What rebates are whole multiples of."""
        return Cash(CASH_PER_DOLLAR // 100 if self is RoundingRegime.CENTICENT else precision)


CURRENT_REGIME = RoundingRegime.SIX_DECIMALS
SIX_DECIMALS_FROM_MS = 1_788_220_800_000
"""2026-09-01T00:00:00Z, our choice. The page read on 2026-08-22 still stated the older rule and the one read on
2026-10-08 the current rule; the changelog names no date between them. Fills of August 2026 followed the older rule."""


def regime_at(at_ms: int) -> RoundingRegime:
    """The rounding regime of a fill at ``at_ms`` (ms UTC)."""
    return RoundingRegime.SIX_DECIMALS if at_ms >= SIX_DECIMALS_FROM_MS else RoundingRegime.CENTICENT


def precision_from_wire(value: object) -> Precision:
    """Read a balance precision in dollars: 0.0001 (direct members) or 0.01 (through a broker).

    :raises AmountError: malformed, or no precision that an account can have.
    """
    try:
        return Precision(cash_from_wire(value))
    except ValueError:
        raise AmountError(f"{value} is no balance precision: 0.0001 (direct member) or 0.01 (broker)") from None


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
    """Read ``fee_type`` and ``fee_multiplier`` of a series. A type that is not known here is UNKNOWN, not an error.

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


def override_from_wire(fee_type: str | None, multiplier: object) -> FeeSchedule | None:
    """Read ``fee_type_override`` and ``fee_multiplier_override`` of an event; None where it has no override.

    An override comes as both fields or as neither (Kalshi API documentation, event object and ``event_fee_update``).

    :raises FeeError: only one of the two is set.
    :raises AmountError: a multiplier that is negative or finer than 1e-4.
    """
    if fee_type is None and multiplier is None:
        return None
    if fee_type is None or multiplier is None:
        raise FeeError(f"half a fee override: type {fee_type!r}, multiplier {multiplier!r}")
    return schedule_from_wire(fee_type, multiplier)


def model_fee(schedule: FeeSchedule, price: Price, count: Count, role: Role = Role.TAKER) -> int:
    """The unrounded fee in 1e-18 dollars: a lower bound of what any sequence of fills costs."""
    return schedule.coefficient(role) * count * price * (ONE_DOLLAR - price)


def trade_fee(
    schedule: FeeSchedule,
    price: Price,
    count: Count,
    role: Role = Role.TAKER,
    *,
    regime: RoundingRegime = CURRENT_REGIME,
) -> Cash:
    """Step 1: the model fee of one fill rounded up to the regime's fee unit."""
    unit = regime.fee_unit
    return Cash(ceil_div(model_fee(schedule, price, count, role), _MODEL_PER_CASH * unit) * unit)


@dataclass(frozen=True, slots=True)
class FillFee:
    """What one fill did.

    ``fee`` is net, ``change`` is what the balance moved by, ``accumulator`` is what the order carries on;
    ``rounding`` and ``rebate`` are the parts of the fee that steps 3 and 4 added and took away.
    """

    fee: Cash
    change: Cash
    accumulator: Cash
    rounding: Cash
    rebate: Cash


def charge(
    revenue: Cash,
    raw_fee: Cash,
    precision: Precision,
    accumulator: Cash = Cash(0),
    *,
    regime: RoundingRegime = CURRENT_REGIME,
) -> FillFee:
    """Steps 2 to 5 for one fill (Kalshi API documentation, "Fee Rounding").

    :param revenue: what the fill itself moves, negative for a buyer
    :param raw_fee: the fill's trade fee
    :param accumulator: what earlier fills of the same order left in it
    """
    exact = revenue - raw_fee
    aligned = exact // precision * precision
    rounding = exact - aligned
    carried = accumulator + rounding
    # "Once the accumulated rounding exceeds $0.01": in the older regime a cent exactly is still carried.
    available = max(0, carried - 1) if regime is RoundingRegime.CENTICENT else carried
    step = regime.rebate_step(precision)
    rebate = min(available, raw_fee + rounding) // step * step
    return FillFee(
        Cash(raw_fee + rounding - rebate), Cash(aligned + rebate), Cash(carried - rebate), Cash(rounding), Cash(rebate)
    )


def fill_fees(
    schedule: FeeSchedule,
    fills: Iterable[tuple[Price, Count]],
    precision: Precision,
    role: Role = Role.TAKER,
    *,
    regime: RoundingRegime = CURRENT_REGIME,
) -> Iterator[FillFee]:
    """What each fill of one buying order is charged, in the order they came (outcome price, count)."""
    accumulator = Cash(0)
    for price, count in fills:
        raw = trade_fee(schedule, price, count, role, regime=regime)
        result = charge(Cash(-notional(price, count)), raw, precision, accumulator, regime=regime)
        accumulator = result.accumulator
        yield result


def order_fee(
    schedule: FeeSchedule,
    fills: Iterable[tuple[Price, Count]],
    precision: Precision,
    role: Role = Role.TAKER,
    *,
    regime: RoundingRegime = CURRENT_REGIME,
) -> Cash:
    """The fee of one buying order as a function of its fill sequence (outcome price, count), accumulator included."""
    return Cash(sum(one.fee for one in fill_fees(schedule, fills, precision, role, regime=regime)))


def order_fee_least(
    schedule: FeeSchedule,
    levels: Iterable[tuple[Price, Count]],
    precision: Precision,
    role: Role = Role.TAKER,
    *,
    regime: RoundingRegime = CURRENT_REGIME,
) -> Cash:
    """The least that buying ``levels`` with one order can cost in fees, however each level splits into fills.

    Rebates never exceed what was rounded, so the fee is at least the model fee; and the balance moves in whole steps of
    its precision, so cost and fee together lie on its grid.
    """
    model = cost = 0
    for price, count in levels:
        model += model_fee(schedule, price, count, role)
        cost += notional(price, count)
    unit = regime.fee_unit
    charged = ceil_div(model, _MODEL_PER_CASH * unit) * unit
    return Cash(ceil_div(cost + charged, precision) * precision - cost)


def order_fee_bound(
    schedule: FeeSchedule,
    levels: Iterable[tuple[Price, Count]],
    precision: Precision,
    smallest_fill: Count,
    role: Role = Role.TAKER,
    *,
    regime: RoundingRegime = CURRENT_REGIME,
) -> Cash:
    """The most that buying ``levels`` with one order can cost in fees, however each level splits into fills.

    A level may hold many resting orders, which the feed does not show, so each level is taken to split into fills of
    ``smallest_fill`` (declared, and recorded in the certificate); a level below it is one fill. One fill of the order,
    its last, may be smaller: the rest of what was wanted, out of a larger resting order.

    Every fill can round its trade fee up by less than the regime's fee unit. What stays in the accumulator is below one
    ``precision`` as long as each fill can give back what an earlier one left: its trade fee reaches one precision, or
    its revenue is on the balance grid and so its fee is a multiple of the precision. Any other fill may add a rounding
    that stays, except the first, which finds nothing to keep beside its own. In the older regime nothing but whole
    cents is given back, so there every rounding of a revenue counts. Cost and fee together lie on the balance grid,
    because each fill leaves the balance on it. Without a model fee nothing is rounded but the revenue.
    """
    coefficient = schedule.coefficient(role)
    unit = regime.fee_unit
    centicent = regime is RoundingRegime.CENTICENT
    model = cost = charging = keeping = 0
    gives = charging_rest = keeping_rest = giving_rest = False
    for price, count in levels:
        if count <= 0:
            continue
        fills = count // smallest_fill or 1
        one_more = count > smallest_fill and count % smallest_fill > 0
        each = coefficient * price * (ONE_DOLLAR - price)
        model += each * count
        cost += price * count
        if each:
            charging += fills
            charging_rest |= one_more
        if price % precision and (centicent or each * min(count, smallest_fill) <= (precision - 1) * _MODEL_PER_CASH):
            keeping += fills
            keeping_rest |= one_more
        else:
            gives = True
            # The rest may be too small to give anything back, also where the other fills of its level do.
            giving_rest |= price % precision > 0 and count > smallest_fill
    # The sum of the fills' trade fees: of n numbers rounded up, n - 1 can each gain almost a unit on their sum.
    gained = max(0, charging + charging_rest - 1) * unit
    kept = max(0, keeping + (keeping_rest or giving_rest) - (not gives)) * precision
    most = ceil_div(model, _MODEL_PER_CASH * unit) * unit + gained + precision - 1 + kept
    return Cash(most - (cost + most) % precision)


@lru_cache(maxsize=4096)
def order_cost_bound(
    schedule: FeeSchedule,
    limit: Price,
    count: Count,
    precision: Precision,
    smallest_fill: Count,
    *,
    revenue_may_round: bool,
) -> Cash:
    """The most that one taking order of ``count`` can take from the balance, fees included, however the book stands
    when it arrives: any fills at or below ``limit``, each but the last of at least ``smallest_fill``.

    Price plus model fee rises with the price, so without roundings of the revenue the limit is dearest. With them, an
    order keeps less than one step of the balance, and a fill keeps a step more where it cannot give an earlier rounding
    back (see :func:`order_fee_bound`): at a price below the limit if need be, less what it saves there. The last fill
    may be so small that it saves nothing.

    :param revenue_may_round: whether the order can fill at a price off the balance grid
    """
    if not revenue_may_round:
        return Cash(notional(limit, count) + order_fee_bound(schedule, ((limit, count),), precision, smallest_fill))
    fills = ceil_div(count, smallest_fill)
    charged = trade_fee(schedule, limit, count)
    kept = 0 if fills == 1 else (fills - 2) * _keeps(schedule, limit, precision, smallest_fill) + precision
    return Cash(notional(limit, count) + charged + (fills - 1 if charged else 0) + precision - 1 + kept)


@lru_cache(maxsize=4096)
def _keeps(schedule: FeeSchedule, limit: Price, precision: Precision, smallest_fill: Count) -> int:
    """What a fill of the smallest size can keep, less what its price then saves below the limit."""
    for saved in range(ceil_div(precision, smallest_fill)):
        price = Price(limit - saved)
        if price <= 0:
            break
        if price % precision and trade_fee(schedule, price, smallest_fill) < precision:
            return int(precision) - saved * smallest_fill
    return 0
