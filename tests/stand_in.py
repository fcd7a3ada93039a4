"""The embedded exchange as a process, standing in for one of Kalshi's own, and `kalshi-arb run` against it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.whole_system import System, whole_system

KEY_ID = "mine"


@dataclass(frozen=True)
class StandIn:
    """Where it answers, and the user's key there (an RSA key in the older PEM form, as Kalshi hands it out)."""

    address: dict[str, str]
    key_file: Path

    @contextmanager
    def run(self, exchange: str, mode: str, folder: Path) -> Iterator[System]:
        """A run against it until the block ends."""
        folder.mkdir()
        options = ["--exchange", exchange, "--mode", mode, "--key-file", str(self.key_file), "--key-id", KEY_ID]
        hosts = {"KALSHI_ARB_REST_URL": self.address["rest_url"], "KALSHI_ARB_WS_URL": self.address["ws_url"]}
        with whole_system(folder, *options, **hosts) as system:
            yield system

    def files_with_the_key(self, folder: Path) -> list[Path]:
        """Files of a folder that hold a part of the key."""
        secret = self.key_file.read_text().splitlines()[3]
        return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]


@contextmanager
def kalshi_stand_in(folder: Path) -> Iterator[StandIn]:
    """Serve one with the seed 7 until the block ends. Its books are wrong often, and for as long as it takes to see and
    buy that on the slowest machine."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    command = [
        *(sys.executable, "-m", "infra.exchange", "--json", "--seed", "7"),
        *("--public-key-file", str(public), "--key-id", KEY_ID),
        *("--event-life-ms", "150000:300000"),  # as far from their close as markets of Kalshi are
        *("--mispricing-every-ms", "4000", "--mispricing-life-ms", "60000:90000", "--fade-share", "0"),
    ]
    exchange = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert exchange.stdout is not None
    try:
        yield StandIn(json.loads(exchange.stdout.readline()), private)
    finally:
        exchange.terminate()
        exchange.wait()
        exchange.stdout.close()
