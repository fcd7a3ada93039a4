"""Propose a bundle: the exact solver of the group's structure on full depth, then quantities that survive rounding.

Nothing trades on what this module says: ``verify`` judges every bundle anew.
"""

from collections.abc import Mapping, Sequence

from kalshi_arb.detection.solvers import Bundle, Method, Part, solve
from kalshi_arb.detection.solvers.plans import plan_of
from kalshi_arb.detection.solvers.sides import OUTCOMES
from kalshi_arb.detection.solvers.states import Row, paid
from kalshi_arb.detection.trim import Curve, PartsTrim, trim_common, trim_sold, worth
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, Count
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Group


def propose(
    group: Group,
    books: Mapping[str, BookSnapshot],
    *,
    precision: Precision = Precision.DIRECT,
    smallest_fill: Count = ONE_CONTRACT,
) -> tuple[Leg, ...]:
    """The best bundle of a group on these books, legs in the group's order; empty when there is none even with linear
    fees. Missing and crossed books offer nothing.

    A bundle that gains in every state is preferred to one that gains in every certain state and breaks in a possible
    one, however much more that gains. A bundle whose edge does not survive rounding is proposed all the same, so that
    the verifier's refusal can say what is missing. Counts are whole contracts when the books hold whole contracts, and
    where some market of the group trades nothing else.

    :param smallest_fill: the declared smallest fill (1e-2 contracts) that fee roundings are counted with
    :raises ProofError: a market's fee cannot be computed.
    :raises SolverError: a solver ended without an optimum.
    """
    step = max(market.count_step for market in group.markets)
    certain = solve(group, books, step=step)
    if certain is None:
        return ()
    trim = _Trim(group, books, precision, smallest_fill)
    counts = trim.best(certain, every_state=False)
    firm = trim.gain(counts, every_state=True)
    if firm < trim.gain(counts, every_state=False):
        # It earns less in a possible state: another one may earn more in all of them.
        bundle = solve(group, books, every_state=True, step=step)
        if bundle is not None:
            other = trim.best(bundle, every_state=True)
            if trim.gain(other, every_state=True) > max(0, firm):
                counts = other
    return trim.legs(counts)


class _Trim:
    """The exact-fee step of one group on one set of books. Contracts are numbers (see ``solvers.sides``)."""

    def __init__(
        self, group: Group, books: Mapping[str, BookSnapshot], precision: Precision, smallest_fill: Count
    ) -> None:
        self._group = group
        self._books = books
        self._precision = precision
        self._smallest_fill = smallest_fill
        self._curves: dict[int, Curve] = {}

    def best(self, bundle: Bundle, *, every_state: bool) -> dict[int, int]:
        """Counts by contract."""
        rows = plan_of(self._group, every_state=every_state).rows
        if bundle.method is Method.SALE:
            # What every state pays is a part of its own beside the sale.
            beside = {contract for contracts, _ in bundle.parts for contract in contracts}
            places = {ticker: place for place, ticker in enumerate(self._group.tickers)}
            legs = [(2 * places[leg.ticker] + (leg.outcome is Outcome.NO), int(leg.count)) for leg in bundle.legs]
            sold = {contract: count for contract, count in legs if contract not in beside}
            curves = [self._curve(contract) for contract in sold]
            counts = dict(zip(sold, trim_sold(curves, max(sold.values())), strict=True))
            counts |= self._parts(bundle.parts, rows)
            return {contract: count for contract, count in counts.items() if count}
        return self._parts(bundle.parts, rows)

    def _parts(self, parts: Sequence[Part], rows: Sequence[Row]) -> dict[int, int]:
        if not parts:
            return {}
        if len(parts) == 1:
            contracts, units = parts[0]
            payout = min(sum(paid(row, contract) for contract in contracts) for row in rows)
            return dict.fromkeys(contracts, trim_common([self._curve(one) for one in contracts], units, payout))
        curves = {contract: self._curve(contract) for contracts, _ in parts for contract in contracts}
        return PartsTrim(curves, rows, parts).best()

    def gain(self, counts: Mapping[int, int], *, every_state: bool) -> int:
        """The objective of the exact-fee step (1e-6 dollars)."""
        rows = plan_of(self._group, every_state=every_state).rows
        payout = min(sum(paid(row, contract) * count for contract, count in counts.items()) for row in rows)
        return worth(payout, [self._curve(contract).cost(count) for contract, count in counts.items()])

    def legs(self, counts: Mapping[int, int]) -> tuple[Leg, ...]:
        """The orders, in the group's order."""
        return tuple(
            Leg(
                self._group.markets[contract >> 1].ticker,
                OUTCOMES[contract & 1],
                Count(count),
                self._curve(contract).limit(count),
            )
            for contract, count in sorted(counts.items())
        )

    def _curve(self, contract: int) -> Curve:
        known = self._curves.get(contract)
        if known is None:
            market = self._group.markets[contract >> 1]
            asks = self._books[market.ticker].asks(OUTCOMES[contract & 1])
            known = self._curves[contract] = Curve(market, asks, self._precision, self._smallest_fill)
        return known


def covers(group: Group) -> bool:
    """Whether at least one market pays in every certain state: only edges can make buying all of them fail."""
    return all(any(state.yes_payouts) for state in group.states if state.basis is Basis.CERTAIN)
