"""Combos and their legs in the words of the tests."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from kalshi_arb.domain.fees import FeeSchedule
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import ComboLeg, Market, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.relations.catalogue import build_groups
from tests.market_samples import STANDARD_FEES, listing, market


def leg_market(ticker: str, fees: FeeSchedule = STANDARD_FEES) -> Market:
    """A market of an event of its own, named after it."""
    return replace(market("> 1", ticker=ticker, event=f"EV-{ticker}", fees=fees), strike_type=StrikeType.OTHER)


def combo_market(*sides: str, ticker: str = "COMBO", fees: FeeSchedule = STANDARD_FEES) -> Market:
    """A combo of legs written as ``"yes A"`` or ``"no B"``."""
    legs = []
    for text in sides:
        side, _, leg = text.partition(" ")
        legs.append(ComboLeg(f"EV-{leg}", leg, Outcome(side)))
    return replace(leg_market(ticker, fees), event_ticker="MULTI", legs=tuple(legs))


def combo_listing(*combos: Market, rules: Mapping[str, str] | None = None) -> EventListing:
    """An event of combos."""
    return listing(combos, event="MULTI", rules=rules)


def listed_legs(
    *tickers: str, rules: str = "", status: MarketStatus = MarketStatus.ACTIVE, fees: FeeSchedule = STANDARD_FEES
) -> dict[str, ListedMarket]:
    """Legs as their own events list them."""
    return {ticker: ListedMarket(leg_market(ticker, fees), status, rules) for ticker in tickers}


def formed_combos(
    event: EventListing, legs: Mapping[str, ListedMarket], now_ms: int = 0
) -> tuple[list[Group], dict[str, int]]:
    """The groups of an event's combos, and how many combos are left out by reason."""
    events = [listing([leg], event=leg.market.event_ticker) for leg in legs.values()]
    built = build_groups([event, *events], now_ms=now_ms)
    own = {one.market.ticker for one in event.markets}
    left = Counter(one.reason.value for one in built.refusals if not one.group_id and own.intersection(one.markets))
    return [group for group in built.groups if group.family is Family.COMBO], dict(left)


def combo_group(*sides: str, rules: str = "", fees: FeeSchedule = STANDARD_FEES) -> Group:
    """The group of one combo, its legs' rules text being ``rules``."""
    tickers = [text.partition(" ")[2] for text in sides]
    (group,), left = formed_combos(
        combo_listing(combo_market(*sides, fees=fees)), listed_legs(*tickers, rules=rules, fees=fees)
    )
    assert left == {}
    return group
