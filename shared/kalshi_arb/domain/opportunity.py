"""A bundle that was found on books of a known age, and the certificate of its worst case."""

from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.book import BookVersion
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import Cash, Count, Price


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
    its last change (UTC milliseconds; 0 in what was stored before this was kept)."""

    ticker: str
    version: BookVersion
    age_ms: int
    exchange_ms: int = 0


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the verifier computed, enough to compute it again. Amounts in 1e-6 dollars.

    ``worst_profit`` is the profit in ``worst_state`` when every leg fills at the book's levels, ``floor_profit`` when
    every contract costs its limit; both after ``fee_bound``, the highest fee that fills of at least ``smallest_fill``
    can cause. ``outlay`` is the most cash the bundle can take: every contract at its limit, plus ``fee_bound``.
    ``breaking_state`` names the possible state in which a conditional bundle does not gain.
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
