"""`doctor --exchange`: every way a key, a clock, a host or a scope can be wrong is named, on the embedded exchange."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.exchange.assembly import MEMBER
from infra.exchange.auth import KeyRing
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.testkit import still_core
from kalshi_arb.cli.doctor import doctor
from kalshi_arb.cli.exchange_checks import ExchangeAccess, _unreachable, check_exchange
from kalshi_arb.cli.finding import Finding
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.kalshi.errors import RejectedError
from kalshi_arb.kalshi.hosts import HOSTS, Exchange, Hosts, hosts_of
from kalshi_arb.kalshi.membership import Membership
from kalshi_arb.kalshi.models.membership import ApiKeysReply, ApiKeyWire, NettingWire
from kalshi_arb.kalshi.signing import Credentials, credentials_from_file


class ShiftedClock(SystemClock):
    def __init__(self, shift_ms: int) -> None:
        self._shift_ms = shift_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._shift_ms

    def sleep(self, seconds: float) -> None:
        del seconds


@dataclass(frozen=True)
class StandIn:
    hosts: Hosts
    pems: dict[str, str]

    def access(
        self, key_id: str = "both", *, key: str | None = None, trades: bool = True, shift_ms: int = 0
    ) -> ExchangeAccess:
        credentials = Credentials(key_id, self.pems[key or key_id])
        return ExchangeAccess(Exchange.DEMO, self.hosts, credentials, trades, ShiftedClock(shift_ms))


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    keys: dict[str, Any] = {
        "both": rsa.generate_private_key(public_exponent=65_537, key_size=2048),
        "reader": Ed25519PrivateKey.generate(),
        "trader": Ed25519PrivateKey.generate(),
        "writer": Ed25519PrivateKey.generate(),
    }
    scopes = {
        "both": ("read", "write"), "reader": ("read",), "trader": ("read", "write::trade"), "writer": ("write::trade",)
    }  # fmt: skip
    pems = {
        name: key.private_bytes(
            Encoding.PEM,
            PrivateFormat.TraditionalOpenSSL if name == "both" else PrivateFormat.PKCS8,
            NoEncryption(),
        ).decode()
        for name, key in keys.items()
    }
    ready, stop, hosts = threading.Event(), threading.Event(), Hosts("", "")

    async def serve() -> None:
        nonlocal hosts
        ring = KeyRing()
        for name, key in keys.items():
            ring.add(name, key.public_key(), MEMBER, scopes[name])
        server = ExchangeServer(still_core(), ring, ServerConfig(), now_ms=SystemClock().now_ms)
        await server.start()
        hosts = Hosts(server.rest_url, server.ws_url)
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.01)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield StandIn(hosts, pems)
    stop.set()
    thread.join()


def checked(access: ExchangeAccess) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_exchange(access)}


@pytest.mark.parametrize("key_id", ["both", "trader"])
def test_a_good_key_passes_every_check(stand_in: StandIn, key_id: str) -> None:
    found = checked(stand_in.access(key_id))
    assert list(found) == ["key", "host", "clock", "limits", "scope", "cash", "netting", "stream"]
    assert all(finding.ok for finding in found.values()), found
    assert found["limits"].found == "tier prestige: 12000 read and 9600 write tokens a second"
    assert "2,000" in found["cash"].found.replace("2000", "2,000")
    assert "shard 2" in found["cash"].found


@pytest.mark.parametrize(
    ("scopes", "subaccount", "words"),
    [
        (["read", "write"], None, ["may do more than trade (all that writes", "not pinned"]),
        (None, None, ["may do more than trade (all that writes", "not pinned"]),
        (["read", "write::trade", "write::transfer"], 3, ["may do more than trade (write::transfer)"]),
        (["read", "write::trade"], None, ["not pinned"]),
        (["read", "write::trade"], 3, []),
        (["read"], None, []),
    ],
)
def test_a_key_that_may_do_more_than_trade_passes_with_a_warning(
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    scopes: list[str] | None,
    subaccount: int | None,
    words: list[str],
) -> None:
    key = ApiKeyWire(api_key_id="both", scopes=scopes, subaccount=subaccount)
    monkeypatch.setattr(Membership, "api_keys", lambda _: ApiKeysReply(api_keys=[key]))
    found = checked(stand_in.access(trades=False))["scope"]
    assert found.ok
    assert found.line.count("WARNING") == len(words)
    assert all(word in found.line for word in words)


def test_a_key_that_may_only_read_is_enough_for_reading(stand_in: StandIn) -> None:
    assert all(finding.ok for finding in checked(stand_in.access("reader", trades=False)).values())
    found = checked(stand_in.access("reader"))
    assert not found["scope"].ok
    assert "write::trade" in found["scope"].advice
    assert found["stream"].ok


def test_a_key_that_may_not_read_ends_at_the_first_question(stand_in: StandIn) -> None:
    found = checked(stand_in.access("writer"))
    assert list(found)[-1] == "limits"
    assert "forbidden" in found["limits"].found
    assert "scopes read and write" in found["limits"].advice


def test_a_key_file_of_another_key_is_named_as_such(stand_in: StandIn) -> None:
    found = checked(stand_in.access("both", key="reader"))
    assert (found["limits"].ok, list(found)[-1]) == (False, "limits")
    assert found["limits"].advice == "the private key does not belong to key id both"


def test_an_unknown_key_id_hints_at_the_other_exchange(stand_in: StandIn) -> None:
    access = stand_in.access("both")
    found = checked(replace(access, credentials=Credentials("elsewhere", stand_in.pems["both"])))
    assert "a key of Kalshi's production exchange is unknown to the demo one" in found["limits"].advice


@pytest.mark.parametrize(("shift_ms", "words"), [(120_000, "ahead of"), (-120_000, "behind")])
def test_a_wrong_clock_is_measured_before_anything_is_signed(stand_in: StandIn, shift_ms: int, words: str) -> None:
    found = checked(stand_in.access(shift_ms=shift_ms))
    assert (found["clock"].ok, list(found)[-1]) == (False, "clock")
    assert words in found["clock"].found
    assert float(found["clock"].found.split()[4]) == pytest.approx(120, abs=2)
    assert "NTP" in found["clock"].advice


def test_a_clock_that_the_exchange_refuses_is_named(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalshi_arb.cli.exchange_checks.MAX_OFFSET_MS", 10**9)
    found = checked(stand_in.access(shift_ms=60_000))
    assert "refuses this machine's time (header_timestamp_expired: " in found["limits"].found
    assert "this machine's clock is" in found["limits"].found


def test_an_unusable_key_asks_nobody(stand_in: StandIn) -> None:
    access = replace(
        stand_in.access(), credentials=Credentials("both", "no key"), hosts=Hosts("http://127.0.0.1:1", "")
    )
    found = checked(access)
    assert list(found) == ["key"]
    assert "not a readable PEM" in found["key"].line


def test_a_host_that_nobody_serves(stand_in: StandIn) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
    found = checked(replace(stand_in.access(), hosts=Hosts(f"http://{closed}/trade-api/v2", "")))
    assert list(found) == ["key", "host"]
    assert found["host"].found == "no connection to 127.0.0.1 (ConnectError)"
    found = checked(replace(stand_in.access(), hosts=Hosts(stand_in.hosts.rest_url, f"ws://{closed}/trade-api/ws/v2")))
    assert [name for name, finding in found.items() if not finding.ok] == ["stream"]


def test_a_name_that_cannot_be_resolved(stand_in: StandIn) -> None:
    found = checked(replace(stand_in.access(), hosts=Hosts("https://no-such-host.invalid/trade-api/v2", "")))
    assert found["host"].found == "the name no-such-host.invalid cannot be resolved"
    assert "DNS" in found["host"].advice


def test_ways_to_be_unreachable() -> None:
    timeout = httpx.ConnectTimeout("late")
    assert "does not answer within" in _unreachable("h", timeout)[0]
    tls = httpx.ConnectError("tls")
    tls.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert "no trusted TLS" in _unreachable("h", tls)[0]


class Front(ThreadingHTTPServer):
    """Something else than the exchange, such as a proxy or a page for visitors from elsewhere."""

    status = 200
    body = b"{}"


@pytest.fixture
def front() -> Iterator[Front]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server = self.server
            assert isinstance(server, Front)
            self.send_response(server.status)
            self.send_header("content-length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
            del format, args

    server = Front(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b"<html>", "does not serve this location"),
        (451, b"", "does not serve this location"),
        (503, b"", "the exchange is down"),
        (302, b"", "not its address"),
        (200, b"<html>hello", "check the address"),
        (200, b"{}", "check the address"),
    ],
)
def test_a_host_that_answers_something_else(
    stand_in: StandIn, front: Front, status: int, body: bytes, words: str
) -> None:
    front.status, front.body = status, body
    url = f"http://127.0.0.1:{front.server_address[1]}/trade-api/v2"
    found = checked(replace(stand_in.access(), hosts=Hosts(url, "")))
    assert list(found) == ["key", "host"]
    assert words in found["host"].advice


def _keys(scopes: list[str] | None = None, *, expired: int | None = None, listed: bool = True) -> ApiKeysReply:
    own = [ApiKeyWire(api_key_id="both", scopes=scopes)]
    return ApiKeysReply(api_keys=own if listed else [], api_key_region_expiration_ts=expired)


@pytest.mark.parametrize(
    ("reply", "trades", "ok", "words"),
    [
        (
            _keys(["read", "write"], expired=1),
            True,
            False,
            "location of the account expired 1970",
        ),
        (_keys(["read", "write"], expired=1), False, True, "read, write"),
        (_keys(["read", "write"], expired=4_000_000_000), True, True, "read, write"),
        (_keys(None), True, True, "not told"),
        (_keys(["write"]), True, False, "the scope read"),
        (_keys(listed=False), True, True, "does not list this key"),
    ],
)
def test_what_the_list_of_keys_says(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, reply: ApiKeysReply, trades: bool, ok: bool, words: str
) -> None:
    monkeypatch.setattr(Membership, "api_keys", lambda _: reply)
    found = checked(stand_in.access(trades=trades))
    assert found["scope"].ok is ok
    assert words in found["scope"].line


def test_netting_is_told_so_that_the_template_can_say_the_same(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(stand_in.access())["netting"].found.startswith("off")
    rows = [NettingWire(subaccount_number=number, enabled=number == 3) for number in (0, 3)]
    monkeypatch.setattr(Membership, "netting", lambda _: rows)
    assert checked(stand_in.access())["netting"].found == "on (subaccount 3): deploy with Netting=on"

    def refused(_: Membership) -> list[NettingWire]:
        raise RejectedError("forbidden", "not for this key", 403)

    monkeypatch.setattr(Membership, "netting", refused)
    found = checked(stand_in.access())["netting"]
    assert found.ok
    assert found.found.startswith("not shown to this key")


def test_demo_never_reaches_real_money() -> None:
    for exchange in Exchange:
        assert hosts_of(exchange, None, None) == HOSTS[exchange]
        assert hosts_of(exchange, "http://127.0.0.1:8/trade-api/v2", "ws://[::1]:8/x").ws_url == "ws://[::1]:8/x"
    assert (
        hosts_of(Exchange.DEMO, "https://demo-api.kalshi.co/trade-api/v2", None).ws_url == HOSTS[Exchange.DEMO].ws_url
    )
    for rest_url in (
        HOSTS[Exchange.PROD].rest_url,
        "https://api.elections.kalshi.com/trade-api/v2",
        "https://x.example",
    ):
        with pytest.raises(SettingsError, match="no host of Kalshi's demo exchange"):
            hosts_of(Exchange.DEMO, rest_url, None)
    with pytest.raises(SettingsError, match="KALSHI_ARB_WS_URL"):
        hosts_of(Exchange.DEMO, None, HOSTS[Exchange.PROD].ws_url)


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FileNotFoundError"):
        credentials_from_file(tmp_path / "absent", "id")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="UnicodeDecodeError"):
        credentials_from_file(tmp_path / "binary", "id")
    (tmp_path / "key").write_text("pem")
    with pytest.raises(SettingsError, match="key id is empty"):
        credentials_from_file(tmp_path / "key", " ")
    assert credentials_from_file(tmp_path / "key", " id\n") == Credentials("id", "pem")


def test_doctor_asks_the_exchange_that_the_settings_name(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALSHI_ARB_REST_URL", stand_in.hosts.rest_url)
    monkeypatch.setenv("KALSHI_ARB_WS_URL", stand_in.hosts.ws_url)
    key = tmp_path / "key.pem"
    key.write_text(stand_in.pems["both"])
    options = ["--exchange", "demo", "--key-file", str(key), "--key-id"]
    done = CliRunner().invoke(doctor, [*options, "both"])
    assert "ok   stream     127.0.0.1 opens the stream" in done.output
    assert "BEGIN" not in done.output
    wrong = CliRunner().invoke(doctor, [*options, "reader"])
    assert wrong.exit_code == 1
    assert "BAD  limits     the signature is refused: the private key does not belong to key id reader" in wrong.output
    for use in (["--exchange", "demo"], ["--key-id", "x"], ["--exchange", "mars"]):
        assert CliRunner().invoke(doctor, use).exit_code == 2
