"""Reads recordings of the real exchange into the figures that describe them.

A folder holds any of ``books/weather``, ``books/mixed``, ``quotes/crypto_hourly``, ``quotes/econ_prints``, ``ws`` and
``rest/combo_orderbooks.json.gz``; what is absent has no figures.
"""

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from infra.exchange.figures import BookSample, Levels, Profile, RateFigures, rate_figures
from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, count_from_wire, price_from_wire
from kalshi_arb.kalshi.tape import time_ms

_CRYPTO = ("KXBTC", "KXETH")
_SAMPLE_MS = 1_000
_WIRE_UNITS = 10_000


class RecordingsError(ValueError):
    """A folder without recordings, or one that cannot be read; the message says which."""


class Measured(msgspec.Struct, frozen=True):
    """What recordings say: samples by profile, and a stream's rates."""

    books: dict[Profile, BookSample]
    rates: dict[Profile, RateFigures]


def read_recordings(folder: Path) -> Measured:
    """Everything a folder of recordings holds.

    :raises RecordingsError: there is none, or a file is damaged.
    """
    samples: dict[Profile, BookSample] = defaultdict(BookSample)
    rates: dict[Profile, RateFigures] = {}
    readers: tuple[tuple[str, Callable[[dict[Profile, BookSample], Any], None]], ...] = (
        ("books/weather/*.jsonl.gz", _weather_book),
        ("books/mixed/*.jsonl.gz", _mixed_book),
        ("quotes/crypto_hourly/*.jsonl.gz", _crypto_quotes),
        ("quotes/econ_prints/*.jsonl.gz", _macro_quotes),
        ("rest/combo_orderbooks.json.gz", _combo_books),
    )
    try:
        for pattern, reader in readers:
            for path in sorted(folder.glob(pattern)):
                for row in _rows(path):
                    reader(samples, row)
        stamps: list[int] = []
        for path in sorted(folder.glob("ws/*.frames.jsonl.gz")):
            told = _stream(samples[Profile.CRYPTO_15M], path)
            # Streams are put one after another: what lies between two recordings is no quiet.
            start = stamps[-1] + 1 if stamps else 0
            stamps += [start + ms - told[0] for ms in sorted(told)]
    except (OSError, EOFError, AmountError, LookupError, ValueError) as error:
        raise RecordingsError(f"{folder}: the recordings cannot be read: {error}") from error
    rate = rate_figures(stamps)
    if rate is not None:
        rates[Profile.CRYPTO_15M] = rate
    if not samples:
        raise RecordingsError(f"{folder}: there are no recordings of books, quotes or streams in it")
    return Measured(dict(samples), rates)


def _rows(path: Path) -> Iterator[Any]:
    with gzip.open(path) as lines:
        for line in lines:
            yield msgspec.json.decode(line)


def _levels(side: list[list[str]] | None) -> Levels:
    levels = [(price_from_wire(price), count_from_wire(count)) for price, count in side or ()]
    return sorted(levels, reverse=True)


def _weather_book(samples: dict[Profile, BookSample], row: Any) -> None:
    book = row["orderbook_fp"]
    samples[Profile.WEATHER].add(_levels(book.get("yes_dollars")), _levels(book.get("no_dollars")))


def _mixed_book(samples: dict[Profile, BookSample], row: Any) -> None:
    book = row["orderbook_fp"]
    profile = Profile.CRYPTO if row["ticker"].startswith(_CRYPTO) else Profile.SPORTS
    samples[profile].add(_levels(book.get("yes_dollars")), _levels(book.get("no_dollars")))


def _combo_books(samples: dict[Profile, BookSample], rows: Any) -> None:
    for row in rows:
        book = row["orderbook_fp"]
        samples[Profile.COMBO].add(_levels(book.get("yes_dollars")), _levels(book.get("no_dollars")))


def _quote(sample: BookSample, outcome: Any) -> None:
    bid, ask = outcome.get("yes_bid"), outcome.get("yes_ask")
    if bid is None or ask is None:
        return
    # Recorded as floating dollars with at most four decimals.
    yes, above = Price(round(bid * _WIRE_UNITS)), Price(round(ask * _WIRE_UNITS))
    sample.quote(yes if yes > 0 else None, Price(ONE_DOLLAR - above) if above < ONE_DOLLAR else None)


def _crypto_quotes(samples: dict[Profile, BookSample], row: Any) -> None:
    # Their depth is in `books/mixed`; of these only the spread is taken, which has many more two-sided quotes.
    spare = BookSample()
    for outcome in (row.get("current") or {}).get("outcomes", ()):
        _quote(spare, outcome)
    samples[Profile.CRYPTO].spread += spare.spread


def _macro_quotes(samples: dict[Profile, BookSample], row: Any) -> None:
    for event in (row.get("open_events") or {}).get("events", ()):
        for outcome in event.get("strikes", ()):
            _quote(samples[Profile.MACRO], outcome)


def _stream(sample: BookSample, path: Path) -> list[int]:
    """Rebuild the books of a stream and look at them once a second; returns the times of its changes."""
    books: dict[str, dict[str, dict[Price, Count]]] = {}
    stamps: list[int] = []
    next_ms = 0
    for row in _rows(path):
        frame = row["frame"]
        message = frame["msg"]
        if frame["type"] == "orderbook_snapshot":
            sides = {"yes": message.get("yes_dollars_fp"), "no": message.get("no_dollars_fp")}
            books[message["market_ticker"]] = {name: dict(_levels(side)) for name, side in sides.items()}
        elif frame["type"] == "orderbook_delta":
            ms = message["ts_ms"] if "ts_ms" in message else time_ms(message["ts"], "ts")
            if ms >= next_ms:
                next_ms = ms + _SAMPLE_MS
                for book in books.values():
                    if any(book.values()):
                        sample.add(*(sorted(side.items(), reverse=True) for side in book.values()))
            stamps.append(ms)
            side = books[message["market_ticker"]][message["side"]]
            price = price_from_wire(message["price_dollars"])
            left = Count(side.get(price, Count(0)) + count_from_wire(message["delta_fp"]))
            if left > 0:
                side[price] = left
            else:
                side.pop(price, None)
    return stamps
