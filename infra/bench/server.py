"""The sending end of the loopback comparison: one process of its own that writes ready-made WebSocket frames.

It answers the handshake, waits until the client has sent something, and writes everything as fast as it is read. That
it costs next to nothing itself is the point: what is measured is the client.

    python -m infra.bench.server MARKETS DELTAS SEED     prints its port and serves until its standard input ends
"""

import asyncio
import sys

from websockets.utils import accept_key

from infra.bench.contenders import SUBSCRIBED
from infra.bench.workload import make

_CHUNK = 256
_LARGEST_READ = 65_536
_CLOSE = b"\x88\x00"


def framed(text: bytes) -> bytes:
    """A text frame as a server writes it (RFC 6455, section 5.2)."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 2**16:
        return bytes((0x81, 126)) + size.to_bytes(2, "big") + text
    return bytes((0x81, 127)) + size.to_bytes(8, "big") + text


async def _serve(markets: int, deltas: int, seed: int) -> None:
    load = make(markets, deltas, seed)
    frames = [framed(text) for text in (SUBSCRIBED, *load.snapshots, *load.deltas)]
    chunks = [b"".join(frames[start : start + _CHUNK]) for start in range(0, len(frames), _CHUNK)]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = b""
        while (line := (await reader.readline()).strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key.decode())}\r\n\r\n"
        )
        writer.write(answer.encode())
        try:
            await reader.read(_LARGEST_READ)
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            # The client leaves when it has everything; whatever else it says (pings) needs no answer in that time.
            while (said := await reader.read(_LARGEST_READ)) and said[0] != _CLOSE[0]:
                pass
            writer.write(_CLOSE)
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def main() -> None:
    """Serve the load that the arguments name."""
    markets, deltas, seed = map(int, sys.argv[1:4])
    asyncio.run(_serve(markets, deltas, seed))


if __name__ == "__main__":
    main()
