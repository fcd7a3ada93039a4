"""`kalshi-arb run`: the whole system on this machine."""

import json
import os
import sys
from pathlib import Path

import click

from kalshi_arb.cli.local_state import STATE_FOLDER


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=5), help="End by itself after this long; without it, until Ctrl-C."
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object on standard output.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the embedded exchange's universe.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the embedded AWS and the page; 0: a free one."
)
@click.option(
    "--exchange-port", type=click.IntRange(0, 65535), default=0, help="Port of the embedded exchange; 0: a free one."
)
@click.option("--cash", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True, help="Play dollars.")
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
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_FOLDER,
    show_default=True,
    help="Where state and logs go.",
)
def run(
    seconds: float | None,
    as_json: bool,
    seed: int,
    port: int,
    exchange_port: int,
    cash: int,
    fade_share: float,
    reply_ms: int,
    folder: Path,
) -> None:
    """Start exchange, cloud, feed and functions on loopback and keep an account of what happens.

    Everything is simulated: no account, no key, no network. Ctrl-C (or `kalshi-arb stop`) refuses new orders, lets
    unwinds finish, settles accounts and ends within ten seconds.

    \b
    Examples:
      kalshi-arb run
      kalshi-arb run --seconds 60 --json
      kalshi-arb run --fade-share 1
    """
    from infra.local.runner import Options, Runner

    options = Options(seconds, as_json, seed, port, exchange_port, cash, fade_share, reply_ms, folder.resolve())
    result = Runner(options, dict(os.environ), sys.stderr).run()
    if as_json:
        click.echo(json.dumps(result))
