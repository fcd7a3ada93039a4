"""Discovery: read every open event and the quoted combos, build their groups, make them the accepted set."""

import logging
from collections import Counter
from dataclasses import dataclass

from kalshi_arb.clock import Clock
from kalshi_arb.domain.state_space import Group
from kalshi_arb.ports import GroupStore, Listings, StatusStore
from kalshi_arb.relations.combos import Listed, build_combos, leg_tickers
from kalshi_arb.relations.families import build_groups

logger = logging.getLogger(__name__)

COMPONENT = "discovery"


@dataclass(frozen=True, slots=True)
class DiscoveryReport:
    """What a run accepted (groups by family) and left out (markets by reason)."""

    version: int
    groups: dict[str, int]
    dropped: dict[str, int]


class Discovery:
    """Owns the groups. A run replaces the whole set, so running it twice or late is harmless."""

    def __init__(self, *, market_data: Listings, groups: GroupStore, status: StatusStore, clock: Clock) -> None:
        self._market_data = market_data
        self._groups = groups
        self._status = status
        self._clock = clock

    def run(self) -> DiscoveryReport:
        """Read, build, replace, report.

        :raises ExchangeError: the listing could not be read to its end; the accepted set stays as it was.
        :raises StoreError: the groups or the status could not be written.
        """
        now_ms = self._clock.now_ms()
        accepted: dict[str, Group] = {}
        dropped: Counter[str] = Counter()
        events = markets = 0
        # Combos come first, because they say which markets of the other events they need.
        combos = list(self._market_data.combo_events())
        wanted = {ticker for listing in combos for ticker in leg_tickers(listing)}
        legs: dict[str, Listed] = {}
        for listing in self._market_data.open_events():
            events += 1
            markets += len(listing.markets)
            groups, reasons = build_groups(listing, now_ms=now_ms)
            dropped.update(reasons)
            for group in groups:
                # Pages of a moving listing may repeat an event: the later reading counts.
                accepted[group.group_id] = group
            for market, status in listing.markets:
                if market.ticker in wanted:
                    legs[market.ticker] = Listed(market, status, listing.rules.get(market.ticker, ""))
        for listing in combos:
            groups, reasons = build_combos(listing, legs, now_ms=now_ms)
            dropped.update(reasons)
            accepted |= {group.group_id: group for group in groups}
        families = Counter(group.family.value for group in accepted.values())
        version = self._groups.replace_all(list(accepted.values()))
        report = DiscoveryReport(version, dict(sorted(families.items())), dict(sorted(dropped.items())))
        self._status.put(
            COMPONENT,
            {
                "updated_ms": self._clock.now_ms(),
                "version": report.version,
                "events": events,
                "markets": markets,
                "combos": sum(len(listing.markets) for listing in combos),
                "groups": report.groups,
                "dropped": report.dropped,
            },
        )
        logger.info(
            "discovery: %d events, %d markets, %d combo events, version %d, groups %s, dropped %s",
            events, markets, len(combos), version, report.groups, report.dropped,
        )  # fmt: skip
        return report
