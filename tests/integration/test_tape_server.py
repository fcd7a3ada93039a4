"""A tape behind the embedded exchange's real sockets, read by our own REST client, and the commands that play one."""

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from infra.exchange.assembly import ExchangeOptions, TapeOptions, create_exchange
from infra.exchange.errors import ExchangeStartError
from infra.exchange.tape_terms import load_tape
from infra.exchange.testserver import ServerInAThread
from infra.local.state import StateFolder
from infra.local.tape_report import TapeDesk
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.market import Market, Outcome
from kalshi_arb.domain.money import Cash, Count, Price
from kalshi_arb.domain.portfolio import OrderRequest, TimeInForce
from kalshi_arb.domain.state_space import Family
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.signing import Credentials
from kalshi_arb.kalshi.trading import KalshiTrading
from tests.market_samples import formed

TAPES = Path(__file__).resolve().parents[1] / "payloads" / "tapes"
BOTH = (str(TAPES / "two_events.jsonl"), str(TAPES / "described.jsonl"))
KEY = Ed25519PrivateKey.generate()
CASH = Cash(10_000_000_000)


class Tape:
    """A tape that waits, on an exchange in a thread of its own, with clients for it."""

    def __init__(self, url: str) -> None:
        pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.desk = TapeDesk(url.removesuffix("/trade-api/v2"))
        self.client = RestClient(base_url=url, credentials=Credentials("key", pem), clock=SystemClock())
        self.data = KalshiMarketData(self.client, SystemClock())
        self.trading = KalshiTrading(self.client)

    def markets(self) -> dict[str, Market]:
        return {one.market.ticker: one.market for listing in self.data.open_events() for one in listing.markets}


@pytest.fixture
def tape() -> Iterator[Tape]:
    # An hour of the tape takes an hour: the first pass is all that comes.
    played = TapeOptions(load_tape(BOTH), 1.0, waits=True)
    options = ExchangeOptions(3, "key", KEY.public_key(), CASH, tape=played)
    with ServerInAThread(create_exchange(options, SystemClock().now_ms)) as served:
        made = Tape(served.server.rest_url)
        yield made
        made.client.close()


def wait_for_first_pass(tape: Tape) -> None:
    tape.desk.start()
    for _ in range(200):
        if tape.desk.read()["passes"]:
            return
    pytest.fail("the first pass was never set")


def test_a_tape_that_waits_lists_nothing_and_starts_when_told(tape: Tape) -> None:
    assert tape.markets() == {}
    assert tape.desk.read()["passes"] == 0
    wait_for_first_pass(tape)
    told = tape.desk.read()
    assert (told["passes_recorded"], told["rows"], told["events"]) == (4, 10, 4)
    assert told["missing_fields"]["strike_type"]["markets"] == 1
    assert len(tape.markets()) == 7


def test_discovery_reads_the_tapes_groups_and_drops_what_has_no_strikes(tape: Tape) -> None:
    wait_for_first_pass(tape)
    read = [formed(listing) for listing in tape.data.open_events()]
    families = {group.event_ticker: group.family for groups, _ in read for group in groups}
    assert families == {
        "KXMADELAD-26MAR01": Family.LADDER,
        "KXMADEPART-26MAR01": Family.PARTITION,
        "KXBARE-1": Family.LADDER,
    }
    assert [drops for _, drops in read if drops] == [{"no_structured_strike": 1}]


def test_orders_meet_the_recorded_depth_once(tape: Tape) -> None:
    wait_for_first_pass(tape)
    ticker = "KXMADELAD-26MAR01-T10"
    market = tape.markets()[ticker]
    orders = [
        OrderRequest(
            f"order-{number}", ticker, Outcome.NO, Count(1_200), Price(4_600), TimeInForce.IMMEDIATE_OR_CANCEL,
            market.shard,
        )
        for number in range(2)
    ]  # fmt: skip
    assert [tape.trading.place([order])[0].filled for order in orders] == [1_200, 250]
    (book,) = tape.data.orderbooks([ticker]).values()
    assert (book.yes_bids, [int(level.size) for level in book.no_bids]) == ((), [2_000])


def test_a_generated_universe_has_no_tape_to_ask(tmp_path: Path) -> None:
    async def main() -> None:
        server = create_exchange(ExchangeOptions(3, "key", KEY.public_key(), CASH), SystemClock().now_ms)
        await server.start()
        try:
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{server.admin_url}/tape")).status_code == 404
        finally:
            await server.stop()

    asyncio.run(main())


def test_a_tape_keeps_no_state(tmp_path: Path) -> None:
    played = TapeOptions(load_tape(BOTH), 1.0, waits=True)
    options = ExchangeOptions(3, "key", KEY.public_key(), CASH, tape=played, state_dir=tmp_path)
    with pytest.raises(ExchangeStartError, match="keeps no state"):
        create_exchange(options, SystemClock().now_ms)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=60, check=False, env={**os.environ}
    )


def test_a_tape_that_cannot_be_played_is_one_line_and_nothing_was_begun(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress((TAPES / "two_events.jsonl").read_bytes())[:-12])
    folder = tmp_path / "state"
    for tape, says in (
        (cut, "line "),
        (tmp_path / "none.jsonl", "no such file"),
        (TAPES.parent / "local_cloud", "no .jsonl"),
    ):
        done = command("kalshi_arb.cli", "run", "--seconds", "5", "--folder", str(folder), "--tape", str(tape))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"error: {tape}")
        assert says in done.stderr
    assert not folder.exists()


def test_a_tape_does_not_go_on_with_the_state_of_another_run(tmp_path: Path) -> None:
    home = StateFolder(tmp_path)
    home.open({}, {}, fresh=False, say=str)
    for part in (home.exchange, home.journal):
        part.mkdir(parents=True)
        (part / "kept").touch()
    home.begun()
    done = command("kalshi_arb.cli", "run", "--seconds", "5", "--folder", str(tmp_path), "--tape", BOTH[0])
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: a tape cannot go on with the state in {tmp_path}: add --fresh, or choose another --folder\n"
    )
    assert (home.exchange / "kept").exists()


def test_the_exchanges_own_command_names_the_line_too(tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"captured_at": 5, "ticker": "KXA", "orderbook_fp": {}}\n')
    done = command("infra.exchange", "--public-key-file", str(key), "--key-id", "key", "--tape", str(bad))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {bad} line 1: captured_at must be a time")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--speed", "600"), "--speed is the speed of a tape"),
        (("some.jsonl",), "only --tape takes files"),
        (("--tape", str(TAPES), "--speed", "0"), "--speed"),
    ],
)
def test_wrong_use_of_tapes_is_told(arguments: tuple[str, ...], says: str) -> None:
    done = command("kalshi_arb.cli", "run", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
