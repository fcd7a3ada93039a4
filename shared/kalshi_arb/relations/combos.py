"""Combos: a market that pays exactly when every selected leg comes true.

The structured field ``mve_selected_legs`` names each leg's market and the side of it that counts. The group is the
combo and its legs. Legs are read as independent of each other, all 2^n results of them: what they really have in common
(two legs of one game) only takes states away, so a bundle that gains in all of these gains in the real ones.

A leg that settles at a fraction makes the combo pay the product of its legs (Kalshi API documentation, market object,
``yes_settlement_value_dollars`` of a leg). A bundle's payout is then linear in each leg's value, so its least lies
where every leg pays all or nothing, and the 2^n states bound it. One such settlement is a state all the same, of basis
POSSIBLE, so that it is checked and not only argued. No settlement has shown the product yet: where the rules text of
the combo or of a leg brings a settlement at a price, the state of ``rules`` is there too, and a bundle is conditional.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

from kalshi_arb.domain.market import ComboLeg, Market, MarketStatus, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, Group, State
from kalshi_arb.ports import EventListing
from kalshi_arb.relations.assembly import Drop, make_group, unfit
from kalshi_arb.relations.rules import rule_states

FEWEST_LEGS = 2
# 2^6 states of seven markets; more legs than that are rare and their books thin.
MOST_LEGS = 6


class Listed(NamedTuple):
    """A market as its own event lists it, with its rules text (empty when that is not known)."""

    market: Market
    status: MarketStatus
    rules: str


def leg_tickers(listing: EventListing) -> set[str]:
    """Every market that the combos of an event select."""
    return {leg.ticker for market, _ in listing.markets for leg in market.legs}


def build_combos(
    listing: EventListing, legs: Mapping[str, Listed], *, now_ms: int = 0
) -> tuple[list[Group], dict[str, int]]:
    """A group for each combo of an event, and how many combos were left out by reason.

    :param legs: by ticker, the markets that :func:`leg_tickers` named, as far as they are listed
    :param now_ms: UTC milliseconds; a market whose closing time is not after it is dropped
    """
    groups: list[Group] = []
    drops: Counter[Drop] = Counter()
    for combo, status in listing.markets:
        built = unfit(combo, status, now_ms) or _build(listing, combo, legs, now_ms)
        if isinstance(built, Group):
            groups.append(built)
        else:
            drops[built] += 1
    return groups, {reason.value: count for reason, count in drops.items()}


def _build(listing: EventListing, combo: Market, legs: Mapping[str, Listed], now_ms: int) -> Group | Drop:
    selected = combo.legs
    if not FEWEST_LEGS <= len(selected) <= MOST_LEGS or len({leg.ticker for leg in selected}) < len(selected):
        return Drop.COMBO_LEGS
    found = [legs.get(leg.ticker) for leg in selected]
    members = [
        member
        for member, leg in zip(found, selected, strict=True)
        if member is not None and member.market.event_ticker == leg.event_ticker
    ]
    if len(members) < len(selected):
        return Drop.COMBO_LEG_MISSING
    if any(member.market.legs for member in members):
        return Drop.COMBO_LEGS
    if any(unfit(member.market, member.status, now_ms) for member in members):
        return Drop.COMBO_LEG_UNFIT
    markets = (combo, *(member.market for member in members))
    rules = {**listing.rules, **{member.market.ticker: member.rules for member in members}}
    return make_group(
        listing.event_ticker,
        combo.ticker,
        Family.COMBO,
        markets,
        (*_states(selected), *rule_states(markets, rules)),
        [_relation(combo, leg) for leg in selected],
    )


def _states(selected: Sequence[ComboLeg]) -> tuple[State, ...]:
    states = []
    for results in product((True, False), repeat=len(selected)):
        true = [leg.ticker for leg, result in zip(selected, results, strict=True) if result]
        paid = ONE_DOLLAR if all(results) else Price(0)
        values = [ONE_DOLLAR if result else Price(0) for result in results]
        name = f"legs that come true: {', '.join(true) or 'none'}"
        states.append(State(name, (paid, *_in_yes(selected, values)), Basis.CERTAIN))
    half = Price(ONE_DOLLAR // 2)
    # Cut down to the price unit, as little as the combo can pay.
    together = Price(ONE_DOLLAR // 2 ** len(selected))
    name = "every leg settles at one half and the combo at their product (Kalshi API documentation, market object)"
    states.append(State(name, (together, *(half for _ in selected)), Basis.POSSIBLE))
    return tuple(states)


def _in_yes(selected: Sequence[ComboLeg], values: Sequence[Price]) -> list[Price]:
    """What one YES of each leg's market pays when its selected side is worth ``values``."""
    return [
        value if leg.outcome is Outcome.YES else Price(ONE_DOLLAR - value)
        for leg, value in zip(selected, values, strict=True)
    ]


def _relation(combo: Market, leg: ComboLeg) -> Relation:
    reason = f"{combo.ticker} selects {leg.outcome.value.upper()} of {leg.ticker}: it pays only when that comes true."
    kind = RelationKind.SUBSET if leg.outcome is Outcome.YES else RelationKind.DISJOINT
    return Relation(kind, (combo.ticker, leg.ticker), reason)
