"""Plants dislocations in recorded books: one event at one recorded moment, its books changed as little as it takes for
a bundle to be provable after fees, and what the same event showed at its next recorded moment.

A dislocation moves levels inside their own spread, or adds a level there, until detection proves a bundle. Nothing is
ever planted that would cross a book.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from random import Random

from infra.exchange.tape_terms import Tape
from kalshi_arb.detection.propose import propose
from kalshi_arb.detection.verify import verify
from kalshi_arb.domain.book import BookSnapshot, BookVersion, Level
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Cash, Count, Price
from kalshi_arb.domain.opportunity import Grade, Leg
from kalshi_arb.domain.state_space import Family, Group
from kalshi_arb.kalshi.tape import BookLevel, Recording, TapePass, TapeRow

SMALLEST_FILL = Count(ONE_CONTRACT)
OPEN_MS = 15 * 60_000
"""An event is used only while all its markets stay open for so long."""
_CENT = 100
_DEPTHS = (3, 40)

Levels = dict[BookLevel, Count]
Books = dict[str, Levels]


@unique
class Way(StrEnum):
    """How a level is changed."""

    MOVED = "moved"  # the best level stands at a better price
    ADDED = "added"  # a level stands before the best one


@dataclass(frozen=True, slots=True)
class Planted:
    """``changes`` in words: market, side, best bid before and after. ``legs`` is the bundle that is proved then."""

    way: Way
    changes: tuple[str, ...]
    books: Books
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class _Find:
    legs: tuple[Leg, ...]
    profit: Cash


@dataclass(frozen=True, slots=True)
class Moment:
    """An event's books at one recorded pass, and at the next one, None after its last. UTC milliseconds."""

    event: str
    at: str
    ms: int
    books: Books
    later: Books | None


def moments(tape: Tape) -> Iterator[Moment]:
    """Every event at every pass that shows a book of each of its markets, while they stay open."""
    passes = tape.recording.passes
    rows = [{row.ticker: dict(row.levels) for row in one.rows} for one in passes]
    for event in tape.events:
        tickers = [terms.ticker for terms in event.markets]
        if len(tickers) < 2:
            continue
        for number, one in enumerate(passes):
            if any(ticker not in rows[number] for ticker in tickers):
                continue
            if any(terms.close_ms < one.ms + OPEN_MS for terms in event.markets):
                continue
            following = rows[number + 1] if number + 1 < len(passes) else {}
            later = {ticker: following[ticker] for ticker in tickers if ticker in following}
            books = {ticker: rows[number][ticker] for ticker in tickers}
            yield Moment(event.ticker, one.at, one.ms, books, later if len(later) == len(tickers) else None)


def scene(tape: Tape, moment: Moment, books: Books, later: Books, after_ms: int) -> Tape:
    """A tape of one event: ``books`` at the moment, and ``later`` so many milliseconds after it."""
    event = next(event for event in tape.events if event.ticker == moment.event)
    series = tuple(series for series in tape.series if series.ticker == event.series_ticker)
    terms = tuple(replace(own, open_ms=min(own.open_ms, moment.ms)) for own in event.markets)
    own = tape.recording
    passes = (
        TapePass(moment.at, moment.ms, _rows(books)),
        TapePass(moment.at, moment.ms + after_ms, _rows(later)),
    )
    facts = {ticker: own.facts[ticker] for ticker in books}
    places = {ticker: own.places[ticker] for ticker in books}
    recording = Recording(own.files, passes, facts, places, {})
    return Tape(recording, series, (replace(event, markets=terms),), {})


def plant(group: Group, books: Mapping[str, Levels], chance: Random, now_ms: int, least_profit: Cash) -> Planted | None:
    """Change books until a bundle of the group is proved to gain ``least_profit`` (1e-6 dollars) or more; None where no
    spread is wide enough for that, or something is proved already.

    :param books: of every market of the group
    :param now_ms: UTC milliseconds
    """
    if _find(group, books, now_ms) is not None:
        return None
    way = chance.choice(tuple(Way))
    made: Books = {ticker: dict(levels) for ticker, levels in books.items()}
    changes: list[str] = []
    for ticker, outcome in _targets(group, chance):
        side, size = outcome.other, Count(chance.randint(*_DEPTHS) * ONE_CONTRACT)
        recorded = dict(made[ticker])
        best = _best(recorded, side)
        # Whole cents are on every grid, and one below the other side's best does not cross it.
        highest = ONE_DOLLAR - (_best(recorded, outcome) or 0) - _CENT
        for price in range((best or 0) // _CENT * _CENT + _CENT, highest + 1, _CENT):
            made[ticker] = _changed(recorded, side, best, Price(price), size, way)
            found = _find(group, made, now_ms)
            if found is not None and found.profit >= least_profit:
                changes.append(_words(ticker, side, best, made[ticker]))
                return Planted(way, tuple(changes), made, found.legs)
        if made[ticker] != recorded:
            changes.append(_words(ticker, side, best, made[ticker]))
    return None


def snapshots(books: Mapping[str, Levels], now_ms: int) -> dict[str, BookSnapshot]:
    """Books as they were read at a moment (UTC milliseconds)."""
    return {
        ticker: BookSnapshot(
            ticker, BookVersion(0, 0, 1), now_ms, now_ms, _side(levels, Outcome.YES), _side(levels, Outcome.NO)
        )
        for ticker, levels in books.items()
    }


def _targets(group: Group, chance: Random) -> list[tuple[str, Outcome]]:
    """What is to become cheaper, in the order in which it does: of a partition one outcome of every market, of
    anything else one outcome of one market and the other one of another."""
    tickers = list(group.tickers)
    if group.family is Family.PARTITION:
        chance.shuffle(tickers)
        outcome = chance.choice(tuple(Outcome))
        return [(ticker, outcome) for ticker in tickers]
    first = chance.randrange(len(tickers) - 1)
    pair = [(tickers[first], Outcome.YES), (tickers[first + 1], Outcome.NO)]
    if chance.random() < 0.5:
        pair = [(ticker, outcome.other) for ticker, outcome in pair]
    chance.shuffle(pair)
    return pair


def _changed(levels: Levels, side: Outcome, best: Price | None, price: Price, size: Count, way: Way) -> Levels:
    made = dict(levels)
    if way is Way.MOVED and best is not None:
        size = made.pop((side, best))
    made[side, price] = size
    return made


def _find(group: Group, books: Mapping[str, Levels], now_ms: int) -> _Find | None:
    seen = snapshots(books, now_ms)
    legs = propose(group, seen, precision=Precision.DIRECT, smallest_fill=SMALLEST_FILL)
    if not legs:
        return None
    certificate = verify(
        group, legs, seen, precision=Precision.DIRECT, smallest_fill=SMALLEST_FILL, now_ms=now_ms
    )  # fmt: skip
    return _Find(legs, certificate.floor_profit) if certificate.grade is Grade.PROVED else None


def _words(ticker: str, side: Outcome, before: Price | None, levels: Levels) -> str:
    return f"{ticker} {side.value} bid {_cents(before)} to {_cents(_best(levels, side))}"


def _best(levels: Levels, side: Outcome) -> Price | None:
    return max((price for outcome, price in levels if outcome is side), default=None)


def _side(levels: Levels, side: Outcome) -> tuple[Level, ...]:
    own = (Level(price, count) for (outcome, price), count in levels.items() if outcome is side)
    return tuple(sorted(own, reverse=True))


def _rows(books: Books) -> tuple[TapeRow, ...]:
    return tuple(TapeRow(ticker, levels) for ticker, levels in books.items())


def _cents(price: Price | None) -> str:
    return "none" if price is None else f"{price / _CENT:g}c"
