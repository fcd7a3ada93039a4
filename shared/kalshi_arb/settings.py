"""Typed settings, read once from an environment that the caller hands over. Nothing here reads it at import."""

from collections.abc import Mapping
from enum import Enum, unique
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting
from kalshi_arb.kalshi.rate_limit import Tier

PREFIX = "KALSHI_ARB_"

Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Url = Annotated[str, StringConstraints(pattern=r"^(https?|wss?)://[^\s]+$")]

DEFAULT_SMALLEST_FILL = 100
"""1e-2 contracts: the smallest fill that fees are bounded with where nobody declared another."""


@unique
class Mode(Enum):
    """One word everywhere. Only LIVE moves real money."""

    SIMULATED = "simulated"  # embedded exchange
    DEMO = "demo"  # Kalshi's demo exchange
    PAPER = "paper"  # real books, our own conservative fills
    LIVE = "live"


@unique
class AccountType(Enum):
    """How the account's balance is rounded (Kalshi API documentation, fee rounding)."""

    DIRECT = "direct"
    CENT = "cent"

    @property
    def precision(self) -> Precision:
        """The balance grid."""
        return Precision.DIRECT if self is AccountType.DIRECT else Precision.CENT


class Settings(BaseModel):
    """Everything a process may need; each environment variable is the field's name in capitals after ``KALSHI_ARB_``.

    Resource names are optional because no process needs them all: a component that needs one asks :meth:`need`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    account: AccountType = AccountType.DIRECT
    rate_tier: Tier = Field(default=Tier.BASIC, description="the account's usage tier, which sets its rate limits")
    rest_url: Url
    ws_url: Url | None = None

    books_table: Name | None = None
    groups_table: Name | None = None
    group_history_table: Name | None = None
    opportunities_table: Name | None = None
    baskets_table: Name | None = None
    ledger_table: Name | None = None
    reservations_table: Name | None = None
    status_table: Name | None = None
    alerts_table: Name | None = None
    paper_table: Name | None = None
    candidates_queue_url: Name | None = None
    lifecycle_queue_url: Name | None = None
    audits_queue_url: Name | None = None
    basket_machine_arn: Name | None = None
    detection_function: Name | None = None
    alerts_topic_arn: Name | None = None
    read_key_secret: Name | None = None
    trade_key_secret: Name | None = None
    api_token_secret: Name | None = None
    webhook_secret: Name | None = None
    limits_parameter: Name | None = None
    stack_id: Name | None = None
    relations_parameter: Name | None = None
    health_file: Name | None = None

    smallest_fill: Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{0,6})?$")] = Field(
        default="", description="declared smallest fill, 1e-2 contracts; empty means not declared"
    )
    netting: Netting = Field(
        default=Netting.OFF, description="whether netting is switched on in the account at the exchange"
    )
    book_depth: int = Field(default=20, ge=1, le=100, description="levels a side in candidates and snapshots")
    max_book_age_ms: int = Field(default=5_000, ge=1, description="older books prove nothing")
    snapshot_interval_ms: int = Field(default=2_000, ge=50, description="least time between two copies of one book")
    paper_cash: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$")] = Field(
        default="10000.00", description="opening cash of mode paper on each shard, dollars"
    )
    log_level: Annotated[str, StringConstraints(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @property
    def assumed_smallest_fill(self) -> int:
        """The smallest fill that fees are bounded with, declared or not (1e-2 contracts)."""
        return int(self.smallest_fill or DEFAULT_SMALLEST_FILL)

    @property
    def may_trade_on_its_fees(self) -> bool:
        """Whether the highest fees are sure enough to trade on.

        A cent account can keep almost a cent of every fill, so there the declared smallest fill carries the whole
        bound, and somebody must have declared it. On a direct account it moves hundredths of a cent.
        """
        return self.account is AccountType.DIRECT or self.smallest_fill != ""

    @property
    def collateral_return(self) -> Netting:
        """Whether collateral comes back across markets in this mode: on paper none ever does."""
        return Netting.OFF if self.mode is Mode.PAPER else self.netting

    def need(self, field: str) -> str:
        """A resource name that must be set here. :raises SettingsError: it is not."""
        value = getattr(self, field)
        if value is None:
            raise SettingsError(f"{PREFIX}{field.upper()} is not set, and this component needs it")
        return str(value)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Build settings from environment variables.

    :raises SettingsError: a variable is missing, unknown or malformed; the message names each.
    """
    known = {PREFIX + field.upper(): field for field in Settings.model_fields}
    values: dict[str, str] = {}
    unknown = []
    for name, value in environ.items():
        if not name.startswith(PREFIX):
            continue
        if name in known:
            values[known[name]] = value
        else:
            unknown.append(name)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(sorted(unknown))}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()
        )
        raise SettingsError(f"settings cannot be used: {problems}") from error
