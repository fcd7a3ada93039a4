"""The operator's limits: every one has a default, and what cannot be meant is refused by its name."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.risk.limits import Kind, Limits, parse_limits, share_text

KINDS: dict[str, Kind] = {field.name: field.metadata["kind"] for field in fields(Limits)}
ABSURD: dict[Kind, list[object]] = {
    Kind.DOLLARS: ["-0.01", "10000000.01", "1e3", "0.0000001", "", 5, 5.0, None, True, []],
    Kind.CONTRACTS: [-1, 10_000_001, "5", 0.5, None, True],
    Kind.SHARE: ["-0.1", "1.000001", "2", 0.2, 1, "a fifth", None, True],
    Kind.MILLISECONDS: [-1, 600_001, "5", 1.5, None, False],
    Kind.SECONDS: [0, -1, 604_801, "900", None, True],
    Kind.DAYS: [-1, 3_651, "90", None, True],
    Kind.NUMBER: [-1, 1_000_001, "3", 2.5, None, True],
    Kind.SWITCH: ["true", "yes", "", 0, 1, 1.0, None, []],
}


def test_an_empty_object_is_a_whole_set_of_limits() -> None:
    limits = parse_limits({})
    assert limits == Limits()
    assert limits.max_contracts_per_market == 100_000
    assert limits.max_total_contracts == 1_000_000
    assert limits.max_daily_loss == 500_000_000
    shares = {getattr(limits, f"max_share_per_{what}") for what in ("market", "event", "series", "underlying")}
    assert shares == {200_000}


def test_every_limit_has_its_kind_and_a_default_that_lies_in_it() -> None:
    for name, kind in KINDS.items():
        assert isinstance(kind, Kind), name
        assert isinstance(getattr(Limits(), name), int), name


def test_each_kind_is_read_in_its_unit() -> None:
    limits = parse_limits(
        {
            "min_profit": "0.010001", "max_contracts_per_market": 7, "max_share_per_event": "0.125",
            "max_book_age_ms": 250, "long_lock_days": 0, "max_open_baskets": 3, "breaker_window_s": 60,
            "auto_release": True,
        }
    )  # fmt: skip
    assert limits.auto_release is True
    assert Limits().auto_release is False, "nothing is sold early unless somebody asks for it"
    assert (limits.min_profit, limits.max_contracts_per_market, limits.max_share_per_event) == (10_001, 700, 125_000)
    assert (limits.max_book_age_ms, limits.long_lock_days, limits.max_open_baskets) == (250, 0, 3)
    assert limits.breaker_window_s == 60


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in KINDS for value in ABSURD[KINDS[name]]])
def test_what_cannot_be_meant_is_refused_by_name_with_what_it_must_be(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_limits({name: value})
    assert str(refused.value) == f"limit {name} must be {KINDS[name].value}, not {value!r}"


def test_an_unknown_limit_is_named_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"unknown limit max_loss; known are max_contracts_per_market, "):
        parse_limits({"max_loss": "1.00"})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        parse_limits({"max_open_baskets": -1, "other": 1, "min_profit": "-1"})
    assert all(name in str(refused.value) for name in ("max_open_baskets", "unknown limit other", "min_profit"))


@given(st.integers(0, 1_000_000))
def test_a_share_reads_back_as_it_is_written(share: int) -> None:
    assert parse_limits({"max_depth_share": share_text(share)}).max_depth_share == share


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.none() | st.booleans() | st.integers() | st.text(max_size=8)))
def test_any_document_is_read_or_refused_with_a_name(document: dict[str, object]) -> None:
    try:
        limits, words = parse_limits(document), ""
    except SettingsError as refused:
        limits, words = Limits(), str(refused)
    assert not words or any(name in words for name in document)
    assert all(getattr(limits, name) == getattr(Limits(), name) for name in KINDS if name not in document)
