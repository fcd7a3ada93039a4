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
    EXCLUSIVE = "exclusive"
    GAME = "game"
    COMBO = "combo"


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
        width = len(self.markets)
        for state in self.states:
            highest = state.yes_payouts if state.highest is None else state.highest
            if len(state.yes_payouts) != width or len(highest) != width:
                raise ProofError(f"group {self.group_id} has a state of the wrong width")
            if any(least > most for least, most in zip(state.yes_payouts, highest, strict=True)):
                raise ProofError(f"group {self.group_id} has a state whose least payout is above its most")

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
