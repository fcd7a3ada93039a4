"""The stream's commands, numbering and messages, without a socket."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from infra.exchange.channels import ErrorCode, Frame, StreamLimits
from infra.exchange.core import ExchangeCore
from infra.exchange.fault_board import FaultBoard
from infra.exchange.faults import Fault, FaultScript, FrameScope, SequenceGap, StaleSnapshot, WorldFault
from infra.exchange.lag import ReadLag
from infra.exchange.living import MEMBER
from infra.exchange.stream import StreamSession
from infra.exchange.terms import EventTerms, GridName, NewOrder, TimeInForce
from infra.exchange.testkit import CLOSE_MS, EVENT, MAKER, START_MS, TICKERS, buy, rest, still_core, still_event
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Count, Price

A, B, C = TICKERS
YES, NO = Outcome.YES, Outcome.NO


def texts(frames: list[Frame]) -> list[dict[str, Any]]:
    return [json.loads(frame.text) for frame in frames]


class Client:
    """A session with a counter of command ids."""

    def __init__(self, core: ExchangeCore, account: str = MEMBER, **options: Any) -> None:
        self.core = core
        self.session = StreamSession(core, account, **options)
        self._id = 0

    def send(self, cmd: str, **params: object) -> list[dict[str, Any]]:
        self._id += 1
        return texts(self.session.handle(json.dumps({"id": self._id, "cmd": cmd, "params": params})))

    def subscribe(self, *channels: str, **params: object) -> list[dict[str, Any]]:
        return self.send("subscribe", channels=list(channels), **params)

    def news(self) -> list[dict[str, Any]]:
        return texts(self.session.emit(self.core.drain()))


def book_client(tickers: list[str], core: ExchangeCore | None = None, **params: object) -> Client:
    client = Client(core or still_core())
    client.subscribe("orderbook_delta", market_tickers=tickers, **params)
    return client


def test_a_book_subscription_is_acknowledged_before_its_snapshots() -> None:
    core = still_core()
    rest(core, A, YES, 8, 300)
    rest(core, A, NO, 54, 20)
    rest(core, A, NO, 56, 146)
    core.drain()
    frames = Client(core).subscribe("orderbook_delta", market_tickers=[A, B])
    assert frames[0] == {"id": 1, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 1}}
    first, second = frames[1:]
    assert (first["type"], first["sid"], first["seq"], first["sending_ts_ms"]) == ("orderbook_snapshot", 1, 1, START_MS)
    assert first["msg"]["yes_dollars_fp"] == [["0.0800", "300.00"]]
    assert first["msg"]["no_dollars_fp"] == [["0.5400", "20.00"], ["0.5600", "146.00"]]
    assert second["seq"] == 2
    assert second["msg"]["market_ticker"] == B
    assert "yes_dollars_fp" not in second["msg"]
    assert "no_dollars_fp" not in second["msg"]


def test_no_levels_are_given_as_yes_prices_only_when_asked_for() -> None:
    for flag, price in ((False, "0.5600"), (True, "0.4400")):
        core = still_core()
        client = book_client([A], core, use_yes_price=flag)
        rest(core, A, NO, 56, 10)
        (delta,) = client.news()
        assert delta["msg"]["price_dollars"] == price
        assert (delta["msg"]["side"], delta["msg"]["delta_fp"]) == ("no", "10.00")
        assert delta["msg"]["ts_ms"] == START_MS
        (snapshot,) = client.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[A])
        assert snapshot["msg"]["no_dollars_fp"] == [[price, "10.00"]]


def test_control_replies_consume_sequence_numbers() -> None:
    core = still_core()
    client = book_client([A], core)  # the snapshot is 1
    rest(core, A, YES, 10, 5)
    seqs = [frame["seq"] for frame in client.news()]  # 2
    ok, snapshot = client.send("update_subscription", sids=[1], action="add_markets", market_tickers=[B])
    assert (ok["type"], ok["msg"], snapshot["type"]) == ("ok", {"market_tickers": [A, B]}, "orderbook_snapshot")
    seqs += [ok["seq"], snapshot["seq"]]  # 3, 4
    (asked,) = client.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[A])
    assert asked["id"] == 3
    (shrunk,) = client.send("update_subscription", sid=1, action="delete_markets", market_tickers=[A])
    assert shrunk["msg"] == {"market_tickers": [B]}
    (gone,) = client.send("unsubscribe", sids=[1])
    assert gone == {"id": 5, "sid": 1, "seq": 7, "type": "unsubscribed"}
    assert [*seqs, asked["seq"], shrunk["seq"], gone["seq"]] == [2, 3, 4, 5, 6, 7]
    rest(core, B, YES, 10, 5)
    assert client.news() == []


def test_one_sequence_counts_over_all_markets_of_a_subscription() -> None:
    core = still_core()
    client = book_client([A, B], core)
    for ticker in (A, B, C, A):
        rest(core, ticker, YES, 10, 5)
    frames = client.news()
    assert [(frame["seq"], frame["msg"]["market_ticker"]) for frame in frames] == [(3, A), (4, B), (5, A)]


def test_a_new_subscription_starts_again_at_one_under_a_new_id() -> None:
    client = book_client([A])
    client.send("unsubscribe", sids=[1])
    subscribed, snapshot = client.subscribe("orderbook_delta", market_tickers=[A])
    assert (subscribed["msg"]["sid"], snapshot["sid"], snapshot["seq"]) == (2, 2, 1)


def test_subscribing_again_joins_the_existing_subscription() -> None:
    client = book_client([A])
    ok, snapshot = client.subscribe("orderbook_delta", market_tickers=[A, B])
    assert (ok["type"], ok["sid"], ok["seq"], ok["msg"]) == ("ok", 1, 2, {"market_tickers": [A, B]})
    assert (snapshot["seq"], snapshot["msg"]["market_ticker"]) == (3, B)
    (listed,) = texts(client.session.handle('{"id":9,"cmd":"list_subscriptions"}'))
    assert listed == {"id": 9, "type": "ok", "msg": [{"channel": "orderbook_delta", "sid": 1}]}


def test_acknowledgements_can_leave_out_the_tickers() -> None:
    client = book_client([A], skip_ticker_ack=True)
    ok, _ = client.send("update_subscription", sid=1, action="add_markets", market_tickers=[B])
    assert ok["msg"] == {}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no json", 1),
        ("[1]", 1),
        ('{"id":1,"cmd":"dance","params":{}}', 5),
        ('{"id":1,"cmd":"subscribe"}', 2),
        ('{"id":1,"cmd":"subscribe","params":{}}', 3),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["nonsense"]}}', 8),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"market_tickers":"X"}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"market_ticker":"X","market_tickers":["Y"]}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"use_yes_price":"yes"}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"market_ids":["X"]}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ids":["X"],"market_id":"X"}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":[["trade"]]}}', 8),
        ('{"id":1,"cmd":"unsubscribe","params":{}}', 4),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[7]}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets"}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sids":[1,2],"action":"add_markets"}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"sids":[1],"action":"add_markets"}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":9,"action":"add_markets"}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1}}', 15),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"dance"}}', 13),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"add_markets"}}', 14),
    ],
)
def test_commands_that_cannot_be_done_say_why_and_change_nothing(text: str, code: int) -> None:
    client = book_client([A])
    (error,) = texts(client.session.handle(text))
    assert (error["type"], error["msg"]["code"]) == ("error", code)
    assert error["msg"]["msg"]
    # An error about a subscription belongs to it and is numbered like everything else of it.
    names_it = '"sid":1' in text and code != 12
    assert (error.get("sid"), error.get("seq")) == ((1, 2) if names_it else (None, None))
    (snapshot,) = client.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[A])
    assert snapshot["seq"] == (3 if "seq" in error else 2)


def test_a_member_sees_its_own_order_in_the_delta_and_others_do_not() -> None:
    core = still_core()
    mine, other = book_client([A], core), Client(core, MAKER)
    other.subscribe("orderbook_delta", market_tickers=[A])
    buy(core, A, YES, 10, 5, TimeInForce.GOOD_TILL_CANCELED, client_order_id="c-1")
    emissions = core.drain()
    (own,), (foreign,) = (texts(client.session.emit(emissions)) for client in (mine, other))
    assert (own["msg"]["client_order_id"], own["msg"]["subaccount"]) == ("c-1", 0)
    assert "client_order_id" not in foreign["msg"]


def test_a_trade_reaches_the_book_the_tape_and_only_its_members() -> None:
    core = still_core()
    rest(core, A, NO, 60, 10)
    core.drain()
    member, stranger = Client(core), Client(core, "nobody")
    for client in (member, stranger):
        client.subscribe("orderbook_delta", "trade", "fill", "user_orders", market_tickers=[A])
    order = buy(core, A, YES, 45, 4, client_order_id="c-1")
    emissions = core.drain()
    seen = {frame["type"]: frame for frame in texts(member.session.emit(emissions))}
    assert set(seen) == {"orderbook_delta", "trade", "fill", "user_order"}
    assert seen["orderbook_delta"]["msg"]["delta_fp"] == "-4.00"
    trade, fill, mine = seen["trade"]["msg"], seen["fill"]["msg"], seen["user_order"]["msg"]
    assert (trade["yes_price_dollars"], trade["no_price_dollars"]) == ("0.4000", "0.6000")
    assert (trade["taker_book_side"], trade["count_fp"]) == ("bid", "4.00")
    assert trade["trade_id"] == fill["trade_id"]
    assert (fill["order_id"], fill["client_order_id"]) == (order.order_id, "c-1")
    assert (fill["post_position_fp"], fill["is_taker"], fill["exchange_index"]) == ("4.00", True, 2)
    assert fill["fee_cost"] == "0.067200"
    assert (mine["ticker"], mine["status"], mine["fill_count_fp"]) == (A, "executed", "4.00")
    assert "seq" not in seen["fill"]
    assert "seq" not in seen["user_order"]
    assert seen["trade"]["seq"] == 1
    assert {frame["type"] for frame in texts(stranger.session.emit(emissions))} == {"orderbook_delta", "trade"}


def test_tickers_follow_the_top_of_the_book_and_stay_silent_otherwise() -> None:
    core = still_core()
    client = Client(core)
    client.subscribe("ticker")
    rest(core, A, YES, 40, 10)
    (ticker,) = client.news()
    assert "seq" not in ticker
    assert (ticker["msg"]["yes_bid_dollars"], ticker["msg"]["yes_bid_size_fp"]) == ("0.4000", "10.00")
    assert (ticker["msg"]["yes_ask_dollars"], ticker["msg"]["yes_ask_size_fp"]) == ("1.0000", "0.00")
    rest(core, A, YES, 30, 10)
    assert client.news() == []


def test_the_life_of_a_market_is_told_but_for_its_silent_opening_and_closing() -> None:
    def later() -> EventTerms:
        return still_event((A,), open_ms=START_MS + 500, close_ms=CLOSE_MS)

    core = still_core(event=lambda: still_event((B,)))
    client = Client(core)
    client.subscribe("market_lifecycle_v2")
    core.list_event(later())
    listed, created = client.news()
    assert (listed["type"], listed["msg"]["event_ticker"]) == ("event_lifecycle", EVENT)
    assert listed["msg"]["collateral_return_type"] == ""
    message = created["msg"]
    assert (message["event_type"], message["market_ticker"], message["exchange_index"]) == ("created", A, 2)
    assert message["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    assert message["additional_metadata"]["floor_strike"] == 10
    core.advance(CLOSE_MS)
    assert client.news() == []
    core.determine(A, ONE_DOLLAR, "12")
    core.advance(CLOSE_MS + 1_000)
    determined, settled = client.news()
    assert determined["msg"]["event_type"] == "determined"
    assert (determined["msg"]["result"], determined["msg"]["settlement_value"]) == ("yes", "1.0000")
    assert settled["msg"]["event_type"] == "settled"
    assert [frame["seq"] for frame in (listed, created, determined, settled)] == [1, 2, 3, 4]


def test_a_close_is_a_snapshot_without_sides_in_sequence() -> None:
    core = still_core()
    client = book_client([A], core)
    rest(core, A, YES, 40, 10)
    core.advance(CLOSE_MS)
    delta, closed = client.news()
    assert (delta["seq"], closed["seq"], closed["type"]) == (2, 3, "orderbook_snapshot")
    assert set(closed["msg"]) == {"market_ticker", "market_id"}


def test_a_subscription_nobody_reads_ends_with_error_25() -> None:
    core = still_core()
    client = book_client([A], core)
    (error,) = texts(client.session.end(1, ErrorCode.OVERFLOW))
    assert (error["sid"], error["seq"], error["msg"]["code"]) == (1, 2, 25)
    rest(core, A, YES, 40, 10)
    assert client.news() == []
    assert client.session.end(1, ErrorCode.OVERFLOW) == []
    assert client.subscribe("orderbook_delta", market_tickers=[A])[0]["msg"]["sid"] == 2


def test_a_subscription_takes_no_more_markets_than_its_limit_and_keeps_what_it_has() -> None:
    core = still_core()
    client = Client(core, limits=StreamLimits(markets_per_subscription=2))
    (refused,) = client.subscribe("orderbook_delta", market_tickers=[A, B, C])
    assert (refused["msg"]["code"], "sid" in refused) == (26, False)
    client.subscribe("orderbook_delta", market_tickers=[A])
    (refused,) = client.send("update_subscription", sid=1, action="add_markets", market_tickers=[B, C])
    assert (refused["msg"]["code"], refused["sid"], refused["seq"]) == (26, 1, 2)
    rest(core, B, YES, 40, 10)
    assert client.news() == []
    ok, snapshot = client.send("update_subscription", sid=1, action="add_markets", market_tickers=[A, B])
    assert (ok["msg"], snapshot["seq"]) == ({"market_tickers": [A, B]}, 4)


def test_too_many_commands_in_one_second_are_refused_until_the_next() -> None:
    core = still_core()
    client = Client(core, limits=StreamLimits(commands_per_second=2))
    kinds = [client.send("list_subscriptions")[0] for _ in range(3)]
    assert [kind["type"] for kind in kinds] == ["ok", "ok", "error"]
    assert kinds[-1]["msg"]["code"] == 27
    core.advance(START_MS + 1_000)
    assert client.send("list_subscriptions")[0]["type"] == "ok"


def test_several_subscriptions_end_with_one_command() -> None:
    core = still_core()
    client = Client(core)
    client.subscribe("orderbook_delta", "ticker", "trade", market_tickers=[A])
    gone = client.send("unsubscribe", sids=[1, 2, 3])
    assert [(frame["type"], frame["sid"], frame.get("seq")) for frame in gone] == [
        ("unsubscribed", 1, 2), ("unsubscribed", 2, None), ("unsubscribed", 3, 1),
    ]  # fmt: skip
    buy(core, A, YES, 40, 1, TimeInForce.GOOD_TILL_CANCELED)
    assert client.news() == []


def test_tickers_can_be_chosen_by_market_id_and_begin_with_what_is_there() -> None:
    core = still_core()
    rest(core, B, YES, 40, 10)
    core.drain()
    client = Client(core)
    market_id = core.markets[B].market_id
    subscribed, first = client.subscribe("ticker", market_ids=[market_id], send_initial_snapshot=True)
    assert subscribed["type"] == "subscribed"
    assert (first["msg"]["market_ticker"], first["msg"]["market_id"]) == (B, market_id)
    assert first["msg"]["yes_bid_size_fp"] == "10.00"
    rest(core, A, YES, 40, 10)
    rest(core, B, YES, 40, 1)
    assert [frame["msg"]["yes_bid_size_fp"] for frame in client.news()] == ["11.00"]


def test_a_ticker_follows_any_change_of_its_figures() -> None:
    core = still_core()
    rest(core, A, NO, 60, 10)
    core.drain()
    client = Client(core)
    client.subscribe("ticker", market_tickers=[A])
    buy(core, A, YES, 40, 4)
    (traded,) = client.news()
    message = traded["msg"]
    assert (message["price_dollars"], message["last_trade_size_fp"], message["volume_fp"]) == ("0.4000", "4.00", "4.00")
    assert (message["open_interest_fp"], message["dollar_volume"], message["yes_ask_size_fp"]) == ("4.00", 1, "6.00")


def test_positions_follow_fills_and_settlement_without_numbers() -> None:
    core = still_core()
    rest(core, A, NO, 60, 10)
    core.drain()
    client = Client(core)
    client.subscribe("market_positions", market_tickers=[A])
    buy(core, A, YES, 40, 4)
    (held,) = client.news()
    assert (held["type"], "seq" in held) == ("market_position", False)
    message = held["msg"]
    assert (message["position_fp"], message["position_cost_dollars"], message["volume_fp"]) == (
        "4.00",
        "1.6000",
        "4.00",
    )
    assert (message["fees_paid_dollars"], message["realized_pnl_dollars"]) == ("0.0672", "0.0000")
    core.advance(CLOSE_MS)
    core.determine(A, ONE_DOLLAR, "12")
    core.advance(CLOSE_MS + 1_000)
    (paid,) = client.news()
    assert (paid["msg"]["position_fp"], paid["msg"]["realized_pnl_dollars"]) == ("0.00", "2.4000")
    assert (paid["msg"]["position_fee_cost_dollars"], paid["msg"]["fees_paid_dollars"]) == ("0.0000", "0.0672")


def test_private_channels_can_be_narrowed_to_markets() -> None:
    core = still_core()
    client = Client(core)
    client.subscribe("user_orders", market_tickers=[B])
    buy(core, A, YES, 40, 4, TimeInForce.GOOD_TILL_CANCELED)
    buy(core, B, YES, 40, 4, TimeInForce.GOOD_TILL_CANCELED)
    assert [frame["msg"]["ticker"] for frame in client.news()] == [B]


def test_combos_have_a_lifecycle_channel_of_their_own() -> None:
    core = still_core()
    plain, combos = Client(core), Client(core)
    plain.subscribe("market_lifecycle_v2")
    combos.subscribe("multivariate_market_lifecycle")
    event = still_event(("KXMVE-1-A",))
    markets = tuple(replace(terms, event_ticker="KXMVE-1") for terms in event.markets)
    core.list_event(replace(event, ticker="KXMVE-1", markets=markets))
    emissions = core.drain()
    assert texts(plain.session.emit(emissions)) == []
    listed, created = texts(combos.session.emit(emissions))
    assert (listed["type"], listed["seq"]) == ("event_lifecycle", 1)
    assert (created["type"], created["msg"]["event_type"]) == ("multivariate_market_lifecycle", "created")


def lifecycle_of(core: ExchangeCore, change: Callable[[], object]) -> list[dict[str, Any]]:
    client = Client(core)
    client.subscribe("market_lifecycle_v2")
    core.drain()
    change()
    return [frame["msg"] for frame in client.news()]


def test_a_pause_of_a_market_is_told_and_its_end_cancels_what_rests() -> None:
    core = still_core()
    client = Client(core)
    client.subscribe("market_lifecycle_v2")
    client.subscribe("user_orders", "orderbook_delta", market_tickers=[A])
    buy(core, A, YES, 40, 4, TimeInForce.GOOD_TILL_CANCELED)
    core.deactivate(A)
    core.activate(A)
    news = client.news()
    steps = [frame["msg"] for frame in news if frame["type"] == "market_lifecycle_v2"]
    assert [(step["event_type"], step["is_deactivated"]) for step in steps] == [
        ("deactivated", True),
        ("activated", False),
    ]
    (placed, gone) = [frame["msg"] for frame in news if frame["type"] == "user_order"]
    assert (placed["status"], gone["status"], gone["last_update_reason"]) == ("resting", "canceled", "HaltCancel")


def test_a_closing_time_that_moves_is_told() -> None:
    core = still_core()
    (moved,) = lifecycle_of(core, lambda: core.move_close(A, CLOSE_MS + 60_000))
    assert (moved["event_type"], moved["close_ts"]) == ("close_date_updated", CLOSE_MS // 1_000 + 60)


def test_a_grid_and_a_strike_that_change_are_told_with_their_new_values() -> None:
    core = still_core()
    (grid,) = lifecycle_of(core, lambda: core.change_grid(A, GridName.DECI_CENT))
    assert (grid["event_type"], grid["price_level_structure"]) == ("price_level_structure_updated", "deci_cent")
    assert grid["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    (strike,) = lifecycle_of(core, lambda: core.change_strike(A, Decimal("12.5"), None))
    assert (strike["event_type"], strike["floor_strike"]) == ("metadata_updated", 12.5)
    assert (strike["strike_type"], strike["yes_sub_title"]) == ("greater", "above 10")


def test_fees_of_an_event_are_told_and_null_when_they_are_cleared() -> None:
    core = still_core()
    client = Client(core)
    client.subscribe("market_lifecycle_v2")
    core.change_fees(EVENT, FeeSchedule(FeeType.QUADRATIC, 5_000), START_MS)
    core.change_fees(EVENT, None, START_MS)
    own, cleared = client.news()
    assert (own["type"], own["seq"], cleared["seq"]) == ("event_fee_update", 1, 2)
    assert own["msg"] == {
        "event_ticker": EVENT, "fee_type_override": "quadratic", "fee_multiplier_override": 0.5,
    }  # fmt: skip
    assert (cleared["msg"]["fee_type_override"], cleared["msg"]["fee_multiplier_override"]) == (None, None)


def test_order_groups_are_told_to_their_owner_in_sequence() -> None:
    core = still_core()
    rest(core, A, NO, 60, 10)
    mine, other = Client(core), Client(core, MAKER)
    for client in (mine, other):
        client.subscribe("order_group_updates", "user_orders")
    core.drain()
    group = core.create_group(MEMBER, Count(300), 2).group_id
    core.set_group_limit(MEMBER, group, Count(200))
    core.place(
        MEMBER,
        NewOrder(A, YES, Price(4_000), Count(400), TimeInForce.GOOD_TILL_CANCELED, "c-1", order_group_id=group),
    )
    emissions = core.drain()
    told = [frame for frame in texts(mine.session.emit(emissions)) if frame["type"] == "order_group_updates"]
    assert [(frame["seq"], frame["msg"]["event_type"]) for frame in told] == [
        (1, "created"),
        (2, "limit_updated"),
        (3, "triggered"),
    ]
    assert told[1]["msg"] == {
        "event_type": "limit_updated", "order_group_id": group, "ts_ms": START_MS, "contracts_limit_fp": "2.00",
    }  # fmt: skip
    assert not [frame for frame in texts(other.session.emit(emissions)) if "order_group" in frame["type"]]


def test_an_order_shows_its_group_and_its_expiry() -> None:
    core = still_core()
    client = Client(core)
    client.subscribe("user_orders")
    group = core.create_group(MEMBER, Count(300), 2).group_id
    expires_ms = START_MS + 5_000
    core.place(
        MEMBER,
        NewOrder(
            A, YES, Price(1_000), Count(100), TimeInForce.GOOD_TILL_CANCELED, "c-1",
            expiration_ms=expires_ms, order_group_id=group,
        ),
    )  # fmt: skip
    (placed,) = client.news()
    assert (placed["msg"]["order_group_id"], placed["msg"]["expiration_ts_ms"]) == (group, expires_ms)
    core.advance(expires_ms)
    (gone,) = client.news()
    assert (gone["msg"]["status"], gone["msg"]["last_update_reason"]) == ("canceled", "ExpiryCancel")


def test_what_rested_at_the_close_is_cancelled_shortly_after_on_the_users_channel() -> None:
    core = still_core()
    buy(core, A, YES, 40, 4, TimeInForce.GOOD_TILL_CANCELED)
    core.drain()
    client = Client(core)
    client.subscribe("user_orders", "orderbook_delta", market_tickers=[A])
    core.advance(CLOSE_MS)
    assert [frame["type"] for frame in client.news()] == ["orderbook_snapshot"]
    core.advance(CLOSE_MS + 60_000)
    (gone,) = client.news()
    assert (gone["type"], gone["msg"]["last_update_reason"]) == ("user_order", "CloseCancel")


# Faults


def faulty(*faults: Fault) -> FaultBoard:
    class NoWorld:
        def check(self, fault: WorldFault) -> None:
            raise AssertionError

        def strike(self, fault: WorldFault) -> bool:
            raise AssertionError

    board = FaultBoard(lambda: START_MS, NoWorld(), ReadLag())
    board.add(FaultScript(faults))
    return board


def test_a_gap_of_the_numbers_alone_loses_no_frame() -> None:
    core = still_core()
    deltas = FrameScope(types=("orderbook_delta",))
    client = Client(core, faults=faulty(SequenceGap(size=3, skip=1, scope=deltas)))
    client.subscribe("orderbook_delta", market_tickers=[A])
    for _ in range(3):
        rest(core, A, YES, 40, 1)
    assert [frame["seq"] for frame in client.news()] == [2, 6, 7]


def test_a_stale_snapshot_is_the_previous_one_under_a_new_number() -> None:
    core = still_core()
    rest(core, A, YES, 40, 1)
    core.drain()
    client = Client(core, faults=faulty(StaleSnapshot()))
    _, first = client.subscribe("orderbook_delta", market_tickers=[A])
    ask = {"sid": 1, "action": "get_snapshot", "market_tickers": [A]}
    # Nothing has changed: what is shown is true, and no fault has struck.
    assert client.send("update_subscription", **ask)[0]["msg"] == first["msg"]
    rest(core, A, YES, 40, 1)
    client.news()
    (stale,) = client.send("update_subscription", **ask)
    assert (stale["msg"], stale["seq"]) == (first["msg"], 4)
    (true,) = client.send("update_subscription", **ask)
    assert true["msg"]["yes_dollars_fp"] == [["0.4000", "2.00"]]
