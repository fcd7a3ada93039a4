"""Propose a bundle: the exact sweep of the group's family on full depth, then quantities that survive rounding.

Nothing trades on what this module says: ``verify`` judges every bundle anew.
"""

from collections.abc import Iterable, Mapping, Sequence

from kalshi_arb.detection import combos, exclusive, ladder
from kalshi_arb.detection.effective import ONE, Offer, is_crossed, offers
from kalshi_arb.detection.trim import Curve, LadderTrim, trim_bought, trim_sold
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count
from kalshi_arb.domain.opportunity import Leg
from kalshi_arb.domain.state_space import Basis, Family, Group

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

    if group.family is Family.LADDER:
        return _ladder(group, yes, no, curves(Outcome.YES), curves(Outcome.NO))
    if group.family is Family.COMBO:
        return _combo(group, {Outcome.YES: yes, Outcome.NO: no}, {outcome: curves(outcome) for outcome in Outcome})
    sold = exclusive.sell_all(no)
    if sold.sets:
        sides = curves(Outcome.NO)
        return _legs(group, Outcome.NO, sides, trim_sold(sides, sold.sets))
    if covers(group):
        bought = exclusive.buy_all(yes)
        if bought.sets:
            sides = curves(Outcome.YES)
            common = trim_bought(sides, bought.sets)
            return _legs(group, Outcome.YES, sides, [common] * len(sides))
    return ()


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
    elif group.family is Family.LADDER:
        cheapest: int | None = None
        for yes_cost, no_cost in zip(yes, no, strict=True):
            if cheapest is not None and no_cost is not None:
                edges.append(ONE - cheapest - no_cost)
            if yes_cost is not None and (cheapest is None or yes_cost < cheapest):
                cheapest = yes_cost
    else:
        sold = [cost for cost in no if cost is not None]
        if len(sold) > 1:
            edges.append(sum(max(0, ONE - cost) for cost in sold) - ONE)
        bought = [cost for cost in yes if cost is not None]
        if len(bought) == len(yes) and covers(group):
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


def _ladder(
    group: Group,
    yes: Sequence[Sequence[Offer]],
    no: Sequence[Sequence[Offer]],
    yes_curves: Sequence[Curve],
    no_curves: Sequence[Curve],
) -> tuple[Leg, ...]:
    full = ladder.sweep(yes, no)
    if full.value <= 0:
        return ()
    pairs = ladder.flows(full.yes, full.no)
    starts = [pairs, *([pair] for pair in pairs)]
    for depth in _SHORT_BOOKS:
        short = ladder.sweep([side[:depth] for side in yes], [side[:depth] for side in no])
        starts.append(ladder.flows(short.yes, short.no))
    trim = LadderTrim(yes_curves, no_curves)
    bought, sold = trim.totals(trim.best(starts))
    legs = _legs(group, Outcome.YES, yes_curves, _by_market(group, bought))
    legs += _legs(group, Outcome.NO, no_curves, _by_market(group, sold))
    return tuple(sorted(legs, key=lambda leg: group.index(leg.ticker)))


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


def _by_market(group: Group, counts: Mapping[int, int]) -> list[int]:
    return [counts.get(number, 0) for number in range(len(group.markets))]


def _legs(group: Group, outcome: Outcome, sides: Sequence[Curve], counts: Iterable[int]) -> tuple[Leg, ...]:
    return tuple(
        Leg(market.ticker, outcome, Count(count), side.limit(count))
        for market, side, count in zip(group.markets, sides, counts, strict=True)
        if count
    )
