"""Collateral return within an event in which at most one market can resolve YES (MECNET).

An account that has netting on gets back at once what its NO contracts are sure to pay: of NO counts ``n_i`` over the
markets of such an event at most one market's lose, so ``sum(n_i) - max(n_i)`` dollars come back (Kalshi help centre,
collateral return; the rule for NO positions alone). It covers what is opened while netting is on. Once a market of the
event has paid its YES, the NO of the others is sure to that extent, and comes back at that moment.

Every amount is exact: what was returned is a claim of the exchange on the payouts of the same contracts. Closing or
settling them brings the sum down, and the difference is taken from that same trade or payment. So a covered position
frees little or nothing when it is sold, and an account without cash cannot sell it. Only two things can take more than
the market pays and leave a balance below zero: payouts that contradict the event, YES payouts of more than a dollar in
all; and by less than a step of the balance grid a market, scalar payouts that are rounded down to it.
"""

from collections.abc import Mapping

from infra.exchange.account import Position
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Count, Price, notional


def sure_payout(counts: Mapping[str, Count], yes_left: Price) -> Cash:
    """What NO contracts pay at the least while one YES of each of their markets pays at most ``yes_left`` in all."""
    every, largest = Count(sum(counts.values())), max(counts.values(), default=Count(0))
    return Cash(notional(ONE_DOLLAR, every) - notional(yes_left, largest))


def covered_after(position: Position, covered: Count, outcome: Outcome, count: Count, *, netting: bool) -> Count:
    """The covered NO contracts of a market after a purchase. What is not covered is closed first."""
    if outcome is Outcome.NO:
        opened = count - min(count, position.held(Outcome.YES))
        return Count(covered + opened if netting else covered)
    return min(covered, Count(max(0, position.held(Outcome.NO) - count)))
