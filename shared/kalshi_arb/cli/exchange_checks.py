"""Checks one of Kalshi's exchanges with a user's key: host, clock, key, limits, scopes, cash, stream.

Nothing is written and nothing is kept. The checks stop at the first one without which the others say nothing.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx

from kalshi_arb.cli.finding import Finding
from kalshi_arb.clock import Clock
from kalshi_arb.domain.errors import ExchangeError, SettingsError
from kalshi_arb.domain.money import Cash, dollars
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.clock_offset import ClockOffset, OffsetMeter, server_second_ms
from kalshi_arb.kalshi.errors import AuthError, ClockError, RejectedError
from kalshi_arb.kalshi.hosts import Exchange, Hosts
from kalshi_arb.kalshi.membership import Membership
from kalshi_arb.kalshi.models.market import ExchangeStatusReply
from kalshi_arb.kalshi.models.membership import ApiKeyWire
from kalshi_arb.kalshi.signing import Credentials, Signer
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.kalshi.wire import read

CONNECT_SECONDS = 5.0
# How far a signature's time may be off is not documented for REST (FIX allows 30 s): a clock that is kept in step is
# right to a fraction of a second, and this is far from it.
MAX_OFFSET_MS = 5_000
_CLOCK_ADVICE = "switch on this machine's time synchronisation (NTP)"
_REGION_ADVICE = "the exchange does not serve this location"


@dataclass(frozen=True, slots=True)
class ExchangeAccess:
    """What to check. ``trades`` says whether orders are to be sent, which the key's scopes must then allow."""

    exchange: Exchange
    hosts: Hosts
    credentials: Credentials
    trades: bool
    clock: Clock


def check_exchange(access: ExchangeAccess) -> Iterator[Finding]:
    """Every check in order; the first that fails may be the last."""
    try:
        Signer(access.credentials)
    except SettingsError as error:
        yield Finding("key", False, "unusable", str(error))
        return
    yield Finding("key", True, f"readable, id {access.credentials.key_id}")
    host, meter = _check_host(access)
    yield host
    if meter is None:
        return
    clock = _check_clock(meter.offset())
    yield clock
    if not clock.ok:
        return
    client = RestClient(base_url=access.hosts.rest_url, credentials=access.credentials, clock=access.clock)
    with contextlib.closing(client):
        limits = _asked("limits", access, lambda: _limits(client))
        yield limits
        if not limits.ok:
            return
        yield _asked("scope", access, lambda: _scope(access, client))
        yield _asked("cash", access, lambda: _cash(client))
        yield _asked("netting", access, lambda: _netting(client))
    yield _check_stream(access)


def _check_host(access: ExchangeAccess) -> tuple[Finding, OffsetMeter | None]:
    host = urlsplit(access.hosts.rest_url).hostname or ""
    before = access.clock.now_ms()
    try:
        with httpx.Client(trust_env=False, timeout=CONNECT_SECONDS, follow_redirects=False) as client:
            answer = client.get(f"{access.hosts.rest_url}/exchange/status")
        after = access.clock.now_ms()
        if answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.UNAVAILABLE_FOR_LEGAL_REASONS):
            return Finding(
                "host", False, f"{host} refuses this machine (HTTP {answer.status_code})", _REGION_ADVICE
            ), None
        if not answer.is_success:
            found = f"{host} answers HTTP {answer.status_code}"
            return Finding("host", False, found, "the exchange is down or this is not its address; try again"), None
        status = read(answer.content, ExchangeStatusReply, "GET exchange/status")
    except httpx.HTTPError as error:
        return Finding("host", False, *_unreachable(host, error)), None
    except ExchangeError as error:
        return Finding("host", False, f"{host} answers with something else ({error})", "check the address"), None
    paused = "" if status.exchange_active and status.trading_active else ", but trading is paused just now"
    meter = OffsetMeter()
    second_ms = server_second_ms(answer.headers.get("date"), answer.headers.get("age"))
    if second_ms is not None:
        meter.note(second_ms, before, after)
    return Finding("host", True, f"{host} answers in {after - before} ms{paused}"), meter


def _unreachable(host: str, error: BaseException) -> tuple[str, str]:
    """What is wrong with the way to a host, and what to do."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 10:
        causes.append(cause)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"the name {host} cannot be resolved", "check this machine's network and name server (DNS)"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return (
            f"no trusted TLS connection to {host}",
            "check the machine's certificates, its clock, and proxies between",
        )
    if any(isinstance(cause, httpx.TimeoutException | TimeoutError) for cause in causes):
        return f"{host} does not answer within {CONNECT_SECONDS:.0f} s", "check the network and firewalls"
    return f"no connection to {host} ({type(error).__name__})", "check the network and firewalls"


def _check_clock(offset: ClockOffset | None) -> Finding:
    if offset is None:
        return Finding("clock", True, "not compared: the host tells no time")
    return Finding("clock", abs(offset.offset_ms) <= MAX_OFFSET_MS, str(offset), _CLOCK_ADVICE)


def _asked(check: str, access: ExchangeAccess, ask: Callable[[], Finding]) -> Finding:
    """A signed question, or what the exchange's refusal of it means."""
    try:
        return ask()
    except AuthError as error:
        return Finding(check, False, *_refusal(access, error))
    except ExchangeError as error:
        return Finding(check, False, f"no answer ({error})", "try again; the exchange may be in trouble")


def _refusal(access: ExchangeAccess, error: AuthError) -> tuple[str, str]:
    text = str(error)
    if isinstance(error, ClockError):
        return f"the exchange refuses this machine's time ({error})", _CLOCK_ADVICE
    if "SIGNATURE" in text:
        return "the signature is refused", f"the private key does not belong to key id {access.credentials.key_id}"
    if error.status == httpx.codes.FORBIDDEN:
        return f"forbidden ({text})", "give the key the scopes read and write, or make a new one"
    other = "demo" if access.exchange is Exchange.PROD else "production"
    return (
        f"the exchange refuses the key ({text})",
        f"check the key id; a key of Kalshi's {other} exchange is unknown to the {access.exchange.value} one",
    )


def _limits(client: RestClient) -> Finding:
    reply = Membership(client).limits()
    found = (
        f"tier {reply.usage_tier}: {reply.read.refill_rate} read and {reply.write.refill_rate} write tokens a second"
    )
    return Finding("limits", True, found)


def _scope(access: ExchangeAccess, client: RestClient) -> Finding:
    try:
        reply = Membership(client).api_keys()
    except RejectedError as error:
        if error.status != httpx.codes.FORBIDDEN:
            raise
        # A key that is pinned to a subaccount may not list keys, and may trade all the same.
        return Finding("scope", True, "not shown to this key: it may be pinned to a subaccount")
    own = next((key for key in reply.api_keys if key.api_key_id == access.credentials.key_id), None)
    if own is None:
        return Finding("scope", True, "the exchange does not list this key")
    missing = _missing(own, trades=access.trades)
    scopes = ", ".join(sorted(own.scopes or ())) or "not told"
    if missing:
        return Finding("scope", False, scopes, f"the key needs {missing}: make one with it")
    expired = reply.api_key_region_expiration_ts
    if access.trades and expired is not None and expired * 1000 <= access.clock.now_ms():
        since = datetime.fromtimestamp(expired, UTC).strftime("%Y-%m-%d %H:%M UTC")
        found = f"{scopes}; the location of the account expired {since}"
        return Finding("scope", False, found, "attest it on Kalshi's site: orders in some categories are refused")
    return Finding("scope", True, "; ".join((scopes, *_warnings(own))))


def _warnings(key: ApiKeyWire) -> Iterator[str]:
    """What a key that may trade may do beyond that. Kalshi API documentation, API keys: ``write`` is all of its child
    scopes, a key without scopes has ``read`` and ``write``, and a pinned one stays within its subaccount."""
    scopes = set(key.scopes or ("write",))
    beyond = sorted(one for one in scopes if one.startswith("write") and one != "write::trade")
    if beyond:
        more = "all that writes, transfers of cash too" if "write" in beyond else ", ".join(beyond)
        yield f"WARNING: this key may do more than trade ({more}), and trading needs only read and write::trade"
    if key.subaccount is None and scopes & {"write", "write::trade"}:
        yield "WARNING: this key is not pinned to a subaccount, so it reaches all of them"


def _missing(key: ApiKeyWire, *, trades: bool) -> str:
    """The scope that the key lacks; older keys name none and have both."""
    if not key.scopes:
        return ""
    if "read" not in key.scopes:
        return "the scope read"
    return "" if not trades or {"write", "write::trade"} & set(key.scopes) else "the scope write (or write::trade)"


def _cash(client: RestClient) -> Finding:
    shards = KalshiTrading(client).balance()
    split = ", ".join(f"shard {shard} {dollars(cash)}" for shard, cash in sorted(shards.items()))
    return Finding("cash", True, f"{dollars(Cash(sum(shards.values())))} ({split or 'no shard'})")


def _netting(client: RestClient) -> Finding:
    """What the template's ``Netting`` must say for the books to agree with this account's."""
    try:
        rows = Membership(client).netting()
    except RejectedError as error:
        if error.status != httpx.codes.FORBIDDEN:
            raise
        return Finding("netting", True, "not shown to this key: it may be pinned to a subaccount")
    on = sorted({row.subaccount_number for row in rows if row.enabled})
    if not on:
        return Finding("netting", True, "off, as the template's Netting is by default")
    return Finding("netting", True, f"on (subaccount {', '.join(map(str, on))}): deploy with Netting=on")


def _check_stream(access: ExchangeAccess) -> Finding:
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    parts = urlsplit(access.hosts.ws_url)
    host = parts.hostname or ""
    headers = Signer(access.credentials).headers(access.clock.now_ms(), "GET", parts.path)
    try:
        with connect(
            access.hosts.ws_url,
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=CONNECT_SECONDS,
            close_timeout=1,
        ):
            return Finding("stream", True, f"{host} opens the stream")
    except InvalidStatus as error:
        status = error.response.status_code
        return Finding(
            "stream", False, f"{host} refuses the stream (HTTP {status})", "check the key and its scope read"
        )
    except (OSError, TimeoutError, WebSocketException) as error:
        return Finding("stream", False, *_unreachable(host, error))
