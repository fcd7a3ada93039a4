"""The order book stream, frame by frame: sequence, snapshots, subscriptions, and everything that can break them."""

import json

import pytest

from kalshi_arb.domain.book import BookVersion
from kalshi_arb.kalshi.commands import PRIVATE_CHANNELS
from kalshi_arb.kalshi.frames import FillMessage
from kalshi_arb.kalshi.stream import SNAPSHOT_PATIENCE_MS, BookStream
from kalshi_arb.kalshi.stream_events import (
    Best,
    BookChanged,
    BookReplaced,
    BooksStale,
    CommandFailed,
    Event,
    FrameRejected,
    GapDetected,
    LifecycleSeen,
    PrivateSeen,
    ReconnectNeeded,
    SubscriptionLost,
)
from tests import stream_samples as wire

NOW = 1_750_000_000_000


class Session:
    """A stream with its commands read back."""

    def __init__(self, *tickers: str, chunk: int = 500) -> None:
        self.now = NOW
        self.stream = BookStream(3, tickers_per_command=chunk)
        self.stream.want(tickers, self.now)
        assert not self.stream.has_commands
        self.stream.connected(self.now)

    def commands(self) -> list[dict[str, object]]:
        return [json.loads(text) for text in self.stream.take_commands()]

    def feed(self, *frames: str) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            events += self.stream.receive(frame.encode(), self.now)
        return events

    def books(self, ticker: str) -> tuple[dict[int, int], dict[int, int]]:
        book = self.stream.book(ticker)
        assert book is not None
        return dict(book.yes), dict(book.no)


def open_session(*tickers: str) -> Session:
    """Subscribed, every book at 5500 / 4000."""
    session = Session(*tickers)
    session.commands()
    session.feed(wire.subscribed())
    session.feed(*(wire.snapshot(n, t, {5_500: 1_000}, {4_000: 900}) for n, t in enumerate(tickers, 1)))
    return session


def actions(commands: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(c["params"].get("action", c["cmd"]), c["params"].get("market_tickers")) for c in commands]  # type: ignore[attr-defined]


# Subscribing


def test_connecting_subscribes_to_lifecycle_and_books() -> None:
    session = Session("A", "B")
    assert session.commands() == [
        {"id": 1, "cmd": "subscribe", "params": {"channels": ["market_lifecycle_v2"]}},
        {
            "id": 2,
            "cmd": "subscribe",
            "params": {
                "channels": ["orderbook_delta"], "market_tickers": ["A", "B"], "use_yes_price": False,
                "skip_ticker_ack": True,
            },
        },
    ]  # fmt: skip
    assert session.commands() == []


def test_many_markets_are_subscribed_in_portions() -> None:
    session = Session("A", "B", "C", "D", "E", chunk=2)
    assert actions(session.commands())[1:] == [("subscribe", ["A", "B"])]
    session.feed(wire.subscribed())
    commands = session.commands()
    assert actions(commands) == [("add_markets", ["C", "D"]), ("add_markets", ["E"])]
    assert {command["params"]["sid"] for command in commands} == {wire.BOOK_SID}  # type: ignore[index]


def test_markets_are_added_and_deleted_on_the_living_subscription() -> None:
    session = open_session("A", "B")
    session.stream.want(["B", "C"], session.now)
    assert actions(session.commands()) == [("delete_markets", ["A"]), ("add_markets", ["C"])]
    assert session.stream.book("A") is None
    assert session.stream.book("C") is None
    # The acknowledgement counts in the sequence; late changes of a deleted market are ignored.
    events = session.feed(wire.ok(3), wire.delta(4, "A", "yes", 5_500, 100), wire.snapshot(5, "C", {100: 100}))
    assert events == [BookReplaced("C", NOW)]
    assert session.books("B") == ({5_500: 1_000}, {4_000: 900})


def test_a_change_of_mind_while_subscribing_is_settled_afterwards() -> None:
    session = Session("A", "B")
    session.commands()
    session.stream.want(["B", "C"], session.now)
    assert session.commands() == []
    session.feed(wire.subscribed())
    assert actions(session.commands()) == [("delete_markets", ["A"]), ("add_markets", ["C"])]


def test_nothing_wanted_subscribes_to_lifecycle_only() -> None:
    session = Session()
    assert len(session.commands()) == 1
    session.stream.want(["A"], session.now)
    assert actions(session.commands()) == [("subscribe", ["A"])]


def test_private_channels_are_asked_for_one_by_one_and_again_when_lost() -> None:
    stream = BookStream(3, private=PRIVATE_CHANNELS)
    stream.connected(NOW)
    commands = [json.loads(text) for text in stream.take_commands()]
    # One command each: a channel that a key may not have must not cost the others.
    assert [command["params"]["channels"] for command in commands] == [
        ["market_lifecycle_v2"], ["fill"], ["user_orders"], ["market_positions"], ["order_group_updates"],
    ]  # fmt: skip
    stream.receive(wire.subscribed(2, 21, "fill"), NOW)
    assert stream.receive(wire.error(9, 3), NOW) == (CommandFailed(9, "refused", (), final=True),)
    assert stream.receive(wire.error(25, sid=21), NOW) == (SubscriptionLost("fill", 25, "refused"),)
    (again,) = stream.take_commands()
    assert json.loads(again)["params"] == {"channels": ["fill"]}


def test_private_messages_are_handed_on_as_they_are() -> None:
    session = open_session("A")
    fill = {
        "trade_id": "t", "order_id": "o", "market_ticker": "A", "count_fp": "2.50", "book_side": "bid",
        "post_position_fp": "12.50", "side": "yes", "action": "buy", "subaccount": 0, "ts_ms": 5,
    }  # fmt: skip
    (event,) = session.feed(json.dumps({"type": "fill", "sid": 21, "msg": fill}))
    assert isinstance(event, PrivateSeen)
    assert isinstance(event.message, FillMessage)
    assert (event.message.trade_id, event.message.count_fp, event.message.post_position_fp) == ("t", "2.50", "12.50")
    group = {"event_type": "triggered", "order_group_id": "og"}
    (event,) = session.feed(json.dumps({"type": "order_group_updates", "sid": 24, "seq": 1, "msg": group}))
    assert isinstance(event, PrivateSeen)
    assert session.stream.book("A") is not None


# Books


def test_snapshots_and_signed_deltas_make_the_book() -> None:
    session = open_session("A")
    events = session.feed(
        wire.delta(2, "A", "yes", 5_600, 1_582, 2_000),
        wire.delta(3, "A", "yes", 5_000, 10, 2_001),
        wire.delta(4, "A", "yes", 5_600, -1_582, 2_002),
        wire.delta(5, "A", "no", 4_000, -900, 2_003),
    )
    book = session.stream.book("A")
    assert book is not None
    assert events == [BookChanged("A", best, book) for best in (Best.PRICE, Best.SAME, Best.PRICE, Best.PRICE)]
    frozen = session.stream.freeze("A", 1)
    assert frozen is not None
    assert frozen.exchange_ms == 2_003
    assert session.books("A") == ({5_500: 1_000, 5_000: 10}, {})


def test_a_frozen_book_knows_its_version_its_time_and_its_age() -> None:
    session = open_session("A", "B")
    session.feed(wire.delta(3, "A", "yes", 5_600, 100, 2_000))
    session.now += 700
    session.feed(wire.delta(4, "B", "yes", 5_600, 100, 2_500))
    frozen = session.stream.freeze("A", 1)
    assert frozen is not None
    assert frozen.version == BookVersion(3, 1, 3) == session.stream.version("A")
    assert frozen.exchange_ms == 2_000
    # The subscription was alive when B changed: A is quiet, not old.
    assert frozen.alive_ms == NOW + 700
    assert frozen.yes_bids == ((5_600, 100),)
    session.stream.alive(NOW + 500)
    session.stream.alive(NOW + 900)
    assert session.stream.freeze("A", 1).alive_ms == NOW + 900  # type: ignore[union-attr]


def test_a_snapshot_replaces_and_an_absent_side_is_empty() -> None:
    session = open_session("A")
    assert session.feed(wire.snapshot(2, "A", {}, {3_000: 5}, sending_ts_ms=77)) == [BookReplaced("A", 77)]
    assert session.books("A") == ({}, {3_000: 5})


def test_a_market_that_closes_is_wiped_in_one_frame() -> None:
    session = open_session("A")
    session.feed(wire.snapshot(2, "A"))
    assert session.books("A") == ({}, {})


def test_amounts_as_bare_numbers_are_read_too() -> None:
    session = open_session("A")
    session.feed(wire.delta(2, "A", "yes", 1, 1, price_dollars=0.07, delta_fp=15.82))
    assert session.books("A") == ({5_500: 1_000, 700: 1_582}, {4_000: 900})
    frame = json.loads(wire.snapshot(3, "A"))
    frame["msg"]["no_dollars_fp"] = [[0.5, 3]]
    session.feed(json.dumps(frame))
    assert session.books("A") == ({}, {5_000: 300})


def test_changes_before_the_first_snapshot_belong_to_no_book() -> None:
    session = Session("A")
    session.feed(wire.subscribed())
    assert session.feed(wire.delta(1, "A", "yes", 5_500, 100)) == []
    assert session.stream.book("A") is None
    assert session.stream.freeze("A", 5) is None
    assert session.stream.version("A") is None
    session.feed(wire.snapshot(2, "A", {5_500: 100}))
    assert session.books("A") == ({5_500: 100}, {})


# Sequence


def test_control_replies_and_unknown_types_count_in_the_sequence() -> None:
    session = open_session("A")
    unknown = json.dumps({"type": "of_tomorrow", "sid": wire.BOOK_SID, "seq": 4, "msg": {}})
    events = session.feed(
        wire.ok(2), wire.error(5, sid=wire.BOOK_SID, seq=3), unknown, wire.delta(5, "A", "yes", 5_500, 1)
    )
    assert [type(event) for event in events] == [CommandFailed, BookChanged]
    assert session.stream.counts.gaps == 0


def test_a_gap_makes_every_book_stale_until_its_own_snapshot() -> None:
    session = open_session("A", "B")
    events = session.feed(wire.delta(4, "A", "yes", 5_600, 100))
    assert events == [GapDetected(wire.BOOK_SID, 3, 4), BooksStale(("A", "B"), "gap")]
    assert session.stream.totals() == (2, 2)
    assert actions(session.commands()) == [("get_snapshot", ["A", "B"])]
    # A change before the snapshot belongs to the old state.
    assert session.feed(wire.delta(5, "A", "yes", 5_600, 100)) == []
    session.feed(wire.snapshot(6, "A", {5_700: 100}, id=9), wire.delta(7, "A", "yes", 5_700, 1))
    assert session.books("A") == ({5_700: 101}, {})
    assert session.stream.book("B") is None
    session.feed(wire.snapshot(8, "B", {1_000: 100}))
    assert session.stream.totals() == (2, 0)
    assert session.stream.version("B") == BookVersion(3, 1, 8)


@pytest.mark.parametrize("seq", [1, 2, 9])
def test_repeated_and_backward_numbers_are_gaps_too(seq: int) -> None:
    session = open_session("A", "B")
    assert GapDetected(wire.BOOK_SID, 3, seq) in session.feed(wire.delta(seq, "A", "yes", 5_500, 100))
    # Counting goes on from there.
    assert session.feed(wire.snapshot(seq + 1, "A", {1: 1})) == [BookReplaced("A", NOW)]


def test_a_second_gap_does_not_ask_again_for_what_is_under_way() -> None:
    session = open_session("A")
    session.feed(wire.delta(5, "A", "yes", 5_600, 100))
    assert len(session.commands()) == 1
    session.feed(wire.delta(9, "A", "yes", 5_600, 100))
    assert session.commands() == []
    assert session.stream.counts.gaps == 2


def test_a_snapshot_that_never_comes_is_asked_for_again_ever_later() -> None:
    session = open_session("A")
    session.feed(wire.delta(5, "A", "yes", 5_600, 100))
    session.commands()
    asked_at = []
    for _ in range(40):
        session.now += 1_000
        assert session.stream.tick(session.now) == ()
        if session.commands():
            asked_at.append((session.now - NOW) // SNAPSHOT_PATIENCE_MS)
    assert asked_at == [1, 3, 7]


def test_a_gap_on_another_subscription_leaves_the_books_alone() -> None:
    session = open_session("A")
    session.feed(wire.subscribed(1, 2, "market_lifecycle_v2"))
    message = {"market_ticker": "NEW", "event_type": "created"}
    frames = [json.dumps({"type": "market_lifecycle_v2", "sid": 2, "seq": n, "msg": message}) for n in (1, 3)]
    seen = LifecycleSeen("NEW", "created")
    assert session.feed(*frames) == [seen, GapDetected(2, 2, 3), seen]
    assert session.stream.book("A") is not None


def test_lifecycle_of_events_and_their_fees() -> None:
    session = Session()
    event = {"event_ticker": "KXA"}
    frames = [
        json.dumps({"type": t, "sid": 2, "seq": 1, "msg": event}) for t in ("event_lifecycle", "event_fee_update")
    ]
    assert session.feed(*frames) == [
        LifecycleSeen("KXA", "event_lifecycle"),
        LifecycleSeen("KXA", "event_fee_update"),
    ]


# What must never corrupt a book


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"type":"orderbook_delta"}', "\x00", '{"type":5}'])
def test_frames_nobody_can_read_are_counted_and_change_nothing(text: str) -> None:
    session = open_session("A")
    (event,) = session.feed(text)
    assert isinstance(event, FrameRejected)
    assert session.stream.counts.malformed == 1
    assert session.books("A") == ({5_500: 1_000}, {4_000: 900})


def test_an_unreadable_frame_of_the_sequence_makes_its_books_stale() -> None:
    session = open_session("A", "B")
    frame = json.loads(wire.delta(3, "A", "yes", 5_500, 100))
    del frame["msg"]["price_dollars"]
    rejected, stale = session.feed(json.dumps(frame))
    assert isinstance(rejected, FrameRejected)
    assert stale == BooksStale(("A", "B"), "unreadable frame")
    assert actions(session.commands()) == [("get_snapshot", ["A", "B"])]
    # Its number was counted: the next frame is no gap.
    session.feed(wire.snapshot(4, "A", {1: 1}))
    assert session.stream.counts.gaps == 0


@pytest.mark.parametrize("place", [{}, {"seq": "three"}, {"seq": 3, "type": 7}])
def test_an_unreadable_frame_of_which_only_the_subscription_is_known_makes_its_books_stale(
    place: dict[str, object],
) -> None:
    session = open_session("A", "B")
    frame = {"type": "orderbook_delta", "sid": wire.BOOK_SID, **place, "msg": "?"}
    rejected, stale = session.feed(json.dumps(frame))[:2]
    assert isinstance(rejected, FrameRejected)
    assert stale == BooksStale(("A", "B"), "unreadable frame")


def test_an_unknown_frame_about_a_book_costs_that_book() -> None:
    session = open_session("A", "B")
    frame = {"type": "of_tomorrow", "sid": wire.BOOK_SID, "seq": 3, "msg": {"market_ticker": "A", "more": [1]}}
    rejected, stale = session.feed(json.dumps(frame))
    assert isinstance(rejected, FrameRejected)
    assert stale == BooksStale(("A",), "unknown frame")
    assert actions(session.commands()) == [("get_snapshot", ["A"])]
    # About a market that is not kept, or about none, it only counts.
    frame = frame | {"seq": 4, "msg": {"market_ticker": "Z"}}
    assert session.feed(json.dumps(frame), json.dumps(frame | {"seq": 5, "msg": []})) == []
    assert session.stream.counts.gaps == 0


def test_a_time_that_no_clock_shows_is_not_believed() -> None:
    session = open_session("A")
    assert session.feed(wire.delta(2, "A", "yes", 5_500, 100, ts_ms=2**53))[1:] == [
        BooksStale(("A",), "unreadable frame")
    ]


def test_a_subscription_made_anew_has_no_books_yet() -> None:
    session = open_session("A")
    assert session.feed(wire.subscribed(9, 8)) == [BooksStale(("A",), "subscribed anew")]


@pytest.mark.parametrize(
    "frame",
    [
        wire.delta(3, "A", "yes", 5_500, -1_001),
        wire.delta(3, "A", "maybe", 5_500, 100),
        wire.delta(3, "A", "yes", 0, 100),
        wire.delta(3, "A", "yes", 10_000, 100),
        wire.delta(3, "A", "yes", 1, 1, price_dollars="0.55005"),
        wire.delta(3, "A", "yes", 1, 1, price_dollars="1_0"),
        wire.delta(3, "A", "yes", 1, 1, delta_fp="0.001"),
    ],
)
def test_a_change_that_cannot_be_true_costs_one_book_only(frame: str) -> None:
    session = open_session("A", "B")
    rejected, stale = session.feed(frame)
    assert isinstance(rejected, FrameRejected)
    assert stale == BooksStale(("A",), "impossible change")
    assert actions(session.commands()) == [("get_snapshot", ["A"])]
    assert session.stream.book("B") is not None
    session.feed(wire.snapshot(4, "A", {1: 1}), wire.delta(5, "B", "yes", 5_500, 1))
    assert session.stream.totals() == (2, 0)


def test_a_snapshot_that_cannot_be_true_is_not_used() -> None:
    session = open_session("A")
    rejected, stale = session.feed(wire.snapshot(2, "A", {5_500: 100}, {0: 5}))
    assert isinstance(rejected, FrameRejected)
    assert stale == BooksStale(("A",), "impossible snapshot")
    assert session.commands() == []
    session.stream.tick(NOW + SNAPSHOT_PATIENCE_MS)
    assert actions(session.commands()) == [("get_snapshot", ["A"])]


# Subscriptions that end


@pytest.mark.parametrize("code", [10, 25])
def test_a_terminal_error_subscribes_again_with_a_new_generation(code: int) -> None:
    session = open_session("A")
    events = session.feed(wire.error(code, sid=wire.BOOK_SID, seq=2))
    assert events == [
        SubscriptionLost("orderbook_delta", code, "refused"),
        BooksStale(("A",), "subscription lost"),
    ]
    assert actions(session.commands()) == [("subscribe", ["A"])]
    session.feed(wire.subscribed(3), wire.snapshot(1, "A", {1: 1}))
    assert session.stream.version("A") == BookVersion(3, 2, 1)


def test_a_subscription_that_keeps_ending_is_made_again_ever_later() -> None:
    session = open_session("A")
    waits = []
    for number in range(6):
        session.feed(wire.error(25, sid=wire.BOOK_SID))
        lost = session.now
        while not session.stream.has_commands:
            session.now += 500
            session.stream.tick(session.now)
        waits.append(session.now - lost)
        session.commands()
        session.feed(wire.subscribed(3 + number))
    assert waits == [0, 1_000, 2_000, 4_000, 8_000, 16_000]


def test_a_lost_lifecycle_subscription_leaves_the_books_alone() -> None:
    session = open_session("A")
    session.feed(wire.subscribed(1, 2, "market_lifecycle_v2"))
    assert session.feed(wire.error(10, sid=2)) == [SubscriptionLost("market_lifecycle_v2", 10, "refused")]
    assert actions(session.commands()) == [("subscribe", None)]
    assert session.stream.book("A") is not None


def test_being_unsubscribed_unasked_is_a_loss() -> None:
    session = open_session("A")
    frame = json.dumps({"id": 0, "sid": wire.BOOK_SID, "seq": 2, "type": "unsubscribed"})
    assert isinstance(session.feed(frame)[0], SubscriptionLost)
    assert actions(session.commands()) == [("subscribe", ["A"])]


def test_a_terminal_error_of_nothing_known_asks_for_a_new_connection() -> None:
    assert isinstance(open_session("A").feed(wire.error(25))[0], ReconnectNeeded)


def test_a_subscription_that_is_never_answered_asks_for_a_new_connection() -> None:
    session = Session("A")
    assert session.stream.tick(NOW + 15_000) == ()
    assert session.stream.tick(NOW + 15_001) == (ReconnectNeeded("no answer to a subscription"),)


def test_a_new_connection_starts_every_book_anew_and_newer() -> None:
    session = open_session("A", "B")
    before = session.stream.version("A")
    assert session.stream.disconnected() == (BooksStale(("A", "B"), "disconnected"),)
    assert session.stream.tick(NOW) == ()
    session.stream.connected(NOW)
    session.commands()
    # seq restarts at 1: without the generation the fresh book would look older than the lost one.
    session.feed(wire.subscribed(4), wire.snapshot(1, "A", {1: 1}))
    after = session.stream.version("A")
    assert before == BookVersion(3, 1, 1)
    assert after == BookVersion(3, 2, 1)
    assert session.stream.book("B") is None


def test_frames_of_an_older_subscription_are_ignored() -> None:
    session = open_session("A")
    old = json.loads(wire.delta(2, "A", "yes", 5_500, 100))
    old["sid"] = 99
    assert session.feed(json.dumps(old)) == []
    assert session.books("A") == ({5_500: 1_000}, {4_000: 900})


# Refused commands


def test_one_bad_ticker_is_found_by_halves() -> None:
    session = Session("A", "B", "C", "D")
    session.commands()
    session.feed(wire.error(11, 2))
    assert actions(session.commands()) == [("subscribe", ["A", "B"])]
    session.feed(wire.subscribed(3))
    (command,) = session.commands()
    assert actions([command]) == [("add_markets", ["C", "D"])]
    session.feed(wire.error(11, 4))
    halves = session.commands()
    assert actions(halves) == [("add_markets", ["C"]), ("add_markets", ["D"])]
    events = session.feed(wire.ok(1, 5), wire.error(11, 6))
    assert events == [CommandFailed(11, "refused", ("D",), final=True)]
    assert session.commands() == []
    assert session.stream.totals() == (3, 3)
    # Wanting it anew tries again.
    session.stream.want(["A", "B", "C", "D"], session.now)
    assert actions(session.commands()) == [("add_markets", ["D"])]


def test_a_single_refused_market_does_not_end_subscribing() -> None:
    session = Session("A", "B", chunk=1)
    session.commands()
    assert session.feed(wire.error(11, 2)) == [CommandFailed(11, "refused", ("A",), final=True)]
    assert actions(session.commands()) == [("subscribe", ["B"])]


def test_markets_beyond_the_limit_are_given_up_and_named() -> None:
    session = Session("A", "B", chunk=1)
    session.feed(wire.subscribed())
    session.commands()
    assert session.feed(wire.error(26, 3)) == [CommandFailed(26, "refused", ("B",), final=True)]
    assert session.stream.totals() == (1, 1)


def test_a_busy_exchange_is_asked_again_after_a_while() -> None:
    session = Session("A", "B", chunk=1)
    session.feed(wire.subscribed())
    session.commands()
    assert session.feed(wire.error(27, 3)) == [CommandFailed(27, "refused", ("B",), final=False)]
    session.stream.tick(session.now)
    assert actions(session.commands()) == [("add_markets", ["B"])]
    session.feed(wire.error(27, 4))
    session.stream.tick(session.now + 900)
    assert session.commands() == []
    session.stream.tick(session.now + 1_000)
    assert actions(session.commands()) == [("add_markets", ["B"])]


def test_a_refused_snapshot_is_asked_for_again_when_its_patience_ends() -> None:
    session = open_session("A")
    session.feed(wire.delta(5, "A", "yes", 1, 1))
    (command,) = session.commands()
    assert session.feed(wire.error(27, command["id"])) == [CommandFailed(27, "refused", ("A",), final=False)]  # type: ignore[arg-type]
    session.stream.tick(NOW + SNAPSHOT_PATIENCE_MS)
    assert actions(session.commands()) == [("get_snapshot", ["A"])]
