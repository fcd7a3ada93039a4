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

from kalshi_arb.cli.exchange_choice import check_address, check_choice, rest_url
from kalshi_arb.cli.local_state import read_run_state
from kalshi_arb.cli.options import exchange_option, folder_option, json_option, show_contracts, show_dollars, url_option
from kalshi_arb.cli.progress import Progress
from kalshi_arb.cli.tape_scan import scan_tapes, tape_text
from kalshi_arb.clock import Clock, SystemClock
from kalshi_arb.detection.scan import Scanner
from kalshi_arb.domain.errors import AmountError, ExchangeError
from kalshi_arb.domain.listing import EventListing
from kalshi_arb.domain.market import MarketStatus
from kalshi_arb.domain.money import Cash, Count, cash_from_wire
from kalshi_arb.fakes import MemoryGroupStore, MemoryNotifier, MemoryStatusStore
from kalshi_arb.kalshi.client import RestClient
from kalshi_arb.kalshi.market_data import KalshiMarketData
from kalshi_arb.relations.discover import Discovery
from kalshi_arb.scan_view import machine_view, scan_view
from kalshi_arb.settings import DEFAULT_SMALLEST_FILL, AccountType

Json = dict[str, Any]

CLOUD_SECONDS = 60.0
_SHOWN_MISSES = 10


class WatchedMarketData(KalshiMarketData):
    """Public reads that tell how far a scan has come, of one event or of some series only if those are asked for."""

    def __init__(
        self, client: RestClient, clock: Clock, event_ticker: str | None, series: Sequence[str], progress: Progress
    ) -> None:
        super().__init__(client, clock)
        self._event_ticker = event_ticker
        self._series = tuple(series)
        self._progress = progress
        self.missing = {event_ticker} if event_ticker else set(series)

    def open_events(self, series_tickers: Sequence[str] = ()) -> Iterator[EventListing]:
        """As the port says, of what was asked for."""
        read: Iterator[EventListing]
        if self._event_ticker is not None:
            read = filter(_is_open, self.events([self._event_ticker]))
        else:
            read = super().open_events(series_tickers or self._series)
        for number, listing in enumerate(read, start=1):
            self._progress.tell(f"reading open events: {number} ...")
            self.missing -= {listing.event_ticker, listing.series_ticker}
            yield listing

    def combo_events(self) -> Iterator[EventListing]:
        """As the port says; none where an event or series was asked for, for combos are of no series but their own."""
        if self._event_ticker is None and not self._series:
            yield from super().combo_events()


def _is_open(listing: EventListing) -> bool:
    return any(listed.status is MarketStatus.ACTIVE for listed in listing.markets)


def scan_exchange(
    url: str,
    *,
    event_ticker: str | None,
    series: Sequence[str],
    account: AccountType,
    min_profit: Cash,
    progress: Progress,
) -> Json:
    """Discover and judge with public reads alone, everything in memory.

    :raises ExchangeError: the exchange does not answer
    :raises click.ClickException: it lists no such event or series
    """
    clock, groups, status = SystemClock(), MemoryGroupStore(), MemoryStatusStore()
    client = RestClient(base_url=url, credentials=None, clock=clock)
    try:
        market_data = WatchedMarketData(client, clock, event_ticker, series, progress)
        discovered = Discovery(
            market_data=market_data, groups=groups, status=status, notifier=MemoryNotifier(), clock=clock, mode="scan"
        ).sweep()
        if market_data.missing:
            what = "event" if event_ticker else "event of the series"
            named = ", ".join(sorted(market_data.missing))
            raise click.ClickException(f"{url} lists no open {what} {named} (combos have no scan of their own)")
        report = Scanner(
            market_data=market_data,
            groups=groups,
            clock=clock,
            precision=account.precision,
            smallest_fill=Count(DEFAULT_SMALLEST_FILL),
            min_profit=min_profit,
        ).scan(event_ticker, lambda done, total: progress.bar(done, total, "groups judged"))
    finally:
        client.close()
    left_out = Counter(discovered.dropped) + Counter(market_data.skipped)
    return {"exchange": url, **scan_view(report), "left_out": dict(sorted(left_out.items()))}


def scan_cloud(api_url: str, token: str, event_ticker: str | None) -> Json:
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
    """A scan for people: how far the groups came, every find with what it rests on, the nearest misses."""
    counts = view["counts"]
    moment = datetime.fromtimestamp(view["scanned_ms"] / 1000, UTC)
    lines = [
        f"exchange  {view['exchange']}",
        f"scanned   {moment:%Y-%m-%d %H:%M:%S} UTC, {counts['groups']} groups; nothing was traded",
        f"judged    {counts['screened']} through the screen, {counts['solved']} with a bundle after linear fees, "
        f"{counts['proved']} proved",
    ]
    for name, what in (("dropped", counts["dropped"]), ("left out", view.get("left_out"))):
        if what:
            lines.append(f"{name:<10}{_reasons(what)}")
    if "tape" in view:
        lines += ["", *tape_text(view["tape"], counts)]
    for number, found in enumerate(view["opportunities"], start=1):
        lines += ["", *_found(number, found)]
    misses = view["near_misses"]
    lines += ["", "nearest misses" if misses else "no near misses: no group has books on every side it needs"]
    lines += [f"{miss['event']:<28}  {miss['text']}" for miss in misses[:_SHOWN_MISSES]]
    return lines


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} ({count})" for reason, count in counts.items())


def _found(number: int, found: Mapping[str, Any]) -> list[str]:
    """One find as a table: what, why it holds, legs with limits, fees, worst case, capital, ages."""
    legs = found["legs"]
    width = max(len(leg["ticker"]) for leg in legs)
    worst = show_dollars(found["worst_profit"])
    moment = datetime.fromtimestamp(found["found_ms"] / 1000, UTC)
    lines = [f"{number:>3}. {found['grade']}, {worst} in the worst case: {found['event']} at {moment:%m-%d %H:%M:%S}"]
    for leg in legs:
        title = found["titles"].get(leg["ticker"]) or ""
        lines.append(
            f"     buy {show_contracts(leg['count']):>9} {leg['side'].upper():<3} {leg['ticker']:<{width}}  at "
            f"{show_dollars(leg['price'])} or less, fee {show_dollars(leg['fee'])}  {title}".rstrip()
        )
    sizes = {show_contracts(leg["count"]) for leg in legs}
    size = f"{sizes.pop()} contracts a leg" if len(sizes) == 1 else "as above"
    lines.append(
        f"     size      {size}, costs {show_dollars(found['cost'])} and fees {show_dollars(found['fees'])} at most"
    )
    lines.append(f'     worst     {worst} if "{found["worst_state"]}", of {found["states"]} ways to settle')
    if found["breaking_state"] is not None:
        lines.append(f"     breaks if {found['breaking_state']}")
    lines += [f"     assumes   {one}" for one in found["assumptions"]]
    until = found["locked_until_ms"]
    back = "" if until is None else f" until {datetime.fromtimestamp(until / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    lines.append(f"     capital   {show_dollars(found['capital'])} tied up{back}")
    apart = "how far apart is not on tape" if found["skew_ms"] is None else f"{found['skew_ms']} ms apart"
    lines.append(f"     books     at most {found['age_ms']} ms old, {apart}")
    return lines + [f"     {'because' if place == 0 else '':<10}{why}" for place, why in enumerate(found["why"])]


@click.command()
@click.argument("event_ticker", required=False)
@click.option("--series", multiple=True, help="Only events of this series; may be given several times.")
@click.option(
    "--tape", "tapes", multiple=True, help="Instead of an exchange: recorded books, a file, folder or pattern."
)
@click.option(
    "--min-profit", default="0", show_default=True, help="Leave out bundles that gain less dollars in the worst case."
)
@exchange_option
@url_option
@click.option("--account", type=click.Choice([kind.value for kind in AccountType]), default="direct", show_default=True)
@click.option("--cloud", is_flag=True, help="Have the deployed system scan; the local run, or the one of --api-url.")
@click.option("--api-url", help="With --cloud: address of the HTTP API.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --api-url: file that holds the API's token.",
)
@folder_option
@json_option
def scan(
    event_ticker: str | None,
    series: tuple[str, ...],
    tapes: tuple[str, ...],
    min_profit: str,
    exchange: str | None,
    url: str | None,
    account: str,
    cloud: bool,
    api_url: str | None,
    token_file: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Look for bundles that cannot lose: in all open events, in some series, in one event, or on tapes.

    Books are read now, or taken as they were recorded, pass by pass. Neither a key nor AWS is needed, and nothing is
    traded.

    \b
    Examples:
      kalshi-arb scan                                    the local run's exchange
      kalshi-arb scan --exchange prod --series KXHIGHNY  Kalshi, without a key
      kalshi-arb scan --tape recorded/2026-07-20.jsonl.gz
      kalshi-arb scan --cloud                            asked of the running system
      kalshi-arb scan KXHIGHNY-26NOV22 --min-profit 0.01 --json
    """
    check_choice(exchange, url)
    check_address("--api-url", api_url)
    if cloud and (exchange or url):
        raise click.UsageError("--cloud scans the exchange of the deployed system: leave --exchange and --url out")
    if bool(api_url) != bool(token_file) or (api_url and not cloud):
        raise click.UsageError("--api-url and --token-file go together, with --cloud")
    if tapes and (exchange or url or cloud):
        raise click.UsageError("--tape scans recordings: leave --exchange, --url and --cloud out")
    least = _min_profit(min_profit)
    if cloud and (series or least):
        raise click.UsageError("--cloud scans one event or everything: leave --series and --min-profit out")
    progress = Progress()
    if tapes:
        view = scan_tapes(
            tapes,
            event_ticker=event_ticker,
            series=series,
            precision=AccountType(account).precision,
            smallest_fill=Count(DEFAULT_SMALLEST_FILL),
            min_profit=least,
            progress=progress,
        )
    elif cloud:
        address, token = (api_url, token_file.read_text().strip()) if api_url and token_file else _run_api(folder)
        progress.tell(f"{address} scans ...")
        view = scan_cloud(address, token, event_ticker)
    else:
        view = _scan_here(rest_url(exchange, url, folder), event_ticker, series, AccountType(account), least, progress)
    progress.clear()
    click.echo(json.dumps(_for_machines(view)) if as_json else "\n".join(as_text(view)))


def _for_machines(view: Mapping[str, Any]) -> Json:
    """The promised report; of a tape what it says of its passes beside it."""
    return machine_view(view) | ({"tape": view["tape"]} if "tape" in view else {})


def _min_profit(text: str) -> Cash:
    try:
        least = cash_from_wire(text)
    except AmountError as error:
        raise click.UsageError(f"--min-profit: {error}") from None
    if least < 0:
        raise click.UsageError(f"--min-profit is {text}, and must not be negative")
    return least


def _scan_here(
    url: str,
    event_ticker: str | None,
    series: Sequence[str],
    account: AccountType,
    min_profit: Cash,
    progress: Progress,
) -> Json:
    # Events that cannot be mapped are counted in the answer; a line for each would bury it.
    logging.getLogger("kalshi_arb").addHandler(logging.NullHandler())
    try:
        return scan_exchange(
            url,
            event_ticker=event_ticker,
            series=series,
            account=account,
            min_profit=min_profit,
            progress=progress,
        )
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
