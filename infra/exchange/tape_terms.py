"""What the exchange lists for a recording: series, events and markets, from what the tape or its description says.

The description is a JSON file, ``<tape file>.markets.json`` or ``markets.json`` in the tape's folder (the first that is
there), with facts under the names of :data:`infra.exchange.tape.FACTS`::

    {"version": 1,
     "markets": {"KXA-1-T93": {"event_ticker": "KXA-1", "strike_type": "less", "cap_strike": 93}},
     "events":  {"KXA-1": {"series_ticker": "KXA", "mutually_exclusive": false, "close_time": "2026-07-21T05:59:00Z"}},
     "series":  {"KXA": {"fee_type": "quadratic", "fee_multiplier": 1, "exchange_index": 0}}}

A row's own fact comes first, then its market's, its event's (where row or market name one), its series'. What nobody
says is listed with what is served instead (``SERVED``); no relation between markets ever comes out of that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

import msgspec

from infra.exchange.errors import TapeError
from infra.exchange.tape import FACTS, Facts, Recording, find_tapes, read_recording, time_ms
from infra.exchange.terms import GRIDS, EventTerms, GridName, MarketTerms, SeriesTerms
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule, FeeType
from kalshi_arb.domain.grid import grid_from_wire
from kalshi_arb.domain.market import StrikeType
from kalshi_arb.domain.money import price_to_wire, scale_decimal

T = TypeVar("T")

DESCRIPTION = "markets.json"
VERSION = 1
_PARTS = ("markets", "events", "series")
_WEEK_MS = 7 * 24 * 3_600_000
_OWN_SERIES = "TAPE"

SERVED: Mapping[str, str] = {
    "event_ticker": "series_ticker and close_time make the event, named by what its tickers share up to their last "
    "dash; a market without both is an event of its own",
    "series_ticker": f"the series {_OWN_SERIES}",
    "mutually_exclusive": "false, nothing is declared",
    "title": "the ticker",
    "yes_sub_title": "the ticker",
    "strike_type": "none: such a market is in no group",
    "floor_strike": "no strike type: such a market is in no group",
    "cap_strike": "no strike type: such a market is in no group",
    "open_time": "the start of the tape",
    "close_time": "a week after the end of the tape",
    "rules_primary": "no text",
    "price_ranges": "whole cents, which are on every grid",
    "fee_type": "quadratic",
    "fee_multiplier": "1",
    "exchange_index": "0",
    "result": "none: markets close without a result and positions stay",
}
"""What is served for a fact that a tape lacks."""

_NEEDED = {
    StrikeType.GREATER: ("floor_strike",),
    StrikeType.GREATER_OR_EQUAL: ("floor_strike",),
    StrikeType.LESS: ("cap_strike",),
    StrikeType.LESS_OR_EQUAL: ("cap_strike",),
    StrikeType.BETWEEN: ("floor_strike", "cap_strike"),
    StrikeType.OTHER: (),
}
_STRUCTURED = {kind.value: kind for kind in StrikeType if kind is not StrikeType.OTHER}


@dataclass(frozen=True, slots=True)
class Tape:
    """A recording with its listing. Times of the listing are recorded times, UTC milliseconds.

    ``missing_fields`` are numbers of markets by fact.
    """

    recording: Recording
    series: tuple[SeriesTerms, ...]
    events: tuple[EventTerms, ...]
    missing_fields: Mapping[str, int]


def load_tape(names: Iterable[str]) -> Tape:
    """Find, read and check tapes and their descriptions.

    :raises TapeError: something cannot be used; the message names file and line.
    """
    recording = read_recording(find_tapes(names))
    return list_markets(recording, [_read_description(path) for path in _descriptions(recording.files)])


def list_markets(recording: Recording, descriptions: Iterable["Description"] = ()) -> Tape:
    """The listing of a recording. :raises TapeError: facts that cannot be read or contradict each other."""
    return _Lister(recording, tuple(descriptions)).tape()


@dataclass(frozen=True, slots=True)
class Description:
    """One description file: facts by ticker of the market, the event and the series."""

    path: Path
    markets: Mapping[str, Facts]
    events: Mapping[str, Facts]
    series: Mapping[str, Facts]


def _descriptions(files: Iterable[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for file in files:
        beside = (file.with_name(f"{file.name}.{DESCRIPTION}"), file.with_name(DESCRIPTION))
        found |= dict.fromkeys([path for path in beside if path.is_file()][:1])
    return list(found)


def _read_description(path: Path) -> Description:
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise TapeError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TapeError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise TapeError(f'{path}: not a description of markets: "version" must be {VERSION}')
    unknown = [name for name in content if name not in ("version", *_PARTS)]
    parts: list[Mapping[str, Facts]] = []
    for part in _PARTS:
        entries = content.get(part, {})
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise TapeError(f"{path}: {part} must hold an object for each ticker")
        unknown += [
            f"{part}.{ticker}.{name}" for ticker, entry in entries.items() for name in entry if name not in FACTS
        ]
        parts.append(entries)
    if unknown:
        raise TapeError(f"{path}: unknown: {', '.join(unknown[:5])}; known facts are {', '.join(FACTS)}")
    return Description(path, *parts)


class _Lister:
    def __init__(self, recording: Recording, descriptions: tuple[Description, ...]) -> None:
        self._recording = recording
        self._descriptions = descriptions
        self._missing: Counter[str] = Counter()
        self._began_ms = recording.passes[0].ms
        self._ended_ms = recording.passes[-1].ms
        self._names: dict[tuple[object, ...], str] = {}

    def tape(self) -> Tape:
        members: dict[str, list[tuple[str, Facts]]] = {}
        for ticker in self._recording.facts:
            facts = self._known(ticker)
            members.setdefault(self._event_of(ticker, facts), []).append((ticker, facts))
        series: dict[str, SeriesTerms] = {}
        events = tuple(self._event(name, rows, series) for name, rows in members.items())
        self._missing["result"] = len(self._recording.facts)
        self._check_grids(events)
        return Tape(self._recording, tuple(series.values()), events, dict(sorted(self._missing.items())))

    # Facts

    def _known(self, ticker: str) -> Facts:
        facts = dict(self._recording.facts[ticker])
        for part, key in (("markets", None), ("events", "event_ticker"), ("series", "series_ticker")):
            name = ticker if key is None else facts.get(key)
            for description in self._descriptions:
                described: Facts = getattr(description, part).get(name, {})
                facts = {**{fact: value for fact, value in described.items() if value is not None}, **facts}
        return facts

    def _event_of(self, ticker: str, facts: Facts) -> str:
        name = facts.get("event_ticker")
        if name is not None:
            return self._text(ticker, "event_ticker", name)
        self._missing["event_ticker"] += 1
        key = (facts.get("series_ticker"), facts.get("close_time"), ticker.rpartition("-")[0])
        if key[0] is None or key[1] is None or not key[2]:
            return ticker
        known = self._names.get(key)
        if known is None:
            # One name for two closing times would put different contracts into one event.
            number = sum(taken[2] == key[2] for taken in self._names) + 1
            known = self._names[key] = str(key[2]) if number == 1 else f"{key[2]}-{number}"
        return known

    def _fact(self, ticker: str, facts: Facts, name: str, read: Callable[[object], T], otherwise: T) -> T:
        value = facts.get(name)
        if value is None:
            self._missing[name] += 1
            return otherwise
        try:
            return read(value)
        except (DomainError, ValueError, InvalidOperation) as error:
            raise self._wrong(ticker, f"{name} cannot be {value!r}: {error}") from error

    def _wrong(self, ticker: str, what: str) -> TapeError:
        return TapeError(f"{self._recording.places[ticker]}: {ticker}: {what}")

    def _text(self, ticker: str, name: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self._wrong(ticker, f"{name} must be a text, not {value!r}")
        return value

    def _agreed(self, name: str, event: str, values: Iterable[tuple[str, T]]) -> T:
        (_, first), *others = values
        for ticker, value in others:
            if value != first:
                raise self._wrong(ticker, f"{name} is {value} but {first} in another market of the event {event}")
        return first

    # Terms

    def _event(self, name: str, rows: list[tuple[str, Facts]], series: dict[str, SeriesTerms]) -> EventTerms:
        def agreed(fact: str, read: Callable[[object], T], otherwise: T) -> T:
            return self._agreed(fact, name, [(t, self._fact(t, facts, fact, read, otherwise)) for t, facts in rows])

        series_ticker = agreed("series_ticker", _read_text, _OWN_SERIES)
        exclusive = agreed("mutually_exclusive", _read_flag, False)
        fees = FeeSchedule(
            agreed("fee_type", _read_fee_type, FeeType.QUADRATIC),
            agreed("fee_multiplier", _read_multiplier, 10**MULTIPLIER_DECIMALS),
        )
        shard = agreed("exchange_index", _read_shard, 0)
        home = series.setdefault(
            series_ticker, SeriesTerms(series_ticker, series_ticker, "Recorded", "custom", fees, shard)
        )
        if home.shard != shard:
            raise self._wrong(rows[0][0], f"exchange_index is {shard} but {home.shard} elsewhere in {series_ticker}")
        markets = tuple(self._market(ticker, name, facts) for ticker, facts in rows)
        override = None if fees == home.fees else fees
        return EventTerms(
            name, series_ticker, name, "", mutually_exclusive=exclusive, markets=markets, fees_override=override
        )

    def _market(self, ticker: str, event: str, facts: Facts) -> MarketTerms:
        kind = self._fact(ticker, facts, "strike_type", _read_strike_type, StrikeType.OTHER)
        lacking = [name for name in _NEEDED[kind] if facts.get(name) is None]
        self._missing.update(lacking)
        if lacking:
            kind = StrikeType.OTHER
        strikes = {name: self._strike(ticker, facts, name) for name in ("floor_strike", "cap_strike")}
        return MarketTerms(
            ticker=ticker,
            event_ticker=event,
            title=self._fact(ticker, facts, "title", _read_text, ticker),
            sub_title=self._fact(ticker, facts, "yes_sub_title", _read_text, ticker),
            strike_type=kind,
            floor=strikes["floor_strike"],
            cap=strikes["cap_strike"],
            custom_strike=_read_custom(facts.get("custom_strike")),
            grid_name=self._fact(ticker, facts, "price_ranges", _read_grid, GridName.LINEAR_CENT),
            open_ms=self._fact(ticker, facts, "open_time", lambda text: time_ms(text, "it"), self._began_ms),
            close_ms=self._fact(
                ticker, facts, "close_time", lambda text: time_ms(text, "it"), self._ended_ms + _WEEK_MS
            ),
            settlement_timer_s=0,
            rules=self._fact(ticker, facts, "rules_primary", _read_text, ""),
        )

    def _strike(self, ticker: str, facts: Facts, name: str) -> Decimal | None:
        value = facts.get(name)
        if value is None:
            return None
        try:
            return _read_strike(value)
        except (ValueError, InvalidOperation) as error:
            raise self._wrong(ticker, f"{name} cannot be {value!r}") from error

    def _check_grids(self, events: Iterable[EventTerms]) -> None:
        grids = {terms.ticker: terms.grid for event in events for terms in event.markets}
        seen: set[tuple[str, int]] = set()
        for one in self._recording.passes:
            for row in one.rows:
                grid = grids[row.ticker]
                for _, price in row.levels:
                    # Every grid holds the whole cents.
                    if price % 100 and (row.ticker, price) not in seen:
                        if not grid.is_valid(price):
                            raise self._wrong(
                                row.ticker,
                                f"the price {price_to_wire(price)} is off its grid: the tape or its {DESCRIPTION} "
                                "must give its price_ranges",
                            )
                        seen.add((row.ticker, price))


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a text")  # noqa: TRY004 - a file's content, not a programming error
    return value


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")  # noqa: TRY004 - a file's content, not a programming error
    return value


def _read_shard(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("it must be a whole number from 0")
    return value


def _read_fee_type(value: object) -> FeeType:
    return FeeType(value)


def _read_multiplier(value: object) -> int:
    return scale_decimal(value, MULTIPLIER_DECIMALS)


def _read_strike_type(value: object) -> StrikeType:
    return _STRUCTURED.get(_read_text(value), StrikeType.OTHER)


def _read_strike(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("it must be a number")  # noqa: TRY004 - a file's content, not a programming error
    strike = Decimal(str(value))
    if not strike.is_finite():
        raise ValueError("it must be finite")
    return strike


def _read_custom(value: object) -> Mapping[str, str] | None:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else None


def _read_grid(value: object) -> GridName:
    if not isinstance(value, list) or not all(isinstance(band, dict) for band in value):
        raise ValueError("it must be a list of ranges")
    grid = grid_from_wire(value)
    for name, known in GRIDS.items():
        if known == grid:
            return name
    raise ValueError(f"the embedded exchange lists {', '.join(name.value for name in GRIDS)} only")
