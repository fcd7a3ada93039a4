"""The whole chain over a loopback socket: receive, decode, apply, and for ours the screen as well."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.asyncio.client import connect

from feed.connection import SignedConnector
from feed.core import Moment
from infra.bench.contenders import Nautilus, OurFeed, PyKalshi, peer
from infra.bench.workload import Books, Workload
from kalshi_arb.clock import SystemClock
from kalshi_arb.domain.errors import KalshiArbError
from kalshi_arb.kalshi.signing import Credentials, Signer

Chain = Callable[[str, Workload], Awaitable[tuple[int, Books | None]]]
"""Takes everything from an address; returns nanoseconds for all of it, and the books it made."""


@contextmanager
def serving(markets: int, deltas: int, seed: int) -> Iterator[str]:
    """Address of a sender in a process of its own."""
    command = [sys.executable, "-m", "infra.bench.server", str(markets), str(deltas), str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        if sender.stdin is None or sender.stdout is None:
            raise KalshiArbError("the sender has no pipes")
        port = sender.stdout.readline().strip()
        if not port:
            raise KalshiArbError("the sender did not start")
        try:
            yield f"ws://127.0.0.1:{port}/trade-api/ws/v2"
        finally:
            sender.stdin.close()


def _total(load: Workload) -> int:
    return 1 + len(load.snapshots) + len(load.deltas)


async def our_chain(url: str, load: Workload) -> tuple[int, Books | None]:
    """Our driver and the feed's core, frame by frame as the feed's loop does it."""
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    clock, ours = SystemClock(), OurFeed(load)
    core = ours.core
    core.close(Moment(0, 0))
    core.open(clock.now_ms())
    connection = await SignedConnector(url, Signer(Credentials("bench", key.decode())), clock).open()
    began = time.perf_counter_ns()
    await connection.send("{}")
    for _ in range(_total(load)):
        data = await connection.receive()
        core.frame(data, Moment(clock.now_ms(), time.monotonic_ns()))
    taken = time.perf_counter_ns() - began
    await connection.close()
    ours.check()
    return taken, ours.books()


async def pykalshi_chain(url: str, load: Workload) -> tuple[int, Books | None]:
    """pykalshi's own feed, iterated, with its order book manager."""
    made = PyKalshi(load)
    client = SimpleNamespace(api_base=url, api_key_id="bench", _sign_request=lambda *_: ("0", ""))
    feed = peer("pykalshi").AsyncFeed(client)
    feed._ws_url = url  # it knows two addresses only
    await feed.connect()
    began = time.perf_counter_ns()
    await feed._ws.send("{}")
    # Its iterator keeps the reply to the subscription to itself.
    left = _total(load) - 1
    async for message in feed:
        made.take(message)
        left -= 1
        if not left:
            break
    taken = time.perf_counter_ns() - began
    await feed.disconnect()
    return taken, made.books()


async def nautilus_chain(url: str, load: Workload) -> tuple[int, Books | None]:
    """The websockets client, msgspec and nautilus_trader's book."""
    made = Nautilus(load)
    async with connect(url, compression=None, proxy=None, max_size=None, max_queue=4096) as socket:
        began = time.perf_counter_ns()
        await socket.send("{}")
        await socket.recv(decode=False)
        for _ in range(_total(load) - 1):
            made.feed((await socket.recv(decode=False),))
        return time.perf_counter_ns() - began, made.books()


async def bare_chain(url: str, load: Workload) -> tuple[int, Books | None]:
    """The websockets client alone: the floor under every chain that uses it."""
    async with connect(url, compression=None, proxy=None, max_size=None, max_queue=4096) as socket:
        began = time.perf_counter_ns()
        await socket.send("{}")
        for _ in range(_total(load)):
            await socket.recv(decode=False)
        return time.perf_counter_ns() - began, None


CHAINS: dict[str, Chain] = {
    "ours": our_chain,
    "pykalshi": pykalshi_chain,
    "websockets_msgspec_nautilus": nautilus_chain,
    "websockets_alone": bare_chain,
}


def run(name: str, url: str, load: Workload) -> tuple[int, Any]:
    """One chain once."""
    return asyncio.run(CHAINS[name](url, load))  # type: ignore[arg-type]  # every chain is a coroutine function
