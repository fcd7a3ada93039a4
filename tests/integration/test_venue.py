"""Where a run trades: which mode goes with which exchange, and what the exchange says of the account."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.assembly import ExchangeOptions, create_exchange
from infra.exchange.universe import UniverseConfig
from infra.local.account import reconcile
from infra.local.errors import StateError
from infra.local.venue import KalshiVenue, mode_of, require_usable
from kalshi_arb.cli.exchange_checks import ExchangeAccess
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import Cash, Count
from kalshi_arb.domain.portfolio import LedgerEntry, OrderRequest, TimeInForce, fill_entry
from kalshi_arb.kalshi.hosts import Exchange, Hosts
from kalshi_arb.kalshi.rest import KalshiMarketData, KalshiTrading, RestClient
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.settings import Mode


@pytest.mark.parametrize(
    ("exchange", "mode", "expected"),
    [
        (None, None, Mode.SIMULATED),
        (None, "simulated", Mode.SIMULATED),
        ("demo", None, Mode.DEMO),
        ("demo", "demo", Mode.DEMO),
    ],
)
def test_the_exchange_decides_the_mode(exchange: str | None, mode: str | None, expected: Mode) -> None:
    assert mode_of(exchange, mode) is expected


@pytest.mark.parametrize(
    ("exchange", "mode", "words"),
    [
        (None, "live", "never run from here"),
        ("demo", "live", "never run from here"),
        ("prod", "live", "never run from here"),
        ("prod", None, "not built yet"),
        ("prod", "demo", "not built yet"),
        ("prod", "paper", "not built yet"),
        (None, "paper", "not built yet"),
        (None, "demo", "does not go with the embedded exchange"),
        ("demo", "simulated", "does not go with --exchange demo"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(exchange: str | None, mode: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        mode_of(exchange, mode)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class StandIn:
    access: ExchangeAccess
    pem: str


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    world = UniverseConfig(events=4, deltas_per_second=1, event_life_ms=(600_000, 900_000))
    ready, stop, hosts = threading.Event(), threading.Event(), Hosts("", "")

    async def serve() -> None:
        nonlocal hosts
        options = ExchangeOptions(3, "key", key.public_key(), Cash(10**10), universe=world)
        server = create_exchange(options, SystemClock().now_ms)
        await server.start()
        hosts = Hosts(server.rest_url, server.ws_url)
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.01)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield StandIn(ExchangeAccess(Exchange.DEMO, hosts, Credentials("key", pem), True, SystemClock()), pem)
    stop.set()
    thread.join()


def buy(access: ExchangeAccess, name: str) -> LedgerEntry:
    """One contract of the cheapest YES; returns what the ledger has to hold of it."""
    client = RestClient(base_url=access.hosts.rest_url, credentials=access.credentials, clock=access.clock)
    data, trading = KalshiMarketData(client, access.clock), KalshiTrading(client)
    markets = [m for event in data.open_events() for m, status in event.markets if status is MarketStatus.ACTIVE]
    books = data.orderbooks([market.ticker for market in markets])
    market = min(
        (m for m in markets if books[m.ticker].no_bids), key=lambda m: books[m.ticker].asks(Outcome.YES)[0].price
    )
    limit = books[market.ticker].asks(Outcome.YES)[0].price
    order = OrderRequest(name, market.ticker, Outcome.YES, Count(100), limit, TimeInForce.FILL_OR_KILL, market.shard)
    (report,) = trading.place([order])
    assert report.filled == 100
    (fill,) = [fill for fill in trading.fills([market.ticker], 0) if fill.order_id == report.order_id]
    client.close()
    return fill_entry(fill, "b1")


def test_the_comparison_leaves_out_what_was_there_before(stand_in: StandIn, tmp_path: Path) -> None:
    buy(stand_in.access, "before")
    clock = ShiftedClock()
    venue = KalshiVenue(replace(stand_in.access, clock=clock), tmp_path / "exchange")
    try:
        clock.shift_ms = 10_000  # beyond the margin with which fills are asked for
        venue.begin()
        clock.shift_ms = 0
        assert reconcile([], venue.account([])).matches
        entry = buy(stand_in.access, "own")
        assert (venue.mode, venue.stands_in) == (Mode.DEMO, True)
        result = reconcile([entry], venue.account([entry]))
        assert result.cash_difference == 0
        assert result.positions_differ == ()
        missed = reconcile([], venue.account([]))
        assert missed.cash_difference > 0, "a purchase that the ledger does not know"
        assert missed.positions_differ == (entry.ticker,)
        venue.begin()
        assert reconcile([entry], venue.account([entry])).cash_difference == 0, "a state begins once"
    finally:
        venue.close()


class ShiftedClock(SystemClock):
    shift_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.shift_ms


def test_fees_since_the_beginning_are_compared(stand_in: StandIn, tmp_path: Path) -> None:
    venue = KalshiVenue(stand_in.access, tmp_path / "exchange")
    try:
        venue.begin()
        entry = buy(stand_in.access, "fee")
        dear = replace(entry, fee=Cash(entry.fee + 100))
        exact, wrong = (reconcile([e], venue.account([e])).fee_difference for e in (entry, dear))
        assert wrong - exact == 100
    finally:
        venue.close()


@pytest.mark.parametrize("content", [None, "nonsense", "{}"])
def test_a_damaged_beginning_is_named(stand_in: StandIn, tmp_path: Path, content: str | None) -> None:
    venue = KalshiVenue(stand_in.access, tmp_path)
    if content is not None:
        (tmp_path / "baseline.json").write_text(content)
    with pytest.raises(StateError, match="--fresh"):
        venue.account([])
    venue.close()


def test_no_key_is_written_to_the_state(stand_in: StandIn, tmp_path: Path) -> None:
    venue = KalshiVenue(stand_in.access, tmp_path)
    venue.begin()
    assert venue.key_secret() == {"key_id": "key", "private_key": stand_in.pem}
    assert stand_in.pem not in (tmp_path / "baseline.json").read_text()
    assert json.loads((tmp_path / "baseline.json").read_text())["key_id"] == "key"
    venue.close()


def test_the_first_check_that_fails_is_the_reason(stand_in: StandIn) -> None:
    said: list[str] = []
    require_usable(stand_in.access, said.append)
    assert [line.split()[0] for line in said] == ["key", "host", "clock", "limits", "scope", "cash", "stream"]
    with pytest.raises(SettingsError, match="limits: the exchange refuses the key"):
        require_usable(replace(stand_in.access, credentials=Credentials("other", stand_in.pem)), said.append)


def run(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kalshi_arb.cli", "run", "--folder", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **{f"KALSHI_ARB_{name}": value for name, value in settings.items()}},
    )


def test_a_run_that_cannot_reach_or_enter_the_exchange_starts_nothing(stand_in: StandIn, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(stand_in.pem)
    hosts = stand_in.access.hosts
    here = {"REST_URL": hosts.rest_url, "WS_URL": hosts.ws_url}
    nobody = {"REST_URL": "http://127.0.0.1:9/trade-api/v2", "WS_URL": "ws://127.0.0.1:9/trade-api/ws/v2"}
    demo = ("--exchange", "demo", "--key-file", str(key), "--key-id")
    for half in ("exchange", "cloud/journal"):
        (tmp_path / "used" / half / "kept").mkdir(parents=True)
    (tmp_path / "used" / "state.json").write_text(
        json.dumps({"version": 1, "phase": "begun", "choices": {"seed": 7, "cash": 10_000}, "api_token": "t"})
    )
    cases = [
        (run(tmp_path / "a", *demo, "nobody", **here), 1, "error: limits: the exchange refuses the key"),
        (run(tmp_path / "b", *demo, "key", **nobody), 1, "error: host: no connection to 127.0.0.1"),
        (
            run(tmp_path / "c", *demo, "key", MODE="paper", **here),
            1,
            "error: KALSHI_ARB_MODE is paper, but this run is demo",
        ),
        (run(tmp_path / "d", *demo, "key", "--mode", "live", **here), 1, "error: mode live moves real money"),
        (run(tmp_path / "e", *demo, "key", REST_URL="https://api.elections.kalshi.com/trade-api/v2"), 1, "no host of"),
        (run(tmp_path / "used", *demo, "key", **here), 1, "belongs to another exchange"),
        (run(tmp_path / "f", "--exchange", "demo"), 2, "--exchange needs --key-file and --key-id"),
        (run(tmp_path / "g", "--key-id", "x"), 2, "need --exchange"),
        (run(tmp_path / "h", *demo, "key", "--seed", "3"), 2, "are for the embedded exchange"),
    ]
    for done, code, words in cases:
        assert done.returncode == code, done.stderr
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert stand_in.pem not in done.stderr
    for folder in "abcdefgh":
        state = {path.name for path in (tmp_path / folder).glob("*")} if (tmp_path / folder).exists() else set()
        assert state <= {"lock"}, "nothing is half-started"
