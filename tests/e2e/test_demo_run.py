"""`kalshi-arb run --exchange demo` with a user's key, the embedded exchange standing in for Kalshi's demo exchange."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECONDS = 12


def test_a_demo_run_trades_and_its_books_balance(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    folder = tmp_path / "run"
    exchange = subprocess.Popen(
        [sys.executable, "-m", "infra.exchange", "--public-key-file", str(public), "--key-id", "mine", "--seed", "7"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert exchange.stdout is not None
        address = json.loads(exchange.stdout.readline())
        hosts = {"KALSHI_ARB_REST_URL": address["rest_url"], "KALSHI_ARB_WS_URL": address["ws_url"]}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "kalshi_arb.cli", "run", "--exchange", "demo", "--mode", "demo"),
                *("--key-file", str(private), "--key-id", "mine", "--folder", str(folder)),
                *("--seconds", str(SECONDS), "--json"),
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**os.environ, **hosts},
        )
    finally:
        exchange.terminate()
        exchange.wait()
        if exchange.stdout is not None:
            exchange.stdout.close()
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["mode"], result["exchange"]) == ("demo", "kalshi demo, a stand-in on this machine")
    assert result["frames"] > 0
    assert sum(result["groups"].values()) > 0
    assert result["candidates"] > 0
    assert result["ledger_matches_exchange"], result["ledger_minus_exchange"]
    assert "DEMO, Kalshi's demo exchange, no real money" in done.stderr
    told = [json.loads(line)["text"] for line in (folder / "slack.jsonl").read_text().splitlines()]
    assert told
    assert all(text.startswith("demo ") for text in told)
    secret = private.read_text().splitlines()[3]
    kept = [path for path in folder.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
    assert kept == [], "the key is in no file of the run"
