"""The operator's limits: every field named, dollars as decimal strings, nothing guessed."""

import pytest

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.risk.limits import parse_limits
from tests.basket_world import WIDE_LIMITS


def test_dollars_become_exact_cash() -> None:
    limits = parse_limits({**WIDE_LIMITS, "min_profit": "0.010001"})
    assert limits.min_profit == 10_001
    assert limits.max_outlay_per_basket == 500_000_000
    assert limits.max_open_baskets == 5


@pytest.mark.parametrize("name", sorted(WIDE_LIMITS))
def test_a_missing_limit_is_named(name: str) -> None:
    document = {key: value for key, value in WIDE_LIMITS.items() if key != name}
    with pytest.raises(SettingsError, match=f"limit {name} is missing"):
        parse_limits(document)


@pytest.mark.parametrize("name", sorted(set(WIDE_LIMITS) - {"max_open_baskets"}))
@pytest.mark.parametrize("value", ["-1.00", "1.0000001", "1e3", "ten", "", 5, 5.0, None, True])
def test_a_malformed_amount_is_named(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        parse_limits({**WIDE_LIMITS, name: value})


@pytest.mark.parametrize("value", [-1, 1.0, "3", True, None])
def test_a_malformed_number_of_baskets_is_named(value: object) -> None:
    with pytest.raises(SettingsError, match="max_open_baskets"):
        parse_limits({**WIDE_LIMITS, "max_open_baskets": value})


def test_an_unknown_limit_is_refused_because_it_may_be_a_misspelt_one() -> None:
    with pytest.raises(SettingsError, match="max_share"):
        parse_limits({**WIDE_LIMITS, "max_share": "0.10"})
