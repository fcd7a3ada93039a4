"""What a bundle ties up: cash by shard, what comes back at once, what stays locked until when, and what it earns on it.

Two amounts are kept apart. What must be there to send the orders is what the reservation holds. What stays tied up is
what the purchases cost at most, less what the exchange gives back at the purchases themselves:

- a YES and a NO of one market are a dollar, always
- with netting switched on, of the NO held in the markets of one MECNET event all but one side must pay, so
  ``sum(counts) - max(counts)`` dollars come back (Kalshi API documentation, collateral return)

What a DIRECNET event returns is not documented, so it is taken to be nothing. Integers throughout, rounded down.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Netting, Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, ONE_DOLLAR, Cash
from kalshi_arb.domain.opportunity import Capital, Certificate, Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import FeeRules, highest_cost, leg_terms, returned_collateral, split_overhead
from kalshi_arb.execution.plan import plan_waves

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
_MILLION = 10**6


def capital(
    group: Group,
    legs: Sequence[Leg],
    books: Mapping[str, BookSnapshot],
    certificate: Certificate,
    *,
    netting: Netting,
) -> Capital:
    """The capital of a certified bundle on the books it was certified on; its time runs from the certificate's.

    :raises ProofError: a leg is not in the group.
    """
    rules = FeeRules(Precision(certificate.precision), certificate.smallest_fill)
    terms = leg_terms(group, legs)
    needed = [
        highest_cost(own, leg.count, leg.limit, rules) + split_overhead(own, leg.limit, rules)
        for own, leg in zip(terms, legs, strict=True)
    ]
    by_shard: Counter[int] = Counter()
    for own, amount in zip(terms, needed, strict=True):
        by_shard[own.shard] += amount
    pairs, netted = _returned(group, legs, netting)
    locked = Cash(max(0, certificate.outlay - pairs - netted))
    until = _locked_until_ms(group, legs)
    profit = certificate.floor_profit
    lasts_ms = None if until is None else max(1, until - certificate.judged_ms)
    return Capital(
        per_shard={shard: Cash(amount) for shard, amount in sorted(by_shard.items())},
        outlay=certificate.outlay,
        returned_at_once=Cash(pairs + netted),
        locked=locked,
        unwind_need=Cash(netted),
        peak=_peak(group, legs, books, needed, netting),
        locked_until_ms=until,
        return_ppm=profit * _MILLION // locked if locked else None,
        annual_ppm=profit * _MILLION * YEAR_MS // (locked * lasts_ms) if locked and lasts_ms else None,
        profit_per_dollar_day=profit * CASH_PER_DOLLAR * DAY_MS // (locked * lasts_ms) if locked and lasts_ms else None,
    )


def _returned(group: Group, legs: Sequence[Leg], netting: Netting) -> tuple[int, int]:
    """Cash (1e-6 dollars) that the exchange gives back once these legs are held: for pairs of one market, and for what
    is held across the markets of one event."""
    held = {outcome: Counter[str]() for outcome in Outcome}
    for leg in legs:
        held[leg.outcome][leg.ticker] += leg.count
    pairs = sum((held[Outcome.YES] & held[Outcome.NO]).values())
    return pairs * ONE_DOLLAR, sum(returned_collateral(group, legs, netting).values())


def _peak(
    group: Group, legs: Sequence[Leg], books: Mapping[str, BookSnapshot], needed: Sequence[int], netting: Netting
) -> Cash:
    """The most that is out at once: a wave is paid whole before anything that it returns is counted on."""
    peak = spent = 0
    bought: list[Leg] = []
    for wave in plan_waves(legs, books, leg_terms(group, legs)):
        back = sum(_returned(group, bought, netting))
        spent += sum(needed[place] for place in wave)
        peak = max(peak, spent - back)
        bought += [legs[place] for place in wave]
    return Cash(peak)


def _locked_until_ms(group: Group, legs: Iterable[Leg]) -> int | None:
    """When the last leg is expected to have been paid; None when one listing does not say."""
    moments = [group.markets[group.index(leg.ticker)].paid_by_ms for leg in legs]
    known = [moment for moment in moments if moment is not None]
    return max(known) if len(known) == len(moments) else None
