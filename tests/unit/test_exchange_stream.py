"""The stream's commands, numbering and messages, without a socket."""

import json
from typing import Any

import pytest

from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER
from infra.exchange.stream import Frame, StreamSession
from infra.exchange.terms import EventTerms, TimeInForce
from infra.exchange.testkit import CLOSE_MS, EVENT, MAKER, START_MS, TICKERS, buy, rest, still_core, still_event
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR

A, B, C = TICKERS
YES, NO = Outcome.YES, Outcome.NO


def texts(frames: list[Frame]) -> list[dict[str, Any]]:
    return [json.loads(frame.text) for frame in frames]


class Client:
    """A session with a counter of command ids."""

    def __init__(self, core: ExchangeCore, account: str = MEMBER) -> None:
        self.core = core
        self.session = StreamSession(core, account)
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
        ('{"id":1,"cmd":"unsubscribe","params":{}}', 4),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[7]}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets"}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sids":[1,2],"action":"add_markets"}}', 12),
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
    (snapshot,) = client.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[A])
    assert snapshot["seq"] == 2


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
    (error,) = texts(client.session.overflow(1))
    assert (error["sid"], error["seq"], error["msg"]["code"]) == (1, 2, 25)
    rest(core, A, YES, 40, 10)
    assert client.news() == []
    assert client.session.overflow(1) == []
    assert client.subscribe("orderbook_delta", market_tickers=[A])[0]["msg"]["sid"] == 2
