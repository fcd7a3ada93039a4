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

from collections.abc import Mapping, Sequence
from itertools import product

from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import ComboLeg, Market, Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Price
from kalshi_arb.domain.relation import Relation, RelationKind
from kalshi_arb.domain.state_space import Basis, Family, State
from kalshi_arb.relations.assembly import (
    UNFIT_WORDS,
    Formed,
    Reason,
    Refusal,
    common_grounds,
    edge_notes,
    make_group,
    unfit,
)
from kalshi_arb.relations.registry import Registry
from kalshi_arb.relations.rules import rule_states

FEWEST_LEGS = 2
# 2^6 states of seven markets; more legs than that are rare and their books thin.
MOST_LEGS = 6


def build_combo(
    listing: EventListing, combo: ListedMarket, legs: Mapping[str, ListedMarket], registry: Registry, now_ms: int
) -> Formed:
    """The group of one combo that may itself be in a group.

    :param legs: by ticker, the markets that it selects, as far as they are listed
    :param now_ms: UTC milliseconds; a leg whose closing time is not after it is not tradable
    """
    selected = combo.market.legs

    def refused(reason: Reason, words: str) -> Formed:
        family, event = Family.COMBO.value, listing.event_ticker
        return Formed(refusals=(Refusal((combo.market.ticker,), family, reason, words, event),))

    if not FEWEST_LEGS <= len(selected) <= MOST_LEGS:
        return refused(Reason.COMBO_LEGS, f"{len(selected)} legs, where {FEWEST_LEGS} to {MOST_LEGS} can be judged")
    if len({leg.ticker for leg in selected}) < len(selected):
        return refused(Reason.COMBO_LEGS, "it selects one market twice")
    members = []
    for leg in selected:
        member = legs.get(leg.ticker)
        if member is None or member.market.event_ticker != leg.event_ticker:
            return refused(Reason.COMBO_LEG_MISSING, f"its leg {leg.ticker} is not listed in {leg.event_ticker}")
        if member.market.legs:
            return refused(Reason.COMBO_LEGS, f"its leg {leg.ticker} is a combo itself")
        flaw = unfit(member, now_ms)
        if flaw is not None:
            return refused(Reason.COMBO_LEG_UNFIT, f"its leg {leg.ticker}: {UNFIT_WORDS[flaw]}")
        members.append(member)
    everything = (combo, *members)
    edges = rule_states(everything, registry)
    group = make_group(
        listing.event_ticker,
        combo.market.ticker,
        Family.COMBO,
        (one.market for one in everything),
        (*_states(selected), *edges.states),
        [_relation(combo.market, leg) for leg in selected],
        certificate=(
            f"{combo.market.ticker} pays exactly when all of its {len(selected)} legs come true "
            "[exchange: mve_selected_legs].",
            "Its legs are taken as independent: what they have in common only takes states away [computed].",
            "Where a leg settles at a price, the combo pays the product of its legs "
            "[exchange: documentation of the market object].",
            *edges.sentences,
        ),
        absent=listing.absent,
        grounds=(*common_grounds([listing], everything), *edges.grounds),
    )
    return Formed((group,), tuple(edge_notes(group)))


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
