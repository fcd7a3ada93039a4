"""How long discovery takes over a universe the size of the exchange, what memory it needs, and what one change costs.

    python -m infra.bench.discovery_scale [--events N] [--markets N] [--seed N] [--changes N]

Prints JSON. The process is fresh and reads page by page, as discovery does, so its peak of memory is discovery's own,
models, listings and groups included. Times are of this process on one core. Timed are:

- ``read``: a page's bytes into models, for comparison
- ``list``: models into listings
- ``build``: listings into groups, alone and with each other
- ``change``: one event's new models into a listing and everything that depends on it built anew
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import Any

import msgspec

from infra.bench.universe_of_listings import EVENTS, FEWEST, MARKETS, NOW_MS, Json, Universe, registry, series
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.kalshi.fee_reads import FeeReads
from kalshi_arb.kalshi.mapping import to_listing
from kalshi_arb.kalshi.models.market import EventsReply, EventWire
from kalshi_arb.kalshi.wire import convert, read
from kalshi_arb.relations.catalogue import Catalogue

PAGE = 200
SEED = 5
CHANGES = 300
_LARGEST = 20
"""How many of the changed events are the largest there are; the others are drawn."""

_encoder = msgspec.json.Encoder(decimal_format="number")


def measure(events: int, markets: int, seed: int, changes: int) -> dict[str, Any]:
    """Read, list and build everything, then change some events one by one. Times in seconds of this process."""
    fees = FeeReads((), (), NOW_MS)
    universe = Universe(events, markets, seed)
    begin = _peak_mb()
    listings: list[EventListing] = []
    seconds = {"read": 0.0, "list": 0.0, "build": 0.0}
    walk = universe.walk()
    while page := _encoder.encode({"events": list(islice(walk, PAGE)), "cursor": ""}):
        start = time.process_time()
        models = list(_models(page))
        middle = time.process_time()
        listings += [to_listing(model, fees.of(model, series(model.series_ticker))) for model in models]
        seconds["read"] += middle - start
        seconds["list"] += time.process_time() - middle
        if len(models) < PAGE:
            break
    catalogue = Catalogue(registry=registry())
    wall = time.perf_counter()
    start = time.process_time()
    catalogue.load(listings, now_ms=NOW_MS)
    built = catalogue.built()
    seconds["build"] = time.process_time() - start
    wall = time.perf_counter() - wall
    found = sum(len(listing.markets) for listing in listings)
    grouped = {ticker for group in built.groups for ticker in group.tickers}
    report: dict[str, Any] = {
        "events": len(listings),
        "markets": found,
        "groups": len(built.groups),
        "families": dict(sorted(Counter(group.family.value for group in built.groups).items())),
        "largest_group": max(len(group.markets) for group in built.groups),
        "states": sum(len(group.states) for group in built.groups),
        "markets_in_groups": len(grouped),
        "left_out": dict(built.counts),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "build_wall_seconds": round(wall, 3),
        "memory_mb": {"before": begin, "peak": _peak_mb()},
    }
    report["change_ms"] = _changes(universe, catalogue, listings, changes, fees)
    report["memory_mb"]["after_changes"] = _peak_mb()
    return report


def _models(page: bytes) -> Iterator[EventWire]:
    for raw in read(page, EventsReply, "events").events:
        yield convert(raw, EventWire, f"event {raw['event_ticker']}")


def _changes(
    universe: Universe, catalogue: Catalogue, listings: list[EventListing], count: int, fees: FeeReads
) -> dict[str, Any]:
    """Change events one by one, each in both ways of :data:`_WAYS`."""
    random = Random(universe.seed)  # noqa: S311 - a reproducible load, not cryptography
    sizes = {listing.event_ticker: len(listing.markets) for listing in listings}
    largest = sorted(sizes, key=lambda event: -sizes[event])[: min(_LARGEST, count)]
    others = sorted(sizes.keys() - set(largest))
    chosen = {*largest, *random.sample(others, min(len(others), count - len(largest)))}
    times: dict[str, list[tuple[float, str]]] = {name: [] for name in _WAYS}
    changed = 0
    for raw in universe.walk():
        if raw["event_ticker"] not in chosen:
            continue
        for name, change in _WAYS.items():
            page = _encoder.encode({"events": [{**raw, "markets": list(map(change, raw["markets"]))}], "cursor": ""})
            (model,) = _models(page)
            start = time.process_time()
            listing = to_listing(model, fees.of(model, series(model.series_ticker)))
            changed += len(catalogue.replace(listing, now_ms=NOW_MS).changed)
            times[name].append(((time.process_time() - start) * 1000, model.event_ticker))
    return {
        "events": len(chosen),
        "changed_groups": changed,
        **_summary([one for own in times.values() for one in own], sizes),
        "ways": {name: _summary(own, sizes) for name, own in times.items()},
    }


def _summary(times: list[tuple[float, str]], sizes: Mapping[str, int]) -> dict[str, Any]:
    taken = sorted(one for one, _ in times)
    slowest, event = max(times)
    return {
        "median": round(statistics.median(taken), 3),
        "p99": round(taken[len(taken) * 99 // 100], 3),
        "max": round(slowest, 3),
        "slowest": {"event": event, "markets": sizes[event]},
    }


def _other_close(row: Json) -> Json:
    return {**row, "close_time": row["close_time"].replace("00:00Z", "30:00Z")}


def _other_text(row: Json) -> Json:
    return {**row, "rules_primary": row["rules_primary"].replace(", then", ", by its last count, then")}


_WAYS: Mapping[str, Callable[[Json], Json]] = {"every close moves": _other_close, "every text changes": _other_text}
"""What may happen to all markets of an event at once. No group of it stays as it was."""


def _peak_mb() -> int:
    # Linux tells kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.discovery_scale", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--markets", type=int, default=MARKETS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--changes", type=int, default=CHANGES)
    asked = parser.parse_args()
    if asked.events < FEWEST or not 2 * asked.events <= asked.markets <= 40 * asked.events or asked.changes < 1:
        parser.error(f"needs at least {FEWEST} events, 2 to 40 markets an event, and a change")
    json.dump(measure(asked.events, asked.markets, asked.seed, asked.changes), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
