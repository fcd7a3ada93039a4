"""Starts the feed: ``python -m feed``. Settings come from the environment, all other wiring from ``bootstrap``.

Exit codes: 0 stopped on request, 1 it failed and may be started again, 2 the settings cannot be used, 3 the exchange
refuses the key. With 2 and 3 the last line says what to change; starting again will not help.
"""

import asyncio
import gc
import os
import signal
import sys
import threading

from feed.config import config_of
from feed.connection import SignedConnector
from feed.publisher import Ports
from feed.service import FeedService, next_epoch
from kalshi_arb import bootstrap
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import KalshiArbError, SettingsError
from kalshi_arb.kalshi.errors import AuthError
from kalshi_arb.kalshi.signing import Signer
from kalshi_arb.observability import observe
from kalshi_arb.settings import Settings, read_settings

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_KEY = 3
# The process may take two seconds to end; a name look-up or a store that hangs must not add to them.
LAST_MOMENT_S = 1.9


def build(settings: Settings) -> FeedService:
    """Compose the feed.

    :raises SettingsError: something it needs is not set or cannot be used.
    :raises StoreError: a store cannot be reached.
    """
    clock = SystemClock()
    ws_url = settings.need("ws_url")
    config = config_of(settings)
    ports = Ports(
        candidates=bootstrap.candidates_queue(settings),
        lifecycle=bootstrap.lifecycle_queue(settings),
        books=bootstrap.book_store(settings),
        status=bootstrap.status_store(settings),
    )
    groups = bootstrap.group_store(settings)
    observed = observe("feed", settings.mode.value, settings.log_level)
    signer = Signer(bootstrap.read_key(settings))
    return FeedService(
        config=config,
        connector=SignedConnector(ws_url, signer, clock),
        groups=groups,
        ports=ports,
        metrics=observed.metrics,
        clock=clock,
        epoch=next_epoch(ports.status),
    )


async def serve(service: FeedService, last_moment: threading.Timer) -> None:
    """Run until SIGTERM or SIGINT, which also starts the ``last_moment``."""
    stop = asyncio.Event()

    def request_stop() -> None:
        if not stop.is_set():
            stop.set()
            last_moment.start()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request_stop)
    await service.run(stop)


def main() -> int:
    """Run the feed; returns the exit code."""
    last_moment = threading.Timer(LAST_MOMENT_S, os._exit, (EXIT_STOPPED,))
    last_moment.daemon = True
    try:
        service = build(read_settings(os.environ))
        # What was built so far lives as long as the process: no collection needs to look at it again.
        gc.collect()
        gc.freeze()
        asyncio.run(serve(service, last_moment))
    except SettingsError as error:
        return _fail(EXIT_SETTINGS, error)
    except AuthError as error:
        return _fail(EXIT_KEY, f"{error}. Check the key id, the private key, its scopes and this machine's clock.")
    except KalshiArbError as error:
        return _fail(EXIT_FAILED, error)
    finally:
        last_moment.cancel()
    return EXIT_STOPPED


def _fail(code: int, reason: object) -> int:
    sys.stderr.write(f"feed: {reason}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
