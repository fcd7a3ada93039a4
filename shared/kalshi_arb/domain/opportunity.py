"""A bundle that was found on books of a known age, and the certificate of its worst case."""

from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.book import BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.grid import PriceGrid
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.state_space import Basis


@unique
class Grade(Enum):
    """The verifier's word on a bundle. Only PROVED may trade unattended."""

    PROVED = "proved"  # gains in every state
    ASSUMED = "assumed"  # gains in every state, if what nobody has approved yet is true
    CONDITIONAL = "conditional"  # gains in every certain state, breaks in a possible one that the certificate names
    REFUSED = "refused"  # loses or gains nothing in a certain state


@dataclass(frozen=True, slots=True)
class Leg:
    """Buy ``count`` of one outcome at ``limit`` (1e-4 dollars of that outcome) or better."""

    ticker: str
    outcome: Outcome
    count: Count
    limit: Price


@dataclass(frozen=True, slots=True)
class BookReference:
    """Which book a proof was made on: its version, its age when it was judged (milliseconds) and the exchange's time of
    its last change (UTC milliseconds)."""

    ticker: str
    version: BookVersion
    age_ms: int
    exchange_ms: int


@dataclass(frozen=True, slots=True)
class ProvedLeg:
    """A leg as the verifier saw it: what it charges, where it may trade, and the levels it would take on the book, each
    at the price it costs with the count taken from it, best first."""

    leg: Leg
    fees: FeeSchedule
    grid: PriceGrid
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class CheckedState:
    """Settlements in which the legs' markets pay the same: one YES of each, in the order of the legs' tickers, at least
    ``least`` and at most ``most`` (1e-4 dollars; None where that is the same). ``name`` is the first of them, ``ways``
    how many there are."""

    name: str
    basis: Basis
    least: tuple[Price, ...]
    most: tuple[Price, ...] | None
    ways: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the verifier computed and all it computed it from: enough to compute it again. Amounts in 1e-6 dollars.

    ``worst_profit`` is the profit in ``worst_state`` when every leg fills at the book's levels, ``floor_profit`` when
    every contract costs its limit; both after ``fee_bound``. ``outlay`` is the most cash the bundle can take, however
    the books stand when its orders arrive: any fills at or below the limits of at least ``smallest_fill``, but for the
    last of each order. ``fee_bound`` is what that leaves above the limits, and never less than the highest fee at the
    book's levels. ``breaking_state`` names the possible state in which a conditional bundle does not gain.

    ``legs``, ``states``, ``assumptions`` and ``max_age_ms`` are what it rests on; ``seal`` is the SHA-256 of everything
    else in it.
    """

    group_id: str
    fingerprint: str
    grade: Grade
    outlay: Cash
    fee_bound: Cash
    worst_profit: Cash
    floor_profit: Cash
    worst_state: str
    breaking_state: str | None
    states_checked: int
    smallest_fill: Count
    precision: int
    books: tuple[BookReference, ...]
    judged_ms: int
    legs: tuple[ProvedLeg, ...]
    states: tuple[CheckedState, ...]
    assumptions: tuple[str, ...]
    max_age_ms: int
    seal: str


@dataclass(frozen=True, slots=True)
class Capital:
    """What a bundle ties up, where and for how long. Amounts in 1e-6 dollars, times UTC milliseconds.

    ``per_shard`` is the cash that must lie on each shard for the orders to be sent; ``peak`` the most that is out at
    once while the basket is bought. Both hold what the reservation holds: highest cost, and what a second order for a
    leg can add. ``outlay`` is the most that is paid in the end. ``returned_at_once`` comes back at the purchases
    themselves (a pair of one market, and with netting the collateral that the exchange returns); ``locked`` is the
    rest, tied up until ``locked_until_ms``, None when the listing does not say. ``unwind_need`` is the collateral that
    was returned and would have to be there again before every leg could be sold.

    ``return_ppm`` is the guaranteed profit in millionths of ``locked``, ``annual_ppm`` the same a year without
    compounding, ``profit_per_dollar_day`` the guaranteed profit in 1e-6 dollars for each dollar locked for a day: None
    when nothing is locked, or when it is unknown for how long.
    """

    per_shard: dict[int, Cash]
    outlay: Cash
    returned_at_once: Cash
    locked: Cash
    unwind_need: Cash
    peak: Cash
    locked_until_ms: int | None
    return_ppm: int | None
    annual_ppm: int | None
    profit_per_dollar_day: int | None


@dataclass(frozen=True, slots=True)
class Quality:
    """What a find takes of its books: ``depth_ppm`` the largest share that a leg takes of what its book offers within
    its limit, in millionths; ``age_ms`` the age of the oldest book, ``skew_ms`` how far apart in time the books are."""

    depth_ppm: int
    age_ms: int
    skew_ms: int


@dataclass(frozen=True, slots=True)
class Opportunity:
    """Legs with their certificate. ``candidate_ms`` is when the feed sent the candidate it came from."""

    opportunity_id: str
    group_id: str
    event_ticker: str
    legs: tuple[Leg, ...]
    certificate: Certificate
    found_ms: int
    candidate_ms: int
    capital: Capital
    quality: Quality
