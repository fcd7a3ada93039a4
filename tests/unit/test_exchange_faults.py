"""Fault scripts and where they strike: what is read, what is refused, what is counted."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.exchange.errors import FaultScriptError
from infra.exchange.fault_board import FaultBoard
from infra.exchange.fault_world import GateWorld
from infra.exchange.faults import (
    ORDERS,
    BookThinned,
    Call,
    CallScope,
    CashMissing,
    ClockSkewed,
    Disorder,
    Fault,
    FaultScript,
    FeesChanged,
    FillsDisordered,
    FillSource,
    FrameDelayed,
    FrameDropped,
    FrameDuplicated,
    FrameScope,
    HttpError,
    MarketClosed,
    MarketPaused,
    ReadsLagging,
    ReplyLost,
    RulesChanged,
    SequenceGap,
    StrikeChanged,
    WorldFault,
    read_script,
)
from infra.exchange.inputs import Gate, Input
from infra.exchange.lag import ReadLag, ReadSide
from infra.exchange.living import Beginning, LivingExchange
from infra.exchange.terms import MarketTerms
from infra.exchange.universe import UniverseConfig
from infra.exchange.wire import Json
from kalshi_arb.domain.fees import FeeType, Precision
from kalshi_arb.domain.money import Cash

NOW_MS = 1_795_000_000_000
CREATE = Call("POST", "/portfolio/events/orders", frozenset({"A"}))
READ = Call("GET", "/portfolio/fills")


class World:
    """Knows the market A, and remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[WorldFault] = []
        self.changes = True

    def check(self, fault: WorldFault) -> None:
        if isinstance(fault, MarketClosed) and fault.markets != ("A",):
            raise FaultScriptError("market_closed: there is no market X")

    def strike(self, fault: WorldFault) -> bool:
        self.done.append(fault)
        return self.changes


class Desk:
    """A board with everything around it that a test sets."""

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        self.now_ms = NOW_MS
        self.world = World()
        self.lag = ReadLag(100)
        self.board = FaultBoard(lambda: self.now_ms, self.world, self.lag)
        if faults:
            self.board.add(FaultScript(faults, seed))

    def frames(self, count: int, kind: str = "orderbook_delta", market: str = "A") -> list[bool]:
        return [self.board.frame("orderbook_delta", kind, market) is not None for _ in range(count)]


def script(*faults: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"faults": list(faults), **more}).encode()


# Reading scripts

KINDS: tuple[dict[str, Any], ...] = (
    {"fault": "frame_dropped"},
    {"fault": "frame_duplicated", "scope": {"channels": ["trade"], "types": ["trade"], "markets": ["A"]}},
    {"fault": "frame_delayed", "ms": 5, "overtaken": True},
    {"fault": "sequence_gap", "size": 3},
    {"fault": "stale_snapshot"},
    {"fault": "disconnect", "clean": True},
    {"fault": "subscription_ended", "code": 25},
    {"fault": "http_error", "status": 503, "executed": True, "scope": {"methods": ["POST"], "paths": ["/portfolio/*"]}},
    {"fault": "reply_lost", "executed": False},
    {"fault": "reply_delayed", "ms": 5},
    {"fault": "clock_skew", "ms": -40_000, "for_ms": 1_000},
    {"fault": "read_lag", "ms": 900, "reads": ["fills", "positions"], "for_ms": 1_000},
    {"fault": "fills", "how": "late", "ms": 900, "where": ["stream"], "for_ms": 5},
    {"fault": "market_paused", "markets": ["A"], "resume_after_ms": 500},
    {"fault": "market_closed", "markets": ["A"], "before": {"methods": ["POST"]}},
    {"fault": "cash_missing", "shard": 2, "to": 0, "leave": "1.5"},
    {"fault": "book_thinned", "markets": ["A"], "outcome": "yes", "leave": "2.00"},
    {"fault": "rules_changed", "market": "A", "rules": "Yes if it rains."},
    {"fault": "strike_changed", "market": "A", "floor": "12.5"},
    {"fault": "fees_changed", "event": "E", "fee_type": "quadratic", "multiplier": "0.5"},
)


@pytest.mark.parametrize("fault", KINDS, ids=lambda fault: fault["fault"])
def test_every_kind_of_fault_can_be_scripted(fault: dict[str, Any]) -> None:
    common = {"name": "n", "skip": 2, "count": 4, "chance": 0.5}
    (read,) = read_script(script(fault | common, seed=7)).faults
    assert (read.label, read.name, read.skip, read.most, read.chance) == (fault["fault"], "n", 2, 4, 0.5)


REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"no json", "malformed"),
    (b"[]", "Expected `object`"),
    (b"{}", "missing required field `faults`"),
    (b'{"faults":[]}', "length >= 1"),
    (script({"fault": "frame_dropped"}, what=1), "unknown field `what`"),
    (script({"fault": "frame_dropped", "often": 3}), "unknown field `often` - at `$.faults[0]`"),
    (script({"fault": "frame_dropped"}, {"fault": "dance"}), "Invalid value 'dance' - at `$.faults[1].fault`"),
    (script({"count": 3}), "missing required field `fault` - at `$.faults[0]`"),
    (script({"fault": "frame_dropped", "count": 0}), "`int` >= 1 - at `$.faults[0].count`"),
    (script({"fault": "frame_dropped", "count": "3"}), "got `str` - at `$.faults[0].count`"),
    (script({"fault": "frame_dropped", "chance": 0}), "> 0.0 - at `$.faults[0].chance`"),
    (script({"fault": "frame_dropped", "scope": {"paths": []}}), "unknown field `paths` - at `$.faults[0].scope`"),
    (script({"fault": "frame_delayed"}), "missing required field `ms`"),
    (script({"fault": "http_error", "status": 200}), "Invalid enum value 200"),
    (script({"fault": "http_error", "status": 429, "executed": True}), "a 429 is never sent for a call"),
    (script({"fault": "clock_skew", "ms": 0}), "a clock that is 0 ms off is right"),
    (script({"fault": "market_closed", "markets": []}), "length >= 1"),
    (script({"fault": "cash_missing", "shard": 2, "to": 2}), "cannot go over to the shard that it is on"),
    (script({"fault": "cash_missing", "shard": 2, "to": 0, "leave": "much"}), "'much' is no amount"),
    (script({"fault": "cash_missing", "shard": 2, "to": 0, "leave": "-1"}), "-1 is negative"),
    (script({"fault": "book_thinned", "markets": ["A"], "leave": "0.001"}), "'0.001' is no amount"),
    (script({"fault": "strike_changed", "market": "A", "floor": "high"}), "'high' is no strike"),
    (script({"fault": "fees_changed", "event": "E", "fee_type": "flat"}), "flat cannot be charged"),
    (script({"fault": "fees_changed", "event": "E", "fee_type": "quadratic", "multiplier": "-1"}), "multiplier -1"),
)


@pytest.mark.parametrize(("body", "says"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_script_is_refused_in_one_line_that_says_where(body: bytes, says: str) -> None:
    with pytest.raises(FaultScriptError) as caught:
        read_script(body)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_that_names_what_is_not_there_arms_nothing_of_itself() -> None:
    desk = Desk()
    with pytest.raises(FaultScriptError, match="no market X"):
        desk.board.add(FaultScript((FrameDropped(), MarketClosed(markets=("X",)))))
    assert desk.board.is_idle
    assert desk.world.done == []
    assert desk.frames(1) == [False]


# How often


def test_a_fault_without_count_or_time_strikes_once() -> None:
    assert Desk(FrameDropped()).frames(3) == [True, False, False]


def test_a_count_starts_after_what_is_skipped() -> None:
    assert Desk(FrameDropped(skip=1, count=2)).frames(5) == [False, True, True, False, False]


def test_a_duration_ends_by_the_exchanges_time() -> None:
    desk = Desk(FrameDropped(for_ms=1_000))
    assert desk.frames(3) == [True, True, True]
    desk.now_ms += 999
    assert desk.frames(1) == [True]
    desk.now_ms += 1
    assert desk.frames(1) == [False]
    (row,) = desk.board.state()["faults"]  # type: ignore[misc]
    assert (row["armed"], row["struck"]) == (False, 4)


@given(seed=st.integers(), chance=st.floats(0.05, 0.95))
def test_chance_follows_from_the_seed(seed: int, chance: float) -> None:
    first, second = (Desk(FrameDropped(for_ms=1, chance=chance), seed=seed).frames(40) for _ in range(2))
    assert first == second
    desk = Desk(FrameDropped(for_ms=1, chance=chance), seed=seed)
    assert sum(desk.frames(40)) == desk.board.struck("frame_dropped")


def test_two_faults_share_occasions_in_their_order_and_are_counted_by_name_and_kind() -> None:
    desk = Desk(FrameDropped(name="first"), FrameDropped(name="second", count=2), FrameDuplicated())
    assert desk.frames(5) == [True, True, True, True, False]
    board = desk.board
    assert [board.struck(name) for name in ("first", "second", "frame_dropped", "frame_duplicated")] == [1, 2, 3, 1]
    assert board.state()["struck"] == {"first": 1, "second": 2, "frame_dropped": 3, "frame_duplicated": 1}
    board.clear()
    assert board.is_idle
    assert board.state()["faults"] == []


# Frames


@pytest.mark.parametrize(
    ("scope", "hit"),
    [
        (FrameScope(), [True, True, False, True]),
        (FrameScope(markets=("A",)), [True, False, False, False]),
        (FrameScope(channels=("orderbook_delta",)), [True, True, False, False]),
        (FrameScope(types=("ok",)), [False, False, True, False]),
        (FrameScope(types=("fill",), markets=("B",)), [False, False, False, True]),
    ],
)
def test_a_frame_scope_means_channel_type_and_market_and_no_replies_by_itself(
    scope: FrameScope, hit: list[bool]
) -> None:
    frames = [
        ("orderbook_delta", "orderbook_delta", "A"),
        ("orderbook_delta", "orderbook_snapshot", "B"),
        ("orderbook_delta", "ok", ""),
        ("fill", "fill", "B"),
    ]
    board = Desk(FrameDropped(scope=scope, count=10)).board
    assert [board.frame(*frame) is not None for frame in frames] == hit


def test_gaps_leave_out_as_many_numbers_as_they_are_wide() -> None:
    board = Desk(SequenceGap(size=3, skip=1)).board
    assert [board.numbers_skipped("orderbook_delta", "orderbook_delta", "A") for _ in range(3)] == [0, 3, 0]
    assert board.frame("orderbook_delta", "orderbook_delta", "A") is None


def test_disordered_fills_are_late_twice_or_overtaken_on_the_private_stream_alone() -> None:
    def actions(fault: Fault) -> list[object]:
        board = Desk(fault).board
        assert board.frame("orderbook_delta", "orderbook_delta", "A") is None
        return [board.frame("fill", "fill", "A") for _ in range(4)]

    late = FrameDelayed(ms=50, overtaken=True)
    assert actions(FillsDisordered(how=Disorder.LATE, ms=50, count=2)) == [late, late, None, None]
    assert actions(FillsDisordered(how=Disorder.DUPLICATE, count=2)) == [FrameDuplicated()] * 2 + [None] * 2
    assert actions(FillsDisordered(how=Disorder.OUT_OF_ORDER, ms=50, count=2)) == [late, None, late, None]
    assert actions(FillsDisordered(how=Disorder.LATE, where=(FillSource.READS,), count=2)) == [None] * 4
    assert actions(FillsDisordered(how=Disorder.LATE, markets=("B",), count=2)) == [None] * 4


# Calls


@pytest.mark.parametrize(
    ("scope", "hit"),
    [
        (CallScope(), [True, True, True, False]),
        (ORDERS, [True, False, False, False]),
        (CallScope(paths=("/portfolio/*",)), [True, True, False, False]),
        (CallScope(methods=("GET",)), [False, True, True, False]),
        (CallScope(markets=("A",)), [True, False, False, False]),
        (CallScope(paths=("/trade-api/ws/v2",)), [False, False, False, True]),
    ],
)
def test_a_call_scope_means_method_path_and_markets_and_no_handshake_by_itself(
    scope: CallScope, hit: list[bool]
) -> None:
    handshake = Call("GET", "/trade-api/ws/v2", is_handshake=True)
    calls = [CREATE, READ, Call("GET", "/markets", frozenset({"B"})), handshake]
    board = Desk(HttpError(status=503, scope=scope, count=10)).board
    assert [board.call(call) is not None for call in calls] == hit


def test_the_first_armed_fault_answers_a_call() -> None:
    board = Desk(HttpError(status=429, count=2), ReplyLost(skip=0)).board
    assert [type(board.call(CREATE)).__name__ for _ in range(4)] == ["HttpError", "HttpError", "ReplyLost", "NoneType"]


def test_the_clock_is_skewed_for_the_calls_that_are_meant() -> None:
    board = Desk(ClockSkewed(ms=-45_000, scope=ORDERS, count=2)).board
    assert [board.clock_skew_ms(call) for call in (READ, CREATE, CREATE, CREATE)] == [0, -45_000, -45_000, 0]


def test_reads_lag_by_kind_while_the_fault_lasts_and_as_usual_otherwise() -> None:
    desk = Desk(ReadsLagging(ms=900, reads=(ReadSide.FILLS,), for_ms=1_000))
    desk.board.set_lag(READ)
    assert (desk.lag.ms(ReadSide.FILLS), desk.lag.ms(ReadSide.ORDERS), desk.lag.slowest_ms()) == (900, 100, 900)
    desk.board.set_lag(Call("GET", "/exchange/user_data_timestamp"))
    assert desk.lag.slowest_ms() == 900
    assert desk.board.struck("read_lag") == 1
    desk.now_ms += 1_000
    desk.board.set_lag(READ)
    assert desk.lag.slowest_ms() == 100


def test_a_read_of_fills_that_would_be_the_same_is_no_occasion() -> None:
    board = Desk(FillsDisordered(how=Disorder.OUT_OF_ORDER, count=2)).board

    def turn(_: FillsDisordered, rows: list[Json]) -> list[Json]:
        return rows[::-1]

    one: list[Json] = [{"n": 1}]
    assert board.fills_read(READ, one, turn) == one
    assert board.struck("fills") == 0
    assert board.fills_read(READ, [{"n": 1}, {"n": 2}], turn) == [{"n": 2}, {"n": 1}]
    assert board.struck("fills") == 1


# World


def test_what_changes_the_world_strikes_at_once_or_right_before_a_call() -> None:
    closing, thinning = MarketClosed(markets=("A",)), BookThinned(markets=("A",), before=ORDERS, skip=1)
    desk = Desk(closing, thinning)
    assert desk.world.done == [closing]
    calls: Sequence[Call] = (READ, CREATE, READ, CREATE, CREATE)
    assert [desk.board.call(call) for call in calls] == [None] * 5
    assert desk.world.done == [closing, thinning]
    assert desk.board.struck("book_thinned") == 1


def test_a_change_that_changes_nothing_is_not_counted() -> None:
    desk = Desk()
    desk.world.changes = False
    desk.board.add(FaultScript((CashMissing(shard=2, to=0),)))
    assert len(desk.world.done) == 1
    assert desk.board.struck("cash_missing") == 0


LIVELY: tuple[Callable[[MarketTerms], WorldFault], ...] = (
    lambda terms: BookThinned(markets=(terms.ticker,), leave="3"),
    lambda terms: MarketPaused(markets=(terms.ticker,), resume_after_ms=500),
    lambda terms: MarketClosed(markets=(terms.ticker,)),
    lambda terms: RulesChanged(market=terms.ticker, rules="Yes if it rains."),
    lambda terms: StrikeChanged(market=terms.ticker, floor=_moved(terms.floor), cap=_moved(terms.cap)),
    lambda terms: FeesChanged(event=terms.event_ticker, fee_type=FeeType.QUADRATIC, multiplier="2"),
    lambda _: CashMissing(shard=1, to=0, leave="1"),
)


def _moved(strike: Decimal | None) -> str | None:
    return None if strike is None else str(strike + 1)


def test_a_living_exchange_bears_every_change_of_its_world_and_repeats_it_from_what_was_kept() -> None:
    beginning, config = Beginning(3, Cash(10**10), Precision.DIRECT), UniverseConfig(events=6)

    def begun() -> LivingExchange:
        return LivingExchange.begin(beginning, config, NOW_MS)

    kept: list[Input] = []
    exchange, chance, now_ms = begun(), Random(5), NOW_MS
    gate = Gate(exchange.core, exchange.universe, kept.append)
    world = GateWorld(exchange.core, gate)
    struck: Counter[str] = Counter()
    for step in range(700):
        now_ms += 20
        gate.step(now_ms)
        world.pass_time(now_ms)
        exchange.core.drain()
        if step % 10 == 0:
            ticker = chance.choice(sorted(exchange.core.markets))
            fault = LIVELY[step // 10 % len(LIVELY)](exchange.core.markets[ticker].terms)
            world.check(fault)
            struck[fault.label] += world.strike(fault)
    assert len(struck) == len(LIVELY)
    assert all(struck.values())
    assert gate.is_sound
    again: list[Input] = []
    second = begun()
    repeating = Gate(second.core, second.universe, again.append)
    for happened in kept:
        repeating.repeat(happened)
        second.core.drain()
    assert again == kept
