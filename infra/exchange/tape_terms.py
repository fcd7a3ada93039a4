"""What the exchange lists for a recording: series, events and markets, from what the tape or its description says.

Where a fact comes from, :mod:`kalshi_arb.kalshi.tape_facts` says. What nobody says is listed with what is served
instead (``SERVED``); no relation between markets ever comes out of that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from infra.exchange.terms import GRIDS, EventTerms, GridName, MarketTerms, SeriesTerms
from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.fees import MULTIPLIER_DECIMALS, FeeSchedule, FeeType
from kalshi_arb.domain.grid import grid_from_wire
from kalshi_arb.domain.market import StrikeType
from kalshi_arb.domain.money import price_to_wire, scale_decimal
from kalshi_arb.kalshi.tape import Facts, Recording, TapeError, time_ms
from kalshi_arb.kalshi.tape_facts import DESCRIPTION, Described, described, read_described

T = TypeVar("T")

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
    return _Lister(read_described(names)).tape()


def list_markets(recording: Recording) -> Tape:
    """The listing of a recording that nothing else describes.

    :raises TapeError: facts that cannot be read or contradict each other.
    """
    return _Lister(described(recording)).tape()


class _Lister:
    def __init__(self, told: Described) -> None:
        self._recording = told.recording
        self._told = told
        self._missing: Counter[str] = Counter()
        self._began_ms = told.recording.passes[0].ms
        self._ended_ms = told.recording.passes[-1].ms

    def tape(self) -> Tape:
        members: dict[str, list[tuple[str, Facts]]] = {}
        for ticker, facts in self._told.facts.items():
            members.setdefault(self._told.events[ticker], []).append((ticker, facts))
        series: dict[str, SeriesTerms] = {}
        events = tuple(self._event(name, rows, series) for name, rows in members.items())
        unnamed = sum(facts.get("event_ticker") is None for facts in self._told.facts.values())
        if unnamed:
            self._missing["event_ticker"] = unnamed
        self._missing["result"] = len(self._recording.facts)
        self._check_grids(events)
        return Tape(self._recording, tuple(series.values()), events, dict(sorted(self._missing.items())))

    # Facts

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
