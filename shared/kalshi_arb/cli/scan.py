"""`kalshi-arb scan`: judge an exchange's open events now, here or in the deployed system. Nothing is traded."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import httpx

from kalshi_arb.api import scan_view
from kalshi_arb.cli.exchange_choice import CHOICES, check_address, check_choice, rest_url
from kalshi_arb.cli.local_state import STATE_FOLDER, read_run_state
from kalshi_arb.cli.progress import Progress
from kalshi_arb.clock import Clock, SystemClock
from kalshi_arb.detection.scan import Scanner
from kalshi_arb.domain.book import BookSnapshot
from kalshi_arb.domain.errors import ExchangeError
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.money import Count
from kalshi_arb.fakes import MemoryGroupStore, MemoryNotifier, MemoryStatusStore
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.relations.discover import Discovery
from kalshi_arb.settings import DEFAULT_SMALLEST_FILL, AccountType

CLOUD_SECONDS = 60.0
_SHOWN_MISSES = 10


class WatchedMarketData(KalshiMarketData):
    """Public reads that tell how far a scan has come, of one event only if one is asked for."""

    def __init__(self, client: RestClient, clock: Clock, event_ticker: str | None, progress: Progress) -> None:
        super().__init__(client, clock)
        self._event_ticker = event_ticker
        self._progress = progress
        self._judged = 0
        self.found = event_ticker is None

    def open_events(self) -> Iterator[EventListing]:
        """As the port says; reading ends with the event that was asked for."""
        for number, listing in enumerate(super().open_events(), start=1):
            self._progress.tell(f"reading open events: {number} ...")
            if self._event_ticker is None:
                yield listing
            elif listing.event_ticker == self._event_ticker:
                self.found = True
                yield listing
                return

    def orderbooks(self, tickers: Sequence[str]) -> dict[str, BookSnapshot]:
        """As the port says; a scan calls it once for each group."""
        self._judged += 1
        self._progress.tell(f"judging groups: {self._judged} ...")
        return super().orderbooks(tickers)


def scan_exchange(url: str, event_ticker: str | None, account: AccountType, progress: Progress) -> dict[str, Any]:
    """Discover and judge with public reads alone, everything in memory.

    :raises ExchangeError: the exchange does not answer
    :raises click.ClickException: it has no such event
    """
    clock, groups, status = SystemClock(), MemoryGroupStore(), MemoryStatusStore()
    client = RestClient(base_url=url, credentials=None, clock=clock)
    try:
        market_data = WatchedMarketData(client, clock, event_ticker, progress)
        discovered = Discovery(
            market_data=market_data, groups=groups, status=status, notifier=MemoryNotifier(), clock=clock, mode="scan"
        ).sweep()
        if not market_data.found:
            raise click.ClickException(f"{url} lists no open event {event_ticker} (combos have no scan of their own)")
        report = Scanner(
            market_data=market_data,
            groups=groups,
            clock=clock,
            precision=account.precision,
            smallest_fill=Count(DEFAULT_SMALLEST_FILL),
        ).scan(event_ticker)
    finally:
        client.close()
    titles = {market.ticker: market.title for record in groups.all() for market in record.group.markets}
    dropped = Counter(discovered.dropped) + Counter(market_data.skipped)
    return {"exchange": url, **scan_view(report, titles), "dropped": dict(sorted(dropped.items()))}


def scan_cloud(api_url: str, token: str, event_ticker: str | None) -> dict[str, Any]:
    """Have the deployed system scan. :raises click.ClickException: it does not answer, or refuses."""
    body = {} if event_ticker is None else {"event_ticker": event_ticker}
    try:
        answer = httpx.post(
            f"{api_url.rstrip('/')}/scan",
            json=body,
            headers={"authorization": f"Bearer {token}"},
            timeout=CLOUD_SECONDS,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise click.ClickException(f"{api_url} does not answer: {error}") from error
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise click.ClickException(f"{api_url} refuses the token (HTTP {answer.status_code})")
    try:
        view = answer.json()
    except ValueError:
        view = None
    if not isinstance(view, dict) or (answer.is_success and "counts" not in view):
        raise click.ClickException(f"{api_url} answers HTTP {answer.status_code} with something that is no scan")
    if not answer.is_success:
        raise click.ClickException(f"{api_url}: {view.get('error', view.get('message'))} (HTTP {answer.status_code})")
    return {"exchange": f"the one of {api_url}", **view}


def as_text(view: Mapping[str, Any]) -> list[str]:
    """A scan for people: what was judged, every find with its proof in words, the nearest misses."""
    counts = view["counts"]
    moment = datetime.fromtimestamp(view["scanned_ms"] / 1000, UTC)
    judged = [f"{count} {word.replace('_', ' ')}" for word, count in counts.items() if word not in ("groups", "books")]
    lines = [
        f"exchange  {view['exchange']}",
        f"scanned   {moment:%Y-%m-%d %H:%M:%S} UTC, {counts['groups']} groups on {counts['books']} books; "
        "nothing was traded",
        f"judged    {', '.join(judged) or 'nothing'}",
    ]
    if view.get("dropped"):
        reasons = (f"{reason.replace('_', ' ')} ({count})" for reason, count in view["dropped"].items())
        lines.append(f"left out  {', '.join(reasons)}")
    for number, found in enumerate(view["opportunities"], start=1):
        gain = _dollars(found["profit_at_least"])
        lines += ["", f"{number:>3}. {found['grade']}, gains at least {gain}: {found['event_ticker']}"]
        lines += [f"     {leg}" for leg in found["legs"]]
        lines.append(f"     {found['proof']}")
    lines += ["", "nearest misses" if view["misses"] else "no near misses: no group has books on every side it needs"]
    for miss in view["misses"][:_SHOWN_MISSES]:
        lines.append(f"{miss['event_ticker']:<28}  {miss['text']}")
    return lines


def _dollars(wire: str) -> str:
    """An amount of the wire with as many decimals as it needs, two at least."""
    whole, _, decimals = wire.partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"


@click.command()
@click.argument("event_ticker", required=False)
@click.option(
    "--exchange",
    type=click.Choice(CHOICES),
    help="Whose public REST API is read; embedded, the local run's own, is the default.",
)
@click.option("--url", help="Address of another exchange's REST API, with its root.")
@click.option("--account", type=click.Choice([kind.value for kind in AccountType]), default="direct", show_default=True)
@click.option("--cloud", is_flag=True, help="Have the deployed system scan; the local run, or the one of --api-url.")
@click.option("--api-url", help="With --cloud: address of the HTTP API.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --api-url: file that holds the API's token.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_FOLDER,
    show_default=True,
    help="Where the local run keeps its state.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def scan(
    event_ticker: str | None,
    exchange: str | None,
    url: str | None,
    account: str,
    cloud: bool,
    api_url: str | None,
    token_file: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Look for bundles that cannot lose, on books read now: all open events, or one. Nothing is traded.

    \b
    Examples:
      kalshi-arb scan                          the local run's exchange
      kalshi-arb scan --exchange prod          Kalshi, without a key
      kalshi-arb scan --cloud                  asked of the running system
      kalshi-arb scan KXHIGHNY-26NOV22 --json
    """
    check_choice(exchange, url)
    check_address("--api-url", api_url)
    if cloud and (exchange or url):
        raise click.UsageError("--cloud scans the exchange of the deployed system: leave --exchange and --url out")
    if bool(api_url) != bool(token_file) or (api_url and not cloud):
        raise click.UsageError("--api-url and --token-file go together, with --cloud")
    progress = Progress()
    if cloud:
        address, token = (api_url, token_file.read_text().strip()) if api_url and token_file else _run_api(folder)
        progress.tell(f"{address} scans ...")
        view = scan_cloud(address, token, event_ticker)
    else:
        view = _scan_here(rest_url(exchange, url, folder), event_ticker, AccountType(account), progress)
    progress.clear()
    click.echo(json.dumps(view) if as_json else "\n".join(as_text(view)))


def _scan_here(url: str, event_ticker: str | None, account: AccountType, progress: Progress) -> dict[str, Any]:
    # Events that cannot be mapped are counted in the answer; a line for each would bury it.
    logging.getLogger("kalshi_arb").addHandler(logging.NullHandler())
    try:
        return scan_exchange(url, event_ticker, account, progress)
    except ExchangeError as error:
        progress.clear()
        raise click.ClickException(f"{url} does not answer a public read: {error}") from error


def _run_api(folder: Path) -> tuple[str, str]:
    state = read_run_state(folder)
    if state is None:
        raise click.ClickException(
            f"nothing is running from {folder}: start it with `kalshi-arb run`, or give --api-url and --token-file"
        )
    return state.api_url, state.api_token
