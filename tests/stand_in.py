"""The embedded exchange as a process, standing in for one of Kalshi's own, and `kalshi-arb run` against it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

KEY_ID = "mine"


@dataclass(frozen=True)
class Done:
    """A run that has ended: the object it printed, what it said, and its folder."""

    result: dict[str, Any]
    said: str
    folder: Path

    @property
    def told(self) -> list[str]:
        """The texts of its alerts."""
        return [json.loads(line)["text"] for line in (self.folder / "slack.jsonl").read_text().splitlines()]


@dataclass(frozen=True)
class StandIn:
    """Where it answers, and the user's key there (an RSA key in the older PEM form, as Kalshi hands it out)."""

    address: dict[str, str]
    key_file: Path

    def run(self, exchange: str, mode: str, folder: Path, seconds: int) -> Done:
        """One whole run against it."""
        hosts = {"KALSHI_ARB_REST_URL": self.address["rest_url"], "KALSHI_ARB_WS_URL": self.address["ws_url"]}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "kalshi_arb.cli", "run", "--exchange", exchange, "--mode", mode),
                *("--key-file", str(self.key_file), "--key-id", KEY_ID, "--folder", str(folder)),
                *("--seconds", str(seconds), "--json"),
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**os.environ, **hosts},
        )
        assert done.returncode == 0, done.stderr
        return Done(json.loads(done.stdout), done.stderr, folder)

    def files_with_the_key(self, folder: Path) -> list[Path]:
        """Files of a folder that hold a part of the key."""
        secret = self.key_file.read_text().splitlines()[3]
        return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]


@contextmanager
def kalshi_stand_in(folder: Path) -> Iterator[StandIn]:
    """Serve one with the seed 7 until the block ends."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    command = [
        *(sys.executable, "-m", "infra.exchange", "--json", "--seed", "7"),
        *("--public-key-file", str(public), "--key-id", KEY_ID),
        *("--event-life-ms", "150000:300000"),  # as far from their close as markets of Kalshi are
    ]
    exchange = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert exchange.stdout is not None
    try:
        yield StandIn(json.loads(exchange.stdout.readline()), private)
    finally:
        exchange.terminate()
        exchange.wait()
        exchange.stdout.close()
