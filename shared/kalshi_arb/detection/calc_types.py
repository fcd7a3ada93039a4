"""What the manual calculator is asked and what it answers. Amounts in 1e-6 dollars, prices in 1e-4, counts in 1e-2."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from kalshi_arb.detection.calc_space import CalcRelation, CalcState
from kalshi_arb.detection.verify import MAX_AGE_MS
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision, Role
from kalshi_arb.domain.grid import CENT_GRID, PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, Cash, Count, Price
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Group

STANDARD_FEES = FeeSchedule(FeeType.QUADRATIC)


@dataclass(frozen=True, slots=True)
class CalcLeg:
    """Buy ``count`` of one outcome at ``price`` of that outcome or better; without a price, at what its book asks.

    A maker's price is one it rests at: no book is needed for it. ``fees`` where they differ from the market's.
    """

    market: str
    outcome: Outcome
    count: Count
    price: Price | None = None
    role: Role = Role.TAKER
    fees: FeeSchedule | None = None


@dataclass(frozen=True, slots=True)
class CalcRequest:
    """What is to be calculated. Without legs the best bundle on the books is looked for.

    The ways to settle come from one of: ``group`` (markets of the exchange), ``strikes``, ``states``, ``relations``.
    ``now_ms`` is the time that the books' ages count from (UTC milliseconds).
    """

    legs: tuple[CalcLeg, ...] = ()
    relations: tuple[CalcRelation, ...] = ()
    states: tuple[CalcState, ...] = ()
    strikes: Mapping[str, str] = field(default_factory=dict)
    group: Group | None = None
    books: Mapping[str, BookSnapshot] = field(default_factory=dict)
    fees: FeeSchedule = STANDARD_FEES
    market_fees: Mapping[str, FeeSchedule] = field(default_factory=dict)
    grid: PriceGrid = CENT_GRID
    precision: Precision = Precision.DIRECT
    smallest_fill: Count = ONE_CONTRACT
    now_ms: int = 0
    max_age_ms: int = MAX_AGE_MS


@unique
class Answer(StrEnum):
    """What the calculation says of the bundle."""

    LOCK = "gains in every state"
    CONDITIONAL = "gains in every certain state, and breaks in a possible one"
    LOSS = "does not gain in every state"
    NOTHING = "no bundle gains on these books"


@dataclass(frozen=True, slots=True)
class LegResult:
    """One leg. ``cost`` and ``fee`` as filled; ``fee_at_least`` and ``fee_at_most`` bound the fee however it fills.

    ``break_even`` is the highest price of the leg at which the worst case still loses nothing, all else as it is (of a
    conditional bundle: the worst of the certain states); None when no price does.
    """

    market: str
    outcome: Outcome
    limit: Price
    count: Count
    role: Role
    cost: Cash
    fee: Cash
    fee_at_least: Cash
    fee_at_most: Cash
    break_even: Price | None


@dataclass(frozen=True, slots=True)
class StateResult:
    """One way to settle: what the legs pay at least, their profit as filled and in the worst case."""

    name: str
    basis: Basis
    payout: Cash
    profit: Cash
    worst_profit: Cash


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """A statement that the ways to settle rest on. ``without_it`` is the worst case when it is not true and everything
    else is, None when that cannot be told; ``carries`` whether the gain rests on it."""

    text: str
    carries: bool
    without_it: Cash | None


@dataclass(frozen=True, slots=True)
class Size:
    """The largest size on the books, at the legs' proportions, that gains in the worst case: contracts of the first leg
    and the profit there. ``limited_by`` says what ends it."""

    count: Count
    worst_profit: Cash
    limited_by: str


@dataclass(frozen=True, slots=True)
class Best:
    """The bundle that the search finds on the same books, and its worst case."""

    legs: tuple[Leg, ...]
    worst_profit: Cash


@dataclass(frozen=True, slots=True)
class CalcResult:
    """The answer. ``cost`` and ``fee`` as filled; ``worst_profit`` is the worst case in ``worst_state``; ``rests_on``
    says which statements carry it, ``grounds`` in words why the ways to settle are complete. Without a bundle there is
    only ``note``."""

    answer: Answer
    note: str
    legs: tuple[LegResult, ...] = ()
    states: tuple[StateResult, ...] = ()
    cost: Cash = Cash(0)
    fee: Cash = Cash(0)
    fee_at_least: Cash = Cash(0)
    fee_at_most: Cash = Cash(0)
    worst_profit: Cash = Cash(0)
    worst_state: str = ""
    breaking_states: tuple[str, ...] = ()
    rests_on: tuple[ClaimResult, ...] = ()
    grounds: tuple[str, ...] = ()
    size: Size | None = None
    best: Best | None = None
