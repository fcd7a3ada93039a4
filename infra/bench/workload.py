"""What every contender gets: one seeded sequence of raw frames, the groups they belong to, and the books they must end
with.

The shape is that of recordings of the exchange: frames of about 230 bytes, nine of ten changes within three ticks of
the best price, 1.65 changes in an exchange millisecond. One ladder is mispriced, so that the screen has something to
find, and changes seldom: about one frame in five hundred of five hundred books.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.grid import CENT_GRID
from kalshi_arb.domain.market import Market, StrikeType
from kalshi_arb.domain.money import ONE_CONTRACT, ONE_DOLLAR, Count, Price, count_to_wire, price_to_wire
from kalshi_arb.domain.state_space import Basis, Family, Group, State

SID = 2
START_MS = 1_795_000_000_000
LADDER = 10
LEVELS = 20
TICK = 100
NEAR_TICKS = 3
_NEAR = 0.9
_SAME_MS = 1 - 1 / 1.65
_MISPRICED = 3
_RARELY = 0.1

Levels = dict[int, int]
Books = dict[str, tuple[Levels, Levels]]
"""YES bids and NO bids by ticker: price (1e-4 dollars) to size (1e-2 contracts)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """``snapshots`` open the books, ``deltas`` are what is timed, ``final`` is where both lead."""

    tickers: tuple[str, ...]
    groups: tuple[Group, ...]
    snapshots: tuple[bytes, ...]
    deltas: tuple[bytes, ...]
    final: Books


def make(markets: int, deltas: int, seed: int) -> Workload:
    """The same frames for the same numbers."""
    random = Random(seed)  # noqa: S311 - a reproducible load, not cryptography
    groups = tuple(_ladder(number) for number in range(markets // LADDER))
    tickers = tuple(market.ticker for group in groups for market in group.markets)
    books: Books = {}
    for number, group in enumerate(groups):
        for place, market in enumerate(group.markets):
            fair = _fair(place)
            if number == _MISPRICED and place == LADDER // 2:
                fair = _fair(1)
            books[market.ticker] = (
                _side(fair - random.randrange(1, 3) * TICK, random),
                _side(ONE_DOLLAR - fair - random.randrange(1, 3) * TICK, random),
            )
    seq = iter(range(1, markets + deltas + 1))
    snapshots = tuple(_snapshot(next(seq), ticker, *sides) for ticker, sides in books.items())
    changes = tuple(_delta(next(seq), *change) for change in _changes(books, deltas, random))
    return Workload(tickers, groups, snapshots, changes, books)


def _fair(place: int) -> int:
    return ONE_DOLLAR - (place + 1) * ONE_DOLLAR // (LADDER + 1) // TICK * TICK


def _ladder(number: int) -> Group:
    event = f"KXBENCH-26NOV22H{number:02d}"
    markets = [
        Market(
            f"{event}-T{50_000 + 100 * place}", event, "KXBENCH", StrikeType.GREATER, Decimal(50_000 + 100 * place),
            None, "", f"above {50_000 + 100 * place}", CENT_GRID, FeeSchedule(FeeType.QUADRATIC), 0,
            START_MS + 3_600_000, "rules",
        )
        for place in range(LADDER)
    ]  # fmt: skip
    # The value lies above the first strikes and below the others.
    states = tuple(
        State(f"above {above}", tuple(Price(ONE_DOLLAR * (place < above)) for place in range(LADDER)), Basis.CERTAIN)
        for above in range(LADDER + 1)
    )
    return Group(f"{event}:ladder", Family.LADDER, event, tuple(markets), states, (), "bench")


def _size(random: Random) -> int:
    return random.randrange(1, 500) * ONE_CONTRACT


def _side(best: int, random: Random) -> Levels:
    return {price: _size(random) for price in range(best, max(0, best - LEVELS * TICK), -TICK)}


def _changes(books: Books, count: int, random: Random) -> Iterator[tuple[str, str, int, int, int]]:
    """Changes, carried out on ``books`` as they are made: ticker, side, price, change, exchange time."""
    tickers = list(books)
    rare = set(tickers[_MISPRICED * LADDER : (_MISPRICED + 1) * LADDER])
    tops = {ticker: tuple(max(side) for side in sides) for ticker, sides in books.items()}
    now_ms = START_MS
    for _ in range(count):
        if random.random() > _SAME_MS:
            now_ms += random.randrange(1, 4)
        ticker, place = random.choice(tickers), random.randrange(2)
        if ticker in rare and random.random() > _RARELY:
            ticker = random.choice(tickers)
        top = tops[ticker][place]
        depth = random.randrange(NEAR_TICKS) if random.random() < _NEAR else random.randrange(LEVELS)
        price = max(TICK, top - depth * TICK)
        resting = books[ticker][place].get(price, 0)
        kind = random.random()
        if not resting or kind < 0.4:
            change = _size(random)
        else:
            change = -resting if kind < 0.6 else -random.randrange(1, resting + 1)
        levels = books[ticker][place]
        size = levels.pop(price, 0) + change
        if size:
            levels[price] = size
        yield ticker, ("yes", "no")[place], price, change, now_ms


def _id(ticker: str) -> str:
    return f"{Random(ticker).getrandbits(128):032x}"  # noqa: S311 - a name, not cryptography


def _snapshot(seq: int, ticker: str, yes: Levels, no: Levels) -> bytes:
    message: dict[str, object] = {"market_ticker": ticker, "market_id": _id(ticker)}
    for key, levels in (("yes_dollars_fp", yes), ("no_dollars_fp", no)):
        message[key] = [[price_to_wire(Price(p)), count_to_wire(Count(c))] for p, c in levels.items()]
    return _frame("orderbook_snapshot", seq, message)


def _delta(seq: int, ticker: str, side: str, price: int, change: int, ts_ms: int) -> bytes:
    message = {
        "market_ticker": ticker, "market_id": _id(ticker), "price_dollars": price_to_wire(Price(price)),
        "delta_fp": count_to_wire(Count(change)), "side": side, "ts_ms": ts_ms, "ts": "2026-11-22T12:00:00.123456Z",
    }  # fmt: skip
    return _frame("orderbook_delta", seq, message)


def _frame(kind: str, seq: int, message: dict[str, object]) -> bytes:
    frame = {"type": kind, "sid": SID, "seq": seq, "msg": message}
    return json.dumps(frame, separators=(",", ":")).encode()
