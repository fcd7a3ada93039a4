"""Where a run trades: which mode goes with which exchange, and what the exchange says of the account."""

import asyncio
import contextlib
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
from infra.local.venue import KalshiVenue, PaperVenue, mode_of, require_usable
from kalshi_arb.bootstrap import Stores
from kalshi_arb.cli.exchange_checks import ExchangeAccess
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.market import MarketStatus, Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.paper import PaperOrder
from kalshi_arb.domain.portfolio import Fill, LedgerEntry, OrderRequest, TimeInForce, fill_entry
from kalshi_arb.fakes import MemoryPaperStore
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.hosts import Exchange, Hosts
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.settings import Mode, Settings
from tests.command_line import Said, kalshi_arb


@pytest.mark.parametrize(
    ("exchange", "mode", "expected"),
    [
        (None, None, Mode.SIMULATED),
        (None, "simulated", Mode.SIMULATED),
        ("demo", None, Mode.DEMO),
        ("demo", "demo", Mode.DEMO),
        ("demo", "paper", Mode.PAPER),
        ("prod", None, Mode.PAPER),
        ("prod", "paper", Mode.PAPER),
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
        ("prod", "demo", "does not go with --exchange prod: it is paper$"),
        ("prod", "simulated", "does not go with --exchange prod: it is paper$"),
        (None, "paper", "needs the books of a real exchange"),
        (None, "demo", "does not go with the embedded exchange"),
        ("demo", "simulated", "does not go with --exchange demo: it is demo or paper$"),
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
    markets = [m.market for event in data.open_events() for m in event.markets if m.status is MarketStatus.ACTIVE]
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
    assert [line.split()[0] for line in said] == [
        "key",
        "host",
        "clock",
        "limits",
        "scope",
        "cash",
        "netting",
        "stream",
    ]
    with pytest.raises(SettingsError, match="limits: the exchange refuses the key"):
        require_usable(replace(stand_in.access, credentials=Credentials("other", stand_in.pem)), said.append)


def refused(folder: Path, *options: str, **settings: str) -> Said:
    """A run that ends before it starts or asks anything."""
    return kalshi_arb("run", "--folder", str(folder), *options, **of_ours(settings))


def of_ours(settings: dict[str, str]) -> dict[str, str]:
    return {f"KALSHI_ARB_{name}": value for name, value in settings.items()}


def run(folder: Path, *options: str, **settings: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "kalshi_arb.cli", "run", "--folder", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **of_ours(settings)},
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_a_run_that_cannot_reach_or_enter_the_exchange_starts_nothing(stand_in: StandIn, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(stand_in.pem)
    hosts = stand_in.access.hosts
    here = {"REST_URL": hosts.rest_url, "WS_URL": hosts.ws_url}
    nobody = {"REST_URL": "http://127.0.0.1:9/trade-api/v2", "WS_URL": "ws://127.0.0.1:9/trade-api/ws/v2"}
    demo = ("--exchange", "demo", "--key-file", str(key), "--key-id")
    prod = ("--exchange", "prod", *demo[2:])
    for folder, choices in (("used", {}), ("demo", {"exchange": "demo"})):
        for half in ("exchange", "cloud/journal"):
            (tmp_path / folder / half / "kept").mkdir(parents=True)
        chosen = {"seed": 7, "cash": 10_000, **choices}
        (tmp_path / folder / "state.json").write_text(
            json.dumps({"version": 2, "phase": "begun", "choices": chosen, "api_token": "t"})
        )
    cases = [
        (run(tmp_path / "a", *demo, "nobody", **here), 1, "error: limits: the exchange refuses the key"),
        (run(tmp_path / "b", *demo, "key", **nobody), 1, "error: host: no connection to 127.0.0.1"),
        (
            refused(tmp_path / "c", *demo, "key", MODE="paper", **here),
            1,
            "error: KALSHI_ARB_MODE is paper, but this run is demo",
        ),
        (refused(tmp_path / "d", *demo, "key", "--mode", "live", **here), 1, "error: mode live moves real money"),
        (
            refused(tmp_path / "i", *prod, "key", "--mode", "demo", **here),
            1,
            "does not go with --exchange prod: it is paper",
        ),
        (refused(tmp_path / "j", *prod, "key", "--mode", "live", **here), 1, "error: mode live moves real money"),
        (refused(tmp_path / "k", *prod, "key", PAPER_CASH="much", **here), 1, "KALSHI_ARB_PAPER_CASH: "),
        (refused(tmp_path / "l", "--mode", "paper"), 1, "error: mode paper needs the books of a real exchange"),
        (run(tmp_path / "demo", *demo, "key", "--mode", "paper", **here), 1, "belongs to another exchange"),
        (
            refused(tmp_path / "e", *demo, "key", REST_URL="https://api.elections.kalshi.com/trade-api/v2"),
            1,
            "no host of",
        ),
        (run(tmp_path / "used", *demo, "key", **here), 1, "belongs to another exchange"),
        (refused(tmp_path / "f", "--exchange", "demo"), 2, "--exchange needs --key-file and --key-id"),
        (refused(tmp_path / "g", "--key-id", "x"), 2, "need --exchange"),
        (refused(tmp_path / "h", *demo, "key", "--seed", "3"), 2, "are for the embedded exchange"),
        (refused(tmp_path / "m", *demo, "key", "--mispricing-ms", "9"), 2, "are for the embedded exchange"),
    ]
    for done, code, words in cases:
        assert done.returncode == code, done.stderr
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert stand_in.pem not in done.stderr
    for folder in "abcdefghijklm":
        state = {path.name for path in (tmp_path / folder).glob("*")} if (tmp_path / folder).exists() else set()
        assert state <= {"lock"}, "nothing is half-started"


def test_a_paper_account_begins_with_its_own_cash_and_ledger(stand_in: StandIn) -> None:
    with public(stand_in) as data:
        market = next(one.market for event in data.open_events() for one in event.markets)
    request = OrderRequest(
        "p", market.ticker, Outcome.YES, Count(100), Price(9_900), TimeInForce.IMMEDIATE_OR_CANCEL, 0
    )
    fill = Fill("t", "o", market.ticker, Outcome.YES, Count(100), Price(4_000), Cash(20_000), 1)
    store = MemoryPaperStore()
    store.append(0, [PaperOrder(request, "o", 1, (fill,), (Count(100),))], [])

    class Tables(Stores):
        paper = store  # type: ignore[assignment]

    settings = Settings(mode=Mode.PAPER, rest_url=stand_in.access.hosts.rest_url, paper_cash="50.00")
    venue = PaperVenue(replace(stand_in.access, exchange=Exchange.PROD))
    try:
        with pytest.raises(StateError, match="before its table"):
            venue.account([])
        venue.begin()
        venue.check()
        venue.deployed(settings, Tables(settings, lambda service: pytest.fail(service)))
        assert (venue.mode, venue.stands_in) == (Mode.PAPER, True)
        assert venue.key_secret()["key_id"] == "key"
        assert set(venue.account([])["initial_cash"].values()) == {50_000_000}
        entry = fill_entry(fill, "b1")
        assert reconcile([entry], venue.account([entry])).matches
        missed = reconcile([], venue.account([]))
        assert (missed.cash_difference, missed.fee_difference) == (420_000, -20_000)
        assert missed.positions_differ == (market.ticker,)
    finally:
        venue.close()


@contextlib.contextmanager
def public(stand_in: StandIn) -> Iterator[KalshiMarketData]:
    client = RestClient(base_url=stand_in.access.hosts.rest_url, credentials=None, clock=stand_in.access.clock)
    yield KalshiMarketData(client, stand_in.access.clock)
    client.close()


def test_states_and_fees_of_markets_are_read_without_a_key(stand_in: StandIn) -> None:
    with public(stand_in) as data:
        listed = {m.market.ticker: m.market for event in data.open_events() for m in event.markets}
        states = data.market_states(list(listed))
        fees = {event: data.market_fees(event) for event in {m.event_ticker for m in listed.values()}}
    assert states.keys() == listed.keys()
    for ticker, market in listed.items():
        assert states[ticker].event_ticker == market.event_ticker
        assert states[ticker].yes_payout is None
        assert fees[market.event_ticker][ticker] == market.fees
