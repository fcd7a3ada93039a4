"""Recorded weather books against figures that were computed independently of this project.

The answer key counts fills in steps of 0.01 contract with one fill per price level and everything paid at its level. A
declared smallest fill larger than every level makes our fee bound count one fill per level too. What remains is that
our floor charges the limit for the whole leg, so the proved profit may fall short of the key's by what the better
levels save; every other figure must be equal. Profits are in 1e-6 dollars.
"""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.survey import Top, survey
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import FeeSchedule, FeeType, Precision
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.listing import EventListing, ListedMarket
from kalshi_arb.domain.market import Market, MarketStatus, Outcome, StrikeType
from kalshi_arb.domain.money import Count, count_from_wire, price_from_wire
from kalshi_arb.domain.opportunity import Certificate, Grade, Leg
from kalshi_arb.domain.state_space import Family, Group
from tests.market_samples import formed

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "books" / "weather"
ONE_FILL_PER_LEVEL = Count(10**9)
FEES = FeeSchedule(FeeType.QUADRATIC)


class Pass(NamedTuple):
    """One event in one pass over the exchange."""

    captured: str
    group: Group
    books: dict[str, BookSnapshot]
    now_ms: int


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def strike(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def levels(rows: list[list[str]] | None) -> tuple[Level, ...]:
    read = (Level(price_from_wire(price), count_from_wire(count)) for price, count in rows or [])
    return tuple(sorted(read, reverse=True))


def read_market(row: dict[str, Any], event: str) -> Market:
    known = {kind.value for kind in StrikeType}
    kind = row["strike_type"]
    return Market(
        ticker=row["ticker"],
        event_ticker=event,
        series_ticker=row["series_ticker"],
        strike_type=StrikeType(kind) if kind in known else StrikeType.OTHER,
        floor=strike(row["floor_strike"]),
        cap=strike(row["cap_strike"]),
        subject="",
        title=row["yes_sub_title"],
        grid=CENT_GRID,
        fees=FEES,
        shard=0,
        close_ms=milliseconds(row["close_time"]),
        rules_fingerprint="",
    )


def read_day(day: str) -> Iterator[Pass]:
    path = RECORDINGS / f"{day}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recording of {day} is not on this machine")
    events: dict[tuple[str, str, str, str], list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            prefix = row["ticker"].rpartition("-")[0]
            events[row["captured_at"], row["series_ticker"], row["close_time"], prefix].append(row)
    for (captured, series, _, event), rows in events.items():
        now_ms = milliseconds(captured)
        snapshots = {
            row["ticker"]: BookSnapshot(
                row["ticker"], BookVersion(0, 0, 0), now_ms, now_ms,
                levels(row["orderbook_fp"].get("yes_dollars")), levels(row["orderbook_fp"].get("no_dollars")),
            )
            for row in rows
        }  # fmt: skip
        markets = tuple(ListedMarket(read_market(row, event), MarketStatus.ACTIVE) for row in rows)
        groups, _ = formed(EventListing(event, series, event, False, markets))
        for found in groups:
            yield Pass(captured[:19], found, snapshots, now_ms)


class Proof(NamedTuple):
    """A certificate with the legs it is about."""

    one: Pass
    legs: tuple[Leg, ...]
    certificate: Certificate


def proofs(day: str, smallest_fill: Count) -> list[Proof]:
    found = []
    for one in read_day(day):
        legs = propose(one.group, one.books, precision=Precision.DIRECT, smallest_fill=smallest_fill)
        if legs:
            certificate = verify(
                one.group, legs, one.books, precision=Precision.DIRECT, smallest_fill=smallest_fill, now_ms=one.now_ms
            )
            if certificate.grade is not Grade.REFUSED:
                found.append(Proof(one, legs, certificate))
    return found


# (time of the pass, event, profit, legs, what the limit may cost beyond the levels)
LOCKS = {
    "2026-07-18": [
        ("2026-07-18T00:27:54", "KXLOWTATL-26JUL18", 900, 6, 200),
        ("2026-07-18T01:03:25", "KXHIGHDEN-26JUL18", 500, 6, 0),
        ("2026-07-18T01:03:25", "KXLOWTATL-26JUL18", 900, 6, 200),
        ("2026-07-18T01:28:12", "KXHIGHDEN-26JUL18", 500, 6, 0),
        ("2026-07-18T01:28:12", "KXLOWTATL-26JUL18", 900, 6, 200),
    ],
    "2026-07-20": [
        ("2026-07-20T01:00:22", "KXTEMPCHIH-26JUL1922", 2_200, 2, 0),
        ("2026-07-20T04:00:12", "KXHIGHTNOLA-26JUL20", 12_800, 6, 0),
        ("2026-07-20T07:01:05", "KXTEMPAUSH-26JUL2004", 2_200, 2, 0),
    ],
    "2026-07-22": [("2026-07-22T02:30:00", "KXHIGHAUS-26JUL22", 3_300, 6, 0)],
    "2026-07-16": [],
    "2026-07-24": [],
}


@pytest.mark.parametrize(
    ("day", "smallest_fill"),
    [*((day, ONE_FILL_PER_LEVEL) for day in sorted(LOCKS)), ("2026-07-18", Count(100)), ("2026-07-20", Count(100))],
)
def test_exactly_the_known_locks_are_proved(day: str, smallest_fill: Count) -> None:
    """Fills of one contract, our default, cost these few contracts nothing more than one fill per level."""
    found = sorted(proofs(day, smallest_fill), key=lambda proof: (proof.one.captured, proof.one.group.event_ticker))
    assert all(proof.certificate.grade is Grade.PROVED for proof in found)
    assert [(proof.one.captured, proof.one.group.event_ticker, len(proof.legs)) for proof in found] == [
        (captured, event, legs) for captured, event, _, legs, _ in LOCKS[day]
    ]
    for proof, (_, _, profit, _, at_limit) in zip(found, LOCKS[day], strict=True):
        assert profit - at_limit <= proof.certificate.floor_profit <= profit


def test_the_locks_of_the_twentieth_are_bought_as_the_key_says() -> None:
    legs = {proof.one.group.event_ticker: proof.legs for proof in proofs("2026-07-20", ONE_FILL_PER_LEVEL)}
    assert [(leg.outcome, leg.count, leg.limit) for leg in legs["KXTEMPCHIH-26JUL1922"]] == [
        (Outcome.YES, 782, 9_200),
        (Outcome.NO, 782, 700),
    ]
    assert [(leg.outcome, leg.count, leg.limit) for leg in legs["KXTEMPAUSH-26JUL2004"]] == [
        (Outcome.YES, 44, 8_700),
        (Outcome.NO, 44, 1_100),
    ]
    assert {(leg.outcome, leg.count) for leg in legs["KXHIGHTNOLA-26JUL20"]} == {(Outcome.NO, 64)}


def top(book: BookSnapshot) -> Top:
    yes, no = book.yes_bids[:1], book.no_bids[:1]
    return Top(yes[0].price if yes else None, no[0].price if no else None)


@pytest.mark.parametrize(
    ("day", "groups", "expected"),
    [
        ("2026-07-16", (20, 320), (36, 0, 0, 0, 0, 0, 0)),
        ("2026-07-18", (20, 320), (31, 7, 0, 0, 6, 0, 0)),
        ("2026-07-20", (20, 248), (33, 6, 3, 4, 1, 0, 2)),
        ("2026-07-22", (15, 240), (30, 3, 1, 1, 2, 0, 0)),
        ("2026-07-24", (10, 128), (21, 1, 0, 0, 0, 0, 0)),
    ],
)
def test_violations_at_the_top_are_counted_as_the_key_counts_them(
    day: str, groups: tuple[int, int], expected: tuple[int, ...]
) -> None:
    passes = list(read_day(day))
    families = Counter(one.group.family for one in passes)
    assert (families[Family.LADDER], families[Family.PARTITION]) == groups
    found = [survey(one.group, {ticker: top(book) for ticker, book in one.books.items()}) for one in passes]
    assert (
        sum(one.raw.bids_over_1 for one in found),
        sum(one.raw.asks_under_1 for one in found),
        sum(one.raw.nested_crossed for one in found),
        sum(one.raw.nested_pairs for one in found),
        sum(one.net.bids_over_1 for one in found),
        sum(one.net.asks_under_1 for one in found),
        sum(one.net.nested_crossed for one in found),
    ) == expected
