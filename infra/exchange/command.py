"""``kalshi-arb exchange``, and ``python -m infra.exchange``: the embedded exchange by itself, for any client."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from infra.exchange.assembly import ExchangeOptions, TapeOptions, create_exchange
from infra.exchange.auth import PublicKey, read_public_key
from infra.exchange.channels import StreamLimits
from infra.exchange.errors import ExchangeStartError
from infra.exchange.keys import KEY_FILE, member_key
from infra.exchange.server import ExchangeServer, ServerConfig
from infra.exchange.tape_terms import load_tape
from infra.exchange.tokens import Tier, tier_named
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash, cash_from_wire

DEFAULT_KEY_ID = "embedded-exchange-key"

_WORLD, _SERVING = UniverseConfig(), ServerConfig()


def state_folder() -> Path:
    """Where this person's programs keep what outlives them (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "kalshi-arb" / "exchange"


@dataclass(frozen=True, slots=True)
class _Member:
    """The one who may trade. ``key_file`` is the private key when it was found or made here."""

    key_id: str
    public_key: PublicKey
    key_file: Path | None


def _cash(_ctx: click.Context, _param: click.Parameter, text: str) -> Cash:
    try:
        cash = cash_from_wire(text)
    except AmountError as error:
        raise click.BadParameter(f"{text} is no dollar amount") from error
    if cash < 0 or cash % Precision.DIRECT:
        raise click.BadParameter("cash must be positive, in steps of 0.0001 dollars")
    return cash


def _span(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    try:
        return int(low), int(high or low)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no range of whole numbers such as 200:400") from error


def _shown(span: tuple[int, int]) -> str:
    return f"{span[0]}:{span[1]}"


@click.command()
@click.option("--host", default=_SERVING.host, show_default=True, help="Loopback address to serve on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port to serve on; 0: a free one.")
@click.option("--json", "as_json", is_flag=True, help="Say where it is in one JSON line once it is ready.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the universe.")
@click.option(
    "--public-key-file",
    type=click.Path(path_type=Path),
    help="The member's public key, PEM, RSA or Ed25519.  [default: a pair is made and kept in --key-folder]",
)
@click.option("--key-id", default=DEFAULT_KEY_ID, show_default=True, help="Id of that key.")
@click.option(
    "--key-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the pair is made and kept.  [default: the exchange's folder in your state folder]",
)
@click.option(
    "--cash", callback=_cash, metavar="DOLLARS", default="10000", show_default=True,
    help="Play dollars in all, split over the shards.",
)  # fmt: skip
@click.option("--cent-account", is_flag=True, help="Round balances to cents, as for accounts through brokers.")
@click.option(
    "--tier",
    type=click.Choice([tier.word for tier in Tier]),
    default=Tier.ADVANCED.word,
    show_default=True,
    help="The member's usage tier, which says how much it may ask.",
)
@click.option(
    "--cache-ms",
    type=click.IntRange(min=0),
    default=_SERVING.cache_ms,
    show_default=True,
    help="How old the quotes of /markets may be; 15000 on the real exchange.",
)
@click.option(
    "--live-ms",
    type=click.IntRange(min=0),
    default=_SERVING.window_ms,
    show_default=True,
    help="How long what is over stays on the live endpoints; older data is on the historical ones only.",
)
@click.option(
    "--read-lag-ms",
    type=click.IntRange(min=0),
    default=_SERVING.read_lag_ms,
    show_default=True,
    help="How far portfolio reads are behind.",
)
@click.option(
    "--reply-ms",
    type=click.IntRange(min=0),
    default=_SERVING.reply_ms,
    show_default=True,
    help="How long the answer to an executed order takes.",
)
@click.option(
    "--step-ms",
    type=click.IntRange(min=1),
    default=_SERVING.step_ms,
    show_default=True,
    help="Pause between two steps of the universe.",
)
@click.option(
    "--markets-per-subscription",
    type=click.IntRange(min=1),
    default=_SERVING.stream.markets_per_subscription,
    show_default=True,
    help="What one subscription of the stream takes (error 26).",
)
@click.option("--events", type=int, default=_WORLD.events, show_default=True, help="Events alive at a time.")
@click.option(
    "--deltas-per-second",
    type=int,
    default=_WORLD.deltas_per_second,
    show_default=True,
    help="Book changes a second, all markets.",
)
@click.option(
    "--mispricing-every-ms",
    type=int,
    default=_WORLD.mispricing_every_ms,
    show_default=True,
    help="Mean pause between mispricings.",
)
@click.option(
    "--mispricing-life-ms",
    callback=_span,
    metavar="LOW:HIGH",
    default=_shown(_WORLD.mispricing_life_ms),
    show_default=True,
    help="How long a mispricing stands.",
)
@click.option(
    "--fade-share",
    type=float,
    default=_WORLD.fade_share,
    show_default=True,
    help="Share of mispricings that fade under an order.",
)
@click.option(
    "--event-life-ms",
    callback=_span,
    metavar="LOW:HIGH",
    default=_shown(_WORLD.event_life_ms),
    show_default=True,
    help="How long an event is traded.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep everything there, and go on from what is there.",
)
@click.option(
    "--tape",
    "tapes",
    multiple=True,
    metavar="FILE...",
    help="Play recorded books instead of the universe: files, folders or globs of .jsonl or .jsonl.gz.",
)
@click.argument("more_tapes", nargs=-1, metavar="")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times as fast as recorded a tape is played.",
)
@click.option("--tape-waits", is_flag=True, help="List nothing until POST /admin/tape.")
def exchange(
    host: str,
    port: int,
    as_json: bool,
    seed: int,
    public_key_file: Path | None,
    key_id: str,
    key_folder: Path | None,
    cash: Cash,
    cent_account: bool,
    tier: str,
    cache_ms: int,
    live_ms: int,
    read_lag_ms: int,
    reply_ms: int,
    step_ms: int,
    markets_per_subscription: int,
    events: int,
    deltas_per_second: int,
    mispricing_every_ms: int,
    mispricing_life_ms: tuple[int, int],
    fade_share: float,
    event_life_ms: tuple[int, int],
    state_dir: Path | None,
    tapes: tuple[str, ...],
    more_tapes: tuple[str, ...],
    speed: float,
    tape_waits: bool,
) -> None:
    """Serve the embedded exchange on loopback until Ctrl-C or SIGTERM.

    It speaks Kalshi's REST and WebSocket formats, so any client of Kalshi's works against it: point it at the address
    that is printed and give it the key. Logs go to standard error.

    Faults are scripted over POST /admin/faults, and GET /admin/faults says how often each has struck.

    \b
    Examples:
      kalshi-arb exchange --port 8900
      kalshi-arb exchange --public-key-file key.pub --key-id 1b6c... --json
      kalshi-arb exchange --tape books/2026-07-20.jsonl.gz --speed 60
      curl -X POST localhost:8900/admin/faults -d '{"faults":[{"fault":"http_error","status":429,"for_ms":5000}]}'
    """
    if more_tapes and not tapes:
        raise click.UsageError(f"unexpected argument {more_tapes[0]}: only --tape takes files")
    member = _member(public_key_file, key_id, key_folder)
    try:
        universe = UniverseConfig(
            events=events,
            deltas_per_second=deltas_per_second,
            mispricing_every_ms=mispricing_every_ms,
            mispricing_life_ms=mispricing_life_ms,
            fade_share=fade_share,
            event_life_ms=event_life_ms,
        )
    except ValueError as error:
        raise ExchangeStartError(str(error)) from error
    server = ServerConfig(
        host=host,
        port=port,
        step_ms=step_ms,
        read_lag_ms=read_lag_ms,
        reply_ms=reply_ms,
        tier=tier_named(tier),
        cache_ms=cache_ms,
        window_ms=live_ms,
        stream=StreamLimits(markets_per_subscription=markets_per_subscription),
    )
    tape = TapeOptions(load_tape((*tapes, *more_tapes)), speed, tape_waits) if tapes else None
    precision = Precision.CENT if cent_account else Precision.DIRECT
    options = ExchangeOptions(
        seed, member.key_id, member.public_key, cash, precision, universe, server, tape, state_dir
    )

    def announce(running: ExchangeServer) -> None:
        click.echo(json.dumps(_ready(running)) if as_json else _lines(running, member))

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(options, announce))


def _member(public_key_file: Path | None, key_id: str, key_folder: Path | None) -> _Member:
    if public_key_file is None:
        folder = state_folder() if key_folder is None else key_folder
        return _Member(key_id, member_key(folder).public_key(), (folder / KEY_FILE).absolute())
    if key_folder is not None:
        raise click.UsageError("--key-folder is for the pair that is made without --public-key-file")
    try:
        pem = public_key_file.read_bytes()
    except OSError as error:
        raise ExchangeStartError(f"cannot read {public_key_file}: {error.strerror}") from error
    return _Member(key_id, read_public_key(pem), None)


def _ready(server: ExchangeServer) -> dict[str, object]:
    return {
        "ready": True,
        "went_on": server.went_on,
        "rest_url": server.rest_url,
        "ws_url": server.ws_url,
        "admin_url": server.admin_url,
    }


def _lines(server: ExchangeServer, member: _Member) -> str:
    rows = [
        ("REST", server.rest_url),
        ("stream", server.ws_url),
        ("admin", server.admin_url),
        ("key id", member.key_id),
    ]
    if member.key_file is not None:
        rows.append(("key", f"{member.key_file} (private, only you can read it)"))
    state = "goes on" if server.went_on else "is ready"
    return "\n".join(
        [f"the embedded exchange {state}; Ctrl-C ends it", *(f"{name:<7} {value}" for name, value in rows)]
    )


async def _serve(options: ExchangeOptions, announce: Callable[[ExchangeServer], None]) -> None:
    server = create_exchange(options, SystemClock().now_ms)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await server.start()
    announce(server)
    waits = [asyncio.create_task(event.wait()) for event in (stopped, server.failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await server.stop()
    if server.failed.is_set():
        raise ExchangeStartError("the exchange's clock has stopped; its last words are in the log above")
