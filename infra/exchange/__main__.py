"""``python -m infra.exchange``: serve the embedded exchange on loopback until SIGTERM or SIGINT.

One JSON line on standard output says where it is once it is ready; logs go to standard error. Exit status 2 with one
line when it cannot start.
"""

import argparse
import asyncio
import json
import logging
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.exchange.assembly import ExchangeOptions, TapeOptions, create_exchange
from infra.exchange.auth import read_public_key
from infra.exchange.errors import ExchangeStartError
from infra.exchange.server import ServerConfig
from infra.exchange.tape_terms import load_tape
from infra.exchange.universe import UniverseConfig
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import AmountError
from kalshi_arb.domain.fees import Precision
from kalshi_arb.domain.money import Cash, cash_from_wire


def _cash(text: str) -> Cash:
    try:
        cash = cash_from_wire(text)
    except AmountError as error:
        raise argparse.ArgumentTypeError(f"{text} is no dollar amount") from error
    if cash < 0 or cash % Precision.DIRECT:
        raise argparse.ArgumentTypeError("cash must be positive, in steps of 0.0001 dollars")
    return cash


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return port


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    return int(low), int(high or low)


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError("a speed must be above 0")
    return speed


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    world, serving = UniverseConfig(), ServerConfig()
    parser = argparse.ArgumentParser(prog="python -m infra.exchange", description=__doc__)
    add = parser.add_argument
    add("--host", default=serving.host, help="loopback address to serve on (default %(default)s)")
    add("--port", type=_port, default=0, help="0 picks a free one (default)")
    add("--seed", type=int, default=1, help="seed of the universe (default %(default)s)")
    add("--public-key-file", type=Path, required=True, help="PEM public key of the member, RSA or Ed25519")
    add("--key-id", required=True, help="id of that key")
    add("--cash", type=_cash, default="10000", help="dollars in all, split over the shards (default %(default)s)")
    add("--cent-account", action="store_true", help="round balances to cents, as for accounts through brokers")
    add("--read-lag-ms", type=int, default=serving.read_lag_ms, help="how far portfolio reads lag")
    add("--reply-ms", type=int, default=serving.reply_ms, help="how long the answer to an executed order takes")
    add("--step-ms", type=int, default=serving.step_ms, help="pause between two steps of the universe")
    add("--events", type=int, default=world.events, help="events alive at a time")
    add("--deltas-per-second", type=int, default=world.deltas_per_second, help="book changes a second, all markets")
    add("--mispricing-every-ms", type=int, default=world.mispricing_every_ms, help="mean pause between mispricings")
    add("--mispricing-life-ms", type=_span, default=world.mispricing_life_ms, metavar="LOW:HIGH")
    add("--state-dir", type=Path, metavar="DIR", help="keep everything there, and go on from what is there")
    add("--fade-share", type=float, default=world.fade_share, help="share of mispricings that fade under an order")
    add("--event-life-ms", type=_span, default=world.event_life_ms, metavar="LOW:HIGH")
    add("--tape", nargs="+", default=(), metavar="FILE", help="play recorded books, from files, folders or globs")
    add("--speed", type=_speed, default=1.0, help="how many times as fast as recorded a tape is played")
    add("--tape-waits", action="store_true", help="list nothing until POST /admin/tape")
    return parser


def _options(arguments: argparse.Namespace) -> ExchangeOptions:
    try:
        pem = arguments.public_key_file.read_bytes()
    except OSError as error:
        raise ExchangeStartError(f"cannot read {arguments.public_key_file}: {error.strerror}") from error
    try:
        universe = UniverseConfig(
            events=arguments.events,
            deltas_per_second=arguments.deltas_per_second,
            mispricing_every_ms=arguments.mispricing_every_ms,
            mispricing_life_ms=arguments.mispricing_life_ms,
            fade_share=arguments.fade_share,
            event_life_ms=arguments.event_life_ms,
        )
    except ValueError as error:
        raise ExchangeStartError(str(error)) from error
    if arguments.step_ms < 1 or arguments.read_lag_ms < 0 or arguments.reply_ms < 0:
        raise ExchangeStartError("--step-ms must be at least 1, --read-lag-ms and --reply-ms not negative")
    server = ServerConfig(
        host=arguments.host,
        port=arguments.port,
        step_ms=arguments.step_ms,
        read_lag_ms=arguments.read_lag_ms,
        reply_ms=arguments.reply_ms,
    )
    precision = Precision.CENT if arguments.cent_account else Precision.DIRECT
    tape = TapeOptions(load_tape(arguments.tape), arguments.speed, arguments.tape_waits) if arguments.tape else None
    return ExchangeOptions(
        arguments.seed,
        arguments.key_id,
        read_public_key(pem),
        arguments.cash,
        precision,
        universe,
        server,
        tape,
        arguments.state_dir,
    )


async def _serve(options: ExchangeOptions) -> int:
    server = create_exchange(options, SystemClock().now_ms)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await server.start()
    ready = {
        "ready": True,
        "went_on": server.went_on,
        "rest_url": server.rest_url,
        "ws_url": server.ws_url,
        "admin_url": server.admin_url,
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    waits = [asyncio.create_task(event.wait()) for event in (stopped, server.failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await server.stop()
    return 1 if server.failed.is_set() else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        return asyncio.run(_serve(_options(arguments)))
    except ExchangeStartError as error:
        sys.stderr.write(f"embedded exchange: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
