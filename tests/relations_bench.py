"""Discovery's pure part on a generated universe the size of the exchange: ``python -m tests.relations_bench``.

75,000 markets in 10,000 events, of the kinds and sizes that the exchange lists, with rules texts as long as real ones.
Prints how long the groups take, how much memory the process has at its most, and how long one changed event takes.
"""

import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, StrikeType
from kalshi_arb.relations.catalogue import Catalogue
from kalshi_arb.relations.registry import Entry, Instant, LineReading, Registry
from kalshi_arb.relations.wordings import wording

NOW_MS = 1_783_000_000_000
HOUR_MS = 3_600_000
EVENTS, MARKETS = 10_000, 75_000
FEES = FeeSchedule(FeeType.QUADRATIC)
_DISCLAIMER = (
    "Ash is not affiliated, associated, authorized, endorsed by, or in any way officially connected with the governing "
    "body of the event. All trademarks, logos, and brand names are the property of their respective owners. If this "
    "event is postponed or delayed, the market will remain open and close after it has finished."
)


def market(event: str, series: str, number: int, kind: StrikeType, floor: str | None, cap: str | None, close: int,
           text: str, subject: str = "") -> ListedMarket:  # fmt: skip
    ticker = f"{event}-{number}"
    whole = Market(
        ticker=ticker, event_ticker=event, series_ticker=series, strike_type=kind,
        floor=None if floor is None else Decimal(floor), cap=None if cap is None else Decimal(cap), subject=subject,
        title=ticker, grid=CENT_GRID, fees=FEES, shard=0, close_ms=close, rules_fingerprint=f"{event}{number}",
    )  # fmt: skip
    return ListedMarket(whole, MarketStatus.ACTIVE, f"{text}\n{_DISCLAIMER}", None, True, close, close, kind.value)


def brackets(event: str, series: str, close: int, count: int) -> EventListing:
    """A line of brackets of a hundred with both tails."""
    low, text = 50_000, "If the average of the Ash Index before the hour is {}, then the market resolves to Yes."
    rows = [market(event, series, 0, StrikeType.LESS, None, str(low), close, text.format(f"below {low}"))]
    for number in range(1, count - 1):
        high = f"{low + 99}.99"
        rows.append(
            market(event, series, number, StrikeType.BETWEEN, str(low), high, close,
                   text.format(f"between {low}-{high}"))
        )  # fmt: skip
        low += 100
    top = f"{low - 1}.99"
    rows.append(market(event, series, count - 1, StrikeType.GREATER, top, None, close, text.format(f"above {top}")))
    return EventListing(event, series, event, False, tuple(rows), ("Ash",))


def thresholds(event: str, series: str, close: int, count: int, step: int = 100) -> EventListing:
    """A ladder."""
    text = "If the average of the Ash Index before the hour is above {}, then the market resolves to Yes."
    rows = []
    for number in range(count):
        strike = f"{50_000 + step * number - 1}.99"
        rows.append(market(event, series, number, StrikeType.GREATER, strike, None, close, text.format(strike)))
    return EventListing(event, series, event, False, tuple(rows), ("Ash",))


def exclusive(event: str, series: str, close: int, count: int) -> EventListing:
    """A game or a list of candidates."""
    text = "If Team {} wins the game between Team 0 and Team 1 on Jul 9, 2026, then the market resolves to Yes. If the "
    text += "game is cancelled, the market will resolve to a fair price in accordance with the rules."
    rows = [
        market(event, series, number, StrikeType.OTHER, None, None, close, text.format(number), f"team {number}")
        for number in range(count)
    ]
    return EventListing(event, series, event, True, tuple(rows), ("League",))


def universe() -> Iterator[EventListing]:
    """Events until both numbers are reached."""
    made = events = 0
    plan = [
        *(("B", hour, 188) for hour in range(40)),
        *(("T", hour, 188) for hour in range(40)),
        *(("L", hour, 40) for hour in range(300)),
        *(("X", hour, 30) for hour in range(400)),
    ]
    for kind, number, count in plan:
        close = NOW_MS + (number + 1) * HOUR_MS
        build = {"B": brackets, "T": thresholds, "L": thresholds, "X": exclusive}[kind]
        # Brackets and thresholds of one hour settle on one published value.
        yield build(f"K{kind}-{number}", f"K{kind}", close, count)
        made, events = made + count, events + 1
    left = EVENTS - events
    for number in range(left):
        count = (MARKETS - made) // (left - number)
        close = NOW_MS + (1 + number % 500) * HOUR_MS
        build = thresholds if number % 3 == 0 else exclusive
        yield build(f"KS-{number}", f"KS{number % 900}", close, count)
        made += count


def registry() -> Registry:
    """The wordings of the two series that one index settles."""
    entries = []
    for series, kinds in (("KB", ("below", "between", "above")), ("KT", ("above",))):
        types = {"below": StrikeType.LESS, "between": StrikeType.BETWEEN, "above": StrikeType.GREATER}
        for kind in kinds:
            amount = "1-2" if kind == "between" else "1"
            text = (
                f"If the average of the Ash Index before the hour is {kind} {amount}, then the market resolves to Yes."
            )
            reading = LineReading("Ash", "Ash Index", "average", "points", Instant.CLOSE, frozenset({types[kind]}))
            entries.append(Entry(series, wording(f"{text}\n{_DISCLAIMER}"), "Generated.", line=reading))
    return Registry(entries)


def main() -> None:
    """Build, change, print."""
    listings = list(universe())
    markets = sum(len(listing.markets) for listing in listings)
    empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    catalogue = Catalogue(registry=registry())
    begin = time.process_time()
    catalogue.load(listings, now_ms=NOW_MS)
    built = catalogue.built()
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    families = Counter(group.family.value for group in built.groups)
    widest = max(len(group.markets) for group in built.groups)
    out = sys.stdout.write
    out(
        f"{markets} markets in {len(listings)} events: {len(built.groups)} groups in {seconds:.2f} s, widest {widest}\n"
    )
    out(f"families {dict(sorted(families.items()))}, left out {dict(built.counts)}\n")
    out(f"memory {empty:.0f} MB with the listing, {peak:.0f} MB with the groups\n")
    for name in ("KB-7", "KT-7", "KL-7", "KX-7", "KS-7"):
        listing = next(one for one in listings if one.event_ticker == name)
        times = []
        for turn in range(21):
            rows = tuple(
                replace(one, market=replace(one.market, title=f"{turn}", rules_fingerprint=f"{turn}"))
                for one in listing.markets
            )
            changed = replace(listing, markets=rows)
            begin = time.process_time()
            catalogue.replace(changed, now_ms=NOW_MS)
            times.append((time.process_time() - begin) * 1000)
        out(f"one changed event {name}, {len(listing.markets)} markets: median {statistics.median(times):.2f} ms, "
            f"most {max(times):.2f} ms\n")  # fmt: skip


if __name__ == "__main__":
    main()
