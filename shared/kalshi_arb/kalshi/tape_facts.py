"""What is known of the markets on a tape: the facts of each, and the event it belongs to.

Beside a tape may lie a description, a JSON file ``<tape file>.markets.json`` or ``markets.json`` in the tape's folder
(the first that is there), with facts under the names of :data:`kalshi_arb.kalshi.tape.FACTS`::

    {"version": 1,
     "markets": {"KXA-1-T93": {"event_ticker": "KXA-1", "strike_type": "less", "cap_strike": 93}},
     "events":  {"KXA-1": {"series_ticker": "KXA", "mutually_exclusive": false, "close_time": "2026-07-21T05:59:00Z"}},
     "series":  {"KXA": {"fee_type": "quadratic", "fee_multiplier": 1, "exchange_index": 0}}}

A row's own fact comes first, then its market's, its event's (where row or market name one), its series'. Where nobody
names the event, series and closing time make it, named by what its tickers share up to their last dash; a market
without both is an event of its own.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kalshi_arb.domain.listing import EventListing
from kalshi_arb.kalshi.recorded import Recording as Payloads
from kalshi_arb.kalshi.tape import FACTS, Facts, Recording, TapeError, find_tapes, read_recording

DESCRIPTION = "markets.json"
VERSION = 1
_PARTS = ("markets", "events", "series")
_OF_EVENTS = ("series_ticker", "mutually_exclusive")
_OF_SERIES = ("fee_type", "fee_multiplier")


@dataclass(frozen=True, slots=True)
class Described:
    """A recording with what is known of its markets, by ticker: ``facts`` as the tape or its description gives them,
    and the ticker of the event in ``events``."""

    recording: Recording
    facts: Mapping[str, Facts]
    events: Mapping[str, str]

    def listings(self, tickers: Iterable[str]) -> list[EventListing]:
        """The events of these markets as the exchange would list them, with nothing but these markets in them.

        :raises TapeError: facts that make no market, or that differ between the markets of one event
        """
        rows: dict[str, list[Facts]] = {}
        for ticker in tickers:
            rows.setdefault(self.events[ticker], []).append({**self.facts[ticker], "ticker": ticker})
        payloads = Payloads()
        for event, markets in rows.items():
            own = {name: self._agreed(event, name, markets) for name in (*_OF_EVENTS, *_OF_SERIES)}
            payloads.add(json.dumps(_listed(event, own, markets)).encode(), f"event {event}")
        found, unread = payloads.listings()
        if unread:
            raise TapeError(f"{self.recording.places[unread[0].markets[0]]}: {unread[0].words}")
        return found

    def _agreed(self, event: str, name: str, markets: Iterable[Facts]) -> object:
        given = {str(one[name]): one[name] for one in markets if one.get(name) is not None}
        if len(given) > 1:
            raise TapeError(f"{name} differs between the markets of the event {event}: {', '.join(sorted(given))}")
        return next(iter(given.values()), None)


def _listed(event: str, own: Mapping[str, object], markets: list[Facts]) -> list[dict[str, object]]:
    listed: dict[str, object] = {"event_ticker": event, "markets": [{**one, "event_ticker": event} for one in markets]}
    listed |= {name: own[name] for name in _OF_EVENTS if own[name] is not None}
    series = own["series_ticker"]
    if series is None or own["fee_type"] is None:
        return [listed]
    multiplier = 1 if own["fee_multiplier"] is None else own["fee_multiplier"]
    return [{"ticker": series, "fee_type": own["fee_type"], "fee_multiplier": multiplier}, listed]


def read_described(names: Iterable[str]) -> Described:
    """Find and read tapes and their descriptions.

    :raises TapeError: something cannot be used; the message names file and line.
    """
    recording = read_recording(find_tapes(names))
    return described(recording, [_read_description(path) for path in _descriptions(recording.files)])


def described(recording: Recording, descriptions: Iterable["Description"] = ()) -> Described:
    """A recording with what these descriptions say of it. :raises TapeError: an event's name is no text."""
    read = tuple(descriptions)
    facts = {ticker: _known(ticker, own, read) for ticker, own in recording.facts.items()}
    names: dict[tuple[object, ...], str] = {}
    events = {ticker: _event_of(ticker, own, names, recording) for ticker, own in facts.items()}
    return Described(recording, facts, events)


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


def _known(ticker: str, own: Facts, descriptions: Iterable[Description]) -> Facts:
    facts = dict(own)
    for part, key in (("markets", None), ("events", "event_ticker"), ("series", "series_ticker")):
        name = ticker if key is None else facts.get(key)
        for description in descriptions:
            told: Facts = getattr(description, part).get(name, {})
            facts = {**{fact: value for fact, value in told.items() if value is not None}, **facts}
    return facts


def _event_of(ticker: str, facts: Facts, names: dict[tuple[object, ...], str], recording: Recording) -> str:
    name = facts.get("event_ticker")
    if name is not None:
        if not isinstance(name, str) or not name:
            raise TapeError(f"{recording.places[ticker]}: {ticker}: event_ticker must be a text, not {name!r}")
        return name
    key = (facts.get("series_ticker"), facts.get("close_time"), ticker.rpartition("-")[0])
    if key[0] is None or key[1] is None or not key[2]:
        return ticker
    known = names.get(key)
    if known is None:
        # One name for two closing times would put different contracts into one event.
        number = sum(taken[2] == key[2] for taken in names) + 1
        known = names[key] = str(key[2]) if number == 1 else f"{key[2]}-{number}"
    return known
