"""The probability vector that prices a group: the certificate that no bundle on it can gain, or how far from one it is.

Which method keeps the vector follows from the group's certain states, never from tickers or the family's name: a
measure on the cells of a line where every market pays on one stretch of the states, the two facets of a combo, and a
mixture of the states found by the simplex method for everything else. Leaving out possible states can only let more
through, never less; where no state is certain, the possible ones count. Fees are linear, which bounds every real fee
from below.
"""

from kalshi_arb.detection.combo_prices import ComboPrices, conjunction
from kalshi_arb.detection.line_prices import LinePrices, stretches
from kalshi_arb.detection.prices import Prices
from kalshi_arb.detection.state_prices import StatePrices
from kalshi_arb.domain.money import ONE_DOLLAR
from kalshi_arb.domain.state_space import Basis, Group, State


def certain_rows(group: Group) -> tuple[tuple[int, ...], ...]:
    """What YES of each market pays (1e-4 dollars) in every state that a gain must survive for certain.

    States with fractional payouts and ranges are left out as long as any other is there: fewer states can only let
    more through. A range that is all there is counts by its two ends.
    """
    for states in (
        [state for state in group.states if state.basis is Basis.CERTAIN and _is_plain(state)],
        [state for state in group.states if state.basis is Basis.CERTAIN],
        list(group.states),
    ):
        if states:
            return tuple(
                row for state in states for row in dict.fromkeys((state.yes_payouts, state.highest or ())) if row
            )
    raise AssertionError("a group has states")


def _is_plain(state: State) -> bool:
    return state.highest is None and all(payout in (0, ONE_DOLLAR) for payout in state.yes_payouts)


def keeper(rows: tuple[tuple[int, ...], ...]) -> Prices:
    """What keeps a vector for markets with these payouts (1e-4 dollars) by state."""
    if any(payout not in (0, ONE_DOLLAR) for row in rows for payout in row):
        return StatePrices(rows, ONE_DOLLAR)
    columns = [[bool(payout) for payout in column] for column in zip(*rows, strict=True)]
    parts = stretches(columns)
    if parts is not None:
        return LinePrices(len(rows), parts)
    shape = conjunction(columns)
    if shape is not None:
        return ComboPrices(shape)
    return StatePrices([tuple(map(int, row)) for row in zip(*columns, strict=True)])
