"""Plans a bundle at one size: its waves, what it can take from the balance, and the worst that its orders can do. Pure.
Nothing here is proved or compared with a limit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kalshi_arb.domain.basket import Basket, BasketState, LegTerms
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.market import Netting
from kalshi_arb.domain.money import Cash
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Group
from kalshi_arb.execution.exposure import FeeRules, highest_cost, leg_payouts, leg_terms, pre_send_bound, split_overhead
from kalshi_arb.execution.plan import plan_waves


def planned(row: Basket, group: Group, books: Mapping[str, BookSnapshot], rules: FeeRules, netting: Netting) -> Basket:
    """The row as it would be reserved at its present size.

    :param netting: whether the account gets collateral back across the markets of an event
    :raises ProofError: a leg is not in the group.
    """
    terms = leg_terms(group, row.legs)
    waves = plan_waves(row.legs, books, terms)
    bound = pre_send_bound(
        group, row.legs, waves, books, precision=rules.precision, smallest_fill=rules.smallest_fill, netting=netting
    )  # fmt: skip
    return replace(
        row,
        state=BasketState.RESERVED,
        bound=bound,
        exposure_bound=bound.loss,
        reserved=Cash(sum(outlays(row.legs, terms, rules))),
        terms=terms,
        payouts=leg_payouts(group, row.legs),
        waves=waves,
    )


def outlays(legs: Sequence[Leg], terms: Sequence[LegTerms], rules: FeeRules) -> list[Cash]:
    """The most each leg can take from the balance."""
    return [
        Cash(highest_cost(own, leg.count, leg.limit, rules) + split_overhead(own, leg.limit, rules))
        for own, leg in zip(terms, legs, strict=True)
    ]


def completion_overhead(row: Basket, rules: FeeRules) -> Cash:
    """What completing legs of a planned row with a second order can add to the fees that its certificate bounds. A
    fill-or-kill leg is never completed."""
    return Cash(
        sum(
            split_overhead(row.terms[leg], row.legs[leg].limit, rules)
            for number, wave in enumerate(row.waves)
            for leg in wave
            if number > 0 or len(wave) > 1
        )
    )
