"""Integer money: prices in 1e-4 dollars, counts in 1e-2 contracts, cash in 1e-6 dollars.

``price * count`` is exactly cash, so no rounding happens between the wire and the order. The exchange writes all
three as decimal strings (Kalshi API documentation, "Fixed-Point Representation": requests take up to four decimals in
a price and two in a count, responses show up to six); bare JSON numbers have been seen too, so both are read.
"""

import re
from typing import NewType

from kalshi_arb.domain.errors import AmountError

Price = NewType("Price", int)
"""1e-4 dollars. An order price lies strictly between 0 and ``ONE_DOLLAR``."""
Count = NewType("Count", int)
"""1e-2 contracts."""
Cash = NewType("Cash", int)
"""1e-6 dollars, signed: what leaves the account is negative where a docstring says "change"."""

PRICE_DECIMALS = 4
COUNT_DECIMALS = 2
CASH_DECIMALS = 6

ONE_DOLLAR = Price(10**PRICE_DECIMALS)
ONE_CONTRACT = Count(10**COUNT_DECIMALS)
HUNDREDTH = Count(1)
CASH_PER_DOLLAR = Cash(10**CASH_DECIMALS)

_DECIMAL = re.compile(r"(-?)(\d{1,15})(?:\.(\d{1,12}))?\Z", re.ASCII)
# How Python writes a small or large float; the exponent moves the point.
_SCIENTIFIC = re.compile(r"(-?)(\d)(?:\.(\d{1,16}))?e([+-]\d{1,2})\Z", re.ASCII)


def scale_decimal(value: object, decimals: int) -> int:
    """Read a decimal string or JSON number as an integer count of ``10**-decimals``.

    :raises AmountError: missing, not a plain decimal, or finer than the unit (trailing zeros are no precision).
    """
    if value is None:
        raise AmountError("the amount is missing")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise AmountError(f"expected a decimal string, got {value!r}")
    text = value if isinstance(value, str) else _written(value)
    match = _DECIMAL.match(text)
    if match is None:
        raise AmountError(f"not a plain decimal: {text!r}")
    sign, whole, fraction = match.group(1), match.group(2), (match.group(3) or "").rstrip("0")
    if len(fraction) > decimals:
        raise AmountError(f"{text} is finer than 1e-{decimals}")
    scaled = int(whole + fraction.ljust(decimals, "0"))
    return -scaled if sign else scaled


def _written(number: float) -> str:
    """The plain decimal that a bare number stood for.

    ``repr`` of a float is the shortest decimal that reads back as the same float, which is what the sender wrote.
    """
    text = repr(number)
    match = _SCIENTIFIC.match(text)
    if match is None:
        return text
    sign, digits, exponent = match[1], match[2] + (match[3] or ""), int(match[4])
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{sign}{digits[: exponent + 1].ljust(exponent + 1, '0')}.{digits[exponent + 1 :] or '0'}"


def print_decimal(amount: int, decimals: int) -> str:
    """Write an integer count of ``10**-decimals`` as a decimal string with exactly that many decimals."""
    sign = "-" if amount < 0 else ""
    digits = str(abs(amount)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def price_from_wire(value: object) -> Price:
    """Read a dollar price such as ``"0.5600"``. Range 0 to 1 inclusive: books and quotes use both ends as sentinels.

    :raises AmountError: malformed, finer than 1e-4 dollars, or outside 0..1.
    """
    price = scale_decimal(value, PRICE_DECIMALS)
    if not 0 <= price <= ONE_DOLLAR:
        raise AmountError(f"price {value} is outside 0 to 1 dollar")
    return Price(price)


def price_to_wire(price: Price) -> str:
    """Write a price as the exchange does, four decimals."""
    return print_decimal(price, PRICE_DECIMALS)


def count_from_wire(value: object) -> Count:
    """Read a contract count such as ``"10.00"``; signed, since deltas and positions are.

    :raises AmountError: malformed or finer than 0.01 contract.
    """
    return Count(scale_decimal(value, COUNT_DECIMALS))


def count_to_wire(count: Count) -> str:
    """Write a contract count as the exchange does, two decimals."""
    return print_decimal(count, COUNT_DECIMALS)


def cash_from_wire(value: object) -> Cash:
    """Read a dollar amount of up to six decimals.

    :raises AmountError: malformed or finer than 1e-6 dollars.
    """
    return Cash(scale_decimal(value, CASH_DECIMALS))


def cash_to_wire(cash: Cash) -> str:
    """Write a dollar amount with six decimals."""
    return print_decimal(cash, CASH_DECIMALS)


def dollars(cash: Cash) -> str:
    """Cash for a person: six decimals cut to the shortest form of at least two, with the dollar sign."""
    text = cash_to_wire(cash)
    whole, fraction = text.split(".")
    sign, whole = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def complement(price: Price) -> Price:
    """The same price seen from the other outcome: a NO at q is a YES at 1 - q."""
    return Price(ONE_DOLLAR - price)


def notional(price: Price, count: Count) -> Cash:
    """Cash for ``count`` contracts at ``price``; exact by the choice of units."""
    return Cash(price * count)


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded towards plus infinity."""
    return -(-numerator // denominator)
