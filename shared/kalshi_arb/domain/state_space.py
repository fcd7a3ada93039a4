"""Groups: sets of markets with one joint state space, the list of every way they can settle together."""

from dataclasses import dataclass
from enum import Enum, unique

from kalshi_arb.domain.errors import ProofError
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation


@unique
class Family(Enum):
    """Which rule made a group, and so which exact method fits it."""

    LADDER = "ladder"  # thresholds of one direction on one line, from the easiest to the hardest
    PARTITION = "partition"  # stretches of one line of which never two pay, up the line
    LINE = "line"  # any other stretches of one line, of one event or of several that observe the same value
    EXCLUSIVE = "exclusive"
    GAME = "game"
    DEADLINE = "deadline"  # the same statement by different dates, from the easiest to the hardest
    COMBO = "combo"  # the combo first, its legs in its own order
    USER = "user"  # relations that the user wrote down


@unique
class Basis(Enum):
    """How firmly a state belongs to the group.

    CERTAIN follows from structured fields. POSSIBLE is an edge that the fields do not rule out (the sliver between two
    brackets, a bracket's end, a game without a winner) or that the rules text brings (a settlement at a price): a
    bundle that breaks only there is conditional.
    """

    CERTAIN = "certain"
    POSSIBLE = "possible"


@dataclass(frozen=True, slots=True)
class State:
    """One way the group can settle: the payout of one YES of each market (1e-4 dollars), in the group's order.

    Where each market may settle at a price of its own, whatever the others do, a payout is a range: ``yes_payouts``
    holds the least and ``highest`` the most. A bundle's payout is linear in each value, so its least lies at an end of
    each range and needs no other state.
    """

    name: str
    yes_payouts: tuple[Price, ...]
    basis: Basis
    highest: tuple[Price, ...] | None = None

    def payout(self, index: int, outcome: Outcome) -> Price:
        """The least that one contract of market ``index`` pays in this state."""
        if outcome is Outcome.YES:
            return self.yes_payouts[index]
        return Price(ONE_DOLLAR - (self.highest or self.yes_payouts)[index])


OBSERVED_VALUE = "observed value"
"""What the ground is about that names the published value a group settles on."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Something a proof rests on that is no field of a market: what it is, for a person, and what it was."""

    what: str
    value: str


@dataclass(frozen=True, slots=True)
class Group:
    """Markets, the states they can settle in, and the relations that say so.

    ``event_ticker`` is the event it is listed under; its markets may belong to several (``event_tickers``).
    ``fingerprint`` changes whenever anything a proof rests on changes (strikes, rules, fees, grid, markets, grounds).
    ``certificate`` says sentence by sentence why the states are complete, each with its source in brackets.
    ``assumptions`` are what a person must approve: while there is one, no bundle on the group is proved.
    ``absent`` names fields that the input lacks altogether.
    """

    group_id: str
    family: Family
    event_ticker: str
    markets: tuple[Market, ...]
    states: tuple[State, ...]
    relations: tuple[Relation, ...]
    fingerprint: str
    certificate: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    grounds: tuple[Ground, ...] = ()

    def __post_init__(self) -> None:
        if not self.states:
            raise ProofError(f"group {self.group_id} has no states")
        width = len(self.markets)
        for state in self.states:
            highest = state.highest
            if len(state.yes_payouts) != width or (highest is not None and len(highest) != width):
                raise ProofError(f"group {self.group_id} has a state of the wrong width")
            if highest is not None and any(
                least > most for least, most in zip(state.yes_payouts, highest, strict=True)
            ):
                raise ProofError(f"group {self.group_id} has a state whose least payout is above its most")

    @property
    def tickers(self) -> tuple[str, ...]:
        """Tickers in the group's order, the order of every state's payouts."""
        return tuple(market.ticker for market in self.markets)

    @property
    def event_tickers(self) -> tuple[str, ...]:
        """Every event that a market of the group belongs to."""
        return tuple(dict.fromkeys(market.event_ticker for market in self.markets))

    @property
    def observed_values(self) -> tuple[str, ...]:
        """The published values that its markets settle on, as far as reviewed rules name them."""
        return tuple(dict.fromkeys(ground.value for ground in self.grounds if ground.what == OBSERVED_VALUE))

    @property
    def edge_states(self) -> tuple[str, ...]:
        """Names of the states that are possible and not certain."""
        return tuple(state.name for state in self.states if state.basis is Basis.POSSIBLE)

    def index(self, ticker: str) -> int:
        """Position of a market in the group. :raises ProofError: not a member."""
        for position, market in enumerate(self.markets):
            if market.ticker == ticker:
                return position
        raise ProofError(f"{ticker} is not in group {self.group_id}")
