"""Settings: every field from its variable, and one clear line for what cannot be used."""

import pytest

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.kalshi.rate_limit import Tier
from kalshi_arb.settings import AccountType, Mode, Settings, read_settings

LEAST = {"KALSHI_ARB_MODE": "simulated", "KALSHI_ARB_REST_URL": "http://127.0.0.1:9/trade-api/v2"}


def test_the_least_settings_and_their_defaults() -> None:
    settings = read_settings(LEAST | {"PATH": "/bin", "AWS_REGION": "us-east-1"})
    assert settings.mode is Mode.SIMULATED
    assert settings.account is AccountType.DIRECT
    assert (settings.assumed_smallest_fill, settings.book_depth, settings.max_book_age_ms) == (100, 20, 5_000)
    assert settings.log_level == "INFO"
    assert settings.books_table is None


@pytest.mark.parametrize(
    ("account", "declared", "may_trade", "assumed"),
    [
        ("direct", None, True, 100),
        ("direct", "25", True, 25),
        ("cent", None, False, 100),
        # The template hands on an empty text when nothing was declared.
        ("cent", "", False, 100),
        ("cent", "100", True, 100),
    ],
)
def test_a_cent_account_trades_only_on_a_declared_smallest_fill(
    account: str, declared: str | None, may_trade: bool, assumed: int
) -> None:
    given = {} if declared is None else {"KALSHI_ARB_SMALLEST_FILL": declared}
    settings = read_settings(LEAST | {"KALSHI_ARB_ACCOUNT": account} | given)
    assert settings.may_trade_on_its_fees is may_trade
    assert settings.assumed_smallest_fill == assumed


def test_every_field_has_its_variable() -> None:
    numbers = {"book_depth", "max_book_age_ms", "snapshot_interval_ms"}
    special = {
        "mode": "live",
        "account": "cent",
        "rest_url": "https://x",
        "ws_url": "wss://x",
        "log_level": "DEBUG",
    } | {"paper_cash": "12.5", "smallest_fill": "77", "rate_tier": "expert", "netting": "on"}
    environment = {
        f"KALSHI_ARB_{field.upper()}": special.get(field, "77" if field in numbers else f"the {field}")
        for field in Settings.model_fields
    }
    settings = read_settings(environment)
    for field in Settings.model_fields.keys() - special.keys():
        assert getattr(settings, field) == (77 if field in numbers else f"the {field}")
    assert settings.paper_cash == "12.5"
    assert settings.assumed_smallest_fill == 77
    assert settings.mode is Mode.LIVE
    assert settings.rate_tier is Tier.EXPERT
    assert settings.account.precision is Precision.CENT


@pytest.mark.parametrize("mode", list(Mode))
def test_collateral_comes_back_where_netting_is_on_and_never_on_paper(mode: Mode) -> None:
    given = LEAST | {"KALSHI_ARB_MODE": mode.value}
    on = Netting.OFF if mode is Mode.PAPER else Netting.ON
    assert read_settings(given | {"KALSHI_ARB_NETTING": "on"}).collateral_return is on
    assert read_settings(given).collateral_return is Netting.OFF


@pytest.mark.parametrize("mode", list(Mode))
def test_all_four_modes(mode: Mode) -> None:
    assert read_settings(LEAST | {"KALSHI_ARB_MODE": mode.value}).mode is mode


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODE", "LIVE"),
        ("MODE", "real"),
        ("ACCOUNT", "broker"),
        ("REST_URL", "127.0.0.1:9"),
        ("REST_URL", "http://a b"),
        ("WS_URL", "ftp://x"),
        ("BOOKS_TABLE", ""),
        ("SMALLEST_FILL", "0"),
        ("BOOK_DEPTH", "101"),
        ("BOOK_DEPTH", "many"),
        ("MAX_BOOK_AGE_MS", "-1"),
        ("SNAPSHOT_INTERVAL_MS", "49"),
        ("LOG_LEVEL", "loud"),
        ("PAPER_CASH", "-5"),
        ("PAPER_CASH", "$5"),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"KALSHI_ARB_{name}: ") as caught:
        read_settings(LEAST | {f"KALSHI_ARB_{name}": value})
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingsError, match=r"KALSHI_ARB_MODE.*KALSHI_ARB_REST_URL"):
        read_settings({})


def test_an_unknown_setting_of_ours_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown setting KALSHI_ARB_MOOD"):
        read_settings(LEAST | {"KALSHI_ARB_MOOD": "good"})


def test_a_component_asks_for_what_it_needs() -> None:
    settings = read_settings(LEAST | {"KALSHI_ARB_BOOKS_TABLE": "books"})
    assert settings.need("books_table") == "books"
    with pytest.raises(SettingsError, match="KALSHI_ARB_LEDGER_TABLE is not set"):
        settings.need("ledger_table")


def test_settings_cannot_be_changed_and_serve_as_a_key() -> None:
    settings = read_settings(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        settings.mode = Mode.LIVE
    assert {settings: 1}[read_settings(LEAST)] == 1
