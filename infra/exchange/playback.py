"""Plays a tape on the exchange: recorded time becomes wall time, recorded books become orders that rest.

The first pass is served at once, and recorded time stands still for ``LEAD_MS``, so that whoever comes with the start
sees it before its first markets close. After that a moment ``t`` of the tape is ``(t - first pass) / speed`` later.
Every market is listed from the start; its book is empty until its first pass.

- A pass speaks for the events it has rows of. Within such an event a market without a row has an empty book, since
  nothing vouches for it; an event without any row keeps its last books. Past the last pass all books stay.
- One event's books change together and go out as snapshots, so no reader can price a bundle from two passes.
- What was taken from a level stays taken for as long as the recording shows that level with the same size. When the
  size in the recording changes, the level is served anew as recorded.
- A market closes at its recorded time, mapped like any other, but not sooner than ``LEAD_MS`` after the last row of
  its event: what was recorded was open then, whatever its closing time says, and at high speeds nobody could see it.
- Settlement is not on the tape: markets close without a result, and positions stay.

A pass is set a few events a step, those that close first at first, so that orders and reads are answered in between.
A pass that comes while the one before is still being set waits for it.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from infra.exchange import wire
from infra.exchange.core import ExchangeCore
from infra.exchange.quotes import CROWD
from infra.exchange.tape_terms import SERVED, Tape
from infra.exchange.terms import EventTerms, NewOrder, TimeInForce
from kalshi_arb.detection.survey import Top, survey
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import CASH_PER_DOLLAR, Cash, Count
from kalshi_arb.domain.state_space import Group
from kalshi_arb.kalshi.fee_reads import FeeReads
from kalshi_arb.kalshi.mapping import to_listing
from kalshi_arb.kalshi.models.market import EventWire, SeriesWire
from kalshi_arb.kalshi.tape import BookLevel, TapePass
from kalshi_arb.kalshi.wire import read
from kalshi_arb.relations.catalogue import build_groups

LEAD_MS = 3_000
CHANGES_PER_STEP = 300
_CROWD_CASH = Cash(10**15 * CASH_PER_DOLLAR)  # more than any recorded book can need
_NOTHING: Mapping[BookLevel, Count] = {}


class Served(msgspec.Struct, frozen=True):
    """An event's books of one pass: ``at`` as recorded, ``ms`` the exchange's time from which they are served."""

    event: str
    at: str
    ms: int


@dataclass(slots=True)
class _Shown:
    """One market: its levels as last recorded, and the crowd's order that stands for each."""

    recorded: Mapping[BookLevel, Count] = field(default_factory=dict)
    orders: dict[BookLevel, str] = field(default_factory=dict)


_Books = dict[str, Mapping[BookLevel, Count]]


@dataclass(frozen=True, slots=True)
class _Due:
    """One event's books of one pass, ready to be set."""

    at: str
    event: str
    books: _Books
    is_last: bool


class Playback:
    """The world of a tape, in place of a generated universe.

    :param core: an exchange on which nothing is listed yet
    :param speed: seconds of the tape that pass in one second

    ``passes_seen`` are the passes that were set whole.
    """

    def __init__(self, core: ExchangeCore, tape: Tape, speed: float) -> None:
        self._core = core
        self._tape = tape
        self._speed = speed
        self._first_ms = tape.recording.passes[0].ms
        self._began_ms: int | None = None
        self._shown: dict[str, _Shown] = {ticker: _Shown() for ticker in tape.recording.facts}
        self._homes = {terms.ticker: event.ticker for event in tape.events for terms in event.markets}
        self._groups: dict[str, list[Group]] = {}
        self._next_pass = 0
        self._due: deque[_Due] = deque()
        self._served: list[Served] = []
        self.passes_seen = 0
        self._raw: Counter[str] = Counter()
        self._net: Counter[str] = Counter()
        self._rows_after_close = 0

    @property
    def tape(self) -> Tape:
        """What is being played."""
        return self._tape

    def start(self) -> None:
        """List everything and serve the first pass from the next step on. Starting twice does nothing."""
        if self._began_ms is not None:
            return
        core, tape = self._core, self._tape
        self._began_ms = core.now_ms
        shards = {series.shard for series in tape.series}
        core.open_account(CROWD, dict.fromkeys(shards, _CROWD_CASH), Precision.DIRECT, is_crowd=True)
        for series in tape.series:
            core.add_series(series)
        last_rows = self._last_rows()
        for event in tape.events:
            core.list_event(self._mapped(event, last_rows[event.ticker]))
            self._groups[event.ticker] = listed_groups(core, event.ticker)

    def step(self, now_ms: int) -> None:
        """Bring exchange and tape to ``now_ms`` (UTC milliseconds)."""
        self._core.advance(now_ms)
        if self._began_ms is None:
            return
        passes = self._tape.recording.passes
        while self._next_pass < len(passes) and self._pass_ms(passes[self._next_pass]) <= now_ms:
            self._due.extend(self._events_of(passes[self._next_pass]))
            self._next_pass += 1
        room = CHANGES_PER_STEP
        while self._due and room > 0:
            room -= self._set(self._due.popleft())

    def at(self, recorded_ms: int) -> int:
        """Wall time of a recorded time, both UTC milliseconds. :raises ValueError: the tape has not started."""
        if self._began_ms is None:
            raise ValueError("the tape has not started")
        return self._began_ms + LEAD_MS + round((recorded_ms - self._first_ms) / self._speed)

    def stats(self) -> dict[str, object]:
        """How far the tape is and what the books said, for the admin reads."""
        recording = self._tape.recording
        return {
            "files": [str(path) for path in recording.files],
            "passes": self.passes_seen,
            "passes_recorded": len(recording.passes),
            "rows": recording.rows,
            "rows_after_close": self._rows_after_close,
            "events": len(self._tape.events),
            "missing_fields": {
                name: {"markets": count, "served": SERVED[name]} for name, count in self._tape.missing_fields.items()
            },
            "unknown_fields": dict(recording.unknown_fields),
            "raw": _counts(self._raw),
            "net": _counts(self._net),
            "served": msgspec.to_builtins(self._served),
        }

    # Listing

    def _last_rows(self) -> dict[str, int]:
        last: dict[str, int] = {}
        for one in self._tape.recording.passes:
            for row in one.rows:
                last[self._homes[row.ticker]] = one.ms
        return last

    def _mapped(self, event: EventTerms, last_row_ms: int) -> EventTerms:
        def closes(recorded_ms: int) -> int:
            return max(self.at(recorded_ms), self.at(last_row_ms) + LEAD_MS)

        markets = tuple(
            replace(terms, open_ms=self._core.now_ms, close_ms=closes(terms.close_ms)) for terms in event.markets
        )
        return replace(event, markets=markets)

    # Passes

    def _pass_ms(self, one: TapePass) -> int:
        # The first pass is there before recorded time begins to run.
        return 0 if one.ms == self._first_ms else self.at(one.ms)

    def _events_of(self, one: TapePass) -> list[_Due]:
        by_event: dict[str, _Books] = {}
        for row in one.rows:
            by_event.setdefault(self._homes[row.ticker], {})[row.ticker] = row.levels
        last = len(by_event) - 1
        in_order = sorted(by_event.items(), key=lambda item: self._core.events[item[0]].markets[0].close_ms)
        return [_Due(one.at, event, books, place == last) for place, (event, books) in enumerate(in_order)]

    def _set(self, due: _Due) -> int:
        """Set one event's books; returns how many changes that took, markets that stand as they were counted as one."""
        core = self._core
        tickers = [terms.ticker for terms in core.events[due.event].markets]
        trading = [ticker for ticker in tickers if core.markets[ticker].status is MarketStatus.ACTIVE]
        self._rows_after_close += sum(ticker not in trading for ticker in due.books)
        changes = 0
        with core.replacing(trading):
            for ticker in trading:
                changes += 1 + self._show(ticker, due.books.get(ticker, _NOTHING))
        if trading:
            self._served.append(Served(due.event, due.at, core.now_ms))
            self._count(due.event)
        self.passes_seen += due.is_last
        return max(1, changes)

    def _show(self, ticker: str, recorded: Mapping[BookLevel, Count]) -> int:
        """Make the crowd's orders what the recording shows, but for what was taken from levels that stand unchanged;
        returns how many levels changed."""
        core, shown = self._core, self._shown[ticker]
        changed = [
            level
            for level in shown.recorded.keys() | recorded.keys()
            if shown.recorded.get(level) != recorded.get(level)
        ]
        # What goes must go first: a new level may cross an old one of the other side.
        for level in changed:
            order_id = shown.orders.pop(level, None)
            if order_id is not None and core.is_resting(order_id):
                core.cancel(CROWD, order_id)
        for level in sorted(changed, key=_by_side_and_price):
            count = recorded.get(level)
            if count is not None:
                outcome, price = level
                order = NewOrder(ticker, outcome, price, count, TimeInForce.GOOD_TILL_CANCELED)
                shown.orders[level] = core.place(CROWD, order).order_id
        shown.recorded = recorded
        return len(changed)

    def _count(self, event: str) -> None:
        """Count the event once for each kind of contradiction that any of its groups shows."""
        surveys = [
            survey(group, {ticker: self._top(ticker) for ticker in group.tickers}) for group in self._groups[event]
        ]
        for kind in _KINDS:
            self._raw[kind] += any(getattr(one.raw, kind) for one in surveys)
            self._net[kind] += any(getattr(one.net, kind) for one in surveys)

    def _top(self, ticker: str) -> Top:
        book = self._core.markets[ticker].book
        yes, no = book.yes.best, book.no.best
        return Top(None if yes is None else yes.price, None if no is None else no.price)


def listed_groups(core: ExchangeCore, event_ticker: str) -> list[Group]:
    """The groups of an event as anybody reads them from what the exchange serves."""
    event = core.events[event_ticker]
    listed = msgspec.json.encode(wire.event_json(core, event, nested=True))
    series = msgspec.json.encode(wire.series_json(core.series[event.series_ticker], core.started_ms))
    owner, shown = read(series, SeriesWire, "series"), read(listed, EventWire, "event")
    listing = to_listing(shown, FeeReads((), (), 0).of(shown, owner))
    return list(build_groups([listing]).groups)


_KINDS = ("bids_over_1", "asks_under_1", "nested_crossed")


def _counts(counter: Mapping[str, int]) -> dict[str, int]:
    return {kind: counter.get(kind, 0) for kind in _KINDS}


def _by_side_and_price(level: BookLevel) -> tuple[str, int]:
    # In a fixed order, so that the same tape gives the same order ids.
    return level[0].value, level[1]
