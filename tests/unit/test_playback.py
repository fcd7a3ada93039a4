"""A tape on the exchange: when what is served, what an order takes, and what the stream shows meanwhile."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange.account import OrderStatus
from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER, seeded_ids
from infra.exchange.playback import CHANGES_PER_STEP, LEAD_MS, Playback
from infra.exchange.stream import StreamSession
from infra.exchange.tape_terms import list_markets, load_tape
from infra.exchange.terms import NewOrder, TimeInForce
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import CASH_PER_DOLLAR, Cash, Count, Price
from kalshi_arb.kalshi.tape import Recording, TapePass, TapeRow

TAPES = Path(__file__).resolve().parents[1] / "payloads" / "tapes"
START_MS = 1_795_000_000_000
HOUR_MS = 3_600_000
SPEED = 3_600  # an hour of the tape in a second
EASY, HARD = "KXMADELAD-26MAR01-T10", "KXMADELAD-26MAR01-T20"
LOW, HIGH = "KXMADEPART-26MAR01-T5", "KXMADEPART-26MAR01-T4"
YES, NO = Outcome.YES, Outcome.NO

Levels = Mapping[tuple[Outcome, Price], Count]


def exchange(shards: tuple[int, ...] = (0,)) -> ExchangeCore:
    core = ExchangeCore(START_MS, seeded_ids(Random(5)))
    core.open_account(MEMBER, dict.fromkeys(shards, Cash(10_000 * CASH_PER_DOLLAR)), Precision.DIRECT)
    return core


def two_events(speed: float = SPEED) -> tuple[ExchangeCore, Playback]:
    core = exchange()
    return core, Playback(core, load_tape([str(TAPES / "two_events.jsonl")]), speed)


def playing(speed: float = SPEED) -> tuple[ExchangeCore, Playback]:
    core, playback = two_events(speed)
    playback.start()
    playback.step(START_MS)
    return core, playback


def book(core: ExchangeCore, ticker: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Both sides, best first, in cents and 1e-2 contracts."""
    sides = (core.markets[ticker].book.yes, core.markets[ticker].book.no)
    yes, no = ([(level.price // 100, int(level.size)) for level in side] for side in sides)
    return yes, no


def take(core: ExchangeCore, ticker: str, outcome: Outcome, cents: int, count: int) -> int:
    order = NewOrder(ticker, outcome, Price(cents * 100), Count(count), TimeInForce.IMMEDIATE_OR_CANCEL)
    return core.place(MEMBER, order).filled


def made_up(*passes: Mapping[str, Levels], gap_ms: int = HOUR_MS) -> Recording:
    """A recording of bare books, ``gap_ms`` apart."""
    rows = [tuple(TapeRow(ticker, levels) for ticker, levels in one.items()) for one in passes]
    tickers = dict.fromkeys(ticker for one in passes for ticker in one)
    return Recording(
        (), tuple(TapePass(f"pass {number}", number * gap_ms, row) for number, row in enumerate(rows)),
        {ticker: {"event_ticker": "KXE", "series_ticker": "KXS"} for ticker in tickers},
        dict.fromkeys(tickers, "made up"), {},
    )  # fmt: skip


# Time


def test_nothing_is_listed_before_the_start() -> None:
    core, playback = two_events()
    playback.step(START_MS + 60_000)
    assert (core.markets, playback.passes_seen) == ({}, 0)
    with pytest.raises(ValueError, match="not started"):
        playback.at(0)


def test_the_first_pass_is_served_at_once_and_time_runs_after_the_lead() -> None:
    core, playback = playing()
    assert book(core, EASY) == ([(55, 1_000), (54, 450)], [(40, 2_000)])
    assert playback.passes_seen == 1
    playback.step(START_MS + LEAD_MS + 999)
    assert playback.passes_seen == 1
    playback.step(START_MS + LEAD_MS + 1_000)
    assert book(core, HARD) == ([(63, 200)], [])
    assert playback.passes_seen == 2
    playback.step(START_MS + LEAD_MS + 2_000)
    assert playback.passes_seen == 3


def test_starting_twice_starts_once() -> None:
    core, playback = playing()
    playback.step(START_MS + 1_000)
    playback.start()
    assert playback.at(playback.tape.recording.passes[0].ms) == START_MS + LEAD_MS
    assert len(core.events) == 2


def test_markets_close_at_their_recorded_time_and_stay_without_a_result() -> None:
    core, playback = playing(speed=600)
    assert take(core, LOW, YES, 50, 500) == 500
    assert core.markets[LOW].terms.close_ms == START_MS + LEAD_MS + 9_000  # an hour and a half later
    playback.step(START_MS + LEAD_MS + 8_999)
    assert core.markets[LOW].status is MarketStatus.ACTIVE
    playback.step(START_MS + LEAD_MS + 9_000)
    assert (core.markets[LOW].status, book(core, LOW)) == (MarketStatus.CLOSED, ([], []))
    playback.step(START_MS + 10**9)
    assert core.markets[LOW].status is MarketStatus.CLOSED
    assert core.accounts[MEMBER].position(LOW).count == 500


@pytest.mark.parametrize("closing", ["1970-01-01T00:30:00Z", "1970-01-01T01:30:00Z"])
def test_what_was_recorded_was_open_and_stays_so_for_a_while(closing: str) -> None:
    recording = made_up({"KXA": {(YES, Price(4_000)): Count(100)}}, {"KXA": {(YES, Price(4_100)): Count(100)}})
    recording.facts["KXA"]["close_time"] = closing  # type: ignore[index]
    core = exchange()
    playback = Playback(core, list_markets(recording), SPEED)
    playback.start()
    playback.step(START_MS + LEAD_MS + 1_000)
    assert book(core, "KXA") == ([(41, 100)], [])
    playback.step(START_MS + 2 * LEAD_MS + 999)
    assert core.markets["KXA"].status is MarketStatus.ACTIVE
    playback.step(START_MS + 2 * LEAD_MS + 1_000)
    assert core.markets["KXA"].status is MarketStatus.CLOSED


def test_past_the_last_pass_the_books_stay() -> None:
    core, playback = playing()
    playback.step(START_MS + LEAD_MS + 5_999)
    assert book(core, EASY) == ([(55, 1_000)], [(42, 2_000)])


# Passes


def test_within_an_event_a_market_without_a_row_is_empty_and_other_events_keep_their_books() -> None:
    core, playback = playing()
    playback.step(START_MS + LEAD_MS + 1_000)  # only the ladder has rows
    assert book(core, LOW) == ([(47, 300)], [(50, 500)])
    playback.step(START_MS + LEAD_MS + 2_000)  # only the easier market has one
    assert book(core, EASY) == ([(55, 1_000)], [(42, 2_000)])
    assert book(core, HARD) == ([], [])


def test_contradictions_are_counted_per_event_and_pass_as_served() -> None:
    _, playback = playing()
    playback.step(START_MS + LEAD_MS + 2_000)
    stats = playback.stats()
    # 0.47 + 0.54 in the first pass, before fees only; 0.63 above 0.60 in the second, before fees only.
    assert stats["raw"] == {"bids_over_1": 1, "asks_under_1": 0, "nested_crossed": 1}
    assert stats["net"] == {"bids_over_1": 0, "asks_under_1": 0, "nested_crossed": 0}
    assert [(one["event"][:8], one["at"][11:16], one["ms"] - START_MS) for one in rows(stats["served"])] == [
        ("KXMADEPA", "14:00", 0),
        ("KXMADELA", "14:00", 0),
        ("KXMADELA", "15:00", LEAD_MS + 2_000),  # both passes were due in one step
        ("KXMADELA", "16:00", LEAD_MS + 2_000),
    ]


def rows(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value


def test_what_closes_first_is_set_first() -> None:
    _, playback = playing()
    assert [one["event"] for one in rows(playback.stats()["served"])] == ["KXMADEPART-26MAR01", "KXMADELAD-26MAR01"]


def test_a_long_pass_is_set_over_many_steps() -> None:
    levels = {(YES, Price(cents * 100)): Count(100) for cents in range(1, 99)}
    recording = made_up({f"KXA-{number}": levels for number in range(40)})
    for number, facts in enumerate(recording.facts.values()):
        facts["event_ticker"] = f"KXE-{number}"  # type: ignore[index]
    core = exchange()
    playback = Playback(core, list_markets(recording), SPEED)
    playback.start()
    steps = 0
    while not playback.passes_seen:
        before = sum(len(market.book.yes) for market in core.markets.values())
        playback.step(START_MS + steps)
        steps += 1
        set_now = sum(len(market.book.yes) for market in core.markets.values()) - before
        assert 0 < set_now <= CHANGES_PER_STEP + len(levels)
    assert steps > 5
    assert all(len(market.book.yes) == 98 for market in core.markets.values())


# Depth and what was taken


def test_orders_match_the_recorded_depth() -> None:
    core, _ = playing()
    assert take(core, EASY, NO, 46, 2_000) == 1_450
    assert book(core, EASY)[0] == []


def test_what_was_taken_stays_taken_until_the_recording_changes_the_level() -> None:
    core, playback = playing()
    assert take(core, EASY, NO, 46, 1_200) == 1_200  # all of 55, 2.00 of the 4.50 at 54
    assert book(core, EASY)[0] == [(54, 250)]
    playback.step(START_MS + LEAD_MS + 1_000)  # 55 stands as it was; 54 has become 6.00
    assert book(core, EASY)[0] == [(54, 600)]
    assert take(core, EASY, YES, 60, 500) == 500
    playback.step(START_MS + LEAD_MS + 2_000)  # NO moved from 40 to 42: that level was never touched
    assert book(core, EASY) == ([], [(42, 2_000)])


def test_an_order_of_ours_that_rests_meets_the_books_of_the_next_pass() -> None:
    core, playback = playing()
    mine = core.place(MEMBER, NewOrder(HARD, NO, Price(3_800), Count(150), TimeInForce.GOOD_TILL_CANCELED))
    assert mine.status is OrderStatus.RESTING
    playback.step(START_MS + LEAD_MS + 1_000)  # somebody bids 0.63 for 2.00, we sell at 0.62
    assert core.accounts[MEMBER].position(HARD).count == -150
    assert book(core, HARD)[0] == [(63, 50)]


_SIZE = st.integers(1, 500)
_BOOK = st.tuples(
    st.dictionaries(st.integers(1, 49), _SIZE, max_size=4), st.dictionaries(st.integers(1, 50), _SIZE, max_size=4)
)
_TAKES = st.lists(st.tuples(st.sampled_from(list(Outcome)), st.integers(1, 99), _SIZE), max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(_BOOK, _TAKES), min_size=1, max_size=6))
def test_the_book_is_the_recording_less_what_was_taken_from_levels_that_stand(
    passes: list[tuple[tuple[dict[int, int], dict[int, int]], list[tuple[Outcome, int, int]]]],
) -> None:
    books = [
        {(side, Price(cents * 100)): Count(n) for side, levels in zip(Outcome, sides, strict=True)
         for cents, n in levels.items()}
        for sides, _ in passes
    ]  # fmt: skip
    core = exchange()
    playback = Playback(core, list_markets(made_up(*({"KXA": levels} for levels in books))), SPEED)
    playback.start()
    recorded: dict[tuple[Outcome, Price], Count] = {}
    left: dict[tuple[Outcome, Price], int] = {}
    for number, (_, takes) in enumerate(passes):
        playback.step(START_MS + (LEAD_MS + number * 1_000 if number else 0))
        left = {
            level: left.get(level, 0) if recorded.get(level) == count else count
            for level, count in books[number].items()
        }
        recorded = books[number]
        for outcome, cents, count in takes:
            filled = take(core, "KXA", outcome, cents, count)
            for level in sorted((lv for lv in left if lv[0] is outcome.other), key=lambda lv: -lv[1]):
                if 10_000 - level[1] <= cents * 100:
                    bought = min(filled, left[level])
                    left[level] -= bought
                    filled -= bought
            assert filled == 0
        state = core.markets["KXA"].book
        served = {(side, level.price): level.size for side in Outcome for level in state.side(side)}
        assert served == {level: count for level, count in left.items() if count}


# The stream


def test_an_event_changes_as_a_whole_first_to_nothing_and_then_to_the_new_books() -> None:
    core, playback = playing()
    session = StreamSession(core, MEMBER)
    subscribe = {
        "id": 1,
        "cmd": "subscribe",
        "params": {"channels": ["orderbook_delta"], "market_tickers": [EASY, HARD]},
    }
    session.handle(json.dumps(subscribe))
    core.drain()
    playback.step(START_MS + LEAD_MS + 1_000)
    frames = [json.loads(frame.text) for frame in session.emit(core.drain())]
    assert [(frame["type"], frame["seq"], frame["msg"]["market_ticker"][-3:]) for frame in frames] == [
        ("orderbook_snapshot", 3, "T10"),
        ("orderbook_snapshot", 4, "T20"),
        ("orderbook_snapshot", 5, "T10"),
        ("orderbook_snapshot", 6, "T20"),
    ]
    sides = [{name: side for name, side in frame["msg"].items() if name.endswith("_fp")} for frame in frames]
    assert sides == [
        {},
        {},
        {"yes_dollars_fp": [["0.5400", "6.00"], ["0.5500", "10.00"]], "no_dollars_fp": [["0.4000", "20.00"]]},
        {"yes_dollars_fp": [["0.6300", "2.00"]]},
    ]
    assert {frame["sending_ts_ms"] for frame in frames} == {START_MS + LEAD_MS + 1_000}


def test_what_our_orders_do_still_goes_out_as_deltas() -> None:
    core, _ = playing()
    session = StreamSession(core, MEMBER)
    subscribe = {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": [EASY]}}
    session.handle(json.dumps(subscribe))
    core.drain()
    take(core, EASY, NO, 45, 300)
    (frame,) = [json.loads(frame.text) for frame in session.emit(core.drain())]
    assert (frame["type"], frame["msg"]["delta_fp"], frame["msg"]["side"]) == ("orderbook_delta", "-3.00", "yes")
