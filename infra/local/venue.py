"""Where a run trades: the embedded exchange, Kalshi's demo exchange with the user's own key, or on paper over the books
of either of Kalshi's exchanges.

A venue says where it answers and with which key, notices that it is gone, and tells its own account of what happened
since the state began, so that the ledger can be compared with it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.children import Child, ChildError, tail
from infra.local.errors import StateError
from kalshi_arb.bootstrap import Stores, paper_trading
from kalshi_arb.cli.exchange_checks import ExchangeAccess, check_exchange
from kalshi_arb.cli.finding import Finding
from kalshi_arb.domain.errors import SettingsError
from kalshi_arb.domain.portfolio import LedgerEntry
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.hosts import is_loopback
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.kalshi.trading import KalshiTrading
from kalshi_arb.paper import PaperTrading
from kalshi_arb.ports import Trading
from kalshi_arb.settings import Mode, Settings

EMBEDDED = "embedded"
KEY_ID = "embedded-exchange-key"
_ACCOUNT_SECONDS = 10


class Venue(Protocol):
    """Where a run trades. ``name`` is part of every account that the run prints; ``stands_in`` says that something on
    this machine is taken for one of Kalshi's exchanges."""

    mode: Mode
    name: str
    stands_in: bool

    @property
    def rest_url(self) -> str:
        """The REST API."""
        ...

    @property
    def ws_url(self) -> str:
        """The stream."""
        ...

    def key_secret(self) -> dict[str, str]:
        """The key as the key secret holds it."""
        ...

    def begin(self) -> None:
        """Before anything trades: remember what the account held when the state began."""
        ...

    def deployed(self, settings: Settings, stores: Stores) -> None:
        """The stack is there: whoever keeps the account in its tables may look at them from now on."""
        ...

    def check(self) -> None:
        """:raises ChildError: it is gone."""
        ...

    def account(self, entries: Sequence[LedgerEntry]) -> Mapping[str, Any]:
        """``cash`` and ``initial_cash`` by shard, ``fees_paid`` and ``positions`` since the state began, in domain
        units. ``entries`` is the ledger.

        :raises ExchangeError: it does not answer.
        """
        ...


class EmbeddedVenue:
    """The embedded exchange: a child process of the run."""

    mode = Mode.SIMULATED
    name = EMBEDDED
    stands_in = False

    def __init__(self, child: Child, key: Ed25519PrivateKey) -> None:
        self._child = child
        self._key = key
        self._address: dict[str, str] | None = None

    @property
    def _where(self) -> dict[str, str]:
        """Known as soon as it is up. :raises ChildError: it did not come up."""
        if self._address is None:
            self._address = json.loads(self._child.first_line())
        return self._address

    @property
    def rest_url(self) -> str:
        """The REST API."""
        return self._where["rest_url"]

    @property
    def ws_url(self) -> str:
        """The stream."""
        return self._where["ws_url"]

    def key_secret(self) -> dict[str, str]:
        """The run's own key."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"key_id": KEY_ID, "private_key": pem.decode()}

    def begin(self) -> None:
        """Its account knows by itself what it began with."""

    def deployed(self, settings: Settings, stores: Stores) -> None:
        """It keeps its account itself."""

    def check(self) -> None:
        """:raises ChildError: it has ended."""
        if self._child.ended is not None:
            raise ChildError(f"the exchange ended with code {self._child.ended}: {tail(self._child.log)}")

    def account(self, entries: Sequence[LedgerEntry]) -> Mapping[str, Any]:
        """What its admin read says, whatever the ledger says."""
        del entries
        answer = httpx.get(f"{self._where['admin_url']}/account", timeout=_ACCOUNT_SECONDS)
        answer.raise_for_status()
        account: dict[str, Any] = answer.json()
        return account


class KalshiVenue:
    """Kalshi's demo exchange. What the account held before the state began is left out of the comparison; what a
    person trades beside the run is not, and shows as a difference.

    :param folder: of the exchange's part of the state
    """

    mode = Mode.DEMO

    def __init__(self, access: ExchangeAccess, folder: Path) -> None:
        self._access = access
        self._baseline = folder / "baseline.json"
        self.stands_in = is_loopback(access.hosts.rest_url)
        self.name = f"kalshi {access.exchange.value}{', a stand-in on this machine' if self.stands_in else ''}"
        client = RestClient(base_url=access.hosts.rest_url, credentials=access.credentials, clock=access.clock)
        self._trading: Trading = KalshiTrading(client)
        self.close = client.close

    @property
    def rest_url(self) -> str:
        """The REST API."""
        return self._access.hosts.rest_url

    @property
    def ws_url(self) -> str:
        """The stream."""
        return self._access.hosts.ws_url

    def key_secret(self) -> dict[str, str]:
        """The user's key. It is kept in the embedded cloud's memory and in no file."""
        return {"key_id": self._access.credentials.key_id, "private_key": self._access.credentials.private_key}

    def begin(self) -> None:
        """Note cash and positions, once in the life of a state."""
        if self._baseline.exists():
            return
        held = {
            "key_id": self._access.credentials.key_id,
            "since_ms": self._access.clock.now_ms(),
            "cash": {str(shard): cash for shard, cash in self._trading.balance().items()},
            "positions": dict(self._trading.positions()),
        }
        self._baseline.parent.mkdir(parents=True, exist_ok=True)
        draft = self._baseline.with_suffix(".new")
        draft.write_text(json.dumps(held))
        draft.replace(self._baseline)

    def deployed(self, settings: Settings, stores: Stores) -> None:
        """Kalshi keeps the account."""

    def check(self) -> None:
        """Kalshi comes back by itself; feed and functions try again meanwhile."""

    def account(self, entries: Sequence[LedgerEntry]) -> Mapping[str, Any]:
        """Cash, fees of our markets and positions, from the exchange."""
        try:
            before = json.loads(self._baseline.read_text())
            initial, positions, since_ms = before["cash"], before["positions"], before["since_ms"]
        except (OSError, ValueError, KeyError) as error:
            raise StateError(f"{self._baseline} is missing or damaged: start anew with --fresh") from error
        tickers = sorted({entry.ticker for entry in entries})
        now_held = self._trading.positions()
        fees = sum(fill.fee for fill in self._trading.fills(tickers, since_ms)) if tickers else 0
        return {
            "cash": {str(shard): cash for shard, cash in self._trading.balance().items()},
            "initial_cash": initial,
            "fees_paid": fees,
            "positions": {ticker: count - positions.get(ticker, 0) for ticker, count in now_held.items()},
        }


class PaperVenue:
    """The real books of one of Kalshi's exchanges, and our own paper account. Nothing is ever sent there: the key opens
    the stream and is asked what it may do, no more."""

    mode = Mode.PAPER

    def __init__(self, access: ExchangeAccess) -> None:
        self._access = access
        self.stands_in = is_loopback(access.hosts.rest_url)
        books = f"books of kalshi {access.exchange.value}{', a stand-in on this machine' if self.stands_in else ''}"
        self.name = f"paper account on {books}"
        self._client = RestClient(base_url=access.hosts.rest_url, credentials=None, clock=access.clock)
        self._trading: PaperTrading | None = None
        self.close = self._client.close

    @property
    def rest_url(self) -> str:
        """The REST API."""
        return self._access.hosts.rest_url

    @property
    def ws_url(self) -> str:
        """The stream."""
        return self._access.hosts.ws_url

    def key_secret(self) -> dict[str, str]:
        """The user's key. It is kept in the embedded cloud's memory and in no file."""
        return {"key_id": self._access.credentials.key_id, "private_key": self._access.credentials.private_key}

    def begin(self) -> None:
        """The paper account begins with the settings' cash."""

    def deployed(self, settings: Settings, stores: Stores) -> None:
        """The account is in the stack's paper table."""
        market = KalshiMarketData(self._client, self._access.clock)
        self._trading = paper_trading(settings, stores, market)

    def check(self) -> None:
        """Kalshi comes back by itself; feed and functions try again meanwhile."""

    def account(self, entries: Sequence[LedgerEntry]) -> Mapping[str, Any]:
        """What the paper account says of itself, whatever the ledger says.

        :raises StateError: nothing is deployed yet.
        """
        del entries
        if self._trading is None:
            raise StateError("the paper account is asked before its table is there")
        positions = self._trading.positions()
        return {
            "cash": {str(shard): cash for shard, cash in self._trading.balance().items()},
            "initial_cash": {str(shard): cash for shard, cash in self._trading.opening.items()},
            "fees_paid": self._trading.fees_paid(),
            "positions": dict(positions),
        }


def mode_of(exchange: str | None, mode: str | None) -> Mode:
    """The mode of a run on this exchange (None is the embedded one).

    :raises SettingsError: the two do not go together, or the mode cannot be run from here.
    """
    if mode == Mode.LIVE.value:
        raise SettingsError("mode live moves real money and is never run from here: deploy a stack for it")
    if mode == Mode.PAPER.value and exchange is None:
        raise SettingsError("mode paper needs the books of a real exchange: add --exchange prod or --exchange demo")
    if mode == Mode.PAPER.value:
        return Mode.PAPER
    only = {None: Mode.SIMULATED, "demo": Mode.DEMO, "prod": Mode.PAPER}[exchange]
    if mode is not None and mode != only.value:
        place = "the embedded exchange" if exchange is None else f"--exchange {exchange}"
        raise SettingsError(
            f"mode {mode} does not go with {place}: it is {only.value}{' or paper' * (only is Mode.DEMO)}"
        )
    return only


def require_usable(
    access: ExchangeAccess, say: Callable[[str], None], checks: Callable[[ExchangeAccess], Any] = check_exchange
) -> None:
    """Ask the exchange everything that a run rests on, before anything is started.

    :raises SettingsError: the first check that failed, in one line.
    """
    found: Finding
    for found in checks(access):
        if not found.ok:
            raise SettingsError(f"{found.check}: {found.line}")
        say(f"{found.check:<7} {found.line}")
