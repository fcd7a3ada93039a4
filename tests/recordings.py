"""Recordings of the real exchange as listings and books, one event at one moment at a time.

Listings come from the product's own reader of recorded payloads (:mod:`kalshi_arb.kalshi.recorded`), books on tape from
the reader of tapes (:mod:`kalshi_arb.kalshi.tape`). What is read into a recording beside that is said
here, in one place:

- weather books name no event: a series, a closing time and what tickers share up to their last dash make one
- mixed books have tickers only: strikes of crypto events come from the quotes of the same day, every other event is
  read as "at most one", like the games of the quote recordings, whose flag was not recorded
- quotes have no sizes: 100 contracts are taken at each
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.exchange.tape_terms import load_tape
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, count_from_wire, price_from_wire
from kalshi_arb.kalshi.recorded import Recording
from kalshi_arb.kalshi.tape import BookLevel, TapePass, read_recording, time_ms

Json = dict[str, Any]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ASSUMED = Count(10_000)
"""Contracts (1e-2) at a quote whose size was not recorded."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One event, or a combo market with the events of its legs, as one reading of the exchange showed it.

    ``places`` are the places of the books in the order they were fetched, empty where one reply held them all; ``at``
    is the recorded stamp, ``now_ms`` the same in UTC milliseconds (0 where none was recorded).
    """

    at: str
    listings: tuple[EventListing, ...]
    books: Mapping[str, BookSnapshot]
    places: Mapping[str, int]
    now_ms: int


@dataclass(frozen=True, slots=True)
class Settled:
    """How the markets of an event resolved, by ticker: True is YES. ``value`` is the published value, if any."""

    event_ticker: str
    series_ticker: str
    results: Mapping[str, bool]
    value: str


def recorded(path: str) -> Path:
    """A file of the recordings; skips the test where it is absent."""
    file = DATA / path
    if not file.exists():
        pytest.skip(f"the recording {path} is not on this machine")
    return file


def documents(path: str) -> Iterator[Json]:
    """The objects of a file of JSON lines. Their numbers have few enough digits for binary floats to keep them."""
    with gzip.open(recorded(path)) as lines:
        for line in lines:
            yield msgspec.json.decode(line)


def document(path: str) -> Any:
    """The one document of a file. Decimals stay decimals."""
    with gzip.open(recorded(path), "rt") as text:
        return json.load(text, parse_float=Decimal)


def listings(*found: object) -> tuple[EventListing, ...]:
    """Events of recorded documents, as the product reads them."""
    recording = Recording()
    for one in found:
        recording.add(json.dumps(one, default=float).encode(), "recording")
    read, unread = recording.listings()
    assert unread == []
    return tuple(read)


def in_series(listing: EventListing, series: str) -> EventListing:
    """A listing whose recording names no series, with the series it is known to be of."""
    markets = tuple(replace(one, market=replace(one.market, series_ticker=series)) for one in listing.markets)
    return replace(listing, series_ticker=series, markets=markets, absent=listing.absent - {"series_ticker"})


def days(folder: str) -> list[str]:
    """Recordings of a folder by name, as the tables name them."""
    return sorted(f"{folder}/{file.name.partition('.')[0]}" for file in (DATA / folder).glob("*.jsonl.gz"))


def moments(name: str) -> Iterator[Moment]:
    """Every event and moment of a recording.

    :param name: ``books/weather/DAY``, ``books/mixed/DAY``, ``quotes/crypto_hourly/DAY``, ``quotes/econ_prints/DAY``,
        ``quotes/sports_pairs/DAY``, ``rest/markets``, ``rest/events_sports_nested`` or ``rest/combo_priced_markets``
    """
    folder = name.rpartition("/")[0]
    return {
        "books/weather": _weather,
        "books/mixed": _mixed,
        "quotes/crypto_hourly": _crypto,
        "quotes/econ_prints": _macro,
        "quotes/sports_pairs": _games,
        "rest": _replies,
    }[folder](name)


class _Listings:
    """Listings by event and tickers: an event is read once for as long as the same markets are recorded."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[EventListing, ...]] = {}

    def of(self, event: Json, tickers: Iterable[str]) -> tuple[EventListing, ...]:
        key = (event["event_ticker"], *tickers)
        if key not in self._known:
            self._known[key] = listings(event)
        return self._known[key]


# Tapes of order books


def _weather(name: str) -> Iterator[Moment]:
    tape = load_tape([str(recorded(f"{name}.jsonl.gz"))])
    facts = tape.recording.facts
    event_of = {market.ticker: event.ticker for event in tape.events for market in event.markets}
    read = _Listings()
    for one in tape.recording.passes:
        for event, tickers in _by_event(one, event_of).items():
            rows = [{"ticker": ticker, "event_ticker": event, **facts[ticker]} for ticker in tickers]
            series = facts[tickers[0]]["series_ticker"]
            shown = {"event_ticker": event, "series_ticker": series, "markets": rows}
            yield _taped(one, read.of(shown, tickers), tickers)


def _mixed(name: str) -> Iterator[Moment]:
    recording = read_recording([recorded(f"{name}.jsonl.gz")])
    day = name.rpartition("/")[2]
    strikes = {
        outcome["ticker"]: {**outcome, "close_time": row["current"]["close_time"]}
        for row in documents(f"quotes/crypto_hourly/{day}.jsonl.gz")
        for outcome in row["current"].get("outcomes", ())
    }
    event_of = {ticker: ticker.rpartition("-")[0] for ticker in recording.facts}
    read = _Listings()
    for one in recording.passes:
        for event, tickers in _by_event(one, event_of).items():
            rows = [{"ticker": ticker, **strikes.get(ticker, {})} for ticker in tickers]
            shown: Json = {"event_ticker": event, "markets": rows}
            if not any(ticker in strikes for ticker in tickers):
                shown["mutually_exclusive"] = True
            yield _taped(one, read.of(shown, tickers), tickers)


def _by_event(one: TapePass, event_of: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in one.rows:
        found.setdefault(event_of[row.ticker], []).append(row.ticker)
    return found


def _taped(one: TapePass, read: tuple[EventListing, ...], tickers: Iterable[str]) -> Moment:
    places = {row.ticker: place for place, row in enumerate(one.rows)}
    levels = {row.ticker: row.levels for row in one.rows}
    books = {ticker: _tape_book(ticker, levels[ticker], one.ms) for ticker in tickers}
    return Moment(one.at, read, books, {ticker: places[ticker] for ticker in tickers}, one.ms)


def _tape_book(ticker: str, levels: Mapping[BookLevel, Count], ms: int) -> BookSnapshot:
    def side(wanted: Outcome) -> list[tuple[Price, Count]]:
        return [(price, count) for (outcome, price), count in levels.items() if outcome is wanted]

    return book(ticker, side(Outcome.YES), side(Outcome.NO), ms)


def book(
    ticker: str, yes: Iterable[tuple[Price, Count]], no: Iterable[tuple[Price, Count]], ms: int = 0
) -> BookSnapshot:
    """A book of resting bids."""

    def side(levels: Iterable[tuple[Price, Count]]) -> tuple[Level, ...]:
        return tuple(sorted((Level(*level) for level in levels), reverse=True))

    return BookSnapshot(ticker, BookVersion(0, 0, 0), ms, ms, side(yes), side(no))


# Quotes


def _crypto(name: str) -> Iterator[Moment]:
    read = _Listings()
    for row in documents(f"{name}.jsonl.gz"):
        if "outcomes" in row["current"]:
            yield from _quoted(
                read, [{**row["current"], "series_ticker": row["series"]}], "outcomes", row["captured_at"]
            )


def _macro(name: str) -> Iterator[Moment]:
    read = _Listings()
    for row in documents(f"{name}.jsonl.gz"):
        events = [{**event, "series_ticker": row["series"]} for event in row["open_events"]["events"]]
        yield from _quoted(read, events, "strikes", row["captured_at"])


def _games(name: str) -> Iterator[Moment]:
    read = _Listings()
    for row in documents(f"{name}.jsonl.gz"):
        yield from _quoted(read, [{**row, "mutually_exclusive": True}], "outcomes", row["captured_at"])


def _quoted(read: _Listings, events: Iterable[Json], markets: str, at: str) -> Iterator[Moment]:
    ms = time_ms(at, "captured_at")
    for event in events:
        outcomes = {one["ticker"]: one for one in event[markets]}
        books = {
            ticker: book(ticker, _bid(one["yes_bid"]), _bid(one["no_bid"]), ms) for ticker, one in outcomes.items()
        }
        yield Moment(at, read.of(event, outcomes), books, {}, ms)


def _bid(price: float | None) -> list[tuple[Price, Count]]:
    """A bid of the assumed size; none, 0 and 1 mean an empty side."""
    exact = price_from_wire(f"{price or 0:.4f}")
    return [(exact, ASSUMED)] if 0 < exact < ONE_DOLLAR else []


# Replies of the REST API, as they came


def _replies(name: str) -> Iterator[Moment]:
    if name == "rest/markets":
        folder = DATA / name
        if not folder.exists():
            pytest.skip("recorded replies of /markets are not on this machine")
        for file in sorted(folder.iterdir()):
            reply = document(f"{name}/{file.name}")
            yield Moment("", listings(reply), {wire["ticker"]: wire_book(wire) for wire in reply.values()}, {}, 0)
    elif name == "rest/events_sports_nested":
        for event in document(f"{name}.json.gz"):
            books = {wire["ticker"]: wire_book(wire) for wire in event["markets"]}
            yield Moment("", listings(event), books, {}, 0)
    else:
        reply = document(f"{name}.json.gz")
        wires = [*reply["combos"], *reply["legs"].values()]
        yield Moment("", listings(reply), {wire["ticker"]: wire_book(wire) for wire in wires}, {}, 0)


def wire_book(wire: Json) -> BookSnapshot:
    """The best quotes of a listed market: the size of the YES ask is that of the best NO bid."""

    def side(name: str, size: str) -> list[tuple[Price, Count]]:
        count = count_from_wire(wire[size])
        return [(price_from_wire(wire[name]), count)] if count else []

    return book(wire["ticker"], side("yes_bid_dollars", "yes_bid_size_fp"), side("no_bid_dollars", "yes_ask_size_fp"))


# Settlements


def settled_crypto() -> dict[str, Settled]:
    """Results of hourly bracket events: each capture carries those of the event before."""
    return _settled("quotes/crypto_hourly", "previous_settlement")


def settled_macro() -> dict[str, Settled]:
    """Results of published-value ladders."""
    return _settled("quotes/econ_prints", "recent_settlement")


def _settled(folder: str, field: str) -> dict[str, Settled]:
    found: dict[str, Settled] = {}
    for row in (row for day in days(folder) for row in documents(f"{day}.jsonl.gz")):
        told = row.get(field)
        if not told or "results" not in told:
            continue
        event = told["event_ticker"]
        results = {ticker: {"yes": True, "no": False}[result] for ticker, result in told["results"].items()}
        one = Settled(event, row["series"], results, str(told["expiration_value"]))
        # A settlement is repeated in later captures, and must not change.
        assert found.setdefault(event, one) == one
    return found


def open_crypto() -> dict[str, EventListing]:
    """Every hourly bracket event whose open markets were recorded, by ticker, as it was first seen."""
    rows = (row for day in days("quotes/crypto_hourly") for row in documents(f"{day}.jsonl.gz"))
    return _first_seen(
        {**row["current"], "series_ticker": row["series"]} for row in rows if "outcomes" in row["current"]
    )


def open_macro() -> dict[str, EventListing]:
    """The same of published-value ladders."""
    rows = (row for day in days("quotes/econ_prints") for row in documents(f"{day}.jsonl.gz"))
    return _first_seen(
        {**event, "series_ticker": row["series"]} for row in rows for event in row["open_events"]["events"]
    )


def _first_seen(events: Iterable[Json]) -> dict[str, EventListing]:
    found: dict[str, Json] = {}
    for event in events:
        found.setdefault(event["event_ticker"], event)
    return {one.event_ticker: one for one in listings(*found.values())}
