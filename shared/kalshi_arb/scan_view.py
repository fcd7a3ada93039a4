"""A scan's report as JSON and in words. Money leaves as decimal dollars in strings, times as UTC milliseconds.

What a machine is promised stands in ``REPORT`` and ``OPPORTUNITY``; everything beside it is for a person.
"""

from collections.abc import Mapping
from typing import Any

from kalshi_arb.detection.scan import Found, ScanCounts, ScanReport
from kalshi_arb.detection.screen import EDGE_DECIMALS, Miss
from kalshi_arb.domain.money import Cash, cash_to_wire, count_to_wire, notional, price_to_wire, print_decimal

Json = dict[str, Any]

REPORT = ("opportunities", "near_misses", "counts")
OPPORTUNITY = (
    "id", "group", "grade", "legs", "cost", "fees", "worst_profit", "worst_state", "capital", "skew_ms",
)  # fmt: skip
_LONGEST_WHY = 4


def scan_view(report: ScanReport) -> Json:
    """A report; nothing in it was traded."""
    return {
        "scanned_ms": report.scanned_ms,
        "opportunities": [found_view(one) for one in report.found],
        "near_misses": [miss_view(one) for one in report.misses],
        "counts": counts_view(report.counts),
    }


def machine_view(view: Mapping[str, Any]) -> Json:
    """What a machine is promised of a report's view, and nothing else."""
    promised = {name: view[name] for name in REPORT}
    return promised | {"opportunities": [{name: one[name] for name in OPPORTUNITY} for one in view["opportunities"]]}


def found_view(found: Found) -> Json:
    """A bundle. ``cost`` is every contract at its limit, ``fees`` the highest fee, ``worst_profit`` what is left in the
    worst settlement after both. ``capital`` is what stays tied up until settlement."""
    one, group = found.opportunity, found.group
    certificate = one.certificate
    titles = {market.ticker: market.title for market in group.markets}
    return {
        "id": one.opportunity_id,
        "group": one.group_id,
        "grade": certificate.grade.value,
        "legs": [
            {
                "ticker": leg.ticker,
                "side": leg.outcome.value,
                "price": price_to_wire(leg.limit),
                "count": count_to_wire(leg.count),
                "fee": cash_to_wire(fee),
            }
            for leg, fee in zip(one.legs, found.leg_fees, strict=True)
        ],
        "cost": cash_to_wire(Cash(sum(notional(leg.limit, leg.count) for leg in one.legs))),
        "fees": cash_to_wire(certificate.fee_bound),
        "worst_profit": cash_to_wire(certificate.floor_profit),
        "worst_state": certificate.worst_state,
        "capital": cash_to_wire(one.capital.locked),
        "skew_ms": one.quality.skew_ms,
        "event": one.event_ticker,
        "titles": {leg.ticker: titles[leg.ticker] for leg in one.legs},
        "found_ms": one.found_ms,
        "why": list(dict.fromkeys((*(said.reason for said in group.relations), *group.certificate)))[:_LONGEST_WHY],
        "assumptions": list(group.assumptions),
        "breaking_state": certificate.breaking_state,
        "states": certificate.states_checked,
        "profit_on_books": cash_to_wire(certificate.worst_profit),
        "age_ms": max((book.age_ms for book in certificate.books), default=0),
        "locked_until_ms": one.capital.locked_until_ms,
    }


def miss_view(miss: Miss) -> Json:
    """A near miss; ``edge`` in dollars a set of its contracts, not positive; ``legs`` in words, ``prices`` what one
    YES of each market is worth where no bundle gains."""
    return {
        "group": miss.group_id,
        "event": miss.event_ticker,
        "edge": print_decimal(miss.edge, EDGE_DECIMALS),
        "text": miss.text,
        "legs": list(miss.legs),
        "prices": dict(miss.prices),
    }


def counts_view(counts: ScanCounts) -> Json:
    """How far the groups came."""
    return {
        "groups": counts.groups,
        "screened": counts.screened,
        "solved": counts.solved,
        "proved": counts.proved,
        "dropped": dict(counts.dropped),
    }
