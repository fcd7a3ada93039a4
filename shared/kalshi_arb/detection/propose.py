"""Propose a bundle: the exact sweep of the group's family on full depth, then quantities that survive rounding.

Nothing trades on what this module says: ``verify`` judges every bundle anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from kalshi_arb.detection import combos, exclusive, ladder
from kalshi_arb.detection.effective import ONE, Offer, is_crossed, offers
from kalshi_arb.detection.shapes import Chain, at_most_one, chains
from kalshi_arb.detection.trim import Curve, LadderTrim, trim_bought, trim_sold
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Family, Group

Side = TypeVar("Side")

# A bundle of more than this many price levels a side is not better for a limit order, but shorter ones often are.
_SHORT_BOOKS = (1, 2, 3)


def propose(
    group: Group,
    books: Mapping[str, BookSnapshot],
    *,
    precision: Precision = Precision.DIRECT,
    smallest_fill: Count = ONE_CONTRACT,
) -> tuple[Leg, ...]:
    """The best bundle of a group on these books, legs in the group's order; empty when there is none even with linear
    fees. Missing and crossed books offer nothing.

    A bundle whose edge does not survive rounding is proposed all the same, so that the verifier's refusal can say what
    is missing. Counts are whole contracts when the books hold whole contracts.

    :param smallest_fill: the declared smallest fill (1e-2 contracts) that fee roundings are counted with
    :raises ProofError: a market's fee cannot be computed.
    """
    yes = [offers(market, books, Outcome.YES) for market in group.markets]
    no = [offers(market, books, Outcome.NO) for market in group.markets]

    def curves(outcome: Outcome) -> list[Curve]:
        return [_curve(market, books, outcome, precision, smallest_fill) for market in group.markets]

    if group.family is Family.COMBO:
        return _combo(group, {Outcome.YES: yes, Outcome.NO: no}, {outcome: curves(outcome) for outcome in Outcome})
    sides = {Outcome.YES: yes, Outcome.NO: no}
    best = 0
    legs: Callable[[], tuple[Leg, ...]] = tuple
    for chain in chains(group):
        swept = ladder.sweep(*_turned(chain, sides))
        if swept.value > best:
            best, legs = swept.value, partial(_ladder, group, chain, sides, swept, curves)
    places = at_most_one(group)
    sold = exclusive.sell_all([no[place] for place in places])
    if sold.value > best:
        best, legs = sold.value, partial(_sold, group, places, sold.sets, curves)
    if len(places) == len(group.markets) and covers(group):
        bought = exclusive.buy_all(yes)
        if bought.value > best:
            legs = partial(_bought, group, bought.sets, curves)
    return legs()


def covers(group: Group) -> bool:
    """Whether at least one market pays in every certain state: only edges can make buying all of them fail."""
    return all(any(state.yes_payouts) for state in group.states if state.basis is Basis.CERTAIN)


def best_edge(group: Group, books: Mapping[str, BookSnapshot]) -> int | None:
    """The group's edge at the top of its books after linear fees (1e-10 dollars a set of contracts): how near it is to
    an opportunity. Positive means there is one before rounding; None that too many sides are empty to tell."""
    yes = [_top(offers(market, books, Outcome.YES)) for market in group.markets]
    no = [_top(offers(market, books, Outcome.NO)) for market in group.markets]
    edges: list[int] = []
    if group.family is Family.COMBO:
        tops = {Outcome.YES: yes, Outcome.NO: no}
        for cover in combos.covers(group):
            costs = [tops[outcome][place] for place, outcome in cover]
            known = [cost for cost in costs if cost is not None]
            if len(known) == len(costs):
                edges.append(ONE - sum(known))
        return max(edges, default=None)
    for chain in chains(group):
        cheapest: int | None = None
        for yes_cost, no_cost in zip(*_turned(chain, {Outcome.YES: yes, Outcome.NO: no}), strict=True):
            if cheapest is not None and no_cost is not None:
                edges.append(ONE - cheapest - no_cost)
            if yes_cost is not None and (cheapest is None or yes_cost < cheapest):
                cheapest = yes_cost
    places = at_most_one(group)
    sold = [cost for cost in (no[place] for place in places) if cost is not None]
    if len(sold) > 1:
        edges.append(sum(max(0, ONE - cost) for cost in sold) - ONE)
    bought = [cost for cost in yes if cost is not None]
    if len(bought) == len(yes) == len(places) and covers(group):
        edges.append(ONE - sum(bought))
    return max(edges, default=None)


def _top(side: Sequence[Offer]) -> int | None:
    return side[0].cost if side else None


def _curve(
    market: Market, books: Mapping[str, BookSnapshot], outcome: Outcome, precision: Precision, smallest_fill: Count
) -> Curve:
    book = books.get(market.ticker)
    asks = () if book is None or is_crossed(book) else book.asks(outcome)
    return Curve(market.fees, asks, precision, smallest_fill)


def _turned(chain: Chain, sides: Mapping[Outcome, Sequence[Side]]) -> tuple[list[Side], list[Side]]:
    """What is known of buying each contract of a chain, and of buying its opposite."""
    return (
        [sides[outcome][place] for place, outcome in chain],
        [sides[outcome.other][place] for place, outcome in chain],
    )


def _ladder(
    group: Group,
    chain: Chain,
    sides: Mapping[Outcome, Sequence[Sequence[Offer]]],
    full: ladder.LadderSweep,
    curves: Callable[[Outcome], list[Curve]],
) -> tuple[Leg, ...]:
    yes, no = _turned(chain, sides)
    pairs = ladder.flows(full.yes, full.no)
    starts = [pairs, *([pair] for pair in pairs)]
    for depth in _SHORT_BOOKS:
        short = ladder.sweep([side[:depth] for side in yes], [side[:depth] for side in no])
        starts.append(ladder.flows(short.yes, short.no))
    own, opposite = _turned(chain, {outcome: curves(outcome) for outcome in Outcome})
    trim = LadderTrim(own, opposite)
    bought, sold = trim.totals(trim.best(starts))
    legs = [
        Leg(group.markets[place].ticker, side, Count(counts[rung]), curve.limit(counts[rung]))
        for rung, (place, outcome) in enumerate(chain)
        for side, counts, curve in ((outcome, bought, own[rung]), (outcome.other, sold, opposite[rung]))
        if counts.get(rung)
    ]
    order = {market.ticker: place for place, market in enumerate(group.markets)}
    return tuple(sorted(legs, key=lambda leg: (order[leg.ticker], leg.outcome is Outcome.NO)))


def _sold(
    group: Group, places: Sequence[int], sets: int, curves: Callable[[Outcome], list[Curve]]
) -> tuple[Leg, ...]:  # fmt: skip
    everything = curves(Outcome.NO)
    sides = [everything[place] for place in places]
    return _legs([group.markets[place] for place in places], Outcome.NO, sides, trim_sold(sides, sets))


def _bought(group: Group, sets: int, curves: Callable[[Outcome], list[Curve]]) -> tuple[Leg, ...]:
    sides = curves(Outcome.YES)
    common = trim_bought(sides, sets)
    return _legs(group.markets, Outcome.YES, sides, [common] * len(sides))


def _combo(
    group: Group, sides: Mapping[Outcome, list[list[Offer]]], curves: Mapping[Outcome, list[Curve]]
) -> tuple[Leg, ...]:
    """The best of the combo's covering sets. Each is swept and trimmed alone: several legs that could share the combo's
    depth are several bundles, one after the other."""
    best: tuple[int, tuple[Leg, ...]] | None = None
    for cover in combos.covers(group):
        bought = exclusive.buy_all([sides[outcome][place] for place, outcome in cover])
        if not bought.sets:
            continue
        own = [curves[outcome][place] for place, outcome in cover]
        common = trim_bought(own, bought.sets)
        floor = common * ONE_DOLLAR - sum(curve.cost(common) for curve in own)
        if best is None or floor > best[0]:
            legs = tuple(
                Leg(group.markets[place].ticker, outcome, Count(common), curve.limit(common))
                for (place, outcome), curve in zip(cover, own, strict=True)
            )
            best = floor, legs
    return best[1] if best is not None else ()


def _legs(
    markets: Sequence[Market], outcome: Outcome, sides: Sequence[Curve], counts: Iterable[int]
) -> tuple[Leg, ...]:  # fmt: skip
    return tuple(
        Leg(market.ticker, outcome, Count(count), side.limit(count))
        for market, side, count in zip(markets, sides, counts, strict=True)
        if count
    )
