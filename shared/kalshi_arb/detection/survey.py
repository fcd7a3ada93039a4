"""Counts what contradicts itself at the top of the books, before and after linear taker fees.

A yardstick, not a detector: its counts can be compared with anybody else's on the same books, and say how much of what
looks wrong is left once fees are paid. Whether anything can be earned is the verifier's question.

The counting rule, at the best level of each book:

- bids over 1: YES bids of a set of which at most one market pays add up to more than a dollar; empty sides are left out
- asks under 1: YES asks of a set of which at least one market pays add up to less than a dollar; every market needs one
- nested crossed: a market's bid is above the ask of one that it implies; as many as there are such pairs

"Net" subtracts the linear fee of one contract from each bid and adds it to each ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kalshi_arb.detection.effective import ONE, effective_cost
from kalshi_arb.detection.propose import covers
from kalshi_arb.domain.market import Market
from kalshi_arb.domain.money import ONE_DOLLAR, Price, complement
from kalshi_arb.domain.state_space import Basis, Family, Group

_PER_PRICE = ONE // ONE_DOLLAR


class Top(NamedTuple):
    """The best resting bid of each outcome, None on an empty side."""

    yes_bid: Price | None
    no_bid: Price | None


@dataclass(frozen=True, slots=True)
class Violations:
    """What contradicts itself in one group at one moment. ``nested_pairs`` is a number of pairs."""

    bids_over_1: bool = False
    asks_under_1: bool = False
    nested_pairs: int = 0

    @property
    def nested_crossed(self) -> bool:
        """Whether any pair is crossed."""
        return self.nested_pairs > 0


class Survey(NamedTuple):
    """The same moment before and after fees."""

    raw: Violations
    net: Violations


def survey(group: Group, tops: Mapping[str, Top]) -> Survey:
    """Count one group. A ticker without a top has an empty book.

    :raises ProofError: a market's fee cannot be computed.
    """
    quotes = [(market, tops.get(market.ticker, Top(None, None))) for market in group.markets]
    raw = [_Quote(_raw(top.yes_bid), _raw_ask(top.no_bid)) for _, top in quotes]
    net = [_Quote(_net_bid(market, top.yes_bid), _net_ask(market, top.no_bid)) for market, top in quotes]
    return Survey(_violations(group, raw), _violations(group, net))


class _Quote(NamedTuple):
    """What selling and buying one YES brings and costs, 1e-10 dollars."""

    bid: int | None
    ask: int | None


def _raw(price: Price | None) -> int | None:
    return None if price is None else price * _PER_PRICE


def _raw_ask(no_bid: Price | None) -> int | None:
    return None if no_bid is None else complement(no_bid) * _PER_PRICE


def _net_bid(market: Market, yes_bid: Price | None) -> int | None:
    # Selling YES is buying NO at the complement; the dollar of the pair comes back.
    return None if yes_bid is None else ONE - effective_cost(market.fees, complement(yes_bid))


def _net_ask(market: Market, no_bid: Price | None) -> int | None:
    return None if no_bid is None else effective_cost(market.fees, complement(no_bid))


def _violations(group: Group, quotes: list[_Quote]) -> Violations:
    if group.family in (Family.LADDER, Family.DEADLINE):
        # Markets run from the easiest to the hardest: a later one implies every earlier one.
        pairs = sum(
            harder.bid is not None and easier.ask is not None and harder.bid > easier.ask
            for place, easier in enumerate(quotes)
            for harder in quotes[place + 1 :]
        )
        return Violations(nested_pairs=pairs)
    bids = [quote.bid for quote in quotes if quote.bid is not None]
    asks = [quote.ask for quote in quotes if quote.ask is not None]
    return Violations(
        bids_over_1=_disjoint(group) and sum(bids) > ONE,
        asks_under_1=covers(group) and len(asks) == len(quotes) and sum(asks) < ONE,
    )


def _disjoint(group: Group) -> bool:
    """Whether at most one market pays in every certain state: only edges can make two pay."""
    return all(sum(state.yes_payouts) <= ONE_DOLLAR for state in group.states if state.basis is Basis.CERTAIN)
