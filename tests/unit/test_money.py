"""Integer money: reading what the exchange writes, and writing it back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.money import (
    ONE_DOLLAR,
    Cash,
    Count,
    Price,
    cash_from_wire,
    cash_to_wire,
    ceil_div,
    complement,
    count_from_wire,
    count_to_wire,
    dollars,
    notional,
    price_from_wire,
    price_to_wire,
    print_decimal,
    scale_decimal,
)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("0.56", 5_600), ("0.5600", 5_600), ("0.560000", 5_600), ("0.56000000", 5_600), ("0.055", 550), ("0.0001", 1),
        ("0", 0), ("-0", 0), ("1.0000", 10_000), (0.56, 5_600), (0.0001, 1), (1, 10_000), (-0.0, 0), (0, 0),
    ],
)  # fmt: skip
def test_prices_are_read_from_strings_and_bare_numbers(text: object, price: int) -> None:
    assert price_from_wire(text) == price


@pytest.mark.parametrize(
    "bad", ["1.0001", "-0.1", "0.00001", "", "0.5.5", " 0.5", "0.5\n", "1e-2", ".5", "5.", "\u0665"]
)
def test_what_is_no_price_is_refused(bad: str) -> None:
    with pytest.raises(AmountError):
        price_from_wire(bad)


@pytest.mark.parametrize(
    ("number", "cash"),
    [
        (1e-05, 10), (1.2e-05, 12), (-1e-06, -1), (2.5e-05, 25), (0.1, 100_000), (1e15 / 10, 10**20),
        (12_345_678.25, 12_345_678_250_000),
    ],
)  # fmt: skip
def test_bare_numbers_are_read_as_they_were_written(number: float, cash: int) -> None:
    assert cash_from_wire(number) == cash


@given(st.integers(-(10**15), 10**15))
def test_a_bare_number_reads_like_its_text(amount: int) -> None:
    text = cash_to_wire(Cash(amount))
    assert cash_from_wire(float(text)) == cash_from_wire(text) == amount


@given(st.integers(-(10**12), 10**12), st.integers(2, 8))
def test_zeros_at_the_end_say_nothing(amount: int, decimals: int) -> None:
    text = print_decimal(amount, 2)
    assert count_from_wire(text + "0" * (decimals - 2)) == amount


@given(st.text(alphabet="0123456789.-+eE \u0665_", max_size=12))
def test_text_is_read_exactly_or_refused(text: str) -> None:
    try:
        amount = scale_decimal(text, 4)
    except AmountError:
        return
    assert Fraction(text) == Fraction(amount, 10_000)


def test_a_missing_amount_is_named() -> None:
    with pytest.raises(AmountError, match="missing"):
        price_from_wire(None)


@pytest.mark.parametrize("bad", [1e-05, 0.00005, 0.43001])
def test_a_bare_price_off_the_unit_is_refused(bad: float) -> None:
    with pytest.raises(AmountError, match="finer"):
        price_from_wire(bad)


@pytest.mark.parametrize(
    "bad", [None, True, b"0.5", ["0.5"], float("nan"), float("inf"), 1e-7, 1e-300, 1e300, 1e16, 1e15]
)
def test_other_types_and_strange_numbers_are_refused(bad: object) -> None:
    with pytest.raises(AmountError):
        scale_decimal(bad, 4)


def test_counts_are_signed_and_finer_ones_refused() -> None:
    assert count_from_wire("-54.25") == -5_425
    assert count_from_wire("10.00") == 1_000
    assert count_from_wire("-0") == 0
    with pytest.raises(AmountError, match="finer"):
        count_from_wire("0.005")


def test_cash_has_six_decimals() -> None:
    assert cash_from_wire("12.345678") == 12_345_678
    with pytest.raises(AmountError):
        cash_from_wire("0.0000001")


@given(st.integers(-(10**18), 10**18))
def test_writing_and_reading_give_the_same_amount(amount: int) -> None:
    small = amount % 10**12 * (1 if amount >= 0 else -1)
    assert cash_from_wire(cash_to_wire(Cash(small))) == small
    assert count_from_wire(count_to_wire(Count(small))) == small


@given(st.integers(0, 10_000))
def test_prices_survive_the_wire_and_the_complement(amount: int) -> None:
    price = Price(amount)
    assert price_from_wire(price_to_wire(price)) == price
    assert complement(complement(price)) == price
    assert price + complement(price) == ONE_DOLLAR


@pytest.mark.parametrize(
    ("cash", "text"),
    [
        (0, "$0.00"), (1, "$0.000001"), (-2_500_000, "-$2.50"),
        (2_200, "$0.0022"), (100_000_000, "$100.00"), (-1, "-$0.000001"),
    ],
)  # fmt: skip
def test_cash_is_shown_short(cash: int, text: str) -> None:
    assert dollars(Cash(cash)) == text


def test_printing_pads_small_amounts() -> None:
    assert print_decimal(-5, 4) == "-0.0005"
    assert print_decimal(123_456, 2) == "1234.56"


def test_price_times_count_is_exact_cash() -> None:
    # 7.82 contracts at 92 cents.
    assert notional(Price(9_200), Count(782)) == 7_194_400


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**3))
def test_ceiling_division_is_the_smallest_that_covers(numerator: int, denominator: int) -> None:
    result = ceil_div(numerator, denominator)
    assert (result - 1) * denominator < numerator <= result * denominator
