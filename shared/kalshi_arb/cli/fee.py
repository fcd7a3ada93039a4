"""`kalshi-arb fee`: what an order is charged, to the last digit, with every rounding shown. Works without a network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

import click

from kalshi_arb.cli.options import json_option
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import AmountError, DomainError
from kalshi_arb.domain.fees import (
    MULTIPLIER_DECIMALS,
    FeeSchedule,
    FeeType,
    FillFee,
    Precision,
    Role,
    RoundingRegime,
    fill_fees,
    model_fee,
    order_fee_bound,
    order_fee_least,
    precision_from_wire,
    regime_at,
    schedule_from_wire,
)
from kalshi_arb.domain.grid import FINEST_GRID
from kalshi_arb.domain.money import (
    Cash,
    Count,
    Price,
    count_from_wire,
    count_to_wire,
    dollars,
    notional,
    price_from_wire,
    price_to_wire,
    print_decimal,
)
from kalshi_arb.domain.side import BookSide

_Kind = TypeVar("_Kind", bound=Enum)

_MODEL_DECIMALS = 18
_COEFFICIENT_DECIMALS = 8
_TRADABLE_TYPES = [kind.value for kind in FeeType if FeeSchedule(kind).is_tradable()]


class BadInputError(click.ClickException):
    """Input that cannot be used: one line, and the exit code of wrong use."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class FeeQuestion:
    """One order whose fee is wanted: fills (YES price, count) in the order they come."""

    side: BookSide
    role: Role
    schedule: FeeSchedule
    precision: Precision
    regime: RoundingRegime
    smallest_fill: Count
    fills: tuple[tuple[Price, Count], ...]

    @property
    def purchases(self) -> list[tuple[Price, Count]]:
        """The fills as what they buy: the outcome's price, count."""
        return [(self.side.purchase_price(price), count) for price, count in self.fills]

    @property
    def levels(self) -> list[tuple[Price, Count]]:
        """The purchases put together by price, for bounds that do not know the fills."""
        totals: dict[Price, int] = {}
        for price, count in self.purchases:
            totals[price] = totals.get(price, 0) + count
        return [(price, Count(total)) for price, total in totals.items()]


def fee_view(asked: FeeQuestion) -> dict[str, Any]:
    """The answer for machines: dollars as decimal strings.

    :raises ProofError: the fee type has no exact fee.
    """
    schedule, role, regime = asked.schedule, asked.role, asked.regime
    charged = list(fill_fees(schedule, asked.purchases, asked.precision, role, regime=regime))
    cost = sum(notional(price, count) for price, count in asked.purchases)
    least = order_fee_least(schedule, asked.levels, asked.precision, role, regime=regime)
    most = order_fee_bound(schedule, asked.levels, asked.precision, asked.smallest_fill, role, regime=regime)
    model = sum(model_fee(schedule, price, count, role) for price, count in asked.purchases)
    return {
        "fee": _short(Cash(sum(one.fee for one in charged))),
        "fee_at_least": _short(least),
        "fee_at_most": _short(most),
        "smallest_fill": count_to_wire(asked.smallest_fill),
        "model_fee": _trimmed(model, _MODEL_DECIMALS),
        "cost": _short(Cash(cost)),
        "balance_change": _short(Cash(sum(one.change for one in charged))),
        "side": asked.side.value,
        "role": role.value,
        "fee_type": schedule.fee_type.value,
        "multiplier": _trimmed(schedule.multiplier, MULTIPLIER_DECIMALS),
        "precision": _short(Cash(asked.precision)),
        "regime": regime.value,
        "fills": [_fill_view(*fill, one) for fill, one in zip(asked.fills, charged, strict=True)],
    }


def _fill_view(price: Price, count: Count, charged: FillFee) -> dict[str, str]:
    return {
        "price": price_to_wire(price),
        "count": count_to_wire(count),
        "trade_fee": _short(Cash(charged.fee - charged.rounding + charged.rebate)),
        "rounding_fee": _short(charged.rounding),
        "rebate": _short(charged.rebate),
        "fee": _short(charged.fee),
        "balance_change": _short(charged.change),
        "carried": _short(charged.accumulator),
    }


def as_text(asked: FeeQuestion, view: dict[str, Any]) -> list[str]:
    """The answer for people: each rounding in words, then the fee, then what it can be when the fills are unknown."""
    unit, precision = dollars(asked.regime.fee_unit), dollars(Cash(asked.precision))
    coefficient = _trimmed(asked.schedule.coefficient(asked.role), _COEFFICIENT_DECIMALS)
    rebate_step = dollars(asked.regime.rebate_step(asked.precision))
    lines = [
        f"order     {asked.side.value} as {asked.role.value}: buys {'YES' if asked.side is BookSide.BID else 'NO'}"
        f" for ${view['cost']}",
        f"schedule  {view['fee_type']} x{view['multiplier']}: {coefficient} x count x price x (1 - price)"
        f" = ${view['model_fee']}",
        f"rounding  each fill's fee up to {unit}, its balance change down to {precision}; what that takes is carried"
        f" and given back in steps of {rebate_step}",
    ]
    for number, ((price, count), fill) in enumerate(zip(asked.fills, view["fills"], strict=True), start=1):
        lines.append(
            f"fill {number:<4} {count_to_wire(count)} at {price_to_wire(price)}: trade fee ${fill['trade_fee']}"
            f" + rounding ${fill['rounding_fee']} - rebate ${fill['rebate']} = ${fill['fee']};"
            f" balance {fill['balance_change']}, carried ${fill['carried']}"
        )
    return [
        *lines,
        f"fee       ${view['fee']}",
        f"bounds    ${view['fee_at_least']} to ${view['fee_at_most']} however it fills, if no fill but the last is"
        f" below {view['smallest_fill']} contracts",
    ]


def _short(cash: Cash) -> str:
    """Dollars as a decimal string of at least two decimals, without trailing zeros."""
    return dollars(cash).replace("$", "")


def _trimmed(amount: int, decimals: int) -> str:
    return print_decimal(amount, decimals).rstrip("0").rstrip(".")


def _one_of(option: str, kinds: type[_Kind], text: str) -> _Kind:
    try:
        return kinds(text)
    except ValueError:
        known = ", ".join(str(kind.value) for kind in kinds)
        raise BadInputError(f"{option} is {text!r}, and must be one of {known}") from None


def _schedule(fee_type: str, multiplier: str) -> FeeSchedule:
    try:
        schedule = schedule_from_wire(fee_type, multiplier)
    except AmountError as error:
        raise BadInputError(f"--multiplier: {error}") from None
    if not schedule.is_tradable():
        raise BadInputError(
            f"--fee-type is {fee_type!r}, which has no exact fee and is not traded: use one of "
            f"{', '.join(_TRADABLE_TYPES)}"
        )
    return schedule


def _count(option: str, text: str) -> Count:
    try:
        count = count_from_wire(text)
    except AmountError as error:
        raise BadInputError(f"{option}: {error} (contracts in steps of 0.01)") from None
    if count <= 0:
        raise BadInputError(f"{option} is {text}, and must be at least 0.01 contracts")
    return count


def _price(option: str, text: str) -> Price:
    try:
        return FINEST_GRID.require(price_from_wire(text))
    except DomainError as error:
        raise BadInputError(f"{option}: {error} (dollars in steps of 0.0001)") from None


def _fills(price: str | None, count: str | None, fills: str | None) -> tuple[tuple[Price, Count], ...]:
    if fills is None:
        if price is None or count is None:
            raise BadInputError("give --price and --count, or --fills PRICE:COUNT,PRICE:COUNT,...")
        return ((_price("--price", price), _count("--count", count)),)
    if price is not None or count is not None:
        raise BadInputError("give --price and --count, or --fills, not both")
    parts: list[tuple[Price, Count]] = []
    for part in fills.split(","):
        own_price, colon, own_count = part.strip().partition(":")
        if not colon:
            raise BadInputError(f"--fills: {part!r} is not PRICE:COUNT, such as 0.43:100")
        parts.append((_price("--fills", own_price), _count("--fills", own_count)))
    return tuple(parts)


def _moment_ms(text: str | None) -> int:
    if text is None:
        return SystemClock().now_ms()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"--at is {text!r}, and must be a date or time such as 2026-08-15T12:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _precision(text: str) -> Precision:
    try:
        return precision_from_wire(text)
    except AmountError as error:
        raise BadInputError(f"--precision: {error}") from None


def answer_lines(asked: FeeQuestion, *, as_json: bool) -> Sequence[str]:
    """What is printed."""
    view = fee_view(asked)
    return [json.dumps(view)] if as_json else as_text(asked, view)


@click.command()
@click.option("--price", help="YES price of the order in dollars.")
@click.option("--count", help="Contracts, in steps of 0.01, filled at once.")
@click.option("--fills", help="Instead of both: the order's fills as they came, PRICE:COUNT,PRICE:COUNT,...")
@click.option("--side", default="bid", show_default=True, help="bid (buys YES) or ask (buys NO, or sells YES).")
@click.option("--role", default="taker", show_default=True, help="taker or maker.")
@click.option("--fee-type", default="quadratic", show_default=True, help="The series' fee_type.")
@click.option("--multiplier", default="1", show_default=True, help="The series' fee_multiplier.")
@click.option("--precision", default="0.0001", show_default=True, help="Balance steps: 0.0001 direct, 0.01 broker.")
@click.option("--smallest-fill", default="1.00", show_default=True, help="Declared smallest fill, for the upper bound.")
@click.option("--at", help="Date or time of the fills, UTC unless it says otherwise; decides the rounding rule.")
@json_option
def fee(
    price: str | None,
    count: str | None,
    fills: str | None,
    side: str,
    role: str,
    fee_type: str,
    multiplier: str,
    precision: str,
    smallest_fill: str,
    at: str | None,
    as_json: bool,
) -> None:
    """Compute the fee of an order, exactly, and the bounds it stays in when its fills are not known.

    \b
    Examples:
      kalshi-arb fee --price 0.43 --count 100
      kalshi-arb fee --fills 0.055:1,0.055:1,0.055:1 --precision 0.01
      kalshi-arb fee --price 0.0130 --count 71.94 --at 2026-08-15 --json
    """
    asked = FeeQuestion(
        side=_one_of("--side", BookSide, side),
        role=_one_of("--role", Role, role),
        schedule=_schedule(fee_type, multiplier),
        precision=_precision(precision),
        regime=regime_at(_moment_ms(at)),
        smallest_fill=_count("--smallest-fill", smallest_fill),
        fills=_fills(price, count, fills),
    )
    click.echo("\n".join(answer_lines(asked, as_json=as_json)))
