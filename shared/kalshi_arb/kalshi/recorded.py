"""Recorded payloads as listings: what was once answered by ``/events`` or ``/markets``, in whatever it was wrapped.

Read are JSON and JSON lines, packed with gzip or not: replies, lists, events with their markets inside, objects keyed
by ticker, and records around any of these. A market without its event object has an event all the same, by its
``event_ticker``. What a recording lacks is named in the listing's ``absent`` and nothing is read into it; only what an
order would need gets a stand-in, so that the relations can be built: the cent grid, the standard taker fee, shard 0.
A market without a status is taken for active, one without a closing time for open for ever.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from kalshi_arb.domain.errors import DomainError
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.kalshi.errors import WireFormatError
from kalshi_arb.kalshi.fee_reads import FeeReads
from kalshi_arb.kalshi.mapping import to_listing
from kalshi_arb.kalshi.models.market import EventWire, MarketWire, SeriesWire
from kalshi_arb.kalshi.wire import convert, parse_json

Json = dict[str, Any]

_GZIP = b"\x1f\x8b"
_CENT_GRID = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
_STAND_INS: Mapping[str, object] = {
    "status": "active",
    "close_time": "9999-12-31T00:00:00Z",
    "price_ranges": _CENT_GRID,
    "rules_primary": "",
    "exchange_index": 0,
}
_SERIES_FEES = ("fee_type", "fee_multiplier")
# What a market may take over from the record that it stands in.
_INHERITED = ("event_ticker", "series_ticker", "close_time")
_OF_A_MARKET = frozenset(
    {"strike_type", "status", "market_type", "custom_strike", "rules_primary", "mve_selected_legs"}
)


class RecordingError(DomainError):
    """A file that holds no listing; one line that names it and the cause."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Markets that no listing could be made of."""

    markets: tuple[str, ...]
    reason: str
    words: str


@dataclass(slots=True)
class Recording:
    """What files hold. Of an event, a market or a series that is recorded twice the later record counts."""

    _events: dict[str, Json] = field(default_factory=dict)
    _markets: dict[str, Json] = field(default_factory=dict)
    _tickers: dict[str, set[str]] = field(default_factory=dict)
    _series: dict[str, Json] = field(default_factory=dict)
    _homeless: dict[str, None] = field(default_factory=dict)
    _taken: int = 0

    def add(self, content: bytes, file: str) -> None:
        """Take in a file.

        :param file: its name, for messages
        :raises RecordingError: it cannot be unpacked, is not JSON, or holds no event, market or series.
        """
        before = self._taken
        for document in _documents(content, file):
            if not isinstance(document, (dict, list)):
                raise RecordingError(f"{file}: holds {str(document)[:40]!r}, no event and no market")
            self._walk(document, {})
        if self._taken == before:
            raise RecordingError(f"{file}: holds no event and no market as /events or /markets answer them")

    def listings(self) -> tuple[list[EventListing], list[Unread]]:
        """Every event that can be mapped, by ticker, and what cannot."""
        of_event: dict[str, dict[str, Json]] = {}
        for ticker, market in self._markets.items():
            of_event.setdefault(str(market["event_ticker"]), {})[ticker] = market
        found: list[EventListing] = []
        unread: list[Unread] = []
        for event_ticker in sorted(of_event):
            markets = list(of_event[event_ticker].values())
            event = self._events.get(event_ticker, {})
            try:
                found.append(self._listing(event_ticker, event, markets))
            except WireFormatError as error:
                tickers = tuple(str(market["ticker"]) for market in markets)
                unread.append(Unread(tickers, "unreadable", str(error)))
        if self._homeless:
            words = "the recording does not say which event they belong to, and a ticker is not read"
            unread.append(Unread(tuple(sorted(self._homeless)), "event_not_recorded", words))
        return found, unread

    def _walk(self, node: Any, around: Json) -> None:
        if isinstance(node, list):
            for one in node:
                self._walk(one, around)
            return
        if not isinstance(node, dict):
            return
        own = _context(node, around)
        if isinstance(node.get("ticker"), str):
            if "fee_type" in node and "event_ticker" not in node:
                self._series[node["ticker"]] = node
                self._taken += 1
                return
            if _OF_A_MARKET & node.keys() or ("event_ticker" in around and "event_ticker" not in node):
                self._take_market(node, own)
                return
            if "event_ticker" not in own:
                self._leave_out(node["ticker"])
                return
        elif isinstance(node.get("event_ticker"), str):
            self._take_event(node, own)
        for value in node.values():
            if isinstance(value, (dict, list)):
                self._walk(value, own)

    def _take_event(self, node: Json, own: Json) -> None:
        known = {name: value for name, value in node.items() if name in EventWire.model_fields and name != "markets"}
        if "series_ticker" in own:
            known.setdefault("series_ticker", own["series_ticker"])
        self._taken += 1
        ticker = node["event_ticker"]
        nested = node.get("markets")
        if isinstance(nested, list) and nested:
            # A listing of an event is whole: what an older one had besides is gone.
            for name in self._tickers.pop(ticker, set()):
                if self._markets.get(name, {}).get("event_ticker") == ticker:
                    del self._markets[name]
        self._events[ticker] = {**self._events.get(ticker, {}), **known}

    def _take_market(self, node: Json, own: Json) -> None:
        ticker = node["ticker"]
        if "event_ticker" not in own:
            self._leave_out(ticker)
            return
        self._taken += 1
        self._homeless.pop(ticker, None)
        known = {name: value for name, value in node.items() if name in MarketWire.model_fields}
        if "close_time" in own:
            known.setdefault("close_time", own["close_time"])
        event_ticker = own["event_ticker"]
        known["event_ticker"] = event_ticker
        self._markets[ticker] = known
        self._tickers.setdefault(event_ticker, set()).add(ticker)
        if "series_ticker" in own:
            self._events.setdefault(event_ticker, {"event_ticker": event_ticker}).setdefault(
                "series_ticker", own["series_ticker"]
            )

    def _leave_out(self, ticker: str) -> None:
        self._taken += 1
        if ticker not in self._markets:
            self._homeless[ticker] = None

    def _listing(self, event_ticker: str, event: Json, markets: list[Json]) -> EventListing:
        series_ticker = event.get("series_ticker")
        series = self._series.get(series_ticker) if isinstance(series_ticker, str) else None
        absent = {name for name in _STAND_INS if all(name not in market for market in markets)}
        if series is None:
            absent.update(_SERIES_FEES)
        if series_ticker is None:
            absent.add("series_ticker")
        filled = [{**_STAND_INS, **market} for market in markets]
        wire = convert(
            {"event_ticker": event_ticker, "series_ticker": "", **event, "markets": filled}, EventWire,
            f"event {event_ticker}",
        )  # fmt: skip
        owner = (
            SeriesWire(ticker=wire.series_ticker, fee_type="quadratic", fee_multiplier=Decimal(1))
            if series is None
            else convert(series, SeriesWire, f"series {series_ticker}")
        )
        listing = to_listing(wire, FeeReads((), (), 0).of(wire, owner))
        without_rules = {str(market["ticker"]) for market in markets if "rules_primary" not in market}
        return replace(
            listing,
            absent=listing.absent | absent,
            markets=tuple(
                replace(one, rules=None) if one.market.ticker in without_rules else one for one in listing.markets
            ),
        )


def _context(node: Json, around: Json) -> Json:
    own = {**around, **{name: node[name] for name in _INHERITED if isinstance(node.get(name), str)}}
    series = node.get("series")
    if isinstance(series, str):
        own.setdefault("series_ticker", series)
    return own


def _documents(content: bytes, file: str) -> Iterator[Any]:
    content = _unpacked(content, file)
    try:
        yield parse_json(content, file)
    except WireFormatError as whole:
        lines = [line for line in content.splitlines() if line.strip()]
        if len(lines) < 2:
            raise RecordingError(str(whole)) from whole
        try:
            first = parse_json(lines[0], file)
        except WireFormatError:
            raise RecordingError(str(whole)) from whole
        yield first
        yield from _lines(lines[1:], file)


def _lines(lines: Iterable[bytes], file: str) -> Iterator[Any]:
    for number, line in enumerate(lines, start=2):
        try:
            yield parse_json(line, f"{file}, line {number}")
        except WireFormatError as error:
            raise RecordingError(str(error)) from error


def _unpacked(content: bytes, file: str) -> bytes:
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(f"{file}: cannot be unpacked: {error}") from error
