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

    LADDER = "ladder"
    PARTITION = "partition"


@unique
class Basis(Enum):
    """How firmly a state belongs to the group.

    CERTAIN follows from structured fields. POSSIBLE is an edge (the sliver between two brackets, a bracket's end)
    that the fields do not rule out: a bundle that breaks only there is conditional.
    """

    CERTAIN = "certain"
    POSSIBLE = "possible"


@dataclass(frozen=True, slots=True)
class State:
    """One way the group can settle: the payout of one YES of each market (1e-4 dollars), in the group's order."""

    name: str
    yes_payouts: tuple[Price, ...]
    basis: Basis

    def payout(self, index: int, outcome: Outcome) -> Price:
        """Payout of one contract of market ``index`` in this state."""
        yes = self.yes_payouts[index]
        return yes if outcome is Outcome.YES else Price(ONE_DOLLAR - yes)


@dataclass(frozen=True, slots=True)
class Group:
    """Markets, the states they can settle in, and the relations that say so.

    ``fingerprint`` changes whenever anything a proof rests on changes (strikes, rules, fees, grid, markets).
    """

    group_id: str
    family: Family
    event_ticker: str
    markets: tuple[Market, ...]
    states: tuple[State, ...]
    relations: tuple[Relation, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        if not self.states:
            raise ProofError(f"group {self.group_id} has no states")
        if any(len(state.yes_payouts) != len(self.markets) for state in self.states):
            raise ProofError(f"group {self.group_id} has a state of the wrong width")

    @property
    def tickers(self) -> tuple[str, ...]:
        """Tickers in the group's order, the order of every state's payouts."""
        return tuple(market.ticker for market in self.markets)

    def index(self, ticker: str) -> int:
        """Position of a market in the group. :raises ProofError: not a member."""
        for position, market in enumerate(self.markets):
            if market.ticker == ticker:
                return position
        raise ProofError(f"{ticker} is not in group {self.group_id}")
