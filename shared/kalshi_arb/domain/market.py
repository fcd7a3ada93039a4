"""One market as the relations need it: what it settles on, where it trades, what it charges."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, unique

from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.money import HUNDREDTH, Count


@unique
class Outcome(Enum):
    """The two contracts of a market. Selling one is buying the other: everything we send is a purchase."""

    YES = "yes"
    NO = "no"

    @property
    def other(self) -> "Outcome":
        """The opposite outcome."""
        return Outcome.NO if self is Outcome.YES else Outcome.YES


@unique
class MarketStatus(Enum):
    """Life of a market, in order. INACTIVE is a pause; DISPUTED and AMENDED lie between determination and payment."""

    INITIALIZED = "initialized"
    INACTIVE = "inactive"
    ACTIVE = "active"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"


RESULT_STATUSES = frozenset(
    {MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED, MarketStatus.FINALIZED}
)
"""A market has a result; before the last of these it may still change, and nothing is paid."""


@unique
class StrikeType(Enum):
    """A market's ``strike_type``. Anything else, or none, is OTHER and carries no structure."""

    GREATER = "greater"
    GREATER_OR_EQUAL = "greater_or_equal"
    LESS = "less"
    LESS_OR_EQUAL = "less_or_equal"
    BETWEEN = "between"
    OTHER = "other"


@unique
class CollateralReturn(Enum):
    """An event's ``collateral_return_type``: what the exchange gives back at once across its markets, if the account
    has netting switched on. MECNET: of its markets at most one pays. DIRECNET: they are ordered thresholds. Anything
    else, and an event that says nothing, is NONE."""

    MECNET = "MECNET"
    DIRECNET = "DIRECNET"
    NONE = ""


@unique
class Netting(Enum):
    """Whether an account gets that collateral back before settlement. Off unless somebody switched it on (Kalshi API
    documentation, subaccount netting)."""

    OFF = "off"
    ON = "on"


@dataclass(frozen=True, slots=True)
class ComboLeg:
    """A market that a combo selects, and the side of it that must come true."""

    event_ticker: str
    ticker: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Market:
    """Identity, strike and trading terms of one market.

    ``floor`` and ``cap`` are the strikes in the unit of the underlying; ``subject`` tells apart several subjects in
    one event (canonical text of ``custom_strike``, empty when there is none); ``rules_fingerprint`` is the hash of
    the rules text; ``close_ms`` is UTC milliseconds; ``shard`` is ``exchange_index``; ``legs`` are what a combo
    selects, empty for every other market.

    ``collateral_return`` is the event's; ``paid_by_ms`` is when the market is expected to have been paid (expected
    expiration and settlement timer, UTC milliseconds), None when the listing does not say. No proof rests on these two:
    they are as they were when the group was formed, and do not tell one market from another.

    ``count_step`` is what the size of an order must be a multiple of and at least (1e-2 contracts): a hundredth, or a
    whole contract where the exchange says that fractions are not traded.
    """

    ticker: str
    event_ticker: str
    series_ticker: str
    strike_type: StrikeType
    floor: Decimal | None
    cap: Decimal | None
    subject: str
    title: str
    grid: PriceGrid
    fees: FeeSchedule
    shard: int
    close_ms: int
    rules_fingerprint: str
    legs: tuple[ComboLeg, ...] = ()
    collateral_return: CollateralReturn = field(default=CollateralReturn.NONE, compare=False)
    paid_by_ms: int | None = field(default=None, compare=False)
    count_step: Count = HUNDREDTH
