"""The rules that turn an event's markets into groups, one module per family.

Only structured fields count: strike types and strikes, the subject, the exclusivity flag, a combo's legs. Nothing is
read out of tickers or titles, and the rules text can only add ways to settle (``rules``).

- ``lines``: LADDER and PARTITION, at most one group per event and subject
- ``exclusive``: EXCLUSIVE and GAME, for an event with the flag whose markets have no strikes on a line
- ``combos``: COMBO, a combo and its legs, which belong to other events

Whatever is left out is counted by market and reason.
"""

from collections import Counter

from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.state_space import Group
from kalshi_arb.ports import EventListing
from kalshi_arb.relations.assembly import Drop, unfit
from kalshi_arb.relations.exclusive import build_exclusive
from kalshi_arb.relations.lines import build_lines


def build_groups(listing: EventListing, *, now_ms: int = 0) -> tuple[list[Group], dict[str, int]]:
    """Every group that an event's markets form among themselves, and how many markets were left out by reason.

    :param now_ms: UTC milliseconds; a market whose closing time is not after it is dropped
    """
    drops: Counter[Drop] = Counter()
    markets: list[Market] = []
    for market, status in listing.markets:
        reason = unfit(market, status, now_ms)
        if reason is None:
            markets.append(market)
        else:
            drops[reason] += 1
    groups: list[Group] = []
    if listing.mutually_exclusive and all(market.strike_type is StrikeType.OTHER for market, _ in listing.markets):
        if markets:
            built = build_exclusive(listing, markets)
            if isinstance(built, Group):
                groups.append(built)
            else:
                drops[built] += len(markets)
    else:
        groups, reasons = build_lines(listing, markets)
        drops.update(reasons)
    return groups, {reason.value: count for reason, count in drops.items()}
