"""Kalshi's two exchanges and their recommended hosts (Kalshi API documentation, API environments).

The demo exchange has accounts, keys and play money of its own; a key of one is unknown to the other.
"""

from dataclasses import dataclass
from enum import Enum, unique
from ipaddress import ip_address
from urllib.parse import urlsplit

from kalshi_arb.domain.errors import SettingsError

REST_PATH = "/trade-api/v2"
WS_PATH = "/trade-api/ws/v2"


@unique
class Exchange(Enum):
    """Which of the two."""

    DEMO = "demo"
    PROD = "prod"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where an exchange answers. The REST and the stream hosts differ."""

    rest_url: str
    ws_url: str


HOSTS = {
    Exchange.DEMO: Hosts(
        f"https://external-api.demo.kalshi.co{REST_PATH}", f"wss://external-api-ws.demo.kalshi.co{WS_PATH}"
    ),
    Exchange.PROD: Hosts(f"https://external-api.kalshi.com{REST_PATH}", f"wss://external-api-ws.kalshi.com{WS_PATH}"),
}
_STILL_SERVED = {
    Exchange.DEMO: Hosts(f"https://demo-api.kalshi.co{REST_PATH}", f"wss://demo-api.kalshi.co{WS_PATH}"),
    Exchange.PROD: Hosts(f"https://api.elections.kalshi.com{REST_PATH}", f"wss://api.elections.kalshi.com{WS_PATH}"),
}


def hosts_of(exchange: Exchange, rest_url: str | None, ws_url: str | None) -> Hosts:
    """The hosts to use: the recommended ones, each replaced by what the settings name.

    :raises SettingsError: a setting names neither a host of this exchange nor this machine: what is meant for the demo
        exchange must never reach real money.
    """
    chosen = HOSTS[exchange]
    known = (chosen, _STILL_SERVED[exchange])
    if rest_url is not None:
        _check("KALSHI_ARB_REST_URL", rest_url, exchange, [hosts.rest_url for hosts in known])
    if ws_url is not None:
        _check("KALSHI_ARB_WS_URL", ws_url, exchange, [hosts.ws_url for hosts in known])
    return Hosts(rest_url or chosen.rest_url, ws_url or chosen.ws_url)


def _check(name: str, url: str, exchange: Exchange, known: list[str]) -> None:
    if url not in known and not is_loopback(url):
        raise SettingsError(f"{name} is {url}, which is no host of Kalshi's {exchange.value} exchange: {known[0]} is")


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
