"""A seeded universe the size of the exchange, in the form in which the exchange lists it.

10,000 events with 75,000 markets by default. Which kinds of events there are, how many of each and how large they are
follows counts over every open event of one day in 2026; names, texts and numbers are invented. Brackets and thresholds
of one index settle on one value every hour, which :func:`registry` has read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count as counter
from random import Random
from typing import Any

from kalshi_arb.domain.market import StrikeType
from kalshi_arb.kalshi.models.market import SeriesWire
from kalshi_arb.kalshi.wire import convert, time_ms
from kalshi_arb.relations.registry import Entry, Instant, LineReading, Registry
from kalshi_arb.relations.wordings import wording

Json = dict[str, Any]
NOW = "2026-11-23T12:00:00Z"
NOW_MS = time_ms(NOW)
EVENTS, MARKETS = 10_000, 75_000
FEWEST = 400
"""Events of the smallest universe that still has every kind."""

_FIRST_CLOSE = datetime(2026, 11, 24, tzinfo=UTC)
_INDEX, _ABOVE = "EMBER", "EMBERABOVE"
_EVENTS_PER_SERIES = 3
_CENTS = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
_SECOND = (
    "The result is taken from the first full publication of the office named as the source; later corrections do not "
    "count. {} is in no way affiliated with the exchange, and all names are those of their owners. If the event is "
    "postponed or delayed, the market stays open and closes after it has taken place."
)
_FAIR = " A match that has not started within 48 hours resolves to a fair market price."


@dataclass(frozen=True, slots=True)
class _Kind:
    """How many events of 10,000 and markets of 75,000 are of a kind, and the largest event of it."""

    name: str
    events: int
    markets: int
    largest: int
    exclusive: bool = False


_KINDS = (
    _Kind("games", 3_100, 15_000, 156, exclusive=True),
    _Kind("thresholds", 2_410, 13_900, 75),
    _Kind("hourly thresholds", 40, 1_600, 75),
    _Kind("players", 300, 6_000, 60),
    _Kind("counts", 1_010, 7_600, 60),
    _Kind("candidates", 945, 10_900, 256, exclusive=True),
    _Kind("deadlines", 300, 1_200, 15),
    _Kind("brackets", 135, 900, 12, exclusive=True),
    _Kind("hourly brackets", 40, 2_400, 188, exclusive=True),
    _Kind("caps", 50, 220, 15),
    _Kind("combos", 25, 100, 6),
)
# Everything else: markets that no field relates.
_WORDS = _Kind("words", 0, 0, 123)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Which event is made: its number of all and of its kind, how many markets it has, and what is left to chance."""

    made: int
    number: int
    size: int
    random: Random


@dataclass(frozen=True, slots=True)
class Universe:
    """Events as ``GET /events`` nests them, and the series they belong to. A walk over it makes each event anew."""

    events: int
    markets: int
    seed: int

    def walk(self) -> Iterator[Json]:
        """Every event, combos first, as discovery reads them."""
        random = Random(self.seed)  # noqa: S311 - a reproducible load, not cryptography
        made = counter()
        for kind, sizes in self._plan(random):
            build = _BUILDERS[kind.name]
            for number, size in enumerate(sizes):
                yield build(_Turn(next(made), number, size, random))

    def _plan(self, random: Random) -> list[tuple[_Kind, list[int]]]:
        left_events, left_markets = self.events, self.markets
        plan = []
        for kind in reversed(_KINDS):
            events = max(2, kind.events * self.events // EVENTS)
            markets = max(2 * events, kind.markets * self.markets // MARKETS)
            sizes = _sizes(events, markets, kind.largest, random)
            plan.append((kind, sizes))
            left_events -= events
            left_markets -= sum(sizes)
        plan.append((_WORDS, _sizes(left_events, left_markets, _WORDS.largest, random)))
        return plan


def _sizes(events: int, markets: int, largest: int, random: Random) -> list[int]:
    """``markets`` dealt to ``events``, two at least, most of them small and a few as large as may be."""
    smallest = min(2, markets // events)
    weights = [random.expovariate(1) ** 2 for _ in range(events)]
    spare, whole = markets - smallest * events, sum(weights)
    sizes = [smallest + min(largest - smallest, int(spare * weight / whole)) for weight in weights]
    missing = markets - sum(sizes)
    for place in sorted(range(events), key=lambda place: sizes[place]):
        if missing == 0:
            break
        more = min(missing, largest - sizes[place], 1 + missing // events)
        sizes[place] += more
        missing -= more
    return sizes


def series(ticker: str) -> SeriesWire:
    """The series of an event, with the fees that most have."""
    return convert({"ticker": ticker, "fee_type": "quadratic", "fee_multiplier": 1}, SeriesWire, f"series {ticker}")


def registry() -> Registry:
    """The wordings of the two series that one index settles, as a reviewer would have entered them."""
    kinds = {"below 1": StrikeType.LESS, "between 1 and 2": StrikeType.BETWEEN, "above 1": StrikeType.GREATER}
    entries = []
    for name, words in ((_INDEX, tuple(kinds)), (_ABOVE, ("above 1",))):
        for one in words:
            reading = LineReading(
                underlying="Ember",
                source="Ember Office",
                statistic="average of sixty values",
                unit="points",
                instant=Instant.CLOSE,
                strike_types=frozenset({kinds[one]}),
            )
            text = f"{_index_text(one)}\n{_SECOND.format(name)}"
            entries.append(Entry(name, wording(text), "The text names the index and the hour.", line=reading))
    return Registry(entries)


def _index_text(words: str) -> str:
    return (
        "If the simple average of the sixty one-second values of the Ember Index before the hour at which the market "
        f"closes is {words}, then the market resolves to Yes."
    )


def _close(hours: int) -> str:
    return (_FIRST_CLOSE + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _market(event: str, number: int, text: str, close: str, **fields: Any) -> Json:
    """A market with every field that the exchange sends."""
    ticker = f"{event}-{number}"
    return {
        "ticker": ticker,
        "event_ticker": event,
        "market_type": "binary",
        "title": text[:60],
        "yes_sub_title": ticker,
        "no_sub_title": ticker,
        "created_time": "2026-11-20T09:00:00.123456Z",
        "updated_time": "2026-11-23T08:00:00.123456Z",
        "open_time": "2026-11-20T10:00:00Z",
        "close_time": close,
        "expected_expiration_time": close,
        "latest_expiration_time": "2026-12-31T17:00:00Z",
        "settlement_timer_seconds": 300,
        "status": "active",
        "notional_value_dollars": "1.0000",
        "yes_bid_dollars": "0.4200",
        "yes_ask_dollars": "0.4400",
        "no_bid_dollars": "0.5600",
        "no_ask_dollars": "0.5800",
        "yes_bid_size_fp": "13.00",
        "yes_ask_size_fp": "17.00",
        "last_price_dollars": "0.4300",
        "previous_yes_bid_dollars": "0.4100",
        "previous_yes_ask_dollars": "0.4500",
        "previous_price_dollars": "0.4200",
        "volume_fp": "1200.00",
        "volume_24h_fp": "300.00",
        "open_interest_fp": "800.00",
        "result": "",
        "can_close_early": True,
        "early_close_condition": "The market closes once the result is published.",
        "expiration_value": "",
        "rules_primary": text,
        "rules_secondary": _SECOND.format(event.partition("-")[0]),
        "price_level_structure": "linear_cent",
        "price_ranges": _CENTS,
        "settlement_bounds_type": "default",
        "exchange_index": 0,
        **fields,
    }


def _event(event: str, markets: Sequence[Json], *, exclusive: bool = False) -> Json:
    return {
        "event_ticker": event,
        "series_ticker": event.partition("-")[0],
        "title": event,
        "sub_title": "",
        "category": "World",
        "collateral_return_type": "MECNET" if exclusive else "",
        "mutually_exclusive": exclusive,
        "strike_period": "",
        "settlement_sources": [{"name": "Ember Office", "url": "https://example.org"}],
        "last_updated_ts": "2026-11-23T08:00:00Z",
        "exchange_index": 0,
        "markets": list(markets),
    }


def _ticker(prefix: str, made: int) -> str:
    """An event of a series that it shares with two others."""
    return f"{prefix}{made // _EVENTS_PER_SERIES}-{made}"


def _games(turn: _Turn) -> Json:
    event = _ticker("GAME", turn.made)
    text = (
        "If side {} wins the match between the sides of " + event + " on Nov 24, 2026, then the market resolves to Yes."
    )
    extra = {"rules_secondary": _SECOND.format("The league") + _FAIR} if turn.number % 2 else {}
    rows = [
        _market(event, one, text.format(one), _close(turn.number % 400), strike_type="structured",
                custom_strike={"side": f"{event}-{one}"}, **extra)
        for one in range(turn.size)
    ]  # fmt: skip
    return _event(event, rows, exclusive=True)


def _candidates(turn: _Turn) -> Json:
    event = _ticker("VOTE", turn.made)
    text = "If person {} is elected in " + event + " on Nov 24, 2026, then the market resolves to Yes."
    rows = [
        _market(event, one, text.format(one), _close(turn.number % 400), strike_type="custom",
                custom_strike={"person": f"{event}-{one}"})
        for one in range(turn.size)
    ]  # fmt: skip
    return _event(event, rows, exclusive=True)


def _ladder_of(prefix: str, kind: str, words: str, field: str) -> Callable[[_Turn], Json]:
    def build(turn: _Turn) -> Json:
        event = _ticker(prefix, turn.made)
        first, step = turn.random.randrange(1, 5_000), turn.random.choice([1, 5, 25, 100])
        rows = []
        for one in range(turn.size):
            strike = first + step * one
            text = f"If the figure of {event} is {words} {strike}, then the market resolves to Yes."
            rows.append(_market(event, one, text, _close(turn.number % 400), strike_type=kind, **{field: strike}))
        return _event(event, rows)

    return build


def _players(turn: _Turn) -> Json:
    event = _ticker("PTS", turn.made)
    rows = []
    for one in range(turn.size):
        player, rung = one // 4, 5 * (1 + one % 4)
        text = f"If player {player} scores {rung}+ points in the match of {event}, then the market resolves to Yes."
        rows.append(
            _market(event, one, text, _close(turn.number % 400), strike_type="greater_or_equal", floor_strike=rung,
                    custom_strike={"player": f"{event}-{player}"})
        )  # fmt: skip
    return _event(event, rows)


def _deadlines(turn: _Turn) -> Json:
    event = _ticker("DATE", turn.made)
    rows = []
    for one in range(turn.size):
        day = 1 + one
        text = f"If the bridge of {event} opens before Dec {day}, 2026, then the market resolves to Yes."
        rows.append(_market(event, one, text, f"2026-12-{day:02}T05:00:00Z", strike_type="custom",
                            custom_strike={"by": day}))  # fmt: skip
    return _event(event, rows)


def _brackets(turn: _Turn) -> Json:
    event = _ticker("HEAT", turn.made)
    text = "If the highest value of " + event + " is {}, then the market resolves to Yes."
    return _bracket_event(
        event, text, _close(turn.number % 400), turn.size, (turn.random.randrange(20, 90), 2, Decimal(1))
    )


def _hourly_brackets(turn: _Turn) -> Json:
    return _bracket_event(
        f"{_INDEX}-{turn.number}", _index_text("{}"), _close(turn.number), turn.size, (50_000, 100, Decimal("0.01"))
    )  # fmt: skip


def _bracket_event(event: str, text: str, close: str, size: int, scale: tuple[int, int, Decimal]) -> Json:
    """Two tails and what lies between them, from the first strike on, so wide, one tick apart."""
    low, width, tick = scale
    rows = []
    for one in range(size):
        start = low + width * (one - 1)
        fields: Json
        if one == 0:
            words, fields = f"below {low}", {"strike_type": "less", "cap_strike": low}
        elif one == size - 1:
            words, fields = f"above {start - tick}", {"strike_type": "greater", "floor_strike": start - tick}
        else:
            end = start + width - tick
            words = f"between {start} and {end}"
            fields = {"strike_type": "between", "floor_strike": start, "cap_strike": end}
        rows.append(_market(event, one, text.format(words), close, **fields))
    return _event(event, rows, exclusive=True)


def _hourly_thresholds(turn: _Turn) -> Json:
    event = f"{_ABOVE}-{turn.number}"
    rows = []
    for one in range(turn.size):
        strike = 50_000 + 100 * one
        rows.append(
            _market(event, one, _index_text(f"above {strike}"), _close(turn.number), strike_type="greater",
                    floor_strike=strike)
        )  # fmt: skip
    return _event(event, rows)


def _words(turn: _Turn) -> Json:
    event = _ticker("WORD", turn.made)
    text = "If word {} is said in " + event + ", then the market resolves to Yes."
    rows = []
    for one in range(turn.size):
        fields = {"strike_type": "custom", "custom_strike": {"word": one}} if turn.number % 3 else {}
        rows.append(_market(event, one, text.format(one), _close(turn.number % 400), **fields))
    return _event(event, rows)


def _combos(turn: _Turn) -> Json:
    event = _ticker("MIX", turn.made)
    rows = []
    for one in range(turn.size):
        # Each hour has a first and a second market.
        legs = [
            {"event_ticker": f"{_INDEX}-{hour}", "market_ticker": f"{_INDEX}-{hour}-{one % 2}", "side": side}
            for hour, side in ((0, "yes"), (1, turn.random.choice(["yes", "no"])))
        ]
        text = "If all legs come true, then the market resolves to Yes."
        rows.append(_market(event, one, text, _close(30), mve_collection_ticker="MIX-R", mve_selected_legs=legs))
    return _event(event, rows)


_BUILDERS: Mapping[str, Callable[[_Turn], Json]] = {
    "games": _games,
    "candidates": _candidates,
    "thresholds": _ladder_of("TIDE", "greater", "above", "floor_strike"),
    "counts": _ladder_of("COUNT", "greater_or_equal", "at least", "floor_strike"),
    "caps": _ladder_of("CAP", "less", "below", "cap_strike"),
    "players": _players,
    "deadlines": _deadlines,
    "brackets": _brackets,
    "hourly brackets": _hourly_brackets,
    "hourly thresholds": _hourly_thresholds,
    "words": _words,
    "combos": _combos,
}
