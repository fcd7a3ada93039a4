"""Which exchange a command reads publicly: the local run's own, Kalshi's demo, Kalshi's real one, or an address."""

import re
from pathlib import Path

import click

from kalshi_arb.cli.local_state import read_run_state
from kalshi_arb.kalshi.hosts import HOSTS, REST_PATH, Exchange

EMBEDDED = "embedded"
CHOICES = (EMBEDDED, *(exchange.value for exchange in Exchange))
_ADDRESS = re.compile(r"https?://[^\s/]+(/[^\s]*)?")


def check_address(option: str, given: str | None) -> None:
    """:raises click.UsageError: what was given for ``option`` is no address."""
    if given is not None and not _ADDRESS.fullmatch(given):
        raise click.UsageError(f"{option} is {given!r}, which is no address such as https://host/path")


def check_choice(exchange: str | None, url: str | None) -> None:
    """:raises click.UsageError: ``--exchange`` and ``--url`` were both given, or the address is none."""
    if exchange and url:
        raise click.UsageError("give --exchange or --url, not both")
    check_address("--url", url)


def rest_url(exchange: str | None, url: str | None, folder: Path) -> str:
    """The REST address of the exchange that was chosen; without a choice the local run's own.

    :raises click.ClickException: the local run's exchange is meant, and nothing runs from ``folder``.
    """
    if url:
        return url
    if exchange and exchange != EMBEDDED:
        return HOSTS[Exchange(exchange)].rest_url
    state = read_run_state(folder)
    if state is None:
        raise click.ClickException(
            f"nothing is running from {folder}: start it with `kalshi-arb run`, or give --exchange demo|prod or --url"
        )
    return f"{state.exchange_url}{REST_PATH}"
