"""The embedded exchange as a process, killed with SIGKILL in the middle of orders and started again on its folder."""

import asyncio
import base64
import errno
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.exchange import journal
from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.auth import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from infra.exchange.journal import FILE_NAME
from infra.exchange.living import MEMBER
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.money import ONE_DOLLAR, Cash, cash_from_wire, count_from_wire, price_from_wire

KEY_ID = "key-1"
KEY = Ed25519PrivateKey.generate()
ROOT = "/trade-api/v2"
LIVES = 4
WORKERS = 4
ANSWERED_BEFORE_DEATH = 25
FINAL = ("executed", "canceled")


def signed(method: str, path: str) -> dict[str, str]:
    now_ms = SystemClock().now_ms()
    signature = KEY.sign(f"{now_ms}{method}{ROOT}{path}".encode())
    return {
        KEY_HEADER: KEY_ID,
        TIMESTAMP_HEADER: str(now_ms),
        SIGNATURE_HEADER: base64.b64encode(signature).decode(),
    }


class Exchange:
    """A running process and its addresses."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.ready = json.loads(process.stdout.readline())

    async def read(self, http: httpx.AsyncClient, path: str, **params: str | int) -> Any:
        response = await http.get(self.ready["rest_url"] + path, params=params, headers=signed("GET", path))
        assert response.status_code == 200, response.text
        return response.json()

    async def read_all(
        self, http: httpx.AsyncClient, path: str, rows: str, **params: str | int
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            body = await self.read(http, path, limit=1_000, cursor=cursor, **params)
            found += body[rows]
            cursor = body["cursor"]
            if not cursor:
                return found

    async def order(self, http: httpx.AsyncClient, body: Mapping[str, str]) -> httpx.Response:
        path = "/portfolio/events/orders"
        return await http.post(self.ready["rest_url"] + path, json=dict(body), headers=signed("POST", path))


@contextmanager
def started(folder: Path, *more: str) -> Iterator[Exchange]:
    key = folder / "key.pub"
    key.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    arguments = [
        *(sys.executable, "-m", "infra.exchange", "--json"),
        *("--key-id", KEY_ID, "--public-key-file", str(key), "--seed", "3", "--tier", "prestige"),
        *("--state-dir", str(folder / "exchange"), "--event-life-ms", "1500:3000", "--events", "8", *more),
    ]
    with (
        (folder / "exchange.log").open("ab") as log,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield Exchange(process)
        finally:
            if process.poll() is None:
                process.kill()


class Member:
    """Sends orders and remembers what was answered and what was not."""

    def __init__(self) -> None:
        self.answered: dict[str, dict[str, Any]] = {}
        self.unanswered: set[str] = set()
        self.refused: set[str] = set()
        self.sent: dict[str, dict[str, str]] = {}
        self._random = random.Random(8)

    async def trade(self, exchange: Exchange, http: httpx.AsyncClient, enough: asyncio.Event) -> None:
        """Send one order after the other until the exchange is gone."""
        at_first = len(self.answered)
        while True:
            try:
                markets = (await self.read_open(exchange, http))["markets"]
                offered = [market for market in markets if market["yes_ask_size_fp"] != "0.00"]
                if not offered:
                    continue
                body = self._order(self._random.choice(offered))
                name = body["client_order_id"]
                self.sent[name] = body
                self.unanswered.add(name)
                response = await exchange.order(http, body)
            except httpx.TransportError:
                return
            self.unanswered.discard(name)
            if response.status_code == 201:
                self.answered[name] = response.json()
            else:
                self.refused.add(name)
            if len(self.answered) >= at_first + ANSWERED_BEFORE_DEATH:
                enough.set()

    async def read_open(self, exchange: Exchange, http: httpx.AsyncClient) -> Any:
        return await exchange.read(http, "/markets", status="open", limit=50)

    def _order(self, market: Mapping[str, str]) -> dict[str, str]:
        return {
            "ticker": market["ticker"],
            "side": "bid",
            "count": f"{self._random.randint(1, 5)}.00",
            "price": market["yes_ask_dollars"],
            "time_in_force": self._random.choice(["immediate_or_cancel", "fill_or_kill", "good_till_canceled"]),
            "self_trade_prevention_type": "taker_at_cross",
            "client_order_id": f"order-{len(self.sent)}",
        }


def test_no_answered_order_is_lost_and_none_is_executed_twice_however_often_it_is_killed(tmp_path: Path) -> None:
    asyncio.run(several_lives(tmp_path))
    log = (tmp_path / "exchange.log").read_text()
    assert log.count("resumed from") == LIVES
    assert "ERROR" not in log


async def several_lives(folder: Path) -> None:
    member = Member()
    before: dict[str, list[dict[str, Any]]] = {}
    for life in range(LIVES + 1):
        with started(folder) as exchange:
            assert exchange.ready["went_on"] is (life > 0)
            async with httpx.AsyncClient() as http:
                if life == LIVES:
                    await wait_for_a_settlement(exchange, http)
                before = await check(exchange, http, member, before)
                if life == LIVES:
                    await check_books(exchange, http)
                    exchange.process.send_signal(signal.SIGTERM)
                    assert exchange.process.wait(10) == 0
                    break
                enough = asyncio.Event()
                workers = [asyncio.create_task(member.trade(exchange, http, enough)) for _ in range(WORKERS)]
                await asyncio.wait_for(enough.wait(), 30)
                exchange.process.kill()
                await asyncio.gather(*workers)
    assert (folder / "exchange" / FILE_NAME).read_bytes().count(b"\n") == 2
    assert len(member.answered) >= LIVES * ANSWERED_BEFORE_DEATH
    assert len(before["fills"]) > 50
    assert before["settlements"]


async def wait_for_a_settlement(exchange: Exchange, http: httpx.AsyncClient) -> None:
    """However quickly the lives went by: some event with a position in it comes to its end."""
    deadline = asyncio.get_running_loop().time() + 30
    while asyncio.get_running_loop().time() < deadline:
        if (await exchange.read(http, "/portfolio/settlements"))["settlements"]:
            return
        await asyncio.sleep(0.05)


async def check(
    exchange: Exchange, http: httpx.AsyncClient, member: Member, before: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """What was answered is there, once; what was not is there once or never; the books of the account agree."""
    now = {
        "orders": await exchange.read_all(http, "/portfolio/orders", "orders"),
        "fills": await exchange.read_all(http, "/portfolio/fills", "fills"),
        "settlements": await exchange.read_all(http, "/portfolio/settlements", "settlements"),
    }
    for kind, rows in before.items():
        final = [row for row in rows if row.get("status", FINAL[0]) in FINAL]
        assert [row for row in final if row not in now[kind]] == [], f"{kind} changed while it was down"
    names = [order["client_order_id"] for order in now["orders"]]
    assert len(names) == len(set(names))
    orders = dict(zip(names, now["orders"], strict=True))
    assert set(member.answered) <= set(orders) <= set(member.answered) | member.unanswered
    for name, answer in member.answered.items():
        assert orders[name]["order_id"] == answer["order_id"]
        assert count_from_wire(orders[name]["fill_count_fp"]) >= count_from_wire(answer["fill_count"])
    for name in orders:
        again = await exchange.order(http, member.sent[name])
        assert (again.status_code, again.json()["error"]["code"]) == (409, "order_already_exists")
    await check_cash(exchange, http, now["fills"])
    return now


async def check_cash(exchange: Exchange, http: httpx.AsyncClient, fills: list[dict[str, Any]]) -> None:
    """Cash is what was paid in, less what the fills cost, plus what settled: the member only ever bought YES."""
    account = (await http.get(f"{exchange.ready['admin_url']}/account", params={"account": MEMBER})).json()
    assert set(account["orders_by_client_order_id"].values()) <= {1}
    spent = sum(
        price_from_wire(fill["yes_price_dollars"]) * count_from_wire(fill["count_fp"])
        + cash_from_wire(fill["fee_cost"])
        for fill in fills
    )
    cash = sum(account["cash"].values())
    assert cash == sum(account["initial_cash"].values()) - spent + account["settled_revenue"]
    held: dict[str, int] = {}
    for fill in fills:
        held[fill["ticker"]] = held.get(fill["ticker"], 0) + count_from_wire(fill["count_fp"])
    assert all(held[ticker] == count for ticker, count in account["positions"].items())
    assert account["fees_paid"] == sum(cash_from_wire(fill["fee_cost"]) for fill in fills)


async def check_books(exchange: Exchange, http: httpx.AsyncClient) -> None:
    """The universe lives: events of after the last death are open, quoted, and never crossed."""
    for _ in range(50):
        markets = (await http.get(f"{exchange.ready['rest_url']}/markets", params={"status": "open"})).json()["markets"]
        quoted = [market for market in markets if market["yes_bid_size_fp"] != "0.00"]
        if len(quoted) > 20:
            break
        await asyncio.sleep(0.1)
    assert len(quoted) > 20
    for market in quoted:
        if market["yes_ask_size_fp"] == "0.00":
            continue  # there is no bid for NO, whatever stands in the price
        crossing = price_from_wire(market["yes_bid_dollars"]) + price_from_wire(market["no_bid_dollars"])
        assert crossing < ONE_DOLLAR


def test_when_the_disk_is_full_no_order_is_answered_and_the_exchange_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: FileIO, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        now_ms = SystemClock().now_ms
        options = ExchangeOptions(3, KEY_ID, KEY.public_key(), Cash(10**9), state_dir=tmp_path)
        server = create_exchange(options, now_ms)
        await server.start()
        try:
            monkeypatch.setattr(journal, "_write", full)
            path = "/portfolio/events/orders"
            async with httpx.AsyncClient() as http:
                answer = await http.post(server.rest_url + path, json={}, headers=signed("POST", path))
            assert answer.status_code == 500
            await asyncio.wait_for(server.failed.wait(), 5)
        finally:
            await server.stop()

    asyncio.run(main())


def test_a_damaged_folder_ends_the_start_with_status_two_and_one_line(tmp_path: Path) -> None:
    with started(tmp_path) as exchange:
        exchange.process.send_signal(signal.SIGTERM)
        assert exchange.process.wait(10) == 0
    path = tmp_path / "exchange" / FILE_NAME
    damaged = path.read_bytes().replace(b"crowd", b"cloud", 1)
    path.write_bytes(damaged)
    (tmp_path / "exchange.log").unlink()
    arguments = [
        *(sys.executable, "-m", "infra.exchange", "--json"),
        *("--key-id", KEY_ID, "--public-key-file", str(tmp_path / "key.pub")),
        *("--seed", "3", "--state-dir", str(tmp_path / "exchange")),
    ]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert f"{path} is damaged in line 2; nothing was changed" in ended.stderr
    assert "start anew with --fresh" in ended.stderr
    assert path.read_bytes() == damaged
