"""`kalshi-arb run`: the whole system on this machine."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from kalshi_arb.cli.doctor import exchange_access
from kalshi_arb.cli.local_state import STATE_FOLDER
from kalshi_arb.kalshi.hosts import Exchange
from kalshi_arb.settings import Mode


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=5), help="End by itself after this long; without it, until Ctrl-C."
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on standard output.")
@click.option("--fresh", is_flag=True, help="Forget what earlier runs left in the folder and begin anew.")
@click.option("--seed", type=int, help="Seed of the embedded exchange's universe, for a new state.  [default: 7]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the embedded AWS and the page; 0: a free one."
)
@click.option(
    "--exchange-port", type=click.IntRange(0, 65535), default=0, help="Port of the embedded exchange; 0: a free one."
)
@click.option("--cash", type=click.IntRange(1, 10_000_000), help="Play dollars, for a new state.  [default: 10000]")
@click.option(
    "--fade-share",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="Share of mispricings that vanish as soon as one of their legs is hit.",
)
@click.option(
    "--reply-ms",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="How long the exchange's answer to an order takes.",
)
@click.option(
    "--mispricing-ms",
    type=click.IntRange(min=1),
    help="How long a mispricing of the embedded exchange stands.  [default: 4000 to 8000]",
)
@click.option(
    "--tape",
    "tapes",
    multiple=True,
    metavar="FILE...",
    help="Serve recorded books instead of the generated universe: files, folders or globs of .jsonl or .jsonl.gz.",
)
@click.argument("more_tapes", nargs=-1, metavar="")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    help="How many times as fast as recorded a tape is played.  [default: 1]",
)
@click.option(
    "--exchange",
    type=click.Choice([exchange.value for exchange in Exchange]),
    help="Use this exchange of Kalshi's with your own key, instead of the embedded one; prod on paper only.",
)
@click.option("--key-file", type=click.Path(dir_okay=False, path_type=Path), help="Private key, PEM, RSA or Ed25519.")
@click.option("--key-id", help="Id of that key.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    help="Say the mode yourself: a run on another exchange than you thought does not start.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_FOLDER,
    show_default=True,
    help="Where state and logs are kept; a second run goes on with them.",
)
def run(
    seconds: float | None,
    as_json: bool,
    fresh: bool,
    seed: int | None,
    port: int,
    exchange_port: int,
    cash: int | None,
    fade_share: float,
    reply_ms: int,
    mispricing_ms: int | None,
    tapes: tuple[str, ...],
    more_tapes: tuple[str, ...],
    speed: float | None,
    exchange: str | None,
    key_file: Path | None,
    key_id: str | None,
    mode: str | None,
    folder: Path,
) -> None:
    """Start exchange, cloud, feed and functions on loopback and keep an account of what happens.

    Everything is simulated: no account, no key, no network. With --exchange demo the exchange is Kalshi's demo exchange
    and the money its play money; exchange, key and clock are checked before anything starts.

    With --mode paper, the only mode for --exchange prod, the books are real and nothing is ever sent: fills are our own
    assumption (taker against visible depth, no queue, no impact beyond what we took).

    Ctrl-C (or `kalshi-arb end`) refuses new orders, lets unwinds finish, settles accounts and ends within ten seconds.
    The next run in the same folder goes on from there, whatever ended this one; a tape is always played from its start.

    \b
    Examples:
      kalshi-arb run
      kalshi-arb run --seconds 60 --json
      kalshi-arb run --fade-share 1
      kalshi-arb run --tape books/2026-07-20.jsonl.gz --speed 600 --seconds 60
      kalshi-arb run --exchange demo --key-file key.pem --key-id 1b6c... --folder .local/demo
      kalshi-arb run --exchange prod --mode paper --key-file key.pem --key-id 1b6c... --folder .local/paper
    """
    from infra.local.runner import Options, Runner
    from infra.local.venue import mode_of

    if more_tapes and not tapes:
        raise click.UsageError(f"unexpected argument {more_tapes[0]}: only --tape takes files")
    if speed is not None and not tapes:
        raise click.UsageError("--speed is the speed of a tape: name one with --tape")
    chosen = mode_of(exchange, mode)
    kalshi = None
    if exchange is not None:
        if tapes or seed is not None or cash is not None or mispricing_ms is not None:
            raise click.UsageError("--tape, --seed, --cash and --mispricing-ms are for the embedded exchange")
        # On paper nothing is sent, so the key need not be allowed to trade.
        kalshi = replace(exchange_access(exchange, key_file, key_id), trades=chosen is Mode.DEMO)
    elif key_file is not None or key_id is not None:
        raise click.UsageError("--key-file and --key-id need --exchange")
    options = Options(
        seconds, as_json, seed, port, exchange_port, cash, fade_share, reply_ms, folder.resolve(),
        (*tapes, *more_tapes), 1.0 if speed is None else speed, fresh, chosen, kalshi,
        mispricing_ms,
    )  # fmt: skip
    result = Runner(options, dict(os.environ), sys.stderr).run()
    if as_json:
        click.echo(json.dumps(result))
