"""Kalshi's own client against the embedded exchange: every answer reads in its models, and says what really happened.

The client lives in an environment of its own, ``.venv-sdk``; a driver in it makes the calls and hands back what was on
the wire, what the models read, and where the two differ, which must be nowhere. What is true is asked of the core.
"""

import ast
import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange import wire
from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.auth import KeyRing
from infra.exchange.core import ExchangeCore
from infra.exchange.living import MEMBER
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.testkit import CLOSE_MS, EVENT, TICKERS, ManualTime, rest, still_core, still_event
from infra.exchange.tokens import Tier
from kalshi_arb.domain.fees import FeeSchedule, FeeType
from kalshi_arb.domain.market import Outcome
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, Price, cash_to_wire, count_to_wire

VERSION = "3.34.0"
ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("sdk_driver.py")
PYTHON = Path(os.environ.get("KALSHI_SDK_PYTHON", ROOT / ".venv-sdk" / "bin" / "python"))
KEY_ID = "key-1"
KEY = Ed25519PrivateKey.generate()
A, B, C = TICKERS


class Sdk:
    """The client in its process, one call at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, line: dict[str, Any]) -> dict[str, Any]:
        """Send a line and read what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the driver has ended"
        told: dict[str, Any] = json.loads(answer)
        return told

    def connect(self, host: str) -> dict[str, Any]:
        """Begin anew with another exchange."""
        pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return self.tell({"connect": {"host": host, "key_id": KEY_ID, "private_key": pem}})


def require_environment(python: Path) -> None:
    """Leave these tests out where the client's environment was not made; where everything is checked, that is a
    failure."""
    if python.exists():
        return
    reason = f"{python} is absent: infra/env/bootstrap.py .venv-sdk makes it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def test_without_the_clients_environment_a_check_of_everything_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "python"
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"bootstrap.py \.venv-sdk makes it"):
        require_environment(absent)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=r"bootstrap.py \.venv-sdk makes it"):
        require_environment(absent)
    require_environment(DRIVER)


@pytest.fixture(scope="module")
def sdk() -> Iterator[Sdk]:
    require_environment(PYTHON)
    with subprocess.Popen([PYTHON, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Sdk(process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Venue:
    """A running exchange with the client connected to it."""

    server: ExchangeServer
    time: ManualTime
    _sdk: Sdk
    late_ms: int = 0

    @property
    def core(self) -> ExchangeCore:
        return self.server.core

    async def call(self, operation: str, **arguments: Any) -> Any:
        """What the exchange answered, as the client's model has read it without any difference."""
        told = await self._tell(operation, arguments)
        assert "model" in told, told
        assert told["differences"] == [], told
        return told["wire"]

    async def refused(self, operation: str, **arguments: Any) -> tuple[int, str, Any]:
        """Status, the client's exception and the body of a call that must be refused."""
        told = await self._tell(operation, arguments)
        assert "refused" in told, told
        return told["status"], told["refused"], told["wire"]

    async def _tell(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        line = {"call": operation, "arguments": arguments, "now_ms": self.time.ms - self.late_ms}
        return await asyncio.to_thread(self._sdk.tell, line)

    async def pages(self, operation: str, rows: str, **arguments: Any) -> list[Any]:
        """All rows of a listing."""
        page = await self.call(operation, **arguments)
        seen: list[Any] = page[rows]
        while page["cursor"]:
            page = await self.call(operation, cursor=page["cursor"], **arguments)
            seen += page[rows]
        return seen

    async def order(self, **fields: Any) -> Any:
        return await self.call("create_order_v2", **ORDER | fields)


ORDER: dict[str, Any] = {
    "ticker": A,
    "side": "bid",
    "count": "4.00",
    "price": "0.4500",
    "time_in_force": "immediate_or_cancel",
    "self_trade_prevention_type": "taker_at_cross",
}
RESTING: dict[str, Any] = {"price": "0.1000", "time_in_force": "good_till_canceled"}


def with_venue(
    sdk: Sdk, scenario: Callable[[Venue], Coroutine[Any, Any, None]], config: ServerConfig | None = None
) -> None:
    async def main() -> None:
        keys = KeyRing()
        keys.add(KEY_ID, KEY.public_key(), MEMBER)
        time = ManualTime()
        server = ExchangeServer(still_core(), keys, config or ServerConfig(), now_ms=time.now_ms)
        await server.start()
        try:
            await asyncio.to_thread(sdk.connect, server.rest_url)
            await scenario(Venue(server, time, sdk))
        finally:
            await server.stop()

    asyncio.run(main())


def minutes_ago(time: ManualTime, minutes: int) -> dict[str, int]:
    """The span of candles up to the end of this minute."""
    now_s = time.ms // 1_000
    return {"start_ts": now_s - 60 * minutes, "end_ts": now_s + 60, "period_interval": 1}


def test_the_client_is_the_one_that_is_pinned(sdk: Sdk) -> None:
    assert sdk.connect("http://127.0.0.1:9")["version"] == VERSION


def test_the_exchange_and_its_listings(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        core = venue.core
        status = await venue.call("get_exchange_status")
        assert (status["exchange_active"], status["trading_active"]) == (True, True)
        core.pause_trading(paused=True)
        assert (await venue.call("get_exchange_status"))["trading_active"] is False
        core.pause_trading(paused=False)
        (hours,) = (await venue.call("get_exchange_schedule"))["schedule"]["standard_hours"]
        assert hours["thursday"] == hours["friday"] == [{"open_time": "00:00", "close_time": "24:00"}]
        core.set_weekly_pause(enabled=True)
        (hours,) = (await venue.call("get_exchange_schedule"))["schedule"]["standard_hours"]
        assert [day["open_time"] for day in hours["thursday"]] == ["00:00", "05:00"]
        assert (await venue.call("get_user_data_timestamp"))["as_of_time"].endswith("Z")
        (series,) = (await venue.call("get_series_list", category="Tests", include_volume=True))["series"]
        one = (await venue.call("get_series", series_ticker="KXSTILL", include_volume=True))["series"]
        assert (series, series["exchange_index"], series["fee_multiplier"]) == (one, 2, 1)
        (nested,) = (await venue.call("get_events", with_nested_markets=True, with_milestones=True))["events"]
        assert [market["ticker"] for market in nested["markets"]] == list(TICKERS)
        beside = await venue.call("get_event", event_ticker=EVENT)
        assert beside["markets"] == nested["markets"]
        assert (await venue.call("get_event", event_ticker=EVENT, with_nested_markets=True))["event"] == nested
        metadata = await venue.call("get_event_metadata", event_ticker=EVENT)
        assert [row["market_ticker"] for row in metadata["market_details"]] == list(TICKERS)
        assert (await venue.call("get_multivariate_events"))["events"] == []

    with_venue(sdk, scenario)


def test_fee_changes_ahead(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        ahead, half = venue.time.ms + 60_000, FeeSchedule(FeeType.WITH_MAKER, 5_000)
        of_series = venue.core.change_fees("KXSTILL", half, ahead)
        of_event = venue.core.change_fees(EVENT, half, ahead)
        cleared = venue.core.change_fees(EVENT, None, ahead + 1_000)
        (series,) = (await venue.call("get_series_fee_changes"))["series_fee_change_arr"]
        assert (series["id"], series["fee_type"], series["fee_multiplier"]) == (of_series, half.fee_type.value, 0.5)
        events = (await venue.call("get_event_fee_changes", event_ticker=EVENT))["event_fee_changes"]
        shown = {row["id"]: (row["fee_type_override"], row["fee_multiplier_override"]) for row in events}
        assert shown == {of_event: (half.fee_type.value, 0.5), cleared: (None, None)}
        venue.time.ms = ahead
        (event,) = (await venue.call("get_events"))["events"]
        assert (event["fee_type_override"], event["fee_multiplier_override"]) == (half.fee_type.value, 0.5)
        assert (await venue.call("get_series_fee_changes"))["series_fee_change_arr"] == []
        history = await venue.call("get_series_fee_changes", show_historical=True)
        assert [row["id"] for row in history["series_fee_change_arr"]] == [of_series]

    with_venue(sdk, scenario)


def test_markets_and_books(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        for cents in (41, 42):
            rest(venue.core, A, Outcome.YES, cents, 13)
        rest(venue.core, A, Outcome.NO, 56, 17)
        page = await venue.call("get_markets", status="open", limit=2)
        rest_of_it = await venue.call("get_markets", status="open", limit=2, cursor=page["cursor"])
        assert sorted(row["ticker"] for row in page["markets"] + rest_of_it["markets"]) == list(TICKERS)
        assert rest_of_it["cursor"] == ""
        (market,) = (await venue.call("get_markets", tickers=A, mve_filter="exclude"))["markets"]
        assert market == (await venue.call("get_market", ticker=A))["market"]
        assert (market["yes_bid_dollars"], market["yes_ask_dollars"]) == ("0.4200", "0.4400")
        assert (market["yes_bid_size_fp"], market["yes_ask_size_fp"]) == ("13.00", "17.00")
        book = (await venue.call("get_market_orderbook", ticker=A))["orderbook_fp"]
        assert book == {
            "yes_dollars": [["0.4100", "13.00"], ["0.4200", "13.00"]],
            "no_dollars": [["0.5600", "17.00"]],
        }
        shallow = (await venue.call("get_market_orderbook", ticker=A, depth=1))["orderbook_fp"]
        assert shallow["yes_dollars"] == [["0.4200", "13.00"]]
        books = (await venue.call("get_market_orderbooks", tickers=[A, B]))["orderbooks"]
        assert books == [
            {"ticker": A, "orderbook_fp": book},
            {"ticker": B, "orderbook_fp": {"yes_dollars": [], "no_dollars": []}},
        ]

    with_venue(sdk, scenario)


def test_a_market_in_every_state_of_its_life(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        core = venue.core

        async def status() -> tuple[str, str]:
            market = (await venue.call("get_market", ticker=A))["market"]
            return market["status"], market["result"]

        core.list_event(replace(still_event(("KXLATE-1",), open_ms=venue.time.ms + 1), ticker="KXLATE"))
        late = (await venue.call("get_event", event_ticker="KXLATE", with_nested_markets=True))["event"]["markets"][0]
        assert late["status"] == "initialized"
        assert await status() == ("active", "")
        core.deactivate(A)
        assert await status() == ("inactive", "")
        core.activate(A)
        venue.time.ms = CLOSE_MS
        assert await status() == ("closed", "")
        core.determine(A, ONE_DOLLAR, "12")
        assert await status() == ("determined", "yes")
        core.dispute(A)
        assert await status() == ("disputed", "yes")
        core.amend_result(A, Price(5_000), "10")
        assert await status() == ("amended", "scalar")
        venue.time.ms += 10_000
        assert await status() == ("finalized", "scalar")
        market = (await venue.call("get_market", ticker=A))["market"]
        assert market["settlement_value_dollars"] == "0.5000"
        (settled,) = (await venue.call("get_markets", status="settled", min_settled_ts=CLOSE_MS // 1_000))["markets"]
        assert settled == market

    with_venue(sdk, scenario)


def test_trades_and_candles_of_what_was_traded(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        rest(venue.core, A, Outcome.NO, 60, 10)
        await venue.order(count="4.00")
        rest(venue.core, A, Outcome.YES, 30, 10)
        await venue.order(side="ask", price="0.3000", count="1.00")
        trades = (await venue.call("get_trades", ticker=A))["trades"]
        fills = venue.core.accounts[MEMBER].fills
        assert {row["trade_id"] for row in trades} == {fill.trade_id for fill in fills}
        assert {(row["yes_price_dollars"], row["count_fp"], row["taker_outcome_side"]) for row in trades} == {
            ("0.4000", "4.00", "yes"),
            ("0.3000", "1.00", "no"),
        }
        span = minutes_ago(venue.time, 5)
        answer = await venue.call("get_market_candlesticks", series_ticker="KXSTILL", ticker=A, **span)
        (candle,) = answer["candlesticks"]
        prices = [candle["price"][f"{name}_dollars"] for name in ("open", "low", "high", "close", "mean")]
        assert prices == ["0.4000", "0.3000", "0.4000", "0.3000", "0.380000"]
        assert (candle["volume_fp"], candle["open_interest_fp"]) == ("5.00", "3.00")
        assert candle["yes_bid"]["close_dollars"] == "0.3000"
        batch = await venue.call("batch_get_market_candlesticks", market_tickers=f"{A},{B}", **span)
        assert batch["markets"] == [
            {"market_ticker": A, "candlesticks": [candle]},
            {"market_ticker": B, "candlesticks": []},
        ]
        event = await venue.call("get_market_candlesticks_by_event", series_ticker="KXSTILL", ticker=EVENT, **span)
        assert (event["market_tickers"], event["market_candlesticks"]) == (list(TICKERS), [[candle], [], []])

    with_venue(sdk, scenario)


def test_orders_from_placing_to_cancelling(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        account = venue.core.accounts[MEMBER]
        rest(venue.core, A, Outcome.NO, 60, 10)
        ack = await venue.order(client_order_id="c-1", count="4.00")
        assert (ack["fill_count"], ack["remaining_count"], ack["average_fill_price"]) == ("4.00", "0.00", "0.4000")
        resting = await venue.order(client_order_id="c-2", **RESTING | {"expiration_time": venue.time.ms // 1_000 + 60})
        order = (await venue.call("get_order", order_id=resting["order_id"]))["order"]
        view = account.orders[resting["order_id"]].values[-1]
        assert (order["status"], order["remaining_count_fp"]) == ("resting", count_to_wire(view.remaining))
        assert order["expiration_time"] == wire.iso(view.expiration_ms or 0)
        value = await venue.call("get_portfolio_resting_order_total_value")
        assert value["total_resting_order_value"] == 40
        assert value["resting_order_value_breakdown"][1] == {"exchange_index": 2, "balance": "0.4000"}
        order_id = resting["order_id"]
        amended = await venue.call(
            "amend_order_v2", order_id=order_id, ticker=A, side="bid", price="0.1100", count="3.00",
            updated_client_order_id="c-3", expiration_time=0,
        )  # fmt: skip
        assert (amended["remaining_count"], amended["client_order_id"]) == ("3.00", "c-3")
        where = {"market_ticker": A}
        smaller = await venue.call("decrease_order_v2", order_id=order_id, reduce_by="1.00", **where)
        assert smaller["remaining_count"] == "2.00"
        smaller = await venue.call("decrease_order_v2", order_id=order_id, reduce_to="1.50", **where)
        assert smaller["remaining_count"] == "1.50"
        view = account.orders[order_id].values[-1]
        assert (view.remaining, view.price, view.expiration_ms) == (150, 1_100, None)
        assert (await venue.call("get_order_queue_position", order_id=order_id))["queue_position_fp"] == "0.00"
        behind = await venue.order(**RESTING | {"price": "0.1100"})
        queue = (await venue.call("get_order_queue_positions", market_tickers=A))["queue_positions"]
        assert {row["order_id"]: row["queue_position_fp"] for row in queue} == {
            order_id: "0.00",
            behind["order_id"]: "1.50",
        }
        gone = await venue.call("cancel_order_v2", order_id=order_id, **where)
        assert (gone["reduced_by"], gone["client_order_id"]) == ("1.50", "c-3")
        assert (await venue.call("cancel_order_v2", order_id=behind["order_id"], exchange_index=2))[
            "reduced_by"
        ] == "4.00"
        listed = (await venue.call("get_orders", ticker=A, status="canceled"))["orders"]
        assert {row["order_id"] for row in listed} == {order_id, behind["order_id"]}
        (executed,) = (await venue.call("get_orders", status="executed", event_ticker=EVENT))["orders"]
        assert executed["taker_fees_dollars"] == cash_to_wire(account.fees_paid)

    with_venue(sdk, scenario)


def test_batches_and_cancelling_everything(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        created = await venue.call(
            "batch_create_orders_v2",
            orders=[
                ORDER | RESTING | {"client_order_id": "b-1"},
                ORDER | RESTING | {"client_order_id": "b-2", "ticker": B},
                ORDER | {"client_order_id": "b-3", "time_in_force": "fill_or_kill"},
            ],
        )
        one, two, three = created["orders"]
        assert three["error"]["code"] == "fill_or_kill_insufficient_resting_volume"
        assert (one["remaining_count"], two["client_order_id"]) == ("4.00", "b-2")
        cancelled = await venue.call(
            "batch_cancel_orders_v2",
            orders=[{"order_id": one["order_id"], "market_ticker": A}, {"order_id": "none", "exchange_index": 2}],
        )
        first, second = cancelled["orders"]
        assert (first["reduced_by"], second["reduced_by"], second["error"]["code"]) == ("4.00", "0.00", "not_found")
        assert [order.order_id for order in venue.core.markets[B].resting()] == [two["order_id"]]
        assert await venue.call("cancel_all_orders") is None
        assert venue.core.markets[B].resting() == []
        assert (await venue.call("get_orders", status="resting"))["orders"] == []

    with_venue(sdk, scenario)


def test_what_the_member_has_and_was_paid(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        account = venue.core.accounts[MEMBER]
        rest(venue.core, A, Outcome.NO, 60, 10)
        ack = await venue.order(count="4.50")
        (fill,) = (await venue.call("get_fills", ticker=f"{A},{B}"))["fills"]
        (true,) = account.fills
        assert (fill["order_id"], fill["trade_id"]) == (ack["order_id"], true.trade_id)
        assert (fill["count_fp"], fill["fee_cost"]) == (count_to_wire(true.count), cash_to_wire(true.fee))
        positions = await venue.call("get_positions", count_filter="position")
        (market,), (event,) = positions["market_positions"], positions["event_positions"]
        assert (market["position_fp"], market["market_exposure_dollars"]) == ("4.50", "1.800000")
        assert event["event_exposure_dollars"] == "1.800000"
        balance = await venue.call("get_balance")
        exact = {str(row["exchange_index"]): row["balance"] for row in balance["balance_breakdown"]}
        assert exact == {str(shard): wire.amount(account.available(shard)) for shard in account.cash}
        assert balance["balance"] == sum(account.cash.values()) // 10_000
        one = await venue.call("get_balance", exchange_index=2)
        assert one["balance_dollars"] == exact["2"]
        venue.time.ms = CLOSE_MS
        await venue.call("get_exchange_status")
        venue.core.determine(A, ONE_DOLLAR, "12")
        venue.time.ms += 10_000
        (settlement,) = (await venue.call("get_settlements", event_ticker=EVENT))["settlements"]
        assert (settlement["revenue"], settlement["market_result"], settlement["yes_count_fp"]) == (450, "yes", "4.50")
        assert settlement["fee_cost"] == cash_to_wire(account.fees_paid)
        assert (await venue.call("get_positions"))["market_positions"] == []
        (settled,) = (await venue.call("get_positions", settlement_status="settled"))["market_positions"]
        assert settled["realized_pnl_dollars"] == cash_to_wire(account.position(A).realized) == "2.700000"

    with_venue(sdk, scenario)


def test_order_groups(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        created = await venue.call("create_order_group", contracts_limit=10, exchange_index=2)
        group = {"order_group_id": created["order_group_id"]}
        placed = await venue.order(**RESTING | group)
        order = (await venue.call("get_order", order_id=placed["order_id"]))["order"]
        assert order["order_group_id"] == created["order_group_id"]
        shown = await venue.call("get_order_group", **group)
        assert (shown["orders"], shown["contracts_limit_fp"]) == ([placed["order_id"]], "10.00")
        assert (
            await venue.call("update_order_group_limit", exchange_index=2, contracts_limit_fp="2.50", **group)
        ) == {}
        (row,) = (await venue.call("get_order_groups"))["order_groups"]
        assert (row["id"], row["contracts_limit_fp"]) == (created["order_group_id"], "2.50")
        # A group is looked for on shard 0 unless told otherwise.
        assert (await venue.refused("trigger_order_group", **group))[0] == 404
        await venue.call("trigger_order_group", exchange_index=2, **group)
        assert not venue.core.is_resting(placed["order_id"])
        assert (await venue.call("get_order_group", **group))["is_auto_cancel_enabled"] is False
        await venue.call("reset_order_group", exchange_index=2, **group)
        assert (await venue.order(**RESTING | group))["remaining_count"] == "4.00"
        await venue.call("delete_order_group", exchange_index=2, **group)
        assert venue.core.groups(MEMBER) == []
        assert venue.core.markets[A].resting() == []

    with_venue(sdk, scenario)


def test_cash_between_shards_and_netting(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        wanted = {
            "source": "event_contract", "destination": "event_contract", "amount": 125_000,
            "source_exchange_shard": 0, "destination_exchange_shard": 2,
            "client_transfer_id": "8c35ecb3-328f-4f52-8c7c-0f4b9862f8d1",
        }  # fmt: skip
        moved = await venue.call("intra_exchange_instance_transfer", **wanted)
        assert venue.core.accounts[MEMBER].cash == {0: 987_500_000, 2: 1_012_500_000}
        (row,) = (await venue.call("get_intra_exchange_instance_transfers"))["transfers"]
        assert (row["transfer_id"], row["amount"], row["status"]) == (moved["transfer_id"], "12.5000", "complete")
        one = await venue.call("get_intra_exchange_instance_transfer", transfer_id=moved["transfer_id"])
        assert one["transfer"] == row
        assert (await venue.refused("intra_exchange_instance_transfer", **wanted))[:2] == (409, "ConflictException")
        balances = (await venue.call("get_subaccount_balances"))["subaccount_balances"]
        assert [(item["exchange_index"], item["balance"]) for item in balances] == [(0, "987.5000"), (2, "1012.5000")]
        assert await venue.call("update_subaccount_netting", subaccount_number=0, enabled=True) is None
        netting = (await venue.call("get_subaccount_netting"))["netting_configs"]
        assert all(item["enabled"] for item in netting)
        assert venue.core.accounts[MEMBER].netting

    with_venue(sdk, scenario)


def test_limits_costs_and_keys(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        limits = await venue.call("get_account_api_limits")
        assert (limits["usage_tier"], limits["read"]) == ("basic", {"refill_rate": 200, "bucket_capacity": 600})
        assert limits["write"] == {"refill_rate": 100, "bucket_capacity": 100}
        costs = await venue.call("get_account_endpoint_costs")
        listed = {(row["method"], row["path"]): row["cost"] for row in costs["endpoint_costs"]}
        assert listed[("DELETE", "/portfolio/events/orders/{order_id}")] == 2
        await venue.call("upgrade_account_api_usage_level")
        limits = await venue.call("get_account_api_limits")
        assert (limits["usage_tier"], limits["write"]["bucket_capacity"]) == ("advanced", 900)
        assert (await venue.refused("upgrade_account_api_usage_level"))[0] == 409
        (key,) = (await venue.call("get_api_keys"))["api_keys"]
        assert (key["api_key_id"], key["scopes"]) == (KEY_ID, ["read", "write"])

    with_venue(sdk, scenario, ServerConfig(tier=Tier.BASIC))


def test_what_is_old_is_found_on_the_historical_endpoints_only(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        rest(venue.core, A, Outcome.NO, 60, 10)
        await venue.order()
        traded_s = venue.time.ms // 1_000
        venue.time.ms = CLOSE_MS
        await venue.call("get_exchange_status")
        venue.core.determine(A, ONE_DOLLAR, "12")
        venue.time.ms += 20_000
        assert (await venue.call("get_markets", tickers=A))["markets"] != []
        venue.time.ms += 100_000
        cutoff = await venue.call("get_historical_cutoff")
        assert cutoff["market_settled_ts"] == wire.iso(venue.time.ms - 60_000)
        old = (await venue.call("get_historical_market", ticker=A))["market"]
        assert (await venue.call("get_historical_markets", tickers=A))["markets"] == [old]
        assert (old["status"], old["result"]) == ("finalized", "yes")
        assert (await venue.refused("get_market", ticker=A))[0] == 404
        assert (await venue.refused("get_historical_market", ticker=B))[0] == 404
        for live, past, rows in (
            ("get_trades", "get_trades_historical", "trades"),
            ("get_fills", "get_fills_historical", "fills"),
            ("get_orders", "get_historical_orders", "orders"),
            ("get_positions", "get_historical_positions", "market_positions"),
        ):
            assert (await venue.call(live))[rows] == []
            (row,) = (await venue.call(past, ticker=A))[rows]
            assert row["ticker"] == A
        span = {"start_ts": traded_s - 60, "end_ts": traded_s + 60, "period_interval": 60}
        candles = await venue.call("get_market_candlesticks_historical", ticker=A, **span | {"period_interval": 1})
        assert candles["candlesticks"][0]["volume"] == "4.00"

    with_venue(sdk, scenario, ServerConfig(window_ms=60_000))


def test_refusals_are_the_clients_exceptions(sdk: Sdk) -> None:
    async def scenario(venue: Venue) -> None:
        rest(venue.core, A, Outcome.NO, 60, 10)

        async def refused(**fields: Any) -> tuple[int, str, str]:
            status, exception, body = await venue.refused("create_order_v2", **ORDER | fields)
            return status, exception, body["error"]["code"]

        assert await refused(price="0.4550") == (400, "BadRequestException", "invalid_order")
        assert await refused(ticker="NONE") == (404, "NotFoundException", "market_not_found")
        killed = (409, "ConflictException", "fill_or_kill_insufficient_resting_volume")
        assert await refused(time_in_force="fill_or_kill", count="50") == killed
        status, _, body = await venue.refused(
            "create_order_v2", **ORDER | {"post_only": True, **RESTING, "price": "0.4000"}
        )
        assert (status, body["error"]["details"]) == (400, "post only cross")
        assert (await venue.refused("get_markets", limit=1_000, status="active"))[:2] == (400, "BadRequestException")
        venue.late_ms = 31_000
        status, exception, body = await venue.refused("get_balance")
        assert (status, exception, body["error"]["code"]) == (401, "UnauthorizedException", "header_timestamp_expired")

    with_venue(sdk, scenario)


def test_a_whole_living_universe_reads_in_the_clients_models(sdk: Sdk) -> None:
    async def main() -> None:
        time = ManualTime()
        options = ExchangeOptions(5, KEY_ID, KEY.public_key(), Cash(10**10))
        server = create_exchange(options, time.now_ms)
        await server.start()
        try:
            await asyncio.to_thread(sdk.connect, server.rest_url)
            await read_everything(Venue(server, time, sdk))
        finally:
            await server.stop()

    async def read_everything(venue: Venue) -> None:
        states: set[str] = set()
        strikes: set[str | None] = set()
        for seconds in (0, 5, 60):
            # Step by step, so that the world has its time to trade, close and pay.
            for _ in range(20):
                venue.time.ms += seconds * 50
                while venue.core.now_ms < venue.time.ms:
                    await asyncio.sleep(0.005)
            markets = await venue.pages("get_markets", "markets", limit=1_000)
            assert {market["ticker"] for market in markets} == set(venue.core.markets)
            states |= {market["status"] for market in markets}
            strikes |= {market.get("strike_type") for market in markets}
            events = await venue.pages("get_events", "events", with_nested_markets=True)
            combos = await venue.pages("get_multivariate_events", "events", with_nested_markets=True, limit=200)
            nested = [market["ticker"] for event in events + combos for market in event["markets"]]
            assert sorted(nested) == sorted(venue.core.markets)
            assert all("mve_selected_legs" in market for event in combos for market in event["markets"])
            only = await venue.pages("get_markets", "markets", mve_filter="only", limit=1_000)
            assert len(only) == sum(len(event["markets"]) for event in combos) > 0
            await venue.call("get_series_list", include_volume=True, include_product_metadata=True)
            await venue.call("get_trades", limit=1_000)
        assert states >= {"active", "finalized"}
        assert len(strikes) >= 5

    asyncio.run(main())


_COMBOS = "combos come from a market maker on request; this project trades none through a collection"
_DESK = "requests for quotes and block trades are another way of trading, which this project does not use"
_BROKER = "for futures brokers and their customers, not for a member's own account"
_SCENES = "pictures, scores and weather beside the markets; no decision here rests on them"
_KEYS = "keys are made by hand, once; the embedded exchange is told its member's public key at its start"
_SUBACCOUNTS = "a member of the embedded exchange has the first subaccount only"
_CASHIER = "money comes and goes by bank; the embedded account is funded at its start"

NOT_COVERED = {
    "accept_block_trade_proposal": _DESK,
    "accept_quote": _DESK,
    "accept_rfq_quote": _DESK,
    "apply_subaccount_transfer": _SUBACCOUNTS,
    "confirm_quote": _DESK,
    "confirm_rfq_quote": _DESK,
    "create_api_key": _KEYS,
    "create_fcm_position_transfer": _BROKER,
    "create_fcm_subtrader": _BROKER,
    "create_market_in_multivariate_event_collection": _COMBOS,
    "create_quote": _DESK,
    "create_rfq": _DESK,
    "create_subaccount": _SUBACCOUNTS,
    "delete_api_key": _KEYS,
    "delete_fcm_event_contract_daily_cap": _BROKER,
    "delete_quote": _DESK,
    "delete_rfq": _DESK,
    "delete_rfq_quote": _DESK,
    "generate_api_key": _KEYS,
    "get_account_api_usage_level_volume_progress": "tiers above the second are earned by a volume not reached",
    "get_block_trade_proposals": _DESK,
    "get_communications_id": _DESK,
    "get_deposits": _CASHIER,
    "get_event_forecast_percentiles_history": "a forecast made of prices; prices are read themselves",
    "get_event_live_data": _SCENES,
    "get_fcm_event_contract_daily_cap": _BROKER,
    "get_fcm_fills": _BROKER,
    "get_fcm_orders": _BROKER,
    "get_fcm_positions": _BROKER,
    "get_fcm_subtrader_blocked_categories": _BROKER,
    "get_filters_for_sports": _SCENES,
    "get_game_stats": _SCENES,
    "get_incentive_programs": "rewards for resting orders; this project's orders do not rest",
    "get_live_data": _SCENES,
    "get_live_data_by_milestone": _SCENES,
    "get_live_datas": _SCENES,
    "get_milestone": _SCENES,
    "get_milestones": _SCENES,
    "get_multivariate_event_collection": _COMBOS,
    "get_multivariate_event_collections": _COMBOS,
    "get_quote": _DESK,
    "get_quotes": _DESK,
    "get_rfq": _DESK,
    "get_rfq_quote": _DESK,
    "get_rfqs": _DESK,
    "get_structured_target": _SCENES,
    "get_structured_targets": _SCENES,
    "get_subaccount_transfers": _SUBACCOUNTS,
    "get_tags_for_series_categories": "words to search by; series are listed whole",
    "get_target_balance_allocation": "cash is moved between shards by plain transfers, when it is needed",
    "get_weather_index": _SCENES,
    "get_weather_index_calibrations": _SCENES,
    "get_withdrawals": _CASHIER,
    "list_fcm_subtraders": _BROKER,
    "propose_block_trade": _DESK,
    "set_target_balance_allocation": "cash is moved between shards by plain transfers, when it is needed",
    "update_fcm_event_contract_daily_cap": _BROKER,
    "update_fcm_subtrader_blocked_categories": _BROKER,
}
"""Operations of the client that nothing here calls, each with the reason."""


def called_operations() -> set[str]:
    """The operations that the tests of this file call with success: the constant names in their calls."""
    names = set()
    for node in ast.walk(ast.parse(Path(__file__).read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call":
            names |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            rows = (row.elts for row in node.iter.elts if isinstance(row, ast.Tuple))
            names |= {cell.value for row in rows for cell in row if isinstance(cell, ast.Constant)}
    return {name for name in names if isinstance(name, str)}


def test_every_operation_of_the_client_is_called_or_excused(sdk: Sdk) -> None:
    known = set(sdk.connect("http://127.0.0.1:9")["operations"])
    called = called_operations() & known
    assert called | set(NOT_COVERED) == known
    assert not called & set(NOT_COVERED)
