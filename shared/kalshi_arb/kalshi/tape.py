"""Reads recorded order books: what was captured, of which markets, and which facts the recording lacks.

A tape is a file of JSON lines, plain or gzipped, one line a book::

    {"captured_at": "2026-07-20T01:00:22Z", "ticker": "KXA-1-T93", "orderbook_fp": {"yes_dollars": [["0.01", "5"]]}}

Books that share ``captured_at`` are one pass over the exchange. A row may carry facts of its market under the
exchange's own names (``FACTS``); what no row says may stand in a description (:mod:`infra.exchange.description`).
What neither says is not guessed: it is listed, with what is served in its place. Everything is read and checked before
anything is served.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import IO, cast

import msgspec

from kalshi_arb.domain.errors import AmountError, DomainError
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price, count_from_wire, price_from_wire

SUFFIXES = (".jsonl", ".jsonl.gz")
_GZIP_MAGIC = b"\x1f\x8b"
_ROW = ("captured_at", "ticker", "orderbook_fp")
_SIDES = {"yes_dollars": Outcome.YES, "no_dollars": Outcome.NO}

FACTS = (
    "event_ticker", "series_ticker", "mutually_exclusive", "title", "yes_sub_title", "strike_type", "floor_strike",
    "cap_strike", "custom_strike", "open_time", "close_time", "rules_primary", "price_ranges", "fee_type",
    "fee_multiplier", "exchange_index",
)  # fmt: skip
"""Facts of a market that a row may carry, under the names of the exchange's market, event and series objects."""


class TapeError(DomainError):
    """A tape, or what describes it, cannot be used; the message names file and line."""


BookLevel = tuple[Outcome, Price]
Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TapeRow:
    """One market's whole book: contracts by side and price of that side."""

    ticker: str
    levels: Mapping[BookLevel, Count]


@dataclass(frozen=True, slots=True)
class TapePass:
    """Books captured together. ``at`` is the recorded stamp, ``ms`` the same in UTC milliseconds."""

    at: str
    ms: int
    rows: tuple[TapeRow, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything the files say. ``facts`` are the known facts of each market, ``places`` where it was first seen.

    ``unknown_fields`` counts rows by field that this reader does not know.
    """

    files: tuple[Path, ...]
    passes: tuple[TapePass, ...]
    facts: Mapping[str, Facts]
    places: Mapping[str, str]
    unknown_fields: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Books in all."""
        return sum(len(one.rows) for one in self.passes)


def find_tapes(names: Iterable[str]) -> tuple[Path, ...]:
    """The files meant by paths, folders (their ``.jsonl`` and ``.jsonl.gz``) and globs, each once.

    :raises TapeError: a name that means no file.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if one.name.endswith(SUFFIXES) and one.is_file())
            if not files:
                raise TapeError(f"{name}: the folder holds no {' or '.join(SUFFIXES)} file")
        elif path.is_file():
            files = [path]
        elif has_magic(name):
            anchor = Path(path.anchor)
            matches = anchor.glob(str(path.relative_to(anchor)))
            files = sorted(one for one in matches if one.name.endswith(SUFFIXES))
            if not files:
                raise TapeError(f"{name}: no {' or '.join(SUFFIXES)} file matches")
        else:
            raise TapeError(f"{name}: no such file or folder")
        found |= dict.fromkeys(one.resolve() for one in files)
    return tuple(found)


def read_recording(files: Sequence[Path]) -> Recording:
    """Read tapes to their ends; passes come out in time order, whatever the order in the files.

    :raises TapeError: a file that cannot be read, ends in the middle, or holds a line that is no book. The message
        names file and line.
    """
    reader = _Reader()
    for path in files:
        reader.read(path)
    passes = tuple(
        TapePass(at, ms, tuple(rows.values())) for (ms, _, at), rows in sorted(reader.passes.items(), key=_by_time)
    )
    return Recording(tuple(files), passes, reader.facts, reader.places, dict(reader.unknown))


_PassKey = tuple[int, int, str]


def _by_time(item: tuple[_PassKey, object]) -> _PassKey:
    return item[0]


@dataclass(slots=True)
class _Reader:
    passes: dict[_PassKey, dict[str, TapeRow]] = field(default_factory=dict)
    facts: dict[str, dict[str, object]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def read(self, path: Path) -> None:
        self._number += 1
        empty = True
        for place, line in _lines(path):
            empty = False
            try:
                self._take(msgspec.json.decode(line), place)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise TapeError(f"{place}: not a line of JSON, or cut off in the middle: {error}") from error
            except (AmountError, ValueError) as error:
                raise TapeError(f"{place}: {error}") from error
        if empty:
            raise TapeError(f"{path}: the file is empty")

    def _take(self, row: object, place: str) -> None:
        if not isinstance(row, dict) or any(name not in row for name in _ROW):
            absent = ", ".join(name for name in _ROW if not isinstance(row, dict) or name not in row)
            raise ValueError(f"not a tape of order books: the line has no {absent}")
        at, ticker = row["captured_at"], row["ticker"]
        if not isinstance(ticker, str) or not ticker:
            raise ValueError("ticker must be a text")
        rows = self.passes.setdefault((time_ms(at, "captured_at"), self._number, str(at)), {})
        if ticker in rows:
            raise ValueError(f"{ticker} is there twice in the pass of {at}")
        rows[ticker] = TapeRow(ticker, _levels(row["orderbook_fp"], ticker))
        self.unknown.update(name for name in row if name not in _ROW and name not in FACTS)
        facts = self.facts.setdefault(ticker, {})
        self.places.setdefault(ticker, place)
        for name in FACTS:
            value = row.get(name)
            if value is None:
                continue
            if facts.setdefault(name, value) != value:
                raise ValueError(f"{name} of {ticker} was {facts[name]!r} before and is {value!r} here")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    number = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            source = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if zipped else raw
            for number, line in enumerate(source, start=1):
                if line.strip():
                    yield f"{path} line {number}", line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TapeError(f"{path} line {number + 1}: the compressed file is damaged or cut off: {error}") from error
    except OSError as error:
        raise TapeError(f"{path}: cannot be read: {error.strerror or error}") from error


def time_ms(text: object, name: str) -> int:
    """A recorded time in UTC milliseconds. :raises ValueError: it is none, or has no time zone."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{name} must be a time with its zone, not {text!r}")
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


_price: Callable[[str], Price] = lru_cache(maxsize=20_000)(price_from_wire)


def _levels(book: object, ticker: str) -> dict[BookLevel, Count]:
    if not isinstance(book, dict) or not set(book) <= set(_SIDES):
        raise ValueError(f"orderbook_fp of {ticker} must hold yes_dollars and no_dollars only")
    levels: dict[BookLevel, Count] = {}
    best = dict.fromkeys(Outcome, 0)
    for name, outcome in _SIDES.items():
        side = book.get(name, [])
        if side is None:  # an empty side in some recordings
            continue
        if not isinstance(side, list):
            raise ValueError(f"{name} of {ticker} must be a list of levels")  # noqa: TRY004 - content, not a call
        for level in side:
            if not isinstance(level, list) or len(level) != 2 or not isinstance(level[0], str):
                raise ValueError(f"a level of {ticker} must be [price, contracts], not {level!r}")
            price, count = _price(level[0]), count_from_wire(level[1])
            if not 0 < price < ONE_DOLLAR or count <= 0:
                raise ValueError(f"{ticker} cannot have {level[1]} contracts resting at {level[0]}")
            if (outcome, price) in levels:
                raise ValueError(f"{ticker} has the level {level[0]} twice")
            levels[outcome, price] = count
            best[outcome] = max(best[outcome], price)
    if best[Outcome.YES] and best[Outcome.NO] and best[Outcome.YES] + best[Outcome.NO] >= ONE_DOLLAR:
        raise ValueError(f"the book of {ticker} is crossed: its best bids add up to a dollar or more")
    return levels
