"""`kalshi-arb run --exchange prod` on paper, the embedded exchange standing in for Kalshi's production exchange."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kalshi_arb.domain.paper import ASSUMPTION

SECONDS = 8


def test_a_paper_run_trades_and_its_books_balance(tmp_path: Path) -> None:
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
                *(sys.executable, "-m", "kalshi_arb.cli", "run", "--exchange", "prod", "--mode", "paper"),
                *("--key-file", str(private), "--key-id", "mine", "--folder", str(folder)),
                *("--seconds", str(SECONDS), "--json"),
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**os.environ, **hosts},
        )
        account = httpx.get(f"{address['admin_url']}/account", timeout=10).json()
    finally:
        exchange.terminate()
        exchange.wait()
        if exchange.stdout is not None:
            exchange.stdout.close()
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["mode"] == "paper"
    assert result["exchange"] == "paper account on books of kalshi prod, a stand-in on this machine"
    assert result["assumption"] == ASSUMPTION
    assert result["candidates"] > 0
    assert sum(result["baskets"][end] for end in ("lock", "flat", "held", "settled")) > 0, "something was bought"
    assert result["ledger_matches_exchange"], result["ledger_minus_exchange"]
    assert account["cash"] == account["initial_cash"], "nothing was sent to the exchange"
    assert not any(account["positions"].values())
    assert "PAPER, real books, fills of our own assumption, no real money" in done.stderr
    assert f"paper: {ASSUMPTION}" in done.stderr
    assert "ledger equals paper account" in done.stderr
    told = [json.loads(line)["text"] for line in (folder / "slack.jsonl").read_text().splitlines()]
    assert told
    assert all(text.startswith("paper ") for text in told)
    secret = private.read_text().splitlines()[3]
    kept = [path for path in folder.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
    assert kept == [], "the key is in no file of the run"
